"""One blob into one repository: whole if the registry takes it so, in chunks if not.

Follows "Pushing blobs" of the OCI distribution specification 1.1: a session is opened with
POST; one PATCH without Content-Range streams the blob, or several with Content-Range send
chunks of it (only after 413: chunks are slow, and not every registry puts them together
rightly); PUT with the digest closes the session.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote, unquote_plus, urljoin, urlsplit, urlunsplit

from pipeline.errors import (
    AccessDenied,
    CredentialsRejected,
    ImageInvalid,
    NotInRegistry,
    PipelineError,
    RedirectUnsafe,
    RegistryCorrupt,
    RegistryRefused,
    RegistryUnavailable,
    TooLargeForRegistry,
)
from pipeline.oci.registry.exchange import Exchange, TokenRenewed, differs, short
from pipeline.oci.registry.http import (
    PIECE_BYTES,
    Answer,
    Body,
    Interrupted,
    Tries,
    described,
)

CHUNK_BYTES = 4 * 1024 * 1024
"""The largest chunk that ghcr.io takes."""

_RENEWALS = 4
"""How many tokens may expire before any progress is made."""
_ACCEPTED = (200, 201, 202, 204)
UNKNOWN_SIZE = -1
"""The size of a blob that a registry has without saying how large it is."""
NO_HEAD = (405, 501)
"""What registries answer that know no HEAD."""
MOUNT_REFUSALS = (
    AccessDenied,
    CredentialsRejected,
    NotInRegistry,
    RegistryRefused,
    RegistryUnavailable,
    TooLargeForRegistry,
)


class Outcome(enum.Enum):
    """How a blob came to be in a repository."""

    EXISTED = "exists"
    MOUNTED = "mounted"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of a blob."""

    outcome: Outcome
    bytes_sent: int
    """What went over the wire; more than its size when some of it went twice."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What is to be sent."""

    digest: str
    size_bytes: int
    open: Callable[[], BinaryIO]


@dataclass(slots=True)
class _Session:
    """An upload that a registry has begun. `url` is where it goes on; it changes."""

    url: str
    chunk_bytes: int


class _TooLarge(Exception):
    """413: perhaps smaller pieces will do."""

    def __init__(self, error: PipelineError) -> None:
        super().__init__()
        self.error = error


def blob_size(exchange: Exchange, digest: str, *actions: str) -> int | None:
    """Return the size of a blob in the repository, None when it is not there (end-2).

    `UNKNOWN_SIZE` when the registry does not say it; None, too, where it knows no HEAD.
    """
    what = f"looking for {short(digest)} in {exchange.repository}"
    request = exchange.request("HEAD", f"blobs/{digest}", what)
    answer = exchange.ask(request, exchange.scopes(*actions))
    if answer.status in (404, *NO_HEAD):
        return None
    length = answer.headers.get("content-length", "")
    if answer.status != 200:
        raise exchange.refused(answer, request)
    if differs(answer.headers.get("docker-content-digest", ""), digest):
        raise corrupt(exchange, digest, "is answered for with another digest")
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else UNKNOWN_SIZE


def mount(exchange: Exchange, digest: str, source: str) -> bool:
    """Let the registry take a blob from another of its repositories (end-11).

    False when it does not, for whatever reason: then the blob is to be sent.
    """
    what = f"mounting {short(digest)} from {source} in {exchange.repository}"
    path = f"blobs/uploads/?mount={quote(digest, safe='')}&from={quote(source, safe='')}"
    request = exchange.request("POST", path, what)
    scopes = exchange.scopes("pull", "push", sources=[source])
    for _ in range(_RENEWALS):
        try:
            answer = exchange.ask_once(request, scopes)
            if answer.status == 202:
                _abandon(exchange, _session(exchange, answer, what), what)
            return answer.status == 201
        except TokenRenewed:
            continue
        except (Interrupted, *MOUNT_REFUSALS):
            # What is wrong, if it is not the mount, shows when the blob is sent.
            return False
    return False


def upload(exchange: Exchange, blob: Blob, on_progress: Callable[[int], None]) -> int:
    """Send a blob that is not there yet; return how many bytes that took.

    `on_progress` gets the change in bytes sent, negative when some have to be sent again.
    Raises `ImageInvalid` when the file is not the blob, `TooLargeForRegistry` when the
    registry takes it neither whole nor in chunks, and what a registry's answers call for.
    """
    sender = _Sender(exchange, blob, on_progress)
    sender.send()
    return sender.sent_bytes


class _Sender:
    """One blob on its way, through as many sessions as it takes."""

    def __init__(self, exchange: Exchange, blob: Blob, on_progress: Callable[[int], None]) -> None:
        self.sent_bytes = 0
        self._exchange = exchange
        self._blob = blob
        self._on_progress = on_progress
        self._reported_bytes = 0
        self._what = f"uploading {short(blob.digest)} to {exchange.repository}"
        self._scopes = exchange.scopes("pull", "push")

    def send(self) -> None:
        tries = self._tries()
        renewals = 0
        in_chunks = False
        while True:
            try:
                with _Reader(self._blob) as reader:
                    session = self._begin()
                    if in_chunks:
                        self._send_chunks(session, reader)
                    else:
                        self._send_whole(session, reader)
                    reader.check()
                    self._finish(session)
                return
            except _TooLarge as refusal:
                if in_chunks or self._blob.size_bytes <= CHUNK_BYTES:
                    raise refusal.error from None
                in_chunks = True
            except TokenRenewed:
                renewals += 1
                if renewals > _RENEWALS:
                    raise RegistryUnavailable(
                        f"{self._exchange.title} lets tokens expire faster than a blob can be "
                        f"sent ({self._what})",
                        hint="ask whoever runs the registry for tokens that last longer",
                    ) from None
            except Interrupted as interruption:
                tries.failed(interruption)
            self._report(0)

    def _begin(self) -> _Session:
        request = self._exchange.request("POST", "blobs/uploads/", self._what)
        answer = self._exchange.ask(request, self._scopes)
        if answer.status != 202:
            raise self._exchange.refused(answer, request)
        return _session(self._exchange, answer, self._what)

    def _send_whole(self, session: _Session, reader: _Reader) -> None:
        size_bytes = self._blob.size_bytes
        if size_bytes:
            received = self._patch(session, reader, 0, size_bytes, {})
            if received is not None and received < size_bytes:
                raise _kept_less(received, size_bytes)

    def _send_chunks(self, session: _Session, reader: _Reader) -> None:
        offset = furthest = 0
        tries = self._tries()
        renewals = 0
        while offset < self._blob.size_bytes:
            end = min(offset + session.chunk_bytes, self._blob.size_bytes)
            try:
                between = {"Content-Range": f"{offset}-{end - 1}"}
                received = self._patch(session, reader, offset, end - offset, between)
                offset = end if received is None else min(received, end)
                if offset < end:
                    tries.failed(_kept_less(offset, end))
            except TokenRenewed:
                renewals += 1
                if renewals > _RENEWALS:
                    raise
                offset = min(self._where(session), reader.position)
            except Interrupted as interruption:
                tries.failed(interruption)
                offset = min(self._where(session), reader.position)
            self._report(offset)
            if offset > furthest:
                furthest, tries, renewals = offset, self._tries(), 0

    def _patch(
        self,
        session: _Session,
        reader: _Reader,
        offset: int,
        count: int,
        headers: Mapping[str, str],
    ) -> int | None:
        """Send bytes; return how many the registry has now, None when it does not say."""
        passed = 0

        def pieces() -> Iterator[bytes]:
            nonlocal passed
            for piece in reader.pieces(offset, count):
                yield piece
                passed += len(piece)
                self.sent_bytes += len(piece)
                self._report(offset + passed)

        request = self._exchange.request(
            "PATCH", session.url, self._what, body=Body(count, pieces), headers=headers
        )
        answer = self._exchange.ask_once(request, self._scopes)
        if answer.status == 413:
            raise _TooLarge(self._exchange.refused(answer, request))
        if answer.status in (404, 416):
            # The session is gone, or is somewhere else than it should be.
            raise Interrupted(described(answer, request))
        if answer.status not in _ACCEPTED:
            raise self._exchange.refused(answer, request)
        if passed < count:
            raise Interrupted(f"{answer.title} after {passed} of {count} bytes")
        session.url = _session(self._exchange, answer, self._what).url
        received = _received(answer)
        return 1 if received == 0 and offset + count == 1 else received  # `0-0` is both.

    def _where(self, session: _Session) -> int:
        """Return how many bytes a session has (end-13)."""
        request = self._exchange.request("GET", session.url, self._what)
        answer = self._exchange.ask(request, self._scopes)
        if answer.status not in (200, 202, 204):
            raise Interrupted(described(answer, request))
        if answer.headers.get("location"):
            session.url = _session(self._exchange, answer, self._what).url
        return _received(answer) or 0

    def _finish(self, session: _Session) -> None:
        exchange, digest = self._exchange, self._blob.digest
        request = exchange.request("PUT", with_digest(session.url, digest), self._what)
        answer = exchange.ask(request, self._scopes)
        if answer.status in (404, 416):
            # Gone: perhaps because an earlier PUT, whose answer was lost, has closed it.
            there = blob_size(exchange, digest, "pull", "push")
            if there not in (UNKNOWN_SIZE, self._blob.size_bytes):
                raise Interrupted(described(answer, request))
            return
        if answer.status not in _ACCEPTED:
            raise exchange.refused(answer, request)
        if differs(answer.headers.get("docker-content-digest", ""), digest):
            raise corrupt(exchange, digest, "was taken in with another digest")
        size_bytes = blob_size(exchange, digest, "pull", "push")
        if size_bytes not in (None, UNKNOWN_SIZE, self._blob.size_bytes):
            raise corrupt(
                exchange,
                digest,
                f"was taken in with {size_bytes} bytes; {self._blob.size_bytes} were sent",
            )

    def _report(self, at_bytes: int) -> None:
        change = at_bytes - self._reported_bytes
        self._reported_bytes = at_bytes
        if change:
            self._on_progress(change)

    def _tries(self) -> Tries:
        return self._exchange.http.tries(self._exchange.request("PATCH", "", self._what))


class _Reader:
    """Reads a blob from its file, and notices when that holds something else."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._hash = hashlib.new(blob.digest.partition(":")[0])
        self.position = 0
        """How far the blob has been read, and hashed."""

    def __enter__(self) -> _Reader:
        with self._reading():
            self._file = self._blob.open()
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def pieces(self, start: int, count: int) -> Iterator[bytes]:
        """Yield `count` bytes from `start` on, which is not beyond `position`."""
        at, end = start, start + count
        with self._reading():
            self._file.seek(start)
        while at < end:
            with self._reading():
                piece = self._file.read(min(PIECE_BYTES, end - at))
            if not piece:
                raise self._changed(f"ends after {at} of {self._blob.size_bytes} bytes")
            at += len(piece)
            if at > self.position:
                self._hash.update(memoryview(piece)[self.position - at :])
                self.position = at
            yield piece

    def check(self) -> None:
        """Raise `ImageInvalid` unless what was read is the blob."""
        with self._reading():
            self._file.seek(self.position)
            is_longer = bool(self._file.read(1))
        if self.position != self._blob.size_bytes or is_longer:
            raise self._changed(f"is longer than {self._blob.size_bytes} bytes")
        if self._hash.hexdigest() != self._blob.digest.partition(":")[2]:
            raise self._changed("has another digest")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._changed(f"cannot be read: {error.strerror or error}") from None

    def _changed(self, problem: str) -> ImageInvalid:
        return ImageInvalid(
            f"the file of {self._blob.digest} {problem}",
            hint="it is damaged, or was changed while it was being pushed; build or pull it again",
        )


def corrupt(exchange: Exchange, digest: str, problem: str) -> RegistryCorrupt:
    """Return the error for bytes that a registry has changed."""
    return RegistryCorrupt(
        f"{digest} {problem} ({exchange.repository})",
        hint="try again; if it stays so, ask whoever runs the registry",
    )


def with_digest(url: str, digest: str) -> str:
    """Return the URL that closes an upload (end-6): with the digest beside what the query
    holds already, to the byte, for it may be signed."""
    parts = urlsplit(url)
    kept = [
        pair
        for pair in parts.query.split("&")
        if pair and unquote_plus(pair.partition("=")[0]) != "digest"
    ]
    query = "&".join([*kept, f"digest={quote(digest, safe='')}"])
    return urlunsplit(parts._replace(query=query, fragment=""))


def _session(exchange: Exchange, answer: Answer, what: str) -> _Session:
    location = answer.headers.get("location", "").strip()
    if not location:
        raise RegistryRefused(
            f"{exchange.title} does not say where to go on ({what}): {answer.title} without "
            "Location",
            hint="ask whoever runs the registry",
        )
    least = answer.headers.get("oci-chunk-min-length", "").strip()
    least_bytes = int(least) if re.fullmatch("[0-9]{1,18}", least) else 0
    url = joined(exchange, answer, location, what)
    return _Session(url, max(CHUNK_BYTES, least_bytes))


def joined(exchange: Exchange, answer: Answer, location: str, what: str) -> str:
    """Return the URL that an answer names, which may be relative (RFC 3986).

    Raises `RedirectUnsafe` for what is none.
    """
    try:
        url = urljoin(answer.place.url, location)
        urlsplit(url)
    except ValueError as error:
        shown = "".join(c for c in location if c.isprintable()).partition("?")[0][:80]
        raise RedirectUnsafe(
            f"{exchange.title} names a place that cannot be used, '{shown}' ({what}): {error}",
            hint="ask whoever runs the registry; nothing was sent there",
        ) from None
    return url


def _received(answer: Answer) -> int | None:
    """Return how many bytes a session has, by its Range: `0-<last byte>`.

    `0-0` stands for none: that is how Distribution writes it.
    """
    match = re.fullmatch(r"(?:bytes[= ])?0-([0-9]{1,18})", answer.headers.get("range", "").strip())
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last else 0


def _kept_less(received: int, sent: int) -> Interrupted:
    return Interrupted(f"the registry kept {received} of {sent} bytes")


def _abandon(exchange: Exchange, session: _Session, what: str) -> None:
    """Cancel an upload that nobody needs; a registry that does not care forgets it anyway."""
    with contextlib.suppress(Interrupted, TokenRenewed, PipelineError):
        exchange.ask_once(
            exchange.request("DELETE", session.url, what), exchange.scopes("pull", "push")
        )
