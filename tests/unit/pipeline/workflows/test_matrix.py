"""Combinations of a matrix, as GitHub's documentation works them out; and its patterns."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.workflows.document import Document, Job, Kind, parse_document
from pipeline.workflows.evaluate import NotComputable
from pipeline.workflows.glob import matches
from pipeline.workflows.matrix import combinations, keys
from pipeline.workflows.scripts import NOTHING_KNOWN


def job(strategy: Any) -> Job:
    document = parse_document("jobs: {}", "x.yml", Kind.WORKFLOW)
    assert isinstance(document, Document)
    return Job(document, "x", {} if strategy is None else {"strategy": {"matrix": strategy}})


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (None, ({},)),
        ({"a": [1, 2]}, ({"a": 1}, {"a": 2})),
        (
            {"a": [1, 2], "b": ["x", "y"], "exclude": [{"a": 1, "b": "y"}]},
            ({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}),
        ),
        # The example of GitHub's own documentation.
        (
            {
                "fruit": ["apple", "pear"],
                "animal": ["cat", "dog"],
                "include": [
                    {"color": "green"},
                    {"color": "pink", "animal": "cat"},
                    {"fruit": "apple", "shape": "circle"},
                    {"fruit": "banana"},
                    {"fruit": "banana", "animal": "cat"},
                ],
            },
            (
                {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
                {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
                {"fruit": "pear", "animal": "cat", "color": "pink"},
                {"fruit": "pear", "animal": "dog", "color": "green"},
                {"fruit": "banana"},
                {"fruit": "banana", "animal": "cat"},
            ),
        ),
        ({"include": [{"a": 1}, {"a": 2}]}, ({"a": 1}, {"a": 2})),
        ("${{ fromJSON(needs.x.outputs.y) }}", None),
        ({"a": "${{ fromJSON(inputs.x) }}"}, None),
        ({"a": ["${{ github.x }}z"]}, None),
    ],
)
def test_combinations(strategy: Any, expected: Any) -> None:
    found = combinations(job(strategy), NOTHING_KNOWN)
    if expected is None and found is not None:
        assert [type(one["a"]).__name__ for one in found] == ["_Unknown"]
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"a": []}, "is empty"),
        ({"a": 1}, "is no list"),
        ({"a": [1], "exclude": [{"a": 1}]}, "is empty"),
        ({"a": list(range(17)), "b": list(range(17))}, "289 jobs"),
        ("text", "is no mapping"),
    ],
)
def test_a_matrix_that_github_refuses(strategy: Any, said: str) -> None:
    with pytest.raises(NotComputable, match=said):
        combinations(job(strategy), NOTHING_KNOWN)


def test_the_keys_of_a_matrix() -> None:
    assert keys(job({"A": [1], "include": [{"b": 1}], "exclude": []})) == {"a", "b"}
    assert keys(job("${{ x }}")) is None
    assert keys(job({"include": "${{ x }}"})) is None
    assert keys(job({"include": ["${{ x }}"]})) is None


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("main", ["main"], True),
        ("main", ["mai"], False),
        ("feature/a", ["feature/*"], True),
        ("feature/a/b", ["feature/*"], False),
        ("feature/a/b", ["feature/**"], True),
        ("releases/v1", ["*"], False),
        ("releases/v1", ["**"], True),
        ("v1.2.3", ["v[0-9]+.[0-9]+.[0-9]+"], True),
        ("v10.20.30", ["v[0-9]+.[0-9]+.[0-9]+"], True),
        ("v1x2.3", ["v[0-9]+.[0-9]+.[0-9]+"], False),
        ("v2", ["v[12]"], True),
        ("v1.10", ["v1.1?0"], True),
        ("v1.0", ["v1.1?0"], True),
        ("main", ["**", "!main"], False),
        ("main", ["!main", "**"], True),
        ("a+b", ["a\\+b"], True),
        ("x[", ["x["], True),
        ("", [], False),
    ],
)
def test_patterns(name: str, patterns: list[str], expected: bool) -> None:
    assert matches(name, patterns) is expected
