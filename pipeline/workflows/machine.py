"""The machine of one run of a job, and what jobs of a run hand to each other."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_GLOB = re.compile(r"[*?\[]")
# Made by tasks; whatever is there on the machine that checks this is not in the repository.
_MADE = ("dist/",)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a job uploaded."""

    name: str
    job: str
    """The run of a job, with the workflow that called its own."""
    files: tuple[str, ...] | None
    """Paths below where a download puts them; None for what is not known."""


@dataclass
class Machine:
    """What a job has on disk, as far as it can be told."""

    root: Path
    """Of the repository that is checked."""
    files: set[str] = field(default_factory=set)
    built: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The images that were built here, by their folders, with their architectures."""
    is_open: bool = False
    """Whether something ran that may have written anything."""
    has_source: bool = False

    def write(self, path: str) -> None:
        """Note that there is a file."""
        self.files.add(posixpath.normpath(path))

    def below(self, folder: str) -> tuple[str, ...]:
        """Return the known files of a folder, relative to it."""
        begin = f"{posixpath.normpath(folder)}/" if folder not in ("", ".") else ""
        return tuple(sorted(f.removeprefix(begin) for f in self.files if f.startswith(begin)))

    def has(self, path: str) -> bool:
        """Return whether there is a file or folder."""
        path = posixpath.normpath(path)
        if path in self.files or any(file.startswith(f"{path}/") for file in self.files):
            return True
        is_made = any(f"{path}/".startswith(made) for made in _MADE)
        return self.has_source and not is_made and (self.root / path).exists()

    def collect(self, patterns: Sequence[str]) -> tuple[tuple[str, ...] | None, str]:
        """Return what an upload of these paths takes, relative to what they have in common, and
        the first path that there is nothing of."""
        taken: list[str] = []
        bases: list[str] = []
        for pattern in patterns:
            if pattern.startswith("!"):
                kept = _expression(pattern[1:])
                taken = [file for file in taken if not kept.fullmatch(file)]
                continue
            pattern = posixpath.normpath(pattern)
            base = _base(pattern)
            found = [f for f in self.files if _expression(pattern).fullmatch(f)]
            if not found and not self.is_open and not (base == pattern and self.has(pattern)):
                return (), pattern
            taken += found
            bases.append(base)
        if not taken:
            return None, ""
        if len({posixpath.isabs(base) for base in bases}) > 1:
            return None, ""  # What they have in common depends on where the machine works.
        root = bases[0] if len(bases) == 1 else posixpath.commonpath(bases)
        if root in taken:
            root = posixpath.dirname(root)
        begin = f"{root}/" if root not in ("", ".") else ""
        return tuple(sorted({file.removeprefix(begin) for file in taken})), ""

    def unpack(self, artifact: Artifact, folder: str) -> None:
        """Put what was uploaded into a folder."""
        if artifact.files is None:
            self.is_open = True
        for file in artifact.files or ():
            self.write(posixpath.join(folder or ".", file))


def _base(pattern: str) -> str:
    """Return the part of a path before its first wildcard."""
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        if _GLOB.search(part):
            return "/".join(parts[:index]) or "."
    return pattern


def _expression(pattern: str) -> re.Pattern[str]:
    """Return what fits the files that a path names, or that are below a folder that it names."""
    made = ""
    for part in re.split(r"(\*\*/?|\*|\?)", posixpath.normpath(pattern)):
        made += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(
            part, re.escape(part)
        )
    return re.compile(f"{made}(?:/.*)?" if pattern not in (".", "") else ".*", re.S)


def is_over(job: str, before: Collection[str]) -> bool:
    """Return whether a job is over for one that waits for `before`: whoever waits for a workflow
    that is called waits for every job of it."""
    parts = job.split("/")
    return any("/".join(parts[:size]) in before for size in range(1, len(parts) + 1))


def named_like(artifacts: Iterable[Artifact], pattern: str) -> tuple[Artifact, ...]:
    """Return the artifacts whose names fit a pattern."""
    return tuple(one for one in artifacts if fnmatch.fnmatchcase(one.name, pattern))
