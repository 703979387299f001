from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitoring.cgroup import Memory
from monitoring.checks import (
    Check,
    DiskSpace,
    Finding,
    HostMemory,
    Probe,
    Status,
    Threshold,
    Watched,
    check_memory,
    check_throttling,
    check_watched,
    health_document,
    judge_disk,
    overall,
)
from tests.unit.monitoring.moments import watched

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("status", ["pass", "warn", "fail"])
def test_fresh_probe_is_believed(status: Status) -> None:
    check = check_watched(watched(status=status, age_s=22.0), required=True)
    assert check.document(AT) == {
        "status": status,
        "output": "said",
        "observedValue": 0.25,
        "observedUnit": "s",
        "required": True,
        "age_s": 22.0,
        "duration_s": 0.25,
        "time": "2026-01-02T03:03:43.000+00:00",
    }


@pytest.mark.parametrize("status", [None, "pass"])
def test_overdue_is_fail(status: Status | None) -> None:
    check = check_watched(watched(status=status, age_s=22.5), required=True)
    assert (check.status, check.output) == ("fail", "no probe has ended for 22 s")


def test_before_the_first_probe_is_warn() -> None:
    check = check_watched(watched(status=None, age_s=0.0004), required=False)
    assert check.document(AT) == {
        "status": "warn",
        "output": "the first probe is under way",
        "required": False,
        "age_s": 0.0,
    }


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [(0, "fail"), (99, "fail"), (100, "warn"), (199, "warn"), (200, "pass"), (900, "pass")],
)
@pytest.mark.parametrize(
    ("warn", "fail"),
    [
        (Threshold("200", size_bytes=200), Threshold("100", size_bytes=100)),
        (Threshold("20%", ratio=0.2), Threshold("10%", ratio=0.1)),
        (Threshold("20%", ratio=0.2), Threshold("100", size_bytes=100)),
    ],
)
def test_disk_thresholds(
    free_bytes: int, expected: Status, warn: Threshold, fail: Threshold
) -> None:
    disk = DiskSpace("/d", free_bytes, 1000)
    finding = judge_disk(disk, warn=warn, fail=fail)
    assert (finding.status, finding.value, finding.found) == (expected, free_bytes, disk)
    text = {"pass": "enough", "warn": f"less than {warn}", "fail": f"less than {fail}"}[expected]
    assert finding.output == f"/d: {text} free"


def test_nothing_turns_disk_thresholds_off() -> None:
    off = Threshold("0")
    assert judge_disk(DiskSpace("/d", 0, 1000), warn=off, fail=off).status == "pass"


@pytest.mark.parametrize(
    ("memory", "host", "expected", "ratio", "of"),
    [
        (Memory(50, 100, 0.5), HostMemory(1000, 600), "pass", 0.5, "the container's limit"),
        (Memory(90, 100, 0.9), HostMemory(1000, 600), "warn", 0.9, "the container's limit"),
        (Memory(97, 100, 0.97), HostMemory(1000, 600), "fail", 0.97, "the container's limit"),
        (Memory(50, None, None), HostMemory(1000, 600), "pass", 0.4, "the machine's memory"),
        (Memory(50, None, None), HostMemory(1000, 20), "fail", 0.98, "the machine's memory"),
        # A limit beyond what there is limits nothing.
        (Memory(50, 5000, 0.01), HostMemory(1000, 90), "warn", 0.91, "the machine's memory"),
        (Memory(97, 100, 0.97), HostMemory(None, None), "fail", 0.97, "the container's limit"),
    ],
)
def test_memory(memory: Memory, host: HostMemory, expected: Status, ratio: float, of: str) -> None:
    check = check_memory(
        memory, host, warn_ratio=0.9, fail_ratio=0.97, required=True, duration_s=0.1
    )
    assert check.value == pytest.approx(ratio)
    assert (check.name, check.status) == ("memory:utilization", expected)
    assert check.output == f"{ratio:.1%} of {of} in use"


@pytest.mark.parametrize(
    "host",
    [HostMemory(None, None), HostMemory(100, None), HostMemory(None, 50), HostMemory(0, 0)],
)
def test_memory_that_nobody_can_read_is_a_warning(host: HostMemory) -> None:
    check = check_memory(
        Memory(None, None, None),
        host,
        warn_ratio=0.9,
        fail_ratio=0.97,
        required=True,
        duration_s=0.1,
    )
    assert (check.status, check.value) == ("warn", None)


def test_zero_turns_ratios_off() -> None:
    full = Memory(100, 100, 1.0)
    check = check_memory(
        full, HostMemory(None, None), warn_ratio=0, fail_ratio=0, required=True, duration_s=0
    )
    assert check.status == "pass"


@pytest.mark.parametrize(
    ("ratio", "quota", "expected", "output"),
    [
        (None, None, "pass", "no quota"),
        (0.9, None, "pass", "no quota"),
        (None, 0.5, "pass", "quota of 0.5 cores; not used yet"),
        (0.1, 0.5, "pass", "throttled in 10.0% of the periods; quota of 0.5 cores"),
        (0.25, 2.0, "warn", "throttled in 25.0% of the periods; quota of 2 cores"),
        (0.8, 2.0, "fail", "throttled in 80.0% of the periods; quota of 2 cores"),
    ],
)
def test_throttling(
    ratio: float | None, quota: float | None, expected: Status, output: str
) -> None:
    check = check_throttling(
        ratio, quota, warn_ratio=0.25, fail_ratio=0.8, required=False, duration_s=0.1
    )
    assert (check.status, check.output, check.value) == (expected, output, ratio)


def checks(*found: tuple[Status, bool]) -> list[Check]:
    return [Check("a:b", status, "", 1.0, "s", required) for status, required in found]


@pytest.mark.parametrize(
    ("found", "expected", "word"),
    [
        ((), "pass", "healthy"),
        ((("pass", True), ("pass", False)), "pass", "healthy"),
        ((("pass", True), ("warn", True)), "warn", "degraded"),
        ((("warn", False), ("pass", True)), "warn", "degraded"),
        ((("fail", False), ("pass", True)), "warn", "degraded"),
        ((("fail", True), ("warn", True), ("pass", True)), "fail", "unhealthy"),
        ((("fail", True), ("fail", False)), "fail", "unhealthy"),
    ],
)
def test_worst_wins_and_optional_degrades(
    found: tuple[tuple[Status, bool], ...], expected: str, word: str
) -> None:
    assert overall(checks(*found)) == expected
    # An iterator, which can be read once.
    document = health_document(iter(checks(*found)), AT)
    assert (document["status"], document["description"]) == (expected, word)
    if found:
        entries = [check.document(AT) for check in checks(*found)]
        assert document["checks"] == {"a:b": entries}


def test_disks_of_one_name_are_told_apart() -> None:
    disks = [
        check_watched(
            watched("disk:free", found=DiskSpace(path, 5, 9), component_id=path), required=True
        )
        for path in ("/a", "/b")
    ]
    document = health_document(disks, AT)["checks"]
    assert isinstance(document, dict)
    shown = [(entry["componentId"], entry["observedUnit"]) for entry in document["disk:free"]]
    assert shown == [("/a", "bytes"), ("/b", "bytes")]


def test_what_is_read_at_the_question_has_no_age() -> None:
    memory = check_memory(
        Memory(1, 3, 1 / 3),
        HostMemory(None, None),
        warn_ratio=0.9,
        fail_ratio=0.97,
        required=True,
        duration_s=1 / 3,
    )
    document = memory.document(AT)
    # Digits that mean something, and no more.
    assert (document["age_s"], document["duration_s"]) == (0.0, 0.333333)
    assert document["observedValue"] == 0.333333
    assert document["time"] == "2026-01-02T03:04:05.000+00:00"


def test_times_have_microseconds_and_ages_milliseconds() -> None:
    last = Probe(Finding("pass", "said"), 1 / 3, 1.0, 900.0)
    check = check_watched(Watched("a:responseTime", last, 1 / 3, 22.0), required=True)
    document = check.document(AT)
    assert (document["observedValue"], document["duration_s"]) == (0.333333, 0.333333)
    assert document["age_s"] == 0.333


def test_a_limit_of_all_the_machine_has_is_a_limit() -> None:
    check = check_memory(
        Memory(50, 100, 0.5),
        HostMemory(100, 10),
        warn_ratio=0.9,
        fail_ratio=0.97,
        required=True,
        duration_s=0,
    )
    assert check.output == "50.0% of the container's limit in use"


def test_a_component_is_what_stands_before_the_measurement() -> None:
    assert Check("redis:responseTime", "pass", "", None, "", True).component == "redis"
