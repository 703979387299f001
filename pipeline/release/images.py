"""`invoke release.images`: a release's images out of their registry, verified, with what is said.

A release publishes SBOMs and provenance of what was pushed, and of nothing else: each is taken
from the registry, and only after it, and the image, have been verified.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.atomic import alone_in, write_atomically, writing
from pipeline.errors import NotVerified, OptionInvalid, ReleaseRefused
from pipeline.matrix import shipped
from pipeline.oci.layout import open_layout, platform_folder
from pipeline.oci.registry.reference import Reference
from pipeline.provenance import provenance_path, subjects_of
from pipeline.release.places import read_version
from pipeline.report import Progress
from pipeline.settings import read_settings
from pipeline.shipping import REGISTRY_VARIABLE, configured_registry, destination
from pipeline.verify.checks import Evidence, Verification
from pipeline.verify.run import Clock, VerifyRequest, verify

_REQUIRED = ("tag", "provenance", "lock", "sbom")
_SBOM = "cdx.json"


@dataclass(frozen=True, slots=True)
class ImagesRequest:
    """The flags of `invoke release.images`."""

    output: Path = commands.OUTPUT
    wait_s: float = 0.0
    """For all images together."""
    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    plain_http: bool = False


def bring_images(
    request: ImagesRequest,
    progress: Progress,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> tuple[Verification, ...]:
    """Verify every image of the release in the files, and make a layout of it in `output`, with
    its SBOMs and its provenance beside it.

    Raises `OptionInvalid` where nobody says which registry, and what verifying raises: an image
    that is not verified is not brought.
    """
    root, clock = root or commands.ROOT, clock or Clock()
    settings = read_settings(root)
    version = read_version(root)
    place = configured_registry(environ)
    if place is None:
        raise OptionInvalid(
            "which registry has the images?", hint=f"set {REGISTRY_VARIABLE}=HOST/NAMESPACE"
        )
    repository = destination(settings, place, environ)
    required = [*_REQUIRED, *(["signature"] if request.key or request.identity else [])]
    end_s = clock.now_s() + request.wait_s
    brought = []
    for target in shipped(settings):

        def keep(done: Verification, layout: Path, said: Evidence, target: str = target) -> None:
            done.raise_for(required)
            _keep(layout, said, request.output / target)

        one = VerifyRequest(
            str(Reference(repository, tag=f"{version.tag}-{target}")),
            key=request.key,
            identity=request.identity,
            issuer=request.issuer,
            plain_http=request.plain_http,
            wait_s=max(end_s - clock.now_s(), 0.0),
        )
        brought.append(verify(one, progress, environ=environ, clock=clock, then=keep))
    return tuple(brought)


def _keep(layout: Path, said: Evidence, output: Path) -> None:
    """Put a layout, its provenance and its SBOMs where builds put them."""
    image = open_layout(layout)
    # Where a signature was asked for, what somebody else attached is not the release's.
    provenance = [claim for claim in said.provenance if claim.signer != ""]
    if not provenance:
        raise NotVerified(
            f"nobody who was asked for has signed the provenance of '{output.name}'",
            hint="sign it again: invoke sign REF",
        )
    digests = {image.top.descriptor.digest, *(p.manifest.descriptor.digest for p in image.images)}
    # The one about the whole image goes before those about a platform.
    provenance.sort(key=lambda claim: not digests <= subjects_of(claim.data, claim.name))
    with alone_in(output.parent), writing(output):
        if output.exists() and not (output / "index.json").is_file():
            raise ReleaseRefused(
                f"{output} is there, and is no image", hint="name another folder with --output"
            )
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(layout, output)
        write_atomically(provenance_path(output), provenance[0].data)
        for part in image.images:
            folder = platform_folder(part.platform)
            path = output.parent / f"{output.name}-{folder}.{_SBOM}"
            for claim in said.sboms.get(part.platform, ()):
                if claim.kind == _SBOM and claim.signer != "":
                    write_atomically(path, claim.data)
                    break
            else:
                path.unlink(missing_ok=True)  # Of an image that was here before.
