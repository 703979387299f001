"""The monitor beside prometheus_client's own server and Glances, then under fire.

Each server is a process of its own on loopback. They are measured in turn, round by round,
so that a machine that is busy with something else is so for all of them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.load import (
    Address,
    Client,
    Crowd,
    Latencies,
    LoadError,
    hung_server,
    percentile,
    silent_server,
)
from pipeline.report import print_table

ROOT = Path(__file__).resolve().parent.parent

# The floors.
P50_S = 0.001
P99_S = 0.005
RSS_BYTES = 40_000_000
START_S = 0.4
HOSTILE_P99_S = 0.1
HOSTILE_CLOSED_S = 10.0
HUNG_P99_S = 0.05

REQUESTS = 600
"""Of each kind in each round."""
HALF_OPEN = DRIPS = 200
HOSTILE_S = 20.0
CLIENTS = 50
RATE_HZ = 10.0
HUNG_S = 15.0
GOOD_PATHS = ("/livez", "/status", "/metrics")
_START_TIMEOUT_S = 20.0

# A healthy application; it says what the real one's /readyz says.
_BODY = b'{"status": "pass"}'
_READY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)
# What a request costs on this machine at this moment, whatever answers it.
_BARE = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    with connection:
        while connection.recv(4096):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
"""
_PROMETHEUS = """
import sys, threading
from prometheus_client import start_http_server
start_http_server(int(sys.argv[1]), addr="127.0.0.1")
threading.Event().wait()
"""
# The same with the families of a file, which it only has to write down.
_PROMETHEUS_WITH = """
import sys, threading
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families
class File:
    families = list(text_string_to_metric_families(open(sys.argv[2]).read()))
    def collect(self):
        return self.families
registry = CollectorRegistry()
registry.register(File())
start_http_server(int(sys.argv[1]), addr="127.0.0.1", registry=registry)
threading.Event().wait()
"""


_SAME = "prometheus_client, our samples"


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A server that can be started: its command for a port, and what it is asked for."""

    name: str
    argv: tuple[str, ...]
    """`{port}` is filled in."""
    paths: tuple[str, ...]
    """The first is what its first answer is awaited on."""
    environment: Mapping[str, str] = field(default_factory=dict)
    unavailable: str = ""


class Unavailable(Exception):
    """A server that does not start; says why."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server."""

    pid: int
    address: Address
    start_s: float

    def rss_bytes(self) -> int:
        """Return its resident memory."""
        return status_number(self.pid, "VmRSS") * 1024


def status_number(pid: int, name: str) -> int:
    """Return a number of /proc/<pid>/status; sizes there are in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bytecode-")


def monitor_program(name: str = "monitor", root: Path = ROOT, **settings: str) -> Program:
    """Return the monitor of a checkout, this one if no other is named, with these settings."""
    return Program(
        name,
        (sys.executable, "-m", "monitoring.monitor"),
        ("/livez", "/health", "/metrics"),
        {"PYTHONPATH": str(root), "MONITOR_PORT": "{port}", **settings},
    )


def _competitors(metrics: Path) -> tuple[Program, ...]:
    """Return the others; `metrics` is a file of what the monitor exposes."""

    def missing(module: str) -> str:
        found = importlib.util.find_spec(module)
        return "" if found else f"{module} is not installed (requirements/bench.txt)"

    return (
        Program("a bare socket", (sys.executable, "-c", _BARE, "{port}"), ("/",)),
        Program(
            "prometheus_client",
            (sys.executable, "-c", _PROMETHEUS, "{port}"),
            ("/metrics",),
            unavailable=missing("prometheus_client"),
        ),
        Program(
            _SAME,
            (sys.executable, "-c", _PROMETHEUS_WITH, "{port}", str(metrics)),
            ("/metrics",),
            unavailable=missing("prometheus_client"),
        ),
        Program(
            "Glances",
            (
                *(sys.executable, "-c", "import sys, glances; sys.exit(glances.main())"),
                *("-w", "-B", "127.0.0.1", "-p", "{port}"),
                *("--disable-webui", "--disable-check-update"),
            ),
            ("/api/4/status", "/api/4/mem", "/api/4/all"),
            unavailable=missing("glances") or missing("fastapi") or missing("uvicorn"),
        ),
    )


@contextlib.contextmanager
def started(program: Program) -> Iterator[Service]:
    """Run a program until the block ends; `start_s` is from its start to its first answer.

    Raises `Unavailable` when there is no answer.
    """
    if program.unavailable:
        raise Unavailable(program.unavailable)
    port = free_port()
    own = ("MONITOR_", "ACCELERAPP_", "OLLAMA_", "REDIS_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    # Compiled once, as in an image: a first start takes longer and keeps more memory.
    kept["PYTHONPYCACHEPREFIX"] = _bytecode().name
    added = {
        name: value.replace("{port}", str(port)) for name, value in program.environment.items()
    }
    with tempfile.TemporaryFile() as log:
        began_s = time.monotonic()
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in program.argv],
            env={**kept, **added},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            address = ("127.0.0.1", port)
            _await(process, address, program, log, began_s + _START_TIMEOUT_S)
            yield Service(process.pid, address, time.monotonic() - began_s)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(
    process: subprocess.Popen[bytes],
    address: Address,
    program: Program,
    log: IO[bytes],
    end_s: float,
) -> None:
    client = Client(address, stays=False, timeout_s=2.0)
    while True:
        try:
            if client.get(program.paths[0]).status == 200:
                return
        except (OSError, LoadError):
            pass
        if process.poll() is not None or time.monotonic() > end_s:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines() or ["it says nothing"]
            raise Unavailable(f"{program.name} does not start: {said[-1]}")
        time.sleep(0.001)


@contextlib.contextmanager
def application() -> Iterator[str]:
    """Yield the address of an application that is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(2)
                    connection.recv(4096)
                    connection.sendall(_READY)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def bench_monitor(runs: int) -> None:
    """Beside prometheus_client's own server and Glances; bad clients; hung dependencies."""
    with application() as url:
        monitor = monitor_program(ACCELERAPP_URL=url)
        with tempfile.TemporaryDirectory() as folder:
            metrics = Path(folder) / "metrics"
            with started(monitor) as service:
                metrics.write_bytes(Client(service.address, stays=False).get("/metrics").body)
            _beside((monitor, *_competitors(metrics)), runs)
        print()
        _bad_clients(monitor)
    print()
    _hung_dependencies()


def _verdict(met: bool) -> str:
    return "met" if met else "NOT MET"


def ms(seconds: float) -> str:
    """Return a latency for people."""
    return f"{seconds * 1000:.2f} ms"


@dataclass(slots=True)
class _Series:
    """What one path of one server answered, round by round."""

    rounds: list[list[float]] = field(default_factory=list)
    size_bytes: int = 0
    failure: str = ""

    def all(self) -> list[float]:
        return [seconds for part in self.rounds for seconds in part]


def _beside(programs: Sequence[Program], runs: int) -> None:
    present, starts = _starts(programs, runs)
    if programs[0] not in present:
        raise SystemExit("error: the monitor does not start")
    with contextlib.ExitStack() as stack:
        running = {program: stack.enter_context(started(program)) for program in present}
        for program, service in running.items():
            _warm_up(program, service)
        print(f"load of the machine before: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
        series: dict[tuple[str, str, bool], _Series] = {}
        for _ in range(runs):
            for stays in (True, False):
                for program, service in running.items():
                    for path in program.paths:
                        one = series.setdefault((program.name, path, stays), _Series())
                        _round(one, service.address, path, stays)
        memory = {program.name: service.rss_bytes() for program, service in running.items()}
    _print_latencies(series)
    print()
    _print_ratios(series)
    print()
    _print_processes(present, memory, starts)


def _print_processes(
    present: Sequence[Program],
    memory: Mapping[str, int],
    starts: Mapping[str, Sequence[float]],
) -> None:
    rows = []
    for program in present:
        rss_bytes, seconds = memory[program.name], starts[program.name]
        start_s = statistics.median(seconds)
        verdicts = (_verdict(rss_bytes <= RSS_BYTES), _verdict(start_s <= START_S))
        rss_verdict, start_verdict = verdicts if program is present[0] else ("", "")
        rows.append(
            (
                program.name,
                *(f"{rss_bytes / 1e6:.1f} MB", rss_verdict),
                *(f"{start_s:.2f} s", f"{min(seconds):.2f}-{max(seconds):.2f}", start_verdict),
            )
        )
    head = ("process", "RSS after it all", f"≤ {RSS_BYTES / 1e6:.0f} MB")
    print_table((*head, "first answer after", "of starts", f"≤ {START_S} s"), rows)


def _starts(programs: Sequence[Program], runs: int) -> tuple[list[Program], dict[str, list[float]]]:
    """Start all in turn, again and again; the first time warms caches and does not count."""
    starts: dict[str, list[float]] = {program.name: [] for program in programs}
    present = list(programs)
    for i in range(max(runs, 5) + 1):
        for program in tuple(present):
            try:
                with started(program) as service:
                    if i:
                        starts[program.name].append(service.start_s)
            except Unavailable as error:
                print(f"{program.name}: not measured, {error}")
                present.remove(program)
    return present, starts


def _warm_up(program: Program, service: Service) -> None:
    client = Client(service.address, stays=False)
    end_s = time.monotonic() + 3
    # Glances reads the machine in the background: its first answers lack what it has yet to see.
    while time.monotonic() < end_s:
        for path in program.paths:
            client.get(path)
        time.sleep(0.01)


def _round(one: _Series, address: Address, path: str, stays: bool) -> None:
    """Ask REQUESTS times, one after the other, and note each time."""
    if one.failure:
        return
    client = Client(address, stays=stays)
    seconds: list[float] = []
    # All of Glances' answers are 90 kB and slow: enough of them for a percentile will do.
    requests = REQUESTS // 10 if path.endswith("/all") else REQUESTS
    gc.disable()
    try:
        for _ in range(requests):
            began_s = time.perf_counter()
            answer = client.get(path)
            seconds.append(time.perf_counter() - began_s)
            if answer.status != 200:
                one.failure = f"answers {answer.status}"
                return
        one.size_bytes = len(answer.body)
        if stays and client.connections > max(requests // 10, 1):
            one.failure = "closes the connection after each answer"
    except (OSError, LoadError) as error:
        one.failure = str(error)
    finally:
        gc.enable()
        client.close()
    one.rounds.append(seconds)


def _print_latencies(series: Mapping[tuple[str, str, bool], _Series]) -> None:
    rows = []
    for (name, path, stays), one in series.items():
        what = (name, path, "kept" if stays else "new each")
        if one.failure:
            rows.append((*what, "", "", "not measured", "", "", "", one.failure))
            continue
        seconds = one.all()
        p50_s, p99_s = percentile(seconds, 0.5), percentile(seconds, 0.99)
        ranges = (_range([percentile(part, share) for part in one.rounds]) for share in (0.5, 0.99))
        p50_range, p99_range = ranges
        ours = name == "monitor"
        rows.append(
            (
                *what,
                str(len(seconds)),
                str(one.size_bytes),
                *(ms(p50_s), p50_range, ms(p99_s), p99_range),
                _verdict(p50_s <= P50_S and p99_s <= P99_S) if ours else "",
            )
        )
    head = ("process", "path", "connection", "requests", "bytes", "p50", "rounds", "p99", "rounds")
    print_table((*head, f"≤ {P50_S * 1000:.0f} and ≤ {P99_S * 1000:.0f} ms"), rows)


def _range(seconds: Sequence[float]) -> str:
    return f"{min(seconds) * 1000:.2f}-{max(seconds) * 1000:.2f}"


def _print_ratios(series: Mapping[tuple[str, str, bool], _Series]) -> None:
    """Theirs / ours, above 1 is ours faster; the closest thing that the other has."""
    rows = []
    for ours, name, theirs in (
        ("/metrics", "prometheus_client", "/metrics"),
        ("/metrics", _SAME, "/metrics"),
        ("/metrics", "Glances", "/api/4/all"),
        ("/health", "Glances", "/api/4/mem"),
        ("/livez", "Glances", "/api/4/status"),
    ):
        for stays in (True, False):
            mine, other = series.get(("monitor", ours, stays)), series.get((name, theirs, stays))
            if mine is None or other is None:
                continue
            what = f"{ours}: {theirs} of {name}, {'kept' if stays else 'new each'}"
            if mine.failure or other.failure:
                rows.append((what, "not measured", mine.failure or other.failure))
                continue
            p50, p99 = (
                percentile(other.all(), share) / percentile(mine.all(), share)
                for share in (0.5, 0.99)
            )
            rows.append((what, f"{p50:.1f}", f"{p99:.1f}"))
    print_table(("theirs / ours (above 1: ours is faster)", "p50", "p99"), rows)


@contextlib.contextmanager
def bad_clients(
    address: Address, *, half_open: int, drips: int, seconds: float, patience_s: float
) -> Iterator[subprocess.Popen[str]]:
    """Run bad clients in a process of their own; its output is for `bad_report`."""
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "benchmarks.load", address[0], str(address[1])),
            *("--half-open", str(half_open), "--drips", str(drips)),
            *("--seconds", str(seconds), "--patience", str(patience_s)),
        ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def bad_report(process: subprocess.Popen[str]) -> Any:
    """Wait for the end of bad clients, and return what became of them."""
    assert process.stdout is not None
    text = process.stdout.read()
    if process.wait():
        raise SystemExit("error: the bad clients broke off")
    return json.loads(text)


def _bad_clients(monitor: Program) -> None:
    latencies: dict[bool, Latencies] = {True: Latencies(), False: Latencies()}
    with (
        started(monitor) as service,
        bad_clients(
            service.address, half_open=HALF_OPEN, drips=DRIPS, seconds=HOSTILE_S, patience_s=30
        ) as bad,
    ):
        clients = {stays: Client(service.address, stays=stays) for stays in latencies}
        paths = _served(service, ("/livez", "/metrics", "/status"))
        end_s = time.monotonic() + HOSTILE_S
        turn = 0
        while time.monotonic() < end_s:
            path = paths[turn % len(paths)]
            for stays, client in clients.items():
                began_s = time.perf_counter()
                try:
                    answer = client.get(path)
                    if answer.status != 200:
                        raise LoadError(f"answered {answer.status}")
                except (OSError, LoadError) as error:
                    latencies[stays].failures.append(f"{path}: {error or type(error).__name__}")
                latencies[stays].add(path, time.perf_counter() - began_s)
            turn += 1
            time.sleep(0.005)
        report = bad_report(bad)
    print_table(
        (f"a good client beside {HALF_OPEN} half-open and {DRIPS} dripping", *_FIRE_HEAD),
        [
            row
            for stays, found in latencies.items()
            for row in _fire_rows(found, "kept" if stays else "new each", HOSTILE_P99_S)
        ],
    )
    _print_failures(latencies.values())
    print()
    rows = []
    for kind, seconds in report["closed"].items():
        left = report["left"][kind]
        met = bool(seconds) and not left and max(seconds) <= HOSTILE_CLOSED_S
        middle_s, longest_s = (percentile(seconds, share) if seconds else 0 for share in (0.5, 1))
        times = (f"{middle_s:.2f} s", f"{longest_s:.2f} s")
        rows.append((kind, str(len(seconds)), *times, str(left), _verdict(met)))
    head = ("bad connections", "closed", "after, median", "longest", "never closed")
    print_table((*head, f"≤ {HOSTILE_CLOSED_S:.0f} s"), rows)
    if report["refused"]:
        print(f"attempts to connect that failed: {report['refused']}")


def hung_monitor(stack: contextlib.ExitStack) -> Program:
    """Return the monitor with an Ollama that hangs and a Redis whose packets are dropped.

    It probes once a second, twice as long as that, so that a probe always hangs.
    """
    url = stack.enter_context(application())
    ollama = stack.enter_context(hung_server())
    redis = stack.enter_context(silent_server())
    return monitor_program(
        ACCELERAPP_URL=url,
        OLLAMA_HOST=f"http://{ollama[0]}:{ollama[1]}",
        REDIS_URL=f"redis://{redis[0]}:{redis[1]}/0",
        MONITOR_PROBE_INTERVAL_S="1",
        MONITOR_PROBE_DEADLINE_S="2",
    )


def _hung_dependencies() -> None:
    rows = []
    found: list[Latencies] = []
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(started(hung_monitor(stack)))
        paths = _served(service, GOOD_PATHS)
        time.sleep(3)
        for how, rate_hz in ((f"{RATE_HZ:g} requests/s each", RATE_HZ), ("flat out", None)):
            crowd = Crowd(service.address, paths, clients=CLIENTS, rate_hz=rate_hz)
            began_s = time.monotonic()
            crowd.run(began_s + HUNG_S)
            spent_s = time.monotonic() - began_s
            crowd.finish()
            found.append(crowd.latencies)
            rate = len(crowd.latencies.all()) / spent_s
            floor_s = HUNG_P99_S if rate_hz else None
            rows += _fire_rows(crowd.latencies, f"{how} ({rate:.0f}/s)", floor_s)
    print_table(
        (f"{CLIENTS} clients at once; Ollama hangs, Redis drops packets", *_FIRE_HEAD), rows
    )
    _print_failures(found)


_FIRE_HEAD = ("requests", "p50", "p99", "max", "failed", "p99, and none failed")


def _fire_rows(found: Latencies, how: str, floor_s: float | None) -> list[Sequence[str]]:
    """Return a row for each path: one failed request is one too many."""
    rows: list[Sequence[str]] = []
    for path, seconds in sorted(found.seconds.items()):
        p99_s = percentile(seconds, 0.99)
        failed = sum(1 for failure in found.failures if failure.startswith(f"{path}:"))
        verdict = "no floor"
        if floor_s is not None:
            verdict = f"≤ {floor_s * 1000:.0f} ms: {_verdict(p99_s <= floor_s and not failed)}"
        times = (ms(percentile(seconds, 0.5)), ms(p99_s), ms(max(seconds)))
        rows.append((f"{path}, {how}", str(len(seconds)), *times, str(failed), verdict))
    return rows


def _served(service: Service, paths: Sequence[str]) -> list[str]:
    """Return the paths that are answered with 200; say which are not."""
    client = Client(service.address, stays=False)
    kept = []
    for path in paths:
        status = client.get(path).status
        if status == 200:
            kept.append(path)
        else:
            print(f"{path}: not measured, the monitor answers {status}")
    return kept


def _print_failures(found: Iterable[Latencies]) -> None:
    failures = [failure for latencies in found for failure in latencies.failures]
    for failure in sorted(set(failures))[:10]:
        print(f"failed, {failures.count(failure)} times: {failure}")
