"""The checks, as values: what was found, and what that means for health.

Nothing here reads a clock, a disk or the network; all of these are arguments.
The words are those of the draft "Health Check Response Format for HTTP APIs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from monitoring.cgroup import Memory

Status = Literal["pass", "warn", "fail"]
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail")
WORDS: dict[Status, str] = {"pass": "healthy", "warn": "degraded", "fail": "unhealthy"}


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of /health, `name` as `component:measurement`; no value if none was observed.

    `age_s` counts from the end of the observation, or from the start if there is none.
    `component_id` tells checks of one name apart: the path of a disk.
    """

    name: str
    status: Status
    output: str
    value: float | None
    unit: str
    required: bool
    age_s: float = 0.0
    duration_s: float | None = None
    component_id: str = ""

    @property
    def component(self) -> str:
        return self.name.partition(":")[0]

    @property
    def weight(self) -> Status:
        """What the check means for the whole: what is not required can degrade, not fail it."""
        return "warn" if self.status == "fail" and not self.required else self.status

    def document(self, at: datetime) -> dict[str, object]:
        """The entry as the draft has it; `required` and what ends in `_s` are ours."""
        entry: dict[str, object] = {"status": self.status, "output": self.output}
        if self.component_id:
            entry["componentId"] = self.component_id
        if self.value is not None:
            entry["observedValue"] = self.value
            entry["observedUnit"] = self.unit
        entry["required"] = self.required
        entry["age_s"] = round(self.age_s, 3)
        if self.duration_s is not None:
            entry["duration_s"] = round(self.duration_s, 6)
            observed = datetime.fromtimestamp(at.timestamp() - self.age_s, UTC)
            entry["time"] = observed.isoformat(timespec="milliseconds")
        return entry


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes of a file system; `free_bytes` is what an unprivileged user may still write."""

    path: str
    free_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ollama:
    """What an Ollama said of itself: version, number of models, and whether each wanted is there.

    `version` is empty if it was not one; the number of models is None if it did not say.
    """

    version: str
    models: int | None
    present: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found: `value` is the observation where that is not the time it took."""

    status: Status
    output: str
    value: float | None = None
    found: DiskSpace | Ollama | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A finding and its time. `finished_s` is by the clock that timed it, `at_s` since 1970."""

    finding: Finding
    duration_s: float
    finished_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of a target at one moment.

    `age_s` counts from the end of the last probe, or from the start of the
    watch while none has ended. Past `max_age_s` the last probe proves nothing.
    `succeeded_at_s` is when a probe last did not fail, in seconds since 1970.
    """

    name: str
    last: Probe | None
    age_s: float
    max_age_s: float
    component_id: str = ""
    succeeded_at_s: float | None = None
    counts: Mapping[Status, int] = field(default_factory=dict)

    @property
    def overdue(self) -> bool:
        return self.age_s > self.max_age_s


def check_watched(watched: Watched, *, required: bool) -> Check:
    """The last probe's verdict while it is fresh; `warn` before the first, `fail` when overdue."""
    last = watched.last
    if watched.overdue:
        status: Status = "fail"
        output = f"no probe has ended for {watched.age_s:.0f} s"
    elif last is None:
        status, output = "warn", "the first probe is under way"
    else:
        status, output = last.finding.status, last.finding.output
    timed = watched.name.endswith(":responseTime")
    value = None
    if last is not None:
        value = round(last.duration_s, 6) if timed else last.finding.value
    return Check(
        name=watched.name,
        status=status,
        output=output,
        value=value,
        unit="s" if timed else "bytes" if watched.name.startswith("disk:") else "",
        required=required,
        age_s=watched.age_s,
        duration_s=None if last is None else last.duration_s,
        component_id=watched.component_id,
    )


@dataclass(frozen=True, slots=True)
class Threshold:
    """Free space, as bytes or as a share of the whole; its text is what was set."""

    text: str
    size_bytes: int = 0
    ratio: float = 0.0

    def of(self, whole_bytes: int) -> float:
        return max(self.size_bytes, self.ratio * whole_bytes)

    def __str__(self) -> str:
        return self.text


def judge_disk(disk: DiskSpace, *, warn: Threshold, fail: Threshold) -> Finding:
    """`fail` below `fail`, `warn` below `warn`; a threshold of nothing is off."""
    status: Status = "pass"
    output = f"{disk.path}: enough free"
    for at, threshold in (("warn", warn), ("fail", fail)):
        if disk.free_bytes < threshold.of(disk.size_bytes):
            status = "fail" if at == "fail" else "warn"
            output = f"{disk.path}: less than {threshold} free"
    return Finding(status, output, disk.free_bytes, disk)


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The machine's own memory, in bytes; None where it cannot be read."""

    total_bytes: int | None
    available_bytes: int | None


def check_memory(
    memory: Memory,
    host: HostMemory,
    *,
    warn_ratio: float,
    fail_ratio: float,
    required: bool,
    duration_s: float,
) -> Check:
    """Use against the container's limit; against the machine's memory where no limit is smaller.

    From `warn_ratio` on it warns, from `fail_ratio` on it fails; 0 turns either off.
    """
    ratio = memory.ratio
    of = "the container's limit"
    limit_bytes = memory.limit_bytes
    if ratio is None or (
        limit_bytes is not None and host.total_bytes and limit_bytes > host.total_bytes
    ):
        of = "the machine's memory"
        ratio = None
        if host.total_bytes and host.available_bytes is not None:
            ratio = 1 - host.available_bytes / host.total_bytes
    if ratio is None:
        status: Status = "warn"
        output = "neither the container's memory nor the machine's can be read"
    else:
        status = _from(ratio, warn_ratio, fail_ratio)
        output = f"{ratio:.1%} of {of} in use"
    return _share("memory:utilization", status, output, ratio, required, duration_s)


def check_throttling(
    ratio: float | None,
    quota_cores: float | None,
    *,
    warn_ratio: float,
    fail_ratio: float,
    required: bool,
    duration_s: float,
) -> Check:
    """The share of periods in which the quota stopped the container; `pass` without a quota."""
    if quota_cores is None:
        status: Status = "pass"
        output = "no quota"
    elif ratio is None:
        status, output = "pass", f"quota of {quota_cores:g} cores; not used yet"
    else:
        status = _from(ratio, warn_ratio, fail_ratio)
        output = f"throttled in {ratio:.1%} of the periods; quota of {quota_cores:g} cores"
    return _share("cpu:throttled", status, output, ratio, required, duration_s)


def _share(
    name: str,
    status: Status,
    output: str,
    ratio: float | None,
    required: bool,
    duration_s: float,
) -> Check:
    value = None if ratio is None else round(ratio, 6)
    return Check(name, status, output, value, "ratio", required, duration_s=duration_s)


def _from(ratio: float, warn_ratio: float, fail_ratio: float) -> Status:
    if fail_ratio and ratio >= fail_ratio:
        return "fail"
    return "warn" if warn_ratio and ratio >= warn_ratio else "pass"


def overall(checks: Iterable[Check]) -> Status:
    """The worst of what each means for the whole; `pass` for none."""
    weights = {check.weight for check in checks}
    return "fail" if "fail" in weights else "warn" if "warn" in weights else "pass"


def health_document(checks: Iterable[Check], at: datetime) -> dict[str, object]:
    """The body of /health; several checks of one name become a list, in their order."""
    entries: dict[str, list[dict[str, object]]] = {}
    checks = tuple(checks)
    for check in checks:
        entries.setdefault(check.name, []).append(check.document(at))
    status = overall(checks)
    return {"status": status, "description": WORDS[status], "checks": entries}
