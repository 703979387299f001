"""The cache: blobs by digest, and records by the key of what made them.

A blob is trusted for its digest alone, which is checked each time it is used;
a record is a small JSON document with a checksum.  Every write goes to a file
of its own and is renamed into place, so builds may run side by side and stop
at any point.  What is damaged is removed and made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.atomic import file_sha256, write_atomically, writing
from pipeline.errors import CacheBusy


def default_cache_folder() -> Path:
    """Return `$ACCELERAPP_BUILD_CACHE`, or the folder that this system keeps caches in."""
    configured = os.environ.get("ACCELERAPP_BUILD_CACHE")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("accelerapp")


def key_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-compatible value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one part of the cache holds."""

    part: str
    files: int
    size_bytes: int


@dataclass(slots=True)
class Cache:
    """A cache folder. Safe for threads and for several processes."""

    folder: Path
    damaged: list[str] = field(default_factory=list)
    """What was found damaged and removed, for the report."""

    @property
    def blobs(self) -> Path:
        """The folder of blobs."""
        return self.folder / "blobs" / "sha256"

    def blob_path(self, sha256: str) -> Path:
        """Return where the blob with this digest is, or would be."""
        return self.blobs / sha256[:2] / sha256

    def new_blob_path(self, sha256: str) -> Path:
        """Return where to put the blob with this digest; its folder is there."""
        path = self.blob_path(sha256)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def temporary_folder(self) -> Path:
        """Return the folder for work in progress, on the same file system as the blobs."""
        folder = self.folder / "tmp"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Return whether a blob of this digest and size is there, unread."""
        try:
            return self.blob_path(sha256).stat().st_size == size_bytes
        except OSError:
            return False

    def verified(self, sha256: str) -> Path | None:
        """Return the blob's path after reading it through, or None.

        A blob whose bytes are not those of its name is removed and noted in `damaged`.
        """
        path = self.blob_path(sha256)
        try:
            actual = file_sha256(path)
        except OSError:
            return None
        if actual != sha256:
            self.damaged.append(f"blob {sha256[:12]}")
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return path

    @contextlib.contextmanager
    def new_blob(self) -> Iterator[NewBlob]:
        """Yield a file to write; `keep(sha256)` moves it into place, otherwise it is gone."""
        folder = self.temporary_folder()
        with writing(folder):
            descriptor, name = tempfile.mkstemp(dir=folder)
            blob = NewBlob(os.fdopen(descriptor, "w+b"), Path(name), self)
            try:
                with blob.file:
                    yield blob
            finally:
                Path(name).unlink(missing_ok=True)

    def store(self, data: bytes) -> str:
        """Keep `data` and return its SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        with self.new_blob() as blob:
            blob.file.write(data)
            blob.keep(sha256)
        return sha256

    def record(self, kind: str, key: str) -> Any | None:
        """Return the record of this kind and key, or None when absent or damaged."""
        path = self._record_path(kind, key)
        try:
            text = path.read_bytes()
        except OSError:
            return None
        checksum, _, body = text.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            self.damaged.append(f"record {kind}/{key[:12]}")
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return json.loads(body)

    def write_record(self, kind: str, key: str, value: Any) -> None:
        """Keep a JSON-compatible value under this kind and key."""
        body = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        checksum = hashlib.sha256(body).hexdigest().encode()
        write_atomically(self._record_path(kind, key), checksum + b"\n" + body)

    def _record_path(self, kind: str, key: str) -> Path:
        return self.folder / "records" / kind / f"{key}.json"

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold the lock called `name` against other processes."""
        folder = self.folder / "locks"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / name).open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `prune` away while a build reads blobs."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / "in-use").open("ab")
        with file:
            fcntl.flock(file, fcntl.LOCK_SH)
            self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        # A killed build leaves files in tmp; a day is longer than any build.
        yesterday = time.time() - 86_400
        for path in (self.folder / "tmp").glob("*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < yesterday:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def usage(self) -> tuple[Usage, ...]:
        """Return how much each part of the cache holds."""
        parts = []
        for folder in sorted(p for p in self.folder.glob("*") if p.is_dir()):
            sizes = [
                p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink()
            ]
            parts.append(Usage(folder.name, len(sizes), sum(sizes)))
        return tuple(parts)

    def prune(self, *, unused_for_s: float, now_s: float) -> tuple[int, int]:
        """Remove what no build used for that long; return how many files, how many bytes.

        Raises `CacheBusy` while a build runs.
        """
        if not self.folder.is_dir():
            return (0, 0)
        files = size_bytes = 0
        with writing(self.folder), (self.folder / "in-use").open("ab") as guard:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CacheBusy(
                    f"a build is using the cache {self.folder}", hint="try again when it is done"
                ) from None
            for path in sorted(self._prunable()):
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue  # A temporary file whose owner finished.
                if now_s - status.st_mtime < unused_for_s:
                    continue
                inside = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
                files += len(inside)
                size_bytes += sum(p.lstat().st_size for p in inside)
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        return (files, size_bytes)

    def _prunable(self) -> Iterator[Path]:
        yield from self.blobs.glob("*/*")
        yield from (self.folder / "records").glob("*/*")
        for folder in ("environments", "interpreters", "logs", "sources", "tmp"):
            yield from (self.folder / folder).glob("*")


@dataclass(slots=True)
class NewBlob:
    """A blob that is being written."""

    file: BinaryIO
    path: Path
    cache: Cache

    def keep(self, sha256: str) -> None:
        """Move the finished file to its place."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.fchmod(self.file.fileno(), 0o644)
        place = self.cache.blob_path(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path, place)
