"""Runs tests on copies of this repository in which one file is spoiled."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mutants.kinds import RENDERED_COMPARISONS, Kind, Stage
from mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = (
    *("pipeline", "monitoring", "src", "tests", "deployment", "requirements", "benchmarks"),
    *("mutants", ".github", ".ci"),
)
_TIMEOUT_S = 240
_SOUND_TIMEOUT_S = 1800
"""For every test of a kind at once, where nothing is spoiled."""
_MEMORY_BYTES = 4 << 30
"""A loop without an end may not take the machine along."""


_NOTHING_RAN = (4, 5)
"""pytest's exit codes for arguments that it cannot use, and for no test at all."""
_IMPORT_FAILED = ("ERROR ", "ImportError while loading conftest ")
"""How lines begin by which pytest says that tests cannot be imported, which a mutant may do; it
ends with those codes then, too."""


class NothingRan(Exception):
    """No test was run: that is nobody's notice of a mutant, and the run is worth nothing."""


_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. `by` is the test that noticed it, empty for none."""

    kind: str
    mutant: Mutant
    by: str
    seconds: float

    def to_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "file": str(self.mutant.path),
            "line": self.mutant.line,
            "change": self.mutant.title,
            "noticed_by": self.by or None,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True, slots=True)
class Sound:
    """What the tests say of an unspoiled copy: `failed` is empty, or else nothing can be told."""

    failed: str
    skipped: int


def copy_repository(folder: Path) -> Path:
    """Return a copy of what tests read of this repository."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in _FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        # Not those of this machine: .env, a local cache.
        if path.is_file() and path.name != ".env":
            shutil.copy(path, folder / path.name)
    return folder


def check_sound(kind: Kind, folder: Path) -> Sound:
    """Run every test that judges a kind on an unspoiled copy, each stage by itself.

    The first stages of all files are one, and so are the second ones: they have most of their
    tests in common.  Raises `NothingRan`.
    """
    skipped = 0
    for stages in zip_longest(*(kind.judges(path) for path in kind.files(ROOT)), fillvalue=()):
        stage = tuple(dict.fromkeys(name for one in stages for name in one))
        failed, printed = _run_tests(kind, stage, folder, _SOUND_TIMEOUT_S)
        if failed:
            return Sound(f"{failed}\n{printed[-3000:]}", 0)
        said = re.search(r"(\d+) skipped", printed)
        skipped += int(said[1]) if said else 0
    return Sound("", skipped)


def judge(kind: Kind, mutant: Mutant, folder: Path) -> Verdict:
    """Run the tests on a mutant, until one notices; the copy is whole again afterwards.

    Raises `NothingRan`.
    """
    begin_s = time.monotonic()
    path = folder / mutant.path
    path.write_text(mutant.text, encoding="utf-8")
    by = ""
    try:
        for stage in kind.judges(mutant.path):
            by, _ = _run_tests(kind, stage, folder)
            if by:
                break
    finally:
        shutil.copyfile(ROOT / mutant.path, path)
    return Verdict(kind.name, mutant, by, time.monotonic() - begin_s)


def _run_tests(
    kind: Kind, stage: Stage, folder: Path, timeout_s: float = _TIMEOUT_S
) -> tuple[str, str]:
    """Return the first test that fails, empty for none, and what pytest printed."""
    left_out = " or ".join((*RENDERED_COMPARISONS, *kind.left_out))
    argv = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=short"]
    process = subprocess.Popen(
        [*argv, "-p", "no:cacheprovider", "-k", f"not ({left_out})", *stage],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    try:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        printed, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return "it took too long", ""
    finally:
        _kill(process)
        process.wait()
        _running.discard(process)
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode == 0:
        return "", printed
    lines = printed.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", *_IMPORT_FAILED))]
    if not failed and process.returncode in _NOTHING_RAN:
        said = next((line for line in reversed(lines) if line.startswith("ERROR: ")), "no tests")
        raise NothingRan(
            f"{kind.name}: no test ran, pytest's exit code {process.returncode}: "
            f"{said.removeprefix('ERROR: ')} ({', '.join(stage)})"
        )
    if not failed:
        return f"pytest: exit code {process.returncode}", printed
    return failed[0].partition(" - ")[0].partition(" ")[2], printed


def stop() -> None:
    """Kill the tests that run, with all that they started."""
    for process in tuple(_running):
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    # The group has the number of its leader, even when that one has ended: a test's server that
    # a mutant kept from ending is in it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
