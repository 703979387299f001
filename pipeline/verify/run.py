"""`invoke verify`: whether an image is what is said of it, and what of that could be checked.

Digests first: what hangs on a wrong one is not looked at.  Then who signed it, and what is said
of it: its provenance (SLSA v1), the lock that this names, and its SBOMs, each compared with what
is in the image, and not with what somebody wrote beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import commands
from pipeline.attestations import PROVENANCE_TYPE, SBOM_TYPE, SPDX_TYPE
from pipeline.contents import LayerReader, layout_images
from pipeline.cosign import Signer, open_cosign, parse_signer
from pipeline.errors import (
    AccessDenied,
    ImageInvalid,
    NotInRegistry,
    NotVerified,
    OptionInvalid,
    PipelineError,
    ToolMissing,
)
from pipeline.oci.layout import NamedImage, open_layout, platform_folder
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.oci.registry.referrers import fetch, list_referrers
from pipeline.platforms import Platform
from pipeline.provenance import provenance_path
from pipeline.pull import pull_image
from pipeline.registries import credentials_for, open_registry
from pipeline.report import Progress
from pipeline.sbom.inventory import Inventory, keep, read_inventory
from pipeline.settings import Settings, read_settings
from pipeline.shipping import pushed_to
from pipeline.verify.checks import Check, Claim, Evidence, Outcome, Verification
from pipeline.verify.digests import check_digests
from pipeline.verify.provenance import check_locks, check_provenance
from pipeline.verify.sboms import WRITERS, check_sboms
from pipeline.verify.signatures import Demand, check_signature, is_signed_by
from pipeline.verify.tags import check_tag

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

WAIT_EVERY_S = 15.0
_PROVENANCE = "provenance"
_KINDS = {SBOM_TYPE: "cdx.json", SPDX_TYPE: "spdx.json", PROVENANCE_TYPE: _PROVENANCE}


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """The argument and flags of `invoke verify`."""

    where: str
    digest: str | None = None
    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    plain_http: bool = False
    wait_s: float = 0.0
    """How long to wait for a reference that the registry does not have yet."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How time passes; tests bring one of their own."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def verify_layout(
    folder: Path,
    evidence: Evidence,
    settings: Settings,
    *,
    digest: str | None = None,
    called: tuple[str, str] | None = None,
) -> Verification:
    """Check the image of a layout against itself, against the lock, and what is said of it.

    `called` is what it was called when it was built, such as `accelerapp` and `production`,
    where the layout does not know.
    """
    try:
        image = open_layout(folder)
        stored = layout_images(folder)
        checks = [check_digests(folder, image, stored, digest)]
    except PipelineError as error:
        return Verification(str(folder), "", (Check("digests", Outcome.REFUSED, error.message),))
    top = image.top.descriptor.digest
    if checks[0].outcome is Outcome.REFUSED:
        return Verification(str(folder), top, tuple(checks))
    if called is not None:
        image = replace(image, repository=called[0], tag=called[1])
    with tempfile.TemporaryDirectory(prefix="verify-") as name:
        statements = []
        for claim in evidence.provenance:
            check, statement = check_provenance(claim, image, settings)
            checks.append(check)
            if statement is not None:
                statements.append((claim.name, statement))
        if not evidence.provenance:
            checks.append(Check("provenance", Outcome.NOT_VERIFIED, "there is none"))
        if checks[0].outcome is Outcome.NOT_VERIFIED:
            detail = "layers are missing, so nobody can say what is in them"
            checks += [Check("lock", Outcome.NOT_VERIFIED, detail)]
            return Verification(str(folder), top, tuple(checks))
        read = LayerReader(keep)
        cache = commands.builder_cache()
        name_of = image.repository or settings.name
        found = [read_inventory(folder, part, name_of, image.tag, cache, read) for part in stored]
        locked: dict[Platform, Inventory] = {}
        checks += check_locks(statements, found, image, settings, Path(name), locked)
        for inventory in found:
            checks += check_sboms(inventory, locked.get(inventory.platform), evidence)
    return Verification(str(folder), top, tuple(checks))


def evidence_beside(folder: Path, tag: str, platforms: Iterable[Platform]) -> Evidence:
    """Return what is beside a layout, as `invoke build` and `invoke sbom` write it."""
    path = provenance_path(folder)
    provenance = (Claim(str(path), _PROVENANCE, path.read_bytes()),) if path.is_file() else ()
    sboms: dict[Platform, tuple[Claim, ...]] = {}
    for platform in platforms:
        paths = [
            (kind, folder.parent / f"{tag}-{platform_folder(platform)}.{kind}") for kind in WRITERS
        ]
        sboms[platform] = tuple(
            Claim(str(path), kind, path.read_bytes()) for kind, path in paths if path.is_file()
        )
    return Evidence(provenance, sboms)


def verify(
    request: VerifyRequest,
    progress: Progress,
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    then: Callable[[Verification, Path, Evidence], None] | None = None,
) -> Verification:
    """Check the image in a layout, or at a reference, which is pulled to a temporary folder.

    `then` is given the verification of a reference, the folder, and what is said of the image.
    Raises what opening it raises, and `NotVerified` without a cosign for the signature that is
    asked for; what is wrong with the image is in the result.
    """
    settings = read_settings(commands.ROOT)
    signer = parse_signer(request.key, request.identity, request.issuer)
    folder = Path(request.where)
    is_layout = folder.is_dir() or request.where.startswith((".", "/"))
    if is_layout and request.wait_s:
        raise OptionInvalid(
            f"--wait is for a registry, and {folder} is a folder", hint="leave --wait out"
        )
    if is_layout:
        try:
            image = open_layout(folder)
        except ImageInvalid as error:
            return Verification(
                str(folder), "", (Check("digests", Outcome.REFUSED, error.message),)
            )
        beside = evidence_beside(folder, image.tag, [part.platform for part in image.images])
        found = verify_layout(folder, beside, settings, digest=request.digest)
        unsigned = Check("signature", Outcome.NOT_VERIFIED, "it would be in a registry")
        return replace(found, checks=(*found.checks, unsigned))
    reference = Reference.parse(request.where)
    with (
        contextlib.ExitStack() as opened,
        tempfile.TemporaryDirectory(prefix="verify-") as name,
        open_registry(
            pushed_to(environ), plain_http=request.plain_http, environ=environ
        ) as registry,
    ):
        demand = None
        if signer is not None:
            demand = opened.enter_context(_demand(signer, reference, request, environ))
        before = _awaited(registry, reference, request.wait_s, progress, clock or Clock())
        pinned = Reference(reference.repository, digest=before)
        signature = check_signature(registry, pinned, demand)
        pull_image(pinned, Path(name) / "image", registry, progress)
        image = open_layout(Path(name) / "image")
        said = _evidence_at(registry, reference.repository, image, demand)
        found = verify_layout(
            Path(name) / "image", said, settings, digest=request.digest, called=_called(said)
        )
        checks = (check_tag(registry, reference, before, image), signature, *found.checks)
        done = Verification(str(reference), before, checks)
        if then is not None:
            then(done, Path(name) / "image", said)
    return done


def _awaited(
    registry: Registry, reference: Reference, wait_s: float, progress: Progress, clock: Clock
) -> str:
    """Return the digest of a reference, asked for until it is there or the time is over.

    Raises `NotInRegistry` or `AccessDenied` then.
    """
    end_s = clock.now_s() + wait_s
    while True:
        try:
            return registry.get_manifest(reference).descriptor.digest
        # Some registries deny what they do not have, and say so of a repository that is to come.
        except (NotInRegistry, AccessDenied) as error:
            left_s = end_s - clock.now_s()
            if left_s <= 0:
                if wait_s:
                    waited = f"{error.message}, and was not after {wait_s:g} s"
                    raise type(error)(waited, hint=error.hint) from None
                raise
            progress.say(f"{reference} is not there yet: asked again for {left_s:.0f} s more")
            clock.sleep(min(WAIT_EVERY_S, left_s))


@contextlib.contextmanager
def _demand(
    signer: Signer, reference: Reference, request: VerifyRequest, environ: Mapping[str, str]
) -> Iterator[Demand]:
    login = credentials_for(reference.repository, pushed_to=pushed_to(environ), environ=environ)
    with contextlib.ExitStack() as opened:
        try:
            cosign = opened.enter_context(
                open_cosign(login, reference, plain_http=request.plain_http, environ=environ)
            )
        except ToolMissing as error:
            raise NotVerified(
                f"the signature cannot be verified: {error.message}", hint=error.hint
            ) from None
        yield Demand(cosign, signer)


def _evidence_at(
    registry: Registry, repository: Repository, image: NamedImage, demand: Demand | None
) -> Evidence:
    """Return what refers to an image in a registry."""

    def said(digest: str) -> Iterator[Claim]:
        for one in list_referrers(registry, repository, digest):
            kind = _KINDS.get(one.type)
            if kind is not None:
                reference = Reference(repository, digest=one.digest)
                signer = None
                if demand is not None:
                    signer = str(demand.signer) if is_signed_by(reference, demand) else ""
                data = fetch(registry, repository, digest, one)
                yield Claim(one.digest[:19], kind, data, signer)

    provenance: dict[str, Claim] = {}
    sboms: dict[Platform, tuple[Claim, ...]] = {}
    digests = {part.manifest.descriptor.digest: part.platform for part in image.images}
    for digest in dict.fromkeys((image.top.descriptor.digest, *digests)):
        found = list(said(digest))
        provenance.update({claim.name: claim for claim in found if claim.kind == _PROVENANCE})
        if digest in digests:
            sboms[digests[digest]] = tuple(c for c in found if c.kind != _PROVENANCE)
    return Evidence(tuple(provenance.values()), sboms)


def _called(evidence: Evidence) -> tuple[str, str] | None:
    """Return what an image was called when it was built; all that is said of it has to agree."""
    claims = [*evidence.provenance, *(claim for part in evidence.sboms.values() for claim in part)]
    for claim in claims:
        # What cannot be read is refused where it is looked at.
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError, RecursionError):
            said = json.loads(claim.data)
            subject = said["subject"][0] if "subject" in said else said["metadata"]["component"]
            name, colon, tag = str(subject["name"]).partition(" ")[0].rpartition(":")
            if colon:
                return name, tag
    return None
