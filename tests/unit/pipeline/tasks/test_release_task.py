"""`invoke release` as people call it: exit codes, tables, one line for what is wrong."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from pipeline import commands
from pipeline.errors import OptionInvalid, OutputUnwritable, ReleaseRefused
from pipeline.release import prepare
from pipeline.release.questions import Doors
from tests.unit.pipeline.release.conftest import project
from tests.unit.pipeline.release.small_project import Runs, SmallProject, nothing_more
from tests.unit.pipeline.release.test_prepare import release
from tests.unit.pipeline.tasks.test_namespace import run

__all__ = ["project"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """Return the project as the one that the tasks are of."""
    monkeypatch.setattr(commands, "ROOT", project.root)
    monkeypatch.chdir(project.root)
    doors = Doors(run=Runs())
    examine = functools.partial(prepare.examine, doors=doors, questions=nothing_more)
    monkeypatch.setattr(prepare, "examine", examine)
    for name in ("changes", "carry_out"):
        changed = functools.partial(getattr(prepare, name), doors=doors)
        monkeypatch.setattr(prepare, name, changed)
    return project


def error(capsys: Capture) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def test_a_release_says_what_to_push(here: SmallProject, capsys: Capture) -> None:
    assert run("release", "--part", "minor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "release 0.2.0 (now 0.1.0)"
    assert ["version", "ok", "0.2.0,", "the", "first"] in [line.split() for line in lines]
    commit = here.git("rev-parse", "--short=12", "HEAD")
    assert lines[-2:] == [
        f"v0.2.0 is commit {commit}, 7 files",
        "now: git push --atomic origin main v0.2.0",
    ]
    assert here.git("describe", "--exact-match") == "v0.2.0"


def test_a_dry_run_prints_every_change_and_command(here: SmallProject, capsys: Capture) -> None:
    before = here.state()
    assert run("release", "--part=minor", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("--- a/") == 7
    assert '-__version__ = "0.1.0"\n+__version__ = "0.2.0"\n' in out
    assert "  git commit --message 'Release 0.2.0' -- CHANGELOG.md README.md " in out
    assert "  git tag --annotate --message 'Release 0.2.0' v0.2.0\n" in out
    assert out.endswith(
        "and leave to you: git push --atomic origin main v0.2.0\nnothing was changed\n"
    )
    assert here.state() == before


def test_a_refusal_is_a_table_and_one_line(here: SmallProject, capsys: Capture) -> None:
    here.write("new.py", "")
    before = here.state()
    for flags in ([], ["--dry-run"]):
        assert run("release", "--part", "minor", *flags) == ReleaseRefused.exit_code == 122
        shown = capsys.readouterr()
        assert "untracked files          refused  files that nobody committed" in shown.out
        assert shown.err.splitlines()[-1].startswith("error: untracked files: files that nobody")
        assert ("+++ b/CHANGELOG.md" in shown.out) == bool(flags)
    assert here.state() == before


def test_programs_get_all_of_it(here: SmallProject, capsys: Capture) -> None:
    assert run("release", "--part", "minor", "--pre", "rc", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["version"] == "0.2.0-rc.1"
    assert said["python_version"] == "0.2.0rc1"
    assert said["prerelease"] is True
    assert said["commit"] == here.git("rev-parse", "HEAD")
    assert said["push"] == ["git", "push", "--atomic", "origin", "main", "v0.2.0-rc.1"]
    assert {one["answer"] for one in said["checks"]} == {"ok"}
    assert run("release", "--pre", "rc", "--json", "--dry-run") == 122
    said = json.loads(capsys.readouterr().out)
    assert (said["commit"], said["version"]) == (None, "0.2.0-rc.2")
    assert "refused" in {one["answer"] for one in said["checks"]}


def test_flags_that_are_wrong(here: SmallProject, capsys: Capture) -> None:
    for flags in ([], ["--part=big"], ["--version=1"], ["--part=minor", "--version=1.0.0"]):
        assert run("release", *flags) == OptionInvalid.exit_code == 15
        assert error(capsys)


def test_check_writes_outputs_for_a_workflow(
    here: SmallProject, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release(here, part="minor")
    monkeypatch.setenv("GITHUB_REF", "refs/tags/v0.2.0")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    assert run("release.check", "--github") == 0
    lines = (tmp_path / "output").read_text().splitlines()
    assert lines[1::3] == ["0.2.0", "false", "true"]
    assert [line.partition("<<")[0] for line in lines[::3]] == ["version", "prerelease", "latest"]
    assert run("release.check", "--tag", "v0.3.0", "--github") == 122
    assert len((tmp_path / "output").read_text().splitlines()) == 9
    assert "tag: there is no tag v0.3.0 here" in error(capsys)


def test_notes_go_to_a_file_or_cannot(here: SmallProject, capsys: Capture) -> None:
    toml = Path(__file__).parents[4] / "deployment" / "images.toml"
    here.write("deployment/images.toml", toml.read_text(encoding="utf-8"))
    here.commit("Images")
    release(here, part="minor")
    assert run("release.notes", "--output", "dist/notes.md") == 0
    assert here.read("dist/notes.md").startswith("### Added\n\n- Something.\n")
    assert run("release.notes", "--output", "LICENSE/notes.md") == OutputUnwritable.exit_code
    assert "LICENSE" in error(capsys)
    assert run("release.notes", "--version", "one") == OptionInvalid.exit_code


def test_what_is_missing_is_listed(here: SmallProject, capsys: Capture) -> None:
    toml = Path(__file__).parents[4] / "deployment" / "images.toml"
    here.write("deployment/images.toml", toml.read_text(encoding="utf-8"))
    assert run("release.assets") == 122
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 13
    assert "error: 13 inputs of the release are missing or wrong" in shown.err
    assert run("release.publish") == 122
    assert "holds no assets" in error(capsys)
    assert run("release.test-package") == 122
    assert "there is no dist/python/accelerapp-0.1.0-py3-none-any.whl" in error(capsys)
