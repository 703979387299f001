"""The last minutes: samples in memory, taken in a thread of their own."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitoring.cgroup import Cpu

INTERVAL_S = 5.0
LENGTH = 120
# Throttling is judged over this much of the past.
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment by the monotonic clock: the CPU's counters and what curves show."""

    at_s: float
    cpu: Cpu
    values: Mapping[str, float | None]


class History:
    """The last LENGTH samples, INTERVAL_S apart. `take` waits for nothing and does not raise."""

    def __init__(self, take: Callable[[], Sample]) -> None:
        self._take = take
        self._samples: deque[Sample] = deque(maxlen=LENGTH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin, with a first sample at once."""
        self.add(self._take())
        self._thread.start()

    def stop(self) -> None:
        """Take no further sample."""
        self._stop.set()

    def add(self, sample: Sample) -> None:
        """Keep `sample`, and forget the oldest when there are too many."""
        self._samples.append(sample)

    def values(self, label: str) -> tuple[float | None, ...]:
        """What the samples have under `label`, oldest first."""
        return tuple(sample.values.get(label) for sample in tuple(self._samples))

    def cores(self) -> tuple[float | None, ...]:
        """Cores in use between each two samples, oldest first."""
        samples = tuple(self._samples)
        return tuple(itertools.starmap(_cores, itertools.pairwise(samples)))

    def throttled_ratio(self, cpu: Cpu, now_s: float) -> float | None:
        """The share of the last WINDOW_S' periods that were throttled, up to `cpu`'s counters.

        None while no period has passed or nobody counts them.
        """
        recent = [sample for sample in tuple(self._samples) if now_s - sample.at_s <= WINDOW_S]
        return throttled_ratio(recent[0].cpu, cpu) if recent else None

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.add(self._take())


def throttled_ratio(before: Cpu, after: Cpu) -> float | None:
    """Throttled periods of all periods between two readings; None where it cannot be told."""
    periods = _risen(before.periods, after.periods)
    throttled = _risen(before.throttled_periods, after.throttled_periods)
    if not periods or throttled is None:
        return None
    return min(1.0, throttled / periods)


def _risen(before: int | None, after: int | None) -> int | None:
    if before is None or after is None or after < before:
        return None
    return after - before


def _cores(before: Sample, after: Sample) -> float | None:
    used, spent = before.cpu.usage_s, after.cpu.usage_s
    if used is None or spent is None or after.at_s <= before.at_s:
        return None
    return max(0.0, (spent - used) / (after.at_s - before.at_s))
