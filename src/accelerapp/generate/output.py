"""Files into a folder: all of them or none, and nowhere else.

A whole folder is written beside its place and then exchanged for what is there, so a
reader and an interrupted writer leave the old one or the new one.  Nothing is synced to
the disk: after a loss of power, generate again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from accelerapp.generate import File

# By this file a former output is known, which may be replaced.
MANIFEST = "device.json"


class OutputError(Exception):
    """The folder cannot be written. `full` if the disk or a quota is at its end;
    `foreign` if something is there that is no former output."""

    exit_code = 6

    def __init__(self, message: str, *, full: bool = False, foreign: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.foreign = foreign


def write(
    files: Sequence[File], directory: Path, *, within: Path | None = None, replace: bool = False
) -> None:
    """Make `directory` hold `files` and nothing else.

    A former output there is replaced; anything else only with `replace`. With `within`,
    `directory` has to be inside of it once symbolic links are followed. Raises OutputError.
    """
    try:
        _write(files, directory, within, replace)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space" if full else "choose another folder, or make it writable"
        reason = error.strerror or str(error)
        raise OutputError(f"{directory} cannot be written: {reason}; {hint}", full=full) from error


def _write(files: Sequence[File], directory: Path, within: Path | None, replace: bool) -> None:
    # The last part stays as it is: a link is replaced, never written through.
    parent = Path(os.path.abspath(directory)).parent
    if within is not None:
        within.mkdir(parents=True, exist_ok=True)
        real, allowed = parent.resolve(), within.resolve()
        if real != allowed and allowed not in real.parents:
            raise OutputError(f"{directory} is outside of {within}; choose a folder inside of it")
        parent = real
    parent.mkdir(parents=True, exist_ok=True)
    place = parent / directory.name
    _check_former(place, replace)
    stage = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=parent))
    try:
        new = stage / "new"
        _fill(new, files)
        _exchange(new, place, stage / "old")
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _fill(folder: Path, files: Sequence[File]) -> None:
    folder.mkdir()
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content.encode())


def _exchange(new: Path, place: Path, old: Path) -> None:
    """Put `new` at `place`; what was there is left in the folder of `new`."""
    # Another writer may come and go between two calls, but not every time.
    for _ in range(100):
        try:
            # Nothing there, or an empty folder.
            new.rename(place)
            return
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
        with contextlib.suppress(FileNotFoundError):
            _swap(new, place, old)
            return
    raise OutputError(f"{place} is written by others all the time; try again")


_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def _swap(new: Path, place: Path, old: Path) -> None:
    """Exchange the two in one step: renameat2(2), where kernel and file system have it."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        names = os.fsencode(new), os.fsencode(place)
        if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EPERM):
            raise OSError(number, os.strerror(number), str(place))
    # In two steps: if the second does not come, the first is taken back.
    place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        old.rename(place)
        raise


def _check_former(place: Path, replace: bool) -> None:
    if replace or not (place.exists() or place.is_symlink()):
        return
    if place.is_dir() and not place.is_symlink():
        if not any(place.iterdir()):
            return
        try:
            manifest = json.loads((place / MANIFEST).read_bytes())
        except (OSError, ValueError):
            manifest = None
        if isinstance(manifest, dict) and "accelerapp" in manifest:
            return
    raise OutputError(
        f"{place} is there and was not generated; remove it, choose another folder",
        foreign=True,
    )
