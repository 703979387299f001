"""The server on loopback, in a process of its own, with its times shortened."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from monitoring import server
from monitoring.lifecycle import Lifecycle
from monitoring.metrics import Traffic
from tests.unit.monitoring.test_monitor import PATIENCE_S, Service, Start, run, start, until

__all__ = ["start"]

SCRIPT = """
import sys
from monitoring import monitor, server

for setting in sys.argv[1:]:
    name, _, value = setting.partition("=")
    assert hasattr(server, name)
    setattr(server, name, float(value))
sys.exit(monitor.main([]))
"""


@pytest.fixture
def shortened(start: Start) -> Callable[..., Service]:
    def begin(**times: float) -> Service:
        return start("-c", SCRIPT, *(f"{name}={value}" for name, value in times.items()))

    return begin


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)


def read_all(client: socket.socket) -> bytes:
    received = b""
    while more := client.recv(65536):
        received += more
    return received


def exchange(service: Service, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send, read until the server closes; status, headers and body of the one answer."""
    with connect(service) as client:
        client.sendall(request)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def closed_by(client: socket.socket) -> bool:
    """Whether the server closes; waits for it."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def count(service: Service, reason: str) -> int:
    name = f'accelerapp_monitor_http_connections_closed_total{{reason="{reason}"}} '
    [line] = [li for li in service.ask("/metrics")[2].splitlines() if li.startswith(name)]
    return int(line.rpartition(" ")[2])


@pytest.mark.parametrize("sent", [b"", b"GET /liv", b"GET /livez HTTP/1.1\r\nHost: a\r\n"])
def test_half_a_request_is_closed(shortened: Callable[..., Service], sent: bytes) -> None:
    service = shortened(RECEIVE_DEADLINE_S=0.3, ROUND_S=0.1)
    with connect(service) as client:
        client.sendall(sent)
        assert closed_by(client)
    assert count(service, "late") == 1


def test_body_that_drips_is_closed(shortened: Callable[..., Service]) -> None:
    service = shortened(RECEIVE_DEADLINE_S=0.5, ROUND_S=0.1)
    with connect(service) as client:
        client.sendall(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")

        def refused() -> bool:
            try:
                client.sendall(b"x")
            except OSError:
                return True
            return False

        until(refused)
    assert count(service, "late") == 1


def test_idle_connection_is_closed_but_not_as_soon_as_a_late_one(
    shortened: Callable[..., Service],
) -> None:
    service = shortened(RECEIVE_DEADLINE_S=0.2, IDLE_TIMEOUT_S=1.5, ROUND_S=0.1)
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    for _ in range(3):
        # Between two requests the deadline for one does not run.
        time.sleep(0.5)
        client.request("GET", "/livez")
        assert client.getresponse().read() == b"ok\n"
    assert client.sock is not None
    assert closed_by(client.sock)
    client.close()
    assert count(service, "idle") == 1
    assert count(service, "late") == 0


def test_second_request_has_a_deadline_too(shortened: Callable[..., Service]) -> None:
    service = shortened(RECEIVE_DEADLINE_S=0.3, ROUND_S=0.1)
    with connect(service) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).endswith(b"ok\n")
        client.sendall(b"GET")
        assert closed_by(client)


def test_answers_that_nobody_reads_are_given_up(shortened: Callable[..., Service]) -> None:
    service = shortened(SEND_DEADLINE_S=0.5, ROUND_S=0.1)
    with connect(service) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.2)
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        end_s = time.monotonic() + PATIENCE_S
        while not count(service, "unread"):
            assert time.monotonic() < end_s
            try:
                client.sendall(request * 50)
            except OSError:
                time.sleep(0.05)
    assert service.ask("/livez")[0] == 200


def test_newcomers_crowd_out_who_waits_longest(shortened: Callable[..., Service]) -> None:
    service = shortened(MAX_CONNECTIONS=20, RECEIVE_DEADLINE_S=60)
    keeps = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    keeps.request("GET", "/livez")
    keeps.getresponse().read()
    with ExitStack() as stack:
        bad = [stack.enter_context(connect(service)) for _ in range(60)]
        for client in bad:
            client.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(30):
            assert service.ask("/livez")[0] == 200
        # The first that came are closed; who has had an answer is not.
        assert closed_by(bad[0])
        keeps.request("GET", "/livez")
        assert keeps.getresponse().status == 200
    keeps.close()
    assert count(service, "crowded") >= 40


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    service = start()
    with connect(service) as client:
        client.sendall(
            b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 40
            + b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        received = read_all(client)
    assert received.count(b"HTTP/1.1 200 OK") == 40
    assert received.index(b"404 Not Found") > received.rindex(b"200 OK")


def test_connection_ends_after_so_many_requests(shortened: Callable[..., Service]) -> None:
    service = shortened(MAX_REQUESTS=3)
    with connect(service) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        received = read_all(client)
    assert received.count(b"200 OK") == 3
    assert received.count(b"Connection: close") == 1


def test_too_large_a_head_is_431(start: Start) -> None:
    service = start()
    code, _, body = exchange(service, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 300_000)
    assert code == 431
    assert b"Traceback" not in body


@pytest.mark.parametrize("length", [20_000, 800_000])
def test_too_large_a_body_is_413_and_the_client_reads_it(start: Start, length: int) -> None:
    # All of the body is sent before anything is read: a reset would take the answer away.
    service = start()
    head = f"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
    code, _, _ = exchange(service, head + b"x" * length)
    assert code == 413


def test_chunked_body_is_limited(start: Start) -> None:
    head = b"POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    code, _, _ = exchange(start(), head + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 10)
    assert code == 413


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (
            b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            405,
        ),
        (b"GET /%ff HTTP/1.0\r\n\r\n", 404),
        (b"GET http://elsewhere/livez HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_odd_requests(start: Start, request_: bytes, code: int) -> None:
    service = start()
    found, _, body = exchange(service, request_)
    assert found == code
    assert b"Traceback" not in body
    assert b"File " not in body
    assert service.ask("/livez")[0] == 200


def test_readyz_turns_at_once_and_a_begun_request_is_answered(start: Start) -> None:
    service = start()
    asking = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    asking.request("GET", "/readyz")
    assert asking.getresponse().read() == b'{"status": "pass"}\n'
    with connect(service) as begun:
        begun.sendall(b"GET /livez HTTP/1.1\r\nHo")
        service.ask("/livez")
        service.process.terminate()
        service.line_with("SIGTERM: stopping")
        asking.request("GET", "/readyz")
        answer = asking.getresponse()
        assert (answer.status, answer.read()) == (503, b'{"status": "fail"}\n')
        assert answer.headers["Connection"] == "close"
        begun.sendall(b"st: a\r\n\r\n")
        assert read_all(begun).endswith(b"ok\n")
    asking.close()
    assert service.exit_code() == 0


def test_half_a_request_delays_the_stop_for_so_long(shortened: Callable[..., Service]) -> None:
    service = shortened(STOP_GRACE_S=0.6, STOP_NOTICE_S=0.1)
    with connect(service) as begun:
        begun.sendall(b"GET /livez HTTP/1.1\r\nHo")
        service.ask("/livez")
        assert service.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files in /proc")
def test_no_thread_and_no_file_is_left_behind(start: Start) -> None:
    service = start()

    def known() -> tuple[int, int]:
        root = Path(f"/proc/{service.process.pid}")
        return len(os.listdir(root / "task")), len(os.listdir(root / "fd"))

    def storm() -> None:
        for _ in range(10):
            with connect(service) as client:
                client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")

    service.ask("/metrics")
    before = known()
    storms = [threading.Thread(target=storm) for _ in range(8)]
    for thread in storms:
        thread.start()
    for thread in storms:
        thread.join()
    until(lambda: known() <= before)


def test_counts_what_it_refuses(start: Start) -> None:
    service = start()
    exchange(service, b"nonsense\r\n\r\n")
    line = 'accelerapp_monitor_http_requests_total{method="other",path="other",code="400"} 1\n'
    assert line in service.ask("/metrics")[2]


def test_ipv6(start: Start) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        # Not every machine has IPv6; one that lacks it is told so.
        ended = run(MONITOR_HOST="::1")
        assert ended.returncode == 3
        assert "monitor: cannot listen on ::1 port 0: " in ended.stderr
        return
    service = start(MONITOR_HOST="::1")
    client = http.client.HTTPConnection("::1", service.port, timeout=PATIENCE_S)
    client.request("GET", "/status")
    document: dict[str, Any] = json.loads(client.getresponse().read())
    assert document["configuration"]["MONITOR_HOST"] == "::1"
    client.close()


@pytest.mark.parametrize(
    ("files", "room"),
    [
        (resource.RLIM_INFINITY, 512),
        (1024, 512),
        (577, 512),
        (576, 512),
        (575, 511),
        (100, 36),
        (80, 16),
        # So few that clients get some at the cost of the rest.
        (20, 16),
    ],
)
def test_room_is_what_open_files_leave(
    files: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    assert server._room() == room


def test_the_limits_that_clients_meet() -> None:
    """A change of one is a change of what somebody may rely on: proxies, probes, Prometheus."""
    assert (server.MAX_HEADER_BYTES, server.MAX_BODY_BYTES) == (16 * 1024, 16 * 1024)
    assert server.GATHERED_BYTES == 16 * 1024
    assert server.MAX_CONNECTIONS == 512
    assert server.MAX_REQUESTS == 1000
    assert (server.RECEIVE_DEADLINE_S, server.SEND_DEADLINE_S) == (5.0, 10.0)
    assert (server.LINGER_S, server.LINGER_BYTES) == (2.0, 1024 * 1024)
    # Longer than Prometheus waits between two scrapes by default.
    assert server.IDLE_TIMEOUT_S == 75.0
    # Between them what README promises: half a second, two at most.
    assert (server.STOP_NOTICE_S, server.STOP_GRACE_S, server.ROUND_S) == (0.5, 1.5, 0.5)


def test_what_is_sent_after_a_refusal_is_read_up_to_a_limit(
    shortened: Callable[..., Service],
) -> None:
    service = shortened(LINGER_S=600, LINGER_BYTES=1000)

    def connections() -> int:
        found = re.search(
            r"^accelerapp_monitor_http_connections (\d+)$", service.ask("/metrics")[2], re.M
        )
        assert found is not None
        return int(found[1])

    with connect(service) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.0 400 ")
        client.sendall(b"x" * 1000)
        # This one's own, and that of the client.
        assert connections() == 2
        client.sendall(b"x")
        until(lambda: connections() == 1)


def test_before_it_serves_it_has_no_connections() -> None:
    assert server.Server(Lifecycle(), Traffic()).connections == 0
