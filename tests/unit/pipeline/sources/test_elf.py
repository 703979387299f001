"""ELF files read as the loader sees them: golden facts, readelf's verdict, damaged input."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.entries import Entry, Kind, Slice, symlink
from pipeline.sources.elf import ET_DYN, ElfFile, LinkFacts, LinkTree, read_dynamic, scan
from tests.unit.pipeline.sources.elf_factory import AARCH64, EXEC, elf_file

FULL = {
    "needed": ["libm.so.6", "libc.so.6"],
    "soname": "libfoo.so.1",
    "rpath": "/opt/lib",
    "runpath": "$ORIGIN/../lib:/srv/lib",
    "interpreter": "/lib/ld-linux-aarch64.so.1",
    "requires": {"libm.so.6": ["GLIBC_2.29"], "libc.so.6": ["GLIBC_2.17", "GLIBC_2.34"]},
    "provides": ["FOO_1.0", "FOO_1.1"],
    "machine": AARCH64,
}


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """Read as pread does: short at the end, and no offset beyond 63 bits."""

    def read(offset: int, length: int) -> bytes:
        if not 0 <= offset < 1 << 63 or length < 0:
            raise OverflowError(offset)
        return data[offset : offset + length]

    return read


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("load_address", [0, 0x400000])
def test_reads_every_fact_in_every_class_and_byte_order(
    bits: int, order: str, load_address: int
) -> None:
    data = elf_file(**FULL, bits=bits, order=order, load_address=load_address)  # type: ignore[arg-type]
    assert read_dynamic(reader(data)) == ElfFile(
        machine=183,
        type=ET_DYN,
        is_64bit=bits == 64,
        is_little_endian=order == "<",
        has_dynamic=True,
        soname="libfoo.so.1",
        needed=("libm.so.6", "libc.so.6"),
        rpath=("/opt/lib",),
        runpath=("$ORIGIN/../lib", "/srv/lib"),
        interpreter="/lib/ld-linux-aarch64.so.1",
        required_versions=(
            ("libm.so.6", "GLIBC_2.29"),
            ("libc.so.6", "GLIBC_2.17"),
            ("libc.so.6", "GLIBC_2.34"),
        ),
        provided_versions=("FOO_1.0", "FOO_1.1"),
    )


def test_a_string_table_too_large_to_fetch_whole_reads_the_same() -> None:
    small = read_dynamic(reader(elf_file(**FULL)))  # type: ignore[arg-type]
    large = elf_file(**FULL, strings_padding=1_000_000)  # type: ignore[arg-type]
    fetched: list[int] = []

    def read(offset: int, length: int) -> bytes:
        fetched.append(length)
        return large[offset : offset + length]

    assert read_dynamic(read) == small
    assert sum(fetched) < 100_000


def test_a_usual_file_takes_three_reads() -> None:
    data = elf_file(**FULL, strings_padding=30_000)  # type: ignore[arg-type]
    reads: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return data[offset : offset + length]

    assert read_dynamic(read) is not None
    assert len(reads) == 3


@pytest.mark.parametrize("data", [b"", b"\x7f", b"#!/bin/sh\n", b"MZ" + bytes(500)])
def test_other_files_are_not_elf(data: bytes) -> None:
    assert read_dynamic(reader(data)) is None


def test_static_executables_and_object_files_have_no_dynamic_section() -> None:
    static = read_dynamic(reader(elf_file(type=EXEC, dynamic=False)))
    assert static == ElfFile(machine=62, type=EXEC, has_dynamic=False)
    other = read_dynamic(reader(elf_file(type=1, needed=["libc.so.6"])))
    assert other == ElfFile(machine=62, type=1, has_dynamic=False)


def test_weak_requirements_are_left_out() -> None:
    data = elf_file(requires={"libc.so.6": ["A"]}, weak={"libc.so.6": ["B"], "libm.so.6": ["C"]})
    elf = read_dynamic(reader(data))
    assert elf is not None
    assert elf.required_versions == (("libc.so.6", "A"),)


def _patched(data: bytes, tag: int, value: int) -> bytes:
    """Give a dynamic tag of a 64-bit little-endian file another value."""
    at = data.index(struct.pack("<q", tag), len(data) // 2 // 8 * 8)
    return data[: at + 8] + struct.pack("<Q", value) + data[at + 16 :]


LIBRARY = elf_file(needed=["libc.so.6"], requires={"libc.so.6": ["GLIBC_2.34"]})
PROVIDER = elf_file(soname="libx.so", provides=["X_1"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF", "ELF header is truncated"),
        (LIBRARY[:40], "ELF header is truncated"),
        (LIBRARY[:80], "program headers lies outside of the file"),
        (LIBRARY[:-32], "dynamic section lies outside of the file"),
        (b"\x7fELF\x03" + LIBRARY[5:], "ELF class 3"),
        (b"\x7fELF\x02\x00" + LIBRARY[6:], "data encoding 0"),
        (_patched(LIBRARY, 1, 1 << 40), "string lies outside of the dynamic string table"),
        (_patched(LIBRARY, 5, 1 << 40), "dynamic string table lies outside"),
        (_patched(LIBRARY, 0x6FFFFFFE, 1 << 63), "version needs lies outside"),
        (_patched(LIBRARY, 0x6FFFFFFF, 2), "version needs end early"),
        (
            LIBRARY.replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 1, 2)),
            "version needs end early",
        ),
        (_patched(PROVIDER, 0x6FFFFFFD, 9), "version definitions end early"),
        (_patched(PROVIDER, 0x6FFFFFFD, 1 << 50), "too many version definitions"),
        (elf_file(requires={"libc.so.6": ["V"] * 9000}), "too many version needs"),
        (elf_file(needed=["x" * 16_000] * 70), "too many strings"),
        (elf_file(needed=["x" * 17_000]), "has no end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_files_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_dynamic(reader(data))


def test_version_tables_that_never_end_are_given_up_soon() -> None:
    original = elf_file(requires={"libc.so.6": ["V"]})
    record = original.index(struct.pack("<HHIII", 1, 1, 1, 16, 0))
    data = bytearray(_patched(original, 0x6FFFFFFF, 1 << 60))
    # No versions, and the next record is this one again after 2**32 more: offsets only grow.
    struct.pack_into("<HHIII", data, record, 1, 0, 1, 16, 1)
    with pytest.raises(ValueError, match="version needs"):
        read_dynamic(reader(bytes(data)))
    fetched = 0

    def endless(offset: int, length: int) -> bytes:
        nonlocal fetched
        fetched += length
        if offset < record:
            return bytes(data[offset : offset + length]).ljust(length, b"\1")
        return struct.pack("<HHIII", 1, 0, 1, 16, 16) * (length // 16)

    with pytest.raises(ValueError, match=r"version needs|string|interpreter|dynamic"):
        read_dynamic(endless)
    assert fetched < 64 * 1024 * 1024


def test_damaged_files_are_answered_or_refused_with_value_error() -> None:
    randomness = random.Random(20240229)
    originals = [
        elf_file(**FULL),  # type: ignore[arg-type]
        elf_file(**FULL, bits=32, order=">"),  # type: ignore[arg-type]
        LIBRARY,
        PROVIDER,
    ]
    interesting = (0, 1, 0x7F, 0x80, 0xFF)
    refused = 0
    for _ in range(4000):
        data = bytearray(randomness.choice(originals))
        for _ in range(randomness.randint(1, 6)):
            at = randomness.randrange(4, len(data))
            width = randomness.choice((1, 1, 2, 4, 8))
            value = randomness.choice(interesting) if width == 1 else randomness.randrange(256)
            data[at : at + width] = bytes([value]) * len(data[at : at + width])
        if randomness.random() < 0.2:
            del data[randomness.randrange(len(data)) :]
        try:
            read_dynamic(reader(bytes(data)))
        except ValueError:
            refused += 1
    assert 500 < refused < 3900


READELF = shutil.which("readelf")


def _by_readelf(path: str) -> tuple[object, ...]:
    text = subprocess.run(
        [str(READELF), "-dlVW", path], check=True, capture_output=True, text=True, errors="replace"
    ).stdout
    required: list[tuple[str, str]] = []
    provided: list[str] = []
    library = ""
    for line in text.splitlines():
        if match := re.search(r"Version: 1  File: (\S+)", line):
            library = match[1]
        elif match := re.search(r"Name: (\S+)  Flags: (\S+)  Version:", line):
            if "WEAK" not in match[2]:
                required.append((library, match[1]))
        elif match := re.search(r"Flags: (\S+)\s+Index: \d+  Cnt: \d+  Name: (\S+)", line):
            provided += [match[2]] if match[1] != "BASE" else []
    one = re.search(r"\(SONAME\).*\[(.*)\]", text)
    interpreter = re.search(r"Requesting program interpreter: (.*)\]", text)
    rpath = re.search(r"\(RPATH\).*\[(.*)\]", text)
    runpath = re.search(r"\(RUNPATH\).*\[(.*)\]", text)
    return (
        tuple(re.findall(r"\(NEEDED\).*\[(.*)\]", text)),
        one[1] if one else "",
        interpreter[1] if interpreter else "",
        tuple(rpath[1].split(":")) if rpath else (),
        tuple(runpath[1].split(":")) if runpath else (),
        tuple(required),
        tuple(provided),
    )


@pytest.mark.skipif(READELF is None, reason="readelf is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="needs ELF files of this process")
def test_agrees_with_readelf_about_this_process() -> None:
    maps = Path("/proc/self/maps").read_text()
    paths = {os.path.realpath(sys.executable), *re.findall(r"(/\S+\.so[.\d]*)$", maps, re.M)}
    assert len(paths) > 2
    for path in sorted(paths):
        with open(path, "rb") as file:
            elf = read_dynamic(Slice(file, 0, os.path.getsize(path)).read)
        assert elf is not None
        assert _by_readelf(path) == (
            elf.needed,
            elf.soname,
            elf.interpreter,
            elf.rpath,
            elf.runpath,
            elf.required_versions,
            elf.provided_versions,
        ), path


def _layer() -> LinkFacts:
    return scan(
        [
            Entry("usr/lib/libfoo.so.1.0", content=elf_file(**FULL), origin="libfoo 1"),  # type: ignore[arg-type]
            Entry("usr/lib/libbar.so", content=b"\x7fELF\x02\x01", origin="bar"),
            Entry("usr/lib/second", Kind.HARDLINK, target="usr/lib/first"),
            Entry("usr/lib/first", Kind.HARDLINK, target="usr/lib/libfoo.so.1.0"),
            Entry("usr/bin/tool", mode=0o755, content=b"#!/bin/sh\n"),
            Entry("etc/ld.so.conf", content=b"/opt/lib\n"),
            Entry("usr/lib/python.py", content=b"pass\n"),
            symlink("lib", "usr/lib"),
        ]
    )


def test_scan_sorts_a_layer_into_facts() -> None:
    facts = _layer()
    assert set(facts.files) == {"usr/lib/libfoo.so.1.0"}
    assert facts.malformed == {"usr/lib/libbar.so": "ELF header is truncated"}
    assert set(facts.hardlinks.values()) == {"usr/lib/libfoo.so.1.0"}
    assert facts.plain == {"usr/bin/tool"}
    assert facts.ld_so_conf == {"etc/ld.so.conf": "/opt/lib\n"}
    assert facts.symlinks == {"lib": "usr/lib"}
    assert facts.origins["usr/lib/libfoo.so.1.0"] == "libfoo 1"


def test_facts_survive_json() -> None:
    facts = _layer()
    assert LinkFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
    odd = ElfFile(machine=8, type=2, is_64bit=False, is_little_endian=False, needed=("\udcff",))
    assert ElfFile.from_json(json.loads(json.dumps(odd.to_json()))) == odd


def test_a_tree_follows_links_and_lets_upper_layers_win() -> None:
    upper = scan(
        [
            Entry("lib/libnew.so", content=elf_file(soname="libnew.so")),
            Entry("usr/lib/first", mode=0o755, content=b"#!/bin/sh\n"),
            symlink("a", "b/c"),
            symlink("b", "/a"),
            symlink("opt/up", "../lib/../lib"),
        ]
    )
    tree = LinkTree([_layer(), upper])
    assert set(tree.files) == {"usr/lib/libfoo.so.1.0", "usr/lib/second", "usr/lib/libnew.so"}
    assert tree.resolve("/lib/./libfoo.so.1.0") == "usr/lib/libfoo.so.1.0"
    assert tree.resolve("opt/up/x") == "usr/lib/x"
    assert tree.resolve("a/x") is None
    assert tree.is_same_file("usr/lib/second", "usr/lib/libfoo.so.1.0")
    assert not tree.is_same_file("usr/lib/libnew.so", "usr/lib/libfoo.so.1.0")


def test_links_that_double_at_every_step_are_given_up_soon() -> None:
    tree = LinkTree([scan([symlink(f"d{n}", f"d{n + 1}/../d{n + 1}") for n in range(60)])])
    assert tree.resolve("d0/x") is None
