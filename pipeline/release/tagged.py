"""`invoke release.check`: whether a tag is the release that the files at it say they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.errors import OptionInvalid, ReleaseRefused
from pipeline.process import run
from pipeline.release.changelog import CHANGELOG
from pipeline.release.checks import Checked, Question, ask_all
from pipeline.release.places import disagreements, read_version
from pipeline.release.questions import read_changelog_of
from pipeline.release.repository import Repository
from pipeline.release.version import Version
from pipeline.report import Progress
from pipeline.tags import LATEST_TARGET, Event, TagState, compute_tags, read_state

_TAGS = "refs/tags/"


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag, and whether it is a release that may be published."""

    tag: str
    version: Version
    latest: bool
    """Whether no higher release is out."""
    checked: tuple[Checked, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "tag": self.tag,
            "version": self.version.semver,
            "python_version": self.version.python,
            "prerelease": self.version.is_pre_release,
            "latest": self.latest,
            "checks": [one.to_json() for one in self.checked],
        }

    def outputs(self) -> dict[str, str]:
        """Return the outputs of a workflow's step."""
        return {
            "version": self.version.semver,
            "prerelease": str(self.version.is_pre_release).lower(),
            "latest": str(self.latest).lower(),
        }


def tag_of(given: str, environ: Mapping[str, str]) -> str:
    """Return the tag of the flag, or of GITHUB_REF without one; raises `OptionInvalid`."""
    if given:
        return given.removeprefix(_TAGS)
    ref = environ.get("GITHUB_REF", "")
    if not ref.startswith(_TAGS):
        said = f"GITHUB_REF is '{ref}'" if ref else "GITHUB_REF is not set"
        raise OptionInvalid(f"which tag? {said}", hint="give --tag v1.2.3")
    return ref.removeprefix(_TAGS)


def check_tag(
    given: str,
    progress: Progress,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Tagged:
    """Look at a tag and at the files that are checked out.

    Raises `OptionInvalid` without a tag and `ReleaseRefused` for one that names no version, or
    whose place among all releases is not known; the rest is in the result.
    """
    root = root or commands.ROOT
    repository = Repository(root, run)
    tag = tag_of(given, environ)
    repository.check_work_tree()
    version = Version.parse(tag.removeprefix("v"))
    if version is None or version.tag != tag:
        raise ReleaseRefused(
            f"tag '{tag}' is no release", hint="name it like v1.2.3 or v1.3.0-rc.1"
        )

    def there(_: Progress) -> str:
        found = repository.ask("rev-parse", "--verify", "-q", f"{_TAGS}{tag}^{{commit}}")
        if not found:
            raise ReleaseRefused(f"there is no tag {tag} here", hint="git fetch --tags")
        if found != repository.head:
            raise ReleaseRefused(
                f"{tag} is commit {found[:12]}, and {repository.head[:12]} is checked out",
                hint=f"git switch --detach {tag}",
            )
        kind = repository.ask("cat-file", "-t", f"{_TAGS}{tag}")
        return f"commit {found[:12]}, {'annotated' if kind == 'tag' else 'not annotated'}"

    def clean(_: Progress) -> str:
        if changed := repository.changed():
            raise ReleaseRefused(f"{changed[0]} differs from the commit", hint="git stash")
        return "as committed"

    def same(_: Progress) -> str:
        current = read_version(root)
        if current != version:
            raise ReleaseRefused(
                f"the files are of {current}, not of {version}",
                hint="'invoke release' tags the commit that has the version",
            )
        return current.python

    def everywhere(_: Progress) -> str:
        if wrong := disagreements(root, version):
            raise ReleaseRefused(", ".join(wrong), hint=f"they have to be of {version}")
        return "chart and manifest agree"

    def section(_: Progress) -> str:
        found = read_changelog_of(root).section(version)
        if found is None or found.is_empty:
            raise ReleaseRefused(
                f"{CHANGELOG} does not say what {version} changes",
                hint=f"it needs '## {version} - YYYY-MM-DD' with entries",
            )
        return f"{CHANGELOG}:{found.line}"

    questions = (
        Question("tag", there),
        Question("tracked files", clean),
        Question("version", same),
        Question("same version everywhere", everywhere),
        Question("changelog", section),
    )
    checked = ask_all(questions, progress, dry_run=False)
    return Tagged(tag, version, is_latest(root, version), checked)


def is_latest(root: Path, version: Version) -> bool:
    """Return whether a version is what `latest` means: a release, and none higher is out.

    Raises `ReleaseRefused` in a clone that may lack tags.
    """
    if version.is_pre_release:
        return False
    state = read_state(root, {})
    try:
        plan = compute_tags(
            TagState(
                commit=state.commit,
                event=Event.TAG,
                tags=(version.tag,),
                all_tags=state.all_tags,
                all_tags_known=state.all_tags_known,
            ),
            LATEST_TARGET,
        )
    except OptionInvalid as error:
        raise ReleaseRefused(error.message, hint=error.hint) from None
    return plan.latest
