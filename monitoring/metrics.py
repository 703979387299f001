"""The metrics: their names are a contract. Written as text 0.0.4 or OpenMetrics 1.0.0.

Gauges of this machine are read at scrape time; what is asked in the background
says so, and has its age beside it. The writer is ours because prometheus_client's
takes more than half of the millisecond that a scrape may; its parsers judge it.
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from monitoring.checks import (
    STATUSES,
    WORDS,
    Check,
    DiskSpace,
    Ollama,
    Watched,
    overall,
)
from monitoring.readings import Readings

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPENMETRICS = OPENMETRICS_TYPE.partition(";")[0]

Kind = Literal["gauge", "counter", "info", "histogram"]
Sample = tuple[tuple[str, ...], float | None]


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the monitor runs. `started_at_s` is since 1970."""

    version: str
    revision: str
    started_at_s: float

    @property
    def python(self) -> str:
        return ".".join(map(str, sys.version_info[:3]))


REASONS = ("idle", "late", "unread", "crowded")
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


class Traffic:
    """Counts of what was served. One thread counts and shows: that of the server."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, ...], int] = {}
        self.closings: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._buckets: dict[str, list[int]] = {}
        self._sums_s: dict[str, float] = {}

    def answered(self, method: str, path: str, code: int, duration_s: float) -> None:
        """Count an answer; method and path out of small sets, since each makes a series."""
        key = (method, path, str(code))
        self.answers[key] = self.answers.get(key, 0) + 1
        buckets = self._buckets.setdefault(path, [0] * (len(BUCKETS_S) + 1))
        buckets[bisect_left(BUCKETS_S, duration_s)] += 1
        self._sums_s[path] = self._sums_s.get(path, 0.0) + duration_s

    def closed(self, reason: str) -> None:
        """Count a connection that the monitor closed for one of REASONS."""
        self.closings[reason] += 1

    def histograms(self) -> Iterator[Sample]:
        """The times of answers by path, cumulative as the formats have them."""
        for path, buckets in self._buckets.items():
            count = 0
            for bound, more in zip((*BUCKETS_S, math.inf), buckets, strict=True):
                count += more
                yield ("_bucket", path, _number(bound)), count
            yield ("_sum", path), self._sums_s[path]
            yield ("_count", path), count


@dataclass(frozen=True, slots=True)
class Moment:
    """All that one exposition shows."""

    about: About
    readings: Readings
    checks: tuple[Check, ...]
    traffic: Traffic
    connections: int


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name with its base unit, its labels, its meaning, its samples of one moment.

    A sample of a histogram has the suffix of its name before its labels' values, and
    after them the bound of its bucket where it is one.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Moment], Iterable[Sample]]

    def head(self, openmetrics: bool) -> str:
        """HELP and TYPE, each with its line feed."""
        name, kind, text = self.name, self.kind, _escaped(self.help)
        if openmetrics:
            # There the suffix belongs to the sample, not to the family.
            name = name.removesuffix("_total" if kind == "counter" else "_info")
            text = text.replace('"', '\\"')
        elif kind == "info":
            kind = "gauge"
        return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"

    def lines(self, moment: Moment) -> Iterator[str]:
        """The samples, each with its line feed; the same in both formats."""
        for values, value in self.samples(moment):
            if value is None:
                continue
            name, labels = self.name, self.labels
            if self.kind == "histogram":
                suffix, *given = values
                name += suffix
                values = tuple(given)
                if suffix == "_bucket":
                    labels = (*labels, "le")
            pairs = ",".join(
                f'{label}="{_escaped_label(given)}"'
                for label, given in zip(labels, values, strict=True)
            )
            yield f"{name}{{{pairs}}} {_number(value)}\n" if pairs else f"{name} {_number(value)}\n"


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escaped_label(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _one(read: Callable[[Moment], float | None]) -> Callable[[Moment], Iterable[Sample]]:
    return lambda moment: (((), read(moment)),)


def _health(moment: Moment) -> Iterator[Sample]:
    status = overall(moment.checks)
    for each, word in WORDS.items():
        yield (word,), float(each == status)


def _key(check: Check | Watched) -> tuple[str, str]:
    return check.name.partition(":")[0], check.component_id


def _check_status(moment: Moment) -> Iterator[Sample]:
    for check in moment.checks:
        for each in STATUSES:
            yield (*_key(check), each), float(each == check.status)


def _check_required(moment: Moment) -> Iterator[Sample]:
    for check in moment.checks:
        yield _key(check), float(check.required)


def _check_age(moment: Moment) -> Iterator[Sample]:
    for check in moment.checks:
        yield _key(check), check.age_s


def _check_duration(moment: Moment) -> Iterator[Sample]:
    for check in moment.checks:
        yield _key(check), check.duration_s


def _check_success(moment: Moment) -> Iterator[Sample]:
    for watched in moment.readings.watched:
        yield _key(watched), watched.succeeded_at_s


def _check_probes(moment: Moment) -> Iterator[Sample]:
    for watched in moment.readings.watched:
        for status, count in watched.counts.items():
            yield (*_key(watched), status), count


def _disks(moment: Moment) -> Iterator[DiskSpace]:
    for watched in moment.readings.watched:
        found = None if watched.last is None else watched.last.finding.found
        if isinstance(found, DiskSpace) and not watched.overdue:
            yield found


def _ollamas(moment: Moment) -> Iterator[Ollama]:
    for watched in moment.readings.watched:
        found = None if watched.last is None else watched.last.finding.found
        if isinstance(found, Ollama) and not watched.overdue:
            yield found


def _models_present(moment: Moment) -> Iterator[Sample]:
    for ollama in _ollamas(moment):
        for model, present in ollama.present.items():
            yield (model,), float(present)


FAMILIES = (
    Family(
        "accelerapp_health_status",
        "gauge",
        ("status",),
        "1 for the overall status that /health would answer now, 0 for the others.",
        _health,
    ),
    Family(
        "accelerapp_check_status",
        "gauge",
        ("check", "id", "status"),
        "1 for the status of a check, 0 for the others; id is the path of a disk.",
        _check_status,
    ),
    Family(
        "accelerapp_check_required",
        "gauge",
        ("check", "id"),
        "1 if the failure of a check makes the whole unhealthy, 0 if it degrades it.",
        _check_required,
    ),
    Family(
        "accelerapp_check_age_seconds",
        "gauge",
        ("check", "id"),
        "Time since the background probe of a check last ended, or since the start if none has;"
        " 0 for what is read at scrape time.",
        _check_age,
    ),
    Family(
        "accelerapp_check_duration_seconds",
        "gauge",
        ("check", "id"),
        "How long the last look of a check took, well or not; none before the first ends.",
        _check_duration,
    ),
    Family(
        "accelerapp_check_last_success_timestamp_seconds",
        "gauge",
        ("check", "id"),
        "When a background probe last ended without a failure, since 1970; none if none has.",
        _check_success,
    ),
    Family(
        "accelerapp_check_probes_total",
        "counter",
        ("check", "id", "status"),
        "Background probes that have ended, by what they found.",
        _check_probes,
    ),
    Family(
        "accelerapp_disk_free_bytes",
        "gauge",
        ("path",),
        "Space an unprivileged user may still fill, as the last background probe read it;"
        " none if the path could not be read.",
        lambda moment: (((disk.path,), disk.free_bytes) for disk in _disks(moment)),
    ),
    Family(
        "accelerapp_disk_size_bytes",
        "gauge",
        ("path",),
        "Size of the file system, as the last background probe read it;"
        " none if the path could not be read.",
        lambda moment: (((disk.path,), disk.size_bytes) for disk in _disks(moment)),
    ),
    Family(
        "accelerapp_memory_usage_bytes",
        "gauge",
        (),
        "Memory of the container without its inactive file cache, as docker stats shows it,"
        " read at scrape time; none outside of a memory cgroup.",
        _one(lambda moment: moment.readings.memory.usage_bytes),
    ),
    Family(
        "accelerapp_memory_limit_bytes",
        "gauge",
        (),
        "Smallest memory limit of the container's cgroup and those around it,"
        " read at scrape time; none if there is no limit.",
        _one(lambda moment: moment.readings.memory.limit_bytes),
    ),
    Family(
        "accelerapp_memory_host_total_bytes",
        "gauge",
        (),
        "Memory of the machine, whatever the container may use, read at scrape time.",
        _one(lambda moment: moment.readings.host.total_bytes),
    ),
    Family(
        "accelerapp_memory_host_available_bytes",
        "gauge",
        (),
        "Memory of the machine that is to be had without swapping, read at scrape time.",
        _one(lambda moment: moment.readings.host.available_bytes),
    ),
    Family(
        "accelerapp_cpu_quota_cores",
        "gauge",
        (),
        "Smallest CPU quota of the container's cgroup and those around it, in cores,"
        " read at scrape time; none if there is no quota.",
        _one(lambda moment: moment.readings.cpu.quota_cores),
    ),
    Family(
        "accelerapp_cpu_usage_seconds_total",
        "counter",
        (),
        "CPU time that the container has used, read at scrape time.",
        _one(lambda moment: moment.readings.cpu.usage_s),
    ),
    Family(
        "accelerapp_cpu_periods_total",
        "counter",
        (),
        "Periods of the CPU quota that have passed with something to run, read at scrape time;"
        " none without a quota.",
        _one(lambda moment: moment.readings.cpu.periods),
    ),
    Family(
        "accelerapp_cpu_throttled_periods_total",
        "counter",
        (),
        "Periods in which the CPU quota stopped the container, read at scrape time;"
        " none without a quota.",
        _one(lambda moment: moment.readings.cpu.throttled_periods),
    ),
    Family(
        "accelerapp_cpu_throttled_seconds_total",
        "counter",
        (),
        "Time for which the CPU quota stopped the container, read at scrape time;"
        " none without a quota.",
        _one(lambda moment: moment.readings.cpu.throttled_s),
    ),
    Family(
        "accelerapp_ollama_info",
        "info",
        ("version",),
        "Version of the LLM service, as the last background probe read it;"
        " none if it did not answer.",
        lambda moment: (((ollama.version,), 1) for ollama in _ollamas(moment)),
    ),
    Family(
        "accelerapp_ollama_models",
        "gauge",
        (),
        "Number of models that the LLM service has, as the last background probe read it;"
        " none if it did not answer.",
        lambda moment: (((), ollama.models) for ollama in _ollamas(moment)),
    ),
    Family(
        "accelerapp_ollama_model_present",
        "gauge",
        ("model",),
        "1 for each wanted model that the LLM service has, 0 for one that it lacks,"
        " as the last background probe read it; none if it did not answer.",
        _models_present,
    ),
    Family(
        "accelerapp_monitor_info",
        "info",
        ("version", "revision", "python"),
        "What the monitor is.",
        lambda moment: (((moment.about.version, moment.about.revision, moment.about.python), 1),),
    ),
    Family(
        "accelerapp_monitor_start_time_seconds",
        "gauge",
        (),
        "When the monitor started, since 1970.",
        _one(lambda moment: moment.about.started_at_s),
    ),
    Family(
        "accelerapp_monitor_http_requests_total",
        "counter",
        ("method", "path", "code"),
        "Requests that were answered; what the monitor does not have is other.",
        lambda moment: moment.traffic.answers.items(),
    ),
    Family(
        "accelerapp_monitor_http_request_duration_seconds",
        "histogram",
        ("path",),
        "Time that it took to make an answer.",
        lambda moment: moment.traffic.histograms(),
    ),
    Family(
        "accelerapp_monitor_http_connections",
        "gauge",
        (),
        "Connections that are open, this scrape's own included.",
        _one(lambda moment: moment.connections),
    ),
    Family(
        "accelerapp_monitor_http_connections_closed_total",
        "counter",
        ("reason",),
        "Connections that the monitor closed because they were idle, late with a request,"
        " did not read their answer (unread), or were crowded out by newer ones.",
        lambda moment: (((reason,), count) for reason, count in moment.traffic.closings.items()),
    ),
    Family(
        "accelerapp_monitor_process_resident_memory_bytes",
        "gauge",
        (),
        "Memory of the monitor's own process, read at scrape time.",
        _one(lambda moment: moment.readings.process.resident_bytes),
    ),
    Family(
        "accelerapp_monitor_process_cpu_seconds_total",
        "counter",
        (),
        "CPU time of the monitor's own process, read at scrape time.",
        _one(lambda moment: moment.readings.process.cpu_s),
    ),
    Family(
        "accelerapp_monitor_process_open_fds",
        "gauge",
        (),
        "Open file descriptors of the monitor's own process, read at scrape time.",
        _one(lambda moment: moment.readings.process.open_fds),
    ),
    Family(
        "accelerapp_monitor_process_threads",
        "gauge",
        (),
        "Threads of the monitor's own process, read at scrape time.",
        _one(lambda moment: moment.readings.process.threads),
    ),
)

_HEADS = {
    openmetrics: tuple(family.head(openmetrics) for family in FAMILIES)
    for openmetrics in (False, True)
}


def exposition(moment: Moment, accept: str) -> tuple[bytes, str]:
    """All metrics, in the format that `accept` (RFC 9110, 12.5.1) likes best, and its media type.

    Each has HELP and TYPE, even where it has no sample. Text 0.0.4 for whoever
    asks for neither format: browsers, curl, probes.
    """
    openmetrics = _wants_openmetrics(accept)
    parts = []
    for head, family in zip(_HEADS[openmetrics], FAMILIES, strict=True):
        parts.append(head)
        parts.extend(family.lines(moment))
    if openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode(), OPENMETRICS_TYPE if openmetrics else TEXT_TYPE


def _wants_openmetrics(accept: str) -> bool:
    liked = {_OPENMETRICS: 0.0, "text/plain": 0.0}
    for part in accept.lower().split(","):
        media, *parameters = (word.strip() for word in part.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        quality = given.get("q", "1")
        if media not in liked or not re.fullmatch(r"[01](\.[0-9]{0,3})?", quality):
            continue
        if media == _OPENMETRICS and given.get("version", "1.0.0").strip('"') != "1.0.0":
            continue
        liked[media] = max(liked[media], float(quality))
    return 0 < liked[_OPENMETRICS] >= liked["text/plain"]
