from __future__ import annotations

import base64
import gzip
import io
import json
import logging
from dataclasses import dataclass, replace
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import bottle  # type: ignore[import-untyped]
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitoring import web
from monitoring.checks import DiskSpace, Status
from monitoring.lifecycle import Lifecycle
from monitoring.metrics import Traffic
from monitoring.page import Series
from monitoring.readings import Readings
from monitoring.settings import Settings
from monitoring.web import Monitor, create_app
from tests.unit.monitoring.moments import ABOUT, readings, watched

PATHS = ("/", "/livez", "/readyz", "/health", "/status", "/metrics")
TOKEN = "a-good-token"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> str:
        return self.raw.decode()


class Client:
    def __init__(self, **environ: str) -> None:
        self.readings: Readings | None = readings(watched())
        self.lifecycle = Lifecycle()
        self.traffic = Traffic()
        self.app = create_app(
            Monitor(
                settings=Settings.load(environ),
                lifecycle=self.lifecycle,
                about=ABOUT,
                traffic=self.traffic,
                read=self.read,
                series=lambda: (Series("memory", "bytes", (1.0, None, 2.0)),),
                connections=lambda: 3,
            )
        )

    def read(self) -> Readings:
        assert self.readings is not None, "nothing to read"
        return self.readings

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        path, _, query = path.partition("?")
        environ: dict[str, object] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "wsgi.errors": io.StringIO(),
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }
        setup_testing_defaults(environ)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            started.append((status, headers))

        iterable = validator(self.app)(environ, start_response)  # type: ignore[arg-type]
        try:
            body = b"".join(iterable)
        finally:
            iterable.close()  # type: ignore[attr-defined]
        [(status, given)] = started
        joined: dict[str, str] = {}
        for name, value in given:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return Answer(int(status[:3]), joined, body)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("found", "required", "expected", "code"),
    [
        ("pass", "accelerapp", "pass", 200),
        ("warn", "accelerapp", "warn", 200),
        ("fail", "accelerapp", "fail", 503),
        ("pass", "none", "pass", 200),
        ("warn", "none", "warn", 200),
        ("fail", "none", "warn", 200),
        (None, "accelerapp", "warn", 200),
    ],
)
def test_health(found: Status | None, required: str, expected: str, code: int) -> None:
    client = Client(MONITOR_REQUIRED=required)
    client.readings = readings(watched(status=found))
    answer = client.ask("/health")
    assert answer.status == code
    assert answer.headers["Content-Type"] == "application/health+json"
    document = json.loads(answer.body)
    assert (document["status"], document["version"]) == (expected, "1.2.3")
    [check] = document["checks"]["accelerapp:responseTime"]
    assert (check["status"], check["required"]) == (found or "warn", required == "accelerapp")
    assert check["age_s"] == 3.0
    assert document["checks"]["memory:utilization"][0]["observedValue"] == 0.5
    assert document["checks"]["cpu:throttled"][0]["output"] == "no quota"


def test_status_of_all_in_a_word() -> None:
    client = Client(REDIS_URL="redis://:hunter22@redis", MONITOR_TOKEN=TOKEN)
    disk = watched("disk:free", found=DiskSpace("/d", 1, 2), component_id="/d")
    client.readings = readings(watched(status="fail"), disk)
    answer = client.ask("/status", authorization=f"Bearer {TOKEN}")
    document = json.loads(answer.body)
    assert document["status"] == "unhealthy"
    assert document["name"] == "accelerapp-monitor"
    assert (document["version"], document["revision"]) == ("1.2.3", "abcdef")
    assert document["uptime_s"] >= 0
    assert document["checks"]["accelerapp"] == "fail"
    assert document["checks"]["disk:/d"] == "pass"
    assert document["configuration"]["REDIS_URL"] == "redis://:***@redis:6379"
    assert "hunter22" not in answer.body
    assert TOKEN not in answer.body


def test_livez_reads_nothing(client: Client) -> None:
    client.readings = None
    answer = client.ask("/livez")
    assert (answer.status, answer.body) == (200, "ok\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_readyz_is_about_the_monitor_alone(client: Client) -> None:
    unknown = (watched("redis:responseTime", None), watched("ollama:responseTime", None))
    client.readings = readings(watched(status="fail"), *unknown)
    answer = client.ask("/readyz")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "pass"})
    verbose = json.loads(client.ask("/readyz?verbose").body)
    assert verbose == {
        "status": "pass",
        "output": "serving",
        "probes": {"configured": 3, "ended": 1},
        "health": "fail",
    }


def test_readyz_turns_when_asked_to_stop(client: Client) -> None:
    client.lifecycle.stop(15)
    answer = client.ask("/readyz")
    assert (answer.status, json.loads(answer.body)) == (503, {"status": "fail"})
    assert json.loads(client.ask("/readyz?verbose").body)["output"] == "stopping"
    assert client.ask("/livez").status == 200


def test_metrics_in_both_formats(client: Client) -> None:
    plain = client.ask("/metrics")
    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["Vary"] == "Accept, Accept-Encoding"
    assert "accelerapp_monitor_http_connections 3\n" in plain.body
    answer = client.ask("/metrics", accept="application/openmetrics-text;version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text;")
    families = {family.name: family for family in text_string_to_metric_families(answer.body)}
    # The scrape before was counted.
    [sample] = families["accelerapp_monitor_http_requests"].samples
    assert sample.labels == {"method": "GET", "path": "/metrics", "code": "200"}
    assert sample.value == 1


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("x-gzip", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("notgzip", False),
    ],
)
def test_gzip(client: Client, accepted: str, compressed: bool) -> None:
    client.readings = readings(watched())
    answer = client.ask("/metrics", accept_encoding=accepted)
    assert (answer.headers.get("Content-Encoding") == "gzip") == compressed
    text = gzip.decompress(answer.raw).decode() if compressed else answer.body
    if compressed:
        # The quickest level, and no time in it: the same answer is the same bytes.
        assert answer.raw == gzip.compress(text.encode(), compresslevel=1, mtime=0)
    assert text.startswith("# HELP accelerapp_health_status ")
    assert int(answer.headers["Content-Length"]) == len(answer.raw)


def test_page(client: Client) -> None:
    answer = client.ask("/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Healthy" in answer.body


@pytest.mark.parametrize("path", PATHS)
def test_headers_that_are_no_text_are_no_bug(client: Client, path: str) -> None:
    strange = "\xe9\xff;q=\xe9"
    answer = client.ask(path, accept=strange, accept_encoding=strange, authorization=strange)
    assert answer.status == 200


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_body(client: Client, path: str) -> None:
    head, got = client.ask(path, "HEAD"), client.ask(path)
    assert (head.status, head.raw) == (got.status, b"")
    assert head.headers.keys() == got.headers.keys()
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["X-Content-Type-Options"] == "nosniff"
    assert int(head.headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_405_with_allow(client: Client, path: str, method: str) -> None:
    answer = client.ask(path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(answer.body) == {"status": 405, "error": "Method Not Allowed"}
    counted = (method if method != "TRACE" else "other", path, "405")
    assert client.traffic.answers == {counted: 1}


@pytest.mark.parametrize("path", ["/Livez", "/livez/", "/healthz", "/<b>", "/favicon.ico"])
def test_unknown_address_is_json_and_echoes_nothing(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
    assert json.loads(answer.body) == {"status": 404, "error": "Not Found"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.traffic.answers == {("GET", "other", "404"): 1}


def test_bug_is_json_and_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.readings = None
    with caplog.at_level(logging.ERROR):
        answer = client.ask("/health")
    assert answer.status == 500
    assert json.loads(answer.body) == {"status": 500, "error": "Internal Server Error"}
    assert "nothing to read" in caplog.text


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_token_is_asked_for_but_by_livez(path: str) -> None:
    client = Client(MONITOR_TOKEN=TOKEN)
    answer = client.ask(path)
    if path == "/livez":
        assert answer.status == 200
        return
    assert answer.status == 401
    assert json.loads(answer.body) == {"status": 401, "error": "Unauthorized"}
    challenge = answer.headers["Www-Authenticate"]
    assert 'Bearer realm="accelerapp-monitor"' in challenge
    assert 'Basic realm="accelerapp-monitor"' in challenge
    expected = 404 if path == "/nothing" else 200
    for given in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(TOKEN)):
        assert client.ask(path, authorization=given).status == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer wrong-token",
        f"Token {TOKEN}",
        TOKEN,
        basic("x"),
        "Basic ???",
        "Basic \xe9",
    ],
)
def test_other_tokens_are_refused(given: str) -> None:
    answer = Client(MONITOR_TOKEN=TOKEN).ask("/metrics", authorization=given)
    assert answer.status == 401
    assert TOKEN not in answer.body


def test_a_token_that_is_not_base64_throughout_is_refused() -> None:
    client = Client(MONITOR_TOKEN=TOKEN)
    given = basic(TOKEN)
    assert client.ask("/metrics", authorization=given).status == 200
    assert client.ask("/metrics", authorization=f"{given[:10]}!{given[10:]}").status == 401


def test_a_release_is_its_revision_or_else_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(Client().ask("/health").body)["releaseId"] == "abcdef"
    monkeypatch.setitem(globals(), "ABOUT", replace(ABOUT, revision=""))
    assert json.loads(Client().ask("/health").body)["releaseId"] == "1.2.3"


def test_uptime_is_in_milliseconds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lifecycle, "uptime_s", 1 / 3)
    assert json.loads(client.ask("/status").body)["uptime_s"] == 0.333


def test_what_fits_in_a_packet_is_not_compressed() -> None:
    environ = {"HTTP_ACCEPT_ENCODING": "gzip"}
    bottle.request.bind(environ)
    short, long = (web._reply("x" * length, "text/plain") for length in (1023, 1024))
    assert "Vary" not in short.headers
    assert "Content-Encoding" not in short.headers
    assert (long.headers["Vary"], long.headers["Content-Encoding"]) == ("Accept-Encoding", "gzip")


def test_an_answer_that_never_begins_counts_as_an_error() -> None:
    traffic = Traffic()
    app = web._counted(lambda environ, start_response: [], frozenset({"/"}), traffic)
    app({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *_: None)
    assert traffic.answers == {("GET", "/", "500"): 1}
