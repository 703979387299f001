"""The HTTP interface, as a WSGI application.

Health follows Kubernetes' names (/livez, /readyz) and the draft
"Health Check Response Format for HTTP APIs" (application/health+json).
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import bottle  # type: ignore[import-untyped]

from monitoring import metrics, page
from monitoring.addresses import Secret
from monitoring.checks import WORDS, Check, health_document, overall
from monitoring.history import INTERVAL_S
from monitoring.lifecycle import Lifecycle
from monitoring.readings import Readings, judge
from monitoring.settings import Settings

_log = logging.getLogger("monitoring")

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PAGE_HEADERS = {
    "Content-Security-Policy": page.CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Less than this fits in the packet with the head, compressed or not.
_WORTH_COMPRESSING = 1024
HEALTH = "application/health+json"
PATHS = {
    "/": (
        "a page for people: state, checks, curves of the last ten minutes; no assets from"
        " elsewhere, no need of JavaScript"
    ),
    "/livez": "200 and `ok`: this process alone, for liveness probes",
    "/readyz": (
        "`application/health+json`: 200, and 503 while the monitor stops; `?verbose` says more"
    ),
    "/health": "`application/health+json`: 200 for `pass` and `warn`, 503 for `fail`",
    "/status": (
        "JSON: name, version, revision, uptime, overall status, configuration without secrets"
    ),
    "/metrics": ("Prometheus' text format 0.0.4, or OpenMetrics 1.0.0 for whoever prefers it"),
}
"""What each path answers, as the README has it."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """What the answers are made of. None of the functions waits for anything."""

    settings: Settings
    lifecycle: Lifecycle
    about: metrics.About
    traffic: metrics.Traffic
    read: Callable[[], Readings]
    series: Callable[[], tuple[page.Series, ...]]
    connections: Callable[[], int]


def create_app(monitor: Monitor) -> Callable[..., Iterable[bytes]]:
    """The application: GET and HEAD of its paths; errors are JSON; each answer is counted."""
    settings, lifecycle, about = monitor.settings, monitor.lifecycle, monitor.about

    def look() -> tuple[Readings, tuple[Check, ...]]:
        readings = monitor.read()
        return readings, judge(readings, settings)

    def livez() -> bottle.HTTPResponse:
        # This process alone: a liveness probe that asks for more restarts what is well.
        return _reply("ok\n", "text/plain; charset=utf-8")

    def readyz() -> bottle.HTTPResponse:
        stopping = lifecycle.stopping
        document: dict[str, object] = {"status": "fail" if stopping else "pass"}
        if "verbose" in bottle.request.query:
            readings, checks = look()
            looked = sum(watched.last is not None for watched in readings.watched)
            document["output"] = "stopping" if stopping else "serving"
            document["probes"] = {"configured": len(readings.watched), "ended": looked}
            document["health"] = overall(checks)
        return _json(document, HEALTH, status=503 if stopping else 200)

    def health() -> bottle.HTTPResponse:
        _, checks = look()
        document = {
            **health_document(checks, datetime.now(UTC)),
            "serviceId": "accelerapp-monitor",
            "version": about.version,
            "releaseId": about.revision or about.version,
        }
        return _json(document, HEALTH, status=503 if document["status"] == "fail" else 200)

    def status() -> bottle.HTTPResponse:
        _, checks = look()
        return _json(
            {
                "name": "accelerapp-monitor",
                "version": about.version,
                "revision": about.revision,
                "python": about.python,
                "status": WORDS[overall(checks)],
                "stopping": lifecycle.stopping,
                "started_at": lifecycle.started_at.isoformat(timespec="seconds"),
                "uptime_s": round(lifecycle.uptime_s, 3),
                "checks": {
                    f"{check.component}:{check.component_id}"
                    if check.component_id
                    else check.component: check.status
                    for check in checks
                },
                "configuration": settings.shown(),
            }
        )

    def show_metrics() -> bottle.HTTPResponse:
        readings, checks = look()
        moment = metrics.Moment(about, readings, checks, monitor.traffic, monitor.connections())
        accept = _header("ACCEPT")
        body, media_type = metrics.exposition(moment, accept)
        return _reply(body, media_type, vary="Accept, Accept-Encoding")

    def show_page() -> bottle.HTTPResponse:
        _, checks = look()
        view = page.View(
            status=overall(checks),
            checks=checks,
            series=monitor.series(),
            series_interval_s=INTERVAL_S,
            version=about.version,
            revision=about.revision,
            uptime_s=lifecycle.uptime_s,
            stopping=lifecycle.stopping,
            at=datetime.now(UTC),
        )
        return _reply(page.render(view), "text/html; charset=utf-8", headers=_PAGE_HEADERS)

    app = _JsonErrors()
    app.install(_log_exceptions)
    if settings.token is not None:
        app.add_hook("before_request", _demand(settings.token))
    routes = {
        "/": show_page,
        "/livez": livez,
        "/readyz": readyz,
        "/health": health,
        "/status": status,
        "/metrics": show_metrics,
    }
    for path, handler in routes.items():
        app.route(path, "GET", handler)
    return _counted(app, frozenset(routes), monitor.traffic)


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


def _demand(token: Secret) -> Callable[[], None]:
    """A hook that lets nobody without the token past /livez.

    As `Bearer` (RFC 6750), or as the password of `Basic`, which a browser can ask for.
    """
    wanted = token.reveal().encode()

    def demand() -> None:
        if bottle.request.path == "/livez":
            return
        scheme, _, given = _header("AUTHORIZATION").partition(" ")
        password = given.strip().encode("latin-1", "replace")
        if scheme.lower() == "basic":
            try:
                password = base64.b64decode(password, validate=True).partition(b":")[2]
            except ValueError:
                password = b""
        elif scheme.lower() != "bearer":
            password = b""
        if not hmac.compare_digest(password, wanted):
            realm = 'realm="accelerapp-monitor"'
            refusal = bottle.HTTPError(401)
            refusal.add_header("WWW-Authenticate", f"Bearer {realm}")
            refusal.add_header("WWW-Authenticate", f'Basic {realm}, charset="UTF-8"')
            raise refusal

    return demand


def _counted(
    app: Callable[..., Iterable[bytes]], paths: frozenset[str], traffic: metrics.Traffic
) -> Callable[..., Iterable[bytes]]:
    """Count each answer of `app`, under what is known of its method and path."""

    def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        began_s = time.perf_counter()
        code = 500
        if not environ["PATH_INFO"].isascii():
            # bottle drops bytes that are no UTF-8: /%ff would be the page.
            environ["PATH_INFO"] = "/other"

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            nonlocal code
            code = int(status.partition(" ")[0])
            return start_response(status, headers, exc_info)

        body = app(environ, start)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        traffic.answered(
            method if method in _METHODS else "other",
            path if path in paths else "other",
            code,
            time.perf_counter() - began_s,
        )
        return body

    return counted


def _json(
    document: dict[str, object], media_type: str = "application/json", *, status: int = 200
) -> bottle.HTTPResponse:
    return _reply(json.dumps(document) + "\n", media_type, status=status)


def _reply(
    body: str | bytes,
    media_type: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    vary: str = "Accept-Encoding",
) -> bottle.HTTPResponse:
    content = body.encode() if isinstance(body, str) else body
    fields = {**_HEADERS, "Content-Type": media_type, **(headers or {})}
    if len(content) >= _WORTH_COMPRESSING:
        fields["Vary"] = vary
        if _takes_gzip(_header("ACCEPT_ENCODING")):
            content = gzip.compress(content, compresslevel=1, mtime=0)
            fields["Content-Encoding"] = "gzip"
    return bottle.HTTPResponse(content, status=status, headers=fields)


def _header(name: str) -> str:
    # Not by bottle's own mapping: it raises for what is not UTF-8.
    value: str = bottle.request.environ.get(f"HTTP_{name}", "")
    return value


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding (RFC 9110, 12.5.3) asks for gzip."""
    found = re.search(r"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q=([0-9.]+)\s*)?(?:,|$)", accepted.lower())
    return found is not None and (found[1] or "1").strip("0.") != ""
