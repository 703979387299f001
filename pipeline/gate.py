"""The one check that a branch's protection asks for: every job of a workflow came out well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import OptionInvalid, WorkflowFailed

SUCCESS = "success"
SKIPPED = "skipped"
RESULTS = (SUCCESS, SKIPPED, "failure", "cancelled")


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job, and how GitHub says that it ended."""

    name: str
    result: str
    may_skip: bool

    @property
    def is_good(self) -> bool:
        """Whether it succeeded, or was skipped and may be."""
        return self.result == SUCCESS or (self.may_skip and self.result == SKIPPED)


def read_needs(text: str, may_skip: Sequence[str]) -> tuple[JobResult, ...]:
    """Return the jobs of `toJSON(needs)`.

    Raises `OptionInvalid` for another text, for no jobs at all, and for a job that may be skipped
    and is not among them.
    """
    try:
        document = json.loads(text)
        found = {str(name): str(job["result"]) for name, job in document.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise OptionInvalid(
            "--needs is not what a workflow knows of its jobs",
            hint="pass ${{ toJSON(needs) }} on, through the environment of the step",
        ) from None
    if not found:
        raise OptionInvalid("--needs names no job", hint="list the jobs in the gate's 'needs'")
    for result in found.values():
        if result not in RESULTS:
            raise OptionInvalid(
                f"--needs has the result '{result}'", hint=f"GitHub knows {', '.join(RESULTS)}"
            )
    for name in may_skip:
        if name not in found:
            raise OptionInvalid(
                f"--may-skip '{name}' is no job that the gate needs",
                hint=f"choose {', '.join(found)}",
            )
    return tuple(JobResult(name, result, name in may_skip) for name, result in found.items())


def check_gate(jobs: Sequence[JobResult]) -> None:
    """Raise `WorkflowFailed` with every job that did not come out well."""
    if bad := [f"{job.name} ({job.result})" for job in jobs if not job.is_good]:
        raise WorkflowFailed(
            f"not every job came out well: {', '.join(bad)}", hint="its own log says why"
        )
