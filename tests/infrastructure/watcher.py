"""The real monitor as a process, and something for it to watch."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from tests.infrastructure.repository import ROOT, merged_image

PATIENCE_S = 20


class _Target(http.server.BaseHTTPRequestHandler):
    """An application that is well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.path.startswith("/readyz")
        body = b'{"status": "pass"}' if found else b"{}"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/health+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Watcher:
    """The monitor, as its image runs it, on a free port of loopback."""

    def __init__(self, **variables: str) -> None:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MONITOR_", "ACCELERAPP_", "OLLAMA_", "REDIS_"))
        }
        settings = {
            "MONITOR_HOST": "127.0.0.1",
            "MONITOR_PORT": "0",
            "MONITOR_PROBE_INTERVAL_S": "0.1",
            "MONITOR_PROBE_SLOW_S": "2",
            "MONITOR_DISK_WARN": "0",
            "MONITOR_DISK_FAIL": "0",
            "MONITOR_MEMORY_WARN_RATIO": "0",
            "MONITOR_MEMORY_FAIL_RATIO": "0",
            "MONITOR_CPU_THROTTLED_WARN_RATIO": "0",
            **variables,
        }
        # As the image does, but for the path of the interpreter.
        entry = merged_image("monitoring").entrypoint
        assert entry is not None
        self.process = subprocess.Popen(
            [sys.executable, *entry[1:]],
            cwd=ROOT,
            env={**kept, "PYTHONPATH": str(ROOT), **settings},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        lines = []
        port = None
        for line in self.process.stderr:
            lines.append(line)
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        assert port is not None, "".join(lines)
        self.port = port

    def ask(self, path: str) -> tuple[int, str, str]:
        """Return status, media type and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
        finally:
            connection.close()

    def health_is(self, wanted: str) -> tuple[int, dict[str, Any]]:
        """Ask for /health until it says `wanted`, for so long; return what it said last."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            code, _, body = self.ask("/health")
            document = json.loads(body)
            if document["status"] == wanted or time.monotonic() > deadline_s:
                return code, document
            time.sleep(0.05)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def application() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Target)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=PATIENCE_S)


@contextmanager
def watching(**variables: str) -> Iterator[Watcher]:
    watcher = Watcher(**variables)
    try:
        yield watcher
    finally:
        watcher.close()
