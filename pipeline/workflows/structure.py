"""What a schema cannot say of workflows: jobs that wait for each other, names, runners, times,
and what is handed to the actions and workflows of this repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import nearest
from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Documents,
    Job,
    Path_,
    Step,
    all_steps,
    inputs_of,
    is_local,
    jobs_of,
    mapping_of,
    steps_of_action,
    text_of,
    triggers,
)

SHELLS = ("bash", "sh", "pwsh", "powershell", "cmd", "python")
RUNNERS = (
    "ubuntu-latest", "ubuntu-26.04", "ubuntu-26.04-arm", "ubuntu-24.04", "ubuntu-24.04-arm",
    "ubuntu-22.04", "ubuntu-22.04-arm", "ubuntu-slim",
    "macos-latest", "macos-26", "macos-15", "macos-15-intel", "macos-14",
    "windows-latest", "windows-2025", "windows-2022", "windows-11-arm",
)  # fmt: skip
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_CRON_NAMES = (
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
)
_CRON = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_KINDS: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "number": (int, float),
    "string": (str,),
}
Found = Iterator[tuple[Path_, str, str]]


def structure_findings(documents: Documents) -> Iterator[Finding]:
    """Yield what is wrong with how workflows and actions are put together."""
    for document in documents.workflows:
        found: list[tuple[Path_, str, str]] = [*_events(document)]
        jobs = jobs_of(document)
        for job in jobs:
            found += _names(job, jobs)
            found += _runner(job)
            found += _shells(job.path, job.data, job.steps)
            found += _matrix(job)
            if is_local(job.uses):
                found += _called(job, documents)
        found += _cycle(jobs)
        found += _shells((), document.plain, ())
        for path, rule, message in found:
            yield document.finding(path, rule, message)
    for document in documents.actions:
        for path, rule, message in (
            *_ids(steps_of_action(document)),
            *_shells((), document.plain, steps_of_action(document)),
        ):
            yield document.finding(path, rule, message)
    for step in all_steps(documents):
        if step.is_local:
            for path, rule, message in _used(step, documents):
                yield step.document.finding(path, rule, message)


# Jobs and steps.


def _names(job: Job, jobs: Sequence[Job]) -> Found:
    names = [other.name for other in jobs]
    for index, need in enumerate(job.needs):
        path: Path_ = (*job.path, "needs")
        if isinstance(job.data.get("needs"), list):
            path = (*path, index)
        if need not in names:
            others = [name for name in names if name != job.name]
            yield path, "needs", f"there is no job '{need}'; {_near(need, others)}"
        elif need in job.needs[:index]:
            yield path, "needs", f"'{need}' is needed twice; leave one out"
    if not _ID.fullmatch(job.name):
        yield job.path, "names", f"'{job.name}' is no id of a job; use letters, digits, - and _"
    yield from _ids(job.steps)


def _ids(steps: Sequence[Step]) -> Found:
    seen: set[str] = set()
    for step in steps:
        if "id" not in step.data:
            continue
        name = str(step.data["id"])
        if not _ID.fullmatch(name):
            yield (*step.path, "id"), "names", f"'{name}' is no id; use letters, digits, - and _"
        elif name.lower() in seen:
            yield (*step.path, "id"), "names", f"the id '{name}' is taken by a step before; rename"
        seen.add(name.lower())


def order(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Return jobs so that each comes after those that it needs; those in a circle are left out,
    and so is what needs them."""
    left = list(jobs)
    done: list[Job] = []
    names: set[str] = set()
    while ready := [job for job in left if names.issuperset(job.needs)]:
        done += ready
        names |= {job.name for job in ready}
        left = [job for job in left if job.name not in names]
    return tuple(done)


def ancestors(job: Job, jobs: Sequence[Job]) -> frozenset[str]:
    """Return the names of all jobs that are over before `job` begins."""
    by_name = {one.name: one for one in jobs}
    found: set[str] = set()
    ahead = list(job.needs)
    while ahead:
        name = ahead.pop()
        if name not in found and name in by_name:
            found.add(name)
            ahead += by_name[name].needs
    return frozenset(found)


def _cycle(jobs: Sequence[Job]) -> Found:
    for job in jobs:
        if job.name in ancestors(job, jobs):
            path = (*job.path, "needs")
            yield path, "needs", f"'{job.name}' waits for itself in the end; break the circle"


def _runner(job: Job) -> Found:
    runs_on = job.data.get("runs-on")
    labels: list[Any] = runs_on if isinstance(runs_on, list) else [runs_on]
    if isinstance(runs_on, Mapping) or "self-hosted" in labels:
        return
    for label in labels:
        if isinstance(label, str) and "${{" not in label and label.lower() not in RUNNERS:
            path = (*job.path, "runs-on")
            yield path, "runners", f"GitHub has no runner '{label}'; {_near(label, RUNNERS)}"


def _shells(path: Path_, data: Mapping[str, Any], steps: Sequence[Step]) -> Found:
    defaults = mapping_of(mapping_of(data.get("defaults")).get("run"))
    places: list[tuple[Path_, Any]] = [((*path, "defaults", "run", "shell"), defaults.get("shell"))]
    places += [((*step.path, "shell"), step.data.get("shell")) for step in steps]
    for place, value in places:
        if not isinstance(value, str) or "${{" in value:
            continue
        if value not in SHELLS and "{0}" not in value:
            yield place, "shells", f"there is no shell '{value}'; {_near(value, SHELLS)}"


def _matrix(job: Job) -> Found:
    matrix = mapping_of(mapping_of(job.data.get("strategy")).get("matrix"))
    axes = [key for key in matrix if key not in ("include", "exclude")]
    exclude = matrix.get("exclude")
    for index, left_out in enumerate(exclude if isinstance(exclude, list) else ()):
        for key in mapping_of(left_out):
            if key not in axes:
                path = (*job.path, "strategy", "matrix", "exclude", index, key)
                yield path, "matrix", f"the matrix has no '{key}' to exclude; {_near(key, axes)}"
    for key in axes:
        values = matrix[key]
        path = (*job.path, "strategy", "matrix", key)
        if isinstance(values, list):
            for index, value in enumerate(values):
                if value in values[:index]:
                    yield (*path, index), "matrix", f"'{value}' is there twice; leave one out"


# Events.


def _events(document: Document) -> Found:
    on = triggers(document)
    schedules = on.get("schedule")
    for index, schedule in enumerate(schedules if isinstance(schedules, list) else ()):
        text = text_of(mapping_of(schedule).get("cron"))
        if reason := wrong_cron(text):
            yield ("on", "schedule", index, "cron"), "cron", f"'{text}': {reason}"
    for event, data in on.items():
        for kept in ("branches", "tags", "paths"):
            if kept in mapping_of(data) and f"{kept}-ignore" in data:
                path: Path_ = ("on", event, f"{kept}-ignore")
                yield path, "events", f"not beside {kept}; use '!' in front of a pattern there"
    for name, given in inputs_of(document, "workflow_dispatch").items():
        path = ("on", "workflow_dispatch", "inputs", name, "default")
        options: Any = given.get("options")
        if given.get("type") != "choice" or not isinstance(options, list):
            continue
        if "default" in given and given["default"] not in options:
            default = str(given["default"])
            yield path, "inputs", f"'{default}' is no option; {_near(default, options)}"


def wrong_cron(text: str) -> str:
    """Return what is wrong with the times of a schedule, an empty text where nothing is."""
    fields = text.split()
    if len(fields) != len(_CRON):
        return f"{len(fields)} fields; there are five: minute, hour, day, month, weekday"
    for field, (name, low, high) in zip(fields, _CRON, strict=True):
        for part in field.split(","):
            if not _is_time(part, name, low, high):
                return f"'{part}' is no {name}; use *, {low}-{high}, ranges and steps"
    minute = fields[0]
    if minute.startswith("*") and minute.partition("/")[2] in ("", "1", "2", "3", "4"):
        return "more often than GitHub runs anything; five minutes are the least"
    return ""


def _is_time(text: str, name: str, low: int, high: int) -> bool:
    span, slash, step = text.partition("/")
    if slash and not (step.isdecimal() and 0 < int(step) <= high):
        return False
    if span == "*":
        return True
    names = {"month": _CRON_NAMES[0], "weekday": _CRON_NAMES[1]}.get(name, [])
    numbers: list[int] = []
    for one in span.split("-"):
        if one.lower() in names:
            numbers.append(names.index(one.lower()) + low)
        elif one.isdecimal() and low <= int(one) <= high:
            numbers.append(int(one))
        else:
            return False
    return len(numbers) <= 2 and numbers == sorted(numbers)


# What is handed over.


def _used(step: Step, documents: Documents) -> Found:
    action = documents.action(step.uses)
    if action is None:
        folders = [f"./{one.folder}" for one in documents.actions]
        yield (
            (*step.path, "uses"),
            "actions",
            f"there is no action in {step.uses}; {_near(step.uses, folders)}",
        )
        return
    declared = inputs_of(action)
    yield from _handed(step.path, "with", step.given, declared, action.folder, "actions")


def _called(job: Job, documents: Documents) -> Found:
    workflow = documents.workflow(job.uses)
    path: Path_ = (*job.path, "uses")
    if workflow is None:
        names = [f"./{one.name}" for one in documents.workflows]
        yield path, "actions", f"there is no workflow {job.uses}; {_near(job.uses, names)}"
        return
    if "workflow_call" not in triggers(workflow):
        yield path, "actions", f"{workflow.name} cannot be called; add workflow_call to its 'on'"
        return
    inputs = inputs_of(workflow, "workflow_call")
    given = mapping_of(job.data.get("with"))
    yield from _handed(job.path, "with", given, inputs, workflow.name, "actions")
    for name, value in given.items():
        kind = inputs.get(name, {}).get("type")
        fits = _KINDS.get(str(kind), (object,))
        if "${{" not in str(value) and not isinstance(value, fits):
            yield (*job.path, "with", name), "actions", f"'{name}' is a {kind}; give it one"
    secrets = job.data.get("secrets")
    if secrets != "inherit":
        call = mapping_of(triggers(workflow)["workflow_call"])
        known = {key: mapping_of(one) for key, one in mapping_of(call.get("secrets")).items()}
        handed = mapping_of(secrets)
        yield from _handed(job.path, "secrets", handed, known, workflow.name, "actions")


def _handed(
    path: Path_,
    key: str,
    given: Mapping[str, Any],
    declared: Mapping[str, Mapping[str, Any]],
    name: str,
    rule: str,
) -> Found:
    what = "input" if key == "with" else "secret"
    known = {one.lower() for one in declared}
    for one in given:
        if one.lower() not in known:
            yield (*path, key, one), rule, f"{name} has no {what} '{one}'; {_near(one, declared)}"
    handed = {one.lower() for one in given}
    for one, data in declared.items():
        if data.get("required") is True and "default" not in data and one.lower() not in handed:
            yield (*path, key), rule, f"{name} requires the {what} '{one}'; give it under '{key}'"


def _near(name: str, known: Iterable[Any]) -> str:
    choices = sorted(str(one) for one in known)
    if not choices:
        return "there is none at all"
    return nearest(name, choices) or f"there are {', '.join(choices[:12])}"
