"""What the pod of `helm test` runs, against the real service: it passes, and it can fail."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.chart.conftest import NAME, ROOT, Render


def run(render: Render, address: str, patience_s: int = 0) -> subprocess.CompletedProcess[str]:
    (container,) = render().one("Pod", f"{NAME}-test")["spec"]["containers"]
    program = container["command"][-1]
    return subprocess.run(
        [sys.executable, "-I", "-c", program],
        env={**os.environ, "SERVICE": address, "PATIENCE_S": str(patience_s)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def service(tmp_path: Path) -> Iterator[str]:
    """Yield the address of the service of this checkout."""
    argv = [sys.executable, "-m", "accelerapp", "serve", "--port", "0"]
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "ACCELERAPP_OUTPUT_DIR": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = ""
            for line in process.stdout:
                if "http://" in line:
                    address = "http://" + line.partition("http://")[2].split()[0].rstrip("/,.")
                    break
            assert address
            yield address
        finally:
            process.terminate()


@contextmanager
def answering(status: int, body: bytes, after: int = 0, port: int = 0) -> Iterator[str]:
    """Yield the address of something that answers so, and 503 the first times."""
    left = itertools.chain([HTTPStatus.SERVICE_UNAVAILABLE] * after, itertools.repeat(status))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(left))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_it_passes_against_the_service(render: Render, tmp_path: Path) -> None:
    with service(tmp_path) as address:
        done = run(render, address)
    assert done.returncode == 0, done.stderr
    assert "readyz: pass" in done.stdout
    assert "generated: " in done.stdout


def test_it_fails_where_nothing_answers(render: Render) -> None:
    done = run(render, "http://127.0.0.1:9", patience_s=1)
    assert done.returncode != 0
    assert "http://127.0.0.1:9/readyz: " in done.stderr
    assert "Traceback" not in done.stderr


def test_it_fails_for_a_service_that_is_not_ready(render: Render) -> None:
    with answering(503, b'{"status": "fail"}') as address:
        assert run(render, address).returncode != 0


def test_it_fails_for_a_service_that_generates_nothing(render: Render) -> None:
    with answering(200, b'{"status": "pass"}') as address:
        assert run(render, address).returncode != 0


WELL = b'{"status": "pass", "files": ["a"]}'


def test_it_waits_for_a_service_that_is_not_ready_yet(render: Render) -> None:
    with answering(200, WELL, after=1) as address:
        done = run(render, address, patience_s=30)
    assert done.returncode == 0, done.stderr
    assert "generated: 1 files" in done.stdout


def test_without_patience_it_does_not(render: Render) -> None:
    with answering(200, WELL, after=9) as address:
        assert run(render, address).returncode != 0


def test_it_waits_for_a_service_that_comes_up_after_a_second(render: Render) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found: list[subprocess.CompletedProcess[str]] = []
    asking = threading.Thread(
        target=lambda: found.append(run(render, f"http://127.0.0.1:{port}", patience_s=30))
    )
    asking.start()
    time.sleep(1)
    with answering(200, WELL, port=port):
        asking.join(timeout=50)
    (done,) = found
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"status": "fail", "files": ["a"]}', 1),
        (b'{"status": "pass", "files": []}', 1),
        (b'{"status": "warn", "files": ["a"]}', 0),
    ],
)
def test_what_is_answered_decides(render: Render, body: bytes, code: int) -> None:
    with answering(200, body) as address:
        assert run(render, address).returncode == code
