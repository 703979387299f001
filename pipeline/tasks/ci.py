"""GitHub's workflows: checked, foretold, and run on this machine."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks import workflows
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


@task(
    iterable=("input", "matrix", "var", "secret", "env"),
    help={
        "workflow": "docker, ci, security, release, or the file of another",
        "job": "only this one, and those that it needs",
        "event": "push, pull_request, schedule, workflow_dispatch (default: the first of these "
        "that the workflow runs for)",
        "ref": "of what: refs/heads/main, refs/tags/v1.2.3; of a pull request, its branch "
        "(default: the branch that is checked out)",
        "number": "of the pull request (default: 1)",
        "input": "NAME=VALUE of workflow_dispatch; repeatable",
        "matrix": "KEY:VALUE, the combinations to run; repeatable (default: all)",
        "var": "NAME=VALUE of a configuration variable; repeatable",
        "secret": "name of a variable here that holds a secret; repeatable, commas",
        "env": "name of a variable here that steps get, too; repeatable, commas",
        "stand-ins": "folder OWNER/NAME/action.yml of what stands in for actions that no network "
        "brings",
        "at-once": "so many jobs at the same time (default: as many as there are processors)",
        "image": "run jobs in containers of this image (default: on this machine)",
        "quiet": "leave out what steps print",
        "json": "print the result as JSON",
    },
)
def run(
    c: Context,
    workflow: str,
    job: str = "",
    event: str = "",
    ref: str = "",
    number: str = "1",
    input: Any = None,
    matrix: Any = None,
    var: Any = None,
    secret: Any = None,
    env: Any = None,
    stand_ins: str | None = None,
    at_once: str = "",
    image: str = "",
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Run a workflow of .github/workflows on this machine, with act.

    Each job gets a copy of this folder. Without --image its steps run here, as this user: what
    they install is installed. Exit code 121: a job failed.
    """
    from pathlib import Path

    from pipeline import commands
    from pipeline.flags import pairs_of, positive, values_of
    from pipeline.tasks import show_ci
    from pipeline.workflows.act import RunRequest, run_workflow

    request = RunRequest(
        workflow=workflow,
        job=job,
        event=event,
        ref=ref,
        number=positive("--number", number),
        inputs=pairs_of("--input", input or ()),
        matrix=matrix or (),
        variables=pairs_of("--var", var or ()),
        secrets=values_of(secret or ()),
        environment=values_of(env or ()),
        stand_ins=Path(stand_ins) if stand_ins else None,
        jobs_at_once=positive("--at-once", at_once) if at_once else 0,
        image=image,
    )
    done = run_workflow(request, commands.ROOT, show_ci.lines(quiet=quiet))
    show_ci.run(done, as_json=json)
    done.raise_for_failure()


collection = Collection("ci", workflows.check, workflows.foretell, gate, run)
