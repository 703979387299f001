"""Files that are whole or absent: atomic writes, and one error for a disk that refuses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import OutputUnwritable

_CHUNK = 1 << 20
_UNWRITABLE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,  # mkdir, where a file is
    errno.EFBIG,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into `OutputUnwritable`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        reason = (error.strerror or "cannot write").lower()
        raise OutputUnwritable(
            f"{path} cannot be written: {reason}", hint="free space there or choose another folder"
        ) from error


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else, this process or another, writes outputs to a folder; make it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        guard = (folder / ".lock").open("ab")
    with guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` with `data`: after a crash there is the old file or the new one."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def copy_verified(source: Path, destination: Path, sha256: str) -> None:
    """Copy a blob unless `destination` already holds those bytes. Atomic."""
    with writing(destination):
        if destination.exists() and file_sha256(destination) == sha256:
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".blob.", dir=destination.parent)
        try:
            with os.fdopen(descriptor, "wb") as writer, source.open("rb") as reader:
                shutil.copyfileobj(reader, writer, _CHUNK)
                writer.flush()
                os.fchmod(writer.fileno(), 0o644)
            os.replace(name, destination)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
