"""The stack in Docker Engine: images of our own builder, Redis among them, and a stand-in for
Ollama that speaks its HTTP API.

Only a real Ollama would show what a model writes, how long that takes, and what memory and GPU
it needs; and whether its image runs as this user on this volume.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.compose.check import OVERLAYS
from tests.integration.building import Checkout
from tests.integration.conftest import absent, find_tool
from tests.integration.ollama import ollama_stand_in

if TYPE_CHECKING:
    import docker


UNCHECKED = "that the stack comes up and works"


@dataclass
class Stack:
    """`invoke compose.…` in a checkout, on ports and under a name of its own."""

    checkout: Checkout
    ollama: str
    project: str = field(default_factory=lambda: f"accelerapp-test-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.port, self.monitor_port = one.getsockname()[1], two.getsockname()[1]

    def invoke(self, task: str, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
        known = {
            "OLLAMA_IMAGE": self.ollama,
            "ACCELERAPP_HOST_PORT": str(self.port),
            "MONITOR_HOST_PORT": str(self.monitor_port),
        }
        named = ("--project", self.project) if task not in ("check", "smoke") else ()
        checkout = replace(self.checkout, environment={**known, **environ})
        return checkout.invoke(f"compose.{task}", *flags, *named)


@pytest.fixture(scope="module")
def images(
    repository: Checkout,
    docker_engine: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Build and load what the stack runs; yield the name of the stand-in's image."""
    folder = tmp_path_factory.mktemp("stack")
    with ollama_stand_in(repository, docker_engine, folder) as name:
        yield name


@pytest.fixture
def stack(repository: Checkout, images: str) -> Iterator[Stack]:
    command = (str(find_tool("docker", unchecked=UNCHECKED)), "compose", "version")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        absent("docker compose", unchecked=UNCHECKED, reason=done.stderr.strip())
    stack = Stack(repository, images)
    yield stack
    done = stack.invoke("down", "--volumes")
    assert done.returncode == 0, done.stderr


def test_smoke(stack: Stack) -> None:
    done = stack.invoke("smoke", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [step["step"].partition(":")[0] for step in steps] == [
        "up",
        "generate a device over HTTP",
        "see it on the Redis stream",
        "the service is ready, with Redis and Ollama",
        "the monitor is healthy",
        "stop Redis",
        "the monitor says degraded",
        "start Redis",
        "down",
    ]
    print(json.dumps(steps[0]))


def test_a_smoke_that_cannot_leaves_nothing(
    stack: Stack, docker_engine: docker.DockerClient
) -> None:
    before = {c.id for c in docker_engine.containers.list(all=True)}
    volumes = {v.name for v in docker_engine.volumes.list()}
    done = stack.invoke("smoke", OLLAMA_IMAGE="accelerapp:redis")
    assert done.returncode == 83, done.stderr
    assert re.search(r"^error: not healthy: .*ollama", done.stderr, re.M)
    assert {c.id for c in docker_engine.containers.list(all=True)} == before
    assert {v.name for v in docker_engine.volumes.list()} <= volumes


def test_check_asks_docker_for_every_combination(stack: Stack) -> None:
    done = stack.invoke("check", "--json")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert report["docker_compose_config"] == {"asked": 4 * 2 ** len(OVERLAYS), "not_run": ""}


def test_up_ps_logs_down(stack: Stack, docker_engine: docker.DockerClient) -> None:
    done = stack.invoke("up", "--json")
    assert done.returncode == 0, done.stderr
    found = {service["service"]: service for service in json.loads(done.stdout)}
    assert set(found) == {"accelerapp", "ollama"}
    assert {service["health"] for service in found.values()} == {"healthy"}
    assert found["accelerapp"]["ports"] == f"127.0.0.1:{stack.port}"

    again = stack.invoke("up")
    assert again.returncode == 0, again.stderr

    other = Stack(stack.checkout, stack.ollama)
    taken = other.invoke("up", "--port", str(stack.port))
    assert taken.returncode == 82
    [line] = [line for line in taken.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(
        f"error: port {stack.port} on 127.0.0.1 is taken by container {stack.project}-accelerapp-1"
    )

    container = docker_engine.containers.get(f"{stack.project}-accelerapp-1")
    assert hardened(container.attrs)
    ollama = docker_engine.containers.get(f"{stack.project}-ollama-1")
    assert hardened(ollama.attrs)
    # A fresh volume, and still its own: no container ran as root for that.
    code, output = ollama.exec_run(
        ["/usr/bin/python3", "-c", "open('/models/x', 'w'); import os; print(os.getuid())"]
    )
    assert (code, output.strip()) == (0, b"1000")

    assert "listening on" in stack.invoke("logs", "--service", "accelerapp", "--tail", "5").stdout
    assert "healthy" in stack.invoke("ps").stdout
    assert stack.invoke("down", "--volumes").returncode == 0
    assert "no service is there" in stack.invoke("ps").stdout


def hardened(attrs: Any) -> bool:
    host = attrs["HostConfig"]
    return bool(
        host["ReadonlyRootfs"]
        and host["CapDrop"] == ["ALL"]
        and any("no-new-privileges" in option for option in host["SecurityOpt"])
        and host["Memory"] > 0
        and host["NanoCpus"] > 0
        and host["PidsLimit"] > 0
        and attrs["Config"]["User"] == "1000:1000"
    )


def test_what_fails_is_explained_with_its_log(stack: Stack) -> None:
    done = stack.invoke("up", ACCELERAPP_LOG_FORMAT="xml")
    assert done.returncode == 83
    assert "ACCELERAPP_LOG_FORMAT='xml' cannot be used; give plain or json" in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "accelerapp (" in line


def test_images_that_are_not_there_say_how_to_get_them(stack: Stack) -> None:
    done = stack.invoke("up", ACCELERAPP_VERSION="v0.0.0-none")
    assert done.returncode == 65
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "invoke build" in line
