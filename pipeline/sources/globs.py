"""Globs over paths of a root file system: `usr/lib/**`, `usr/share/doc/*/copyright`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def matcher(globs: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate for paths that match one of `globs`.

    `*` and `?` stay within a path component, `**` crosses them; `a/**` also matches `a`.
    """
    patterns = [_pattern(glob) for glob in globs]
    if not patterns:
        return lambda path: False
    compiled = re.compile("|".join(patterns), re.DOTALL)
    return lambda path: compiled.fullmatch(path) is not None


def _pattern(glob: str) -> str:
    pattern = ""
    if glob.endswith("/**"):
        return f"(?:{_pattern(glob[:-3])}(?:/.*)?)"
    for part in re.findall(r"\*\*/?|\*|\?|[^*?]+", glob):
        if part.startswith("**"):
            pattern += "(?:.*/)?" if part.endswith("/") else ".*"
        else:
            pattern += {"*": "[^/]*", "?": "[^/]"}.get(part) or re.escape(part)
    return f"(?:{pattern})"
