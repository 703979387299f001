"""What people write in repeatable flags: `--target a,b --target c`."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import OptionInvalid, nearest


def values_of(flags: Sequence[str]) -> list[str]:
    """Return the values of a repeatable flag, each of which may hold several with commas."""
    return [part.strip() for text in flags for part in text.split(",") if part.strip()]


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
