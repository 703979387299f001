"""zizmor, which knows how workflows are attacked: how to run it, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "zizmor"
# Files follow.
ARGUMENTS = ("--offline", "--format", "json", "--no-exit-codes", "--quiet")
PEDANTIC = ("--persona", "pedantic")


@dataclass(frozen=True, slots=True)
class Weakness:
    """One thing that it finds."""

    rule: str
    level: str
    """High, Medium, Low, Informational, Unknown."""
    path: str
    line: int
    """Counted from 1."""
    title: str
    url: str


def read(document: Any) -> Iterator[Weakness]:
    """Yield what its JSON says, but for what its own comments ignore.

    Raises `ValueError`, `KeyError`, `TypeError` or `IndexError` for JSON of another shape.
    """
    for found in document:
        if found.get("ignored"):
            continue
        places = found["locations"]
        place = next((p for p in places if p["symbolic"].get("kind") == "Primary"), places[0])
        local = place["symbolic"]["key"].get("Local") or {}
        yield Weakness(
            rule=str(found["ident"]),
            level=str(found["determinations"]["severity"]),
            # Without the `./` that it was given.
            path=str(Path(local.get("verbatim_path") or local.get("given_path") or ".")),
            # Rows count from 0 (tree-sitter).
            line=int(place["concrete"]["location"]["start_point"]["row"]) + 1,
            title=str(found["desc"]),
            url=str(found.get("url") or ""),
        )
