"""What is so in this repository, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.guides.facts import Command, Facts, read_facts

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def facts() -> Facts:
    return read_facts(ROOT, (Command("build", "Build."), Command("lock", "Lock | resolve.")))
