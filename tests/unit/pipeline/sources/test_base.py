"""What is read of somebody else's image is what a container of it would find."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import pytest

from pipeline.errors import BaseUnusable
from pipeline.platforms import Platform
from pipeline.sources.base import BaseFacts, read_base
from tests.unit.pipeline.factories import TarMember, regular, soft_link, tar
from tests.unit.pipeline.sources.elf_factory import AARCH64, EXEC, X86_64, elf_file

LIBRARIES = "usr/lib/x86_64-linux-gnu"
PATH = ("/usr/local/bin", "/usr/bin")
LIBC = regular(
    f"{LIBRARIES}/libc.so.6",
    elf_file(soname="libc.so.6", provides=["GLIBC_2.2.5", "GLIBC_2.41", "GLIBC_PRIVATE"]),
    0o755,
)
PROGRAM = elf_file(type=EXEC, needed=["libc.so.6"])


def read(*layers: Sequence[TarMember], search: Sequence[str] = PATH) -> BaseFacts:
    tars = (
        tarfile.open(fileobj=io.BytesIO(tar(members, "")), mode="r|")  # noqa: SIM115
        for members in layers
    )
    return read_base(tars, Platform.AMD64, search=search, name="example/base:1")


def test_a_python_of_its_own_is_found_with_its_packages() -> None:
    facts = read(
        [LIBC, soft_link("lib", "usr/lib"), regular("etc/passwd", "root:x:0:0::/root:/bin/sh\n")],
        [
            regular("usr/local/bin/python3.13", PROGRAM, 0o755),
            soft_link("usr/local/bin/python3", "python3.13"),
            regular("usr/bin/python3.11", PROGRAM, 0o755),
        ],
    )
    assert facts.python == "3.13"
    assert facts.interpreter == "/usr/local/bin/python3.13"
    assert facts.site_packages == "usr/local/lib/python3.13/site-packages"
    assert facts.glibc == (2, 41)
    assert facts.accounts == {"etc/passwd": "root:x:0:0::/root:/bin/sh\n"}
    assert facts.folders == ("lib",)


def test_path_decides_between_two_pythons() -> None:
    layers = [
        LIBC,
        regular("usr/local/bin/python3.13", PROGRAM, 0o755),
        regular("usr/bin/python3.11", PROGRAM, 0o755),
    ]
    assert read(layers, search=("/usr/bin", "/usr/local/bin")).python == "3.11"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([regular("var/lib/dpkg/status", "")], "usr/local/lib/python3.11/dist-packages"),
        ([], "usr/lib/python3.11/site-packages"),
    ],
)
def test_a_distributions_python_looks_where_the_distribution_says(
    members: list[TarMember], expected: str
) -> None:
    facts = read([LIBC, regular("usr/bin/python3.11", PROGRAM, 0o755), *members])
    assert facts.site_packages == expected


def test_libraries_are_kept_and_programs_are_not() -> None:
    facts = read(
        [
            LIBC,
            regular(f"{LIBRARIES}/libz.so.1.3", elf_file(soname="libz.so.1"), 0o644),
            soft_link(f"{LIBRARIES}/libz.so.1", "libz.so.1.3"),
            soft_link("usr/share/doc/other", "elsewhere"),
            regular("usr/local/bin/python3.11", PROGRAM, 0o755),
            regular("usr/local/lib/python3.11/lib-dynload/zlib.so", elf_file(), 0o755),
            regular("etc/ld.so.conf", "/opt/lib\n"),
        ]
    )
    assert set(facts.links.files) == {f"{LIBRARIES}/libc.so.6", f"{LIBRARIES}/libz.so.1.3"}
    assert facts.links.symlinks == {f"{LIBRARIES}/libz.so.1": "libz.so.1.3"}
    assert facts.links.ld_so_conf == {"etc/ld.so.conf": "/opt/lib\n"}


def test_what_an_upper_layer_takes_away_is_gone() -> None:
    facts = read(
        [
            LIBC,
            regular(f"{LIBRARIES}/libold.so.1", elf_file(soname="libold.so.1"), 0o644),
            regular("opt/lib/libgone.so.1", elf_file(soname="libgone.so.1"), 0o644),
            regular("usr/local/bin/python3.11", PROGRAM, 0o755),
            regular("usr/bin/python3.12", PROGRAM, 0o755),
            regular("etc/group", "root:x:0:\n"),
        ],
        [
            regular(f"{LIBRARIES}/.wh.libold.so.1", ""),
            regular("opt/.wh..wh..opq", ""),
            regular("usr/local/.wh.bin", ""),
            regular("etc/.wh.group", ""),
        ],
    )
    assert set(facts.links.files) == {f"{LIBRARIES}/libc.so.6"}
    assert facts.python == "3.12"
    assert facts.accounts == {}


def test_an_upper_layer_replaces_a_library() -> None:
    upper = regular(
        f"{LIBRARIES}/libc.so.6", elf_file(soname="libc.so.6", provides=["GLIBC_2.50"]), 0o755
    )
    facts = read([LIBC, regular("usr/bin/python3.11", PROGRAM, 0o755)], [upper])
    assert facts.glibc == (2, 50)


def test_an_image_without_python_is_refused() -> None:
    with pytest.raises(BaseUnusable) as caught:
        read([LIBC, regular("opt/python/bin/python3.11", PROGRAM, 0o755)])
    assert "'example/base:1' has no python3.x in /usr/local/bin or /usr/bin" in str(caught.value)


@pytest.mark.parametrize(
    "library",
    [
        None,
        elf_file(machine=AARCH64, soname="libc.so.6", provides=["GLIBC_2.36"]),
        elf_file(machine=X86_64, soname="libc.musl-x86_64.so.1"),
    ],
    ids=["none", "another machine's", "musl"],
)
def test_an_image_without_glibc_is_refused(library: bytes | None) -> None:
    members = [regular("usr/bin/python3.11", PROGRAM, 0o755)]
    if library is not None:
        members.append(regular(f"{LIBRARIES}/libc.so.6", library, 0o755))
    with pytest.raises(BaseUnusable, match=r"has no glibc for linux/amd64.*Alpine"):
        read(members)


def test_the_facts_survive_the_lock() -> None:
    facts = read([LIBC, regular("usr/local/bin/python3.11", PROGRAM, 0o755)])
    assert BaseFacts.from_json(facts.to_json()) == facts
