"""Readings and settings as the tests like them."""

from __future__ import annotations

from monitoring.cgroup import Cpu, Memory
from monitoring.checks import DiskSpace, Finding, HostMemory, Ollama, Probe, Status, Watched
from monitoring.metrics import About, Moment, Traffic
from monitoring.readings import Process, Readings, judge
from monitoring.settings import Settings

NO_CPU = Cpu(None, None, None, None, None)
HALF_FULL = Memory(50, 100, 0.5)
ROOMY = HostMemory(1000, 600)
ABOUT = About("1.2.3", "abcdef", 1000.0)


def watched(
    name: str = "accelerapp:responseTime",
    status: Status | None = "pass",
    *,
    age_s: float = 3.0,
    found: DiskSpace | Ollama | None = None,
    component_id: str = "",
) -> Watched:
    """Known for `age_s`; nothing known where `status` is None."""
    last = None
    if status is not None:
        value = found.free_bytes if isinstance(found, DiskSpace) else None
        last = Probe(Finding(status, "said", value, found), 0.25, 1.0, 900.0)
    return Watched(name, last, age_s, 22.0, component_id)


def readings(
    *known: Watched,
    memory: Memory = HALF_FULL,
    host: HostMemory = ROOMY,
    cpu: Cpu = NO_CPU,
    throttled_ratio: float | None = None,
) -> Readings:
    return Readings(
        known, memory, host, cpu, throttled_ratio, Process(23_000_000, 1.5, 9, 4), 0.0, 0.0
    )


def moment(read: Readings, traffic: Traffic | None = None, **environ: str) -> Moment:
    settings = Settings.load(environ)
    return Moment(ABOUT, read, judge(read, settings), traffic or Traffic(), 1)
