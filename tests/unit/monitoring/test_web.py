from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from monitoring.checks import Disk, Probe, Status, Watched
from monitoring.readings import Readings
from monitoring.web import create_app


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Client:
    def __init__(self) -> None:
        self.readings: Readings | None = readings("pass")
        self.app = create_app(self.read, disk_warn_bytes=200, disk_fail_bytes=100)

    def read(self) -> Readings:
        assert self.readings is not None, "nothing to read"
        return self.readings

    def ask(self, path: str, method: str = "GET") -> Answer:
        environ: dict[str, object] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "REQUEST_METHOD": method,
            "wsgi.errors": io.StringIO(),
        }
        setup_testing_defaults(environ)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
            started.append((status, headers))

        iterable = validator(self.app)(environ, start_response)  # type: ignore[arg-type]
        try:
            body = b"".join(iterable).decode()
        finally:
            iterable.close()  # type: ignore[attr-defined]
        [(status, headers)] = started
        return Answer(int(status[:3]), dict(headers), body)


def readings(status: Status, free_bytes: int = 10**9) -> Readings:
    watched = Watched("accelerapp", Probe(status, "said", 0.25, 1), 3.0, 22)
    return Readings((watched,), Disk("/", free_bytes), 23_000_000)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("probe", "free_bytes", "expected", "code"),
    [
        ("pass", 200, "pass", 200),
        ("warn", 200, "warn", 200),
        ("pass", 199, "warn", 200),
        ("fail", 200, "fail", 503),
        ("pass", 99, "fail", 503),
    ],
)
def test_health(client: Client, probe: Status, free_bytes: int, expected: str, code: int) -> None:
    client.readings = readings(probe, free_bytes)
    answer = client.ask("/health")
    assert answer.status == code
    assert answer.headers["Content-Type"] == "application/health+json"
    document = json.loads(answer.body)
    assert document["status"] == expected
    assert document["checks"]["accelerapp:responseTime"] == [
        {
            "status": probe,
            "output": "said",
            "observedValue": 0.25,
            "observedUnit": "s",
            "age_s": 3.0,
        }
    ]
    [disk] = document["checks"]["disk:free"]
    assert disk["observedValue"] == free_bytes


def test_livez_reads_nothing(client: Client) -> None:
    client.readings = None
    answer = client.ask("/livez")
    assert (answer.status, answer.body) == (200, "ok\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_metrics_are_prometheus_text(client: Client) -> None:
    client.readings = readings("fail", 0)
    answer = client.ask("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'accelerapp_monitor_probe_success{target="accelerapp"} 0\n' in answer.body


@pytest.mark.parametrize("path", ["/livez", "/health", "/metrics"])
def test_head_is_get_without_body(client: Client, path: str) -> None:
    got, head = client.ask(path), client.ask(path, "HEAD")
    assert (head.status, head.body) == (got.status, "")
    assert head.headers == got.headers
    assert head.headers["Cache-Control"] == "no-store"
    assert int(head.headers["Content-Length"]) == len(got.body.encode())


@pytest.mark.parametrize("path", ["/livez", "/health", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_405_with_allow(client: Client, path: str, method: str) -> None:
    answer = client.ask(path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(answer.body) == {"status": 405, "error": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/", "/Livez", "/livez/", "/readyz", "/<b>"])
def test_unknown_address_is_json_and_echoes_nothing(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
    assert json.loads(answer.body) == {"status": 404, "error": "Not Found"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_bug_is_json_and_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.readings = None
    with caplog.at_level(logging.ERROR):
        answer = client.ask("/health")
    assert answer.status == 500
    assert json.loads(answer.body) == {"status": 500, "error": "Internal Server Error"}
    assert "nothing to read" in caplog.text
