"""What `.github` holds, as data with the line of everything in it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

from pipeline.errors import WorkflowsInvalid
from pipeline.findings import Finding
from pipeline.yaml_text import NotYaml, line_of, load_marked, plain

Path_ = tuple[str | int, ...]
FOLDER = ".github"
WORKFLOWS = Path(FOLDER, "workflows")
_SUFFIXES = (".yml", ".yaml")


class Kind(enum.Enum):
    """What a file is for."""

    WORKFLOW = "workflow"
    ACTION = "action"
    DEPENDABOT = "dependabot"
    FORM = "issue form"
    FORMS = "settings of the issue forms"


@dataclass(frozen=True, slots=True)
class Document:
    """One file. `name` is its path in the repository: `.github/workflows/ci.yml`."""

    name: str
    kind: Kind
    data: CommentedMap
    text: str
    plain: dict[str, Any]
    """The same as `data`, as dicts, lists and scalars."""

    @property
    def folder(self) -> str:
        """The folder that it is in, as `uses: ./…` names a local action."""
        return str(PurePosixPath(self.name).parent)

    def line(self, path: Path_) -> int:
        """Return the line of `path`, or of as much of it as is there; counted from 1."""
        return line_of(self.data, path)

    def text_line(self, path: Path_, at: int) -> int:
        """Return the line of the character `at` of the text that `path` holds."""
        parent: Any = self.data
        for key in path[:-1]:
            parent = parent[key]
        value = parent[path[-1]]
        if not isinstance(parent, CommentedMap):
            first = self.line(path)
        else:
            first = parent.lc.value(path[-1])[0] + 1
        if isinstance(value, LiteralScalarString):
            return first + 1 + value.count("\n", 0, at)
        # Where other texts are broken into lines is gone; folded ones begin at the next line.
        return first + isinstance(value, FoldedScalarString)

    def place(self, path: Path_) -> str:
        """Return `FILE:LINE` of a path."""
        return f"{self.name}:{self.line(path)}"

    def finding(self, path: Path_, rule: str, message: str) -> Finding:
        """Return a finding at a path."""
        return Finding(self.place(path), rule, message)


@dataclass(frozen=True, slots=True)
class Documents:
    """All that `.github` holds."""

    root: Path
    all: tuple[Document, ...]

    @property
    def workflows(self) -> tuple[Document, ...]:
        """The workflows."""
        return tuple(one for one in self.all if one.kind is Kind.WORKFLOW)

    @property
    def actions(self) -> tuple[Document, ...]:
        """The actions of this repository."""
        return tuple(one for one in self.all if one.kind is Kind.ACTION)

    def action(self, uses: str) -> Document | None:
        """Return the action that `uses: ./FOLDER` names."""
        wanted = inside(uses).rstrip("/")
        return next((one for one in self.actions if one.folder == wanted), None)

    def workflow(self, uses: str) -> Document | None:
        """Return the workflow that `uses: ./.github/workflows/FILE` names."""
        wanted = inside(uses)
        return next((one for one in self.workflows if one.name == wanted), None)


# `./` is the folder that is checked out, `$/` the repository that the workflow itself is of.
_LOCAL = ("./", "$/")


def is_local(uses: str) -> bool:
    """Return whether `uses:` names something of this repository."""
    return uses.startswith(_LOCAL)


def inside(uses: str) -> str:
    """Return the path in this repository that `uses:` names."""
    for begin in _LOCAL:
        uses = uses.removeprefix(begin)
    return uses


def read_documents(root: Path) -> tuple[Documents, tuple[Finding, ...]]:
    """Return what there is below `root/.github`, and what of it cannot be read.

    Raises `WorkflowsInvalid` where there is no workflow at all: nothing said of it would be true.
    """
    documents: list[Document] = []
    found: list[Finding] = []
    for path, kind in _files(root):
        name = path.relative_to(root).as_posix()
        one = read_document(path, name, kind)
        if isinstance(one, Document):
            documents.append(one)
        else:
            found.append(one)
    read = Documents(root, tuple(documents))
    if not read.workflows and not found:
        raise WorkflowsInvalid(
            f"there is no workflow in {root / FOLDER / 'workflows'}",
            hint="run this where the workflows are, or name that folder with --folder",
        )
    return read, tuple(found)


def _files(root: Path) -> Iterator[tuple[Path, Kind]]:
    folder = root / FOLDER
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _SUFFIXES or not path.is_file():
            continue
        within = path.relative_to(folder).parts
        if within[0] == "workflows" and len(within) == 2:
            yield path, Kind.WORKFLOW
        elif path.stem == "action":
            yield path, Kind.ACTION
        elif path.stem == "dependabot" and len(within) == 1:
            yield path, Kind.DEPENDABOT
        elif within[0] == "ISSUE_TEMPLATE" and len(within) == 2:
            yield path, Kind.FORMS if path.stem == "config" else Kind.FORM


def read_document(path: Path, name: str, kind: Kind) -> Document | Finding:
    """Return one file, or why it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        return Finding(f"{name}:1", "unreadable", f"cannot be read: {reason}; correct it")
    return parse_document(text, name, kind)


def parse_document(text: str, name: str, kind: Kind) -> Document | Finding:
    """Return a text as a document, or why it is none."""
    try:
        data = load_marked(text)
    except NotYaml as error:
        place = error.place(name) if error.line is not None else f"{name}:1"
        return Finding(place, "unreadable", f"not YAML: {error.reason}; correct it")
    if not isinstance(data, CommentedMap):
        return Finding(f"{name}:1", "unreadable", f"no mapping; a {kind.value} is one")
    return Document(name, kind, data, text, plain(data))


# What workflows and actions are made of. All of it takes any document that the schema refuses,
# too: each check looks at what is of the right shape, and leaves the rest to the schema.


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job or of a composite action."""

    document: Document
    path: Path_
    data: Mapping[str, Any]

    @property
    def uses(self) -> str:
        """The action, empty where there is none."""
        return text_of(self.data.get("uses"))

    @property
    def action(self) -> str:
        """The action without its version: `actions/checkout`."""
        return self.uses.partition("@")[0].lower() if not self.is_local else self.uses

    @property
    def is_local(self) -> bool:
        """Whether the action is one of this repository."""
        return is_local(self.uses)

    @property
    def run(self) -> str:
        """The script, empty where there is none."""
        return text_of(self.data.get("run"))

    @property
    def given(self) -> Mapping[str, Any]:
        """What `with:` hands over."""
        return mapping_of(self.data.get("with"))

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return text_of(self.data.get("name")) or text_of(self.data.get("id")) or self.uses or "run"


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a workflow."""

    document: Document
    name: str
    data: Mapping[str, Any]

    @property
    def path(self) -> Path_:
        """Where it is in its document."""
        return ("jobs", self.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs that it waits for."""
        needs = self.data.get("needs")
        if isinstance(needs, str):
            return (needs,)
        return (
            tuple(one for one in needs if isinstance(one, str)) if isinstance(needs, list) else ()
        )

    @property
    def uses(self) -> str:
        """The reusable workflow that it calls, empty where it has steps of its own."""
        return text_of(self.data.get("uses"))

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps."""
        return _steps(self.document, (*self.path, "steps"), self.data.get("steps"))

    @property
    def condition(self) -> str:
        """Its `if:`, empty where it has none."""
        return condition_of(self.data)


def condition_of(data: Mapping[str, Any]) -> str:
    """Return an `if:` as text: `true` is one, too."""
    value = data.get("if")
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def jobs_of(document: Document) -> tuple[Job, ...]:
    """Return the jobs of a workflow."""
    jobs = mapping_of(document.plain.get("jobs"))
    return tuple(Job(document, name, data) for name, data in jobs.items() if isinstance(data, dict))


def steps_of_action(document: Document) -> tuple[Step, ...]:
    """Return the steps of a composite action."""
    runs = mapping_of(document.plain.get("runs"))
    return _steps(document, ("runs", "steps"), runs.get("steps"))


def _steps(document: Document, path: Path_, data: Any) -> tuple[Step, ...]:
    if not isinstance(data, list):
        return ()
    return tuple(
        Step(document, (*path, index), step)
        for index, step in enumerate(data)
        if isinstance(step, dict)
    )


def all_steps(documents: Documents) -> Iterator[Step]:
    """Yield every step of workflows and actions."""
    for workflow in documents.workflows:
        for job in jobs_of(workflow):
            yield from job.steps
    for action in documents.actions:
        yield from steps_of_action(action)


def triggers(document: Document) -> dict[str, Any]:
    """Return the events that start a workflow, each with what `on:` says of it."""
    on = document.plain.get("on")
    if isinstance(on, str):
        return {on: {}}
    if isinstance(on, list):
        return {name: {} for name in on if isinstance(name, str)}
    return {name: {} if data is None else data for name, data in mapping_of(on).items()}


def inputs_of(document: Document, event: str = "") -> dict[str, dict[str, Any]]:
    """Return the declared inputs of an action, or of a workflow for an event."""
    data = mapping_of(triggers(document).get(event)) if event else document.plain
    inputs = mapping_of(data.get("inputs"))
    return {name: dict(mapping_of(one)) for name, one in inputs.items()}


def outputs_of(document: Document) -> dict[str, dict[str, Any]]:
    """Return the declared outputs of an action, or of a reusable workflow."""
    data: Mapping[str, Any] = document.plain
    if document.kind is Kind.WORKFLOW:
        data = mapping_of(triggers(document).get("workflow_call"))
    outputs = mapping_of(data.get("outputs"))
    return {name: dict(mapping_of(one)) for name, one in outputs.items()}


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def text_of(value: Any) -> str:
    """Return `value` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def strings(node: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Yield every text in `node`, with its path."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(node, str):
        yield path, node
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from strings(value, (*path, index))
