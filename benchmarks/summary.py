"""What paired runs say: ratios, what is beyond the noise, and the text for a pull request."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LIMIT = 65_000
"""What GitHub takes in a comment, less a little; characters."""
BEYOND = 0.05
"""What the median has to differ by, at least, to be marked."""
PAIRS = 5
"""Fewer pairs than this are on one side of 1 too easily: three are, one time in four."""
_REASON = 200


@dataclass(frozen=True, slots=True)
class Missing:
    """A side without values. `lacking`: that commit has no such command; else it failed."""

    reason: str
    lacking: bool

    def cell(self, where: str) -> str:
        """Return what the table says instead of a value."""
        return f"not in {where}" if self.lacking else f"failed in {where}"


Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measurement of two commits: the value of each run, pair by pair, or why there is none."""

    name: str
    unit: str
    """`seconds` or `bytes`."""
    base: Values | Missing
    head: Values | Missing

    @property
    def ratios(self) -> Values:
        """head / base of each pair; empty where a side is missing."""
        if isinstance(self.base, Missing) or isinstance(self.head, Missing):
            return ()
        return tuple(after / before for before, after in zip(self.base, self.head, strict=True))

    @property
    def verdict(self) -> str:
        """What is beyond the noise: every pair is on one side of 1, and the median well so."""
        ratios = self.ratios
        if len(ratios) < PAIRS:
            return ""
        ratio = statistics.median(ratios)
        worse, better = ("slower", "faster") if self.unit == "seconds" else ("more", "less")
        if min(ratios) > 1 and ratio > 1 + BEYOND:
            return worse
        if max(ratios) < 1 and ratio < 1 - BEYOND:
            return better
        return ""

    def row(self) -> tuple[str, str, str, str, str]:
        """Return a table's row: name, medians, ratio with its verdict, and its range."""
        ratio = span = ""
        if ratios := self.ratios:
            ratio = f"{statistics.median(ratios):.2f} {self.verdict}".rstrip()
            span = f"{min(ratios):.2f}-{max(ratios):.2f}"
        before = _cell(self.base, self.unit, "the base")
        return (self.name, before, _cell(self.head, self.unit, "this change"), ratio, span)


def _cell(side: Values | Missing, unit: str, where: str) -> str:
    if isinstance(side, Missing):
        return side.cell(where)
    return _shown(statistics.median(side), unit)


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / (1 << 20):.1f} MiB"
    if value < 0.01:
        return f"{value * 1000:.2f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


@dataclass(frozen=True, slots=True)
class Machine:
    """What everything was measured on."""

    cores: int
    python: str
    system: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured of two commits."""

    base: str
    head: str
    reference: str
    """What the user called the base."""
    runs: int
    machine: Machine
    comparisons: tuple[Comparison, ...]
    base_sizes: Mapping[str, int] | Missing
    head_sizes: Mapping[str, int] | Missing

    @property
    def pairs(self) -> str:
        """How many pairs there are: `5`, or `5 to 15`; `none` where a side lacks everything."""
        counts = sorted({len(one.ratios) for one in self.comparisons} - {0})
        return " to ".join(map(str, (counts[0], counts[-1])[: len(counts)])) if counts else "none"

    @property
    def problems(self) -> tuple[tuple[str, str, str], ...]:
        """Everything that failed: which side, what, why. What a commit lacks is no failure."""
        sides: list[tuple[str, object, object]] = [
            (one.name, one.base, one.head) for one in self.comparisons
        ]
        sides.append(("sizes", self.base_sizes, self.head_sizes))
        return tuple(
            (where, name, side.reason)
            for name, base, head in sides
            for where, side in (("the base", base), ("this change", head))
            if isinstance(side, Missing) and not side.lacking
        )

    def size_rows(self) -> list[tuple[str, str, str, str]]:
        """Return a table's rows: what, both sizes, and the exact difference."""
        before = {} if isinstance(self.base_sizes, Missing) else self.base_sizes
        after = {} if isinstance(self.head_sizes, Missing) else self.head_sizes
        rows = []
        for name in dict.fromkeys((*after, *before)):
            one, other = before.get(name), after.get(name)
            difference = ""
            if one is not None and other is not None:
                difference = f"{other - one:+,}" if other != one else "none"
            rows.append(
                (
                    name,
                    _size(one, self.base_sizes, "the base"),
                    _size(other, self.head_sizes, "this change"),
                    difference,
                )
            )
        return rows

    def document(self) -> dict[str, Any]:
        """Return everything for programs: each run's value, not only the medians."""

        def side(values: Values | Mapping[str, int] | Missing) -> Any:
            if isinstance(values, Missing):
                return {"lacking": values.lacking, "reason": values.reason}
            return dict(values) if isinstance(values, Mapping) else list(values)

        return {
            "base": self.base,
            "head": self.head,
            "reference": self.reference,
            "runs": self.runs,
            "machine": {
                "cores": self.machine.cores,
                "python": self.machine.python,
                "system": self.machine.system,
            },
            "measurements": [
                {
                    "name": one.name,
                    "unit": one.unit,
                    "base": side(one.base),
                    "head": side(one.head),
                    "ratio": statistics.median(one.ratios) if one.ratios else None,
                    "range": [min(one.ratios), max(one.ratios)] if one.ratios else None,
                    "verdict": one.verdict or None,
                }
                for one in self.comparisons
            ],
            "sizes": {"base": side(self.base_sizes), "head": side(self.head_sizes)},
        }


def _size(value: int | None, side: Mapping[str, int] | Missing, where: str) -> str:
    if value is not None:
        return f"{value:,}"
    return side.cell(where) if isinstance(side, Missing) else f"not in {where}"


HEAD = ("measurement", "base", "this change", "ratio", "range")
SIZES_HEAD = ("size", "base", "this change", "difference")


def markdown(report: Report) -> str:
    """Return the report as Markdown for a comment: at most LIMIT characters.

    Whatever people or programs have named is in code spans: it neither formats nor mentions.
    """
    base = f"`{report.base[:12]}`"
    if not report.base.startswith(report.reference):
        base += f" ({code(report.reference)})"
    lines = [
        "## Benchmarks: this change and its base",
        "",
        f"This change is `{report.head[:12]}`, its base {base}.",
        "",
    ]
    if report.base == report.head:
        lines += ["**Both are the same commit: every ratio here is this machine's noise.**", ""]
    rows = []
    for one in report.comparisons:
        name, before, after, ratio, span = one.row()
        rows.append((name, before, after, f"**{ratio}**" if one.verdict else ratio, span))
    lines += [*_table(HEAD, rows), ""]
    if sizes := report.size_rows():
        lines += [*_table(SIZES_HEAD, sizes), ""]
    for where, name, reason in report.problems:
        lines += [f"- {name} failed in {where}: {code(reason)}"]
    machine = report.machine
    lines += [
        *([""] if report.problems else []),
        f"{machine.cores} cores, Python {machine.python}, {machine.system}; "
        f"pairs of runs: {report.pairs}, base and change in turn, after one of each to warm up.",
        "",
        explanation(),
        "",
    ]
    return limited("\n".join(lines))


def explanation() -> str:
    """Return how to read the numbers."""
    return (
        "A ratio is change / base, the median of the pairs; the range is that of all pairs."
        " Machines are noisy: what counts is the ratio of paired runs, not the seconds."
        f" Bold is what is beyond the noise: {PAIRS} pairs or more, all on one side of 1, and the"
        f" median by more than {BEYOND:.0%}. Sizes are exact. No time fails a build."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    right = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, right, *rows)]


def code(text: str) -> str:
    """Return `text` as one code span of one line, also in a table, shortened if it is long."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(shown) > _REASON:
        shown = f"{shown[: _REASON - 1]}…"
    return f"`{shown.replace('`', chr(39)).replace('|', '¦') or ' '}`"


def limited(text: str) -> str:
    """Return `text`, cut after a line, and saying so, where GitHub would refuse all of it."""
    if len(text) <= LIMIT:
        return text
    end = "\n\nThe rest is longer than a comment may be: see the file of --json.\n"
    room = LIMIT - len(end)
    line_end = text.rfind("\n", 0, room + 1)
    return text[: room if line_end < 0 else line_end] + end
