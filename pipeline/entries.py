"""`Entry`: one file, directory or link of a root file system, as a value.

Sources make entries, layers consume them; neither needs to know the other.
Contents may stay on disk (`Slice`), so that a layer of any size is assembled
in little memory.
"""

from __future__ import annotations

import contextlib
import enum
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pipeline.atomic import writing


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Slice:
    """`size` bytes at `offset` of a file that outlives the entry."""

    file: BinaryIO
    offset: int
    size: int

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes from `start`, all of the rest by default. Thread-safe."""
        available = max(self.size - start, 0)
        wanted = available if length is None else min(length, available)
        return os.pread(self.file.fileno(), wanted, self.offset + start)


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer.

    `path` is relative, POSIX, without a trailing slash: `usr/bin/python3`.
    `target` is a symbolic link's text, or a hard link's path in the same layer.
    """

    path: str
    kind: Kind = Kind.FILE
    mode: int = 0o644
    content: bytes | Slice = b""
    target: str = ""
    uid: int = 0
    gid: int = 0
    origin: str = field(default="", compare=False)
    """Where it came from, for messages and reports: a package, a wheel, the project."""

    @property
    def size_bytes(self) -> int:
        """Length of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Return the content, or the part of it that starts at `start`."""
        if isinstance(self.content, Slice):
            return self.content.read(start, length)
        end = None if length is None else start + length
        return self.content[start:end]


def directory(
    path: str, mode: int = 0o755, *, uid: int = 0, gid: int = 0, origin: str = ""
) -> Entry:
    """Return a directory entry."""
    return Entry(path, Kind.DIRECTORY, mode, uid=uid, gid=gid, origin=origin)


def symlink(path: str, target: str, *, origin: str = "") -> Entry:
    """Return a symbolic link entry."""
    return Entry(path, Kind.SYMLINK, 0o777, target=target, origin=origin)


class Spool:
    """Contents set aside in one unnamed temporary file, read back as slices."""

    def __init__(self, folder: Path, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the file in `folder`; once `stopped()`, `add` raises `KeyboardInterrupt`."""
        self._stopped = stopped
        self._folder = folder
        with writing(folder):
            self._file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._end = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the space; slices of this spool are unusable afterwards."""
        with contextlib.suppress(OSError):  # What a full disk did not take is not wanted now.
            self._file.close()

    def add(self, chunks: Iterator[bytes]) -> Slice:
        """Append `chunks` and return where they are; raises `OutputUnwritable`."""
        if self._stopped():
            raise KeyboardInterrupt
        start = self._end
        for chunk in chunks:
            with writing(self._folder):
                self._file.write(chunk)
            self._end += len(chunk)
        return Slice(self._file, start, self._end - start)

    def flush(self) -> None:
        """Make everything added so far readable through its slices."""
        with writing(self._folder):
            self._file.flush()


def merge(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return entries by path; the same directory, link or content may occur again.

    Raises `ValueError` that names both origins where two entries differ.
    """
    merged: dict[str, Entry] = {}
    for entry in entries:
        present = merged.get(entry.path)
        if present is None:
            merged[entry.path] = entry
        elif not _same(present, entry):
            raise ValueError(
                f"'{entry.path}' comes from {present.origin} and, different, from {entry.origin}"
            )
    return merged


def _same(one: Entry, other: Entry) -> bool:
    if one.kind is not other.kind:
        return False
    if one.kind is Kind.DIRECTORY:
        return True
    if one.kind is Kind.FILE:
        return one.size_bytes == other.size_bytes and one.read() == other.read()
    return one.target == other.target
