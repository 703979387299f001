"""The monitor as a process of its own, on loopback."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import monitoring

ROOT = Path(monitoring.__file__).parents[1]
PATIENCE_S = 20
Parse = Callable[[str], dict[str, Any]]


def environment(**variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITOR_", "ACCELERAPP_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "MONITOR_PORT": "0", **variables}


class Service:
    def __init__(self, command: tuple[str, ...], variables: dict[str, str], *, ignore: bool):
        # SIGTERM that is ignored from the start is how PID 1 meets it.
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN) if ignore else None
        try:
            self.process = subprocess.Popen(
                (sys.executable, *command),
                env=environment(**variables),
                stderr=subprocess.PIPE,
                text=True,
                restore_signals=False,
            )
        finally:
            if ignore:
                signal.signal(signal.SIGTERM, before)
        self.log: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        found = re.search(r"listening on http://.*:(\d+)", self.line_with("listening on"))
        assert found is not None
        self.port = int(found[1])

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

    def ask(self, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def check(self) -> tuple[int, dict[str, Any]]:
        """Status of /health and its check of the application."""
        code, _, body = self.ask("/health")
        [check] = json.loads(body)["checks"]["accelerapp:responseTime"]
        return code, check

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.exit_code()

    def exit_code(self) -> int:
        code = self.process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        while not self._lines.empty():
            self.log.append(self._lines.get())
        return code

    def close(self) -> None:
        self.process.kill()
        self.exit_code()
        assert self.process.stderr is not None
        self.process.stderr.close()


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    services: list[Service] = []

    def begin(*command: str, ignore: bool = False, **variables: str) -> Service:
        settings = {"MONITOR_PROBE_INTERVAL_S": "0.1", "MONITOR_PROBE_SLOW_S": "0.1"}
        settings |= {"MONITOR_DISK_WARN": "0", "MONITOR_DISK_FAIL": "0", **variables}
        service = Service(command or ("-m", "monitoring.monitor"), settings, ignore=ignore)
        services.append(service)
        return service

    yield begin
    for service in services:
        service.close()


class Application:
    """Answers every connection with `answer`, or keeps it open in silence if that is None."""

    def __init__(self) -> None:
        self.answer: bytes | None = None
        self.requests = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def says(self, code: int, status: str) -> None:
        body = json.dumps({"status": status}).encode()
        head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(body)}\r\n\r\n"
        self.answer = head.encode() + body

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                with suppress(OSError):
                    assert connection.recv(1000).startswith(b"GET /readyz HTTP/1.1\r\n")
                    self.requests += 1
                    if self.answer is not None:
                        connection.sendall(self.answer)

    def close(self) -> None:
        # shutdown() wakes accept(), close() alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def application() -> Iterator[Application]:
    running = Application()
    yield running
    running.close()


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


def test_application_well_then_warning_then_failing_then_dead(
    start: Start, application: Application, parse_metrics: Parse
) -> None:
    def success() -> float:
        families = parse_metrics(service.ask("/metrics")[2])
        key = (("check", "accelerapp"), ("id", ""), ("status", "fail"))
        return 1 - float(families["accelerapp_check_status"].samples[key])

    application.says(200, "pass")
    service = start(ACCELERAPP_URL=application.url)
    until(lambda: service.check()[1]["status"] == "pass")
    code, check = service.check()
    assert code == 200
    assert check["output"] == "answered 200"
    assert check["observedUnit"] == "s"
    assert 0 < check["observedValue"] < 2
    assert 0 <= check["age_s"] < 2
    assert success() == 1

    application.says(200, "warn")
    until(lambda: service.check()[1]["status"] == "warn")
    assert service.check()[0] == 200
    assert success() == 1

    application.says(503, "fail")
    until(lambda: service.check()[0] == 503)
    assert service.check()[1]["output"] == "answered 503"
    assert success() == 0

    application.close()
    until(lambda: "refused" in service.check()[1]["output"])
    assert service.check()[0] == 503
    assert service.ask("/livez")[0] == 200
    service.line_with("accelerapp:responseTime: warn: answered 200, warn")
    service.line_with("accelerapp:responseTime: fail: answered 503")


def test_hung_application_delays_no_answer(start: Start, application: Application) -> None:
    service = start(ACCELERAPP_URL=application.url, MONITOR_PROBE_DEADLINE_S="60")
    until(lambda: application.requests == 1)
    for path in ("/livez", "/health", "/metrics") * 5:
        began_s = time.monotonic()
        service.ask(path)
        assert time.monotonic() - began_s < 2
    code, check = service.check()
    assert (code, check["status"]) == (200, "warn")
    assert application.requests == 1
    # Nor does it delay the stop.
    began_s = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began_s < 5


def test_hung_application_fails_at_the_deadline_and_recovers(
    start: Start, application: Application
) -> None:
    service = start(ACCELERAPP_URL=application.url, MONITOR_PROBE_DEADLINE_S="0.3")
    until(lambda: service.check()[0] == 503)
    check = service.check()[1]
    assert check["output"] == "no answer within 0.3 s"
    assert 0.25 < check["observedValue"] < 2
    application.says(200, "pass")
    until(lambda: service.check()[0] == 200)


def test_probe_that_never_ends_is_overdue(start: Start, parse_metrics: Parse) -> None:
    # The resolver has no deadline: for this name it hangs for good.
    script = """
import socket, sys, time
from monitoring import monitor

resolve = socket.getaddrinfo

def getaddrinfo(host, *rest, **options):
    if host == "hangs.example":
        time.sleep(600)
    return resolve(host, *rest, **options)

socket.getaddrinfo = getaddrinfo
sys.exit(monitor.main([]))
"""
    service = start(
        "-c", script, ACCELERAPP_URL="http://hangs.example", MONITOR_PROBE_DEADLINE_S="1"
    )
    assert service.check()[1]["output"] == "the first probe is under way"
    until(lambda: service.check()[0] == 503)
    assert service.check()[1]["output"].startswith("no probe has ended for ")
    families = parse_metrics(service.ask("/metrics")[2])
    key = (("check", "accelerapp"), ("id", ""))
    assert families["accelerapp_check_age_seconds"].samples[key] > 1.2
    assert families["accelerapp_check_status"].samples[(*key, ("status", "fail"))] == 1
    assert service.stop() == 0


def test_metrics_of_this_machine(
    start: Start, application: Application, parse_metrics: Parse, tmp_path: Path
) -> None:
    application.says(200, "pass")
    service = start(ACCELERAPP_URL=application.url, MONITOR_DISK_PATHS=str(tmp_path))
    until(lambda: service.check()[1]["status"] == "pass")
    code, headers, body = service.ask("/metrics")
    assert (code, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = parse_metrics(body)
    free = families["accelerapp_disk_free_bytes"].samples[(("path", str(tmp_path)),)]
    filesystem = os.statvfs(tmp_path)
    assert free == pytest.approx(filesystem.f_bavail * filesystem.f_frsize, rel=0.05, abs=1 << 28)
    resident = families["accelerapp_monitor_process_resident_memory_bytes"].samples[()]
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    assert resident == pytest.approx(int(found[1]) * 1024, rel=0.25)


def test_disk_thresholds(start: Start, application: Application, tmp_path: Path) -> None:
    def disk(**variables: str) -> tuple[int, str]:
        service = start(ACCELERAPP_URL=application.url, **variables)

        def known() -> Any:
            _, _, body = service.ask("/readyz?verbose")
            probes = json.loads(body)["probes"]
            return probes["ended"] >= probes["configured"] - 1

        until(known)
        code, _, body = service.ask("/health")
        return code, json.loads(body)["checks"]["disk:free"][0]["status"]

    huge = str(10**18)
    assert disk() == (200, "pass")
    assert disk(MONITOR_DISK_WARN=huge) == (200, "warn")
    assert disk(MONITOR_DISK_WARN=huge, MONITOR_DISK_FAIL=huge) == (503, "fail")
    assert disk(MONITOR_DISK_PATHS=str(tmp_path / "gone")) == (503, "fail")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_with_0(start: Start, signum: signal.Signals) -> None:
    service = start()
    # Idle and half a request: nobody who is owed an answer.
    address = ("127.0.0.1", service.port)
    with socket.create_connection(address), socket.create_connection(address) as half:
        half.sendall(b"GET /livez HTTP/1.1\r\nHos")
        assert service.ask("/livez")[2] == "ok\n"
        began_s = time.monotonic()
        assert service.stop(signum) == 0
    assert time.monotonic() - began_s < 5
    log = "".join(service.log)
    assert f"{signum.name}: stopping" in log
    assert log.endswith("stopped\n")
    assert "Traceback" not in log


def test_sigterm_stops_even_where_it_has_no_default_action(start: Start) -> None:
    assert start(ignore=True).stop() == 0


def test_second_signal_exits_at_once(start: Start) -> None:
    script = (
        "import sys, time; from monitoring import monitor, server;"
        "server._Listener.drain = lambda _: time.sleep(600); sys.exit(monitor.main([]))"
    )
    service = start("-c", script)
    service.process.send_signal(signal.SIGTERM)
    service.line_with("SIGTERM: stopping")
    assert service.stop(signal.SIGINT) == 128 + signal.SIGINT


def test_waiting_request_is_answered_before_the_stop(start: Start) -> None:
    service = start()
    service.process.send_signal(signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        assert client.makefile("rb").read().endswith(b"ok\n")
    assert service.exit_code() == 0


def test_dripping_client_is_cut_off_and_others_are_served(start: Start) -> None:
    script = (
        "import sys; from monitoring import monitor, server;"
        "server.RECEIVE_DEADLINE_S = 0.5; sys.exit(monitor.main([]))"
    )
    service = start("-c", script)
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\n")

        def refused() -> bool:
            try:
                client.sendall(b"X-Drip: 1\r\n")
            except OSError:
                return True
            return False

        until(refused)
    assert service.ask("/livez")[0] == 200


def test_half_open_connections_do_not_shut_out_the_probes(start: Start) -> None:
    service = start()
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(150)]
    try:
        for client in idle:
            client.sendall(b"GET / HTTP/1.1\r\n")
        assert service.ask("/livez")[0] == 200
    finally:
        for client in idle:
            client.close()


def test_head_errors_and_server_header(start: Start) -> None:
    service = start()
    code, headers, body = service.ask("/livez", "HEAD")
    assert (code, headers["Content-Length"], body) == (200, "3", "")
    assert headers["Server"] == "accelerapp-monitor"
    code, headers, body = service.ask("/metrics", "POST")
    assert (code, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["status"] == 405
    code, headers, body = service.ask("/nothing")
    assert (code, headers["Content-Type"]) == (404, "application/json")
    assert json.loads(body)["status"] == 404


def test_container_probe_finds_the_monitor(start: Start) -> None:
    service = start(ACCELERAPP_URL="http://127.0.0.1:1")
    command = (sys.executable, "-I", "-S", str(ROOT / "monitoring" / "probe.py"))
    environ = {"MONITOR_PORT": str(service.port)}
    # The application is dead; the monitor lives.
    assert subprocess.run(command, env=environ, timeout=10, check=False).returncode == 0
    assert service.stop() == 0
    ended = subprocess.run(command, env=environ, timeout=10, check=False, capture_output=True)
    assert ended.returncode == 1


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "monitoring.monitor", *arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_bad_setting_is_one_line_and_2() -> None:
    ended = run(ACCELERAPP_URL="ftp://x")
    assert ended.returncode == 2
    assert ended.stderr == (
        "monitor: ACCELERAPP_URL='ftp://x' cannot be used;"
        " give an address such as http://accelerapp:8000\n"
    )


def test_unknown_option_is_2() -> None:
    assert run("--nothing").returncode == 2


def test_taken_port_is_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = run(MONITOR_PORT=str(port))
    assert ended.returncode == 3
    expected = f"monitor: cannot listen on 127.0.0.1 port {port}: Address already in use;"
    # The watch has begun and may have its say before or after.
    assert [line for line in ended.stderr.splitlines() if line.startswith(expected)]
    assert "Traceback" not in ended.stderr
