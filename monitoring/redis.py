"""A Redis PING with one deadline for all of it (RESP2, which every version speaks)."""

from __future__ import annotations

from monitoring.addresses import RedisAddress
from monitoring.connect import Deadline, connect
from monitoring.fetch import FetchError, why

_LONGEST_REPLY = 512

# The first word of an error is part of the protocol; the rest is the server's own,
# and may repeat what it was sent, a password included.
_MEANINGS = {
    "NOAUTH": "it wants a password; give one in REDIS_URL",
    "WRONGPASS": "it refused the user and password of REDIS_URL",
    "NOPERM": "the user of REDIS_URL may not PING",
    "LOADING": "it is loading its data",
    "MASTERDOWN": "its master is down",
    "MISCONF": "it cannot save to disk",
    "BUSY": "it is busy with a script",
}


def ping(address: RedisAddress, deadline_s: float) -> None:
    """Return if Redis answers PONG; else FetchError, with nothing that the server sent."""
    try:
        deadline = Deadline(deadline_s)
        with (
            connect(address.host, address.port, deadline, tls=address.tls) as sock,
            sock.makefile("rb") as replies,
        ):
            commands = [(b"PING",)]
            if address.password is not None:
                user = (address.user.encode(),) if address.user else ()
                commands.insert(0, (b"AUTH", *user, address.password.reveal().encode()))
            for command in commands:
                sock.sendall(_encode(command))
                _expect(replies.readline(_LONGEST_REPLY), b"+PONG" if len(command) == 1 else b"+OK")
    except TimeoutError:
        raise FetchError(f"no answer within {deadline_s:g} s") from None
    except OSError as error:
        raise FetchError(why(error)) from error


def _encode(command: tuple[bytes, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in command]
    return b"".join(parts)


def _expect(line: bytes, wanted: bytes) -> None:
    if line == wanted + b"\r\n":
        return
    if not line.startswith(b"-") or not line.endswith(b"\r\n"):
        raise FetchError("no Redis answer" if line else "closed the connection")
    words = line[1:].split()
    word = words[0].decode("ascii", "replace") if words else ""
    # Redis before 6 had no word of its own for a wrong password.
    if wanted == b"+OK" and word == "ERR":
        word = "WRONGPASS"
    raise FetchError(_MEANINGS.get(word, "answered with an error"))
