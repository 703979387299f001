"""YAML that people write, and one line about what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.yaml_text import NotYaml, load_marked, load_plain, plain


@pytest.mark.parametrize("load", [load_marked, load_plain])
@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: [1, 2\n", 3, "expected ',' or ']'"),
        ("a: 1\na: 2\n", 2, "found duplicate key"),
        ("a:\n\t- 1\n", 2, "cannot start any token"),
        ("a: \x00\n", None, "special characters are not allowed"),
    ],
)
def test_what_is_not_yaml_says_where(load: Any, text: str, line: int | None, reason: str) -> None:
    with pytest.raises(NotYaml) as caught:
        load(text)
    assert caught.value.line == line
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason


def test_a_place_is_that_of_the_file() -> None:
    assert NotYaml("why", 3).place("a.yaml") == "a.yaml:3"
    assert NotYaml("why", 3).place("a.yaml", 10) == "a.yaml:12"
    assert NotYaml("why", None).place("a.yaml", 10) == "a.yaml"


def test_data_with_its_lines_and_without() -> None:
    text = "base: &base {x: 1}\nmore:\n  <<: *base\n  y: 'two'\n"
    marked = load_marked(text)
    assert marked.lc.key("more")[0] == 1
    expected = {"base": {"x": 1}, "more": {"x": 1, "y": "two"}}
    assert plain(marked) == expected
    assert type(plain(marked)["more"]["y"]) is str
    assert load_plain(text) == expected
    assert load_plain("") is None
