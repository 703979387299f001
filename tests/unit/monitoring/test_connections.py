"""The server's connections by a clock of the test's own: one turn at a time, in this process."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from monitoring import server
from monitoring.lifecycle import Lifecycle
from tests.unit.monitoring.test_monitor import PATIENCE_S, environment

ASK = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
NONSENSE = b"nonsense\r\n\r\n"
TURNS = 200
# What waitress says of a setting that it still has; Python shows it to nobody who runs a program.
pytestmark = pytest.mark.filterwarnings("ignore:send_bytes will be removed:DeprecationWarning")


class Tally:
    def __init__(self) -> None:
        self.answers: list[tuple[str, str, int, float]] = []
        self.reasons: list[str] = []

    def answered(self, method: str, path: str, code: int, duration_s: float) -> None:
        self.answers.append((method, path, code, duration_s))

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


class Broken:
    """A socket of which some calls fail as they do where the network has lost the client."""

    def __init__(self, whole: socket.socket, *calls: str) -> None:
        self._whole = whole
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        if name in self._calls:
            return self._fail
        return getattr(self._whole, name)

    def _fail(self, *_: object) -> Any:
        raise OSError(errno.EHOSTUNREACH, "No route to host")


class Bench:
    """A listener on loopback whose loop turns when the test says so; `now_s` is its clock."""

    def __init__(self, stack: ExitStack) -> None:
        self.now_s = 0.0
        self.body = b"ok\n"
        self.tally = Tally()
        self.sockets: dict[int, Any] = {}
        self._stack = stack
        self.socket = stack.enter_context(server._listen("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        # After the clock is in place: it is asked at once.
        self.listener: Any = None

    def open(self, sock: socket.socket | None = None) -> None:
        self.listener = server._Listener(self._app, sock or self.socket, self.sockets, self.tally)
        self._stack.callback(server.wasyncore.close_all, self.sockets)

    def monotonic(self) -> float:
        return self.now_s

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(self.body)))])
        return [self.body]

    @property
    def channels(self) -> list[Any]:
        return list(self.listener.active_channels.values())

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.listener.turn(0.05)
        raise AssertionError("waited too long")

    def connect(self, sent: bytes = b"") -> socket.socket:
        """A client whose connection is accepted."""
        before = set(self.channels)
        client = self._stack.enter_context(
            socket.create_connection(self.address, timeout=PATIENCE_S)
        )
        client.sendall(sent)
        self.until(lambda: set(self.channels) - before)
        return client

    def answered(self, sent: bytes = ASK) -> socket.socket:
        """A client that has had one answer, and whose connection may be asked again."""
        client = self.connect(sent)
        channel = self.channels[-1]
        self.until(lambda: channel.served)
        assert client.recv(65536)
        return client

    def at(self, now_s: float) -> list[str]:
        """What has been closed at that moment, and why."""
        self.now_s = now_s
        self.listener.turn(0.0)
        return self.tally.reasons


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with ExitStack() as stack:
        made = Bench(stack)
        monkeypatch.setattr(server, "time", made)
        made.open()
        yield made


def gone(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_first_request_has_its_deadline_from_the_connection_on(bench: Bench) -> None:
    client = bench.connect()
    assert bench.at(3.0) == []
    client.sendall(b"GET")
    bench.until(lambda: bench.channels[0].request)
    assert bench.at(5.0) == []
    assert bench.at(5.5) == ["late"]
    assert gone(client)


def test_a_later_request_has_its_deadline_from_its_first_byte_on(bench: Bench) -> None:
    client = bench.answered()
    assert bench.at(60.0) == []
    client.sendall(b"GET")
    bench.until(lambda: bench.channels[0].request)
    assert bench.at(63.0) == []
    # Nor does another byte put it off.
    client.sendall(b" /livez")
    bench.listener.turn(PATIENCE_S)
    assert bench.at(65.0) == []
    assert bench.at(65.5) == ["late"]
    assert gone(client)


def test_deadlines_are_looked_at_twice_a_second_and_no_oftener(bench: Bench) -> None:
    bench.connect()
    assert bench.at(5.0) == []
    assert bench.at(5.25) == []
    assert bench.at(5.5) == ["late"]


def test_who_has_an_answer_may_be_idle_for_longer(bench: Bench) -> None:
    client = bench.answered()
    assert bench.at(75.0) == []
    assert bench.at(75.5) == ["idle"]
    assert gone(client)


def test_who_does_not_read_an_answer_is_closed(bench: Bench) -> None:
    bench.body = b"x" * 50_000_000
    bench.connect(ASK)
    bench.until(lambda: bench.channels[0].served)
    assert bench.at(10.0) == []
    assert bench.at(10.5) == ["unread"]
    assert bench.channels == []


def test_who_is_refused_may_finish_for_two_seconds(bench: Bench) -> None:
    client = bench.answered(NONSENSE)
    assert bench.at(2.0) == []
    assert bench.at(2.5) == ["late"]
    assert bench.channels == []
    assert gone(client)


def test_a_refusal_counts_as_an_answer_that_took_no_time(bench: Bench) -> None:
    bench.answered(NONSENSE)
    assert bench.tally.answers == [("other", "other", 400, 0.0)]


def test_an_answer_leaves_in_the_turn_that_makes_it(bench: Bench) -> None:
    client = bench.connect(ASK)
    bench.until(lambda: bench.channels[0].served)
    client.setblocking(False)
    assert client.recv(65536).endswith(b"ok\n")


def test_a_connection_for_one_request_is_closed_with_its_answer(bench: Bench) -> None:
    client = bench.connect(b"GET /livez HTTP/1.0\r\n\r\n")
    channel = bench.channels[0]
    bench.until(lambda: channel.served)
    assert bench.channels == []
    # Not one of the monitor's own closings.
    assert bench.tally.reasons == []
    assert client.recv(65536).endswith(b"ok\n")
    assert gone(client)


@pytest.mark.parametrize("call", ["send", "shutdown"])
def test_who_is_lost_while_refused_is_let_go_at_once(
    bench: Bench, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.connect()
    channel = bench.channels[0]
    channel.socket = Broken(channel.socket, call)
    channel.received(NONSENSE)
    bench.listener.turn(0.0)
    assert channel.served
    assert bench.channels == []
    assert caplog.records == []


def test_who_is_lost_after_a_refusal_is_let_go_at_once(bench: Bench) -> None:
    client = bench.answered(NONSENSE)
    [channel] = bench.channels
    channel.socket = Broken(channel.socket, "recv")
    client.sendall(b"more")
    bench.listener.turn(PATIENCE_S)
    assert bench.channels == []


def test_a_lost_client_is_no_news_for_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    client = bench.connect()
    [channel] = bench.channels
    channel.socket = Broken(channel.socket, "recv")
    client.sendall(b"GET")
    bench.listener.turn(PATIENCE_S)
    assert bench.channels == []
    assert caplog.records == []


def test_newcomers_are_accepted_by_the_dozen(bench: Bench) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(bench.address))
        bench.listener.turn(PATIENCE_S)
        # The rest wait for a turn: those that are here have theirs first.
        assert len(bench.channels) == 32
        bench.until(lambda: len(bench.channels) == 40)


def test_nobody_is_closed_while_there_is_room(bench: Bench) -> None:
    bench.listener._room = 3
    for _ in range(3):
        bench.connect()
    assert bench.tally.reasons == []
    bench.connect()
    assert bench.tally.reasons == ["crowded"]
    assert len(bench.channels) == 3


def test_half_a_request_makes_room_before_who_is_idle(bench: Bench) -> None:
    bench.listener._room = 2
    idle = bench.answered()
    bench.now_s = 1.0
    half = bench.connect(b"GET")
    bench.now_s = 2.0
    bench.connect()
    assert bench.tally.reasons == ["crowded"]
    assert gone(half)
    idle.sendall(ASK)
    bench.until(lambda: any(channel.served == 2 for channel in bench.channels))


def test_who_was_refused_makes_room_before_who_is_idle(bench: Bench) -> None:
    bench.listener._room = 2
    bench.answered()
    [idle] = bench.channels
    bench.now_s = 1.0
    bench.answered(NONSENSE)
    bench.connect()
    assert bench.tally.reasons == ["crowded"]
    assert idle in bench.channels
    assert not any(channel.lingering for channel in bench.channels)


def test_who_is_idle_longest_makes_room_where_all_are(bench: Bench) -> None:
    bench.listener._room = 2
    longest = bench.answered()
    bench.now_s = 1.0
    bench.answered()
    bench.connect()
    assert bench.tally.reasons == ["crowded"]
    assert gone(longest)


def test_who_is_owed_an_answer_does_not_make_room(bench: Bench) -> None:
    bench.connect()
    bench.connect()
    owed = bench.channels[0]
    owed.requests = ["a request"]
    bench.listener._make_room()
    assert bench.tally.reasons == []
    owed.requests = []


def test_what_was_sent_ahead_waits_for_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    poll = server.wasyncore.poll2

    def noted(timeout: float, map: Any) -> None:
        waits.append(timeout)
        poll(timeout, map)

    monkeypatch.setattr(server.wasyncore, "poll2", noted)
    client = bench.connect()
    client.sendall(ASK * 3)
    [channel] = bench.channels
    waits.clear()
    for _ in range(3):
        bench.listener.turn(PATIENCE_S)
    assert channel.served == 3
    # The first waits for the client, the others have their request.
    assert waits == [PATIENCE_S, 0.0, 0.0]


def test_more_files_than_select_can_wait_for(bench: Bench) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1200 if before[1] == resource.RLIM_INFINITY else min(1200, before[1])
    assert wanted > 1100, "so few files that the test means nothing"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, before[0]), before[1]))
    try:
        with socket.socket(fileno=fcntl.fcntl(bench.socket, fcntl.F_DUPFD, 1100)) as high:
            server.wasyncore.close_all(bench.sockets)
            bench.open(high)
            bench.answered()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def channel(**owed: Any) -> Any:
    state = {"requests": [], "request": None, "total_outbufs_len": 0, **owed}
    return SimpleNamespace(overdue=lambda now_s: "", **state)


@pytest.mark.parametrize(
    ("owed", "turns"),
    [
        # Half a second that /readyz says so, and a second and a half at most.
        ({}, 2),
        ({"requests": ["whole"]}, 6),
        ({"request": "half"}, 6),
        ({"total_outbufs_len": 1}, 6),
    ],
)
def test_a_stop_takes_as_long_as_somebody_is_owed_something(
    bench: Bench, owed: dict[str, Any], turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def quarter(timeout: float, **_: object) -> None:
        waits.append(timeout)
        bench.now_s += 0.25
        assert len(waits) < TURNS

    monkeypatch.setattr(server.wasyncore, "loop", quarter)
    bench.listener.active_channels = {1: channel(**owed)}
    bench.listener.drain()
    assert waits == [0.05] * turns
    bench.listener.active_channels = {}


def test_the_limits_of_waitress_are_out_of_reach(bench: Bench) -> None:
    """Its own would close who is idle, and stop to accept, without a word to anybody."""
    assert bench.listener.adj.channel_timeout == 3600
    assert bench.listener.adj.connection_limit == 2 * 512 + 64


def test_after_it_has_served_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_NOTICE_S", 0.0)
    monkeypatch.setattr(server, "STOP_GRACE_S", 0.0)
    lifecycle = Lifecycle()
    woken: list[int] = []
    turn = server._Listener.turn

    def once(listener: Any, timeout_s: float) -> None:
        fd = signal.set_wakeup_fd(-1)
        woken.append(fd)
        if fd != -1:
            signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        turn(listener, timeout_s)
        if not lifecycle.stopping:
            lifecycle.stop(signal.SIGTERM)

    monkeypatch.setattr(server._Listener, "turn", once)
    listener = server._listen("127.0.0.1", 0)
    monkeypatch.setattr(server, "_listen", lambda host, port: listener)
    with socket.create_connection(listener.getsockname(), timeout=PATIENCE_S) as client:
        client.sendall(b"GET")
        serving = server.Server(lifecycle, Tally())
        assert serving.serve(lambda *_: [], "127.0.0.1", 0) == 0
        # While it served a signal could end its wait; afterwards none writes anywhere.
        assert woken
        assert -1 not in woken
        assert signal.set_wakeup_fd(-1) == -1
        assert serving.connections == 0
        assert gone(client)


def test_a_lost_listening_socket_ends_it_with_1_and_a_word_why() -> None:
    script = """
import socket, sys
from monitoring import monitor, server

turn = server._Listener.turn

def lost(listener, timeout_s):
    listener.socket.shutdown(socket.SHUT_RDWR)
    turn(listener, timeout_s)

server._Listener.turn = lost
sys.exit(monitor.main([]))
"""
    ended = subprocess.run(
        (sys.executable, "-c", script),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "ERROR monitoring: the listening socket was closed; giving up\n" in ended.stderr
    assert "Traceback" not in ended.stderr


def fill(fd: int) -> None:
    for _ in range(10_000):
        os.write(fd, b"x" * 4096)


def test_signals_that_nobody_has_read_yet_are_no_news(
    capfd: pytest.CaptureFixture[str],
) -> None:
    sockets: dict[int, Any] = {}
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        server._wake_on_signals(sockets)
        [wakeup] = sockets.values()
        with pytest.raises(BlockingIOError):
            fill(wakeup.trigger)
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        server.wasyncore.close_all(sockets)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "family", "both"),
    [
        ("127.0.0.1", socket.AF_INET, False),
        ("localhost", socket.AF_INET, False),
        ("::1", socket.AF_INET6, False),
        # All of this machine's addresses, IPv4's too.
        ("::", socket.AF_INET6, True),
    ],
)
def test_what_is_listened_on(
    host: str, family: int, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, dict[str, object]]] = []

    def create_server(address: object, **options: object) -> str:
        asked.append((address, options))
        return "a socket"

    monkeypatch.setattr(socket, "create_server", create_server)
    assert server._listen(host, 8080) == "a socket"  # type: ignore[comparison-overlap]
    options = {"family": family, "backlog": 1024, "dualstack_ipv6": both}
    assert asked == [((host, 8080), options)]


def test_an_address_that_cannot_be_used_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def create_server(*_: object, **__: object) -> None:
        raise OSError("no number, but a reason (while attempting to bind)")

    monkeypatch.setattr(socket, "create_server", create_server)
    with pytest.raises(server.ListenError) as caught:
        server._listen("a.example", 80)
    assert str(caught.value) == (
        "cannot listen on a.example port 80: no number, but a reason;"
        " choose another with MONITOR_HOST and MONITOR_PORT"
    )


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 8080), "http://127.0.0.1:8080"),
        (("::1", 8080, 0, 0), "http://[::1]:8080"),
    ],
)
def test_the_log_says_an_address_that_a_browser_takes(name: tuple[object, ...], url: str) -> None:
    listener: Any = SimpleNamespace(getsockname=lambda: name)
    assert server._url(listener) == url
