"""The production server: waitress, with limits and a clean stop.

waitress' own run() knows no drain, so the loop is here. It relies on
`active_channels` and on a channel's `request`, `requests`, `total_outbufs_len`
and `will_close`; the tests for stopping fail if a new waitress changes these.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from waitress import wasyncore  # type: ignore[import-untyped]
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.server import create_server  # type: ignore[import-untyped]
from waitress.task import ErrorTask  # type: ignore[import-untyped]
from waitress.trigger import trigger  # type: ignore[import-untyped]

from accelerapp import __version__
from accelerapp.lifecycle import Lifecycle
from accelerapp.settings import Settings
from accelerapp.web import problem

_log = logging.getLogger("accelerapp")

MAX_HEADER_BYTES = 16 * 1024
# An answer waits in memory for a slow client; far above the largest device.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
# High enough that idle connections cannot shut out the probes, low enough for
# the usual limit of 1024 open files.
MAX_CONNECTIONS = 512
IDLE_TIMEOUT_S = 30
# waitress' own timeout restarts with each byte: a client that drips is never idle.
RECEIVE_DEADLINE_S = 15.0
ROUND_S = 1.0


class ListenError(Exception):
    """The address cannot be listened on; says which and why."""

    exit_code = 3


def serve(app: Callable[..., Iterable[bytes]], settings: Settings, lifecycle: Lifecycle) -> int:
    """Answer requests until `lifecycle` is asked to stop; return the exit code.

    0 after a stop, 1 if the listening socket was lost. While it drains it still
    accepts, so that /readyz can say so. Main thread only. Raises ListenError.
    """
    sockets: dict[int, Any] = {}
    with _listen(settings.host, settings.port) as listener:
        server = create_server(
            app,
            map=sockets,
            sockets=[listener],
            # So many may wait for a model at once; the others stay for everything else.
            threads=settings.threads + settings.assist_concurrency,
            ident="accelerapp",
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=settings.max_body_bytes,
            # In memory: a read-only root has no place for a temporary file.
            inbuf_overflow=settings.max_body_bytes + 1,
            outbuf_overflow=MAX_ANSWER_BYTES,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_TIMEOUT_S,
            cleanup_interval=5,
            log_socket_errors=False,
        )
        server.channel_class = _Channel
        _wake_on_signals(sockets)
        _log.info("accelerapp %s listening on %s", __version__, _url(listener))
        try:
            overdue = _Overdue()
            while not lifecycle.draining:
                _turn(sockets, timeout_s=ROUND_S)
                overdue.close(server.active_channels.values(), time.monotonic())
                if listener.fileno() == -1:
                    _log.error("the listening socket was closed; giving up")
                    return 1
            cut_off = _drain(server, sockets, settings, lifecycle)
            server.task_dispatcher.shutdown(timeout=0 if cut_off else 1)
        finally:
            signal.set_wakeup_fd(-1)
            wasyncore.close_all(sockets)
    return 0


def _listen(host: str, port: int) -> socket.socket:
    # A name means IPv4, here and in healthcheck.py, so that both mean the same.
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
            " choose another with --host and --port, or ACCELERAPP_HOST and ACCELERAPP_PORT"
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


def _turn(sockets: dict[int, Any], *, timeout_s: float, count: int = 1) -> None:
    # poll(2): select(2) breaks at file descriptor 1024.
    wasyncore.loop(timeout=timeout_s, use_poll=True, map=sockets, count=count)


def _drain(server: Any, sockets: dict[int, Any], settings: Settings, lifecycle: Lifecycle) -> int:
    """Serve on until no request is in flight or the grace is over; return how many remain."""
    assert lifecycle.stop_signal is not None
    deadline_s = time.monotonic() + settings.shutdown_grace_s
    _log.info(
        "%s: stopping, %d in flight, at most %g s; a second signal ends it at once",
        lifecycle.stop_signal.name,
        _in_flight(server),
        settings.shutdown_grace_s,
    )
    while True:
        # Two turns: a connection from before the signal is accepted in one, read in the next.
        _turn(sockets, timeout_s=0, count=2)
        in_flight = _in_flight(server)
        left_s = deadline_s - time.monotonic()
        if in_flight == 0:
            _log.info("stopped")
            return 0
        if left_s <= 0:
            _log.warning("stopped, %d in flight cut off", in_flight)
            return in_flight
        _turn(sockets, timeout_s=min(ROUND_S, left_s))


def _in_flight(server: Any) -> int:
    """Connections with a request at work, an answer unsent, or a body on its way.

    Idle connections and half a header do not count: nothing was promised.
    """
    return sum(
        1
        for channel in server.active_channels.values()
        if channel.requests
        or channel.total_outbufs_len
        or (channel.request is not None and channel.request.headers_finished)
    )


class _ProblemTask(ErrorTask):  # type: ignore[misc]
    """What waitress itself refuses, said as the application says it."""

    def execute(self) -> None:
        error = self.request.error
        body = problem(error.code, f"{str(error.body)[:200]}")
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(
            [("Content-Type", "application/problem+json"), ("X-Content-Type-Options", "nosniff")]
        )
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = _ProblemTask


class _Overdue:
    """Closes connections whose request takes longer than RECEIVE_DEADLINE_S to arrive."""

    def __init__(self) -> None:
        self._since_s: dict[Any, float] = {}

    def close(self, channels: Iterable[Any], now_s: float) -> None:
        # A channel at work on an earlier request is not read from, so its client is not late.
        arriving = {c.request: c for c in channels if c.request is not None and not c.requests}
        self._since_s = {request: self._since_s.get(request, now_s) for request in arriving}
        for request, since_s in self._since_s.items():
            if now_s - since_s > RECEIVE_DEADLINE_S:
                arriving[request].will_close = True
