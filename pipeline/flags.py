"""What people write in repeatable flags: `--target a,b --target c`."""

from __future__ import annotations

from collections.abc import Sequence


def values_of(flags: Sequence[str]) -> list[str]:
    """Return the values of a repeatable flag, each of which may hold several with commas."""
    return [part.strip() for text in flags for part in text.split(",") if part.strip()]
