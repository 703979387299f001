"""Built images into a container engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from pipeline.tasks.command import task

if TYPE_CHECKING:
    from pipeline.load import LoadReport


@task(
    iterable=("target", "platform"),
    help={
        "target": "what to load: base, production, development, monitoring, all "
        "(default: production)",
        "platform": "only these: arm64, amd64 …; several with commas or repeated "
        "(default: all that were built)",
        "images": "folder with an OCI layout a target (default: dist/images)",
        "into": "docker, podman or containerd (default: the first of them that answers)",
        "namespace": "containerd's: k8s.io is where Kubernetes looks (default: default)",
        "json": "print the result as JSON",
    },
)
def load(
    c: Context,
    target: Any = None,
    platform: Any = None,
    images: str | None = None,
    into: str | None = None,
    namespace: str | None = None,
    json: bool = False,
) -> None:
    """Load what was built into Docker, Podman or containerd."""
    from pipeline import report
    from pipeline.load import LoadRequest
    from pipeline.load import load as load_images

    request = LoadRequest(
        targets=target or (),
        platforms=platform or (),
        images=Path(images) if images else None,
        into=into,
        namespace=namespace,
    )
    with report.progress() as progress:
        done = load_images(request, progress)
    if json:
        report.print_json(done.to_json())
    else:
        show(done)


def show(done: LoadReport) -> None:
    """Print what the engine has now."""
    from pipeline.report import print_table

    rows = [
        [held.name, ", ".join(map(str, held.platforms)), held.id[:19], done.engine]
        for image in done.images
        for held in image.held
    ]
    print_table(["image", "platform", "id", "engine"], rows)
