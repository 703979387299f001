"""What `invoke manifest` asks for: images that were pushed in parts, joined and given their tags.

Every name, and every file, is checked before a registry is asked anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import commands
from pipeline.attestations import Attestation, attach_all, provenance_of
from pipeline.errors import ImageMissing, OptionInvalid
from pipeline.flags import values_of
from pipeline.joined import joined_statement
from pipeline.oci.image import ImageDocuments
from pipeline.oci.layout import NamedImage
from pipeline.oci.registry.reference import Repository, check_digest, check_tag
from pipeline.platforms import Platform
from pipeline.push import (
    Attached,
    PushReport,
    join,
    parts_by_digest,
    parts_by_tag,
    platform_tag,
    put_index,
)
from pipeline.pushed import Pushed, by_target, read_pushed
from pipeline.registries import open_registry
from pipeline.revision import DIRTY, read_revision
from pipeline.settings import Settings, read_settings
from pipeline.shipping import destination, tags_of

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """The flags of `invoke manifest`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    registry: str | None = None
    tags: Sequence[str] = ()
    digests: Sequence[str] = ()
    by_digest: Path | None = None
    """The folder with what `invoke push --by-digest` wrote."""
    untagged: bool = False
    """Whether to leave tags for later, when the image is signed."""
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class _Job:
    """One index to put: what its parts are called, and what it will be."""

    target: str
    tags: tuple[str, ...]
    digests: tuple[str, ...] = ()
    """Of the parts; without any they are at `TAG-ARCHITECTURE`."""
    pushed: tuple[Pushed, ...] = ()


def manifest(
    request: ManifestRequest,
    *,
    dry_run: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> tuple[PushReport, ...]:
    """Join images that were pushed in parts; a report for each target.

    Raises `OptionInvalid`, `ImageMissing` and `ImageInvalid` for flags and files before anything
    is asked, `NotInRegistry` for a part that is not there.
    """
    if request.untagged and request.by_digest is None:
        raise OptionInvalid(
            "--untagged leaves an image without a name, and only --by-digest finds it again",
            hint="give --by-digest, too",
        )
    if request.untagged and request.tags:
        raise OptionInvalid("--untagged and --tag say two things", hint="leave one of them out")
    settings = read_settings(commands.ROOT)
    repository = destination(settings, request.registry, environ)
    platforms = commands.described_platforms(settings, request.platforms or [commands.ALL])
    if request.by_digest is None:
        jobs = _from_flags(request, settings, platforms, environ)
    else:
        jobs = _from_files(request, settings, repository, environ)
    reports = []
    with open_registry(repository, plain_http=request.plain_http, environ=environ) as registry:
        # All that can be wrong with any of them, before a tag of the first one moves.
        joined = [
            (job, join(_parts(job, registry, repository, platforms), settings.name, job.target))
            for job in jobs
        ]
        for job, image in joined:
            made, notes = _provenance(job, image)
            attached: list[Attached] = []

            def attach(made: Sequence[Attestation] = made, into: list[Attached] = attached) -> None:
                into += attach_all(registry, repository, made, dry_run=dry_run)

            done = put_index(
                job.target,
                image,
                repository,
                job.tags,
                registry,
                dry_run=dry_run,
                before_tags=attach,
            )
            reports.append(replace(done, attached=tuple(attached), notes=notes))
    return tuple(reports)


def _from_flags(
    request: ManifestRequest,
    settings: Settings,
    platforms: Sequence[Platform],
    environ: Mapping[str, str],
) -> list[_Job]:
    targets = commands.choose_targets(settings, request.targets)
    digests = tuple(check_digest(digest) for digest in values_of(request.digests))
    if digests and len(targets) > 1:
        raise OptionInvalid(
            "--digest names the parts of one image, and there are several targets",
            hint="give one --target",
        )
    tags = tags_of(targets, request.tags, environ)
    for target in targets:
        for tag in tags[target]:
            for platform in platforms:
                check_tag(platform_tag(tag, platform))
    return [_Job(target, tags[target], digests) for target in targets]


def _from_files(
    request: ManifestRequest,
    settings: Settings,
    repository: Repository,
    environ: Mapping[str, str],
) -> list[_Job]:
    """Return a job for each target of the files, or of those for the flags."""
    assert request.by_digest is not None
    if request.digests:
        raise OptionInvalid("--digest and --by-digest say two things", hint="leave one of them out")
    found = by_target(read_pushed(request.by_digest))
    for target in found:
        settings.image(target)
    chosen = commands.choose_targets(settings, request.targets) if request.targets else tuple(found)
    if commands.ALL in values_of(request.targets):
        chosen = tuple(found)
    for target in chosen:
        if target not in found:
            raise ImageMissing(
                f"no file in {request.by_digest} is of '{target}'",
                hint=f"push it: invoke push --target {target} --by-digest {request.by_digest}",
            )
        _check_theirs(found[target], repository, request.tags)
    tags = dict.fromkeys(chosen, ()) if request.untagged else tags_of(chosen, request.tags, environ)
    return [
        _Job(target, tags[target], tuple(one.digest for one in found[target]), found[target])
        for target in chosen
    ]


def _check_theirs(
    pushed: Sequence[Pushed], repository: Repository, asked_tags: Sequence[str]
) -> None:
    """Raise `OptionInvalid` for images of another repository, and for those that are not of the
    commit whose tags they would get: of another one, of changed files, or of nobody knows what."""
    here = read_revision(commands.ROOT)
    for one in pushed:
        if one.repository != repository:
            raise OptionInvalid(
                f"'{one.target}' was pushed to {one.repository}, and tags would be set in "
                f"{repository}",
                hint="give the same --registry to both commands",
            )
        commit, dirty = one.revision.removesuffix(DIRTY), one.revision.endswith(DIRTY)
        if not asked_tags and (commit != here.commit or (dirty and not here.dirty)):
            built = f"built from {commit[:12]}{' with changes' if dirty else ''}"
            raise OptionInvalid(
                f"'{one.target}' was {built if commit else 'built from no known commit'}, and "
                f"{here.commit[:12]} is checked out",
                hint="check out the commit that was built, or say with --tag what to call it",
            )


def _parts(
    job: _Job, registry: Registry, repository: Repository, platforms: Sequence[Platform]
) -> tuple[ImageDocuments, ...]:
    if job.digests:
        return parts_by_digest(registry, repository, job.digests, platforms)
    return parts_by_tag(registry, repository, job.tags[0], platforms)


def _provenance(job: _Job, image: NamedImage) -> tuple[tuple[Attestation, ...], tuple[str, ...]]:
    """Return what to attach to the index, and why there is nothing."""
    digest = image.top.descriptor.digest
    if not job.pushed or digest in job.digests:
        # Pushed whole: what was said of it went along then.
        return (), ()
    stated = {
        platform: (manifest_digest, one.provenance)
        for one in job.pushed
        for platform, manifest_digest in one.platforms.items()
    }
    if silent := [str(platform) for platform, (_, text) in stated.items() if not text]:
        return (), (f"no provenance: the part for {', '.join(sorted(silent))} has none",)
    return (provenance_of(image, joined_statement(digest, stated)),), ()
