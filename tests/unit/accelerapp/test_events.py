"""Events against a Redis that says what it is told to; the real one is an integration test."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from accelerapp import events
from accelerapp.addresses import Secret
from accelerapp.events import Publisher

URL = Secret("redis://:geheim@127.0.0.1:6379/0")


class Server:
    """What redis-py's client is to the publisher."""

    def __init__(self) -> None:
        self.stream: list[dict[str, str]] = []
        self.error: Exception | None = None
        self.options: dict[str, Any] = {}
        self.block = threading.Event()
        self.block.set()

    def from_url(self, url: str, **options: Any) -> Server:
        assert url == URL.reveal()
        self.options = options
        return self

    def ping(self) -> None:
        self._act()

    def xadd(self, key: str, fields: dict[str, str], *, maxlen: int, approximate: bool) -> None:
        assert (key, approximate) == ("made", False)
        self._act()
        self.stream.append(fields)
        del self.stream[:-maxlen]

    def _act(self) -> None:
        assert self.block.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(redis, "Redis", server)
    monkeypatch.setattr(events, "LONGEST_PAUSE_S", 0.02)
    return server


@pytest.fixture
def publisher(server: Server) -> Iterator[Publisher]:
    publisher = Publisher(URL, "made", 5)
    yield publisher
    server.block.set()
    publisher.close(0)


def until(look: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_events_come_in_order_and_the_stream_is_bounded(
    publisher: Publisher, server: Server
) -> None:
    for number in range(12):
        publisher.publish({"n": str(number)})
    publisher.close(5)
    assert [event["n"] for event in server.stream] == ["7", "8", "9", "10", "11"]
    assert publisher.counts == (12, 0)
    assert publisher.check() == ("pass", "reachable")
    assert server.options["socket_timeout"] == events.TIMEOUT_S


def test_starting_asks_at_once(publisher: Publisher) -> None:
    assert publisher.check() == ("pass", "not asked yet")
    publisher.start()
    until(lambda: publisher.check()[1] == "reachable")


def test_publishing_waits_for_nothing(publisher: Publisher, server: Server) -> None:
    server.block.clear()
    begin_s = time.monotonic()
    for number in range(events.QUEUE):
        publisher.publish({"n": str(number)})
    assert time.monotonic() - begin_s < 5
    assert publisher.counts[0] == 0


def test_while_redis_is_away_the_oldest_give_way(
    publisher: Publisher, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUEUE", 5)
    server.error = redis.ConnectionError("gone")
    publisher.start()
    until(lambda: publisher.check()[0] == "warn")
    for number in range(12):
        publisher.publish({"n": str(number)})
    server.error = None
    until(lambda: publisher.counts[0] >= 5)
    assert publisher.check() == ("pass", "reachable")
    assert server.stream[-1] == {"n": "11"}
    assert sum(publisher.counts) == 12


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Error 111 connecting to redis:6379. Connection refused."),
        redis.TimeoutError("Timeout reading from socket"),
        redis.AuthenticationError("invalid username-password pair or user is disabled."),
        redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'."),
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.BusyLoadingError("Redis is loading the dataset in memory"),
        OSError("[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        ValueError("no such option"),
    ],
)
def test_every_error_is_a_warning_said_once(
    publisher: Publisher, server: Server, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "accelerapp")
    server.error = error
    publisher.publish({"n": "1"})
    until(lambda: publisher.check()[0] == "warn")
    assert str(error) in publisher.check()[1]
    time.sleep(0.2)  # some more attempts
    server.error = None
    until(lambda: publisher.counts[0] == 1)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert server.stream == [{"n": "1"}]


def test_no_password_is_ever_said(
    publisher: Publisher, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.error = ValueError(f"cannot use {URL.reveal()} with geheim")
    publisher.publish({})
    until(lambda: publisher.check()[0] == "warn")
    assert "geheim" not in publisher.check()[1] + caplog.text
    assert "***" in publisher.check()[1]


def test_closing_has_an_end_and_counts_what_is_lost(publisher: Publisher, server: Server) -> None:
    server.block.clear()
    for _ in range(3):
        publisher.publish({})
    begin_s = time.monotonic()
    publisher.close(0.1)
    assert time.monotonic() - begin_s < 5
    assert publisher.counts[1] >= 2


def test_closing_without_a_start_is_nothing(publisher: Publisher) -> None:
    publisher.close(5)
    assert publisher.counts == (0, 0)
