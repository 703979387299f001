from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from pipeline.compose import commands, ports, smoke, stack
from pipeline.compose.ports import Published, check_free
from pipeline.compose.smoke import Smoked
from pipeline.compose.stack import FOLDER, REDIS_URL, Stack, down, logs, services, up
from pipeline.errors import (
    EngineFailed,
    OptionInvalid,
    PortTaken,
    SmokeFailed,
    StackUnhealthy,
    ToolMissing,
)
from pipeline.flags import seconds
from pipeline.process import Completed
from pipeline.report import Silent


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def entry(service: str, state: str = "running", health: str = "healthy", **more: Any) -> str:
    return json.dumps(
        {"Service": service, "Name": f"x-{service}-1", "State": state, "Health": health, **more}
    )


class Docker:
    """Answers by the words of a command; states come one after the other, the last for good."""

    def __init__(self, *states: str, code: int = 0, printed: str = "") -> None:
        self.states = list(states)
        self.code = code
        self.printed = printed
        self.inspected: dict[str, Any] = {}
        self.published = ""
        self.asked: list[tuple[str, ...]] = []
        self.environ: list[Any] = []

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        self.asked.append(argv)
        self.environ.append(options.get("env"))
        if "version" in argv:
            return Completed(argv, 0, "2.26.1\n", "")
        if argv[:2] == ("docker", "ps"):
            return Completed(argv, 0, self.published, "")
        if argv[:2] == ("docker", "inspect"):
            return Completed(argv, 0, json.dumps(self.inspected), "")
        if "ps" in argv:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return Completed(argv, 0, state, "")
        if "logs" in argv:
            return Completed(argv, 0, "\x1b[2Kfirst\nthe \x1b[31mreason\x1b[0m\n", "")
        return Completed(argv, self.code, "", self.printed)

    def stream(self, argv: tuple[str, ...], on_line: Any, **options: Any) -> int:
        self.asked.append(argv)
        self.environ.append(options.get("env"))
        for line in self.printed.splitlines():
            on_line(line)
        return self.code


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "POLL_S", 0.001)
    for name in list(os.environ):
        if name.startswith(("ACCELERAPP_", "MONITOR_", "OLLAMA_")):
            monkeypatch.delenv(name)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "check_free", lambda *_: None)


def start(docker: Docker, said: Said | None = None, **options: Any) -> Any:
    return up(Stack(), said or Said(), runner=docker, streamer=docker.stream, **options)


def test_flags_are_profiles_overlays_and_variables() -> None:
    asked = Stack.asked(redis=True, monitoring=True, gpu=True, dev=True, port="81", project="mine")
    begin = asked.begin()
    files = [begin[n + 1] for n, word in enumerate(begin) if word == "--file"]
    assert [name.rpartition("/")[2] for name in files] == [
        "docker-compose.yml",
        "docker-compose.gpu.yml",
        "docker-compose.dev.yml",
    ]
    assert [begin[n + 1] for n, word in enumerate(begin) if word == "--profile"] == [
        "redis",
        "monitoring",
    ]
    assert begin[begin.index("--project-name") + 1] == "mine"
    assert asked.environ == {"ACCELERAPP_HOST_PORT": "81", "ACCELERAPP_REDIS_URL": REDIS_URL}


def test_redis_of_one_s_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERAPP_REDIS_URL", "redis://elsewhere")
    assert Stack.asked(redis=True).environ == {}
    assert Stack.asked().environ == {}


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "9" * 99, "٣"])
def test_a_port_that_is_none(port: str) -> None:
    with pytest.raises(OptionInvalid, match="is no port"):
        Stack.asked(port=port)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1e3", "", "999999"])
def test_seconds_that_are_none(text: str) -> None:
    with pytest.raises(OptionInvalid, match="--timeout"):
        seconds("--timeout", text)


def test_published_ports_are_those_of_the_profiles() -> None:
    assert Stack().published() == [Published("127.0.0.1", 8000, "ACCELERAPP_HOST_PORT")]
    more = Stack(("monitoring",), environ={"MONITOR_HOST_PORT": "99"}).published()
    assert more[1] == Published("127.0.0.1", 99, "MONITOR_HOST_PORT")


def test_a_port_in_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERAPP_HOST_PORT", "http")
    with pytest.raises(OptionInvalid, match="ACCELERAPP_HOST_PORT='http' is no port"):
        Stack().published()


@pytest.mark.usefixtures("free")
def test_up_waits_until_every_service_is_healthy() -> None:
    docker = Docker(
        entry("accelerapp", health="starting"),
        "\n".join([entry("accelerapp"), entry("ollama", health="starting")]),
        "\n".join([entry("ollama"), entry("accelerapp", Publishers=[
            {"URL": "127.0.0.1", "PublishedPort": 8000}, {"URL": "", "PublishedPort": 0}])]),
    )  # fmt: skip
    found = start(docker)
    assert [(service.name, service.shown, service.ports) for service in found] == [
        ("accelerapp", "healthy", "127.0.0.1:8000"),
        ("ollama", "healthy", ""),
    ]
    assert docker.states[0].count("starting") == 0
    [upped] = [argv for argv in docker.asked if "up" in argv]
    assert upped[-1] == "--no-build"


@pytest.mark.usefixtures("free")
def test_up_with_build() -> None:
    docker = Docker(entry("accelerapp"))
    start(docker, build=True)
    assert any(argv[-1] == "--build" for argv in docker.asked)


def test_older_compose_prints_one_list() -> None:
    docker = Docker(f"[{entry('accelerapp')},{entry('redis')}]")
    assert [service.name for service in services(Stack(), docker)] == ["accelerapp", "redis"]


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (entry("redis", "exited", "", ExitCode=3), "redis (exited with 3)"),
        (entry("redis", "restarting", ""), "redis (restarting)"),
        (entry("redis", "running", "unhealthy"), "redis (unhealthy)"),
    ],
)
def test_what_cannot_get_healthy_is_explained_at_once(state: str, shown: str) -> None:
    docker = Docker(f"{entry('accelerapp')}\n{state}")
    docker.inspected = {
        "OOMKilled": True,
        "Error": "no such\nfile",
        "Health": {"Log": [{"Output": "old"}, {"Output": "not ready:\n refused"}]},
    }
    said = Said()
    with pytest.raises(StackUnhealthy, match="not healthy: ") as caught:
        start(docker, said, timeout_s=600)
    assert shown in str(caught.value)
    assert "accelerapp" not in str(caught.value)
    assert said.lines[1:] == [
        "redis: ended by the kernel, out of memory; raise its limit",
        "redis: no such file",
        "redis: health check: not ready: refused",
        "  first",
        "  the reason",
    ]


@pytest.mark.usefixtures("free")
def test_what_stays_away_is_told_when_the_time_is_over() -> None:
    docker = Docker(entry("ollama", health="starting"))
    with pytest.raises(StackUnhealthy, match=r"after 0.01 s: ollama \(starting\)"):
        start(docker, timeout_s=0.01)


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(
    ("printed", "hint"),
    [
        ("Error response from daemon: No such image: accelerapp:redis", "invoke build"),
        ("Error response from daemon: something else", ""),
    ],
)
def test_what_compose_says_is_said(printed: str, hint: str) -> None:
    docker = Docker(entry("accelerapp"), code=1, printed=f"more\n{printed}\n")
    with pytest.raises(EngineFailed) as caught:
        start(docker)
    assert caught.value.message == f"docker compose up: {printed}"
    assert hint in caught.value.hint


def test_down_takes_everything_along() -> None:
    docker = Docker(entry("accelerapp"))
    down(Stack(project="mine"), Silent(), volumes=True, runner=docker)
    argv = docker.asked[-1]
    assert argv[-3:] == ("down", "--remove-orphans", "--volumes")
    assert argv[argv.index("--profile") :][:2] == ("--profile", "redis")
    with pytest.raises(EngineFailed, match="docker compose down: it says nothing"):
        down(Stack(), Silent(), runner=Docker(entry("x"), code=1))


def test_logs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    docker = Docker(entry("x"), printed="one\ntwo\n")
    logs(Stack(), ("redis",), follow=True, tail=3, runner=docker, streamer=docker.stream)
    assert capsys.readouterr().out == "one\ntwo\n"
    assert docker.asked[-1][-5:] == ("--no-color", "--follow", "--tail", "3", "redis")


@pytest.mark.parametrize(
    ("printed", "code"), [("", 0), ("1.29.2", 0), ("2.19.3", 0), ("docker: 'compose' is no", 1)]
)
def test_without_a_compose_that_is_new_enough(printed: str, code: int) -> None:
    def runner(argv: tuple[str, ...], **_: object) -> Completed:
        return Completed(argv, code, printed, "")

    with pytest.raises(ToolMissing, match=r"2.20 or newer"):
        commands.required(runner)


def test_a_process_that_has_the_port_is_named(listener: int) -> None:
    with pytest.raises(PortTaken) as caught:
        check_free([Published("127.0.0.1", listener, "V")], Docker(""), "accelerapp")
    name = psutil.Process().name()
    assert caught.value.message == (
        f"port {listener} on 127.0.0.1 is taken by {name} (pid {os.getpid()})"
    )
    assert caught.value.hint == f"stop that, or set V, such as V={listener + 10}"


def test_a_container_that_has_the_port_is_named(listener: int) -> None:
    docker = Docker("")
    docker.published = f"web\tother\t127.0.0.1:{listener}->80/tcp\n"
    with pytest.raises(PortTaken, match="taken by container web"):
        check_free([Published("127.0.0.1", listener, "V")], docker, "accelerapp")


def test_what_the_stack_itself_has_is_no_conflict(listener: int) -> None:
    docker = Docker("")
    docker.published = f"x-1\taccelerapp\t127.0.0.1:{listener}->8000/tcp\n"
    check_free([Published("127.0.0.1", listener, "V")], docker, "accelerapp")


def test_an_owner_that_cannot_be_seen(listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refused)
    with pytest.raises(PortTaken, match="a process of another user"):
        check_free([Published("127.0.0.1", listener, "V")], Docker(""), "accelerapp")


def test_a_taken_port_stops_up_before_anything_starts(
    listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERAPP_HOST_PORT", str(listener))
    docker = Docker(entry("accelerapp"))
    with pytest.raises(PortTaken):
        start(docker)
    assert not any("up" in argv for argv in docker.asked)


def test_a_smoke_that_fails_leaves_nothing_and_says_the_first_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker = Docker(entry("accelerapp"))
    downs: list[Stack] = []

    def fail(*_: object, **__: object) -> None:
        raise StackUnhealthy("it is not well")

    monkeypatch.setattr(smoke.stacks, "up", fail)
    monkeypatch.setattr(smoke.stacks, "down", lambda s, *_, **__: downs.append(s))
    with pytest.raises(StackUnhealthy, match="it is not well"):
        smoke.smoke(Silent(), runner=docker)
    [taken] = downs
    assert taken.project.startswith("accelerapp-smoke-")
    assert taken.folder == FOLDER
    assert taken.environ["ACCELERAPP_BIND"] == "127.0.0.1"


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
def test_what_is_left_behind_fails_the_smoke(kind: str) -> None:
    def runner(argv: tuple[str, ...], **_: object) -> Completed:
        there = argv[1] == {"container": "ps"}.get(kind, kind)
        return Completed(argv, 0, "abc\n" if there else "", "")

    with pytest.raises(SmokeFailed, match=f"a {kind} is left behind: abc"):
        smoke._expect_nothing("p", runner)


def test_what_never_comes_fails_the_smoke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "PATIENCE_S", 0.3)

    def look() -> str:
        raise OSError("refused")

    with pytest.raises(SmokeFailed, match=r"it does not come after 0.3 s: refused"):
        smoke._until(look, "it does not come")


def test_steps_are_kept_with_their_times() -> None:
    smoked = Smoked("p")
    with smoke._timed(smoked, Silent(), "one") as seen:
        seen("this")
    [step] = smoked.to_json()["steps"]
    assert (step["step"], step["seen"]) == ("one", "this")
    assert step["seconds"] >= 0


def test_two_free_ports_are_two() -> None:
    assert len(set(smoke._free_ports(2))) == 2
    assert ports._free(Published("127.0.0.1", smoke._free_ports(1)[0], "V"))


ASSIST = "model 'llama3.2:1b' is not there (there is none); run: ollama pull llama3.2:1b"


@pytest.mark.parametrize(
    ("status", "redis", "assist", "warned", "ready"),
    [
        ("pass", "pass", ("pass", "here"), (), True),
        # A new volume has no model, and the service says so.
        ("warn", "pass", ("warn", ASSIST), (), True),
        ("warn", "warn", ("warn", ASSIST), ("redis",), True),
        ("warn", "warn", ("pass", "here"), ("redis",), True),
        ("warn", "pass", ("warn", "Ollama does not answer"), (), False),
        ("warn", "warn", ("warn", "Ollama does not answer"), ("redis",), False),
        ("warn", "warn", ("pass", "here"), (), False),
        ("pass", "pass", ("warn", ASSIST), (), False),
        ("pass", "pass", ("pass", "here"), ("redis",), False),
    ],
)
def test_a_stack_without_a_model_is_as_well_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    redis: str,
    assist: tuple[str, str],
    warned: tuple[str, ...],
    ready: bool,
) -> None:
    checks = {
        "redis": [{"status": redis, "output": "redis says"}],
        "assist": [{"status": assist[0], "output": assist[1]}],
    }
    body = json.dumps({"status": status, "checks": checks}).encode()
    monkeypatch.setattr(smoke, "_ask", lambda *_: (200, body))
    assert bool(smoke._ready(1, warned)) == ready
    monkeypatch.setattr(smoke, "_ask", lambda *_: (503, body))
    assert not smoke._ready(1, warned)
