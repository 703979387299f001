"""GitHub's expressions, read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workflows.expressions import (
    Binary,
    Call,
    ExpressionInvalid,
    Index,
    Literal,
    Name,
    Not,
    Property,
    Star,
    chains,
    condition,
    parse,
    path_of,
    pieces,
    uses_status,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("true", True),
        ("false", False),
        ("711", 711.0),
        ("-9.2", -9.2),
        ("0xff", 255.0),
        ("0o17", 15.0),
        ("-2.99e-2", -0.0299),
        ("+1", 1.0),
        (".5", 0.5),
        ("Infinity", float("inf")),
        ("-Infinity", float("-inf")),
        ("'it''s'", "it's"),
        ("''", ""),
        ("('x')", "x"),
    ],
)
def test_literals(text: str, value: object) -> None:
    assert parse(text) == Literal(value)  # type: ignore[arg-type]


def test_not_a_number_is_a_literal() -> None:
    tree = parse("NaN")
    assert isinstance(tree, Literal)
    assert tree.value != tree.value


def test_names_properties_indexes_and_everything() -> None:
    a = Name("github", 0)
    assert parse("GitHub") == a
    assert parse("github.event-name") == Property(a, "event-name")
    assert parse("github['ref']") == Index(a, Literal("ref"))
    assert parse("github.*.x") == Property(Star(a), "x")
    assert parse("github[*]") == Star(a)
    assert parse("github.a.b") == Property(Property(a, "a"), "b")


def test_operators_bind_as_they_do_at_github() -> None:
    a, b, c = (Literal(float(n)) for n in (1, 2, 3))
    assert parse("1 || 2 && 3") == Binary("||", a, Binary("&&", b, c))
    assert parse("1 == 2 < 3") == Binary("==", a, Binary("<", b, c))
    assert parse("!1 == 2") == Binary("==", Not(a), b)
    assert parse("(1 || 2) && 3") == Binary("&&", Binary("||", a, b), c)
    assert parse("1 && 2 && 3") == Binary("&&", Binary("&&", a, b), c)


def test_functions() -> None:
    assert parse("always()") == Call("always", (), 0)
    assert parse("startsWith( 'a','b' )") == Call("startswith", (Literal("a"), Literal("b")), 0)
    assert parse("fromJSON('[]')[0]") == Index(Call("fromjson", (Literal("[]"),), 0), Literal(0.0))


@pytest.mark.parametrize(
    ("text", "at", "reason"),
    [
        ("", 0, "there is no expression"),
        ("  ", 0, "there is no expression"),
        ("a ==", 4, "ends too early"),
        ("a = b", 2, "'=' is no operator"),
        ("a & b", 2, "'&' is no operator"),
        ('a == "b"', 5, "double quotes"),
        ("'abc", 0, "nothing closes"),
        ("a b", 2, "'b' is not expected"),
        ("f(a,)", 4, "')' is not expected"),
        ("f(a", 3, "ends too early"),
        ("a.", 2, "ends too early"),
        ("a[1", 3, "ends too early"),
        ("a..b", 2, "'.' is not expected"),
        ("a + b", 2, "'+' means nothing"),
        ("1abc", 0, "'1' means nothing"),
        ("true.x", 4, "'.' is not expected"),
        ("(" * 60 + "a" + ")" * 60, 50, "nested more than 50"),
        ("a" + ".b" * 60, 103, "nested more than 50"),
        ("a" * 21_001, 21_000, "longer than 21000"),
    ],
)
def test_what_is_no_expression_is_refused_where_it_is_wrong(
    text: str, at: int, reason: str
) -> None:
    with pytest.raises(ExpressionInvalid) as refused:
        parse(text)
    assert reason in refused.value.reason
    assert refused.value.at == at


def test_a_text_in_pieces() -> None:
    found = [(p.text, p.at, p.is_expression) for p in pieces("a ${{ b }}${{ '}}' }} c")]
    assert found == [("a ", 0, False), (" b ", 5, True), (" '}}' ", 13, True), (" c", 21, False)]
    with pytest.raises(ExpressionInvalid, match="without its"):
        list(pieces("a ${{ b"))


def test_a_condition_needs_no_braces_and_must_not_have_anything_beside_them() -> None:
    assert condition("a == b") == "a == b"
    assert condition(" ${{ a }} ") == " a "
    for text in ("${{ a }} && b", "! ${{ a }}", "${{ a }}${{ b }}"):
        with pytest.raises(ExpressionInvalid, match="always true"):
            condition(text)


def test_what_chains_name() -> None:
    tree = parse("contains(needs.*.result, steps['x'].outputs[matrix.y]) && !env.z")
    assert [path for _, path in chains(tree)] == [
        ("needs", "*", "result"),
        ("steps", "x", "outputs", None),
        ("matrix", "y"),
        ("env", "z"),
    ]
    assert path_of(parse("f().x")) == ()


def test_conditions_that_ask_how_things_went() -> None:
    assert uses_status(parse("a && !cancelled()"))
    assert not uses_status(parse("contains(a, 'always()')"))


@given(st.text(alphabet="ab.*[]()'!&|=<>,01xe-+ \n\"{}$", max_size=50))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        parse(text)
        list(pieces(text))
        condition(text)
    except ExpressionInvalid as refused:
        where = refused.at
    else:
        where = 0
    assert 0 <= where <= len(text)
