from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monitoring.connect import Deadline, connect
from monitoring.fetch import FetchError, HttpAnswer, fetch
from tests.unit.certificates import make_certificate


@contextmanager
def answering(talk: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that reads one request and does `talk`; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                talk(connection, connection.recv(1000))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=10)


def saying(text: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(text)


def hang(connection: socket.socket, _: bytes) -> None:
    connection.recv(1000)


def dripping(head: bytes) -> Callable[[socket.socket, bytes], None]:
    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return talk


def test_request_and_answer() -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbody")
        # Stays open: the answer's length says where it ends.
        connection.recv(1)

    with answering(talk) as url:
        assert fetch(f"{url}/below/readyz", 5) == HttpAnswer(503, b"body")
    assert asked[0].startswith(b"GET /below/readyz HTTP/1.1\r\n")
    assert f"Host: {url[7:]}\r\n".encode() in asked[0]


def test_redirect_is_not_followed() -> None:
    with answering(saying(b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n")) as url:
        assert fetch(url, 5).status == 302


def test_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        assert fetch(url, 5).status == 200


def test_body_is_cut() -> None:
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000)) as url:
        assert fetch(url, 5).body == b"x" * 64 * 1024
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 70_000)) as url:
        assert fetch(url, 5, 69_000).body == b"x" * 69_000


@pytest.mark.parametrize(
    "talk",
    [
        hang,
        dripping(b""),
        dripping(b"HTTP/1.1 200 OK\r\nX: "),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n900\r\n"),
    ],
    ids=["hang", "line", "header", "body", "chunk"],
)
def test_deadline_is_for_all_of_it(talk: Callable[[socket.socket, bytes], None]) -> None:
    with answering(talk) as url:
        began_s = time.monotonic()
        with pytest.raises(FetchError, match=r"^no answer within 0\.3 s$"):
            fetch(url, 0.3)
        assert 0.25 < time.monotonic() - began_s < 1.5


@pytest.mark.parametrize(
    "text",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 OK!\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000],
)
def test_what_is_no_http(text: bytes) -> None:
    with answering(saying(text)) as url, pytest.raises(FetchError, match=r"^no HTTP answer$"):
        fetch(url, 5)


def test_closed_without_a_word() -> None:
    with answering(saying(b"")) as url, pytest.raises(FetchError, match="closed"):
        fetch(url, 5)


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError, match="Connection refused"):
        fetch(f"http://127.0.0.1:{port}", 5)


def test_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(saying(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        port = int(url.rpartition(":")[2])
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        # Nobody listens on 127.0.0.2.
        addresses = [(*stream, ("127.0.0.2", port)), (*stream, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        assert fetch(f"http://two.example:{port}", 5).status == 200


def test_a_handshake_that_drips_ends_with_the_deadline() -> None:
    """Each byte of it comes in time; all of them would take many deadlines."""
    stopped = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            # The head of a record of a handshake, and bytes of it.
            for byte in b"\x16\x03\x03\x10\x00\x02" + bytes(60):
                client.sendall(bytes([byte]))
                if stopped.wait(0.05):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            with pytest.raises(TimeoutError):
                connect("127.0.0.1", listener.getsockname()[1], Deadline(0.4), tls=True)
        finally:
            stopped.set()
            thread.join(timeout=20)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, "localhost", unchecked="what is asked over TLS")


@contextmanager
def secured(
    certificate: Path, talk: Callable[[socket.socket, bytes], None], host: str = "localhost"
) -> Iterator[str]:
    """As `answering`, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behind(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            talk(wrapped, wrapped.recv(1000))

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                behind(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"https://{host}:{listener.getsockname()[1]}"
        thread.join(timeout=10)


def test_an_answer_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with secured(certificate, saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as url:
        assert fetch(url, 10) == HttpAnswer(200, b"ok")


def test_a_certificate_of_another_host_is_refused(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        secured(certificate, hang, "127.0.0.1") as url,
        pytest.raises(FetchError, match=r"^its certificate is not trusted: "),
    ):
        fetch(url, 10)


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with (
        secured(certificate, hang) as url,
        pytest.raises(FetchError, match=r"^its certificate is not trusted: self"),
    ):
        fetch(url, 10)


def test_an_answer_over_tls_that_drips_ends_with_the_deadline(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def drip(connection: socket.socket, _: bytes) -> None:
        # In all far more than the deadline; no pause of it is.
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\n")
        for _ in range(80):
            connection.sendall(b"x")
            time.sleep(0.05)

    with (
        secured(certificate, drip) as url,
        pytest.raises(FetchError, match=r"^no answer within 1 s$"),
    ):
        fetch(url, 1)


def test_a_deadline_that_is_over_is_over() -> None:
    with pytest.raises(TimeoutError):
        Deadline(0.0).left_s()
    assert 0 < Deadline(60.0).left_s() <= 60.0


def test_a_host_without_an_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(FetchError, match=r"^a\.example has no address$"):
        fetch("http://a.example", 5)
