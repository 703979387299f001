"""The small project, with a git that knows nothing of this machine's user."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pipeline.release.small_project import ALONE, IDENTITY, SmallProject
from tests.unit.pipeline.tasks.fake_programs import HelmOnPath


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    HelmOnPath(tmp_path / "bin", monkeypatch)
    for name, value in {**ALONE, **IDENTITY}.items():
        monkeypatch.setenv(name, value)
    for name in ("GITHUB_ACTIONS", "GITHUB_REF", "SOURCE_DATE_EPOCH", "ACCELERAPP_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    return SmallProject(tmp_path / "project")
