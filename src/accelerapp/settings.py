"""Settings of the service, from flags and ACCELERAPP_* variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from accelerapp.addresses import Secret, ollama_url, redis_url

LogFormat = Literal["plain", "json"]


class SettingsError(Exception):
    """A setting that cannot be used; names it, its value and what is allowed."""

    exit_code = 2

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} cannot be used; give {allowed}")


class Variable(NamedTuple):
    """A variable that the service reads, as DEPLOYMENT.md has it."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable("ACCELERAPP_HOST", "127.0.0.1", "address to listen on; the image sets 0.0.0.0"),
    Variable("ACCELERAPP_PORT", "8000", "port to listen on, 0 for any free one"),
    Variable(
        "ACCELERAPP_THREADS", "8", "requests answered at once, besides those that wait for a model"
    ),
    Variable("ACCELERAPP_CONCURRENCY", "4", "generations at once; others wait 2 s, then get 503"),
    Variable("ACCELERAPP_MAX_BODY_BYTES", "65536", "largest request, and largest description"),
    Variable("ACCELERAPP_SHUTDOWN_GRACE_S", "8", "seconds for requests in flight after SIGTERM"),
    Variable("ACCELERAPP_LOG_FORMAT", "plain", "plain, or json: an object a line"),
    Variable(
        "ACCELERAPP_MODELS_DIR", "models", "folder of models, below the working directory: /app"
    ),
    Variable("ACCELERAPP_CACHE_DIR", "cache", "folder of what can be made again"),
    Variable("ACCELERAPP_OUTPUT_DIR", "output", "folder where outputs go, and nowhere else"),
    Variable("ACCELERAPP_REVISION", "", "revision that /info shows, such as a commit"),
    Variable("OLLAMA_HOST", "", "Ollama, as its own programs take it; empty: no model"),
    Variable("ACCELERAPP_OLLAMA_MODEL", "llama3.2:1b", "the model that is asked"),
    Variable("ACCELERAPP_ASSIST_DEADLINE_S", "30", "seconds for a model's whole answer"),
    Variable("ACCELERAPP_ASSIST_CONCURRENCY", "2", "models asked at once"),
    Variable("REDIS_URL", "", "redis:// or rediss:// address; empty: no stream"),
    Variable("ACCELERAPP_REDIS_STREAM", "accelerapp:generations", "the stream of generations"),
    Variable("ACCELERAPP_REDIS_MAXLEN", "1000", "its length, about; the oldest give way"),
)
_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. Directories are absolute and need not exist."""

    host: str
    port: int
    threads: int
    models_dir: Path
    cache_dir: Path
    output_dir: Path
    shutdown_grace_s: float
    log_format: LogFormat
    revision: str
    max_body_bytes: int
    concurrency: int
    ollama_url: str | None
    ollama_model: str
    assist_deadline_s: float
    assist_concurrency: int
    redis_url: Secret | None
    redis_stream: str
    redis_maxlen: int

    @classmethod
    def load(
        cls, environ: Mapping[str, str], *, host: str | None = None, port: str | None = None
    ) -> Settings:
        """Flags, then variables, then defaults; a variable set to nothing counts as not set.

        Raises SettingsError for the first value that cannot be used.
        """
        given = _DEFAULTS | {
            name: value
            for name, value in environ.items()
            if value and not (name == "ACCELERAPP_PORT" and _is_service_link(value))
        }

        def number(name: str, low: int, high: int) -> int:
            return _whole(name, given[name], low, high)

        return cls(
            host=_host(*_either("--host", host, "ACCELERAPP_HOST", given)),
            port=_whole(*_either("--port", port, "ACCELERAPP_PORT", given), 0, 65535),
            threads=number("ACCELERAPP_THREADS", 1, 256),
            models_dir=Path(given["ACCELERAPP_MODELS_DIR"]).absolute(),
            cache_dir=Path(given["ACCELERAPP_CACHE_DIR"]).absolute(),
            output_dir=Path(given["ACCELERAPP_OUTPUT_DIR"]).absolute(),
            # By default below the 10 s after which `docker stop` kills.
            shutdown_grace_s=_seconds("ACCELERAPP_SHUTDOWN_GRACE_S", given),
            log_format=_log_format(given["ACCELERAPP_LOG_FORMAT"]),
            revision=given["ACCELERAPP_REVISION"],
            max_body_bytes=number("ACCELERAPP_MAX_BODY_BYTES", 1024, 1024 * 1024),
            concurrency=number("ACCELERAPP_CONCURRENCY", 1, 256),
            ollama_url=_ollama(given["OLLAMA_HOST"]),
            ollama_model=_text("ACCELERAPP_OLLAMA_MODEL", given, _MODEL, "a model"),
            assist_deadline_s=_seconds("ACCELERAPP_ASSIST_DEADLINE_S", given),
            assist_concurrency=number("ACCELERAPP_ASSIST_CONCURRENCY", 1, 64),
            redis_url=_redis(given["REDIS_URL"]),
            redis_stream=_text("ACCELERAPP_REDIS_STREAM", given, _KEY, "a key"),
            redis_maxlen=number("ACCELERAPP_REDIS_MAXLEN", 1, 1_000_000),
        )


def _is_service_link(value: str) -> bool:
    # Kubernetes sets ACCELERAPP_PORT=tcp://… in every pod beside a Service named
    # accelerapp: nobody's setting, and no reason to refuse to start.
    return value.startswith(("tcp://", "udp://", "sctp://"))


def _either(
    flag: str, value: str | None, variable: str, given: Mapping[str, str]
) -> tuple[str, str]:
    """The name to blame for a value, and the value."""
    return (flag, value) if value is not None else (variable, given[variable])


def _host(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", value):
        raise SettingsError(name, value, "an IP address (IPv6 without brackets) or a host name")
    return value


def _whole(name: str, value: str, low: int, high: int) -> int:
    # Nine digits at most: int() takes "1_0", "٣" and numbers of any length.
    if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
        raise SettingsError(name, value, f"a whole number from {low} to {high}")
    return int(value)


def _seconds(name: str, given: Mapping[str, str]) -> float:
    value = given[name]
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", value) or float(value) > 3600:
        raise SettingsError(name, value, "seconds from 0 to 3600, such as 8 or 2.5")
    return float(value)


def _log_format(value: str) -> LogFormat:
    if value == "plain":
        return "plain"
    if value == "json":
        return "json"
    raise SettingsError("ACCELERAPP_LOG_FORMAT", value, "plain or json")


# As `ollama pull` takes it: a namespace, a name, a tag.
_MODEL = r"[A-Za-z0-9][A-Za-z0-9._/-]*(:[A-Za-z0-9._-]+)?"
_KEY = r"[!-~]{1,200}"


def _text(name: str, given: Mapping[str, str], pattern: str, what: str) -> str:
    value = given[name]
    if not re.fullmatch(pattern, value):
        raise SettingsError(name, value, f"{what} such as {_DEFAULTS[name]}")
    return value


def _ollama(value: str) -> str | None:
    if not value.strip():
        return None
    try:
        return ollama_url(value)
    except ValueError:
        raise SettingsError(
            "OLLAMA_HOST", value, "a host, a port or both, such as http://ollama:11434"
        ) from None


def _redis(value: str) -> Secret | None:
    if not value.strip():
        return None
    try:
        return redis_url(value)
    except ValueError:
        # The value is not shown: it may hold a password.
        raise SettingsError(
            "REDIS_URL", "***", "an address such as redis://redis:6379/0, or rediss:// for TLS"
        ) from None
