"""Flags of `load` become one request; what the engine has is what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import load
from pipeline.errors import EngineUnavailable
from pipeline.load import Held, Loaded, LoadReport, LoadRequest
from pipeline.platforms import Platform
from pipeline.report import Progress
from tests.unit.pipeline.tasks.test_namespace import run

ID = f"sha256:{'7' * 64}"
REPORT = LoadReport(
    "containerd",
    (Loaded("production", (Held("docker.io/library/a:b", tuple(Platform), ID, ID),)),),
    1.25,
)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[LoadRequest]:
    """What `load` asked for; nothing is loaded."""
    seen: list[LoadRequest] = []

    def load_images(request: LoadRequest, progress: Progress) -> LoadReport:
        seen.append(request)
        progress.say("working")
        return REPORT

    monkeypatch.setattr(load, "load", load_images)
    return seen


def test_load_without_flags_asks_for_the_defaults(requests: list[LoadRequest]) -> None:
    assert run("load") == 0
    assert requests == [LoadRequest()]


def test_each_flag_of_load_arrives(requests: list[LoadRequest]) -> None:
    code = run(
        *("load", "--target", "base", "--target", "all", "--platform", "arm64,amd64"),
        *("--images", "out", "--into", "containerd", "--namespace", "k8s.io"),
    )
    assert code == 0
    (request,) = requests
    assert list(request.targets) == ["base", "all"]
    assert list(request.platforms) == ["arm64,amd64"]
    assert request.images == Path("out")
    assert (request.into, request.namespace) == ("containerd", "k8s.io")


def test_people_see_a_table(
    requests: list[LoadRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["image", "platform", "id", "engine"]
    assert row.split() == [
        *("docker.io/library/a:b", "linux/amd64,", "linux/arm64", ID[:19], "containerd")
    ]


def test_programs_see_json_and_nothing_else_on_stdout(
    requests: list[LoadRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("load", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "engine": "containerd",
        "images": [
            {
                "target": "production",
                "name": "docker.io/library/a:b",
                "platforms": ["linux/amd64", "linux/arm64"],
                "id": ID,
            }
        ],
        "seconds": 1.25,
    }
    assert "working" in shown.err


def test_no_engine_is_64(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(request: LoadRequest, progress: Progress) -> LoadReport:
        raise EngineUnavailable("no container engine answers", hint="start one")

    monkeypatch.setattr(load, "load", refuse)
    assert run("load") == 64
    assert capsys.readouterr().err == "error: no container engine answers; start one\n"
