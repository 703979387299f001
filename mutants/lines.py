"""Where a file of one setting a line can be spoiled: .dockerignore, redis.conf, .env.example.

Left alone are comments and blank lines: nothing reads them.  (A variable of .env.example that is
commented out is documentation with its default, and is looked at.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutants.mutant import Edit
from mutants.words import booleans, digests, numbers

_VARIABLE = re.compile(r"#?[A-Z][A-Z0-9_]*=")


def _is_setting(line: str) -> bool:
    return bool(_VARIABLE.match(line) or (line.strip() and not line.startswith("#")))


def meaning(text: str) -> list[str]:
    """Return the settings."""
    return [line.strip() for line in text.splitlines() if _is_setting(line)]


def edits(text: str) -> Iterator[Edit]:
    """Yield every edit of a file of settings."""
    at = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        if not _is_setting(line):
            continue
        yield begin, at, "", "gone"
        for start, end, other in (*digests(line), *numbers(line), *booleans(line)):
            title = f"{line[start:end][-12:]} is {other[-12:]}"
            yield begin + start, begin + end, other, title
        if line.startswith("!"):
            yield begin, begin + 1, "", "kept out instead of in"
