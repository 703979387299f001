"""Generations on a Redis stream, where REDIS_URL is set.

Publishing never waits and never fails: events go through a bounded queue to one thread.
When Redis is away the newest are kept waiting and, once the queue is full, the oldest are
dropped and counted; whoever reads the stream sees what is recent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from accelerapp.addresses import Secret

_log = logging.getLogger("accelerapp")

QUEUE = 1000
TIMEOUT_S = 2.0
LONGEST_PAUSE_S = 10.0
CHECK_PERIOD_S = 3.0


class Publisher:
    """One stream. Starts its thread by itself; `close` it once."""

    def __init__(self, url: Secret, stream: str, maxlen: int) -> None:
        self._url = url
        self._stream = stream
        self._maxlen = maxlen
        self._changed = threading.Condition()
        self._queue: deque[dict[str, str]] = deque()
        self._busy = False
        self._closing = False
        self._published = 0
        self._dropped = 0
        self._status: Literal["pass", "warn"] = "pass"
        self._output = "not asked yet"
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Published and dropped since the start."""
        with self._changed:
            return self._published, self._dropped

    def start(self) -> None:
        """Connect in the background, so that check() knows before the first event."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="events", daemon=True)
                self._thread.start()

    def publish(self, fields: Mapping[str, str]) -> None:
        """Put an event in the queue; the oldest gives way when that is full."""
        self.start()
        with self._changed:
            if len(self._queue) >= QUEUE:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append(dict(fields))
            self._changed.notify()

    def check(self) -> tuple[Literal["pass", "warn"], str]:
        """What was last seen of Redis, at once. Never a failure: the service goes on without."""
        with self._changed:
            return self._status, self._output

    def close(self, grace_s: float) -> None:
        """Send what is in the queue, for at most `grace_s`; the rest is dropped and counted."""
        end_s = time.monotonic() + grace_s
        with self._changed:
            self._closing = True
            self._changed.notify()
            while self._queue or self._busy:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or self._thread is None:
                    break
                self._changed.wait(left_s)
            if self._queue:
                self._dropped += len(self._queue)
                _log.warning("%d events were not published", len(self._queue))
                self._queue.clear()

    def _work(self) -> None:
        pause_s = 0.0
        client: Any = None
        while True:
            event = self._next(pause_s)
            if event is None and self._closing:
                return
            try:
                if client is None:
                    client = self._connect()
                if event is None:
                    client.ping()
                else:
                    client.xadd(self._stream, event, maxlen=self._maxlen, approximate=False)
            except Exception as error:
                # redis-py raises its own, OSError and ValueError; none may end this thread.
                client = None
                pause_s = min(max(2 * pause_s, 0.25), LONGEST_PAUSE_S)
                self._failed(event, error)
            else:
                pause_s = 0.0
                self._succeeded(event)

    def _next(self, pause_s: float) -> dict[str, str] | None:
        """The oldest event after `pause_s`; None when there is none and Redis is to be asked."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            if pause_s:
                end_s = time.monotonic() + pause_s
                while not self._closing and (left_s := end_s - time.monotonic()) > 0:
                    self._changed.wait(left_s)
            elif not self._queue and not self._closing and self._output != "not asked yet":
                self._changed.wait(CHECK_PERIOD_S)
            if not self._queue:
                return None
            self._busy = True
            return self._queue.popleft()

    def _connect(self) -> Any:
        # Here and not above: whoever has no Redis need not wait for the import.
        import redis

        return redis.Redis.from_url(
            self._url.reveal(),
            client_name="accelerapp",
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            health_check_interval=0,
            retry=None,
        )

    def _succeeded(self, event: dict[str, str] | None) -> None:
        with self._changed:
            if self._status == "warn":
                _log.info("Redis is back")
            self._status, self._output = "pass", "reachable"
            self._published += event is not None

    def _failed(self, event: dict[str, str] | None, error: Exception) -> None:
        output = self._told(error)
        with self._changed:
            if event is not None:
                # Back to its place, unless newer ones have filled the queue.
                if len(self._queue) < QUEUE and not self._closing:
                    self._queue.appendleft(event)
                else:
                    self._dropped += 1
            changed = (self._status, self._output) != ("warn", output)
            self._status, self._output = "warn", output
        if changed:
            _log.warning("Redis: %s", output)

    def _told(self, error: Exception) -> str:
        """One line, without the password that redis-py may repeat."""
        text = " ".join(str(error).split())[:200] or type(error).__name__
        secret = self._url.reveal()
        from urllib.parse import unquote, urlsplit

        password = urlsplit(secret).password
        for word in (secret, password, unquote(password) if password else None):
            if word:
                text = text.replace(word, "***")
        return text
