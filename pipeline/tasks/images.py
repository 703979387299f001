"""Building images, and looking at what was built."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task

_PLATFORM = "arm64, amd64, linux/arm64, aarch64 …; several with commas or repeated; all"


@task(
    iterable=("target", "platform", "mirror"),
    help={
        "target": "what to build: base, production, development, monitoring, all "
        "(default: production)",
        "platform": f"for what: {_PLATFORM} (default: this machine's)",
        "suite": "Debian release: bookworm or trixie (default: what images.toml says)",
        "source": "build the Python project in this folder instead of Accelerapp",
        "entrypoint": "what the container of a --source without images.toml runs",
        "output": "folder for an OCI layout a target (default: dist/images)",
        "archive": "also write one tar for docker load, podman load and skopeo",
        "format": "media types: oci or docker (Podman runs health checks of docker only)",
        "mirror": "Debian mirror, tried first",
        "engine": "what builds: daemonless, docker, or auto: docker where a target has "
        "Dockerfile lines of its own",
        "builder": "the buildx builder for docker: a remote one, one in Kubernetes …",
        "base-image": "the Debian image that Dockerfiles start from, such as a mirror's: "
        "mirror.example/debian:{suite}-slim (default: ACCELERAPP_DEBIAN_IMAGE, or what "
        "images.toml says)",
        "sparse": "leave layers of a base from a registry there; `invoke push` mounts them",
        "dry-run": "print the plan, write nothing but the project's wheel to the cache",
        "json": "print the result as JSON",
    },
)
def build(
    c: Context,
    target: Any = None,
    platform: Any = None,
    suite: str | None = None,
    source: str | None = None,
    entrypoint: str | None = None,
    output: str | None = None,
    archive: str | None = None,
    format: str = "oci",
    mirror: Any = None,
    engine: str = "auto",
    builder: str | None = None,
    base_image: str | None = None,
    sparse: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Build images for any platform: no Docker, no root, no emulation."""
    from pipeline import commands, report
    from pipeline.tasks import show

    request = commands.BuildRequest(
        targets=target or (),
        platforms=platform or (),
        suite=suite,
        source=Path(source) if source else None,
        output=Path(output) if output else None,
        archive=Path(archive) if archive else None,
        format=format,
        entrypoint=entrypoint,
        mirrors=mirror or (),
        sparse=sparse,
        engine=engine,
        builder=builder,
        base_image=base_image,
    )
    # From the plan to the last byte: nobody prunes what was found to be cached.
    with report.progress() as progress, contextlib.ExitStack() as held:
        prepared = commands.prepare(request, progress, held)
        done = None if dry_run else prepared.carry_out(progress)
    if done is None:
        show.plan(prepared, as_json=json)
    else:
        show.build(done, as_json=json)


@task(
    iterable=("mirror",),
    help={
        "check": "say whether the lock is current; exits with 21 when it is not",
        "upgrade": "take the newest Python packages, not those of the old lock",
        "source": "lock the described project in this folder instead of Accelerapp",
        "mirror": "Debian mirror, tried first",
    },
)
def lock(
    c: Context,
    check: bool = False,
    upgrade: bool = False,
    source: str | None = None,
    mirror: Any = None,
) -> None:
    """Resolve packages and wheels of every image, suite and platform."""
    from pipeline import commands, report
    from pipeline.tasks import show

    folder = Path(source) if source else None
    if check:
        show.lock_state(commands.stale_inputs(folder))
        return
    with report.progress() as progress:
        made, path = commands.lock(folder, mirrors=mirror or (), upgrade=upgrade, progress=progress)
    show.lock(made, path)


@task(help={"json": "print as JSON"})
def images(c: Context, json: bool = False) -> None:
    """Show the images that are described, and which are built."""
    from pipeline import commands
    from pipeline.tasks import show

    show.images(commands.images(), as_json=json)
