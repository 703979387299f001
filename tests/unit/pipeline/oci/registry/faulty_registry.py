"""A registry on loopback that does what the specification says, until it is told otherwise.

    with FaultyRegistry() as registry:
        registry.fault("PATCH", status(503), drop(after_bytes=1000))
        ...
        assert registry.said() == ["POST …", "PATCH …"]

Faults are used up one by one, by the requests that they are for; then the registry behaves.
Every request is in `requests`, with its headers.  It has Bearer or Basic authentication when
`users` are given, keeps everything in memory, and stops by itself.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import re
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>blobs|manifests|referrers|tags)/(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    port: int
    """The client's: equal for requests over the same connection."""

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


class Call(BaseHTTPRequestHandler):
    """One request, as faults see it."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10

    extra: dict[str, str]
    keep: int | None

    def _handle(self) -> None:
        registry = self.server.registry
        parts = urlsplit(self.path)
        self.parts = parts
        self.query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.left = int(self.headers.get("Content-Length") or 0)
        self.extra = {}
        self.keep = None
        self.close_connection = False
        seen = Seen(
            self.command,
            parts.path,
            parts.query,
            {name.lower(): value for name, value in self.headers.items()},
            self.client_address[1],
        )
        with registry.lock:
            registry.requests.append(seen)
            fault = registry.take(seen)
        if fault is None or not fault(self):
            registry.serve(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def receive(self, count: int | None = None) -> bytes:
        """Return the request's body, or that many bytes of it."""
        wanted = self.left if count is None else min(count, self.left)
        data = self.rfile.read(wanted)
        self.left -= len(data)
        return data

    def answer(
        self, code: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Answer, with what faults add; an unread body ends the connection, once the client
        has stopped sending it: what a reset overtakes may be lost."""
        self.send_response(code)
        merged = {"Content-Length": str(len(body)), **(headers or {}), **self.extra}
        for name, value in merged.items():
            if value:
                self.send_header(name, value)
        if self.left:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)
        if self.left:
            self._linger()
            self.hang_up(reset=False)

    def _linger(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(64 * 1024):
                pass

    def error(self, code: int, name: str, message: str = "", **headers: str) -> None:
        """Answer with an error as the distribution specification writes it."""
        body = json.dumps({"errors": [{"code": name, "message": message or name.lower()}]})
        self.answer(code, {"Content-Type": "application/json", **headers}, body.encode())

    def hang_up(self, *, reset: bool = True) -> None:
        """End the connection, by a reset or in order, whatever is still to come."""
        self.close_connection = True
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with contextlib.suppress(OSError):
            if not reset:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_args: object) -> None:
        """Keep the tests' output clean."""


Fault = Callable[[Call], bool | None]
"""Does something about a request; returns True when it has answered it."""


def status(
    code: int,
    body: bytes | str = b"",
    *,
    early: bool = False,
    abrupt: bool = False,
    **headers: str,
) -> Fault:
    """Answer with a status; `early` does so before the request's body is read, and `abrupt`
    hangs up at once as well.

    Names of headers are written with `_` for `-`.
    """

    def fault(call: Call) -> bool:
        if abrupt:
            call._linger = lambda: None  # type: ignore[method-assign]
        if not (early or abrupt):
            call.receive()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        call.answer(code, named, body.encode() if isinstance(body, str) else body)
        return True

    return fault


def error(code: int, name: str, message: str = "") -> Fault:
    """Answer with a registry's error document."""

    def fault(call: Call) -> bool:
        call.receive()
        call.error(code, name, message)
        return True

    return fault


def drop(after_bytes: int = 0, *, reset: bool = True) -> Fault:
    """Hang up after that many bytes of the request's body, without an answer."""

    def fault(call: Call) -> bool:
        call.receive(after_bytes)
        call.hang_up(reset=reset)
        return True

    return fault


def drop_answer(after_bytes: int = 0) -> Fault:
    """Do what is asked and hang up after that many bytes of the answer's body."""

    def fault(call: Call) -> bool:
        def cut(code: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
            if after_bytes:
                whole = {**(headers or {}), "Content-Length": str(len(body))}
                call.send_response(code)
                for name, value in whole.items():
                    call.send_header(name, value)
                call.end_headers()
                call.wfile.write(body[:after_bytes])
            call.hang_up(reset=False)

        call.answer = cut  # type: ignore[method-assign]
        call.server.registry.serve(call)
        return True

    return fault


def altered(**headers: str) -> Fault:
    """Do what is asked, and answer with other headers; an empty one is left out."""

    def fault(call: Call) -> None:
        call.extra.update({name.replace("_", "-"): value for name, value in headers.items()})

    return fault


def kept(count: int) -> Fault:
    """Take in a PATCH, keep only so many bytes of it, and say so."""

    def fault(call: Call) -> None:
        call.keep = count

    return fault


def then(action: Callable[[], object], fault: Fault | None = None) -> Fault:
    """Do something else first: expire a token, change a file."""

    def both(call: Call) -> bool | None:
        action()
        return None if fault is None else fault(call)

    return both


@dataclass(slots=True)
class _Planned:
    method: str
    path: str
    faults: list[Fault]
    always: Fault | None


@dataclass(slots=True)
class _Content:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Media type and bytes by digest."""
    tags: dict[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """Clients with several threads all connect at once; the kernel drops what is over."""
    registry: FaultyRegistry

    def handle_error(self, *_args: object) -> None:
        """Hanging up is what some tests are about."""


class FaultyRegistry:
    """The registry; its content may be read and changed at any time."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        scheme: str = "Bearer",
        denied: Sequence[str] = (),
        lifetime_s: int = 300,
        lists_referrers: bool = False,
    ) -> None:
        """`users` have passwords by name; `scheme` is how they prove who they are. `denied`
        repositories are nobody's."""
        self.lock = threading.RLock()
        self.requests: list[Seen] = []
        self.content: dict[str, _Content] = defaultdict(_Content)
        self.sessions: dict[str, bytearray] = {}
        self.location: Callable[[str], str] = lambda path: path
        """Makes the Location of an upload from its path."""
        self.tag_page = 0
        """How many tags come at once; 0 for all."""
        self.allow_mounts = True
        self.chunk_min_length = 0
        self.tokens: dict[str, str] = {}
        """Scopes by token."""
        self.lists_referrers = lists_referrers
        self._users = dict(users or {})
        self._scheme = scheme
        self._denied = frozenset(denied)
        self._lifetime_s = lifetime_s
        self._planned: list[_Planned] = []
        self._numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), Call)
        self._server.registry = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> FaultyRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    # What tests plan and see.

    def fault(
        self, method: str, *faults: Fault, path: str = "", always: Fault | None = None
    ) -> None:
        """Let the next requests of `method`, whose path matches the regular expression `path`,
        meet these faults, one each; every one after them meets `always`."""
        self._planned.append(_Planned(method, path, list(faults), always))

    def take(self, seen: Seen) -> Fault | None:
        for planned in self._planned:
            if planned.method == seen.method and re.search(planned.path, str(seen)):
                if planned.faults:
                    return planned.faults.pop(0)
                if planned.always is not None:
                    return planned.always
        return None

    def said(self, *, tokens: bool = False) -> list[str]:
        """Return the requests in order, sessions as `<n>`; those for tokens only if asked."""
        return [
            re.sub(r"uploads/session-(\d+)", r"uploads/<\1>", str(seen))
            for seen in self.requests
            if tokens or seen.path != "/token"
        ]

    def methods(self) -> list[str]:
        """Return the methods of the requests in order, those for tokens left out."""
        return [seen.method for seen in self.requests if seen.path != "/token"]

    def seen(self, method: str) -> list[Seen]:
        return [seen for seen in self.requests if seen.method == method]

    def put_blob(self, name: str, data: bytes) -> str:
        digest = _digest(data)
        self.content[name].blobs[digest] = data
        return digest

    def put_manifest(self, name: str, data: bytes, media_type: str, *tags: str) -> str:
        digest = _digest(data)
        self.content[name].manifests[digest] = (media_type, data)
        self.content[name].tags.update(dict.fromkeys(tags, digest))
        return digest

    def expire_tokens(self) -> None:
        with self.lock:
            self.tokens.clear()

    # What it does.

    def serve(self, call: Call) -> None:
        """Answer a request as the specification says."""
        if call.parts.path == "/token":
            self._serve_token(call)
            return
        match = _PATH.fullmatch(call.parts.path)
        name = match["name"] if match else ""
        if not self._is_allowed(call, name):
            return
        if match is None:
            call.receive()
            call.answer(200 if call.parts.path == "/v2/" else 404)
            return
        rest = match["rest"]
        if match["kind"] == "tags":
            self._serve_tags(call, name)
        elif match["kind"] == "referrers":
            self._serve_referrers(call, name, rest)
        elif match["kind"] == "manifests":
            self._serve_manifest(call, name, rest)
        elif not rest.startswith("uploads/"):
            self._serve_blob(call, name, rest)
        elif rest == "uploads/":
            self._begin(call, name)
        else:
            self._go_on(call, name, rest.removeprefix("uploads/"))

    def _is_allowed(self, call: Call, name: str) -> bool:
        if not self._users:
            return True
        action = "pull" if call.command in ("GET", "HEAD") else "push"
        scope = f"repository:{name}:{action}" if name else ""
        sent = call.headers.get("Authorization", "")
        kind, _, value = sent.partition(" ")
        if self._scheme == "Basic":
            challenge = 'Basic realm="registry"'
            is_known = kind == "Basic" and self._user(value) is not None
        else:
            challenge = f'Bearer realm="{self.url}/token",service="loopback"'
            challenge += f',scope="{scope}"' if scope else ""
            with self.lock:
                is_known = kind == "Bearer" and _covers(self.tokens.get(value), name, action)
        if not is_known:
            # Before the body: as real registries do.
            call.error(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})
            return False
        if name in self._denied:
            call.error(403, "DENIED", "requested access to the resource is denied")
            return False
        return True

    def _user(self, encoded: str) -> str | None:
        name, _, password = base64.b64decode(encoded).decode().partition(":")
        return name if self._users.get(name) == password else None

    def _serve_token(self, call: Call) -> None:
        form = parse_qs(call.receive().decode())
        query = parse_qs(call.parts.query)
        if call.command == "POST":
            user = form.get("username", [""])[0]
            is_known = bool(user) and self._users.get(user) == form.get("password", [""])[0]
            scopes = " ".join(form.get("scope", []))
        else:
            kind, _, value = call.headers.get("Authorization", "").partition(" ")
            is_known = kind == "Basic" and self._user(value) is not None
            scopes = " ".join(query.get("scope", []))
        if not is_known:
            call.error(401, "UNAUTHORIZED", "wrong user name or password")
            return
        token = f"token-{next(self._numbers)}"
        with self.lock:
            self.tokens[token] = scopes
        document = {"token": token, "access_token": token, "expires_in": self._lifetime_s}
        call.answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _serve_tags(self, call: Call, name: str) -> None:
        call.receive()
        if name not in self.content:
            call.error(404, "NAME_UNKNOWN")
            return
        tags = sorted(self.content[name].tags)
        tags = [tag for tag in tags if tag > call.query.get("last", "")]
        headers = {"Content-Type": "application/json"}
        size = int(call.query.get("n") or self.tag_page)
        if size and len(tags) > size:
            tags = tags[:size]
            query = urlencode({"last": tags[-1], "n": size})
            headers["Link"] = f'</v2/{name}/tags/list?{query}>; rel="next"'
        call.answer(200, headers, json.dumps({"name": name, "tags": tags}).encode())

    def _serve_manifest(self, call: Call, name: str, reference: str) -> None:
        body = call.receive()
        content = self.content[name]
        if call.command == "PUT":
            digest = _digest(body)
            media_type = call.headers.get("Content-Type", "")
            if reference.startswith("sha256:") and reference != digest:
                call.error(400, "DIGEST_INVALID")
                return
            if missing := self._missing(content, json.loads(body)):
                call.error(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {missing}")
                return
            with self.lock:
                content.manifests[digest] = (media_type, body)
                if not reference.startswith("sha256:"):
                    content.tags[reference] = digest
            headers = {
                "Location": f"/v2/{name}/manifests/{digest}",
                "Docker-Content-Digest": digest,
            }
            subject = json.loads(body).get("subject")
            if self.lists_referrers and subject:
                headers["OCI-Subject"] = subject["digest"]
            call.answer(201, headers)
            return
        digest = content.tags.get(reference, reference)
        if digest not in content.manifests:
            call.error(404, "MANIFEST_UNKNOWN", f"manifest unknown: {reference}")
            return
        media_type, data = content.manifests[digest]
        call.answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, data)

    @staticmethod
    def _missing(content: _Content, manifest: Mapping[str, object]) -> str:
        """Return the first of a manifest's parts that the repository does not have."""
        parts = [manifest.get("config"), *(manifest.get("layers") or ())]  # type: ignore[misc]
        for part in parts:
            if part and part["digest"] not in content.blobs:
                return str(part["digest"])
        for part in manifest.get("manifests") or ():  # type: ignore[attr-defined]
            if part["digest"] not in content.manifests:
                return str(part["digest"])
        return ""

    def _serve_referrers(self, call: Call, name: str, digest: str) -> None:
        """List what refers to a manifest, one on a page."""
        call.receive()
        if not self.lists_referrers:
            call.error(404, "NOT_FOUND", "page not found")
            return
        found = []
        for known, (media_type, data) in self.content[name].manifests.items():
            manifest = json.loads(data)
            if (manifest.get("subject") or {}).get("digest") == digest:
                found.append(
                    {
                        "mediaType": media_type,
                        "digest": known,
                        "size": len(data),
                        "artifactType": manifest.get("artifactType", ""),
                        "annotations": manifest.get("annotations", {}),
                    }
                )
        page = int(parse_qs(call.parts.query).get("page", ["0"])[0])
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        if page + 1 < len(found):
            headers["Link"] = f'<{call.parts.path}?page={page + 1}>; rel="next"'
        body = {"schemaVersion": 2, "manifests": found[page : page + 1]}
        call.answer(200, headers, json.dumps(body).encode())

    def _serve_blob(self, call: Call, name: str, digest: str) -> None:
        call.receive()
        data = self.content[name].blobs.get(digest)
        if data is None:
            call.error(404, "BLOB_UNKNOWN")
            return
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        code = 200
        if match := re.fullmatch(r"bytes=(\d+)-", call.headers.get("Range", "")):
            start = int(match[1])
            code = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data = data[start:]
        call.answer(code, headers, data)

    def _begin(self, call: Call, name: str) -> None:
        call.receive()
        digest, source = call.query.get("mount"), call.query.get("from")
        if digest and source and self.allow_mounts:
            data = self.content[source].blobs.get(digest) if source in self.content else None
            if data is not None:
                self.content[name].blobs[digest] = data
                headers = {"Docker-Content-Digest": digest}
                call.answer(201, {"Location": f"/v2/{name}/blobs/{digest}", **headers})
                return
        with self.lock:
            session = f"session-{next(self._numbers)}"
            self.sessions[session] = bytearray()
        call.answer(202, self._progress(name, session))

    def _go_on(self, call: Call, name: str, session: str) -> None:
        held = self.sessions.get(session)
        if held is None:
            call.receive()
            call.error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if call.command == "GET":
            call.answer(204, self._progress(name, session))
            return
        if call.command == "DELETE":
            del self.sessions[session]
            call.answer(204)
            return
        start = call.headers.get("Content-Range", "").partition("-")[0]
        if start and int(start) != len(held):
            call.receive()
            call.answer(416, self._progress(name, session))
            return
        while piece := call.receive(64 * 1024):
            # What arrives before a connection breaks is kept, as registries do.
            held += piece
        if call.left:
            return
        if call.keep is not None:
            del held[call.keep :]
        if call.command == "PATCH":
            call.answer(202, self._progress(name, session))
            return
        digest = call.query.get("digest", "")
        if _digest(bytes(held)) != digest:
            call.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            return
        del self.sessions[session]
        self.content[name].blobs[digest] = bytes(held)
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        call.answer(201, headers)

    def _progress(self, name: str, session: str) -> dict[str, str]:
        headers = {
            "Location": self.location(f"/v2/{name}/blobs/uploads/{session}"),
            "Range": f"0-{max(len(self.sessions[session]) - 1, 0)}",
        }
        if self.chunk_min_length:
            headers["OCI-Chunk-Min-Length"] = str(self.chunk_min_length)
        return headers


def _covers(scopes: str | None, name: str, action: str) -> bool:
    for scope in (scopes or "").split():
        kind, _, rest = scope.partition(":")
        resource, _, actions = rest.rpartition(":")
        if kind == "repository" and resource == name and action in actions.split(","):
            return True
    return scopes is not None and not name


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
