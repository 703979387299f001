"""What workflows would do on an event: the jobs that run, what they upload, push and read.

Everything goes well in it; whether failures are noticed is for `gate.py`.  What is not known
before a run (`UNKNOWN`) is taken to be so that jobs and steps run, and nothing is said of what
depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.command_lines import ScriptUnreadable, commands_in
from pipeline.findings import Finding
from pipeline.workflows import matrix
from pipeline.workflows.artifacts import Uploads, downloads, uploads
from pipeline.workflows.caches import caching
from pipeline.workflows.commands import PROGRAMS, SETUP, line_in
from pipeline.workflows.document import (
    Document,
    Documents,
    Job,
    Path_,
    Step,
    condition_of,
    inputs_of,
    jobs_of,
    mapping_of,
    outputs_of,
    steps_of_action,
    strings,
)
from pipeline.workflows.effects import Doing, Shore, World
from pipeline.workflows.evaluate import (
    UNKNOWN,
    NotComputable,
    Partly,
    Scope,
    Status,
    as_text,
    fill,
    holds,
)
from pipeline.workflows.events import Event, dispatch_inputs, starts
from pipeline.workflows.expressions import ExpressionInvalid, chains, parse, pieces
from pipeline.workflows.machine import Artifact, Machine
from pipeline.workflows.scripts import environment, known
from pipeline.workflows.structure import ancestors, order

_DEPTH_LIMIT = 5
# Actions that write nothing which a job hands on.
_WITHOUT_FILES = (
    *("actions/attest", "actions/cache", "actions/dependency-review-action", "actions/setup-"),
    *("astral-sh/setup-uv", "docker/login-action", "docker/setup-", "github/codeql-action/"),
    *("pypa/gh-action-pypi-publish", "sigstore/cosign-installer"),
)
_DEFAULTS: dict[str, Any] = {"boolean": False, "number": 0.0}


@dataclass(frozen=True, slots=True)
class JobRun:
    """A job that runs, with its combination of the matrix."""

    workflow: str
    job: str
    """With the jobs of workflows that call its own: `images/build`."""
    matrix: Mapping[str, Any]
    steps: tuple[str, ...]
    """The names of the steps that run."""

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        values = {key: "?" if value is UNKNOWN else value for key, value in self.matrix.items()}
        return {
            "workflow": self.workflow,
            "job": self.job,
            "matrix": values,
            "steps": list(self.steps),
        }


@dataclass
class Simulation:
    """What an event would lead to."""

    event: Event
    jobs: list[JobRun] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    pushed: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def references(self) -> tuple[str, ...]:
        """Every tag that is pushed, as a full reference."""
        return tuple(sorted({one for one in self.pushed if "@" not in one}))

    @property
    def skipped(self) -> bool:
        """Whether nothing runs at all."""
        return not self.jobs

    def to_json(self) -> dict[str, Any]:
        """Return the simulation for programs."""
        return {
            "event": str(self.event),
            "name": self.event.name,
            "ref": self.event.ref,
            "repository": self.event.repository,
            "jobs": [job.to_json() for job in self.jobs],
            "artifacts": [
                {
                    "name": one.name,
                    "job": one.job,
                    "files": None if one.files is None else list(one.files),
                }
                for one in self.artifacts
            ],
            "references": list(self.references),
            "findings": [finding.to_json() for finding in self.findings],
        }


def simulate(documents: Documents, event: Event, world: World) -> Simulation:
    """Return what the workflows would do on an event."""
    simulation = Simulation(event)
    for workflow in documents.workflows:
        if starts(event, workflow):
            run = _Run(documents, event, world, simulation, workflow)
            run.workflow(workflow, dispatch_inputs(event, workflow), _secrets(event), "")
            simulation.artifacts += run.uploads.artifacts
            simulation.pushed += [one.reference for one in run.shore.pushed]
    simulation.findings = sorted(set(simulation.findings))
    return simulation


def _secrets(event: Event) -> dict[str, Any]:
    """Return what secrets there are: none but the token for what comes from a fork."""
    token = {"GITHUB_TOKEN": UNKNOWN}
    return token if event.from_fork else Partly(token)


@dataclass
class _Run:
    """One run of a workflow, with those that it calls."""

    documents: Documents
    event: Event
    world: World
    simulation: Simulation
    first: Document
    shore: Shore = field(default_factory=Shore)
    uploads: Uploads = field(default_factory=Uploads)
    depth: int = 0

    def complain(self, place: str, message: str, rule: str = "flow") -> None:
        """Note a finding, with the event on which it is one."""
        said = message if str(self.event) in message else f"{message} (on {self.event})"
        self.simulation.findings.append(Finding(place, rule, said))

    def workflow(
        self,
        workflow: Document,
        inputs: Mapping[str, Any],
        secrets: Mapping[str, Any],
        prefix: str,
        before: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """Run a workflow's jobs in order; return its outputs."""
        contexts: dict[str, Any] = {
            "github": self.event.github(self.first),
            "inputs": dict(inputs),
            "secrets": secrets,
            # A repository that has set none.
            "vars": {},
        }
        jobs = jobs_of(workflow)
        done: dict[str, dict[str, Any]] = {}
        for job in order(jobs):
            earlier = ancestors(job, jobs)
            went = all(done[name]["result"] == "success" for name in earlier)
            scope = Scope(
                {**contexts, "needs": {name: done[name] for name in job.needs}},
                Status.SUCCESS if went else Status.SKIPPED,
            )
            over = before | {f"{prefix}{name}" for name in earlier}
            outputs = self._job(job, scope, prefix, over)
            done[job.name] = {
                "result": "skipped" if outputs is None else "success",
                "outputs": outputs or {},
            }
        scope = Scope({**contexts, "jobs": done})
        return {
            name: self._computed(workflow, ("on", "workflow_call", "outputs", name), data, scope)
            for name, data in outputs_of(workflow).items()
        }

    def _computed(
        self, document: Document, path: Path_, data: Mapping[str, Any], scope: Scope
    ) -> Any:
        value = data.get("value")
        return self._text(document, (*path, "value"), str(value), scope)

    def _text(self, document: Document, path: Path_, text: str, scope: Scope) -> Any:
        try:
            return as_text(fill(text, scope))
        except ExpressionInvalid:
            return UNKNOWN  # That is what `expressions` says.
        except NotComputable as error:
            self.complain(document.place(path), f"{error}; correct it")
            return UNKNOWN

    def _runs(self, document: Document, path: Path_, text: str, scope: Scope) -> bool:
        try:
            return holds(text or "success()", scope) is not False
        except ExpressionInvalid:
            return True
        except NotComputable as error:
            self.complain(document.place((*path, "if")), f"{error}; correct it")
            return True

    # Jobs.

    def _job(
        self, job: Job, scope: Scope, prefix: str, before: frozenset[str]
    ) -> dict[str, Any] | None:
        """Run a job for each combination of its matrix; return its outputs, None if it does not
        run."""
        document = job.document
        if not self._runs(document, job.path, job.condition, scope):
            return None
        inner = Scope(scope.contexts)
        try:
            made = matrix.combinations(job, inner)
        except ExpressionInvalid:
            return {}
        except NotComputable as error:
            path = (*job.path, "strategy", "matrix")
            self.complain(document.place(path), f"{error}; correct what makes it")
            return {}
        outputs: dict[str, Any] = {}
        combinations: Sequence[Any] = made if made is not None else (UNKNOWN,)
        self._check_keys(job, combinations)
        for index, combination in enumerate(combinations):
            contexts = {
                **scope.contexts,
                "matrix": combination,
                "strategy": Partly(
                    {"job-index": float(index), "job-total": float(len(combinations))}
                ),
            }
            name = f"{prefix}{job.name}"
            run = Scope(contexts)
            shown = combination if isinstance(combination, dict) else {}
            if job.uses:
                outputs = self._call(job, run, name, before)
            else:
                outputs = self._steps_of(job, run, name, before, shown)
        return outputs

    def _check_keys(self, job: Job, combinations: Sequence[Any]) -> None:
        """Complain of keys that a computed matrix does not have."""
        if matrix.keys(job) is not None or not all(isinstance(c, dict) for c in combinations):
            return
        there = {key.lower() for combination in combinations for key in combination}
        for path, named in _names_in(job):
            key = named[1] if named[0] == "matrix" and len(named) > 1 else None
            if key not in (None, "*") and str(key).lower() not in there:
                self.complain(
                    job.document.place(path),
                    f"the matrix has no '{key}'; there are {', '.join(sorted(there))}",
                )

    def _call(self, job: Job, scope: Scope, name: str, before: frozenset[str]) -> dict[str, Any]:
        """Run the workflow that a job calls."""
        called = self.documents.workflow(job.uses)
        if called is None or self.depth >= _DEPTH_LIMIT:
            return Partly()
        declared = inputs_of(called, "workflow_call")
        inputs: dict[str, Any] = {
            one: data.get(
                "default", {"boolean": False, "number": 0.0}.get(str(data.get("type")), "")
            )
            for one, data in declared.items()
        }
        for one, value in mapping_of(job.data.get("with")).items():
            path = (*job.path, "with", one)
            inputs[one] = self._value(job.document, path, value, scope)
        secrets = job.data.get("secrets")
        handed = _secrets(self.event) if secrets == "inherit" else {"GITHUB_TOKEN": UNKNOWN}
        for one in mapping_of(secrets):
            handed[one] = UNKNOWN
        self.depth += 1
        outputs = self.workflow(called, inputs, handed, f"{name}/", before)
        self.depth -= 1
        return outputs

    def _value(self, document: Document, path: Path_, value: Any, scope: Scope) -> Any:
        """Return what is handed to a workflow: with its kind, where it is one expression."""
        if not isinstance(value, str):
            return value
        try:
            return fill(value, scope)
        except ExpressionInvalid:
            return UNKNOWN
        except NotComputable as error:
            self.complain(document.place(path), f"{error}; correct it")
            return UNKNOWN

    # Steps.

    def _steps_of(
        self,
        job: Job,
        scope: Scope,
        name: str,
        before: frozenset[str],
        combination: Mapping[str, Any],
    ) -> dict[str, Any]:
        machine = Machine(self.world.root)
        here = _Here(self, name, before | {name}, machine, combination)
        layers: list[Any] = [job.document.plain.get("env"), job.data.get("env")]
        outer = environment(scope, layers)
        contexts = {**scope.contexts, "env": Partly(outer), "runner": Partly(os="Linux")}
        contexts |= {"job": Partly(status="success"), "steps": {}}
        scope = Scope(contexts)
        here.steps(job.steps, scope, outer)
        self.simulation.jobs.append(JobRun(job.document.name, name, combination, tuple(here.names)))
        self._check_outputs(job, contexts["steps"])
        return {
            one: self._text(job.document, (*job.path, "outputs", one), str(value), scope)
            for one, value in mapping_of(job.data.get("outputs")).items()
        }

    def _check_outputs(self, job: Job, steps: Mapping[str, Any]) -> None:
        """Complain of outputs that a step's tasks do not have."""
        for path, named in _names_in(job):
            if named[0] != "steps" or len(named) != 4 or None in named or "*" in named:
                continue
            step = mapping_of(steps.get(str(named[1])))
            outputs = step.get("outputs", UNKNOWN)
            is_known = isinstance(outputs, dict) and not isinstance(outputs, Partly)
            if is_known and step.get("outcome") == "success" and named[3] not in outputs:
                self.complain(
                    job.document.place(path),
                    f"step '{named[1]}' has no output '{named[3]}'; there are "
                    f"{', '.join(outputs) or 'none'}",
                )


@dataclass
class _Here:
    """The run of one job, while it goes on."""

    run: _Run
    job: str
    before: frozenset[str]
    machine: Machine
    combination: Mapping[str, Any]
    names: list[str] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)
    depth: int = 0

    def steps(self, steps: Sequence[Step], scope: Scope, outer: Mapping[str, Any]) -> None:
        """Do steps one after the other; their results are in `scope`'s context `steps`."""
        results: dict[str, Any] = scope.contexts["steps"]
        for step in steps:
            outputs: Any = {}
            runs = self.run._runs(step.document, step.path, condition_of(step.data), scope)
            if runs:
                self.names.append(step.name)
                env = {**outer, **environment(scope, [outer, step.data.get("env")])}
                inner = Scope({**scope.contexts, "env": Partly(env)})
                self.needs = {
                    name: str(mapping_of(one).get("result"))
                    for name, one in mapping_of(scope.contexts.get("needs")).items()
                }
                outputs = self._do(step, inner, env)
            if "id" in step.data:
                outcome = "success" if runs else "skipped"
                results[str(step.data["id"])] = {
                    "outputs": outputs,
                    "outcome": outcome,
                    "conclusion": outcome,
                }

    def _do(self, step: Step, scope: Scope, env: Mapping[str, Any]) -> Any:
        if step.run:
            return self._script(step, env)
        given = {
            name: self.run._text(step.document, (*step.path, "with", name), as_text(value), scope)
            for name, value in step.given.items()
        }
        place = step.document.place((*step.path, "uses"))
        for message in caching(step.action, given, self.run.event):
            self.run.complain(place, message, "caching")
        if step.is_local:
            return self._action(step, scope, given, env)
        if step.action == "actions/checkout":
            self.machine.has_source = True
        elif step.action == "actions/upload-artifact":
            for message in uploads(self.run.uploads, self.machine, self.job, given):
                self.run.complain(place, message)
        elif step.action == "actions/download-artifact":
            for message in downloads(self.run.uploads, self.machine, self.job, self.before, given):
                self.run.complain(place, message)
        elif not step.action.startswith(_WITHOUT_FILES):
            self.machine.is_open = True
        return Partly()

    def _action(
        self, step: Step, scope: Scope, given: Mapping[str, Any], env: Mapping[str, Any]
    ) -> Any:
        action = self.run.documents.action(step.uses)
        if action is None or self.depth >= _DEPTH_LIMIT:
            return Partly()
        inputs: dict[str, Any] = {}
        for name, data in inputs_of(action).items():
            default = as_text(data.get("default", ""))
            path = ("inputs", name, "default")
            inputs[name] = self.run._text(action, path, default, scope)
        inner = Scope({**scope.contexts, "inputs": {**inputs, **given}, "steps": {}})
        self.depth += 1
        names, self.names = self.names, []
        self.steps(steps_of_action(action), inner, env)
        self.names = names
        self.depth -= 1
        return {
            name: self.run._computed(action, ("outputs", name), data, inner)
            for name, data in outputs_of(action).items()
        }

    def _script(self, step: Step, env: Mapping[str, Any]) -> Any:
        try:
            commands = commands_in(step.run, known(env))
        except ScriptUnreadable:
            return Partly()
        outputs: dict[str, Any] = {}
        is_closed = True
        for command in commands:
            program = command.program()
            place = f"{step.document.name}:{line_in(step, command.line)}"

            def complain(message: str, place: str = place) -> None:
                self.run.complain(place, message)

            if program not in PROGRAMS[:2]:
                is_closed = False
                # Setting up changes the machine, and writes nothing that a job hands on.
                self.machine.is_open |= step.document.folder != SETUP
                continue
            words = ("invoke", *command.words[1:])
            if wrong := self.run.world.vocabulary.wrong(words):
                # The same words as those of `commands.py`: where both see it, it is one finding.
                self.run.simulation.findings.append(Finding(place, "commands", wrong))
                self.machine.is_open = True
                is_closed = False
            doing = Doing(
                self.run.world,
                self.run.event,
                self.job,
                self.before,
                self.machine,
                self.run.shore,
                env,
                self.needs,
                complain,
                outputs,
            )
            for task in self.run.world.vocabulary.invocations(words):
                doing.do(task)
            is_closed = is_closed and doing.is_closed
        return outputs if is_closed else Partly(outputs)


def _names_in(job: Job) -> Iterator[tuple[Path_, tuple[str | None, ...]]]:
    """Yield what every expression of a job names, with its path."""
    for path, text in strings(job.data, job.path):
        try:
            found = [piece.text for piece in pieces(text) if piece.is_expression]
            if path[-1] == "if" and not found:
                found = [text]
            for one in found:
                for _, named in chains(parse(one)):
                    yield path, named
        except ExpressionInvalid:
            continue  # That is what `expressions` says.
