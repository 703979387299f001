"""An OCI image layout on disk (image-layout.md), replaced as one step.

Blobs are added first, `index.json` is renamed over the old one, and only then is
what nothing names removed: whoever reads the folder sees the old image or the new.

Several tools (Trivy, Syft, umoci) read just the first platform of a layout, or none, so
each platform has a view in the folder, `linux-arm64/`: a layout of that image alone
that shares the blobs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.atomic import alone_in, copy_verified, write_atomically, writing
from pipeline.errors import ImageInvalid, ImageMissing, OutputUnwritable, UnsupportedPlatform
from pipeline.oci.image import (
    Descriptor,
    Document,
    Format,
    ImageDocuments,
    canonical,
    document_of,
    image_from_documents,
    index_document,
)
from pipeline.platforms import Platform

_REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_VERSION = b'{"imageLayoutVersion":"1.0.0"}'

BlobSource = Callable[[str], Path]
"""Returns the path of the blob with a digest ("sha256:…")."""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """A finished image: one or more platforms under one name.

    `reference` is the full name for engines (`docker.io/library/accelerapp:production`),
    `tag` the short one for the layout (`production`).
    """

    repository: str
    tag: str
    images: tuple[ImageDocuments, ...]
    format: Format
    annotations: Mapping[str, str]
    index: Document | None = None
    """The index where it exists already; otherwise it is made from the parts above."""

    @property
    def top(self) -> Document:
        """The document that names it all: the index, or the only platform's manifest."""
        if self.index is not None:
            return self.index
        if len(self.images) == 1:
            return self.images[0].manifest
        return index_document(self.images, format=self.format, annotations=self.annotations)

    def descriptor(self) -> Descriptor:
        """Return the descriptor for `index.json`, with the names that engines look for."""
        top = self.top.descriptor
        return Descriptor(
            top.media_type,
            top.digest,
            top.size_bytes,
            top.platform,
            {
                _REF_NAME: self.tag,
                "io.containerd.image.name": f"docker.io/library/{self.repository}:{self.tag}",
            },
        )

    def by_platform(self) -> tuple[NamedImage, ...]:
        """Return an image of one platform for each of its platforms."""
        return tuple(replace(self, images=(image,), index=None) for image in self.images)

    def documents(self) -> tuple[Document, ...]:
        """Return every JSON document of the image, each once."""
        found = [document for image in self.images for document in (image.config, image.manifest)]
        found.append(self.top)
        return tuple({document.descriptor.digest: document for document in found}.values())

    def layer_digests(self) -> tuple[str, ...]:
        """Return the digests of its layers, each once."""
        return tuple(dict.fromkeys(layer.digest for i in self.images for layer in i.layers))


def index_json(images: Sequence[NamedImage]) -> bytes:
    """Return the bytes of a layout's `index.json`."""
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": Format.OCI.index_type,
            "manifests": [image.descriptor().to_json() for image in images],
        }
    )


def write_layout(
    folder: Path, image: NamedImage, blob: BlobSource, *, absent: Collection[str] = ()
) -> None:
    """Make `folder` the layout of `image`; raises `OutputUnwritable`.

    Layers whose digests are `absent` are left out, to be had elsewhere (image-layout.md).

    A folder that is not there appears whole; one that is there is taken over as
    described above.  Concurrent writers of one folder wait for each other.
    """
    folder = folder.resolve()  # What a link points at is replaced, not the link.
    with alone_in(folder.parent), writing(folder):
        if (folder / "oci-layout").exists() and (folder / "index.json").exists():
            _refuse_others(folder, image)
            _fill(folder, image, blob, absent)
            _remove_unnamed(folder, image)
        else:
            _create(folder, image, blob, absent)


def _create(folder: Path, image: NamedImage, blob: BlobSource, absent: Collection[str]) -> None:
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        work.chmod(0o755)
        _fill(work, image, blob, absent)
        if folder.exists():
            _make_way(folder)
        os.replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _refuse_others(folder: Path, image: NamedImage) -> None:
    """Raise `OutputUnwritable` for a layout that holds images of another name."""
    try:
        manifests = json.loads((folder / "index.json").read_bytes())["manifests"]
        names = {m.get("annotations", {}).get(_REF_NAME, image.tag) for m in manifests}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # Damaged; what is written replaces it.
    if others := sorted(names - {image.tag}):
        raise OutputUnwritable(
            f"{folder} holds another image, '{others[0]}'",
            hint="move it away, or choose another folder with --output",
        )


def _make_way(folder: Path) -> None:
    """Remove an empty folder, or half a layout; never anything else."""
    if {path.name for path in folder.iterdir()} <= {"blobs", "oci-layout"}:
        shutil.rmtree(folder)
        return
    raise OutputUnwritable(
        f"{folder} holds something that is not an image layout",
        hint="move it away, or choose another folder with --output",
    )


def _fill(folder: Path, image: NamedImage, blob: BlobSource, absent: Collection[str]) -> None:
    for digest in image.layer_digests():
        if digest in absent:
            continue
        copy_verified(blob(digest), blob_path(folder, digest), digest.removeprefix("sha256:"))
    for document in image.documents():
        _write_if_changed(blob_path(folder, document.descriptor.digest), document.data)
    _write_if_changed(folder / "oci-layout", LAYOUT_VERSION)
    _write_if_changed(folder / "index.json", index_json([image]))
    write_views(folder, image)


def write_views(folder: Path, image: NamedImage) -> None:
    """Write the layout of each platform alone; what is there and right is left as it is.

    Raises `OutputUnwritable`.
    """
    for part in image.by_platform():
        view = folder / platform_folder(part.images[0].platform)
        if view.is_symlink():
            view.unlink()  # Whatever it points at is not ours to write.
        view.mkdir(exist_ok=True)
        if not (view / "blobs").is_symlink():
            (view / "blobs").symlink_to("../blobs")
        _write_if_changed(view / "oci-layout", LAYOUT_VERSION)
        _write_if_changed(view / "index.json", index_json([part]))


def platform_folder(platform: Platform) -> str:
    """Return the name of a platform's view in a layout: `linux-arm64`."""
    return str(platform).replace("/", "-")


def _write_if_changed(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def _remove_unnamed(folder: Path, image: NamedImage) -> None:
    named = {document.descriptor.digest for document in image.documents()}
    named.update(image.layer_digests())
    for platform in set(Platform).difference(part.platform for part in image.images):
        _remove(folder / platform_folder(platform))
    for name in ("index.json", "oci-layout"):
        # What a killed build was writing; see `write_atomically`.
        for path in (*folder.glob(f".{name}.*"), *folder.glob(f"linux-*/.{name}.*")):
            path.unlink()
    for path in (folder / "blobs" / "sha256").iterdir():
        if f"sha256:{path.name}" not in named:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def blob_path(folder: Path, digest: str) -> Path:
    """Return where a layout keeps the blob with `digest` ("sha256:…")."""
    algorithm, _, value = digest.partition(":")
    return folder / "blobs" / algorithm / value


@dataclass(frozen=True, slots=True)
class LayoutSummary:
    """What a layout on disk says about itself."""

    digest: str
    platforms: tuple[str, ...]
    size_bytes: int
    created: str


def read_layout(folder: Path) -> LayoutSummary | None:
    """Return what the layout in `folder` holds, or None when there is none to be read."""
    try:
        top = json.loads((folder / "index.json").read_bytes())["manifests"][0]
        manifests = [top]
        if top["mediaType"] in (Format.OCI.index_type, Format.DOCKER.index_type):
            manifests = _read(folder, top["digest"])["manifests"]
        platforms: list[str] = []
        sizes: dict[str, int] = {}
        created = ""
        for descriptor in manifests:
            manifest = _read(folder, descriptor["digest"])
            config = _read(folder, manifest["config"]["digest"])
            platforms.append(f"{config['os']}/{config['architecture']}")
            created = config.get("created", "")
            sizes.update({layer["digest"]: layer["size"] for layer in manifest["layers"]})
        return LayoutSummary(top["digest"], tuple(platforms), sum(sizes.values()), created)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _read(folder: Path, digest: str) -> Any:
    return json.loads(blob_path(folder, digest).read_bytes())


def open_layout(folder: Path) -> NamedImage:
    """Return the image in a layout, whoever wrote it; its layers are not read.

    Every document is checked against its digest.  Raises `ImageMissing` when there is no
    layout, and `ImageInvalid` for one that is damaged, holds several images, or holds what
    is not an image for a known platform.
    """
    try:
        manifests = json.loads((folder / "index.json").read_bytes())["manifests"]
        if not isinstance(manifests, list):
            raise TypeError("'manifests' is not a list")
    except FileNotFoundError:
        raise ImageMissing(
            f"there is no image in {folder}", hint="build it first: invoke build"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, f"index.json cannot be read: {error}") from None
    if len(manifests) != 1:
        raise ImageInvalid(
            f"{folder} holds {len(manifests)} images", hint="one image a layout is read"
        )
    (top,) = manifests
    try:
        return _assembled(folder, top)
    except UnsupportedPlatform as error:
        raise _damaged(folder, error.message) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, " ".join(str(error).split())) from None


def _damaged(folder: Path, problem: str) -> ImageInvalid:
    return ImageInvalid(
        f"the layout in {folder} cannot be used: {problem}", hint="build or pull it again"
    )


def _assembled(folder: Path, top: Mapping[str, Any]) -> NamedImage:
    document = _document(folder, top)
    body = json.loads(document.data)
    format = Format.DOCKER if ".docker." in document.descriptor.media_type else Format.OCI
    index = document if "manifests" in body else None
    listed = body["manifests"] if index is not None else [top]
    images = []
    for descriptor in listed:
        manifest = _document(folder, descriptor)
        parts = json.loads(manifest.data)
        images.append(image_from_documents(manifest, _document(folder, parts["config"])))
    names = top.get("annotations", {})
    repository = names.get("io.containerd.image.name", "").removeprefix("docker.io/library/")
    return NamedImage(
        repository=repository.rpartition(":")[0],
        tag=names.get(_REF_NAME, folder.name),
        images=tuple(images),
        format=format,
        annotations=body.get("annotations", {}),
        index=index,
    )


def _document(folder: Path, descriptor: Mapping[str, Any]) -> Document:
    """Return a document of the layout; raises `ValueError` unless it has its digest."""
    data = blob_path(folder, descriptor["digest"]).read_bytes()
    return document_of(data, descriptor["mediaType"], expected=descriptor["digest"])
