#!/usr/bin/python3
"""A stand-in for Ollama: its HTTP API, streaming included, without a model.

    ollama.py serve      # on OLLAMA_HOST, as Ollama's own program; SIGTERM ends it with 0
    ollama.py list       # what a health check runs

After docs/api.md of ollama/ollama: `/`, `/api/version`, `/api/tags`, `/api/ps`, `/api/chat` and
`/api/generate`, streamed as application/x-ndjson one token a line, or whole with
`"stream": false`; `{"error": …}` with 404 for a model that is not there, and with 200 in the
middle of a stream. STAND_IN_MODELS names the models, STAND_IN_FAULT one of FAULTS.

Only a real Ollama would show: what a model writes, how long it takes to load and to write on
this machine and what memory that needs, how it schedules requests beside each other, and
whether it keeps to `format`. It needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "0.33.3"
FAULTS = (
    "drip",  # a byte of the header a second, for ever
    "drop",  # the connection ends after three tokens
    "endless",  # it never stops writing
    "error",  # {"error": …} in the middle of the stream
    "garbage",  # lines that are no JSON
    "hang",  # it takes the request and says nothing
    "html",  # another server answers
    "redirect",
    "shape",  # JSON of another shape than was asked for
    "slow",  # a token every second
    "status",  # 500
    "wrong",  # pins and peripherals that the device has not, and a link
)
TOKEN_PAUSE_S = 0.002


class StandIn(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], models: list[str], fault: str = "") -> None:
        super().__init__(address, _Handler)
        self.models = models
        self.fault = fault
        self.asked: list[dict[str, Any]] = []
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's error."""

    def server_close(self) -> None:
        self.stopping.set()
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *arguments: Any) -> None:
        """Ollama's own log is another; nothing here reads it."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self._failed():
            return
        answers: dict[str, Any] = {
            "/api/version": {"version": VERSION},
            "/api/tags": {"models": [self._model(name) for name in self.server.models]},
            "/api/ps": {"models": []},
        }
        if self.path == "/":
            self._send(200, b"Ollama is running", "text/plain; charset=utf-8")
        elif self.path in answers:
            self._json(200, answers[self.path])
        else:
            self._send(404, b"404 page not found", "text/plain")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        try:
            asked = json.loads(self.rfile.read(length))
        except ValueError:
            self._json(400, {"error": "invalid character in request"})
            return
        self.server.asked.append(asked)
        if self._failed():
            return
        if self.path not in ("/api/chat", "/api/generate"):
            self._send(404, b"404 page not found", "text/plain")
            return
        name = asked.get("model", "")
        if (name if ":" in name else f"{name}:latest") not in self.server.models:
            self._json(404, {"error": f"model '{name}' not found"})
            return
        text = self._text(asked)
        if asked.get("stream", True):
            self._stream(asked, text)
        else:
            self._json(200, self._event(asked, text) | self._end())

    def _failed(self) -> bool:
        match self.server.fault:
            case "hang":
                self.server.stopping.wait()
            case "drip":
                self._drip()
            case "html":
                self._send(200, b"<html>welcome</html>", "text/html")
            case "status":
                self._json(500, {"error": "llama runner process has terminated"})
            case "redirect":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case _:
                return False
        self.close_connection = True
        return True

    def _drip(self) -> None:
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self.server.stopping.wait(0.05):
                self.wfile.write(b"x")
                self.wfile.flush()
        except OSError:
            return

    def _stream(self, asked: dict[str, Any], text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        fault = self.server.fault
        for count, token in enumerate(self._tokens(text)):
            if count == 3 and fault == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if count == 3 and fault == "error":
                self._chunk({"error": "an unknown error was encountered while running the model"})
                break
            if count == 3 and fault == "garbage":
                self._raw(b"\x00\xff not json\n")
                continue
            self._chunk(self._event(asked, token))
            if self.server.stopping.wait(1.0 if fault == "slow" else TOKEN_PAUSE_S):
                return
        else:
            self._chunk(self._event(asked, "") | self._end())
        self._raw(b"")

    def _tokens(self, text: str) -> Iterator[str]:
        while True:
            yield from (text[at : at + 4] for at in range(0, len(text), 4))
            if self.server.fault != "endless":
                return

    def _event(self, asked: dict[str, Any], content: str) -> dict[str, Any]:
        part: dict[str, Any] = {"response": content}
        if self.path == "/api/chat":
            part = {"message": {"role": "assistant", "content": content}}
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        return {"model": asked["model"], "created_at": now, **part, "done": False}

    def _end(self) -> dict[str, Any]:
        return {
            "done": True,
            "done_reason": "stop",
            "total_duration": 174560334,
            "load_duration": 101397084,
            "prompt_eval_count": 42,
            "prompt_eval_duration": 13074791,
            "eval_count": 84,
            "eval_duration": 52479709,
        }

    def _text(self, asked: dict[str, Any]) -> str:
        """What a model that keeps to `format` would write about the device in the prompt."""
        if self.server.fault == "shape":
            return '{"answer": 42}'
        try:
            device = json.loads(asked["messages"][-1]["content"])
        except (ValueError, KeyError, IndexError, TypeError):
            return "Hello! How can I help you today?"
        notes = []
        for peripheral in device["peripherals"]:
            pins = " and ".join(peripheral["pins"].values())
            note = f"Connect {peripheral['what']} to {pins}."
            notes.append({"peripheral": peripheral["name"], "note": note})
        explanation = f"{device['name']} runs on {device['board']}. Its logic is safe to touch."
        if self.server.fault == "wrong":
            notes[0]["note"] = "Connect it to pin 99, at 230 V."
            notes.append({"peripheral": "teapot", "note": "Fill it."})
            explanation += " See http://example.org for more. Use GPIO39 for it."
        return json.dumps({"explanation": explanation, "wiring": notes})

    def _model(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "model": name,
            "modified_at": "2026-01-01T00:00:00Z",
            "size": 1321098329,
            "digest": "baf6a787fdffd633537aa2eb51cfd54cb93ff08e28040095462bb63daf552878",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "1.2B"},
        }

    def _chunk(self, event: dict[str, Any]) -> None:
        self._raw(json.dumps(event).encode() + b"\n")

    def _raw(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), "application/json; charset=utf-8")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _address() -> tuple[str, int]:
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")
    return host.removeprefix("http://"), int(port)


def main(arguments: list[str]) -> int:
    if arguments == ["list"]:
        host, port = _address()
        host = "127.0.0.1" if host == "0.0.0.0" else host
        with urllib.request.urlopen(f"http://{host}:{port}/api/tags", timeout=3) as answer:
            for model in json.load(answer)["models"]:
                print(model["name"])
        return 0
    if arguments != ["serve"]:
        print(__doc__, file=sys.stderr)
        return 2
    models = os.environ.get("STAND_IN_MODELS", "llama3.2:1b").split(",")
    server = StandIn(_address(), models, os.environ.get("STAND_IN_FAULT", ""))

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.serve_forever()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
