"""Quantities are compared as numbers, however they are written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from pipeline.kubernetes.quantities import quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-1", "-1"),
        ("+1", "1"),
        ("0", "0"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e0", "1"),
        ("5e-1", "0.5"),
        ("1E", "1000000000000000000"),
        ("128Mi", "134217728"),
        ("1.5Gi", "1610612736"),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1M", "1000000"),
        ("1G", "1000000000"),
        ("1T", "1000000000000"),
        ("1Ti", "1099511627776"),
        ("1P", "1000000000000000"),
        ("1Pi", "1125899906842624"),
        ("1Ei", "1152921504606846976"),
        ("250u", "0.00025"),
        ("7n", "0.000000007"),
        # As YAML has them.
        (2, "2"),
        (0.25, "0.25"),
    ],
)
def test_a_quantity_is_the_number_that_it_stands_for(text: Any, expected: str) -> None:
    assert quantity(text) == Decimal(expected)


@pytest.mark.parametrize(
    ("one", "other"), [("1Gi", "1024Mi"), ("1000m", "1"), ("1.1", "1100m"), ("1e3", "1k")]
)
def test_the_same_in_another_unit_is_the_same(one: str, other: str) -> None:
    assert quantity(one) == quantity(other)


@pytest.mark.parametrize(
    "text",
    [None, True, [], {}, "", ".", "m", "one", "1 Gi", "1gi", "1K", "1mi", "1e", "1e100", "1.2.3"],
)
def test_what_is_no_quantity_is_none(text: Any) -> None:
    assert quantity(text) is None


@pytest.mark.parametrize("text", ["1\n", " 1", "--1", "0x10", "1_000", "٣"])
def test_what_only_python_takes_for_a_number_is_none(text: str) -> None:
    assert quantity(text) is None
