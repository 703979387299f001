"""Addresses of what is watched, in all the forms that their own programs take."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

OLLAMA_PORT = 11434
REDIS_PORT = 6379


class Secret:
    """A text that no output shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is. `password` is None where there is none; `user` may be empty."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: Secret | None = field(default=None)

    @property
    def shown(self) -> str:
        """The address for people: whether there is a password, not which."""
        login = f"{self.user}:***@" if self.password is not None else ""
        return f"{'rediss' if self.tls else 'redis'}://{login}{join(self.host, self.port)}"


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def http_url(text: str) -> str:
    """`text` without slashes at its end; ValueError unless it is an http(s) address.

    No user and password: /status and messages show the address.
    """
    # urlsplit() drops line feeds and tabs, so what it may see is settled first.
    if not re.fullmatch(r"[!-~]+", text) or any(character in text for character in "@?#\\"):
        raise ValueError
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or parts.port == 0:
        raise ValueError
    _check_host(parts.hostname or "")
    return text.rstrip("/")


def ollama_url(text: str) -> str:
    """The address behind OLLAMA_HOST, as Ollama's own programs read it; ValueError if none is.

    A host, a port or both, with or without scheme and path: `ollama`, `:11434`,
    `[::1]:11434`, `https://example.org/ollama`. Port 11434 without a scheme, else the
    scheme's own. An address to listen on, `0.0.0.0` or `::`, means this machine.
    """
    text = text.strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        raise ValueError
    default_port = OLLAMA_PORT if not separator else 443 if scheme == "https" else 80
    rest, _, path = rest.partition("/")
    if re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", rest):
        host, port = rest, ""  # IPv6 without brackets: all of it is the host
    elif found := re.fullmatch(r"(\[[^\]]*\]|[^\[\]:]*)(?::([0-9]*))?", rest):
        host, port = found[1].strip("[]"), found[2] or ""
    else:
        raise ValueError
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    # Whether there is such a port, the next one says.
    number = int(port) if port else default_port
    return http_url(f"{scheme}://{join(host, number)}/{path}")


def redis_address(text: str) -> RedisAddress:
    """`redis://` or `rediss://`, as redis-py and redis-cli take it; ValueError for all else.

    `redis://:password@host`, `redis://user:password@host:port/0`. The number of the
    database does not matter to a PING.
    """
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss") or not re.fullmatch(r"/?[0-9]*/?", parts.path):
        raise ValueError
    host = parts.hostname or "localhost"
    _check_host(host)
    port = parts.port if parts.port is not None else REDIS_PORT
    if port == 0:
        raise ValueError
    password = Secret(unquote(parts.password)) if parts.password else None
    return RedisAddress(
        host, port, parts.scheme == "rediss", unquote(parts.username or ""), password
    )


def _check_host(host: str) -> None:
    if ":" in host:
        ip_address(host.partition("%")[0])
    elif not re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?", host):
        raise ValueError
