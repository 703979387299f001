"""GitHub's workflows: checked, foretold, and run on this machine."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task


@task(
    iterable=("may_skip",),
    help={
        "needs": "what the workflow knows of its jobs: toJSON(needs)",
        "may-skip": "jobs that may be skipped; repeatable, commas (default: none)",
        "json": "print as JSON",
    },
)
def gate(c: Context, needs: str, may_skip: Any = None, json: bool = False) -> None:
    """Fail unless every job of a workflow came out well: the one check that merging asks for.

    Exit code 121: a job failed, was cancelled, or was skipped and may not be.
    """
    from pipeline import report
    from pipeline.flags import values_of
    from pipeline.gate import check_gate, read_needs

    jobs = read_needs(needs, values_of(may_skip or ()))
    if json:
        report.print_json([{"job": job.name, "result": job.result} for job in jobs])
    else:
        report.print_table(("job", "result"), [(job.name, job.result) for job in jobs])
    check_gate(jobs)


collection = Collection("ci", gate)
