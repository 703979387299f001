"""Small finished images and the folder that their layers' blobs are in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from pipeline.entries import Entry
from pipeline.oci.image import Configuration, Format, ImageLayer, image_documents
from pipeline.oci.layer import write_layer
from pipeline.oci.layout import NamedImage
from pipeline.platforms import Platform

EPOCH_S = 1_700_000_000
BOTH = tuple(Platform)


class Blobs:
    """A folder of blobs, called as `write_layout` and `write_archive` call theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")

    def layer(self, entries: Sequence[Entry], created_by: str) -> ImageLayer:
        """Write a layer's blob and return its place in an image."""
        out = io.BytesIO()
        blob = write_layer(entries, out, epoch_s=EPOCH_S)
        self(blob.digest).write_bytes(out.getvalue())
        return ImageLayer(blob.digest, blob.diff_id, blob.size_bytes, created_by)

    def image(
        self,
        text: str,
        *,
        tag: str = "production",
        platforms: Sequence[Platform] = BOTH,
        format: Format = Format.OCI,
        configuration: Configuration | None = None,
    ) -> NamedImage:
        """Return an image whose second layer, and whose labels, say `text`."""
        shared = self.layer([Entry("etc/shared", content=b"the same in every image")], "base")
        documents = []
        for platform in platforms:
            own = Entry("app/text", content=f"{text} for {platform}".encode())
            documents.append(
                image_documents(
                    platform,
                    configuration or Configuration(command=["/app/text"], labels={"text": text}),
                    [shared, self.layer([own], f"application {text}")],
                    created_s=EPOCH_S,
                    format=format,
                    annotations={"org.opencontainers.image.title": text},
                )
            )
        return NamedImage("example", tag, tuple(documents), format, {"text": text})
