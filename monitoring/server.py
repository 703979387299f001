"""The production server: waitress with deadlines, one thread, and a clean stop.

waitress reads and writes every connection in one loop, parses what arrives and
limits its size. What it lacks is here: a deadline for a whole request (its own
timeout restarts with each byte), room for the next client when all is taken,
answers that a closing connection does not cut off, and a drain.

The application runs in the loop's thread. It answers from memory, so handing
each request to another thread would only cost time, and threads cannot run out.

From waitress this uses HTTPChannel's `request`, `requests`, `total_outbufs_len`,
`will_close`, `close_when_flushed` and `service()`, and the task dispatcher's
`add_task`; the tests of the server fail if a new waitress changes these.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]
from waitress.trigger import trigger  # type: ignore[import-untyped]

from monitoring.lifecycle import Lifecycle

_log = logging.getLogger("monitoring")

MAX_HEADER_BYTES = 16 * 1024
# No address takes a body.
MAX_BODY_BYTES = 16 * 1024
# Less than this is not sent before an answer is whole: its head and body in one packet.
GATHERED_BYTES = 16 * 1024
# Far more than Prometheus, probes and people need, and below the usual limit of
# 1024 open files.
MAX_CONNECTIONS = 512
# Files and connections besides those of clients.
_OTHER_FILES = 64
# From the connection, or from the first byte of a later request, to its last byte.
RECEIVE_DEADLINE_S = 5.0
# Above the pause between two scrapes, so that Prometheus keeps its connection.
IDLE_TIMEOUT_S = 75.0
# For a client to read what was answered.
SEND_DEADLINE_S = 10.0
# For a client that is still sending what was refused.
LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024
MAX_REQUESTS = 1000
ROUND_S = 0.5
# So long /readyz says that this stops, before it does; a load balancer may ask.
STOP_NOTICE_S = 0.5
STOP_GRACE_S = 1.5


class ListenError(Exception):
    """The address cannot be listened on; says which and why."""

    exit_code = 3


class Tally(Protocol):
    """Who wants to know what the server refuses and closes."""

    def answered(self, method: str, path: str, code: int, duration_s: float) -> None: ...

    def closed(self, reason: str) -> None: ...


class Server:
    """Serves a WSGI application on one address."""

    def __init__(self, lifecycle: Lifecycle, tally: Tally) -> None:
        self._lifecycle = lifecycle
        self._tally = tally
        self._server: Any = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return 0 if self._server is None else len(self._server.active_channels)

    def serve(self, app: Callable[..., Iterable[bytes]], host: str, port: int) -> int:
        """Answer requests to `app` until the lifecycle is asked to stop; return the exit code.

        0 after a stop, 1 if the listening socket was lost. Main thread only.
        Raises ListenError.
        """
        sockets: dict[int, Any] = {}
        with _listen(host, port) as listener:
            server = self._server = _Listener(app, listener, sockets, self._tally)
            _wake_on_signals(sockets)
            _log.info("monitor listening on %s", _url(listener))
            try:
                while not self._lifecycle.stopping:
                    server.turn(ROUND_S)
                    if listener.fileno() == -1:
                        _log.error("the listening socket was closed; giving up")
                        return 1
                _log.info("%s: stopping", self._lifecycle.stop_signal)
                server.drain()
                _log.info("stopped")
            finally:
                signal.set_wakeup_fd(-1)
                wasyncore.close_all(sockets)
        return 0


class _Queue:
    """waitress' task dispatcher, without threads: the loop runs what is added."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()

    def add_task(self, channel: Any) -> None:
        self.waiting.append(channel)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows since when it owes a request, or its client a read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        now_s = time.monotonic()
        self.since_s = now_s  # when what it now waits for began
        self.served = 0
        self.refused = False
        self.lingering = False
        self.lingered_bytes = 0

    @property
    def arriving(self) -> bool:
        """Whether a request is awaited or under way; after an answer, only once it begins."""
        return not self.requests and (self.request is not None or not self.served)

    def handle_read(self) -> None:
        if self.lingering:
            self._discard()
            return
        was_idle = self.request is None and self.served
        super().handle_read()
        if was_idle and self.request is not None:
            self.since_s = time.monotonic()

    def service(self) -> None:
        """Answer the first request that has arrived, and send what the socket takes."""
        request = self.requests[0]
        self.served += 1
        if self.server.stopping or self.served >= MAX_REQUESTS:
            # As if the client had asked for it: waitress then closes after the answer.
            request.headers["CONNECTION"] = "close"
        self.refused = request.error is not None
        if self.refused:
            self.server.tally.answered("other", "other", request.error.code, 0.0)
        super().service()
        self.since_s = time.monotonic()
        if self.connected:
            self.handle_write()

    def handle_write(self) -> None:
        if not (self.refused and self.close_when_flushed):
            super().handle_write()
            return
        # The client may still be sending what is refused. Closed now, the kernel
        # would answer that with a reset, and take the refusal out of its hands.
        self._flush_exception(self._flush_some)
        if self.will_close or not self.connected:
            self.handle_close()
        elif not self.total_outbufs_len:
            self.close_when_flushed: bool = False
            self.lingering = True
            self.since_s = time.monotonic()
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.handle_close()

    def _discard(self) -> None:
        try:
            received = self.recv(self.adj.recv_bytes)  # closes at the end of the stream
        except OSError:
            self.handle_close()
            return
        self.lingered_bytes += len(received)
        if self.lingered_bytes > LINGER_BYTES:
            self.handle_close()

    def overdue(self, now_s: float) -> str:
        """Why to close it: late, unread, idle; empty if there is no reason."""
        waited_s = now_s - self.since_s
        if self.lingering:
            return "late" if waited_s > LINGER_S else ""
        if self.total_outbufs_len or self.close_when_flushed:
            return "unread" if waited_s > SEND_DEADLINE_S else ""
        if self.arriving:
            return "late" if waited_s > RECEIVE_DEADLINE_S else ""
        return "idle" if not self.requests and waited_s > IDLE_TIMEOUT_S else ""


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    """waitress' server, with its loop, its deadlines and its drain."""

    channel_class = _Channel

    def __init__(
        self, app: Callable[..., Any], listener: socket.socket, sockets: Any, tally: Tally
    ) -> None:
        self.tally = tally
        self.stopping = False
        self._queue = _Queue()
        self._checked_s = time.monotonic()
        self._room = _room()
        adjustments = Adjustments(
            sockets=[listener],
            ident="accelerapp-monitor",
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            send_bytes=GATHERED_BYTES,
            # Ours are finer.
            channel_timeout=3600,
            connection_limit=2 * MAX_CONNECTIONS + _OTHER_FILES,
            log_socket_errors=False,
        )
        super().__init__(
            app,
            sockets,
            _sock=listener,
            dispatcher=self._queue,
            adj=adjustments,
            bind_socket=False,
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        )

    def turn(self, timeout_s: float) -> None:
        """Wait for sockets, read and write them, and answer what has arrived whole."""
        if self._queue.waiting:
            timeout_s = 0.0
        # poll(2): select(2) breaks at file descriptor 1024.
        wasyncore.loop(timeout=timeout_s, use_poll=True, map=self._map, count=1)
        # What a connection has sent beyond one request waits for the next turn: nobody
        # gets two answers while another waits for one.
        for _ in range(len(self._queue.waiting)):
            channel = self._queue.waiting.popleft()
            if channel.connected:
                channel.service()
        now_s = time.monotonic()
        if now_s - self._checked_s >= ROUND_S:
            self._checked_s = now_s
            for channel in tuple(self.active_channels.values()):
                if reason := channel.overdue(now_s):
                    self._close(channel, reason)

    def drain(self) -> None:
        """Serve on until no request is under way, STOP_NOTICE_S at least, STOP_GRACE_S at most."""
        self.stopping = True
        began_s = time.monotonic()
        while True:
            self.turn(0.05)
            spent_s = time.monotonic() - began_s
            if spent_s >= STOP_GRACE_S:
                return
            if spent_s >= STOP_NOTICE_S and not any(
                channel.requests or channel.request is not None or channel.total_outbufs_len
                for channel in self.active_channels.values()
            ):
                return

    def pull_trigger(self) -> None:
        # It wakes the loop from other threads, and there are none.
        pass

    def handle_accept(self) -> None:
        # Several at once: each turn asks all connections what they wait for.
        for _ in range(32):
            before = len(self.active_channels)
            super().handle_accept()
            if len(self.active_channels) == before:
                return
            if len(self.active_channels) > self._room:
                self._make_room()

    def _make_room(self) -> None:
        """Close who has waited longest with half a request, else who is idle longest."""
        # The newest is last, and the one to make room for.
        others = [c for c in tuple(self.active_channels.values())[:-1] if not c.requests]
        arriving = [c for c in others if c.arriving or c.lingering]
        if others:
            self._close(min(arriving or others, key=lambda c: c.since_s), "crowded")

    def _close(self, channel: Any, reason: str) -> None:
        self.tally.closed(reason)
        channel.handle_close()


def _room() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, files - _OTHER_FILES))


def _listen(host: str, port: int) -> socket.socket:
    # A name means IPv4, here and in probe.py, so that both mean the same.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=1024, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        # create_server() adds the address once more.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise ListenError(
            f"cannot listen on {host} port {port}: {reason};"
            " choose another with MONITOR_HOST and MONITOR_PORT"
        ) from error


def _wake_on_signals(sockets: dict[int, Any]) -> None:
    # A handler in Python runs only after poll() returns, and a signal that comes
    # just before poll() does not interrupt it: the byte written here does.
    wakeup = trigger(sockets)
    os.set_blocking(wakeup.trigger, False)
    signal.set_wakeup_fd(wakeup.trigger, warn_on_full_buffer=False)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
