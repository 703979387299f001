"""What a workflow's jobs build, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import OptionInvalid, UnknownTarget, UnsupportedPlatform
from pipeline.matrix import make_matrix, to_json
from pipeline.platforms import Platform
from tests.unit.pipeline.tasks.test_namespace import run
from tests.unit.pipeline.tasks.test_tags_task import outputs

SHIPPED = ["production", "monitoring", "redis", "development"]


def test_a_job_builds_a_target_for_every_platform_on_one_machine() -> None:
    jobs = make_matrix((), (), "one")
    assert [job.target for job in jobs] == SHIPPED
    assert {job.platforms for job in jobs} == {(Platform.AMD64, Platform.ARM64)}
    assert {job.runner for job in jobs} == {"ubuntu-24.04"}


def test_a_platform_has_a_machine_of_its_own_where_that_is_asked_for() -> None:
    jobs = make_matrix(["production,redis"], (), "native")
    assert to_json(jobs)["include"] == [
        {"name": f"{target}-{platform}", "target": target, "platform": platform, "runner": runner}
        for target in ("production", "redis")
        for platform, runner in (("amd64", "ubuntu-24.04"), ("arm64", "ubuntu-24.04-arm"))
    ]


def test_no_two_jobs_have_one_name() -> None:
    for runners in ("one", "native"):
        names = [job.name for job in make_matrix(["all"], ["all"], runners)]
        assert len(set(names)) == len(names) > len(SHIPPED)


def test_a_base_is_built_where_it_is_asked_for_alone() -> None:
    assert [job.target for job in make_matrix(["base"], ["arm64"], "one")] == ["base"]
    assert "base" in {job.target for job in make_matrix(["all"], (), "one")}


def test_what_a_person_left_empty_is_the_default() -> None:
    assert make_matrix([""], [""], "") == make_matrix((), ())


def test_what_is_not_described_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="--runners 'natives' is not known; did you mean"):
        make_matrix((), (), "natives")
    with pytest.raises(UnknownTarget):
        make_matrix(["productoin"], (), "one")
    with pytest.raises(UnsupportedPlatform):
        make_matrix((), ["s390x"], "one")


def test_a_workflow_gets_the_matrix_as_one_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    assert run("matrix", "--target=redis", "--platform=arm64", "--runners=native", "--github") == 0
    found = outputs((tmp_path / "output").read_text())
    assert json.loads(found["matrix"])["include"][0]["runner"] == "ubuntu-24.04-arm"
    assert "redis-arm64" in capsys.readouterr().out
    assert run("matrix", "--json") == 0
    assert json.loads(capsys.readouterr().out) == to_json(make_matrix((), (), "one"))
    monkeypatch.delenv("GITHUB_OUTPUT")
    assert run("matrix", "--github") == OptionInvalid.exit_code
