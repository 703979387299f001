"""`invoke ci.check` and `invoke ci.foretell`: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from pipeline.settings import read_settings
from pipeline.tasks import workflows
from pipeline.tasks.vocabulary import ROOT
from pipeline.workflows.effects import World
from tests.unit.pipeline.workflows.repository import CI, VOCABULARY, made_matrix, write


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that is as it should be, with tasks of its own."""

    def world(folder: str) -> World:
        return World(VOCABULARY, read_settings(ROOT), made_matrix, Path(folder))

    monkeypatch.setattr(workflows, "_world", world)
    return write(tmp_path)


def check(root: Path, *only: str, as_json: bool = False) -> None:
    workflows.check(Context(), only=list(only), folder=str(root), json=as_json)


def test_nothing_wrong_is_said_in_a_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(root, "pins,flow")
    assert capsys.readouterr().out == ("7 files: nothing wrong (pins, flow; 15 events tried)\n")


def test_what_is_wrong_is_listed_and_ends_with_120(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(root, (CI, "invoke helm.lint", "invoke helm.lnt || true"))
    with pytest.raises(Exit, match=r"error: 3 findings in \.github; correct what is listed") as end:
        check(root, "commands", "hygiene")
    assert end.value.code == 120
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{CI}:61"] * 3
    assert any("did you mean 'helm.lint'?" in line for line in lines)


def test_findings_for_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, (CI, "17 4 * * 1", "17 4 * *"))
    with pytest.raises(Exit):
        check(root, "expressions", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in document["findings"]] == ["cron"]


def test_a_part_that_there_is_not_ends_with_15(root: Path) -> None:
    with pytest.raises(Exit, match="--only 'pin' is not known; did you mean 'pins'") as end:
        check(root, "pin")
    assert end.value.code == 15


def test_what_an_event_leads_to(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflows.foretell(Context(), event="tag", ref="v2.0.0", tags="v1.0.0", folder=str(root))
    shown = capsys.readouterr().out
    assert "push of tag v2.0.0:" in shown
    assert "pushed ghcr.io/acme/accelerapp:latest\n" in shown
    assert "artifact digests-redis  from images/build\n" in shown


def test_what_an_event_leads_to_for_programs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = "0123456789" * 4
    workflows.foretell(Context(), ref="develop", commit=commit, folder=str(root), json=True)
    (document,) = json.loads(capsys.readouterr().out)
    assert document["ref"] == "refs/heads/develop"
    assert document["references"] == [
        f"ghcr.io/acme/accelerapp:{tag}-{target}"
        for tag in ("develop", "sha-0123456")
        for target in ("production", "redis")
    ]


def test_an_event_that_starts_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workflows.foretell(Context(), ref="elsewhere", folder=str(root))
    assert "nothing runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"event": "pusch"}, "event 'pusch' is not known; did you mean 'push'?"),
        ({"repository": "acme"}, "write it like owner/name"),
        ({"commit": "abc"}, "give all of its 40 digits"),
        ({"ref": "a b"}, "'a b' is no branch or tag of git's"),
        ({"ref": "a..b"}, "'a..b' is no branch or tag of git's"),
        ({"event": "tag", "ref": "v1.0.0", "tags": "v0.9.0,v 1"}, "'v 1' is no branch or tag"),
        ({"event": "tag", "ref": "refs/heads/main"}, "'refs/heads/main' is no tag"),
        ({"ref": "refs/pull/7/merge"}, "'refs/pull/7/merge' is no branch"),
        ({"event": "pull_request", "ref": "refs/tags/v1.0.0"}, "is no branch"),
        ({"tags": "v1.0.0"}, "--tags changes nothing for main"),
        ({"event": "fork", "tags": "v1.0.0"}, "--tags changes nothing for main"),
    ],
)
def test_events_that_there_are_not(flags: dict[str, str], said: str, root: Path) -> None:
    with pytest.raises(Exit, match=said.replace("?", r"\?")) as end:
        workflows.foretell(Context(), folder=str(root), **flags)
    assert end.value.code == 15


@pytest.mark.parametrize(
    ("flags", "ref"),
    [
        ({"ref": "refs/heads/develop"}, "refs/heads/develop"),
        ({"ref": "refs/tags/v1.2.3", "tags": "v1.0.0"}, "refs/tags/v1.2.3"),
        ({"event": "tag", "ref": "nightly"}, "refs/tags/nightly"),
        ({"event": "workflow_dispatch", "ref": "refs/tags/v1.2.3"}, "refs/tags/v1.2.3"),
    ],
)
def test_a_ref_may_be_whole(
    flags: dict[str, str], ref: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflows.foretell(Context(), folder=str(root), json=True, **flags)  # type: ignore[arg-type]
    assert {one["ref"] for one in json.loads(capsys.readouterr().out)} == {ref}


def test_where_there_is_no_workflow_nothing_is_foretold(root: Path) -> None:
    with pytest.raises(Exit, match=r"there is no workflow in .*none") as end:
        workflows.foretell(Context(), folder=str(root / "none"))
    assert end.value.code == 120


def test_workflows_that_cannot_be_read_foretell_nothing(root: Path) -> None:
    (root / ".github/workflows/x.yml").write_text("[")
    with pytest.raises(Exit) as end:
        workflows.foretell(Context(), folder=str(root))
    assert end.value.code == 120
