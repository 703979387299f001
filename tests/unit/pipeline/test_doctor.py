"""`invoke doctor` names what is here, what is not, and what that would enable."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import doctor as subject
from pipeline.doctor import Tool, inspect
from pipeline.errors import ToolMissing
from pipeline.process import Completed

REPOSITORY = Path(__file__).parents[3]


class Programs:
    """A runner for a machine on which only these programs exist."""

    def __init__(self, **printed: str) -> None:
        self.printed = printed
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: tuple[str, ...], **_: Any) -> Completed:
        self.asked.append(argv)
        if argv[0] not in self.printed:
            raise ToolMissing(f"'{argv[0]}' is not installed")
        return Completed(argv, 0, self.printed[argv[0]], "")


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found(programs: Any = None) -> dict[str, Tool]:
    return {tool.name: tool for tool in inspect(programs or Programs())}


@pytest.mark.parametrize(
    ("program", "printed", "version"),
    [
        ("git", "git version 2.39.5\n", "2.39.5"),
        ("docker", "Docker version 27.3.1, build ce12230\n", "27.3.1"),
        ("podman", "podman version 4.3.1\n", "4.3.1"),
        ("skopeo", "skopeo version 1.9.3 commit: 1\n", "1.9.3"),
        ("trivy", "Version: 0.57.0\nVulnerability DB:\n  Version: 2\n", "0.57.0"),
        ("syft", "syft 1.16.0-rc.1\n", "1.16.0-rc.1"),
        ("git", "git version 2.39.\n", "2.39"),
        ("git", "no number here\n", ""),
    ],
)
def test_versions_are_read_from_what_programs_print(
    program: str, printed: str, version: str
) -> None:
    assert found(Programs(**{program: printed}))[program].version == version


def test_every_program_is_only_asked_for_its_version() -> None:
    programs = Programs()
    inspect(programs)
    assert programs.asked
    for argv in programs.asked:
        assert {"--version", "version"} & set(argv)


def test_a_program_that_is_not_here_says_what_it_would_enable() -> None:
    docker = found()["docker"]
    assert docker.version == ""
    assert not docker.needed
    assert "docker load" in docker.enables
    assert "building does not need it" in docker.advice


def test_a_program_that_fails_or_cannot_run_is_not_here() -> None:
    def fail(argv: tuple[str, ...], **_: Any) -> Completed:
        if argv[0] == "git":
            raise PermissionError(13, "Permission denied")
        return Completed(argv, 1, "version 1.2.3", "")

    tools = found(fail)
    assert tools["git"].version == tools["docker"].version == ""


def test_libraries_have_their_installed_versions() -> None:
    assert found()["deflate"].version == importlib.metadata.version("deflate")


def test_a_library_that_is_missing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    deflate = found()["deflate"]
    assert (deflate.version, deflate.needed) == ("", True)
    assert deflate.advice == "pip install -r requirements/dev.txt"


def test_every_library_that_the_tasks_need_is_looked_for() -> None:
    lines = (REPOSITORY / "requirements" / "dev.in").read_text().splitlines()
    needed = {m[0] for line in lines if (m := re.match(r"[a-z][a-z0-9.-]*", line))}
    # Without invoke there is no `invoke doctor`.
    assert needed - {"invoke"} <= set(found())


def test_the_cache_and_its_size_are_shown(cache_folder: Path) -> None:
    (cache_folder / "blobs").mkdir(parents=True)
    (cache_folder / "blobs" / "x").write_bytes(bytes(1500))
    cache = found()["cache"]
    assert (cache.version, cache.path) == ("1.5 kB", str(cache_folder))


def test_emulation_is_named_by_its_handlers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subject, "_BINFMT", tmp_path / "absent")
    assert found()["emulation"].version == ""
    for name in ("qemu-aarch64", "qemu-arm", "register", "jar"):
        (tmp_path / name).touch()
    monkeypatch.setattr(subject, "_BINFMT", tmp_path)
    assert found()["emulation"].version == "qemu-aarch64, qemu-arm"


def test_nothing_is_listed_twice() -> None:
    names = [tool.name for tool in inspect(Programs())]
    assert len(names) == len(set(names))
