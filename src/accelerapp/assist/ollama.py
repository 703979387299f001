"""The two requests of Ollama's HTTP API that the assist makes, each with a deadline.

`POST /api/chat` is streamed, one JSON object a line (application/x-ndjson), `GET /api/tags`
lists the models.  Redirects are not followed and no proxy is asked: OLLAMA_HOST names the
machine itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

MAX_LINE_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 256 * 1024
# Tokens: an explanation and a note for each of 32 peripherals fit well.
MAX_TOKENS = 1500

T = TypeVar("T")


class OllamaError(Exception):
    """Ollama did not do it: one sentence, with what to do where that is known."""


class Ollama:
    """One Ollama. Each request has a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._path = quote(parts.path.rstrip("/"), safe="/%")

    def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any],
        deadline_s: float,
    ) -> str:
        """The whole answer of the model. Raises OllamaError, at the latest after `deadline_s`."""
        body = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "format": schema,
            "options": {"temperature": 0, "seed": 0, "num_predict": MAX_TOKENS, "num_ctx": 8192},
        }

        def read(response: http.client.HTTPResponse) -> str:
            if response.status == 404 and "not found" in (said := _error(response)):
                raise OllamaError(
                    f"model {model!r} is not there ({said}); run: ollama pull {model}"
                )
            self._expect_ok(response)
            return _joined(response)

        return self._exchange("POST", "/api/chat", json.dumps(body).encode(), deadline_s, read)

    def models(self, deadline_s: float) -> frozenset[str]:
        """The names of the models that are there, with their tags. Raises OllamaError."""

        def read(response: http.client.HTTPResponse) -> frozenset[str]:
            self._expect_ok(response)
            try:
                listed = json.loads(response.read(MAX_ANSWER_BYTES))["models"]
                return frozenset(str(entry["name"]) for entry in listed)
            except (ValueError, KeyError, TypeError, RecursionError):
                raise OllamaError(f"{self.url} answers something else than Ollama does") from None

        return self._exchange("GET", "/api/tags", None, deadline_s, read)

    def _expect_ok(self, response: http.client.HTTPResponse) -> None:
        if 300 <= response.status < 400:
            raise OllamaError(f"{self.url} redirects; set OLLAMA_HOST to where Ollama is")
        if response.status != 200:
            said = _error(response)
            raise OllamaError(f"{self.url} answered {response.status}{said and f': {said}'}")

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        deadline_s: float,
        read: Callable[[http.client.HTTPResponse], T],
    ) -> T:
        end_s = time.monotonic() + deadline_s
        connection = self._connection(deadline_s)
        cut = threading.Event()
        watchdog: threading.Timer | None = None
        try:
            connection.connect()
            # A timeout restarts with each byte; this one does not, whatever drips.
            held = connection.sock
            watchdog = threading.Timer(max(end_s - time.monotonic(), 0), _cut, (held, cut))
            watchdog.daemon = True
            watchdog.start()
            headers = {"User-Agent": "accelerapp", "Accept-Encoding": "identity"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, self._path + path, body, headers)
            result = read(connection.getresponse())
            if cut.is_set():
                raise OllamaError(self._late(deadline_s))
            return result
        except OllamaError:
            if cut.is_set():
                raise OllamaError(self._late(deadline_s)) from None
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if cut.is_set() or isinstance(error, TimeoutError):
                raise OllamaError(self._late(deadline_s)) from None
            raise OllamaError(f"{self.url} {_reason(error)}") from None
        finally:
            if watchdog is not None:
                watchdog.cancel()
            connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        timeout_s = max(timeout_s, 0.001)
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _late(self, deadline_s: float) -> str:
        return (
            f"{self.url} was not done after {deadline_s:g} s;"
            " choose a smaller model, or raise ACCELERAPP_ASSIST_DEADLINE_S"
        )


def _cut(held: socket.socket, cut: threading.Event) -> None:
    cut.set()
    with contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return f"cannot be reached ({error.strerror}); start Ollama, or correct OLLAMA_HOST"
    if isinstance(error, ssl.SSLError):
        return f"has no usable TLS ({error.reason or error.strerror})"
    if isinstance(error, OSError):
        return f"broke the connection ({error.strerror or error})"
    return "does not speak HTTP as Ollama does"


def _error(response: http.client.HTTPResponse) -> str:
    """What Ollama says in `{"error": …}`, as one short line; empty if it says nothing."""
    try:
        said = json.loads(response.read(MAX_LINE_BYTES))["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return _line(said) if isinstance(said, str) else ""


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _joined(response: http.client.HTTPResponse) -> str:
    """The parts of a streamed answer, up to `"done": true`."""
    parts: list[str] = []
    size = 0
    for event in _events(response):
        if isinstance(said := event.get("error"), str):
            raise OllamaError(f"the model failed: {_line(said)}")
        message = event.get("message")
        part = message.get("content", "") if isinstance(message, dict) else None
        if not isinstance(part, str):
            raise OllamaError("a line of the stream is not what Ollama sends")
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise OllamaError(f"the model wrote more than {MAX_ANSWER_BYTES} characters")
        if event.get("done") is True:
            if event.get("done_reason") == "length":
                raise OllamaError(f"the model was not done after {MAX_TOKENS} tokens")
            return "".join(parts)
    raise OllamaError("the stream ended before the model was done")


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    total = 0
    while line := response.readline(MAX_LINE_BYTES + 1):
        total += len(line)
        # Each token is a line of some hundred bytes around a few letters.
        if len(line) > MAX_LINE_BYTES or total > 64 * MAX_ANSWER_BYTES:
            raise OllamaError("the stream is longer than any answer")
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise OllamaError("a line of the stream is not what Ollama sends")
        yield event
