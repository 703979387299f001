from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from monitoring.fetch import FetchError, HttpAnswer
from monitoring.checks import (
    Check,
    Disk,
    Probe,
    Status,
    Watched,
    check_disk,
    check_watched,
    health_document,
    overall,
    probe_ready,
    read_disk,
)


def ticking(*times_s: float) -> Callable[[], float]:
    return iter(times_s).__next__


def probe(status: int, body: bytes) -> Probe:
    return probe_ready(
        "http://a/readyz",
        deadline_s=2,
        fetch=lambda _url, _deadline_s: HttpAnswer(status, body),
        clock=ticking(100.0, 100.25),
    )


@pytest.mark.parametrize(
    ("status", "body", "expected", "output"),
    [
        (200, b'{"status": "pass"}', "pass", "answered 200"),
        (200, b'{"status": "warn"}', "warn", "answered 200, warn"),
        (200, b'{"status": "fail"}', "fail", "answered 200, fail"),
        (503, b'{"status": "pass"}', "fail", "answered 503"),
        (503, b'{"status": "fail"}', "fail", "answered 503"),
        (204, b"", "fail", "answered 204"),
        (302, b"", "fail", "answered 302"),
        (404, b"", "fail", "answered 404"),
        (200, b"ok\n", "pass", "answered 200"),
        (200, b'{"status": ["warn"]}', "pass", "answered 200"),
        (200, b'["warn"]', "pass", "answered 200"),
        (200, b"\xff", "pass", "answered 200"),
        (200, b"[" * 60_000, "pass", "answered 200"),
    ],
)
def test_verdict_on_an_answer(status: int, body: bytes, expected: Status, output: str) -> None:
    assert probe(status, body) == Probe(expected, output, 0.25, 100.25)


def test_probe_asks_with_the_deadline_and_failure_is_a_result() -> None:
    asked: list[tuple[str, float]] = []

    def fetch(url: str, deadline_s: float) -> HttpAnswer:
        asked.append((url, deadline_s))
        raise FetchError("Connection refused")

    result = probe_ready("http://a/readyz", deadline_s=2, fetch=fetch, clock=ticking(5.0, 7.0))
    assert asked == [("http://a/readyz", 2)]
    assert result == Probe("fail", "Connection refused", 2.0, 7.0)


@pytest.mark.parametrize("status", ["pass", "warn", "fail"])
def test_fresh_probe_is_believed(status: Status) -> None:
    watched = Watched("accelerapp", Probe(status, "said", 0.25, 1), age_s=22.0, max_age_s=22.0)
    assert check_watched(watched).document() == {
        "status": status,
        "output": "said",
        "observedValue": 0.25,
        "observedUnit": "s",
        "age_s": 22.0,
    }
    assert watched.success is (status != "fail")


@pytest.mark.parametrize("last", [None, Probe("pass", "said", 0.25, 1)])
def test_overdue_is_fail(last: Probe | None) -> None:
    watched = Watched("accelerapp", last, age_s=22.5, max_age_s=22.0)
    check = check_watched(watched)
    assert (check.status, check.output) == ("fail", "no probe has ended for 22 s")
    assert watched.success is False


def test_before_the_first_probe_is_warn() -> None:
    watched = Watched("accelerapp", None, age_s=0.0004, max_age_s=22.0)
    assert check_watched(watched).document() == {
        "status": "warn",
        "output": "the first probe is under way",
        "age_s": 0.0,
    }
    assert watched.success is None


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [(0, "fail"), (99, "fail"), (100, "warn"), (199, "warn"), (200, "pass"), (10**15, "pass")],
)
def test_disk_thresholds(free_bytes: int, expected: Status) -> None:
    check = check_disk(Disk("/d", free_bytes), warn_bytes=200, fail_bytes=100)
    assert (check.name, check.status) == ("disk:free", expected)
    assert check.document()["observedValue"] == free_bytes
    assert check.document()["observedUnit"] == "bytes"


def test_zero_turns_thresholds_off() -> None:
    assert check_disk(Disk("/d", 0), warn_bytes=0, fail_bytes=0).status == "pass"


def test_disk_that_cannot_be_read_is_fail() -> None:
    def free_bytes(path: str) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    check = check_disk(read_disk("/gone", free_bytes), warn_bytes=0, fail_bytes=0)
    assert check.document() == {"status": "fail", "output": "/gone: No such file or directory"}
    assert read_disk("/d", lambda path: len(path)) == Disk("/d", 2)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((), "pass"),
        (("pass", "pass"), "pass"),
        (("pass", "warn"), "warn"),
        (("fail", "warn", "pass"), "fail"),
    ],
)
def test_worst_wins(statuses: tuple[Status, ...], expected: Status) -> None:
    checks = [Check("a:b", status, "", 1, "s") for status in statuses]
    assert overall(checks) == expected
    # An iterator, which can be read once.
    document = health_document(iter(checks))
    assert document["status"] == expected
    if checks:
        assert document["checks"] == {"a:b": [check.document() for check in checks]}
