"""What the monitor knows at one moment: the watches' last results and this machine's gauges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from monitoring.checks import Disk, Watched, read_disk
from monitoring.watch import Watch


@dataclass(frozen=True, slots=True)
class Readings:
    """One moment. `resident_bytes` is this process's; None where /proc is hidden."""

    watched: tuple[Watched, ...]
    disk: Disk
    resident_bytes: int | None


def take_readings(watches: Iterable[Watch], disk_path: str) -> Readings:
    """Read now. Asks this machine's kernel and nobody else."""
    return Readings(
        watched=tuple(watch.now() for watch in watches),
        disk=read_disk(disk_path, _free_bytes),
        resident_bytes=_resident_bytes(),
    )


def _free_bytes(path: str) -> int:
    return int(psutil.disk_usage(path).free)


def _resident_bytes() -> int | None:
    try:
        return int(psutil.Process().memory_info().rss)
    except (psutil.Error, OSError):
        return None
