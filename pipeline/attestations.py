"""What is said of a built image, as artifacts that go beside it into a registry.

Each platform's manifest gets its SBOM, the index (or the only manifest) its provenance: see
`oci/registry/referrers.py`.  All of it follows from the image, the lock and the build's record,
so the same image gets the same artifacts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import commands
from pipeline.contents import LayerReader, StoredImage, layout_images
from pipeline.errors import ImageInvalid, LockMissing, LockTampered, PackagesDiffer, RegistryRefused
from pipeline.layouts import target_of
from pipeline.lock import read_lock
from pipeline.oci.image import Descriptor
from pipeline.oci.layout import NamedImage, blob_path
from pipeline.oci.registry.reference import Repository
from pipeline.oci.registry.referrers import Artifact, attach, is_attached
from pipeline.provenance import provenance_path, subjects_of
from pipeline.push import Attached, Cargo, Fate, base_of
from pipeline.sbom.cyclonedx import cyclonedx
from pipeline.sbom.inventory import Inventory, keep, read_inventory
from pipeline.sbom.make import locked_inventory
from pipeline.settings import LOCK, Settings
from pipeline.transfer import Stop, in_parallel

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

SBOM_TYPE = "application/vnd.cyclonedx+json"
SPDX_TYPE = "application/spdx+json"
PROVENANCE_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Attestation:
    """An artifact and the manifest that it is about."""

    name: str
    """Such as `SBOM linux/arm64`, `provenance`."""
    subject: Descriptor
    artifact: Artifact


def attestations_of(
    cargo: Cargo, settings: Settings
) -> tuple[tuple[Attestation, ...], tuple[str, ...]]:
    """Return what to attach to an image that is on its way, and why what is missing is.

    Raises `ImageInvalid` for a provenance beside the layout that is of another image.
    """
    found: list[Attestation] = []
    notes: list[str] = []
    sboms, why = _sboms(cargo, settings)
    found += sboms
    notes += why
    path = provenance_path(cargo.layout)
    top = cargo.image.top.descriptor
    if not path.is_file():
        notes.append(f"no provenance: there is no {path}")
        return tuple(found), tuple(notes)
    data = path.read_bytes()
    digests = {top.digest, *(part.manifest.descriptor.digest for part in cargo.image.images)}
    if missing := digests - subjects_of(data, str(path)):
        raise ImageInvalid(
            f"{path} is not the provenance of the image in {cargo.layout}: it does not name "
            f"{min(missing)}",
            hint="build it again, or move the file away to push without it",
        )
    found.append(provenance_of(cargo.image, data))
    return tuple(found), tuple(notes)


def provenance_of(image: NamedImage, statement: bytes) -> Attestation:
    """Return a statement as what goes with an image: with its index, or its only manifest."""
    created = json.loads(image.images[0].config.data).get("created", "")
    artifact = Artifact(PROVENANCE_TYPE, statement, "provenance.json", created)
    return Attestation("provenance", image.top.descriptor, artifact)


def _sboms(cargo: Cargo, settings: Settings) -> tuple[list[Attestation], list[str]]:
    absent = [
        digest
        for digest in cargo.image.layer_digests()
        if not blob_path(cargo.layout, digest).exists()
    ]
    if absent and base_of(cargo.image) is not None:
        return [], [f"no SBOM: {len(absent)} layers are in a registry and not in {cargo.layout}"]
    wanted = {part.platform: part.manifest.descriptor for part in cargo.image.images}
    read = LayerReader(keep)
    found, notes = [], []
    for image in layout_images(cargo.layout):
        if image.platform not in wanted:
            continue
        inventory, why = _inventory(cargo, image, settings, read)
        notes += why
        title = f"{cargo.image.tag}-{image.platform.architecture}.cdx.json"
        artifact = Artifact(SBOM_TYPE, cyclonedx(inventory), title, inventory.created)
        found.append(Attestation(f"SBOM {image.platform}", wanted[image.platform], artifact))
    return found, notes


def _inventory(
    cargo: Cargo, image: StoredImage, settings: Settings, read: LayerReader
) -> tuple[Inventory, list[str]]:
    """Return the inventory, with the packages' digests where the lock is the image's."""
    tag, name = cargo.image.tag, cargo.image.repository or settings.name
    found = read_inventory(cargo.layout, image, name, tag, commands.builder_cache(), read)
    target = target_of(tag, settings)
    if target is None:
        return found, []
    try:
        lock = read_lock(settings.root / LOCK, LOCK)
        return locked_inventory(found, settings, lock, target), []
    except (PackagesDiffer, LockMissing, LockTampered) as error:
        return found, [f"SBOM {image.platform} without the packages' digests: {error.message}"]


def attach_all(
    registry: Registry, repository: Repository, made: Sequence[Attestation], *, dry_run: bool
) -> tuple[Attached, ...]:
    """Attach what the registry does not have; of a dry run, say what that would be.

    Raises `RegistryRefused` with the way out for a registry that takes images alone.
    """
    by_subject: dict[str, list[Attestation]] = {}
    for one in made:
        by_subject.setdefault(one.subject.digest, []).append(one)

    # What is about one manifest goes one after the other: it may be listed in one index.
    def send(group: list[Attestation], _stop: Stop) -> list[Attached]:
        done = []
        for one in group:
            fate = Fate.EXISTS
            if not is_attached(registry, repository, one.subject, one.artifact):
                fate = Fate.WOULD_SEND if dry_run else Fate.SENT
                if not dry_run:
                    _attach(registry, repository, one)
            digest = one.artifact.manifest(one.subject).descriptor.digest
            done.append(Attached(one.name, one.subject.digest, digest, fate))
        return done

    groups = in_parallel(send, list(by_subject.values()))
    sent = {(one.name, one.subject): one for group in groups for one in group}
    return tuple(sent[one.name, one.subject.digest] for one in made)


def _attach(registry: Registry, repository: Repository, one: Attestation) -> None:
    try:
        attach(registry, repository, one.subject, one.artifact)
    except RegistryRefused as error:
        raise RegistryRefused(
            f"{one.name} cannot be attached: {error.message}",
            hint="a registry that takes images alone needs --no-attach",
        ) from None
