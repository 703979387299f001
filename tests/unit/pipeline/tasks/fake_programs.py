"""Programs for the tasks to find on PATH: small shell scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_HELM = """\
#!/bin/sh
echo "$@" >> {folder}/asked
case "$1" in
  version) cat {folder}/version ;;
  lint | template)
    cat {folder}/$1.out
    if test -s {folder}/$1.err; then cat {folder}/$1.err >&2; exit 1; fi ;;
esac
"""


class HelmOnPath:
    """A `helm` on PATH that says what it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self.says("version", "v4.2.3+g43e8b7f\n")
        for name in ("lint.out", "lint.err", "template.out", "template.err"):
            self.says(name, "")
        program = folder / "helm"
        program.write_text(_HELM.format(folder=folder))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("HELM", raising=False)

    def says(self, what: str, text: str) -> None:
        """Set the answer to `version`, or `lint.out`, `lint.err`, `template.out` and so on."""
        (self.folder / what).write_text(text, encoding="utf-8")

    @property
    def asked(self) -> list[str]:
        """What it was called with, one line a call."""
        path = self.folder / "asked"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
