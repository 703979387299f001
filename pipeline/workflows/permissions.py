"""What jobs may do with the token that GitHub hands them: what they need, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.command_lines import ScriptUnreadable, commands_in
from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Documents,
    Job,
    Step,
    jobs_of,
    mapping_of,
    steps_of_action,
)
from pipeline.workflows.scripts import static_environments
from pipeline.workflows.vocabulary import Invocation, Vocabulary

_ATTEST = "actions/attest"
# What an action does with the token, by how its name begins.
_ACTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (_ATTEST, ("attestations", "id-token")),
    ("github/codeql-action/upload-sarif", ("security-events",)),
    ("github/codeql-action/analyze", ("security-events",)),
    ("pypa/gh-action-pypi-publish", ("id-token",)),
    ("actions/deploy-pages", ("pages", "id-token")),
    ("actions/labeler", ("pull-requests",)),
    ("softprops/action-gh-release", ("contents",)),
    ("actions/create-release", ("contents",)),
    ("ossf/scorecard-action", ("security-events", "id-token")),
)
# What a task does with it, where nothing says that it only shows what it would do.
_TASKS: dict[str, tuple[str, ...]] = {
    "push": ("packages",),
    "manifest": ("packages",),
    "sign": ("packages",),
    "release.publish": ("contents",),
}
# Of a job with a command that there is not.
_ANYTHING = "*"
_ONLY_SHOWS = ("dry-run", "check")


def permission_findings(documents: Documents, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield what jobs may do without need, and what they need and may not do."""
    for document in documents.workflows:
        stated = document.plain.get("permissions", None)
        if stated != {}:
            yield document.finding(
                ("permissions",) if "permissions" in document.plain else (),
                "permissions",
                "the workflow gives jobs rights; write 'permissions: {}' at its top, and each "
                "job's own in the job",
            )
        for job in jobs_of(document):
            yield from _of_job(documents, document, job, vocabulary)


def _of_job(
    documents: Documents, document: Document, job: Job, vocabulary: Vocabulary
) -> Iterator[Finding]:
    path = (*job.path, "permissions")
    if "permissions" not in job.data:
        yield document.finding(
            job.path, "permissions", f"'{job.name}' does not state its permissions; add them "
            "('permissions: {}' for none)"
        )  # fmt: skip
        return
    stated = job.data["permissions"]
    if not isinstance(stated, Mapping):
        if stated is not None:
            yield document.finding(
                path, "permissions", f"'{stated}' gives '{job.name}' rights to everything; name "
                "those that it needs"
            )  # fmt: skip
        return
    needed = _needed(documents, document, job, vocabulary)
    for name, level in stated.items():
        if level == "write" and name not in needed and _ANYTHING not in needed:
            yield document.finding(
                (*path, name), "permissions", f"nothing in '{job.name}' needs {name}: write; "
                "leave it out"
            )  # fmt: skip
    needed.pop(_ANYTHING, None)
    for name, why in sorted(needed.items()):
        if stated.get(name) != "write":
            yield document.finding(
                path, "permissions", f"{why} in '{job.name}' needs {name}: write; add it"
            )
    for name, why in sorted(_read(documents, job).items()):
        if stated.get(name) not in ("read", "write"):
            yield document.finding(
                path, "permissions", f"{why} in '{job.name}' needs {name}: read; add it"
            )


def _needed(
    documents: Documents, document: Document, job: Job, vocabulary: Vocabulary
) -> dict[str, str]:
    """Return what has to be `write` in a job, each with what needs it."""
    if job.uses:
        return _of_called(documents, job, "write")
    needed: dict[str, str] = {}
    for step in _steps(documents, job.steps):
        for begin, names in _ACTIONS:
            if step.action == begin or (begin == _ATTEST and step.action.startswith(begin)):
                needed |= {name: step.action for name in names if name not in needed}
        if step.action.startswith(_ATTEST) and step.given.get("push-to-registry") is True:
            needed.setdefault("packages", step.action)
        if step.action == "actions/dependency-review-action" and (
            step.given.get("comment-summary-in-pr", "never") not in (False, "never")
        ):
            needed.setdefault("pull-requests", step.action)
        if _is_wrong(document, job, step, vocabulary):
            needed[_ANYTHING] = step.name
        for done in _invocations(document, job, step, vocabulary):
            if any(done.has(flag) for flag in _ONLY_SHOWS):
                continue
            for name in _TASKS.get(done.task, ()):
                needed.setdefault(name, f"invoke {done.task}")
            if done.has("keyless"):
                needed.setdefault("id-token", f"invoke {done.task} --keyless")
    return needed


def _read(documents: Documents, job: Job) -> dict[str, str]:
    """Return what has to be at least `read` in a job, each with what needs it."""
    if job.uses:
        return _of_called(documents, job, "read")
    used = {step.action for step in _steps(documents, job.steps)}
    return {"contents": "actions/checkout"} if "actions/checkout" in used else {}


def _of_called(documents: Documents, job: Job, level: str) -> dict[str, str]:
    """Return what the jobs of a called workflow ask for: whoever calls has to give it."""
    called = documents.workflow(job.uses)
    if called is None:
        return {}
    return {
        name: called.name
        for inner in jobs_of(called)
        for name, value in mapping_of(inner.data.get("permissions")).items()
        if value == level
    }


def _steps(documents: Documents, steps: tuple[Step, ...], depth: int = 0) -> tuple[Step, ...]:
    """Return steps, with those of this repository's actions that they use."""
    found: list[Step] = []
    for step in steps:
        found.append(step)
        action = documents.action(step.uses) if step.is_local and depth < 10 else None
        if action is not None:
            found += _steps(documents, steps_of_action(action), depth + 1)
    return tuple(found)


def _invocations(
    document: Document, job: Job, step: Step, vocabulary: Vocabulary
) -> Iterator[Invocation]:
    for words in _commands(document, job, step):
        yield from vocabulary.invocations(words)


def _is_wrong(document: Document, job: Job, step: Step, vocabulary: Vocabulary) -> bool:
    """Return whether a step has a command that there is not: what that needs nobody knows."""
    return any(vocabulary.wrong(words) for words in _commands(document, job, step))


def _commands(document: Document, job: Job, step: Step) -> Iterator[tuple[str, ...]]:
    """Yield the `invoke` commands of a step."""
    own = job if step in job.steps else None
    for variables in static_environments(document, own, step):
        try:
            commands = commands_in(step.run, variables)
        except ScriptUnreadable:
            return
        for command in commands:
            if command.program() in ("invoke", "inv"):
                yield ("invoke", *command.words[1:])
