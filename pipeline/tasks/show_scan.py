"""Scans as a table for people, JSON for programs, or SARIF for code hosts."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.errors import OptionInvalid, nearest
from pipeline.report import print_table
from pipeline.scan.findings import Severity
from pipeline.scan.run import FORMATS, ScanReport

_SHOWN = 50


def known_format(format: str, known: Sequence[str] = FORMATS) -> str:
    """Return a format of reports; raises `OptionInvalid` for any other."""
    if format not in known:
        raise OptionInvalid(
            f"format '{format}' is not known",
            hint=f"{nearest(format, known)} choose {', '.join(known)}".strip(),
        )
    return format


def report(done: ScanReport, *, format: str, output: Path | None) -> None:
    """Print the report, or write it to a file and say so."""
    if format == "sarif":
        data = done.to_sarif()
    elif format == "json":
        data = (json.dumps(done.to_json(), indent=2, ensure_ascii=False) + "\n").encode()
    else:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            _table(done)
        data = text.getvalue().encode()
    if output is None:
        print(data.decode(), end="")
        return
    write_atomically(output, data)
    print(f"{output}: {_verdict(done)}")


def _verdict(done: ScanReport) -> str:
    counts = [f"{len(done.judged.failing)} at {done.gate.name} or above"]
    counts += [f"{len(done.judged.excepted)} excepted", f"{len(done.judged.below)} below"]
    return ", ".join(counts)


def _table(done: ScanReport) -> None:
    severities = list(reversed(Severity))
    print_table(
        ("subject", *(severity.name.lower() for severity in severities), "excepted"),
        [
            (
                subject.name,
                *(str(done.count(subject.name, severity)) for severity in severities),
                str(sum(f.subject == subject.name for f, _ in done.judged.excepted)),
            )
            for subject in done.subjects
        ],
    )
    rows = [(f, "") for f in done.judged.failing]
    rows += [(f, f"excepted to {e.expiry}: {e.reason}") for f, e in done.judged.excepted]
    if rows:
        print()
        print_table(
            ("severity", "what", "where", "in", "fixed in", ""),
            [
                (
                    f.severity.name,
                    f.id,
                    f.place or f.path,
                    f.subject,
                    f.fixed or "-",
                    note or f.title[:60],
                )
                for f, note in rows[:_SHOWN]
            ],
        )
        if len(rows) > _SHOWN:
            print(f"and {len(rows) - _SHOWN} more: --format json has all")
    for stale in done.judged.stale:
        print(stale)
    print()
    scanner = f"Trivy {done.trivy}, database of {done.database:%Y-%m-%d}" if done.database else ""
    print("; ".join(part for part in (_verdict(done), scanner) if part))
