"""The container's memory and CPU, as the kernel's control groups account for them.

A group's limits hold for everything below it, so the truth is the smallest one from the
process's own group up to the mount point. After the kernel's cgroup-v1, cgroup-v2 and sched-bwc
documents, proc(5), cgroups(7) and cgroup_namespaces(7).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# No limit in v1 is the largest count of whole pages, whatever the size of a page.
_UNLIMITED_BYTES = 2**62
# The kernel gives a whole file to one read; memory.stat is the longest and fits a page.
_READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """`usage_bytes` as `docker stats` has it; None for what is unknown or has no limit.

    `limit_bytes` is the smallest limit that holds, `ratio` that of the fullest group with a
    limit: neighbours can fill a pod in which this container holds little.
    """

    usage_bytes: int | None
    limit_bytes: int | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Cpu:
    """The smallest quota that holds, and counters; None for what is unknown or has no quota.

    `periods` and what is throttled are of the group with that quota, or of the own group.
    """

    quota_cores: float | None
    usage_s: float | None
    periods: int | None
    throttled_periods: int | None
    throttled_s: float | None


@dataclass(frozen=True, slots=True)
class _Mount:
    """A line of mountinfo: `root` is the group that is seen at `point`."""

    v2: bool
    root: bytes
    point: bytes
    options: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Controller:
    """Directories of the groups that hold the process, its own first; none if there are none."""

    v2: bool
    levels: tuple[bytes, ...]


class Cgroup:
    """The groups of this process, found once and read at each question. Nothing here raises."""

    __slots__ = ("_cpu", "_cpuacct", "_memory")

    def __init__(self, memory: _Controller, cpu: _Controller, cpuacct: _Controller) -> None:
        self._memory = memory
        self._cpu = cpu
        self._cpuacct = cpuacct

    @classmethod
    def find(cls, root: Path = Path("/")) -> Cgroup:
        """By /proc/self/cgroup and /proc/self/mountinfo; all is None where these are missing."""
        at = os.fsencode(root).rstrip(b"/")
        paths = _memberships(_read_all(at + b"/proc/self/cgroup"))
        mounts = _mounts(_read_all(at + b"/proc/self/mountinfo"))
        return cls(
            memory=_controller(b"memory", paths, mounts, at),
            cpu=_controller(b"cpu", paths, mounts, at),
            cpuacct=_controller(b"cpuacct", paths, mounts, at),
        )

    def memory(self) -> Memory:
        """Read now."""
        v2 = self._memory.v2
        limit_file = b"/memory.max" if v2 else b"/memory.limit_in_bytes"
        usage_file = b"/memory.current" if v2 else b"/memory.usage_in_bytes"
        cache_key = b"inactive_file" if v2 else b"total_inactive_file"
        # Usage and limit; the usage of an ancestor without a limit is of no interest.
        groups: list[tuple[int | None, int | None]] = []
        for level in self._memory.levels:
            limit = _limit(_number(_read(level + limit_file)))
            if groups and limit is None:
                continue
            usage = _number(_read(level + usage_file))
            stat = _read(level + b"/memory.stat")
            cache = _value(stat, cache_key)
            if usage is not None and cache is not None and cache < usage:
                usage -= cache
            groups.append((usage, limit))
            if not v2:
                # Of ancestors that are not mounted here, too. They hold no less than this group.
                groups.append((usage, _limit(_value(stat, b"hierarchical_memory_limit"))))
        limited = [(usage, limit) for usage, limit in groups if limit is not None]
        return Memory(
            usage_bytes=groups[0][0] if groups else None,
            limit_bytes=min((limit for _, limit in limited), default=None),
            ratio=max(
                (usage / limit for usage, limit in limited if usage is not None and limit > 0),
                default=None,
            ),
        )

    def cpu(self) -> Cpu:
        """Read now."""
        quota_cores: float | None = None
        stat_level = self._cpu.levels[0] if self._cpu.levels else None
        for level in self._cpu.levels:
            cores = _quota_cores(level, self._cpu.v2)
            if cores is not None and (quota_cores is None or cores < quota_cores):
                quota_cores, stat_level = cores, level
        stat = b"" if stat_level is None else _read(stat_level + b"/cpu.stat")
        return Cpu(
            quota_cores=quota_cores,
            usage_s=self._cpu_usage_s(),
            periods=_value(stat, b"nr_periods"),
            throttled_periods=_value(stat, b"nr_throttled"),
            throttled_s=(
                _seconds(_value(stat, b"throttled_usec"), 10**6)
                if self._cpu.v2
                else _seconds(_value(stat, b"throttled_time"), 10**9)
            ),
        )

    def _cpu_usage_s(self) -> float | None:
        if not self._cpuacct.levels:
            return None
        own = self._cpuacct.levels[0]
        if self._cpuacct.v2:
            return _seconds(_value(_read(own + b"/cpu.stat"), b"usage_usec"), 10**6)
        return _seconds(_number(_read(own + b"/cpuacct.usage")), 10**9)


def _memberships(text: bytes) -> dict[bytes, bytes]:
    """Path by v1 controller, and v2's by the empty name, of lines like `4:cpu,cpuacct:/a`."""
    paths: dict[bytes, bytes] = {}
    for line in text.split(b"\n"):
        fields = line.split(b":", 2)
        if len(fields) == 3:
            paths.update(dict.fromkeys(fields[1].split(b","), fields[2]))
    return paths


def _mounts(text: bytes) -> list[_Mount]:
    """The mounted cgroup hierarchies of mountinfo, in its order."""
    mounts = []
    for line in text.split(b"\n"):
        # A hyphen ends the optional fields, which are any number.
        before, _, after = line.partition(b" - ")
        place, kind = before.split(b" "), after.split(b" ")
        if len(place) >= 6 and len(kind) >= 3 and kind[0] in (b"cgroup", b"cgroup2"):
            mounts.append(
                _Mount(
                    v2=kind[0] == b"cgroup2",
                    root=_unescaped(place[3]),
                    point=_unescaped(place[4]),
                    options=frozenset(kind[2].split(b",")),
                )
            )
    return mounts


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\([0-3][0-7]{2})", lambda octal: bytes((int(octal[1], 8),)), text)


def _controller(
    name: bytes, paths: dict[bytes, bytes], mounts: list[_Mount], root: bytes
) -> _Controller:
    """A controller is in v1 when a v1 line of /proc/self/cgroup names it, otherwise in v2."""
    v2 = name not in paths
    path = paths.get(b"" if v2 else name)
    if path is None:
        return _Controller(v2, ())
    best: tuple[bytes, ...] = ()
    best_is_own = False
    for mount in mounts:
        if mount.v2 != v2 or not (v2 or name in mount.options):
            continue
        is_own, levels = _levels(mount, path, root)
        # The mount that shows the most ancestors; the last of equals hides those before it.
        if (is_own, len(levels)) >= (best_is_own, len(best)):
            best_is_own, best = is_own, levels
    return _Controller(v2, best)


def _levels(mount: _Mount, path: bytes, root: bytes) -> tuple[bool, tuple[bytes, ...]]:
    """Whether the group at `path` was found in the mount, and the directories from it upwards."""
    point = root + mount.point.rstrip(b"/")
    above, below = _names(mount.root), _names(path)
    names = below[len(above) :]
    if below[: len(above)] == above and b".." not in names:
        own = b"/".join((point, *names))
        if os.path.isdir(own):
            levels = [b"/".join((point, *names[:depth])) for depth in range(len(names), -1, -1)]
            return True, tuple(levels)
    # Both paths are relative to the cgroup namespace, and `..` leaves it: what lies between
    # has no name here. A process that was moved, or a sandbox that shows the host's path,
    # still sees its container where runtimes mount it, so the mount point is the best guess,
    # as it is for the JVM.
    return False, (point,)


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]


def _quota_cores(level: bytes, v2: bool) -> float | None:
    if v2:
        quota_text, _, period_text = _read(level + b"/cpu.max").partition(b" ")
        quota, period = _number(quota_text), _number(period_text)
    else:
        quota = _number(_read(level + b"/cpu.cfs_quota_us"))
        period = None if quota is None else _number(_read(level + b"/cpu.cfs_period_us"))
    # The kernel accepts no quota or period of 0.
    return quota / period if quota and period else None


def _seconds(count: int | None, per_second: int) -> float | None:
    return None if count is None else count / per_second


def _limit(value: int | None) -> int | None:
    return value if value is not None and value < _UNLIMITED_BYTES else None


def _value(stat: bytes, key: bytes) -> int | None:
    """Of a flat keyed file: one line for each key."""
    _, found, rest = (b"\n" + stat).partition(b"\n" + key + b" ")
    return _number(rest.partition(b"\n")[0]) if found else None


def _number(text: bytes) -> int | None:
    """None for all but an unsigned count of 64 bits: `max`, -1 and rubbish."""
    text = text.strip()
    return int(text) if text.isdigit() and len(text) <= 20 else None


def _read(path: bytes) -> bytes:
    """What the file says now, nothing if it cannot be read. Faster than a file object."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.read(descriptor, _READ_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""


def _read_all(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return b""
