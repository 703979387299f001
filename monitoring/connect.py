"""A TCP or TLS connection with one deadline for all of its life."""

from __future__ import annotations

import socket
import time
from typing import Any


class Deadline:
    """A moment by the monotonic clock; asked after it, it raises TimeoutError."""

    __slots__ = ("_end_s",)

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds

    def left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def connect(host: str, port: int, deadline: Deadline, *, tls: bool = False) -> socket.socket:
    """The first of the host's addresses that accepts, as socket.create_connection() would.

    With `tls` the certificate is checked against the machine's (SSL_CERT_FILE is
    honoured). Raises OSError; TimeoutError when the deadline is over. The one
    thing without a deadline is the resolver, which the C library does not let go of.
    """
    sock = _connect(host, port, deadline)
    if not tls:
        return sock
    try:
        return _secured(sock, host, deadline)
    except BaseException:
        # Once it is wrapped there is nothing left of it to close.
        sock.close()
        raise


class _Socket(socket.socket):
    """Reads until the deadline and no longer, however many reads it takes.

    A timeout of the socket's own starts again with each byte: a server that
    drips would never end.
    """

    deadline: Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.left_s())
        return super().recv_into(*args, **kwargs)


def _connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    refusal: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        deadline.left_s()
        try:
            attempt = _Socket(family, kind, protocol)
        except OSError as error:
            # A family that this machine lacks: the next address may be of another.
            refusal = error
            continue
        attempt.deadline = deadline
        try:
            attempt.settimeout(deadline.left_s())
            attempt.connect(address)
            # sendall() counts its timeout in all; the request is its only user.
            attempt.settimeout(deadline.left_s())
            return attempt
        except OSError as error:
            attempt.close()
            refusal = error
    raise refusal


def _secured(sock: socket.socket, host: str, deadline: Deadline) -> socket.socket:
    # Not at the top: it costs a tenth of the start, and few have TLS here.
    import ssl

    class _TlsSocket(ssl.SSLSocket):
        deadline: Deadline

        def recv_into(self, *args: Any, **kwargs: Any) -> int:
            self.settimeout(self.deadline.left_s())
            return super().recv_into(*args, **kwargs)

    context = ssl.create_default_context()
    context.sslsocket_class = _TlsSocket
    secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    assert isinstance(secured, _TlsSocket)
    secured.deadline = deadline
    try:
        # For all of the handshake, however many small reads it takes.
        secured.settimeout(deadline.left_s())
        secured.do_handshake()
        secured.settimeout(deadline.left_s())
    except BaseException:
        secured.close()
        raise
    return secured
