"""Connections as the user's machine is set up for them: certificates, proxies, and what failed.

Proxies come from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`; certificates from
the system and from the bundles that the usual variables name.  Everything that speaks HTTP
takes its connections from here, so that one setting holds everywhere.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pipeline.errors import OptionInvalid

if TYPE_CHECKING:
    import ssl

    from urllib3 import PoolManager

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no answer, in words for a person."""

    reason: str
    connected: bool = True
    """Whether there was a connection at all."""
    final: bool = False
    """Whether another try would fail in the same way."""


def proxy_for(url: str) -> str:
    """Return the proxy that requests to `url` go through, or an empty string.

    What is on this machine is nobody else's to see, whatever the environment says.
    """
    from urllib.request import getproxies, proxy_bypass

    if _is_here(server_of(url)) or proxy_bypass(server_of(url)):
        return ""
    proxies = getproxies()
    scheme = url.partition("://")[0].lower()
    return proxies.get(scheme, proxies.get("all", ""))


def _is_here(server: str) -> bool:
    """Whether `host[:port]` is this machine, by its name or its loopback address."""
    host = server[1:].partition("]")[0] if server.startswith("[") else server.partition(":")[0]
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_pool(scheme: str, proxy: str = "") -> PoolManager:
    """Return connections for URLs of `scheme`, direct or through `proxy`.

    Raises `OptionInvalid` for a proxy or a bundle of certificates that cannot be used.
    """
    from urllib3 import PoolManager, ProxyManager
    from urllib3.util import make_headers

    secure = scheme == "https" or proxy.startswith("https:")
    context = tls_context() if secure else None
    if not proxy:
        return PoolManager(num_pools=16, maxsize=16, ssl_context=context)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise OptionInvalid(
            f"proxy '{without_credentials(proxy)}' cannot be used",
            hint="set http_proxy and https_proxy to an http:// or https:// proxy",
        )
    credentials = credentials_in(proxy)
    return ProxyManager(
        without_credentials(proxy),
        num_pools=16,
        maxsize=16,
        ssl_context=context,
        proxy_ssl_context=context,
        proxy_headers=(make_headers(proxy_basic_auth=credentials) if credentials else None),
    )


def tls_context() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and those the user adds."""
    import ssl

    context = ssl.create_default_context()
    for variable in CERTIFICATE_VARIABLES:
        bundle = os.environ.get(variable)
        if not bundle:
            continue
        try:
            if Path(bundle).is_dir():
                context.load_verify_locations(capath=bundle)
            else:
                context.load_verify_locations(cafile=bundle)
        except OSError as error:
            raise OptionInvalid(
                f"{variable} names certificates that cannot be read: '{bundle}': {error}",
                hint=f"correct or unset {variable}",
            ) from None
    return context


def failure_of(error: Exception) -> Failure | None:
    """Return what an exception of urllib3, or of what is below it, means; None for others."""
    import http.client
    import ssl

    from urllib3 import exceptions

    cause: BaseException | None = error
    if isinstance(cause, exceptions.MaxRetryError):
        cause = cause.reason
    if isinstance(cause, exceptions.ProxyError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, (exceptions.SSLError, ssl.SSLError)):
        return Failure(f"TLS: {one_line(cause)}", final=_is_verdict(cause))
    if isinstance(cause, exceptions.ResponseError):
        return Failure(one_line(cause), final=True)
    if isinstance(cause, exceptions.NameResolutionError):
        return Failure("the host name does not resolve", connected=False)
    if isinstance(cause, exceptions.NewConnectionError):
        below = cause.__cause__
        text = below.strerror if isinstance(below, OSError) and below.strerror else "no answer"
        return Failure(text, connected=False)
    if isinstance(cause, exceptions.ConnectTimeoutError):
        return Failure("no connection in time", connected=False)
    if isinstance(cause, (exceptions.LocationValueError, http.client.InvalidURL)):
        return Failure(f"not a URL that can be fetched: {one_line(cause)}", final=True)
    if isinstance(cause, exceptions.ProtocolError) and isinstance(
        cause.args[-1], (http.client.RemoteDisconnected, ConnectionError)
    ):
        below = cause.args[-1]
        text = below.strerror if isinstance(below, OSError) and below.strerror else ""
        return Failure(text or "the connection was closed early")
    if isinstance(error, (exceptions.HTTPError, http.client.HTTPException, OSError)):
        return Failure(one_line(cause))
    return None


def server_of(url: str) -> str:
    """Return `host:port` as a URL has it; empty for a local path."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def without_credentials(url: str) -> str:
    """Return the URL without `user:password@`."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def credentials_in(url: str) -> str:
    """Return `user:password` as a URL carries it, decoded, or an empty string."""
    return unquote(url.partition("://")[2].partition("/")[0].rpartition("@")[0])


def one_line(error: BaseException | None) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _is_verdict(error: BaseException) -> bool:
    """Whether TLS failed because of what the server is, not because a connection broke."""
    import ssl

    broken = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return not any(isinstance(cause, broken) for cause in (error, *error.args))
