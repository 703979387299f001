"""What is compared between two commits: what users wait for, and what they store.

Everything runs the tree's own code in the environment of this process, which is one for both.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.load import Client, LoadError, percentile
from benchmarks.monitor import (
    Program,
    Service,
    Unavailable,
    application,
    monitor_program,
    started,
    status_number,
)
from benchmarks.trees import HOOK_VARIABLES, Tree, without
from pipeline import process

SCRAPES = 200
_WARM_UP_SCRAPES = 20
_TIMEOUT_S = 900.0
_ONCE = Path(__file__).resolve().with_name("once.py")
# What a CI or a user has set is not to differ from what the trees would do by themselves,
# and a command that is measured has no step's outputs or summary to write.
_OWN = ("ACCELERAPP_", "GITHUB_", "INVOKE_", "MONITOR_", "OLLAMA_", "PYTHON", "REDIS_")
_BUILD = ("build", "--platform", "all", "--target", "production", "--json")
# How Invoke, argparse and Python say that there is no such command, which is not that it fails.
_LACKS = re.compile(
    r"^No idea what '"
    r"|^Can't find any collection named 'tasks'"
    r"|error: argument COMMAND: invalid choice: "
    r"|: No module named (?:accelerapp|monitoring(?:\.monitor)?)$"
    r"|Error while finding module specification for '(accelerapp|monitoring)\b[\w.]*'"
    r" \(ModuleNotFoundError: No module named '\1'\)",
    re.MULTILINE,
)


class Unmeasured(Exception):
    """What a tree cannot do, and why. `lacking`: it has no such command."""

    def __init__(self, reason: str, *, lacking: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lacking = lacking


@dataclass(frozen=True, slots=True)
class Reading:
    """One run."""

    seconds: float
    peak_bytes: int
    """Of the process that had the most."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Something that is timed; `run` raises `Unmeasured`. `before` each run, untimed."""

    name: str
    run: Callable[[Tree], Reading]
    before: Callable[[Tree], None]
    pairs: int = 1
    """For each that is asked for: what is over soon is noisy, and cheap to do more often."""


def _python(tree: Tree, *arguments: str) -> tuple[Reading, str]:
    """Run `python -m` with the tree's code; return what it took and what it printed."""
    argv = (
        *without(*_OWN, *HOOK_VARIABLES),
        f"PYTHONPATH={tree.code / 'src'}",
        f"ACCELERAPP_BUILD_CACHE={tree.cache}",
        # Twice: `once` itself takes no part in any of this.
        *(sys.executable, "-I", "-S", str(_ONCE)),
        *(sys.executable, "-m", *arguments),
    )
    try:
        # With a deadline, all that it has started ends with it, also after Ctrl-C.
        done = process.run(argv, cwd=tree.code, timeout_s=_TIMEOUT_S)
    except TimeoutError:
        raise Unmeasured(f"not done after {_TIMEOUT_S:g} s") from None
    if not done.ok:
        raise Unmeasured(done.reason)
    seen = json.loads(done.stdout)
    if seen["exit_code"]:
        raise _unmeasured(seen["stderr"] or seen["stdout"], f"exit code {seen['exit_code']}")
    return Reading(seen["seconds"], seen["peak_bytes"]), seen["stdout"]


def _unmeasured(said: str, otherwise: str) -> Unmeasured:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return Unmeasured(lines[-1] if lines else otherwise, lacking=bool(_LACKS.search(said)))


def _nothing(tree: Tree) -> None:
    """Leave the tree as it is."""


def _list_tasks(tree: Tree) -> Reading:
    return _python(tree, "invoke", "--list")[0]


def _forget_layers(tree: Tree) -> None:
    # All that is known of what was made; the downloads are blobs, and stay.
    shutil.rmtree(tree.cache / "records", ignore_errors=True)
    shutil.rmtree(tree.code / "dist", ignore_errors=True)


def _build(tree: Tree, *, reused: bool) -> Reading:
    reading, printed = _python(tree, "invoke", *_BUILD)
    with _report():
        layers = [layer for image in _images(printed) for layer in image["layers"]]
        wrong = [layer for layer in layers if layer["reused"] is not reused]
    # A cache of another shape than `_forget_layers` knows would make a build of nothing.
    if wrong:
        raise Unmeasured(f"layers were {'not taken' if reused else 'taken'} from the cache")
    return reading


def _images(printed: str) -> list[Any]:
    """Return what a build's report says of each platform."""
    platforms: list[Any] = json.loads(printed)["images"][0]["platforms"]
    return platforms


@contextlib.contextmanager
def _report() -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError):
        raise Unmeasured("the report of invoke build --json is not what it was") from None


def _build_anew(tree: Tree) -> Reading:
    return _build(tree, reused=False)


def _build_again(tree: Tree) -> Reading:
    return _build(tree, reused=True)


def write_description(trees: tuple[Tree, Tree]) -> None:
    """Write the device that both generate: the base's example, or else the change's."""
    for tree in trees:
        with contextlib.suppress(Unmeasured):
            _python(tree, "accelerapp", "new", "--output", str(tree.description))
            return


def _forget_output(tree: Tree) -> None:
    shutil.rmtree(tree.output, ignore_errors=True)


def _generate(tree: Tree) -> Reading:
    arguments = ("generate", str(tree.description), "--output", str(tree.output))
    return _python(tree, "accelerapp", *arguments)[0]


@contextlib.contextmanager
def _running(program: Program) -> Iterator[Service]:
    try:
        with started(program) as service:
            yield service
    except Unavailable as error:
        raise _unmeasured(str(error), "") from None


def _serve(tree: Tree) -> Reading:
    program = Program(
        "accelerapp serve",
        (sys.executable, "-m", "accelerapp", "serve", "--port", "{port}"),
        ("/readyz",),
        {"PYTHONPATH": str(tree.code / "src"), "ACCELERAPP_OUTPUT_DIR": str(tree.output)},
    )
    with _running(program) as service:
        return Reading(service.start_s, _peak_bytes(service))


def _scrape(tree: Tree) -> Reading:
    """The p50 of SCRAPES requests to a monitor that has just started."""
    with (
        application() as url,
        _running(monitor_program(root=tree.code, ACCELERAPP_URL=url)) as service,
    ):
        client = Client(service.address, stays=True)
        seconds = []
        try:
            for number in range(_WARM_UP_SCRAPES + SCRAPES):
                began_s = time.perf_counter()
                status = client.get("/metrics").status
                if number >= _WARM_UP_SCRAPES:
                    seconds.append(time.perf_counter() - began_s)
                if status != 200:
                    raise Unmeasured(f"/metrics answered {status}")
        except (OSError, LoadError) as error:
            raise Unmeasured(f"/metrics: {error}") from None
        finally:
            client.close()
        return Reading(percentile(seconds, 0.5), _peak_bytes(service))


def _peak_bytes(service: Service) -> int:
    return status_number(service.pid, "VmHWM") * 1024


MEASUREMENTS = (
    Measurement("invoke --list", _list_tasks, _nothing, pairs=3),
    Measurement("invoke build --platform all, no layer cached", _build_anew, _forget_layers),
    Measurement("invoke build --platform all, nothing changed", _build_again, _nothing, pairs=3),
    Measurement("accelerapp generate", _generate, _forget_output, pairs=3),
    Measurement("accelerapp serve, to the first /readyz", _serve, _nothing, pairs=3),
    Measurement("monitor, one scrape of /metrics", _scrape, _nothing, pairs=3),
)
"""In this order: a build of nothing new needs one before it."""


def sizes(tree: Tree) -> Mapping[str, int]:
    """Return what the production image of each platform takes, in bytes, and its wheels.

    Exact, and the same for the same commit on every machine. Raises `Unmeasured`.
    """
    found: dict[str, int] = {}
    printed = _python(tree, "invoke", *_BUILD)[1]
    with _report():
        for image in _images(printed):
            platform = image["platform"]
            # It names a folder, and a row of what people read.
            if not re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+)+", platform):
                raise ValueError(platform)
            found[f"{platform}: image, compressed, bytes"] = int(image["size_bytes"])
            found[f"{platform}: image, unpacked, bytes"] = int(image["unpacked_bytes"])
            layout = tree.code / "dist" / "images" / "production" / platform.replace("/", "-")
            try:
                number, size_bytes = wheels(layout)
            except (OSError, ValueError, LookupError, tarfile.TarError) as error:
                raise Unmeasured(f"the image for {platform} cannot be read: {error}") from None
            found[f"{platform}: installed wheels, number"] = number
            found[f"{platform}: installed wheels, bytes"] = size_bytes
    return found


def wheels(layout: Path) -> tuple[int, int]:
    """Return how many wheels are installed in an image's layout, and the bytes of their files."""

    def read(descriptor: Mapping[str, str]) -> Any:
        return json.loads(_blob(layout, descriptor).read_bytes())

    descriptor = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    files: dict[PurePosixPath, int] = {}
    for layer in read(descriptor)["layers"]:
        with tarfile.open(_blob(layout, layer)) as archive:
            files |= {PurePosixPath(one.name): one.size for one in archive if one.isreg()}
    installed = [
        path.parent for path in files if path.name == "WHEEL" and path.parent.suffix == ".dist-info"
    ]
    places = {folder.parent for folder in installed}
    size_bytes = sum(size for path, size in files.items() if places.intersection(path.parents))
    return len(installed), size_bytes


def _blob(layout: Path, descriptor: Mapping[str, str]) -> Path:
    return layout / "blobs" / descriptor["digest"].replace(":", "/")
