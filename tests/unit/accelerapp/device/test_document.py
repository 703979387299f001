from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerapp.device.document import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    DescriptionUnreadable,
    Node,
    Syntax,
    read,
)


def value(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: value(part) for key, part in node.value.items()}
    if isinstance(node.value, list):
        return [value(part) for part in node.value]
    return node.value


def refusal(text: str | bytes, syntax: Syntax = "yaml") -> str:
    with pytest.raises(DescriptionUnreadable) as caught:
        read(text, syntax)
    [problem] = caught.value.problems
    line = str(problem)
    assert "\n" not in line
    assert len(line) < 400
    return line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("012", 12),
        ("0o14", 12),
        ("0x76", 0x76),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("2026-01-01", "2026-01-01"),
        ("'4'", "4"),
        ('"true"', "true"),
        ("|\n a\n b\n", "a\nb\n"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    found = read(text).value
    assert found == expected
    assert type(found) is type(expected)


def test_places_count_from_one() -> None:
    node = read("a:\n  - b: 1\n    c: [x, y]\n").value["a"].value[0]
    assert (node.line, node.column) == (2, 5)
    assert node.keys == {"b": (2, 5), "c": (3, 5)}
    assert (node.value["c"].value[1].line, node.value["c"].value[1].column) == (3, 12)


def test_places_in_json() -> None:
    node = read('{"a": [\n  1,\n  {"b": 2}]}', "json")
    inner = node.value["a"].value[1]
    assert (inner.line, inner.column) == (3, 3)
    assert inner.keys == {"b": (3, 4)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no description"),
        ("# nothing\n", "there is no description"),
        ("a: &x 1\n", "line 1: anchors are not read"),
        ("a: 1\nb: *x\n", "line 2: aliases are not read"),
        ("a: !!python/object:os.system x\n", "line 1: tags such as"),
        ("<<: {a: 1}\n", "merge keys"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice, first in line 1"),
        ("--- 1\n--- 2\n", "line 2: a second document"),
        ("? [a]\n: 1\n", "cannot be a name"),
        ("a: [1\n", "not YAML"),
        ("a: b: c\n", "line 1: not YAML"),
        ("\ta: 1\n", "not YAML"),
        (".inf", "no number"),
        ("9" * 41, "a number of 41 characters"),
        ("1e999", "too large"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"a: 1\nb: \xff\n", "line 2: a byte here is not UTF-8"),
        ("a: \x00", "line 1: the character U+0000"),
        ("a: 1\nb: \x1b[2J", "line 2: the character U+001B"),
        ("a: \ud800", "half a surrogate"),
        ("x" * (MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_not_read_says_where_and_why(text: str | bytes, reason: str) -> None:
    assert reason in refusal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a value, found the end"),
        ('{"a": 1,}', "expected a name in quotes"),
        ("[1 2]", "expected ',' or ']'"),
        ('{"a" 1}', "expected ':'"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("NaN", "expected a value"),
        ("01", "something follows"),
        ('"a', "not JSON"),
        ('"\\ud800"', "surrogate"),
        ("1e999", "too large"),
        ("{} {}", "something follows"),
        ("'a'", "expected a value"),
        ("9" * 41, "41 characters"),
    ],
)
def test_what_is_no_json(text: str, reason: str) -> None:
    assert reason in refusal(text, "json")


@pytest.mark.parametrize("syntax", ["yaml", "json"])
def test_nesting_and_number_have_an_end(syntax: Syntax) -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read(deep, syntax)
    assert "nested more than" in refusal(f"[{deep}]", syntax)
    assert "nested more than" in refusal("[" * 60_000, syntax)
    wide = "[" + ",".join(["1"] * (MAX_NODES - 1)) + "]"
    assert read(wide, syntax)
    assert "more than" in refusal(wide[:-1] + ",1]", syntax)


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = 'a: &a ["x"]\n' + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(1000))
    assert "line 1: anchors" in refusal(bomb)


@pytest.mark.parametrize("text", ["? " * 30_000, "- " * 30_000, "{" * 60_000, "a: " * 20_000])
def test_hostile_shapes_take_no_time(text: str) -> None:
    begin_s = time.process_time()
    refusal(text)
    # A bound against what is quadratic, far above what a slow machine needs.
    assert time.process_time() - begin_s < 5


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(-1e6, 1e6, width=32)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text("abcdefgh", min_size=1, max_size=5), inner, min_size=0, max_size=3
        )
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_json_is_read_as_the_standard_library_reads_it(document: object) -> None:
    text = json.dumps(document, ensure_ascii=False)
    try:
        same = value(read(text, "json")) == document
    except DescriptionUnreadable as error:
        # The one thing that is refused for its look: characters nobody can see.
        same = "cannot be read; remove it" in str(error)
    assert same


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)), st.sampled_from(["yaml", "json"]))
def test_anything_is_a_tree_or_one_line(text: str | bytes, syntax: Syntax) -> None:
    try:
        found = isinstance(read(text, syntax), Node)
    except DescriptionUnreadable as error:
        found = "\n" not in str(error)
    assert found
