"""`doctor` and `cache`: for people a table, for programs nothing but JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import doctor
from pipeline.cache import Cache
from pipeline.doctor import Tool
from pipeline.errors import CacheBusy
from tests.unit.pipeline.tasks.test_namespace import run

TOOLS = (
    Tool("here", "1.2", "/usr/bin/here", True, "something", "install here"),
    Tool("missing", "", "", True, "building", "install missing"),
    Tool("absent", "", "", False, "running", "install absent"),
)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cache:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


def test_doctor_sets_what_is_needed_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "inspect", lambda: TOOLS)
    assert run("doctor") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["what", "version", "for", "to", "get", "it"],
        ["here", "1.2", "something"],
        ["missing", "MISSING", "building", "install", "missing"],
        ["absent", "not", "here", "running", "install", "absent"],
    ]


def test_doctor_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "inspect", lambda: TOOLS)
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(tool["name"], tool["version"], tool["needed"]) for tool in found] == [
        ("here", "1.2", True),
        ("missing", None, True),
        ("absent", None, False),
    ]


def test_the_cache_shows_its_parts(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    cache.store(bytes(1500))
    assert run("cache") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cache.folder)
    assert "blobs  1      1.5 kB" in lines


def test_pruning_says_what_it_removed(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    path = cache.blob_path(cache.store(bytes(1500)))
    os.utime(path, (0, 0))
    cache.store(b"young")
    assert run("cache", "--prune") == 0
    assert capsys.readouterr().out.startswith("removed 1 files, 1.5 kB\n")
    assert not path.exists()


def test_pruning_for_programs_is_json_alone(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(cache.blob_path(cache.store(b"12345")), (0, 0))
    assert run("cache", "--prune", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["removed"] == {"files": 1, "size_bytes": 5}
    assert found["parts"]["blobs"] == {"files": 0, "size_bytes": 0}
    assert run("cache", "--json") == 0
    assert json.loads(capsys.readouterr().out)["removed"] is None


@pytest.mark.parametrize(("days", "removed"), [(0, True), (1, True), (3, False)])
def test_days_say_how_old_is_old(
    cache: Cache, capsys: pytest.CaptureFixture[str], days: int, removed: bool
) -> None:
    path = cache.blob_path(cache.store(b"x"))
    two_days_ago = path.stat().st_mtime - 2 * 86_400
    os.utime(path, (two_days_ago, two_days_ago))
    assert run("cache", "--prune", f"--older-than={days}") == 0
    assert path.exists() is not removed
    capsys.readouterr()


def test_pruning_waits_for_no_build(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    with cache.in_use():
        assert run("cache", "--prune") == CacheBusy.exit_code
    assert capsys.readouterr().err.startswith("error: a build is using the cache")


def test_a_number_of_days_that_is_none_is_one_line(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cache", "--prune", "--older-than=week") != 0
    err = capsys.readouterr().err
    assert "'week'" in err
    assert err.count("\n") == 1
