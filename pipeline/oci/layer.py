"""A layer: entries in, the same gzip-compressed tar out, to the byte, everywhere.

Follows the OCI image specification (layer.md): parents before children, no path
twice.  The tar is PAX with a fixed time, numeric owners and sorted paths.  gzip
has no canonical bytes, so the compressor (libdeflate, which gives one output on
every machine) is pinned by requirements/dev.txt and asked for its golden bytes
before it is trusted; see `check_compressor`.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO

from pipeline.entries import Entry, Kind, directory
from pipeline.errors import CompressorChanged, ToolMissing

# The tar is cut every 4 MiB and each part becomes a gzip member of its own
# (RFC 1952, 2.2), so memory is bounded and both cores can work.
_MEMBER_BYTES = 4 << 20
_LEVEL = 7
_READ_BYTES = 1 << 20
_WORKERS = 2

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
}


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """A written layer. `digest` names the compressed bytes, `diff_id` the tar inside."""

    digest: str
    diff_id: str
    size_bytes: int
    unpacked_bytes: int
    """Length of the tar."""


def write_layer(entries: Iterable[Entry], out: BinaryIO, *, epoch_s: int) -> LayerBlob:
    """Write `entries` to `out` as a gzip-compressed tar and return its digests.

    Sorts by path, adds parent directories that are missing, and gives every member the
    modification time `epoch_s` (seconds since 1970).  Raises `ValueError` for a path that
    occurs twice, leaves the root or is inside something else than a folder, and for a hard
    link without its target.
    """
    return write_tar(tar_chunks(arrange(entries), epoch_s=epoch_s), out)


def write_tar(tar: Iterable[bytes], out: BinaryIO) -> LayerBlob:
    """Write the bytes of a tar to `out`, gzip-compressed, and return its digests."""
    tar_hash = hashlib.sha256()
    gzip_hash = hashlib.sha256()
    tar_bytes = gzip_bytes = 0
    pending: deque[Future[bytes]] = deque()

    def write_oldest() -> None:
        nonlocal gzip_bytes
        member = pending.popleft().result()
        gzip_hash.update(member)
        gzip_bytes += len(member)
        out.write(member)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for part in _parts(tar):
            tar_hash.update(part)
            tar_bytes += len(part)
            pending.append(pool.submit(compress, part))
            if len(pending) > _WORKERS:
                write_oldest()
        while pending:
            write_oldest()
    return LayerBlob(
        digest=f"sha256:{gzip_hash.hexdigest()}",
        diff_id=f"sha256:{tar_hash.hexdigest()}",
        size_bytes=gzip_bytes,
        unpacked_bytes=tar_bytes,
    )


def compress(data: bytes) -> bytes:
    """Return `data` as one gzip member with a header that names no time, file or system."""
    try:
        import deflate
    except ImportError:
        raise ToolMissing(
            "the Python package deflate, which compresses layers, is not installed",
            hint="pip install -r requirements/dev.txt",
        ) from None
    return bytes(deflate.gzip_compress(data, _LEVEL))


def check_compressor() -> None:
    """Raise `CompressorChanged` unless the compressor gives its golden bytes.

    Digests promise that the same description gives the same image on every machine;
    another version of the compressor would break that silently.
    """
    # A text of 256 words in no order: every level that is not the pinned one is noticed.
    words = [hashlib.sha256(bytes([i])).hexdigest()[: 3 + i % 9].encode() for i in range(256)]
    order = b"".join(hashlib.sha512(bytes([i])).digest() for i in range(256))
    sample = b" ".join(words[i] for i in order)
    actual = hashlib.sha256(compress(sample)).hexdigest()
    if actual != _GOLDEN:
        raise CompressorChanged(
            f"the compressor gives other bytes than the pinned one ({actual[:12]}, "
            f"expected {_GOLDEN[:12]})",
            hint="install the locked version: pip install -r requirements/dev.txt",
        )


_GOLDEN = "f4bd54a5077709fc8a2f9baf9f597d7294d7d5984726041ba6b7a43a41c5e1ab"


def arrange(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries sorted by path, complete with parents; see `write_layer`."""
    by_path: dict[str, Entry] = {}
    for entry in entries:
        path = entry.path
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise ValueError(f"'{path}' ({entry.origin}) is not a path inside a layer")
        if path in by_path:
            raise ValueError(f"'{path}' comes from {by_path[path].origin} and from {entry.origin}")
        by_path[path] = entry
    for path in list(by_path):
        parent = path.rpartition("/")[0]
        while parent and parent not in by_path:
            by_path[parent] = directory(parent)
            parent = parent.rpartition("/")[0]
        if parent and by_path[parent].kind is not Kind.DIRECTORY:
            inside = f"'{path}' ({by_path[path].origin}) is inside '{parent}'"
            raise ValueError(f"{inside} ({by_path[parent].origin}), which is no folder")
    _order_hard_links(by_path)
    # "a/b" sorts before "a-b/c" this way, so that a folder's content stays together.
    return sorted(by_path.values(), key=lambda entry: entry.path.split("/"))


def _order_hard_links(by_path: dict[str, Entry]) -> None:
    """Give the first path of each set of hard links the content; the others point at it."""
    groups: dict[str, list[str]] = {}
    for path, entry in by_path.items():
        if entry.kind is Kind.HARDLINK:
            groups.setdefault(entry.target, []).append(path)
    for target, links in groups.items():
        original = by_path.get(target)
        if original is None or original.kind is not Kind.FILE:
            raise ValueError(f"hard link '{links[0]}' points at '{target}', which is no file here")
        first, *rest = sorted([target, *links], key=lambda path: path.split("/"))
        by_path[first] = replace(original, path=first)
        for path in rest:
            by_path[path] = replace(
                original, path=path, kind=Kind.HARDLINK, content=b"", target=first
            )


def tar_chunks(entries: Iterable[Entry], *, epoch_s: int) -> Iterator[bytes]:
    """Yield the bytes of a tar (POSIX.1-2001 pax) of entries that are in order."""
    for entry in entries:
        member = tarfile.TarInfo(entry.path)
        member.type = _TYPES[entry.kind]
        member.mode = entry.mode
        member.uid, member.gid = entry.uid, entry.gid
        member.mtime = epoch_s
        member.linkname = entry.target
        member.size = entry.size_bytes if entry.kind is Kind.FILE else 0
        yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        for start in range(0, member.size, _READ_BYTES):
            chunk = entry.read(start, _READ_BYTES)
            if len(chunk) != min(_READ_BYTES, member.size - start):
                raise ValueError(f"'{entry.path}' ({entry.origin}) is shorter than it was")
            yield chunk
        yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _parts(chunks: Iterable[bytes]) -> Iterator[bytes]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _MEMBER_BYTES:
            yield bytes(buffer[:_MEMBER_BYTES])
            del buffer[:_MEMBER_BYTES]
    if buffer:
        yield bytes(buffer)
