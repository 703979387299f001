"""Image configuration, manifest and index as JSON documents with digests.

Follows the OCI image specification 1.1 (config.md, manifest.md, image-index.md),
or Docker's image manifest version 2, schema 2 for `Format.DOCKER`.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pipeline.platforms import Platform


class Format(enum.Enum):
    """Which media types the documents carry; one image never mixes the two."""

    OCI = "oci"
    DOCKER = "docker"

    @property
    def config_type(self) -> str:
        """Media type of an image configuration."""
        return {
            Format.OCI: "application/vnd.oci.image.config.v1+json",
            Format.DOCKER: "application/vnd.docker.container.image.v1+json",
        }[self]

    def layer_type(self, compression: str = "gzip") -> str:
        """Media type of a layer; `compression` is `gzip`, `zstd` or empty.

        Raises `ValueError` for zstd in Docker's format, which has no such type.
        """
        if self is Format.DOCKER:
            if compression == "zstd":
                raise ValueError("Docker's image format has no media type for zstd")
            return "application/vnd.docker.image.rootfs.diff.tar" + f".{compression}".rstrip(".")
        return "application/vnd.oci.image.layer.v1.tar" + f"+{compression}".rstrip("+")

    @property
    def manifest_type(self) -> str:
        """Media type of an image manifest."""
        return {
            Format.OCI: "application/vnd.oci.image.manifest.v1+json",
            Format.DOCKER: "application/vnd.docker.distribution.manifest.v2+json",
        }[self]

    @property
    def index_type(self) -> str:
        """Media type of an image index (Docker: manifest list)."""
        return {
            Format.OCI: "application/vnd.oci.image.index.v1+json",
            Format.DOCKER: "application/vnd.docker.distribution.manifest.list.v2+json",
        }[self]


def compression_of(media_type: str) -> str:
    """Return the compression that a layer's media type names: `gzip`, `zstd` or empty."""
    for compression in ("gzip", "zstd"):
        if media_type.endswith((f"+{compression}", f".{compression}")):
            return compression
    return ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names a blob: `digest` is "sha256:" + 64 hex digits (descriptor.md)."""

    media_type: str
    digest: str
    size_bytes: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as the specification writes it."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.platform is not None:
            document["platform"] = platform_json(self.platform)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document and the descriptor that names it."""

    data: bytes
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer's place in an image, and the line of history that explains it."""

    digest: str
    diff_id: str
    size_bytes: int
    created_by: str
    compression: str = "gzip"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a container of the image starts with; durations in seconds."""

    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    workdir: str = ""
    ports: Sequence[str] = ()
    volumes: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    health_test: Sequence[str] = ()
    health_interval_s: float = 0
    health_timeout_s: float = 0
    health_start_period_s: float = 0
    health_retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageDocuments:
    """One platform's image: its two documents, and the layers that they name."""

    platform: Platform
    config: Document
    manifest: Document
    layers: tuple[ImageLayer, ...]


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the document as JSON with sorted keys and no white space."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def timestamp(epoch_s: int) -> str:
    """Return seconds since 1970 as RFC 3339, in UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def platform_json(platform: Platform) -> dict[str, str]:
    """Return the platform object of descriptors and configurations."""
    document = {"os": "linux", "architecture": platform.architecture}
    if platform.variant:
        document["variant"] = platform.variant
    return document


def image_documents(
    platform: Platform,
    configuration: Configuration,
    layers: Sequence[ImageLayer],
    *,
    created_s: int,
    format: Format,
    annotations: Mapping[str, str],
) -> ImageDocuments:
    """Return configuration and manifest of one platform's image.

    `created_s` is in seconds since 1970; `annotations` go on the manifest (OCI only).
    """
    created = timestamp(created_s)
    config = _document(
        {
            **platform_json(platform),
            "created": created,
            "config": _runtime(configuration),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created": created, "created_by": layer.created_by} for layer in layers],
        },
        format.config_type,
    )
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": format.manifest_type,
        "config": config.descriptor.to_json(),
        "layers": [
            {
                "mediaType": format.layer_type(layer.compression),
                "digest": layer.digest,
                "size": layer.size_bytes,
            }
            for layer in layers
        ],
    }
    if format is Format.OCI and annotations:
        body["annotations"] = dict(annotations)
    manifest = _document(body, format.manifest_type, platform)
    return ImageDocuments(platform, config, manifest, tuple(layers))


def index_document(
    images: Sequence[ImageDocuments], *, format: Format, annotations: Mapping[str, str]
) -> Document:
    """Return the index of a multi-platform image: exactly one entry a platform."""
    if len({image.platform for image in images}) != len(images):
        raise ValueError("an index has exactly one entry a platform")
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": format.index_type,
        "manifests": [image.manifest.descriptor.to_json() for image in images],
    }
    if format is Format.OCI and annotations:
        body["annotations"] = dict(annotations)
    return _document(body, format.index_type)


def document_of(data: bytes, media_type: str, *, expected: str = "") -> Document:
    """Return bytes that exist as a document; raises `ValueError` when `expected` is not
    their digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if expected and digest != expected:
        raise ValueError(f"{expected} has the content of {digest}")
    return Document(data, Descriptor(media_type, digest, len(data)))


def image_from_documents(manifest: Document, config: Document) -> ImageDocuments:
    """Return one platform's image from its two documents, whoever wrote them.

    Raises `ValueError`, `KeyError` or `TypeError` for documents that are not those of an
    image, and `UnsupportedPlatform`.
    """
    parts = json.loads(manifest.data)
    settings = json.loads(config.data)
    system = settings["os"]
    if system != "linux":
        raise ValueError(f"the image is for {system}")
    platform = Platform.parse(settings["architecture"])
    diff_ids = settings["rootfs"]["diff_ids"]
    history = [line for line in settings.get("history", []) if not line.get("empty_layer")]
    if len(history) != len(diff_ids):
        history = [{}] * len(diff_ids)  # History is optional, and not always kept up.
    if len(diff_ids) != len(parts["layers"]):
        raise ValueError(f"{len(parts['layers'])} layers and {len(diff_ids)} diff_ids")
    layers = tuple(
        ImageLayer(
            digest=layer["digest"],
            diff_id=diff_id,
            size_bytes=layer["size"],
            created_by=line.get("created_by", ""),
            compression=compression_of(layer["mediaType"]),
        )
        for layer, diff_id, line in zip(parts["layers"], diff_ids, history, strict=True)
    )
    named = replace(manifest, descriptor=replace(manifest.descriptor, platform=platform))
    return ImageDocuments(platform, config, named, layers)


def _document(
    body: Mapping[str, Any], media_type: str, platform: Platform | None = None
) -> Document:
    document = document_of(canonical(body), media_type)
    return replace(document, descriptor=replace(document.descriptor, platform=platform))


def _runtime(configuration: Configuration) -> dict[str, Any]:
    c = configuration
    runtime: dict[str, Any] = {
        "User": c.user,
        "Env": [f"{name}={value}" for name, value in c.environment.items()],
        "Entrypoint": list(c.entrypoint),
        "Cmd": list(c.command),
        "WorkingDir": c.workdir,
        "ExposedPorts": {port: {} for port in c.ports},
        "Volumes": {volume: {} for volume in c.volumes},
        "Labels": dict(c.labels),
        "StopSignal": c.stop_signal,
    }
    if c.health_test:
        # Reserved in the OCI configuration; Docker and its relatives honour it.
        check = {
            "Test": list(c.health_test),
            "Interval": _nanoseconds(c.health_interval_s),
            "Timeout": _nanoseconds(c.health_timeout_s),
            "StartPeriod": _nanoseconds(c.health_start_period_s),
            "Retries": c.health_retries,
        }
        # Zero means the engine's own value, as does leaving it out.
        runtime["Healthcheck"] = {key: value for key, value in check.items() if value}
    return {key: value for key, value in runtime.items() if value}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
