"""What images need of registries: blobs, manifests and tags, each verified on its way.

Follows the OCI distribution specification 1.1 (end-1 to end-13, less what deletes), and so
Docker's Registry HTTP API V2.  Nothing that arrives with another digest than it should have
is handed on, in either direction.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeVar

from pipeline.errors import (
    NotInRegistry,
    RegistryCorrupt,
    RegistryRefused,
    TooLargeForRegistry,
)
from pipeline.oci.image import Descriptor, Document, Format, document_of
from pipeline.oci.registry.credentials import Credentials
from pipeline.oci.registry.exchange import Exchange, TokenRenewed, differs, short
from pipeline.oci.registry.http import (
    PATIENCE,
    Answer,
    Body,
    Http,
    Interrupted,
    Patience,
    Request,
)
from pipeline.oci.registry.reference import Reference, Repository, familiar
from pipeline.oci.registry.upload import (
    MOUNT_REFUSALS,
    NO_HEAD,
    UNKNOWN_SIZE,
    Blob,
    Outcome,
    Uploaded,
    blob_size,
    corrupt,
    joined,
    mount,
    upload,
)

__all__ = [
    "ALL_MANIFEST_TYPES",
    "MANIFEST_BYTES",
    "MOUNT_REFUSALS",
    "UNKNOWN_SIZE",
    "Outcome",
    "Patience",
    "Registry",
    "Uploaded",
]

ALL_MANIFEST_TYPES = tuple(
    media_type for format in Format for media_type in (format.index_type, format.manifest_type)
)
MANIFEST_BYTES = 4 * 1024 * 1024
"""The largest manifest that registries take, and that is read."""

T = TypeVar("T")

_PAGES = 200
_TAG_PAGE_BYTES = 4 * 1024 * 1024
_NEXT_LINK = re.compile(r'<([^<>]*)>\s*;[^,]*?\brel\s*=\s*"?next"?(?=[\s;,"]|$)', re.IGNORECASE)


def _ignore(_change_bytes: int) -> None:
    """Take no notice."""


def _actions(pushing: bool) -> tuple[str, ...]:
    return ("pull", "push") if pushing else ("pull",)


class Registry:
    """Any number of registries, over connections that are kept. Thread-safe.

    Every method raises, where a registry gives the reason: `CredentialsRejected`,
    `AccessDenied`, `NotInRegistry`, `RegistryUnavailable`, `RegistryRefused`,
    `RegistryCorrupt`, `RedirectUnsafe`.
    """

    def __init__(
        self,
        *,
        credentials: Callable[[Repository], Credentials | None],
        plain_http: bool = False,
        patience: Patience = PATIENCE,
    ) -> None:
        """Speak https, and plain http to loopback; to all registries with `plain_http`.

        `credentials` is asked once for a repository at most, and only when its registry
        wants to see any.
        """
        self._credentials = credentials
        self._plain_http = plain_http
        self._http = Http(patience)
        self._lock = threading.Lock()
        self._exchanges: dict[Repository, Exchange] = {}

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; those in use are closed by whoever uses them."""
        self._http.close()

    # Blobs.

    def has_blob(self, repository: Repository, digest: str, *, pushing: bool = False) -> int | None:
        """Return the size of a blob in bytes, `UNKNOWN_SIZE` where the registry has it and does
        not say; None when the repository does not have it.

        `pushing` asks with the rights of a push: some registries know a repository that is yet
        to be made only by these.
        """
        return blob_size(self._exchange(repository), digest, *_actions(pushing))

    def mount_blob(self, repository: Repository, digest: str, *, source: str) -> bool:
        """Let the registry take a blob from `source`, the name of another of its repositories.

        False when it does not, whatever its reason: the blob is then to be uploaded.
        """
        return mount(self._exchange(repository), digest, source)

    def upload_blob(
        self,
        repository: Repository,
        digest: str,
        size_bytes: int,
        open_blob: Callable[[], BinaryIO],
        *,
        on_progress: Callable[[int], None] = _ignore,
        sources: Sequence[str] = (),
    ) -> Uploaded:
        """Bring a blob into a repository, by the cheapest way that the registry allows.

        `open_blob` may be called several times, for a seekable file each time; `sources`
        are names of repositories that may have the blob.  `on_progress` gets the change in
        bytes sent, negative when some are sent again; what it raises ends the upload.

        Raises `ImageInvalid` when the file is not the blob, and `TooLargeForRegistry` when
        the registry takes it neither whole nor in chunks.
        """
        exchange = self._exchange(repository)
        there = blob_size(exchange, digest, "pull", "push")
        if there is not None:
            if there != size_bytes:
                raise corrupt(exchange, digest, f"has {there} bytes there, {size_bytes} here")
            return Uploaded(Outcome.EXISTED, 0)
        for source in sources:
            if source != repository.name and mount(exchange, digest, source):
                return Uploaded(Outcome.MOUNTED, 0)
        sent = upload(exchange, Blob(digest, size_bytes, open_blob), on_progress)
        return Uploaded(Outcome.SENT, sent)

    def read_blob(self, repository: Repository, digest: str, size_bytes: int) -> Iterator[bytes]:
        """Yield a blob; goes on where it was when a connection breaks.

        Raises `RegistryCorrupt`, at the end, unless it had the digest and the size.
        """
        exchange = self._exchange(repository)
        request = exchange.request(
            "GET", f"blobs/{digest}", f"reading {short(digest)} of {repository}"
        )
        tries = self._http.tries(request)
        hash = hashlib.new(digest.partition(":")[0])
        received = 0
        renewals = 0
        while received < size_bytes or not received:
            try:
                for piece in _pieces(exchange, request, received, size_bytes):
                    received += len(piece)
                    if received > size_bytes:
                        raise corrupt(exchange, digest, f"has more than {size_bytes} bytes")
                    hash.update(piece)
                    yield piece
                if received < size_bytes:
                    raise corrupt(exchange, digest, f"has {received} bytes, not {size_bytes}")
                break
            except TokenRenewed:
                renewals += 1
                if renewals > 3:
                    tries.failed(Interrupted("its tokens expire at once"))
            except Interrupted as interruption:
                tries.failed(interruption)
        if hash.hexdigest() != digest.partition(":")[2]:
            raise corrupt(exchange, digest, "arrives with another digest")

    # Manifests.

    def head_manifest(self, reference: Reference, *, pushing: bool = False) -> Descriptor | None:
        """Return what a tag or digest names, None when the repository does not have it.

        `pushing` is as for `has_blob`.
        """
        exchange = self._exchange(reference.repository)
        request = _manifest_request(exchange, "HEAD", reference, ALL_MANIFEST_TYPES)
        answer = exchange.ask(request, exchange.scopes(*_actions(pushing)))
        if answer.status == 404:
            return None
        if answer.status not in (200, *NO_HEAD):
            raise exchange.refused(answer, request)
        declared = answer.headers.get("docker-content-digest", "").strip()
        length = answer.headers.get("content-length", "")
        media_type = _media_type(answer)
        if (
            not re.fullmatch(r"sha256:[0-9a-f]{64}", declared)
            or not re.fullmatch("[0-9]{1,18}", length)
            or media_type not in ALL_MANIFEST_TYPES
        ):
            # Not every registry says all of that before it is asked for the manifest itself.
            try:
                return self.get_manifest(reference, pushing=pushing).descriptor
            except NotInRegistry:
                return None
        if reference.digest and declared != reference.digest:
            raise corrupt(exchange, reference.digest, f"is answered for with {declared}")
        return Descriptor(media_type, declared, int(length))

    def get_manifest(
        self,
        reference: Reference,
        *,
        accept: Sequence[str] = ALL_MANIFEST_TYPES,
        pushing: bool = False,
    ) -> Document:
        """Return a manifest or an index, of one of the media types in `accept`.

        Raises `NotInRegistry`; `RegistryCorrupt` when it has not the digest that the
        reference, or the registry, names; `RegistryRefused` for what is not a manifest.
        """
        exchange = self._exchange(reference.repository)
        request = _manifest_request(exchange, "GET", reference, accept)
        scopes = exchange.scopes(*_actions(pushing))
        answer = exchange.ask(request, scopes, limit_bytes=MANIFEST_BYTES)
        if answer.status != 200:
            raise exchange.refused(answer, request)
        if not answer.is_whole:
            raise TooLargeForRegistry(
                f"{reference} is larger than {MANIFEST_BYTES} bytes", hint="see whether it is one"
            )
        body = _json(exchange, answer, request)
        declared = answer.headers.get("docker-content-digest", "")
        if differs(declared, answer.body):
            raise corrupt(exchange, declared.strip(), f"arrives with other bytes, as {reference}")
        media_type = _media_type(answer)
        if media_type not in ALL_MANIFEST_TYPES:
            # Static servers know no better than `application/json`; the document does.
            media_type = str(body.get("mediaType") or media_type)
        try:
            document = document_of(answer.body, media_type, expected=reference.digest or "")
        except ValueError as error:
            raise RegistryCorrupt(
                f"{reference} arrives with other bytes: {error}",
                hint="try again; if it stays so, ask whoever runs the registry",
            ) from None
        if media_type not in accept:
            raise RegistryRefused(
                f"{reference} is of a kind that is not read here: {media_type[:100] or 'untyped'}",
                hint="name a container image, or an index of images",
            )
        return document

    def put_manifest(self, reference: Reference, document: Document) -> str:
        """Put a manifest or an index, under its digest or a tag.

        Returns the digest of the manifest that it refers to (`subject`) where the registry has
        taken note of that, and otherwise "".  Raises `TooLargeForRegistry`, before anything is
        sent, for more than 4 MB.
        """
        digest = document.descriptor.digest
        if reference.digest not in (None, digest):
            raise ValueError(f"{digest} is not to be put as {reference}")
        if len(document.data) > MANIFEST_BYTES:
            raise TooLargeForRegistry(
                f"{reference} has {len(document.data)} bytes; registries take {MANIFEST_BYTES} at "
                "most",
                hint="use fewer layers or annotations",
            )
        exchange = self._exchange(reference.repository)
        request = exchange.request(
            "PUT",
            f"manifests/{reference.name}",
            f"putting {reference}",
            body=Body.of(document.data, document.descriptor.media_type),
        )
        answer = exchange.ask(request, exchange.scopes("pull", "push"))
        if answer.status not in (200, 201, 202, 204):
            raise exchange.refused(answer, request)
        if differs(answer.headers.get("docker-content-digest", ""), document.data):
            raise corrupt(exchange, digest, f"was taken in with another digest, as {reference}")
        return answer.headers.get("oci-subject", "").strip()

    def referrers(self, repository: Repository, digest: str) -> list[dict[str, Any]] | None:
        """Return the descriptors of what refers to a manifest, as the registry lists them.

        None where the registry has no such list: then there may be a tag (see `referrers.py`).
        """
        what = f"listing what refers to {repository}@{digest}"
        accept = {"Accept": Format.OCI.index_type}
        found: list[dict[str, Any]] = []
        for page in self._pages(repository, f"referrers/{digest}", what, accept, MANIFEST_BYTES):
            if page is None:
                return None
            found += _list_of(dict, page.get("manifests"), repository, what)
        return found

    def tags(self, repository: Repository) -> tuple[str, ...]:
        """Return the tags of a repository in the registry's order; none when there is none."""
        what = f"listing the tags of {repository}"
        found: dict[str, None] = {}
        for page in self._pages(repository, "tags/list", what, {}, _TAG_PAGE_BYTES):
            if page is None:
                break
            found.update(dict.fromkeys(_list_of(str, page.get("tags") or [], repository, what)))
        return tuple(found)

    def _pages(
        self,
        repository: Repository,
        path: str,
        what: str,
        headers: Mapping[str, str],
        limit_bytes: int,
    ) -> Iterator[dict[str, Any] | None]:
        """Yield each page of a list, None for one that is not there; raises `RegistryRefused`
        for a list without an end."""
        exchange = self._exchange(repository)
        request = exchange.request("GET", path, what, headers=headers)
        asked = set()
        for _ in range(_PAGES):
            asked.add(request.url)
            answer = exchange.ask(request, exchange.scopes("pull"), limit_bytes=limit_bytes)
            if answer.status == 404:
                yield None
                return
            if answer.status != 200:
                raise exchange.refused(answer, request)
            yield _json(exchange, answer, request)
            link = _NEXT_LINK.search(answer.headers.get("link", ""))
            if link is None:
                return
            path = joined(exchange, answer, link[1], what)
            request = exchange.request("GET", path, what, headers=headers)
            if request.url in asked:
                break
        raise RegistryRefused(
            f"{exchange.title} does not come to an end {what}", hint="ask whoever runs the registry"
        )

    def _exchange(self, repository: Repository) -> Exchange:
        with self._lock:
            exchange = self._exchanges.get(repository)
            if exchange is None:
                exchange = self._exchanges[repository] = Exchange(
                    self._http,
                    repository,
                    lambda: self._credentials(repository),
                    plain_http=self._plain_http,
                )
            return exchange


def _pieces(exchange: Exchange, request: Request, offset: int, size_bytes: int) -> Iterator[bytes]:
    """Yield a blob from `offset` on, whether the registry knows ranges or not."""
    if offset:
        request = exchange.request(
            "GET", request.url, request.what, headers={"Range": f"bytes={offset}-"}
        )
    with exchange.open(request, exchange.scopes("pull")) as reply:
        starts = reply.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
        if reply.status not in (200, 206) or (reply.status == 206 and starts != str(offset)):
            raise exchange.refused(reply.read(), request)
        skipped = offset if reply.status == 200 else 0
        for piece in reply.pieces():
            if skipped:
                piece, skipped = piece[skipped:], max(skipped - len(piece), 0)
            if piece:
                offset += len(piece)
                yield piece
        if offset < size_bytes and not reply.has_declared_end:
            raise Interrupted("the connection was closed early")


def _manifest_request(
    exchange: Exchange, method: str, reference: Reference, accept: Sequence[str]
) -> Request:
    return exchange.request(
        method,
        f"manifests/{reference.name}",
        f"reading {reference}",
        headers={"Accept": ", ".join(accept)},
    )


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _json(exchange: Exchange, answer: Answer, request: Request) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
        if isinstance(document, dict):
            return document
    except (ValueError, RecursionError):
        pass
    raise RegistryRefused(
        f"{exchange.title} answers {request.what} with something that is not JSON",
        hint="see whether the address is a registry's; a proxy may stand in between",
    )


def _list_of(kind: type[T], listed: Any, repository: Repository, what: str) -> list[T]:
    """Return a list as a page has it; raises `RegistryRefused` for one of something else."""
    if not isinstance(listed, list) or not all(isinstance(entry, kind) for entry in listed):
        raise RegistryRefused(
            f"{familiar(repository.registry)} answers {what} with something else",
            hint="ask whoever runs the registry",
        )
    return listed
