"""One tar that every engine reads: an OCI layout and a Docker archive at once.

`manifest.json` (read by `docker load` of Engine 20.10 and newer, and by Podman) points
at the same blobs that `index.json` (read by skopeo, containerd and newer engines) names.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.atomic import writing
from pipeline.entries import Entry, Slice, directory
from pipeline.oci.image import canonical
from pipeline.oci.layer import arrange, tar_chunks
from pipeline.oci.layout import LAYOUT_VERSION, BlobSource, NamedImage, index_json
from pipeline.platforms import Platform


@contextlib.contextmanager
def new_archive(
    path: Path, images: Sequence[NamedImage], blob: BlobSource, *, preferred: Platform
) -> Iterator[None]:
    """Write `images` to a tar that takes the place of `path` when the body is done.

    Raises `OutputUnwritable`; then, and when the body fails, `path` is as it was.
    `manifest.json` has no place for a platform: each gets a tag with its architecture
    (`production-arm64`), and `preferred`, or the only one, the plain tag too.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in archive_chunks(images, blob, preferred=preferred):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            yield
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_archive(
    path: Path, images: Sequence[NamedImage], blob: BlobSource, *, preferred: Platform
) -> None:
    """Write `images` to the tar at `path`, atomically; see `new_archive`."""
    with new_archive(path, images, blob, preferred=preferred):
        pass


def archive_chunks(
    images: Sequence[NamedImage],
    blob: BlobSource,
    *,
    preferred: Platform | None,
    layout: bool = True,
) -> Generator[bytes, None, None]:
    """Yield the bytes of the tar that `new_archive` writes, a few at a time.

    Without `layout` it is a Docker archive only, which no reader can take for the other.
    """
    yield from tar_chunks(_entries(images, blob, preferred, layout), epoch_s=0)


def _entries(
    images: Sequence[NamedImage], blob: BlobSource, preferred: Platform | None, layout: bool
) -> Iterator[Entry]:
    entries = [
        directory("blobs"),
        Entry("manifest.json", content=_docker_manifest(images, preferred)),
    ]
    if layout:
        entries.append(Entry("oci-layout", content=LAYOUT_VERSION))
        entries.append(Entry("index.json", content=index_json(images)))
    documents = {d.descriptor.digest: d.data for image in images for d in image.documents()}
    entries.extend(Entry(_member(digest), content=data) for digest, data in documents.items())
    digests = dict.fromkeys(digest for image in images for digest in image.layer_digests())
    with contextlib.ExitStack() as opened:
        for digest in digests:
            file = opened.enter_context(blob(digest).open("rb"))
            size_bytes = os.fstat(file.fileno()).st_size
            entries.append(Entry(_member(digest), content=Slice(file, 0, size_bytes)))
        yield from arrange(entries)


def _member(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def engine_tags(named: NamedImage, preferred: Platform | None) -> dict[Platform, tuple[str, ...]]:
    """Return the names that each platform of an image has in engines without indexes."""
    name = f"{named.repository}:{named.tag}"
    if len(named.images) == 1:
        return {named.images[0].platform: (name,)}
    plain = {preferred: (name,)}
    return {
        platform: (*plain.get(platform, ()), f"{name}-{platform.architecture}")
        for platform in (image.platform for image in named.images)
    }


def _docker_manifest(images: Sequence[NamedImage], preferred: Platform | None) -> bytes:
    entries = []
    for named in images:
        tags = engine_tags(named, preferred)
        for image in named.images:
            entries.append(
                {
                    "Config": _member(image.config.descriptor.digest),
                    "RepoTags": tags[image.platform],
                    "Layers": [_member(layer.digest) for layer in image.layers],
                }
            )
    return canonical_list(entries)


def canonical_list(entries: Sequence[Mapping[str, object]]) -> bytes:
    """Return a JSON array of canonical objects."""
    return b"[" + b",".join(canonical(entry) for entry in entries) + b"]"
