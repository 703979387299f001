"""Releases as tables and diffs for people, JSON for programs, and outputs for workflows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pipeline.release.checks import Checked
from pipeline.release.prepare import Examined, FileChange
from pipeline.release.publish import Published
from pipeline.report import print_json, print_table


def examined(found: Examined) -> None:
    """Print what was asked, and every answer."""
    print(f"release {found.version} (now {found.previous})")
    table(found.checked)


def table(checked: Sequence[Checked]) -> None:
    """Print questions and answers."""
    rows = [(one.name, one.answer.value, one.detail) for one in checked]
    print_table(("check", "", "what"), rows)


def planned(found: Examined, files: Sequence[FileChange], push: Sequence[str]) -> None:
    """Print what a release would change, and the commands that say so best."""
    print()
    if files:
        print("".join(change.diff() for change in files))
        names = [change.path.as_posix() for change in files]
        message = f"Release {found.version}"
        tag = ("git", "tag", "--annotate", "--message", message, found.version.tag)
        print("would run:")
        print(f"  {shlex.join(('git', 'commit', '--message', message, '--', *names))}")
        print(f"  {shlex.join(tag)}")
        print(f"and leave to you: {shlex.join(push)}")
    print("nothing was changed")


def released(
    found: Examined, files: Sequence[FileChange], commit: str, push: Sequence[str]
) -> None:
    """Print what was done, and what comes next."""
    print(f"\n{found.version.tag} is commit {commit[:12]}, {len(files)} files")
    print(f"now: {shlex.join(push)}")


def as_json(
    found: Examined, files: Sequence[FileChange], push: Sequence[str], commit: str | None
) -> None:
    """Print all of it for programs. `commit` is None where nothing was changed."""
    print_json(
        {
            "version": found.version.semver,
            "python_version": found.version.python,
            "tag": found.version.tag,
            "previous": found.previous.semver,
            "prerelease": found.version.is_pre_release,
            "date": found.day.isoformat(),
            "checks": [one.to_json() for one in found.checked],
            "files": [{"path": change.path.as_posix(), "diff": change.diff()} for change in files],
            "commit": commit,
            "push": list(push),
        }
    )


def published(done: Published, *, dry_run: bool) -> None:
    """Print what became of a release at GitHub."""
    if dry_run:
        print(f"would run, unless it is there: {shlex.join(done.argv)}")
        return
    what = "made" if done.is_new else "is there already, with the same assets"
    draft = f"; a draft: gh release edit {done.version.tag} --draft=false" if done.is_draft else ""
    print(f"{done.version.tag}: {what}, {len(done.files)} files {done.url}{draft}")
