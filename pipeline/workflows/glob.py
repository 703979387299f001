"""GitHub's patterns for branches, tags and paths.

`*` is anything but a slash, `**` anything, `?` and `+` repeat what stands before them, `[]` is one
of several characters; a pattern that begins with `!` takes away what earlier ones gave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Return whether the last pattern that fits `text` lets it in."""
    inside = False
    for pattern in patterns:
        if pattern.startswith("!"):
            inside = inside and not _expression(pattern[1:]).fullmatch(text)
        else:
            inside = inside or bool(_expression(pattern).fullmatch(text))
    return inside


def _expression(pattern: str) -> re.Pattern[str]:
    made = ""
    at = 0
    while at < len(pattern):
        here = pattern[at]
        if pattern.startswith("**", at):
            made += "(?:.*)"
            at += 1
        elif here == "*":
            made += "(?:[^/]*)"
        elif here in "?+":
            made += here if made and made[-1] not in "?+" else re.escape(here)
        elif here == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("^", "\\^")
            made += f"[{inside}]"
            at = end
        elif here == "\\" and at + 1 < len(pattern):
            at += 1
            made += re.escape(pattern[at])
        else:
            made += re.escape(here)
        at += 1
    try:
        return re.compile(made, re.S)
    except re.error:
        return re.compile(re.escape(pattern))
