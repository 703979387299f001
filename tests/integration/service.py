"""The service in a process of its own, as `accelerapp serve` starts it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"


@contextlib.contextmanager
def serving(**environ: str) -> Iterator[str]:
    """Yield its address; afterwards it has to end with 0 and without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "accelerapp", "serve", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        while " listening on " not in line:
            assert line, "the service has ended"
            line = process.stderr.readline()
        yield line.rpartition(" ")[2].strip()
    finally:
        process.terminate()
        _, logged = process.communicate(timeout=30)
    assert process.returncode == 0, logged
    assert "Traceback" not in logged
