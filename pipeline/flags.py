"""What people write in repeatable flags: `--target a,b --target c`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import OptionInvalid, nearest


def values_of(flags: Sequence[str]) -> list[str]:
    """Return the values of a repeatable flag, each of which may hold several with commas."""
    return [part.strip() for text in flags for part in text.split(",") if part.strip()]


def places_of(text: str) -> list[str]:
    """Return the places of an argument that may name several with commas; a folder whose own name
    has one is one place."""
    return [text] if Path(text).exists() else values_of([text]) or [text]


def known_values(flag: str, given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the values of a repeatable flag, in lower case; raises `OptionInvalid` for one that
    is not among `known`."""
    values = tuple(value.lower() for value in values_of(given))
    for value in values:
        if value not in known:
            raise OptionInvalid(
                f"--{flag} '{value}' is not known",
                hint=f"{nearest(value, known)} choose {', '.join(known)}".strip(),
            )
    return values


def parts_of(only: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that `--only` names, all of them where it names none.

    Raises `OptionInvalid` for one that there is not.
    """
    return known_values("only", only, known) or tuple(known)


def seconds(flag: str, text: str) -> float:
    """A flag's seconds. Raises OptionInvalid."""
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or float(text) == 0:
        raise OptionInvalid(f"{flag}={text!r} is no time", hint="give seconds, such as 60")
    return float(text)


def count(flag: str, text: str) -> int:
    """A flag's number of lines. Raises OptionInvalid."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise OptionInvalid(f"{flag}={text!r} is no number", hint="give a number of lines")
    return int(text)


def positive(flag: str, text: str) -> int:
    """A flag's whole number from 1. Raises OptionInvalid."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise OptionInvalid(f"{flag}={text!r} is no number", hint="give a whole number from 1")
    return int(text)


def pairs_of(flag: str, given: Sequence[str]) -> dict[str, str]:
    """The NAME=VALUE of a repeatable flag, whose values may hold anything. Raises OptionInvalid."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            raise OptionInvalid(f"{flag} {text!r} is no NAME=VALUE", hint="such as push=true")
        found[name] = value
    return found
