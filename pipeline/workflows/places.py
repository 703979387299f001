"""Where expressions may stand in workflows and actions, and what each place sees.

https://docs.github.com/en/actions/reference/workflows-and-actions/contexts, the table "Context
availability".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.workflows.document import Path_

_STATUS = frozenset(("always", "cancelled", "failure", "success"))
_HASH = frozenset(("hashfiles",))
_ANYWHERE = frozenset(("case", "contains", "endswith", "format", "fromjson", "join", "startswith",
                       "tojson"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What an expression may use somewhere."""

    contexts: frozenset[str]
    functions: frozenset[str] = _ANYWHERE
    is_condition: bool = False


def _place(contexts: str, functions: frozenset[str] = frozenset(), *, condition: bool = False) -> (
    Place
):  # fmt: skip
    return Place(frozenset(contexts.split()), _ANYWHERE | functions, condition)


_RUN = "github inputs vars"
_JOB = f"{_RUN} needs strategy matrix"
_STEP = f"{_JOB} job runner env secrets steps"
_ACTION = "github inputs strategy matrix job runner env steps"

# The first that fits; a dot is between keys, `*` is one key, `**` any number.
_WORKFLOW: tuple[tuple[str, Place], ...] = (
    ("run-name", _place(_RUN)),
    ("concurrency.**", _place(_RUN)),
    ("env.**", _place(f"{_RUN} secrets")),
    ("on.workflow_call.inputs.*.default", _place(_RUN)),
    ("on.workflow_call.outputs.*.value", _place(f"{_RUN} jobs")),
    ("jobs.*.if", _place(f"{_RUN} needs", _STATUS, condition=True)),
    ("jobs.*.strategy.**", _place(f"{_RUN} needs")),
    ("jobs.*.env.**", _place(f"{_JOB} secrets")),
    ("jobs.*.secrets.**", _place(f"{_JOB} secrets")),
    ("jobs.*.outputs.*", _place(_STEP)),
    ("jobs.*.environment.url", _place(f"{_JOB} job runner env steps")),
    ("jobs.*.defaults.run.**", _place(f"{_JOB} env")),
    ("jobs.*.container.credentials.**", _place(f"{_JOB} env secrets")),
    ("jobs.*.services.*.credentials.**", _place(f"{_JOB} env secrets")),
    ("jobs.*.container.env.**", _place(f"{_JOB} job runner env secrets")),
    ("jobs.*.services.*.env.**", _place(f"{_JOB} job runner env secrets")),
    ("jobs.*.steps.*.if", _place(_STEP.replace(" secrets", ""), _STATUS | _HASH, condition=True)),
    ("jobs.*.steps.*.id", _place("")),
    ("jobs.*.steps.*.uses", _place("")),
    ("jobs.*.steps.**", _place(_STEP, _HASH)),
    *(
        (f"jobs.*.{key}.**", _place(_JOB))
        for key in ("concurrency", "container", "services", "environment", "runs-on", "with",
                    "name", "timeout-minutes", "continue-on-error")
    ),
)  # fmt: skip
_COMPOSITE: tuple[tuple[str, Place], ...] = (
    ("inputs.*.default", _place("github strategy matrix job runner")),
    ("outputs.*.value", _place(_ACTION)),
    ("runs.steps.*.if", _place(_ACTION, _STATUS | _HASH, condition=True)),
    ("runs.steps.*.id", _place("")),
    ("runs.steps.*.uses", _place("")),
    ("runs.steps.**", _place(_ACTION, _HASH)),
    ("runs.**", _place("github inputs env runner job steps matrix strategy")),
)


def place_of(path: Path_, *, is_action: bool) -> Place | None:
    """Return what may be used at a path, None where no expression may stand."""
    text = ".".join(str(part).replace(".", "_") for part in path)
    for pattern, place in _COMPOSITE if is_action else _WORKFLOW:
        made = re.escape(pattern).replace(r"\.\*\*", r"(?:\..*)?").replace(r"\*", "[^.]*")
        if re.fullmatch(made, text, re.S):
            return place
    return None


# What the contexts have that are the same everywhere.
_GITHUB = """
action action_path action_ref action_repository action_status actor actor_id api_url base_ref env
event event_name event_path graphql_url head_ref job job_workflow_sha path ref ref_name
ref_protected ref_type repository repository_id repository_owner repository_owner_id
repository_visibility repositoryurl retention_days run_attempt run_id run_number secret_source
server_url sha token triggering_actor workflow workflow_ref workflow_sha workspace
"""
_JOB_ITSELF = """
check_run_id container services status workflow_file_path workflow_ref workflow_repository
workflow_sha
"""
_RUNNER = "name os arch temp tool_cache debug environment workspace"
_STRATEGY = "fail-fast job-index job-total max-parallel"
PROPERTIES: dict[str, frozenset[str]] = {
    "github": frozenset(_GITHUB.split()),
    "job": frozenset(_JOB_ITSELF.split()),
    "runner": frozenset(_RUNNER.split()),
    "strategy": frozenset(_STRATEGY.split()),
}
