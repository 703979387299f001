"""The questions of `checks`, as this repository asks them."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands, dockerfile
from pipeline.atomic import write_atomically
from pipeline.errors import LockStale, RebuildDiffers, ReleaseRefused
from pipeline.helm import docs, manifest
from pipeline.helm.chart import CHART, read_chart
from pipeline.process import Runner, Streamer, run, stream
from pipeline.rebuild import RebuildRequest, rebuild
from pipeline.release.changelog import CHANGELOG, Changelog, read_changelog
from pipeline.release.checks import Question
from pipeline.release.places import disagreements, read_version
from pipeline.release.repository import Repository
from pipeline.release.version import Version
from pipeline.report import Progress
from pipeline.scan.run import PARTS, ScanRequest, scan
from pipeline.tags import printable, read_release, read_state

_NAMED = 3
TARGET = "production"
SESSIONS = ("tests", "lint", "types")


@dataclass(frozen=True, slots=True)
class Doors:
    """The programs that a release runs; tests bring others."""

    run: Runner = run
    stream: Streamer = stream


def of_the_repository(repository: Repository, version: Version) -> tuple[Question, ...]:
    """Return what is asked of git and the changelog."""
    root = repository.root

    def quick(name: str, ask: Callable[[], str]) -> Question:
        return Question(name, lambda _: ask())

    def clean() -> str:
        if changed := repository.changed():
            raise ReleaseRefused(
                f"tracked files differ from the commit: {_listed(changed)}",
                hint="commit or stash them",
            )
        return f"as commit {repository.head[:12]}"

    def untracked() -> str:
        # The build back end is given all that git does not ignore.
        if found := repository.untracked():
            raise ReleaseRefused(
                f"files that nobody committed would be in the release: {_listed(found)}",
                hint="commit, ignore or remove them",
            )
        return "none"

    def branch() -> str:
        current, default = repository.branch, repository.default_branch
        if current != default:
            what = f"branch '{current}'" if current else "no branch (HEAD is detached)"
            raise ReleaseRefused(
                f"{what} is checked out, and '{default}' is released from",
                hint=f"git switch {default}",
            )
        return current

    def upstream() -> str:
        name, behind = repository.behind()
        if behind:
            commits = "1 commit" if behind == 1 else f"{behind} commits"
            raise ReleaseRefused(f"{name} is {commits} ahead", hint="git pull --ff-only")
        return f"has all of {name}, as far as it was fetched" if name else "there is none"

    def identity() -> str:
        repository.check_identity()
        return "known"

    def entries() -> str:
        changes = read_changelog_of(root)
        released = changes.released(version, datetime.date.min).sections[1]
        if released.is_empty:
            raise ReleaseRefused(
                f"{CHANGELOG}:{changes.unreleased.line}: nothing is unreleased",
                hint="say what changed, under '### Added', '### Changed' and so on",
            )
        return ", ".join(kind for kind, text in released.entries.items() if text)

    def tag() -> str:
        if repository.has_tag(version.tag):
            raise ReleaseRefused(f"the tag {version.tag} exists", hint="release a higher version")
        return f"{version.tag} is free"

    return (
        quick("tracked files", clean),
        quick("untracked files", untracked),
        quick("branch", branch),
        quick("upstream", upstream),
        quick("identity", identity),
        quick("version", lambda: highest(root, version)),
        quick("same version everywhere", lambda: _agreement(root)),
        quick("changelog", entries),
        quick("tag", tag),
    )


def of_the_project(root: Path, scratch: Path, doors: Doors) -> tuple[Question, ...]:
    """Return what is asked of the lock, of rendered files, of the tests and of the images, which
    are built in `scratch`."""

    def lock() -> str:
        if stale := commands.stale_inputs(root):
            raise LockStale(f"the lock is stale: {', '.join(stale)} changed", hint="invoke lock")
        return "current"

    def rendered() -> str:
        dockerfile.check_rendered(*dockerfile.read_inputs(root))
        docs.write_readme(root / CHART, check=True)
        manifest.write_manifest(
            read_chart(root / CHART),
            root / manifest.VALUES,
            root / manifest.MANIFEST,
            doors.run,
            check=True,
        )
        return "Dockerfiles, chart, manifest: current"

    def tests(progress: Progress) -> str:
        return run_sessions(root, doors.stream, progress)

    def reproducible(progress: Progress) -> str:
        return build_twice(root, scratch, progress, doors.run)

    def scanned(progress: Progress) -> str:
        request = ScanRequest(only=PARTS, images=scratch, ignore_unfixed=True)
        now = datetime.datetime.now(datetime.UTC)
        done = scan(request, progress, now=now, root=root, runner=doors.run)
        done.raise_for_gate()
        return f"nothing at {done.gate.name} or above, in {len(done.subjects)} subjects"

    sessions = " ".join(SESSIONS)
    return (
        Question("lock", lambda _: lock()),
        Question("rendered files", lambda _: rendered()),
        Question("tests", tests, f"nox -s {sessions}"),
        Question(
            "reproducible",
            reproducible,
            f"build {TARGET} for all platforms, twice, the second time without the cache's layers",
            keeps_code=True,
        ),
        Question(
            "scan",
            scanned,
            f"invoke scan: {', '.join(PARTS)}, the images of the last check",
            keeps_code=True,
        ),
    )


def read_changelog_of(root: Path) -> Changelog:
    """Return the changelog of a project; raises `ReleaseRefused`."""
    try:
        text = (root / CHANGELOG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise ReleaseRefused(
            f"{CHANGELOG} cannot be read: {reason}", hint="begin one: keepachangelog.com/en/1.1.0"
        ) from None
    return read_changelog(text)


def highest(root: Path, version: Version) -> str:
    """Say which release a version comes after; raises `ReleaseRefused` unless it is the highest.

    The version in the files may be what is released, or may become higher; never lower.
    """
    state = read_state(root, {})
    if not state.all_tags_known:
        raise ReleaseRefused(
            "whether it is the highest is not known: this clone may lack tags",
            hint="git fetch --tags --unshallow",
        )
    others = [
        known
        for tag in state.all_tags
        if read_release(tag) is not None and (known := _released(tag)) is not None
    ]
    last = max(others, default=None)
    if last is not None and last >= version:
        raise ReleaseRefused(
            f"{version} is not higher than {last}, which is released",
            hint="raise the version, with --part or --version",
        )
    if version < (current := read_version(root)):
        raise ReleaseRefused(
            f"{version} is lower than {current}, which the files name",
            hint="raise the version, with --part or --version",
        )
    return f"{version}, {'the first' if last is None else f'after {last}'}"


def _released(tag: str) -> Version | None:
    """Return the version of a tag; of one with another kind of suffix, its three numbers."""
    text = tag.lstrip("vV").partition("+")[0]
    return Version.parse(text) or Version.parse(text.partition("-")[0])


def _agreement(root: Path) -> str:
    version = read_version(root)
    if wrong := disagreements(root, version):
        raise ReleaseRefused(
            f"the version is {version}, and {', '.join(wrong)}",
            hint="correct it there; 'invoke k8s.render' renders the manifest",
        )
    return str(version)


def run_sessions(root: Path, streamer: Streamer, progress: Progress) -> str:
    """Run nox's sessions; raises `ReleaseRefused` with the place of all that they said."""
    said: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        if line.startswith("nox > Session "):
            progress.say(line.removeprefix("nox > "))

    argv = (sys.executable, "-m", "nox", "--sessions", *SESSIONS)
    code = streamer(argv, heard, cwd=root, env={"NO_COLOR": "1"})
    if code:
        log = commands.builder_cache().folder / "logs" / "release-tests.log"
        write_atomically(log, "".join(f"{line}\n" for line in said).encode())
        failed = [line for line in said if line.startswith(("FAILED ", "nox > * "))]
        reason = failed[-1] if failed else f"exit code {code}"
        raise ReleaseRefused(f"nox failed: {reason}", hint=f"all that it said is in {log}")
    return f"{', '.join(SESSIONS)} passed"


def build_twice(root: Path, folder: Path, progress: Progress, runner: Runner) -> str:
    """Build the image into a folder, and again from a clone without the cache's layers.

    Raises `RebuildDiffers`, and what either build raises.
    """
    request = commands.BuildRequest(
        targets=(TARGET,), platforms=(commands.ALL,), source=root, output=folder
    )
    with contextlib.ExitStack() as held:
        made = commands.prepare(request, progress, held).carry_out(progress)
    (image,) = made.images
    again = rebuild(
        RebuildRequest(str(folder / TARGET)), progress, root=root, environ=os.environ, runner=runner
    )
    if not again.is_same:
        raise RebuildDiffers(
            f"{TARGET} is {again.recorded.digest}, and built again it is {again.digest}",
            hint="keep both and compare: invoke rebuild --output DIR, invoke diff",
        )
    return f"{image.digest} on {len(again.platforms)} platforms, twice"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(printable, names[:_NAMED]))}{more}"
