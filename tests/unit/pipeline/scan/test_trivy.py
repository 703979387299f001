"""Whatever keeps Trivy from an answer is no clean scan."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import NotScanned, OptionInvalid
from pipeline.scan import trivy
from tests.unit.pipeline.factories import Recorder

NOW = datetime.datetime(2026, 6, 10, tzinfo=datetime.UTC)
WEEK = datetime.timedelta(days=7)


def database(folder: Path, *, updated: str = "2026-06-09T00:00:00.123Z", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"Version": 2, "UpdatedAt": updated, **changes}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "trivy.db").write_bytes(b"data")
    return folder


def program(folder: Path) -> dict[str, str]:
    path = folder / "bin" / "trivy"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return {"PATH": str(path.parent), "TRIVY_CACHE_DIR": str(folder / "cache")}


def version(text: str = "Version: 0.70.0\n") -> tuple[int, str, str]:
    return (0, text, "")


def test_trivy_is_the_one_that_is_named(tmp_path: Path) -> None:
    environ = program(tmp_path)
    assert trivy.find(environ) == str(tmp_path / "bin" / "trivy")
    named = tmp_path / "mine"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert trivy.find({**environ, "TRIVY": str(named)}) == str(named)
    with pytest.raises(NotScanned, match="TRIVY is '/nowhere'"):
        trivy.find({**environ, "TRIVY": "/nowhere"})
    with pytest.raises(NotScanned, match=r"trivy is not here; invoke tools\.install trivy"):
        trivy.find({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (version("Version: 0.58.2\n"), "0.58.2, which is not supported; .*from 0.59.0 up to"),
        (version("Version: 1.0.0\n"), "not supported"),
        (version("Version: 0.69.4\n"), "published to steal credentials; remove it"),
        (version("hello\n"), "does not say its version"),
        ((1, "Version: 0.70.0\n", ""), "does not say its version"),
    ],
)
def test_versions_that_are_not_believed(answer: tuple[int, str, str], words: str) -> None:
    with pytest.raises(NotScanned, match=words):
        trivy.check_version("trivy", Recorder([answer]))


@pytest.mark.parametrize("text", ["Version: 0.59.0", "Version: v0.70.1\nVulnerability DB:\n"])
def test_versions_that_are(text: str) -> None:
    assert trivy.check_version("trivy", Recorder([version(text)])).startswith("0.")


@pytest.mark.parametrize(
    ("text", "hours"), [("7d", 168), ("36h", 36), ("3", 72), (" 1d ", 24), ("0", 0)]
)
def test_ages(text: str, hours: int) -> None:
    assert trivy.parse_age(text) == datetime.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "-1d", "1w", "1.5d", "99999999d", "٣d"])
def test_ages_that_are_none(text: str) -> None:
    with pytest.raises(OptionInvalid, match="--max-db-age"):
        trivy.parse_age(text)


def test_a_database_is_found_in_the_folder_or_its_db(tmp_path: Path) -> None:
    inner = database(tmp_path / "cache" / "db")
    assert trivy.read_database(tmp_path / "cache").folder == inner
    assert trivy.read_database(inner).updated.date() == datetime.date(2026, 6, 9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Version": 1}, "has schema 1, not 2"),
        ({"updated": "yesterday"}, "is damaged"),
        ({"UpdatedAt": None}, "is damaged"),
    ],
)
def test_a_damaged_database_is_none(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotScanned, match=words):
        trivy.read_database(database(tmp_path, **changes))


def test_a_database_with_a_file_missing_is_none(tmp_path: Path) -> None:
    database(tmp_path)
    (tmp_path / "trivy.db").write_bytes(b"")
    with pytest.raises(NotScanned, match="is empty"):
        trivy.read_database(tmp_path)
    (tmp_path / "trivy.db").unlink()
    with pytest.raises(NotScanned, match=r"trivy\.db is missing; .*--db"):
        trivy.read_database(tmp_path)
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(NotScanned, match="is damaged"):
        trivy.read_database(tmp_path)
    with pytest.raises(NotScanned, match=r"metadata\.json is missing"):
        trivy.read_database(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("updated", "words"),
    [("2026-06-02T23:00:00Z", "7 days old .2026-06-02."), ("2026-06-12T00:00:00Z", "future")],
)
def test_an_old_database_is_none(tmp_path: Path, updated: str, words: str) -> None:
    found = trivy.read_database(database(tmp_path, updated=updated))
    with pytest.raises(NotScanned, match=words):
        trivy.check_age(found, WEEK, NOW)


def test_the_scanner_gets_a_cache_of_its_own_with_the_database(tmp_path: Path) -> None:
    environ = program(tmp_path)
    folder = database(tmp_path / "given")
    with trivy.ready(folder, WEEK, now=NOW, environ=environ, runner=Recorder([version()])) as found:
        assert (found.cache / "db" / "trivy.db").read_bytes() == b"data"
        argv = found.image(tmp_path)
        assert "--skip-db-update" in argv
        cache = found.cache
    assert not cache.exists()
    assert folder.exists()


def test_an_old_database_of_its_own_is_fetched(tmp_path: Path) -> None:
    environ = program(tmp_path)
    database(tmp_path / "cache" / "db", updated="2026-05-01T00:00:00Z")
    calls: list[tuple[str, ...]] = []

    def runner(argv: tuple[str, ...], **_: Any) -> Any:
        calls.append(argv)
        if "--download-db-only" in argv:
            database(tmp_path / "cache" / "db")
        return Recorder([version()])(argv)

    with trivy.ready(None, WEEK, now=NOW, environ=environ, runner=runner) as found:
        assert found.database.updated.month == 6
    assert sum("--download-db-only" in argv for argv in calls) == 1
    calls.clear()
    with trivy.ready(None, WEEK, now=NOW, environ=environ, runner=runner):
        pass
    assert not any("--download-db-only" in argv for argv in calls)


def test_a_fetch_that_fails_is_said_and_no_scan(tmp_path: Path) -> None:
    environ = program(tmp_path)
    failed = (1, "", "2026-06-10T00:00:00Z\tFATAL\tno such host\n")
    with (
        pytest.raises(NotScanned, match="missing, and fetching it failed: no such host"),
        trivy.ready(None, WEEK, now=NOW, environ=environ, runner=Recorder([version(), failed])),
    ):
        pass


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((1, "", "a\n2026-06-10T00:00:00Z\tFATAL\tdb corrupt\n"), "could not scan it: db corrupt"),
        ((0, "", ""), "is not JSON"),
        ((0, "[]", ""), "is no report"),
        ((137, "", ""), "exit code 137"),
    ],
)
def test_a_report_that_is_none(answer: tuple[int, str, str], words: str) -> None:
    with pytest.raises(NotScanned, match=words):
        trivy.report(("trivy",), "it", Recorder([answer]))
