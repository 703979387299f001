"""The HTTP interface, as a WSGI application."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import bottle  # type: ignore[import-untyped]

from monitoring import metrics
from monitoring.checks import check_disk, check_watched, health_document
from monitoring.readings import Readings

_log = logging.getLogger("monitoring")

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def create_app(
    read: Callable[[], Readings], *, disk_warn_bytes: int, disk_fail_bytes: int
) -> bottle.Bottle:
    """The application: GET and HEAD of /livez, /health and /metrics; errors are JSON.

    `read` is asked anew for each answer and must not wait for anything.
    """

    def livez() -> bottle.HTTPResponse:
        # This process alone: a liveness probe that asks for more restarts what is well.
        return _reply("ok\n", "text/plain; charset=utf-8")

    def health() -> bottle.HTTPResponse:
        readings = read()
        document = health_document(
            (
                *(check_watched(watched) for watched in readings.watched),
                check_disk(readings.disk, warn_bytes=disk_warn_bytes, fail_bytes=disk_fail_bytes),
            )
        )
        return _reply(
            json.dumps(document) + "\n",
            "application/health+json",
            status=503 if document["status"] == "fail" else 200,
        )

    def show_metrics() -> bottle.HTTPResponse:
        return _reply(metrics.exposition(read()), metrics.CONTENT_TYPE)

    app = _JsonErrors()
    app.install(_log_exceptions)
    app.route("/livez", "GET", livez)
    app.route("/health", "GET", health)
    app.route("/metrics", "GET", show_metrics)
    return app


class _JsonErrors(bottle.Bottle):  # type: ignore[misc]
    """Bottle whose every error page is a JSON object that echoes nothing of the request."""

    def default_error_handler(self, error: bottle.HTTPError) -> bytes:
        response = bottle.response
        for name, value in _HEADERS.items():
            response.set_header(name, value)
        response.content_type = "application/json"
        if error.status_code == 405:
            # Bottle lists the routes' own methods and leaves out HEAD, which it serves.
            response.set_header("Allow", "GET, HEAD")
        reason = error.status_line.partition(" ")[2]
        body = {"status": error.status_code, "error": reason}
        return (json.dumps(body) + "\n").encode()


def _log_exceptions(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Bottle plugin: an unexpected exception is logged and answered with 500.

    Bottle would write the traceback to stderr itself, past the log format.
    """

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except bottle.HTTPResponse:
            raise
        except Exception:
            _log.exception("%s %r failed", bottle.request.method, bottle.request.path)
            raise bottle.HTTPError(500) from None

    return guarded


def _reply(body: str, content_type: str, *, status: int = 200) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(
        body.encode(), status=status, headers={**_HEADERS, "Content-Type": content_type}
    )
