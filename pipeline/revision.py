"""Where the source stands in version control, for labels and times."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEFAULT_BRANCH = "main"
"""The branch that is merged into, where a clone does not know its remote's."""
DIRTY = "-dirty"
"""What follows the commit in the label of an image that was built from changed files."""
COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A commit's whole name (SHA-1 or SHA-256), which is nothing that git takes for an option."""
_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


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
            # Reading is safe whoever owns the work tree, as in the containers of a CI.
            ("git", "--no-optional-locks", "-c", "safe.directory=*", *arguments),
            cwd=root,
            # A git hook's variables speak of the repository that runs the hook.
            env={k: v for k, v in os.environ.items() if k not in _REPOSITORY},
            capture_output=True,
            check=False,
        )
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""
