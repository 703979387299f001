"""Where a chart's templates can be spoiled, line by line.

A mutant is one change that a careless hand could make: a line that is gone, a number that is
another, a condition that is turned round, a check that is not made, a file that is empty.
Comments and indentations are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutants.mutant import Edit

_COMMENT = re.compile(r"^\s*(#|\{\{-? */\*)")
_OPENING = re.compile(r"\{\{-? *(if|else if|with|range) (.*?) *-?\}\}")
_NUMBER = re.compile(r"(?<![\w.{$/:-])(\d+)(?![\w./:-])")
_INDENT = re.compile(r"n?indent \d+")
"""One more blank of it is the same YAML."""
_TEMPLATE_LINE = re.compile(r"^\s*\{\{.*\}\}\s*$")


def edits(text: str) -> Iterator[Edit]:
    """Yield every edit of a template."""
    comment = False
    at = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        comment = comment or "/*" in line
        if comment or not line.strip() or _COMMENT.match(line):
            comment = comment and "*/" not in line
            continue
        for title, other in _of_line(line):
            yield begin, at, other, title


def meaning(text: str) -> str:
    """Return the text: what it means only helm can say, with values."""
    return text


def _says_something(line: str) -> bool:
    """Whether a line can go by itself: one that opens a block of YAML would take that with it."""
    if re.match(r"^\s*[\w./-]+:\s*$", line):
        return False
    return not _TEMPLATE_LINE.match(line) or "include" in line or "toYaml" in line


def _of_line(line: str) -> Iterator[tuple[str, str]]:
    if opening := _OPENING.search(line):
        keyword, condition = opening[1], opening[2]
        if keyword in ("if", "else if"):
            turned = f"{{{{- {keyword} not ({condition}) }}}}"
            yield "turned round", line.replace(opening[0], turned)
        elif keyword == "with":
            yield "never", line.replace(opening[0], '{{- with "" }}')
        elif not re.match(r"\$\w+, \$\w+ :=|\$\w+ :=", condition):
            yield "never", line.replace(opening[0], "{{- range list }}")
    elif "append $wrong" in line:
        yield "not checked", "\n"
    elif _says_something(line):
        yield "gone", ""
    if not _OPENING.search(line):
        for match in _NUMBER.finditer(_INDENT.sub(lambda m: "x" * len(m[0]), line)):
            other = str(int(match[1]) + 1)
            yield f"{match[1]} is {other}", line[: match.start()] + other + line[match.end() :]
        for word, other in (("true", "false"), ("false", "true")):
            if re.search(rf": {word}\s*$", line):
                yield f"{word} is {other}", line.replace(f": {word}", f": {other}")
