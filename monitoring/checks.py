"""The checks, as values: what was found, and what that means for health.

Nothing here reads a clock, a disk or the network; all of these are arguments.
The words are those of the draft "Health Check Response Format for HTTP APIs".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from monitoring.fetch import FetchError, HttpAnswer

Status = Literal["pass", "warn", "fail"]
Clock = Callable[[], float]
Fetch = Callable[[str, float], HttpAnswer]


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of /health, `name` as `component:measurement`; no value if none was observed."""

    name: str
    status: Status
    output: str
    observed_value: float | None
    observed_unit: str
    age_s: float | None = None

    def document(self) -> dict[str, object]:
        """The entry as the draft has it; `age_s` is ours."""
        entry: dict[str, object] = {"status": self.status, "output": self.output}
        if self.observed_value is not None:
            entry["observedValue"] = self.observed_value
            entry["observedUnit"] = self.observed_unit
        if self.age_s is not None:
            entry["age_s"] = round(self.age_s, 3)
        return entry


@dataclass(frozen=True, slots=True)
class Probe:
    """What one finished probe found. `finished_s` is by the clock that timed it."""

    status: Status
    output: str
    duration_s: float
    finished_s: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of a target at one moment.

    `age_s` counts from the end of the last probe, or from the start of the
    watch while none has ended. Past `max_age_s` the last probe proves nothing.
    """

    target: str
    last: Probe | None
    age_s: float
    max_age_s: float

    @property
    def overdue(self) -> bool:
        return self.age_s > self.max_age_s

    @property
    def success(self) -> bool | None:
        """Whether the target is known to be well; None while the first probe is under way."""
        if self.overdue:
            return False
        return None if self.last is None else self.last.status != "fail"


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes that an unprivileged user may still write at `path`, or why nobody knows."""

    path: str
    free_bytes: int | None
    error: str = ""


def probe_ready(url: str, *, deadline_s: float, fetch: Fetch, clock: Clock) -> Probe:
    """Ask `url` once; whatever happens is a Probe.

    200 is `pass`, or what the JSON body says in "status"; all else is `fail`.
    """
    began_s = clock()
    try:
        answer = fetch(url, deadline_s)
    except FetchError as error:
        status: Status = "fail"
        output = str(error)
    else:
        status = _stated(answer.body) if answer.status == 200 else "fail"
        output = f"answered {answer.status}" + (", warn" if status == "warn" else "")
        if answer.status == 200 and status == "fail":
            output += ", fail"
    finished_s = clock()
    return Probe(status, output, finished_s - began_s, finished_s)


def _stated(body: bytes) -> Status:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "pass"
    stated = document.get("status") if isinstance(document, dict) else None
    return stated if stated in ("warn", "fail") else "pass"


def check_watched(watched: Watched) -> Check:
    """The last probe's verdict while it is fresh; `warn` before the first, `fail` when overdue."""
    last = watched.last
    if watched.overdue:
        status: Status = "fail"
        output = f"no probe has ended for {watched.age_s:.0f} s"
    elif last is None:
        status, output = "warn", "the first probe is under way"
    else:
        status, output = last.status, last.output
    return Check(
        name=f"{watched.target}:responseTime",
        status=status,
        output=output,
        observed_value=None if last is None else round(last.duration_s, 6),
        observed_unit="s",
        age_s=watched.age_s,
    )


def read_disk(path: str, free_bytes: Callable[[str], int]) -> Disk:
    """Ask `free_bytes`, which may raise OSError."""
    try:
        return Disk(path, free_bytes(path))
    except OSError as error:
        return Disk(path, None, error.strerror or str(error))


def check_disk(disk: Disk, *, warn_bytes: int, fail_bytes: int) -> Check:
    """`fail` below `fail_bytes` or if unknown, `warn` below `warn_bytes`; 0 turns either off."""
    if disk.free_bytes is None:
        status: Status = "fail"
        output = f"{disk.path}: {disk.error}"
    elif disk.free_bytes < fail_bytes:
        status, output = "fail", f"{disk.path}: less than {fail_bytes} bytes free"
    elif disk.free_bytes < warn_bytes:
        status, output = "warn", f"{disk.path}: less than {warn_bytes} bytes free"
    else:
        status, output = "pass", f"{disk.path}: enough free"
    return Check("disk:free", status, output, disk.free_bytes, "bytes")


def overall(checks: Iterable[Check]) -> Status:
    """The worst of all; `pass` for none."""
    statuses = {check.status for check in checks}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"


def health_document(checks: Iterable[Check]) -> dict[str, object]:
    """The body of /health; several checks of one name become a list, in their order."""
    entries: dict[str, list[dict[str, object]]] = {}
    checks = tuple(checks)
    for check in checks:
        entries.setdefault(check.name, []).append(check.document())
    return {"status": overall(checks), "checks": entries}
