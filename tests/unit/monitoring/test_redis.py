from __future__ import annotations

import socket

import pytest

from monitoring.addresses import RedisAddress, Secret
from monitoring.fetch import FetchError
from monitoring.redis import ping
from tests.unit.monitoring.test_fetch import answering, dripping, hang, saying


def address(url: str, user: str = "", password: str | None = None) -> RedisAddress:
    secret = None if password is None else Secret(password)
    return RedisAddress("127.0.0.1", int(url.rpartition(":")[2]), user=user, password=secret)


def test_ping() -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(b"+PO")
        connection.sendall(b"NG\r\n")

    with answering(talk) as url:
        ping(address(url), 5)
    assert asked == [b"*1\r\n$4\r\nPING\r\n"]


@pytest.mark.parametrize(
    ("user", "auth"),
    [
        ("", b"*2\r\n$4\r\nAUTH\r\n$5\r\ns\xc3\xa9cr\r\n"),
        ("me", b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$5\r\ns\xc3\xa9cr\r\n"),
    ],
)
def test_password_goes_first(user: str, auth: bytes) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket, request: bytes) -> None:
        asked.append(request)
        connection.sendall(b"+OK\r\n")
        asked.append(connection.recv(100))
        connection.sendall(b"+PONG\r\n")

    with answering(talk) as url:
        ping(address(url, user, "sécr"), 5)
    assert asked == [auth, b"*1\r\n$4\r\nPING\r\n"]


@pytest.mark.parametrize(
    ("answer", "password", "said"),
    [
        (b"-NOAUTH Authentication required.\r\n", None, "wants a password"),
        (b"-WRONGPASS invalid username-password pair\r\n", "x", "refused the user and password"),
        (b"-ERR invalid password\r\n", "x", "refused the user and password"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", None, "loading its data"),
        (b"-NOPERM this user has no permissions\r\n", None, "may not PING"),
        # Only the answer to AUTH, and only an error without a word of its own, is of the password.
        (b"-LOADING Redis is loading the dataset in memory\r\n", "x", "loading its data"),
        (b"-ERR unknown command\r\n", None, "^answered with an error$"),
        (b"-SOMETHING else\r\n", None, "^answered with an error$"),
        (b"-\r\n", None, "^answered with an error$"),
        (b"HTTP/1.1 400 Bad Request\r\n", None, "^no Redis answer$"),
        (b"$5\r\nhello\r\n", None, "^no Redis answer$"),
        (b"+PONG", None, "^no Redis answer$"),
        (b"x" * 100_000, None, "^no Redis answer$"),
        (b"", None, "^closed the connection$"),
    ],
)
def test_other_answers(answer: bytes, password: str | None, said: str) -> None:
    with answering(saying(answer)) as url, pytest.raises(FetchError, match=said):
        ping(address(url, password=password), 5)


def test_answer_that_repeats_the_password_is_not_shown() -> None:
    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"-ERR unknown command " + request.replace(b"\r\n", b" ") + b"\r\n")

    with answering(talk) as url, pytest.raises(FetchError) as caught:
        ping(address(url, password="hunter22"), 5)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("talk", [hang, dripping(b"+")], ids=["hang", "drip"])
def test_deadline_is_for_all_of_it(talk: object) -> None:
    with (
        answering(talk) as url,  # type: ignore[arg-type]
        pytest.raises(FetchError, match=r"^no answer within 0\.3 s$"),
    ):
        ping(address(url), 0.3)


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError, match="Connection refused"):
        ping(RedisAddress("127.0.0.1", port), 5)
