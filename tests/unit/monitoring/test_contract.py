"""The contract of /health: what each state of each thing means, required and optional."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from monitoring import health_check
from monitoring.cgroup import Cgroup
from monitoring.checks import Status
from monitoring.health_check import configured_watches
from monitoring.lifecycle import Lifecycle
from monitoring.metrics import Traffic
from monitoring.readings import Instruments
from monitoring.settings import Settings
from monitoring.web import Monitor, create_app
from tests.unit.monitoring.moments import ABOUT
from tests.unit.monitoring.test_web import Answer, Client

DEADLINE_S = 1.1
SLOW_S = 0.5
PATIENCE_S = 10
STATES = ("ok", "slow", "hung", "refused", "wrong answer", "absent")
COMPONENTS = ("accelerapp", "ollama", "redis")
SECRET = "hunter22"

# What is found, and the beginning of what is said.
FOUND: dict[str, tuple[Status, str]] = {
    "ok": ("pass", ""),
    "slow": ("warn", ""),
    "hung": ("fail", "no answer within 1.1 s"),
    "refused": ("fail", "Connection refused"),
    "wrong answer": ("fail", ""),
    "absent": ("fail", "Name or service not known"),
}


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def answer_of(component: str, request: bytes) -> bytes:
    if component == "redis":
        return b"+OK\r\n" if b"AUTH" in request else b"+PONG\r\n"
    if component == "accelerapp":
        return http(b'{"status": "pass"}')
    return http(b'{"version": "0.5.7"}' if b"/api/version" in request else b'{"models": []}')


@contextmanager
def serving(component: str, state: str) -> Iterator[int]:
    """A port behind which `component` is in that state."""
    released = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := connection.recv(1000):
                if state == "hung":
                    released.wait(PATIENCE_S)
                    return
                # The first of two exchanges: both have one deadline.
                if state == "slow" and b"PING" not in request and b"/api/tags" not in request:
                    time.sleep(SLOW_S + 0.02)
                if state == "wrong answer":
                    connection.sendall(http(f"<h1>It works!</h1>{request!r}".encode()))
                    return
                connection.sendall(answer_of(component, request))
                if component != "redis":
                    return

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        if state == "refused":
            listener.close()
        else:
            threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield port
        released.set()
        # close() alone does not wake accept().
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def look_once(environ: dict[str, str]) -> tuple[Answer, Answer]:
    """/health and /status once every watch has looked, or has had the time to."""
    settings = Settings.load(
        {
            "MONITOR_PROBE_DEADLINE_S": str(DEADLINE_S),
            "MONITOR_PROBE_SLOW_S": str(SLOW_S),
            "MONITOR_DISK_WARN": "0",
            "MONITOR_DISK_FAIL": "0",
            "MONITOR_MEMORY_WARN_RATIO": "0",
            "MONITOR_MEMORY_FAIL_RATIO": "0",
            "MONITOR_CPU_THROTTLED_WARN_RATIO": "0",
            **environ,
        }
    )
    instruments = Instruments(configured_watches(settings), Cgroup.find())
    for watch in instruments.watches:
        watch.look()
    client = Client()
    client.app = create_app(
        Monitor(
            settings=settings,
            lifecycle=Lifecycle(),
            about=ABOUT,
            traffic=Traffic(),
            read=instruments.read,
            series=tuple,
            connections=lambda: 1,
        )
    )
    return client.ask("/health"), client.ask("/status")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine's resolver has a say: `here` is loopback, everything else is unknown."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: object, **options: object) -> object:
        if host != "here":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve("127.0.0.1", port, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("required", [True, False], ids=["required", "optional"])
@pytest.mark.usefixtures("names")
def test_dependency(component: str, state: str, required: bool) -> None:
    with serving("accelerapp", "ok") as well, serving(component, state) as port:
        host = "gone" if state == "absent" else "here"
        addresses = {
            "accelerapp": {"ACCELERAPP_URL": f"http://{host}:{port}"},
            "ollama": {"OLLAMA_HOST": f"{host}:{port}"},
            "redis": {"REDIS_URL": f"redis://:{SECRET}@{host}:{port}/0"},
        }
        environ = {"ACCELERAPP_URL": f"http://here:{well}", **addresses[component]}
        environ["MONITOR_REQUIRED"] = component if required else "none"
        health, status = look_once(environ)
    found, said = FOUND[state]
    document = json.loads(health.body)
    [check] = document["checks"][f"{component}:responseTime"]
    assert (check["status"], check["required"]) == (found, required)
    assert check["output"].startswith(said)
    overall = "warn" if found == "fail" and not required else found
    assert document["status"] == overall
    assert health.status == (503 if overall == "fail" else 200)
    word = {"pass": "healthy", "warn": "degraded", "fail": "unhealthy"}[overall]
    assert json.loads(status.body)["status"] == word
    for answer in (health, status):
        assert SECRET not in answer.body
        assert "It works" not in answer.body
        assert "Traceback" not in answer.body


def refuse(_path: str) -> tuple[int, int]:
    raise PermissionError(13, "Permission denied")


def wait(_path: str) -> tuple[int, int]:
    time.sleep(SLOW_S + 0.05)
    return 5, 10


@pytest.mark.parametrize(
    ("read", "threshold", "found", "said"),
    [
        (lambda _: (5, 10), "0", "pass", "/d: enough free"),
        (lambda _: (5, 10), "60%", "warn", "/d: less than 60% free"),
        (wait, "0", "warn", "/d: enough free; slow"),
        (refuse, "0", "fail", "/d: Permission denied"),
    ],
    ids=["ok", "low", "slow", "refused"],
)
@pytest.mark.parametrize("required", [True, False], ids=["required", "optional"])
@pytest.mark.usefixtures("names")
def test_disk(
    read: Callable[[str], tuple[int, int]],
    threshold: str,
    found: Status,
    said: str,
    required: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_check, "read_disk", read)
    with serving("accelerapp", "ok") as port:
        health, _ = look_once(
            {
                "ACCELERAPP_URL": f"http://here:{port}",
                "MONITOR_DISK_PATHS": "/d",
                "MONITOR_DISK_WARN": threshold,
                "MONITOR_REQUIRED": "disk" if required else "none",
            }
        )
    document = json.loads(health.body)
    [check] = document["checks"]["disk:free"]
    assert (check["status"], check["output"]) == (found, said)
    overall = "warn" if found == "fail" and not required else found
    assert (document["status"], health.status) == (overall, 503 if overall == "fail" else 200)
