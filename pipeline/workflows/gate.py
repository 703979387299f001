"""The one job that a branch's protection asks for: green when everything else is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Job,
    Step,
    condition_of,
    jobs_of,
    strings,
    triggers,
)
from pipeline.workflows.evaluate import NotComputable, Scope, Status, holds
from pipeline.workflows.expressions import ExpressionInvalid, chains, parse, pieces
from pipeline.workflows.scripts import NOTHING_KNOWN, with_context

_BAD_RESULTS = ("failure", "cancelled")
_EXIT = re.compile(r"(?:^|[;&|\n]\s*)(?:exit\s+[1-9][0-9]*|false)\s*(?:$|[;&|\n])")


def is_gate(job: Job) -> bool:
    """Return whether a job is one that runs whatever became of those that it needs."""
    return bool(job.needs) and _condition(job) == "always()"


def _condition(job: Job) -> str:
    return job.condition.strip().removeprefix("${{").removesuffix("}}").strip().replace(" ", "")


def gate_findings(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the gate of a workflow that judges pull requests."""
    jobs = jobs_of(document)
    if "pull_request" not in triggers(document) or len(jobs) < 2:
        return
    gates = [job for job in jobs if is_gate(job)]
    if not gates:
        yield document.finding(
            ("jobs",), "gate", "no job sums this up; add one that needs every other job, with "
            "'if: always()', and fails unless all went well"
        )  # fmt: skip
        return
    # The most inclusive is the gate; others may run always for reasons of their own.
    gate = max(gates, key=lambda job: len(set(job.needs)))
    others = [job.name for job in jobs if job is not gate]
    for name in others:
        if name not in gate.needs:
            yield document.finding(
                (*gate.path, "needs"), "gate", f"'{gate.name}' does not need '{name}', and is "
                "green when that fails; add it"
            )  # fmt: skip
    for need in gate.needs:
        if not any(_fails(step, gate, need) for step in gate.steps):
            yield document.finding(
                gate.path, "gate", f"nothing in '{gate.name}' looks at the result of '{need}'; "
                "fail unless it is success"
            )  # fmt: skip


def _fails(step: Step, gate: Job, need: str) -> bool:
    """Return whether a step may fail when a need did: it ends in failure by itself then, or is
    told the results."""
    for bad in _BAD_RESULTS:
        results = {one: {"result": "success", "outputs": {}} for one in gate.needs}
        results[need] = {"result": bad, "outputs": {}}
        scope = Scope(
            with_context(NOTHING_KNOWN, needs=results).contexts,
            Status.SUCCESS,
        )
        text = condition_of(step.data)
        try:
            runs = holds(text, scope) if text else True
        except (ExpressionInvalid, NotComputable):
            return False
        if runs is False:
            return False
    if text and _EXIT.search(step.run):
        return _asks_for(text, need, is_condition=True)
    told = [value for key in ("env", "with") for _, value in strings(step.data.get(key))]
    return any(_asks_for(value, need, is_condition=False) for value in told)


def _asks_for(text: str, need: str, *, is_condition: bool) -> bool:
    """Return whether a text has the result of `need` in it."""
    try:
        found = [piece.text for piece in pieces(text) if piece.is_expression]
        if is_condition and not found:
            found = [text]
        paths = [path for one in found for _, path in chains(parse(one))]
    except ExpressionInvalid:
        return False
    return any(
        path in (("needs",), ("needs", "*", "result"), ("needs", need), ("needs", need, "result"))
        for path in paths
    )
