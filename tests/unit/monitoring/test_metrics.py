from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from monitoring.checks import Disk, Probe, Watched
from monitoring.metrics import METRICS, exposition
from monitoring.readings import Readings

Parse = Callable[[str], dict[str, Any]]

PREFIX = "accelerapp_monitor_"


def readings(
    last: Probe | None, *, age_s: float = 1.5, free_bytes: int | None = 10**12, path: str = "/"
) -> Readings:
    return Readings((Watched("accelerapp", last, age_s, 22),), Disk(path, free_bytes), 23_000_000)


def test_text_to_the_byte() -> None:
    text = exposition(readings(Probe("pass", "", 0.00025, 1)))
    assert [line for line in text.splitlines() if not line.startswith("# HELP")] == [
        "# TYPE accelerapp_monitor_probe_success gauge",
        'accelerapp_monitor_probe_success{target="accelerapp"} 1',
        "# TYPE accelerapp_monitor_probe_duration_seconds gauge",
        'accelerapp_monitor_probe_duration_seconds{target="accelerapp"} 0.00025',
        "# TYPE accelerapp_monitor_probe_age_seconds gauge",
        'accelerapp_monitor_probe_age_seconds{target="accelerapp"} 1.5',
        "# TYPE accelerapp_monitor_disk_free_bytes gauge",
        'accelerapp_monitor_disk_free_bytes{path="/"} 1000000000000',
        "# TYPE accelerapp_monitor_process_resident_memory_bytes gauge",
        "accelerapp_monitor_process_resident_memory_bytes 23000000",
    ]


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"accelerapp_monitor_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_family_is_there_even_without_samples(parse_metrics: Parse) -> None:
    unknown = Readings(readings(None).watched, Disk("/", None, "gone"), None)
    families = parse_metrics(exposition(unknown))
    assert list(families) == [metric.name for metric in METRICS]
    assert {name: family.help for name, family in families.items()} == {
        metric.name: metric.help for metric in METRICS
    }
    assert [name for name, family in families.items() if family.samples] == [
        f"{PREFIX}probe_age_seconds"
    ]


@pytest.mark.parametrize(
    ("last", "age_s", "expected"),
    [
        (Probe("pass", "", 0.1, 1), 22, 1),
        (Probe("warn", "", 0.1, 1), 22, 1),
        (Probe("fail", "", 0.1, 1), 22, 0),
        (Probe("pass", "", 0.1, 1), 22.1, 0),
        (None, 22.1, 0),
    ],
)
def test_success(last: Probe | None, age_s: float, expected: int, parse_metrics: Parse) -> None:
    families = parse_metrics(exposition(readings(last, age_s=age_s)))
    assert families[f"{PREFIX}probe_success"].samples == {(("target", "accelerapp"),): expected}


def test_labels_are_escaped(parse_metrics: Parse) -> None:
    path = '/a"b\\c\nd,e="f"}é'
    families = parse_metrics(exposition(readings(None, path=path)))
    assert families[f"{PREFIX}disk_free_bytes"].samples == {(("path", path),): 10**12}
