"""`/etc/ld.so.cache` without running ldconfig, so also for a foreign platform.

The format is glibc's own, "glibc-ld.so.cache1.1" alone with its extension
directory, as ldconfig has written by default since glibc 2.32 (`dl-cache.h`).
What goes in, and in which order, follows ldconfig(8) of glibc 2.36 and later:
no OS version, no legacy hardware capability directories (`tls`, `haswell`).

Differences from ldconfig: libraries of another machine than the platform's are
left out, where ldconfig on amd64 also lists i386 and x32 ones; the ISA level
of a library in `glibc-hwcaps` is not recorded (its directory's name decides);
`include` reaches only files in `/etc/ld.so.conf.d`; stale links stay.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.entries import Entry, symlink
from pipeline.platforms import Platform
from pipeline.sources.elf import ET_DYN, ElfFile, LinkTree, is_library_name

GENERATOR: Final = "pipeline.sources.ldcache"
"""What `ldconfig -p` prints as the cache's generator, unless told otherwise."""

_HEADER: Final = struct.Struct("<20sIIB3xI12x")
_ENTRY: Final = struct.Struct("<iIIIQ")
_SECTION: Final = struct.Struct("<IIII")
_MAGIC: Final = b"glibc-ld.so.cache1.1"
_LITTLE_ENDIAN: Final = 2
_EXTENSION_MAGIC: Final = 0xEAA42174
_TAG_GENERATOR: Final = 0
_TAG_GLIBC_HWCAPS: Final = 1
_HWCAP_EXTENSION: Final = 1 << 62
_HWCAPS: Final = "glibc-hwcaps"


@dataclass(frozen=True, slots=True)
class CachedLibrary:
    """One line of the cache."""

    soname: str
    """The key: DT_SONAME, or the file's name."""
    path: str
    """Absolute, by the name of the directory in ld.so.conf: `/lib/<triplet>/libc.so.6`."""
    hwcaps: str = ""
    """Name of the `glibc-hwcaps` subdirectory that the library is in."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A library of one directory, by the name under which ldconfig picks it."""

    name: str
    is_link: bool


def library_directories(tree: LinkTree, platform: Platform) -> tuple[str, ...]:
    """Return the directories ldconfig searches, absolute, first name of each first.

    Those of `/etc/ld.so.conf` and its includes come before Debian's defaults.
    """
    found: dict[str, str] = {}
    for directory in (*_configured(tree, "etc/ld.so.conf", set()), *default_directories(platform)):
        real = tree.resolve(directory)
        if real is not None:
            found.setdefault(real, directory)
    return tuple(found.values())


def default_directories(platform: Platform) -> tuple[str, ...]:
    """Return the directories Debian's glibc searches when there is no configuration."""
    triplet = platform.gnu_triplet
    return (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib", "/usr/lib")


def cached_libraries(tree: LinkTree, platform: Platform) -> tuple[CachedLibrary, ...]:
    """Return what `ldconfig` would put into the cache, in its order."""
    found: list[CachedLibrary] = []
    for directory, hwcaps, libraries in _searched(tree, platform):
        for soname in sorted(libraries):
            # Links in glibc-hwcaps are nobody's to make, so the file itself is named.
            name = libraries[soname].name if hwcaps else soname
            found.append(CachedLibrary(soname, f"{directory}/{name}", hwcaps))
    found.sort(key=lambda library: library.hwcaps)
    found.sort(key=lambda library: not library.hwcaps)
    found.sort(key=lambda library: _version_key(library.soname), reverse=True)
    return tuple(found)


def soname_links(tree: LinkTree, platform: Platform) -> tuple[Entry, ...]:
    """Return the symbolic links that `ldconfig` would create, or point to a newer file.

    `libfoo.so.1 -> libfoo.so.1.2` when the file says that its soname is
    `libfoo.so.1`.  A regular file of that name is left alone.  The result is
    sorted by path.
    """
    wanted: list[Entry] = []
    for directory, hwcaps, libraries in _searched(tree, platform):
        real = tree.resolve(directory)
        for soname, library in libraries.items():
            if hwcaps or library.is_link or soname == library.name:
                continue
            path, target = f"{real}/{soname}", f"{real}/{library.name}"
            if path in tree.files or "/" in soname:
                continue
            current, new = tree.resolve(path), tree.resolve(target)
            if path not in tree.symlinks or not (
                current and new and tree.is_same_file(current, new)
            ):
                wanted.append(symlink(path, library.name, origin="ldconfig"))
    return tuple(sorted(wanted, key=lambda entry: entry.path))


def write_cache(
    libraries: tuple[CachedLibrary, ...], platform: Platform, *, generator: str = GENERATOR
) -> bytes:
    """Return the bytes of `/etc/ld.so.cache`; `libraries` in ldconfig's order."""
    hwcaps = sorted({library.hwcaps for library in libraries if library.hwcaps})
    texts = {*hwcaps}
    for library in libraries:
        texts |= {library.soname, library.path}
    start = _HEADER.size + len(libraries) * _ENTRY.size
    strings, offsets = _string_table(texts, start)
    entries = b"".join(
        _ENTRY.pack(
            platform.ldcache_flags,
            offsets[library.soname],
            offsets[library.path],
            0,
            _HWCAP_EXTENSION | hwcaps.index(library.hwcaps) if library.hwcaps else 0,
        )
        for library in libraries
    )
    padding = bytes(-(start + len(strings)) % 4)
    extension_at = start + len(strings) + len(padding)
    header = _HEADER.pack(_MAGIC, len(libraries), len(strings), _LITTLE_ENDIAN, extension_at)
    names = struct.pack(f"<{len(hwcaps)}I", *(offsets[name] for name in hwcaps))
    text = _encode(generator)
    count = 2 if hwcaps else 1
    names_at = extension_at + 8 + count * _SECTION.size
    sections = _SECTION.pack(_TAG_GENERATOR, 0, names_at + len(names), len(text))
    if hwcaps:
        sections += _SECTION.pack(_TAG_GLIBC_HWCAPS, 0, names_at, len(names))
    extension = struct.pack("<II", _EXTENSION_MAGIC, count) + sections
    return header + entries + strings + padding + extension + names + text


def _configured(tree: LinkTree, path: str, seen: set[str]) -> Iterator[str]:
    if path in seen:
        return
    seen.add(path)
    for line in tree.ld_so_conf.get(path, "").splitlines():
        text = line.partition("#")[0].strip()
        include = re.fullmatch(r"include[ \t]+(.*)", text)
        if include:
            for pattern in include[1].split():
                absolute = posixpath.join("/", posixpath.dirname(path), pattern)
                for known in sorted(tree.ld_so_conf):
                    # As in glob(7), a wildcard stays inside its directory and skips dot files.
                    if (
                        posixpath.dirname(f"/{known}") == posixpath.dirname(absolute)
                        and not posixpath.basename(known).startswith(".")
                        and fnmatch.fnmatchcase(f"/{known}", absolute)
                    ):
                        yield from _configured(tree, known, seen)
        elif text and not re.match(r"(?i)hwcap[ \t]", text):
            directory = text.partition("=")[0].rstrip().rstrip("/")
            if directory.startswith("/"):
                yield directory


def _searched(tree: LinkTree, platform: Platform) -> Iterator[tuple[str, str, dict[str, _Found]]]:
    """Yield `(directory, hwcaps, {soname: library})` in the order of ldconfig's search."""
    names = tree.names()
    directories = [(directory, "") for directory in library_directories(tree, platform)]
    for parent, _ in tuple(directories):
        prefix = f"{tree.resolve(f'{parent}/{_HWCAPS}')}/"
        below = {folder[len(prefix) :] for folder in names if folder.startswith(prefix)}
        directories += [
            (f"{parent}/{_HWCAPS}/{name}", name)
            for name in sorted(below)
            # The loader's list of these is separated by colons, and they do not nest.
            if "/" not in name and ":" not in name and not name.startswith(".")
        ]
    for directory, hwcaps in directories:
        real = tree.resolve(directory)
        if real is None:
            continue
        libraries: dict[str, _Found] = {}
        for name in names.get(real, ()):
            if is_library_name(name):
                _consider(tree, platform, f"{real}/{name}", name, libraries)
        yield directory, hwcaps, libraries


def _consider(
    tree: LinkTree, platform: Platform, path: str, name: str, libraries: dict[str, _Found]
) -> None:
    is_link = path in tree.symlinks
    real = tree.resolve(path)
    elf = tree.files.get(real) if real else None
    if elf is None or not _is_library(elf, platform):
        return
    soname = elf.soname or name
    if is_link:
        # A link that is neither the soname nor the linker's libfoo.so counts as a file.
        is_link = name == soname or (name.endswith(".so") and soname.startswith(name))
        if is_link:
            soname = name
    other = libraries.get(soname)
    if (
        other is None
        or (other.is_link and not is_link)
        or (other.is_link == is_link and _version_key(other.name) < _version_key(name))
    ):
        libraries[soname] = _Found(name, is_link)


def _is_library(elf: ElfFile, platform: Platform) -> bool:
    return (
        elf.type == ET_DYN
        and elf.has_dynamic
        and elf.machine == platform.elf_machine
        and elf.is_64bit
        and elf.is_little_endian
    )


def _version_key(name: str) -> tuple[tuple[int, int], ...]:
    """Order names as the loader's binary search does: numbers by value, above all else."""
    return tuple(
        (1, int(part)) if part.isdigit() else (0, ord(part))
        for part in re.findall(r"[0-9]+|[^0-9]", name, re.DOTALL)
    )


def _string_table(texts: set[str], start: int) -> tuple[bytes, dict[str, int]]:
    """Return NUL-terminated strings, one inside another's tail where that fits, and offsets."""
    table = bytearray()
    offsets: dict[str, int] = {}
    previous, previous_at = b"", 0
    for text in sorted(texts, key=lambda text: _encode(text)[::-1], reverse=True):
        raw = _encode(text)
        if table and previous.endswith(raw):
            at = previous_at + len(previous) - len(raw)
        else:
            at = len(table)
            table += raw + b"\0"
        offsets[text] = start + at
        previous, previous_at = raw, at
    return bytes(table), offsets


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
