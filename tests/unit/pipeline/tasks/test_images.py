"""Flags of `build`, `lock` and `images` become one call; its answer is what is printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.commands import BuildRequest
from pipeline.errors import LockStale, OptionInvalid
from tests.unit.pipeline.oci.image_factory import Blobs
from tests.unit.pipeline.tasks.test_namespace import run


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[BuildRequest]:
    """What `build` asked for; nothing is built."""
    seen: list[BuildRequest] = []

    def prepare(request: BuildRequest, progress: object, held: object) -> None:
        seen.append(request)
        raise OptionInvalid("enough")

    monkeypatch.setattr(commands, "prepare", prepare)
    return seen


def test_build_without_flags_asks_for_the_defaults(requests: list[BuildRequest]) -> None:
    assert run("build") == OptionInvalid.exit_code
    (request,) = requests
    assert list(request.targets) == list(request.platforms) == list(request.mirrors) == []
    assert (request.suite, request.source, request.output, request.archive) == (None,) * 4
    assert (request.format, request.engine) == ("oci", "auto")
    assert (request.builder, request.base_image) == (None, None)


def test_every_flag_of_build_arrives(requests: list[BuildRequest]) -> None:
    flags = (
        "--target=base,production --target development --platform=arm64 --platform=amd64 "
        "--suite trixie --source a/b --entrypoint=serve --output=out --archive=x.tar "
        "--format docker --mirror=one --mirror=two --engine=docker --builder=farm "
        "--base-image=mirror.example/debian:{suite}-slim --dry-run --json"
    )
    run("build", *flags.split())
    assert requests == [
        BuildRequest(
            targets=["base,production", "development"],
            platforms=["arm64", "amd64"],
            suite="trixie",
            source=Path("a/b"),
            output=Path("out"),
            archive=Path("x.tar"),
            format="docker",
            entrypoint="serve",
            mirrors=["one", "two"],
            engine="docker",
            builder="farm",
            base_image="mirror.example/debian:{suite}-slim",
        )
    ]


@dataclass
class FakePrepared:
    """What `prepare` returns, as far as `build` looks at it."""

    carried_out: bool = False

    def carry_out(self, progress: object) -> str:
        self.carried_out = True
        return "report"


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ([], ("build", "report", False)),
        (["--json"], ("build", "report", True)),
        (["--dry-run"], ("plan", None, False)),
        (["--dry-run", "--json"], ("plan", None, True)),
    ],
)
def test_a_dry_run_shows_the_plan_and_builds_nothing(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], shown: tuple[str, Any, bool]
) -> None:
    from pipeline.tasks import show

    prepared = FakePrepared()
    seen = []
    monkeypatch.setattr(commands, "prepare", lambda request, progress, held: prepared)
    for name in ("build", "plan"):
        monkeypatch.setattr(
            show, name, lambda what, *, as_json, name=name: seen.append((name, what, as_json))
        )
    assert run("build", *flags) == 0
    name, what, as_json = shown
    assert seen == [(name, what or prepared, as_json)]
    assert prepared.carried_out is (name == "build")


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (
            ["--platform=arm65"],
            10,
            "platform 'arm65' is not supported; did you mean 'arm64'? choose amd64, arm64 or all",
        ),
        (["--platform=arm64", "--target=prodution"], 11, "target 'prodution' is not described in"),
        (["--format=doker"], 15, "format 'doker' is not known; did you mean 'docker'? choose oci"),
        (["--engine=doker"], 15, "engine 'doker' is not known; did you mean 'docker'? choose auto"),
        (["--builder=farm"], 15, "--builder is for Docker, which has nothing to build; add"),
        (["--platform=arm64", "--suite=trixy"], 12, "suite 'trixy' is not described in"),
        (["--platform=arm64", "--entrypoint=x"], 15, "--entrypoint is for a project without"),
    ],
)
def test_a_wrong_flag_is_one_line_and_nothing_is_written(
    flags: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("build", *flags) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_current_lock_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "stale_inputs", lambda source: ())
    assert run("lock", "--check") == 0
    assert capsys.readouterr().out == "the lock is current\n"


def test_a_stale_lock_ends_with_what_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "stale_inputs", lambda source: ("images.base", "platforms"))
    assert run("lock", "--check") == LockStale.exit_code == 21
    assert capsys.readouterr() == (
        "",
        "error: the lock is not current: images.base, platforms changed; run 'invoke lock'\n",
    )


def test_every_flag_of_lock_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def lock(source: Path | None, **options: Any) -> None:
        seen.append((source, options.pop("mirrors"), options.pop("upgrade")))
        raise OptionInvalid("enough")

    monkeypatch.setattr(commands, "lock", lock)
    run("lock")
    run("lock", "--source=a", "--mirror=m", "--upgrade")
    assert [(source, list(mirrors), upgrade) for source, mirrors, upgrade in seen] == [
        (None, [], False),
        (Path("a"), ["m"], True),
    ]


def test_images_are_listed_whether_they_are_built_or_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from pipeline.oci.layout import write_layout

    blobs = Blobs(tmp_path / "source")
    write_layout(tmp_path / "dist" / "images" / "base", blobs.image("x", tag="base"), blobs)
    assert run("images") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "linux/amd64, linux/arm64" in lines["base"]
    assert "not built" in lines["production"]

    assert run("images", "--json") == 0
    found = {image["name"]: image for image in json.loads(capsys.readouterr().out)}
    assert found["base"]["built"]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert found["production"]["built"] is None
    assert found["production"]["from"] == "base"
