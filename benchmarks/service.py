"""POST /v1/generate under load: how fast, how many, and whether it stays as it was.

Clients are a process of their own, each with one connection that it keeps. The floor is the
same server answering something ready of about the same size: what is left is the generation's.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.monitor import status_number
from pipeline.report import print_table

ROOT = Path(__file__).resolve().parents[1]
P50_S = 0.005
RATE_HZ = 300
RSS_BYTES = 80_000_000
CLIENTS = (1, 2, 8)
SECONDS = 5.0
LINE_S = 30.0
# What a minute's median may differ by.
FREE_RSS_BYTES = 2_000_000


@contextlib.contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """Yield pid and port of a service with a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "accelerapp", "serve", "--port", "0"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "ACCELERAPP_OUTPUT_DIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            yield process.pid, int(line.rpartition(":")[2])
        finally:
            process.terminate()
            process.communicate(timeout=30)


def load(port: int, clients: int, seconds: float, *, rate_hz: float = 0, path: str = "") -> Any:
    """What a process of clients saw: `count`, `failed`, `p50_s`, `p99_s`, `max_s`, `rate_hz`."""
    argv = (sys.executable, "-m", "benchmarks.service", "--clients", str(clients))
    argv += ("--seconds", str(seconds), "--rate", str(rate_hz), "--port", str(port))
    argv += ("--path", path)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def bench_service(runs: int) -> None:
    """POST /v1/generate of the example, beside a constant answer of the same server."""
    rows = []
    with serving() as (pid, port):
        load(port, 2, 1.0)
        for clients in CLIENTS:
            pairs = [
                (load(port, clients, SECONDS), load(port, clients, SECONDS, path="/v1/platforms"))
                for _ in range(runs)
            ]
            ours = [pair[0] for pair in pairs]
            ratios = [pair[0]["p50_s"] / pair[1]["p50_s"] for pair in pairs]
            p50_s = statistics.median(one["p50_s"] for one in ours)
            rate_hz = statistics.median(one["rate_hz"] for one in ours)
            met = rate_hz >= RATE_HZ and (clients > 1 or p50_s <= P50_S)
            rows.append(
                (
                    f"{clients} client{'s' if clients > 1 else ''}",
                    f"{p50_s * 1000:.2f} ms",
                    f"{statistics.median(one['p99_s'] for one in ours) * 1000:.2f} ms",
                    f"{rate_hz:.0f}/s",
                    f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})",
                    str(sum(one["failed"] for one in ours)),
                    "met" if met else "NOT MET",
                )
            )
        rss_bytes = status_number(pid, "VmRSS") * 1024
    floor = f"p50 ≤ {P50_S * 1000:g} ms, ≥ {RATE_HZ}/s"
    print_table(("POST /v1/generate", "p50", "p99", "rate", "/ constant", "failed", floor), rows)
    met = "met" if rss_bytes <= RSS_BYTES else "NOT MET"
    print(f"\nRSS afterwards: {rss_bytes / 1e6:.1f} MB (floor: {RSS_BYTES / 1e6:.0f} MB, {met})")


def soak_service(minutes: float) -> bool:
    """Half of what it can, for `minutes`; return whether no request failed and memory is flat."""
    with serving() as (pid, port):
        load(port, 2, 2.0)
        most_hz = load(port, 2, 10.0)["rate_hz"]
        rate_hz = most_hz / 2
        print(f"at most {most_hz:.0f}/s; now {rate_hz:.0f}/s for {minutes:g} minutes", flush=True)
        samples: list[tuple[float, int, int, int]] = []
        failed = count = 0
        worst_s = 0.0
        begin_s = time.monotonic()
        while (at_s := time.monotonic() - begin_s) < minutes * 60:
            seen = load(port, 4, min(LINE_S, minutes * 60 - at_s + 0.1), rate_hz=rate_hz)
            failed += seen["failed"]
            count += seen["count"]
            worst_s = max(worst_s, seen["max_s"])
            samples.append(
                (
                    time.monotonic() - begin_s,
                    status_number(pid, "VmRSS") * 1024,
                    status_number(pid, "Threads"),
                    len(os.listdir(f"/proc/{pid}/fd")),
                )
            )
            print(
                f"{samples[-1][0]:6.0f} s: {seen['count']} requests, {seen['rate_hz']:.0f}/s,"
                f" p50 {seen['p50_s'] * 1000:.1f} ms, p99 {seen['p99_s'] * 1000:.1f} ms,"
                f" max {seen['max_s'] * 1000:.0f} ms, {seen['failed']} failed;"
                f" {samples[-1][1] / 1e6:.1f} MB, {samples[-1][2]} threads,"
                f" {samples[-1][3]} descriptors",
                flush=True,
            )
    # The first line is the warm-up's.
    settled = samples[1:] or samples
    quarter = max(len(settled) // 4, 1)
    before = statistics.median(sample[1] for sample in settled[:quarter])
    after = statistics.median(sample[1] for sample in settled[-quarter:])
    flat = after - before <= FREE_RSS_BYTES and after <= RSS_BYTES
    print(
        f"\n{count} requests, {failed} failed, longest {worst_s * 1000:.0f} ms;"
        f" memory {before / 1e6:.1f} to {after / 1e6:.1f} MB, {'flat' if flat else 'GROWN'}"
    )
    return flat and not failed and len({sample[2] for sample in settled}) == 1


def _clients(port: int, clients: int, seconds: float, rate_hz: float, path: str) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT / "src"))
    from accelerapp.device.example import example

    body = example().encode()
    latencies: list[float] = []
    failures: list[str] = []
    begin_s = time.perf_counter()
    end_s = begin_s + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        period_s = clients / rate_hz if rate_hz else 0.0
        due_s = begin_s + number * period_s / clients
        while (now_s := time.perf_counter()) < end_s:
            if due_s > now_s:
                time.sleep(min(due_s, end_s) - now_s)
                continue
            start_s = time.perf_counter()
            try:
                if path:
                    connection.request("GET", path)
                else:
                    headers = {"Content-Type": "application/yaml"}
                    connection.request("POST", "/v1/generate", body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()
            latencies.append(time.perf_counter() - start_s)
            due_s += period_s

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies.sort()
    return {
        "count": len(latencies),
        "failed": len(failures),
        "failures": sorted(set(failures))[:5],
        "p50_s": latencies[len(latencies) // 2],
        "p99_s": latencies[len(latencies) * 99 // 100],
        "max_s": latencies[-1],
        "rate_hz": len(latencies) / (time.perf_counter() - begin_s),
    }


def main() -> None:
    """The process of clients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--path", default="")
    given = parser.parse_args()
    print(json.dumps(_clients(given.port, given.clients, given.seconds, given.rate, given.path)))


if __name__ == "__main__":
    main()
