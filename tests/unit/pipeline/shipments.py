"""Layouts to push, as `invoke build` writes them: an index says what its manifests all say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.entries import Entry
from pipeline.oci.image import Configuration, Format, ImageLayer, image_documents
from pipeline.oci.layout import NamedImage, open_layout, write_layout
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.http import Patience
from pipeline.oci.registry.reference import Repository
from pipeline.platforms import Platform
from pipeline.push import Cargo
from tests.unit.pipeline.oci.image_factory import BOTH, EPOCH_S, Blobs
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISION = "org.opencontainers.image.revision"
QUICK = Patience(attempts=2, sleep=lambda _seconds: None)


def build(
    folder: Path,
    *,
    text: str = "one",
    tag: str = "production",
    platforms: Sequence[Platform] = BOTH,
    format: Format = Format.OCI,
    annotations: Mapping[str, str] | None = None,
) -> NamedImage:
    """Make `folder` the layout of an image: a layer that all images share, one of its own a
    platform; return it as it is read back."""
    blobs = Blobs(folder.parent / ".blobs")
    said = {REVISION: COMMIT, "org.opencontainers.image.version": "1.2.3", **(annotations or {})}
    shared = blobs.layer([Entry("etc/shared", content=b"shared" * 99)], "base")
    images = []
    for platform in platforms:
        own: ImageLayer = blobs.layer([Entry("app", content=f"{text} {platform}".encode())], "app")
        images.append(
            image_documents(
                platform,
                Configuration(command=["/app"], labels=said),
                [shared, own],
                created_s=EPOCH_S,
                format=format,
                annotations=said,
            )
        )
    write_layout(folder, NamedImage("accelerapp", tag, tuple(images), format, said), blobs)
    return open_layout(folder)


def client(registry: FaultyRegistry) -> Registry:
    """Return a client that gives up soon; close it."""
    assert registry.host
    return Registry(credentials=lambda _repository: None, patience=QUICK)


def cargo(
    registry: FaultyRegistry, layout: Path, *tags: str, name: str = "owner/accelerapp"
) -> Cargo:
    """Return the image of a layout on its way to a registry."""
    image = open_layout(layout)
    return Cargo(image.tag, image, layout, Repository(registry.host, name), tags)
