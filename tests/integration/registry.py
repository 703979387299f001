"""Debian's registry on loopback, a proxy in front of it that breaks things, a token server.

`FaultProxy` passes requests on as they are, `Host` included, so that the registry's
`Location` headers lead back to the proxy, and writes down what it saw.  `Fault`s say what
becomes of some of them.  Nothing here shares code with the client that is tested.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

USERNAME = "tester"
PASSWORD = "correct horse"
# bcrypt of the password: the only kind that the registry reads, and that Python cannot make.
_HTPASSWD = "tester:$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n"
_START_TIMEOUT_S = 20.0
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CHUNK = 1 << 16
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class LocalRegistry:
    """A running registry. `address` is `127.0.0.1:<port>`."""

    address: str
    storage: Path
    authorization: str = ""
    """What its questions carry, where it wants to know who asks."""

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask it something directly; header names of the answer are in lower case."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection):
            mine = {"Authorization": self.authorization} if self.authorization else {}
            connection.request(method, path, data, {**mine, **(headers or {})})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, names, answer.read()

    def manifest(self, repository: str, reference: str) -> tuple[str, Any] | None:
        """Return digest and content of a manifest or an index, None when it has none."""
        path = f"/v2/{repository}/manifests/{reference}"
        status, headers, data = self.request("GET", path, {"Accept": ", ".join(_MANIFESTS)})
        if status == 404:
            return None
        assert status == 200, (status, data)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert headers["docker-content-digest"] == digest
        return digest, json.loads(data)

    def digest(self, repository: str, tag: str) -> str | None:
        """Return the digest that a tag names, None when there is no such tag."""
        found = self.manifest(repository, tag)
        return found[0] if found else None

    def tags(self, repository: str) -> set[str]:
        """Return the tags of a repository; none when there is no such repository."""
        status, _, data = self.request("GET", f"/v2/{repository}/tags/list")
        return set(json.loads(data)["tags"] or ()) if status == 200 else set()

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether a repository has a blob."""
        return self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200

    def is_whole(self, repository: str, reference: str) -> bool:
        """Say whether everything that a reference names, down to the layers, is there."""
        found = self.manifest(repository, reference)
        if found is None:
            return False
        document = found[1]
        if "manifests" in document:
            return all(self.is_whole(repository, part["digest"]) for part in document["manifests"])
        blobs = [document["config"], *document["layers"]]
        return all(self.has_blob(repository, blob["digest"]) for blob in blobs)


@contextlib.contextmanager
def running_registry(
    program: Path, folder: Path, *, password: bool = False
) -> Iterator[LocalRegistry]:
    """Run a registry with its storage in `folder`; with `password`, for one user only."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of one test"},
    }
    if password:
        (folder / "htpasswd").write_text(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML.
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            (program, "serve", folder / "config.yml"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(port, process, folder / "log")
        yield LocalRegistry(f"127.0.0.1:{port}", folder / "storage")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder / "storage", ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the registry does not listen: {log.read_text()}")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came by. `path` is without the query; `sent` counts bytes of its body."""

    method: str
    path: str
    query: str
    status: int
    authorization: str
    sent: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with requests of a `method`, or of any, whose path and query match.

    It begins with match number `first`, counted from one, and happens `times` times.
    """

    method: str
    pattern: str
    first: int = 1
    times: int = 1_000_000

    status: int = 0
    """Answer with this, without asking the registry."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reset: str = ""
    """Drop the connection: `before` the request, in the `middle` of its body, `after` the
    registry has done what it says, without its answer."""
    swallow: int = 0
    """Keep so many bytes at the end of the request's body from the registry."""
    damage: bool = False
    """Turn a bit of the request's body."""
    delay_s: float = 0.0
    answer: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    """Changes the headers of the registry's answer."""
    act: Callable[[], None] | None = None
    """Something to do when the request arrives."""


class FaultProxy:
    """A proxy on loopback; `address` is `127.0.0.1:<port>`."""

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.seen: list[Seen] = []
        self.check: Callable[[str, str, Mapping[str, str]], Answer | None] | None = None
        """Looks at method, path and headers first; what it returns is the answer."""
        self.happened: dict[int, int] = {}
        """How often each fault has happened."""
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _ProxyHandler)
        self._server.proxy = self
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault_for(self, method: str, target: str) -> Fault | None:
        """Return what happens to a request, and count it."""
        with self._lock:
            for number, fault in enumerate(self.faults):
                if fault.method not in ("", method) or not re.search(fault.pattern, target):
                    continue
                count = self._counts[number] = self._counts.get(number, 0) + 1
                if fault.first <= count < fault.first + fault.times:
                    self.happened[number] = self.happened.get(number, 0) + 1
                    return fault
        return None

    def note(self, seen: Seen) -> None:
        """Write down a request."""
        with self._lock:
            self.seen.append(seen)

    def forget(self) -> None:
        """Begin a new record, without faults."""
        with self._lock:
            self.seen.clear()
            self.faults.clear()
            self._counts.clear()
            self.happened.clear()

    def requests(self, method: str, pattern: str = "") -> list[Seen]:
        """Return the requests of a method whose path matches."""
        with self._lock:
            return [s for s in self.seen if s.method == method and re.search(pattern, s.path)]

    def blob_bytes(self) -> int:
        """Return how many bytes of blobs were sent."""
        with self._lock:
            return sum(s.sent for s in self.seen if "/blobs/uploads/" in s.path)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says by itself."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: connections that break are what this is for."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float] = 60.0

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def body(self) -> Iterator[bytes]:
        """Yield the body of the request, of either framing."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            data = self.rfile.read(min(left, _CHUNK))
            if not data:
                raise ConnectionError("the client hung up")
            left -= len(data)
            yield data

    def reply(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        length = 0 if self.command == "HEAD" else len(answer.body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if length:
            self.wfile.write(answer.body)

    def hang_up(self) -> None:
        """Reset the connection: the peer sees ECONNRESET, not an orderly end."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()
        raise ConnectionError("reset")


class _ProxyHandler(_Quiet):
    server: _Server

    def handle_request(self) -> None:
        proxy = self.server.proxy
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, path, query, 0, headers.get("authorization", ""), 0)
        fault = proxy.fault_for(self.command, self.path)
        if fault is not None:
            if fault.act:
                fault.act()
            if fault.delay_s:
                time.sleep(fault.delay_s)
            if fault.reset == "before":
                proxy.note(seen)
                self.hang_up()
            if fault.reset == "middle":
                total = int(headers.get("content-length") or 2 * _CHUNK)
                proxy.note(replace(seen, sent=len(self.rfile.read(max(1, total // 2)))))
                self.hang_up()
            if fault.status:
                sent = sum(len(data) for data in self.body())
                proxy.note(replace(seen, status=fault.status, sent=sent))
                self.reply(Answer(fault.status, fault.headers, fault.body))
                return
        if proxy.check and (answer := proxy.check(self.command, path, headers)):
            sent = sum(len(data) for data in self.body())
            proxy.note(replace(seen, status=answer.status, sent=sent))
            self.reply(answer)
            return
        self._pass_on(fault, seen)

    def _pass_on(self, fault: Fault | None, seen: Seen) -> None:
        data = bytearray(b"".join(self.body()))
        sent = len(data)
        if fault is not None and fault.damage:
            data[len(data) // 2] ^= 1
        if fault is not None and fault.swallow:
            del data[-fault.swallow :]
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP
        }
        headers["Content-Length"] = str(len(data))
        connection = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(bytes(data))
            answer = connection.getresponse()
            body = answer.read()
        self.server.proxy.note(replace(seen, status=answer.status, sent=sent))
        if fault is not None and fault.reset == "after":
            self.hang_up()
        kept = {n: v for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP}
        if fault is not None and fault.answer:
            kept = dict(fault.answer(kept))
        self.send_response_only(answer.status)
        for name, value in kept.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request


@dataclass
class TokenServer:
    """A token server, and the check that a `FaultProxy` makes of the tokens it gave.

    It gives a token to whoever has the password, for any scope that is asked for, and
    refuses OAuth (404), as Docker Hub's and GitLab's of old do.
    """

    lifetime_requests: int = 1_000_000
    """After so many requests a token is no longer accepted, whatever `expires_in` says."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """The scopes and the Authorization of each request."""
    field_name: str = "token"
    denied: bool = False
    """Answer 403 to everybody."""

    def __post_init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(_Quiet):
            def do_GET(self) -> None:
                outer.answer(self)

            def do_POST(self) -> None:
                for _ in self.body():
                    pass
                self.reply(Answer(404))

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> TokenServer:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: _Quiet) -> None:
        """Give a token."""
        authorization = handler.headers.get("Authorization", "")
        with self._lock:
            self.asked.append((handler.path, authorization))
            name = f"token-{len(self.asked)}"
        if self.denied:
            handler.reply(Answer(403))
        elif authorization != basic():
            handler.reply(Answer(401))
        else:
            with self._lock:
                self._tokens[name] = self.lifetime_requests
            document = {self.field_name: name, "expires_in": 300}
            handler.reply(Answer(200, body=json.dumps(document).encode()))

    def check(self, challenge: str) -> Callable[[str, str, Mapping[str, str]], Answer | None]:
        """Return the check for a proxy; `{realm}` in the challenge is this server."""
        header = challenge.replace("{realm}", f"http://{self.address}/token")

        def check(method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
            kind, _, token = headers.get("authorization", "").partition(" ")
            with self._lock:
                left = self._tokens.get(token, 0) if kind.lower() == "bearer" else 0
                if left:
                    self._tokens[token] = left - 1
                    return None
            return Answer(401, (("WWW-Authenticate", header),), b'{"errors":[]}')

        return check


def basic(username: str = USERNAME, password: str = PASSWORD) -> str:
    """Return the Authorization header of a name and a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
