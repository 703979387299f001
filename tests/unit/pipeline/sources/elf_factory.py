"""Builds ELF files of a few hundred bytes: no code, just what a dynamic linker looks at."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

X86_64 = 62
AARCH64 = 183
EXEC = 2
DYN = 3


def elf_file(
    *,
    machine: int = X86_64,
    type: int = DYN,
    needed: Sequence[str] = (),
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    interpreter: str = "",
    requires: Mapping[str, Sequence[str]] | None = None,
    weak: Mapping[str, Sequence[str]] | None = None,
    provides: Sequence[str] = (),
    dynamic: bool = True,
    bits: int = 64,
    order: str = "<",
    strings_padding: int = 0,
    load_address: int = 0,
) -> bytes:
    """Return an ELF file with program headers, a dynamic section and symbol versions."""
    strings = bytearray(b"\0" * (1 + strings_padding))

    def string(text: str) -> int:
        at = len(strings)
        strings.extend(text.encode() + b"\0")
        return at

    tags: list[tuple[int, int]] = [(1, string(name)) for name in needed]
    tags += [(tag, string(t)) for tag, t in ((14, soname), (15, rpath), (29, runpath)) if t]

    needs = b""
    files = dict.fromkeys([*(requires or {}), *(weak or {})])
    for index, name in enumerate(files):
        versions = [(v, 0) for v in (requires or {}).get(name, ())]
        versions += [(v, 2) for v in (weak or {}).get(name, ())]
        last_file = index + 1 == len(files)
        size = 16 + 16 * len(versions)
        needs += struct.pack(
            order + "HHIII", 1, len(versions), string(name), 16, 0 if last_file else size
        )
        for number, (version, flags) in enumerate(versions):
            last = number + 1 == len(versions)
            needs += struct.pack(order + "IHHII", 0, flags, 2, string(version), 0 if last else 16)

    definitions = b""
    names = [(soname or "base", 1), *((version, 0) for version in provides)] if provides else []
    for index, (name, flags) in enumerate(names):
        last = index + 1 == len(names)
        definitions += struct.pack(
            order + "HHHHIII", 1, flags, index + 1, 1, 0, 20, 0 if last else 28
        )
        definitions += struct.pack(order + "II", string(name), 0)

    wide = bits == 64
    header_size, program_size = (64, 56) if wide else (52, 32)
    count = 1 + bool(interpreter) + dynamic
    interpreter_at = header_size + count * program_size
    interpreter_bytes = interpreter.encode() + b"\0" if interpreter else b""
    strings_at = _aligned(interpreter_at + len(interpreter_bytes))
    needs_at = _aligned(strings_at + len(strings))
    definitions_at = _aligned(needs_at + len(needs))
    dynamic_at = _aligned(definitions_at + len(definitions))
    if needs:
        tags += [(0x6FFFFFFE, load_address + needs_at), (0x6FFFFFFF, len(files))]
    if definitions:
        tags += [(0x6FFFFFFC, load_address + definitions_at), (0x6FFFFFFD, len(names))]
    tags += [(5, load_address + strings_at), (10, len(strings)), (0, 0)]
    section = b"".join(struct.pack(order + ("qQ" if wide else "iI"), *tag) for tag in tags)
    if not dynamic:
        section = b""
    size = dynamic_at + len(section)

    def program(kind: int, offset: int, length: int) -> bytes:
        at = load_address + offset
        if wide:
            return struct.pack(order + "IIQQQQQQ", kind, 4, offset, at, at, length, length, 8)
        return struct.pack(order + "8I", kind, offset, at, at, length, length, 4, 8)

    programs = program(1, 0, size)
    if interpreter:
        programs += program(3, interpreter_at, len(interpreter_bytes))
    if dynamic:
        programs += program(2, dynamic_at, len(section))
    identity = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    header = struct.pack(
        order + ("HHIQQQI6H" if wide else "HHIIIII6H"),
        *(type, machine, 1, 0, header_size, 0, 0, header_size, program_size, count, 0, 0, 0),
    )
    image = bytearray(size)
    for at, part in (
        (0, identity + header + programs),
        (interpreter_at, interpreter_bytes),
        (strings_at, strings),
        (needs_at, needs),
        (definitions_at, definitions),
        (dynamic_at, section),
    ):
        image[at : at + len(part)] = part
    return bytes(image)


def _aligned(offset: int) -> int:
    return offset + -offset % 8
