"""A real Prometheus scrapes the monitor, as OpenMetrics and as text; promtool reads it.

Prometheus 2.42 always asks for OpenMetrics. What asks for text alone is a proxy on
loopback that takes its Accept header away.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.building import ROOT
from tests.integration.conftest import find_tool
from tests.integration.registry import free_port

PATIENCE_S = 60.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = f"{OPENMETRICS}; charset=utf-8"
JOBS = ("negotiated", "text")
ANSWERS: Mapping[str, Any] = {
    "/readyz": {"status": "pass"},
    "/api/version": {"version": "0.6.2"},
    "/api/tags": {"models": [{"name": "llama3:8b"}]},
}
# What a machine without a limit has none of.
OF_A_CONTAINER = {"accelerapp_memory_limit_bytes", "accelerapp_cpu_quota_cores"}
# What a process outside of any cgroup has none of.
OF_A_CGROUP = {
    "accelerapp_memory_usage_bytes",
    "accelerapp_cpu_usage_seconds_total",
    "accelerapp_cpu_periods_total",
    "accelerapp_cpu_throttled_periods_total",
    "accelerapp_cpu_throttled_seconds_total",
}


def until(asked: Callable[[], Any]) -> Any:
    """Return the first true answer; a question that cannot be asked yet has none."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = asked()
        except (OSError, http.client.HTTPException) as error:
            answer, reason = None, repr(error)
        else:
            reason = repr(answer)
        if answer:
            return answer
        assert time.monotonic() < end_s, f"waited in vain: {reason}"
        time.sleep(0.1)


class Dependencies(BaseHTTPRequestHandler):
    """The application and Ollama, both well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Redis(socketserver.StreamRequestHandler):
    """Answers PONG to whoever says PING."""

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"PING\r\n":
                self.wfile.write(b"+PONG\r\n")


def stripping(upstream: str, seen: list[str]) -> type[BaseHTTPRequestHandler]:
    """Return the handler of a proxy that takes Accept away and notes what is answered."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            connection = http.client.HTTPConnection(upstream, timeout=10)
            with contextlib.closing(connection):
                # Without a second argument http.client adds an Accept-Encoding of its own.
                connection.putrequest("GET", self.path, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("host", "accept", "connection"):
                        connection.putheader(name, value)
                connection.endheaders()
                answer = connection.getresponse()
                body = answer.read()
            seen.append(answer.headers["Content-Type"])
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Proxy


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[str]:
    """Run a server in a thread; yield its `host:port`."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield f"{host}:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Threading(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextlib.contextmanager
def running(argv: tuple[str | Path, ...], log: Path, **variables: str) -> Iterator[None]:
    """Run a server until the block ends, its output in `log`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MONITOR_", "ACCELERAPP_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            env={**kept, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    except Exception as error:
        error.add_note(f"the log of {argv[0]}:\n{log.read_text(errors='replace')}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor whose dependencies all answer, so that each family has something to show."""

    address: str

    def get(
        self, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask for /metrics."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, "/metrics", headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def body(self, accept: str = "") -> str:
        """Return the metrics."""
        status, _, body = self.get({"Accept": accept} if accept else None)
        assert status == 200
        return body.decode()


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """Yield a monitor that has looked at everything once."""
    folder = tmp_path_factory.mktemp("monitor")
    port = free_port()
    with (
        serving(ThreadingHTTPServer(("127.0.0.1", 0), Dependencies)) as service,
        serving(_Threading(("127.0.0.1", 0), Redis)) as redis,
        running(
            (sys.executable, "-m", "monitoring.monitor"),
            folder / "log",
            PYTHONPATH=str(ROOT),
            MONITOR_PORT=str(port),
            MONITOR_PROBE_INTERVAL_S="1",
            MONITOR_OLLAMA_MODELS="llama3:8b,absent",
            ACCELERAPP_URL=f"http://{service}",
            OLLAMA_HOST=service,
            REDIS_URL=f"redis://{redis}",
        ),
    ):
        found = Monitor(f"127.0.0.1:{port}")
        until(lambda: 'accelerapp_ollama_info{version="0.6.2"}' in found.body())
        until(lambda: re.search(r'timestamp_seconds\{check="redis"', found.body()))
        yield found


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus and its API."""

    address: str
    log: Path

    def api(self, path: str, **query: str) -> Any:
        """Return the data of an answer."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        return document["data"]

    def query(self, expression: str) -> dict[str, list[Any]]:
        """Return the results of an instant query, by job."""
        found: dict[str, list[Any]] = {}
        for result in self.api("query", query=expression)["result"]:
            found.setdefault(result["metric"]["job"], []).append(result)
        return found


@pytest.fixture(scope="module")
def content_types() -> list[str]:
    """Return what the proxy notes."""
    return []


@pytest.fixture(scope="module")
def prometheus(
    monitor: Monitor, content_types: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Yield a Prometheus that has scraped the monitor both ways, several times."""
    unchecked = "that Prometheus can scrape the monitor"
    program = find_tool("prometheus", unchecked=unchecked)
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    handler = stripping(monitor.address, content_types)
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as proxy:
        addresses = dict(zip(JOBS, (monitor.address, proxy), strict=True))
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address]}]}
                for job, address in addresses.items()
            ],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        argv = (
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        found = Prometheus(f"127.0.0.1:{port}", folder / "log")
        with running(argv, found.log):
            until(lambda: found.query("count_over_time(up[5m]) >= 4").keys() == set(JOBS))
            yield found


@dataclass(frozen=True, slots=True)
class Family:
    """A family as its HELP and TYPE declare it, and the names of its samples."""

    kind: str
    samples: frozenset[str]


def families(text: str) -> dict[str, Family]:
    """Read the text format, from its description."""
    kinds: dict[str, str] = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helped = re.findall(r"^# HELP (\S+) .", text, re.MULTILINE)
    assert helped == list(kinds)
    samples: dict[str, set[str]] = {name: set() for name in kinds}
    current = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            samples[current].add(re.split(r"[{ ]", line)[0])
    return {name: Family(kind, frozenset(samples[name])) for name, kind in kinds.items()}


def test_both_targets_are_up_without_an_error(prometheus: Prometheus) -> None:
    targets = prometheus.api("targets", state="active")["activeTargets"]
    assert {target["labels"]["job"] for target in targets} == set(JOBS)
    for target in targets:
        assert (target["health"], target["lastError"]) == ("up", "")
    for job, [result] in prometheus.query("min_over_time(up[5m])").items():
        assert result["value"][1] == "1", f"a scrape of '{job}' failed"
    # Samples that it drops, duplicates above all, it only complains of here.
    log = prometheus.log.read_text()
    assert not re.findall(r"level=(?:warn|error) .*scrape.*", log)


def test_one_is_openmetrics_and_the_other_is_text(
    prometheus: Prometheus, content_types: list[str]
) -> None:
    def kinds(job: str) -> dict[str, str]:
        found = prometheus.api("targets/metadata", match_target=f'{{job="{job}"}}')
        return {part["metric"]: part["type"] for part in found}

    # Of a counter OpenMetrics names the family, text its samples; and text has no `info`.
    counter, info = "accelerapp_check_probes", "accelerapp_monitor"
    openmetrics, text = kinds("negotiated"), kinds("text")
    assert openmetrics[counter] == text[f"{counter}_total"] == "counter"
    assert (openmetrics[info], text[f"{info}_info"]) == ("info", "gauge")
    assert f"{counter}_total" not in openmetrics
    assert counter not in text
    assert set(content_types) == {TEXT_TYPE}


def test_every_family_can_be_queried_both_ways(monitor: Monitor, prometheus: Prometheus) -> None:
    found = families(monitor.body())
    assert len(found) > 20
    absent = {name for name, family in found.items() if not family.samples}
    assert absent <= OF_A_CONTAINER | OF_A_CGROUP
    for family in found.values():
        for name in family.samples:
            results = until(lambda name=name: prometheus.query(name))
            assert results.keys() == set(JOBS), f"{name} is not in both"


def test_both_formats_have_the_same_series(prometheus: Prometheus) -> None:
    def series(job: str) -> set[tuple[tuple[str, str], ...]]:
        own = ("job", "instance")
        found = prometheus.api("series", **{"match[]": f'{{job="{job}"}}'})
        return {
            tuple(sorted((k, v) for k, v in labels.items() if k not in own)) for labels in found
        }

    until(lambda: series("negotiated") == series("text"))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('accelerapp_check_status{check="accelerapp",status="pass"}', 1),
        ('accelerapp_check_status{check="redis",status="pass"}', 1),
        # One of the models that it is asked for is not there.
        ('accelerapp_check_status{check="ollama",status="fail"}', 1),
        ('accelerapp_ollama_model_present{model="llama3:8b"}', 1),
        ('accelerapp_ollama_model_present{model="absent"}', 0),
    ],
)
def test_values_arrive(prometheus: Prometheus, expression: str, value: float) -> None:
    results = prometheus.query(expression)
    assert results.keys() == set(JOBS)
    for [result] in results.values():
        assert float(result["value"][1]) == value


def lint(promtool: Path, text: str) -> None:
    """Fail on anything that promtool has to say."""
    done = subprocess.run(
        (promtool, "check", "metrics"), input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Return promtool's path; it comes with Prometheus."""
    return find_tool("promtool", unchecked="that metrics are named as Prometheus wants it")


def test_promtool_has_nothing_to_say(monitor: Monitor, promtool: Path) -> None:
    lint(promtool, monitor.body())


def test_promtool_has_nothing_to_say_of_openmetrics(monitor: Monitor, promtool: Path) -> None:
    from prometheus_client import generate_latest
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    # promtool reads nothing but text: it gets what the parser made of OpenMetrics.
    parsed = list(text_string_to_metric_families(monitor.body(OPENMETRICS)))
    text = generate_latest(SimpleNamespace(collect=lambda: parsed)).decode()
    assert "accelerapp_check_probes_total{" in text
    lint(promtool, text)


def test_parsers_of_prometheus_client_agree_on_both_formats(monitor: Monitor) -> None:
    from prometheus_client.openmetrics import parser as openmetrics
    from prometheus_client.parser import text_string_to_metric_families

    def series(parsed: Any) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        found = [
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in parsed
            for sample in family.samples
        ]
        assert len(found) == len(set(found))
        return set(found)

    until(
        lambda: (
            series(text_string_to_metric_families(monitor.body()))
            == series(openmetrics.text_string_to_metric_families(monitor.body(OPENMETRICS)))
        )
    )


@pytest.mark.parametrize(
    ("accept", "content_type"), [("", TEXT_TYPE), (OPENMETRICS, OPENMETRICS_TYPE)]
)
def test_head_and_gzip(monitor: Monitor, accept: str, content_type: str) -> None:
    asks = {"Accept": accept} if accept else {}
    status, headers, body = monitor.get(asks, method="HEAD")
    assert (status, headers["Content-Type"], body) == (200, content_type, b"")
    assert int(headers["Content-Length"]) > 1000

    status, headers, body = monitor.get({**asks, "Accept-Encoding": "gzip"})
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(body)
    text = gzip.decompress(body).decode()
    assert text.startswith("# ")
    assert text.endswith("# EOF\n") == bool(accept)
    assert len(body) < len(text) / 3

    for encodings in ({}, {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0"}):
        status, headers, body = monitor.get({**asks, **encodings})
        assert (status, headers["Content-Encoding"]) == (200, None)
        assert body.startswith(b"# ")
