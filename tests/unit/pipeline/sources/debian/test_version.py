"""Version order: the tables of Policy 5.6.12 and deb-version(7), and dpkg's own verdict."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.debian.version import DebianVersion, compare

EARLIER_TO_LATER = [
    # Policy 5.6.12: "~~", "~~a", "~", the empty part and "a" sort in this order.
    ("1~~", "1~~a", "1~", "1", "1a"),
    ("1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-1", "1.0-1+deb12u1", "1.0.1"),
    ("2024a-0+deb12u1", "2024b-0+deb12u1", "2024b-1"),
    ("9.9", "10.0", "1:0.1", "1:9", "2:0"),
    ("1.2-3", "1.2-3+b1", "1.2-3.1", "1.2-10"),
    ("0", "0a", "0+a", "0.0~git20200101", "0.0", "0.1", "0.a"),
    ("1.0-1~bpo12+1", "1.0-1", "1.0-1ubuntu1"),
    ("1.0~rc1-1", "1.0~rc1-2", "1.0-1"),
    ("1-1", "1-1-1", "1-2-0"),
    ("1.0A", "1.0Z", "1.0a", "1.0z", "1.0+", "1.0."),
    ("12345678901234567890123", "12345678901234567890124"),
    ("3.11.2-6", "3.11.2-6+deb12u1", "3.11.2-6+deb12u10", "3.11.10-1"),
]

EQUAL = [
    ("1.0", "0:1.0"),
    ("1.0", "1.0-0"),
    ("1.0", "1.00"),
    ("1.", "1.0"),
    ("1.0-1", "01.0-01"),
    ("2:1a", "02:1a0"),
]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [pair for chain in EARLIER_TO_LATER for pair in itertools.combinations(chain, 2)],
)
def test_order(earlier: str, later: str) -> None:
    assert compare(earlier, later) == -1
    assert compare(later, earlier) == 1
    assert DebianVersion(earlier) < DebianVersion(later)
    assert DebianVersion(later) >= DebianVersion(earlier)
    assert DebianVersion(earlier) != DebianVersion(later)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_different_spellings_of_one_version(one: str, other: str) -> None:
    assert compare(one, other) == 0
    assert DebianVersion(one) == DebianVersion(other)
    assert hash(DebianVersion(one)) == hash(DebianVersion(other))


def test_text_is_kept_as_written() -> None:
    assert str(DebianVersion("0:1.00-0")) == "0:1.00-0"


@pytest.mark.parametrize(
    "text", ["", " 1", "1 2", "a:1", "1:", ":1", "1.0:2", "1.0-", "1_0", "1/0", "1²", "1\n"]
)
def test_text_that_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a Debian version"):
        DebianVersion(text)


versions = st.builds(
    lambda epoch, upstream, revision: epoch + upstream + revision,
    st.sampled_from(["", "0:", "1:", "10:"]),
    st.from_regex(r"[0-9][0-9a-bA.+~]{0,5}", fullmatch=True),
    st.one_of(st.just(""), st.from_regex(r"-[0-9a-b.+~]{1,4}", fullmatch=True)),
)


@given(versions, versions, versions)
def test_the_order_is_total(a: str, b: str, c: str) -> None:
    assert compare(a, a) == 0
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
@settings(max_examples=60, deadline=None)
@given(versions, versions)
def test_dpkg_agrees(a: str, b: str) -> None:
    agreed = {
        operator
        for operator in ("lt", "eq", "gt")
        if subprocess.run(["dpkg", "--compare-versions", a, operator, b], check=False).returncode
        == 0
    }
    assert agreed == {("eq", "gt", "lt")[compare(a, b)]}
