"""What people write in repeatable flags: `--target a,b --target c`."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import OptionInvalid, nearest


def values_of(flags: Sequence[str]) -> list[str]:
    """Return the values of a repeatable flag, each of which may hold several with commas."""
    return [part.strip() for text in flags for part in text.split(",") if part.strip()]


def parts_of(only: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that `--only` names, all of them where it names none.

    Raises `OptionInvalid` for one that there is not.
    """
    asked = values_of(only)
    for part in asked:
        if part not in known:
            raise OptionInvalid(
                f"--only '{part}' is not known",
                hint=f"{nearest(part, known)} choose {', '.join(known)}".strip(),
            )
    return tuple(asked) or tuple(known)
