from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pytest

from monitoring.checks import Probe, Watched
from monitoring.watch import Watch

PATIENCE_S = 10


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.005)


def watch(probe: Callable[[], Probe], interval_s: float = 0.01) -> Watch:
    return Watch("x", probe, interval_s=interval_s, max_age_s=22, clock=time.monotonic)


def test_age_is_since_the_start_then_since_the_last_end() -> None:
    now_s = [100.0]
    release = threading.Event()

    def probe() -> Probe:
        assert release.wait(PATIENCE_S)
        return Probe("pass", "", 1.0, 107.0)

    watching = Watch("x", probe, interval_s=60, max_age_s=22, clock=lambda: now_s[0])
    watching.start()
    now_s[0] = 104.0
    assert watching.now() == Watched("x", None, 4.0, 22)
    release.set()
    until(lambda: watching.now().last is not None)
    now_s[0] = 112.0
    assert watching.now() == Watched("x", Probe("pass", "", 1.0, 107.0), 5.0, 22)
    watching.stop()


def test_repeats_until_stopped_and_logs_changes_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    results = ["pass", "pass", "fail", "fail", "fail", "pass"]
    count = 0

    def probe() -> Probe:
        nonlocal count
        status = results[min(count, 5)]
        count += 1
        return Probe(status, "said", 0.0, time.monotonic())  # type: ignore[arg-type]

    watching = watch(probe)
    watching.start()
    until(lambda: count > 8)
    watching.stop()
    time.sleep(0.05)
    stopped_at = count
    time.sleep(0.1)
    assert count == stopped_at
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "x: pass: said"),
        ("WARNING", "x: fail: said"),
        ("INFO", "x: pass: said"),
    ]


def test_interval_is_from_start_to_start() -> None:
    starts_s: list[float] = []

    def probe() -> Probe:
        starts_s.append(time.monotonic())
        time.sleep(0.15)
        return Probe("pass", "", 0.15, time.monotonic())

    watching = watch(probe, interval_s=0.2)
    watching.start()
    until(lambda: len(starts_s) == 4)
    watching.stop()
    assert 0.55 < starts_s[3] - starts_s[0] < 0.95
