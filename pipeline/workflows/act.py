"""A workflow of GitHub's, run on this machine by act: what is asked for, and what came of it.

Steps run on this machine, each job in a copy of the repository of its own (act's "self-hosted"
mode), or in containers of an image.  What act cannot do is done for it: `$/…`, an action of this
repository, is written as `./…`; and where no network brings an action, a local one stands in.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import tools
from pipeline.errors import OptionInvalid, WorkflowFailed, WorkflowsInvalid, nearest
from pipeline.matrix import RUNNERS
from pipeline.process import Streamer, stream
from pipeline.revision import DEFAULT_BRANCH, git
from pipeline.workflows.document import WORKFLOWS
from pipeline.yaml_text import NotYaml, load_plain

EVENTS = ("push", "pull_request", "schedule", "workflow_dispatch")
HOST = "-self-hosted"
"""act's name for this machine, in place of an image."""
_OWN = re.compile(r"(\buses:\s*['\"]?)\$/")
_ACTION = re.compile(r"([\w.-]+/[\w.-]+)((?:/[\w.-]+)*)@([\w.-]+)")
_CHECKOUT = "actions/checkout"
"""act does that by itself: it copies the folder."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The flags of `invoke ci.run`."""

    workflow: str
    job: str = ""
    event: str = ""
    ref: str = ""
    number: int = 1
    """Of the pull request."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    matrix: Sequence[str] = ()
    """`KEY:VALUE`: the combinations to run."""
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    """Names of this process's own environment."""
    environment: Sequence[str] = ()
    """Names of this process's own environment, for steps."""
    stand_ins: Path | None = None
    jobs_at_once: int = 0
    """As many as there are processors, where it is 0."""
    image: str = ""
    """What jobs run in; this machine where it is empty."""


@dataclass(slots=True)
class RanStep:
    """A step that ran."""

    name: str
    result: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class RanJob:
    """A job that ran, one of its combinations where it has a matrix."""

    job: str
    """Its key in the workflow."""
    name: str
    matrix: Mapping[str, Any]
    result: str = ""
    steps: list[RanStep] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the job for programs."""
        return {
            "job": self.job,
            "name": self.name,
            "matrix": dict(self.matrix),
            "result": self.result,
            "steps": [
                {"step": step.name, "result": step.result, "seconds": round(step.seconds, 3)}
                for step in self.steps
            ],
        }


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """What came of a run."""

    workflow: str
    event: str
    ref: str
    jobs: tuple[RanJob, ...]
    exit_code: int
    reason: str
    """What act itself said last; of use where no job failed."""

    def to_json(self) -> dict[str, Any]:
        """Return the run for programs."""
        return {
            "workflow": self.workflow,
            "event": self.event,
            "ref": self.ref,
            "passed": self.exit_code == 0 and bool(self.jobs),
            "jobs": [job.to_json() for job in self.jobs],
        }

    def raise_for_failure(self) -> None:
        """Raise `WorkflowFailed` with the jobs, and the step of each, that failed, and where no
        job ran at all."""
        if self.exit_code == 0 and not self.jobs:
            raise WorkflowFailed(
                f"no job of {self.workflow} ran for {self.event} of {self.ref}",
                hint="see what its 'if' asks for, and --matrix",
            )
        if self.exit_code == 0:
            return
        failed = [
            f"{job.name} ({next((s.name for s in job.steps if s.result == 'failure'), 'no step')})"
            for job in self.jobs
            if job.result == "failure"
        ]
        why = ", ".join(failed) or self.reason or f"act ended with {self.exit_code}"
        raise WorkflowFailed(f"{self.workflow} failed: {why}", hint="its lines above say why")


def run_workflow(
    request: RunRequest,
    root: Path,
    on_line: Callable[[str, str], None],
    *,
    environ: Mapping[str, str] = os.environ,
    streamer: Streamer = stream,
) -> WorkflowRun:
    """Run a workflow of the repository at `root`; `on_line` gets each job's lines meanwhile.

    Raises `OptionInvalid` for what the workflow does not have, `WorkflowsInvalid` for one that
    cannot be read, `ToolMissing` without act.
    """
    path = find_workflow(request.workflow, root)
    document = _read(path, root)
    event = _event(request, document, path)
    ref = _ref(request, root, event)
    _refuse_others(request, document, event)
    if request.job and request.job not in document["jobs"]:
        raise OptionInvalid(
            f"{path.name} has no job '{request.job}'",
            hint=f"{nearest(request.job, document['jobs'])} choose "
            f"{', '.join(document['jobs'])}".strip(),
        )
    act = tools.find("act", environ)
    lines = _Lines(on_line)
    with tempfile.TemporaryDirectory(prefix="act-") as name:
        folder = Path(name)
        argv = (
            act,
            event,
            *_job(request),
            *_files(folder, path, root, request, environ),
            *("--eventpath", str(_payload(folder, request, event, ref))),
            *_runners(request, document),
            *_actions(request, document, root),
            *_values(request),
            "--json",
        )
        code = streamer(argv, lines.take, cwd=root)
    return WorkflowRun(path.name, event, ref, tuple(lines.jobs.values()), code, lines.last)


def find_workflow(name: str, root: Path) -> Path:
    """Return the file of a workflow: `docker`, `docker.yml` or its path.

    Raises `OptionInvalid` for one that there is not.
    """
    paths = sorted((root / WORKFLOWS).glob("*.y*ml"))
    known = {path.stem: path for path in paths}
    named = {key: path for path in paths for key in (path.name, str(path.relative_to(root)))}
    path = {**known, **named}.get(name.removeprefix("./"))
    if path is None:
        raise OptionInvalid(
            f"there is no workflow '{name}' in {WORKFLOWS}",
            hint=f"{nearest(name, known)} choose {', '.join(known) or 'another folder'}".strip(),
        )
    return path


def _load(path: Path, root: Path) -> Any:
    name = str(path.relative_to(root))
    try:
        return load_plain(path.read_text(encoding="utf-8"))
    except (NotYaml, UnicodeError) as error:
        place = error.place(name) if isinstance(error, NotYaml) else name
        raise WorkflowsInvalid(f"{place}: {error}", hint="'invoke ci.check' says more") from None


def _read(path: Path, root: Path) -> dict[str, Any]:
    name, document = str(path.relative_to(root)), _load(path, root)
    jobs = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict) or not all(isinstance(job, dict) for job in jobs.values()):
        raise WorkflowsInvalid(f"{name}: it has no jobs", hint="'invoke ci.check' says more")
    return dict(document)


def _event(request: RunRequest, document: Mapping[str, Any], path: Path) -> str:
    # YAML 1.1 reads a plain `on` as true; this reader is of 1.2.
    triggers = document.get("on")
    if not isinstance(triggers, (str, list, dict)):
        triggers = ()
    known = [triggers] if isinstance(triggers, str) else [str(name) for name in triggers]
    if not request.event:
        return next((event for event in EVENTS if event in known), known[0] if known else "push")
    event = request.event.replace("-", "_")
    if event not in known:
        raise OptionInvalid(
            f"{path.name} does not run for '{request.event}'",
            hint=f"{nearest(event, known)} choose {', '.join(known)}".strip(),
        )
    return event


def _default_ref(root: Path, event: str) -> str:
    branch = git(root, "symbolic-ref", "-q", "HEAD").strip()
    return f"refs/heads/{DEFAULT_BRANCH}" if event == "schedule" or not branch else branch


def _ref(request: RunRequest, root: Path, event: str) -> str:
    """Return what the event is of, in full; a branch may be given by its name alone."""
    if not request.ref:
        return _default_ref(root, event)
    full = request.ref if request.ref.startswith("refs/") else f"refs/heads/{request.ref}"
    if not git(root, "check-ref-format", "--normalize", full).strip():
        raise OptionInvalid(
            f"--ref '{request.ref}' names no branch or tag",
            hint="give refs/heads/main, refs/tags/v1.2.3, or the name of a branch",
        )
    return full


def _refuse_others(request: RunRequest, document: Mapping[str, Any], event: str) -> None:
    """Raise `OptionInvalid` for flags that the event does not have."""
    if request.inputs and event != "workflow_dispatch":
        raise OptionInvalid(
            f"--input is for workflow_dispatch, and the event is {event}",
            hint="add --event workflow_dispatch, or leave it out",
        )
    triggers = document.get("on")
    dispatch = triggers.get("workflow_dispatch") if isinstance(triggers, dict) else None
    known = dispatch.get("inputs") if isinstance(dispatch, dict) else None
    for name in request.inputs:
        if not isinstance(known, dict) or name not in known:
            raise OptionInvalid(
                f"the workflow has no input '{name}'",
                hint=f"{nearest(name, known or ())} choose {', '.join(known or ('none',))}".strip(),
            )


def _job(request: RunRequest) -> tuple[str, ...]:
    return ("--job", request.job) if request.job else ()


def _files(
    folder: Path, path: Path, root: Path, request: RunRequest, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the flags that name the workflow, and the files of what steps get.

    Values of the environment and of secrets are in files that nobody else reads, and on no
    command line.  Raises `OptionInvalid` for a name that is not set.
    """
    workflow = folder / path.name
    workflow.write_text(_OWN.sub(r"\1./", path.read_text(encoding="utf-8")), encoding="utf-8")
    flags = ["--workflows", str(workflow), "--directory", str(root)]
    # act would read files of these names in the repository, which are a person's own.
    given = {"env": request.environment, "secret": request.secrets, "var": (), "input": ()}
    for kind, names in given.items():
        file = folder / kind
        file.touch(mode=0o600)
        file.write_text("".join(_assignments(kind, names, environ)), encoding="utf-8")
        flags += [f"--{kind}-file", str(file)]
    return (*flags, "--defaultbranch", DEFAULT_BRANCH)


def _assignments(kind: str, names: Sequence[str], environ: Mapping[str, str]) -> Iterator[str]:
    for name in names:
        if name not in environ:
            raise OptionInvalid(
                f"--{kind} {name} is not set in this environment",
                hint=f"set it: {name}=… invoke ci.run …",
            )
        yield f"{name}={quoted(environ[name])}\n"


def quoted(value: str) -> str:
    """Return a value as act's files have it (those of dotenv): nothing in it is expanded."""
    if "'" not in value and "\n" not in value and "\r" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _payload(folder: Path, request: RunRequest, event: str, ref: str) -> Path:
    """Write what GitHub would send: as much as workflows read."""
    repository = {"default_branch": DEFAULT_BRANCH, "private": False}
    document: dict[str, Any] = {"ref": ref, "repository": repository}
    if event == "pull_request":
        branch = ref.removeprefix("refs/heads/")
        document = {
            "number": request.number,
            "repository": repository,
            "pull_request": {
                "number": request.number,
                "head": {"ref": branch, "repo": {"full_name": ""}},
                "base": {"ref": DEFAULT_BRANCH},
            },
        }
    if event == "workflow_dispatch":
        document["inputs"] = dict(request.inputs)
    path = folder / "event.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _runners(request: RunRequest, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what each label of the workflow's machines is here."""
    labels = {"ubuntu-latest"}
    for job in document["jobs"].values():
        asked = job.get("runs-on")
        if isinstance(asked, str):
            labels.add(asked)
        elif isinstance(asked, list):
            labels |= {str(label) for label in asked}
    if any("${{" in label for label in labels):
        # `invoke matrix` says which.
        labels |= set(RUNNERS.values())
    for label in sorted(label for label in labels if "${{" not in label):
        yield from ("--platform", f"{label}={request.image or HOST}")


def _actions(request: RunRequest, document: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield the local actions that stand in for those of the workflow.

    Raises `OptionInvalid` for one that has none.
    """
    yield from ("--cache-server-addr", "127.0.0.1", "--artifact-server-addr", "127.0.0.1")
    if request.stand_ins is None:
        yield from ("--artifact-server-path", str(root / "dist" / "act-artifacts"))
        return
    yield from ("--action-offline-mode", "--no-cache-server")
    missing = []
    for repository, path, ref in sorted(_uses(document, root)):
        folder = request.stand_ins.resolve() / repository
        if not (folder / path.lstrip("/") / "action.yml").is_file():
            missing.append(f"{repository}{path}")
        yield from ("--local-repository", f"{repository}@{ref}={folder}")
    if missing:
        raise OptionInvalid(
            f"{request.stand_ins} has nothing that stands in for {', '.join(missing)}",
            hint="put an action.yml there, or leave --stand-ins out where there is a network",
        )


def _uses(document: Any, root: Path) -> set[tuple[str, str, str]]:
    """Return the actions of other repositories: repository, path in it, reference."""
    found: set[tuple[str, str, str]] = set()
    if isinstance(document, dict):
        used = document.get("uses")
        if isinstance(used, str) and used.startswith(("$/", "./")):
            own = root / used[2:] / "action.yml"
            if own.is_file():
                found |= _uses(_load(own, root), root)
        elif isinstance(used, str) and (match := _ACTION.fullmatch(used)) and match[1] != _CHECKOUT:
            found.add((match[1], match[2], match[3]))
        document = list(document.values())
    if isinstance(document, list):
        for inner in document:
            found |= _uses(inner, root)
    return found


def _values(request: RunRequest) -> Iterator[str]:
    for key, value in request.inputs.items():
        yield from ("--input", f"{key}={value}")
    for combination in request.matrix:
        yield from ("--matrix", combination)
    for key, value in request.variables.items():
        yield from ("--var", f"{key}={value}")
    if request.jobs_at_once:
        yield from ("--concurrent-jobs", str(request.jobs_at_once))


class _Lines:
    """Turns act's JSON lines into jobs and steps, and passes on what people read."""

    def __init__(self, on_line: Callable[[str, str], None]) -> None:
        self.jobs: dict[str, RanJob] = {}
        self.last = ""
        self._on_line = on_line

    def take(self, text: str) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            line = {"msg": text}
        if not isinstance(line, dict):
            line = {"msg": text}
        message = str(line.get("msg", "")).rstrip("\n")
        name = str(line.get("job", ""))
        if not name:
            if line.get("level") not in ("warning", "info"):
                self.last = message or self.last
                self._on_line("act", message)
            return
        # `docker/Build production-1  `: the workflow's own name says nothing, blanks align lines.
        title = (name.partition("/")[2] or name).strip()
        job = self.jobs.setdefault(
            name, RanJob(str(line.get("jobID", "")), title, line.get("matrix") or {})
        )
        if line.get("raw_output"):
            self._on_line(title, message)
        elif result := line.get("jobResult"):
            job.result = str(result)
            self._on_line(title, f"{result}")
        elif (result := line.get("stepResult")) and len(line.get("stepID") or ()) == 1:
            self._step(job, line, str(result))
        elif line.get("level") == "error" and message:
            self._on_line(title, message)

    def _step(self, job: RanJob, line: Mapping[str, Any], result: str) -> None:
        if line.get("stage") != "Main":
            return
        seconds = float(line.get("executionTime") or 0) / 1e9
        step = RanStep(str(line.get("step", "")), result, seconds)
        job.steps.append(step)
        self._on_line(job.name, f"{step.name}: {result}, {seconds:.1f} s")
