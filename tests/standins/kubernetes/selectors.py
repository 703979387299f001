"""Label selectors and field selectors, as they stand in a request's query."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.standins.kubernetes.resources import Object
from tests.standins.kubernetes.status import bad_request

Picks = Callable[[Object], bool]

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_TERMS = re.compile(
    rf"\s*(?:(?P<key>{_KEY})\s+(?P<verb>in|notin)\s*\((?P<values>[^)]*)\)"
    rf"|(?P<left>{_KEY})\s*(?P<sign>==|=|!=)\s*(?P<right>[-A-Za-z0-9_.]*)"
    rf"|(?P<absent>!?)\s*(?P<only>{_KEY}))\s*(?:,|$)"
)


def label_selector(text: str) -> Picks:
    """Return what `labelSelector=` picks. Raises Refusal (400) for what is none."""
    tests: list[Callable[[dict[str, str]], bool]] = []
    at = 0
    while at < len(text):
        term = _TERMS.match(text, at)
        if term is None:
            raise bad_request(f"unable to parse requirement: {text[at:]!r}")
        tests.append(_test(**{name: value or "" for name, value in term.groupdict().items()}))
        at = term.end()
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def _test(
    key: str, verb: str, values: str, left: str, sign: str, right: str, absent: str, only: str
) -> Callable[[dict[str, str]], bool]:
    if verb:
        listed = {value.strip() for value in values.split(",")}
        return lambda labels: (labels.get(key) in listed) == (verb == "in")
    if sign:
        return lambda labels: (labels.get(left) == right) == (sign != "!=")
    return lambda labels: (only in labels) != bool(absent)


def field_selector(text: str) -> Picks:
    """Return what `fieldSelector=` picks: any field by its dotted name, "" where it is not."""
    tests: list[tuple[list[str], bool, str]] = []
    for term in filter(None, text.split(",")):
        name, sign, value = re.split(r"(!=|==|=)", term, maxsplit=1)
        tests.append((name.split("."), sign != "!=", value))

    def field(obj: Any, names: list[str]) -> str:
        for name in names:
            obj = obj.get(name, "") if isinstance(obj, dict) else ""
        return str(obj)

    return lambda obj: all((field(obj, names) == value) == same for names, same, value in tests)
