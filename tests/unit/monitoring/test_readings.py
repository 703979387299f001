"""What is read at one moment, and what is kept of it for the curves."""

from __future__ import annotations

import os
from collections import namedtuple
from typing import Any, cast

import psutil
import pytest

from monitoring import monitor, readings
from monitoring.cgroup import Cgroup, Cpu, Memory
from monitoring.checks import Finding, HostMemory
from monitoring.readings import Instruments, Process, read_disk
from monitoring.watch import Watch

CPU = Cpu(quota_cores=0.5, usage_s=1.5, periods=10, throttled_periods=2, throttled_s=0.1)
OWN = Memory(usage_bytes=100, limit_bytes=400, ratio=0.25)
NONE = Memory(usage_bytes=None, limit_bytes=None, ratio=None)
Host = namedtuple("Host", "total available")


class FakeCgroup:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def memory(self) -> Memory:
        return self._memory

    def cpu(self) -> Cpu:
        return CPU


def instruments(memory: Memory, *watches: Watch) -> Instruments:
    return Instruments(watches, cast(Cgroup, FakeCgroup(memory)))


def watch(name: str, status: Any = "pass", **changes: Any) -> Watch:
    given = {"interval_s": 60.0, "max_age_s": 100.0, **changes}
    return Watch(name, lambda: Finding(status, "looked"), **given)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What psutil says of the machine's memory; an error is raised."""
    said: dict[str, Any] = {"memory": Host(1000, 600)}

    def virtual_memory() -> Any:
        if isinstance(said["memory"], Exception):
            raise said["memory"]
        return said["memory"]

    monkeypatch.setattr(psutil, "virtual_memory", virtual_memory)
    return said


def sampled(made: Instruments, label: str) -> float | None:
    made.history.add(made._sample())
    return made.history.values(label)[-1]


def test_the_curve_of_memory_is_the_container_s(machine: dict[str, Any]) -> None:
    assert sampled(instruments(OWN), "memory") == 100


def test_the_curve_of_memory_is_the_machine_s_outside_of_a_container(
    machine: dict[str, Any],
) -> None:
    assert sampled(instruments(NONE), "memory") == 400


@pytest.mark.parametrize(
    "error", [OSError("no /proc"), KeyError("MemTotal"), ValueError("x"), psutil.Error()]
)
def test_memory_that_nobody_tells_is_no_curve(machine: dict[str, Any], error: Exception) -> None:
    machine["memory"] = error
    assert sampled(instruments(NONE), "memory") is None
    assert instruments(NONE).read().host == HostMemory(None, None)


def test_the_curves_of_probes_are_of_those_that_ended_well(machine: dict[str, Any]) -> None:
    well, slow, failed, never = (
        watch("well"),
        watch("slow", "warn"),
        watch("failed", "fail"),
        watch("never"),
    )
    now_s = [0.0]
    old = watch("old", clock=lambda: now_s[0])
    for one in (well, slow, failed, old):
        one.look()
    now_s[0] = 1000.0
    made = instruments(OWN, well, slow, failed, never, old)
    sample = made._sample()
    assert set(sample.values) == {"memory", "well", "slow"}
    last = well.now().last
    assert last is not None
    assert sample.values["well"] == last.duration_s
    assert sample.cpu == CPU


def test_a_reading_has_all_of_a_moment(machine: dict[str, Any]) -> None:
    one = watch("one")
    one.look()
    read = instruments(OWN, one).read()
    assert (read.memory, read.cpu, read.host) == (OWN, CPU, HostMemory(1000, 600))
    assert [found.name for found in read.watched] == ["one"]
    assert read.watched[0].last is not None
    assert 0 <= read.memory_duration_s < 5
    assert 0 <= read.cpu_duration_s < 5
    assert read.throttled_ratio is None


def test_durations_are_of_their_own_readings(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([10.0, 12.0, 17.0])
    monkeypatch.setattr(readings.time, "monotonic", lambda: next(ticks))
    read = instruments(OWN).read()
    assert (read.memory_duration_s, read.cpu_duration_s) == (2.0, 5.0)


def test_its_own_process_is_read() -> None:
    found = instruments(OWN).read().process
    assert found.resident_bytes is not None
    assert found.resident_bytes > 2**20
    times = os.times()
    assert found.cpu_s is not None
    assert 0 < found.cpu_s <= times.user + times.system + 0.1
    assert found.open_fds is not None
    assert found.open_fds >= 3
    assert found.threads is not None
    assert found.threads >= 1


def test_a_hidden_process_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    made = instruments(OWN)
    monkeypatch.setattr(type(made._process), "num_fds", _refuse)
    assert made.read().process == Process()


def _refuse(self: object) -> None:
    raise psutil.AccessDenied


def test_a_disk_is_what_may_still_be_written_and_all_of_it() -> None:
    free, total = read_disk("/")
    found = os.statvfs("/")
    assert total == found.f_blocks * found.f_frsize
    assert 0 <= free <= total


def test_start_and_stop_are_of_all_that_is_watched(machine: dict[str, Any]) -> None:
    one, other = watch("one"), watch("other")
    made = instruments(OWN, one, other)
    made.start()
    try:
        assert made.history.values("memory") == (100,)
        assert one._thread.is_alive() or one.now().last is not None
        assert other._thread.is_alive() or other.now().last is not None
        assert made.history._thread.is_alive()
        # A look that hangs, or one that waits for its turn, keeps no process from ending.
        threads = (one._thread, other._thread, made.history._thread)
        assert [thread.daemon for thread in threads] == [True, True, True]
    finally:
        made.stop()
    for thread in (one._thread, other._thread, made.history._thread):
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_the_page_s_curves_are_of_probes_memory_and_cpu(machine: dict[str, Any]) -> None:
    made = instruments(OWN, watch("accelerapp:responseTime"), watch("disk:free"))
    for one in made.watches:
        one.look()
    for _ in range(3):
        made.history.add(made._sample())
    curves = {curve.label: curve for curve in monitor._series(made)}
    assert {label: curve.unit for label, curve in curves.items()} == {
        "accelerapp": "s",
        "memory": "bytes",
        "cpu": "cores",
    }
    assert curves["memory"].values == (100, 100, 100)
    assert len(curves["accelerapp"].values) == 3
    assert len(curves["cpu"].values) == 2


@pytest.mark.parametrize("host", [HostMemory(None, 5), HostMemory(5, None)])
def test_half_of_the_machine_s_memory_is_no_curve(
    host: HostMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "_host_memory", lambda: host)
    assert sampled(instruments(NONE), "memory") is None
