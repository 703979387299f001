"""The production server: waitress, with limits and a clean stop.

waitress' own run() knows neither a deadline for a whole request nor a drain, so
the loop is here. It relies on `active_channels` and on a channel's `request`,
`requests`, `total_outbufs_len` and `will_close`.
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
from waitress.server import create_server  # type: ignore[import-untyped]
from waitress.trigger import trigger  # type: ignore[import-untyped]

from monitoring.lifecycle import Lifecycle

_log = logging.getLogger("monitoring")

# No handler waits, so a few threads serve many.
THREADS = 4
MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
# High enough that idle connections cannot shut out the probes, low enough for
# the usual limit of 1024 open files.
MAX_CONNECTIONS = 512
IDLE_TIMEOUT_S = 30
# waitress' own timeout restarts with each byte: a client that drips is never idle.
RECEIVE_DEADLINE_S = 15.0
STOP_GRACE_S = 2.0
ROUND_S = 1.0


class ListenError(Exception):
    """The address cannot be listened on; says which and why."""

    exit_code = 3


def serve(
    app: Callable[..., Iterable[bytes]], lifecycle: Lifecycle, *, host: str, port: int
) -> int:
    """Answer requests until `lifecycle` is asked to stop; return the exit code.

    0 after a stop, 1 if the listening socket was lost. Main thread only.
    Raises ListenError.
    """
    sockets: dict[int, Any] = {}
    with _listen(host, port) as listener:
        server = create_server(
            app,
            map=sockets,
            sockets=[listener],
            threads=THREADS,
            ident="accelerapp-monitor",
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_TIMEOUT_S,
            cleanup_interval=5,
            log_socket_errors=False,
        )
        _wake_on_signals(sockets)
        _log.info("monitor listening on %s", _url(listener))
        try:
            since_s: dict[Any, float] = {}
            while lifecycle.stop_signal is None:
                _turn(sockets, timeout_s=ROUND_S)
                since_s = _close_overdue(server, since_s, time.monotonic())
                if listener.fileno() == -1:
                    _log.error("the listening socket was closed; giving up")
                    return 1
            _log.info("%s: stopping", lifecycle.stop_signal.name)
            _drain(server, sockets)
            server.task_dispatcher.shutdown(timeout=1)
            _log.info("stopped")
        finally:
            signal.set_wakeup_fd(-1)
            wasyncore.close_all(sockets)
    return 0


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


def _turn(sockets: dict[int, Any], *, timeout_s: float, count: int = 1) -> None:
    # poll(2): select(2) breaks at file descriptor 1024.
    wasyncore.loop(timeout=timeout_s, use_poll=True, map=sockets, count=count)


def _close_overdue(server: Any, since_s: dict[Any, float], now_s: float) -> dict[Any, float]:
    """Close what takes longer than RECEIVE_DEADLINE_S to arrive; return since when each arrives."""
    # A channel at work on an earlier request is not read from, so its client is not late.
    arriving = {
        channel.request: channel
        for channel in server.active_channels.values()
        if channel.request is not None and not channel.requests
    }
    since_s = {request: since_s.get(request, now_s) for request in arriving}
    for request, began_s in since_s.items():
        if now_s - began_s > RECEIVE_DEADLINE_S:
            arriving[request].will_close = True
    return since_s


def _drain(server: Any, sockets: dict[int, Any]) -> None:
    """Serve on until every request that has arrived is answered, STOP_GRACE_S at most."""
    end_s = time.monotonic() + STOP_GRACE_S
    while True:
        # Two turns: a connection from before the signal is accepted in one, read in the next.
        _turn(sockets, timeout_s=0, count=2)
        left_s = end_s - time.monotonic()
        if left_s <= 0 or not any(
            channel.requests or channel.total_outbufs_len
            for channel in server.active_channels.values()
        ):
            return
        _turn(sockets, timeout_s=min(ROUND_S, left_s))
