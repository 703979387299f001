"""Events on a real Redis (Debian's): bounded, full, restarted, with a password."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from accelerapp import events
from accelerapp.addresses import Secret
from accelerapp.events import Publisher
from tests.integration.conftest import find_tool


class Server:
    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
        self.password = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> Secret:
        login = f":{self.password}@" if self.password else ""
        return Secret(f"redis://{login}127.0.0.1:{self.port}/0")

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url.reveal(), decode_responses=True)

    def start(self, *options: str) -> None:
        self._process = subprocess.Popen(
            (
                *(str(self._program), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--appendonly", "yes", "--save", "", *options),
            ),
            stdout=subprocess.DEVNULL,
        )
        until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


def until(look: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(events, "LONGEST_PAUSE_S", 0.2)
    program = find_tool("redis-server", unchecked="that generations come to a Redis stream")
    server = Server(program, tmp_path)
    yield server
    server.stop()


def test_the_stream_is_bounded_and_survives_a_restart(server: Server) -> None:
    server.start()
    publisher = Publisher(server.url, "made", 5)
    for number in range(12):
        publisher.publish({"n": str(number)})
    until(lambda: publisher.counts[0] == 12)
    assert server.client.xlen("made") == 5
    assert server.client.client_list()[0]["name"] in ("accelerapp", "")
    server.stop()
    publisher.publish({"n": "12"})
    until(lambda: publisher.check()[0] == "warn")
    publisher.publish({"n": "13"})
    server.start()
    until(lambda: publisher.counts[0] == 14)
    publisher.close(5)
    held = [fields["n"] for _, fields in server.client.xrange("made")]
    assert held == ["9", "10", "11", "12", "13"]
    assert publisher.counts == (14, 0)


def test_redis_may_come_later(server: Server) -> None:
    publisher = Publisher(server.url, "made", 5)
    publisher.publish({"n": "0"})
    until(lambda: publisher.check()[0] == "warn")
    assert "refused" in publisher.check()[1]
    server.start()
    until(lambda: publisher.counts[0] == 1)
    assert publisher.check() == ("pass", "reachable")
    publisher.close(5)


def test_a_full_redis_warns_and_recovers(server: Server) -> None:
    server.start("--maxmemory", "100kb", "--maxmemory-policy", "noeviction")
    publisher = Publisher(server.url, "made", 5)
    publisher.publish({"n": "0"})
    until(lambda: "maxmemory" in publisher.check()[1])
    server.client.config_set("maxmemory", "64mb")
    until(lambda: publisher.counts[0] == 1)
    publisher.close(5)


def test_a_key_of_another_type_warns_and_recovers(server: Server) -> None:
    server.start()
    server.client.set("made", "a letter")
    publisher = Publisher(server.url, "made", 5)
    publisher.publish({"n": "0"})
    until(lambda: "WRONGTYPE" in publisher.check()[1])
    server.client.delete("made")
    until(lambda: publisher.counts[0] == 1)
    publisher.close(5)


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_warns_and_is_not_shown(
    server: Server, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.password = "geheim"
    server.start("--requirepass", "geheim")
    login = f":{password}@" if password else ""
    publisher = Publisher(Secret(f"redis://{login}127.0.0.1:{server.port}/0"), "made", 5)
    publisher.publish({"n": "0"})
    until(lambda: publisher.check()[0] == "warn")
    assert "wrong" not in (publisher.check()[1] + caplog.text).replace("wrong number", "")
    publisher.close(0.1)
    right = Publisher(server.url, "made", 5)
    right.publish({"n": "1"})
    until(lambda: right.counts[0] == 1)
    right.close(5)
