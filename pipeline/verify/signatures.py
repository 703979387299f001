"""Whether an image in a registry is signed, and by whom it has to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.cosign import Cosign, Signer
from pipeline.oci.registry.reference import Reference
from pipeline.oci.registry.referrers import list_referrers
from pipeline.verify.checks import Check, Outcome

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_BUNDLE = re.compile(r"application/vnd\.dev\.sigstore\.bundle\b")
_NO_SIGNATURES = 10
"""What cosign exits with where an image has none."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Who has to have signed, and the cosign that says whether they have."""

    cosign: Cosign
    signer: Signer


def check_signature(registry: Registry, image: Reference, demand: Demand | None) -> Check:
    """Return whether an image, named by its digest, is signed by whom it has to be; without
    anybody, only whether it is signed."""
    if demand is None:
        detail = "there is none"
        if is_signed(registry, image):
            detail = "there is one; say whose it has to be: --key, or --identity and --issuer"
        return Check("signature", Outcome.NOT_VERIFIED, detail)
    done = demand.cosign.verify(image, demand.signer)
    if done.ok:
        return Check("signature", Outcome.VERIFIED, f"by {demand.signer}")
    if not done.is_answer:
        return Check("signature", Outcome.NOT_VERIFIED, f"cosign could not tell: {done.reason}")
    if done.returncode != _NO_SIGNATURES:
        detail = f"not by {demand.signer}: {done.reason}"
        return Check("signature", Outcome.REFUSED, detail)
    detail = "there is none"
    if _has_bundle(registry, image):
        detail = "there is a Sigstore bundle, which cosign 3 reads and this does not"
    return Check("signature", Outcome.NOT_VERIFIED, detail)


def is_signed_by(manifest: Reference, demand: Demand) -> bool:
    """Whether a manifest, named by its digest, is signed by whom it has to be."""
    return demand.cosign.verify(manifest, demand.signer).ok


def is_signed(registry: Registry, image: Reference) -> bool:
    """Whether anybody has signed a manifest, as cosign writes it: under the tag `sha256-….sig`,
    or in a bundle that refers to it."""
    tag = f"{(image.digest or '').replace(':', '-')}.sig"
    signature = registry.head_manifest(Reference(image.repository, tag=tag))
    return signature is not None or _has_bundle(registry, image)


def _has_bundle(registry: Registry, image: Reference) -> bool:
    found = list_referrers(registry, image.repository, image.digest or "")
    return any(_BUNDLE.match(one.type) for one in found)
