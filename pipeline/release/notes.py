"""`invoke release.notes`: what a release says of itself, as Markdown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.errors import ImageMissing, ReleaseRefused
from pipeline.matrix import shipped
from pipeline.oci.layout import open_layout
from pipeline.oci.registry.reference import Repository
from pipeline.release.changelog import CHANGELOG
from pipeline.release.places import read_version
from pipeline.release.questions import read_changelog_of
from pipeline.release.version import Version, parse_version
from pipeline.settings import Settings, read_settings
from pipeline.shipping import configured_registry, destination


@dataclass(frozen=True, slots=True)
class ImageNote:
    """An image of a release. `digest` is empty where it is not known."""

    target: str
    name: str
    digest: str


def make_notes(
    version: str,
    *,
    root: Path | None = None,
    images: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Return the changelog's section of a version, by default the one in the files, and the images.

    `images` is the folder with layouts: one that is named has all of them.  Images are called by
    where they are pushed to, if the environment says where.  Raises `OptionInvalid`,
    `ReleaseRefused`, and what reading a layout raises.
    """
    root = root or commands.ROOT
    wanted = parse_version(version) if version else read_version(root)
    section = read_changelog_of(root).section(wanted)
    if section is None:
        raise ReleaseRefused(
            f"{CHANGELOG} has no section of {wanted}",
            hint=f"it needs '## {wanted} - YYYY-MM-DD' with entries",
        )
    settings = read_settings(root)
    place = configured_registry(environ)
    repository = destination(settings, place, environ) if place else None
    found = image_notes(settings, images, wanted, repository)
    return "\n".join(part for part in (section.body, _table(found)) if part)


def image_notes(
    settings: Settings, folder: Path | None, version: Version, repository: Repository | None
) -> tuple[ImageNote, ...]:
    """Return the images of a release, with the digests of what is in `folder`.

    Without a folder, with those of what happens to be built here: that may be nothing.  A layout
    that lacks a platform is not what a tag names: its digest is left out.  Raises `ImageInvalid`
    for one that is damaged, and `ImageMissing` for one that is not in the folder that was named.
    """
    place = str(repository) if repository else settings.name
    found = []
    for target in shipped(settings):
        digest = ""
        try:
            image = open_layout((folder or commands.OUTPUT) / target)
            if {part.platform for part in image.images} == set(settings.platforms):
                digest = image.top.descriptor.digest
        except ImageMissing:
            if folder is not None:
                raise
        found.append(ImageNote(target, f"{place}:{version.tag}-{target}", digest))
    return tuple(found)


def _table(images: Sequence[ImageNote]) -> str:
    if not images:
        return ""
    rows = [
        f"| {one.target} | `{one.name}` | {f'`{one.digest}`' if one.digest else ''} |"
        for one in images
    ]
    head = ["### Images", "", "| target | image | digest |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows]) + "\n"
