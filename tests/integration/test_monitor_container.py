"""The monitor's image in Docker Engine: its limits, its end as PID 1, its size.

On this machine's platform alone; `test_containers.py` runs every service on each.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.platforms import Platform
from tests.integration.building import PLATFORMS, SETTINGS, BuiltImage
from tests.integration.test_containers import HARDENED, LoadedImage, run_python, status_of, until

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from tests.integration.conftest import RunImage

LIMIT_BYTES = 128 * 1024 * 1024
QUOTA_CORES = 0.5
OWN_BYTES = 6_000_000
STOP_S = 2.0
ATTEMPTS = 10
Run = Callable[..., contextlib.AbstractContextManager["Running"]]


@dataclass(frozen=True, slots=True)
class Running:
    """A container of the monitor that answers."""

    container: Container
    port: int

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        status, body = self.get("/metrics")
        assert status == 200
        [value] = re.findall(rf"^{name} (\S+)$", body.decode(), re.MULTILINE)
        return float(value)


@pytest.fixture(scope="module")
def run_monitor(loaded_image: LoadedImage, run_image: RunImage) -> Run:
    """Return a function: the monitor in a container with every restriction, and more options."""
    platform = Platform.host()
    [exposed] = SETTINGS.merged("monitoring").ports

    @contextlib.contextmanager
    def run(**options: Any) -> Iterator[Running]:
        image_id = loaded_image("monitoring", platform)
        ports = {exposed: ("127.0.0.1", None)}
        with run_image(image_id, platform, ports=ports, **HARDENED, **options) as container:
            container.reload()
            port = int(container.ports[exposed][0]["HostPort"])
            until(lambda: status_of(f"http://127.0.0.1:{port}/readyz") == 200, container)
            yield Running(container, port)

    return run


@pytest.fixture(scope="module")
def limited(run_monitor: Run) -> Iterator[Running]:
    """Yield the monitor as with `docker run -m 128m --cpus 0.5`."""
    nano_cpus = round(QUOTA_CORES * 1e9)
    with run_monitor(mem_limit="128m", nano_cpus=nano_cpus) as running:
        yield running


def test_memory_limit_is_that_of_the_container(limited: Running) -> None:
    assert limited.metric("accelerapp_memory_limit_bytes") == LIMIT_BYTES
    # The machine's own memory is another matter.
    assert limited.metric("accelerapp_memory_host_total_bytes") > LIMIT_BYTES


def test_cpu_quota_is_that_of_the_container(limited: Running) -> None:
    assert limited.metric("accelerapp_cpu_quota_cores") == QUOTA_CORES


def shown_by_docker_stats(engine: docker.DockerClient, container: Container) -> int:
    """Return what `docker stats` shows: usage without the inactive part of the file cache."""
    api: Any = engine.api
    memory = api.stats(container.id, stream=False, one_shot=True)["memory_stats"]
    parts = memory["stats"]
    # The first name is that of cgroup v1, the second that of v2.
    inactive = parts.get("total_inactive_file", parts.get("inactive_file", 0))
    return int(memory["usage"] - inactive if inactive < memory["usage"] else memory["usage"])


def test_memory_usage_is_that_of_docker_stats(
    limited: Running, docker_engine: docker.DockerClient
) -> None:
    seen = []
    for _ in range(ATTEMPTS):
        expected = shown_by_docker_stats(docker_engine, limited.container)
        usage = limited.metric("accelerapp_memory_usage_bytes")
        seen.append((round(usage), expected))
        if usage == pytest.approx(expected, rel=0.05):
            break
        # They were taken one after the other, and something happened in between.
        time.sleep(0.5)
    else:
        pytest.fail(f"accelerapp_memory_usage_bytes and docker stats: {seen}")
    assert usage < LIMIT_BYTES


def test_memory_and_cpu_checks_are_those_of_the_container(limited: Running) -> None:
    checks = json.loads(limited.get("/health")[1])["checks"]
    [memory] = checks["memory:utilization"]
    usage = limited.metric("accelerapp_memory_usage_bytes")
    assert memory["observedValue"] == pytest.approx(usage / LIMIT_BYTES, rel=0.1)
    [cpu] = checks["cpu:throttled"]
    assert cpu["output"] != "no quota"


class Connection:
    """A connection that sends what it is told to, and reads one answer at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self._socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Read an answer."""
        response = http.client.HTTPResponse(self._socket, method="GET")
        response.begin()
        return response.status, response.read()

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def stop(running: Running, engine: docker.DockerClient) -> float:
    """Send SIGTERM amid two requests; return the engine's seconds until the end.

    Fails unless /readyz is 503 at once, the request under way is answered, and the exit
    code is 0.
    """
    container = running.container
    with (
        contextlib.closing(Connection(running.port)) as watcher,
        contextlib.closing(Connection(running.port)) as client,
    ):
        watcher.send(b"GET /readyz HTTP/1.1\r\nHost: monitor\r\n\r\n")
        assert watcher.answer()[0] == 200
        client.send(b"GET /status HTTP/1.1\r\nHost: mon")

        container.kill("SIGTERM")
        watcher.send(b"GET /readyz HTTP/1.1\r\nHost: monitor\r\n\r\n")
        status, body = watcher.answer()
        assert (status, json.loads(body)["status"]) == (503, "fail")
        client.send(b"itor\r\n\r\n")
        status, body = client.answer()
        assert (status, json.loads(body)["stopping"]) == (200, True)

    assert container.wait(timeout=60)["StatusCode"] == 0, container.logs().decode()
    container.reload()
    state = container.attrs["State"]
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (0, False, "")
    assert "Traceback" not in container.logs().decode()
    return seconds_of(state["FinishedAt"]) - killed_at_s(engine, container)


def seconds_of(timestamp: str) -> float:
    """Return seconds since 1970 of a time as the engine writes it, with nanoseconds."""
    found = re.fullmatch(r"(.+?)(\.\d+)?Z", timestamp)
    assert found is not None, timestamp
    whole = datetime.fromisoformat(f"{found[1]}+00:00").timestamp()
    return whole + float(found[2] or 0)


def killed_at_s(engine: docker.DockerClient, container: Container) -> float:
    """Return when the engine sent the signal, by its own clock."""
    filters = {"container": container.id, "event": "kill"}
    [event] = engine.events(since=0, until=int(time.time()) + 1, filters=filters, decode=True)
    return float(event["timeNano"]) / 1e9


def test_the_monitor_is_pid_1_without_privileges(run_monitor: Run) -> None:
    with run_monitor() as running:
        command, lines = run_python(
            running.container,
            "import json; print(json.dumps([open(f'/proc/1/{name}').read()"
            " for name in ('cmdline', 'status')]))",
        )
    assert command.split("\0")[1:3] == ["-m", "monitoring.monitor"]
    status = dict(line.split(":\t", 1) for line in lines.splitlines() if ":\t" in line)
    assert set(status["Uid"].split()) == {"1000"}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def repeat_stop(
    times: int, run_monitor: Run, engine: docker.DockerClient, record: Callable[..., None]
) -> list[float]:
    """Start and stop so often; return and print the seconds of each stop."""
    durations_s = []
    for _ in range(times):
        with run_monitor() as running:
            durations_s.append(stop(running, engine))
    ordered = sorted(durations_s)
    record("stop_s", [round(duration_s, 3) for duration_s in ordered])
    print(
        f"\nSIGTERM to the end, {times} times: {ordered[0]:.3f} s at least,"
        f" {ordered[times // 2]:.3f} s in the middle, {ordered[-1]:.3f} s at most"
    )
    return ordered


def test_sigterm_finishes_what_is_under_way(
    run_monitor: Run,
    docker_engine: docker.DockerClient,
    record_property: Callable[..., None],
) -> None:
    repeat_stop(5, run_monitor, docker_engine, record_property)


@pytest.mark.slow
def test_sigterm_ends_it_within_two_seconds_every_time(
    run_monitor: Run,
    docker_engine: docker.DockerClient,
    record_property: Callable[..., None],
) -> None:
    durations_s = repeat_stop(100, run_monitor, docker_engine, record_property)
    late = [duration_s for duration_s in durations_s if duration_s > STOP_S]
    print(f"longer than {STOP_S} s: {len(late)} of {len(durations_s)}")
    assert not late


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.architecture)
def test_image_is_little_more_than_its_base(
    platform: Platform, image_of: Callable[[str, Platform], BuiltImage]
) -> None:
    base, monitoring = (
        [(layer["digest"], layer["size"]) for layer in image_of(name, platform).manifest["layers"]]
        for name in ("base", "monitoring")
    )
    assert monitoring[: len(base)] == base
    own_bytes = sum(size for _, size in monitoring[len(base) :])
    print(f"\n{platform}: base and {own_bytes} bytes")
    assert 0 < own_bytes <= OWN_BYTES
