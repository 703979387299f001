"""What the monitor knows at one moment: the watches' last results and this machine's gauges."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from monitoring.cgroup import Cgroup, Cpu, Memory
from monitoring.checks import (
    Check,
    HostMemory,
    Watched,
    check_memory,
    check_throttling,
    check_watched,
)
from monitoring.history import History, Sample
from monitoring.settings import Settings
from monitoring.watch import Watch


@dataclass(frozen=True, slots=True)
class Process:
    """The monitor's own process; None where /proc is hidden."""

    resident_bytes: int | None = None
    cpu_s: float | None = None
    open_fds: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """One moment. `throttled_ratio` is that of the last minute; see History."""

    watched: tuple[Watched, ...]
    memory: Memory
    host: HostMemory
    cpu: Cpu
    throttled_ratio: float | None
    process: Process
    memory_duration_s: float
    cpu_duration_s: float


class Instruments:
    """Where readings come from. Reading asks this machine's kernel and nobody else."""

    def __init__(self, watches: Sequence[Watch], cgroup: Cgroup) -> None:
        self.watches = tuple(watches)
        self.history = History(self._sample)
        self._cgroup = cgroup
        self._process = psutil.Process()

    def start(self) -> None:
        """Begin to watch and to sample."""
        for watch in self.watches:
            watch.start()
        self.history.start()

    def stop(self) -> None:
        """Begin nothing new; waits for nothing."""
        for watch in self.watches:
            watch.stop()
        self.history.stop()

    def read(self) -> Readings:
        """Read now."""
        began_s = time.monotonic()
        memory, host = self._cgroup.memory(), _host_memory()
        between_s = time.monotonic()
        cpu = self._cgroup.cpu()
        ended_s = time.monotonic()
        return Readings(
            watched=tuple(watch.now() for watch in self.watches),
            memory=memory,
            host=host,
            cpu=cpu,
            throttled_ratio=self.history.throttled_ratio(cpu, ended_s),
            process=_read_process(self._process),
            memory_duration_s=between_s - began_s,
            cpu_duration_s=ended_s - between_s,
        )

    def _sample(self) -> Sample:
        values: dict[str, float | None] = {}
        memory = self._cgroup.memory()
        host = _host_memory()
        if memory.usage_bytes is not None:
            values["memory"] = memory.usage_bytes
        elif host.total_bytes is not None and host.available_bytes is not None:
            values["memory"] = host.total_bytes - host.available_bytes
        for watch in self.watches:
            now = watch.now()
            if now.last is not None and not now.overdue and now.last.finding.status != "fail":
                values[now.name] = now.last.duration_s
        return Sample(time.monotonic(), self._cgroup.cpu(), values)


def judge(readings: Readings, settings: Settings) -> tuple[Check, ...]:
    """All checks of one moment, the watched ones first."""

    def required(component: str) -> bool:
        return component in settings.required

    return (
        *(
            check_watched(watched, required=required(watched.name.partition(":")[0]))
            for watched in readings.watched
        ),
        check_memory(
            readings.memory,
            readings.host,
            warn_ratio=settings.memory_warn_ratio,
            fail_ratio=settings.memory_fail_ratio,
            required=required("memory"),
            duration_s=readings.memory_duration_s,
        ),
        check_throttling(
            readings.throttled_ratio,
            readings.cpu.quota_cores,
            warn_ratio=settings.throttled_warn_ratio,
            fail_ratio=settings.throttled_fail_ratio,
            required=required("cpu"),
            duration_s=readings.cpu_duration_s,
        ),
    )


def read_disk(path: str) -> tuple[int, int]:
    """Bytes that an unprivileged user may still write, and bytes in all; may raise OSError."""
    usage = psutil.disk_usage(path)
    return int(usage.free), int(usage.total)


def _host_memory() -> HostMemory:
    try:
        memory = psutil.virtual_memory()
    except (psutil.Error, OSError, ValueError, KeyError):
        return HostMemory(None, None)
    return HostMemory(int(memory.total), int(memory.available))


def _read_process(process: psutil.Process) -> Process:
    try:
        with process.oneshot():
            times = process.cpu_times()
            return Process(
                resident_bytes=int(process.memory_info().rss),
                cpu_s=float(times.user + times.system),
                open_fds=int(process.num_fds()),
                threads=int(process.num_threads()),
            )
    except (psutil.Error, OSError):
        return Process()
