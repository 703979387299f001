"""Timing in pairs: A B A B …, so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pairs:
    """The seconds of each run of two competitors."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of theirs / ours, pair by pair: above 1, ours is faster."""
        return statistics.median(b / a for a, b in zip(self.ours, self.theirs, strict=True))

    def line(self, name: str) -> tuple[str, str, str, str, str]:
        """Return a table's row: name, medians, ratio and its range."""
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        return (
            name,
            f"{statistics.median(self.ours):.2f} s",
            f"{statistics.median(self.theirs):.2f} s",
            f"{self.ratio:.1f}",
            f"{min(ratios):.1f}-{max(ratios):.1f}",
        )


def measure(ours: Callable[[], None], theirs: Callable[[], None], runs: int) -> Pairs:
    """Run both in turn, `runs` times after one warm-up of each."""
    seconds: list[tuple[float, float]] = []
    for i in range(runs + 1):
        pair = (_timed(ours), _timed(theirs))
        if i:
            seconds.append(pair)
    return Pairs(tuple(a for a, _ in seconds), tuple(b for _, b in seconds))


def repeat(action: Callable[[], None], runs: int, before: Callable[[], None]) -> Sequence[float]:
    """Run `action` `runs` times after one warm-up, `before` each, untimed."""
    seconds = []
    for i in range(runs + 1):
        before()
        elapsed = _timed(action)
        if i:
            seconds.append(elapsed)
    return seconds


def _timed(action: Callable[[], None]) -> float:
    begin = time.monotonic()
    action()
    return time.monotonic() - begin
