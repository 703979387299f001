"""Binary packages: what of them reaches an image, and where."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.entries import Entry, Kind, Spool
from pipeline.errors import ArchiveMalformed
from pipeline.sources.debian.package import UnpackedPackage, merged_usr, unpack
from tests.unit.pipeline.factories import (
    Deb,
    ar,
    deb,
    folder,
    hard_link,
    regular,
    soft_link,
    special,
    tar,
)

Unpack = Callable[..., UnpackedPackage]


@pytest.fixture
def unpack_deb(tmp_path: Path) -> Iterator[Unpack]:
    """Yield a function: a package in, what is read from it out."""
    spool = Spool(tmp_path)

    def read(
        package: Deb | bytes, exclude: Callable[[str], bool] = lambda _path: False
    ) -> UnpackedPackage:
        path = tmp_path / "package.deb"
        path.write_bytes(package if isinstance(package, bytes) else package.data)
        unpacked = unpack(path, spool, exclude=exclude)
        spool.flush()
        return unpacked

    yield read
    spool.close()


def files(unpacked: UnpackedPackage) -> dict[str, Entry]:
    """Return a package's own entries, without what is added for scanners."""
    return {e.path: e for e in unpacked.entries if not e.path.startswith("var/lib/dpkg/")}


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_a_package_is_read_whatever_compresses_it(unpack_deb: Unpack, compression: str) -> None:
    package = deb("tiny", [regular("usr/bin/tiny", "run", 0o755)], compression=compression)
    unpacked = unpack_deb(package)
    assert unpacked.name == "tiny"
    entry = files(unpacked)["usr/bin/tiny"]
    assert (entry.read(), entry.mode, entry.origin) == (b"run", 0o755, "tiny")


def test_modes_and_owners_are_the_package_s(unpack_deb: Unpack) -> None:
    found = files(
        unpack_deb(
            deb(
                "su",
                [
                    regular("usr/bin/su", b"s", 0o4755),
                    regular("usr/bin/wall", b"w", 0o2755, gid=5),
                    folder("var/mail", 0o2775),
                    regular("etc/shadow", b"", 0o640, uid=3, gid=42),
                ],
            )
        )
    )
    assert {path: (e.mode, e.uid, e.gid) for path, e in found.items()} == {
        "usr/bin/su": (0o4755, 0, 0),
        "usr/bin/wall": (0o2755, 0, 5),
        "var/mail": (0o2775, 0, 0),
        "etc/shadow": (0o640, 3, 42),
    }
    assert found["var/mail"].kind is Kind.DIRECTORY


def test_large_contents_come_back_whole(unpack_deb: Unpack) -> None:
    large = bytes(range(256)) * (5 << 12)
    members = [regular("usr/lib/large", large), regular("usr/lib/next", b"next")]
    found = files(unpack_deb(deb("large", members)))
    assert found["usr/lib/large"].read() == large
    assert found["usr/lib/next"].read() == b"next"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bin/ls", "usr/bin/ls"),
        ("sbin/init", "usr/sbin/init"),
        ("lib/x/libc.so.6", "usr/lib/x/libc.so.6"),
        ("lib64/ld.so", "usr/lib64/ld.so"),
        ("usr/bin/ls", "usr/bin/ls"),
        ("bin", "bin"),
        ("binary/x", "binary/x"),
        ("etc/bin/x", "etc/bin/x"),
    ],
)
def test_files_move_to_where_a_merged_usr_has_them(before: str, after: str) -> None:
    assert merged_usr(before) == after


def test_the_folders_that_become_links_are_left_to_the_skeleton(unpack_deb: Unpack) -> None:
    members = [folder("bin"), folder("lib64"), folder("lib/x"), regular("bin/ls", b"")]
    assert set(files(unpack_deb(deb("old", members)))) == {"usr/lib/x", "usr/bin/ls"}


def test_a_package_s_own_link_for_a_merged_folder_is_kept(unpack_deb: Unpack) -> None:
    found = files(unpack_deb(deb("base-files", [soft_link("bin", "usr/bin")])))
    assert (found["bin"].kind, found["bin"].target) == (Kind.SYMLINK, "usr/bin")


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("lib/x/libc.so", "libc-2.so", "libc-2.so"),
        ("bin/sh", "../usr/bin/dash", "dash"),
        ("bin/sh", "../etc/alternatives/sh", "../../etc/alternatives/sh"),
        ("bin/sh", "/bin/dash", "/bin/dash"),
        ("sbin/x", "../lib/x/y", "../lib/x/y"),
        ("usr/bin/x", "../../lib/x/y", "../../lib/x/y"),
    ],
)
def test_a_link_that_moves_means_what_it_meant(
    unpack_deb: Unpack, path: str, target: str, expected: str
) -> None:
    (entry,) = files(unpack_deb(deb("links", [soft_link(path, target)]))).values()
    assert (entry.path, entry.target) == (merged_usr(path), expected)


def test_hard_links_follow_their_file(unpack_deb: Unpack) -> None:
    members = [regular("bin/perl", b"p", 0o755), hard_link("bin/perl5", "bin/perl")]
    found = files(unpack_deb(deb("perl", members)))
    assert found["usr/bin/perl5"].kind is Kind.HARDLINK
    assert found["usr/bin/perl5"].target == "usr/bin/perl"


def test_documentation_stays_outside_and_licences_come_along(unpack_deb: Unpack) -> None:
    members = [
        regular("usr/share/doc/a/copyright", "MIT"),
        regular("usr/share/doc/a/changelog.gz", "long"),
        folder("usr/share/doc/a"),
        soft_link("usr/share/doc/b", "a"),
        soft_link("usr/share/doc/a/deeper", "x"),
        regular("usr/share/common-licenses/GPL-3", "GPL"),
        regular("usr/share/man/man1/a.1.gz", "manual"),
        regular("usr/share/locale/de/a.mo", "deutsch"),
        regular("usr/share/info/a.info.gz", "info"),
        regular("usr/share/lintian/overrides/a", "lint"),
        regular("usr/share/documents", "mine"),
    ]
    assert set(files(unpack_deb(deb("a", members)))) == {
        "usr/share/doc/a/copyright",
        "usr/share/doc/b",
        "usr/share/common-licenses/GPL-3",
        "usr/share/documents",
    }


def test_exclusions_see_the_paths_of_the_image(unpack_deb: Unpack) -> None:
    members = [regular("lib/x/gone", b""), regular("lib/x/kept", b"")]
    unpacked = unpack_deb(deb("a", members), exclude=lambda path: path == "usr/lib/x/gone")
    assert set(files(unpacked)) == {"usr/lib/x/kept"}


def test_scanners_read_the_control_paragraph_as_it_is(unpack_deb: Unpack) -> None:
    package = deb("libx++", [regular("usr/lib/x", b"x")], version="1:2.0-1")
    unpacked = unpack_deb(package)
    (status,) = [e for e in unpacked.entries if e.path == "var/lib/dpkg/status.d/libx++"]
    assert status.read().decode() == unpacked.control
    assert unpacked.control.startswith("Package: libx++\nVersion: 1:2.0-1\nArchitecture: amd64\n")


def test_md5sums_list_what_is_in_the_image(unpack_deb: Unpack) -> None:
    members = [
        regular("lib/x", b"x"),
        regular("usr/share/man/man1/x.1.gz", b"manual"),
        regular("usr/bin/x", b"program"),
    ]
    unpacked = unpack_deb(deb("x", members))
    (sums,) = [e for e in unpacked.entries if e.path.endswith(".md5sums")]
    assert sums.path == "var/lib/dpkg/status.d/x.md5sums"
    digests = [hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (b"x", b"program")]
    assert sums.read().decode() == f"{digests[0]}  lib/x\n{digests[1]}  usr/bin/x\n"


def test_a_package_without_md5sums_gets_none(unpack_deb: Unpack) -> None:
    unpacked = unpack_deb(deb("x", [regular("usr/bin/x")], md5sums=False))
    assert not [e for e in unpacked.entries if e.path.endswith(".md5sums")]


@pytest.mark.parametrize("postinst", [True, False])
def test_a_postinst_is_noticed_and_not_shipped(unpack_deb: Unpack, postinst: bool) -> None:
    unpacked = unpack_deb(deb("x", [regular("usr/bin/x")], postinst=postinst))
    assert unpacked.postinst is postinst
    assert not [e for e in unpacked.entries if "postinst" in e.path]


GOOD = deb("good", [regular("usr/bin/good", b"good" * 1000)]).data
CONTROL = tar([regular("control", "Package: x\nVersion: 1\n")])
DATA = tar([regular("usr/bin/x", b"x")])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no ar archive"),
        (b"PK\3\4 a zip", "no ar archive"),
        (GOOD[:-80], ""),
        (GOOD[:100], "header is damaged"),
        (GOOD[:150], ""),
        (GOOD[:1000] + b"\0" * 100 + GOOD[1100:], ""),
        (ar({"control.tar.zst": CONTROL, "data.tar.xz": DATA}), "zst, which is not supported"),
        (ar({"control.tar.xz": CONTROL, "data.tar.xz": b"junk"}), ""),
        (ar({"control.tar.xz": CONTROL}), "no files"),
        (ar({"control.tar.xz": tar([]), "data.tar.xz": DATA}), "no control paragraph"),
        (
            ar(
                {"control.tar.xz": CONTROL, "data.tar.xz": tar([special("dev/x", tarfile.CHRTYPE)])}
            ),
            "'dev/x' is neither file, directory nor link",
        ),
    ],
)
def test_what_is_no_package_is_refused_in_one_line(
    unpack_deb: Unpack, data: bytes, reason: str
) -> None:
    with pytest.raises(ArchiveMalformed) as caught:
        unpack_deb(data)
    assert "the Debian package package.deb" in caught.value.message
    assert reason in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint
