"""One spoiled file, and how a text is spoiled at a place of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Edit = tuple[int, int, str, str]
"""Where a text is changed (from an index up to another), what is there then, and a title."""
Meaning = Callable[[str], object]
"""What a text says, in a form that can be compared; ValueError for one that nobody can read."""
_SHOWN_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class Mutant:
    """One spoiled file, below the repository. `line` is 0 where all of it is."""

    path: Path
    line: int
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.title}"


def empty(path: Path) -> Mutant:
    """Return the mutant of a file that says nothing any more."""
    return Mutant(path, 0, "empty", "")


def spoiled(path: Path, text: str, edit: Edit, meaning: Meaning) -> Mutant | None:
    """Return the mutant of an edit; None where nobody can read it, or where it means the same.

    What is spoiled is shown as it stood.
    """
    begin, end, instead, title = edit
    changed = text[:begin] + instead + text[end:]
    try:
        if meaning(changed) == meaning(text):
            return None
    except ValueError:
        return None
    return Mutant(path, text.count("\n", 0, begin) + 1, f"{title}: {_shown(text, begin)}", changed)


def _shown(text: str, index: int) -> str:
    """Return the line that has the character at `index`, without its blanks, cut where long."""
    begin = text.rfind("\n", 0, index) + 1
    return text[begin:].partition("\n")[0].strip()[:_SHOWN_CHARACTERS]
