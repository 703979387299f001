"""What tasks do, as far as other steps and other jobs depend on it: files, images, tags, outputs.

Values with a `$` in them are only known when they run: nothing is concluded from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.commands import OUTPUT, choose_targets, described_platforms
from pipeline.errors import PipelineError
from pipeline.flags import values_of
from pipeline.oci.registry.reference import Repository
from pipeline.settings import Settings
from pipeline.shipping import REGISTRY_VARIABLE, destination
from pipeline.tags import LATEST, LATEST_TARGET, compute_tags
from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.events import Event
from pipeline.workflows.machine import Machine, is_over
from pipeline.workflows.vocabulary import Invocation, Vocabulary

MatrixOf = Callable[[Invocation], Any]
_LAYOUT = "index.json"


@dataclass(frozen=True, slots=True)
class World:
    """What the flow depends on and the workflows do not say."""

    vocabulary: Vocabulary
    settings: Settings
    matrix: MatrixOf
    """What an `invoke matrix` gives."""
    root: Path


@dataclass(frozen=True, slots=True)
class Pushed:
    """A reference that a job gave an image."""

    reference: str
    job: str


@dataclass
class Shore:
    """What a run has sent to registries."""

    pushed: list[Pushed] = field(default_factory=list)

    def has(self, reference: str, before: Collection[str]) -> bool:
        """Return whether a job that is over by now pushed a reference."""
        return any(one.reference == reference and is_over(one.job, before) for one in self.pushed)

    def others(self, reference: str) -> tuple[str, ...]:
        """Return the jobs that pushed a reference, whichever they are."""
        return tuple(dict.fromkeys(one.job for one in self.pushed if one.reference == reference))


@dataclass
class Doing:
    """One step of one run of a job, while its commands are done."""

    world: World
    event: Event
    job: str
    before: frozenset[str]
    """The jobs that are over by now, and this one."""
    machine: Machine
    shore: Shore
    environ: Mapping[str, Any]
    needs: Mapping[str, str]
    """What became of the jobs that this one needs: success or skipped."""
    complain: Callable[[str], None]
    outputs: dict[str, Any] = field(default_factory=dict)
    is_closed: bool = True
    """Whether `outputs` are all that the step has."""

    def do(self, task: Invocation) -> None:
        """Do a task."""
        try:
            if effect := _EFFECTS.get(task.task):
                effect(self, task)
            elif task.task not in _WITHOUT_EFFECT:
                self.machine.is_open = True
                self.is_closed = self.is_closed and not task.has("github")
        except PipelineError as error:
            self.complain(f"invoke {task.task}: {error}")

    # What tasks are asked for.

    def targets(self, task: Invocation) -> tuple[str, ...] | None:
        """Return a task's targets, None where they are not known."""
        asked = task.texts("target")
        if _is_open(*asked):
            return None
        return choose_targets(self.world.settings, asked)

    def architectures(self, task: Invocation) -> tuple[str, ...] | None:
        """Return a task's platforms, all of the description by default."""
        asked = task.texts("platform")
        if _is_open(*asked):
            return None
        # A workflow passes on what a person left empty.
        platforms = described_platforms(self.world.settings, values_of(asked) or ("all",))
        return tuple(platform.architecture for platform in platforms)

    def repository(self, task: Invocation) -> Repository | None:
        """Return where images go, None where that is not known."""
        asked = task.text("registry") or None
        if _is_open(asked or "") or self.environ.get(REGISTRY_VARIABLE) is UNKNOWN:
            return None
        environ = {name: value for name, value in self.environ.items() if isinstance(value, str)}
        owner = self.event.repository.partition("/")[0]
        environ |= {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY_OWNER": owner}
        return destination(self.world.settings, asked, environ)

    def tags(self, task: Invocation, target: str, targets: Sequence[str]) -> tuple[str, ...] | None:
        """Return the tags of an image: those of the flags, or those that are computed."""
        asked = values_of(task.texts("tag"))
        if _is_open(*asked):
            return None
        if asked:
            return tuple(asked) if len(targets) == 1 else tuple(f"{tag}-{target}" for tag in asked)
        return compute_tags(self.event.tag_state(), target).texts()

    # What they do.

    def needs_layout(self, task: Invocation, folder: str) -> bool:
        """Return whether an image is there, and complain where it is not."""
        if self.machine.has(f"{folder}/{_LAYOUT}"):
            return True
        self.complain(
            f"invoke {task.task} reads {folder}, and nothing in '{self.job}' has written it; "
            "build it there, or download what was built"
        )
        return False

    def may_push(self, task: Invocation) -> bool:
        """Return whether anything may be pushed, and complain where it may not."""
        if not self.event.is_pull_request:
            return True
        self.complain(
            f"invoke {task.task} pushes on a pull request; leave that out with "
            "\"if: github.event_name != 'pull_request'\""
        )
        return False

    def push(self, repository: Repository, tags: Iterable[str]) -> None:
        """Note that references were pushed."""
        for tag in tags:
            separator = "@" if tag.startswith("sha256:") else ":"
            if tag == LATEST and not self._is_highest():
                self.complain(
                    f"'{LATEST}' is moved by {self.event}, which is not the highest release; "
                    "leave the tags to 'invoke tags'"
                )
            self.shore.pushed.append(Pushed(f"{repository}{separator}{tag}", self.job))

    def _is_highest(self) -> bool:
        return compute_tags(self.event.tag_state(), LATEST_TARGET).latest

    def digest(self, target: str) -> str:
        """Return a made-up digest of an image."""
        text = f"{self.event.repository}\n{self.event.commit}\n{target}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def consume(self, task: Invocation, where: str) -> None:
        """Complain where a task reads a reference, or a layout, that nobody made."""
        if _is_open(where):
            return
        if _is_path(where):
            self.needs_layout(task, where.rstrip("/"))
            return
        own = self.repository(task)
        if own is None or not where.lower().startswith((f"{own}:", f"{own}@", f"{own}/")):
            return  # Somebody else's image.
        if self.shore.has(where, self.before):
            return
        if others := self.shore.others(where):
            self.complain(
                f"invoke {task.task} reads {where}, which '{others[0]}' pushes and '{self.job}' "
                "does not wait for; add it to 'needs'"
            )
            return
        pushed = sorted({one.reference for one in self.shore.pushed})
        self.complain(
            f"invoke {task.task} reads {where}, which nobody pushes; "
            + (f"there are {', '.join(pushed[:8])}" if pushed else "push it before")
        )


def _is_open(*texts: str) -> bool:
    return any("$" in text for text in texts)


def _is_path(where: str) -> bool:
    return where.startswith(("./", "../", "/")) or where.partition("/")[0] in ("dist", "build")


def _images(task: Invocation, flag: str = "images") -> str:
    return (task.text(flag) or str(OUTPUT)).rstrip("/")


def _build(doing: Doing, task: Invocation) -> None:
    targets = doing.targets(task)
    if task.has("dry-run"):
        return
    if archive := task.text("archive"):
        doing.machine.write(archive)
    folder = _images(task, "output")
    if targets is None or _is_open(folder):
        doing.machine.is_open = True
    for target in targets or ():
        doing.machine.write(f"{folder}/{target}/{_LAYOUT}")
        doing.machine.built[f"{folder}/{target}"] = doing.architectures(task) or ()


def _push(doing: Doing, task: Invocation) -> None:
    if task.has("dry-run") or not doing.may_push(task):
        return
    repository = doing.repository(task)
    if task.has("chart"):
        return  # Its version is the chart's, and no other job asks for it.
    targets, architectures = doing.targets(task), doing.architectures(task)
    folder, parts = _images(task), task.text("by-digest")
    if targets is None or architectures is None or _is_open(folder, parts):
        doing.machine.is_open = True
        return
    for target in targets:
        if not doing.needs_layout(task, f"{folder}/{target}"):
            continue
        if parts:
            asked = values_of(task.texts("platform"))
            there = doing.machine.built.get(f"{folder}/{target}") if not asked else None
            doing.machine.write(f"{parts}/{target}-{'-'.join(there or architectures)}.json")
            continue
        tags = doing.tags(task, target, targets)
        if repository is None or tags is None:
            continue
        if task.texts("platform"):
            tags = tuple(f"{tag}-{one}" for tag in tags for one in architectures)
        doing.push(repository, tags)


def _manifest(doing: Doing, task: Invocation) -> None:
    if task.has("dry-run") or not doing.may_push(task):
        return
    repository, parts = doing.repository(task), task.text("by-digest")
    if checksums := task.text("checksums"):
        doing.machine.write(checksums)
    if repository is None or _is_open(parts, *task.texts("target"), *task.texts("tag")):
        doing.is_closed = False
        return
    targets = _parts(doing, task, parts) if parts else _tagged_parts(doing, task, repository)
    tags: list[str] = []
    for target in targets:
        own = () if task.has("untagged") else doing.tags(task, target, targets) or ()
        doing.push(repository, (doing.digest(target), *own))
        tags += own
    if task.has("github"):
        doing.outputs |= {
            "references": ",".join(f"{repository}@{doing.digest(one)}" for one in targets),
            "tags": "\n".join(f"{repository}:{tag}" for tag in tags),
            "json": UNKNOWN,
        }


def _parts(doing: Doing, task: Invocation, folder: str) -> tuple[str, ...]:
    """Return the targets that `invoke push --by-digest` left files of in a folder."""
    files = [file for file in doing.machine.below(folder) if "/" not in file]
    wanted = choose_targets(doing.world.settings, task.texts("target") or ("all",))
    found = []
    for target in wanted:
        own = [file for file in files if file.startswith(f"{target}-") and file.endswith(".json")]
        if own:
            found.append(target)
        elif task.texts("target") and not doing.machine.is_open:
            doing.complain(
                f"invoke manifest joins '{target}', and {folder} has no file of it; push it with "
                "--by-digest before, and download what that wrote"
            )
    if not found and not task.texts("target") and not doing.machine.is_open:
        doing.complain(
            f"invoke manifest finds nothing in {folder}; download there, with merge-multiple, "
            "what 'invoke push --by-digest' wrote"
        )
    return tuple(found)


def _tagged_parts(
    doing: Doing, task: Invocation, repository: Repository
) -> tuple[str, ...]:  # fmt: skip
    """Return the targets of which every part was pushed at TAG-ARCHITECTURE."""
    targets = doing.targets(task) or ()
    for target in targets if not task.texts("digest") else ():
        tags = doing.tags(task, target, targets) or ()
        for architecture in doing.architectures(task) or ():
            for tag in tags[:1]:
                doing.consume(task, f"{repository}:{tag}-{architecture}")
    return targets


def _matrix(doing: Doing, task: Invocation) -> None:
    if not task.has("github"):
        return
    if _is_open(*(text for text in _texts(task.values.values()))):
        doing.is_closed = False
        return
    doing.outputs["matrix"] = json.dumps(doing.world.matrix(task))


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield from (value if isinstance(value, list) else [value] if isinstance(value, str) else ())


def _tags(doing: Doing, task: Invocation) -> None:
    targets = doing.targets(task)
    if not task.has("github"):
        return
    repository = doing.repository(task)
    if targets is None or repository is None:
        doing.is_closed = False
        return
    plans = [compute_tags(doing.event.tag_state(), target) for target in targets]
    doing.outputs |= {
        "tags": "\n".join(f"{repository}:{tag}" for plan in plans for tag in plan.texts()),
        "json": UNKNOWN,
        "version": plans[0].version,
        "latest": "true" if any(plan.latest for plan in plans) else "false",
    }


def _scan(doing: Doing, task: Invocation) -> None:
    if output := task.text("output"):
        doing.machine.write(output)
    only = values_of(task.texts("only"))
    asks_for_images = bool(task.texts("target") or task.texts("platform") or task.text("images"))
    if not (asks_for_images if not only else "images" in only):
        return
    _read(doing, task)


def _sbom(doing: Doing, task: Invocation) -> None:
    _read(doing, task)
    doing.machine.is_open = True


def _read(doing: Doing, task: Invocation) -> None:
    """Complain where a task reads images that are not there."""
    folder, asked = _images(task), values_of(task.texts("target"))
    if _is_open(folder, *asked):
        return
    if asked and "all" not in asked:
        for target in choose_targets(doing.world.settings, asked):
            doing.needs_layout(task, f"{folder}/{target}")
    elif not doing.machine.below(folder):
        doing.complain(
            f"invoke {task.task} reads the images in {folder}, and nothing in '{doing.job}' has "
            "written any; build them there, or download what was built"
        )


def _load(doing: Doing, task: Invocation) -> None:
    if not task.texts("target"):
        doing.needs_layout(task, f"{_images(task)}/{LATEST_TARGET}")
    else:
        _read(doing, task)


def _pull(doing: Doing, task: Invocation) -> None:
    reference = task.text("reference")
    doing.consume(task, reference)
    output = task.text("output")
    if _is_open(reference, output):
        doing.machine.is_open = True
        return
    name = reference.rpartition("/")[2].replace(":", "-").replace("@sha256", "")
    doing.machine.write(f"{output or f'{OUTPUT}/{name}'}/{_LAYOUT}")


def _where(doing: Doing, task: Invocation) -> None:
    """Do what reads one image, or several with commas."""
    for where in values_of([task.text("where"), *task.texts("where")]):
        doing.consume(task, where)


def _sign(doing: Doing, task: Invocation) -> None:
    if not task.has("dry-run") and doing.may_push(task):
        _where(doing, task)


def _gate(doing: Doing, task: Invocation) -> None:
    may_skip = values_of(task.texts("may-skip"))
    if _is_open(*may_skip):
        return
    for name in may_skip:
        if name not in doing.needs:
            doing.complain(
                f"'{doing.job}' lets '{name}' be skipped, and does not need it; add it to 'needs', "
                "or leave it out"
            )
    for name, result in doing.needs.items():
        if result != "success" and name not in may_skip:
            doing.complain(
                f"'{doing.job}' fails, because '{name}' is skipped; add it to --may-skip, or let "
                "it run"
            )


_EFFECTS: dict[str, Callable[[Doing, Invocation], None]] = {
    "build": _build,
    "push": _push,
    "manifest": _manifest,
    "matrix": _matrix,
    "tags": _tags,
    "scan": _scan,
    "sbom": _sbom,
    "load": _load,
    "pull": _pull,
    "verify": _where,
    "rebuild": _where,
    "sign": _sign,
    "ci.gate": _gate,
}
# Checks, and what only this machine notices: nothing that another step reads.
_WITHOUT_EFFECT = frozenset(
    (
        *("audit", "cache", "ci.check", "ci.foretell", "compose.check", "compose.down"),
        *("compose.logs", "compose.ps", "compose.smoke", "compose.up", "doctor", "helm.lint"),
        *("images", "k8s.check", "tools", "tools.install", "tools.list"),
    )
)
