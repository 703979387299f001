"""`invoke docs`: the guides of this repository, with its tasks as they are and as they are not."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from invoke import Program

import tasks
from pipeline import commands, process
from pipeline.errors import GuidesInvalid, RenderedStale
from pipeline.guides import check as checking
from pipeline.guides.check import Checked, Ours
from pipeline.guides.facts import Facts, read_facts
from pipeline.guides.tables import renders
from pipeline.process import Completed
from pipeline.tasks import guides
from pipeline.tasks.vocabulary import Vocabulary

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@functools.cache
def nox_says(argv: tuple[str, ...], cwd: Path) -> Completed:
    """What nox lists, which takes a second: asked once."""
    return process.run(argv, cwd=cwd)


@functools.cache
def of_this_repository() -> Facts:
    return read_facts(commands.ROOT, ())


def look() -> Checked:
    listed, flags = guides._contents()
    facts = dataclasses.replace(of_this_repository(), tasks=listed)
    ours = Ours(Vocabulary(namespace=tasks.namespace, runner=nox_says).wrong, flags)
    return checking.check(facts, ours, renders(facts))


def without(monkeypatch: Patch, task: str, flag: str) -> None:
    """Take a flag from a task, as a change of its function would."""
    found: Any = tasks.namespace[task]
    arguments = found.get_arguments
    assert any(one.name == flag for one in arguments())
    monkeypatch.setattr(
        found, "get_arguments", lambda **_: [one for one in arguments() if one.name != flag]
    )


def test_the_guides_say_what_is_so() -> None:
    checked = look()
    assert [str(finding) for finding in checked.findings] == []
    assert checked.stale == ()
    assert checked.commands > 150
    assert checked.links > 80


@pytest.mark.parametrize(
    ("task", "flag"),
    [("build", "archive"), ("verify", "require"), ("compose.up", "redis"), ("build", "sparse")],
)
def test_a_flag_that_is_taken_from_a_task_is_found(
    monkeypatch: Patch, task: str, flag: str
) -> None:
    without(monkeypatch, task, flag)
    found = [str(finding) for finding in look().findings]
    assert any(
        one.startswith("DEPLOYMENT.md:")
        and (f"invoke {task} has no flag --{flag};" in one or f"of ours has --{flag};" in one)
        for one in found
    ), found


def test_a_task_that_is_taken_away_is_found(monkeypatch: Patch) -> None:
    taken: Any = tasks.namespace.tasks
    monkeypatch.setattr(
        tasks.namespace, "tasks", type(taken)({k: v for k, v in taken.items() if k != "rebuild"})
    )
    found = [str(finding) for finding in look().findings]
    assert any(
        one.startswith("README.md:") and "invoke has no task 'rebuild'" in one for one in found
    )


def run(*arguments: str) -> int:
    try:
        Program(name="invoke", namespace=tasks.namespace, version="1").run(["invoke", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def small(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A repository of one guide; what is so in it is what is so here."""
    here = of_this_repository()
    (tmp_path / "A.md").write_text("# A\n\n<!-- begin: images -->\n<!-- end: images -->\n")
    monkeypatch.setattr(
        "pipeline.guides.facts.read_facts",
        lambda root, listed: dataclasses.replace(here, root=tmp_path, tasks=listed),
    )
    return tmp_path


def test_tables_are_written_and_then_current(small: Path, capsys: Capture) -> None:
    assert run("docs", "--check") == RenderedStale.exit_code == 23
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: A.md: rendered tables are not current; run 'invoke docs' and commit what it writes"
    )
    assert run("docs") == 0
    assert capsys.readouterr().out.startswith("A.md: written\n1 guides, 0 commands")
    assert "| `production` |" in (small / "A.md").read_text()
    assert run("docs", "--check") == 0


def test_findings_are_listed_and_the_exit_code_says_so(small: Path, capsys: Capture) -> None:
    (small / "A.md").write_text("# A\n\n```console\n$ invoke build --platfrom all\n```\n")
    assert run("docs", "--check") == GuidesInvalid.exit_code == 123
    shown = capsys.readouterr()
    assert shown.out == (
        "A.md:4: command: invoke build has no flag --platfrom; did you mean '--platform'?\n"
    )
    assert shown.err.splitlines()[-1] == (
        "error: 1 finding in the guides; correct what is listed above"
    )


def test_the_result_for_programs(small: Path, capsys: Capture) -> None:
    (small / "A.md").write_text("# A\n\n`deployment/gone`\n")
    assert run("docs", "--check", "--json") == 123
    assert json.loads(capsys.readouterr().out)["findings"] == [
        {
            "place": "A.md:3",
            "rule": "path",
            "message": "there is no deployment/gone in this repository",
        }
    ]
