"""`invoke dockerfile`: files written, checked or printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import commands, dockerfile
from pipeline.errors import OptionInvalid, RenderedStale, SettingsInvalid, UnknownTarget
from tests.unit.pipeline.tasks.test_namespace import run

REPOSITORY = commands.ROOT


def written_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this repository's files rendered into another folder."""
    settings, lock = dockerfile.read_inputs(REPOSITORY)
    object.__setattr__(settings, "root", root)
    monkeypatch.setattr(dockerfile, "read_inputs", lambda _: (settings, lock))


def test_files_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written_to(tmp_path, monkeypatch)
    assert run("dockerfile", "--check") == RenderedStale.exit_code
    assert run("dockerfile") == 0
    first = capsys.readouterr().out
    assert "deployment/docker/Dockerfile: written" in first
    assert run("dockerfile") == 0
    again = capsys.readouterr().out
    assert again == first.replace("written", "current")
    assert run("dockerfile", "--check") == 0
    path = "deployment/docker/Dockerfile"
    assert (tmp_path / path).read_bytes() == (REPOSITORY / path).read_bytes()


def test_the_committed_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dockerfile", "--check") == 0
    assert capsys.readouterr().out == "the rendered files are current\n"


def test_another_suite_is_printed_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written_to(tmp_path, monkeypatch)
    assert run("dockerfile", "--suite", "trixie", "--target", "monitoring") == 0
    text = capsys.readouterr().out
    assert "ARG DEBIAN_IMAGE=debian:trixie-" in text
    assert text.count(" AS monitoring\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_printed_can_be_what_is_committed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dockerfile", "--target", "monitoring") == 0
    path = REPOSITORY / "deployment" / "docker" / "Dockerfile.monitoring"
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--check", "--suite", "trixie"], OptionInvalid, "leave one of them out"),
        (["--suite", "trixy"], SettingsInvalid, "did you mean 'trixie'?"),
        (["--target", "prod"], UnknownTarget, "did you mean 'production'?"),
    ],
)
def test_flags_that_cannot_be_used_are_one_line(
    arguments: list[str], error: type, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("dockerfile", *arguments) == error.exit_code
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not said.out
