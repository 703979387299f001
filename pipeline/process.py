"""The one door to child processes: argv tuples only, never a shell string."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.errors import ToolMissing


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished command left behind; text is decoded as UTF-8."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.returncode == 0


class Runner(Protocol):
    """Runs commands; tests pass one that only remembers them."""

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        """Run `argv` to its end. `env` is added to this process's own."""
        ...


def run(
    argv: tuple[str, ...],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> Completed:
    """Run `argv` and capture what it prints; a non-zero exit is the caller's to judge.

    Raises `ToolMissing` when the program does not exist.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise
        wrong = "is not installed" if isinstance(error, FileNotFoundError) else "cannot be run"
        raise ToolMissing(f"'{argv[0]}' {wrong}", hint="install it, or put it on PATH") from None
    return Completed(
        argv,
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )
