"""The command lines of Compose, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import ToolMissing
from pipeline.process import Runner

# depends_on has `required` from 2.20 on.
OLDEST = (2, 20)
_HINT = "install Docker's compose plugin, 2.20 or newer"

# What a shell or CI may have set for other ends, and what would change the files' own defaults.
UNSET: Mapping[str, str] = {"COMPOSE_PROFILES": "", "COMPOSE_FILE": "", "COMPOSE_PROJECT_NAME": ""}


def version(runner: Runner) -> tuple[int, int]:
    """Compose's version. Raises ToolMissing where there is no `docker compose`."""
    done = runner(("docker", "compose", "version", "--short"))
    found = re.search(r"v?([0-9]+)\.([0-9]+)", done.stdout)
    if not done.ok or not found:
        raise ToolMissing("'docker compose' is not installed", hint=_HINT)
    return int(found[1]), int(found[2])


def required(runner: Runner) -> None:
    """Raise ToolMissing unless there is a Compose that can run the stack."""
    found = version(runner)
    if found < OLDEST:
        raise ToolMissing(f"Compose {shown(found)} is too old", hint=_HINT)


def shown(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def compose(
    files: Sequence[Path],
    profiles: Sequence[str] = (),
    *,
    project: str = "",
    env_file: Path | None = None,
) -> tuple[str, ...]:
    """The beginning of every command."""
    argv = ["docker", "compose", "--ansi", "never"]
    for file in files:
        argv += ["--file", str(file)]
    for profile in profiles:
        argv += ["--profile", profile]
    if project:
        argv += ["--project-name", project]
    if env_file is not None:
        argv += ["--env-file", str(env_file)]
    return tuple(argv)


def config(
    files: Sequence[Path], profiles: Sequence[str], *, env_file: Path | None = None
) -> tuple[str, ...]:
    return (*compose(files, profiles, env_file=env_file), "config", "--quiet")


def up(begin: tuple[str, ...], *, build: bool = False) -> tuple[str, ...]:
    # Not --wait: it says neither what it waits for nor why it gave up.
    how = ("--build",) if build else ("--no-build",)
    return (*begin, "up", "--detach", "--remove-orphans", *how)


def down(begin: tuple[str, ...], *, volumes: bool = False) -> tuple[str, ...]:
    return (*begin, "down", "--remove-orphans", *(("--volumes",) if volumes else ()))


def ps(begin: tuple[str, ...]) -> tuple[str, ...]:
    return (*begin, "ps", "--all", "--format", "json")


def logs(
    begin: tuple[str, ...],
    services: Sequence[str],
    *,
    follow: bool = False,
    tail: int | None = None,
) -> tuple[str, ...]:
    how = ("--follow",) if follow else ()
    lines = () if tail is None else ("--tail", str(tail))
    return (*begin, "logs", "--no-color", *how, *lines, *services)


def inspect(container: str) -> tuple[str, ...]:
    return ("docker", "inspect", "--format", "{{json .State}}", container)
