"""Which images a workflow builds, and in how many jobs."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task


@task(
    iterable=("target", "platform"),
    help={
        "target": "images: production, development, monitoring, all; repeatable, commas (default: "
        "all that run something, and so not base)",
        "platform": "platforms; repeatable, commas (default: all that images.toml names)",
        "runners": "one: a job a target, which builds every platform; native: a job a platform, "
        "each on a machine of that kind (default: one)",
        "json": "print as JSON, as `strategy.matrix` takes it",
        "github": "also append it to the file that GITHUB_OUTPUT names, as the output 'matrix'",
    },
)
def matrix(
    c: Context,
    target: Any = None,
    platform: Any = None,
    runners: str = "one",
    json: bool = False,
    github: bool = False,
) -> None:
    """Show the jobs in which a workflow builds the images."""
    import os

    from pipeline import matrix as jobs
    from pipeline.tasks import show_matrix

    made = jobs.make_matrix(target or (), platform or (), runners)
    if github:
        show_matrix.write_github(made, os.environ)
    show_matrix.show(made, as_json=json)
