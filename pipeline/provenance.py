"""Provenance: what an image was built from and by, as an in-toto statement.

Follows the in-toto attestation framework's Statement v1 and the SLSA provenance predicate
v1.  Nothing of it is measured or timed: the same commit, lock and flags give the same bytes,
so whoever builds again can compare.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import alone_in, file_sha256, write_atomically, writing
from pipeline.build import BuildReport, BuiltImage
from pipeline.errors import ImageInvalid
from pipeline.lock import LockedPackage
from pipeline.oci.image import Format, timestamp
from pipeline.plan import ImagePlan, Plan, builder_digest
from pipeline.platforms import Platform
from pipeline.revision import DIRTY
from pipeline.sources.requirements import LockedWheel

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
SUFFIX = "provenance.json"
_SOURCE = "org.opencontainers.image.source"
_REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a build was given, besides its plan."""

    lock: Path
    root: Path
    format: Format
    source_date_epoch_s: int | None
    """`SOURCE_DATE_EPOCH`, where it was set."""
    environ: Mapping[str, str]


def provenance_path(layout: Path) -> Path:
    """Return where the provenance of a layout is: beside it."""
    return layout.parent / f"{layout.name}.{SUFFIX}"


def write_provenance(report: BuildReport, plan: Plan, inputs: Inputs) -> tuple[Path, ...]:
    """Write a statement beside each layout of a build; raises `OutputUnwritable`."""
    written = []
    for image in report.images:
        if image.output is not None:
            path = provenance_path(image.output)
            with alone_in(path.parent), writing(path):
                for leftover in path.parent.glob(f".{path.name}.*"):
                    leftover.unlink()  # What a killed build was writing.
                write_atomically(path, statement(image, plan, inputs))
            written.append(path)
    return tuple(written)


def subjects_of(data: bytes, name: str) -> frozenset[str]:
    """Return the digests ("sha256:…") that a statement is about; `name` is for messages.

    Raises `ImageInvalid` for bytes that are no statement.
    """
    try:
        listed = json.loads(data)["subject"]
        return frozenset(f"sha256:{subject['digest']['sha256']}" for subject in listed)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageInvalid(
            f"{name} is no provenance: {' '.join(str(error).split())}", hint="build it again"
        ) from None


def statement(image: BuiltImage, plan: Plan, inputs: Inputs) -> bytes:
    """Return the statement on one image: its index and each platform's manifest."""
    annotations = plan.annotations[image.target]
    source = annotations.get(_SOURCE, "").rstrip("/")
    parts = [part for part in plan.images if part.target == image.target]
    revision = annotations.get(_REVISION, "")
    document = {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(image),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": f"{source or 'urn:accelerapp'}/build/v1",
                "externalParameters": {
                    "target": image.target,
                    "platforms": [str(part.platform) for part in image.platforms],
                    "suite": plan.suite.name,
                    "format": inputs.format.value,
                    "engine": image.engine,
                },
                "internalParameters": {
                    "created": timestamp(plan.created_s),
                    "SOURCE_DATE_EPOCH": inputs.source_date_epoch_s,
                },
                "resolvedDependencies": [
                    *_source(source, revision),
                    *_files(plan, inputs),
                    *_bases(parts),
                    *_project(parts),
                    *_packages(parts),
                ],
            },
            "runDetails": {
                "builder": {
                    "id": _builder(source, inputs.environ),
                    "version": {"accelerapp-pipeline": builder_digest()},
                },
                "metadata": _run(inputs.environ),
            },
        },
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _subjects(image: BuiltImage) -> list[dict[str, Any]]:
    names = {part.manifest_digest: f"{image.name} {part.platform}" for part in image.platforms}
    names = {image.digest: image.name, **{d: n for d, n in names.items() if d != image.digest}}
    return [{"name": name, "digest": _digest(digest)} for digest, name in names.items()]


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _source(source: str, revision: str) -> list[dict[str, Any]]:
    """Return the commit; of a work tree with changes it says so, and is no way back to them."""
    if not revision:
        return []
    commit = revision.removesuffix(DIRTY)
    descriptor: dict[str, Any] = {
        "name": "source",
        "uri": f"git+{source}@{commit}",
        "digest": {"gitCommit": commit},
    }
    if revision.endswith(DIRTY):
        descriptor["annotations"] = {"uncommitted changes": True}
    return [descriptor]


def _files(plan: Plan, inputs: Inputs) -> Iterable[dict[str, Any]]:
    for path in (plan.settings.root / plan.settings.path, inputs.lock):
        if path.is_file():
            named = path.relative_to(inputs.root) if path.is_relative_to(inputs.root) else path.name
            yield {"name": str(named), "digest": {"sha256": file_sha256(path)}}


def _bases(parts: Iterable[ImagePlan]) -> Iterable[dict[str, Any]]:
    for part in parts:
        if part.base is not None:
            yield {
                "name": f"base {part.platform}",
                "uri": f"docker://{part.base.repository}@{part.base.manifest_digest}",
                "digest": _digest(part.base.manifest_digest),
            }


def _project(parts: Iterable[ImagePlan]) -> Iterable[dict[str, Any]]:
    wheels = {
        recipe.project.filename: recipe.project.sha256
        for part in parts
        for recipe in part.layers
        if recipe.project is not None
    }
    for filename, sha256 in sorted(wheels.items()):
        yield {"name": filename, "digest": {"sha256": sha256}}


def _packages(parts: Iterable[ImagePlan]) -> list[dict[str, Any]]:
    """Return every package and wheel, each once; what compiles bytecode is the host's."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for recipe in part.layers:
            for package in recipe.packages:
                found[package.sha256] = _debian(package, part.platform)
            for wheel in recipe.wheels:
                found[wheel.sha256] = _wheel(wheel)
    return sorted(found.values(), key=lambda descriptor: str(descriptor["uri"]))


def _debian(package: LockedPackage, platform: Platform) -> dict[str, Any]:
    from packageurl import PackageURL

    qualifiers = {"arch": package.architecture or platform.debian}
    url = PackageURL("deb", "debian", package.name, package.version, qualifiers)
    return {
        "name": package.path,
        "uri": url.to_string(),
        "digest": {"sha256": package.sha256},
    }


def _wheel(wheel: LockedWheel) -> dict[str, Any]:
    from packageurl import PackageURL

    url = PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.filename})
    return {"name": wheel.filename, "uri": url.to_string(), "digest": {"sha256": wheel.sha256}}


def _builder(source: str, environ: Mapping[str, str]) -> str:
    """Return who ran the build: the workflow in GitHub Actions, somebody's machine elsewhere."""
    server = environ.get("GITHUB_SERVER_URL", "")
    workflow = environ.get("GITHUB_WORKFLOW_REF", "")
    if environ.get("GITHUB_ACTIONS") == "true" and server and workflow:
        return f"{server}/{workflow}"
    return f"{source or 'urn:accelerapp'}/builders/local"


def _run(environ: Mapping[str, str]) -> dict[str, str]:
    server, repository = environ.get("GITHUB_SERVER_URL"), environ.get("GITHUB_REPOSITORY")
    run, attempt = environ.get("GITHUB_RUN_ID"), environ.get("GITHUB_RUN_ATTEMPT", "1")
    if environ.get("GITHUB_ACTIONS") == "true" and server and repository and run:
        return {"invocationId": f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}"}
    return {}
