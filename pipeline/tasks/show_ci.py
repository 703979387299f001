"""What workflows did on this machine: lines while they run, a table or JSON when they are done."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pipeline.report import print_json, print_table
from pipeline.workflows.act import WorkflowRun


def lines(*, quiet: bool) -> Callable[[str, str], None]:
    """Return what prints a line of a job, to stderr; `quiet` prints nothing."""

    def show(job: str, text: str) -> None:
        if not quiet:
            print(f"{job} | {text}", file=sys.stderr, flush=True)

    return show


def run(done: WorkflowRun, *, as_json: bool) -> None:
    """Print what became of each job."""
    if as_json:
        print_json(done.to_json())
        return
    rows = [
        [
            job.name,
            job.result or "not ended",
            f"{sum(step.seconds for step in job.steps):.1f} s",
            ", ".join(step.name for step in job.steps if step.result == "failure"),
        ]
        for job in done.jobs
    ]
    print_table(["job", "result", "time", "failed step"], rows)
