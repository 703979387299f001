"""Bringing images, and the chart, to registries and from them, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task

_REGISTRY = "HOST[:PORT][/NAMESPACE], such as ghcr.io/owner (default: ACCELERAPP_REGISTRY)"
_PLAIN = "speak http with a registry that is not on this machine"
_DRY = "ask the registry, print what would be sent, send nothing"


@task(
    iterable=("target", "platform", "tag", "from_repository"),
    help={
        "target": "what to push: base, production, development, monitoring, all that is built "
        "(default: production)",
        "platform": "push these only, each as a part with the tag TAG-ARCHITECTURE for "
        "`invoke manifest` to join (default: the whole image)",
        "registry": _REGISTRY,
        "tag": "tag; repeatable, commas; with several targets TAG-TARGET (default: see "
        "`invoke tags`)",
        "images": "folder of OCI layouts, or one layout (default: dist/images)",
        "from-repository": "repository of the same registry that may have layers to mount",
        "chart": "push the chart instead, to REGISTRY/charts/NAME, tagged with its version",
        "by-digest": "push without any tag, and write what was pushed into this folder, a file an "
        "image, for `invoke manifest --by-digest` to join and tag",
        "no-attach": "leave out what else goes along, each platform's SBOM and the build's "
        "provenance, for a registry that takes images alone",
        "plain-http": _PLAIN,
        "dry-run": _DRY,
        "json": "print the result as JSON",
    },
)
def push(
    c: Context,
    target: Any = None,
    platform: Any = None,
    registry: str | None = None,
    tag: Any = None,
    images: str | None = None,
    from_repository: Any = None,
    chart: bool = False,
    by_digest: str | None = None,
    no_attach: bool = False,
    plain_http: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Push built images, or the chart, to a registry: layers first, moving tags last."""
    from pipeline import report, shipping
    from pipeline.tasks import show_ship

    request = shipping.PushRequest(
        targets=target or (),
        platforms=platform or (),
        registry=registry,
        tags=tag or (),
        images=Path(images) if images else None,
        sources=from_repository or (),
        plain_http=plain_http,
        attach=not no_attach,
        by_digest=Path(by_digest) if by_digest else None,
    )
    if chart:
        with report.progress() as progress:
            shipped = shipping.chart(request, progress, dry_run=dry_run)
        show_ship.chart(shipped, dry_run=dry_run, as_json=json)
        return
    with report.progress() as progress:
        done = shipping.push(request, progress, dry_run=dry_run)
    show_ship.push(done, dry_run=dry_run, as_json=json)


@task(
    iterable=("target", "platform", "tag", "digest"),
    help={
        "target": "which image (default: production); repeatable, commas, all",
        "platform": "what to join (default: all that images.toml names)",
        "registry": _REGISTRY,
        "tag": "tag of the whole; its parts are at TAG-ARCHITECTURE of the first one (default: "
        "see `invoke tags`)",
        "digest": "a part by digest instead; repeatable, commas",
        "by-digest": "join what `invoke push --by-digest` wrote into this folder instead, for "
        "every target that it has a file of",
        "untagged": "with --by-digest: join, and give no tag yet, so that the image can be signed "
        "before it has a name",
        "checksums": "also write the digests into this file, as sha256sum does, for attestations",
        "plain-http": _PLAIN,
        "dry-run": _DRY,
        "json": "print the result as JSON",
        "github": "also append references, tags and digests to the file that GITHUB_OUTPUT names, "
        "and a table to GITHUB_STEP_SUMMARY's",
    },
)
def manifest(
    c: Context,
    target: Any = None,
    platform: Any = None,
    registry: str | None = None,
    tag: Any = None,
    digest: Any = None,
    by_digest: str | None = None,
    untagged: bool = False,
    checksums: str | None = None,
    plain_http: bool = False,
    dry_run: bool = False,
    json: bool = False,
    github: bool = False,
) -> None:
    """Join images that were pushed in parts, and give them their tags; no layer moves."""
    import os

    from pipeline.manifest import ManifestRequest
    from pipeline.manifest import manifest as join
    from pipeline.tasks import show_ship

    request = ManifestRequest(
        targets=target or (),
        platforms=platform or (),
        registry=registry,
        tags=tag or (),
        digests=digest or (),
        by_digest=Path(by_digest) if by_digest else None,
        untagged=untagged,
        plain_http=plain_http,
    )
    done = join(request, dry_run=dry_run)
    if checksums and not dry_run:
        show_ship.write_checksums(done, Path(checksums))
    if github:
        show_ship.write_github(done, os.environ)
    show_ship.manifest(done, dry_run=dry_run, as_json=json)


@task(
    iterable=("platform",),
    help={
        "reference": "the image: python:3.11-slim, ghcr.io/owner/name@sha256:…",
        "platform": "for what: amd64, arm64 (default: all of the image that are known)",
        "output": "folder for the OCI layout (default: dist/images/NAME-TAG)",
        "plain-http": _PLAIN,
        "json": "print the result as JSON",
    },
)
def pull(
    c: Context,
    reference: str,
    platform: Any = None,
    output: str | None = None,
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Pull an image from a registry into an OCI layout."""
    from pipeline import report, shipping
    from pipeline.tasks import show_ship

    request = shipping.PullRequest(
        reference=reference,
        platforms=platform or (),
        output=Path(output) if output else None,
        plain_http=plain_http,
    )
    with report.progress() as progress:
        done = shipping.pull(request, progress)
    show_ship.pull(done, as_json=json)
