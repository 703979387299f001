"""What pushes and pulls share: threads that end together, and images read from a registry.

A registry's index may list what is no image for a known platform (attestations, Windows,
platforms that nobody here builds for); each such entry is told apart and named.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ImageInvalid, NotInRegistry, UnsupportedPlatform
from pipeline.oci.image import Document, Format, ImageDocuments, document_of, image_from_documents
from pipeline.oci.registry.reference import Reference, Repository, check_digest
from pipeline.platforms import Platform

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

WORKERS = 4
_JOIN_TIMEOUT_S = 1.0
_CONFIG_LIMIT_BYTES = 4_000_000
_IMAGE_CONFIGS = frozenset(format.config_type for format in Format)
_IMAGE_MANIFESTS = frozenset(format.manifest_type for format in Format)
_INDEXES = frozenset(format.index_type for format in Format)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cancelled(Exception):
    """Another piece of the same work failed, or the user interrupted."""


class Stop:
    """Tells threads that what they do is no longer wanted."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def check(self) -> None:
        """Raise `Cancelled` when it is time to end."""
        if self._event.is_set():
            raise Cancelled

    def set(self) -> None:
        """Let every `check` from now on raise."""
        self._event.set()


def in_parallel(
    work: Callable[[Item, Stop], Result], items: Sequence[Item], *, workers: int = WORKERS
) -> list[Result]:
    """Return what `work` returns for each item, in their order, several at a time.

    The first error, or an interrupt, is raised at once: whoever works on another item
    learns it from `Stop`, and nobody waits for a thread that sits in the network.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)
    news: queue.SimpleQueue[tuple[int, Result] | Exception] = queue.SimpleQueue()
    stop = Stop()

    def run() -> None:
        try:
            while True:
                number = waiting.get_nowait()
                stop.check()
                news.put((number, work(items[number], stop)))
        except (queue.Empty, Cancelled):
            return
        except Exception as error:
            news.put(error)

    # Daemons, because no signal reaches a thread that waits for a connection.
    threads = [
        threading.Thread(target=run, name=f"transfer-{number}", daemon=True)
        for number in range(min(workers, len(items)))
    ]
    done: dict[int, Result] = {}
    try:
        for thread in threads:
            thread.start()
        while len(done) < len(items):
            item = news.get()
            if isinstance(item, Exception):
                raise item
            done[item[0]] = item[1]
    finally:
        stop.set()
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(deadline_s - time.monotonic(), 0.0))
    return [done[number] for number in range(len(items))]


@dataclass(frozen=True, slots=True)
class Entry:
    """What an index lists. `platform` is None for what is no image for a known one."""

    digest: str
    platform: Platform | None
    label: str
    """What people call it: `linux/386`, `attestation`."""


def is_index(document: Document) -> bool:
    """Whether a registry's answer is an index; raises `ImageInvalid` unless it is one or an
    image's manifest."""
    media_type = document.descriptor.media_type
    if media_type not in _INDEXES | _IMAGE_MANIFESTS:
        raise ImageInvalid(
            f"{document.descriptor.digest} is no container image, but {media_type or 'untyped'}",
            hint="give the name of an image or of an index of images",
        )
    return media_type in _INDEXES


def entries_of(registry: Registry, repository: Repository, index: Document) -> tuple[Entry, ...]:
    """Return what an index lists, in its order; the first entry of a platform counts.

    `platform` is optional in a descriptor (descriptor.md): without it, the image's own
    configuration is asked.
    """
    seen: set[Platform] = set()
    entries: list[Entry] = []
    for descriptor in listed(index):
        entry = _entry(registry, repository, descriptor)
        if entry.platform in seen:
            entry = Entry(entry.digest, None, f"{entry.label} (again)")
        if entry.platform is not None:
            seen.add(entry.platform)
        entries.append(entry)
    return tuple(entries)


def listed(index: Document) -> list[dict[str, Any]]:
    """Return the descriptors of an index; raises `ImageInvalid` when it is not one."""
    try:
        descriptors = json.loads(index.data)["manifests"]
        for descriptor in descriptors:
            if not isinstance(descriptor["digest"] + descriptor["mediaType"], str):
                raise TypeError("a digest and a media type are text")
            if not isinstance(descriptor.get("annotations", {}), dict):
                raise TypeError("annotations are an object")
        return list(descriptors)
    except (ValueError, KeyError, TypeError) as error:
        raise ImageInvalid(
            f"the index {index.descriptor.digest} cannot be read: {_one_line(error)}",
            hint="push it again",
        ) from None


def _entry(registry: Registry, repository: Repository, descriptor: dict[str, Any]) -> Entry:
    digest, annotations = descriptor["digest"], descriptor.get("annotations", {})
    if "attestation" in str(annotations.get("vnd.docker.reference.type", "")):
        return Entry(digest, None, "attestation")
    if descriptor["mediaType"] not in _IMAGE_MANIFESTS:
        return Entry(digest, None, str(descriptor["mediaType"]))
    named = descriptor.get("platform")
    if not isinstance(named, dict):
        image = image_at(registry, Reference(repository, digest=digest))
        return Entry(digest, image.platform, str(image.platform))
    label = "/".join(
        str(named[part]) for part in ("os", "architecture", "variant") if part in named
    )
    try:
        known = Platform.parse(label) if named.get("os") == "linux" else None
    except UnsupportedPlatform:
        known = None
    return Entry(digest, known, label if known is None else str(known))


def image_at(registry: Registry, reference: Reference) -> ImageDocuments:
    """Return the documents of the one-platform image at a reference; see `image_of`."""
    return image_of(registry, reference.repository, registry.get_manifest(reference))


def image_of(registry: Registry, repository: Repository, manifest: Document) -> ImageDocuments:
    """Return the image of a manifest: its configuration is read, its layers are not.

    Raises `ImageInvalid` for what is no image, and `UnsupportedPlatform`.
    """
    name = f"{repository}@{manifest.descriptor.digest}"
    if is_index(manifest):
        raise ImageInvalid(f"{name} is an index inside of an index", hint="push the images alone")
    try:
        config = json.loads(manifest.data)["config"]
        media_type, digest, size_bytes = config["mediaType"], config["digest"], config["size"]
        if media_type not in _IMAGE_CONFIGS:
            raise ValueError(f"it is no container image, but {media_type}")
        if not 0 < size_bytes <= _CONFIG_LIMIT_BYTES:
            raise ValueError(f"its configuration has {size_bytes} bytes")
        data = b"".join(registry.read_blob(repository, check_digest(digest), size_bytes))
        image = image_from_documents(manifest, document_of(data, media_type, expected=digest))
        for layer in image.layers:
            # They become the names of files here.
            if not (isinstance(layer.size_bytes, int) and layer.size_bytes > 0):
                raise ValueError(f"the layer {check_digest(layer.digest)} has no size")
            check_digest(layer.digest)
        return image
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageInvalid(
            f"{name} cannot be used: {_one_line(error)}", hint="push it again, or use another image"
        ) from None


def entry_for(entries: Sequence[Entry], platform: Platform, reference: Reference | str) -> Entry:
    """Return the entry of an index for a platform; raises `NotInRegistry` with what it has."""
    for entry in entries:
        if entry.platform is platform:
            return entry
    has = ", ".join(entry.label for entry in entries if entry.platform) or "no image"
    raise NotInRegistry(f"{reference} has no image for {platform}", hint=f"it has {has}")


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return " ".join(str(error).split()) or type(error).__name__
