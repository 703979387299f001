"""`tags`: a table for people, JSON for programs, outputs for a workflow's next step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import tags as rules
from pipeline.errors import NameInvalid, OptionInvalid, OutputUnwritable, UnknownTarget
from pipeline.tags import Event, TagState
from tests.unit.pipeline.tasks.test_namespace import run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RELEASE = TagState(COMMIT, Event.TAG, tags=("v1.2.3",), all_tags=("v1.2.3", "v2.0.0"))


@pytest.fixture(autouse=True)
def _a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "ACCELERAPP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(rules, "read_state", lambda root, environ: RELEASE)


def outputs(text: str) -> dict[str, str]:
    """Read a file of outputs as GitHub's runner does."""
    lines = iter(text.splitlines())
    found = {}
    for line in lines:
        name, _, delimiter = line.partition("<<")
        value = []
        for part in lines:
            if part == delimiter:
                break
            value.append(part)
        else:
            raise AssertionError(f"{name} has no end")
        found[name] = "\n".join(value)
    return found


def test_people_see_each_tag_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tags") == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "tag kind why",
        "v1.2.3-production fixed the release v1.2.3",
        "sha-0123456-production fixed the commit 0123456",
        "1.2-production moving the highest release of its minor series",
        "1-production moving the highest release of its major series",
        "note: latest stays: v2.0.0 is higher than v1.2.3",
    ]


def test_programs_get_references_in_the_order_to_push_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("tags", "--json", "--registry=ghcr.io/owner", "--target=base,production") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["latest"], found["commit"]) == ("1.2.3", False, COMMIT)
    assert [image["target"] for image in found["images"]] == ["base", "production"]
    assert [tag["reference"] for tag in found["images"][0]["tags"]] == [
        f"ghcr.io/owner/accelerapp:{name}-base" for name in ("v1.2.3", "sha-0123456", "1.2", "1")
    ]
    assert found["images"][1]["tags"][0] == {
        "tag": "v1.2.3-production",
        "reference": "ghcr.io/owner/accelerapp:v1.2.3-production",
        "kind": "fixed",
        "why": "the release v1.2.3",
    }


def test_a_workflow_s_next_steps_get_outputs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, summary = tmp_path / "output", tmp_path / "summary"
    file.write_text("earlier<<x\nstays\nx\n")
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_REPOSITORY_OWNER", "Owner")
    assert run("tags", "--github", "--json", "--target=monitoring") == 0
    found = outputs(file.read_text())
    assert found["earlier"] == "stays"
    assert found["tags"].splitlines() == [
        f"ghcr.io/owner/accelerapp:{name}-monitoring"
        for name in ("v1.2.3", "sha-0123456", "1.2", "1")
    ]
    assert (found["version"], found["latest"]) == ("1.2.3", "false")
    assert json.loads(found["json"]) == json.loads(capsys.readouterr().out)
    (line,) = summary.read_text().splitlines()
    assert "`ghcr.io/owner/accelerapp:v1.2.3-monitoring`" in line


def test_latest_and_versions_are_outputs_of_other_builds_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    now = TagState(COMMIT, Event.TAG, tags=("v3.0.0",))
    for state, expected in (
        (now, ("3.0.0", "true")),
        (TagState(COMMIT, Event.PUSH, branch="main"), ("", "false")),
    ):
        monkeypatch.setattr(rules, "read_state", lambda root, environ, state=state: state)
        assert run("tags", "--github") == 0
        found = outputs((tmp_path / "output").read_text())
        assert (found["version"], found["latest"]) == expected


def test_each_run_ends_values_with_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    delimiters = set()
    for name in ("one", "two"):
        monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / name))
        run("tags", "--github")
        delimiters.add((tmp_path / name).read_text().splitlines()[0])
    assert len(delimiters) == 2


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--github"], OptionInvalid.exit_code, "--github is given, and GITHUB_OUTPUT is not set"),
        (["--registry=ghcr"], OptionInvalid.exit_code, "registry 'ghcr' names no host"),
        (
            ["--registry=ghcr.io/Owner"],
            NameInvalid.exit_code,
            "'ghcr.io/Owner/accelerapp' has upper",
        ),
        (["--target=prodution"], UnknownTarget.exit_code, "target 'prodution' is not described"),
    ],
)
def test_what_cannot_be_is_one_line(
    flags: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("tags", *flags) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1


def test_outputs_that_cannot_be_written_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "absent" / "output"):
        monkeypatch.setenv("GITHUB_OUTPUT", str(path))
        assert run("tags", "--github") == OutputUnwritable.exit_code
        assert capsys.readouterr().err.count("\n") == 1


def test_a_branch_that_is_no_text_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = TagState(COMMIT, Event.NONE, branch="caf\udce9")
    monkeypatch.setattr(rules, "read_state", lambda root, environ: state)
    for flags in ([], ["--json"]):
        assert run("tags", *flags) == 0
        assert "caf" in capsys.readouterr().out
