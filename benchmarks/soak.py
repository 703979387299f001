"""`nox -s soak [-- [service] --minutes 10]`: under fire for a while; does it stay as it was?

The service at half of what it can (`benchmarks/service.py`), or the monitor:

An Ollama that hangs, a Redis whose packets are dropped, 50 clients, and bad ones that come
and go. Exit code 1 when threads, descriptors or memory have grown, or answers were late.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.load import Crowd, Latencies, percentile
from benchmarks.monitor import (
    CLIENTS,
    GOOD_PATHS,
    HUNG_P99_S,
    RATE_HZ,
    RSS_BYTES,
    Service,
    bad_clients,
    bad_report,
    hung_monitor,
    ms,
    started,
    status_number,
)
from benchmarks.service import soak_service
from pipeline.report import print_table

WARM_UP_S = 30.0
WINDOW_S = 60.0
LINE_S = 30.0
# The bad ones come, are closed, and are gone: each wave starts anew.
WAVE_S = 20.0
WAVE_HALF_OPEN = WAVE_DRIPS = 25
# A client that reconnects as the sample is taken, and the last of a wave.
FREE_FDS = 3
FREE_RSS_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process from outside, `at_s` after the start."""

    at_s: float
    threads: int
    fds: int
    rss_bytes: int


def look(service: Service, at_s: float) -> Sample:
    """Read /proc of the monitor."""
    return Sample(
        at_s,
        status_number(service.pid, "Threads"),
        len(os.listdir(f"/proc/{service.pid}/fd")),
        service.rss_bytes(),
    )


@dataclass(slots=True)
class Waves:
    """Bad clients that come every WAVE_S; `longest_s` is what one of them was kept."""

    service: Service
    stack: contextlib.ExitStack
    running: subprocess.Popen[str] | None = None
    next_s: float = 0.0
    closed: int = 0
    left: int = 0
    longest_s: float = 0.0

    def turn(self, at_s: float) -> None:
        """Begin the next wave when it is time."""
        if at_s < self.next_s:
            return
        self.next_s = at_s + WAVE_S
        self.end()
        self.running = self.stack.enter_context(
            bad_clients(
                self.service.address,
                half_open=WAVE_HALF_OPEN,
                drips=WAVE_DRIPS,
                seconds=1.0,
                patience_s=WAVE_S - 4.0,
            )
        )

    def end(self) -> None:
        """Count what became of the last wave."""
        if self.running is None:
            return
        report = bad_report(self.running)
        self.running = None
        seconds = [second for part in report["closed"].values() for second in part]
        self.closed += len(seconds)
        self.left += sum(report["left"].values())
        self.longest_s = max([self.longest_s, *seconds])


def soak(minutes: float) -> bool:
    """Run for `minutes`, print what was seen; return whether all is as it was."""
    length_s = minutes * 60
    warm_up_s = min(WARM_UP_S, length_s / 6)
    window_s = min(WINDOW_S, (length_s - warm_up_s) / 2)
    samples: list[Sample] = []
    latencies = Latencies()
    with contextlib.ExitStack() as stack:
        monitor = hung_monitor(stack)
        # Once for its bytecode: what compiles itself keeps more memory.
        with started(monitor):
            pass
        service = stack.enter_context(started(monitor))
        waves = Waves(service, stack.enter_context(contextlib.ExitStack()))
        crowd = Crowd(service.address, GOOD_PATHS, clients=CLIENTS, rate_hz=RATE_HZ)
        stack.callback(crowd.close)
        began_s = time.monotonic()
        printed_s = 0.0
        for second in range(1, round(length_s) + 1):
            waves.turn(second - 1.0)
            crowd.run(began_s + second)
            samples.append(look(service, second))
            if second - printed_s >= LINE_S:
                _print_line(samples[-1], crowd.latencies, waves)
                latencies.merge(crowd.latencies)
                crowd.latencies = Latencies()
                printed_s = second
        crowd.finish()
        waves.end()
    latencies.merge(crowd.latencies)
    first = [sample for sample in samples if warm_up_s < sample.at_s <= warm_up_s + window_s]
    last = [sample for sample in samples if sample.at_s > length_s - window_s]
    print()
    return _judge(first, last, latencies, waves)


def _print_line(sample: Sample, new: Latencies, waves: Waves) -> None:
    seconds = new.all()
    print(
        f"{sample.at_s:6.0f} s: {len(seconds)} requests, p50 {ms(percentile(seconds, 0.5))},"
        f" p99 {ms(percentile(seconds, 0.99))}, max {ms(max(seconds))},"
        f" {len(new.failures)} failed;"
        f" {sample.threads} threads, {sample.fds} descriptors, {sample.rss_bytes / 1e6:.1f} MB;"
        f" {waves.closed} bad clients closed",
        flush=True,
    )


def _judge(
    first: Sequence[Sample], last: Sequence[Sample], latencies: Latencies, waves: Waves
) -> bool:
    def row(
        what: str, read: Callable[[Sample], int], free: int, unit: float = 1
    ) -> tuple[tuple[str, ...], bool]:
        before, after = sorted(map(read, first)), sorted(map(read, last))
        # The least shows a leak under the waves, the middle and the most one in them.
        pairs = [(one[0], one[len(one) // 2], one[-1]) for one in (before, after)]
        flat = all(b - a <= free for a, b in zip(*pairs, strict=True))
        shown = ("-".join(f"{value / unit:g}" for value in three) for three in pairs)
        return (what, *shown, "flat" if flat else "GROWN"), flat

    rows = [
        row("threads", lambda sample: sample.threads, 0),
        row("descriptors", lambda sample: sample.fds, FREE_FDS),
        row("RSS, kB", lambda sample: sample.rss_bytes, FREE_RSS_BYTES, 1000),
    ]
    print_table(
        ("least-median-most", f"first {len(first)} s", f"last {len(last)} s", ""),
        [shown for shown, _ in rows],
    )
    print()
    late = []
    table = []
    for path, seconds in sorted(latencies.seconds.items()):
        p99_s = percentile(seconds, 0.99)
        late.append(p99_s > HUNG_P99_S)
        times = (ms(percentile(seconds, 0.5)), ms(p99_s), ms(max(seconds)))
        table.append((path, str(len(seconds)), *times, "NOT MET" if late[-1] else "met"))
    floor = f"p99 ≤ {HUNG_P99_S * 1000:.0f} ms"
    print_table(("path", "requests", "p50", "p99", "max", floor), table)
    print()
    rss_bytes = max(sample.rss_bytes for sample in last)
    failures = {
        "threads, descriptors or memory have grown": not all(flat for _, flat in rows),
        f"p99 above {HUNG_P99_S * 1000:.0f} ms": any(late),
        f"{len(latencies.failures)} requests failed: {sorted(set(latencies.failures))[:5]}": bool(
            latencies.failures
        ),
        f"{waves.left} bad connections were never closed": bool(waves.left),
        f"RSS of {rss_bytes / 1e6:.1f} MB, above {RSS_BYTES / 1e6:.0f} MB": rss_bytes > RSS_BYTES,
    }
    print(
        f"{waves.closed} bad connections closed, after {waves.longest_s:.1f} s at most;"
        f" {latencies.reconnections} reconnections of good ones"
    )
    for what, true in failures.items():
        if true:
            print(f"failed: {what}")
    return not any(failures.values())


def main() -> None:
    """Soak for as long as the arguments say."""
    parser = argparse.ArgumentParser(prog="nox -s soak --")
    parser.add_argument("--minutes", type=float, default=10, help="at least 1 (default: 10)")
    parser.add_argument(
        "what",
        nargs="?",
        choices=("monitor", "service"),
        default="monitor",
        help="default: monitor",
    )
    given = parser.parse_args()
    if given.minutes < 1:
        parser.error("--minutes: at least 1")
    if not (soak if given.what == "monitor" else soak_service)(given.minutes):
        sys.exit(1)
    print("as it was")


if __name__ == "__main__":
    main()
