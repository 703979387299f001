from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

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
        }
    )
    assert dataclasses.astuple(settings) == (
        *("0.0.0.0", 9000, 3),
        *(Path("/m"), Path("/c"), Path("/o")),
        *(2.5, "json", "abc123"),
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
