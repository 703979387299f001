"""Settings of the monitor, from environment variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from monitoring.addresses import RedisAddress, Secret, http_url, ollama_url, redis_address
from monitoring.checks import Threshold

COMPONENTS = ("accelerapp", "ollama", "redis", "disk", "memory", "cpu", "python")


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
    Variable("MONITOR_TOKEN", "", "token that everything but /livez then asks for"),
    Variable("MONITOR_TOKEN_FILE", "", "file with that token, read at the start"),
    Variable("MONITOR_REVISION", "", "revision to show, such as a commit"),
    Variable("ACCELERAPP_URL", "http://127.0.0.1:8000", "the application, without /readyz"),
    Variable("OLLAMA_HOST", "", "the LLM service, as Ollama takes it; empty: not watched"),
    Variable("MONITOR_OLLAMA_MODELS", "", "models that have to be there, with commas between"),
    Variable("REDIS_URL", "", "redis:// or rediss:// address; empty: not watched"),
    Variable(
        "MONITOR_REQUIRED",
        "accelerapp,disk,memory,python",
        "checks whose failure fails the whole; another one's degrades it",
    ),
    Variable("MONITOR_PROBE_INTERVAL_S", "10", "seconds from one probe's start to the next's"),
    Variable("MONITOR_PROBE_DEADLINE_S", "2", "seconds that one probe may take in all"),
    Variable("MONITOR_PROBE_SLOW_S", "1", "a probe that takes longer is a warning"),
    Variable("MONITOR_DISK_PATHS", "/", "absolute paths to watch, with commas between"),
    Variable("MONITOR_DISK_WARN", "1GiB", "less free than this is a warning: bytes, GiB, MiB or %"),
    Variable("MONITOR_DISK_FAIL", "256MiB", "less free than this is a failure"),
    Variable("MONITOR_MEMORY_WARN_RATIO", "0.9", "more used than this is a warning"),
    Variable("MONITOR_MEMORY_FAIL_RATIO", "0.97", "more used than this is a failure"),
    Variable(
        "MONITOR_CPU_THROTTLED_WARN_RATIO",
        "0.25",
        "throttled in more of the last minute's periods than this is a warning",
    ),
    Variable("MONITOR_CPU_THROTTLED_FAIL_RATIO", "0", "throttled in more than this is a failure"),
)
_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. What fails is never stricter than what warns; 0 is off."""

    host: str
    port: int
    token: Secret | None
    revision: str
    application_url: str
    ollama_url: str | None
    ollama_models: tuple[str, ...]
    redis: RedisAddress | None
    required: frozenset[str]
    probe_interval_s: float
    probe_deadline_s: float
    probe_slow_s: float
    disk_paths: tuple[str, ...]
    disk_warn: Threshold
    disk_fail: Threshold
    memory_warn_ratio: float
    memory_fail_ratio: float
    throttled_warn_ratio: float
    throttled_fail_ratio: float

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Settings:
        """Variables, then defaults; a variable set to nothing counts as not set.

        Reads the file that MONITOR_TOKEN_FILE names. Raises SettingsError for the
        first value that cannot be used; it shows no secret.
        """
        given = {name: environ.get(name) or default for name, default in _DEFAULTS.items()}
        # Kubernetes sets MONITOR_PORT=tcp://… in every pod beside a Service named
        # monitor: nobody's setting, and no reason to refuse to start.
        if given["MONITOR_PORT"].startswith(("tcp://", "udp://", "sctp://")):
            given["MONITOR_PORT"] = _DEFAULTS["MONITOR_PORT"]
        settings = cls(
            host=_host("MONITOR_HOST", given),
            port=_port("MONITOR_PORT", given),
            token=_token(given),
            revision=_revision("MONITOR_REVISION", given),
            application_url=_address("ACCELERAPP_URL", given, http_url, "http://accelerapp:8000"),
            ollama_url=(
                _address("OLLAMA_HOST", given, ollama_url, "ollama:11434")
                if given["OLLAMA_HOST"]
                else None
            ),
            ollama_models=_models("MONITOR_OLLAMA_MODELS", given),
            redis=_redis("REDIS_URL", given),
            required=_required("MONITOR_REQUIRED", given),
            probe_interval_s=_seconds("MONITOR_PROBE_INTERVAL_S", given),
            probe_deadline_s=_seconds("MONITOR_PROBE_DEADLINE_S", given),
            probe_slow_s=_seconds("MONITOR_PROBE_SLOW_S", given),
            disk_paths=_paths("MONITOR_DISK_PATHS", given),
            disk_warn=_threshold("MONITOR_DISK_WARN", given),
            disk_fail=_threshold("MONITOR_DISK_FAIL", given),
            memory_warn_ratio=_ratio("MONITOR_MEMORY_WARN_RATIO", given),
            memory_fail_ratio=_ratio("MONITOR_MEMORY_FAIL_RATIO", given),
            throttled_warn_ratio=_ratio("MONITOR_CPU_THROTTLED_WARN_RATIO", given),
            throttled_fail_ratio=_ratio("MONITOR_CPU_THROTTLED_FAIL_RATIO", given),
        )
        settings._refuse_contradictions(given)
        return settings

    def _refuse_contradictions(self, given: Mapping[str, str]) -> None:
        def refuse(name: str, allowed: str) -> None:
            raise SettingsError(name, given[name], allowed)

        if "ollama" in self.required and self.ollama_url is None:
            refuse("MONITOR_REQUIRED", "OLLAMA_HOST as well, or a list without ollama")
        if "redis" in self.required and self.redis is None:
            refuse("MONITOR_REQUIRED", "REDIS_URL as well, or a list without redis")
        if self.ollama_models and self.ollama_url is None:
            refuse("MONITOR_OLLAMA_MODELS", "OLLAMA_HOST as well")
        if self.probe_slow_s > self.probe_deadline_s:
            refuse(
                "MONITOR_PROBE_SLOW_S",
                f"at most MONITOR_PROBE_DEADLINE_S ({self.probe_deadline_s:g})",
            )
        warn, fail = self.disk_warn, self.disk_fail
        # Bytes and a share can only be compared on a disk.
        if bool(warn.ratio) == bool(fail.ratio) and (
            (warn.ratio, warn.size_bytes) < (fail.ratio, fail.size_bytes)
        ):
            refuse("MONITOR_DISK_FAIL", f"at most MONITOR_DISK_WARN ({warn})")
        for kind, warn_ratio, fail_ratio in (
            ("MEMORY", self.memory_warn_ratio, self.memory_fail_ratio),
            ("CPU_THROTTLED", self.throttled_warn_ratio, self.throttled_fail_ratio),
        ):
            if fail_ratio and warn_ratio > fail_ratio:
                allowed = f"at least MONITOR_{kind}_WARN_RATIO ({warn_ratio:g}), or 0 for off"
                refuse(f"MONITOR_{kind}_FAIL_RATIO", allowed)

    def shown(self) -> dict[str, object]:
        """The configuration for people, by its variables' names and without secrets."""
        return {
            "MONITOR_HOST": self.host,
            "MONITOR_PORT": self.port,
            "MONITOR_TOKEN": None if self.token is None else "***",
            "ACCELERAPP_URL": self.application_url,
            "OLLAMA_HOST": self.ollama_url,
            "MONITOR_OLLAMA_MODELS": list(self.ollama_models),
            "REDIS_URL": None if self.redis is None else self.redis.shown,
            "MONITOR_REQUIRED": sorted(self.required),
            "MONITOR_PROBE_INTERVAL_S": self.probe_interval_s,
            "MONITOR_PROBE_DEADLINE_S": self.probe_deadline_s,
            "MONITOR_PROBE_SLOW_S": self.probe_slow_s,
            "MONITOR_DISK_PATHS": list(self.disk_paths),
            "MONITOR_DISK_WARN": str(self.disk_warn),
            "MONITOR_DISK_FAIL": str(self.disk_fail),
            "MONITOR_MEMORY_WARN_RATIO": self.memory_warn_ratio,
            "MONITOR_MEMORY_FAIL_RATIO": self.memory_fail_ratio,
            "MONITOR_CPU_THROTTLED_WARN_RATIO": self.throttled_warn_ratio,
            "MONITOR_CPU_THROTTLED_FAIL_RATIO": self.throttled_fail_ratio,
        }


def _host(name: str, given: Mapping[str, str]) -> str:
    value = given[name]
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", value):
        raise SettingsError(name, value, "an IP address (IPv6 without brackets) or a host name")
    return value


def _port(name: str, given: Mapping[str, str]) -> int:
    # Digits alone, and few: int() takes "1_0", "٣" and numbers of any length.
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > 65535:
        raise SettingsError(name, value, "a whole number from 0 to 65535")
    return int(value)


def _token(given: Mapping[str, str]) -> Secret | None:
    name, value = "MONITOR_TOKEN", given["MONITOR_TOKEN"]
    if path := given["MONITOR_TOKEN_FILE"]:
        name = "MONITOR_TOKEN_FILE"
        if value:
            raise SettingsError(name, path, "either it or MONITOR_TOKEN, not both")
        try:
            value = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text"
            raise SettingsError(name, path, f"a file with the token ({reason})") from None
    elif not value:
        return None
    # RFC 6750: what a client can send after "Bearer".
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]{8,512}=*", value):
        shown = path if name == "MONITOR_TOKEN_FILE" else "***"
        raise SettingsError(name, shown, "a token of 8 to 512 letters, digits and . _ ~ + / - =")
    return Secret(value)


def _revision(name: str, given: Mapping[str, str]) -> str:
    value = given[name]
    if not re.fullmatch(r"[!-~]{0,100}", value):
        raise SettingsError(name, value, "at most 100 printable characters without spaces")
    return value


def _address(name: str, given: Mapping[str, str], parse: Callable[[str], str], example: str) -> str:
    try:
        return parse(given[name])
    except ValueError:
        # No user and password in it: it is shown. Nor is one that somebody tried.
        value = "***" if "@" in given[name] else given[name]
        raise SettingsError(name, value, f"an address such as {example}") from None


def _redis(name: str, given: Mapping[str, str]) -> RedisAddress | None:
    if not given[name]:
        return None
    try:
        return redis_address(given[name])
    except ValueError:
        # Not the value: there may be a password in it.
        raise SettingsError(
            name, "***", "an address such as redis://:password@redis:6379"
        ) from None


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _models(name: str, given: Mapping[str, str]) -> tuple[str, ...]:
    models = _names(given[name])
    for model in models:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}(:[A-Za-z0-9._-]{1,80})?", model):
            raise SettingsError(name, given[name], "names such as llama3.2,codellama:7b")
    return models


def _required(name: str, given: Mapping[str, str]) -> frozenset[str]:
    names = _names(given[name])
    if names == ("none",):
        return frozenset()
    if not names or not set(names) <= set(COMPONENTS):
        raise SettingsError(name, given[name], f"a list of {', '.join(COMPONENTS)}, or none")
    return frozenset(names)


def _seconds(name: str, given: Mapping[str, str]) -> float:
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", value) or not 0.1 <= float(value) <= 3600:
        raise SettingsError(name, value, "seconds from 0.1 to 3600, such as 10 or 2.5")
    return float(value)


def _ratio(name: str, given: Mapping[str, str]) -> float:
    value = given[name]
    if not re.fullmatch(r"[01](\.[0-9]{1,6})?", value) or float(value) > 1:
        raise SettingsError(name, value, "a ratio from 0 to 1, such as 0.9")
    return float(value)


def _paths(name: str, given: Mapping[str, str]) -> tuple[str, ...]:
    paths = _names(given[name])
    if not paths or not all(path.startswith("/") and path.isprintable() for path in paths):
        raise SettingsError(name, given[name], "absolute paths, such as /app/models,/app/output")
    return paths


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _threshold(name: str, given: Mapping[str, str]) -> Threshold:
    value = given[name]
    found = re.fullmatch(r"([0-9]{1,19}(?:\.[0-9]{1,3})?) ?(%|(?:[KMGT]i?)?B?)", value)
    if not found:
        raise SettingsError(name, value, "bytes such as 1GiB or 500MB, or a share such as 5%")
    number, unit = float(found[1]), found[2].rstrip("B")
    if unit == "%":
        if number > 100:
            raise SettingsError(name, value, "a share from 0% to 100%")
        return Threshold(value, ratio=number / 100)
    return Threshold(value, size_bytes=int(number * (_UNITS | _BINARY_UNITS)[unit]))
