"""Expressions in their places: whether what they name is there, and may be used where they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import nearest
from pipeline.findings import Finding
from pipeline.workflows import matrix
from pipeline.workflows.document import (
    Document,
    Documents,
    Job,
    Kind,
    Path_,
    Step,
    condition_of,
    inputs_of,
    jobs_of,
    mapping_of,
    outputs_of,
    steps_of_action,
    strings,
    triggers,
)
from pipeline.workflows.expressions import (
    FUNCTIONS,
    Binary,
    Call,
    ExpressionInvalid,
    Literal,
    Node,
    chains,
    condition,
    parse,
    path_of,
    pieces,
    walk,
)
from pipeline.workflows.places import PROPERTIES, Place, place_of

_RESULTS = ("result", "outputs")
_STEP_RESULTS = ("outputs", "outcome", "conclusion")


@dataclass(frozen=True, slots=True)
class _Site:
    """An expression: where it is, and what is around it."""

    documents: Documents
    document: Document
    path: Path_
    place: Place

    @property
    def is_action(self) -> bool:
        return self.document.kind is Kind.ACTION

    @property
    def job(self) -> Job | None:
        if self.is_action or len(self.path) < 2 or self.path[0] != "jobs":
            return None
        return next((job for job in jobs_of(self.document) if job.name == self.path[1]), None)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that are over when this is computed."""
        job = self.job
        every = steps_of_action(self.document) if self.is_action else job.steps if job else ()
        depth = 2 if self.is_action else 3
        if self.path[depth - 1 : depth] == ("steps",) and len(self.path) > depth:
            at = self.path[depth]
            return tuple(step for step in every if int(step.path[-1]) < int(at))
        return every


def expression_findings(documents: Documents) -> Iterator[Finding]:
    """Yield what is wrong with every expression of workflows and actions."""
    for document in (*documents.workflows, *documents.actions):
        for path, text in _texts(document):
            is_if = path[-1] == "if"
            place = place_of(path, is_action=document.kind is Kind.ACTION)
            is_condition = place is not None and place.is_condition
            if "${{" not in text and not is_condition:
                continue
            if place is None or not (place.contexts or is_condition):
                yield document.finding(
                    path, "expressions", f"no expression is computed in '{path[-1]}'; write it out"
                )
                continue
            site = _Site(documents, document, path, place)
            yield from _of_text(site, text, is_condition=is_condition and is_if)


def _texts(document: Document) -> Iterator[tuple[Path_, str]]:
    """Yield every text, and every condition even where it is none (`if: true`)."""
    for path, text in strings(document.plain):
        yield path, text
    steps = (
        steps_of_action(document)
        if document.kind is Kind.ACTION
        else [step for job in jobs_of(document) for step in job.steps]
    )
    owners: list[tuple[Path_, Mapping[str, object]]] = [(step.path, step.data) for step in steps]
    owners += [(job.path, job.data) for job in jobs_of(document)]
    for path, data in owners:
        if isinstance(data.get("if"), bool):
            yield (*path, "if"), condition_of(data)


def _of_text(site: _Site, text: str, *, is_condition: bool) -> Iterator[Finding]:
    """Yield what is wrong with the expressions of one text, each at its line."""
    document, path = site.document, site.path
    try:
        found = [(condition(text), 0)] if is_condition else [
            (piece.text, piece.at) for piece in pieces(text) if piece.is_expression
        ]  # fmt: skip
    except ExpressionInvalid as error:
        advice = "put all of it into one ${{ }}" if is_condition else "close it"
        place = f"{document.name}:{_line(site, text, error.at)}"
        yield Finding(place, "expressions", f"{error.reason}; {advice}")
        return
    for expression, at in found:
        place = f"{document.name}:{_line(site, text, at)}"
        try:
            tree = parse(expression)
        except ExpressionInvalid as error:
            place = f"{document.name}:{_line(site, text, at + error.at)}"
            yield Finding(
                place,
                "expressions",
                f"'{_shown(expression)}' is no expression: {error.reason} "
                f"(character {error.at + 1}); correct it",
            )
            continue
        for message in dict.fromkeys(_wrong(site, tree)):
            yield Finding(place, "expressions", message)
        if is_condition and not any(True for _ in chains(tree)) and not _calls(tree):
            yield document.finding(
                path, "expressions", f"'{_shown(expression)}' is always the same; leave 'if' out"
            )


def _line(site: _Site, text: str, at: int) -> int:
    value = text if at <= len(text) else ""
    line = site.document.text_line(site.path, 0)
    return line if not value else site.document.text_line(site.path, at)


def _calls(tree: Node) -> bool:
    return any(isinstance(node, Call) for node in walk(tree))


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:80]}…"


def _wrong(site: _Site, tree: Node) -> Iterator[str]:
    for node in walk(tree):
        if isinstance(node, Call):
            yield from _wrong_call(site, node)
        elif isinstance(node, Binary):
            yield from _wrong_event(site, node)
    for _, path in chains(tree):
        yield from _wrong_name(site, path)


def _wrong_call(site: _Site, call: Call) -> Iterator[str]:
    if call.name not in FUNCTIONS:
        yield f"there is no function '{call.name}'; {_near(call.name, FUNCTIONS)}"
        return
    fewest, most = FUNCTIONS[call.name]
    given = len(call.arguments)
    if given < fewest or (most is not None and given > most):
        takes = str(fewest) if fewest == most else f"{fewest} to {most}" if most else f"{fewest}"
        more = "" if most is not None else " or more"
        yield f"{call.name} takes {takes}{more} arguments, and has {given}; correct it"
    elif call.name not in site.place.functions:
        where = "conditions" if call.name != "hashfiles" else "steps"
        yield f"{call.name}() is for {where} alone; leave it out of here"


def _wrong_event(site: _Site, node: Binary) -> Iterator[str]:
    """Yield for an event that the workflow is compared with and never sees."""
    events = triggers(site.document)
    if site.is_action or "workflow_call" in events or node.operator not in ("==", "!="):
        return
    for one, other in ((node.left, node.right), (node.right, node.left)):
        if path_of(one) != ("github", "event_name") or not isinstance(other, Literal):
            continue
        name = str(other.value)
        if name not in events:
            yield f"'{name}' never starts this workflow; {_near(name, events)}"


def _wrong_name(site: _Site, path: tuple[str | None, ...]) -> Iterator[str]:
    context, rest = str(path[0]), path[1:]
    known = (*PROPERTIES, "env", "inputs", "jobs", "matrix", "needs", "secrets", "steps", "vars")
    if context not in known:
        yield f"there is no context '{context}'; {_near(context, known)}"
    elif context not in site.place.contexts:
        where = ".".join(str(part) for part in site.path if not isinstance(part, int))
        yield f"'{context}' is not known at {where}; use {', '.join(sorted(site.place.contexts))}"
    elif context == "matrix":
        yield from _wrong_matrix(site, rest)
    elif rest and rest[0] not in (None, "*"):
        name = str(rest[0])
        if context in PROPERTIES:
            if name.lower() not in PROPERTIES[context]:
                yield f"{context} has no '{name}'; {_near(name, PROPERTIES[context])}"
        else:
            yield from _NAMED[context](site, name, rest[1:])


def _wrong_matrix(site: _Site, rest: tuple[str | None, ...]) -> Iterator[str]:
    job = site.job
    if job is None:
        return  # An action, which has that of whoever uses it.
    if not matrix.has_matrix(job):
        yield f"job '{job.name}' has no matrix; give it one, or leave 'matrix' out"
        return
    known = matrix.keys(job)
    named = rest[0] if rest and rest[0] != "*" else None
    if known is not None and named is not None and named.lower() not in known:
        yield f"the matrix has no '{named}'; {_near(named, known)}"


def _wrong_need(site: _Site, name: str, rest: tuple[str | None, ...]) -> Iterator[str]:
    job = site.job
    if job is None:
        return
    if name not in job.needs:
        there = {other.name for other in jobs_of(site.document)}
        advice = (
            f"add it to 'needs' of '{job.name}'" if name in there else _near(name, job.needs or ())
        )
        yield f"job '{job.name}' does not need '{name}'; {advice}"
        return
    yield from _wrong_result(site, name, rest, "needs")


def _wrong_job(site: _Site, name: str, rest: tuple[str | None, ...]) -> Iterator[str]:
    there = [job.name for job in jobs_of(site.document)]
    if name not in there:
        yield f"there is no job '{name}'; {_near(name, there)}"
    else:
        yield from _wrong_result(site, name, rest, "jobs")


def _wrong_result(
    site: _Site, name: str, rest: tuple[str | None, ...], context: str
) -> Iterator[str]:
    if not rest or rest[0] in (None, "*"):
        return
    if rest[0] not in _RESULTS:
        yield f"{context}.{name} has no '{rest[0]}'; {_near(str(rest[0]), _RESULTS)}"
        return
    if rest[0] == "outputs" and len(rest) > 1 and rest[1] not in (None, "*"):
        job = next((one for one in jobs_of(site.document) if one.name == name), None)
        if job is None:
            return
        known: Collection[str] = mapping_of(job.data.get("outputs"))
        if job.uses:
            called = site.documents.workflow(job.uses)
            if called is None:
                return
            known = outputs_of(called)
        if rest[1] not in known:
            yield f"job '{name}' has no output '{rest[1]}'; {_near(str(rest[1]), known)}"


def _wrong_step(site: _Site, name: str, rest: tuple[str | None, ...]) -> Iterator[str]:
    earlier = {str(step.data["id"]): step for step in site.steps if "id" in step.data}
    if name not in earlier:
        yield f"no step before this has the id '{name}'; {_near(name, earlier)}"
        return
    if not rest or rest[0] in (None, "*"):
        return
    if rest[0] not in _STEP_RESULTS:
        yield f"steps.{name} has no '{rest[0]}'; {_near(str(rest[0]), _STEP_RESULTS)}"
    elif rest[0] == "outputs" and len(rest) > 1 and rest[1] not in (None, "*"):
        step = earlier[name]
        action = site.documents.action(step.uses) if step.is_local else None
        if action is not None and rest[1] not in outputs_of(action):
            yield (
                f"{action.folder} has no output '{rest[1]}'; "
                f"{_near(str(rest[1]), outputs_of(action))}"
            )


def _wrong_input(site: _Site, name: str, _rest: tuple[str | None, ...]) -> Iterator[str]:
    known = (
        inputs_of(site.document)
        if site.is_action
        else {
            **inputs_of(site.document, "workflow_dispatch"),
            **inputs_of(site.document, "workflow_call"),
        }
    )
    if name.lower() not in {one.lower() for one in known}:
        yield f"there is no input '{name}'; {_near(name, known)}"


def _wrong_secret(site: _Site, name: str, _rest: tuple[str | None, ...]) -> Iterator[str]:
    events = triggers(site.document)
    if "workflow_call" not in events or name.upper() == "GITHUB_TOKEN":
        return
    known = mapping_of(mapping_of(events["workflow_call"]).get("secrets"))
    if name.lower() not in {one.lower() for one in known}:
        yield (
            f"secret '{name}' is not declared, and whoever calls this cannot give it; "
            "add it to on.workflow_call.secrets"
        )


def _wrong_variable(site: _Site, name: str, _rest: tuple[str | None, ...]) -> Iterator[str]:
    job = site.job
    if job is None:
        return
    known = {*mapping_of(site.document.plain.get("env")), *mapping_of(job.data.get("env"))}
    if len(site.path) > 3 and site.path[2] == "steps":
        steps = {step.path: step for step in job.steps}
        if step := steps.get(site.path[:4]):
            known |= set(mapping_of(step.data.get("env")))
    if name not in known:
        yield f"env.{name} is set nowhere around this; {_near(name, known)}"


def _anything(_site: _Site, _name: str, _rest: tuple[str | None, ...]) -> Iterator[str]:
    """Yield nothing: what a repository sets is not in its files."""
    yield from ()


_NAMED = {
    "needs": _wrong_need,
    "jobs": _wrong_job,
    "steps": _wrong_step,
    "inputs": _wrong_input,
    "secrets": _wrong_secret,
    "env": _wrong_variable,
    "vars": _anything,
}


def _near(name: str, known: Iterable[str]) -> str:
    """Return what to do about a name that there is not."""
    choices = sorted(known)
    if not choices:
        return "there is none at all"
    return nearest(name, choices) or f"there are {', '.join(choices[:12])}"
