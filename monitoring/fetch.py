"""One HTTP GET with one deadline for all of it."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

from monitoring.connect import Deadline, connect


class FetchError(Exception):
    """There was no answer in time; says why, and nothing that the server sent."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and the body, or as much of it as was asked for."""

    status: int
    body: bytes


def fetch(url: str, deadline_s: float, max_bytes: int = 64 * 1024) -> HttpAnswer:
    """GET an http:// or https:// address; FetchError if the answer is not here in time.

    No proxy, no redirect. A server that drips gains nothing: the deadline is one
    for all, from the first address tried to the last byte read.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    tls = parts.scheme == "https"
    host, port = parts.hostname, parts.port or (443 if tls else 80)
    # It has no say in TLS: the socket that it is given is secured already.
    connection = http.client.HTTPConnection(host, port)
    headers = {
        "Host": parts.netloc,
        "User-Agent": "accelerapp-monitor",
        "Accept": "*/*",
        "Connection": "close",
    }
    try:
        deadline = Deadline(deadline_s)
        connection.sock = connect(host, port, deadline, tls=tls)
        connection.request("GET", parts.path or "/", headers=headers)
        with connection.getresponse() as response:
            return HttpAnswer(response.status, response.read(max_bytes))
    except TimeoutError:
        raise FetchError(f"no answer within {deadline_s:g} s") from None
    except OSError as error:
        raise FetchError(why(error)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise FetchError("no HTTP answer") from error
    finally:
        connection.close()


def why(error: OSError) -> str:
    """The reason in words, without the numbers and addresses that Python adds."""
    if verify := getattr(error, "verify_message", ""):
        return f"its certificate is not trusted: {verify}"
    if reason := getattr(error, "reason", ""):
        return f"no TLS: {str(reason).replace('_', ' ').lower()}"
    return error.strerror or str(error) or type(error).__name__
