"""Repeatable flags, each with one value or several."""

from __future__ import annotations

import pytest

from pipeline.errors import OptionInvalid
from pipeline.flags import known_values, parts_of, values_of


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


def test_values_are_among_those_that_are_known() -> None:
    assert known_values("require", ["SBOM,lock"], ("lock", "sbom")) == ("sbom", "lock")
    assert parts_of([], ("a", "b")) == ("a", "b")
    assert parts_of(["b"], ("a", "b")) == ("b",)
    with pytest.raises(OptionInvalid, match="--require 'sbon' is not known"):
        known_values("require", ["sbon"], ("lock", "sbom"))
