"""The command that runs every check once."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import monitoring
from monitoring import health_check
from monitoring.cgroup import Cgroup, Cpu
from monitoring.checks import Check, Status
from monitoring.health_check import configured_watches, print_table
from monitoring.settings import Settings
from tests.unit.monitoring.test_fetch import answering, saying

ROOT = Path(monitoring.__file__).parents[1]
WELL = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status": "pass"}',
    b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status": "warn"}',
)
LENIENT = {"MONITOR_DISK_WARN": "0", "MONITOR_DISK_FAIL": "0", "MONITOR_PROBE_DEADLINE_S": "0.5"}
LENIENT |= {"MONITOR_PROBE_SLOW_S": "0.5", "MONITOR_MEMORY_WARN_RATIO": "0"}
LENIENT |= {"MONITOR_MEMORY_FAIL_RATIO": "0", "MONITOR_CPU_THROTTLED_WARN_RATIO": "0"}
LENIENT |= {"MONITOR_REQUIRED": "accelerapp"}


def test_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(saying(WELL[0])) as url:
        assert health_check.main([], {**LENIENT, "ACCELERAPP_URL": url}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["check", "status", "time", "found"]
    assert lines[1].split()[:3] == ["accelerapp", "pass", "required"]
    assert {line.split()[0] for line in lines[1:-1]} == {
        "accelerapp",
        "disk",
        "python",
        "memory",
        "cpu",
    }
    assert lines[-1] == "healthy"


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(saying(WELL[0])) as url:
        assert health_check.main(["--quiet"], {**LENIENT, "ACCELERAPP_URL": url}) == 0
    assert capsys.readouterr().out == ""


def test_degraded_is_0_and_strictly_1(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (([], 0), (["--strict"], 1)):
        with answering(saying(WELL[1])) as url:
            assert health_check.main(arguments, {**LENIENT, "ACCELERAPP_URL": url}) == code
        assert capsys.readouterr().out.endswith("\ndegraded\n")


def test_json_is_what_health_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(lambda connection, _: connection.close()) as url:
        assert health_check.main(["--json"], {**LENIENT, "ACCELERAPP_URL": url}) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["description"]) == ("fail", "unhealthy")
    assert document["checks"]["accelerapp:responseTime"][0]["status"] == "fail"


def test_hung_is_unhealthy_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert health_check.main([], {**LENIENT, "ACCELERAPP_URL": url}) == 1
    assert "no answer within 0.5 s" in capsys.readouterr().out


def test_look_without_a_deadline_fails_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = threading.Event()

    def hang(_path: str) -> tuple[int, int]:
        release.wait(60)
        return 1, 1

    monkeypatch.setattr(health_check, "read_disk", hang)
    monkeypatch.setattr(health_check, "SLACK_S", 0.1)
    with answering(saying(WELL[0])) as url:
        environ = {**LENIENT, "ACCELERAPP_URL": url, "MONITOR_REQUIRED": "disk"}
        assert health_check.main([], environ) == 1
    release.set()
    [line] = [li for li in capsys.readouterr().out.splitlines() if li.startswith("disk")]
    assert line.split()[1] == "fail"
    assert line.endswith("no answer within 0.6 s")


def run(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "monitoring.health_check"),
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_unhealthy_is_a_table_and_1_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended = run(ACCELERAPP_URL=url)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith("check ")
    assert ended.stdout.endswith("\nunhealthy\n")


def test_bad_setting_is_one_line_and_2() -> None:
    ended = run(REDIS_URL="redis://:hunter22@redis:port")
    assert ended.returncode == 2
    assert ended.stderr == (
        "health_check: REDIS_URL='***' cannot be used;"
        " give an address such as redis://:password@redis:6379\n"
    )


def test_what_is_configured_is_watched() -> None:
    def names(**environ: str) -> list[tuple[str, str]]:
        watches = configured_watches(Settings.load(environ))
        return [(watch.name, watch.component_id) for watch in watches]

    assert names() == [
        ("accelerapp:responseTime", ""),
        ("disk:free", "/"),
        ("python:environment", ""),
    ]
    assert names(OLLAMA_HOST="o", REDIS_URL="redis://r", MONITOR_DISK_PATHS="/a,/b") == [
        ("accelerapp:responseTime", ""),
        ("ollama:responseTime", ""),
        ("redis:responseTime", ""),
        ("disk:free", "/a"),
        ("disk:free", "/b"),
        ("python:environment", ""),
    ]


def test_the_table_has_the_worst_first_and_milliseconds() -> None:
    def check(name: str, status: Status, required: bool, duration_s: float | None) -> Check:
        return Check(name, status, f"said {name}", None, "", required, 0.0, duration_s)

    out = io.StringIO()
    checks = [
        check("well", "pass", True, 1.4996),
        check("warned", "warn", False, None),
        check("failed", "fail", True, 0.0004),
    ]
    print_table(checks, out)
    assert out.getvalue().splitlines() == [
        "check   status            time     found",
        "failed  fail    required  0 ms     said failed",
        "warned  warn    optional           said warned",
        "well    pass    required  1500 ms  said well",
    ]


def test_a_look_may_be_missed_once() -> None:
    environ = {"MONITOR_PROBE_INTERVAL_S": "10", "MONITOR_PROBE_DEADLINE_S": "2"}
    ages = {watch.now().max_age_s for watch in configured_watches(Settings.load(environ))}
    assert ages == {22.0}


def test_throttling_is_since_the_container_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu = Cpu(quota_cores=0.5, usage_s=9.0, periods=4, throttled_periods=1, throttled_s=1.0)
    monkeypatch.setattr(Cgroup, "cpu", lambda _: cpu)
    with answering(saying(WELL[0])) as url:
        health_check.main(["--json"], {**LENIENT, "ACCELERAPP_URL": url})
    out = capsys.readouterr().out
    # For people, too.
    assert out.startswith('{\n  "status": "pass",\n')
    [throttled] = json.loads(out)["checks"]["cpu:throttled"]
    assert throttled["observedValue"] == 0.25


def test_looks_that_hang_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    waits: list[float] = []
    daemons: set[bool] = set()

    class Noted(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            assert timeout is not None
            waits.append(timeout)
            super().join(timeout)

    def hang(_path: str) -> tuple[int, int]:
        daemons.add(threading.current_thread().daemon)
        release.wait(60)
        return 1, 1

    monkeypatch.setattr(health_check, "read_disk", hang)
    monkeypatch.setattr(health_check, "SLACK_S", 0.1)
    monkeypatch.setattr(threading, "Thread", Noted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    given = {**LENIENT, "ACCELERAPP_URL": url, "MONITOR_DISK_PATHS": "/a,/b,/c"}
    assert health_check.main(["--quiet"], given) == 1
    release.set()
    # The first has all of the time, and the others none of their own.
    assert 0 < max(waits) <= 0.6
    assert waits[2:4] == [0.0, 0.0]
    # Nor does the process wait for them at its end.
    assert daemons == {True}


def test_help_says_what_is_not_set() -> None:
    lines = [line.split() for line in health_check.settings_help().splitlines()]
    ends = {line[0]: " ".join(line[-2:]) for line in lines}
    assert ends["MONITOR_PORT"].endswith("(8080)")
    assert ends["MONITOR_TOKEN"] == "(not set)"
