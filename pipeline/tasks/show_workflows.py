"""What is wrong with workflows, and what they would do, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import WorkflowsInvalid
from pipeline.findings import Finding, counted
from pipeline.report import print_json, print_table
from pipeline.workflows.check import Checked
from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.simulate import JobRun, Simulation


def checked(done: Checked, *, as_json: bool) -> None:
    """Print what was found. Raises `WorkflowsInvalid` where anything was."""
    if as_json:
        print_json(done.to_json())
    else:
        for finding in done.findings:
            print(finding)
        for part, reason in done.not_run.items():
            print(f"not run: {part}: {reason}")
        if not done.findings:
            parts = ", ".join(part for part in done.parts if part not in done.not_run)
            events = sum(not one.skipped for one in done.simulations)
            tried = f"; {events} events tried" if done.simulations else ""
            print(f"{len(done.files)} files: nothing wrong ({parts}{tried})")
    raise_for(done.findings)


def raise_for(findings: Sequence[Finding]) -> None:
    """Raise `WorkflowsInvalid` for findings."""
    if findings:
        raise WorkflowsInvalid(
            f"{counted(findings)} in .github", hint="correct what is listed above"
        )


def foretold(done: Sequence[Simulation], *, as_json: bool) -> None:
    """Print what events would lead to."""
    if as_json:
        print_json([one.to_json() for one in done])
        return
    for one in done:
        print(f"{one.event}:")
        if one.skipped:
            print("  nothing runs")
            continue
        print_table(
            ("workflow", "job", "matrix"),
            [(run.workflow.rpartition("/")[2], run.job, _combination(run)) for run in one.jobs],
        )
        for artifact in one.artifacts:
            print(f"artifact {artifact.name}  from {artifact.job}")
        for reference in one.references:
            print(f"pushed {reference}")
        for finding in one.findings:
            print(finding)


def _combination(run: JobRun) -> str:
    values = {key: "?" if value is UNKNOWN else value for key, value in run.matrix.items()}
    return ", ".join(str(value) for value in values.values())
