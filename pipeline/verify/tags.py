"""Whether a tag names what it should: a digest, a version, a commit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.oci.layout import NamedImage
from pipeline.oci.registry.reference import Reference
from pipeline.push import facts_of
from pipeline.verify.checks import Check, Outcome

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_REVISION = "org.opencontainers.image.revision"
_VERSION = "org.opencontainers.image.version"
_COMMIT_TAG = re.compile(r"(?:[a-z]+-)?sha-([0-9a-f]{7,40})(?=-|$)")
_VERSION_TAG = re.compile(r"v?(\d+\.\d+\.\d+)(?=-|$)")


def check_tag(registry: Registry, reference: Reference, digest: str, image: NamedImage) -> Check:
    """Return whether the tag names what it should: the digest beside it, or the version or
    commit that it spells."""
    if reference.tag is None:
        return Check("tag", Outcome.NOT_VERIFIED, "a digest is given, and no tag")
    now = registry.get_manifest(Reference(reference.repository, tag=reference.tag))
    if now.descriptor.digest != digest:
        moved = f"{reference.tag} names {now.descriptor.digest[:19]}, not {digest[:19]}"
        return Check("tag", Outcome.REFUSED, moved)
    commit_tag = _COMMIT_TAG.match(reference.tag)
    version_tag = _VERSION_TAG.match(reference.tag)
    spelled = commit_tag or version_tag
    proven = reference.digest is not None
    for part in image.images:
        facts = facts_of(part)
        commit, version = facts.get(_REVISION, ""), facts.get(_VERSION, "").removeprefix("v")
        wrong = ""
        if commit_tag and commit and not commit.startswith(commit_tag[1]):
            wrong = f"{reference.tag} names another commit than the image, {commit[:12]}"
        elif version_tag and version and not _same_version(version_tag[1], version):
            wrong = f"{reference.tag} names another version than the image, {version}"
        if wrong:
            return Check("tag", Outcome.REFUSED, wrong)
        proven = proven or bool(commit if commit_tag else version if spelled else "")
    if proven:
        return Check("tag", Outcome.VERIFIED, f"{reference.tag} is what the image says of itself")
    return Check("tag", Outcome.NOT_VERIFIED, f"{reference.tag} may name any image")


def _same_version(one: str, other: str) -> bool:
    """Whether two spellings name one version, as `1.0` and `1.0.0` do (PEP 440)."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other
