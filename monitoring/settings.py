"""Settings of the monitor, from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit


class SettingsError(Exception):
    """A setting that cannot be used; names it, its value and what is allowed."""

    exit_code = 2

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} cannot be used; give {allowed}")


class Variable(NamedTuple):
    """A row of the table of settings, in `--help` as in the README."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable("MONITOR_HOST", "127.0.0.1", "address to listen on; the image sets 0.0.0.0"),
    Variable("MONITOR_PORT", "8080", "port to listen on, 0 for any free one"),
    Variable("ACCELERAPP_URL", "http://127.0.0.1:8000", "the application, without /readyz"),
    Variable("MONITOR_PROBE_INTERVAL_S", "10", "seconds from one probe's start to the next's"),
    Variable("MONITOR_PROBE_DEADLINE_S", "2", "seconds that one probe may take in all"),
    Variable("MONITOR_DISK_PATH", "/", "absolute path on the local disk to watch"),
    Variable("MONITOR_DISK_WARN_BYTES", "1073741824", "less free than this is a warning"),
    Variable("MONITOR_DISK_FAIL_BYTES", "268435456", "less free than this is a failure"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. `disk_fail_bytes` is at most `disk_warn_bytes`."""

    host: str
    port: int
    application_url: str
    probe_interval_s: float
    probe_deadline_s: float
    disk_path: str
    disk_warn_bytes: int
    disk_fail_bytes: int

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Variables, then defaults; a variable set to nothing counts as not set.

        Raises SettingsError for the first value that cannot be used.
        """
        value = {v.name: environ.get(v.name) or v.default for v in VARIABLES}
        # Kubernetes sets MONITOR_PORT=tcp://… in every pod beside a Service named
        # monitor: nobody's setting, and no reason to refuse to start.
        if value["MONITOR_PORT"].startswith(("tcp://", "udp://", "sctp://")):
            value["MONITOR_PORT"] = next(v.default for v in VARIABLES if v.name == "MONITOR_PORT")
        settings = cls(
            host=_host("MONITOR_HOST", value),
            port=_whole("MONITOR_PORT", value, 65535),
            application_url=_url("ACCELERAPP_URL", value),
            probe_interval_s=_seconds("MONITOR_PROBE_INTERVAL_S", value),
            probe_deadline_s=_seconds("MONITOR_PROBE_DEADLINE_S", value),
            disk_path=_path("MONITOR_DISK_PATH", value),
            disk_warn_bytes=_whole("MONITOR_DISK_WARN_BYTES", value, 10**18),
            disk_fail_bytes=_whole("MONITOR_DISK_FAIL_BYTES", value, 10**18),
        )
        if settings.disk_fail_bytes > settings.disk_warn_bytes:
            raise SettingsError(
                "MONITOR_DISK_FAIL_BYTES",
                value["MONITOR_DISK_FAIL_BYTES"],
                f"at most MONITOR_DISK_WARN_BYTES ({settings.disk_warn_bytes})",
            )
        return settings


def _host(name: str, given: Mapping[str, str]) -> str:
    value = given[name]
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", value):
        raise SettingsError(name, value, "an IP address (IPv6 without brackets) or a host name")
    return value


def _whole(name: str, given: Mapping[str, str], high: int) -> int:
    # Digits alone, and few: int() takes "1_0", "٣" and numbers of any length.
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,19}", value) or int(value) > high:
        raise SettingsError(name, value, f"a whole number from 0 to {high}")
    return int(value)


def _seconds(name: str, given: Mapping[str, str]) -> float:
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", value) or not 0.1 <= float(value) <= 3600:
        raise SettingsError(name, value, "seconds from 0.1 to 3600, such as 10 or 2.5")
    return float(value)


def _path(name: str, given: Mapping[str, str]) -> str:
    value = given[name]
    if not value.startswith("/") or not value.isprintable():
        raise SettingsError(name, value, "an absolute path")
    return value


def _url(name: str, given: Mapping[str, str]) -> str:
    """The address without a slash at its end."""
    value = given[name]
    try:
        # urlsplit() drops line feeds and tabs, so what it may see is settled first.
        parts = urlsplit(value if re.fullmatch(r"[!-~]+", value) else "")
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    # No user and password: /health shows the address.
    if not usable or any(character in value for character in "@?#\\"):
        raise SettingsError(name, value, "an address such as http://accelerapp:8000")
    return value.rstrip("/")
