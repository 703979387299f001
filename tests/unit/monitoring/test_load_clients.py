"""The clients of the benchmarks: what they count has to be so."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import load
from benchmarks.load import Answer, AnswerReader, BadClients, Client, Crowd, LoadError

OK = b"HTTP/1.1 200 OK\r\nX: 1\r\ncontent-length: 5\r\n\r\nhello"
Handler = Callable[[socket.socket, int], None]
Serve = Callable[[Handler], tuple[str, int]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Yield a function: a server that calls `handler(connection, number)` in a thread each."""
    with contextlib.ExitStack() as stack:

        def start(handler: Handler) -> tuple[str, int]:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))

            def one(connection: socket.socket, number: int) -> None:
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(20)
                    handler(connection, number)

            def accept() -> None:
                number = 0
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        threading.Thread(target=one, args=(connection, number), daemon=True).start()
                        number += 1

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return ("127.0.0.1", listener.getsockname()[1])

        yield start


def request(connection: socket.socket) -> bytes:
    """Read one request; raises OSError at the end of the connection."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(1000)
        if not more:
            raise OSError("closed")
        data += more
    return data


def always(answer: bytes) -> Handler:
    def handler(connection: socket.socket, _: int) -> None:
        while True:
            request(connection)
            connection.sendall(answer)

    return handler


@given(st.lists(st.integers(0, len(OK)), max_size=6))
def test_an_answer_may_come_in_any_pieces(cuts: list[int]) -> None:
    reader = AnswerReader()
    edges = sorted({0, len(OK), *cuts})
    answers = [reader.feed(OK[a:b]) for a, b in itertools.pairwise(edges)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    whole = answers[-1]
    assert whole is not None
    assert (whole.status, whole.body, whole.stays) == (200, b"hello", True)


@pytest.mark.parametrize(
    ("data", "stays"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_answer_says_whether_its_connection_stays(data: bytes, stays: bool) -> None:
    answer = AnswerReader().feed(data)
    assert answer is not None
    assert answer.stays == stays


def test_answer_without_a_length_ends_with_its_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.0 200 OK\r\n\r\nhel") is None
    assert reader.feed(b"lo") is None
    assert reader.end() == Answer(200, b"HTTP/1.0 200 OK", b"hello", False)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n\r\n",
        OK + b"more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(LoadError):
        AnswerReader().feed(data)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200", OK[:-1]])
def test_half_an_answer_is_none(data: bytes) -> None:
    reader = AnswerReader()
    assert reader.feed(data) is None
    with pytest.raises(LoadError):
        reader.end()


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [load.percentile(values, share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert load.percentile([7.0], 0.99) == 7


def test_client_keeps_its_connection_or_does_not(serve: Serve) -> None:
    address = serve(always(OK))
    for stays, connections in ((True, 1), (False, 3)):
        client = Client(address, stays=stays)
        assert [client.get("/").body for _ in range(3)] == [b"hello"] * 3
        assert client.connections == connections
        client.close()


def test_client_replaces_a_kept_connection_once(serve: Serve) -> None:
    def one_each(connection: socket.socket, _: int) -> None:
        request(connection)
        connection.sendall(OK)

    client = Client(serve(one_each), stays=True)
    assert [client.get("/").body for _ in range(3)] == [b"hello"] * 3
    assert client.connections == 3
    client.close()


@pytest.mark.parametrize("said", [b"", OK[:20], OK[:-1]])
def test_client_takes_no_part_of_an_answer(serve: Serve, said: bytes) -> None:
    def broken(connection: socket.socket, _: int) -> None:
        request(connection)
        connection.sendall(said)

    with pytest.raises(LoadError):
        Client(serve(broken), stays=True).get("/")


def test_crowd_asks_each_path_in_turn_at_its_rate(serve: Serve) -> None:
    asked: list[str] = []

    def count(connection: socket.socket, _: int) -> None:
        while True:
            asked.append(request(connection).split()[1].decode())
            connection.sendall(OK)

    crowd = Crowd(serve(count), ("/a", "/b"), clients=4, rate_hz=50)
    crowd.run(time.monotonic() + 0.5)
    crowd.finish()
    # 4 clients, 50 times a second, half a second: however slow this machine, never more.
    assert 4 <= len(asked) <= 104
    assert not crowd.latencies.failures
    assert crowd.latencies.seconds.keys() == {"/a", "/b"} == set(asked)
    assert len(crowd.latencies.all()) == len(asked)


def test_crowd_times_a_request_from_when_it_was_due(serve: Serve) -> None:
    def slow_once(connection: socket.socket, _: int) -> None:
        request(connection)
        time.sleep(0.4)
        connection.sendall(OK)
        always(OK)(connection, 0)

    crowd = Crowd(serve(slow_once), ("/",), clients=1, rate_hz=20)
    crowd.run(time.monotonic() + 1.2)
    crowd.finish()
    # The first took 0.4 s; those that were due meanwhile waited for it.
    assert sum(seconds > 0.1 for seconds in crowd.latencies.all()) >= 5


def test_crowd_reconnects_what_was_closed_idle_and_counts_what_failed(serve: Serve) -> None:
    def handler(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(OK)
        if number:
            request(connection)
            connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            always(OK)(connection, number)

    crowd = Crowd(serve(handler), ("/",), clients=1, rate_hz=20)
    crowd.run(time.monotonic() + 1.0)
    crowd.finish()
    assert crowd.latencies.failures == ["/: answered 500"]
    assert len(crowd.latencies.all()) > 3


def test_crowd_gives_up_on_a_server_that_hangs() -> None:
    with load.hung_server() as address:
        crowd = Crowd(address, ("/",), clients=2, rate_hz=None, timeout_s=0.2)
        crowd.run(time.monotonic() + 1.2)
        crowd.finish()
    assert set(crowd.latencies.failures) == {"/: no answer within 0.2 s"}
    # What was under way at the end counts, too.
    assert len(crowd.latencies.failures) >= 4
    assert all(seconds > 0.2 for seconds in crowd.latencies.all())


def test_bad_clients_say_when_they_were_closed_and_come_back(serve: Serve) -> None:
    received: list[bytes] = []

    def close_late(connection: socket.socket, _: int) -> None:
        connection.settimeout(0.3)
        try:
            received.append(connection.recv(1000))
        except TimeoutError:
            received.append(b"")
        time.sleep(0.2)
        connection.sendall(b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n")

    bad = BadClients(serve(close_late), half_open=2, drips=3)
    left = bad.run(1.6, 20)
    assert left == {"half-open": 0, "drip": 0}
    # Those of the beginning, and those that took their places a second later.
    silent, dripping = bad.closed["half-open"], bad.closed["drip"]
    assert len(silent) >= 4
    assert len(dripping) >= 6
    assert min(dripping) > 0.1
    assert min(silent) > 0.4
    assert received.count(b"") == len(silent)
    assert received.count(b"GET /livez HTTP/1.1\r\n") == len(dripping)


def test_bad_clients_say_who_was_never_closed() -> None:
    with load.hung_server() as address:
        bad = BadClients(address, half_open=2, drips=3)
        assert bad.run(0.1, 0.3) == {"half-open": 2, "drip": 3}
    assert bad.closed == {"half-open": [], "drip": []}


def test_silent_server_drops_attempts_to_connect() -> None:
    with load.silent_server() as address, pytest.raises(TimeoutError):
        socket.create_connection(address, timeout=0.5)
