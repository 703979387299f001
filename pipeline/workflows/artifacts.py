"""What jobs of a run upload and download, as `actions/upload-artifact` and its other half do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import nearest
from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.machine import Artifact, Machine, is_over, named_like

# What file systems refuse in names, and so GitHub does.
_FORBIDDEN = re.compile(r'[":<>|*?\r\n\\/]')
_DEFAULT_NAME = "artifact"


@dataclass
class Uploads:
    """The artifacts of a run."""

    artifacts: list[Artifact] = field(default_factory=list)
    is_open: bool = False
    """Whether there is one whose name is not known."""


def uploads(done: Uploads, machine: Machine, job: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Upload; yield what is wrong with it."""
    name, path = given.get("name", _DEFAULT_NAME), given.get("path", "")
    if name is UNKNOWN:
        done.is_open = True
        return
    if _FORBIDDEN.search(name):
        yield f"'{name}' is no name of an artifact; leave out / \\ : * ? \" < > |"
        return
    others = [one for one in done.artifacts if one.name == name]
    if others and given.get("overwrite", "false") != "true":
        yield (
            f"'{job}' uploads '{name}', and so does '{others[0].job}'; give each a name of its own"
        )
        return
    files: tuple[str, ...] | None = None
    if path is not UNKNOWN:
        files, missing = machine.collect(
            [line.strip() for line in path.splitlines() if line.strip()]
        )
        if missing:
            yield (
                f"'{job}' uploads {missing}, and nothing in it has written that; upload what it "
                "writes"
            )
    done.artifacts = [one for one in done.artifacts if one.name != name]
    done.artifacts.append(Artifact(name, job, files))


def downloads(
    done: Uploads, machine: Machine, job: str, before: frozenset[str], given: Mapping[str, Any]
) -> Iterator[str]:
    """Download; yield what is wrong with it."""
    name, pattern = given.get("name", ""), given.get("pattern", "")
    folder = given.get("path", "")
    if "run-id" in given or UNKNOWN in (name, pattern, folder) or given.get("artifact-ids"):
        machine.is_open = True
        return
    wanted = (
        tuple(one for one in done.artifacts if one.name == name)
        if name
        else named_like(done.artifacts, pattern or "*")
    )
    here = [one for one in wanted if is_over(one.job, before)]
    shown = f"'{name}'" if name else f"'{pattern or '*'}'"
    too_early = {one.name: one.job for one in wanted if one.name not in {two.name for two in here}}
    for late, other in too_early.items():
        yield (
            f"'{job}' downloads '{late}', which '{other}' uploads and '{job}' does not wait for; "
            "add it to 'needs'"
        )
    if not wanted:
        if done.is_open:
            machine.is_open = True
            return
        names = sorted({one.name for one in done.artifacts})
        near = nearest(name or pattern.strip("*"), names) or (
            f"there are {', '.join(names)}" if names else "there is none"
        )
        yield f"'{job}' downloads {shown}, which no job uploads; {near}"
        return
    together = bool(name) or given.get("merge-multiple", "false") == "true"
    for one in here:
        machine.unpack(one, folder if together else f"{folder or '.'}/{one.name}")
