"""`invoke compose.smoke`: a stack of its own, used for what it is for, and taken down again."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.compose import stack as stacks
from pipeline.compose.stack import REDIS_URL, Stack
from pipeline.errors import PipelineError, SmokeFailed
from pipeline.process import Runner, run
from pipeline.report import Progress

DESCRIPTION = """\
name: smoke lamp
platform: esp32
peripherals:
  - {name: light, type: led, pin: GPIO4}
"""
STREAM = "accelerapp:generations"
NO_MODEL = "run: ollama pull "
"""What the service says where Ollama answers and has not got the model."""
PATIENCE_S = 30.0
REQUEST_TIMEOUT_S = 10.0


@dataclass
class Smoked:
    """What was done, in order, and how long each took."""

    project: str
    steps: list[tuple[str, float, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "steps": [
                {"step": title, "seconds": round(seconds, 3), "seen": seen}
                for title, seconds, seen in self.steps
            ],
        }


def smoke(progress: Progress, *, timeout_s: float = 120.0, runner: Runner = run) -> Smoked:
    """Bring up every service under a name and on ports of its own, use it, take it down.

    Whatever happens, nothing is left behind. Raises SmokeFailed, and what `up` raises.
    """
    project = f"accelerapp-smoke-{secrets.token_hex(4)}"
    ports = _free_ports(2)
    smoked = Smoked(project)
    with tempfile.TemporaryDirectory() as folder:
        # An empty file: a person's own .env is for their own stack.
        env_file = Path(folder) / "env"
        env_file.touch()
        stack = Stack(
            profiles=("redis", "monitoring"),
            project=project,
            environ={
                "ACCELERAPP_BIND": "127.0.0.1",
                "ACCELERAPP_HOST_PORT": str(ports[0]),
                "MONITOR_HOST_PORT": str(ports[1]),
                "ACCELERAPP_REDIS_URL": REDIS_URL,
                "MONITOR_TOKEN": "",
            },
            env_file=env_file,
        )
        failed: BaseException | None = None
        try:
            _use(_Used(stack, ports[0], ports[1], progress, smoked, runner), timeout_s)
        except BaseException as error:
            failed = error
            raise
        finally:
            try:
                with _timed(smoked, progress, "down: nothing is left behind") as seen:
                    stacks.down(stack, progress, volumes=True, runner=runner)
                    _expect_nothing(project, runner)
                    seen("no container, network or volume")
            except PipelineError as error:
                # The first failure is the one to read.
                if failed is None:
                    raise
                progress.say(f"and then: {error}")
    return smoked


@dataclass
class _Used:
    stack: Stack
    port: int
    monitor_port: int
    progress: Progress
    smoked: Smoked
    runner: Runner

    def step(self, title: str) -> contextlib.AbstractContextManager[Callable[[str], None]]:
        return _timed(self.smoked, self.progress, title)

    def compose(self, *arguments: str) -> str:
        done = self.runner((*self.stack.begin(), *arguments), env=self.stack.environ)
        if not done.ok:
            said = " ".join((done.stderr or done.stdout).split())[:300]
            raise SmokeFailed(f"docker compose {' '.join(arguments)}: {said}")
        return done.stdout


def _use(used: _Used, timeout_s: float) -> None:
    with used.step("up: every service is healthy") as seen:
        found = stacks.up(used.stack, used.progress, timeout_s=timeout_s, runner=used.runner)
        seen(", ".join(service.name for service in found))
    with used.step("generate a device over HTTP") as seen:
        digest = _generate(used.port)
        seen(digest)
    with used.step("see it on the Redis stream") as seen:
        seen(_until(lambda: _on_stream(used, digest), "the generation is not on the stream"))
    with used.step("the service is ready, with Redis and Ollama") as seen:
        seen(_until(lambda: _ready(used.port, ()), "/readyz does not pass"))
    with used.step("the monitor is healthy") as seen:
        seen(_until(lambda: _monitor(used, "pass"), "the monitor does not say pass"))
    with used.step("stop Redis: the service is degraded, and generates") as seen:
        used.compose("stop", "redis")
        ready = _until(lambda: _ready(used.port, ("redis",)), "/readyz does not warn")
        _generate(used.port)
        seen(ready)
    with used.step("the monitor says degraded") as seen:
        seen(_until(lambda: _monitor(used, "warn"), "the monitor does not say warn"))
    with used.step("start Redis: all is well again, and the stream is what it was") as seen:
        used.compose("start", "redis")
        _until(lambda: _ready(used.port, ()), "/readyz does not pass again")
        _until(lambda: _monitor(used, "pass"), "the monitor does not say pass again")
        seen(_until(lambda: _on_stream(used, digest), "the stream has lost the generation"))


def _generate(port: int) -> str:
    status, body = _ask(
        port, "/v1/generate", "POST", DESCRIPTION.encode(), {"Content-Type": "application/yaml"}
    )
    if status != 200:
        raise SmokeFailed(f"POST /v1/generate answered {status}: {_short(body)}")
    try:
        generated = json.loads(body)
        paths = [file["path"] for file in generated["files"]]
        digest = str(generated["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise SmokeFailed(f"POST /v1/generate answered something else: {_short(body)}") from error
    if "firmware/src/main.cpp" not in paths:
        raise SmokeFailed(f"the answer has no firmware: {', '.join(paths)}")
    return digest


def _on_stream(used: _Used, digest: str) -> str:
    listed = used.compose(
        "exec", "-T", "redis", "/usr/bin/redis-cli", "--json", "XRANGE", STREAM, "-", "+"
    )
    for number, fields in json.loads(listed):
        if dict(zip(fields[::2], fields[1::2], strict=True)).get("digest") == digest:
            return str(number)
    return ""


def _ready(port: int, warned: tuple[str, ...]) -> str:
    """What each check of the service says, once exactly those of `warned` do not pass.

    A new volume has no model: that Ollama says so is what there is to see of it.
    """
    code, body = _ask(port, "/readyz?verbose")
    health = json.loads(body)
    found = {name: entries[0] for name, entries in health["checks"].items()}
    worse = [name for name, entry in found.items() if entry["status"] != "pass"]
    without = [name for name in worse if NO_MODEL in found[name]["output"]]
    if code != 200 or health["status"] != ("warn" if worse else "pass"):
        return ""
    if tuple(name for name in worse if name not in without) != warned:
        return ""
    return ", ".join(f"{name}: {found[name]['output']}" for name in warned or found)


def _monitor(used: _Used, status: str) -> str:
    """The monitor is asked for every check; the stack's other ones have to pass all the time."""
    _, body = _ask(used.monitor_port, "/health")
    health = json.loads(body)
    if health["status"] != status:
        return ""
    worse = [
        name
        for name, entries in health["checks"].items()
        if any(entry["status"] != "pass" for entry in entries)
    ]
    return f"{health['status']}{': ' if worse else ''}{', '.join(worse)}"


def _until(look: Callable[[], str], message: str) -> str:
    """What `look` sees once it sees something; SmokeFailed after PATIENCE_S."""
    deadline_s = time.monotonic() + PATIENCE_S
    last = ""
    while time.monotonic() < deadline_s:
        try:
            if seen := look():
                return seen
        except (SmokeFailed, OSError, ValueError, KeyError, http.client.HTTPException) as error:
            last = f": {' '.join(str(error).split())[:200]}"
        time.sleep(0.25)
    raise SmokeFailed(f"{message} after {PATIENCE_S:g} s{last}")


def _ask(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise SmokeFailed(f"{method} {path} on port {port}: {error}") from error
    finally:
        connection.close()


def _expect_nothing(project: str, runner: Runner) -> None:
    label = f"label=com.docker.compose.project={project}"
    for kind, listing in (
        ("container", ("ps", "--all")),
        ("network", ("network", "ls")),
        ("volume", ("volume", "ls")),
    ):
        done = runner(("docker", *listing, "--quiet", "--filter", label))
        if not done.ok or done.stdout.split():
            left = ", ".join(done.stdout.split()) or _short(done.stderr.encode())
            raise SmokeFailed(f"a {kind} is left behind: {left}", hint=f"docker {listing[0]} rm")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _timed(smoked: Smoked, progress: Progress, title: str) -> Iterator[Callable[[str], None]]:
    begin_s = time.monotonic()
    said: list[str] = []
    with progress.step(title) as step:
        yield said.append
        step.note(_short(" ".join(said).encode()))
    smoked.steps.append((title, time.monotonic() - begin_s, " ".join(said)))


def _short(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:120]
