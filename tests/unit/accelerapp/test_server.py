from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

import accelerapp

SOURCE = Path(accelerapp.__file__).parents[1]
PATIENCE_S = 15.0

# The real command, with one address more: it answers when the test writes a line.
WITH_SLOW = """
import sys
from accelerapp import cli, server, web

create_app = web.create_app

def create(*arguments, **options):
    app = create_app(*arguments, **options)
    def slow():
        print("slow begins", file=sys.stderr, flush=True)
        sys.stdin.readline()
        return "slow ends"
    app.route("/slow", "GET", slow)
    return app

web.create_app = create
server.RECEIVE_DEADLINE_S = float(sys.argv[1])
# A stop that only comes with the next round would come too late to pass.
server.ROUND_S = 60.0
sys.exit(cli.main(["serve", "--port", "0"]))
"""


class Service:
    """A service in a process of its own, and every line that it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self.log: list[str] = []
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)

    def line_with(self, text: str) -> str:
        while True:
            line = self._lines.get(timeout=PATIENCE_S)
            self.log.append(line)
            if text in line:
                return line

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.exit_code()
        for pipe in (self.process.stdin, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def exit_code(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        while not self._lines.empty():
            self.log.append(self._lines.get())
        return code


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    services: list[Service] = []

    def begin(*, deadline_s: float = 15.0, **variables: str) -> Service:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERAPP_")}
        service = Service(
            subprocess.Popen(
                (sys.executable, "-c", WITH_SLOW, str(deadline_s)),
                env={**environ, "PYTHONPATH": str(SOURCE), **variables},
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        services.append(service)
        found = re.search(r"listening on http://.*:(\d+)", service.line_with("listening on"))
        assert found is not None
        service.port = int(found[1])
        return service

    yield begin
    for service in services:
        service.close()


@contextmanager
def slow_request(service: Service) -> Iterator[Queue[tuple[int, str]]]:
    answers: Queue[tuple[int, str]] = Queue()
    asking = threading.Thread(target=lambda: answers.put(service.ask("/slow")), daemon=True)
    asking.start()
    service.line_with("slow begins")
    yield answers
    asking.join(timeout=PATIENCE_S)


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_idle_service_stops_with_0(start: Start, signum: signal.Signals) -> None:
    service = start()
    assert service.ask("/livez") == (200, "ok\n")
    began_s = time.monotonic()
    service.process.send_signal(signum)
    assert service.exit_code() == 0
    # The grace is 8 s: an idle service does not wait for it.
    assert time.monotonic() - began_s < 4
    log = "".join(service.log)
    assert f"accelerapp {accelerapp.__version__} listening on" in log
    # Not its count: the client has an answer a moment before waitress is done with it.
    assert f"{signum.name}: stopping, " in log
    assert "accelerapp: stopped\n" in log
    assert "Traceback" not in log


def test_request_in_flight_finishes_while_readyz_is_503(start: Start) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="60")
    assert service.ask("/readyz")[0] == 200
    with slow_request(service) as answers:
        service.process.send_signal(signal.SIGTERM)
        service.line_with("SIGTERM: stopping")
        assert service.ask("/readyz")[0] == 503
        assert service.ask("/livez")[0] == 200
        assert service.process.poll() is None
        assert answers.empty()
        service.release()
        assert answers.get(timeout=PATIENCE_S) == (200, "slow ends")
    assert service.exit_code() == 0
    assert "cut off" not in "".join(service.log)


def test_body_on_its_way_is_in_flight(start: Start) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="60")
    with service.connect() as client:
        client.sendall(
            b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        service.process.send_signal(signal.SIGTERM)
        service.line_with("SIGTERM: stopping, 1 in flight")
        client.sendall(b"body")
        assert client.recv(100).startswith(b"HTTP/1.1 405")
    assert service.exit_code() == 0


def test_connection_that_waits_to_be_accepted_is_served(start: Start) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="60")
    service.process.send_signal(signal.SIGSTOP)
    with service.connect() as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        assert client.makefile("rb").read().endswith(b"ok\n")
    assert service.exit_code() == 0


def test_grace_is_the_limit(start: Start) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="0.3")
    with service.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        service.line_with("slow begins")
        service.process.send_signal(signal.SIGTERM)
        assert service.exit_code() == 0
    assert "stopped, 1 in flight cut off" in "".join(service.log)


def test_idle_and_half_open_connections_do_not_delay_the_stop(start: Start) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="60")
    with service.connect(), service.connect() as half:
        half.sendall(b"GET /livez HTTP/1.1\r\nHos")
        assert service.ask("/livez")[0] == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.exit_code() == 0


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
def test_second_signal_exits_at_once(
    start: Start, first: signal.Signals, second: signal.Signals
) -> None:
    service = start(ACCELERAPP_SHUTDOWN_GRACE_S="60")
    with service.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        service.line_with("slow begins")
        service.process.send_signal(first)
        service.line_with("stopping, 1 in flight")
        service.process.send_signal(second)
        assert service.exit_code() == 128 + second


def test_log_lines_are_json_when_asked(start: Start) -> None:
    service = start(ACCELERAPP_LOG_FORMAT="json")
    service.process.send_signal(signal.SIGTERM)
    assert service.exit_code() == 0
    lines = [json.loads(line) for line in service.log]
    assert [line["level"] for line in lines] == ["info"] * 3
    assert lines[0]["message"].startswith(f"accelerapp {accelerapp.__version__} listening on ")
    assert lines[-1]["message"] == "stopped"
    assert all(line.keys() == {"time", "level", "logger", "message"} for line in lines)


def test_limits(start: Start) -> None:
    service = start()
    assert service.ask("/livez", Big="x" * 15_000)[0] == 200
    assert service.ask("/livez", Big="x" * 17_000)[0] == 431
    with service.connect() as client:
        client.sendall(b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413")


def test_server_header_has_no_version(start: Start) -> None:
    service = start()
    with service.connect() as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        head = client.makefile("rb").read().decode()
    assert "\r\nServer: accelerapp\r\n" in head
    assert "waitress" not in head


def test_dripping_client_is_cut_off_and_others_are_served(start: Start) -> None:
    service = start(deadline_s=0.5)
    with service.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\n")

        def refused() -> bool:
            try:
                client.sendall(b"X-Drip: 1\r\n")
            except OSError:
                return True
            return False

        until(refused)
    assert service.ask("/livez")[0] == 200


def test_slow_answer_is_not_a_late_request(start: Start) -> None:
    service = start(deadline_s=0.2)
    with service.connect() as client:
        # The second request is read in part, then waits behind the first.
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHo")
        service.line_with("slow begins")
        # Turns of the loop, each of which looks for what is overdue.
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            assert service.ask("/livez")[0] == 200
        service.release()
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_idle_connections_do_not_shut_out_the_probes(start: Start) -> None:
    service = start()
    idle = [service.connect() for _ in range(150)]
    try:
        for client in idle:
            client.sendall(b"GET / HTTP/1.1\r\n")
        assert service.ask("/livez")[0] == 200
    finally:
        for client in idle:
            client.close()
