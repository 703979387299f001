"""HTTP clients for the benchmarks: a good one, many at once, and bad ones.

Raw sockets, because http.client costs as much as the servers that are timed.
`python -m benchmarks.load HOST PORT` runs the bad ones, which the benchmarks start as a
process of their own so that they take no time from the good ones.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import heapq
import json
import math
import re
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Address = tuple[str, int]

TIMEOUT_S = 10.0
_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nConnection:[ \t]*close", re.IGNORECASE)


class LoadError(Exception):
    """There was no whole answer, or not the one that was asked for."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` of them do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `stays` says whether its connection takes another request."""

    status: int
    head: bytes
    body: bytes
    stays: bool


class AnswerReader:
    """Puts one answer to GET together from what arrives.

    An answer has a Content-Length, or ends with its connection; none of the servers that
    are measured sends chunks.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._head: bytes | None = None
        self._length: int | None = None

    @property
    def began(self) -> bool:
        return bool(self._data) or self._head is not None

    def feed(self, data: bytes) -> Answer | None:
        """Take more bytes; return the answer once it is whole."""
        self._data += data
        if self._head is None:
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not end:
                return None
            if not re.match(rb"HTTP/1\.[01] \d\d\d( |\r\n|$)", head):
                raise LoadError(f"not an answer: {head[:60]!r}")
            self._head, self._data = head, bytearray(rest)
            if b"\r\ntransfer-encoding:" in head.lower():
                raise LoadError("the answer comes in chunks")
            found = _LENGTH.search(head)
            self._length = int(found[1]) if found else None
        if self._length is None or len(self._data) < self._length:
            return None
        if len(self._data) > self._length:
            raise LoadError("more bytes than Content-Length says")
        return self._answer(stays=self._head.startswith(b"HTTP/1.1") and not self._asks_to_close())

    def end(self) -> Answer:
        """Return the answer that the end of its connection completes."""
        if self._head is None or self._length is not None:
            raise LoadError("the connection ended before the answer did")
        return self._answer(stays=False)

    def _asks_to_close(self) -> bool:
        return self._head is not None and _CLOSES.search(self._head) is not None

    def _answer(self, *, stays: bool) -> Answer:
        assert self._head is not None
        return Answer(int(self._head[9:12]), self._head, bytes(self._data), stays)


def request_of(path: str, *, stays: bool, headers: str = "") -> bytes:
    """Return the bytes of a GET."""
    connection = "keep-alive" if stays else "close"
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n{headers}\r\n"
    return head.encode()


class Client:
    """One blocking client. `stays` keeps its connection as long as the server does."""

    def __init__(self, address: Address, *, stays: bool, timeout_s: float = TIMEOUT_S) -> None:
        self.connections = 0
        self._address = address
        self._stays = stays
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def get(self, path: str) -> Answer:
        """Ask once; OSError or LoadError when there is no whole answer.

        A kept connection that turns out to be closed is replaced once, as HTTP has it.
        """
        kept = self._socket is not None
        try:
            return self._exchange(request_of(path, stays=self._stays))
        except _Vanished:
            self.close()
            if not kept:
                raise
            return self._exchange(request_of(path, stays=self._stays))
        except BaseException:
            self.close()
            raise

    def _exchange(self, request: bytes) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._timeout_s)
            self.connections += 1
        connection = self._socket
        reader = AnswerReader()
        try:
            connection.sendall(request)
        except ConnectionError as error:
            raise _Vanished(str(error)) from error
        while True:
            try:
                data = connection.recv(1 << 16)
            except ConnectionError as error:
                if reader.began:
                    raise
                raise _Vanished(str(error)) from error
            if not data:
                if not reader.began:
                    raise _Vanished("the connection ended without an answer")
                answer = reader.end()
                break
            if (found := reader.feed(data)) is not None:
                answer = found
                break
        if not (self._stays and answer.stays):
            self.close()
        return answer

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Vanished(LoadError):
    """The server closed the connection before it answered anything."""


@dataclass(slots=True)
class Latencies:
    """What many requests took, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    reconnections: int = 0

    def add(self, path: str, seconds: float) -> None:
        """Count one request."""
        self.seconds.setdefault(path, []).append(seconds)

    def merge(self, other: Latencies) -> None:
        """Count what `other` has counted."""
        for path, seconds in other.seconds.items():
            self.seconds.setdefault(path, []).extend(seconds)
        self.failures += other.failures
        self.reconnections += other.reconnections

    def all(self) -> list[float]:
        """Return the seconds of every path."""
        return [seconds for part in self.seconds.values() for seconds in part]


class Crowd:
    """Many keep-alive clients in one loop, each asking for `paths` in turn.

    With `rate_hz` each asks so often, and a request is timed from the moment at which it
    was due: a client that had to wait for its last answer does not hide that wait. Without,
    each asks again as soon as it has its answer. Only the statuses in `allowed` are right.
    """

    def __init__(
        self,
        address: Address,
        paths: Sequence[str],
        *,
        clients: int,
        rate_hz: float | None,
        timeout_s: float = 5.0,
        allowed: Sequence[int] = (200,),
    ) -> None:
        self.latencies = Latencies()
        self._address = address
        self._paths = paths
        self._period_s = 1 / rate_hz if rate_hz else None
        self._timeout_s = timeout_s
        self._allowed = frozenset(allowed)
        self._poll = select.epoll()
        self._by_fd: dict[int, _Member] = {}
        self._ending = False
        now_s = time.monotonic()
        # Spread over one period: a crowd in step would measure its own queue.
        self._members = [
            _Member(i, turn=i, due_s=now_s + (self._period_s or 0.0) * i / clients)
            for i in range(clients)
        ]
        self._due = [(member.due_s, i) for i, member in enumerate(self._members)]
        heapq.heapify(self._due)

    def run(self, until_s: float) -> None:
        """Ask until this moment of time.monotonic(); a later call goes on from there."""
        checked_s = 0.0
        while (now_s := time.monotonic()) < until_s:
            while not self._ending and self._due and self._due[0][0] <= now_s:
                self._begin(self._members[heapq.heappop(self._due)[1]])
            next_s = min(until_s, now_s + 0.5)
            if self._due and not self._ending:
                next_s = min(next_s, self._due[0][0])
            for fd, _ in self._poll.poll(max(next_s - time.monotonic(), 0.0)):
                if (member := self._by_fd.get(fd)) is not None:
                    self._ready(member)
            if now_s - checked_s > 0.5:
                checked_s = now_s
                for member in self._members:
                    if member.waits and now_s - member.began_s > self._timeout_s:
                        self._fail(member, f"no answer within {self._timeout_s:g} s")

    def finish(self) -> None:
        """Ask nothing more, wait for what is under way, which counts too, and close all."""
        self._ending = True
        while any(member.waits for member in self._members):
            self.run(time.monotonic() + 0.05)
        self.close()

    def close(self) -> None:
        """Drop every connection."""
        for member in self._members:
            self._drop(member)
        self._poll.close()

    def _begin(self, member: _Member) -> None:
        member.waits, member.began_s = True, time.monotonic()
        if self._period_s is None:
            member.due_s = member.began_s
        if member.socket is None:
            self._connect(member)
        else:
            self._send(member)

    def _connect(self, member: _Member) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = connection.connect_ex(self._address)
        member.socket, member.connected, member.answers = connection, False, 0
        self._by_fd[connection.fileno()] = member
        self._poll.register(connection, select.EPOLLOUT)
        if code not in (0, errno.EINPROGRESS):
            self._fail(member, errno.errorcode[code])

    def _send(self, member: _Member) -> None:
        assert member.socket is not None
        member.reader = AnswerReader()
        path = self._paths[member.turn % len(self._paths)]
        try:
            member.socket.sendall(request_of(path, stays=True))
        except OSError as error:
            self._broken(member, str(error))

    def _ready(self, member: _Member) -> None:
        connection = member.socket
        assert connection is not None
        if not member.connected:
            if code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._fail(member, errno.errorcode[code])
                return
            member.connected = True
            self._poll.modify(connection, select.EPOLLIN)
            self._send(member)
            return
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            data, reason = b"", str(error)
        else:
            reason = "the connection ended without an answer"
        if not member.waits:
            # The server may close what is idle; bytes that nobody asked for are a fault.
            if data:
                self._fail(member, "bytes without a request")
            else:
                self._drop(member)
        elif data or member.reader.began:
            self._read(member, data)
        else:
            self._broken(member, reason)

    def _read(self, member: _Member, data: bytes) -> None:
        try:
            answer = member.reader.feed(data) if data else member.reader.end()
        except LoadError as error:
            self._fail(member, str(error))
            return
        if answer is None:
            return
        member.answers += 1
        if answer.status not in self._allowed:
            self._fail(member, f"answered {answer.status}", keep=answer.stays)
            return
        if not answer.stays:
            self._drop(member)
        self._done(member)

    def _broken(self, member: _Member, reason: str) -> None:
        """A kept connection may have been closed just before it was used: once more, then."""
        reused = member.answers > 0
        self._drop(member)
        if reused:
            self.latencies.reconnections += 1
            self._connect(member)
        else:
            self._fail(member, reason)

    def _fail(self, member: _Member, reason: str, *, keep: bool = False) -> None:
        path = self._paths[member.turn % len(self._paths)]
        self.latencies.failures.append(f"{path}: {reason}")
        if not keep:
            self._drop(member)
        if member.waits:
            self._done(member)

    def _done(self, member: _Member) -> None:
        now_s = time.monotonic()
        self.latencies.add(self._paths[member.turn % len(self._paths)], now_s - member.due_s)
        member.waits = False
        member.turn += 1
        member.due_s = member.due_s + self._period_s if self._period_s else now_s
        heapq.heappush(self._due, (member.due_s, member.number))

    def _drop(self, member: _Member) -> None:
        if member.socket is not None:
            self._by_fd.pop(member.socket.fileno(), None)
            with contextlib.suppress(OSError):
                self._poll.unregister(member.socket)
            member.socket.close()
            member.socket = None


@dataclass(slots=True, eq=False)
class _Member:
    number: int
    turn: int
    due_s: float
    began_s: float = 0.0
    socket: socket.socket | None = None
    connected: bool = False
    waits: bool = False
    answers: int = 0
    reader: AnswerReader = field(default_factory=AnswerReader)


class BadClients:
    """Half-open connections (connected, not a byte sent) and drips of one header line a second.

    Each that the server closes is replaced while `run` lasts, so that there are always as
    many. `closed` holds the seconds from connecting to being closed, `refused` counts
    attempts that got no connection.
    """

    def __init__(self, address: Address, *, half_open: int, drips: int) -> None:
        self.closed: dict[str, list[float]] = {"half-open": [], "drip": []}
        self.refused = 0
        self._address = address
        self._missing = [(0.0, "half-open")] * half_open + [(0.0, "drip")] * drips
        self._open: dict[int, _Bad] = {}
        self._poll = select.epoll()

    def run(self, seconds: float, patience_s: float) -> dict[str, int]:
        """Keep them up for `seconds`, then wait `patience_s` for the server to close the last.

        Returns how many of each kind it never closed.
        """
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s + patience_s:
            if now_s < until_s:
                missing, self._missing = self._missing, []
                for due_s, kind in missing:
                    if due_s > now_s:
                        self._missing.append((due_s, kind))
                    else:
                        self._connect(kind)
            elif not self._open:
                break
            for fd, _ in self._poll.poll(0.02):
                if _is_closed(self._open[fd].socket):
                    self._closed(self._open[fd])
            now_s = time.monotonic()
            for bad in [bad for bad in self._open.values() if bad.next_s <= now_s]:
                bad.next_s += 1.0
                self._drip(bad, b"X-Drip: 1\r\n")
        left = dict.fromkeys(self.closed, 0)
        for bad in self._open.values():
            left[bad.kind] += 1
            bad.socket.close()
        self._poll.close()
        return left

    def _connect(self, kind: str) -> None:
        try:
            connection = socket.create_connection(self._address, timeout=1.0)
        except OSError:
            self.refused += 1
            self._missing.append((time.monotonic() + 1.0, kind))
            return
        connection.setblocking(False)
        now_s = time.monotonic()
        bad = _Bad(connection, kind, now_s, now_s + 1.0 if kind == "drip" else math.inf)
        self._open[connection.fileno()] = bad
        self._poll.register(connection, select.EPOLLIN)
        if kind == "drip":
            self._drip(bad, b"GET /livez HTTP/1.1\r\n")

    def _drip(self, bad: _Bad, line: bytes) -> None:
        try:
            bad.socket.send(line)
        except BlockingIOError:
            return
        except OSError:
            self._closed(bad)

    def _closed(self, bad: _Bad) -> None:
        now_s = time.monotonic()
        self.closed[bad.kind].append(now_s - bad.since_s)
        del self._open[bad.socket.fileno()]
        self._poll.unregister(bad.socket)
        bad.socket.close()
        # Not more often than once a second each: this is patience, not a flood.
        self._missing.append((max(now_s, bad.since_s + 1.0), bad.kind))


@dataclass(slots=True, eq=False)
class _Bad:
    socket: socket.socket
    kind: str
    since_s: float
    next_s: float


def _is_closed(connection: socket.socket) -> bool:
    """Read on to the end: an answer such as 408 may come before it."""
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def hung_server() -> Iterator[Address]:
    """Yield a listener that takes every connection and whatever is sent, and never answers.

    It stands for a service that hangs: an Ollama that loads a model, a stopped process.
    The kernel completes the handshake of what nobody accepts, and receives its bytes.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener.getsockname()


@contextlib.contextmanager
def silent_server() -> Iterator[Address]:
    """Yield an address that drops packets: an attempt to connect to it meets silence.

    It stands for a firewall, or a machine that is gone: nothing refuses, nothing accepts.
    The kernel drops SYNs to a listener whose queue is full, which needs neither root nor a
    route that leads nowhere. OSError where the kernel does otherwise.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: Address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            socket.create_connection(address, timeout=0.3).close()
        except TimeoutError:
            pass
        else:
            raise OSError("this kernel takes connections that a full queue has no place for")
        yield address


def main() -> None:
    """Run bad clients; print JSON about what became of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--half-open", type=int, default=200)
    parser.add_argument("--drips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--patience", type=float, default=20)
    given = parser.parse_args()
    bad = BadClients((given.host, given.port), half_open=given.half_open, drips=given.drips)
    left = bad.run(given.seconds, given.patience)
    json.dump({"closed": bad.closed, "left": left, "refused": bad.refused}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
