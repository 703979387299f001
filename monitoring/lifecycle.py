"""Whether the process was asked to stop."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Lifecycle:
    """Shared by the signal handlers and the server loop."""

    def __init__(self) -> None:
        self.stop_signal: signal.Signals | None = None

    def stop(self, signum: int) -> None:
        """Begin to stop; asked a second time, exit at once with 128 + `signum`."""
        if self.stop_signal is not None:
            os._exit(128 + signum)
        self.stop_signal = signal.Signals(signum)

    def handle_signals(self) -> None:
        """Stop on SIGTERM and SIGINT; main thread only.

        Explicit for both, because PID 1 has no default actions.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.stop(signum)
