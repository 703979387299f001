"""Who has a port of this machine: a container, a process, or somebody who cannot be seen."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import PortTaken
from pipeline.process import Runner


class Published(NamedTuple):
    """An address of this machine, and the variable that changes its port."""

    address: str
    port: int
    variable: str


def check_free(wanted: Sequence[Published], runner: Runner, project: str) -> None:
    """Raise PortTaken, naming the owner, for the first port that is not free.

    What the containers of `project` have is theirs: the stack may be running.
    """
    for place in wanted:
        if _free(place):
            continue
        container = _container(place.port, runner)
        if container is not None and container[1] == project:
            continue
        owner = f"container {container[0]}" if container else _process(place.port)
        raise PortTaken(
            f"port {place.port} on {place.address} is taken by {owner}",
            hint=f"stop that, or set {place.variable}, such as {place.variable}={place.port + 10}",
        )


def _free(place: Published) -> bool:
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((place.address, place.port))
        except OSError as error:
            # Whatever else is wrong, Docker says it better.
            return error.errno != errno.EADDRINUSE
        return True


def _container(port: int, runner: Runner) -> tuple[str, str] | None:
    """Name and project of the container that publishes `port`."""
    done = runner(
        (
            "docker",
            "ps",
            "--format",
            '{{.Names}}\\t{{.Label "com.docker.compose.project"}}\\t{{.Ports}}',
        )
    )
    for line in done.stdout.splitlines() if done.ok else ():
        name, _, rest = line.partition("\t")
        project, _, ports = rest.partition("\t")
        if re.search(rf":{port}->", ports):
            return name, project
    return None


def _process(port: int) -> str:
    import psutil  # type: ignore[import-untyped]

    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr.port == port and connection.pid is not None:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {connection.pid})"
    return "a process of another user, whose name this one may not see"
