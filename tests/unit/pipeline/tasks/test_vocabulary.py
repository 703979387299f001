"""The commands of this project, as workflows and guides may write them."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

import tasks
from pipeline.command_lines import commands_in
from pipeline.errors import ToolMissing
from pipeline.process import Completed
from pipeline.tasks.vocabulary import Vocabulary
from pipeline.workflows import effects, permissions

LISTED = [
    {"session": "tests", "name": "tests", "tags": ["check"]},
    {"session": "compat-3.11", "name": "compat", "tags": []},
]


def list_sessions(argv: tuple[str, ...], **_: object) -> Completed:
    assert argv[1:3] == ("-m", "nox")
    return Completed(argv, 0, json.dumps(LISTED), "")


VOCABULARY = Vocabulary(runner=list_sessions)


def wrong(command: str) -> str:
    (one,) = commands_in(command)
    return VOCABULARY.wrong(one.words)


@pytest.mark.parametrize(
    "command",
    [
        "invoke build",
        ".venv/bin/invoke build --target production,redis --platform all --dry-run",
        "inv helm.lint build --target=base",
        "invoke --list",
        "invoke --help build",
        "invoke build --help",
        "invoke --echo build",
        "invoke tools",
        "invoke pull python:3.11-slim",
        "invoke pull x --platform aarch64",
        "invoke scan --severity CRITICAL,high --format sarif --only images",
        'invoke build --target "$TARGET" --platform "$A,$B"',
        "invoke $TASK",
        "invoke pull $REFERENCES",
        "invoke verify --require sbom,provenance where",
        "nox",
        "nox -s tests compat-3.11 compat -- -k anything",
        "nox -R -t check",
        'nox -s "$SESSION"',
        "nox --list",
        "accelerapp serve --port 8000",
        "accelerapp generate device.yaml --zip -",
        "accelerapp --version",
        "accelerapp $ANYTHING",
        "python -m pipeline.tasks.vocabulary",
        "python3 -m invoke build",
        "python3.11 -m venv .venv",
        "python -c pass",
        "docker run it",
        "curl --no-such-flag",
    ],
)
def test_what_there_is(command: str) -> None:
    assert wrong(command) == ""


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("invoke", "invoke is given no task"),
        ("invoke helm.lnt", "invoke has no task 'helm.lnt'; did you mean 'helm.lint'?"),
        ("invoke build helm.lnt", "invoke has no task 'helm.lnt'"),
        ("invoke zzzzzz", "invoke has no task 'zzzzzz'; see invoke --list"),
        ("invoke build --platfrom arm64",
         "invoke build has no flag --platfrom; did you mean '--platform'?"),
        ("invoke --help biuld", "invoke has no task 'biuld'; did you mean 'build'?"),
        ("invoke --lst", "invoke has no flag --lst; did you mean '--list'?"),
        ("invoke pull", "invoke pull needs reference; see invoke --help pull"),
        ("invoke build --output", "needs a value"),
        ("invoke build --target", "needs a value"),
        ("invoke build --target prodution",
         "invoke build --target prodution: not known; did you mean 'production'?"),
        ("invoke build --platform arm64,arm65", "invoke build --platform arm65: "),
        ("invoke build --platform=$X,s390x", "invoke build --platform s390x: "),
        ("invoke pull x --platform arm65", "invoke pull --platform arm65: "),
        ("invoke build --suite bulseye", "invoke build --suite bulseye: not known"),
        ("invoke build --format tar", "invoke build --format tar: not known; choose docker, oci"),
        ("invoke build --engine dokcer", "did you mean 'docker'?"),
        ("invoke scan --format text", "invoke scan --format text"),
        ("invoke scan --severity BAD", "invoke scan --severity BAD: not known"),
        ("invoke audit --only shel", "did you mean 'shell'?"),
        ("invoke sbom --format cdx", "invoke sbom --format cdx: not known"),
        ("invoke verify x --require sbmo", "did you mean 'sbom'?"),
        ("invoke load --into dokcer", "did you mean 'docker'?"),
        ("invoke matrix --runners nativ", "did you mean 'native'?"),
        ("invoke ci.check --only pin", "did you mean 'pins'?"),
        ("nox -s tets", "nox has no session 'tets'; did you mean 'tests'?"),
        ("nox -s compat-3.10", "nox has no session 'compat-3.10'"),
        ("nox -t chek", "nox has no tag 'chek'; did you mean 'check'?"),
        ("nox --sessin tests", "nox: "),
        ("accelerapp serv", "accelerapp: "),
        ("accelerapp serve --prt 1", "accelerapp: unrecognized arguments: --prt"),
        ("accelerapp", "accelerapp: "),
        ("python -m pipeline.no_such", "there is no module pipeline.no_such to run"),
        ("python -m accelerapp serv", "accelerapp: "),
        ("python3 -m invoke helm.lnt", "invoke has no task 'helm.lnt'"),
        ("python -m nox -s tets", "nox has no session 'tets'"),
    ],
)  # fmt: skip
def test_what_there_is_not(command: str, said: str) -> None:
    assert said in wrong(command)
    assert "\n" not in wrong(command)


def test_what_tasks_of_a_command_come_to() -> None:
    vocabulary = Vocabulary(runner=list_sessions)
    assert vocabulary.invocations(("invoke", "build", "--no-such-flag")) == ()
    (one,) = commands_in("invoke build --target redis --dry-run pull 'x:1' --output o")
    build, pull = vocabulary.invocations(one.words)
    assert (build.task, build.texts("target"), build.has("dry-run")) == ("build", ("redis",), True)
    assert (build.text("suite"), build.has("sparse"), build.texts("mirror")) == ("", False, ())
    assert (pull.task, pull.text("reference"), pull.text("output")) == ("pull", "x:1", "o")
    assert vocabulary.invocations(("nox", "-s", "tests")) == ()


def test_the_sessions_are_those_of_the_noxfile() -> None:
    names = {one.session for one in Vocabulary().sessions}
    assert {"tests", "lint", "types", "docker", "compat-3.11"} <= names


def test_without_nox_that_is_said() -> None:
    def runner(argv: tuple[str, ...], **_: object) -> Completed:
        return Completed(argv, 1, "", "No module named nox")

    with pytest.raises(ToolMissing, match="No module named nox"):
        Vocabulary(runner=runner).wrong(("nox", "-s", "x"))


def test_without_noxs_own_flags_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nox._options", None)
    with pytest.raises(ToolMissing, match=r"pip install -r requirements/dev\.txt"):
        wrong("nox -s tests")


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("invoke --list", True),
        ("invoke --version", True),
        ("invoke build --help", True),
        ("invoke --help build", True),
        ("invoke build --dry-run", False),
        ("nox -l", True),
        ("nox --version", True),
        ("nox --help", True),
        ("nox -s tests -- --help", False),
        ("nox", False),
        ("docker --help", False),
    ],
)
def test_what_only_shows_runs_nothing(command: str, shows: bool) -> None:
    words = tuple(command.split())
    assert VOCABULARY.only_shows(words) is shows
    if shows:
        assert VOCABULARY.invocations(words) == ()


@pytest.mark.parametrize(
    "names",
    [permissions._TASKS, effects._EFFECTS, effects._WITHOUT_EFFECT,
     {task for task, _ in VOCABULARY._values if task}],
)  # fmt: skip
def test_tasks_that_something_is_known_of_are_there(names: Collection[str]) -> None:
    contexts = tasks.namespace.to_contexts()
    there = {name for one in contexts for name in (one.name, *one.aliases)}
    assert names
    assert set(names) <= there


def test_asking_leaves_the_help_of_tasks_as_it_is(tmp_path: Path) -> None:
    before = {name: dict(tasks.namespace[name].help) for name in tasks.namespace.task_names}
    Vocabulary(namespace=tasks.namespace).wrong(("invoke", "build"))
    assert {name: dict(tasks.namespace[name].help) for name in before} == before
