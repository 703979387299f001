"""The one door to downloads: several mirrors, resumed transfers, nothing unverified kept.

A file reaches the store whole and with the right digest, or not at all.  HTTP and
HTTPS follow `http_proxy`, `https_proxy`, `no_proxy` and the system's certificates;
local paths and `file://` URLs are mirrors like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from pipeline.errors import (
    DownloadCorrupt,
    NetworkUnavailable,
    OutputUnwritable,
    ToolMissing,
)
from pipeline.net import (
    credentials_in,
    failure_of,
    open_pool,
    proxy_for,
    server_of,
    without_credentials,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CHUNK_BYTES = 256 * 1024
_JOIN_TIMEOUT_S = 1.0

Progress = Callable[[str, int], None]
"""Called with a download's name and the bytes of it that are there so far."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file with a known digest, and where to look for it."""

    urls: tuple[str, ...]
    """In order of preference: `https://…`, `http://…`, `file://…` or a local path."""
    sha256: str
    """64 lower-case hexadecimal digits."""
    size_bytes: int
    name: str
    """What a person calls it, such as `tzdata 2024a-0+deb12u1`."""
    mirror_variable: str = ""
    """The environment variable that names another mirror, for the hint of an error."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try again."""

    attempts: int = 5
    """Tries for a URL whose server answers and then fails."""
    connect_attempts: int = 2
    """Tries for a URL whose server cannot be reached at all."""
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    backoff_s: float = 0.5
    """Pause before the second try; it doubles each time, up to `backoff_limit_s`."""
    backoff_limit_s: float = 8.0
    retry_after_limit_s: float = 30.0
    """The longest that a server's Retry-After is obeyed (RFC 9110, 10.2.3)."""


PATIENCE = Patience()


def fetch_all(
    downloads: Sequence[Download],
    store: Callable[[str], Path],
    on_progress: Progress | None = None,
    *,
    workers: int = 4,
    patience: Patience = PATIENCE,
) -> None:
    """Bring every download to `store(sha256)`, several at a time.

    A file that is there already, whole and with the right digest, is kept;
    anything else is replaced in one step.  `on_progress` is called on the caller's
    thread, and its number falls back when a transfer starts over.

    Raises `DownloadCorrupt` if no URL serves the right bytes, `NetworkUnavailable`
    if none serves any, `OutputUnwritable` if they cannot be stored.  The first
    error, or an interrupt, ends all transfers and leaves no partial files.
    """
    distinct: dict[str, Download] = {}
    waiting: queue.SimpleQueue[Download] = queue.SimpleQueue()
    for download in downloads:
        if download.sha256 not in distinct:
            distinct[download.sha256] = download
            waiting.put(download)
    news: queue.SimpleQueue[tuple[str, int] | Exception | None] = queue.SimpleQueue()
    session = _Session(patience)

    def work() -> None:
        try:
            while True:
                download = waiting.get_nowait()
                session.fetch(download, store(download.sha256), lambda *at: news.put(at))
                news.put(None)
        except (queue.Empty, _Cancelled):
            return
        except Exception as error:
            # Raised again where someone can see it: on the caller's thread.
            news.put(error)

    # Daemons, because no signal reaches a thread that waits in connect() or in a
    # name server: neither an error nor Ctrl-C may have to wait for it.
    threads = [
        threading.Thread(target=work, name=f"fetch-{number}", daemon=True)
        for number in range(min(max(workers, 1), len(distinct)))
    ]
    try:
        for thread in threads:
            thread.start()
        unfinished = len(distinct)
        while unfinished:
            item = news.get()
            if item is None:
                unfinished -= 1
            elif isinstance(item, Exception):
                raise item
            elif on_progress is not None:
                on_progress(*item)
    finally:
        session.cancel()
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(deadline_s - time.monotonic(), 0.0))
        session.close()


def fetch_bytes(
    urls: Sequence[str],
    *,
    max_bytes: int,
    name: str,
    mirror_variable: str = "",
    patience: Patience = PATIENCE,
) -> bytes:
    """Return what the first URL that answers serves, at most `max_bytes`.

    Nothing vouches for these bytes: they are for metadata that carries a signature.
    Raises `NetworkUnavailable` if no URL serves them, or only too many.
    """
    session = _Session(patience)
    try:
        refusals: list[_Refused] = []
        for url in urls:
            buffer = _Buffer(max_bytes)
            try:
                session.transfer(url, buffer)
            except _Refused as refusal:
                refusals.append(refusal)
            else:
                return buffer.value
        raise _unavailable(name, refusals, mirror_variable)
    finally:
        session.cancel()
        session.close()


class _Cancelled(Exception):
    """Another transfer failed, or the user interrupted."""


class _Refused(Exception):
    """A URL that does not serve the file; the next one may."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{without_credentials(url)}: {reason}")


class _Mismatch(_Refused):
    """A URL that serves another file."""


class _Interrupted(Exception):
    """A transfer that may succeed if it is tried again."""

    def __init__(self, reason: str, *, wait_s: float = 0.0, connected: bool = True) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.connected = connected


class _Overflow(Exception):
    """More bytes than the sink has room for."""


class _Sink(Protocol):
    resumable: bool
    received_bytes: int

    @property
    def is_short(self) -> bool:
        """Whether bytes are known to be missing."""

    def write(self, chunk: bytes) -> None:
        """Append; raises `_Overflow` beyond the expected size."""

    def restart(self) -> None:
        """Forget everything written so far."""


class _Buffer:
    """A sink in memory."""

    # Without a digest nothing would notice two versions joined in the middle.
    resumable = False

    def __init__(self, max_bytes: int) -> None:
        self._chunks: list[bytes] = []
        self._max_bytes = max_bytes
        self.received_bytes = 0

    @property
    def is_short(self) -> bool:
        return False

    @property
    def value(self) -> bytes:
        return b"".join(self._chunks)

    def write(self, chunk: bytes) -> None:
        self.received_bytes += len(chunk)
        if self.received_bytes > self._max_bytes:
            raise _Overflow(f"more than {self._max_bytes} bytes")
        self._chunks.append(chunk)

    def restart(self) -> None:
        self._chunks.clear()
        self.received_bytes = 0


class _PartFile:
    """A sink on disk that knows the digest of what it holds."""

    resumable = True

    def __init__(
        self, file: BinaryIO, path: Path, size_bytes: int, on_write: Callable[[int], None]
    ):
        self._file = file
        self._path = path
        self._size_bytes = size_bytes
        self._on_write = on_write
        self._hash = hashlib.sha256()
        self.received_bytes = 0

    @property
    def is_short(self) -> bool:
        return self.received_bytes < self._size_bytes

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        if self.received_bytes + len(chunk) > self._size_bytes:
            raise _Overflow(f"more than {self._size_bytes} bytes")
        with _writing(self._path):
            self._file.write(chunk)
        self._hash.update(chunk)
        self.received_bytes += len(chunk)
        self._on_write(self.received_bytes)

    def restart(self) -> None:
        if not self.received_bytes:
            return
        with _writing(self._path):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()
        self.received_bytes = 0
        self._on_write(0)

    def close(self) -> None:
        with _writing(self._path):
            self._file.close()


class _Session:
    """The connections of one run, and what it takes to end them early."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._parts: set[Path] = set()
        self._responses: set[BaseHTTPResponse] = set()
        self._pools: dict[tuple[str, str], PoolManager] = {}
        self._unreachable: set[str] = set()

    def fetch(self, download: Download, target: Path, on_progress: Progress) -> None:
        """Bring one download to `target`, from the first URL that serves it."""
        if _is_intact(target, download):
            on_progress(download.name, download.size_bytes)
            return
        refusals: list[_Refused] = []
        with self._part_beside(target) as (file, part):
            sink = _PartFile(
                file, part, download.size_bytes, lambda at: on_progress(download.name, at)
            )
            for url in download.urls:
                sink.restart()
                try:
                    self.transfer(url, sink)
                except _Refused as refusal:
                    refusals.append(refusal)
                    continue
                if sink.sha256 != download.sha256:
                    sent = f"sent sha256:{sink.sha256} ({sink.received_bytes} bytes)"
                    refusals.append(_Mismatch(url, sent))
                    continue
                sink.close()
                self._keep(part, target)
                return
        if any(isinstance(refusal, _Mismatch) for refusal in refusals):
            raise _corrupt(download, refusals)
        raise _unavailable(download.name, refusals, download.mirror_variable)

    def transfer(self, url: str, sink: _Sink) -> None:
        """Bring what `url` serves into `sink`; raises `_Refused` when it cannot be had."""
        server = server_of(url)
        failures = 0
        while True:
            self._check()
            if server and server in self._unreachable:
                raise _Refused(url, "its server was out of reach earlier in this run")
            try:
                self._attempt(url, sink)
                return
            except _Overflow as overflow:
                raise _Mismatch(url, f"sent {overflow}") from None
            except _Interrupted as interruption:
                failures += 1
                patience = self._patience
                if failures >= (
                    patience.attempts if interruption.connected else patience.connect_attempts
                ):
                    if not interruption.connected:
                        self._unreachable.add(server)
                    raise _Refused(url, f"{interruption} ({_times(failures)})") from None
                backoff_s = min(patience.backoff_s * 2 ** (failures - 1), patience.backoff_limit_s)
                self._cancelled.wait(max(backoff_s, interruption.wait_s))

    def cancel(self) -> None:
        """End every transfer, remove every partial file. Safe from any thread."""
        with self._lock:
            self._cancelled.set()
            for part in self._parts:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
            responses = tuple(self._responses)
        for response in responses:
            # Wakes the thread that waits for this response's next bytes.
            with contextlib.suppress(Exception):
                response.shutdown()

    def close(self) -> None:
        """Close idle connections."""
        for pool in self._pools.values():
            pool.clear()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled

    @contextlib.contextmanager
    def _part_beside(self, target: Path) -> Iterator[tuple[BinaryIO, Path]]:
        part = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        # Under the lock, so that cancel() sees every file that exists.
        with self._lock:
            self._check()
            with _writing(part):
                part.parent.mkdir(parents=True, exist_ok=True)
                file = part.open("xb")
            self._parts.add(part)
        try:
            yield file, part
        finally:
            with contextlib.suppress(OSError):
                file.close()
            with self._lock:
                self._parts.discard(part)
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)

    def _keep(self, part: Path, target: Path) -> None:
        with self._lock:
            self._check()
            with _writing(target):
                part.replace(target)

    def _attempt(self, url: str, sink: _Sink) -> None:
        if not sink.resumable:
            sink.restart()
        path = _local_path(url)
        if path is None:
            self._attempt_http(url, sink)
        else:
            self._copy(url, path, sink)

    def _copy(self, url: str, path: Path, sink: _Sink) -> None:
        try:
            file = path.open("rb")
        except OSError as error:
            raise _Refused(url, error.strerror or str(error)) from None
        with file:
            while True:
                self._check()
                try:
                    chunk = file.read(_CHUNK_BYTES)
                except OSError as error:
                    raise _Refused(url, error.strerror or str(error)) from None
                if not chunk:
                    return
                sink.write(chunk)

    def _attempt_http(self, url: str, sink: _Sink) -> None:
        offset = sink.received_bytes
        with self._open(url, offset) as response:
            if response.status == 416 or (offset and not _continues(response, offset)):
                # The server starts over, or has nothing at this offset.
                sink.restart()
            if response.status not in (200, 206):
                raise self._judge(url, response)
            chunks = response.stream(_CHUNK_BYTES, decode_content=False)
            while True:
                with _network_errors(url):
                    chunk = next(chunks, None)
                self._check()
                if chunk is None:
                    break
                sink.write(chunk)
            # Only a declared end tells a whole body from one that was cut off.
            declared = "content-length" in response.headers or response.chunked
            if sink.is_short and not declared:
                raise _Interrupted("the connection was closed early")

    def _judge(self, url: str, response: BaseHTTPResponse) -> Exception:
        answer = f"HTTP {response.status} {response.reason or ''}".strip()
        if response.status in (408, 416, 429) or response.status >= 500:
            return _Interrupted(answer, wait_s=self._retry_after_s(response))
        return _Refused(url, answer)

    def _retry_after_s(self, response: BaseHTTPResponse) -> float:
        from urllib3 import Retry
        from urllib3.exceptions import InvalidHeader

        try:
            wait_s = Retry().get_retry_after(response) or 0.0
        except InvalidHeader:
            return 0.0
        return min(wait_s, self._patience.retry_after_limit_s)

    @contextlib.contextmanager
    def _open(self, url: str, offset: int) -> Iterator[BaseHTTPResponse]:
        try:
            from urllib3 import Retry, Timeout
            from urllib3.util import make_headers
        except ImportError:
            raise ToolMissing(
                "downloads need the Python package urllib3",
                hint="pip install -r requirements/dev.txt",
            ) from None
        headers = {"Accept-Encoding": "identity"}
        if credentials := credentials_in(url):
            headers |= make_headers(basic_auth=credentials)
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with _network_errors(url):
            response = self._pool(url).request(
                "GET",
                without_credentials(url),
                headers=headers,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(
                    connect=self._patience.connect_timeout_s, read=self._patience.read_timeout_s
                ),
                retries=Retry(
                    total=10,
                    redirect=10,
                    connect=0,
                    read=0,
                    status=0,
                    other=0,
                    respect_retry_after_header=False,
                ),
            )
        with self._lock:
            self._responses.add(response)
        try:
            self._check()
            yield response
            response.release_conn()
        except BaseException:
            # Unread bytes make the connection unfit for another request.
            response.close()
            raise
        finally:
            with self._lock:
                self._responses.discard(response)

    def _pool(self, url: str) -> PoolManager:
        """Return the connections to use for `url`: direct or through a proxy."""
        scheme, proxy = url.partition("://")[0].lower(), proxy_for(url)
        with self._lock:
            pool = self._pools.get((scheme, proxy))
            if pool is None:
                pool = self._pools[scheme, proxy] = open_pool(scheme, proxy)
            return pool


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Translate what a connection raises into `_Interrupted` or `_Refused`."""
    try:
        yield
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        if failure.final:
            raise _Refused(url, failure.reason) from None
        raise _Interrupted(failure.reason, connected=failure.connected) from None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a read-only one or a missing permission into `OutputUnwritable`."""
    try:
        yield
    except OSError as error:
        raise OutputUnwritable(
            f"'{path}' cannot be written: {error.strerror or error}",
            hint="free some space or choose another directory",
        ) from error


def _is_intact(path: Path, download: Download) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != download.size_bytes:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == download.sha256
    except OSError:
        return False


def _continues(response: BaseHTTPResponse, offset: int) -> bool:
    """Whether a response starts at `offset` (RFC 9110, 14.4)."""
    start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return response.status == 206 and start.strip() == str(offset)


def _local_path(url: str) -> Path | None:
    if url.startswith("file:/"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url else Path(url)


def _times(count: int) -> str:
    return "tried once" if count == 1 else f"tried {count} times"


def _elsewhere(mirror_variable: str) -> str:
    return f"set {mirror_variable} to another mirror" if mirror_variable else "use another mirror"


def _corrupt(download: Download, refusals: Sequence[_Refused]) -> DownloadCorrupt:
    return DownloadCorrupt(
        f"{download.name} is not the file that was locked: expected sha256:{download.sha256} "
        f"({download.size_bytes} bytes); {'; '.join(map(str, refusals))}",
        hint=f"{_elsewhere(download.mirror_variable)}; if the file was replaced upstream, "
        "lock again",
    )


def _unavailable(
    name: str, refusals: Sequence[_Refused], mirror_variable: str
) -> NetworkUnavailable:
    tried = "; ".join(map(str, refusals)) or "no mirror is known"
    return NetworkUnavailable(
        f"{name} is needed and could not be fetched: {tried}",
        hint=f"check the network and the proxy settings, or {_elsewhere(mirror_variable)}",
    )
