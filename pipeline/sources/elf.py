"""What ELF files ask of the image they are in, read without executing anything.

`read_dynamic` reads one file: the System V ABI's program headers and dynamic
section, and the GNU symbol versioning tables (Linux Standard Base, "Symbol
Versioning").  Section headers are never needed, as they are for the loader.

`scan` reads one layer into a `LinkFacts`, which turns into JSON and back, so
that an unchanged layer is read once.  `LinkTree` lays the facts of all layers
of an image over each other and follows their links; `closure` and `ldcache`
work on that alone.
"""

from __future__ import annotations

import functools
import posixpath
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.entries import Entry, Kind

ET_REL: Final = 1
ET_EXEC: Final = 2
ET_DYN: Final = 3

_MAGIC: Final = b"\x7fELF"
_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3

_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5
_DT_STRSZ: Final = 10
_DT_SONAME: Final = 14
_DT_RPATH: Final = 15
_DT_RUNPATH: Final = 29
_DT_VERDEF: Final = 0x6FFFFFFC
_DT_VERDEFNUM: Final = 0x6FFFFFFD
_DT_VERNEED: Final = 0x6FFFFFFE
_DT_VERNEEDNUM: Final = 0x6FFFFFFF

_VER_FLG_BASE: Final = 1
_VER_FLG_WEAK: Final = 2

_FIRST_READ: Final = 2048
_TABLE_READ: Final = 4096
_SPAN_MAX: Final = 256 * 1024

# No real file comes near these; they keep a hostile one from costing time or memory.
_PROGRAM_HEADERS_MAX: Final = 4096
_DYNAMIC_MAX: Final = 256 * 1024
_FOLLOWS_MAX: Final = 40
_STRING_MAX: Final = 16 * 1024
_STRINGS_TOTAL_MAX: Final = 1024 * 1024
_VERSIONS_MAX: Final = 8192

Read = Callable[[int, int], bytes]
"""`read(offset, length)`: at most `length` bytes, fewer only at the end of the file."""


@dataclass(frozen=True, slots=True)
class ElfFile:
    """The facts of one ELF file that decide where and with what it runs."""

    machine: int
    """`e_machine`."""
    type: int
    """`e_type`: `ET_EXEC`, `ET_DYN`, `ET_REL` or another; only the first two are read further."""
    is_64bit: bool = True
    is_little_endian: bool = True
    has_dynamic: bool = False
    """False for a static executable, an object file or detached debugging symbols."""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str = ""
    """`PT_INTERP`: the dynamic linker that an executable names, absolute."""
    required_versions: tuple[tuple[str, str], ...] = ()
    """`(library, version)` of DT_VERNEED; weak ones are left out, the loader lets them pass."""
    provided_versions: tuple[str, ...] = ()
    """Versions of DT_VERDEF, without the base version that only repeats the file's name."""

    def to_json(self) -> dict[str, Any]:
        """Return a compact JSON object; what has its usual value is left out."""
        document: dict[str, Any] = {"machine": self.machine, "type": self.type}
        if not self.is_64bit:
            document["bits"] = 32
        if not self.is_little_endian:
            document["endian"] = "big"
        if self.has_dynamic:
            document["dynamic"] = True
        if self.soname:
            document["soname"] = self.soname
        if self.interpreter:
            document["interpreter"] = self.interpreter
        for name in ("needed", "rpath", "runpath"):
            if value := getattr(self, name):
                document[name] = list(value)
        if self.required_versions:
            requires: dict[str, list[str]] = {}
            for library, version in self.required_versions:
                requires.setdefault(library, []).append(version)
            document["requires"] = requires
        if self.provided_versions:
            document["provides"] = list(self.provided_versions)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ElfFile:
        """Return what `to_json` wrote. Raises `KeyError` or `TypeError` for anything else."""
        return cls(
            machine=document["machine"],
            type=document["type"],
            is_64bit=document.get("bits") != 32,
            is_little_endian=document.get("endian") != "big",
            has_dynamic=document.get("dynamic", False),
            soname=document.get("soname", ""),
            needed=tuple(document.get("needed", ())),
            rpath=tuple(document.get("rpath", ())),
            runpath=tuple(document.get("runpath", ())),
            interpreter=document.get("interpreter", ""),
            required_versions=tuple(
                (library, version)
                for library, versions in document.get("requires", {}).items()
                for version in versions
            ),
            provided_versions=tuple(document.get("provides", ())),
        )


def read_dynamic(read: Read) -> ElfFile | None:
    """Return the facts of an ELF file, or None when it is not an ELF file.

    Takes three reads for nearly every file, in bounded time and memory for any.
    Raises `ValueError` with the reason when the file is truncated or malformed.
    """
    head = read(0, _FIRST_READ)
    if head[:4] != _MAGIC:
        return None
    if len(head) < 16:
        raise ValueError("ELF header is truncated")
    if head[4] not in (1, 2):
        raise ValueError(f"ELF class {head[4]} is neither 32-bit nor 64-bit")
    if head[5] not in (1, 2):
        raise ValueError(f"ELF data encoding {head[5]} is neither little nor big endian")
    is_64bit, is_little_endian = head[4] == 2, head[5] == 1
    shapes = _shapes(is_64bit, is_little_endian)
    if len(head) < 16 + shapes.header.size:
        raise ValueError("ELF header is truncated")
    header = shapes.header.unpack_from(head, 16)
    file_type, machine, program_offset = header[0], header[1], header[4]
    program_entry_size, program_count = header[8], header[9]
    if file_type not in (ET_EXEC, ET_DYN) or not program_count:
        return ElfFile(machine, file_type, is_64bit, is_little_endian)
    if program_entry_size != shapes.program.size:
        raise ValueError(f"program headers of {program_entry_size} bytes")
    if program_count > _PROGRAM_HEADERS_MAX:
        raise ValueError(f"{program_count} program headers")

    image = _Image(read, head, shapes)
    table = image.bytes_at(program_offset, program_count * program_entry_size, "program headers")
    interpreter = ""
    dynamic: tuple[int, int] | None = None
    for segment in shapes.program.iter_unpack(table):
        if is_64bit:
            kind, _, offset, address, _, size, _, _ = segment
        else:
            kind, offset, address, _, size, _, _, _ = segment
        if kind == _PT_LOAD:
            image.loads.append((address, offset, size))
        elif kind == _PT_DYNAMIC and dynamic is None:
            dynamic = (offset, size)
        elif kind == _PT_INTERP and size:
            if size > _STRING_MAX:
                raise ValueError(f"program interpreter of {size} bytes")
            path, _, _ = image.bytes_at(offset, size, "program interpreter").partition(b"\0")
            interpreter = _text(path)
    # Detached debugging symbols keep the segment and drop its bytes.
    if dynamic is None or not dynamic[1]:
        return ElfFile(machine, file_type, is_64bit, is_little_endian, interpreter=interpreter)
    return _read_dynamic_section(
        image,
        dynamic,
        ElfFile(machine, file_type, is_64bit, is_little_endian, True, interpreter=interpreter),
    )


def _read_dynamic_section(image: _Image, dynamic: tuple[int, int], facts: ElfFile) -> ElfFile:
    offset, size = dynamic
    entry = image.shapes.dynamic
    if size > _DYNAMIC_MAX:
        raise ValueError(f"dynamic section of {size} bytes")
    table = image.bytes_at(offset, size - size % entry.size, "dynamic section")
    needed_at: list[int] = []
    values: dict[int, int] = {}
    for tag, value in entry.iter_unpack(table):
        if tag == 0:
            break
        if tag == _DT_NEEDED:
            needed_at.append(value)
        else:
            values[tag] = value

    if _DT_STRTAB not in values:
        if needed_at or _DT_SONAME in values or _DT_VERNEED in values:
            raise ValueError("dynamic section has no string table")
        return facts
    image.strings_at = image.offset_of(values[_DT_STRTAB], "dynamic string table")
    image.strings_size = values.get(_DT_STRSZ, 0)
    starts = {
        tag: image.offset_of(values[tag], what)
        for tag, what in ((_DT_VERNEED, "version needs"), (_DT_VERDEF, "version definitions"))
        if values.get(tag)
    }
    image.prefetch(
        [(image.strings_at, image.strings_size), *((at, _TABLE_READ) for at in starts.values())]
    )

    def path_list(tag: int) -> tuple[str, ...]:
        return tuple(image.string(values[tag]).split(":")) if tag in values else ()

    required: tuple[tuple[str, str], ...] = ()
    provided: tuple[str, ...] = ()
    if _DT_VERNEED in starts:
        required = _version_needs(image, starts[_DT_VERNEED], values.get(_DT_VERNEEDNUM, 0))
    if _DT_VERDEF in starts:
        provided = _version_definitions(image, starts[_DT_VERDEF], values.get(_DT_VERDEFNUM, 0))
    return ElfFile(
        facts.machine,
        facts.type,
        facts.is_64bit,
        facts.is_little_endian,
        has_dynamic=True,
        soname=image.string(values[_DT_SONAME]) if _DT_SONAME in values else "",
        needed=tuple(map(image.string, needed_at)),
        rpath=path_list(_DT_RPATH),
        runpath=path_list(_DT_RUNPATH),
        interpreter=facts.interpreter,
        required_versions=required,
        provided_versions=provided,
    )


def _version_needs(image: _Image, at: int, count: int) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    budget = _VERSIONS_MAX
    for index in range(count):
        version, aux_count, file, aux, following = image.unpack(
            image.shapes.verneed, at, "version needs"
        )
        if version != 1:
            raise ValueError(f"version needs of revision {version}")
        budget -= 1 + aux_count
        if budget < 0:
            raise ValueError("too many version needs")
        library = image.string(file)
        aux_at = at + aux
        for aux_index in range(aux_count):
            _, flags, _, name, aux_following = image.unpack(
                image.shapes.vernaux, aux_at, "version needs"
            )
            if not flags & _VER_FLG_WEAK:
                found.append((library, image.string(name)))
            if not aux_following and aux_index + 1 < aux_count:
                raise ValueError("version needs end early")
            aux_at += aux_following
        if not following and index + 1 < count:
            raise ValueError("version needs end early")
        at += following
    return tuple(found)


def _version_definitions(image: _Image, at: int, count: int) -> tuple[str, ...]:
    found: list[str] = []
    if count > _VERSIONS_MAX:
        raise ValueError("too many version definitions")
    for index in range(count):
        version, flags, _, aux_count, _, aux, following = image.unpack(
            image.shapes.verdef, at, "version definitions"
        )
        if version != 1:
            raise ValueError(f"version definitions of revision {version}")
        # The first name is the version, the others are the versions it inherits.
        if aux_count and not flags & _VER_FLG_BASE:
            name, _ = image.unpack(image.shapes.verdaux, at + aux, "version definitions")
            found.append(image.string(name))
        if not following and index + 1 < count:
            raise ValueError("version definitions end early")
        at += following
    return tuple(found)


class _Shapes:
    """Record layouts of one class and byte order."""

    def __init__(self, is_64bit: bool, is_little_endian: bool) -> None:
        order = "<" if is_little_endian else ">"
        self.header = struct.Struct(order + ("HHIQQQI6H" if is_64bit else "HHIIIII6H"))
        self.program = struct.Struct(order + ("IIQQQQQQ" if is_64bit else "8I"))
        self.dynamic = struct.Struct(order + ("qQ" if is_64bit else "iI"))
        self.verneed = struct.Struct(order + "HHIII")
        self.vernaux = struct.Struct(order + "IHHII")
        self.verdef = struct.Struct(order + "HHHHIII")
        self.verdaux = struct.Struct(order + "II")


@functools.cache
def _shapes(is_64bit: bool, is_little_endian: bool) -> _Shapes:
    return _Shapes(is_64bit, is_little_endian)


class _Image:
    """A file seen through a few windows, each filled by one read."""

    def __init__(self, read: Read, head: bytes, shapes: _Shapes) -> None:
        self.shapes = shapes
        self.loads: list[tuple[int, int, int]] = []
        self.strings_at = 0
        self.strings_size = 0
        self._strings_left = _STRINGS_TOTAL_MAX
        self._read = read
        self._windows: list[tuple[int, bytes]] = [(0, head)]

    def bytes_at(self, offset: int, size: int, what: str) -> bytes:
        """Return exactly `size` bytes of the file, or raise `ValueError`."""
        for start, data in self._windows:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        data = self._fetch(offset, size)
        if len(data) < size:
            raise ValueError(f"{what} lies outside of the file")
        return data

    def offset_of(self, address: int, what: str) -> int:
        """Return the file offset of a virtual address (System V ABI, PT_LOAD)."""
        for start, offset, size in self.loads:
            if start <= address < start + size:
                return address - start + offset
        raise ValueError(f"{what} lies outside of the loaded segments")

    def prefetch(self, spans: list[tuple[int, int]]) -> None:
        """Fetch the spans with one read when they are close, as linkers lay them out."""
        low = min(start for start, _ in spans)
        high = max(start + size for start, size in spans)
        if high - low <= _SPAN_MAX:
            self._windows.append((low, self._fetch(low, high - low)))

    def unpack(self, shape: struct.Struct, offset: int, what: str) -> tuple[int, ...]:
        """Return one record, reading its neighbourhood with it."""
        for start, data in self._windows:
            if start <= offset and offset + shape.size <= start + len(data):
                return shape.unpack_from(data, offset - start)
        data = self._fetch(offset, _TABLE_READ)
        if len(data) < shape.size:
            raise ValueError(f"{what} lies outside of the file")
        # Only the newest window of a walk is useful, and memory stays bounded.
        del self._windows[2:]
        self._windows.append((offset, data))
        return shape.unpack_from(data)

    def _fetch(self, offset: int, size: int) -> bytes:
        # pread takes a signed 64-bit offset; beyond it there is no file either.
        return self._read(offset, size) if offset < 1 << 62 else b""

    def string(self, index: int) -> str:
        """Return the string at `index` of the dynamic string table."""
        if index >= self.strings_size:
            raise ValueError("string lies outside of the dynamic string table")
        offset = self.strings_at + index
        limit = min(self.strings_size - index, _STRING_MAX)
        raw: bytes | None = None
        for start, data in self._windows:
            if start <= offset < start + len(data):
                end = data.find(b"\0", offset - start, offset - start + limit)
                if end >= 0:
                    raw = data[offset - start : end]
                    break
        if raw is None:
            for length in (256, limit):
                data = self._fetch(offset, min(length, limit))
                end = data.find(b"\0")
                if end >= 0:
                    raw = data[:end]
                    break
            else:
                raise ValueError("string in the dynamic string table has no end")
        self._strings_left -= len(raw)
        if self._strings_left < 0:
            raise ValueError("too many strings")
        return _text(raw)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What one layer contributes to dynamic linking; paths as in `Entry.path`."""

    files: dict[str, ElfFile] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)
    """Files that begin as ELF and cannot be read, with the reason."""
    symlinks: dict[str, str] = field(default_factory=dict)
    hardlinks: dict[str, str] = field(default_factory=dict)
    """Further names of ELF files."""
    plain: frozenset[str] = frozenset()
    """Files that are not ELF, but by mode or name could stand where a lower layer has one."""
    ld_so_conf: dict[str, str] = field(default_factory=dict)
    """Text of `etc/ld.so.conf` and of the files in `etc/ld.so.conf.d`."""
    origins: dict[str, str] = field(default_factory=dict)
    """`Entry.origin` of every ELF file that has one."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with sorted keys."""
        return {
            "files": {path: self.files[path].to_json() for path in sorted(self.files)},
            "malformed": dict(sorted(self.malformed.items())),
            "symlinks": dict(sorted(self.symlinks.items())),
            "hardlinks": dict(sorted(self.hardlinks.items())),
            "plain": sorted(self.plain),
            "ld_so_conf": dict(sorted(self.ld_so_conf.items())),
            "origins": dict(sorted(self.origins.items())),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LinkFacts:
        """Return what `to_json` wrote. Raises `KeyError` or `TypeError` for anything else."""
        return cls(
            files={path: ElfFile.from_json(facts) for path, facts in document["files"].items()},
            malformed=dict(document["malformed"]),
            symlinks=dict(document["symlinks"]),
            hardlinks=dict(document["hardlinks"]),
            plain=frozenset(document["plain"]),
            ld_so_conf=dict(document["ld_so_conf"]),
            origins=dict(document["origins"]),
        )


def scan(entries: Iterable[Entry]) -> LinkFacts:
    """Return the facts of one layer. Every file is read; those that are not ELF, once.

    A malformed ELF file is a fact like any other, for `check_closure` to report.
    """
    facts = LinkFacts()
    hardlinks: list[Entry] = []
    plain: set[str] = set()
    for entry in entries:
        if entry.kind is Kind.SYMLINK:
            facts.symlinks[entry.path] = entry.target
        elif entry.kind is Kind.HARDLINK:
            hardlinks.append(entry)
        elif entry.kind is Kind.FILE:
            try:
                elf = read_dynamic(entry.read)
            except ValueError as error:
                facts.malformed[entry.path] = str(error)
            else:
                if elf is not None:
                    facts.files[entry.path] = elf
                elif _is_ld_so_conf(entry.path):
                    facts.ld_so_conf[entry.path] = _text(entry.read())
                elif entry.mode & 0o111 or ".so" in entry.path:
                    plain.add(entry.path)
            if entry.origin and (entry.path in facts.files or entry.path in facts.malformed):
                facts.origins[entry.path] = entry.origin
    targets = {entry.path: entry.target for entry in hardlinks}
    for entry in hardlinks:
        target = entry.target
        for _ in targets:
            if target not in targets:
                break
            target = targets[target]
        if target in facts.files:
            facts.hardlinks[entry.path] = target
            if entry.origin:
                facts.origins[entry.path] = entry.origin
    return LinkFacts(
        facts.files,
        facts.malformed,
        facts.symlinks,
        facts.hardlinks,
        frozenset(plain),
        facts.ld_so_conf,
        facts.origins,
    )


def is_library_name(name: str) -> bool:
    """Return whether ldconfig looks at a file of this name (glibc, `_dl_is_dso`)."""
    return (name.startswith(("lib", "ld-")) and ".so" in name) or name.startswith(
        ("ld.so.", "ld64.so.")
    )


def _is_ld_so_conf(path: str) -> bool:
    return path == "etc/ld.so.conf" or posixpath.dirname(path) == "etc/ld.so.conf.d"


class LinkTree:
    """The facts of an image: its layers from the lowest to the highest, links followed.

    All paths that come out are real: relative, with no symbolic link in them.
    """

    def __init__(self, layers: Iterable[LinkFacts]) -> None:
        self.symlinks: dict[str, str] = {}
        self.ld_so_conf: dict[str, str] = {}
        files: dict[str, ElfFile] = {}
        malformed: dict[str, str] = {}
        identity: dict[str, str] = {}
        origins: dict[str, str] = {}
        hidden: tuple[dict[str, Any], ...] = (files, malformed, identity, origins, self.symlinks)
        for layer in layers:
            linked = {path: layer.files[target] for path, target in layer.hardlinks.items()}
            for path in (*layer.files, *linked, *layer.malformed, *layer.plain, *layer.symlinks):
                for below in hidden:
                    below.pop(path, None)
            files |= layer.files | linked
            malformed |= layer.malformed
            identity |= layer.hardlinks
            origins |= layer.origins
            self.symlinks |= layer.symlinks
            self.ld_so_conf |= layer.ld_so_conf
        self._folders: dict[str, str | None] = {}
        # A path may lead through another layer's symbolic link: lib/x is usr/lib/x.
        self.files = {self._place(path): files[path] for path in sorted(files)}
        self.malformed = {self._place(path): malformed[path] for path in sorted(malformed)}
        self.origins = {self._place(path): origin for path, origin in origins.items()}
        self._identity = {self._place(path): self._place(to) for path, to in identity.items()}

    def resolve(self, path: str) -> str | None:
        """Return the real path of `path` (taken from the root), or None for a circle of links.

        Components that do not exist stay as they are.
        """
        real, follows_left = "", _FOLLOWS_MAX
        pending = path.split("/")[::-1]
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                real = real.rpartition("/")[0]
                continue
            step = f"{real}/{part}" if real else part
            target = self.symlinks.get(step)
            if target is None:
                real = step
                continue
            follows_left -= 1
            if not follows_left:
                return None
            if target.startswith("/"):
                real = ""
            pending.extend(target.split("/")[::-1])
        return real

    def is_same_file(self, one: str, other: str) -> bool:
        """Return whether two real paths name one file, as hard links do."""
        return self._identity.get(one, one) == self._identity.get(other, other)

    def names(self) -> dict[str, list[str]]:
        """Return, for each real directory, its ELF files and symbolic links, sorted."""
        found: dict[str, list[str]] = {}
        for path in sorted({*self.files, *map(self._place, self.symlinks)}):
            folder, _, name = path.rpartition("/")
            found.setdefault(folder, []).append(name)
        return found

    def _place(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self.resolve(folder)
        real = self._folders[folder]
        if real is None or real == folder:
            return path
        return f"{real}/{name}" if real else name
