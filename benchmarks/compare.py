"""`nox -s bench -- compare --base REF`: this commit beside the one that it is based on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import summary
from benchmarks.measurements import (
    MEASUREMENTS,
    Measurement,
    Reading,
    Unmeasured,
    sizes,
    write_description,
)
from benchmarks.summary import Comparison, Machine, Missing, Report
from benchmarks.trees import Refused, Tree, checked_out, resolve
from pipeline.atomic import write_atomically, writing
from pipeline.errors import PipelineError
from pipeline.github import write_summary
from pipeline.report import Progress, Step, print_table, progress
from pipeline.revision import read_revision

ROOT = Path(__file__).resolve().parents[1]
REFUSED = 2
INTERRUPTED = 130


def alternate(
    measurement: Measurement, trees: tuple[Tree, Tree], runs: int, on_pair: Callable[[int], None]
) -> tuple[Comparison, ...]:
    """Run base, head, base, head …: `runs` pairs that count, after one that warms up.

    Returns the comparison of times and that of memory; the latter only where both have run. A
    side that fails once is missing, and the other one goes on alone.
    """
    readings: tuple[list[Reading], list[Reading]] = ([], [])
    missing: list[Missing | None] = [None, None]
    for number in range(runs + 1):
        for side, tree in enumerate(trees):
            if missing[side] is not None:
                continue
            try:
                measurement.before(tree)
                reading = measurement.run(tree)
            except Unmeasured as error:
                missing[side] = Missing(error.reason, error.lacking)
                continue
            if number:
                readings[side].append(reading)
        on_pair(number)
    base, head = (
        problem or tuple(reading.seconds for reading in readings[side])
        for side, problem in enumerate(missing)
    )
    times = Comparison(measurement.name, "seconds", base, head)
    if any(missing):
        return (times,)
    peaks = [tuple(float(reading.peak_bytes) for reading in side) for side in readings]
    return (times, Comparison(f"{measurement.name}: peak memory", "bytes", *peaks))


def measure(trees: tuple[Tree, Tree], reference: str, runs: int, progress: Progress) -> Report:
    """Measure all of it, in turn."""
    write_description(trees)
    comparisons: list[Comparison] = []
    for measurement in MEASUREMENTS:
        with progress.step(measurement.name) as step:
            pairs = runs * measurement.pairs
            comparisons += alternate(measurement, trees, pairs, _noting(step, pairs))
    with progress.step("sizes"):
        base_sizes, head_sizes = (_sizes(tree) for tree in trees)
    return Report(
        base=trees[0].commit,
        head=trees[1].commit,
        reference=reference,
        runs=runs,
        machine=machine(),
        comparisons=tuple(comparisons),
        base_sizes=base_sizes,
        head_sizes=head_sizes,
    )


def _noting(step: Step, runs: int) -> Callable[[int], None]:
    def note(number: int) -> None:
        step.note(f"pair {number} of {runs}" if number else "warmed up")

    return note


def _sizes(tree: Tree) -> Mapping[str, int] | Missing:
    try:
        return sizes(tree)
    except Unmeasured as error:
        return Missing(error.reason, error.lacking)


def machine() -> Machine:
    """Return what this process runs on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
    )


def main(arguments: Sequence[str]) -> int:
    """Compare; return 0, 1 where this change does not run, 2 where there is nothing to compare."""
    given = _parser().parse_args(arguments)
    # A CI that cancels a job is patient for some seconds: enough to remove two trees.
    signal.signal(signal.SIGTERM, _end)
    try:
        return _compare(given)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was checked out is removed", file=sys.stderr)
        return INTERRUPTED


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _compare(given: argparse.Namespace) -> int:
    outputs = [path for path in (given.markdown, given.json) if path is not None]
    for path in outputs:
        with writing(path):
            if path.is_dir():
                raise Refused(f"{path} is a folder; name a file")
    base, head = resolve(ROOT, given.base)
    for path in outputs:
        _check_writable(path)
    if read_revision(ROOT).dirty:
        print("changes that are not committed are not measured", file=sys.stderr)
    with progress() as shown, checked_out(ROOT, base, head) as trees:
        report = measure(trees, given.base, given.runs, shown)
    show(report)
    text = summary.markdown(report)
    if given.markdown is not None:
        write_atomically(given.markdown, text.encode())
    if given.json is not None:
        document = json.dumps(report.document(), indent=2, ensure_ascii=False)
        write_atomically(given.json, f"{document}\n".encode())
    write_summary(text, os.environ)
    return 1 if any(where == "this change" for where, _, _ in report.problems) else 0


def _check_writable(path: Path) -> None:
    """Raise `OutputUnwritable` now, rather than after all measurements."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # As a file is replaced: beside it, under a name that is a little longer.
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
            pass


def show(report: Report) -> None:
    """Print the report for people."""
    if report.base == report.head:
        print("both are the same commit: every ratio here is this machine's noise\n")
    print_table(summary.HEAD, [one.row() for one in report.comparisons])
    print()
    print_table(summary.SIZES_HEAD, report.size_rows())
    for where, name, reason in report.problems:
        print(f"error: {name} failed in {where}: {summary.code(reason)[1:-1]}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s bench -- compare", description="This commit beside the one it is based on."
    )
    parser.add_argument(
        "--base",
        metavar="REF",
        required=True,
        help="a branch, tag or commit; what is measured is where HEAD left it",
    )
    parser.add_argument(
        "--runs",
        type=_positive,
        default=5,
        metavar="N",
        help="pairs that count, three times as many of what is quick (default: 5)",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write a summary for a comment there, too"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the value of every run there, too"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return number
