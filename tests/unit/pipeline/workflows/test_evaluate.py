"""What expressions come to: GitHub's documented rules, and what only a run can tell."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workflows.evaluate import (
    UNKNOWN,
    NotComputable,
    Partly,
    Scope,
    Status,
    as_text,
    evaluate,
    fill,
    holds,
)
from pipeline.workflows.expressions import ExpressionInvalid, parse

CONTEXTS: dict[str, Any] = {
    "github": Partly(ref="refs/heads/Main", event={"labels": [{"name": "a"}, {"name": "b"}]}),
    "inputs": {"empty": "", "no": False, "yes": True, "n": 3.0},
    "needs": {"x": {"result": "success"}, "y": {"result": "failure"}},
    "secrets": UNKNOWN,
}


def value(text: str, status: Status = Status.SUCCESS) -> Any:
    return evaluate(parse(text), Scope(CONTEXTS, status))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Comparisons: texts without case, other kinds as numbers.
        ("'Main' == 'main'", True),
        ("'1' == 1", True),
        ("null == 0", True),
        ("null == ''", True),
        ("true == 1", True),
        ("true == 'true'", False),
        ("'' == 0", True),
        ("'a' == 0", False),
        ("'0xff' == 255", True),
        ("NaN == NaN", False),
        ("'a' != 'A'", False),
        ("'b' > 'A'", True),
        ("'10' < 9", False),
        ("1 <= '1'", True),
        ("2 >= 3", False),
        ("github.event == github.event", True),
        ("github.event == fromJSON('{}')", False),
        # Values of && and ||.
        ("'' || 'x'", "x"),
        ("'y' || 'x'", "y"),
        ("'' && 'x'", ""),
        ("1 && 'x'", "x"),
        ("!''", True),
        ("!NaN", True),
        ("!github.event", False),
        # Properties.
        ("github.REF", "refs/heads/Main"),
        ("github['ref']", "refs/heads/Main"),
        ("github.event.none", None),
        ("github.event.none.more", None),
        ("github.event.labels[1].name", "b"),
        ("github.event.labels[7]", None),
        ("join(github.event.labels.*.name, '-')", "a-b"),
        ("join(github.event.labels.*.none)", ""),
        ("none.at.all", None),
        # Functions.
        ("contains('Hello', 'ELL')", True),
        ("contains(fromJSON('[\"a\", 1]'), '1')", True),
        ("contains(fromJSON('[\"abc\"]'), 'b')", False),
        ("contains(needs.*.result, 'failure')", True),
        ("startsWith(github.ref, 'REFS/')", True),
        ("endsWith('v1-rc', 'RC')", True),
        ("format('{0} {1} {{2}} {0}', 'a', 2)", "a 2 {2} a"),
        ("join(fromJSON('[1, true, null]'))", "1,true,"),
        ("join('x', '+')", "x"),
        ("fromJSON('3.5')", 3.5),
        ("fromJSON('true') && 'on'", "on"),
        ("toJSON('a')", '"a"'),
        ("case(false, 1, true, 2, 3)", 2.0),
        ("case(false, 1, 3)", 3.0),
        ("success()", True),
        ("failure()", False),
        ("always()", True),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_to_json_is_laid_out_as_github_does() -> None:
    assert value("toJSON(fromJSON('{\"a\":[1]}'))") == json.dumps({"a": [1]}, indent=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("secrets.x", UNKNOWN),
        ("github.sha", UNKNOWN),
        ("secrets.x == 'a'", UNKNOWN),
        ("secrets.x || 'all'", UNKNOWN),
        ("secrets.x && 'a' || 'b'", UNKNOWN),
        ("false && secrets.x", False),
        ("'a' || secrets.x", "a"),
        ("!secrets.x", UNKNOWN),
        ("!(secrets.x || true)", False),
        ("hashFiles('*.lock')", UNKNOWN),
        ("format('{0}', secrets.x)", UNKNOWN),
        ("contains(github.sha, 'a')", UNKNOWN),
        ("toJSON(github)", UNKNOWN),
        ("case(secrets.x, 1, 2)", UNKNOWN),
        ("secrets.*", UNKNOWN),
        ("github[secrets.x]", UNKNOWN),
    ],
)
def test_what_only_a_run_can_tell_is_never_guessed(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        ("true", Status.SUCCESS, True),
        ("true", Status.FAILURE, False),
        ("true", Status.SKIPPED, False),
        ("always()", Status.FAILURE, True),
        ("${{ !cancelled() && !failure() }}", Status.SKIPPED, True),
        ("${{ !cancelled() && !failure() }}", Status.FAILURE, False),
        ("failure()", Status.FAILURE, True),
        ("cancelled()", Status.CANCELLED, True),
        ("secrets.x", Status.SUCCESS, None),
        ("secrets.x && false", Status.SUCCESS, False),
        ("secrets.x || true", Status.SUCCESS, True),
        ("secrets.x && true", Status.SUCCESS, None),
        ("!(secrets.x && false)", Status.SUCCESS, True),
    ],
)
def test_conditions(text: str, status: Status, expected: bool | None) -> None:
    assert holds(text, Scope(CONTEXTS, status)) is expected


def test_a_lone_expression_keeps_its_kind_and_one_in_a_text_does_not() -> None:
    scope = Scope(CONTEXTS)
    assert fill("${{ inputs.yes }}", scope) is True
    assert fill("v${{ inputs.n }}-${{ inputs.no }}${{ inputs.empty }}", scope) == "v3-false"
    assert fill("plain", scope) == "plain"
    assert fill("x ${{ secrets.y }}", scope) is UNKNOWN


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1.0, "1"), (1.5, "1.5"), (math.nan, "NaN"), (-math.inf, "-Infinity"), (None, ""),
        (True, "true"), ([1], "Array"), ({}, "Object"), (1e21, "1E+21"), ("x", "x"),
    ],
)  # fmt: skip
def test_values_as_text(given: object, text: str) -> None:
    assert as_text(given) == text


@pytest.mark.parametrize(
    "text",
    [
        "fromJSON('nope')",
        "fromJSON('')",
        "format('{0} {1}', 'a')",
        "format('{', 'a')",
        "nothing('a')",
        "contains('a')",
        "case(true, 1, false, 2)",
        "always(1)",
    ],
)
def test_what_github_could_not_compute_is_said(text: str) -> None:
    with pytest.raises(NotComputable):
        value(text)


_NAMES = st.sampled_from(["github.ref", "secrets.x", "inputs.n", "needs.*.result", "null", "'a'"])
_TEXTS = st.recursive(
    _NAMES,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||", "==", "<"]), inner),
        st.builds("!{}".format, inner),
        st.builds("{}({}, {})".format, st.sampled_from(["contains", "join", "format"]), inner,
                  inner),
        st.builds("fromJSON({})".format, inner),
        st.builds("fromJSON(toJSON({}))[{}]".format, inner, inner),
    ),
    max_leaves=8,
)  # fmt: skip


@given(_TEXTS)
def test_every_expression_comes_to_a_value_or_to_its_own_error(text: str) -> None:
    with contextlib.suppress(NotComputable, ExpressionInvalid):
        found = value(text)
        assert found is UNKNOWN or isinstance(found, (type(None), bool, float, str, list, dict))
