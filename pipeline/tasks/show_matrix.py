"""A workflow's matrix as a table for people, JSON for programs, and an output for GitHub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipeline.github import write_outputs
from pipeline.matrix import MatrixJob, to_json
from pipeline.report import print_json, print_table


def show(jobs: Sequence[MatrixJob], *, as_json: bool) -> None:
    """Print the jobs."""
    if as_json:
        print_json(to_json(jobs))
        return
    rows = [list(job.to_json().values()) for job in jobs]
    print_table(["job", "target", "platforms", "runner"], rows)


def write_github(jobs: Sequence[MatrixJob], environ: Mapping[str, str]) -> None:
    """Append the matrix to the outputs of a step."""
    write_outputs({"matrix": json.dumps(to_json(jobs), separators=(",", ":"))}, environ)
