"""Which addresses a registry may send requests to, and whose they are.

A registry's answers name other places (redirects, upload locations).  A public one has no
business naming what only this machine, or its network, can reach.
"""

from __future__ import annotations

import ipaddress
import socket

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str) -> tuple[str, ...]:
    """Return the addresses of a host, itself if it is one; none when they are not known."""
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[4][0]) for address in found))


def is_public(address: str) -> bool:
    """Whether anyone can reach the address: not private, loopback, link-local or shared.

    An IPv6 address that only wraps an IPv4 address (RFC 4291, 3056, 6052) is judged by that.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast
