"""A program: write a layout over another, and be killed before every step of it.

`python -m tests.unit.pipeline.oci.kill_each_step WORK START` leaves `WORK/<n>/layout` for
each step n: what a reader finds after SIGKILL. START is what was there before: `absent`,
`empty` or `old`. `WORK/<n>-again` is the same after another, undisturbed run.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from itertools import count
from pathlib import Path

from pipeline.oci.layout import write_layout
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import Blobs

STEPS = {
    "open",
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "shutil.rmtree",
}


def die_before(step: int) -> None:
    """Send this process SIGKILL before its `step`th change of the file system."""
    steps = count()

    def hook(event: str, _: object) -> None:
        if event in STEPS and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(work: Path, start: str) -> None:
    """Leave one folder for each step, and `finished` for the run that nothing stopped."""
    os.fsync = lambda fd: None  # SIGKILL takes nothing from the kernel.
    blobs = Blobs(work / "source")
    old, new = blobs.image("old", platforms=[Platform.ARM64]), blobs.image("new")
    for step in count():
        folder = work / str(step) / "layout"
        folder.parent.mkdir()
        if start == "old":
            write_layout(folder, old, blobs)
        elif start == "empty":
            folder.mkdir()
        child = os.fork()
        if child == 0:
            die_before(step)
            write_layout(folder, new, blobs)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        shutil.copytree(folder.parent, work / f"{step}-again", symlinks=True)
        write_layout(work / f"{step}-again" / "layout", new, blobs)
        if status == 0:
            (work / "finished").write_text(str(step))
            return
        assert os.WIFSIGNALED(status), status


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
