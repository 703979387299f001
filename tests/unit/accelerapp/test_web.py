from __future__ import annotations

import io
import json
import os
import platform
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import accelerapp
from accelerapp.lifecycle import Lifecycle
from accelerapp.settings import Settings
from accelerapp.web import create_app


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Client:
    def __init__(self, settings: Settings) -> None:
        self.lifecycle = Lifecycle()
        self.app = create_app(settings, self.lifecycle)

    def ask(self, path: str, method: str = "GET") -> Answer:
        path, _, query = path.partition("?")
        environ: dict[str, object] = {
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.load({}), output_dir=tmp_path, revision="abc123")


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(settings)


def drain(client: Client) -> None:
    client.lifecycle.stop(signal.SIGTERM)


def test_livez_is_about_this_process_alone(settings: Settings, tmp_path: Path) -> None:
    client = Client(replace(settings, output_dir=tmp_path / "file"))
    (tmp_path / "file").touch()
    drain(client)
    answer = client.ask("/livez")
    assert (answer.status, answer.body) == (200, "ok\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_readyz_passes(client: Client, tmp_path: Path) -> None:
    answer = client.ask("/readyz?verbose")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/health+json"
    assert json.loads(answer.body) == {
        "status": "pass",
        "checks": {
            "lifecycle": [{"status": "pass", "output": "running"}],
            "output_dir": [{"status": "pass", "output": f"{tmp_path} is writable"}],
        },
    }


def test_readyz_says_little_unless_asked(client: Client) -> None:
    assert json.loads(client.ask("/readyz").body) == {"status": "pass"}


def test_readyz_fails_while_draining(client: Client) -> None:
    drain(client)
    answer = client.ask("/readyz?verbose")
    assert answer.status == 503
    health = json.loads(answer.body)
    assert health["status"] == "fail"
    assert health["checks"]["lifecycle"] == [{"status": "fail", "output": "stopping"}]


def test_readyz_only_warns_of_an_absent_output_directory(
    settings: Settings, tmp_path: Path
) -> None:
    answer = Client(replace(settings, output_dir=tmp_path / "none")).ask("/readyz?verbose")
    health = json.loads(answer.body)
    assert (answer.status, health["status"]) == (200, "warn")
    assert "does not exist" in health["checks"]["output_dir"][0]["output"]


def test_readyz_fails_when_the_output_directory_is_a_file(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o777)
    assert Client(replace(settings, output_dir=file)).ask("/readyz").status == 503


def test_readyz_fails_when_the_output_directory_is_not_writable(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Not by mode: root may write anywhere.
    asked: list[tuple[object, int]] = []

    def refuse(path: object, mode: int) -> bool:
        asked.append((path, mode))
        return False

    monkeypatch.setattr(os, "access", refuse)
    assert client.ask("/readyz").status == 503
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


def test_info(client: Client) -> None:
    answer = client.ask("/info")
    info = json.loads(answer.body)
    started_at = datetime.fromisoformat(info.pop("started_at"))
    assert timedelta(0) <= datetime.now(UTC) - started_at < timedelta(minutes=1)
    assert 0 <= info.pop("uptime_s") < 60
    assert info == {
        "name": "accelerapp",
        "version": accelerapp.__version__,
        "revision": "abc123",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    assert answer.headers["Content-Type"] == "application/json"


def test_info_leaves_out_an_unknown_revision(settings: Settings) -> None:
    info = json.loads(Client(replace(settings, revision="")).ask("/info").body)
    assert "revision" not in info
    assert "version" in info


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/info", "/none"])
def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    get, head = client.ask(path), client.ask(path, "HEAD")
    assert (head.status, head.body) == (get.status, "")
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["Content-Type"] == get.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    answer = client.ask("/info", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": "use GET or HEAD",
        "errors": [],
    }


@pytest.mark.parametrize("path", ["/none", "/livez/", "/<script>", "/\xff"])
def test_unknown_path_is_a_problem_and_echoes_nothing(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "see /openapi.json for what there is",
        "errors": [],
    }


def test_an_exception_is_logged_and_answered_with_a_problem(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret reason")

    client.app.route("/broken", "GET", broken)
    answer = client.ask("/broken")
    assert answer.status == 500
    assert json.loads(answer.body)["title"] == "Internal Server Error"
    assert "secret" not in answer.body
    assert "GET '/broken' failed" in caplog.text
    assert "the secret reason" in caplog.text


@pytest.mark.parametrize(
    ("path", "method"),
    [("/livez", "GET"), ("/readyz", "GET"), ("/info", "GET"), ("/none", "GET"), ("/info", "POST")],
)
def test_nothing_is_cached_or_sniffed(client: Client, path: str, method: str) -> None:
    headers = client.ask(path, method).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
