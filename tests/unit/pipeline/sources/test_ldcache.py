"""The cache has ldconfig's bytes, and the loader's search finds every library in it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.entries import Entry, Kind, symlink
from pipeline.platforms import Platform
from pipeline.sources.elf import LinkTree, scan
from pipeline.sources.ldcache import (
    CachedLibrary,
    cached_libraries,
    library_directories,
    soname_links,
    write_cache,
)
from tests.unit.pipeline.sources.elf_factory import EXEC, elf_file

PLATFORMS = list(Platform)


def library(path: str, platform: Platform = Platform.AMD64, **facts: Any) -> Entry:
    return Entry(path, content=elf_file(machine=platform.elf_machine, **facts))


def tree(*entries: Entry) -> LinkTree:
    return LinkTree([scan(entries)])


def test_golden_bytes() -> None:
    libraries = (
        CachedLibrary("libz.so.1", "/lib/libz.so.1"),
        CachedLibrary("libc.so.6", "/lib/libc.so.6"),
    )
    strings = b"/lib/libc.so.6\0/lib/libz.so.1\0"
    expected = (
        b"glibc-ld.so.cache1.1"
        + struct.pack("<II", 2, len(strings))
        + b"\x02\0\0\0"
        + struct.pack("<I12x", 128)
        + struct.pack("<iIIIQ", 0x0A03, 96 + 15 + 5, 96 + 15, 0, 0)
        + struct.pack("<iIIIQ", 0x0A03, 96 + 5, 96, 0, 0)
        + strings
        + bytes(2)
        + struct.pack("<II", 0xEAA42174, 1)
        + struct.pack("<IIII", 0, 0, 128 + 8 + 16, 3)
        + b"gen"
    )
    assert write_cache(libraries, Platform.ARM64, generator="gen") == expected


def _string(cache: bytes, offset: int) -> str:
    return cache[offset : cache.index(b"\0", offset)].decode()


def _compare(one: str, other: str) -> int:
    """`_dl_cache_libcmp` of ld.so(8), written as it is described there, character by character."""
    i = j = 0
    while i < len(one):
        a, b = one[i], other[j] if j < len(other) else ""
        if a.isdigit():
            if not b.isdigit():
                return 1
            start_i, start_j = i, j
            while i < len(one) and one[i].isdigit():
                i += 1
            while j < len(other) and other[j].isdigit():
                j += 1
            difference = int(one[start_i:i]) - int(other[start_j:j])
            if difference:
                return difference
        elif b.isdigit():
            return -1
        elif a != b:
            return ord(a) - (ord(b) if b else 0)
        else:
            i, j = i + 1, j + 1
    return -1 if j < len(other) else 0


def _search(cache: bytes, name: str, flags: int) -> str | None:
    """Find a library as the loader does: by halving, then back to the first of its name."""
    count = struct.unpack_from("<I", cache, 20)[0]

    def entry(index: int) -> tuple[int, int, int, int, int]:
        return struct.unpack_from("<iIIIQ", cache, 48 + 24 * index)

    left, right = 0, count - 1
    while left <= right:
        middle = (left + right) // 2
        order = _compare(name, _string(cache, entry(middle)[1]))
        if order == 0:
            while middle and _compare(name, _string(cache, entry(middle - 1)[1])) == 0:
                middle -= 1
            while middle < count and _compare(name, _string(cache, entry(middle)[1])) == 0:
                found = entry(middle)
                if found[0] == flags and not found[4]:
                    return _string(cache, found[2])
                middle += 1
            return None
        if order < 0:
            left = middle + 1
        else:
            right = middle - 1
    return None


NAMES = [
    *(f"lib{letter}.so.{number}" for letter in "zaxm+-_C" for number in (1, 2, 9, 10, 100)),
    *("libgcc_s.so.1", "libstdc++.so.6", "libdb-5.3.so", "libx.so", "lib1x.so", "lib01y.so"),
    *("libICE.so.6", "libpython3.11.so.1.0", "libbz2.so.1", "libbz2.so.1.0", "ld-linux.so.9"),
]


@pytest.mark.parametrize("platform", PLATFORMS, ids=str)
def test_the_loaders_search_finds_every_library(platform: Platform) -> None:
    folder = f"usr/lib/{platform.gnu_triplet}"
    root = tree(
        symlink("lib", "usr/lib"),
        *(library(f"{folder}/{name}.99", platform, soname=name) for name in NAMES),
    )
    cache = write_cache(cached_libraries(root, platform), platform)
    flags = {Platform.AMD64: 0x0303, Platform.ARM64: 0x0A03}[platform]
    for name in NAMES:
        assert _search(cache, name, flags) == f"/lib/{platform.gnu_triplet}/{name}"
    assert _search(cache, "libnone.so.1", flags) is None


def test_directories_come_in_the_order_of_ld_so_conf_under_their_first_name() -> None:
    root = tree(
        symlink("lib", "usr/lib"),
        Entry("etc/ld.so.conf", content=b"/opt/one/ # first\n include /etc/ld.so.conf.d/*.conf\n"),
        Entry("etc/ld.so.conf.d/b.conf", content=b"/opt/two\nhwcap 1 nosegneg\n"),
        Entry("etc/ld.so.conf.d/a.conf", content=b"/usr/local/lib\n/lib/x86_64-linux-gnu\n"),
        Entry("etc/ld.so.conf.d/ignored", content=b"/opt/ignored\n"),
    )
    assert library_directories(root, Platform.AMD64) == (
        "/opt/one",
        "/usr/local/lib",
        "/lib/x86_64-linux-gnu",
        "/opt/two",
        "/lib",
    )


def test_a_configuration_that_includes_itself_ends() -> None:
    root = tree(Entry("etc/ld.so.conf", content=b"include /etc/ld.so.*\n/opt\n"))
    assert library_directories(root, Platform.ARM64)[0] == "/opt"


def test_soname_links_are_made_where_they_are_missing_or_old() -> None:
    root = tree(
        library("usr/lib/libnew.so.1.2", soname="libnew.so.1"),
        library("usr/lib/libnew.so.1.10", soname="libnew.so.1"),
        library("usr/lib/libold.so.1.2", soname="libold.so.1"),
        library("usr/lib/libold.so.1.3", soname="libold.so.1"),
        symlink("usr/lib/libold.so.1", "libold.so.1.2"),
        library("usr/lib/libfine.so.1.2", soname="libfine.so.1"),
        symlink("usr/lib/libfine.so.1", "libfine.so.1.2"),
        symlink("usr/lib/libfine.so", "libfine.so.1"),
        library("usr/lib/libsame.so.1", soname="libsame.so.1"),
        library("usr/lib/libnone.so.1"),
        library("usr/lib/libfile.so.2", soname="libfile.so.1"),
        library("usr/lib/libfile.so.1", soname="libfile.so.1"),
        library("usr/lib/libhard.so.1.1", soname="libhard.so.1"),
        Entry("usr/lib/libhard.so.1", Kind.HARDLINK, target="usr/lib/libhard.so.1.1"),
        library("usr/lib/libtwin.so.1.1", soname="libtwin.so.1"),
        Entry("usr/lib/libtwin.so.1.0", Kind.HARDLINK, target="usr/lib/libtwin.so.1.1"),
        symlink("usr/lib/libtwin.so.1", "libtwin.so.1.0"),
        library("opt/libother.so.1.2", soname="libother.so.1"),
    )
    links = soname_links(root, Platform.AMD64)
    assert [(link.path, link.target) for link in links] == [
        ("usr/lib/libnew.so.1", "libnew.so.1.10"),
        ("usr/lib/libold.so.1", "libold.so.1.3"),
    ]
    assert all(link.kind is Kind.SYMLINK for link in links)


def test_only_shared_libraries_of_the_platform_are_cached() -> None:
    root = tree(
        library("usr/lib/liba.so.1"),
        library("usr/lib/libarm.so.1", Platform.ARM64),
        library("usr/lib/libx32.so.1", bits=32),
        library("usr/lib/libexec.so.1", type=EXEC),
        library("usr/lib/libdebug.so.1", dynamic=False),
        library("usr/lib/plugin.so"),
        library("usr/lib/deeper/libb.so.1"),
        symlink("usr/lib/libdangling.so.1", "gone"),
        Entry("usr/lib/libtext.so", content=b"INPUT(-la)\n"),
    )
    assert cached_libraries(root, Platform.AMD64) == (
        CachedLibrary("liba.so.1", "/usr/lib/liba.so.1"),
    )


def _ldconfig() -> str | None:
    return shutil.which("ldconfig", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _write(root: Path, entries: list[Entry]) -> None:
    for entry in entries:
        path = root / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind is Kind.SYMLINK:
            path.symlink_to(entry.target)
        elif entry.kind is Kind.HARDLINK:
            path.hardlink_to(root / entry.target)
        else:
            path.write_bytes(entry.read())


def _realistic_tree(platform: Platform) -> list[Entry]:
    triplet = platform.gnu_triplet
    folder = f"usr/lib/{triplet}"

    def lib(path: str, soname: str = "") -> Entry:
        return library(path, platform, soname=soname)

    root = [
        symlink("lib", "usr/lib"),
        Entry("etc/ld.so.conf", content=b"include /etc/ld.so.conf.d/*.conf\n"),
        Entry("etc/ld.so.conf.d/libc.conf", content=b"/usr/local/lib\n"),
        Entry(
            "etc/ld.so.conf.d/triplet.conf",
            content=f"/lib/{triplet}\n/usr/lib/{triplet}\n/lib\n/usr/lib\n".encode(),
        ),
        Entry("etc/ld.so.conf.d/app.conf", content=b"/opt/app/lib   # ours\n"),
    ]
    root += [lib(f"{folder}/{name}.77", name) for name in NAMES if name != "lib01y.so"]
    root += [
        lib(f"{folder}/libfoo.so.1.2.3", "libfoo.so.1"),
        lib(f"{folder}/libfoo.so.1.2.10", "libfoo.so.1"),
        symlink(f"{folder}/libfoo.so.1", "libfoo.so.1.2.3"),
        symlink(f"{folder}/libfoo.so", "libfoo.so.1"),
        lib(f"{folder}/libbar-0.9.so", "libbar.so.0"),
        symlink(f"{folder}/libbar.so", "libbar-0.9.so"),
        symlink(f"{folder}/libqux.so.4", "libbar-0.9.so"),
        lib(f"{folder}/libplugin.so"),
        lib(f"{folder}/ld-9.so", platform.dynamic_linker.rpartition("/")[2]),
        Entry(f"{folder}/libalias.so.1", Kind.HARDLINK, target=f"{folder}/libplugin.so"),
        Entry(f"{folder}/libscript.so", content=b"GROUP ( libfoo.so.1 )\n" * 9),
        lib("usr/local/lib/libfoo.so.1", "libfoo.so.1"),
        lib("opt/app/lib/libapp.so.2.1", "libapp.so.2"),
        lib("opt/app/lib/libfoo.so.1.9", "libfoo.so.1"),
        lib("usr/lib/libplain.so.3", "libplain.so.3"),
        lib(f"{folder}/glibc-hwcaps/v-b/libfoo.so.1.2.3", "libfoo.so.1"),
        lib(f"{folder}/glibc-hwcaps/v-a/libfoo.so.1.2.3", "libfoo.so.1"),
        symlink(f"{folder}/glibc-hwcaps/v-a/libfoo.so.1", "libfoo.so.1.2.3"),
        lib("opt/app/lib/glibc-hwcaps/v-a/libapp.so.2", "libapp.so.2"),
        lib("opt/app/lib/glibc-hwcaps/v-z/libfoo.so.1", "libfoo.so.1"),
        lib(f"{folder}/libtwin.so.1.1", "libtwin.so.1"),
        Entry(f"{folder}/libtwin.so.1.0", Kind.HARDLINK, target=f"{folder}/libtwin.so.1.1"),
        symlink(f"{folder}/libtwin.so.1", "libtwin.so.1.0"),
    ]
    return root


@pytest.mark.skipif(_ldconfig() is None, reason="ldconfig is not installed")
def test_same_bytes_and_links_as_ldconfig(tmp_path: Path) -> None:
    platform = Platform.host()
    entries = _realistic_tree(platform)
    _write(tmp_path, entries)
    before = {path for path in tmp_path.rglob("*") if path.is_symlink()}
    changed = tmp_path / f"usr/lib/{platform.gnu_triplet}/libfoo.so.1"
    ran = subprocess.run(
        [str(_ldconfig()), "-r", str(tmp_path)], capture_output=True, text=True, check=True
    )
    expected = (tmp_path / "etc/ld.so.cache").read_bytes()
    generator = expected.find(b"ldconfig (")
    if generator < 0 or not expected.startswith(b"glibc-ld.so.cache1.1"):
        pytest.skip("this ldconfig is older than glibc 2.33")

    root = tree(*entries)
    libraries = cached_libraries(root, platform)
    assert len(libraries) > len(NAMES)
    actual = write_cache(libraries, platform, generator=expected[generator:].decode())
    assert actual == expected, ran.stderr

    after = {path for path in tmp_path.rglob("*") if path.is_symlink()}
    made = {
        str(path.relative_to(tmp_path)): os.readlink(path) for path in (after - before) | {changed}
    }
    assert {link.path: link.target for link in soname_links(root, platform)} == made
