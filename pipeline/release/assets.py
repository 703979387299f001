"""`invoke release.assets`: the files that a release carries, in one folder, with their digests."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.atomic import alone_in, write_atomically, writing
from pipeline.errors import PipelineError, ReleaseRefused
from pipeline.helm.chart import CHART, read_chart
from pipeline.helm.manifest import MANIFEST
from pipeline.helm.package import chart_archive, source_time_s
from pipeline.matrix import shipped
from pipeline.oci.layout import open_layout, platform_folder
from pipeline.provenance import provenance_path, subjects_of
from pipeline.release.package import PYTHON, check_sdist, check_wheel
from pipeline.release.places import disagreements, read_version
from pipeline.release.sums import SUMS, sums_text
from pipeline.release.try_package import distributions
from pipeline.release.version import Version
from pipeline.settings import Settings, read_settings
from pipeline.sources.project import Distribution

ASSETS = Path("dist/release")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a release."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Assets:
    """What was put together, or what is missing for that."""

    version: Version
    output: Path
    files: tuple[Asset, ...]
    missing: tuple[str, ...]
    """A line each; nothing was written where there is one."""

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "version": self.version.semver,
            "output": str(self.output),
            "files": [
                {"name": one.name, "sha256": one.sha256, "size_bytes": one.size_bytes}
                for one in self.files
            ],
            "missing": list(self.missing),
        }

    def raise_for_missing(self) -> None:
        """Raise `ReleaseRefused` where anything is missing."""
        if self.missing:
            count = len(self.missing)
            raise ReleaseRefused(
                f"{count} {'input' if count == 1 else 'inputs'} of the release "
                f"{'is' if count == 1 else 'are'} missing or wrong",
                hint="see above; nothing was written",
            )


def collect(
    *,
    output: Path = ASSETS,
    dist: Path = PYTHON,
    images: Path | None = None,
    root: Path | None = None,
) -> Assets:
    """Put the files of a release into a folder of their own, whole or not at all.

    What is missing, or is of something else, is in the result.  Raises `ReleaseRefused` for a
    folder with anything but assets in it, and `OutputUnwritable`.
    """
    root = root or commands.ROOT
    version = read_version(root)
    found: dict[str, bytes] = {}
    missing: list[str] = []
    for wanted in (
        _python(root, dist, version),
        _chart(root, version),
        _said(read_settings(root), images or commands.OUTPUT),
    ):
        try:
            for name, data in wanted:
                if isinstance(data, bytes):
                    found[name] = data
                else:
                    missing.append(data)
        except PipelineError as error:
            missing.append(str(error))
    if missing:
        return Assets(version, output, (), tuple(missing))
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    found[SUMS] = sums_text(digests)
    _write(output, found)
    files = tuple(
        Asset(name, hashlib.sha256(data).hexdigest(), len(data))
        for name, data in sorted(found.items())
    )
    return Assets(version, output, files, ())


_Found = Iterator[tuple[str, bytes | str]]
"""A file's name and content, or why there is none."""


def _python(root: Path, dist: Path, version: Version) -> _Found:
    """Yield wheel and sdist, each looked at again: another job may have brought them."""
    paths = distributions(dist, version).values()
    wheel, sdist = (Distribution(path.name, path.read_bytes()) for path in paths)
    check_wheel(wheel, root, version)
    check_sdist(sdist, wheel, version)
    for one in (wheel, sdist):
        yield one.filename, one.data


def _chart(root: Path, version: Version) -> _Found:
    if wrong := disagreements(root, version):
        yield "", f"the version is {version}, and {', '.join(wrong)}"
        return
    chart = read_chart(root / CHART)
    yield f"{chart.name}-{chart.version}.tgz", chart_archive(chart, source_time_s())
    yield MANIFEST.name, (root / MANIFEST).read_bytes()


def _said(settings: Settings, images: Path) -> _Found:
    """Yield SBOMs and provenance of the images that ship."""
    for target in shipped(settings):
        digests = _digests(images / target)
        provenance = provenance_path(images / target)
        yield _read(provenance, f"invoke build --target {target} --platform all")
        if provenance.is_file() and digests:
            subjects = subjects_of(provenance.read_bytes(), str(provenance))
            if other := sorted(set(digests.values()) - subjects):
                yield "", f"{provenance} is not of {images / target}: it does not name {other[0]}"
        for platform in settings.platforms:
            folder = platform_folder(platform)
            sbom = images / f"{target}-{folder}.cdx.json"
            yield _read(sbom, f"invoke sbom --target {target}")
            digest = digests.get(folder)
            if sbom.is_file() and digest and not _is_about(sbom.read_bytes(), digest):
                yield "", f"{sbom} is not of {images / target}: it does not name {digest}"


def _digests(layout: Path) -> Mapping[str, str]:
    """Return the digest of each platform in a layout, and of the whole; empty without one."""
    if not (layout / "index.json").is_file():
        return {}
    image = open_layout(layout)
    parts = {platform_folder(p.platform): p.manifest.descriptor.digest for p in image.images}
    return {"": image.top.descriptor.digest, **parts}


def _is_about(sbom: bytes, digest: str) -> bool:
    """Return whether a CycloneDX document is of the image with a digest."""
    try:
        return bool(json.loads(sbom)["metadata"]["component"]["version"] == digest)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _read(path: Path, command: str) -> tuple[str, bytes | str]:
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        reason = "is missing" if not path.exists() else (error.strerror or "?").lower()
        return path.name, f"{path} {reason}; make it: {command}"


def _write(output: Path, files: Mapping[str, bytes]) -> None:
    """Replace a folder by one with just these files."""
    with alone_in(output.parent), writing(output):
        _refuse_others(output)
        there = output.with_name(f".{output.name}.new")
        shutil.rmtree(there, ignore_errors=True)
        for name, data in files.items():
            write_atomically(there / name, data)
        if output.exists():
            shutil.rmtree(output)
        there.rename(output)


def _refuse_others(output: Path) -> None:
    """Raise `ReleaseRefused` for a folder that this did not make: it would be removed."""
    if not output.exists():
        return
    names: Sequence[str] = sorted(p.name for p in output.iterdir()) if output.is_dir() else [""]
    if names and SUMS not in names:
        raise ReleaseRefused(
            f"{output} is there, and is no folder of assets", hint="name another with --output"
        )
