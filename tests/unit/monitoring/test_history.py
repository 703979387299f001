from __future__ import annotations

import threading

import pytest

from monitoring import history as module
from monitoring.cgroup import Cpu
from monitoring.history import LENGTH, WINDOW_S, History, Sample, throttled_ratio


def cpu(periods: int | None, throttled: int | None, usage_s: float | None = None) -> Cpu:
    return Cpu(0.5, usage_s, periods, throttled, None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (cpu(0, 0), cpu(100, 25), 0.25),
        (cpu(100, 25), cpu(200, 25), 0.0),
        (cpu(5, 5), cpu(5, 5), None),
        # Read one after the other: a period may end in between.
        (cpu(0, 0), cpu(4, 5), 1.0),
        (cpu(None, None), cpu(9, 9), None),
        (cpu(0, 0), cpu(9, None), None),
        # Counters that went back are another cgroup's.
        (cpu(100, 25), cpu(10, 1), None),
    ],
)
def test_throttled_ratio(before: Cpu, after: Cpu, expected: float | None) -> None:
    assert throttled_ratio(before, after) == expected


def history(*samples: Sample) -> History:
    made = History(lambda: samples[0])
    for sample in samples:
        made.add(sample)
    return made


def test_only_the_window_counts() -> None:
    made = history(Sample(0.0, cpu(0, 0), {}), Sample(100.0, cpu(100, 100), {}))
    assert made.throttled_ratio(cpu(200, 100), 100.0 + WINDOW_S) == 0.0
    assert made.throttled_ratio(cpu(200, 100), 101.0 + WINDOW_S) is None


def test_values_and_cores() -> None:
    made = history(
        Sample(0.0, cpu(0, 0, 1.0), {"memory": 5.0}),
        Sample(5.0, cpu(0, 0, 3.5), {}),
        Sample(10.0, cpu(0, 0, None), {"memory": None}),
    )
    assert made.values("memory") == (5.0, None, None)
    assert made.cores() == (0.5, None)


def test_the_oldest_go() -> None:
    made = history(*(Sample(i, cpu(0, 0), {"x": i}) for i in range(LENGTH + 3)))
    values = made.values("x")
    assert (len(values), values[0], values[-1]) == (LENGTH, 3, LENGTH + 2)


def test_two_samples_of_one_moment_have_no_cores_between_them() -> None:
    made = history(Sample(5.0, cpu(0, 0, 1.0), {}), Sample(5.0, cpu(0, 0, 1.0), {}))
    assert made.cores() == (None,)


def test_cpu_time_that_went_back_is_no_use_of_it() -> None:
    made = history(Sample(0.0, cpu(0, 0, 9.0), {}), Sample(5.0, cpu(0, 0, 1.0), {}))
    assert made.cores() == (0.0,)


def test_the_first_sample_is_taken_at_once_and_none_after_the_stop() -> None:
    made = History(lambda: Sample(0.0, cpu(0, 0), {"x": 1.0}))
    before = set(threading.enumerate())
    made.start()
    [thread] = set(threading.enumerate()) - before
    assert made.values("x") == (1.0,)
    # The process ends without it, whatever it waits for.
    assert thread.daemon
    made.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert made.values("x") == (1.0,)


def test_samples_are_taken_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    many = threading.Event()
    taken: list[Sample] = []

    def take() -> Sample:
        taken.append(Sample(float(len(taken)), cpu(0, 0), {"x": float(len(taken))}))
        if len(taken) > 3:
            many.set()
        return taken[-1]

    made = History(take)
    made.start()
    assert many.wait(10)
    made.stop()
    assert made.values("x")[:3] == (0.0, 1.0, 2.0)
