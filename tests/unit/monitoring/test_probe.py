from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import monitoring
from monitoring import probe
from monitoring.settings import Settings

PROBE = Path(monitoring.__file__).parent / "probe.py"


def check(port: object, *options: str, host: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-I", "-S", *options, str(PROBE)),
        env={"MONITOR_PORT": str(port), "MONITOR_HOST": host},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


@contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                talk(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(0.5)


def hang(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def assert_not_live(result: subprocess.CompletedProcess[str], reason: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("not live: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["", "0.0.0.0", "localhost"])
def test_asks_for_livez(host: str) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with answering(talk) as port:
        result = check(port, host=host)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert asked[0].startswith(b"GET /livez HTTP/1.0\r\n")
    assert asked[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("talk", [hang, drip])
def test_hung_monitor_is_given_two_seconds_in_all(talk: Callable[[socket.socket], None]) -> None:
    with answering(talk) as port:
        began_s = time.monotonic()
        assert_not_live(check(port), "")
        assert 1.5 < time.monotonic() - began_s < 3.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (b"HTTP/1.1 503 X\r\n\r\n", "/livez answered 503"),
        (b"HTTP/1.1 204 X\r\n\r\n", "/livez answered 204"),
    ],
)
def test_only_200_is_live(text: bytes, reason: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(text)

    with answering(talk) as port:
        assert_not_live(check(port), reason)


def test_dead_monitor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert_not_live(check(port), "Connection refused")


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "80.5"])
def test_bad_port_is_one_line(port: str) -> None:
    assert_not_live(check(port), f"MONITOR_PORT={port!r}")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MONITOR_HOST": "", "MONITOR_PORT": ""},
        {"MONITOR_HOST": "::1", "MONITOR_PORT": "9"},
        {"MONITOR_PORT": "tcp://10.0.0.1:80"},
    ],
)
def test_means_the_same_address_as_the_monitor(environ: dict[str, str]) -> None:
    settings = Settings.load(environ)
    assert probe.target(environ) == (settings.host, settings.port)


def test_loads_no_heavy_module() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    loaded = check(port, "-X", "importtime").stderr
    assert "_socket" in loaded
    for heavy in ("socket", "http.client", "urllib", "json", "re", "monitoring"):
        assert not [line for line in loaded.splitlines() if line.split("|")[-1].strip() == heavy]


def test_what_is_live_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with answering(talk) as port:
        monkeypatch.setenv("MONITOR_HOST", "127.0.0.1")
        monkeypatch.setenv("MONITOR_PORT", str(port))
        assert probe.main() == 0


@pytest.mark.parametrize("port", ["1", "65535"])
def test_the_first_and_the_last_port_are_ports(port: str) -> None:
    assert probe.target({"MONITOR_PORT": port}) == ("127.0.0.1", int(port))


def test_a_status_may_come_byte_by_byte() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.1 503 Service Unavailable\r\n":
            connection.sendall(bytes([byte]))

    with answering(talk) as port:
        assert probe.status("127.0.0.1", port, 10.0) == 503
