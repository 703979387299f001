from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from accelerapp.addresses import Secret
from accelerapp.settings import Settings, SettingsError


def test_defaults_listen_on_loopback_only() -> None:
    settings = Settings.load({})
    assert dataclasses.asdict(settings) == {
        "host": "127.0.0.1",
        "port": 8000,
        "threads": 8,
        "models_dir": Path.cwd() / "models",
        "cache_dir": Path.cwd() / "cache",
        "output_dir": Path.cwd() / "output",
        "shutdown_grace_s": 8.0,
        "log_format": "plain",
        "revision": "",
        "max_body_bytes": 65536,
        "concurrency": 4,
        "ollama_url": None,
        "ollama_model": "llama3.2:1b",
        "assist_deadline_s": 30.0,
        "assist_concurrency": 2,
        "redis_url": None,
        "redis_stream": "accelerapp:generations",
        "redis_maxlen": 1000,
    }


def test_every_variable_is_read() -> None:
    settings = Settings.load(
        {
            "ACCELERAPP_HOST": "0.0.0.0",
            "ACCELERAPP_PORT": "9000",
            "ACCELERAPP_THREADS": "3",
            "ACCELERAPP_MODELS_DIR": "/m",
            "ACCELERAPP_CACHE_DIR": "/c",
            "ACCELERAPP_OUTPUT_DIR": "/o",
            "ACCELERAPP_SHUTDOWN_GRACE_S": "2.5",
            "ACCELERAPP_LOG_FORMAT": "json",
            "ACCELERAPP_REVISION": "abc123",
            "ACCELERAPP_MAX_BODY_BYTES": "2048",
            "ACCELERAPP_CONCURRENCY": "2",
            "OLLAMA_HOST": "ollama",
            "ACCELERAPP_OLLAMA_MODEL": "library/qwen2.5:0.5b-instruct",
            "ACCELERAPP_ASSIST_DEADLINE_S": "12.5",
            "ACCELERAPP_ASSIST_CONCURRENCY": "1",
            "REDIS_URL": "rediss://:word@redis:6380/1",
            "ACCELERAPP_REDIS_STREAM": "made",
            "ACCELERAPP_REDIS_MAXLEN": "7",
        }
    )
    assert dataclasses.astuple(settings) == (
        *("0.0.0.0", 9000, 3),
        *(Path("/m"), Path("/c"), Path("/o")),
        *(2.5, "json", "abc123", 2048, 2),
        *("http://ollama:11434", "library/qwen2.5:0.5b-instruct", 12.5, 1),
        *(Secret("rediss://:word@redis:6380/1"), "made", 7),
    )


def test_flags_override_variables() -> None:
    environ = {"ACCELERAPP_HOST": "10.0.0.1", "ACCELERAPP_PORT": "9000"}
    settings = Settings.load(environ, host="::1", port="0")
    assert (settings.host, settings.port) == ("::1", 0)


def test_a_variable_set_to_nothing_is_not_set() -> None:
    settings = Settings.load({"ACCELERAPP_PORT": "", "ACCELERAPP_OUTPUT_DIR": ""})
    assert (settings.port, settings.output_dir) == (8000, Path.cwd() / "output")


def test_kubernetes_service_link_is_not_a_port() -> None:
    assert Settings.load({"ACCELERAPP_PORT": "tcp://10.96.0.7:80"}).port == 8000


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.load({}).port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("ACCELERAPP_HOST", "two words", "IP address"),
        ("ACCELERAPP_HOST", "[::1]", "without brackets"),
        ("ACCELERAPP_PORT", "abc", "0 to 65535"),
        ("ACCELERAPP_PORT", "65536", "0 to 65535"),
        ("ACCELERAPP_PORT", "-1", "0 to 65535"),
        ("ACCELERAPP_PORT", "8_0", "0 to 65535"),
        ("ACCELERAPP_PORT", "9" * 5000, "0 to 65535"),
        ("ACCELERAPP_THREADS", "0", "1 to 256"),
        ("ACCELERAPP_THREADS", "257", "1 to 256"),
        ("ACCELERAPP_SHUTDOWN_GRACE_S", "nan", "0 to 3600"),
        ("ACCELERAPP_SHUTDOWN_GRACE_S", "3601", "0 to 3600"),
        ("ACCELERAPP_LOG_FORMAT", "xml", "plain or json"),
        ("ACCELERAPP_MAX_BODY_BYTES", "1023", "1024 to 1048576"),
        ("ACCELERAPP_CONCURRENCY", "0", "1 to 256"),
        ("OLLAMA_HOST", "ftp://ollama", "http://ollama:11434"),
        ("ACCELERAPP_OLLAMA_MODEL", "a model", "llama3.2:1b"),
        ("ACCELERAPP_ASSIST_DEADLINE_S", "soon", "0 to 3600"),
        ("ACCELERAPP_ASSIST_CONCURRENCY", "65", "1 to 64"),
        ("ACCELERAPP_REDIS_STREAM", "two words", "accelerapp:generations"),
        ("ACCELERAPP_REDIS_MAXLEN", "0", "1 to 1000000"),
    ],
)
def test_bad_value_names_variable_value_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    line = str(caught.value)
    assert line.startswith(f"{name}={value!r} ")
    assert allowed in line
    assert "\n" not in line
    assert caught.value.exit_code == 2


def test_bad_flag_is_blamed_on_the_flag() -> None:
    with pytest.raises(SettingsError, match=r"^--port='http' "):
        Settings.load({"ACCELERAPP_PORT": "8000"}, port="http")


def test_a_redis_address_is_never_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"REDIS_URL": "http://:secret@redis"})
    assert "secret" not in str(caught.value)
    assert "redis://redis:6379/0" in str(caught.value)
    assert "secret" not in repr(Settings.load({"REDIS_URL": "redis://:secret@redis"}))


@pytest.mark.parametrize("name", ["OLLAMA_HOST", "REDIS_URL"])
def test_blank_addresses_are_none(name: str) -> None:
    settings = Settings.load({name: "  "})
    assert (settings.ollama_url, settings.redis_url) == (None, None)
