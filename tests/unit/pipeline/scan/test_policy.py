"""Exceptions except what they name, until their day, and nothing for ever."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from pipeline.commands import ROOT
from pipeline.errors import ExceptionsInvalid
from pipeline.scan.findings import Finding, Kind, Severity
from pipeline.scan.policy import POLICY, Exemption, Policy, judge, read_policy

TODAY = datetime.date(2026, 6, 1)
SUBJECT = "production linux/amd64"
FINDING = Finding(SUBJECT, Kind.VULNERABILITY, Severity.HIGH, "CVE-1", package="libx", version="1")
ENTRY = """
[[exceptions]]
id = "CVE-1"
package = "libx"
reason = "not reachable: we never call it"
owner = "someone"
expiry = 2026-06-01
"""


def exemption(
    id: str = "CVE-1", package: str = "libx", where: str = "*", days: int = 0
) -> Exemption:
    expiry = TODAY + datetime.timedelta(days=days)
    return Exemption(id, package, "a good reason", "someone", expiry, where)


def written(folder: Path, text: str) -> Policy:
    (folder / "trust.toml").write_text(text)
    return read_policy(folder / "trust.toml", "trust.toml")


def test_a_finding_that_is_excepted_does_not_fail() -> None:
    judged = judge([FINDING], [SUBJECT], Policy((exemption(),)), Severity.HIGH, TODAY)
    assert judged.failing == ()
    assert [f for f, _ in judged.excepted] == [FINDING]
    assert judged.stale == ()


@pytest.mark.parametrize("gate", list(Severity))
@pytest.mark.parametrize("severity", list(Severity))
def test_the_gate_fails_at_its_severity_and_above(gate: Severity, severity: Severity) -> None:
    finding = Finding(SUBJECT, Kind.SECRET, severity, "key", path="a")
    judged = judge([finding], [SUBJECT], Policy(), gate, TODAY)
    assert bool(judged.failing) == (severity >= gate)
    assert bool(judged.below) == (severity < gate)


@pytest.mark.parametrize(
    "other",
    [
        exemption(id="CVE-2"),
        exemption(package="liby"),
        exemption(package="lib"),
        exemption(where="production linux/arm64"),
    ],
)
def test_an_exception_for_something_else_covers_nothing(other: Exemption) -> None:
    judged = judge([FINDING], [SUBJECT], Policy((other,)), Severity.HIGH, TODAY)
    assert judged.failing == (FINDING,)
    # One for another subject is not stale: that one was not scanned.
    assert bool(judged.stale) == (other.where == "*")


def test_an_exception_holds_on_its_last_day_and_not_after() -> None:
    for days, holds in ((0, True), (-1, False)):
        policy = Policy((exemption(days=days),))
        judged = judge([FINDING], [SUBJECT], policy, Severity.HIGH, TODAY)
        assert bool(judged.excepted) == holds
        assert bool(judged.failing) != holds
        assert ("expired on 2026-05-31" in " ".join(judged.stale)) != holds


def test_a_pattern_covers_files() -> None:
    secret = Finding("repository", Kind.SECRET, Severity.CRITICAL, "aws", path="a/b.env", line=3)
    policy = Policy((exemption(id="aws", package="a/*"),))
    assert judge([secret], ["repository"], policy, Severity.LOW, TODAY).failing == ()


def test_a_policy_is_read(tmp_path: Path) -> None:
    policy = written(tmp_path, f'schema = 1\n[licences]\nforbidden = ["AGPL-*"]\n{ENTRY}')
    assert policy.exemptions[0].expiry == TODAY
    assert policy.exemptions[0].where == "*"
    assert policy.licences.severity("AGPL-3.0-only", python=False) is Severity.CRITICAL
    assert policy.licences.severity("MIT", python=True) is None
    text = f"schema = 1\n{ENTRY}".replace("2026-06-01", '"2026-06-01"')
    assert written(tmp_path, text).exemptions[0].expiry == TODAY


def test_no_file_excepts_nothing(tmp_path: Path) -> None:
    assert read_policy(tmp_path / "none.toml", "none.toml").exemptions == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("owner", "ownr"), r"'exceptions\[0\].ownr' is not known; did you mean 'owner'"),
        (('owner = "someone"\n', ""), r"exceptions\[0\] has no 'owner'"),
        (('"someone"', '""'), r"exceptions\[0\].owner is empty"),
        (('"someone"', "3"), r"exceptions\[0\].owner is empty or no text"),
        (("2026-06-01", '"soon"'), r"exceptions\[0\].expiry is 'soon'"),
        (("2026-06-01", "2026-06-01T10:00:00"), "expiry is datetime"),
        (("not reachable: we never call it", "fine"), "reason says nothing"),
        (("schema = 1", "schema = 2"), "schema is 2"),
        (("schema = 1", "schema = 1\nignore = []"), "'ignore' is not known"),
        (("schema = 1", 'schema = 1\n[licences]\nforbiden = ["X"]'), "did you mean 'forbidden'"),
        (("schema = 1", 'schema = 1\n[licences]\nforbidden = "X"'), "not a list of patterns"),
        (("[[exceptions]]", "[exceptions]"), "a list of tables"),
        (("schema = 1", "schema = "), "cannot be read"),
        (("schema = 1", "schema = 1\n" + ENTRY), r"exceptions\[1\] is there twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ExceptionsInvalid, match=words):
        written(tmp_path, f"schema = 1\n{ENTRY}".replace(*change))


def test_the_repository_s_own_policy_can_be_read() -> None:
    policy = read_policy(ROOT / POLICY, str(POLICY))
    assert policy.licences.forbidden
    assert all(len(e.reason) > 20 for e in policy.exemptions)
