"""One version, two spellings, and which comes next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version as PackagingVersion

from pipeline.errors import OptionInvalid
from pipeline.helm import chart
from pipeline.release.version import PRE_RELEASES, Part, Version, next_version, parse_version
from pipeline.tags import read_release

NUMBERS = st.integers(0, 10**9 - 1)
FINAL = st.builds(lambda *n: Version(n), NUMBERS, NUMBERS, NUMBERS)
ANY = FINAL | st.builds(
    lambda base, place, number: Version(base.numbers, (place, number)),
    FINAL,
    st.integers(0, 2),
    NUMBERS,
)


@pytest.mark.parametrize(
    ("semver", "python"),
    [
        ("1.2.3", "1.2.3"),
        ("0.10.0", "0.10.0"),
        ("1.3.0-alpha.1", "1.3.0a1"),
        ("1.3.0-beta.20", "1.3.0b20"),
        ("1.3.0-rc.1", "1.3.0rc1"),
    ],
)
def test_both_spellings_are_one_version(semver: str, python: str) -> None:
    version = Version.parse(semver)
    assert version == Version.parse(python)
    assert version is not None
    assert (version.semver, version.python, version.tag) == (semver, python, f"v{semver}")
    assert version.is_pre_release == ("-" in semver)


@given(ANY)
def test_every_version_is_read_back_and_is_one_to_everybody(version: Version) -> None:
    assert Version.parse(version.semver) == Version.parse(version.python) == version
    assert str(PackagingVersion(version.python)) == version.python
    assert chart._VERSION.fullmatch(version.semver)
    released = read_release(version.tag)
    assert released is not None
    assert (released.version is None) == version.is_pre_release


@given(ANY, ANY)
def test_the_order_is_that_of_python_s_versions(one: Version, other: Version) -> None:
    assert (one < other) == (PackagingVersion(one.python) < PackagingVersion(other.python))


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-rc", "1.2.3rc", "1.2.3-rc1", "1.2.3rc.1",
     "1.2.3-1", "1.2.3+build", "1.2.3.dev1", "1.2.3.post1", "v1.2.3", "1.2.3\n", " 1.2.3",
     "1.2.3-rc.01", "\u0661.2.3", f"1.2.{10**9}"],
)  # fmt: skip
def test_what_is_no_version(text: str) -> None:
    assert Version.parse(text) is None


@pytest.mark.parametrize(
    ("current", "part", "pre", "expected"),
    [
        ("0.1.0", "minor", "", "0.2.0"),
        ("0.1.0", "major", "", "1.0.0"),
        ("1.2.3", "major", "", "2.0.0"),
        ("1.2.3", "minor", "", "1.3.0"),
        ("1.2.3", "patch", "", "1.2.4"),
        # What a pre-release announces becomes final.
        ("1.3.0-rc.1", "minor", "", "1.3.0"),
        ("1.3.0-rc.1", "patch", "", "1.3.0"),
        ("1.3.0-rc.1", "major", "", "2.0.0"),
        ("2.0.0-rc.1", "minor", "", "2.0.0"),
        ("2.0.0-rc.1", "major", "", "2.0.0"),
        ("1.2.4-rc.1", "patch", "", "1.2.4"),
        ("1.2.4-rc.1", "minor", "", "1.3.0"),
        # Pre-releases.
        ("1.2.3", "minor", "rc", "1.3.0-rc.1"),
        ("1.2.3", "major", "alpha", "2.0.0-alpha.1"),
        ("1.3.0-rc.1", "minor", "rc", "1.3.0-rc.2"),
        ("1.3.0-rc.1", "major", "rc", "2.0.0-rc.1"),
        ("1.3.0-rc.1", "", "rc", "1.3.0-rc.2"),
        ("1.3.0-rc.9", "", "rc", "1.3.0-rc.10"),
        ("1.3.0-beta.4", "", "rc", "1.3.0-rc.1"),
        ("1.3.0-rc.1", "", "beta", "1.3.0-beta.1"),
    ],
)
def test_what_the_flags_ask_for(current: str, part: str, pre: str, expected: str) -> None:
    found = next_version(parse_version(current), part=part, version="", pre=pre)
    assert found.semver == expected


def test_a_version_that_is_named_is_taken() -> None:
    first = parse_version("0.1.0")
    assert next_version(first, part="", version="0.1.0", pre="") == first
    assert next_version(first, part="", version="v3.0.0rc2", pre="").semver == "3.0.0-rc.2"


@given(FINAL, st.sampled_from(Part), st.sampled_from(PRE_RELEASES))
def test_releases_go_up(current: Version, part: Part, pre: str) -> None:
    final = current.bumped(part)
    chain = [current, current.pre_released(pre, final)]
    chain.append(chain[-1].pre_released(pre, final))
    chain.append(final)
    assert all(a < b for a, b in itertools.pairwise(chain))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "nothing says which version to release; give --part"),
        ({"part": "minro"}, "--part 'minro' is not known; did you mean 'minor'?"),
        ({"part": "minor", "version": "1.0.0"}, "--version is given, and --part, too"),
        ({"pre": "rc", "version": "1.0.0"}, "--version is given, and --pre, too"),
        ({"pre": "rc"}, "--pre rc of what? 0.1.0 is no pre-release"),
        ({"pre": "gamma", "part": "minor"}, "--pre 'gamma' is not known"),
        ({"version": "1.2"}, "version '1.2' is not one that can be released; write it like 1.2.3"),
        ({"version": "1.2.3; rm"}, "version '1.2.3; rm' is not one"),
    ],
)
def test_flags_that_say_nothing_or_too_much(flags: dict[str, str], message: str) -> None:
    with pytest.raises(OptionInvalid) as refused:
        next_version(parse_version("0.1.0"), **{"part": "", "version": "", "pre": "", **flags})
    assert message in str(refused.value)
