"""Downloads over loopback: every way in which a mirror misbehaves."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import (
    DownloadCorrupt,
    NetworkUnavailable,
    OptionInvalid,
    OutputUnwritable,
    ToolMissing,
)
from pipeline.fetch import Download, Patience, fetch_all, fetch_bytes

REPOSITORY = Path(__file__).parents[3]
BODY = bytes(range(256)) * 4096
HASTE = Patience(
    attempts=3,
    connect_timeout_s=2,
    read_timeout_s=2,
    backoff_s=0.001,
    backoff_limit_s=0.01,
    retry_after_limit_s=0.2,
)

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path with the next of the answers planned for it, the last one for ever."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        plan = self.server.plans.get(self.path.partition("?")[0], [status(404)])
        (plan.pop(0) if len(plan) > 1 else plan[0])(self)

    def log_message(self, *_args: object) -> None:
        """Keep the test's output clean."""


class Server(ThreadingHTTPServer):
    """A mirror on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plans: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, Message]] = []
        self.released = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def plan(self, path: str, *answers: Answer) -> str:
        self.plans[path] = list(answers)
        return self.base + path

    def handle_error(self, *_args: object) -> None:
        """A client that hangs up is what some tests are about."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    mirror = Server()
    thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.released.set()
        mirror.shutdown()
        mirror.server_close()
        thread.join()


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def serve(body: bytes = BODY) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def drop_after(count: int, *, declared: bool = True) -> Answer:
    """Promise BODY, send `count` bytes and hang up."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        if declared:
            handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(BODY[:count])
        handler.wfile.flush()
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    return answer


def serve_range(handler: Handler) -> None:
    start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
    rest = BODY[start:]
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
    handler.send_header("Content-Length", str(len(rest)))
    handler.end_headers()
    handler.wfile.write(rest)


def stall(handler: Handler) -> None:
    """Send some bytes, then nothing until the test is over."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(BODY)))
    handler.end_headers()
    handler.wfile.write(BODY[:300_000])
    handler.wfile.flush()
    handler.server.released.wait(30)


def download(*urls: str, body: bytes = BODY, name: str = "tzdata 2024a") -> Download:
    return Download(
        urls=urls,
        sha256=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
        name=name,
        mirror_variable="ACCELERAPP_DEBIAN_MIRROR",
    )


def fetch(folder: Path, *downloads: Download, patience: Patience = HASTE) -> None:
    fetch_all(downloads, folder.joinpath, patience=patience)


def transfers_under_way() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch-")]


def stored(folder: Path) -> list[bytes]:
    """Contents of everything below the store, partial files included."""
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def test_stores_the_file_under_its_digest_and_reports_progress(
    server: Server, tmp_path: Path
) -> None:
    url = server.plan("/a", serve())
    seen: list[tuple[str, int]] = []
    main = threading.get_ident()

    def on_progress(name: str, received: int) -> None:
        assert threading.get_ident() == main
        seen.append((name, received))

    wanted = download(url)
    fetch_all([wanted], lambda digest: tmp_path / "new" / digest, on_progress, patience=HASTE)

    assert (tmp_path / "new" / wanted.sha256).read_bytes() == BODY
    assert seen[-1] == ("tzdata 2024a", len(BODY))
    assert [received for _, received in seen] == sorted(received for _, received in seen)


def test_what_is_stored_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    wanted = download(server.plan("/a", serve()))
    fetch(tmp_path, wanted)
    fetch(tmp_path, wanted)
    assert len(server.requests) == 1


@pytest.mark.parametrize("rotten", [b"x" + BODY[1:], BODY[:-1], b""])
def test_a_rotten_file_in_the_store_is_replaced(
    server: Server, tmp_path: Path, rotten: bytes
) -> None:
    wanted = download(server.plan("/a", serve()))
    (tmp_path / wanted.sha256).write_bytes(rotten)
    fetch(tmp_path, wanted)
    assert stored(tmp_path) == [BODY]


def test_one_digest_is_fetched_once(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", serve())
    fetch(tmp_path, download(url), download(url, name="the same for arm64"))
    assert len(server.requests) == 1


def test_many_files_arrive(server: Server, tmp_path: Path) -> None:
    bodies = [f"file {number}".encode() for number in range(30)]
    fetch(
        tmp_path,
        *(
            download(server.plan(f"/{number}", serve(body)), body=body)
            for number, body in enumerate(bodies)
        ),
    )
    assert sorted(stored(tmp_path)) == sorted(bodies)


def test_a_dropped_connection_is_resumed_where_it_ended(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", drop_after(600_000), serve_range)
    fetch(tmp_path, download(url))
    assert stored(tmp_path) == [BODY]
    offset = int(server.requests[1][1]["Range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < offset <= 600_000


def test_a_close_without_declared_length_is_not_taken_for_the_end(
    server: Server, tmp_path: Path
) -> None:
    url = server.plan("/a", drop_after(600_000, declared=False), serve_range)
    fetch(tmp_path, download(url))
    assert stored(tmp_path) == [BODY]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", drop_after(600_000), serve())
    fetch(tmp_path, download(url))
    assert stored(tmp_path) == [BODY]
    assert "Range" in server.requests[1][1]


def test_an_unsatisfiable_range_starts_over(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", drop_after(600_000), status(416), serve())
    fetch(tmp_path, download(url))
    assert stored(tmp_path) == [BODY]
    assert "Range" not in server.requests[2][1]


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_transient_answer_is_tried_again(server: Server, tmp_path: Path, code: int) -> None:
    url = server.plan("/a", status(code), serve())
    fetch(tmp_path, download(url))
    assert stored(tmp_path) == [BODY]


def test_retry_after_is_obeyed_up_to_its_limit(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", status(429, Retry_After="3600"), serve())
    began = time.monotonic()
    fetch(tmp_path, download(url))
    assert 0.2 <= time.monotonic() - began < 2


def test_attempts_are_bounded(server: Server, tmp_path: Path) -> None:
    url = server.plan("/a", status(503))
    with pytest.raises(NetworkUnavailable, match=r"HTTP 503 .*tried 3 times"):
        fetch(tmp_path, download(url))
    assert len(server.requests) == HASTE.attempts


@pytest.mark.parametrize(
    "bad",
    [status(404), status(403), status(500), serve(b"x" * len(BODY)), serve(BODY[:-1]),
     serve(BODY + b"x"), drop_after(10)],
    ids=["404", "403", "500", "corrupt", "short", "long", "dropped"],
)  # fmt: skip
def test_the_next_mirror_stands_in(server: Server, tmp_path: Path, bad: Answer) -> None:
    fetch(tmp_path, download(server.plan("/bad", bad), server.plan("/good", serve())))
    assert stored(tmp_path) == [BODY]


def test_a_missing_file_is_asked_for_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NetworkUnavailable) as caught:
        fetch(tmp_path, download(server.plan("/a", status(404)), server.plan("/b", status(410))))
    assert [path for path, _ in server.requests] == ["/a", "/b"]
    message = str(caught.value)
    assert "tzdata 2024a" in message
    assert f"{server.base}/a: HTTP 404" in message
    assert f"{server.base}/b: HTTP 410" in message
    assert "ACCELERAPP_DEBIAN_MIRROR" in caught.value.hint


@pytest.mark.parametrize("body", [b"x" * len(BODY), BODY[:-1]], ids=["digest", "size"])
def test_corruption_names_both_digests(server: Server, tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DownloadCorrupt) as caught:
        fetch(tmp_path, download(server.plan("/a", serve(body)), server.plan("/b", status(404))))
    message = str(caught.value)
    assert "tzdata 2024a" in message
    assert hashlib.sha256(BODY).hexdigest() in message
    assert hashlib.sha256(body).hexdigest() in message
    assert "ACCELERAPP_DEBIAN_MIRROR" in caught.value.hint
    assert stored(tmp_path) == []


def test_a_body_without_end_is_cut_off(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadCorrupt, match=f"more than {len(BODY)} bytes"):
        fetch(tmp_path, download(server.plan("/a", serve(BODY * 8))))
    assert stored(tmp_path) == []


def test_an_unreachable_mirror_is_given_up_for_the_whole_run(
    server: Server, tmp_path: Path
) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        wanted = [
            download(f"{closed}/{n}", server.plan(f"/{n}", serve(bytes([n]))), body=bytes([n]))
            for n in range(8)
        ]
        slow = Patience(backoff_s=0.2, connect_attempts=2)
        began = time.monotonic()
        fetch_all(wanted, tmp_path.joinpath, workers=1, patience=slow)
        assert time.monotonic() - began < 1.0
        assert len(stored(tmp_path)) == 8
        with pytest.raises(NetworkUnavailable, match=r"[Rr]efused"):
            fetch(tmp_path / "other", download(f"{closed}/a"))


def test_credentials_are_sent_and_not_shown(server: Server, tmp_path: Path) -> None:
    server.plan("/a", serve())
    server.plan("/b", status(401))
    private = server.base.replace("http://", "http://reader:s%40cret@")
    fetch(tmp_path, download(f"{private}/a"))
    assert server.requests[0][1]["Authorization"] == "Basic cmVhZGVyOnNAY3JldA=="
    with pytest.raises(NetworkUnavailable) as caught:
        fetch(tmp_path / "other", download(f"{private}/b"))
    assert "cret" not in str(caught.value)


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    server.plan("/b", serve())
    fetch(tmp_path, download(server.plan("/a", status(302, Location="/b"))))
    assert stored(tmp_path) == [BODY]


def test_a_redirect_loop_ends(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NetworkUnavailable, match="redirects"):
        fetch(tmp_path, download(server.plan("/a", status(302, Location="/a"))))


def test_the_proxy_of_the_environment_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plans["http://mirror.example/a"] = [serve()]
    monkeypatch.setenv("http_proxy", server.base.replace("http://", "http://me:pw@"))
    fetch(tmp_path, download("http://mirror.example/a"))
    assert stored(tmp_path) == [BODY]
    assert server.requests[0][1]["Proxy-Authorization"] == "Basic bWU6cHc="


def test_no_proxy_goes_direct(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(tmp_path, download(server.plan("/a", serve())))
    assert stored(tmp_path) == [BODY]


def test_an_unusable_proxy_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "gopher://me:pw@proxy.example:70")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(OptionInvalid, match=r"proxy 'gopher://proxy\.example:70'"):
        fetch(tmp_path, download("http://mirror.example/a"))


def test_unreadable_certificates_name_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(OptionInvalid, match=r"REQUESTS_CA_BUNDLE .*missing\.pem"):
        fetch(tmp_path, download("https://127.0.0.1:9/a"))


@pytest.mark.parametrize("spelling", ["{}", "file://{}"])
def test_a_directory_is_a_mirror(tmp_path: Path, spelling: str) -> None:
    source = tmp_path / "mirror" / "a b.deb"
    source.parent.mkdir()
    source.write_bytes(BODY)
    path = str(source) if spelling == "{}" else source.as_uri().removeprefix("file://")
    missing = spelling.format(tmp_path / "nowhere")
    fetch(tmp_path / "store", download(missing, spelling.format(path)))
    assert stored(tmp_path / "store") == [BODY]


def test_a_missing_local_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NetworkUnavailable, match="nowhere: No such file"):
        fetch(tmp_path, download(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("url", ["http://", "gopher://x/y", "http://[bad/"])
def test_a_url_that_is_none_is_an_error_in_words(tmp_path: Path, url: str) -> None:
    with pytest.raises(NetworkUnavailable):
        fetch(tmp_path, download(url))


def test_a_store_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(OutputUnwritable, match=str(blocked)):
        fetch(blocked / "store", download(server.plan("/a", serve())))


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="this system has no /dev/full")
def test_a_full_disk_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r") -> object:
        if mode != "xb":
            return opened(path, mode)
        return opened(Path("/dev/full"), "r+b", buffering=0)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputUnwritable, match=os.strerror(errno.ENOSPC)):
        fetch(tmp_path, download(server.plan("/a", serve())))


def test_an_error_ends_the_other_transfers_promptly(server: Server, tmp_path: Path) -> None:
    hanging = download(server.plan("/hang", stall))
    broken = download(server.plan("/broken", status(404)), body=b"other")
    began = time.monotonic()
    with pytest.raises(NetworkUnavailable, match="broken"):
        fetch(tmp_path, hanging, broken, patience=Patience(read_timeout_s=60))
    assert time.monotonic() - began < 5
    assert stored(tmp_path) == []
    assert transfers_under_way() == []


def test_an_interrupt_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    def interrupt(_name: str, received: int) -> None:
        assert received
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch_all(
            [download(server.plan("/hang", stall))],
            tmp_path.joinpath,
            interrupt,
            patience=Patience(read_timeout_s=60),
        )
    assert time.monotonic() - began < 5
    assert stored(tmp_path) == []
    assert transfers_under_way() == []


def test_a_silent_server_times_out(server: Server, tmp_path: Path) -> None:
    hasty = Patience(attempts=1, read_timeout_s=0.1)
    good = server.plan("/good", serve())
    fetch(tmp_path, download(server.plan("/hang", stall), good), patience=hasty)
    assert stored(tmp_path) == [BODY]


def test_fetch_bytes_takes_the_first_that_answers(server: Server) -> None:
    urls = (
        server.plan("/a", status(404)),
        server.plan("/b", status(503), serve(b"signed")),
        server.plan("/c", serve(b"late")),
    )
    assert fetch_bytes(urls, max_bytes=10, name="InRelease", patience=HASTE) == b"signed"


def test_fetch_bytes_never_joins_two_transfers(server: Server) -> None:
    url = server.plan("/a", drop_after(600_000), serve())
    assert fetch_bytes((url,), max_bytes=len(BODY), name="x", patience=HASTE) == BODY
    assert "Range" not in server.requests[1][1]


def test_fetch_bytes_is_bounded(server: Server) -> None:
    url = server.plan("/a", serve(b"12345"))
    with pytest.raises(NetworkUnavailable, match="more than 4 bytes"):
        fetch_bytes((url,), max_bytes=4, name="InRelease", patience=HASTE)


def test_fetch_bytes_without_a_mirror_says_so() -> None:
    with pytest.raises(NetworkUnavailable, match=r"InRelease .*no mirror is known"):
        fetch_bytes((), max_bytes=4, name="InRelease")


def test_importing_it_loads_neither_http_nor_tls() -> None:
    code = (
        "import sys, pipeline.sources.debian.archive\n"
        "sys.exit(' '.join({'urllib3', 'ssl', 'pysequoia'} & set(sys.modules)) or 0)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, cwd=REPOSITORY)


def test_without_urllib3_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(ToolMissing, match=r"urllib3.*requirements/dev\.txt"):
        fetch(tmp_path, download("http://127.0.0.1:9/a"))
