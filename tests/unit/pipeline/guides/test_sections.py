"""Sections that code fills: found, replaced, and nothing touched where marks are wrong."""

from __future__ import annotations

import pytest

from pipeline.guides.sections import fill

RENDERS = {"one": lambda: "| new |\n|---|", "two": lambda: "text"}


def test_a_section_is_replaced_and_the_rest_is_kept() -> None:
    text = "a\n<!-- begin: one -->\nold\n<!-- end: one -->\nb\n"
    filled = fill("G.md", text, RENDERS)
    assert filled.text == ("a\n<!-- begin: one -->\n\n| new |\n|---|\n\n<!-- end: one -->\nb\n")
    assert filled.names == ("one",)
    assert not filled.findings
    assert fill("G.md", filled.text, RENDERS).text == filled.text


def test_a_guide_without_sections_is_as_it_was() -> None:
    assert fill("G.md", "a\n\n<!-- a comment -->\n", RENDERS).text == "a\n\n<!-- a comment -->\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- begin: three -->\n<!-- end: three -->", "1: section: nothing renders 'three'"),
        ("<!-- begin: one -->\nx", "1: section: 'one' has no end"),
        ("x\n<!-- end: one -->", "2: section: end of 'one', and nothing is open"),
        (
            "<!-- begin: one -->\n<!-- begin: two -->\n<!-- end: one -->",
            "2: section: begin of 'two', and 'one' of line 1 is open",
        ),
        (
            "<!-- begin: one -->\n<!-- end: two -->\n<!-- end: one -->",
            "2: section: end of 'two', and 'one' of line 1 is open",
        ),
    ],
)
def test_wrong_marks_are_said_and_the_text_is_left_alone(text: str, said: str) -> None:
    filled = fill("G.md", f"{text}\n", RENDERS)
    assert filled.text == f"{text}\n"
    assert str(filled.findings[0]).startswith(f"G.md:{said}")
