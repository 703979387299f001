"""`invoke ci.check`: everything in `.github`, by GitHub's schemas, our rules and others' tools."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import tools
from pipeline.errors import ToolMissing
from pipeline.findings import Finding
from pipeline.flags import parts_of, values_of
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.workflows.commands import command_findings
from pipeline.workflows.document import Documents, read_documents
from pipeline.workflows.effects import World
from pipeline.workflows.events import events_for
from pipeline.workflows.hygiene import hygiene_findings
from pipeline.workflows.others import (
    ACTIONLINT,
    actionlint_findings,
    find_actionlint,
    zizmor_findings,
)
from pipeline.workflows.permissions import permission_findings
from pipeline.workflows.pins import pin_findings
from pipeline.workflows.references import expression_findings
from pipeline.workflows.schema import schema_findings
from pipeline.workflows.simulate import Simulation, simulate
from pipeline.workflows.structure import structure_findings

Part = Callable[[Documents], Iterable[Finding]]
PARTS = (
    "schema",
    "expressions",
    "commands",
    "pins",
    "permissions",
    "hygiene",
    "flow",
    "zizmor",
    ACTIONLINT,
)


@dataclass
class Checked:
    """What was looked at, and what is wrong with it."""

    files: tuple[str, ...]
    parts: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    simulations: list[Simulation] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    """Parts that were not, each with the reason."""

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "files": list(self.files),
            "parts": list(self.parts),
            "not_run": self.not_run,
            "findings": [finding.to_json() for finding in self.findings],
            "events": [one.to_json() for one in self.simulations if not one.skipped],
        }


def check(
    progress: Progress,
    world: World,
    *,
    only: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> Checked:
    """Check `.github` of `world.root`.

    Raises `OptionInvalid` for a part that there is not, `ToolMissing` for a program or package
    that one needs, and `WorkflowsInvalid` where there is no workflow at all.
    """
    parts = parts_of(only, PARTS)
    if values_of(only) and ACTIONLINT in parts and not find_actionlint(environ):
        # By default it is a part that may be missing; whoever names it wants its judgement.
        raise ToolMissing(
            f"{ACTIONLINT} is not here",
            hint=f"{tools.program(ACTIONLINT).advice}; or leave it out of --only",
        )
    documents, unreadable = read_documents(world.root)
    checked = Checked(tuple(one.name for one in documents.all), parts, list(unreadable))

    def flow(documents: Documents) -> Iterable[Finding]:
        checked.simulations += [
            simulate(documents, event, world) for event in events_for(documents)
        ]
        return _merged(checked.simulations)

    def actionlint(documents: Documents) -> Iterable[Finding]:
        program = find_actionlint(environ)
        if not program:
            checked.not_run[ACTIONLINT] = "it is not here"
            return ()
        return actionlint_findings(documents, program, runner)

    checks: dict[str, Part] = {
        "schema": lambda all_: (found for one in all_.all for found in schema_findings(one)),
        "expressions": lambda all_: (*expression_findings(all_), *structure_findings(all_)),
        "commands": lambda all_: command_findings(all_, world.vocabulary),
        "pins": pin_findings,
        "permissions": lambda all_: permission_findings(all_, world.vocabulary),
        "hygiene": hygiene_findings,
        "flow": flow,
        "zizmor": lambda all_: zizmor_findings(all_, environ, runner),
        ACTIONLINT: actionlint,
    }
    for part in parts:
        with progress.step(f"check {part}") as step:
            found = tuple(checks[part](documents))
            step.note(
                f"not run: {checked.not_run[part]}"
                if part in checked.not_run
                else f"{len(found)} found"
            )
            checked.findings += found
    checked.findings = sorted(set(checked.findings), key=_order)
    return checked


def _order(finding: Finding) -> tuple[str, int, Finding]:
    name, _, line = finding.place.rpartition(":")
    return name, int(line) if re.fullmatch(r"[0-9]{1,9}", line) else 0, finding


_ON = re.compile(r" \(on (.*)\)$", re.S)


def _merged(simulations: Sequence[Simulation]) -> Iterable[Finding]:
    """Return the findings of all events, the same one of several events once."""
    seen: dict[tuple[str, str, str], list[str]] = {}
    for simulation in simulations:
        for finding in simulation.findings:
            message = _ON.sub("", finding.message)
            key = (finding.place, finding.rule, message)
            seen.setdefault(key, []).append(str(simulation.event))
    for (place, rule, message), events in seen.items():
        if rule == "commands":
            yield Finding(place, rule, message)
            continue
        first, *others = dict.fromkeys(events)
        more = f" and {len(others)} more" if others else ""
        yield Finding(place, rule, f"{message} (on {first}{more})")
