"""What people see: progress while work goes on, tables and JSON when it is done.

Progress goes to stderr (bars on a terminal, a line a step elsewhere), results to
stdout, so that `invoke build --json | jq` works while somebody watches.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO


class Step(Protocol):
    """One piece of work in progress."""

    def advance(self, amount: float) -> None:
        """Say that `amount` more of the step's total is done."""
        ...

    def note(self, text: str) -> None:
        """Set what is said of the step when it ends."""
        ...


class Progress(Protocol):
    """Where work reports that it begins, goes on and ends. Safe for threads."""

    def step(
        self, title: str, *, total_bytes: int | None = None
    ) -> contextlib.AbstractContextManager[Step]:
        """Show `title` while the body runs."""
        ...

    def say(self, text: str) -> None:
        """Print one line."""
        ...


class _QuietStep:
    def __init__(self) -> None:
        self.text = ""
        self.done = 0.0
        self._lock = threading.Lock()

    def advance(self, amount: float) -> None:
        with self._lock:
            self.done += amount

    def note(self, text: str) -> None:
        self.text = text


class Lines:
    """A line when a step ends: for CI logs and files."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def step(self, title: str, *, total_bytes: int | None = None) -> Iterator[Step]:
        """Print `title` with its time when the body is done, and its note or else its bytes."""
        step = _QuietStep()
        begin = time.monotonic()
        yield step
        text = step.text
        if not text and total_bytes is not None:
            text = megabytes(round(step.done))
        note = f", {text}" if text else ""
        self.say(f"{title}: {time.monotonic() - begin:.1f} s{note}")

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            print(text, file=self._stream, flush=True)


class Silent:
    """Says nothing: for tests and for commands whose output is all that counts."""

    @contextlib.contextmanager
    def step(self, title: str, *, total_bytes: int | None = None) -> Iterator[Step]:
        """Run the body."""
        yield _QuietStep()

    def say(self, text: str) -> None:
        """Drop the line."""


class _BarStep:
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float) -> None:
        self._bars.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=text)


class Bars:
    """rich's progress bars: for terminals."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    @contextlib.contextmanager
    def step(self, title: str, *, total_bytes: int | None = None) -> Iterator[Step]:
        """Show a bar, or a pulse when the total is not known, while the body runs."""
        task = self._bars.add_task(title, total=total_bytes, note="", total_bytes=total_bytes)
        try:
            yield _BarStep(self._bars, task)
        finally:
            total = total_bytes or 1
            self._bars.update(task, total=total, completed=total)

    def say(self, text: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Yield the progress that fits stderr: bars on a terminal, lines elsewhere and in CI."""
    if not sys.stderr.isatty() or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.table import Column
    from rich.text import Text

    class Bytes(ProgressColumn):
        """`12.3 / 45.6 MB  8.1 MB/s`, while a step goes on whose total is known."""

        def render(self, task: Task) -> Text:
            total_bytes = task.fields["total_bytes"]
            if task.finished:
                return Text("" if task.fields["note"] else _bytes_total(total_bytes))
            return Text(bytes_done(total_bytes, task.completed, task.speed))

    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Bytes(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=False) as bars:
        yield Bars(bars)


def _bytes_total(total_bytes: int | None) -> str:
    return "" if total_bytes is None else megabytes(total_bytes)


def bytes_done(total_bytes: int | None, done: float, per_second: float | None) -> str:
    """Return how far a transfer is, and how fast; empty where nobody knows the total."""
    if total_bytes is None:
        return ""
    unit, name = (1000, "kB") if total_bytes < 1_000_000 else (1_000_000, "MB")
    rate = f"  {megabytes(round(per_second))}/s" if per_second else ""
    return f"{done / unit:.1f} / {total_bytes / unit:.1f} {name}{rate}"


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result for programs."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a result for people: aligned columns, bold heads on a terminal."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    print(f"{bold}{line(head)}{plain}")
    for row in rows:
        print(line(row))


def megabytes(size_bytes: int) -> str:
    """Return a size for people, in decimal units: `24.5 MB`."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1_000_000:.1f} MB"
