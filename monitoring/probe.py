"""Ask the monitor on this machine whether it lives: exit 0 if it does, else 1 and one line.

The container runs this file by its path with `python3 -I -S` every few seconds,
so it stands alone and imports only what is built into the interpreter.
"""

# The C module: socket.py costs more than the rest of the run.
import _socket
import os
import sys
import time

DEADLINE_S = 2.0
# Where the status code ends in "HTTP/1.1 200 OK".
STATUS_END = 12


def target(environ: "os._Environ[str] | dict[str, str]") -> "tuple[str, int]":
    """Host and port from MONITOR_HOST and MONITOR_PORT; ValueError for a bad port.

    As in settings.py: nothing counts as not set, and so does the URL that
    Kubernetes puts in MONITOR_PORT.
    """
    host = environ.get("MONITOR_HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = environ.get("MONITOR_PORT") or "8080"
    if port.startswith(("tcp://", "udp://", "sctp://")):
        port = "8080"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"MONITOR_PORT={port!r} is not a port")
    return host, int(port)


def status(host: str, port: int, deadline_s: float) -> int:
    """HTTP status of /livez; OSError or ValueError when there is none by `deadline_s`."""
    end_s = time.monotonic() + deadline_s
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(deadline_s)
        connection.connect((host, port))
        connection.sendall(b"GET /livez HTTP/1.0\r\nUser-Agent: accelerapp-monitor-probe\r\n\r\n")
        line = b""
        while missing := STATUS_END - len(line):
            # For what is left: a timeout for each byte would never end for a server that drips.
            connection.settimeout(max(end_s - time.monotonic(), 0.001))
            received = connection.recv(missing)
            if not received:
                break
            line += received
    finally:
        connection.close()
    if missing or not line.startswith(b"HTTP/1.") or not line[9:].isdigit():
        raise ValueError("no HTTP answer")
    return int(line[9:])


def main() -> int:
    where = "monitor"
    try:
        host, port = target(os.environ)
        where = f"{host} port {port}"
        code = status(host, port, DEADLINE_S)
    except (OSError, ValueError) as error:
        print(f"not live: {where}: {error}", file=sys.stderr)
        return 1
    if code != 200:
        print(f"not live: {where}: /livez answered {code}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
