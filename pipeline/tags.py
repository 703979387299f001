"""Which tags an image gets: from the commit, the branch, the release or the pull request.

`read_state` asks git and, in GitHub Actions, the environment; `compute_tags` decides, from
that value alone.  A tag is fixed (it names this commit or this release for good) or moving
(it names the newest of something).  The rules, for a target `production`:

- a commit: `sha-0123456-production`, fixed;
- a branch: `main-production`, moving;
- a release `v1.2.3`: `v1.2.3-production`, fixed; `1.2-production` and, from 1.0.0 on,
  `1-production` while nothing higher of that series is released; `latest` while nothing
  higher at all is (of the target production alone);
- a pre-release `v1.3.0-rc.1` (or `1.3.0rc1`): a fixed tag of its own, and moves nothing;
- a pull request: `pr-7-production`, moving, and nothing else: seven digits of a commit are
  easily forged, and a stranger's commit must not take the place of another's;
- a work tree with changes: `sha-0123456-dirty-production`, and nothing else: what nobody can
  check out again never gets a name that promises it.

A branch whose name is no tag, or would look like one of the above, gets the start of its
name's SHA-256: two branches have two tags.  The one exception is `/`, which becomes `-` as
everybody expects, so `feature/x` and `feature-x` share a tag.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import OptionInvalid, ToolMissing
from pipeline.oci.registry.reference import Repository, check_tag
from pipeline.revision import git, read_revision

if TYPE_CHECKING:
    from packaging.version import Version

LATEST = "latest"
LATEST_TARGET = "production"
_LENGTH_LIMIT = 128
_COMMIT_DIGITS = 7
_HASH_DIGITS = 8


class Event(enum.Enum):
    """Why there is a build."""

    PUSH = "push"
    TAG = "tag"
    PULL_REQUEST = "pull-request"
    SCHEDULE = "schedule"
    DISPATCH = "dispatch"
    OTHER = "other"
    """Something that says nothing about the branch: a merge queue, another workflow's end."""
    NONE = "none"
    """A person at a machine."""


@dataclass(frozen=True, slots=True)
class TagState:
    """What tags depend on."""

    commit: str
    """40 or 64 hexadecimal digits: what is checked out; of a pull request, its own last."""
    event: Event = Event.NONE
    branch: str = ""
    """Empty where none is checked out; of a pull request, the one that it comes from."""
    tags: tuple[str, ...] = ()
    """Git's tags that this build is of: the pushed one, or those of the commit."""
    all_tags: tuple[str, ...] = ()
    """Git's tags of the whole repository, as far as they are here."""
    all_tags_known: bool = True
    """False in a clone that may lack some: the highest release is then anybody's guess."""
    pull_request: int | None = None
    on_default_branch: bool = False
    dirty: bool = False
    """Whether tracked files differ from the commit."""


class Kind(enum.Enum):
    """Whether a tag will ever name another image."""

    FIXED = "fixed"
    MOVING = "moving"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, and in a few words why the image gets it."""

    text: str
    kind: Kind
    why: str


@dataclass(frozen=True, slots=True)
class TagPlan:
    """The tags of one target in the order to push them: fixed ones first, `latest` last."""

    target: str
    tags: tuple[Tag, ...]
    version: str = ""
    """The release or pre-release without its `v`; empty for other builds."""
    notes: tuple[str, ...] = ()
    """What did not move, and why."""

    @property
    def latest(self) -> bool:
        """Whether `latest` moves here."""
        return any(tag.text == LATEST for tag in self.tags)

    def texts(self) -> tuple[str, ...]:
        """Return the tags alone, in order."""
        return tuple(tag.text for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Release:
    """A git tag that is a version. Build metadata (`+…`) does not count in comparisons."""

    tag: str
    version: Version | None = field(compare=False)
    """What to order it by; None for a pre-release, which is never the highest of anything."""

    @property
    def text(self) -> str:
        """The version without its `v`."""
        return self.tag.lstrip("vV")


_NUMBERS = r"[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_SEMVER = re.compile(rf"[vV]?(?P<numbers>{_NUMBERS})(?P<pre>-{_IDENTIFIERS})?(\+{_IDENTIFIERS})?")
_THREE_NUMBERS = re.compile(rf"[vV]?{_NUMBERS}(?![0-9]|\.[0-9])[0-9A-Za-z._+-]*")

# What a branch must not be taken for: a release, a series, a commit, a pull request …
_RESERVED = re.compile(
    r"[vV]?[0-9]+\.[0-9]+\.[0-9]+.*|[0-9]+(\.[0-9]+)?|sha-[0-9a-f]{7}(-dirty)?|pr-[0-9]+"
)
# … or another branch, one that got a hash.
_HASHED = re.compile(rf".*-[0-9a-f]{{{_HASH_DIGITS}}}")


def read_release(tag: str) -> Release | None:
    """Return the version that a git tag names, None for one that names none.

    That is a version of exactly three numbers, with or without `v`, as SemVer 2.0 or PEP 440
    write it; `v1` and `v1.2`, which some move along with releases, are not.  Where the two
    disagree (`1.2.3-1`) SemVer's reading holds: a pre-release.
    """
    from packaging.version import InvalidVersion, Version

    if match := _SEMVER.fullmatch(tag):
        return Release(tag, None if match["pre"] else Version(match["numbers"]))
    if not _THREE_NUMBERS.fullmatch(tag):
        return None
    try:
        version = Version(tag)
    except InvalidVersion:
        return None
    return Release(tag, None if version.is_prerelease else Version(version.public))


def compute_tags(state: TagState, target: str) -> TagPlan:
    """Return the tags of an image of `target`; see the rules above.

    Raises `OptionInvalid` for a release from a changed work tree, or whose place among all
    releases is not known, and `NameInvalid` for a target that leaves no room in a tag.
    """
    commit = state.commit[:_COMMIT_DIGITS]
    if state.dirty:
        if state.event is Event.TAG:
            raise OptionInvalid(
                f"'{state.tags[0]}' is checked out, and tracked files differ from it",
                hint="build releases from a clean checkout; 'git status' shows what changed",
            )
        tag = Tag(_fit(f"sha-{commit}-dirty", target), Kind.MOVING, f"changes on top of {commit}")
        note = "files differ from the commit: no tag that promises more"
        return TagPlan(target, (tag,), notes=(note,))
    if state.event is Event.PULL_REQUEST:
        tag = Tag(
            _fit(f"pr-{state.pull_request}", target),
            Kind.MOVING,
            f"pull request {state.pull_request}",
        )
        return TagPlan(target, (tag,))

    fixed: list[Tag] = []
    moving: list[Tag] = []
    notes: dict[str, str] = {}
    releases = [release for tag in state.tags if (release := read_release(tag))]
    for release in releases:
        kind = "the release" if release.version else "the pre-release"
        fixed.append(
            Tag(
                _fit(release.tag.replace("+", "_"), target),
                Kind.FIXED,
                f"{kind} {release.tag}",
            )
        )
    fixed.append(Tag(_fit(f"sha-{commit}", target), Kind.FIXED, f"the commit {commit}"))
    for release in releases:
        if release.version:
            found, stays = _series(state, release, target)
            moving += found
            notes |= stays
    branch_builds = (Event.PUSH, Event.SCHEDULE, Event.DISPATCH, Event.NONE)
    if state.branch and state.event in branch_builds:
        name = _branch_name(state.branch, _LENGTH_LIMIT - len(target) - 1)
        moving.append(Tag(_fit(name, target), Kind.MOVING, f"the branch {printable(state.branch)}"))
    moving.sort(key=lambda tag: tag.text == LATEST)
    version = max(releases, key=_precedence, default=None)
    return TagPlan(
        target,
        tuple({tag.text: tag for tag in (*fixed, *moving)}.values()),
        version=version.text if version else "",
        notes=tuple(note for text, note in notes.items() if text not in {t.text for t in moving}),
    )


def _series(state: TagState, release: Release, target: str) -> tuple[list[Tag], dict[str, str]]:
    """Return the tags that a release moves, and why each other one stays."""
    if not state.all_tags_known:
        raise OptionInvalid(
            f"whether {release.tag} is the highest release is not known: this clone may lack tags",
            hint="fetch them all: 'fetch-depth: 0' for actions/checkout (or 'fetch-tags: true'), "
            "'git fetch --tags --unshallow' elsewhere",
        )
    version = release.version
    assert version is not None
    known = [r for tag in (*state.all_tags, *state.tags) if (r := read_release(tag)) and r.version]
    series = [(_fit(f"{version.major}.{version.minor}", target), 2, "of its minor series")]
    if version.major:
        # Before 1.0.0 a minor release may break anything: there is no series to follow.
        series.append((_fit(f"{version.major}", target), 1, "of its major series"))
    if target == LATEST_TARGET:
        series.append((LATEST, 0, "of all"))
    tags: list[Tag] = []
    notes: dict[str, str] = {}
    for text, shared, of_what in series:
        prefix = version.release[:shared]
        highest = max(
            (r for r in known if r.version and r.version.release[:shared] == prefix), key=_order
        )
        if _order(highest) > _order(release):
            notes[text] = f"{text} stays: {highest.tag} is higher than {release.tag}"
        else:
            tags.append(Tag(text, Kind.MOVING, f"the highest release {of_what}"))
    return tags, notes


def _order(release: Release) -> Version:
    assert release.version is not None
    return release.version


def _precedence(release: Release) -> tuple[bool, Version | str]:
    """Return a key that puts pre-releases first, which have no order of their own here."""
    return release.version is not None, release.version or release.tag


def _fit(name: str, target: str) -> str:
    """Return the tag `name-target`, the name cut where a tag would get too long."""
    return check_tag(f"{_cut(name, _LENGTH_LIMIT - len(target) - 1)}-{target}")


def _cut(name: str, room: int) -> str:
    """Return `name`, or as much of it as leaves room for its hash."""
    if len(name) <= room:
        return name
    return f"{name[: max(room - _HASH_DIGITS - 1, 1)]}-{_hash(name)}"


def _branch_name(branch: str, room: int) -> str:
    """Return the part of a tag that stands for a branch, of at most `room` characters."""
    plain = branch.replace("/", "-")
    legal = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).lstrip(".-") or "branch"
    if _RESERVED.fullmatch(legal):
        legal = f"branch-{legal}"
    if legal == plain and len(legal) <= room and not _HASHED.fullmatch(legal):
        return legal
    return f"{legal[: max(room - _HASH_DIGITS - 1, 1)]}-{_hash(branch)}"


def printable(name: str) -> str:
    """Return a name from git, which need not be text, as text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _hash(text: str) -> str:
    data = text.encode("utf-8", "backslashreplace")
    return hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]


def read_state(root: Path, environ: Mapping[str, str]) -> TagState:
    """Return the state of the git work tree at `root`, in GitHub Actions with what it says.

    Raises `OptionInvalid` where there is no commit, or where the environment contradicts the
    checkout or itself, and `ToolMissing` without git.
    """
    revision = read_revision(root)
    if not revision.commit:
        if shutil.which("git") is None:
            raise ToolMissing("'git' is not installed", hint="install it, or put it on PATH")
        raise OptionInvalid(
            f"{root} has no commit to name an image after",
            hint="run this in a git work tree, or choose the tags yourself",
        )
    all_tags = _tags(root)
    local = TagState(
        commit=revision.commit,
        branch=git(root, "symbolic-ref", "-q", "HEAD").strip().removeprefix("refs/heads/"),
        tags=_tags(root, "--points-at=HEAD"),
        all_tags=all_tags,
        all_tags_known=_has_all_tags(root),
        dirty=revision.dirty,
    )
    if environ.get("GITHUB_ACTIONS") == "true":
        return _in_actions(root, local, environ)
    default = git(root, "symbolic-ref", "-q", "refs/remotes/origin/HEAD").strip()
    return replace(
        local,
        on_default_branch=bool(local.branch) and default == f"refs/remotes/origin/{local.branch}",
    )


def _tags(root: Path, *which: str) -> tuple[str, ...]:
    names = git(root, "for-each-ref", "--format=%(refname:strip=2)", *which, "refs/tags")
    return tuple(names.splitlines())


def _has_all_tags(root: Path) -> bool:
    """Return whether the clone has every tag, as far as it can tell offline.

    A clone of one branch, or of its last commits, brings the tags of what it has.  One that
    belongs to nothing else it has was fetched by somebody who asked for tags.
    """
    if git(root, "rev-parse", "--is-shallow-repository").strip() == "false":
        fetched = git(root, "config", "--get-regexp", r"^remote\..*\.fetch$").splitlines()
        left_out = "--no-tags" in git(root, "config", "--get-regexp", r"^remote\..*\.tagopt$")
        if not left_out and (not fetched or any("refs/heads/*:" in line for line in fetched)):
            return True
    heads = git(root, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes")
    return bool(_tags(root, *(f"--no-merged={head}" for head in ("HEAD", *heads.split()))))


_BRANCH_EVENTS = {
    "push": Event.PUSH,
    "schedule": Event.SCHEDULE,
    "workflow_dispatch": Event.DISPATCH,
    "repository_dispatch": Event.DISPATCH,
}


def _in_actions(root: Path, local: TagState, environ: Mapping[str, str]) -> TagState:
    """Return the state that GitHub's variables describe, over what git says."""
    ref = _variable(environ, "GITHUB_REF")
    name = _variable(environ, "GITHUB_EVENT_NAME")
    payload = _payload(environ)
    default = _inside(payload, "repository", "default_branch")
    # pull_request_target runs with the reference of the branch that is merged into.
    if name.startswith("pull_request") or ref.startswith("refs/pull/"):
        number = _inside(payload, "pull_request", "number")
        if number is None:
            merged = re.fullmatch(r"refs/pull/([0-9]+)/(merge|head)", ref)
            number = int(merged[1]) if merged else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise OptionInvalid(
                f"GITHUB_EVENT_NAME is '{name}', and nothing says which pull request it is",
                hint="GITHUB_EVENT_PATH must name the file that GitHub wrote",
            )
        # GITHUB_SHA is a merge that is on no branch.
        head = _inside(payload, "pull_request", "head", "sha")
        return replace(
            local,
            event=Event.PULL_REQUEST,
            pull_request=number,
            commit=head if isinstance(head, str) and head else local.commit,
            branch=environ.get("GITHUB_HEAD_REF", ""),
            tags=(),
        )
    _check_commit(root, local, _variable(environ, "GITHUB_SHA"), ref)
    if ref.startswith("refs/tags/"):
        return replace(local, event=Event.TAG, branch="", tags=(ref.removeprefix("refs/tags/"),))
    branch = ref.removeprefix("refs/heads/")
    return replace(
        local,
        event=_BRANCH_EVENTS.get(name, Event.OTHER),
        branch=branch,
        tags=(),
        on_default_branch=branch == default,
    )


def _check_commit(root: Path, local: TagState, commit: str, ref: str) -> None:
    """Raise `OptionInvalid` when something else is checked out than what `ref` is."""
    peeled = git(root, "rev-parse", "--verify", "-q", f"{commit}^{{commit}}").strip() or commit
    if local.commit not in (commit, peeled):
        raise OptionInvalid(
            f"{ref} is {commit[:_COMMIT_DIGITS]} (GITHUB_SHA), and "
            f"{local.commit[:_COMMIT_DIGITS]} is checked out",
            hint="check out the commit that the workflow runs for, without 'ref:'",
        )


def _variable(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise OptionInvalid(
            f"GITHUB_ACTIONS is true, and {name} is not set",
            hint="GitHub Actions sets both; unset GITHUB_ACTIONS elsewhere",
        )
    return environ[name]


def _payload(environ: Mapping[str, str]) -> object:
    path = environ.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        return json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise OptionInvalid(
            f"GITHUB_EVENT_PATH is '{path}', which cannot be read: {reason}",
            hint="it must name the file that GitHub wrote",
        ) from None


def _inside(document: object, *keys: str) -> object:
    """Return what is at the end of `keys` in nested objects, None where one is missing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def references(plans: Iterable[TagPlan], repository: Repository | None) -> tuple[str, ...]:
    """Return what to call the images: full references, tags alone without a repository."""
    prefix = f"{repository}:" if repository else ""
    return tuple(f"{prefix}{text}" for plan in plans for text in plan.texts())
