"""What starts workflows, made up: the events that the flow of tags and artifacts is tried with."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import OptionInvalid, nearest
from pipeline.revision import DEFAULT_BRANCH
from pipeline.tags import Event as Why
from pipeline.tags import TagState
from pipeline.workflows.document import Document, Documents, inputs_of, mapping_of, triggers
from pipeline.workflows.evaluate import Partly
from pipeline.workflows.glob import matches

REPOSITORY = "acme/accelerapp"
# GitHub keeps the case that a name was given; registries take lower case alone.
IN_CAPITALS = "Acme/AccelerApp"
_NUMBER = 7
_COMBINATIONS = 64
_HIGHEST, _LOWER, _BEFORE = "v1.2.3", "v1.1.9", "v1.1.8"
_PRE_RELEASE = "v1.3.0-rc.1"
# What people may ask for; `fork` is a pull request from one.
KINDS = ("push", "tag", "pull_request", "fork", "schedule", "workflow_dispatch")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a repository."""

    name: str
    """As `on:` names it: push, pull_request, schedule …"""
    ref: str
    """`refs/heads/main`, `refs/tags/v1.2.3`; of a pull request, its merge."""
    repository: str = REPOSITORY
    tags: tuple[str, ...] = ()
    """Git's tags that the repository has."""
    branch: str = ""
    """Of a pull request, the one that it comes from."""
    base: str = ""
    """Of a pull request, the one that it goes to."""
    from_fork: bool = False
    workflow: str = ""
    """The only one that it starts, where it is for one."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    cron: str = ""
    sha: str = ""
    """The commit; a made-up one where it does not matter."""

    def __str__(self) -> str:
        what = {
            "pull_request": f"pull request from {'a fork' if self.from_fork else self.branch}",
            "push": f"push of {'tag ' if self.is_tag else ''}{self.ref_name}",
            "schedule": f"schedule '{self.cron}'",
            "workflow_dispatch": f"dispatch of {self.workflow.rpartition('/')[2]}",
        }.get(self.name, self.name)
        if self.inputs:
            what += f" with {', '.join(f'{key}={value}' for key, value in self.inputs.items())}"
        return what if self.repository == REPOSITORY else f"{what} in {self.repository}"

    @property
    def is_tag(self) -> bool:
        """Whether it is about a tag of git's."""
        return self.ref.startswith("refs/tags/")

    @property
    def is_pull_request(self) -> bool:
        """Whether it is about what is not merged yet."""
        return self.name.startswith("pull_request")

    @property
    def ref_name(self) -> str:
        """The reference without what all of its kind begin with."""
        for begin in ("refs/heads/", "refs/tags/", "refs/pull/"):
            if self.ref.startswith(begin):
                return self.ref.removeprefix(begin)
        return self.ref

    @property
    def commit(self) -> str:
        """The commit: a made-up one is the same for the same reference."""
        return self.sha or hashlib.sha1(self.ref.encode(), usedforsecurity=False).hexdigest()

    def tag_state(self) -> TagState:
        """Return what tags depend on."""
        names = {
            "push": Why.TAG if self.is_tag else Why.PUSH,
            "pull_request": Why.PULL_REQUEST,
            "schedule": Why.SCHEDULE,
            "workflow_dispatch": Why.DISPATCH,
        }
        is_branch = not self.is_tag and not self.is_pull_request
        return TagState(
            commit=self.commit,
            # A tag is built as one, whoever asked for it.
            event=Why.TAG if self.is_tag else names.get(self.name, Why.OTHER),
            branch=self.branch if self.is_pull_request else self.ref_name if is_branch else "",
            tags=(self.ref_name,) if self.is_tag else (),
            all_tags=self.tags,
            pull_request=_NUMBER if self.is_pull_request else None,
            on_default_branch=self.ref == f"refs/heads/{DEFAULT_BRANCH}",
        )

    def github(self, workflow: Document) -> Partly:
        """Return the context `github` of a run of `workflow`."""
        owner, _, name = self.repository.partition("/")
        repository = Partly(
            name=name, full_name=self.repository, default_branch=DEFAULT_BRANCH, fork=False
        )
        payload: dict[str, Any] = {"repository": repository}
        if self.is_pull_request:
            source = f"somebody/{name}" if self.from_fork else self.repository
            head = Partly(
                ref=self.branch,
                sha=self.commit,
                repo=Partly(full_name=source, fork=self.from_fork),
            )
            pull_request = Partly(
                number=float(_NUMBER),
                draft=False,
                merged=False,
                head=head,
                base=Partly(ref=self.base, repo=repository),
            )
            payload |= {"action": "opened", "number": float(_NUMBER), "pull_request": pull_request}
        elif self.name == "push":
            payload |= {"ref": self.ref, "created": self.is_tag, "deleted": False, "forced": False}
        elif self.name == "workflow_dispatch":
            payload |= {"ref": self.ref, "inputs": dict(self.inputs)}
        elif self.name == "schedule":
            payload |= {"schedule": self.cron}
        return Partly(
            event_name=self.name,
            event=payload,
            ref=self.ref,
            ref_name=self.ref_name,
            ref_type="tag" if self.is_tag else "branch",
            sha=self.commit,
            repository=self.repository,
            repository_owner=owner,
            head_ref=self.branch if self.is_pull_request else "",
            base_ref=self.base,
            actor="somebody" if self.from_fork else owner,
            triggering_actor="somebody" if self.from_fork else owner,
            workflow=str(workflow.plain.get("name", workflow.name)),
            workflow_ref=f"{self.repository}/{workflow.name}@{self.ref}",
            server_url="https://github.com",
            api_url="https://api.github.com",
            run_id=1.0,
            run_number=1.0,
            run_attempt=1.0,
        )


def pull_request(repository: str = REPOSITORY, *, from_fork: bool = False) -> Event:
    """Return a pull request to the default branch."""
    return Event(
        "pull_request",
        f"refs/pull/{_NUMBER}/merge",
        repository,
        (_BEFORE, _HIGHEST),
        branch="feature/x",
        base=DEFAULT_BRANCH,
        from_fork=from_fork,
    )


def push(ref: str, repository: str = REPOSITORY, tags: tuple[str, ...] = ()) -> Event:
    """Return the push of a branch or tag, to a repository that has `tags` besides."""
    own = (ref.removeprefix("refs/tags/"),) if ref.startswith("refs/tags/") else ()
    return Event("push", ref, repository, tuple(dict.fromkeys((*tags, *own))))


def events_for(documents: Documents) -> tuple[Event, ...]:
    """Return the events that workflows are tried with: those that every repository has, and for
    each workflow those that are for it alone."""
    found = [
        push("refs/heads/main", tags=(_BEFORE, _HIGHEST)),
        push("refs/heads/develop", tags=(_BEFORE, _HIGHEST)),
        push(f"refs/tags/{_HIGHEST}", tags=(_BEFORE,)),
        push(f"refs/tags/{_LOWER}", tags=(_BEFORE, _HIGHEST)),
        push(f"refs/tags/{_PRE_RELEASE}", tags=(_BEFORE, _HIGHEST)),
        pull_request(),
        pull_request(from_fork=True),
        push("refs/heads/main", IN_CAPITALS, (_BEFORE, _HIGHEST)),
        push(f"refs/tags/{_HIGHEST}", IN_CAPITALS, (_BEFORE,)),
        pull_request(IN_CAPITALS),
    ]
    for workflow in documents.workflows:
        found += _of_workflow(workflow)
    return tuple(found)


def _of_workflow(workflow: Document) -> Iterator[Event]:
    events = triggers(workflow)
    main = replace(
        push(f"refs/heads/{DEFAULT_BRANCH}", tags=(_BEFORE, _HIGHEST)), workflow=workflow.name
    )
    if "schedule" in events:
        for schedule in events["schedule"] if isinstance(events["schedule"], list) else ():
            cron = str(mapping_of(schedule).get("cron", ""))
            yield replace(main, name="schedule", cron=cron)
    if "workflow_dispatch" in events:
        for inputs in _combined(workflow):
            yield replace(main, name="workflow_dispatch", inputs=inputs)


def _combined(workflow: Document) -> Iterator[dict[str, Any]]:
    """Yield what people may choose, each combination of it; only what is not the default."""
    choices = {
        name: [data.get("default"), *(one for one in _choices(data) if one != data.get("default"))]
        for name, data in inputs_of(workflow, "workflow_dispatch").items()
        if _choices(data)
    }
    defaults = {name: values[0] for name, values in choices.items()}
    for values in itertools.islice(itertools.product(*choices.values()), _COMBINATIONS):
        made = dict(zip(choices, values, strict=True))
        yield {name: value for name, value in made.items() if value != defaults[name]}


def _choices(data: Mapping[str, Any]) -> list[Any]:
    if data.get("type") == "boolean":
        return [True, False]
    options = data.get("options")
    return options if isinstance(options, list) else []


def starts(event: Event, workflow: Document) -> bool:
    """Return whether an event starts a workflow. Which files differ is not known: a filter of
    paths lets everything in."""
    events = triggers(workflow)
    if event.name not in events or (event.workflow and event.workflow != workflow.name):
        return False
    data = mapping_of(events[event.name])
    if event.name == "push":
        kind, other = ("tags", "branches") if event.is_tag else ("branches", "tags")
        return _passes(data, kind, event.ref_name, other)
    if event.is_pull_request:
        types = data.get("types")
        opened = not isinstance(types, list) or "opened" in types
        return opened and _passes(data, "branches", event.base, "")
    return True


def _passes(data: Mapping[str, Any], kind: str, name: str, other: str) -> bool:
    """Return whether a filter lets a name in; one of the other kind alone lets none in."""
    if isinstance(kept := data.get(kind), (list, str)):
        return matches(name, _patterns(kept))
    if isinstance(ignored := data.get(f"{kind}-ignore"), (list, str)):
        return not matches(name, _patterns(ignored))
    return not (other and (other in data or f"{other}-ignore" in data))


def _patterns(given: list[Any] | str) -> list[str]:
    """Return the patterns of a filter; what else stands there the schema refuses."""
    return [given] if isinstance(given, str) else [one for one in given if isinstance(one, str)]


def dispatch_inputs(event: Event, workflow: Document) -> dict[str, Any]:
    """Return the context `inputs` of a workflow that an event starts by itself."""
    if event.name != "workflow_dispatch":
        return {}
    declared = inputs_of(workflow, "workflow_dispatch")
    made = {
        name: data.get("default", False if data.get("type") == "boolean" else "")
        for name, data in declared.items()
    }
    return {**made, **event.inputs}


# What `git check-ref-format` refuses, for names of one or more parts.
_NO_NAME = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|^@$|^-|(?:^|/)\.|\.lock(?:/|$)"
)


def _is_name(text: str) -> bool:
    """Return whether git takes a text as the name of a branch or tag."""
    return bool(text) and not _NO_NAME.search(text)


def asked_for(
    documents: Documents,
    kind: str,
    *,
    ref: str = "",
    repository: str = "",
    tags: tuple[str, ...] = (),
    commit: str = "",
) -> tuple[Event, ...]:
    """Return the events of flags: one, or all schedules and dispatches of the workflows.

    Raises `OptionInvalid` for a kind that there is not, for what is no name or commit, and for
    tags where the event is not about one: nothing would come of them.
    """
    if kind not in KINDS:
        raise OptionInvalid(
            f"event '{kind}' is not known",
            hint=f"{nearest(kind, KINDS)} choose {', '.join(KINDS)}".strip(),
        )
    repository = repository or REPOSITORY
    if not re.fullmatch(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", repository):
        raise OptionInvalid(
            f"repository '{repository}' is none of GitHub's", hint="write it like owner/name"
        )
    if commit and not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise OptionInvalid(f"commit '{commit}' is none", hint="give all of its 40 digits")
    for name in (*([ref] if ref else ()), *tags):
        if not _is_name(name):
            raise OptionInvalid(
                f"'{name}' is no branch or tag of git's", hint="name it like main or v1.2.3"
            )
    if kind == "push" and ref.startswith("refs/tags/"):
        kind = "tag"
    place, name = ("tags", ref or _HIGHEST) if kind == "tag" else ("heads", ref or DEFAULT_BRANCH)
    full = name if name.startswith("refs/") else f"refs/{place}/{name}"
    may_be = ("refs/heads/", "refs/tags/") if kind == "workflow_dispatch" else (f"refs/{place}/",)
    if not full.startswith(may_be):
        raise OptionInvalid(
            f"'{ref}' is no {'tag' if kind == 'tag' else 'branch'}: --event {kind} is about one",
            hint="give its name alone",
        )
    if tags and not full.startswith("refs/tags/"):
        raise OptionInvalid(
            f"--tags changes nothing for {full.removeprefix('refs/heads/')}: only the images of a "
            "tag depend on others",
            hint="leave it out, or use --event tag",
        )
    if kind in ("pull_request", "fork"):
        one = pull_request(repository, from_fork=kind == "fork")
        return (replace(one, base=full.removeprefix("refs/heads/"), sha=commit),)
    pushed = replace(push(full, repository, tags), sha=commit)
    if kind in ("push", "tag"):
        return (pushed,)
    return tuple(
        replace(pushed, name=kind, workflow=event.workflow, inputs=event.inputs, cron=event.cron)
        for workflow in documents.workflows
        for event in _of_workflow(workflow)
        if event.name == kind
    )
