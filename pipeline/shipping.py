"""What `push` and `pull` ask for: flags in, a value out; no Invoke, nothing printed.

Every name is checked, and every layout or chart read, before a registry is asked anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import commands
from pipeline.attestations import PROVENANCE_TYPE, Attestation, attach_all, attestations_of
from pipeline.errors import ImageMissing, OptionInvalid
from pipeline.flags import values_of
from pipeline.helm.chart import CHART, read_chart
from pipeline.helm.package import source_time_s
from pipeline.helm.push import ChartReport, chart_cargo, push_chart, survey_chart
from pipeline.oci.layout import NamedImage, open_layout
from pipeline.oci.registry.reference import (
    DOCKER_HUB,
    Reference,
    Repository,
    check_tag,
    host_of,
    is_loopback,
)
from pipeline.platforms import Platform
from pipeline.pull import PullReport, pull_image, short_name
from pipeline.push import (
    Attached,
    Cargo,
    PushReport,
    facts_of,
    platform_parts,
    push_image,
    survey_push,
)
from pipeline.pushed import Pushed, write_pushed
from pipeline.registries import open_registry
from pipeline.report import Progress
from pipeline.revision import read_revision
from pipeline.settings import Settings, read_settings

REGISTRY_VARIABLE = "ACCELERAPP_REGISTRY"
_REVISION = "org.opencontainers.image.revision"
_EXAMPLE = "ghcr.io/owner"


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The flags of `invoke push`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    registry: str | None = None
    tags: Sequence[str] = ()
    images: Path | None = None
    sources: Sequence[str] = ()
    plain_http: bool = False
    attach: bool = True
    """Whether SBOM and provenance go along."""
    by_digest: Path | None = None
    """Where to write what was pushed, which then gets no tag."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """The argument and flags of `invoke pull`."""

    reference: str
    platforms: Sequence[str] = ()
    output: Path | None = None
    plain_http: bool = False


def push(
    request: PushRequest,
    progress: Progress,
    *,
    dry_run: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> tuple[PushReport, ...]:
    """Push what the flags name, or say what that would send; a report for each image.

    Raises `OptionInvalid`, `NameInvalid` and `ImageMissing` before anything is sent.
    """
    if request.by_digest is not None and request.tags:
        raise OptionInvalid(
            "--by-digest gives no tag, and --tag is given",
            hint="leave one of them out; 'invoke manifest --by-digest' gives tags",
        )
    settings = read_settings(commands.ROOT)
    repository = destination(settings, request.registry, environ)
    sources = _source_names(request.sources, repository)
    cargoes = _cargoes(request, settings, repository, environ)
    reports: list[PushReport] = []
    # What one target brought to the repository, the next one need not ask about.
    present: frozenset[str] = frozenset()
    with open_registry(repository, plain_http=request.plain_http, environ=environ) as registry:
        for cargo in cargoes:
            made, notes = attestations_of(cargo, settings) if request.attach else ((), ())
            attached: list[Attached] = []

            def attach(made: Sequence[Attestation] = made, into: list[Attached] = attached) -> None:
                into += attach_all(registry, repository, made, dry_run=dry_run)

            if dry_run:
                report = survey_push(cargo, registry, sources=sources, present=present)
                attach()
            else:
                report = push_image(
                    cargo,
                    registry,
                    progress,
                    sources=sources,
                    present=present,
                    before_tags=attach,
                )
            present |= {blob.digest for blob in report.blobs}
            reports.append(replace(report, attached=tuple(attached), notes=notes))
            if request.by_digest is not None and not dry_run:
                write_pushed(request.by_digest, _pushed(cargo, made))
    return tuple(reports)


def _pushed(cargo: Cargo, made: Sequence[Attestation]) -> Pushed:
    """Return what the next job has to know of an image."""
    images = cargo.image.images
    provenance = [one.artifact.data for one in made if one.artifact.type == PROVENANCE_TYPE]
    return Pushed(
        target=cargo.target,
        repository=cargo.repository,
        digest=cargo.image.top.descriptor.digest,
        platforms={image.platform: image.manifest.descriptor.digest for image in images},
        revision=facts_of(images[0]).get(_REVISION, ""),
        provenance=provenance[0].decode() if provenance else "",
    )


def chart(
    request: PushRequest,
    progress: Progress,
    *,
    dry_run: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> ChartReport:
    """Push the chart, or say what that would send.

    Raises `OptionInvalid` for flags that are for images, `NameInvalid` and `ChartInvalid`,
    all before a registry is asked, and `VersionTaken`.
    """
    _refuse_image_flags(request)
    made = read_chart(commands.ROOT / CHART)
    repository = _parsed(_place(request.registry, environ), f"charts/{made.name}")
    if repository.registry == DOCKER_HUB:
        raise OptionInvalid(
            f"Docker Hub has no room for {repository}: its names have two parts",
            hint="push the chart to another registry, such as ghcr.io/owner",
        )
    cargo = chart_cargo(made, source_time_s(), repository)
    plain_http = request.plain_http or is_loopback(host_of(repository.registry))
    with open_registry(repository, plain_http=request.plain_http, environ=environ) as registry:
        done = survey_chart(cargo, registry) if dry_run else push_chart(cargo, registry, progress)
    return replace(done, plain_http=plain_http)


def pull(
    request: PullRequest, progress: Progress, *, environ: Mapping[str, str] = os.environ
) -> PullReport:
    """Pull an image into a layout: by default `dist/images/<name>-<tag>`."""
    reference = Reference.parse(request.reference)
    explicit = [text for text in values_of(request.platforms) if text.lower() != commands.ALL]
    everything = len(explicit) < len(values_of(request.platforms))
    platforms = Platform.parse_many(explicit) if explicit and not everything else ()
    folder = request.output or commands.OUTPUT / "-".join(short_name(reference))
    own = pushed_to(environ)
    with open_registry(own, plain_http=request.plain_http, environ=environ) as registry:
        return pull_image(reference, folder, registry, progress, platforms=platforms)


def destination(settings: Settings, asked: str | None, environ: Mapping[str, str]) -> Repository:
    """Return where images go: the flag, `ACCELERAPP_REGISTRY`, or in GitHub Actions the
    owner's place at ghcr.io, with the description's name.

    Raises `OptionInvalid` when nothing says where, `NameInvalid` for a wrong name.
    """
    return _parsed(_place(asked, environ), settings.name)


def _place(asked: str | None, environ: Mapping[str, str]) -> str:
    place = asked if asked is not None else configured_registry(environ)
    if place is None:
        raise OptionInvalid(
            "no registry is given",
            hint=f"use --registry HOST[:PORT][/NAMESPACE], such as {_EXAMPLE}, or set "
            f"{REGISTRY_VARIABLE}",
        )
    if place.strip("/").lower() == "ghcr.io":
        raise OptionInvalid(
            "ghcr.io keeps images below an owner, and none is given",
            hint=f"write {_EXAMPLE}",
        )
    return place


def pushed_to(environ: Mapping[str, str]) -> Repository | None:
    """Return a repository of the registry that images go to, None where the environment names
    none: REGISTRY_USERNAME and REGISTRY_PASSWORD are for that registry, and for no other."""
    own = configured_registry(environ)
    return None if own is None else _parsed(own, "any")


def configured_registry(environ: Mapping[str, str]) -> str | None:
    """Return the registry that the environment names, None where it names none.

    In GitHub Actions an owner's name is spelled as registries want it: in lower case.
    """
    place = environ.get(REGISTRY_VARIABLE)
    owner = environ.get("GITHUB_REPOSITORY_OWNER", "")
    if environ.get("GITHUB_ACTIONS") != "true" or not owner:
        return place or None
    if not place:
        return f"ghcr.io/{owner.lower()}"
    if place.endswith(f"/{owner}"):
        return f"{place.removesuffix(owner)}{owner.lower()}"
    return place


def _parsed(place: str, name: str) -> Repository:
    host = place.partition("/")[0]
    if (
        "://" not in place
        and "@" not in place
        and not ("." in host or ":" in host or host.lower() == "localhost")
    ):
        # Docker would take it for a name at Docker Hub: nobody's images go there by mistake.
        raise OptionInvalid(
            f"registry '{place}' names no host",
            hint=f"write it like {_EXAMPLE}; Docker Hub is docker.io/owner",
        )
    return Repository.parse(f"{place.removesuffix('/')}/{name}")


def _refuse_image_flags(request: PushRequest) -> None:
    """Raise `OptionInvalid` for flags that say something of images, beside `--chart`."""
    given = {
        "--target": request.targets,
        "--platform": request.platforms,
        "--tag": request.tags,
        "--images": request.images is not None,
        "--from-repository": request.sources,
        "--no-attach": not request.attach,
        "--by-digest": request.by_digest is not None,
    }
    if flags := [flag for flag, value in given.items() if value]:
        raise OptionInvalid(
            f"{', '.join(flags)}: not with --chart, which pushes no image",
            hint="leave out --chart, or the rest; the chart's tag is its version",
        )


def _source_names(asked: Sequence[str], repository: Repository) -> tuple[str, ...]:
    """Return the names of repositories on the same registry, as `--from-repository` has them.

    Raises `OptionInvalid` for one on another registry: nothing can be mounted from there.
    """
    names = []
    for text in values_of(asked):
        host, slash, _ = text.partition("/")
        full = slash and ("." in host or ":" in host or host == "localhost")
        source = Repository.parse(text if full else f"{repository.registry}/{text}")
        if source.registry != repository.registry:
            raise OptionInvalid(
                f"--from-repository {text} is on another registry than {repository}",
                hint="registries mount blobs from their own repositories only",
            )
        names.append(source.name)
    return tuple(dict.fromkeys(names))


def _cargoes(
    request: PushRequest,
    settings: Settings,
    repository: Repository,
    environ: Mapping[str, str],
) -> tuple[Cargo, ...]:
    layouts = _layouts(request, settings)
    images = {target: open_layout(layout) for target, layout in layouts.items()}
    tags = (
        dict.fromkeys(layouts, ())
        if request.by_digest is not None
        else tags_of(tuple(layouts), request.tags, environ)
    )
    if not request.tags:
        for target, image in images.items():
            _check_commit(image, layouts[target])
    cargoes: list[Cargo] = []
    for target, layout in layouts.items():
        whole = Cargo(target, images[target], layout, repository, tags[target])
        explicit = [text for text in values_of(request.platforms) if text.lower() != commands.ALL]
        if not values_of(request.platforms):
            cargoes.append(whole)
            continue
        present = [image.platform for image in whole.image.images]
        everything = len(explicit) < len(values_of(request.platforms))
        asked = {*(Platform.parse_many(explicit) if explicit else ()), *(present * everything)}
        cargoes.extend(platform_parts(whole, [p for p in Platform if p in asked]))
    owners: dict[str, Cargo] = {}
    for cargo in cargoes:
        for tag in cargo.tags:
            other = owners.setdefault(check_tag(tag), cargo)
            if other is not cargo:
                raise OptionInvalid(
                    f"the tag '{tag}' would name both {other.target} and {cargo.target}",
                    hint="choose other tags, or push one target at a time",
                )
    return tuple(cargoes)


def _layouts(request: PushRequest, settings: Settings) -> dict[str, Path]:
    """Return the layout of each target: those of the flags, of `all` those that are built."""
    folder = request.images or commands.OUTPUT
    asked = values_of(request.targets)
    if request.images is not None and (folder / "index.json").exists():
        return {_target_of(folder, asked, settings, request.tags): folder}
    chosen = {target: folder / target for target in commands.choose_targets(settings, asked)}
    if commands.ALL in asked:
        chosen = {
            target: layout
            for target, layout in chosen.items()
            if target in asked or (layout / "index.json").exists()
        }
    if not chosen:
        raise ImageMissing(f"there is no image in {folder}", hint="build one first: invoke build")
    return chosen


def _target_of(layout: Path, asked: Sequence[str], settings: Settings, tags: Sequence[str]) -> str:
    """Return the target of a layout that is given by itself."""
    named = open_layout(layout).tag
    if not asked:
        if named not in settings.images and not values_of(tags):
            raise OptionInvalid(
                f"{layout} holds '{named}', which is no target, so nothing says how to tag it",
                hint="give --tag, or --target",
            )
        return named
    targets = commands.choose_targets(settings, asked)
    if len(targets) > 1:
        raise OptionInvalid(
            f"{layout} is one image, and there are several targets",
            hint="give one --target, or a folder of layouts with --images",
        )
    return targets[0]


def tags_of(
    targets: Sequence[str], asked: Sequence[str], environ: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the tags of each target: those asked for, with several targets `<tag>-<target>`;
    without any, those that `invoke tags` computes."""
    given = tuple(dict.fromkeys(check_tag(tag) for tag in values_of(asked)))
    if asked and not given:
        raise OptionInvalid("--tag is empty", hint="give a tag, such as v1.2.3, or leave it out")
    if not given:
        return _computed_tags(targets, environ)
    if len(targets) == 1:
        return {targets[0]: given}
    return {target: tuple(check_tag(f"{tag}-{target}") for tag in given) for target in targets}


def _computed_tags(
    targets: Sequence[str], environ: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    from pipeline.tags import compute_tags, read_state

    state = read_state(commands.ROOT, environ)
    computed = {target: compute_tags(state, target).texts() for target in targets}
    for target, tags in computed.items():
        if not tags:
            raise OptionInvalid(f"this commit gives no tag to {target}", hint="give one with --tag")
    return computed


def _check_commit(image: NamedImage, layout: Path) -> None:
    """Raise `OptionInvalid` for an image of another commit than the one whose tags it would
    get, and for one of changed files that would get a clean commit's."""
    revision = read_revision(commands.ROOT)
    for part in image.images:
        commit, _, dirty = facts_of(part).get(_REVISION, "").partition("-")
        if commit and (commit != revision.commit or (dirty and not revision.dirty)):
            raise OptionInvalid(
                f"the image in {layout} was built from {commit[:12]}"
                f"{' with changes' if dirty else ''}, and {revision.commit[:12]} is checked out",
                hint="build it again, or say with --tag what to call it",
            )
