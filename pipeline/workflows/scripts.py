"""The scripts of steps, with what is known of their environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.workflows import matrix
from pipeline.workflows.document import Document, Job, Step, mapping_of
from pipeline.workflows.evaluate import UNKNOWN, NotComputable, Partly, Scope, as_text, fill
from pipeline.workflows.expressions import ExpressionInvalid

_CONTEXTS = "env github inputs job jobs matrix needs runner secrets steps strategy vars"
# Whatever only a run can tell.
NOTHING_KNOWN = Scope(dict.fromkeys(_CONTEXTS.split(), UNKNOWN))


def with_context(scope: Scope, **contexts: Any) -> Scope:
    """Return a scope with other values of some contexts."""
    return replace(scope, contexts={**scope.contexts, **contexts})


def environment(scope: Scope, layers: Sequence[Any]) -> dict[str, Any]:
    """Return `env` after several layers of it, outer ones first: texts, or `UNKNOWN`."""
    made: dict[str, Any] = {}
    for layer in layers:
        inner = with_context(scope, env=Partly(made))
        added: dict[str, Any] = {}
        for name, value in mapping_of(layer).items():
            try:
                added[name] = as_text(fill(value, inner) if isinstance(value, str) else value)
            except (ExpressionInvalid, NotComputable):
                added[name] = UNKNOWN
        made.update(added)
    return made


def known(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables whose values are known."""
    return {name: value for name, value in variables.items() if isinstance(value, str)}


def static_environments(document: Document, job: Job | None, step: Step) -> Iterator[
    dict[str, str]
]:  # fmt: skip
    """Yield what is known of a step's environment before anything runs: for each combination of
    the matrix, each once."""
    layers: list[Any] = [document.plain.get("env")]
    combinations: tuple[matrix.Combination, ...] | None = ({},)
    if job is not None:
        layers.append(job.data.get("env"))
        try:
            combinations = matrix.combinations(job, NOTHING_KNOWN)
        except (ExpressionInvalid, NotComputable):
            combinations = None
    layers.append(step.data.get("env"))
    seen: list[dict[str, str]] = []
    for combination in combinations or (UNKNOWN,):
        made = known(environment(with_context(NOTHING_KNOWN, matrix=combination), layers))
        if made not in seen:
            seen.append(made)
            yield made
