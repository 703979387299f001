"""Addresses of Ollama and Redis, in the forms that their own programs take."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit


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


def ollama_url(text: str) -> str:
    """The address behind OLLAMA_HOST without a slash at its end; ValueError if it is none.

    As Ollama's own programs read it: `ollama`, `:11434`, `[::1]:11434`,
    `https://example.org/ollama`. Port 11434 without a scheme, else the scheme's own;
    an address to listen on, `0.0.0.0` or `::`, means this machine. The monitor reads it
    alike, which a test holds: the two are images of their own and share no module.
    """
    text = text.strip().strip("\"'")
    if not re.fullmatch(r"[!-~]*", text) or any(character in text for character in "@?#\\"):
        raise ValueError
    if "://" not in text:
        if re.fullmatch(r"[0-9A-Fa-f.]*(:[0-9A-Fa-f.]*){2,}", text.partition("/")[0]):
            host, slash, path = text.partition("/")
            text = f"[{host}]{slash}{path}"
        text, default_port = f"http://{text}", 11434
    else:
        default_port = 443 if text.lower().startswith("https://") else 80
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError
    host = parts.hostname or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    _check_host(host)
    port = default_port if parts.port is None else parts.port
    if port == 0:
        raise ValueError
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}{parts.path}".rstrip("/")


def redis_url(text: str) -> Secret:
    """`redis://` or `rediss://` as redis-py takes it; ValueError for all else.

    A secret, because it may hold a password.
    """
    text = text.strip()
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss") or not re.fullmatch(r"/?[0-9]{0,4}/?", parts.path):
        raise ValueError
    _check_host(parts.hostname or "localhost")
    if parts.port == 0:
        raise ValueError
    return Secret(text)


def _check_host(host: str) -> None:
    if ":" in host:
        ip_address(host.partition("%")[0])
    elif not re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?", host):
        raise ValueError
