from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.addresses import RedisAddress, Secret
from monitoring.checks import Threshold
from monitoring.settings import VARIABLES, Settings, SettingsError


def test_defaults() -> None:
    assert Settings.load({}) == Settings(
        host="127.0.0.1",
        port=8080,
        token=None,
        revision="",
        application_url="http://127.0.0.1:8000",
        ollama_url=None,
        ollama_models=(),
        redis=None,
        required=frozenset({"accelerapp", "disk", "memory", "python"}),
        probe_interval_s=10,
        probe_deadline_s=2,
        probe_slow_s=1,
        disk_paths=("/",),
        disk_warn=Threshold("1GiB", size_bytes=1 << 30),
        disk_fail=Threshold("256MiB", size_bytes=256 << 20),
        memory_warn_ratio=0.9,
        memory_fail_ratio=0.97,
        throttled_warn_ratio=0.25,
        throttled_fail_ratio=0,
    )


def test_nothing_counts_as_not_set() -> None:
    assert Settings.load({variable.name: "" for variable in VARIABLES}) == Settings.load({})


GIVEN = {
    "MONITOR_HOST": "::",
    "MONITOR_PORT": "0",
    "MONITOR_TOKEN": "secret-token",
    "MONITOR_REVISION": "abc",
    "ACCELERAPP_URL": "https://[::1]:9/below/",
    "OLLAMA_HOST": "ollama",
    "MONITOR_OLLAMA_MODELS": "llama3.2, codellama:7b,llama3.2",
    "REDIS_URL": "redis://:hunter22@redis",
    "MONITOR_REQUIRED": "redis,ollama",
    "MONITOR_PROBE_INTERVAL_S": "1.5",
    "MONITOR_PROBE_DEADLINE_S": "0.5",
    "MONITOR_PROBE_SLOW_S": "0.25",
    "MONITOR_DISK_PATHS": "/app, /b",
    "MONITOR_DISK_WARN": "10%",
    "MONITOR_DISK_FAIL": "5.5%",
    "MONITOR_MEMORY_WARN_RATIO": "0.5",
    "MONITOR_MEMORY_FAIL_RATIO": "1",
    "MONITOR_CPU_THROTTLED_WARN_RATIO": "0.125",
    "MONITOR_CPU_THROTTLED_FAIL_RATIO": "0.5",
}


def test_every_variable_has_an_effect(tmp_path: Path) -> None:
    assert GIVEN.keys() | {"MONITOR_TOKEN_FILE"} == {variable.name for variable in VARIABLES}
    expected = Settings(
        host="::",
        port=0,
        token=Secret("secret-token"),
        revision="abc",
        application_url="https://[::1]:9/below",
        ollama_url="http://ollama:11434",
        ollama_models=("llama3.2", "codellama:7b"),
        redis=RedisAddress("redis", 6379, password=Secret("hunter22")),
        required=frozenset({"redis", "ollama"}),
        probe_interval_s=1.5,
        probe_deadline_s=0.5,
        probe_slow_s=0.25,
        disk_paths=("/app", "/b"),
        disk_warn=Threshold("10%", ratio=0.1),
        disk_fail=Threshold("5.5%", ratio=0.055),
        memory_warn_ratio=0.5,
        memory_fail_ratio=1.0,
        throttled_warn_ratio=0.125,
        throttled_fail_ratio=0.5,
    )
    assert Settings.load(GIVEN) == expected
    path = tmp_path / "token"
    path.write_text("secret-token\n")
    by_file = {**GIVEN, "MONITOR_TOKEN": "", "MONITOR_TOKEN_FILE": str(path)}
    assert Settings.load(by_file) == expected


def test_what_is_shown_has_no_secret() -> None:
    settings = Settings.load(GIVEN)
    for text in (repr(settings), str(settings.shown())):
        assert "secret-token" not in text
        assert "hunter22" not in text
    assert settings.shown()["REDIS_URL"] == "redis://:***@redis:6379"
    assert settings.shown()["MONITOR_TOKEN"] == "***"
    shown = settings.shown().keys() | {"MONITOR_TOKEN_FILE", "MONITOR_REVISION"}
    assert shown == {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("scheme", ["tcp", "udp", "sctp"])
def test_service_link_of_kubernetes_is_no_port(scheme: str) -> None:
    assert Settings.load({"MONITOR_PORT": f"{scheme}://10.0.0.1:80"}).port == 8080


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        *(("0", 0), ("7", 7), ("7B", 7), ("1.5 GB", 1_500_000_000), ("0.125K", 125)),
        *(("1K", 10**3), ("1M", 10**6), ("1G", 10**9), ("1T", 10**12)),
        *(("1KiB", 2**10), ("1MiB", 2**20), ("1Gi", 2**30), ("2Ti", 2 << 40)),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    given = {"MONITOR_DISK_WARN": text, "MONITOR_DISK_FAIL": "0"}
    assert Settings.load(given).disk_warn == Threshold(text, size_bytes=size_bytes)


def test_nothing_is_required() -> None:
    assert Settings.load({"MONITOR_REQUIRED": "none"}).required == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MONITOR_HOST", "a b"),
        ("MONITOR_HOST", "[::1]"),
        ("MONITOR_PORT", "65536"),
        ("MONITOR_PORT", "-1"),
        ("MONITOR_PORT", "8_0"),
        ("MONITOR_PORT", "٣"),
        ("MONITOR_REVISION", "a b"),
        ("ACCELERAPP_URL", "accelerapp:8000"),
        ("ACCELERAPP_URL", "file:///etc/passwd"),
        ("ACCELERAPP_URL", "http://"),
        ("ACCELERAPP_URL", "http://a:0"),
        ("ACCELERAPP_URL", "http://a:99999"),
        ("ACCELERAPP_URL", "http://[::1"),
        ("ACCELERAPP_URL", "http://a..b"),
        ("ACCELERAPP_URL", "http://a/?q"),
        ("ACCELERAPP_URL", "http://a/#f"),
        ("ACCELERAPP_URL", "http://a/\r\nX: y"),
        ("OLLAMA_HOST", "ftp://a"),
        ("MONITOR_OLLAMA_MODELS", "a b"),
        ("MONITOR_OLLAMA_MODELS", "llama3.2"),
        ("MONITOR_REQUIRED", "database"),
        ("MONITOR_REQUIRED", ","),
        ("MONITOR_REQUIRED", "redis"),
        ("MONITOR_REQUIRED", "disk,ollama"),
        ("MONITOR_PROBE_INTERVAL_S", "0"),
        ("MONITOR_PROBE_INTERVAL_S", "nan"),
        ("MONITOR_PROBE_DEADLINE_S", "3601"),
        ("MONITOR_PROBE_DEADLINE_S", "1e2"),
        ("MONITOR_PROBE_SLOW_S", "3"),
        ("MONITOR_DISK_PATHS", "relative"),
        ("MONITOR_DISK_PATHS", "/a,b"),
        ("MONITOR_DISK_PATHS", "/a\nb"),
        ("MONITOR_DISK_WARN", "1X"),
        ("MONITOR_DISK_WARN", "101%"),
        ("MONITOR_DISK_WARN", "-1"),
        ("MONITOR_DISK_FAIL", "2GiB"),
        ("MONITOR_MEMORY_WARN_RATIO", "1.1"),
        ("MONITOR_MEMORY_FAIL_RATIO", "0.5"),
        ("MONITOR_CPU_THROTTLED_FAIL_RATIO", "0.1"),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    assert str(caught.value).startswith(f"{name}={value!r} cannot be used; give ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERAPP_URL", "http://user:hunter22@a"),
        ("OLLAMA_HOST", "user:hunter22@a"),
        ("REDIS_URL", "http://:hunter22@redis"),
        ("REDIS_URL", "redis://:hunter22@redis:port"),
        ("MONITOR_TOKEN", "hunter 22"),
        ("MONITOR_TOKEN", "short"),
    ],
)
def test_refusal_shows_no_secret(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}='\*\*\*' cannot be used; give ") as caught:
        Settings.load({name: value})
    assert "hunter" not in str(caught.value)


def test_token_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(SettingsError, match="No such file"):
        Settings.load({"MONITOR_TOKEN_FILE": str(path)})
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(SettingsError, match="not a text"):
        Settings.load({"MONITOR_TOKEN_FILE": str(path)})
    path.write_text("two words")
    with pytest.raises(SettingsError) as caught:
        Settings.load({"MONITOR_TOKEN_FILE": str(path)})
    assert "two words" not in str(caught.value)
    path.write_text("good-token")
    with pytest.raises(SettingsError, match="not both"):
        Settings.load({"MONITOR_TOKEN_FILE": str(path), "MONITOR_TOKEN": "other-token"})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"MONITOR_PORT": "65535"}, 65535),
        ({"MONITOR_PROBE_SLOW_S": "2"}, 2.0),
        ({"MONITOR_PROBE_INTERVAL_S": "0.1"}, 0.1),
        ({"MONITOR_PROBE_INTERVAL_S": "3600"}, 3600.0),
        (
            {"MONITOR_REQUIRED": "accelerapp,cpu,disk,memory,ollama,python,redis"},
            ["accelerapp", "cpu", "disk", "memory", "ollama", "python", "redis"],
        ),
        ({"MONITOR_DISK_WARN": "100%", "MONITOR_DISK_FAIL": "100%"}, "100%"),
        ({"MONITOR_DISK_WARN": "3GiB", "MONITOR_DISK_FAIL": "3GiB"}, "3GiB"),
        # Which of the two is less depends on the disk.
        ({"MONITOR_DISK_WARN": "2GiB", "MONITOR_DISK_FAIL": "99%"}, "2GiB"),
        ({"MONITOR_MEMORY_WARN_RATIO": "0.5", "MONITOR_MEMORY_FAIL_RATIO": "0.5"}, 0.5),
        ({"MONITOR_CPU_THROTTLED_FAIL_RATIO": "1"}, 1.0),
    ],
)
def test_the_last_value_that_is_allowed_is_taken(given: dict[str, str], shown: object) -> None:
    watched = {"OLLAMA_HOST": "ollama", "REDIS_URL": "redis://redis"}
    assert Settings.load({**watched, **given}).shown()[next(iter(given))] == shown


@pytest.mark.parametrize(
    ("warn", "fail"), [("1GiB", "2GiB"), ("5%", "5.1%"), ("0", "1"), ("0%", "1GiB")]
)
def test_a_failure_before_the_warning_is_refused(warn: str, fail: str) -> None:
    with pytest.raises(SettingsError, match="at most MONITOR_DISK_WARN"):
        Settings.load({"MONITOR_DISK_WARN": warn, "MONITOR_DISK_FAIL": fail})


def test_a_refusal_is_exit_code_2() -> None:
    assert SettingsError.exit_code == 2
