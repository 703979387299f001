from __future__ import annotations

import pytest

from monitoring.settings import VARIABLES, Settings, SettingsError


def test_defaults() -> None:
    assert Settings.load({}) == Settings(
        host="127.0.0.1",
        port=8080,
        application_url="http://127.0.0.1:8000",
        probe_interval_s=10,
        probe_deadline_s=2,
        disk_path="/",
        disk_warn_bytes=1 << 30,
        disk_fail_bytes=256 << 20,
    )


def test_nothing_counts_as_not_set() -> None:
    assert Settings.load({variable.name: "" for variable in VARIABLES}) == Settings.load({})


def test_every_variable_has_an_effect() -> None:
    given = {
        "MONITOR_HOST": "::",
        "MONITOR_PORT": "0",
        "ACCELERAPP_URL": "http://[::1]:9/below/",
        "MONITOR_PROBE_INTERVAL_S": "1.5",
        "MONITOR_PROBE_DEADLINE_S": "0.5",
        "MONITOR_DISK_PATH": "/app",
        "MONITOR_DISK_WARN_BYTES": "7",
        "MONITOR_DISK_FAIL_BYTES": "7",
    }
    assert given.keys() == {variable.name for variable in VARIABLES}
    assert Settings.load(given) == Settings("::", 0, "http://[::1]:9/below", 1.5, 0.5, "/app", 7, 7)


@pytest.mark.parametrize("scheme", ["tcp", "udp", "sctp"])
def test_service_link_of_kubernetes_is_no_port(scheme: str) -> None:
    assert Settings.load({"MONITOR_PORT": f"{scheme}://10.0.0.1:80"}).port == 8080


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MONITOR_HOST", "a b"),
        ("MONITOR_HOST", "[::1]"),
        ("MONITOR_PORT", "65536"),
        ("MONITOR_PORT", "-1"),
        ("MONITOR_PORT", "8_0"),
        ("MONITOR_PORT", "٣"),
        ("ACCELERAPP_URL", "accelerapp:8000"),
        ("ACCELERAPP_URL", "https://accelerapp"),
        ("ACCELERAPP_URL", "file:///etc/passwd"),
        ("ACCELERAPP_URL", "http://"),
        ("ACCELERAPP_URL", "http://a:0"),
        ("ACCELERAPP_URL", "http://a:99999"),
        ("ACCELERAPP_URL", "http://[::1"),
        ("ACCELERAPP_URL", "http://user:word@a"),
        ("ACCELERAPP_URL", "http://a/?q"),
        ("ACCELERAPP_URL", "http://a/#f"),
        ("ACCELERAPP_URL", "http://a/\r\nX: y"),
        ("MONITOR_PROBE_INTERVAL_S", "0"),
        ("MONITOR_PROBE_INTERVAL_S", "nan"),
        ("MONITOR_PROBE_DEADLINE_S", "3601"),
        ("MONITOR_PROBE_DEADLINE_S", "1e2"),
        ("MONITOR_DISK_PATH", "relative"),
        ("MONITOR_DISK_PATH", "/a\nb"),
        ("MONITOR_DISK_WARN_BYTES", "1G"),
        ("MONITOR_DISK_FAIL_BYTES", "2000000000"),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    assert str(caught.value).startswith(f"{name}={value!r} cannot be used; give ")
