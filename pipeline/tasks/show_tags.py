"""Tags as a table for people, JSON for programs, and outputs for GitHub's workflows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.github import write_outputs, write_summary
from pipeline.oci.registry.reference import Repository
from pipeline.report import print_table
from pipeline.tags import TagPlan, TagState, printable, references


@dataclass(frozen=True, slots=True)
class Outcome:
    """The tags of some targets, and what they were computed from."""

    state: TagState
    plans: Sequence[TagPlan]
    repository: Repository | None
    """Where the images go; None prints tags without one."""

    @property
    def version(self) -> str:
        """The release without its `v`, or an empty string."""
        return self.plans[0].version if self.plans else ""

    @property
    def latest(self) -> bool:
        """Whether one of the images becomes `latest`."""
        return any(plan.latest for plan in self.plans)

    def references(self) -> tuple[str, ...]:
        """Return every tag, as a full reference where the repository is known."""
        return references(self.plans, self.repository)

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        state = self.state
        return {
            "commit": state.commit,
            "event": state.event.value,
            "branch": printable(state.branch) or None,
            "default_branch": state.on_default_branch,
            "pull_request": state.pull_request,
            "dirty": state.dirty,
            "version": self.version or None,
            "latest": self.latest,
            "images": [
                {
                    "target": plan.target,
                    "tags": [
                        {
                            "tag": tag.text,
                            "reference": reference,
                            "kind": tag.kind.value,
                            "why": tag.why,
                        }
                        for tag, reference in zip(
                            plan.tags, references([plan], self.repository), strict=True
                        )
                    ],
                    "notes": list(plan.notes),
                }
                for plan in self.plans
            ],
        }


def table(outcome: Outcome) -> None:
    """Print which tags there are, whether they move, and why."""
    rows = [
        [reference, tag.kind.value, tag.why]
        for plan in outcome.plans
        for tag, reference in zip(plan.tags, references([plan], outcome.repository), strict=True)
    ]
    print_table(["tag", "kind", "why"], rows)
    for note in dict.fromkeys(note for plan in outcome.plans for note in plan.notes):
        print(f"note: {note}")


def write_github(outcome: Outcome, environ: Mapping[str, str]) -> None:
    """Append the outputs of a step, and a line to the summary of the run."""
    write_outputs(
        {
            "tags": "\n".join(outcome.references()),
            "json": json.dumps(outcome.to_json(), ensure_ascii=False, separators=(",", ":")),
            "version": outcome.version,
            "latest": "true" if outcome.latest else "false",
        },
        environ,
    )
    shown = ", ".join(f"`{reference}`" for reference in outcome.references())
    write_summary(f"Tags: {shown}\n", environ)
