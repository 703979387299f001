"""`invoke sign`: an image in a registry, and what is said of it there, signed by cosign."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.attestations import PROVENANCE_TYPE, SBOM_TYPE, SPDX_TYPE
from pipeline.cosign import Signer, check_key, open_cosign
from pipeline.errors import OptionInvalid, SigningFailed
from pipeline.oci.registry.reference import Reference
from pipeline.oci.registry.referrers import list_referrers
from pipeline.registries import credentials_for, open_registry
from pipeline.report import Progress

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_NAMES = {SBOM_TYPE: "SBOM", SPDX_TYPE: "SBOM", PROVENANCE_TYPE: "provenance"}


@dataclass(frozen=True, slots=True)
class SignRequest:
    """The argument and flags of `invoke sign`."""

    where: str
    key: str | None = None
    keyless: bool = False
    plain_http: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Signed:
    """A manifest with a signature."""

    name: str
    """What it is: `image`, `image linux/arm64`, `SBOM linux/arm64`, `provenance`."""
    digest: str


@dataclass(frozen=True, slots=True)
class SignReport:
    """What was signed; of a dry run, what would be."""

    reference: Reference
    """With the digest of the image."""
    signer: Signer
    signed: tuple[Signed, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "image": str(self.reference),
            "signer": str(self.signer),
            "signed": [{"name": one.name, "digest": one.digest} for one in self.signed],
        }


def sign(
    request: SignRequest,
    progress: Progress,
    *,
    environ: Mapping[str, str] = os.environ,
) -> SignReport:
    """Sign an image, each of its platforms, and its SBOMs and provenance, by their digests.

    Raises `SigningFailed` with what cosign says, `ToolMissing` without it.
    """
    signer = _signer(request)
    if Path(request.where).is_dir() or request.where.startswith((".", "/")):
        raise OptionInvalid(
            f"{request.where} is a folder, and signatures are in registries",
            hint="push it, and sign what 'invoke push' prints",
        )
    reference = Reference.parse(request.where)
    with open_registry(
        reference.repository, plain_http=request.plain_http, environ=environ
    ) as registry:
        top = registry.get_manifest(reference)
        pinned = Reference(reference.repository, digest=top.descriptor.digest)
        found = tuple(_subjects(registry, pinned))
        report = SignReport(pinned, signer, found)
        if request.dry_run:
            return report
    login = credentials_for(reference.repository, pushed_to=reference.repository, environ=environ)
    with (
        open_cosign(login, reference, plain_http=request.plain_http, environ=environ) as cosign,
        progress.step(f"sign {len(found)} manifests of {pinned.repository}"),
    ):
        wanted = [Reference(pinned.repository, digest=one.digest) for one in found]
        done = cosign.sign(wanted, signer)
        if not done.ok:
            raise SigningFailed(
                f"{pinned} could not be signed by {signer}: {done.reason}",
                hint="correct it and sign again; what is signed already stays so",
            )
    return report


def _signer(request: SignRequest) -> Signer:
    if request.key and request.keyless:
        raise OptionInvalid("--key and --keyless say two things", hint="give one of them")
    if request.key:
        return Signer(key=check_key(request.key))
    if request.keyless:
        return Signer()
    raise OptionInvalid(
        "nothing says what to sign with",
        hint="give --key FILE, or --keyless where an identity is at hand, as in GitHub's workflows",
    )


def _subjects(registry: Registry, reference: Reference) -> Iterator[Signed]:
    """Yield what there is of an image: itself, its platforms, its SBOMs and provenance."""
    top = registry.get_manifest(reference)
    parts = [Signed("image", top.descriptor.digest)]
    for entry in json.loads(top.data).get("manifests") or []:
        platform = entry.get("platform") or {}
        title = "/".join(platform[key] for key in ("os", "architecture") if key in platform)
        parts.append(Signed(f"image {title}".rstrip(), entry["digest"]))
    for part in parts:
        yield part
        for one in list_referrers(registry, reference.repository, part.digest):
            if name := _NAMES.get(one.type):
                yield Signed(part.name.replace("image", name, 1), one.digest)
