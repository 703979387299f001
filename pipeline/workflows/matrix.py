"""The combinations of a job's matrix, as GitHub makes them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from pipeline.workflows.document import Job, mapping_of
from pipeline.workflows.evaluate import UNKNOWN, NotComputable, Scope, fill, loosely_equal

# GitHub's own limit for a matrix.
LIMIT = 256
Combination = dict[str, Any]


def has_matrix(job: Job) -> bool:
    """Return whether a job has a matrix at all."""
    return "matrix" in mapping_of(job.data.get("strategy"))


def combinations(job: Job, scope: Scope) -> tuple[Combination, ...] | None:
    """Return what `matrix` is in each run of a job: one empty combination where it has none,
    and None where only a run can tell.

    Raises `NotComputable` for a matrix that GitHub refuses, and `ExpressionInvalid`.
    """
    if not has_matrix(job):
        return ({},)
    matrix = computed(mapping_of(job.data["strategy"])["matrix"], scope)
    if matrix is UNKNOWN:
        return None
    if not isinstance(matrix, Mapping):
        raise NotComputable("the matrix is no mapping")
    include, exclude = matrix.get("include", []), matrix.get("exclude", [])
    axes = {key: value for key, value in matrix.items() if key not in ("include", "exclude")}
    if any(value is UNKNOWN for value in (include, exclude, *axes.values())):
        return None
    for key, value in (*axes.items(), ("include", include), ("exclude", exclude)):
        if not isinstance(value, list):
            raise NotComputable(f"'{key}' of the matrix is no list")
    found = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ] * bool(axes)
    found = [one for one in found if not any(_covers(one, left_out) for left_out in exclude)]
    found = _with_included(found, include, tuple(axes))
    if not found:
        raise NotComputable("the matrix is empty")
    if len(found) > LIMIT:
        raise NotComputable(f"the matrix has {len(found)} jobs, and GitHub takes {LIMIT}")
    return tuple(found)


def _covers(one: Combination, left_out: Any) -> bool:
    return all(key in one and _same(one[key], value) for key, value in mapping_of(left_out).items())


def _same(one: Any, other: Any) -> bool:
    if UNKNOWN in (one, other):
        return False
    if isinstance(one, (dict, list)):
        return bool(one == other)
    return loosely_equal(one, other)


def _with_included(
    found: list[Combination], include: list[Any], axes: tuple[str, ...]
) -> list[Combination]:
    """Return combinations with what `include` adds: to each that it does not contradict in what
    the axes gave, or else as one more."""
    originals = [dict(one) for one in found]
    for extra in include:
        extra = dict(mapping_of(extra))
        fits = [
            index
            for index, original in enumerate(originals)
            if all(key not in original or _same(original[key], extra[key]) for key in extra)
            and any(key in axes or not axes for key in original)
        ]
        for index in fits:
            found[index].update(extra)
        if not fits:
            found.append(extra)
    return found


def keys(job: Job) -> frozenset[str] | None:
    """Return the keys of a job's matrix in lower case, None where only a run can tell."""
    matrix = mapping_of(job.data.get("strategy")).get("matrix")
    if not isinstance(matrix, Mapping):
        return None
    found = {key.lower() for key in matrix if key not in ("include", "exclude")}
    include = matrix.get("include", [])
    if not isinstance(include, list):
        return None
    for extra in include:
        if not isinstance(extra, Mapping):
            return None
        found |= {key.lower() for key in extra}
    return frozenset(found)


def computed(node: Any, scope: Scope) -> Any:
    """Return `node` with every expression in it computed.

    Raises `NotComputable` and `ExpressionInvalid`.
    """
    if isinstance(node, str):
        return fill(node, scope)
    if isinstance(node, Mapping):
        return {key: computed(value, scope) for key, value in node.items()}
    return [computed(item, scope) for item in node] if isinstance(node, list) else node
