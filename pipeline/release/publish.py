"""`invoke release.publish`: a release at GitHub, made once, with GitHub's own program.

What is there already is compared, and its files are never changed: a run that is repeated finds
what it made, and a release of something else stays what it is.  gh makes a draft first, and
publishes it last: a run that ended in between is finished by the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.atomic import file_sha256
from pipeline.errors import ReleaseRefused
from pipeline.process import Runner, run
from pipeline.release.assets import ASSETS
from pipeline.release.notes import make_notes
from pipeline.release.places import read_version
from pipeline.release.sums import SUMS, read_sums
from pipeline.release.tagged import is_latest
from pipeline.release.version import Version
from pipeline.tools import find

NOT_FOUND = "release not found"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """The flags of `invoke release.publish`."""

    assets: Path = ASSETS
    notes: Path | None = None
    """None for what `release.notes` says."""
    draft: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A release, and what was done for it."""

    version: Version
    files: Mapping[str, str]
    """SHA-256 by name."""
    argv: tuple[str, ...]
    """What makes it, or makes a draft that was there public."""
    is_new: bool
    """False where it was there as it should be, with the same files; and of a dry run."""
    url: str
    is_draft: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "version": self.version.semver,
            "tag": self.version.tag,
            "files": dict(self.files),
            "command": list(self.argv),
            "new": self.is_new,
            "url": self.url or None,
            "draft": self.is_draft,
        }


def publish(
    request: PublishRequest,
    *,
    root: Path | None = None,
    runner: Runner = run,
    environ: Mapping[str, str] = os.environ,
) -> Published:
    """Make the release of the version in the files, unless it is there with the same assets.

    A draft with the same assets is made public, unless a draft is what is asked for.
    Raises `ReleaseRefused` for assets or a release of something else, and `ToolMissing`
    without gh, which takes its token from GH_TOKEN.
    """
    root = root or commands.ROOT
    version = read_version(root)
    files = check_assets(request.assets, version)
    latest = is_latest(root, version)
    notes = "-" if request.notes is None else str(request.notes)
    stdin = make_notes("", root=root, environ=environ).encode() if request.notes is None else None
    if request.notes is not None and not request.notes.is_file():
        raise ReleaseRefused(
            f"there is no {request.notes}", hint="write it: invoke release.notes --output FILE"
        )
    paths = [request.assets / name for name in files]
    argv = create(version, paths, notes, latest=latest, draft=request.draft)
    if request.dry_run:
        return Published(version, files, argv, False, "", request.draft)
    gh = find("gh", environ)
    there = _view(gh, version, root, runner)
    if there is not None:
        _compare(there, version, files, request.assets, (gh, root, runner))
        if request.draft or not _is_draft(there):
            return Published(version, files, argv, False, _text(there, "url"), _is_draft(there))
        argv, stdin = make_public(version, latest=latest), None
    done = runner((gh, *argv[1:]), cwd=root, stdin=stdin)
    if not done.ok:
        did_not = "make" if there is None else "publish the draft of"
        raise ReleaseRefused(
            f"gh did not {did_not} the release {version.tag}: {done.reason}",
            hint=f"see what is there: gh release view {version.tag}",
        )
    lines = done.stdout.split()
    return Published(version, files, argv, True, lines[-1] if lines else "", request.draft)


def create(
    version: Version, files: list[Path], notes: str, *, latest: bool, draft: bool
) -> tuple[str, ...]:
    """Return the command that makes a release; `notes` is a file, or - for its input."""
    return (
        *("gh", "release", "create", version.tag, "--verify-tag"),
        *("--title", f"Accelerapp {version}", "--notes-file", notes),
        *(("--prerelease",) if version.is_pre_release else ()),
        f"--latest={str(latest).lower()}",
        *(("--draft",) if draft else ()),
        *(str(path.resolve()) for path in files),
    )


def make_public(version: Version, *, latest: bool) -> tuple[str, ...]:
    """Return the command that makes a draft a release that everybody sees."""
    return (
        *("gh", "release", "edit", version.tag, "--verify-tag", "--draft=false"),
        *(("--prerelease",) if version.is_pre_release else ()),
        f"--latest={str(latest).lower()}",
    )


def check_assets(folder: Path, version: Version) -> dict[str, str]:
    """Return the digests of the assets in a folder, SHA256SUMS and its own included.

    Raises `ReleaseRefused` unless the folder holds just what that names, of this version.
    """
    hint = "put them together: invoke release.assets"
    sums = folder / SUMS
    named = read_sums(sums.read_bytes()) if sums.is_file() else None
    if named is None:
        raise ReleaseRefused(f"{folder} holds no assets: there is no {SUMS} of any", hint=hint)
    found = {path.name: path for path in sorted(folder.iterdir())}
    for name in sorted(named.keys() ^ (found.keys() - {SUMS})):
        problem = "is missing" if name in named else f"is not in {SUMS}"
        raise ReleaseRefused(f"{folder / name} {problem}", hint=hint)
    for name, sha256 in named.items():
        if file_sha256(found[name]) != sha256:
            raise ReleaseRefused(f"{folder / name} is not what {SUMS} says", hint=hint)
    if f"accelerapp-{version.python}-py3-none-any.whl" not in named:
        raise ReleaseRefused(f"{folder} is not of version {version}", hint=hint)
    return {SUMS: file_sha256(sums), **named}


def _view(gh: str, version: Version, root: Path, runner: Runner) -> Mapping[str, Any] | None:
    """Return the release that is there, None where there is none."""
    fields = "assets,isDraft,isPrerelease,url"
    done = runner((gh, "release", "view", version.tag, "--json", fields), cwd=root)
    if not done.ok:
        if done.reason == NOT_FOUND:
            return None
        raise ReleaseRefused(
            f"gh does not say whether {version.tag} is released: {done.reason}",
            hint="gh needs GH_TOKEN, and GH_REPO or a clone of the repository",
        )
    try:
        said = json.loads(done.stdout)
        if not all(isinstance(one["name"], str) for one in said["assets"]):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise ReleaseRefused(f"gh says what is no release: {done.stdout[:80]!r}") from None
    return said if isinstance(said, Mapping) else None


def _compare(
    there: Mapping[str, Any],
    version: Version,
    files: Mapping[str, str],
    assets: Path,
    how: tuple[str, Path, Runner],
) -> None:
    """Raise `ReleaseRefused` unless a release carries these files."""
    hint = "a release is never changed: release a higher version, or see what is there"
    draft = "draft " if _is_draft(there) else ""
    if draft:
        hint = f"remove it and try again: gh release delete {version.tag}"
    names = {one["name"] for one in there["assets"]}
    if odd := sorted(names ^ files.keys()):
        where = "is there alone" if odd[0] in names else "is not there"
        raise ReleaseRefused(
            f"the {draft}release {version.tag} exists with other assets: {odd[0]} {where}",
            hint=hint,
        )
    gh, root, runner = how
    asked = (gh, "release", "download", version.tag, "--pattern", SUMS, "--output", "-")
    done = runner(asked, cwd=root)
    if not done.ok:
        raise ReleaseRefused(f"gh does not bring {SUMS} of {version.tag}: {done.reason}")
    theirs = read_sums(done.stdout.encode()) or {}
    sizes = {one["name"]: one.get("size") for one in there["assets"]}
    for name, sha256 in files.items():
        same = (theirs.get(name) == sha256) if name != SUMS else True
        if not same or sizes[name] != (assets / name).stat().st_size:
            raise ReleaseRefused(
                f"the {draft}release {version.tag} exists with other assets: {name} differs",
                hint=hint,
            )


def _is_draft(there: Mapping[str, Any]) -> bool:
    return there.get("isDraft") is True


def _text(there: Mapping[str, Any], key: str) -> str:
    value = there.get(key)
    return value if isinstance(value, str) else ""
