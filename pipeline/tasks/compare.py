"""Looking at two images at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from pipeline.tasks.command import task

if TYPE_CHECKING:
    from pipeline.platforms import Platform


@task(
    iterable=("platform",),
    help={
        "before": "an image: a layout folder (dist/images/production), an archive (docker save, "
        "invoke build --archive) or a reference (ghcr.io/owner/name:tag)",
        "after": "the image to compare it with, likewise",
        "platform": "compare these only: arm64, amd64 … (default: all that both have)",
        "all": "list every file, not sums by folder",
        "exit-code": "exit with 1 when something differs that a container could tell",
        "plain-http": "speak http with a registry that is not on this machine",
        "json": "print as JSON",
    },
)
def diff(
    c: Context,
    before: str,
    after: str,
    platform: Any = None,
    all: bool = False,
    exit_code: bool = False,
    plain_http: bool = False,
    json: bool = False,
) -> None:
    """Show what changed between two images: configuration, layers, packages, files.

    Times of files and images, history, and how layers are cut and compressed do not count as
    differences; whatever else a container could tell does.
    """
    from invoke.exceptions import Exit

    from pipeline import report, shipping
    from pipeline.compare import asked_platforms, compare_named
    from pipeline.tasks import show_compare

    with report.progress() as progress:

        def pull(reference: str, folder: Path, platforms: Sequence[Platform]) -> None:
            spellings = [str(platform) for platform in platforms]
            shipping.pull(shipping.PullRequest(reference, spellings, folder, plain_http), progress)

        found = compare_named((before, after), platforms=asked_platforms(platform or ()), pull=pull)
    show_compare.report(found, every_file=all, as_json=json)
    if exit_code and found.differs:
        raise Exit(code=1)
