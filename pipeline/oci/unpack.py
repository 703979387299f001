"""A layer's blob read back as the tar that it is, whatever compressed it (layer.md)."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.errors import ImageInvalid, ToolMissing

_READ_BYTES = 1 << 20


class LayerTar:
    """The uncompressed bytes of a layer, as a file to read once from beginning to end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        """Bytes that were read so far: the tar's length, after `drain`."""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all of the rest by default."""
        data = self._file.read(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data

    def drain(self) -> None:
        """Read what is left, such as the padding that no reader of tars looks at."""
        while self.read(_READ_BYTES):
            pass

    @property
    def diff_id(self) -> str:
        """The digest of the bytes that were read: the layer's diff_id, after `drain`."""
        return f"sha256:{self._hash.hexdigest()}"


@contextlib.contextmanager
def open_layer(path: Path, compression: str) -> Iterator[LayerTar]:
    """Yield the tar inside the blob at `path`.

    `compression` is `gzip`, `zstd` or empty, as `ImageLayer.compression`.  Raises
    `ImageInvalid` for a blob that is damaged or missing, also from within the body, and
    `ToolMissing` for zstd where Python cannot read it.
    """
    try:
        with _decompressed(path, compression) as file:
            yield LayerTar(file)
    except Exception as error:
        if not (isinstance(error, OSError | EOFError | zlib.error) or _is_zstd_error(error)):
            raise
        if isinstance(error, FileNotFoundError):
            problem = "is not there"
        else:
            problem = f"cannot be read: {' '.join(str(error).split())}"
        raise ImageInvalid(
            f"the layer {path.name[:12]} {problem}", hint="build or pull the image again"
        ) from None


def _decompressed(path: Path, compression: str) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(path))
    if compression == "zstd":
        return _zstd(path)
    return path.open("rb")


def _zstd(path: Path) -> BinaryIO:
    """Open with Python's own zstd (3.14), or the package zstandard."""
    with contextlib.suppress(ImportError):
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return cast(BinaryIO, zstd.open(path))
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ToolMissing(
            f"the layer {path.name[:12]} is compressed with zstd, which this Python cannot read",
            hint="use Python 3.14 or newer, or pip install zstandard",
        ) from None
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return cast(BinaryIO, reader)


def _is_zstd_error(error: Exception) -> bool:
    """Whether one of the two above says so; neither's errors have a base to catch them by."""
    return type(error).__name__ == "ZstdError"
