"""Wheels: what of them reaches an image, where, and with which interpreter."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.entries import Entry, Spool
from pipeline.errors import ArchiveMalformed
from pipeline.sources.wheels import read_metadata, unpack
from tests.unit.pipeline.factories import Wheel, record_hash, wheel

SITE = "usr/local/lib/python3.11/dist-packages"
Lay = Callable[..., dict[str, Entry]]


@pytest.fixture
def lay(tmp_path: Path) -> Iterator[Lay]:
    """Yield a function: a wheel in, its entries by path out."""
    spool = Spool(tmp_path)

    def unpack_wheel(item: Wheel, *, direct: bool = False) -> dict[str, Entry]:
        path = tmp_path / "blob"
        path.write_bytes(item.data)
        entries = unpack(path, item.filename, spool, site_packages=SITE, direct=direct)
        spool.flush()
        found = {entry.path: entry for entry in entries}
        assert len(found) == len(entries)
        return found

    yield unpack_wheel
    spool.close()


def record_of(found: dict[str, Entry], name: str) -> dict[str, tuple[str, str]]:
    """Return RECORD as absolute path → (hash, size)."""
    text = found[f"{SITE}/{name}-1.0.dist-info/RECORD"].read().decode()
    rows = [line.rsplit(",", 2) for line in text.splitlines()]
    return {posixpath.normpath(f"{SITE}/{path}"): (hash_, size) for path, hash_, size in rows}


def test_modules_go_where_debian_s_python_looks(lay: Lay) -> None:
    found = lay(wheel("pkg", {"pkg/__init__.py": "", "pkg/sub/deep/mod.py": "x = 1\n"}))
    assert found[f"{SITE}/pkg/sub/deep/mod.py"].read() == b"x = 1\n"
    assert found[f"{SITE}/pkg/sub/deep/mod.py"].mode == 0o644
    assert f"{SITE}/pkg-1.0.dist-info/METADATA" in found
    assert {entry.origin for entry in found.values()} == {"pkg-1.0-py3-none-any.whl"}


def test_the_parts_of_the_data_folder_have_places_of_their_own(lay: Lay) -> None:
    found = lay(
        wheel(
            "pkg",
            {
                "{data}/scripts/tool": "#!python\nprint()\n",
                "{data}/data/share/pkg/x.txt": "x",
                "{data}/data/etc/pkg.conf": "conf",
                "{data}/headers/pkg.h": "int x;",
                "{data}/purelib/pure.py": "",
                "{data}/platlib/plat.py": "",
            },
        )
    )
    own = {path for path in found if ".dist-info" not in path}
    assert own == {
        "usr/local/bin/tool",
        "usr/local/share/pkg/x.txt",
        "usr/local/etc/pkg.conf",
        "usr/local/include/python3.11/pkg/pkg.h",
        f"{SITE}/pure.py",
        f"{SITE}/plat.py",
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"#!python\nprint()\n", b"#!/usr/bin/python3\nprint()\n"),
        (b"#!pythonw\nprint()\n", b"#!/usr/bin/python3\nprint()\n"),
        (b"#!/bin/sh\necho\n", b"#!/bin/sh\necho\n"),
        (b"\x7fELF\0binary", b"\x7fELF\0binary"),
    ],
)
def test_scripts_start_with_the_image_s_interpreter(
    lay: Lay, source: bytes, expected: bytes
) -> None:
    found = lay(wheel("pkg", {"{data}/scripts/tool": source}))
    tool = found["usr/local/bin/tool"]
    assert (tool.read(), tool.mode) == (expected, 0o755)
    assert record_of(found, "pkg")["usr/local/bin/tool"] == (
        f"sha256={record_hash(expected)}",
        str(len(expected)),
    )


def test_entry_points_become_programs(lay: Lay) -> None:
    found = lay(
        wheel(
            "pkg",
            {"pkg.py": ""},
            entry_points="""
                [console_scripts]
                serve = pkg.cli:main
                sub = pkg.cli:App.run
                [gui_scripts]
                window = pkg.gui:main
                [other]
                ignored = pkg:x
            """,
        )
    )
    programs = {path for path in found if path.startswith("usr/local/bin/")}
    assert programs == {"usr/local/bin/serve", "usr/local/bin/sub", "usr/local/bin/window"}
    for path in programs:
        assert found[path].read().startswith(b"#!/usr/bin/python3\n")
        assert found[path].mode == 0o755
    assert b"from pkg.cli import App" in found["usr/local/bin/sub"].read()


def test_executables_of_a_package_stay_executable(lay: Lay) -> None:
    found = lay(wheel("pkg", {"pkg/tool": "x", "pkg/x.py": ""}, executable=["pkg/tool"]))
    assert found[f"{SITE}/pkg/tool"].mode == 0o755
    assert found[f"{SITE}/pkg/x.py"].mode == 0o644


def test_record_lists_what_was_laid_down(lay: Lay) -> None:
    found = lay(
        wheel(
            "pkg",
            {"z.py": "z", "a.py": "a", "{data}/data/share/x": "x", "with,comma.txt": "c"},
            entry_points="[console_scripts]\nserve = a:main\n",
        )
    )
    text = found[f"{SITE}/pkg-1.0.dist-info/RECORD"].read().decode()
    assert '"with,comma.txt"' in text
    record = record_of(found, "pkg")
    assert record.pop(f"{SITE}/pkg-1.0.dist-info/RECORD") == ("", "")
    del record[f'{SITE}/"with,comma.txt"']
    del found[f"{SITE}/with,comma.txt"], found[f"{SITE}/pkg-1.0.dist-info/RECORD"]
    assert record == {
        path: (f"sha256={record_hash(entry.read())}", str(entry.size_bytes))
        for path, entry in found.items()
    }


def test_the_order_inside_a_wheel_changes_nothing(lay: Lay) -> None:
    names = {"b.py": "b", "a.py": "a", "c/d.py": "d"}
    one, other = lay(wheel("pkg", names)), lay(wheel("pkg", dict(reversed(names.items()))))
    assert {path: e.read() for path, e in one.items()} == {
        path: e.read() for path, e in other.items()
    }


def test_metadata_says_who_installed_and_what_was_asked_for(lay: Lay) -> None:
    item = wheel("pkg", {"pkg.py": ""})
    direct, indirect = lay(item, direct=True), lay(item)
    info = f"{SITE}/pkg-1.0.dist-info"
    assert direct[f"{info}/INSTALLER"].read() == b"accelerapp\n"
    assert direct[f"{info}/REQUESTED"].read() == b""
    assert f"{info}/REQUESTED" in record_of(direct, "pkg")
    assert f"{info}/REQUESTED" not in indirect


def test_bytecode_of_another_machine_is_dropped(lay: Lay) -> None:
    item = wheel(
        "pkg",
        {"pkg/__init__.py": "", "pkg/__pycache__/__init__.cpython-311.pyc": b"stale"},
    )
    found = lay(item)
    assert not [path for path in found if "__pycache__" in path]
    assert b"__pycache__" not in found[f"{SITE}/pkg-1.0.dist-info/RECORD"].read()


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../etc/passwd",
        "pkg/../../outside.py",
        "/etc/passwd",
        "{data}/scripts/../../../etc/cron",
        "{data}/data/../../etc/profile",
    ],
)
def test_a_wheel_writes_nothing_outside_of_its_folders(lay: Lay, path: str) -> None:
    with pytest.raises(ArchiveMalformed, match=r"evil-1\.0-py3-none-any\.whl"):
        lay(wheel("evil", {path: "evil"}))


def test_an_entry_point_writes_nothing_outside_of_bin(lay: Lay) -> None:
    points = "[console_scripts]\n../../../etc/cron.d/x = pkg:main\n"
    with pytest.raises(ArchiveMalformed):
        lay(wheel("evil", {"pkg.py": ""}, entry_points=points))


def test_a_file_that_the_wheel_forgot_to_list_is_listed_in_the_image(lay: Lay) -> None:
    found = lay(wheel("pkg", {"a.py": "", "forgotten.py": "x"}, unlisted=["forgotten.py"]))
    hash_, size = record_of(found, "pkg")[f"{SITE}/forgotten.py"]
    assert (hash_, size) == (f"sha256={record_hash(b'x')}", "1")


def edited(item: Wheel, member: str, old: bytes, new: bytes) -> Wheel:
    """Return a copy of the wheel with one member changed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(item.data)) as source,
        zipfile.ZipFile(buffer, "w") as copy,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(member):
                assert old in data
                data = data.replace(old, new)
            copy.writestr(zipfile.ZipInfo(name), data)
    return Wheel(item.filename, buffer.getvalue())


def flipped(item: Wheel) -> Wheel:
    """Return a compressed copy of the wheel with some bytes of a member changed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(item.data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for name in source.namelist():
            copy.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)
    data = bytearray(buffer.getvalue())
    start = 30 + len("pkg/__init__.py")  # After the first member's header.
    data[start : start + 8] = b"\xff" * 8
    return Wheel(item.filename, bytes(data))


GOOD = wheel("pkg", {"pkg/__init__.py": "x = 1\n" * 200})


@pytest.mark.parametrize(
    "item",
    [
        Wheel("pkg-1.0-py3-none-any.whl", b""),
        Wheel("pkg-1.0-py3-none-any.whl", b"no zip at all"),
        Wheel("pkg-1.0-py3-none-any.whl", GOOD.data[:-40]),
        flipped(GOOD),
        Wheel("other-1.0-py3-none-any.whl", GOOD.data),
        edited(GOOD, "RECORD", b"sha256=", b"sha256,"),
        edited(GOOD, "WHEEL", b"Wheel-Version: 1.0", b"Wheel-Version: 2.0"),
        wheel("pkg", {"{data}/elsewhere/x": ""}),
        wheel("pkg", {"x.py": ""}, entry_points="[console_scripts]\nbroken\n"),
    ],
    ids=[
        "empty",
        "junk",
        "truncated",
        "flipped",
        "misnamed",
        "record",
        "version",
        "scheme",
        "entry point",
    ],
)
def test_what_is_no_wheel_is_refused_in_one_line(lay: Lay, item: Wheel) -> None:
    with pytest.raises(ArchiveMalformed) as caught:
        lay(item)
    assert item.filename in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_metadata_is_what_an_image_needs_to_know(tmp_path: Path) -> None:
    item = wheel(
        "My.Pkg",
        {"x.py": ""},
        requires=["dep>=1", 'other; python_version < "3.8"'],
        requires_python=">=3.9",
        entry_points="""
            [console_scripts]
            one = x:main
            two = x:other
            [gui_scripts]
            window = x:gui
        """,
    )
    path = tmp_path / "blob"
    path.write_bytes(item.data)
    metadata = read_metadata(path, item.filename)
    assert (metadata.name, metadata.version) == ("My.Pkg", "1.0")
    assert metadata.requires == ("dep>=1", 'other; python_version < "3.8"')
    assert metadata.requires_python == ">=3.9"
    assert metadata.console_scripts == ("one", "two")


def test_a_wheel_may_ask_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(GOOD.data)
    metadata = read_metadata(path, GOOD.filename)
    assert (metadata.requires, metadata.requires_python, metadata.console_scripts) == ((), "", ())


def test_metadata_of_what_is_no_wheel(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.py", "")
    with pytest.raises(ArchiveMalformed, match=r"exactly one \.dist-info"):
        read_metadata(path, "pkg-1.0-py3-none-any.whl")
