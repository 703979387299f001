"""The stack of the Compose files, as Compose makes it, and what every container of it is."""

from __future__ import annotations

from functools import cache
from typing import Any

from pipeline.compose.document import ComposeFile, merged, read_file
from tests.infrastructure.repository import DOCKER, ROOT, text_of

HARDENED = {
    "restart": "unless-stopped",
    "user": "1000:1000",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "networks": ["accelerapp"],
    "tmpfs": ["/tmp:size=16m,mode=1777,noexec,nosuid,nodev"],
    # Longer than what is in flight may take, and docker's own default.
    "stop_grace_period": "10s",
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}
OLLAMA = "ollama/ollama:0.33.3@sha256:"
OLLAMA_PORT = 11434
BASE, DEV, GPU = "docker-compose.yml", "docker-compose.dev.yml", "docker-compose.gpu.yml"


@cache
def compose_file(name: str) -> ComposeFile:
    return read_file(DOCKER / name, ROOT)


def stack(*overlays: str, **environ: str) -> dict[str, Any]:
    """Return the project that Compose makes of the files."""
    files = [compose_file(name) for name in (BASE, *overlays)]
    return merged(files, environ).data


def service(name: str, *overlays: str, **environ: str) -> dict[str, Any]:
    found: dict[str, Any] = stack(*overlays, **environ)["services"][name]
    return found


def redis_directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text_of("deployment/docker/redis.conf").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
    return found
