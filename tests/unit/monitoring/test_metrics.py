from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from monitoring.cgroup import Cpu, Memory
from monitoring.checks import DiskSpace, HostMemory, Ollama
from monitoring.metrics import FAMILIES, OPENMETRICS_TYPE, TEXT_TYPE, Traffic, exposition
from monitoring.readings import Process, Readings
from tests.unit.monitoring.moments import ABOUT, NO_CPU, moment, readings, watched

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
DISK = watched("disk:free", found=DiskSpace("/d", 5, 9), component_id="/d")
FULL = readings(
    watched(),
    watched("ollama:responseTime", found=Ollama("0.5.7", 2, {"a": True, "b": False})),
    DISK,
    cpu=Cpu(0.5, 12.5, 100, 7, 0.25),
    throttled_ratio=0.07,
)
EMPTY = Readings(
    (), Memory(None, None, None), HostMemory(None, None), NO_CPU, None, Process(), 0.0, 0.0
)


def busy() -> Traffic:
    traffic = Traffic()
    traffic.answered("GET", "/metrics", 200, 0.0007)
    traffic.answered("GET", "/metrics", 200, 9.0)
    traffic.closed("late")
    return traffic


def samples(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def text(accept: str = "", read: Readings = FULL) -> str:
    return exposition(moment(read, busy()), accept)[0].decode()


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"accelerapp_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_info") == (family.kind == "info")
        assert family.help.endswith(".")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_lines_to_the_byte() -> None:
    lines = text().splitlines()
    for line in (
        "# TYPE accelerapp_cpu_usage_seconds_total counter",
        "accelerapp_cpu_usage_seconds_total 12.5",
        "# TYPE accelerapp_ollama_info gauge",
        'accelerapp_ollama_info{version="0.5.7"} 1',
        'accelerapp_check_status{check="disk",id="/d",status="pass"} 1.0',
        'accelerapp_monitor_http_request_duration_seconds_bucket{path="/metrics",le="0.001"} 1',
        'accelerapp_monitor_http_request_duration_seconds_bucket{path="/metrics",le="+Inf"} 2',
        'accelerapp_monitor_http_request_duration_seconds_count{path="/metrics"} 2',
        'accelerapp_monitor_http_requests_total{method="GET",path="/metrics",code="200"} 2',
        'accelerapp_monitor_http_connections_closed_total{reason="late"} 1',
    ):
        assert line in lines
    lines = text(OPENMETRICS).splitlines()
    assert "# TYPE accelerapp_cpu_usage_seconds counter" in lines
    assert "# TYPE accelerapp_ollama info" in lines
    assert lines[-1] == "# EOF"


def test_both_formats_say_the_same() -> None:
    assert samples(parse_text(text())) == samples(parse_openmetrics(text(OPENMETRICS)))


@pytest.mark.parametrize("read", [FULL, EMPTY], ids=["full", "empty"])
def test_every_family_is_there_even_without_samples(read: Readings) -> None:
    families = list(parse_openmetrics(text(OPENMETRICS, read)))
    names = [
        family.name.removesuffix("_total" if family.kind == "counter" else "_info")
        for family in FAMILIES
    ]
    assert [family.name for family in families] == names
    assert [family.documentation for family in families] == [family.help for family in FAMILIES]
    assert [family.type for family in families] == [family.kind for family in FAMILIES]


@given(path=st.text(), version=st.text(), model=st.text(), value=st.floats())
def test_any_label_and_value_is_read_back(
    path: str, version: str, model: str, value: float
) -> None:
    path, version, model = (
        label.encode("utf-8", "replace").decode() for label in (path, version, model)
    )
    read = readings(
        watched("disk:free", found=DiskSpace(path, 5, 9), component_id=path),
        watched("ollama:responseTime", found=Ollama(version, 1, {model: True})),
        cpu=Cpu(value, None, None, None, None),
    )
    found = samples(parse_openmetrics(text(OPENMETRICS, read)))
    assert found["accelerapp_disk_free_bytes", (("path", path),)] == 5
    assert found["accelerapp_ollama_info", (("version", version),)] == 1
    assert found["accelerapp_ollama_model_present", (("model", model),)] == 1
    quota = found["accelerapp_cpu_quota_cores", ()]
    assert quota == value or (math.isnan(quota) and math.isnan(value))
    assert samples(parse_text(text("", read))).keys() == found.keys()


def test_overdue_and_failed_targets_show_no_old_gauges() -> None:
    late = watched("disk:free", age_s=23.0, found=DiskSpace("/d", 5, 9), component_id="/d")
    found = samples(parse_text(text("", readings(late))))
    assert not [name for name, _ in found if name.startswith("accelerapp_disk")]
    key = ("accelerapp_check_status", (("check", "disk"), ("id", "/d"), ("status", "fail")))
    assert found[key] == 1
    assert found["accelerapp_health_status", (("status", "unhealthy"),)] == 1


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,*/*;q=0.8", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0", True),
        ('Application/OpenMetrics-Text; version="1.0.0"', True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=x", False),
        # The one that is named, however little it is liked; and of two alike the richer.
        ("application/openmetrics-text;q=0.001", True),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", True),
        (
            "application/openmetrics-text;version=1.0.0,"
            "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5",
            True,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            True,
        ),
        (";;,=,q=1;", False),
    ],
)
def test_negotiation(accept: str, openmetrics: bool) -> None:
    body, media_type = exposition(moment(EMPTY), accept)
    assert media_type == (OPENMETRICS_TYPE if openmetrics else TEXT_TYPE)
    assert body.endswith(b"\n# EOF\n") == openmetrics


def test_times_are_counted_up_to_the_bound_of_their_bucket() -> None:
    traffic = Traffic()
    for duration_s in (0.001, 0.0625, 9.0):
        traffic.answered("GET", "/", 200, duration_s)
    assert list(traffic.histograms()) == [
        (("_bucket", "/", "0.0005"), 0),
        (("_bucket", "/", "0.001"), 1),
        (("_bucket", "/", "0.0025"), 1),
        (("_bucket", "/", "0.005"), 1),
        (("_bucket", "/", "0.01"), 1),
        (("_bucket", "/", "0.05"), 1),
        (("_bucket", "/", "0.25"), 2),
        (("_bucket", "/", "+Inf"), 3),
        (("_sum", "/"), 9.0635),
        (("_count", "/"), 3),
    ]


def test_closings_are_none_before_the_first() -> None:
    traffic = Traffic()
    traffic.closed("idle")
    traffic.closed("idle")
    assert traffic.closings == {"idle": 2, "late": 0, "unread": 0, "crowded": 0}


def test_the_python_is_told_by_three_numbers() -> None:
    assert ABOUT.python == ".".join(map(str, sys.version_info[:3]))
