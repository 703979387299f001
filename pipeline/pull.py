"""Images from a registry to a layout on disk, every byte verified.

Blobs are collected beside the layout and stay there until it is whole, so a pull that was
cut off goes on where it was.  What is no image for a known platform (attestations,
Windows) is left out, and named; when nothing is, the index keeps its bytes and digest.
Media types stay as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.atomic import file_sha256, writing
from pipeline.errors import ImageInvalid, NotInRegistry, OutputUnwritable
from pipeline.oci.image import Document, Format, ImageDocuments
from pipeline.oci.layout import NamedImage, blob_path, open_layout, write_layout
from pipeline.oci.registry.reference import Reference
from pipeline.platforms import Platform
from pipeline.report import Progress, Step, megabytes
from pipeline.transfer import Stop, entries_of, entry_for, image_at, image_of, in_parallel, is_index

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry


@dataclass(frozen=True, slots=True)
class PulledPart:
    """One platform's image in a layout; its size is that of layers and configuration."""

    platform: Platform
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull brought."""

    reference: Reference
    registry_digest: str
    """Of what the reference names in the registry."""
    digest: str
    """Of what the layout holds; another one when something was left out."""
    output: Path
    parts: tuple[PulledPart, ...]
    left_out: tuple[str, ...]
    received_bytes: int
    blobs: int
    """Layers of the image, each once."""
    kept: int
    """Those of them that were there already."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "reference": str(self.reference),
            "registry_digest": self.registry_digest,
            "digest": self.digest,
            "output": str(self.output),
            "platforms": [
                {
                    "platform": str(part.platform),
                    "digest": part.digest,
                    "size_bytes": part.size_bytes,
                }
                for part in self.parts
            ],
            "left_out": list(self.left_out),
            "bytes_received": self.received_bytes,
            "blobs": {"received": self.blobs - self.kept, "kept": self.kept},
            "seconds": round(self.seconds, 3),
        }


def short_name(reference: Reference) -> tuple[str, str]:
    """Return what to call an image here: the last part of its name, and its tag or the
    first twelve digits of its digest."""
    version = reference.tag or (reference.digest or "").removeprefix("sha256:")[:12]
    return reference.repository.name.rpartition("/")[2], version


def pull_image(
    reference: Reference,
    folder: Path,
    registry: Registry,
    progress: Progress,
    *,
    platforms: Sequence[Platform] = (),
) -> PullReport:
    """Make `folder` a layout of the image at `reference`: all platforms, or those given.

    Raises `NotInRegistry` for a platform that it lacks, `ImageInvalid` for what is no
    image, `OutputUnwritable` before anything is downloaded when `folder` holds something
    else.
    """
    begin_s = time.monotonic()
    output, folder = folder, folder.resolve()
    name, tag = short_name(reference)
    _check_output(folder, tag)
    top = registry.get_manifest(reference)
    image, left_out = _read(registry, reference, top, platforms, name, tag)
    with _staging(folder, progress) as staging:
        received, kept = _collect(image, reference, folder, staging, registry, progress)
        write_layout(folder, image, partial(_found, folder, staging))
    return PullReport(
        reference,
        top.descriptor.digest,
        image.top.descriptor.digest,
        output,
        tuple(
            PulledPart(
                part.platform,
                part.manifest.descriptor.digest,
                sum({layer.digest: layer.size_bytes for layer in part.layers}.values())
                + part.config.descriptor.size_bytes,
            )
            for part in image.images
        ),
        left_out,
        received,
        len(image.layer_digests()),
        kept,
        time.monotonic() - begin_s,
    )


def _read(
    registry: Registry,
    reference: Reference,
    top: Document,
    platforms: Sequence[Platform],
    name: str,
    tag: str,
) -> tuple[NamedImage, tuple[str, ...]]:
    """Return the image to write, and what the registry has besides."""
    repository = reference.repository
    format = Format.DOCKER if ".docker." in top.descriptor.media_type else Format.OCI
    if not is_index(top):
        only = image_of(registry, repository, top)
        if platforms and tuple(platforms) != (only.platform,):
            lacking = next(p for p in platforms if p is not only.platform)
            raise NotInRegistry(
                f"{reference} has no image for {lacking}", hint=f"it has {only.platform}"
            )
        return NamedImage(name, tag, (only,), format, {}), ()
    entries = entries_of(registry, repository, top)
    for platform in platforms:
        entry_for(entries, platform, reference)
    wanted = [
        entry
        for entry in entries
        if entry.platform is not None and (not platforms or entry.platform in platforms)
    ]
    if not wanted:
        labels = ", ".join(dict.fromkeys(entry.label for entry in entries)) or "nothing"
        raise NotInRegistry(
            f"{reference} has no image for a platform that is known here",
            hint=f"it has {labels}",
        )

    def read(number: int, _stop: Stop) -> ImageDocuments:
        entry = wanted[number]
        image = image_at(registry, Reference(repository, digest=entry.digest))
        if image.platform is not entry.platform:
            raise ImageInvalid(
                f"{reference} lists {entry.digest} for {entry.platform}, and it is for "
                f"{image.platform}",
                hint="push it again",
            )
        return image

    images = in_parallel(read, range(len(wanted)))
    left_out = tuple(entry.label for entry in entries if entry not in wanted)
    annotations = json.loads(top.data).get("annotations")
    return (
        NamedImage(
            name,
            tag,
            tuple(images),
            format,
            annotations if isinstance(annotations, dict) else {},
            index=None if left_out else top,
        ),
        left_out,
    )


def _collect(
    image: NamedImage,
    reference: Reference,
    folder: Path,
    staging: Path,
    registry: Registry,
    progress: Progress,
) -> tuple[int, int]:
    """Bring the layers that are not here to `staging`.

    Returns how many bytes came, and how many layers were here.
    """
    layers = {layer.digest: layer.size_bytes for part in image.images for layer in part.layers}
    missing = [
        digest
        for digest, size_bytes in layers.items()
        if not _is_whole(blob_path(folder, digest), digest, size_bytes)
        and not _is_whole(_staged(staging, digest), digest, size_bytes)
    ]
    total = sum(layers[digest] for digest in missing)

    def download(digest: str, stop: Stop) -> None:
        blob = registry.read_blob(reference.repository, digest, layers[digest])
        _save(blob, _staged(staging, digest), stop, step)

    if missing:
        with progress.step(f"pull {image.repository}:{image.tag}", total_bytes=total) as step:
            in_parallel(download, missing)
            kept = len(layers) - len(missing)
            step.note(f"{megabytes(total)}" + (f", {kept} layers were there" if kept else ""))
    return total, len(layers) - len(missing)


def _save(chunks: Iterator[bytes], path: Path, stop: Stop, step: Step) -> None:
    """Write a blob that whoever yields it verifies; after a crash it is whole or absent."""
    with writing(path):
        descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                stop.check()
                with writing(path):
                    file.write(chunk)
                step.advance(len(chunk))
            with writing(path):
                file.flush()
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _found(folder: Path, staging: Path, digest: str) -> Path:
    staged = _staged(staging, digest)
    return staged if staged.exists() else blob_path(folder, digest)


def _staged(staging: Path, digest: str) -> Path:
    return staging / digest.removeprefix("sha256:")


def _is_whole(path: Path, digest: str, size_bytes: int) -> bool:
    try:
        if path.stat().st_size != size_bytes:
            return False
        return f"sha256:{file_sha256(path)}" == digest
    except OSError:
        return False


@contextlib.contextmanager
def _staging(folder: Path, progress: Progress) -> Iterator[Path]:
    """Yield the folder where blobs for a layout are collected; one pull at a time has it.

    It is removed when the body succeeds; otherwise what it holds is there for the next pull.
    """
    path = folder.parent / f".partial-{folder.name}"
    with contextlib.ExitStack() as held:
        while True:
            with writing(path):
                try:
                    path.mkdir(parents=True, exist_ok=True)
                    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                except (FileExistsError, FileNotFoundError):
                    if os.path.lexists(path) and not path.is_dir():
                        raise
                    continue  # The pull that had it has just finished.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say(f"waiting for another pull to {folder}")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(path, descriptor):
                held.callback(os.close, descriptor)
                break
            os.close(descriptor)
        for leftover in path.glob(".*"):
            leftover.unlink()
        try:
            yield path
        except BaseException:
            with contextlib.suppress(OSError):
                path.rmdir()  # If it is empty.
            raise
        shutil.rmtree(path)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` is the folder that is open, and not one made since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _check_output(folder: Path, tag: str) -> None:
    """Raise `OutputUnwritable` for a folder that `write_layout` will not take over."""
    hint = "move it away, or choose another folder with --output"
    if (folder / "index.json").exists() and (folder / "oci-layout").exists():
        with contextlib.suppress(ImageInvalid):  # What is damaged can be replaced.
            held = open_layout(folder).tag
            if held != tag:
                raise OutputUnwritable(f"{folder} holds another image, '{held}'", hint=hint)
    elif folder.exists():
        with writing(folder):
            names = {path.name for path in folder.iterdir()}
        if names - {"blobs", "oci-layout"}:
            raise OutputUnwritable(
                f"{folder} holds something that is not an image layout", hint=hint
            )
