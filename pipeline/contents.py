"""What is in an image: configuration, packages and files, wherever the image comes from.

`ImageContents` is a value with nothing of the engine that built it: no times, no order of
layers, no compression.  It is read from an OCI layout, or from an archive as `docker save`,
`podman save` and `invoke build --archive` write them.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.policy import compat32
from pathlib import Path
from typing import Any

from pipeline.atomic import file_sha256, writing
from pipeline.errors import ArchiveMalformed, ImageInvalid, ImageMissing, UnsupportedPlatform
from pipeline.oci.image import (
    Document,
    Format,
    ImageDocuments,
    ImageLayer,
    document_of,
    image_from_documents,
)
from pipeline.oci.layout import blob_path
from pipeline.oci.tree import Keep, LayerTree, Node, Tree, read_layer, stack
from pipeline.platforms import Platform
from pipeline.sources.debian.control import paragraphs

_STATUS = "var/lib/dpkg/status"
_STATUS_FOLDER = "var/lib/dpkg/status.d"
_STATUS_LIMIT_BYTES = 64 << 20
_METADATA_LIMIT_BYTES = 64 << 10
_METADATA = re.compile(r"(?:.*/)?(?:site|dist)-packages/[^/]+\.dist-info/METADATA")
_DOCUMENT_LIMIT_BYTES = 32 << 20
_DEPTH_LIMIT = 4
_LISTS = ("ExposedPorts", "Volumes")
# The builder's, not the image's.
_NOT_COMPARED = ("Hostname", "Image")


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer and the file that holds its blob."""

    layer: ImageLayer
    path: Path


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One platform's image on disk, its layers unread."""

    platform: Platform
    digest: str
    """Of its manifest; of its configuration where there is no manifest, as in old archives."""
    runtime: Mapping[str, Any]
    """The `config` object of its configuration, as it is."""
    layers: tuple[StoredLayer, ...]


@dataclass(frozen=True, slots=True)
class ImageContents:
    """What a container of the image gets."""

    platform: Platform
    digest: str
    config: Mapping[str, Any]
    """`User`, `Entrypoint`, `Cmd`, `WorkingDir`, …, as in an image configuration, without empty
    values; `Env` is a mapping, `ExposedPorts` and `Volumes` are sorted lists."""
    layers: tuple[ImageLayer, ...]
    packages: Mapping[str, str]
    """Debian packages: the version by name (`name:arch` where it is another architecture's)."""
    python_packages: Mapping[str, str]
    """The version by normalised name; of one that is installed twice, both versions."""
    files: Mapping[str, Node]
    """By path, without a leading slash."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files' contents."""
        return sum(node.size_bytes for node in self.files.values())

    @property
    def download_bytes(self) -> int:
        """Bytes of its layers, each once."""
        return sum({layer.digest: layer.size_bytes for layer in self.layers}.values())


class LayerReader:
    """Reads layers, those that it has read before only once."""

    def __init__(self, keep: Keep | None = None) -> None:
        """`keep` says which files' contents are wanted: those that name packages, by default."""
        self._keep = keep or tells_packages
        self._read: dict[tuple[str, str], LayerTree] = {}

    def __call__(self, stored: StoredLayer) -> LayerTree:
        """Return what a layer holds; raises `ImageInvalid`."""
        layer = stored.layer
        key = (layer.digest, layer.diff_id)
        if key in self._read and self._is_whole(stored):
            return self._read[key]
        found = self._read[key] = read_layer(layer, stored.path, self._keep)
        return found

    def _is_whole(self, stored: StoredLayer) -> bool:
        try:
            return f"sha256:{file_sha256(stored.path)}" == stored.layer.digest
        except OSError:
            return False


def tells_packages(path: str) -> int:
    """Return how much of a file's content tells which packages there are."""
    if path == _STATUS or posixpath.dirname(path) == _STATUS_FOLDER:
        return _STATUS_LIMIT_BYTES
    # Wherever it is: a file in site-packages may be a hard link to it.
    return _METADATA_LIMIT_BYTES if path.endswith(".dist-info/METADATA") else 0


def read_contents(
    folder: Path, platform: Platform, *, read: LayerReader | None = None
) -> ImageContents:
    """Return what the image for `platform` in the layout at `folder` holds.

    Raises `ImageMissing` when there is no layout or no such platform, `ImageInvalid` when
    something in it is damaged.
    """
    images = {image.platform: image for image in layout_images(folder)}
    if platform not in images:
        raise missing_platform(platform, str(folder), tuple(images))
    return contents_of(images[platform], read or LayerReader())


def missing_platform(platform: Platform, where: str, present: Sequence[Platform]) -> ImageMissing:
    """Return the error for an image that lacks a platform that was asked for."""
    return ImageMissing(
        f"{where} has no image for {platform}",
        hint=f"it has {', '.join(str(p) for p in present)}",
    )


def contents_of(image: StoredImage, read: LayerReader) -> ImageContents:
    """Return what an image holds, all of its layers read; raises `ImageInvalid`."""
    tree = stack(read(layer) for layer in image.layers)
    return ImageContents(
        platform=image.platform,
        digest=image.digest,
        config=normal_config(image.runtime),
        layers=tuple(stored.layer for stored in image.layers),
        packages=_debian_packages(tree, image.platform),
        python_packages=_python_packages(tree),
        files=tree.nodes,
    )


def normal_config(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `config` object in the one form that equal ones share.

    Raises `ImageInvalid` for one that is not as the specification says (config.md).
    """
    try:
        config = _without_empty(
            {key: value for key, value in runtime.items() if key not in _NOT_COMPARED}
        )
        if "Env" in config:
            config["Env"] = dict(line.partition("=")[::2] for line in config["Env"])
        for key in _LISTS:
            if key in config:
                config[key] = sorted(runtime[key].keys())
        if "ExposedPorts" in config:
            ports = config["ExposedPorts"]
            config["ExposedPorts"] = sorted(p if "/" in p else f"{p}/tcp" for p in ports)
    except (AttributeError, TypeError) as error:
        raise ImageInvalid(
            f"the configuration of the image cannot be read: {error}", hint="build it again"
        ) from None
    return config


def _without_empty(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without values that mean the same as none: null, zero, empty."""
    kept = {}
    for key, value in sorted(document.items()):
        if key in _LISTS and value:
            kept[key] = value  # Its values are empty objects, and its keys count.
        elif isinstance(value, Mapping):
            kept[key] = _without_empty(value) if key != "Labels" else dict(value)
        else:
            kept[key] = value
    return {key: value for key, value in kept.items() if value}


def _debian_packages(tree: Tree, platform: Platform) -> dict[str, str]:
    """Return what dpkg, or a distroless image's status.d, says is installed."""
    found: dict[str, str] = {}
    for _, fields in debian_paragraphs(tree):
        architecture = fields.get("architecture", "all")
        foreign = architecture not in ("all", platform.debian)
        name = fields["package"] + (f":{architecture}" if foreign else "")
        found[name] = fields.get("version", "")
    return dict(sorted(found.items()))


def debian_paragraphs(tree: Tree) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield path and control fields of each installed Debian package; raises `ImageInvalid`."""
    for path in sorted(tree.contents):
        if path != _STATUS and posixpath.dirname(path) != _STATUS_FOLDER:
            continue
        if path.endswith(".md5sums"):
            continue
        if tree.nodes[path].size_bytes > _STATUS_LIMIT_BYTES:
            raise ImageInvalid(f"/{path} is too large to be a list of packages")
        try:
            for fields in paragraphs(tree.contents[path].decode("utf-8", "replace")):
                status = fields.get("status", "install ok installed").split()
                if status[-1:] == ["installed"] and "package" in fields:
                    yield path, fields
        except ArchiveMalformed as error:
            raise ImageInvalid(f"/{path} cannot be read: {error.message}") from None


def _python_packages(tree: Tree) -> dict[str, str]:
    from packaging.utils import canonicalize_name

    found: dict[str, set[str]] = {}
    for _, message in python_metadata(tree):
        versions = found.setdefault(canonicalize_name(message["Name"]), set())
        versions.add(message.get("Version", ""))
    return {name: ", ".join(sorted(versions)) for name, versions in sorted(found.items())}


def python_metadata(tree: Tree) -> Iterator[tuple[str, Message]]:
    """Yield path and metadata of what is installed where Python imports from (PEP 376)."""
    parser = HeaderParser(policy=compat32)
    for path, content in sorted(tree.contents.items()):
        # What a package brings along for itself (_vendor) is not installed.
        if _METADATA.fullmatch(path):
            message = parser.parsestr(content.decode("utf-8", "replace"))
            if message["Name"]:
                yield path, message


# Images on disk.


@contextlib.contextmanager
def open_images(path: Path) -> Iterator[tuple[StoredImage, ...]]:
    """Yield the images, one a platform, of the layout folder or the archive at `path`.

    An archive is unpacked to a temporary folder that is gone afterwards.  Raises
    `ImageMissing` when there is nothing, and `ImageInvalid` for what is damaged, holds several
    images, or is something else.
    """
    if path.is_dir():
        yield layout_images(path)
        return
    if not path.is_file():
        raise ImageMissing(
            f"there is no image at {path}", hint="give a layout folder, an archive, or a reference"
        )
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        yield _archive_images(path, Path(name))


def layout_images(folder: Path) -> tuple[StoredImage, ...]:
    """Return the images of a layout, whoever wrote it (image-layout.md).

    Attestations and platforms that are not known here are passed over.  Raises as
    `open_images`.
    """
    try:
        top = json.loads((folder / "index.json").read_bytes())["manifests"]
        if len(top) != 1:
            raise ImageInvalid(
                f"{folder} holds {len(top)} images", hint="choose a layout or archive of one"
            )
        found = tuple(_images_in(folder, top, 0))
    except FileNotFoundError as error:
        if not (folder / "index.json").exists():
            raise ImageMissing(
                f"there is no image in {folder}", hint="build it first: invoke build"
            ) from None
        name = Path(error.filename).name
        raise _damaged(folder, f"the blob {name[:12]} is not there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, " ".join(str(error).split())) from None
    return _checked(found, folder)


def _checked(images: Sequence[StoredImage], where: Path) -> tuple[StoredImage, ...]:
    """Return images in order of their platforms; raises unless each has its own."""
    if not images:
        raise ImageInvalid(f"{where} holds no image for a platform that is known here")
    platforms = [image.platform for image in images]
    if len(set(platforms)) != len(platforms):
        raise ImageInvalid(
            f"{where} holds several images for one platform",
            hint="choose a layout or archive of one",
        )
    return tuple(sorted(images, key=lambda image: list(Platform).index(image.platform)))


def _damaged(where: Path, problem: str) -> ImageInvalid:
    return ImageInvalid(f"{where} cannot be used: {problem}", hint="build or pull it again")


def _images_in(
    folder: Path, descriptors: Sequence[Mapping[str, Any]], depth: int
) -> Iterator[StoredImage]:
    if depth > _DEPTH_LIMIT:
        raise ValueError("its indexes are nested too deeply")
    for descriptor in descriptors:
        document = _document(folder, descriptor)
        body = json.loads(document.data)
        if document.descriptor.media_type in [format.index_type for format in Format]:
            yield from _images_in(folder, body["manifests"], depth + 1)
            continue
        config = _document(folder, body["config"])
        if config.descriptor.media_type not in [format.config_type for format in Format]:
            continue  # Not an image: an attestation, a chart.
        with contextlib.suppress(UnsupportedPlatform):
            if _is_known(json.loads(config.data)):
                image = image_from_documents(document, config)
                yield _stored(
                    image,
                    document.descriptor.digest,
                    [blob_path(folder, layer.digest) for layer in image.layers],
                )


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether an image is for Linux; attestations say `unknown`."""
    return config.get("os") == "linux"


def _stored(image: ImageDocuments, digest: str, paths: Sequence[Path]) -> StoredImage:
    return StoredImage(
        image.platform,
        digest,
        json.loads(image.config.data).get("config") or {},
        tuple(map(StoredLayer, image.layers, paths)),
    )


def _document(folder: Path, descriptor: Mapping[str, Any]) -> Document:
    path = blob_path(folder, descriptor["digest"])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", descriptor["digest"]):
        raise ValueError(f"'{descriptor['digest']}' is not a digest that is known here")
    if path.stat().st_size > _DOCUMENT_LIMIT_BYTES:
        raise ValueError(f"the document {path.name[:12]} is too large")
    return document_of(path.read_bytes(), descriptor["mediaType"], expected=descriptor["digest"])


def _archive_images(path: Path, work: Path) -> tuple[StoredImage, ...]:
    """Unpack an archive to `work` and return its images."""
    try:
        members = _unpacked(path, work)
        layout = work / "layout"
        if "index.json" in members:
            for name, file in members.items():
                if re.fullmatch(r"index\.json|blobs/sha256/[0-9a-f]{64}", name):
                    (layout / name).parent.mkdir(parents=True, exist_ok=True)
                    (layout / name).hardlink_to(file)
            return layout_images(layout)
        if "manifest.json" not in members:
            raise ValueError("it is neither an OCI layout nor a Docker archive")
        found = [
            _docker_image(entry, members)
            for entry in json.loads(members["manifest.json"].read_bytes())
        ]
    except ImageInvalid as error:
        # Nobody needs to know of the folder that is gone by now.
        raise ImageInvalid(
            error.message.replace(str(work / "layout"), str(path)), hint=error.hint
        ) from None
    except (
        tarfile.TarError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        UnsupportedPlatform,
    ) as error:
        raise _damaged(path, " ".join(str(error).split())) from None
    return _checked(found, path)


def _unpacked(path: Path, work: Path) -> dict[str, Path]:
    """Copy each file of a tar to `work`; return where each is by its name in the tar."""
    members: dict[str, Path] = {}
    links: dict[str, str] = {}
    if not tarfile.is_tarfile(path):
        raise ValueError("it is no tar")
    with tarfile.open(path) as tar:
        for number, member in enumerate(tar):
            name = posixpath.normpath(member.name)
            if member.issym():
                links[name] = posixpath.normpath(
                    posixpath.join(posixpath.dirname(name), member.linkname)
                )
            elif member.islnk():
                links[name] = posixpath.normpath(member.linkname)
            elif member.isreg() and (file := tar.extractfile(member)) is not None:
                members[name] = work / str(number)
                with writing(work), members[name].open("wb") as out:
                    shutil.copyfileobj(file, out, 1 << 20)
    # Docker writes a layer that it has written before as a link.
    members.update({name: members[target] for name, target in links.items() if target in members})
    return members


_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def _docker_image(entry: Mapping[str, Any], members: Mapping[str, Path]) -> StoredImage:
    """Return an image of an archive whose `manifest.json` has `entry`.

    That has no digests but those of the configuration, and layers of any compression.
    """
    data = members[posixpath.normpath(entry["Config"])].read_bytes()
    config = document_of(data, Format.DOCKER.config_type)
    paths = [members[posixpath.normpath(name)] for name in entry["Layers"]]
    layers = [
        {
            "mediaType": Format.OCI.layer_type(_compression(path)),
            "digest": f"sha256:{file_sha256(path)}",
            "size": path.stat().st_size,
        }
        for path in paths
    ]
    manifest = document_of(json.dumps({"layers": layers}).encode(), Format.DOCKER.manifest_type)
    return _stored(image_from_documents(manifest, config), config.descriptor.digest, paths)


def _compression(path: Path) -> str:
    with path.open("rb") as file:
        begin = file.read(4)
    return next((name for magic, name in _MAGIC.items() if begin.startswith(magic)), "")
