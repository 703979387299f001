"""The life of the process: when it began, and whether it was asked to stop."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from types import FrameType


class Lifecycle:
    """Shared by the signal handlers, the server and the web application."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self._started_s = time.monotonic()
        self._signal: signal.Signals | None = None

    @property
    def stopping(self) -> bool:
        """True from the first request to stop until the process ends."""
        return self._signal is not None

    @property
    def stop_signal(self) -> str:
        """The name of the signal that asked; empty before."""
        return "" if self._signal is None else self._signal.name

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._started_s

    def stop(self, signum: int) -> None:
        """Begin to stop; asked a second time, exit at once with 128 + `signum`."""
        if self._signal is not None:
            os._exit(128 + signum)
        self._signal = signal.Signals(signum)

    def handle_signals(self) -> None:
        """Stop on SIGTERM and SIGINT; main thread only.

        Explicit for both, because PID 1 has no default actions.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.stop(signum)
