"""A scan believes Trivy only where Trivy saw the image."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import FindingsAboveGate, NotScanned
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.scan.run import ScanReport, ScanRequest, scan
from pipeline.settings import DESCRIPTION
from tests.unit.pipeline.factories import World

NOW = datetime.datetime(2026, 6, 10, tzinfo=datetime.UTC)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScanReport]:
    """Return a function: scan an image with a Trivy that sees it, apart from what is changed."""
    world = World(tmp_path)
    (world.root / DESCRIPTION).parent.mkdir(parents=True)
    (world.root / DESCRIPTION).write_text(world.description)
    world.fill_cache()
    world.build(targets=("base", "production"), platforms=(Platform.AMD64,))
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(world.cache.folder))
    program = tmp_path / "trivy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    database = tmp_path / "db"
    database.mkdir()
    (database / "trivy.db").write_bytes(b"...debian 12...pip::GitHub...")
    (database / "metadata.json").write_text('{"Version": 2, "UpdatedAt": "2026-06-09T00:00:00Z"}')

    def seen() -> dict[str, Any]:
        debian = [
            {"Name": d.name, "Version": "1.0", "Release": "1"} for d in world.debs[Platform.AMD64]
        ]
        python = [{"Name": name, "Version": "1.0"} for name in ("dep", "Mini")]
        return {
            "SchemaVersion": 2,
            "Metadata": {"OS": {"Family": "debian", "Name": "12.9"}},
            "Results": [
                {"Class": "os-pkgs", "Type": "debian", "Packages": debian},
                {"Class": "lang-pkgs", "Type": "python-pkg", "Packages": python},
            ],
        }

    def call(change: Change = lambda _: None, target: str = "production") -> ScanReport:
        report = seen()
        change(report)

        def runner(argv: tuple[str, ...], **_: Any) -> Completed:
            said = "Version: 0.70.0\n" if "--version" in argv else json.dumps(report)
            return Completed(argv, 0, said, "")

        request = ScanRequest(targets=(target,), images=world.output, db=database)
        environ = {"TRIVY": str(program)}
        return scan(request, Silent(), now=NOW, root=world.root, environ=environ, runner=runner)

    return call


def test_an_image_that_was_seen_whole_is_clean(run: Callable[..., ScanReport]) -> None:
    report = run()
    assert report.subjects[0].packages == 6
    report.raise_for_gate()


def drop(kind: int) -> Change:
    return lambda report: report["Results"][kind]["Packages"].pop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop(0), r"did not see all of production linux/amd64: only the image has python"),
        (drop(1), r"only the image has mini 1\.0"),
        (lambda report: report["Results"].pop(0), r"only the image has base-passwd 1\.0-1"),
        (lambda report: report.update(Results=None), "did not see all of production"),
    ],
)
def test_an_image_that_was_not_seen_whole_was_not_scanned(
    run: Callable[..., ScanReport], change: Change, words: str
) -> None:
    with pytest.raises(NotScanned, match=words):
        run(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda report: report["Metadata"]["OS"].update(Name="13.1"),
            r"knows nothing of 'debian 13', so nothing of production linux/amd64 was compared",
        ),
        (lambda report: report.pop("Metadata"), "does not say what system production"),
        (lambda report: report["Metadata"].update(OS=None), "does not say what system"),
    ],
)
def test_a_database_that_knows_nothing_of_the_image_scans_nothing(
    run: Callable[..., ScanReport], change: Change, words: str
) -> None:
    with pytest.raises(NotScanned, match=words):
        run(change)


def test_a_database_without_python_scans_nothing(
    run: Callable[..., ScanReport], tmp_path: Path
) -> None:
    (tmp_path / "db" / "trivy.db").write_bytes(b"...debian 12...")
    with pytest.raises(NotScanned, match="knows nothing of 'pip'"):
        run()


def test_a_container_that_runs_as_root_is_found(run: Callable[..., ScanReport]) -> None:
    with pytest.raises(FindingsAboveGate, match=r"root-user in config .base linux/amd64"):
        run(target="base").raise_for_gate()
