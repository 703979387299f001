"""The places in guides that code fills, from `<!-- begin: NAME -->` to `<!-- end: NAME -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.findings import Finding

Render = Callable[[], str]

_MARK = re.compile(r"^<!-- (begin|end): ([a-z0-9-]+) -->$")


@dataclass(frozen=True, slots=True)
class Filled:
    """A guide as it should be, and what is wrong with its marks."""

    text: str
    names: tuple[str, ...]
    findings: tuple[Finding, ...]


def fill(name: str, text: str, renders: Mapping[str, Render]) -> Filled:
    """Return the text with every section rendered. Where marks are wrong the rest is kept."""
    kept: list[str] = []
    names: list[str] = []
    findings: list[Finding] = []
    opened: tuple[str, int] | None = None

    def wrong(line: int, message: str) -> None:
        findings.append(Finding(f"{name}:{line}", "section", message))

    for number, line in enumerate(text.splitlines(), 1):
        mark = _MARK.match(line)
        if mark is None:
            if opened is None:
                kept.append(line)
            continue
        kind, section = mark.groups()
        if kind == "begin" and opened is None:
            opened = (section, number)
            kept.append(line)
            if section in renders:
                kept += ["", *renders[section]().splitlines(), ""]
                names.append(section)
            else:
                wrong(number, f"nothing renders '{section}'; one of {', '.join(sorted(renders))}")
        elif kind == "end" and opened is not None and opened[0] == section:
            opened = None
            kept.append(line)
        else:
            inside = f"'{opened[0]}' of line {opened[1]} is open" if opened else "nothing is open"
            wrong(number, f"{kind} of '{section}', and {inside}")
            kept.append(line)
    if opened is not None:
        wrong(opened[1], f"'{opened[0]}' has no end; write <!-- end: {opened[0]} -->")
    if findings:
        # Half a guide must never be written.
        return Filled(text, tuple(names), tuple(findings))
    return Filled("\n".join(kept) + "\n", tuple(names), ())
