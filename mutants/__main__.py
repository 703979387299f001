"""Spoil files, one place at a time, and say what no test notices.

Exit codes: 0 enough is noticed, 1 too little, 2 the tests fail on what nobody spoiled or none
runs, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from mutants.judge import ROOT, NothingRan, Verdict, check_sound, copy_repository, judge, stop
from mutants.kinds import KINDS, Kind
from mutants.mutant import Mutant

FLOOR = 0.95
"""The share that tests have to notice."""
_SAMPLE = 40
Asked = list[tuple[Kind, Mutant]]


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Asked]:
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    names = [kind.name for kind in KINDS]
    parser.add_argument(
        "--kind", action="append", choices=names, help="only this kind; can be given several times"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--sample", type=int, default=_SAMPLE, help=f"so many of each kind (default: {_SAMPLE})"
    )
    size.add_argument("--all", action="store_true", help="every mutant: hours of it")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="copies that are tested at once (default: one a processor)",
    )
    parser.add_argument("--json", action="store_true", help="the report, for programs")
    parser.add_argument("--list", action="store_true", help="show the mutants and test none")
    parser.add_argument("files", nargs="*", help="only files whose path ends so")
    asked = parser.parse_args(argv)
    if asked.sample < 1 or asked.workers < 1:
        parser.error("--sample and --workers are numbers from 1 on")
    chosen: Asked = []
    for kind in KINDS:
        if asked.kind and kind.name not in asked.kind:
            continue
        size_wanted = None if asked.all else asked.sample
        only = tuple(asked.files) or ("",)
        found = kind.mutants(ROOT, size=size_wanted, seed=asked.seed, only=only)
        chosen += [(kind, mutant) for mutant in found]
    if not chosen:
        parser.error("there is nothing to spoil")
    return asked, chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Print each survivor and the shares that were noticed; exit code 1 below the floor."""
    asked, chosen = _arguments(argv)
    if asked.list:
        for kind, mutant in chosen:
            print(f"{kind.name}: {mutant}")
        return 0
    # As Ctrl-C: tests run in sessions of their own, and nobody else would end them.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        verdicts = _tested(chosen, asked.workers)
    except KeyboardInterrupt:
        return 130
    except NothingRan as error:
        _say(f"error: {error}")
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
    if verdicts is None:
        return 2
    return _report(verdicts, as_json=asked.json)


def _tested(chosen: Asked, workers: int) -> list[Verdict] | None:
    """Return what `_verdicts` does, from copies that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places: Queue[Path] = Queue()
        for number in range(workers):
            places.put(copy_repository(Path(folder) / str(number)))
        with ThreadPoolExecutor(workers) as threads:
            try:
                return _verdicts(chosen, places, threads)
            except (KeyboardInterrupt, NothingRan):
                threads.shutdown(wait=False, cancel_futures=True)
                stop()
                raise


def _verdicts(
    chosen: Asked, places: Queue[Path], threads: ThreadPoolExecutor
) -> list[Verdict] | None:
    """Return a verdict for each mutant; None when tests fail without any."""

    def sound(kind: Kind) -> bool:
        place = places.get()
        try:
            found = check_sound(kind, place)
        finally:
            places.put(place)
        if found.failed:
            _say(f"{kind.name}: the tests fail without any mutant: {found.failed}")
        elif found.skipped:
            _say(f"{kind.name}: {found.skipped} tests are skipped here, and notice nothing")
        else:
            _say(f"{kind.name}: the tests pass without a mutant")
        return not found.failed

    kinds = list(dict.fromkeys(kind for kind, _ in chosen))
    if not all(list(threads.map(sound, kinds))):
        return None
    done: list[Verdict] = []
    began_s = time.monotonic()

    def one(given: tuple[Kind, Mutant]) -> Verdict:
        kind, mutant = given
        place = places.get()
        try:
            verdict = judge(kind, mutant, place)
        finally:
            places.put(place)
        done.append(verdict)
        if not verdict.by:
            _say(f"survives: {mutant}")
        if len(done) % 20 == 0:
            noticed = sum(bool(verdict.by) for verdict in done)
            minutes = (time.monotonic() - began_s) / 60
            _say(f"{len(done)} of {len(chosen)}: {noticed} noticed, {minutes:.1f} min")
        return verdict

    return list(threads.map(one, chosen))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shares(verdicts: list[Verdict], by: str) -> dict[str, tuple[int, int]]:
    """Return for each kind or file how many of its mutants were noticed, and of how many."""
    found: dict[str, tuple[int, int]] = {}
    for verdict in verdicts:
        key = verdict.kind if by == "kind" else str(verdict.mutant.path)
        noticed, total = found.get(key, (0, 0))
        found[key] = noticed + bool(verdict.by), total + 1
    return found


def _report(verdicts: list[Verdict], *, as_json: bool) -> int:
    survivors = [verdict for verdict in verdicts if not verdict.by]
    noticed = len(verdicts) - len(survivors)
    share = noticed / len(verdicts)
    kinds = _shares(verdicts, "kind")
    # Not by the whole alone: a kind that nobody looks at would be lost in it.
    enough = share >= FLOOR and all(one / total >= FLOOR for one, total in kinds.values())
    if as_json:
        report = {
            "floor": FLOOR,
            "share": round(share, 4),
            "kinds": {
                name: {"noticed": one, "mutants": total} for name, (one, total) in kinds.items()
            },
            "survivors": [verdict.to_json() for verdict in survivors],
            "mutants": [verdict.to_json() for verdict in verdicts],
        }
        print(json.dumps(report, indent=2))
        return 0 if enough else 1
    for name, (one, total) in _shares(verdicts, "file").items():
        print(f"  {name}: {one} of {total}")
    for verdict in survivors:
        print(f"survives: {verdict.kind}: {verdict.mutant}")
    for name, (one, total) in kinds.items():
        print(f"{name}: {one} of {total} noticed, {one / total:.1%}")
    print(f"{noticed} of {len(verdicts)} mutants noticed: {share:.1%}, floor {FLOOR:.0%}")
    return 0 if enough else 1


if __name__ == "__main__":
    raise SystemExit(main())
