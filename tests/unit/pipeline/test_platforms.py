"""A platform is known by every name that some tool gives it."""

from __future__ import annotations

import json
import platform as host_platform
import subprocess
import sys

import pytest

from pipeline.errors import UnsupportedPlatform
from pipeline.platforms import Platform

AMD64, ARM64 = Platform.AMD64, Platform.ARM64


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("amd64", AMD64),
        ("x86_64", AMD64),
        ("x86-64", AMD64),
        ("x64", AMD64),
        ("linux/amd64", AMD64),
        ("linux/x86_64", AMD64),
        ("arm64", ARM64),
        ("aarch64", ARM64),
        ("armv8", ARM64),
        ("arm64/v8", ARM64),
        ("aarch64/v8", ARM64),
        ("linux/arm64", ARM64),
        ("linux/aarch64", ARM64),
        ("linux/arm64/v8", ARM64),
        ("linux/aarch64/v8", ARM64),
        ("  ARM64 ", ARM64),
        ("Linux/AMD64", AMD64),
    ],
)
def test_every_spelling_is_understood(spelling: str, expected: Platform) -> None:
    assert Platform.parse(spelling) is expected


@pytest.mark.parametrize("platform", Platform)
def test_a_platform_understands_its_own_names(platform: Platform) -> None:
    names = (str(platform), platform.architecture, platform.kernel, platform.debian)
    assert {Platform.parse(name) for name in names} == {platform}


@pytest.mark.parametrize(
    ("spelling", "guess"),
    [
        ("arm65", "did you mean 'arm64'? "),
        ("linux/amd", "did you mean 'linux/amd64'? "),
        ("windows/amd64", "did you mean 'linux/amd64'? "),
        ("al", "did you mean 'all'? "),
        ("s390x", ""),
        ("", ""),
        ("amd64/v8", "did you mean 'arm64/v8'? "),
    ],
)
def test_an_unknown_platform_is_refused_with_the_nearest(spelling: str, guess: str) -> None:
    with pytest.raises(UnsupportedPlatform) as caught:
        Platform.parse(spelling)
    assert str(caught.value) == (
        f"platform '{spelling}' is not supported; {guess}choose amd64, arm64 or all"
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("arm64",), (ARM64,)),
        (("arm64", "amd64"), (AMD64, ARM64)),
        (("arm64,amd64",), (AMD64, ARM64)),
        (("aarch64, x86_64", "arm64"), (AMD64, ARM64)),
        (("arm64,linux/arm64/v8",), (ARM64,)),
        (("all",), (AMD64, ARM64)),
        (("arm64,ALL",), (AMD64, ARM64)),
        (("arm64,",), (ARM64,)),
    ],
)
def test_flags_give_distinct_platforms_in_a_fixed_order(
    flags: tuple[str, ...], expected: tuple[Platform, ...]
) -> None:
    assert Platform.parse_many(flags) == expected


def test_one_wrong_platform_among_many_is_refused() -> None:
    with pytest.raises(UnsupportedPlatform, match="'arm65'"):
        Platform.parse_many(["all,arm65"])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "AMD64", "arm64"])
def test_without_flags_it_is_this_machine(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(host_platform, "machine", lambda: machine)
    assert Platform.parse_many([]) == (Platform.parse(machine),)
    assert Platform.host() is Platform.parse(machine)


def test_a_machine_that_nothing_is_built_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_platform, "machine", lambda: "riscv64")
    with pytest.raises(UnsupportedPlatform, match="'riscv64'"):
        Platform.host()


def test_the_facts_are_those_of_the_specifications() -> None:
    assert [
        (
            str(p),
            p.variant,
            p.debian,
            p.gnu_triplet,
            p.elf_machine,
            p.dynamic_linker,
            p.ldcache_flags,
        )
        for p in Platform
    ] == [
        (
            "linux/amd64",
            "",
            "amd64",
            "x86_64-linux-gnu",
            62,
            "/lib64/ld-linux-x86-64.so.2",
            0x0303,
        ),
        (
            "linux/arm64",
            "v8",
            "arm64",
            "aarch64-linux-gnu",
            183,
            "/lib/ld-linux-aarch64.so.1",
            0x0A03,
        ),
    ]


PACKAGING = """
import json, os, platform, sys, sysconfig
os.confstr = lambda name: "glibc " + sys.argv[2]
sysconfig.get_platform = lambda: "linux-" + sys.argv[1]
platform.system = lambda: "Linux"
from packaging.tags import platform_tags
print(json.dumps(list(platform_tags())))
"""


@pytest.mark.parametrize("glibc", [(2, 36), (2, 41), (2, 17)])
@pytest.mark.parametrize("platform", Platform)
def test_wheel_tags_are_those_of_packaging_on_such_a_machine(
    platform: Platform, glibc: tuple[int, int]
) -> None:
    done = subprocess.run(
        (sys.executable, "-c", PACKAGING, platform.kernel, f"{glibc[0]}.{glibc[1]}"),
        check=True,
        capture_output=True,
    )
    theirs = [tag for tag in json.loads(done.stdout) if not tag.startswith("musllinux")]
    ours = platform.wheel_platform_tags(glibc)
    assert sorted(ours) == sorted(theirs)
    # Whether a wheel built on the spot goes first is for each installer to say.
    local = f"linux_{platform.kernel}"
    assert [tag for tag in ours if tag != local] == [tag for tag in theirs if tag != local]


def test_wheel_tags_begin_with_the_newest_glibc_and_end_with_any_linux() -> None:
    tags = ARM64.wheel_platform_tags((2, 36))
    assert tags[0] == "manylinux_2_36_aarch64"
    assert tags[-3:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64")
    assert AMD64.wheel_platform_tags((2, 36))[-2:] == ("manylinux1_x86_64", "linux_x86_64")
