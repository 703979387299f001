from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from monitoring.checks import Finding, Status
from monitoring.watch import Watch, timed

PATIENCE_S = 10


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.005)


def ticking(*times_s: float) -> Callable[[], float]:
    return iter(times_s).__next__


@pytest.mark.parametrize(
    ("status", "ended_s", "expected", "output"),
    [
        ("pass", 101.0, "pass", "said"),
        ("pass", 101.1, "warn", "said; slow"),
        ("warn", 105.0, "warn", "said"),
        ("fail", 105.0, "fail", "said"),
    ],
)
def test_slow_is_a_warning(status: Status, ended_s: float, expected: Status, output: str) -> None:
    look = lambda: Finding(status, "said")  # noqa: E731
    probe = timed(look, slow_s=1.0, clock=ticking(100.0, ended_s))
    assert probe.finding == Finding(expected, output)
    assert (probe.duration_s, probe.finished_s) == (ended_s - 100.0, ended_s)


def test_look_that_raises_fails_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def look() -> Finding:
        raise RuntimeError("oh")

    finding = timed(look, slow_s=1.0).finding
    assert finding == Finding("fail", "the check itself failed; see the monitor's log")
    assert "oh" in caplog.text


def test_age_is_since_the_start_then_since_the_last_end() -> None:
    now_s = [100.0]
    release = threading.Event()

    def look() -> Finding:
        assert release.wait(PATIENCE_S)
        now_s[0] = 107.0
        return Finding("pass", "")

    watch = Watch("x", look, interval_s=60, max_age_s=22, clock=lambda: now_s[0])
    watch.start()
    now_s[0] = 104.0
    known = watch.now()
    assert (known.last, known.age_s, known.overdue) == (None, 4.0, False)
    now_s[0] = 123.0
    assert watch.now().overdue
    release.set()
    until(lambda: watch.now().last is not None)
    now_s[0] = 112.0
    known = watch.now()
    assert (known.age_s, known.overdue) == (5.0, False)
    watch.stop()


def test_repeats_until_stopped_and_logs_changes_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    results: list[Status] = ["pass", "pass", "fail", "fail", "fail", "pass"]
    count = 0

    def look() -> Finding:
        nonlocal count
        status = results[min(count, 5)]
        count += 1
        return Finding(status, "said")

    watch = Watch("x", look, interval_s=0.01, max_age_s=22)
    watch.start()
    until(lambda: count > 8)
    watch.stop()
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [
        ("INFO", "x: pass: said"),
        ("WARNING", "x: fail: said"),
        ("INFO", "x: pass: said"),
    ]
    stopped_at = count
    time.sleep(0.05)
    assert count <= stopped_at + 1


def test_counts_and_last_success() -> None:
    results: list[Status] = ["fail", "warn", "fail", "fail"]
    watch = Watch("x", lambda: Finding(results.pop(0), ""), interval_s=1, max_age_s=22)
    before_s = time.time()
    watch.look()
    assert watch.now().succeeded_at_s is None
    succeeded = watch.look()
    watch.look()
    watch.look()
    known = watch.now()
    assert known.counts == {"pass": 0, "warn": 1, "fail": 3}
    assert known.succeeded_at_s == succeeded.at_s
    assert before_s <= succeeded.at_s <= time.time()


def test_hung_look_does_not_delay_what_is_known() -> None:
    release = threading.Event()
    watch = Watch(
        "x", lambda: Finding("pass" if release.wait(60) else "fail", ""), interval_s=1, max_age_s=2
    )
    watch.start()
    began_s = time.monotonic()
    for _ in range(100):
        watch.now()
    watch.stop()
    assert time.monotonic() - began_s < PATIENCE_S
    release.set()


class Stop:
    """The event of a watch that is stopped after so many looks; notes how long it is waited for."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self.waits: list[float] = []

    def is_set(self) -> bool:
        return len(self.waits) >= self._looks

    def wait(self, timeout: float) -> None:
        assert len(self.waits) < self._looks
        self.waits.append(timeout)


def test_looks_begin_at_even_intervals_and_never_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    took_s = iter((4.0, 10.0, 12.0))
    looks = 0

    def look() -> Finding:
        nonlocal now_s, looks
        looks += 1
        assert looks < 4
        now_s += next(took_s)
        return Finding("pass", "said")

    watch = Watch("a:b", look, interval_s=10.0, max_age_s=30.0, clock=lambda: now_s)
    stop = Stop(3)
    monkeypatch.setattr(watch, "_stop", stop)
    watch._run()
    assert stop.waits == [6.0, 0.0, 0.0]


def test_the_process_does_not_wait_for_a_look() -> None:
    ends, begun = threading.Event(), threading.Event()

    def look() -> Finding:
        begun.set()
        ends.wait(PATIENCE_S)
        return Finding("pass", "said")

    watch = Watch("a:b", look, interval_s=10.0, max_age_s=30.0)
    before = set(threading.enumerate())
    watch.start()
    [thread] = set(threading.enumerate()) - before
    assert begun.wait(PATIENCE_S)
    assert thread.daemon
    watch.stop()
    ends.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
