"""Whether a provenance is of an image, and the image of the lock that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.atomic import file_sha256
from pipeline.errors import PipelineError
from pipeline.layouts import target_of
from pipeline.lock import Lock, read_lock
from pipeline.oci.layout import NamedImage
from pipeline.platforms import Platform
from pipeline.provenance import PREDICATE_TYPE, STATEMENT_TYPE
from pipeline.push import facts_of
from pipeline.revision import COMMIT, DIRTY, git
from pipeline.sbom.inventory import Inventory
from pipeline.sbom.make import locked_inventory
from pipeline.settings import DESCRIPTION, LOCK, Settings, read_settings
from pipeline.verify.checks import Check, Claim, Outcome

_REVISION = "org.opencontainers.image.revision"


def check_provenance(
    claim: Claim, image: NamedImage, settings: Settings
) -> tuple[Check, Mapping[str, Any] | None]:
    """Check a provenance against the image; return its statement, too, where it is one of it."""
    title = claim.name
    try:
        statement = json.loads(claim.data)
        problems = list(_statement_problems(statement, image, settings))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        return Check("provenance", Outcome.REFUSED, f"{title} is no SLSA provenance: {why}"), None
    if problems:
        return Check("provenance", Outcome.REFUSED, f"{title}: {'; '.join(problems[:3])}"), None
    builder = statement["predicate"]["runDetails"]["builder"]["id"]
    if claim.signer:
        detail = f"{builder} built it, signed by {claim.signer}"
    else:
        said = "nobody was asked to sign that" if claim.signer is None else "that is not signed"
        detail = f"says that {builder} built it; {said}"
    return Check("provenance", Outcome.VERIFIED, detail), statement


def _statement_problems(
    statement: Mapping[str, Any], image: NamedImage, settings: Settings
) -> Iterator[str]:
    if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PREDICATE_TYPE:
        yield f"it is a {statement['predicateType']}, not a {PREDICATE_TYPE}"
        return
    subjects = {f"sha256:{subject['digest']['sha256']}" for subject in statement["subject"]}
    own = [part.manifest.descriptor.digest for part in image.images]
    for digest in dict.fromkeys((image.top.descriptor.digest, *own)):
        if digest not in subjects:
            yield f"it does not name {digest[:19]}"
    commit = _source_of(statement)
    if commit is not None and COMMIT.fullmatch(commit.removesuffix(DIRTY)) is None:
        yield f"it names the commit '{commit}', and that is none"
    definition = statement["predicate"]["buildDefinition"]
    given = definition["externalParameters"]
    target = target_of(image.tag, settings)
    if target is not None and given["target"] != target:
        yield f"it is about the target '{given['target']}', not '{target}'"
    for part in image.images:
        if str(part.platform) not in given["platforms"]:
            yield f"it does not name {part.platform}"
        created = json.loads(part.config.data).get("created", "")
        if definition["internalParameters"]["created"] != created:
            yield f"it says that the image was created at another time than {created}"
        revision = facts_of(part).get(_REVISION, "")
        if (_source_of(statement) or "") != revision:
            yield f"it names the commit '{_source_of(statement)}', and the image '{revision}'"


def _source_of(statement: Mapping[str, Any]) -> str | None:
    """Return the commit that a statement names, with `-dirty` where it says so."""
    for dependency in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if commit := dependency.get("digest", {}).get("gitCommit"):
            changed = (dependency.get("annotations") or {}).get("uncommitted changes")
            return f"{commit}{DIRTY if changed else ''}"
    return None


def check_locks(
    statements: Sequence[tuple[str, Mapping[str, Any]]],
    found: Sequence[Inventory],
    image: NamedImage,
    settings: Settings,
    work: Path,
    locked: dict[Platform, Inventory],
) -> Iterator[Check]:
    """Yield whether the image is what the lock says: the one that its provenance names, or,
    without any, the one that is here.  Fills `locked`."""
    for number, (title, statement) in enumerate(statements):
        recorded = _recorded_root(statement, settings, work / str(number))
        if isinstance(recorded, str):
            yield Check("lock", Outcome.REFUSED, f"{title}: {recorded}")
            continue
        root, where = recorded
        target = statement["predicate"]["buildDefinition"]["externalParameters"]["target"]
        yield _locked(found, root, target, where, statement, locked)
    if not statements:
        target = target_of(image.tag, settings)
        if target is None:
            detail = f"'{image.tag}' is no target of {settings.path}"
            yield Check("lock", Outcome.NOT_VERIFIED, detail)
            return
        yield _locked(found, settings.root, target, str(LOCK), None, locked)


def _recorded_root(
    statement: Mapping[str, Any], settings: Settings, work: Path
) -> tuple[Path, str] | str:
    """Return a folder with the description and the lock that a statement names, and where they
    are from; what is wrong where neither this folder nor the commit has them."""
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    named = {str(d.get("name")): d.get("digest", {}).get("sha256", "") for d in dependencies}
    wanted = {name: named.get(name, "") for name in (str(DESCRIPTION), str(LOCK))}
    if not all(wanted.values()):
        return f"it names no {LOCK}"
    here = {
        name: file_sha256(settings.root / name)
        for name in wanted
        if (settings.root / name).is_file()
    }
    if here == wanted:
        return settings.root, str(LOCK)
    commit = (_source_of(statement) or "").removesuffix(DIRTY)
    if commit:
        # The project's name is in pyproject.toml: no lock holds its wheel.
        for name in (*wanted, "pyproject.toml"):
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(git(settings.root, "show", f"{commit}:{name}").encode())
        then = {name: file_sha256(work / name) for name in wanted}
        if then == wanted:
            return work, f"{LOCK} of commit {commit[:12]}"
    differs = next(name for name in wanted if here.get(name) != wanted[name])
    return (
        f"it names another {differs} ({wanted[differs][:12]}) than the one here "
        f"({here.get(differs, 'none')[:12]})"
        + (f", and commit {commit[:12]} does not have it, either" if commit else "")
    )


def _locked(
    found: Sequence[Inventory],
    root: Path,
    target: str,
    where: str,
    statement: Mapping[str, Any] | None,
    locked: dict[Platform, Inventory],
) -> Check:
    try:
        settings = read_settings(root)
        lock = read_lock(root / LOCK, LOCK)
        for inventory in found:
            locked[inventory.platform] = locked_inventory(inventory, settings, lock, target)
    except PipelineError as error:
        return Check("lock", Outcome.REFUSED, error.message)
    count = len({component.identity for part in found for component in part.components})
    if statement is not None and (wrong := _dependency_problem(statement, settings, lock, target)):
        return Check("lock", Outcome.REFUSED, wrong)
    return Check("lock", Outcome.VERIFIED, f"{count} packages are those of {where}")


def _dependency_problem(
    statement: Mapping[str, Any], settings: Settings, lock: Lock, target: str
) -> str:
    """Return what a statement says of packages that its lock does not, or nothing."""
    definition = statement["predicate"]["buildDefinition"]
    given = definition["externalParameters"]
    said = {
        dependency["digest"]["sha256"]
        for dependency in definition["resolvedDependencies"]
        if str(dependency.get("uri", "")).startswith("pkg:")
    }
    expected = set()
    for spelling in given["platforms"]:
        for part in settings.chain(target):
            contents = lock.contents(given["suite"], Platform.parse(spelling), part.name)
            expected |= {package.sha256 for package in contents.packages}
            expected |= {wheel.sha256 for wheel in contents.wheels}
    if said != expected:
        other = min(said ^ expected)
        has, lacks = ("provenance", "lock") if other in said else ("lock", "provenance")
        return f"the {has} names a package ({other[:12]}) that the {lacks} does not"
    return ""
