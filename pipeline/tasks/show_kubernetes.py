"""What was found in chart and manifest, as lines for people or JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.findings import counted
from pipeline.report import print_json

if TYPE_CHECKING:
    from pipeline.errors import PipelineError
    from pipeline.helm.lint import Checked


def checked(done: Checked, error: type[PipelineError], *, as_json: bool) -> None:
    """Print what was found; raises `error` for anything that was."""
    cases = f"{len(done.cases)} {'case' if len(done.cases) == 1 else 'cases'}"
    if as_json:
        print_json(done.to_json())
    else:
        for finding in done.findings:
            print(finding)
        if not done.findings:
            objects = f", {done.objects} objects" if done.objects else ""
            versions = f", for Kubernetes {', '.join(done.versions)}" if done.versions else ""
            print(f"{cases}{objects}{versions}: nothing wrong, {done.seconds:.1f} s")
    if done.findings:
        raise error(
            f"{counted(done.findings)} in {cases}",
            hint="correct what is listed above",
        )
