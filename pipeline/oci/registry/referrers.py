"""What is said of an image, beside it in its registry: artifacts that refer to a manifest.

Follows the OCI distribution specification 1.1, "Pushing manifests with subject" and "Listing
referrers": where a registry does not list referrers by itself, an index under the tag
`sha256-…` does, which whoever attaches something keeps up to date.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import NotInRegistry, RegistryCorrupt, RegistryRefused, TooLargeForRegistry
from pipeline.oci.image import Descriptor, Document, Format, canonical, document_of
from pipeline.oci.registry.reference import Reference, Repository, check_digest

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

EMPTY = document_of(b"{}", "application/vnd.oci.empty.v1+json")
"""What stands for a configuration where there is none (manifest.md, "empty descriptor")."""
ARTIFACT_BYTES = 64 << 20
"""The largest artifact that is read."""
_TITLE = "org.opencontainers.image.title"
_CREATED = "org.opencontainers.image.created"
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something to attach. The same one gives the same manifest."""

    type: str
    """The media type of `data`, such as `application/vnd.cyclonedx+json`."""
    data: bytes
    title: str
    """A file name for it."""
    created: str = ""
    """RFC 3339; the image's own time, so that nothing depends on a clock."""

    @property
    def blob(self) -> Descriptor:
        """The descriptor of the data."""
        return Descriptor(
            self.type,
            f"sha256:{hashlib.sha256(self.data).hexdigest()}",
            len(self.data),
            annotations={_TITLE: self.title},
        )

    def manifest(self, subject: Descriptor) -> Document:
        """Return the manifest that attaches it to `subject`."""
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": Format.OCI.manifest_type,
            "artifactType": self.type,
            "config": EMPTY.descriptor.to_json(),
            "layers": [self.blob.to_json()],
            "subject": {
                "mediaType": subject.media_type,
                "digest": subject.digest,
                "size": subject.size_bytes,
            },
        }
        if self.created:
            body["annotations"] = {_CREATED: self.created}
        return document_of(canonical(body), Format.OCI.manifest_type)


@dataclass(frozen=True, slots=True)
class Referrer:
    """An artifact in a registry, as a list names it."""

    digest: str
    """Of its manifest."""
    size_bytes: int
    type: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def is_attached(
    registry: Registry, repository: Repository, subject: Descriptor, artifact: Artifact
) -> bool:
    """Whether the repository has an artifact, and lists it with what it refers to."""
    digest = artifact.manifest(subject).descriptor.digest
    if registry.head_manifest(Reference(repository, digest=digest), pushing=True) is None:
        return False
    return any(one.digest == digest for one in list_referrers(registry, repository, subject.digest))


def attach(
    registry: Registry, repository: Repository, subject: Descriptor, artifact: Artifact
) -> str:
    """Attach an artifact to a manifest of the repository; return its manifest's digest.

    What is there already is not sent again.
    """
    document = artifact.manifest(subject)
    reference = Reference(repository, digest=document.descriptor.digest)
    for descriptor, data in ((EMPTY.descriptor, EMPTY.data), (artifact.blob, artifact.data)):
        registry.upload_blob(
            repository, descriptor.digest, descriptor.size_bytes, partial(io.BytesIO, data)
        )
    noted = registry.put_manifest(reference, document)
    if noted != subject.digest:
        _note(registry, repository, subject.digest, document, artifact)
    return document.descriptor.digest


def list_referrers(registry: Registry, repository: Repository, digest: str) -> tuple[Referrer, ...]:
    """Return what refers to a manifest, in the registry's order.

    Raises `RegistryRefused` for a list that is none.
    """
    listed = registry.referrers(repository, digest)
    if listed is None:
        listed = _tagged(registry, repository, digest)[0]
    try:
        return tuple(
            Referrer(
                digest=check_digest(entry["digest"]),
                size_bytes=int(entry["size"]),
                type=str(entry.get("artifactType") or ""),
                annotations=dict(entry.get("annotations") or {}),
            )
            for entry in listed
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryRefused(
            f"what refers to {repository}@{digest} cannot be read: {error}",
            hint="ask whoever runs the registry",
        ) from None


def fetch(registry: Registry, repository: Repository, subject: str, referrer: Referrer) -> bytes:
    """Return the data of an artifact that refers to the manifest with the digest `subject`.

    Raises `RegistryCorrupt` for one that refers to something else, or that is none.
    """
    reference = Reference(repository, digest=referrer.digest)
    document = registry.get_manifest(reference)
    try:
        body = json.loads(document.data)
        named = body["subject"]["digest"]
        (layer,) = body["layers"]
        digest, size_bytes = check_digest(layer["digest"]), int(layer["size"])
        kind = body.get("artifactType") or body["config"]["mediaType"]
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryCorrupt(
            f"{reference} is no artifact with one file: {error}", hint="attach it again"
        ) from None
    if named != subject:
        raise RegistryCorrupt(
            f"{reference} is listed for {subject} and refers to {named}", hint="attach it again"
        )
    if referrer.type and kind != referrer.type:
        raise RegistryCorrupt(
            f"{reference} is listed as {referrer.type} and is {kind}", hint="attach it again"
        )
    if size_bytes > ARTIFACT_BYTES:
        raise TooLargeForRegistry(
            f"{reference} has {size_bytes} bytes, more than are read", hint="see what it is"
        )
    return b"".join(registry.read_blob(repository, digest, size_bytes))


# Registries that do not list referrers.


def fallback_tag(digest: str) -> str:
    """Return the tag of the index that lists what refers to a manifest."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def _tagged(
    registry: Registry, repository: Repository, digest: str
) -> tuple[list[dict[str, Any]], str]:
    """Return what the index under the fallback tag lists, and the index's digest."""
    try:
        index = registry.get_manifest(Reference(repository, tag=fallback_tag(digest)))
    except NotInRegistry:
        return [], ""
    listed = json.loads(index.data).get("manifests")
    if index.descriptor.media_type != Format.OCI.index_type or not isinstance(listed, list):
        raise RegistryRefused(
            f"{repository}:{fallback_tag(digest)} is not a list of what refers to {digest}",
            hint="remove the tag, and attach again",
        )
    return listed, index.descriptor.digest


def _note(
    registry: Registry, repository: Repository, subject: str, document: Document, artifact: Artifact
) -> None:
    """Add an artifact to the index under the fallback tag.

    Two that do so at once may each lose the other's entry: so it is read again, and added
    again where it is gone.
    """
    own = {
        **document.descriptor.to_json(),
        "artifactType": artifact.type,
        **({"annotations": {_CREATED: artifact.created}} if artifact.created else {}),
    }
    tag = Reference(repository, tag=fallback_tag(subject))
    for _ in range(_ATTEMPTS):
        listed, _digest = _tagged(registry, repository, subject)
        if any(entry.get("digest") == own["digest"] for entry in listed):
            return
        body = {
            "schemaVersion": 2,
            "mediaType": Format.OCI.index_type,
            "manifests": _in_order([*listed, own]),
        }
        registry.put_manifest(tag, document_of(canonical(body), Format.OCI.index_type))
    raise RegistryRefused(
        f"{tag} does not keep what is added to it",
        hint="is somebody else attaching, too? try again",
    )


def _in_order(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry.get("digest")))
