"""What no workflow of this project does, each for a reason that somebody has paid for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Documents,
    Path_,
    Step,
    all_steps,
    jobs_of,
    triggers,
)
from pipeline.workflows.expressions import ExpressionInvalid, pieces
from pipeline.workflows.gate import gate_findings

# They run with rights, and secrets, for what strangers send.
_DANGEROUS = ("pull_request_target", "workflow_run")
_SWALLOWED = re.compile(r"\|\|\s*(?:true|:)(?=\s|;|$|\))|(?:^|[;&\n])\s*(set \+e)\b")
_SCRIPTS = {"actions/github-script": "script"}


def hygiene_findings(documents: Documents) -> Iterator[Finding]:
    """Yield every breach."""
    for document in documents.workflows:
        for path, rule, message in _of_workflow(document):
            yield document.finding(path, rule, message)
        yield from gate_findings(document)
    for step in all_steps(documents):
        yield from _of_step(step)


def _of_workflow(document: Document) -> Iterator[tuple[Path_, str, str]]:
    events = triggers(document)
    for event in events:
        if event in _DANGEROUS:
            path: Path_ = ("on", event) if isinstance(document.plain["on"], dict) else ("on",)
            yield path, "events", f"{event} runs strangers' code with rights; use pull_request"
    if "concurrency" not in document.plain and set(events) != {"workflow_call"}:
        # A workflow that is called has its caller's: a group of its own would wait for itself.
        yield (), "concurrency", "runs pile up; add 'concurrency' with a group and what to cancel"
    for job in jobs_of(document):
        if not job.uses and "timeout-minutes" not in job.data:
            yield job.path, "timeout", f"'{job.name}' may hang for hours; add timeout-minutes"
        if "continue-on-error" in job.data:
            path = (*job.path, "continue-on-error")
            yield path, "swallowed", f"'{job.name}' cannot fail; leave continue-on-error out"
        if job.data.get("secrets") == "inherit":
            yield (
                (*job.path, "secrets"),
                "secrets",
                f"'{job.name}' hands over every secret; name those that are needed",
            )


def _of_step(step: Step) -> Iterator[Finding]:
    document = step.document
    if "continue-on-error" in step.data:
        path = (*step.path, "continue-on-error")
        message = f"'{step.name}' cannot fail; leave continue-on-error out"
        yield document.finding(path, "swallowed", message)
    scripts: list[tuple[Path_, str]] = [((*step.path, "run"), step.run)] if step.run else []
    if key := _SCRIPTS.get(step.action):
        scripts.append(((*step.path, "with", key), str(step.given.get(key, ""))))
    for path, script in scripts:
        for found in _SWALLOWED.finditer(script):
            group = found.lastindex or 0
            place = f"{document.name}:{document.text_line(path, found.start(group))}"
            what = " ".join(found[group].split())
            yield Finding(place, "swallowed", f"'{what}' hides a failure; leave it out")
        for at in _interpolated(script):
            place = f"{document.name}:{document.text_line(path, at)}"
            yield Finding(
                place,
                "injection",
                "what ${{ }} comes to is run as a part of the script; pass it through env",
            )
    if step.action == "actions/checkout" and not _is_false(step.given.get("persist-credentials")):
        message = "leaves the token behind for every later step; set 'persist-credentials: false'"
        yield document.finding((*step.path, "uses"), "credentials", message)


def _interpolated(script: str) -> Iterator[int]:
    try:
        yield from (piece.at for piece in pieces(script) if piece.is_expression)
    except ExpressionInvalid:
        return  # That is what `expressions` says.


def _is_false(value: Any) -> bool:
    return value is False or value == "false"
