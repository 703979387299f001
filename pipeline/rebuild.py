"""`invoke rebuild`: an image built again from what its provenance records, and compared.

The recorded commit is cloned and builds with its own code, in a cache that holds nothing but the
downloads which the provenance names by digest: no layer of the first build is used.  What is not
recorded well enough to build from is said, and nothing is guessed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import commands
from pipeline.atomic import file_sha256, writing
from pipeline.attestations import PROVENANCE_TYPE
from pipeline.cache import Cache
from pipeline.errors import (
    ImageInvalid,
    NotVerified,
    OptionInvalid,
    RebuildDiffers,
    UnsupportedPlatform,
    VerificationFailed,
)
from pipeline.oci.layout import open_layout
from pipeline.oci.registry.reference import Reference
from pipeline.oci.registry.referrers import fetch, list_referrers
from pipeline.platforms import Platform
from pipeline.process import Completed, Runner, run
from pipeline.provenance import PREDICATE_TYPE, provenance_path, subjects_of
from pipeline.registries import open_registry
from pipeline.report import Progress
from pipeline.revision import COMMIT
from pipeline.settings import DESCRIPTION, LOCK
from pipeline.shipping import pushed_to

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_ENGINE = "daemonless"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RebuildRequest:
    """The argument and flags of `invoke rebuild`."""

    where: str
    output: Path | None = None
    """Where the rebuilt layout is kept; None to throw it away."""
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a provenance says of a build, as far as it is needed to build again."""

    digest: str
    """Of the image."""
    commit: str
    target: str
    platforms: tuple[str, ...]
    suite: str
    format: str
    source_date_epoch_s: int | None
    inputs: tuple[str, ...]
    """SHA-256 of packages, wheels and bases."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """An image and the one that the same inputs give now."""

    where: str
    recorded: Recorded
    digest: str
    platforms: Mapping[str, str]
    """Digests of the rebuilt manifests."""
    seconds: float
    output: Path | None

    @property
    def is_same(self) -> bool:
        """Whether both are equal to the byte."""
        return self.digest == self.recorded.digest

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "image": self.where,
            "commit": self.recorded.commit,
            "target": self.recorded.target,
            "digest": self.recorded.digest,
            "rebuilt": self.digest,
            "same": self.is_same,
            "platforms": dict(self.platforms),
            "output": str(self.output) if self.output else None,
            "seconds": round(self.seconds, 3),
        }

    def raise_for_difference(self) -> None:
        """Raise `RebuildDiffers` unless both are equal."""
        if not self.is_same:
            kept = f"see: invoke diff {self.where} {self.output}"
            raise RebuildDiffers(
                f"{self.where} is {self.recorded.digest}, and commit "
                f"{self.recorded.commit[:12]} gives {self.digest}",
                hint=kept if self.output else "keep the other one with --output DIR, and compare",
            )


def rebuild(
    request: RebuildRequest,
    progress: Progress,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> Rebuilt:
    """Build an image again from what its provenance records.

    Raises `NotVerified` where nothing is recorded to build from, or it is not here;
    `VerificationFailed` for a provenance of another image.
    """
    root = root or commands.ROOT
    if request.output is not None and request.output.exists():
        raise OptionInvalid(
            f"--output {request.output} is there already", hint="name a folder that is not there"
        )
    digest, statement, name = _statement(request, environ)
    recorded = _recorded(statement, digest, name)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rebuild-") as folder:
        work = Path(folder)
        _check_out(root, recorded.commit, work / "source", runner)
        _check_inputs(statement, work / "source", name)
        _seed(Cache(work / "cache"), recorded.inputs)
        platforms = ",".join(recorded.platforms)
        with progress.step(f"rebuild {recorded.target} of {recorded.commit[:12]} for {platforms}"):
            done = _build(recorded, work, runner)
        if not done.ok:
            raise NotVerified(
                f"{request.where} cannot be built again: {done.reason}",
                hint=f"see what commit {recorded.commit[:12]} needs",
            )
        layout = work / "images" / recorded.target
        image = open_layout(layout)
        found = {str(p.platform): p.manifest.descriptor.digest for p in image.images}
        if request.output is not None:
            _keep(layout, request.output)
    seconds = time.monotonic() - begin
    top = image.top.descriptor.digest
    return Rebuilt(request.where, recorded, top, found, seconds, request.output)


# What is recorded.


def _statement(request: RebuildRequest, environ: Mapping[str, str]) -> tuple[str, Any, str]:
    """Return the image's digest, its provenance, and what to call that in messages."""
    folder = Path(request.where)
    if folder.is_dir() or request.where.startswith((".", "/")):
        digest = open_layout(folder).top.descriptor.digest
        path = provenance_path(folder)
        if not path.is_file():
            raise NotVerified(
                f"{folder} has no provenance: there is no {path}",
                hint="'invoke build' writes it; nothing else says what to build again",
            )
        return digest, _parsed(path.read_bytes(), digest, str(path)), str(path)
    reference = Reference.parse(request.where)
    own = pushed_to(environ)
    with open_registry(own, plain_http=request.plain_http, environ=environ) as registry:
        digest = registry.get_manifest(reference).descriptor.digest
        for data, name in _attached(registry, reference, digest):
            return digest, _parsed(data, digest, name), name
    raise NotVerified(
        f"{request.where} has no provenance in its registry",
        hint="'invoke push' attaches it to what was built: name that image, with all platforms",
    )


def _attached(registry: Registry, reference: Reference, digest: str) -> Iterator[tuple[bytes, str]]:
    for one in list_referrers(registry, reference.repository, digest):
        if one.type == PROVENANCE_TYPE:
            yield fetch(registry, reference.repository, digest, one), f"provenance {one.digest}"


def _parsed(data: bytes, digest: str, name: str) -> Any:
    if digest not in subjects_of(data, name):
        raise VerificationFailed(
            f"{name} is the provenance of another image than {digest}",
            hint="see: invoke verify",
        )
    return json.loads(data)


def _recorded(statement: Any, digest: str, name: str) -> Recorded:
    """Return what is needed to build again; raises `NotVerified` where it is not recorded."""
    try:
        if statement["predicateType"] != PREDICATE_TYPE:
            raise NotVerified(f"{name} is no SLSA provenance v1", hint="build it again")
        definition = statement["predicate"]["buildDefinition"]
        given = definition["externalParameters"]
        dependencies = definition["resolvedDependencies"]
        source = next((d for d in dependencies if "gitCommit" in d.get("digest", {})), None)
        if source is None or (source.get("annotations") or {}).get("uncommitted changes"):
            why = "files with uncommitted changes" if source else "files outside of git"
            raise NotVerified(
                f"{name} is of {why}, so nobody else can build it again",
                hint="commit, and build again",
            )
        if given["engine"] != _ENGINE:
            raise NotVerified(
                f"{name} says that '{given['engine']}' built it, which promises no digest",
                hint="only what was built without a daemon can be compared",
            )
        epoch_s = definition["internalParameters"]["SOURCE_DATE_EPOCH"]
        return Recorded(
            digest,
            _matching(COMMIT, source["digest"]["gitCommit"]),
            _matching(_NAME, given["target"]),
            tuple(str(Platform.parse(platform)) for platform in given["platforms"]),
            _matching(_NAME, given["suite"]),
            _matching(_NAME, given["format"]),
            None if epoch_s is None else int(epoch_s),
            tuple(
                _matching(_SHA256, digest["sha256"])
                for dependency in dependencies
                if "sha256" in (digest := dependency.get("digest", {}))
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedPlatform) as error:
        raise ImageInvalid(
            f"{name} is no provenance of this project's: {type(error).__name__} {error}",
            hint="build it again",
        ) from None


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    """Return a value of the record, which ends up in command lines and paths.

    Raises `ValueError` for one that could be anything else there than what it is called.
    """
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ValueError(f"{value!r:.80}")
    return value


def _check_inputs(statement: Any, source: Path, name: str) -> None:
    """Raise `NotVerified` unless description and lock of the commit are those of the build."""
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = {d.get("name"): d.get("digest", {}).get("sha256") for d in dependencies}
    for path in (DESCRIPTION, LOCK):
        if str(path) not in named:
            raise NotVerified(
                f"{name} names no {path}: it is of another project", hint="build that one again"
            )
        if not (source / path).is_file() or file_sha256(source / path) != named[str(path)]:
            raise NotVerified(
                f"{name} names another {path} than its commit has",
                hint="what it was built from was not committed",
            )


# Building.


def _check_out(root: Path, commit: str, folder: Path, runner: Runner) -> None:
    """Clone a commit of this repository, without touching its work tree or its list of them."""
    git = ("git", "-c", "safe.directory=*", "-c", "advice.detachedHead=false")
    known = runner((*git, "cat-file", "-e", f"{commit}^{{commit}}"), cwd=root)
    if not known.ok:
        raise NotVerified(
            f"commit {commit[:12]} is not in {root}",
            hint="git fetch, or run this in the repository that it was built from",
        )
    for argv in (
        (*git, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder)),
        (*git, "-C", str(folder), "checkout", "--quiet", "--detach", commit),
    ):
        done = runner(argv, cwd=root)
        if not done.ok:
            raise NotVerified(
                f"commit {commit[:12]} cannot be checked out: {done.reason}", hint="see git"
            )


def _seed(cold: Cache, inputs: tuple[str, ...]) -> None:
    """Bring the downloads of the first build along, each verified: inputs, never layers."""
    warm = commands.builder_cache()
    for sha256 in inputs:
        if (path := warm.verified(sha256)) is not None:
            destination = cold.new_blob_path(sha256)
            with contextlib.suppress(OSError):
                # Not linked: whatever happens to one must not happen to the other.
                shutil.copyfile(path, destination)


def _build(recorded: Recorded, work: Path, runner: Runner) -> Completed:
    epoch_s = recorded.source_date_epoch_s
    return runner(
        (
            *(sys.executable, "-m", "invoke", "build", "--json"),
            *("--target", recorded.target, "--platform", ",".join(recorded.platforms)),
            *("--suite", recorded.suite, "--format", recorded.format, "--engine", _ENGINE),
            *("--output", str(work / "images")),
        ),
        cwd=work / "source",
        env={
            "ACCELERAPP_BUILD_CACHE": str(work / "cache"),
            "SOURCE_DATE_EPOCH": "" if epoch_s is None else str(epoch_s),
            "PYTHONPATH": "",
        },
    )


def _keep(layout: Path, output: Path) -> None:
    """Move a rebuilt layout, and its provenance, to where somebody can look at it."""
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".rebuilt-", dir=output.parent) as name:
            shutil.copytree(layout, Path(name) / "image", symlinks=True)
            (Path(name) / "image").rename(output)
        shutil.copyfile(provenance_path(layout), provenance_path(output))
