"""The one job that a branch's protection asks for: green when everything else is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline.command_lines import ScriptUnreadable, commands_in
from pipeline.findings import Finding
from pipeline.flags import values_of
from pipeline.workflows.document import (
    Document,
    Job,
    Step,
    condition_of,
    jobs_of,
    mapping_of,
    text_of,
    triggers,
)
from pipeline.workflows.evaluate import NotComputable, Scope, Status, holds
from pipeline.workflows.expressions import ExpressionInvalid, chains, parse, pieces
from pipeline.workflows.scripts import NOTHING_KNOWN, with_context
from pipeline.workflows.structure import ancestors

_BAD_RESULTS = ("failure", "cancelled")
_ALL_RESULTS = re.compile(r"\$\{\{\s*tojson\(\s*needs\s*\)\s*\}\}", re.I)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_SHOWS = frozenset(("-h", "--help", "-l", "--list", "-V", "--version"))
# With one of these the script may go on, and end well, after a command that failed.
_GOES_ON = re.compile(r"[|&!]|(?:^|[;\s])(?:if|while|until|for|case)\s", re.M)
_EXIT = re.compile(r"(?:^|[;&|\n]\s*)(?:exit\s+[1-9][0-9]*|false)\s*(?:$|[;&|\n])")


def is_gate(job: Job) -> bool:
    """Return whether a job is one that runs whatever became of those that it needs."""
    return bool(job.needs) and _condition(job) == "always()"


def _condition(job: Job) -> str:
    return job.condition.strip().removeprefix("${{").removesuffix("}}").strip().replace(" ", "")


def gate_findings(document: Document) -> Iterator[Finding]:
    """Yield what is wrong with the gate of a workflow that judges pull requests, and with the
    jobs that any `invoke ci.gate` lets be skipped."""
    jobs = jobs_of(document)
    for job in jobs:
        yield from _never_skipped(job, jobs)
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
                "hand toJSON(needs) to 'invoke ci.gate --needs', by a variable"
            )  # fmt: skip


def _fails(step: Step, gate: Job, need: str) -> bool:
    """Return whether a step fails when a need did: `invoke ci.gate` is told of it, or the step
    asks for the result in its `if:` and ends in failure."""
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
    if _judges(step, gate):
        return True
    return bool(text and _EXIT.search(step.run)) and _asks_for(text, need)


def _judges(step: Step, gate: Job) -> bool:
    """Return whether `invoke ci.gate` is told the results of all needs, and its failure is the
    step's."""
    told = {**mapping_of(gate.data.get("env")), **mapping_of(step.data.get("env"))}
    for words in _gate_commands(step):
        for value in _values(words, "--needs"):
            variable = _VARIABLE.fullmatch(value)
            text = text_of(told.get(variable[1] or variable[2])) if variable else ""
            if _ALL_RESULTS.fullmatch(text.strip()):
                return not _GOES_ON.search(step.run)
    return False


def _gate_commands(step: Step) -> Iterator[tuple[str, ...]]:
    """Yield the `invoke ci.gate` of a step, but those that only show something."""
    try:
        commands = commands_in(step.run)
    except ScriptUnreadable:
        return  # That is what `commands` says.
    for command in commands:
        words = command.words[1:]
        if command.program() in ("invoke", "inv") and "ci.gate" in words and _SHOWS.isdisjoint(
            words
        ):  # fmt: skip
            yield words[words.index("ci.gate") + 1 :]


def _values(words: Sequence[str], flag: str) -> Iterator[str]:
    """Yield the values of a flag, as `--flag value` and as `--flag=value`."""
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            yield words[index + 1]
        elif word.startswith(f"{flag}="):
            yield word.partition("=")[2]


def _never_skipped(gate: Job, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Yield a finding for each job that may be skipped by what is said, and never is."""
    named = {job.name: job for job in jobs}
    for step in gate.steps:
        for words in _gate_commands(step):
            for name in values_of(tuple(_values(words, "--may-skip"))):
                job = named.get(name)
                if job is not None and not _may_be_skipped(job, jobs):
                    yield step.document.finding(
                        (*step.path, "run"), "gate", f"'{name}' runs on every event; leave it out "
                        "of --may-skip"
                    )  # fmt: skip


def _may_be_skipped(job: Job, jobs: Sequence[Job]) -> bool:
    if _condition(job) == "always()":
        return False
    earlier = ancestors(job, jobs)
    return any(
        one.condition and _condition(one) != "always()"
        for one in jobs
        if one is job or one.name in earlier
    )


def _asks_for(condition: str, need: str) -> bool:
    """Return whether a condition has the result of `need` in it."""
    try:
        found = [piece.text for piece in pieces(condition) if piece.is_expression] or [condition]
        paths = [path for one in found for _, path in chains(parse(one))]
    except ExpressionInvalid:
        return False
    return any(
        path in (("needs",), ("needs", "*", "result"), ("needs", need), ("needs", need, "result"))
        for path in paths
    )
