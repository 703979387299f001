"""The workflows of this repository: nothing is wrong with them."""

from __future__ import annotations

import os

from pipeline.report import Silent
from pipeline.tasks import workflows as tasks
from pipeline.workflows.check import PARTS, check

# The programs are asked by `invoke ci.check` itself, in security.yml.
OWN = tuple(part for part in PARTS if part not in ("zizmor", "actionlint"))


def test_nothing_is_wrong_with_the_workflows() -> None:
    done = check(Silent(), tasks._world(""), only=OWN, environ=os.environ)
    assert [str(finding) for finding in done.findings] == []
    assert len(done.files) >= 4
    assert sum(bool(one.references) for one in done.simulations) >= 5
