"""Requests to registries: kept connections, deadlines, tries again, redirects that are checked.

Nothing here knows what a registry is for or how it is convinced: a request goes out, with
the `Authorization` it was given and to the registry alone; an answer comes back.  Redirects
are followed by hand (RFC 9110, 15.4), because a registry may send requests anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin

from pipeline.errors import RedirectUnsafe, RegistryRefused, RegistryUnavailable, ToolMissing
from pipeline.net import CERTIFICATE_VARIABLES, failure_of, open_pool, proxy_for
from pipeline.oci.registry.addresses import is_public, resolve
from pipeline.oci.registry.credentials import masked
from pipeline.oci.registry.reference import host_of, is_loopback

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

USER_AGENT = "accelerapp"
PIECE_BYTES = 128 * 1024
"""How much of a body is in memory at a time."""
SMALL_BYTES = 64 * 1024
"""How much of an answer is read when nothing larger is asked for: enough for any error."""

_REDIRECTS = 8
_SHOWN_CHARACTERS = 200
_PASSING = frozenset({408, 429, 499, 500, 502, 503, 504, 522})
"""Answers that may be others a moment later."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try again."""

    attempts: int = 6
    """Tries of a request whose server answers and fails, or hangs up."""
    connect_attempts: int = 3
    """Tries of a request whose server cannot be reached at all."""
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 120.0
    """The longest silence; a registry may need a while to put a large blob away."""
    question_timeout_s: float = 30.0
    """The longest silence after a question (HEAD, GET), which costs a registry little."""
    backoff_s: float = 0.5
    """Pause before the second try; it doubles each time, up to `backoff_limit_s`."""
    backoff_limit_s: float = 10.0
    retry_after_limit_s: float = 60.0
    """The longest that a server's Retry-After is obeyed (RFC 9110, 10.2.3)."""
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries. `pieces` is called once for each time it is sent."""

    size_bytes: int
    pieces: Callable[[], Iterable[bytes]]
    content_type: str = "application/octet-stream"

    @classmethod
    def of(cls, data: bytes, content_type: str) -> Body:
        """Return a body that is in memory."""
        return cls(len(data), lambda: (data,), content_type)


class Interrupted(Exception):
    """A request that may succeed if it is tried again."""

    def __init__(
        self, reason: str, *, wait_s: float = 0.0, connected: bool = True, final: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        """The least pause that the server asks for."""
        self.connected = connected
        self.final = final
        """Whether it may succeed after all only if something changes: a certificate, say."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL, taken apart once: what is checked is what is connected to."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without brackets."""
    port: int
    target: str = field(repr=False)
    """Path and query; the query may be a secret."""

    @classmethod
    def parse(cls, url: str) -> Place:
        """Return the place that an http(s) URL names; raises `ValueError`."""
        from urllib3.exceptions import LocationParseError
        from urllib3.util import parse_url

        try:
            parsed = parse_url(url)
        except LocationParseError:
            raise ValueError("not a URL") from None
        scheme = parsed.scheme or ""
        if scheme not in _PORTS:
            raise ValueError("neither http nor https")
        if not parsed.host or parsed.auth is not None:
            raise ValueError("no host, or a user name before it")
        port = _PORTS[scheme] if parsed.port is None else parsed.port
        return cls(scheme, parsed.host.strip("[]").lower(), port, parsed.request_uri)

    @property
    def authority(self) -> str:
        """`host` or `host:port`, as a Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL. Its query may be a secret: it is for requests, not for messages."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        """Return the URL without its query, for messages."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def is_beside(self, other: Place) -> bool:
        """Whether both are served by the same host and port."""
        return (self.host, self.port) == (other.host, other.port)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and what it is for."""

    method: str
    url: str = field(repr=False)
    what: str
    """What is being done, for messages: `uploading sha256:… to ghcr.io/owner/name`."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body | None = None
    authorization: str | None = field(default=None, repr=False)
    """Sent to `home` only."""
    home: str = field(default="", repr=False)
    """The registry's URL, where `url` is one that the registry named; else `url` itself."""
    follow: bool = True
    """Whether redirects are followed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body has been read."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Names in any case; see `all_headers` for those that come several times."""
    body: bytes
    is_whole: bool
    """Whether `body` is all there was."""
    place: Place
    """Who answered, after redirects."""
    is_home: bool
    """Whether that is the registry, asked without detours."""
    challenges: tuple[str, ...] = ()
    """The values of WWW-Authenticate."""
    authorization: str = field(default="", repr=False)
    """What the request carried, which nobody is to read in the answer."""

    @property
    def title(self) -> str:
        """The status as people read it: `HTTP 404 Not Found`."""
        return f"HTTP {self.status} {_clean(self.reason)}".strip()


class Reply:
    """An answer whose body is still on its way."""

    def __init__(
        self, response: BaseHTTPResponse, place: Place, is_home: bool, authorization: str
    ) -> None:
        self._response = response
        self._authorization = authorization
        self._place = place
        self._is_home = is_home
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.has_declared_end = "content-length" in response.headers or response.chunked
        """Whether a body that was cut off can be told from a whole one."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; raises `Interrupted` when it ends early."""
        chunks = self._response.stream(PIECE_BYTES, decode_content=False)
        while True:
            with _interruptions():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def read(self, limit_bytes: int = SMALL_BYTES) -> Answer:
        """Return the answer with at most `limit_bytes` of its body."""
        body = bytearray()
        is_whole = True
        try:
            for piece in self.pieces():
                body += piece
                if len(body) > limit_bytes:
                    is_whole = False
                    self._response.close()
                    break
        except Interrupted:
            if self.status < 300:
                raise
            is_whole = False  # What an error says is welcome, not needed.
        return Answer(
            self.status,
            self._response.reason or "",
            self.headers,
            bytes(body[:limit_bytes]),
            is_whole,
            self._place,
            self._is_home,
            tuple(self._response.headers.getlist("www-authenticate")),
            self._authorization,
        )


class Tries:
    """How often something has failed, and when to stop."""

    def __init__(self, patience: Patience, server: str, what: str) -> None:
        self._patience = patience
        self._server = server
        self._what = what
        self._failures = 0

    def failed(self, interruption: Interrupted) -> None:
        """Wait before the next try; raises `RegistryUnavailable` when there is to be none."""
        patience = self._patience
        self._failures += 1
        connected = interruption.connected and not interruption.final
        limit = patience.attempts if connected else patience.connect_attempts
        if interruption.final or self._failures >= limit:
            times = "once" if self._failures == 1 else f"{self._failures} times"
            problem = "keeps failing" if connected else "is out of reach"
            hint = "try again later" if connected else "check its name, the network and the proxy"
            if interruption.final:
                hint = f"name the registry's certificate authority with {CERTIFICATE_VARIABLES[0]}"
            raise RegistryUnavailable(
                f"{self._server} {problem} ({self._what}): {interruption}, tried {times}",
                hint=hint,
            ) from None
        backoff_s = min(patience.backoff_s * 2 ** (self._failures - 1), patience.backoff_limit_s)
        patience.sleep(max(backoff_s * random.uniform(0.5, 1.0), interruption.wait_s))  # noqa: S311


class Http:
    """The connections to any number of registries. Thread-safe."""

    def __init__(self, patience: Patience = PATIENCE) -> None:
        """Open nothing yet; raises `ToolMissing` without urllib3."""
        try:
            import urllib3  # noqa: F401
        except ImportError:
            raise ToolMissing(
                "registries need the Python package urllib3",
                hint="pip install -r requirements/dev.txt",
            ) from None
        self.patience = patience
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], PoolManager] = {}

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def tries(self, request: Request) -> Tries:
        """Return a count of failures for what `request` is part of."""
        return Tries(self.patience, _home_of(request).authority, request.what)

    def ask(self, request: Request, *, limit_bytes: int = SMALL_BYTES) -> Answer:
        """Return the answer to a request that may be repeated, with that much of its body.

        Raises `RegistryUnavailable` when there is none after several tries, `RegistryRefused`
        and `RedirectUnsafe` for redirects that cannot, or must not, be followed.
        """
        tries = self.tries(request)
        while True:
            try:
                return self.ask_once(request, limit_bytes=limit_bytes)
            except Interrupted as interruption:
                tries.failed(interruption)

    def ask_once(self, request: Request, *, limit_bytes: int = SMALL_BYTES) -> Answer:
        """Return the answer to a request; raises `Interrupted` when it is worth another try."""
        with self.open(request) as reply:
            return reply.read(limit_bytes)

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[Reply]:
        """Give the answer, body unread; raises `Interrupted` when it is worth another try."""
        response, place, is_home = self._follow(request)
        try:
            reply = Reply(response, place, is_home, request.authorization or "")
            if response.status in _PASSING:
                answer = reply.read()
                raise Interrupted(described(answer, request), wait_s=self._retry_after_s(response))
            yield reply
            response.release_conn()
        finally:
            # Unread bytes make a connection unfit for another request; a read one is released.
            response.close()

    def _follow(self, request: Request) -> tuple[BaseHTTPResponse, Place, bool]:
        home = _home_of(request)
        try:
            place = Place.parse(request.url)
        except ValueError as error:
            raise _unusable(home, "an address", request.url, error) from None
        method, body = request.method, request.body
        is_home, is_secure = True, home.scheme == "https"
        for _ in range(_REDIRECTS + 1):
            is_home = is_home and place.is_beside(home) and place.scheme == home.scheme
            if is_secure and place.scheme == "http":
                raise RedirectUnsafe(
                    f"{home.authority} sends a request from https to plain http: {place} "
                    f"({request.what})",
                    hint="ask whoever runs the registry; nothing was sent there",
                )
            is_secure = is_secure or place.scheme == "https"
            addresses = None if is_home else self._admitted(place, home, method, request.what)
            headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
            if is_home and request.authorization is not None:
                headers["Authorization"] = request.authorization
            if body is not None:
                headers["Content-Type"] = body.content_type
                headers["Content-Length"] = str(body.size_bytes)
            response = self._connected(method, place, headers, body, addresses)
            location = response.headers.get("location", "")
            if not (request.follow and location and response.status in (301, 302, 303, 307, 308)):
                return response, place, is_home
            status = response.status
            response.drain_conn() if _is_short(response) else response.close()
            if status == 303 and method != "HEAD":
                method, body = "GET", None
            try:
                place = Place.parse(urljoin(place.url, location))
            except ValueError as error:
                raise _unusable(home, "a redirect", location, error) from None
        raise RegistryRefused(
            f"{home.authority} redirects more than {_REDIRECTS} times ({request.what})",
            hint="ask whoever runs the registry",
        )

    def _admitted(self, place: Place, home: Place, method: str, what: str) -> Sequence[str]:
        """Return the addresses to connect to, of a place that a registry named.

        Uploads go to public addresses and to the registry's own. What is read may come from
        a private one when the registry itself is private.
        """
        addresses = resolve(place.host)
        hidden = [address for address in addresses if not is_public(address)]
        if is_loopback(place.host) and not addresses:
            hidden = [place.host]
        if hidden:
            own = resolve(home.host)
            if method in ("GET", "HEAD"):
                is_fit = bool(own) and not all(is_public(address) for address in own)
            else:
                is_fit = set(hidden) <= set(own)
            if not is_fit:
                raise RedirectUnsafe(
                    f"{home.authority} sends a request to a private address, {place} ({what})",
                    hint="ask whoever runs the registry; nothing was sent there",
                )
        return addresses

    def _connected(
        self,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        body: Body | None,
        addresses: Sequence[str] | None,
    ) -> BaseHTTPResponse:
        """Send a request; to one of `addresses`, where any are given, whatever names say now."""
        proxy = proxy_for(place.url)
        if proxy or addresses is None:
            return self._sent(method, place, headers, body, proxy)
        if not addresses:
            raise Interrupted("the host name does not resolve", connected=False)
        for address in addresses[:-1]:
            try:
                return self._sent(method, place, headers, body, "", address)
            except Interrupted as interruption:
                if interruption.connected:
                    raise
        return self._sent(method, place, headers, body, "", addresses[-1])

    def _sent(
        self,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        body: Body | None,
        proxy: str,
        address: str = "",
    ) -> BaseHTTPResponse:
        manager = self._pool(place.scheme, proxy)
        from urllib3 import Timeout

        patience = self.patience
        read_s = patience.read_timeout_s
        if method in ("HEAD", "GET"):
            read_s = min(read_s, patience.question_timeout_s)
        # urllib3 lets a connection's first deadline hold while a body is sent as well.
        connect_s = patience.connect_timeout_s if body is None else patience.read_timeout_s
        options: dict[str, Any] = {
            "body": None if body is None else iter(body.pieces()),
            "retries": False,
            "redirect": False,
            "preload_content": False,
            "decode_content": False,
            "timeout": Timeout(connect=connect_s, read=read_s),
        }
        with _interruptions():
            if proxy:
                return manager.urlopen(method, place.url, headers=dict(headers), **options)
            naming = {"server_hostname": place.host} if address and place.scheme == "https" else {}
            pool = manager.connection_from_host(
                address or place.host, place.port, place.scheme, pool_kwargs=naming
            )
            return pool.urlopen(
                method, place.target, headers={"Host": place.authority, **headers}, **options
            )

    def _pool(self, scheme: str, proxy: str) -> PoolManager:
        with self._lock:
            pool = self._pools.get((scheme, proxy))
            if pool is None:
                pool = self._pools[scheme, proxy] = open_pool(scheme, proxy)
            return pool

    def _retry_after_s(self, response: BaseHTTPResponse) -> float:
        from urllib3 import Retry
        from urllib3.exceptions import InvalidHeader

        try:
            wait_s = Retry().get_retry_after(response) or 0.0
        except (InvalidHeader, ValueError, OverflowError):
            return 0.0
        return min(max(wait_s, 0.0), self.patience.retry_after_limit_s)


def base_url(registry: str, *, plain_http: bool = False) -> str:
    """Return where a registry (`host[:port]`) is spoken to: plainly on loopback, else by https."""
    scheme = "http" if plain_http or is_loopback(host_of(registry)) else "https"
    return f"{scheme}://{registry}"


def described(answer: Answer, request: Request) -> str:
    """Return what an answer that is an error says, in one line and without secrets.

    Registries answer with `{"errors": [{"code": …, "message": …}]}` (distribution
    specification, "Error codes"); what stands before them, with anything.
    """
    secrets = _secrets_of(answer, request)
    said, title = _said(answer, secrets), masked(answer.title, secrets)
    return f"{title}: {said}" if said else title


def _secrets_of(answer: Answer, request: Request) -> list[str]:
    """Return what an answer must not repeat: tokens, passwords, and how they were sent."""
    secrets = []
    for authorization in (
        answer.authorization,
        request.authorization or "",
        request.headers.get("Authorization", ""),
    ):
        scheme, _, value = authorization.partition(" ")
        secrets.append(value)
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                pair = base64.b64decode(value).decode()
                secrets += [pair, pair.partition(":")[2]]
    if request.body is not None and "form" in request.body.content_type:
        form = parse_qs(b"".join(request.body.pieces()).decode("utf-8", "replace"))
        secrets += [*form.get("password", ()), *form.get("refresh_token", ())]
    return secrets


def _said(answer: Answer, secrets: Sequence[str]) -> str:
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(answer.body)
        errors = document.get("errors") if isinstance(document, dict) else None
        if isinstance(errors, list):
            told = [_told(error) for error in errors[:3] if isinstance(error, dict)]
            return _clean(masked("; ".join(text for text in told if text), secrets))
    if "text/plain" in answer.headers.get("content-type", ""):
        return _clean(masked(answer.body.decode("utf-8", "replace"), secrets))
    return ""


def _told(error: Mapping[str, Any]) -> str:
    parts = (error.get("code"), error.get("message"))
    return ": ".join(part for part in parts if isinstance(part, str) and part)


def _clean(text: str) -> str:
    """Return what others wrote as part of one line: no controls, no queries, not too long."""
    text = "".join(character if character.isprintable() else " " for character in text[:4096])
    text = " ".join(text.split())
    text = re.sub(r"(?i)(https?://)[^\s/@\"']*@", r"\1", text)
    text = re.sub(r"(?i)(https?://[^\s?#\"']*)[?#][^\s\"']*", r"\1", text)
    text = re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}", r"\1 ***", text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _home_of(request: Request) -> Place:
    url = request.home or request.url
    try:
        return Place.parse(url)
    except ValueError as error:
        raise RegistryRefused(
            f"'{_clean(url)}' is not a registry's address: {error}",
            hint="it is a host, or a host and a port, such as 127.0.0.1:5000",
        ) from None


def _unusable(home: Place, kind: str, url: str, error: ValueError) -> Exception:
    shown = _clean(url.partition("?")[0])
    return RedirectUnsafe(
        f"{home.authority} answered with {kind} that cannot be used, '{shown}': {error}",
        hint="ask whoever runs the registry; nothing was sent there",
    )


def _is_short(response: BaseHTTPResponse) -> bool:
    """Whether it is cheaper to read what is left of an answer than to connect anew."""
    length = response.headers.get("content-length", "")
    return length.isdecimal() and int(length) <= SMALL_BYTES


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Translate what a connection raises into `Interrupted`."""
    try:
        yield
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        raise Interrupted(
            failure.reason, connected=failure.connected, final=failure.final
        ) from None
