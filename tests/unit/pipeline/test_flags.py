"""Repeatable flags, each with one value or several."""

from __future__ import annotations

import pytest

from pipeline.flags import values_of


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a,b", "c"], ["a", "b", "c"]),
        ([" a , b "], ["a", "b"]),
        (["", ",", " , "], []),
        (["a,,b,"], ["a", "b"]),
    ],
)
def test_a_repeated_flag_holds_one_value_or_several(flags: list[str], values: list[str]) -> None:
    assert values_of(flags) == values
