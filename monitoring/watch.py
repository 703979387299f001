"""Looks in the background, so that no answer waits for what is watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from monitoring.checks import STATUSES, Finding, Probe, Status, Watched

_log = logging.getLogger("monitoring")

Clock = Callable[[], float]


def timed(look: Callable[[], Finding], *, slow_s: float, clock: Clock = time.monotonic) -> Probe:
    """Look once. What passes but takes longer than `slow_s` is a warning."""
    began_s = clock()
    try:
        finding = look()
    except Exception:
        # A watch that dies in silence would be worse than any answer.
        _log.exception("a check failed unexpectedly")
        finding = Finding("fail", "the check itself failed; see the monitor's log")
    finished_s = clock()
    duration_s = finished_s - began_s
    if finding.status == "pass" and duration_s > slow_s:
        finding = replace(finding, status="warn", output=f"{finding.output}; slow")
    return Probe(finding, duration_s, finished_s, time.time())


class Watch:
    """Repeats one look in a thread of its own and keeps the last result.

    A look that never ends takes only its own watch with it: the result grows
    old, and `now()` says so. Shorter than a deadline of its own it cannot be
    cut: what has none (a file system, the resolver) hangs here and nowhere else.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Finding],
        *,
        interval_s: float,
        max_age_s: float,
        slow_s: float = float("inf"),
        component_id: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self.component_id = component_id
        self._look = look
        self._interval_s = interval_s
        self._max_age_s = max_age_s
        self._slow_s = slow_s
        self._clock = clock
        self._since_s = clock()
        self._last: Probe | None = None
        self._succeeded_at_s: float | None = None
        self._counts: dict[Status, int] = dict.fromkeys(STATUSES, 0)
        self._stop = threading.Event()
        # Daemon: the process does not wait for a hung look when it ends.
        self._thread = threading.Thread(target=self._run, name=f"watch-{name}", daemon=True)

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._since_s = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Begin no further look; does not wait for one under way."""
        self._stop.set()

    def now(self) -> Watched:
        """What is known at this moment; waits for nothing."""
        # Before the clock: a look that ends in between would be younger than nothing.
        last = self._last
        since_s = self._since_s if last is None else last.finished_s
        return Watched(
            name=self.name,
            last=last,
            age_s=self._clock() - since_s,
            max_age_s=self._max_age_s,
            component_id=self.component_id,
            succeeded_at_s=self._succeeded_at_s,
            counts=self._counts.copy(),
        )

    def look(self) -> Probe:
        """Look once, in this thread, and keep the result."""
        probe = timed(self._look, slow_s=self._slow_s, clock=self._clock)
        status = probe.finding.status
        if self._last is None or self._last.finding.status != status:
            level = logging.INFO if status == "pass" else logging.WARNING
            _log.log(level, "%s: %s: %s", self.name, status, probe.finding.output)
        self._counts[status] += 1
        if status != "fail":
            self._succeeded_at_s = probe.at_s
        self._last = probe
        return probe

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = self._clock()
            self.look()
            self._stop.wait(max(0.0, began_s + self._interval_s - self._clock()))
