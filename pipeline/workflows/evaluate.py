"""What an expression of GitHub's comes to, as far as that can be known before anything runs.

`UNKNOWN` stands for what only a run can tell: a secret, a step's output.  What depends on it is
unknown as well, unless it comes to the same either way (`false && unknown`).
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.workflows.expressions import (
    FUNCTIONS,
    Binary,
    Call,
    ExpressionInvalid,
    Index,
    Literal,
    Name,
    Node,
    Not,
    Property,
    Star,
    condition,
    parse,
    pieces,
    uses_status,
)


class _Unknown(enum.Enum):
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown.UNKNOWN


class Partly(dict[str, Any]):
    """An object of which only some properties are known: each other one is `UNKNOWN`."""


class _Filtered(list[Any]):
    """What `.*` gives: a property of it is that property of each of its items."""


class Status(enum.Enum):
    """How things went so far."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Nothing failed, and something that was waited for did not run."""


class NotComputable(ValueError):
    """An expression that GitHub could not compute either: text that is no JSON, say."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression sees."""

    contexts: Mapping[str, Any]
    status: Status = Status.SUCCESS


def evaluate(node: Node, scope: Scope) -> Any:
    """Return what `node` comes to: None, bool, float, str, list, dict or `UNKNOWN`.

    Raises `NotComputable`.
    """
    match node:
        case Literal(value):
            return value
        case Name(name):
            return scope.contexts.get(name)
        case Property(of, name):
            return _property(evaluate(of, scope), name)
        case Index(of, key):
            return _property(evaluate(of, scope), evaluate(key, scope))
        case Star(of):
            return _items(evaluate(of, scope))
        case Not():
            known = _truth_of(node, scope)
            return UNKNOWN if known is None else known
        case Binary(operator, left, right):
            return _binary(operator, left, right, scope)
        case Call(name, arguments):
            return _call(name, arguments, scope)


def fill(text: str, scope: Scope) -> Any:
    """Return a value of a workflow with its expressions computed: what one `${{ }}` by itself
    comes to, else a text; `UNKNOWN` where a part is.

    Raises `ExpressionInvalid` and `NotComputable`.
    """
    found = list(pieces(text))
    if len(found) == 1 and found[0].is_expression:
        return evaluate(parse(found[0].text), scope)
    values = [
        as_text(evaluate(parse(piece.text), scope)) if piece.is_expression else piece.text
        for piece in found
    ]
    known = [value for value in values if isinstance(value, str)]
    return "".join(known) if len(known) == len(values) else UNKNOWN


def holds(text: str, scope: Scope) -> bool | None:
    """Return whether an `if:` lets its job or step run, None where only a run can tell.

    Raises `ExpressionInvalid` and `NotComputable`.
    """
    tree = parse(condition(text))
    if not uses_status(tree) and scope.status is not Status.SUCCESS:
        return False
    return _truth_of(tree, scope)


def _truth_of(node: Node, scope: Scope) -> bool | None:
    """Return whether `node` counts as true: that may be known where its value is not."""
    match node:
        case Not(of):
            known = _truth_of(of, scope)
            return None if known is None else not known
        case Binary(("&&" | "||") as operator, left, right):
            deciding = operator == "||"
            first = _truth_of(left, scope)
            if first is deciding:
                return first
            second = _truth_of(right, scope)
            return second if second is deciding or first is not None else None
    return truth(evaluate(node, scope))


def truth(value: Any) -> bool | None:
    """Return whether a value counts as true, None for what is not known."""
    if value is UNKNOWN:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value != 0 and not math.isnan(value)
    if isinstance(value, (dict, list)):
        return True
    return bool(value)


def as_text(value: Any) -> Any:
    """Return what a value becomes inside of a text, `UNKNOWN` for what is not known."""
    if value is UNKNOWN:
        return UNKNOWN
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number_text(float(value))
    if isinstance(value, Mapping):
        return "Object"
    return value if isinstance(value, str) else "Array"


def _number_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}".replace("e+", "E+").replace("e-", "E-")


def as_number(value: Any) -> float:
    """Return a value as a number, not-a-number for what is none."""
    if value is None:
        return 0.0
    if isinstance(value, (bool, int, float)):
        return float(value)
    if not isinstance(value, str):
        return math.nan
    text = value.strip()
    if not text:
        return 0.0
    try:
        tree = parse(text)
    except ExpressionInvalid:
        return math.nan
    if isinstance(tree, Literal) and isinstance(tree.value, float):
        return tree.value
    return math.nan


def _property(of: Any, key: Any) -> Any:
    if of is UNKNOWN or key is UNKNOWN:
        return UNKNOWN
    if isinstance(of, _Filtered) and isinstance(key, str):
        values = (_property(item, key) for item in of if isinstance(item, Mapping))
        return _Filtered(value for value in values if value is not None)
    if isinstance(of, Mapping):
        wanted = as_text(key)
        if not isinstance(wanted, str):
            return UNKNOWN
        for name, value in of.items():
            if name.lower() == wanted.lower():
                return value
        return UNKNOWN if isinstance(of, Partly) else None
    if isinstance(of, list) and not isinstance(key, str):
        number = as_number(key)
        if number >= 0 and number == number // 1 and number < len(of):
            return of[int(number)]
    return None


def _items(of: Any) -> Any:
    if of is UNKNOWN or isinstance(of, Partly):
        return UNKNOWN
    if isinstance(of, Mapping):
        return _Filtered(of.values())
    return _Filtered(of) if isinstance(of, list) else _Filtered()


def _binary(operator: str, left: Node, right: Node, scope: Scope) -> Any:
    one = evaluate(left, scope)
    if operator in ("&&", "||"):
        known = truth(one)
        if known is None:
            return UNKNOWN  # One of both, whichever it is.
        return evaluate(right, scope) if known is (operator == "&&") else one
    other_value = evaluate(right, scope)
    if one is UNKNOWN or other_value is UNKNOWN:
        return UNKNOWN
    match operator:
        case "==":
            return loosely_equal(one, other_value)
        case "!=":
            return not loosely_equal(one, other_value)
    pair: tuple[Any, Any] = (as_number(one), as_number(other_value))
    if isinstance(one, str) and isinstance(other_value, str):
        pair = (one.upper(), other_value.upper())
    match operator:
        case "<":
            return pair[0] < pair[1]
        case "<=":
            return pair[0] <= pair[1]
        case ">":
            return pair[0] > pair[1]
    return pair[0] >= pair[1]


def loosely_equal(one: Any, other: Any) -> bool:
    """Return whether two known values are equal to GitHub: texts without regard to case, values
    of two kinds as numbers, objects only when they are the same one."""
    if isinstance(one, str) and isinstance(other, str):
        return one.upper() == other.upper()
    if isinstance(one, (dict, list)) or isinstance(other, (dict, list)):
        return one is other
    return as_number(one) == as_number(other)


def _call(name: str, arguments: Sequence[Node], scope: Scope) -> Any:
    if name not in FUNCTIONS:
        raise NotComputable(f"there is no function '{name}'")
    fewest, most = FUNCTIONS[name]
    if len(arguments) < fewest or (most is not None and len(arguments) > most):
        raise NotComputable(f"{name} has {len(arguments)} arguments")
    match name:
        case "always":
            return True
        case "success":
            return scope.status is Status.SUCCESS
        case "failure":
            return scope.status is Status.FAILURE
        case "cancelled":
            return scope.status is Status.CANCELLED
        case "case":
            return _case(arguments, scope)
    values = [evaluate(argument, scope) for argument in arguments]
    if name == "hashfiles" or any(value is UNKNOWN for value in values):
        return UNKNOWN
    match name:
        case "contains":
            return _contains(*values)
        case "startswith" | "endswith":
            text, part = str(as_text(values[0])).upper(), str(as_text(values[1])).upper()
            return text.startswith(part) if name == "startswith" else text.endswith(part)
        case "format":
            return _format(str(as_text(values[0])), values[1:])
        case "join":
            return _join(values[0], str(as_text(values[1])) if len(values) > 1 else ",")
        case "tojson":
            return UNKNOWN if _is_partly(values[0]) else json.dumps(_jsonable(values[0]), indent=2)
    return _from_json(str(as_text(values[0])))


def _case(arguments: Sequence[Node], scope: Scope) -> Any:
    if len(arguments) % 2 == 0:
        raise NotComputable("case ends with what holds when nothing else does")
    for question, answer in zip(arguments[:-1:2], arguments[1::2], strict=True):
        known = truth(evaluate(question, scope))
        if known is None:
            return UNKNOWN
        if known:
            return evaluate(answer, scope)
    return evaluate(arguments[-1], scope)


def _contains(where: Any, what: Any) -> Any:
    if isinstance(where, list):
        if any(item is not UNKNOWN and loosely_equal(item, what) for item in where):
            return True
        return UNKNOWN if any(item is UNKNOWN for item in where) else False
    if isinstance(where, Mapping):
        return False
    return str(as_text(what)).upper() in str(as_text(where)).upper()


_PLACE = re.compile(r"\{\{|\}\}|\{(\d{1,9})\}|[{}]")


def _format(text: str, values: Sequence[Any]) -> str:
    def place(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise NotComputable(f"format: a '{found[0]}' by itself in '{text[:60]}'")
        if int(found[1]) >= len(values):
            raise NotComputable(f"format: there is no value for {found[0]} in '{text[:60]}'")
        return str(as_text(values[int(found[1])]))

    return _PLACE.sub(place, text)


def _join(values: Any, separator: str) -> Any:
    if not isinstance(values, list):
        return as_text(values)
    if any(value is UNKNOWN for value in values):
        return UNKNOWN
    return separator.join(str(as_text(value)) for value in values)


def _is_partly(value: Any) -> bool:
    if value is UNKNOWN or isinstance(value, Partly):
        return True
    if isinstance(value, Mapping):
        return any(_is_partly(item) for item in value.values())
    return isinstance(value, list) and any(_is_partly(item) for item in value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and value == value // 1 and abs(value) < 1e15:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list) else value


def _from_json(text: str) -> Any:
    try:
        return _of_json(json.loads(text))
    except (ValueError, RecursionError):
        raise NotComputable(f"fromJSON: '{text[:60]}' is not JSON") from None


def _of_json(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, dict, list)):
        return value
    if isinstance(value, dict):
        return {key: _of_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_json(item) for item in value]
    try:
        return float(value)
    except OverflowError:
        return math.inf
