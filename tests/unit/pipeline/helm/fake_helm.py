"""helm, without helm: answers for `version`, `lint` and `template`, and what was asked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from pipeline.process import Completed


def said(argv: tuple[str, ...], code: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    """Return what a command that ran to its end left."""
    return Completed(argv, code, stdout, stderr)


class FakeHelm:
    """A runner. What `lint` and `template` say is for each values file, "" for none."""

    def __init__(self, stdout: str = "", version: str = "v4.2.3+g43e8b7f\n") -> None:
        self.version = version
        self.stdout = stdout
        self.refused: dict[tuple[str, str], str] = {}
        """What is on stderr, by subcommand and file's name, where the exit code is 1."""
        self.calls: list[tuple[str, ...]] = []
        self.options: list[dict[str, Any]] = []

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        self.calls.append(argv)
        self.options.append(options)
        if argv[1] == "version":
            return said(argv, stdout=self.version)
        files = [Path(b).name for a, b in itertools.pairwise(argv) if a == "--values"]
        stderr = self.refused.get((argv[1], files[0] if files else ""))
        if stderr is not None:
            return said(argv, 1, stderr=stderr)
        return said(argv, stdout=self.stdout if argv[1] == "template" else "")
