"""What an image consists of, and whether that can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task


@task(
    iterable=("target", "platform", "format"),
    help={
        "target": "which image: base, production, monitoring … (default: production); "
        "repeatable, commas; all that is built",
        "platform": "which platforms of it (default: all that are built)",
        "format": "cyclonedx (1.6), spdx (2.3); repeatable, commas (default: cyclonedx)",
        "images": "folder of OCI layouts, or one layout (default: dist/images)",
        "output": "folder for the documents (default: beside the layouts)",
        "check": "have Trivy and Syft list the image, too: refuse unless they find the same",
        "json": "print the result as JSON",
    },
)
def sbom(
    c: Context,
    target: Any = None,
    platform: Any = None,
    format: Any = None,
    images: str | None = None,
    output: str | None = None,
    check: bool = False,
    json: bool = False,
) -> None:
    """List what built images consist of: packages, versions, licences, digests, layers.

    Writes DIST/TARGET-PLATFORM.cdx.json (or .spdx.json) for each, from the image and the lock,
    which have to agree; the same image gives the same bytes.
    """
    from pipeline import report
    from pipeline.sbom.make import SbomRequest, make_sboms

    request = SbomRequest(
        targets=target or (),
        platforms=platform or (),
        formats=format or (),
        images=Path(images) if images else None,
        output=Path(output) if output else None,
        check=check,
    )
    with report.progress() as progress:
        made = make_sboms(request, progress)
    if json:
        report.print_json([part.to_json() for part in made])
        return
    report.print_table(
        ("target", "platform", "debian", "python", "from the lock", "checked by", "file"),
        [
            (
                part.target,
                str(part.platform),
                str(part.packages["deb"]),
                str(part.packages["pypi"]),
                "yes" if part.locked else "no",
                ", ".join(part.checked) or "-",
                str(part.path),
            )
            for part in made
        ],
    )
