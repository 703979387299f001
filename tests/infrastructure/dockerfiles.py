"""A reader of Dockerfiles that knows nothing of what renders them: stages, runs, what is sent."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Run:
    """One RUN: what is mounted, and its commands, each of which has to succeed."""

    mounts: frozenset[str]
    commands: tuple[str, ...]


@dataclass
class Stage:
    """One stage, in the order of its instructions."""

    start: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return what each instruction of that name says."""
        return [said for instruction, said in self.steps if instruction == name]

    def one(self, name: str) -> str:
        """Return what the only instruction of that name says."""
        (said,) = self.all(name)
        return said

    def pairs(self, name: str) -> dict[str, str]:
        """Return the keys and values of every ENV or LABEL."""
        words = [word for said in self.all(name) for word in shlex.split(said)]
        return dict(word.split("=", 1) for word in words)

    def listed(self, name: str) -> list[str]:
        """Return the list of the only instruction of that name, which has to be in exec form."""
        found: list[str] = json.loads(self.one(name))
        return found

    @property
    def runs(self) -> list[Run]:
        return [_run(said) for said in self.all("RUN")]


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first FROM, and the stages by their names."""

    arguments: dict[str, str]
    stages: dict[str, Stage]


def read(text: str) -> Dockerfile:
    """Read a Dockerfile of this project's manner: named stages, no heredoc, no directive."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, said = " ".join(line.split()).partition(" ")
        if not name:
            continue
        assert re.fullmatch(r"[A-Z]+", name), f"no instruction: {line[:60]!r}"
        if name == "FROM":
            start, _, called = said.partition(" AS ")
            assert called not in stages, f"two stages are called {called!r}"
            stage = stages[called] = Stage(start)
        elif stage is None:
            assert name == "ARG", f"before the first FROM: {line[:60]!r}"
            key, _, value = said.partition("=")
            arguments[key] = value
        else:
            stage.steps.append((name, said))
    return Dockerfile(arguments, stages)


def _run(said: str) -> Run:
    words = said.split(" ")
    mounts = [word for word in words if word.startswith("--mount=")]
    command = " ".join(words[len(mounts) :])
    assert words[: len(mounts)] == mounts, f"mounts come first: {said[:80]}"
    return Run(
        frozenset(mount.removeprefix("--mount=") for mount in mounts),
        tuple(part.strip() for part in command.split(" && ")),
    )


def is_sent(path: str, ignore: str) -> bool:
    """Whether a path is sent: the last pattern that fits it, or a folder above it, decides."""
    sent = True
    places = [path, *(str(above) for above in PurePosixPath(path).parents if str(above) != ".")]
    for line in ignore.splitlines():
        if line.strip() and not line.startswith("#"):
            pattern = line.removeprefix("!").strip()
            if any(_fits(pattern, place) for place in places):
                sent = line.startswith("!")
    return sent


def _fits(pattern: str, place: str) -> bool:
    if pattern.startswith("**/"):
        return any(_fits(pattern[3:], part) for part in _tails(place))
    parts, wanted = place.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        fnmatch.fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True)
    )


def _tails(place: str) -> list[str]:
    parts = place.split("/")
    return ["/".join(parts[number:]) for number in range(len(parts))]


def sources(dockerfile: Dockerfile) -> set[str]:
    """Return the paths of the context that are copied or mounted."""
    found: set[str] = set()
    for stage in dockerfile.stages.values():
        for said in stage.all("COPY"):
            if not said.startswith("--from="):
                found.add(said.split()[0])
        for run in stage.runs:
            for mount in run.mounts:
                options: dict[str, Any] = dict(
                    option.split("=", 1) for option in mount.split(",") if "=" in option
                )
                if options["type"] == "bind" and "from" not in options:
                    found.add(options["source"])
    return found
