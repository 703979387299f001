"""`invoke sbom`: the inventories of built images, written beside their layouts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.atomic import write_atomically
from pipeline.contents import LayerReader
from pipeline.errors import OptionInvalid, nearest
from pipeline.flags import values_of
from pipeline.layouts import choose_layouts
from pipeline.lock import Lock, read_lock
from pipeline.oci.layout import open_layout
from pipeline.platforms import Platform
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.sbom import crosscheck
from pipeline.sbom.cyclonedx import cyclonedx
from pipeline.sbom.inventory import Inventory, counts, from_lock, keep, read_inventory
from pipeline.sbom.spdx import spdx
from pipeline.settings import LOCK, Settings, read_settings

FORMATS: Mapping[str, tuple[str, Callable[[Inventory], bytes]]] = {
    "cyclonedx": ("cdx.json", cyclonedx),
    "spdx": ("spdx.json", spdx),
}

_DEFAULT = "production"


@dataclass(frozen=True, slots=True)
class SbomRequest:
    """The flags of `invoke sbom`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    formats: Sequence[str] = ()
    images: Path | None = None
    output: Path | None = None
    check: bool = False


@dataclass(frozen=True, slots=True)
class Sbom:
    """One document, and where it is."""

    target: str
    platform: Platform
    digest: str
    """Of the image's manifest."""
    format: str
    path: Path
    packages: Mapping[str, int]
    """The number of packages by ecosystem: `deb`, `pypi`."""
    locked: bool
    """Whether the lock names the image, and so its packages' digests."""
    checked: tuple[str, ...]
    """The scanners that found the same packages."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "target": self.target,
            "platform": str(self.platform),
            "digest": self.digest,
            "format": self.format,
            "path": str(self.path),
            "packages": dict(self.packages),
            "locked": self.locked,
            "checked": list(self.checked),
            "seconds": round(self.seconds, 3),
        }


def make_sboms(
    request: SbomRequest, progress: Progress, *, root: Path | None = None, runner: Runner = run
) -> tuple[Sbom, ...]:
    """Write a document for each image, platform and format that is asked for.

    Raises `ImageMissing`, `ImageInvalid`, `PackagesDiffer` and the errors of the lock; with
    several documents, all are made before the first is written.
    """
    settings = read_settings(root or commands.ROOT)
    formats = _formats(request.formats)
    layouts = choose_layouts(settings, request.images, request.targets, default=_DEFAULT)
    lock = read_lock(settings.root / LOCK, LOCK)
    read = LayerReader(keep)
    made: list[tuple[Sbom, bytes]] = []
    for layout in layouts:
        folder = request.output or layout.folder.parent
        name = open_layout(layout.folder).repository or settings.name
        for image in layout.images(request.platforms):
            begin = time.monotonic()
            found = read_inventory(
                layout.folder, image, name, layout.tag, commands.builder_cache(), read
            )
            if layout.target is not None:
                found = locked_inventory(found, settings, lock, layout.target)
            seconds = time.monotonic() - begin
            view = layout.view(image.platform)
            checked = crosscheck.SCANNERS if request.check else ()
            for scanner in checked:
                title = f"{scanner} {layout.tag} {image.platform.architecture}"
                with progress.step(title) as step:
                    step.note(f"{crosscheck.check(found, view, scanner, runner)} packages")
            for format in formats:
                suffix, write = FORMATS[format]
                begin = time.monotonic()
                data = write(found)
                path = folder / f"{layout.tag}-{view.name}.{suffix}"
                report = Sbom(
                    target=layout.tag,
                    platform=image.platform,
                    digest=image.digest,
                    format=format,
                    path=path,
                    packages=counts(found.components),
                    locked=layout.target is not None,
                    checked=checked,
                    seconds=seconds + time.monotonic() - begin,
                )
                made.append((report, data))
    for report, data in made:
        write_atomically(report.path, data)
    return tuple(report for report, _ in made)


def locked_inventory(found: Inventory, settings: Settings, lock: Lock, target: str) -> Inventory:
    """Return the inventory with what the lock knows of each package; see `from_lock`."""
    return from_lock(found, settings, lock, target, _project(settings, target))


def _project(settings: Settings, target: str) -> str | None:
    """Return the name of the wheel that is built here, where the image has it."""
    if not any(image.project for image in settings.chain(target)):
        return None
    project = commands.project_of(settings)
    name = project.pyproject.get("project", {}).get("name") if project is not None else None
    return str(name) if name else None


def _formats(asked: Sequence[str]) -> tuple[str, ...]:
    chosen = values_of(asked)
    for format in chosen:
        if format not in FORMATS:
            raise OptionInvalid(
                f"format '{format}' is not known",
                hint=f"{nearest(format, FORMATS)} choose {' or '.join(FORMATS)}".strip(),
            )
    return tuple(dict.fromkeys(chosen)) or ("cyclonedx",)
