"""Tags as a table for people, JSON for programs, and outputs for GitHub's workflows."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import writing
from pipeline.errors import OptionInvalid, OutputUnwritable
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
    """Append the outputs of a step, as GitHub's runners read them (`name<<delimiter`).

    Raises `OptionInvalid` where there is no file to append to, `OutputUnwritable` where it
    cannot be.
    """
    path = environ.get("GITHUB_OUTPUT")
    if not path:
        raise OptionInvalid(
            "--github is given, and GITHUB_OUTPUT is not set",
            hint="GitHub Actions sets it for each step; leave --github out elsewhere",
        )
    values = {
        "tags": "\n".join(outcome.references()),
        "json": json.dumps(outcome.to_json(), ensure_ascii=False, separators=(",", ":")),
        "version": outcome.version,
        "latest": "true" if outcome.latest else "false",
    }
    # Nobody who chooses a branch's name can know the delimiter, and end a value early.
    delimiter = f"end-{secrets.token_hex(16)}"
    _append(
        path,
        "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items()),
    )
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        shown = ", ".join(f"`{reference}`" for reference in outcome.references())
        _append(summary, f"Tags: {shown}\n")


def _append(path: str, text: str) -> None:
    try:
        with writing(Path(path)), open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except (FileNotFoundError, ValueError) as error:
        raise OutputUnwritable(
            f"{path!r} cannot be written: {error}", hint="GitHub's runner names a file that it made"
        ) from None
