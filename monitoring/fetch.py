"""One HTTP GET with one deadline for all of it."""

from __future__ import annotations

import http.client
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_BODY_BYTES = 64 * 1024


class FetchError(Exception):
    """There was no HTTP answer in time; says why, and nothing that the server sent."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and the first MAX_BODY_BYTES of the body."""

    status: int
    body: bytes


def fetch(url: str, deadline_s: float) -> HttpAnswer:
    """GET an http:// address; FetchError if the answer is not here after `deadline_s`.

    No proxy, no redirect. A server that drips gains nothing: http.client's own
    timeout starts again with each byte, this one does not. The one thing
    without a deadline is the resolver, which the C library does not let go of.
    """
    end_s = time.monotonic() + deadline_s
    parts = urlsplit(url)
    assert parts.scheme == "http"
    assert parts.hostname is not None
    host, port = parts.hostname, parts.port or 80
    connection = http.client.HTTPConnection(host, port)
    headers = {"User-Agent": "accelerapp-monitor", "Accept": "*/*", "Connection": "close"}
    try:
        connection.sock = _connect(host, port, end_s)
        connection.request("GET", parts.path or "/", headers=headers)
        with connection.getresponse() as response:
            return HttpAnswer(response.status, response.read(MAX_BODY_BYTES))
    except TimeoutError:
        raise FetchError(f"no answer within {deadline_s:g} s") from None
    except OSError as error:
        raise FetchError(error.strerror or str(error) or type(error).__name__) from error
    except (http.client.HTTPException, ValueError) as error:
        raise FetchError("no HTTP answer") from error
    finally:
        connection.close()


class _Socket(socket.socket):
    """Reads until `end_s` and no longer, however many reads it takes."""

    end_s: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s(self.end_s))
        return super().recv_into(*args, **kwargs)


def _left_s(end_s: float) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _connect(host: str, port: int, end_s: float) -> socket.socket:
    """The first of the host's addresses that accepts, as socket.create_connection() would."""
    refusal: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        left_s = _left_s(end_s)
        try:
            attempt = _Socket(family, kind, protocol)
        except OSError as error:
            # A family that this machine lacks: the next address may be of another.
            refusal = error
            continue
        attempt.end_s = end_s
        try:
            attempt.settimeout(left_s)
            attempt.connect(address)
            # sendall() counts its timeout in all; the request is its only user.
            attempt.settimeout(_left_s(end_s))
            return attempt
        except OSError as error:
            attempt.close()
            refusal = error
    raise refusal
