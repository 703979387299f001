"""Where the source stands in version control, for labels and times."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Revision:
    """The commit that is checked out. `commit` is empty outside of version control."""

    commit: str = ""
    commit_s: int | None = None
    """When it was committed, seconds since 1970."""
    dirty: bool = False
    """Whether tracked files differ from it."""


def read_revision(root: Path) -> Revision:
    """Return the revision of the git work tree whose top is `root`; empty where it is none."""
    lines = git(root, "log", "-1", "--format=%H %ct", "--no-show-signature").split()
    if len(lines) != 2 or git(root, "rev-parse", "--show-prefix").strip():
        return Revision()
    changed = git(root, "status", "--porcelain", "--untracked-files=no")
    return Revision(commit=lines[0], commit_s=int(lines[1]), dirty=bool(changed))


def git(root: Path, *arguments: str) -> str:
    """Return what git prints, or an empty string where git or its repository is missing."""
    try:
        done = subprocess.run(
            ("git", "--no-optional-locks", *arguments),
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return done.stdout if done.returncode == 0 else ""
