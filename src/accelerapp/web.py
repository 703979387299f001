"""The HTTP interface, as a WSGI application.

Health follows Kubernetes' names (/livez, /readyz) and the draft
"Health Check Response Format for HTTP APIs" (application/health+json); errors are
RFC 9457's application/problem+json.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import bottle  # type: ignore[import-untyped]

from accelerapp import api, openapi, page
from accelerapp.about import describe
from accelerapp.assist import Assistant
from accelerapp.device.document import Syntax
from accelerapp.events import Publisher
from accelerapp.lifecycle import Lifecycle
from accelerapp.metrics import Metrics
from accelerapp.negotiation import choose, media_type
from accelerapp.settings import Settings

_log = logging.getLogger("accelerapp")

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Status = Literal["pass", "warn", "fail"]


def create_app(
    settings: Settings,
    lifecycle: Lifecycle,
    *,
    assistant: Assistant | None = None,
    publisher: Publisher | None = None,
) -> bottle.Bottle:
    """The application: probes, metrics, the page, and the interface under /v1."""
    metrics = Metrics(settings.revision, publisher)
    generator = api.Generator(settings, metrics, assistant, publisher)

    def livez() -> bottle.HTTPResponse:
        # This process alone: a liveness probe that asks for more restarts what is well.
        return _reply("ok\n", "text/plain; charset=utf-8")

    def readyz() -> bottle.HTTPResponse:
        checks: dict[str, tuple[Status, str]] = {
            "lifecycle": _check_lifecycle(lifecycle),
            "output_dir": _check_output_dir(settings.output_dir),
        }
        # Both from memory, and neither can fail: the service is of use without them.
        if assistant is not None:
            checks["ollama"] = assistant.check()
        if publisher is not None:
            checks["redis"] = publisher.check()
        statuses = {status for status, _ in checks.values()}
        overall: Status = "pass"
        if statuses != {"pass"}:
            overall = "fail" if "fail" in statuses else "warn"
        health: dict[str, object] = {"status": overall}
        if "verbose" in bottle.request.query:
            health["checks"] = {
                name: [{"status": status, "output": output}]
                for name, (status, output) in checks.items()
            }
        return _reply(
            json.dumps(health) + "\n",
            "application/health+json",
            status=503 if overall == "fail" else 200,
        )

    def info() -> bottle.HTTPResponse:
        about = {
            **describe({"ACCELERAPP_REVISION": settings.revision}),
            "started_at": lifecycle.started_at.isoformat(timespec="seconds"),
            "uptime_s": round(lifecycle.uptime_s, 3),
        }
        return _reply(json.dumps(about) + "\n", "application/json")

    def exposition() -> bottle.HTTPResponse:
        body, content_type = metrics.exposition(bottle.request.get_header("Accept", ""))
        return _reply(body, content_type)

    def generate() -> bottle.HTTPResponse:
        request = bottle.request
        if request.get_header("Sec-Fetch-Site") == "cross-site":
            raise api.Refusal(403, "another site's page may not use this service")
        save = _flag(_only(request.query, ("save",)), "save")
        content_type = choose(request.get_header("Accept", ""), api.ANSWER_TYPES)
        if content_type is None:
            raise api.Refusal(406, f"answers are {' or '.join(api.ANSWER_TYPES)}; accept one")
        answer = generator.answer(
            request.environ["wsgi.input"].read(settings.max_body_bytes + 1),
            _syntax(request),
            content_type,
            save=save,
        )
        return _reply(answer.body, answer.content_type, headers=answer.headers)

    app = _Application(metrics)
    app.install(_answer_exceptions)
    app.route("/", "GET", _constant(page.html(), "text/html; charset=utf-8", page.policy()))
    app.route("/livez", "GET", livez)
    app.route("/readyz", "GET", readyz)
    app.route("/info", "GET", info)
    app.route("/metrics", "GET", exposition)
    app.route("/openapi.json", "GET", _constant(openapi.document(settings), "application/json"))
    app.route("/v1/platforms", "GET", _constant(api.platforms(), "application/json"))
    app.route("/v1/generate", "POST", generate)
    return app


class _Application(bottle.Bottle):  # type: ignore[misc]
    """Bottle whose errors are problems that echo nothing of the request, and are counted."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status = ""

        def begin(line: str, *rest: Any) -> Any:
            nonlocal status
            status = line[:3]
            return start_response(line, *rest)

        try:
            environ["PATH_INFO"].encode("latin-1").decode()
        except UnicodeError:
            # Bottle would drop the bytes that are not UTF-8, and find another path.
            environ["PATH_INFO"] = "/-"
        start_s = time.perf_counter()
        self._metrics.in_progress.inc()
        try:
            return super().wsgi(environ, begin)  # type: ignore[no-any-return]
        finally:
            self._metrics.in_progress.dec()
            route = environ.get("bottle.route")
            rule = route.rule if route is not None else ""
            method = environ["REQUEST_METHOD"]
            # What strangers make up is no label.
            known = method if method in _METHODS else "other"
            self._metrics.requests.labels(rule, known, status).inc()
            self._metrics.request_seconds.labels(rule).observe(time.perf_counter() - start_s)

    def default_error_handler(self, error: bottle.HTTPError) -> bytes:
        response = bottle.response
        for name, value in _HEADERS.items():
            response.set_header(name, value)
        response.content_type = "application/problem+json"
        detail = ""
        if error.status_code == 405:
            # Bottle lists the routes' own methods and leaves out HEAD, which it serves.
            allowed = str(error.get_header("Allow", "")).split(",")
            if "GET" in allowed:
                allowed.append("HEAD")
            response.set_header("Allow", ", ".join(sorted(allowed)))
            detail = f"use {' or '.join(sorted(allowed))}"
        elif error.status_code == 404:
            detail = "see /openapi.json for what there is"
        return problem(error.status_code, detail)


_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))


def problem(status: int, detail: str, problems: Iterable[dict[str, Any]] = ()) -> bytes:
    """The body of an error, as RFC 9457 has it; `errors` is ours."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": list(problems),
    }
    return json.dumps(body, ensure_ascii=False).encode() + b"\n"


def _answer_exceptions(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Bottle plugin: refusals become problems; what nobody expected is logged, and a 500.

    Bottle would write the traceback to stderr itself, past the log format.
    """

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except bottle.HTTPResponse:
            raise
        except api.Refusal as refusal:
            return _reply(
                problem(refusal.status, refusal.detail, (p.as_dict() for p in refusal.problems)),
                "application/problem+json",
                status=refusal.status,
                headers=refusal.headers,
            )
        except Exception:
            _log.exception("%s %r failed", bottle.request.method, bottle.request.path)
            raise bottle.HTTPError(500) from None

    return guarded


def _reply(
    body: str | bytes,
    content_type: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(
        body.encode() if isinstance(body, str) else body,
        status=status,
        headers={**_HEADERS, **(headers or {}), "Content-Type": content_type},
    )


def _constant(
    body: bytes, content_type: str, policy: str = ""
) -> Callable[[], bottle.HTTPResponse]:
    """A route whose answer changes with the version alone: RFC 9110's validators."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}
    if policy:
        headers["Content-Security-Policy"] = policy

    def answer() -> bottle.HTTPResponse:
        if tag in bottle.request.get_header("If-None-Match", ""):
            return bottle.HTTPResponse(status=304, headers={**_HEADERS, **headers})
        return _reply(body, content_type, headers=headers)

    return answer


def _only(query: Any, known: tuple[str, ...]) -> Any:
    for name in query:
        if name not in known:
            raise api.Refusal(400, f"the query has {name!r:.60}; known: {', '.join(known)}")
    return query


def _flag(query: Any, name: str) -> bool:
    given = query.getall(name)
    if given not in ([], ["true"], ["false"]):
        raise api.Refusal(400, f"{name} is true or false, once")
    return bool(given == ["true"])


def _syntax(request: Any) -> Syntax:
    if request.get_header("Content-Encoding", "identity").lower() != "identity":
        raise api.Refusal(
            415, "send the description as it is", headers={"Accept-Encoding": "identity"}
        )
    kind, charset = media_type(request.get_header("Content-Type", ""))
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise api.Refusal(415, "send the description in UTF-8")
    if kind in api.JSON_TYPES:
        return "json"
    if not kind or kind in api.YAML_TYPES:
        return "yaml"
    accepted = ", ".join((*api.YAML_TYPES, *api.JSON_TYPES))
    raise api.Refusal(415, f"send one of {accepted}", headers={"Accept-Post": accepted})


def _check_lifecycle(lifecycle: Lifecycle) -> tuple[Status, str]:
    return ("fail", "stopping") if lifecycle.draining else ("pass", "running")


def _check_output_dir(path: Path) -> tuple[Status, str]:
    # Absent is no failure: on a read-only root nobody may have mounted one, and
    # only `save` needs it. access(2) knows read-only mounts, and leaves no file behind.
    if not path.exists():
        return "warn", f"{path} does not exist"
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return "pass", f"{path} is writable"
    return "fail", f"{path} is not a writable directory"
