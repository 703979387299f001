"""What steps run: only tasks and sessions of this project, with flags that they have."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.command_lines import Command, ScriptUnreadable, commands_in
from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Documents,
    Job,
    Step,
    jobs_of,
    steps_of_action,
)
from pipeline.workflows.gate import is_gate
from pipeline.workflows.scripts import static_environments
from pipeline.workflows.vocabulary import Vocabulary

SETUP = ".github/actions/setup"
PROGRAMS = ("invoke", "inv", "nox")
# What decides on nothing but the results that a gate is handed.
_GATE_PROGRAMS = ("[", "[[", "test", "exit", "false")


def command_findings(documents: Documents, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield every command that is none of this project's, or that there is not."""
    for document in documents.workflows:
        for job in jobs_of(document):
            for step in job.steps:
                yield from _of_step(document, job, step, vocabulary)
    for document in documents.actions:
        for step in steps_of_action(document):
            yield from _of_step(document, None, step, vocabulary)


def _of_step(
    document: Document, job: Job | None, step: Step, vocabulary: Vocabulary
) -> Iterator[Finding]:
    if not step.run:
        return
    path = (*step.path, "run")
    seen: set[Finding] = set()
    for variables in static_environments(document, job, step):
        try:
            commands = commands_in(step.run, variables)
        except ScriptUnreadable as error:
            place = f"{document.name}:{line_in(step, error.line)}"
            yield Finding(place, "commands", f"no shell reads this: {error.reason}; correct it")
            return
        for command in commands:
            message = _wrong(document, job, command, vocabulary)
            if not message:
                continue
            place = f"{document.name}:{line_in(step, command.line)}"
            finding = Finding(place, "commands", message)
            if finding not in seen:
                seen.add(finding)
                yield finding
    if not step.run.strip():
        yield document.finding(path, "commands", "runs nothing; leave the step out")


def _wrong(document: Document, job: Job | None, command: Command, vocabulary: Vocabulary) -> str:
    program = command.program()
    if program in PROGRAMS:
        words = ("invoke" if program == "inv" else program, *command.words[1:])
        if wrong := vocabulary.wrong(words):
            return wrong
        if vocabulary.only_shows(words):
            return f"'{' '.join(words)}' only shows something; leave it out"
        return ""
    if document.folder == SETUP:
        return ""
    if job is not None and program in _GATE_PROGRAMS and is_gate(job):
        return ""
    return (
        f"'{program}' is run by a workflow itself; make it a task or a session, "
        "which everybody can run, and call that"
    )


def line_in(step: Step, line: int) -> int:
    """Return the line of the file of a line of a step's script."""
    lines = step.run.split("\n")
    at = sum(len(text) + 1 for text in lines[: line - 1])
    return step.document.text_line((*step.path, "run"), at)
