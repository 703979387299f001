from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import accelerapp
from accelerapp import healthcheck

SOURCE = Path(accelerapp.__file__).parents[1]


def check(port: object, *options: str, host: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-I", "-S", *options, healthcheck.__file__),
        env={"ACCELERAPP_PORT": str(port), "ACCELERAPP_HOST": host},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


@contextmanager
def answering(talk: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """A server that accepts one connection and does `talk`; yields its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                talk(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def saying(text: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(text)

    return talk


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(0.5)


def hang(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def assert_not_ready(result: subprocess.CompletedProcess[str], reason: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("not ready: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_real_service_healthy_draining_and_gone() -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERAPP_")}
    service = subprocess.Popen(
        (sys.executable, "-m", "accelerapp", "serve", "--port", "0"),
        env={**environ, "PYTHONPATH": str(SOURCE), "ACCELERAPP_SHUTDOWN_GRACE_S": "60"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)", service.stderr.readline())
        assert found is not None
        port = int(found[1])
        healthy = check(port)
        assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")

        with socket.create_connection(("127.0.0.1", port), timeout=10) as holding:
            holding.sendall(
                b"POST /info HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert holding.recv(100).startswith(b"HTTP/1.1 100")
            service.send_signal(signal.SIGTERM)
            assert "stopping" in service.stderr.readline()
            assert_not_ready(check(port), "/readyz answered 503")
        assert service.wait(timeout=10) == 0
        assert_not_ready(check(port), "Connection refused")
    finally:
        service.kill()
        service.communicate()


def test_asks_for_readyz() -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with answering(talk) as port:
        assert check(port).returncode == 0
    assert asked[0].startswith(b"GET /readyz HTTP/1.0\r\n")
    assert asked[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("talk", [hang, drip])
def test_hung_service_is_given_two_seconds_in_all(talk: Callable[[socket.socket], None]) -> None:
    with answering(talk) as port:
        began_s = time.monotonic()
        result = check(port)
        took_s = time.monotonic() - began_s
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert 1.5 < took_s < 3.5


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 OK!"])
def test_what_is_no_http_is_not_ready(text: bytes) -> None:
    with answering(saying(text)) as port:
        assert_not_ready(check(port), "no HTTP answer")


@pytest.mark.parametrize("code", [204, 302, 404, 500])
def test_only_200_is_ready(code: int) -> None:
    with answering(saying(b"HTTP/1.1 %d X\r\n\r\n" % code)) as port:
        assert_not_ready(check(port), f"answered {code}")


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "80.5"])
def test_bad_port_is_one_line(port: str) -> None:
    assert_not_ready(check(port), f"ACCELERAPP_PORT={port!r}")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"ACCELERAPP_HOST": "", "ACCELERAPP_PORT": ""}, ("127.0.0.1", 8000)),
        ({"ACCELERAPP_HOST": "0.0.0.0", "ACCELERAPP_PORT": "9"}, ("127.0.0.1", 9)),
        ({"ACCELERAPP_HOST": "::"}, ("::1", 8000)),
        ({"ACCELERAPP_HOST": "127.0.0.2"}, ("127.0.0.2", 8000)),
        ({"ACCELERAPP_PORT": "tcp://10.96.0.7:80"}, ("127.0.0.1", 8000)),
    ],
)
def test_target(environ: dict[str, str], expected: tuple[str, int]) -> None:
    assert healthcheck.target(environ) == expected


def test_specific_address_is_asked() -> None:
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n"), host="127.0.0.2") as port:
        assert check(port, host="127.0.0.2").returncode == 0


def test_imports_nothing_slow() -> None:
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as port:
        result = check(port, "-X", "importtime")
    assert result.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "_socket" in loaded
    assert not loaded & {"socket", "http.client", "urllib", "re", "selectors", "enum", "accelerapp"}
