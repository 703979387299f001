"""An image is refused exactly when the loader would refuse one of its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.entries import Entry, Kind, symlink
from pipeline.platforms import Platform
from pipeline.sources.closure import ElfReport, check_closure
from pipeline.sources.elf import LinkFacts, scan
from tests.unit.pipeline.sources.elf_factory import AARCH64, EXEC, elf_file

LIB = "usr/lib/x86_64-linux-gnu"
SITE = "usr/local/lib/python3.11/dist-packages"
LINKER = "/lib64/ld-linux-x86-64.so.2"


def elf(path: str, origin: str = "", **facts: Any) -> Entry:
    return Entry(path, mode=0o755, content=elf_file(**facts), origin=origin)


BASE = [
    symlink("lib", "usr/lib"),
    symlink("lib64", "usr/lib64"),
    symlink("usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    elf(f"{LIB}/ld-linux-x86-64.so.2", soname="ld-linux-x86-64.so.2", provides=["GLIBC_2.3"]),
    elf(
        f"{LIB}/libc.so.6",
        soname="libc.so.6",
        needed=["ld-linux-x86-64.so.2"],
        provides=["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36", "GLIBC_ABI_DT_RELR", "GLIBC_PRIVATE"],
    ),
]


def check(
    entries: Sequence[Entry],
    *,
    ignore: frozenset[str] = frozenset(),
    glibc: tuple[int, int] | None = None,
    platform: Platform = Platform.AMD64,
) -> ElfReport:
    return check_closure([scan(BASE), scan(entries)], platform, ignore=ignore, glibc=glibc)


def test_a_closed_image_has_no_problems() -> None:
    report = check(
        [
            elf(
                "usr/bin/tool",
                type=EXEC,
                interpreter=LINKER,
                needed=["libz.so.1", "libc.so.6"],
                requires={"libc.so.6": ["GLIBC_2.2.5", "GLIBC_2.34"][:1], "libz.so.1": ["Z_1"]},
            ),
            elf(f"{LIB}/libz.so.1.3", soname="libz.so.1", needed=["libc.so.6"], provides=["Z_1"]),
            symlink(f"{LIB}/libz.so.1", "libz.so.1.3"),
            elf("usr/bin/static", type=EXEC, dynamic=False),
            Entry("usr/bin/script", mode=0o755, content=b"#!/bin/sh\n"),
        ]
    )
    assert report == ElfReport(problems=(), elf_files=5, newest_glibc=(2, 2))


def test_another_machine_is_named_in_plain_words() -> None:
    report = check([elf(f"{SITE}/x.so", "x 1.0", machine=AARCH64)])
    assert report.problems == (f"{SITE}/x.so (x 1.0): built for aarch64, image is for x86_64",)
    report = check([elf(f"{SITE}/x.so", bits=32)])
    assert "built for x86-64 with 32-bit pointers" in report.problems[0]
    report = check_closure([scan(BASE)], Platform.ARM64)
    assert len(report.problems) == 2
    assert report.problems[0].endswith("built for x86-64, image is for aarch64")


def test_a_missing_library_names_file_origin_and_library() -> None:
    report = check([elf(f"{SITE}/x.so", "x 1.0", needed=["libpq.so.5", "libc.so.6"])])
    assert report.problems == (f"{SITE}/x.so (x 1.0): needs libpq.so.5, which is not in the image",)


def test_a_library_off_the_search_path_is_pointed_out() -> None:
    report = check(
        [elf(f"{SITE}/x.so", needed=["liba.so"]), elf("opt/liba.so.1", soname="liba.so")]
    )
    assert report.problems == (
        f"{SITE}/x.so: needs liba.so, which is not on its search path (but at opt/liba.so.1)",
    )


def test_a_missing_interpreter_is_a_problem() -> None:
    report = check([elf("usr/bin/tool", type=EXEC, interpreter="/lib/ld-linux.so.2")])
    assert report.problems == (
        "usr/bin/tool: its program interpreter /lib/ld-linux.so.2 is not in the image",
    )


@pytest.mark.parametrize(
    "facts",
    [{"needed": ["libc.musl-x86_64.so.1"]}, {"interpreter": "/lib/ld-musl-x86_64.so.1"}],
)
def test_musl_is_called_musl(facts: dict[str, Any]) -> None:
    report = check([elf(f"{SITE}/x.so", **facts)])
    assert report.problems == (f"{SITE}/x.so: is built for musl, the image's C library is glibc",)


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"rpath": "$ORIGIN/../x.libs"}, f"{SITE}/x.libs"),
        ({"runpath": "${ORIGIN}/../x.libs"}, f"{SITE}/x.libs"),
        ({"runpath": "/nowhere:/opt/lib"}, "opt/lib"),
        ({"runpath": "/usr/$LIB/special"}, f"{LIB}/special"),
        ({"rpath": "/opt/$PLATFORM"}, "opt/x86_64"),
        ({}, LIB),
        ({}, "usr/lib"),
    ],
)
def test_search_directories(facts: dict[str, Any], where: str) -> None:
    user = elf(f"{SITE}/x/x.so", needed=["liby.so"], **facts)
    assert check([user, elf(f"{where}/liby.so")]).problems == ()
    # The same library elsewhere is not found, so the directory is what counted.
    assert len(check([user, elf("srv/liby.so")]).problems) == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"rpath": "/opt/lib", "runpath": "/nowhere"},
        {"runpath": "$ORIGINAL/../../../../../../opt/lib"},
        {"runpath": "opt/lib"},
    ],
)
def test_directories_the_loader_would_not_search(facts: dict[str, Any]) -> None:
    entries = [elf(f"{SITE}/x/x.so", needed=["liby.so"], **facts), elf("opt/lib/liby.so")]
    assert len(check(entries).problems) == 1


def test_usr_local_lib_counts_when_ld_so_conf_says_so() -> None:
    entries = [elf("usr/bin/x", needed=["liby.so.1"]), elf("usr/local/lib/liby.so.1")]
    assert len(check(entries).problems) == 1
    configured = [
        *entries,
        Entry("etc/ld.so.conf", content=b"include /etc/ld.so.conf.d/*.conf\n"),
        Entry("etc/ld.so.conf.d/libc.conf", content=b"# comment\n/usr/local/lib\n"),
    ]
    assert check(configured).problems == ()


def test_origin_is_where_the_library_was_found_not_where_its_link_leads() -> None:
    entries = [
        elf("usr/bin/x", needed=["liba.so"], runpath="/opt/links"),
        symlink("opt/links/liba.so", "../files/liba.so"),
        elf("opt/files/liba.so", soname="liba.so", needed=["libb.so"], runpath="$ORIGIN"),
        elf("opt/links/libb.so"),
    ]
    assert check(entries).problems == ()


def test_rpath_is_inherited_and_runpath_is_not() -> None:
    libraries = [
        elf(f"{SITE}/x.libs/liba.so", needed=["libb.so"]),
        elf(f"{SITE}/x.libs/libb.so"),
    ]
    by_rpath = elf(f"{SITE}/x.so", needed=["liba.so"], rpath="$ORIGIN/x.libs")
    by_runpath = elf(f"{SITE}/x.so", needed=["liba.so"], runpath="$ORIGIN/x.libs")
    assert check([by_rpath, *libraries]).problems == ()
    problems = check([by_runpath, *libraries]).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"{SITE}/x.libs/liba.so: needs libb.so")


def test_a_library_that_is_already_loaded_needs_no_search() -> None:
    entries = [
        elf(f"{SITE}/x.so", needed=["libb.so.1", "liba.so"], runpath="$ORIGIN/x.libs"),
        elf(f"{SITE}/x.libs/liba.so", needed=["libb.so.1"]),
        elf(f"{SITE}/x.libs/libb.so.1"),
    ]
    assert check(entries).problems == ()


def test_a_library_is_known_by_its_soname_once_it_is_loaded() -> None:
    entries = [
        elf(f"{SITE}/x.so", needed=["liba-1f2e.so", "libb.so"], runpath="$ORIGIN"),
        elf(f"{SITE}/liba-1f2e.so", soname="liba.so.1"),
        elf(f"{SITE}/libb.so", needed=["liba.so.1"]),
    ]
    assert check(entries).problems == ()


def test_rpath_beside_runpath_is_not_inherited_either() -> None:
    entries = [
        elf("usr/bin/x", needed=["liba.so"], rpath="/opt/b", runpath="/opt/a"),
        elf("opt/a/liba.so", needed=["libb.so"]),
        elf("opt/b/libb.so"),
    ]
    assert len(check(entries).problems) == 1


def test_libraries_that_need_each_other_are_checked_too() -> None:
    entries = [
        elf(f"{LIB}/liba.so", needed=["libb.so"]),
        elf(f"{LIB}/libb.so", needed=["liba.so", "libgone.so"]),
    ]
    problems = check(entries).problems
    assert problems == (f"{LIB}/libb.so: needs libgone.so, which is not in the image",)


def test_a_library_for_another_machine_does_not_satisfy() -> None:
    report = check(
        [
            elf("usr/bin/x", needed=["liby.so"], runpath="/opt"),
            elf("opt/liby.so", machine=AARCH64),
        ]
    )
    assert len(report.problems) == 2
    assert report.problems[1].startswith("usr/bin/x: needs liby.so")


def test_too_new_a_glibc_names_the_version_and_what_the_image_has() -> None:
    x = elf(
        f"{SITE}/x.so",
        "x 2.0",
        needed=["libc.so.6"],
        requires={
            "libc.so.6": ["GLIBC_2.9", "GLIBC_2.38"],
            "ld-linux-x86-64.so.2": ["GLIBC_PRIVATE"],
        },
    )
    report = check([x])
    assert report.newest_glibc == (2, 38)
    assert report.problems == (
        f"{SITE}/x.so (x 2.0): needs GLIBC_2.38 of libc.so.6, "
        f"the image's {LIB}/libc.so.6 has GLIBC_2.36 at most",
    )


def test_versions_of_other_libraries_are_checked_unless_weak_or_unversioned() -> None:
    entries = [
        elf(
            f"{SITE}/x.so",
            needed=["libstdc++.so.6", "libplain.so"],
            requires={"libstdc++.so.6": ["GLIBCXX_3.4.32"], "libplain.so": ["P_1"]},
            weak={"libstdc++.so.6": ["GLIBCXX_9"]},
        ),
        elf(f"{LIB}/libstdc++.so.6", provides=["GLIBCXX_3.4.9", "GLIBCXX_3.4.30"]),
        elf(f"{LIB}/libplain.so"),
    ]
    assert check(entries).problems == (
        f"{SITE}/x.so: needs GLIBCXX_3.4.32 of libstdc++.so.6, "
        f"the image's {LIB}/libstdc++.so.6 has GLIBCXX_3.4.30 at most",
    )


def test_a_musl_library_is_reported_once_whoever_loads_it() -> None:
    entries = [
        elf("usr/bin/x", needed=["liby.so"]),
        elf(f"{LIB}/liby.so", needed=["libc.musl-x86_64.so.1", "libgone.so"]),
    ]
    assert len(check(entries).problems) == 1


def test_an_upper_limit_for_glibc_can_be_given() -> None:
    x = elf("usr/bin/x", needed=["libc.so.6"], requires={"libc.so.6": ["GLIBC_2.36"]})
    assert check([x], glibc=(2, 36)).problems == ()
    assert check([x], glibc=(2, 31)).problems == (
        "usr/bin/x: needs GLIBC_2.36, newer than the allowed GLIBC_2.31",
    )


def test_malformed_files_are_reported_and_ignored_ones_are_not() -> None:
    entries = [
        Entry(f"{SITE}/x/tests/bad.so", content=b"\x7fELF\x02\x01"),
        elf(f"{SITE}/x/tests/arm.so", machine=AARCH64),
    ]
    problems = check(entries).problems
    assert problems[1] == f"{SITE}/x/tests/bad.so: is a malformed ELF file: ELF header is truncated"
    assert check(entries, ignore=frozenset({"**/tests/bad.so"})).problems == problems[:1]
    assert check(entries, ignore=frozenset({"**/tests/**"})).problems == ()


def test_hard_links_are_files_of_their_own_place() -> None:
    entries = [
        elf("opt/a/x", needed=["liby.so"], runpath="$ORIGIN"),
        elf("opt/a/liby.so"),
        Entry("opt/b/x", Kind.HARDLINK, target="opt/a/x"),
    ]
    assert len(check(entries).problems) == 1
    assert check(entries).problems[0].startswith("opt/b/x: needs liby.so")


def test_cached_facts_give_the_same_report_in_any_order_of_entries() -> None:
    entries = [
        elf(f"{SITE}/x{n}.so", f"x{n}", needed=[f"libgone{n}.so", "libc.so.6"]) for n in range(9)
    ]
    fresh = check(entries)
    cached = [
        LinkFacts.from_json(json.loads(json.dumps(scan(layer).to_json())))
        for layer in (BASE[::-1], entries[::-1])
    ]
    assert check_closure(cached, Platform.AMD64) == fresh
    assert len(fresh.problems) == 9
