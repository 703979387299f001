"""Probes in the background, so that no answer waits for what is watched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from monitoring.checks import Clock, Probe, Watched

_log = logging.getLogger("monitoring")


class Watch:
    """Repeats one probe in a thread of its own and keeps the last result.

    `probe` times itself by `clock` and does not raise. A probe that never ends
    takes only its own watch with it: the result grows old, and `now()` says so.
    """

    def __init__(
        self,
        target: str,
        probe: Callable[[], Probe],
        *,
        interval_s: float,
        max_age_s: float,
        clock: Clock,
    ) -> None:
        self._target = target
        self._probe = probe
        self._interval_s = interval_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._since_s = clock()
        self._last: Probe | None = None
        self._stop = threading.Event()
        # Daemon: the process does not wait for a hung probe when it ends.
        self._thread = threading.Thread(target=self._run, name=f"watch-{target}", daemon=True)

    def start(self) -> None:
        """Begin, with a first probe at once."""
        self._since_s = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Begin no further probe; does not wait for one under way."""
        self._stop.set()

    def now(self) -> Watched:
        """What is known at this moment; waits for nothing."""
        # Before the clock: a probe that ends in between would be younger than nothing.
        last = self._last
        since_s = self._since_s if last is None else last.finished_s
        return Watched(self._target, last, self._clock() - since_s, self._max_age_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = self._clock()
            probe = self._probe()
            if self._last is None or self._last.status != probe.status:
                level = logging.INFO if probe.status == "pass" else logging.WARNING
                _log.log(level, "%s: %s: %s", self._target, probe.status, probe.output)
            self._last = probe
            self._stop.wait(max(0.0, began_s + self._interval_s - self._clock()))
