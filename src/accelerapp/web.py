"""The HTTP interface, as a WSGI application.

Health follows Kubernetes' names (/livez, /readyz) and the draft
"Health Check Response Format for HTTP APIs" (application/health+json).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import bottle  # type: ignore[import-untyped]

from accelerapp.about import describe
from accelerapp.lifecycle import Lifecycle
from accelerapp.settings import Settings

_log = logging.getLogger("accelerapp")

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Status = Literal["pass", "warn", "fail"]


def create_app(settings: Settings, lifecycle: Lifecycle) -> bottle.Bottle:
    """The application: GET and HEAD of /livez, /readyz and /info; errors are JSON."""

    def livez() -> bottle.HTTPResponse:
        # This process alone: a liveness probe that asks for more restarts what is well.
        return _reply("ok\n", "text/plain; charset=utf-8")

    def readyz() -> bottle.HTTPResponse:
        checks = {
            "lifecycle": _check_lifecycle(lifecycle),
            "output_dir": _check_output_dir(settings.output_dir),
        }
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

    app = _JsonErrors()
    app.install(_log_exceptions)
    app.route("/livez", "GET", livez)
    app.route("/readyz", "GET", readyz)
    app.route("/info", "GET", info)
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


def _check_lifecycle(lifecycle: Lifecycle) -> tuple[Status, str]:
    return ("fail", "stopping") if lifecycle.draining else ("pass", "running")


def _check_output_dir(path: Path) -> tuple[Status, str]:
    # Absent is no failure: on a read-only root nobody may have mounted one, and
    # nothing that is served today needs it. access(2) knows read-only mounts,
    # and leaves no file behind.
    if not path.exists():
        return "warn", f"{path} does not exist"
    if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
        return "pass", f"{path} is writable"
    return "fail", f"{path} is not a writable directory"
