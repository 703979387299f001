"""The metrics, and their text in Prometheus' exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from monitoring.readings import Readings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A family: its name with its base unit, its meaning, and its samples of one moment."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: Callable[[Readings], Iterable[Sample]]


def _probe_success(readings: Readings) -> Iterator[Sample]:
    for watched in readings.watched:
        if watched.success is not None:
            yield {"target": watched.target}, int(watched.success)


def _probe_duration(readings: Readings) -> Iterator[Sample]:
    for watched in readings.watched:
        if watched.last is not None:
            yield {"target": watched.target}, watched.last.duration_s


def _probe_age(readings: Readings) -> Iterator[Sample]:
    for watched in readings.watched:
        yield {"target": watched.target}, watched.age_s


def _disk_free(readings: Readings) -> Iterator[Sample]:
    if readings.disk.free_bytes is not None:
        yield {"path": readings.disk.path}, readings.disk.free_bytes


def _resident_memory(readings: Readings) -> Iterator[Sample]:
    if readings.resident_bytes is not None:
        yield {}, readings.resident_bytes


METRICS = (
    Metric(
        "accelerapp_monitor_probe_success",
        "gauge",
        "1 if the last background probe found the target well, 0 if not or if it is overdue;"
        " none before the first ends.",
        _probe_success,
    ),
    Metric(
        "accelerapp_monitor_probe_duration_seconds",
        "gauge",
        "How long the last background probe took, well or not; none before the first ends.",
        _probe_duration,
    ),
    Metric(
        "accelerapp_monitor_probe_age_seconds",
        "gauge",
        "Time since the last background probe ended, or since the start if none has.",
        _probe_age,
    ),
    Metric(
        "accelerapp_monitor_disk_free_bytes",
        "gauge",
        "Space an unprivileged user may still fill, read at scrape time;"
        " none if the path cannot be read.",
        _disk_free,
    ),
    Metric(
        "accelerapp_monitor_process_resident_memory_bytes",
        "gauge",
        "Memory of the monitor's own process, read at scrape time.",
        _resident_memory,
    ),
)


def exposition(readings: Readings) -> str:
    """All metrics, each with HELP and TYPE, even where it has no sample; ends in a line feed."""
    lines = []
    for metric in METRICS:
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.samples(readings):
            lines.append(f"{metric.name}{_braces(labels)} {value!r}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _braces(labels: Mapping[str, str]) -> str:
    pairs = (f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}" if labels else ""


def _quoted(value: str) -> str:
    return _escape(value).replace('"', '\\"')
