"""A binary package (deb(5)) read into entries, without dpkg and without running anything."""

from __future__ import annotations

import io
import lzma
import posixpath
import re
import tarfile
import typing
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from pipeline.entries import Entry, Kind, Spool
from pipeline.errors import ArchiveMalformed
from pipeline.sources.globs import matcher

# What no container of a service reads.  Licences stay: redistribution asks for them.
_DOCUMENTATION = matcher(
    (
        "usr/share/bug/**",
        "usr/share/doc-base/**",
        "usr/share/doc/**",
        "usr/share/info/**",
        "usr/share/lintian/**",
        "usr/share/locale/**",
        "usr/share/man/**",
        "usr/share/menu/**",
        "usr/share/bash-completion/**",
    )
)
_LICENCES = matcher(("usr/share/doc/*/copyright", "usr/share/common-licenses/**"))
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class UnpackedPackage:
    """A package's files, and what its control archive says."""

    name: str
    entries: tuple[Entry, ...]
    control: str
    """The control paragraph, as it is."""
    postinst: bool
    """Whether it has a script that would run after unpacking."""


def unpack(path: Path, spool: Spool, *, exclude: Callable[[str], bool]) -> UnpackedPackage:
    """Read the package at `path`; contents go to `spool`.

    Leaves out documentation, but for licences, and what `exclude` matches; moves files
    out of the directories that a merged /usr turns into links; adds what scanners read
    (`/var/lib/dpkg/status.d`).  Raises `ArchiveMalformed`.
    """
    try:
        with path.open("rb") as file:
            control, md5sums, postinst = "", "", False
            entries: list[Entry] = []
            for member, stream in _ar_members(file):
                if member.startswith("control.tar"):
                    for info, content in _tar_members(member, stream):
                        name = info.name.removeprefix("./")
                        if name == "control":
                            control = content.read().decode("utf-8")
                        elif name == "md5sums":
                            md5sums = content.read().decode("utf-8")
                        postinst = postinst or name == "postinst"
                elif member.startswith("data.tar"):
                    package = _field(control, "Package")
                    for info, content in _tar_members(member, stream):
                        place = merged_usr(info.name.removeprefix("./").strip("/"))
                        if _kept(place, info, exclude):
                            entries.append(_entry(place, info, content, spool, package))
    except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        raise ArchiveMalformed(
            f"the Debian package {path.name[:12]} cannot be read ({error})",
            hint="remove it with 'invoke cache --prune' and build again",
        ) from error
    name = _field(control, "Package")
    if not name or not entries:
        raise ArchiveMalformed(
            f"the Debian package {path.name[:12]} has no control paragraph or no files",
            hint="report this to the archive that it came from",
        )
    status = f"var/lib/dpkg/status.d/{name}"
    entries.append(Entry(status, content=control.encode(), origin=name))
    if md5sums:
        kept = _without_excluded(md5sums, entries)
        entries.append(Entry(f"{status}.md5sums", content=kept.encode(), origin=name))
    return UnpackedPackage(name, tuple(entries), control, postinst)


def merged_usr(path: str) -> str:
    """Return where a path is found once /bin, /lib and /sbin are links into /usr."""
    top, slash, _ = path.partition("/")
    return f"usr/{path}" if slash and top in _MERGED else path


def _field(control: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*(.*)$", control, re.MULTILINE)
    return found[1].strip() if found else ""


def _kept(path: str, info: tarfile.TarInfo, exclude: Callable[[str], bool]) -> bool:
    if path in ("", ".") or (path in _MERGED and info.isdir()):
        return False  # The root, or a folder that a merged /usr makes a link; see rootfs.py.
    if exclude(path):
        return False
    if not _DOCUMENTATION(path) or _LICENCES(path):
        return True
    # Some packages share another one's documentation folder, licence included.
    return info.issym() and posixpath.dirname(path) == "usr/share/doc"


def _without_excluded(md5sums: str, entries: list[Entry]) -> str:
    present = {entry.path for entry in entries}
    lines = [
        line for line in md5sums.splitlines() if merged_usr(line.partition("  ")[2]) in present
    ]
    return "".join(f"{line}\n" for line in lines)


def _entry(
    path: str, info: tarfile.TarInfo, content: IO[bytes], spool: Spool, package: str
) -> Entry:
    mode = info.mode & 0o7777
    if info.isdir():
        return Entry(path, Kind.DIRECTORY, mode, uid=info.uid, gid=info.gid, origin=package)
    if info.issym():
        raw = info.name.removeprefix("./").strip("/")
        target = _merged_target(raw, path, info.linkname)
        return Entry(path, Kind.SYMLINK, 0o777, target=target, origin=package)
    if info.islnk():
        target = merged_usr(info.linkname.removeprefix("./").strip("/"))
        return Entry(path, Kind.HARDLINK, mode, target=target, origin=package)
    if info.isreg():
        data = spool.add(iter(lambda: content.read(_CHUNK), b""))
        return Entry(path, mode=mode, content=data, uid=info.uid, gid=info.gid, origin=package)
    raise ValueError(f"'{path}' is neither file, directory nor link")


def _merged_target(raw: str, path: str, target: str) -> str:
    """Return a link's text such that it means at `path` what it meant at `raw`."""
    if raw == path or target.startswith("/"):
        return target
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(raw), target))
    return posixpath.relpath(merged_usr(meant), posixpath.dirname(path))


def _ar_members(file: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    if file.read(8) != b"!<arch>\n":
        raise ValueError("it is no ar archive")
    while header := file.read(60):
        if len(header) != 60 or header[58:] != b"`\n":
            raise ValueError("a member's header is damaged")
        name = header[:16].decode("ascii").rstrip(" /")
        size_bytes = int(header[48:58])
        start = file.tell()
        yield name, cast(BinaryIO, _Window(file, size_bytes))
        file.seek(start + size_bytes + size_bytes % 2)


class _Window:
    """The next `size_bytes` of a file, as a file that ends there."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        if len(data) != wanted:
            raise EOFError("it ends too early")
        self._left -= len(data)
        return data


def _tar_members(name: str, stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    compression = name.partition(".tar")[2].removeprefix(".")
    if compression not in ("", "gz", "xz", "bz2"):
        raise ValueError(f"{name} is compressed with {compression}, which is not supported")
    mode = cast("typing.Literal['r|*']", f"r|{compression}")
    # Names are UTF-8 (Debian Policy 10.10), whatever the locale here is.
    with tarfile.open(fileobj=stream, mode=mode, bufsize=_CHUNK, encoding="utf-8") as archive:
        for info in archive:
            content = archive.extractfile(info) if info.isreg() else None
            yield info, content or io.BytesIO()
