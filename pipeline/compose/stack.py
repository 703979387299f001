"""Bring the stack up, wait until it is healthy, and say why it is not."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.compose import commands
from pipeline.compose.check import BASE, OVERLAYS, ROOT
from pipeline.compose.document import environment_file, merged, read_file
from pipeline.compose.ports import Published, check_free
from pipeline.errors import EngineFailed, OptionInvalid, StackUnhealthy
from pipeline.process import Runner, Streamer, run, stream
from pipeline.report import Progress, Step

FOLDER = ROOT / "deployment" / "docker"
GPU, DEVELOPMENT = OVERLAYS
REDIS_URL = "redis://redis:6379/0"
LAST_LINES = 20
# Compose moves the cursor, and services colour their lines: nothing for a report.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
POLL_S = 0.3


@dataclass(frozen=True)
class Stack:
    """Which files, profiles and variables. `environ` is added to this process's own."""

    profiles: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    project: str = "accelerapp"
    environ: Mapping[str, str] = field(default_factory=dict)
    env_file: Path | None = None
    folder: Path = FOLDER

    @classmethod
    def asked(
        cls,
        *,
        redis: bool = False,
        monitoring: bool = False,
        gpu: bool = False,
        dev: bool = False,
        port: str = "",
        project: str = "",
    ) -> Stack:
        """The stack that flags describe. Raises OptionInvalid."""
        environ = {}
        if port:
            if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
                raise OptionInvalid(f"--port={port!r} is no port", hint="give one from 1 to 65535")
            environ["ACCELERAPP_HOST_PORT"] = port
        if redis and not os.environ.get("ACCELERAPP_REDIS_URL"):
            environ["ACCELERAPP_REDIS_URL"] = REDIS_URL
        return cls(
            profiles=(*(("redis",) * redis), *(("monitoring",) * monitoring)),
            overlays=(*((GPU,) * gpu), *((DEVELOPMENT,) * dev)),
            project=project or "accelerapp",
            environ=environ,
        )

    @property
    def everything(self) -> Stack:
        """The same with every profile: to stop or to look at all that may be there."""
        return Stack(
            ("redis", "monitoring"),
            self.overlays,
            self.project,
            self.environ,
            self.env_file,
            self.folder,
        )

    def begin(self) -> tuple[str, ...]:
        files = [self.folder / name for name in (BASE, *self.overlays)]
        return commands.compose(files, self.profiles, project=self.project, env_file=self.env_file)

    def variables(self) -> dict[str, str]:
        """What Compose interpolates with: the file, then the environment, then the flags."""
        file = self.env_file or self.folder / ".env"
        found = environment_file(file) if file.is_file() else {}
        set_there = {name: value for name, value in found.items() if value is not None}
        return {**set_there, **os.environ, **self.environ}

    def published(self) -> list[Published]:
        """The ports of this machine that services with these profiles want."""
        files = [read_file(self.folder / name, ROOT) for name in (BASE, *self.overlays)]
        try:
            project = merged(files, self.variables())
        except ValueError as error:
            raise OptionInvalid(f"a variable of the stack: {error}") from error
        variables = {"accelerapp": "ACCELERAPP_HOST_PORT", "monitoring": "MONITOR_HOST_PORT"}
        found = []
        for name, service in project.services.items():
            if service.get("profiles") and not set(service["profiles"]) & set(self.profiles):
                continue
            for port in service.get("ports", []):
                address, _, rest = str(port).rpartition(":")[0].rpartition(":")
                if not rest.isdigit() or not 0 < int(rest) < 65536:
                    variable = variables.get(name, name)
                    raise OptionInvalid(f"{variable}={rest!r} is no port", hint="1 to 65535")
                found.append(
                    Published(
                        address.strip("[]") or "0.0.0.0", int(rest), variables.get(name, name)
                    )
                )
        return found


@dataclass(frozen=True, slots=True)
class Service:
    """One container as `docker compose ps` has it."""

    name: str
    container: str
    state: str
    health: str
    exit_code: int
    ports: str

    @property
    def well(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "")

    @property
    def shown(self) -> str:
        if self.state == "exited":
            return f"exited with {self.exit_code}"
        return self.health or self.state


def services(stack: Stack, runner: Runner = run) -> list[Service]:
    """Every container of the stack. Raises EngineFailed."""
    done = runner(commands.ps(stack.begin()), env=stack.environ)
    if not done.ok:
        raise _failed("docker compose ps", done.stderr)
    text = done.stdout.strip()
    # Compose before 2.21 prints one list, later ones an object a line.
    entries = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
    return sorted(
        (
            Service(
                entry["Service"],
                entry["Name"],
                entry["State"],
                entry.get("Health", ""),
                int(entry.get("ExitCode", 0)),
                ", ".join(sorted(set(map(_port, entry.get("Publishers") or [])) - {""})),
            )
            for entry in entries
        ),
        key=lambda service: service.name,
    )


def _port(publisher: Mapping[str, Any]) -> str:
    if not publisher.get("PublishedPort"):
        return ""
    return f"{publisher.get('URL')}:{publisher['PublishedPort']}"


def up(
    stack: Stack,
    progress: Progress,
    *,
    build: bool = False,
    timeout_s: float = 120.0,
    runner: Runner = run,
    streamer: Streamer = stream,
) -> list[Service]:
    """Start the stack and wait until every service is healthy.

    Raises PortTaken before anything is started, StackUnhealthy with what failed and the end
    of its log, EngineFailed, ToolMissing.
    """
    commands.required(runner)
    check_free(stack.published(), runner, stack.project)
    printed: list[str] = []
    with progress.step("start") as step:

        def show(line: str) -> None:
            printed.append(line)
            # A pull or a build takes minutes: what it is at is said beside the bar.
            step.note(_line(_CONTROL.sub("", line))[:60])

        code = streamer(commands.up(stack.begin(), build=build), show, env=stack.environ)
        step.note("")
    if code:
        _say_why(stack, progress, runner)
        raise _failed("docker compose up", "\n".join(printed))
    return wait(stack, progress, timeout_s=timeout_s, runner=runner)


def wait(
    stack: Stack, progress: Progress, *, timeout_s: float, runner: Runner = run
) -> list[Service]:
    """Wait until every service is healthy; give up as soon as one cannot get there."""
    deadline_s = time.monotonic() + timeout_s
    with progress.step("healthy") as step:
        while True:
            found = services(stack, runner)
            _note(step, found)
            if found and all(service.well for service in found):
                return found
            bad = [service for service in found if _hopeless(service)]
            late = time.monotonic() > deadline_s
            if bad or late:
                break
            time.sleep(POLL_S)
    bad = bad or [service for service in found if not service.well]
    for service in bad:
        _explain(stack, service, progress, runner)
    what = (
        ", ".join(f"{service.name} ({service.shown})" for service in bad) or "no service is there"
    )
    raise StackUnhealthy(
        f"not healthy{f' after {timeout_s:g} s' if late else ''}: {what}",
        hint="its log is above; 'invoke compose.down' stops the rest",
    )


def _hopeless(service: Service) -> bool:
    # `restarting` and `exited`: it has ended at least once since it was started.
    return service.state in ("exited", "dead", "restarting") or service.health == "unhealthy"


def _note(step: Step, found: Sequence[Service]) -> None:
    step.note(", ".join(f"{service.name} {service.shown}" for service in found))


def _say_why(stack: Stack, progress: Progress, runner: Runner) -> None:
    for service in services(stack, runner):
        if _hopeless(service):
            _explain(stack, service, progress, runner)


def _explain(stack: Stack, service: Service, progress: Progress, runner: Runner) -> None:
    """What the engine knows of a container that is not well, and the end of its log."""
    progress.say(f"{service.name}: {service.shown}")
    done = runner(commands.inspect(service.container))
    state = json.loads(done.stdout) if done.ok else {}
    if state.get("OOMKilled"):
        progress.say(f"{service.name}: ended by the kernel, out of memory; raise its limit")
    if state.get("Error"):
        progress.say(f"{service.name}: {_line(state['Error'])}")
    checks = (state.get("Health") or {}).get("Log") or []
    if checks and checks[-1].get("Output"):
        progress.say(f"{service.name}: health check: {_line(checks[-1]['Output'])}")
    logs = runner(commands.logs(stack.begin(), (service.name,), tail=LAST_LINES), env=stack.environ)
    for line in logs.stdout.splitlines()[-LAST_LINES:]:
        progress.say(f"  {_CONTROL.sub('', line)}")


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _failed(what: str, said: str) -> EngineFailed:
    lines = [line for line in said.splitlines() if line.strip()]
    reason = _line(lines[-1]) if lines else "it says nothing"
    hint = ""
    if "No such image" in reason or "pull access denied" in reason or "not found" in reason:
        hint = "make the images: invoke build --target all && invoke load --target all, or --build"
    return EngineFailed(f"{what}: {reason}", hint=hint)


def down(stack: Stack, progress: Progress, *, volumes: bool = False, runner: Runner = run) -> None:
    """Stop and remove all of the stack, with `volumes` also what it stored."""
    commands.required(runner)
    with progress.step("down"):
        done = runner(commands.down(stack.everything.begin(), volumes=volumes), env=stack.environ)
    if not done.ok:
        raise _failed("docker compose down", done.stderr)


def logs(
    stack: Stack,
    names: Sequence[str],
    *,
    follow: bool,
    tail: int | None,
    runner: Runner = run,
    streamer: Streamer = stream,
) -> None:
    """Print the services' logs."""
    commands.required(runner)
    argv = commands.logs(stack.everything.begin(), names, follow=follow, tail=tail)
    printed: list[str] = []

    def show(line: str) -> None:
        printed[:] = [line]
        print(line, flush=True)

    if streamer(argv, show, env=stack.environ):
        raise _failed("docker compose logs", printed[-1] if printed else "")
