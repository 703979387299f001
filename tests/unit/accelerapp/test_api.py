"""POST /v1/generate and what is around it, through WSGI."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from accelerapp import api, openapi
from accelerapp.assist import Assist, WiringNote
from accelerapp.device.boards import BOARDS
from accelerapp.device.example import example
from accelerapp.device.peripherals import TYPES
from accelerapp.generate import output
from accelerapp.lifecycle import Lifecycle
from accelerapp.settings import Settings
from accelerapp.web import create_app

LAMP = "name: lamp\nplatform: esp32\nperipherals: [{type: led, pin: 4}]\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Model:
    """An assistant that knows its lines."""

    def __init__(self, status: str = "pass") -> None:
        self.status = status

    def explain(self, device: object) -> Assist:
        if self.status == "pass":
            return Assist("pass", "m", "A lamp.", (WiringNote("led", "To GPIO4."),))
        return Assist("degraded", "m", reason="it sleeps")

    def check(self) -> tuple[str, str]:
        return ("pass", "there") if self.status == "pass" else ("warn", "asleep")


class Stream:
    """A publisher that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[dict[str, str]] = []
        self.counts = (3, 2)

    def publish(self, fields: Mapping[str, str]) -> None:
        self.events.append(dict(fields))

    def check(self) -> tuple[str, str]:
        return "warn", "away"


class Client:
    def __init__(self, settings: Settings, model: Any = None, stream: Any = None) -> None:
        self.app = create_app(settings, Lifecycle(), assistant=model, publisher=stream)

    def ask(
        self, path: str, method: str = "GET", body: bytes | str = b"", **headers: str
    ) -> Answer:
        path, _, query = path.partition("?")
        data = body.encode() if isinstance(body, str) else body
        environ: dict[str, Any] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
            "wsgi.errors": io.StringIO(),
        }
        for name, value in headers.items():
            key = name.upper()
            environ[key if key in ("CONTENT_TYPE",) else f"HTTP_{key}"] = value
        setup_testing_defaults(environ)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, given: list[tuple[str, str]], *_: object) -> None:
            started.append((status, given))

        iterable = validator(self.app)(environ, start_response)  # type: ignore[arg-type]
        try:
            answered = b"".join(iterable)
        finally:
            iterable.close()  # type: ignore[attr-defined]
        [(status, given)] = started
        return Answer(int(status[:3]), dict(given), answered)

    def generate(self, body: str | bytes = LAMP, query: str = "", **headers: str) -> Answer:
        headers.setdefault("content_type", "application/yaml")
        return self.ask(f"/v1/generate{query}", "POST", body, **headers)

    def metrics(self) -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(self.ask("/metrics").body.decode())
        return {
            (sample.name, ",".join(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.load({}), output_dir=tmp_path / "output")


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(settings)


SCHEMAS = json.loads(openapi.document(Settings.load({})))["components"]["schemas"]


def check_schema(name: str, document: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("platform", BOARDS)
def test_the_example_becomes_files(client: Client, platform: str) -> None:
    answer = client.generate(example(platform))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    check_schema("Generated", answer.json)
    files = {file["path"]: file["content"] for file in answer.json["files"]}
    firmware = "firmware/main.py" if platform == "raspberry-pi" else "firmware/src/main.cpp"
    assert "greenhouse" in files[firmware]
    assert answer.json["digest"] == answer.headers["Accelerapp-Digest"]
    assert client.generate(example(platform)).body == answer.body


@pytest.mark.parametrize(
    "content_type",
    [*api.YAML_TYPES, "", "text/yaml; charset=UTF-8", 'application/yaml; charset="utf-8"'],
)
def test_yaml_by_all_its_names(client: Client, content_type: str) -> None:
    assert client.generate(content_type=content_type).status == 200


def test_json_in_is_read_as_json(client: Client) -> None:
    described = {"name": "lamp", "platform": "esp32", "peripherals": [{"type": "led", "pin": 4}]}
    answer = client.generate(json.dumps(described), content_type="application/json")
    assert answer.json["digest"] == client.generate().json["digest"]
    yaml_as_json = client.generate(LAMP, content_type="application/json")
    assert yaml_as_json.status == 400
    assert "not JSON" in yaml_as_json.json["errors"][0]["message"]


def test_a_zip_has_the_same_files(client: Client) -> None:
    answer = client.generate(accept="application/zip")
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="lamp.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        held = {name: archive.read(name).decode() for name in archive.namelist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    files = {f"lamp/{file['path']}": file["content"] for file in client.generate().json["files"]}
    assert held == files
    assert client.generate(accept="application/zip").body == answer.body


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/zip;q=0.9, application/json;q=0.1", "application/zip"),
        ("application/json;q=0, */*", "application/zip"),
        ("text/html, application/zip", "application/zip"),
    ],
)
def test_the_answer_is_what_the_client_likes_best(
    client: Client, accept: str, content_type: str
) -> None:
    assert client.generate(accept=accept).headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("status", "detail", "sent"),
    [
        (406, "accept one", {"accept": "text/html"}),
        (415, "send one of", {"content_type": "text/plain"}),
        (415, "UTF-8", {"content_type": "text/yaml; charset=latin-1"}),
        (415, "as it is", {"content_encoding": "gzip"}),
        (400, "known: save", {"query": "?safe=true"}),
        (400, "true or false", {"query": "?save=1"}),
        (400, "once", {"query": "?save=true&save=true"}),
        (403, "another site", {"sec_fetch_site": "cross-site"}),
        (400, "cannot be read", {"body": "["}),
        (400, "cannot be read", {"body": b"\xff"}),
        (422, "1 problem", {"body": LAMP.replace("led", "lde")}),
    ],
)
def test_refusals_are_problems_that_say_why(
    client: Client, status: int, detail: str, sent: dict[str, Any]
) -> None:
    answer = client.generate(**sent)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    check_schema("Problem", answer.json)
    assert answer.json["status"] == status
    assert detail in answer.json["detail"]


def test_problems_have_line_and_field(client: Client) -> None:
    [error] = client.generate(LAMP.replace("led", "lde")).json["errors"]
    assert (error["line"], error["field"]) == (3, "peripherals[0].type")
    assert "did you mean 'led'" in error["message"]


def test_saving_writes_below_the_output_directory(client: Client, settings: Settings) -> None:
    assert client.generate().json["saved"] is None
    assert not settings.output_dir.exists()
    assert client.generate(query="?save=true").json["saved"] == "lamp"
    saved = settings.output_dir / "lamp"
    assert json.loads((saved / "device.json").read_text())["name"] == "lamp"
    assert client.generate(query="?save=true").status == 200


def test_saving_over_somebody_s_folder_is_a_conflict(client: Client, settings: Settings) -> None:
    (settings.output_dir / "lamp").mkdir(parents=True)
    (settings.output_dir / "lamp" / "letter").touch()
    answer = client.generate(query="?save=true")
    assert answer.status == 409
    assert str(settings.output_dir) not in answer.json["detail"]


def test_a_full_disk_is_507(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise output.OutputError("no space", full=True)

    monkeypatch.setattr(api, "write", full)
    assert client.generate(query="?save=true").status == 507
    assert client.generate().status == 200


def test_an_unwritable_folder_is_503(client: Client, settings: Settings) -> None:
    settings.output_dir.touch()
    answer = client.generate(query="?save=true")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")


def test_too_many_at_once_are_told_to_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(replace(settings, concurrency=1))
    monkeypatch.setattr(api, "WAIT_S", 0.05)
    inside, done = threading.Event(), threading.Event()
    generate = api.generate

    def slow(device: Any) -> Any:
        inside.set()
        done.wait(10)
        return generate(device)

    monkeypatch.setattr(api, "generate", slow)
    answers: list[Answer] = []
    first = threading.Thread(target=lambda: answers.append(client.generate()))
    first.start()
    assert inside.wait(10)
    try:
        second = client.generate()
        assert client.ask("/livez").status == 200
    finally:
        done.set()
        first.join()
    assert (second.status, second.headers["Retry-After"]) == (503, "1")
    assert answers[0].status == 200
    assert client.metrics()["accelerapp_generations_total", ",busy"] == 1


def test_the_assist_is_part_of_the_answer(settings: Settings) -> None:
    client = Client(settings, Model())
    answer = client.generate(LAMP + "assist: true\n")
    check_schema("Generated", answer.json)
    assert answer.json["assist"]["explanation"] == "A lamp."
    assert answer.headers["Accelerapp-Assist"] == "pass"
    notes = {file["path"]: file["content"] for file in answer.json["files"]}["ASSIST.md"]
    assert "A lamp" in notes
    assert "not by a person" in notes
    # What a model says is no part of what was generated.
    assert answer.json["digest"] == client.generate().json["digest"]
    assert client.generate().json["assist"] is None


@pytest.mark.parametrize("model", [None, Model("degraded")])
def test_without_a_model_there_is_a_reason_and_everything_else(
    settings: Settings, model: Model | None
) -> None:
    answer = Client(settings, model).generate(LAMP + "assist: true\n")
    assert answer.status == 200
    assert answer.json["assist"]["status"] == answer.headers["Accelerapp-Assist"] == "degraded"
    assert answer.json["assist"]["reason"] in (
        "it sleeps",
        "this service has no model; set OLLAMA_HOST for it",
    )
    assert "ASSIST.md" not in [file["path"] for file in answer.json["files"]]


def test_each_generation_is_published(settings: Settings) -> None:
    stream = Stream()
    client = Client(settings, None, stream)
    client.generate("name: [\n")
    answer = client.generate().json
    [event] = stream.events
    assert event.pop("at").endswith("+00:00")
    assert event.pop("version")
    assert event == {
        "device": "lamp",
        "platform": "esp32",
        "digest": answer["digest"],
        "files": str(len(answer["files"])),
        "size_bytes": str(sum(file["size_bytes"] for file in answer["files"])),
    }


def test_what_is_not_there_only_warns(settings: Settings) -> None:
    settings.output_dir.mkdir()
    answer = Client(settings, Model("degraded"), Stream()).ask("/readyz?verbose")
    assert (answer.status, answer.json["status"]) == (200, "warn")
    assert answer.json["checks"]["redis"] == [{"status": "warn", "output": "away"}]
    assert answer.json["checks"]["ollama"] == [{"status": "warn", "output": "asleep"}]
    check_schema("Health", answer.json)


def test_metrics_count_by_route_and_never_by_path(settings: Settings) -> None:
    client = Client(settings, Model(), Stream())
    client.generate()
    client.generate("[")
    client.generate(LAMP + "assist: true\n")
    client.ask("/<script>")
    client.ask("/livez", "TRACE")
    metrics = client.metrics()
    assert metrics["accelerapp_http_requests_total", "POST,/v1/generate,200"] == 2
    assert metrics["accelerapp_generations_total", "esp32,generated"] == 2
    assert metrics["accelerapp_generations_total", ",unreadable"] == 1
    assert metrics["accelerapp_assists_total", "pass"] == 1
    assert metrics["accelerapp_events_published_total", ""] == 3
    assert metrics["accelerapp_events_dropped_total", ""] == 2
    assert metrics["accelerapp_redis_up", ""] == 0
    assert metrics["accelerapp_generated_bytes_total", ""] > 10_000
    labels = " ".join(label for _, label in metrics)
    assert "script" not in labels
    assert "TRACE" not in labels


def test_metrics_as_openmetrics_when_asked(client: Client) -> None:
    answer = client.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


def test_platforms_has_every_board_and_type(client: Client) -> None:
    answer = client.ask("/v1/platforms")
    check_schema("Platforms", answer.json)
    assert [board["platform"] for board in answer.json["platforms"]] == list(BOARDS)
    assert [kind["type"] for kind in answer.json["peripherals"]] == list(TYPES)


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/v1/platforms"])
def test_what_does_not_change_is_not_sent_twice(client: Client, path: str) -> None:
    first = client.ask(path)
    again = client.ask(path, if_none_match=first.headers["Etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["Etag"] == first.headers["Etag"]
    assert client.ask(path, if_none_match='"other"').status == 200


def test_the_document_describes_every_route(client: Client) -> None:
    paths = client.ask("/openapi.json").json["paths"]
    described = {
        (path, method.upper()) for path, operations in paths.items() for method in operations
    }
    assert described == {(route.rule, route.method) for route in client.app.routes}


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_page_allows_nothing_but_itself(client: Client) -> None:
    answer = client.ask("/")
    text = answer.body.decode()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "{{" not in text
    assert " onclick=" not in text
    assert "innerHTML" not in text
    for platform in BOARDS:
        assert json.dumps(platform)[1:-1] in text
