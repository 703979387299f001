"""`invoke release`: from flags to a commit and its tag, or to every reason why not.

First all questions, then all files in memory, then one step that changes the repository.  It
never pushes: what to push is the last thing that is said.
"""

from __future__ import annotations

import datetime
import difflib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.errors import PipelineError, ReleaseRefused
from pipeline.helm.chart import CHART, read_chart
from pipeline.helm.commands import Values, find_helm
from pipeline.helm.manifest import MANIFEST, VALUES, manifest_text
from pipeline.process import Runner
from pipeline.release.changelog import CHANGELOG
from pipeline.release.checks import Checked, Question, ask_all, is_refused
from pipeline.release.places import read_version, written
from pipeline.release.questions import (
    Doors,
    of_the_project,
    of_the_repository,
    read_changelog_of,
)
from pipeline.release.repository import REMOTE, Repository
from pipeline.release.version import Version, next_version
from pipeline.report import Progress

Questions = Callable[[Path, Path, Doors], Sequence[Question]]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """The flags of `invoke release`."""

    part: str = ""
    version: str = ""
    pre: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Examined:
    """A release that could be, and whether it may."""

    version: Version
    previous: Version
    """What the files say now."""
    head: str
    """The commit that was looked at."""
    branch: str
    """The branch that was checked out then, empty for none."""
    day: datetime.date
    checked: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file before and after. `path` is relative to the root."""

    path: Path
    before: bytes
    after: bytes

    def diff(self) -> str:
        """Return the change as a unified diff."""
        before, after = (
            data.decode("utf-8", "replace").splitlines(keepends=True)
            for data in (self.before, self.after)
        )
        name = self.path.as_posix()
        return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}"))


def examine(
    request: ReleaseRequest,
    progress: Progress,
    *,
    root: Path | None = None,
    doors: Doors | None = None,
    questions: Questions = of_the_project,
    now: datetime.datetime | None = None,
) -> Examined:
    """Ask all that has to be so before a release; nothing is changed.

    Raises `OptionInvalid` for flags, and `ReleaseRefused` where there is nothing to ask: no work
    tree, no version.
    """
    root, doors = root or commands.ROOT, doors or Doors()
    repository = Repository(root, doors.run)
    repository.check_work_tree()
    previous = read_version(root)
    version = next_version(previous, part=request.part, version=request.version, pre=request.pre)
    head, branch = repository.head, repository.branch
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        asked = (
            *of_the_repository(repository, version),
            *questions(root, Path(scratch), doors),
        )
        checked = ask_all(asked, progress, dry_run=request.dry_run)
    day = (now or datetime.datetime.now(datetime.UTC)).date()
    return Examined(version, previous, head, branch, day, checked)


def changes(
    examined: Examined, *, root: Path | None = None, doors: Doors | None = None
) -> tuple[FileChange, ...]:
    """Return what a release changes in files, none of it written yet, sorted by path."""
    root, doors = root or commands.ROOT, doors or Doors()
    texts = dict(written(root, examined.version))
    changelog = read_changelog_of(root).released(examined.version, examined.day)
    texts[Path(CHANGELOG)] = changelog.text()
    if examined.version != examined.previous:
        texts[MANIFEST] = _manifest(root, texts, doors.run)
    found = (
        FileChange(path, (root / path).read_bytes(), text.encode())
        for path, text in sorted(texts.items())
    )
    return tuple(change for change in found if change.before != change.after)


def foreseen(examined: Examined) -> tuple[FileChange, ...]:
    """Return what `changes` does, or nothing where a refusal already says why there is nothing."""
    try:
        return changes(examined)
    except PipelineError:
        if is_refused(examined.checked):
            return ()
        raise


def carry_out(
    examined: Examined,
    files: Sequence[FileChange],
    *,
    root: Path | None = None,
    doors: Doors | None = None,
) -> str:
    """Commit and tag a release whose checks were all good; return the commit.

    Raises `ReleaseRefused` where the repository is not any more what was looked at; see
    `Repository.release` for what is left of one that fails.
    """
    root, doors = root or commands.ROOT, doors or Doors()
    repository = Repository(root, doors.run)
    if (branch := repository.branch) != examined.branch:
        now = f"'{branch}'" if branch else "none"
        raise ReleaseRefused(
            f"branch '{examined.branch}' was looked at, and {now} is checked out now",
            hint=f"git switch {examined.branch}, and do it again",
        )
    if repository.head != examined.head or repository.changed() or repository.untracked():
        raise ReleaseRefused("the work tree has changed while it was looked at", hint="do it again")
    return repository.release(
        {change.path: change.after for change in files},
        examined.version,
        f"Release {examined.version}\n",
    )


def push_command(examined: Examined, *, root: Path | None = None) -> tuple[str, ...]:
    """Return what publishes a release: branch and tag arrive together, or neither does."""
    repository = Repository(root or commands.ROOT, Doors().run)
    branch = repository.default_branch
    remote = repository.ask("config", f"branch.{branch}.remote") or REMOTE
    return ("git", "push", "--atomic", remote, branch, examined.version.tag)


def _manifest(root: Path, texts: dict[Path, str], runner: Runner) -> str:
    """Return the manifest of the chart as it will be."""
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        there = Path(name).resolve()
        shutil.copytree(root / CHART, there / CHART, symlinks=True)
        (there / VALUES).parent.mkdir(parents=True)
        shutil.copyfile(root / VALUES, there / VALUES)
        for path, text in texts.items():
            if path.is_relative_to(CHART):
                (there / path).write_text(text, encoding="utf-8")
        return manifest_text(
            find_helm(runner),
            read_chart(there / CHART),
            Values((there / VALUES,)),
            there / MANIFEST,
            runner,
            name_of=lambda path: path.relative_to(there).as_posix(),
        )
