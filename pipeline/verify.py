"""`invoke verify`: whether an image is what is said of it, and what of that could be checked.

Digests first (OCI image specification, descriptor.md): what hangs on a wrong one is not looked
at.  Then what is said of the image: its provenance (SLSA v1), the lock that this names, and its
SBOMs, each compared with what is in the image, and not with what somebody wrote beside it.
"""

from __future__ import annotations

import contextlib
import enum
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import commands
from pipeline.atomic import file_sha256
from pipeline.contents import LayerReader, StoredImage, layout_images
from pipeline.errors import ImageInvalid, NotVerified, PipelineError, VerificationFailed
from pipeline.layouts import target_of
from pipeline.lock import Lock, read_lock
from pipeline.oci.layout import (
    NamedImage,
    blob_path,
    index_json,
    open_layout,
    platform_folder,
)
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.oci.registry.referrers import fetch, list_referrers
from pipeline.platforms import Platform
from pipeline.provenance import PREDICATE_TYPE, STATEMENT_TYPE, provenance_path
from pipeline.pull import pull_image
from pipeline.push import base_of, facts_of
from pipeline.registries import open_registry
from pipeline.report import Progress
from pipeline.revision import git
from pipeline.sbom.cyclonedx import cyclonedx
from pipeline.sbom.inventory import Inventory, keep, read_inventory
from pipeline.sbom.make import locked_inventory
from pipeline.sbom.spdx import spdx
from pipeline.settings import DESCRIPTION, LOCK, Settings, read_settings

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_REVISION = "org.opencontainers.image.revision"
_DIRTY = "-dirty"
_VERSION = "org.opencontainers.image.version"
_PROVENANCE = "provenance"
_KINDS = {
    "application/vnd.cyclonedx+json": "cdx.json",
    "application/spdx+json": "spdx.json",
    "application/vnd.in-toto+json": _PROVENANCE,
}
_COMMIT_TAG = re.compile(r"(?:[a-z]+-)?sha-([0-9a-f]{7,40})(?=-|$)")
_VERSION_TAG = re.compile(r"v?(\d+\.\d+\.\d+)(?=-|$)")
WRITERS = {"cdx.json": cyclonedx, "spdx.json": spdx}


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """The argument and flags of `invoke verify`."""

    where: str
    digest: str | None = None
    plain_http: bool = False


class Outcome(enum.Enum):
    """What became of a check."""

    VERIFIED = "verified"
    NOT_VERIFIED = "not verified"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, or could not be."""

    name: str
    """Such as `digests`, `provenance`, `SBOM linux/arm64`."""
    outcome: Outcome
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the check for programs."""
        return {"name": self.name, "outcome": self.outcome.value, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is said of an image, each with a name for messages."""

    provenance: tuple[tuple[str, bytes], ...] = ()
    sboms: Mapping[Platform, tuple[tuple[str, str, bytes], ...]] = field(default_factory=dict)
    """Name, kind (see `WRITERS`) and bytes."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Every check of one image."""

    where: str
    digest: str
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verification for programs."""
        return {
            "image": self.where,
            "digest": self.digest,
            "checks": [check.to_json() for check in self.checks],
        }

    def raise_for(self, required: Sequence[str]) -> None:
        """Raise `VerificationFailed` for what was refused, `NotVerified` for what is missing.

        `required` are first words of checks: `provenance`, `lock`, `SBOM`, `signature`.
        """
        refused = [check for check in self.checks if check.outcome is Outcome.REFUSED]
        if refused:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise VerificationFailed(
                f"{self.where} is not what is said of it: {refused[0].name}: "
                f"{refused[0].detail}{more}",
                hint="do not use it; build or pull it again",
            )
        for word in required:
            checks = [c for c in self.checks if c.name.split()[0].lower() == word.lower()]
            missing = [c for c in checks if c.outcome is not Outcome.VERIFIED]
            if missing or not checks:
                detail = missing[0].detail if missing else "nothing says so"
                raise NotVerified(
                    f"{self.where}: {word} is required and was not verified: {detail}",
                    hint="see what --require names",
                )


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
        checks = [_digests(folder, image, stored, digest)]
    except PipelineError as error:
        return Verification(str(folder), "", (Check("digests", Outcome.REFUSED, error.message),))
    top = image.top.descriptor.digest
    if checks[0].outcome is Outcome.REFUSED:
        return Verification(str(folder), top, tuple(checks))
    if called is not None:
        image = replace(image, repository=called[0], tag=called[1])
    with tempfile.TemporaryDirectory(prefix="verify-") as name:
        statements = []
        for title, data in evidence.provenance:
            check, statement = _provenance(title, data, image, settings)
            checks.append(check)
            if statement is not None:
                statements.append((title, statement))
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
        checks += _locks(statements, found, image, settings, Path(name), locked)
        for inventory in found:
            checks += _sboms(inventory, locked.get(inventory.platform), evidence)
    return Verification(str(folder), top, tuple(checks))


def evidence_beside(folder: Path, tag: str, platforms: Iterable[Platform]) -> Evidence:
    """Return what is beside a layout, as `invoke build` and `invoke sbom` write it."""
    path = provenance_path(folder)
    provenance = ((str(path), path.read_bytes()),) if path.is_file() else ()
    sboms: dict[Platform, tuple[tuple[str, str, bytes], ...]] = {}
    for platform in platforms:
        paths = [
            (kind, folder.parent / f"{tag}-{platform_folder(platform)}.{kind}") for kind in WRITERS
        ]
        sboms[platform] = tuple((str(p), kind, p.read_bytes()) for kind, p in paths if p.is_file())
    return Evidence(provenance, sboms)


# Digests.


def _digests(
    folder: Path, image: NamedImage, stored: Sequence[StoredImage], expected: str | None
) -> Check:
    top = image.top.descriptor
    problems = list(_document_problems(folder, image, stored))
    if expected is not None and top.digest != expected:
        problems.insert(0, f"the image is {top.digest}, not {expected}")
    absent, whole = 0, set()
    for part in stored:
        for layer in part.layers:
            if layer.layer.digest in whole:
                continue
            whole.add(layer.layer.digest)
            if not layer.path.exists() and base_of(image) is not None:
                absent += 1
                continue
            problems += _layer_problems(layer.path, layer.layer.digest, layer.layer.size_bytes)
    if not problems and not absent:
        read = LayerReader()
        for part in stored:
            for layer in part.layers:
                try:
                    read(layer)  # Unpacks to what the configuration names.
                except ImageInvalid as error:
                    problems.append(error.message)
    if problems:
        return Check("digests", Outcome.REFUSED, "; ".join(problems[:3]))
    documents = len(image.documents())
    if absent:
        return Check(
            "digests",
            Outcome.NOT_VERIFIED,
            f"{documents} documents are right; {absent} layers are left in a registry",
        )
    return Check("digests", Outcome.VERIFIED, f"{documents} documents, {len(whole)} layers")


def _layer_problems(path: Path, digest: str, size_bytes: int) -> Iterator[str]:
    try:
        found = path.stat().st_size
        if found != size_bytes:
            yield f"layer {digest[:19]} has {found} bytes instead of {size_bytes}"
        elif (actual := f"sha256:{file_sha256(path)}") != digest:
            yield f"layer {digest[:19]} has the digest {actual[:19]}"
    except OSError:
        yield f"layer {digest[:19]} is not there"


def _document_problems(
    folder: Path, image: NamedImage, stored: Sequence[StoredImage]
) -> Iterator[str]:
    """Yield what descriptors say that is not so: sizes, platforms, views."""
    listed = json.loads((folder / "index.json").read_bytes())["manifests"]
    if image.index is not None:
        listed = [*listed, *json.loads(image.index.data)["manifests"]]
    for part in image.images:
        listed = [*listed, json.loads(part.manifest.data)["config"]]
    platforms = {part.manifest.descriptor.digest: part.platform for part in image.images}
    for descriptor in listed:
        size = blob_path(folder, descriptor["digest"]).stat().st_size
        if descriptor.get("size") != size:
            yield f"{descriptor['digest'][:19]} has {size} bytes, not {descriptor.get('size')}"
        named = descriptor.get("platform")
        has = platforms.get(descriptor["digest"])
        if named is not None and has is not None:
            spelled = "/".join(str(named[k]) for k in ("os", "architecture") if k in named)
            if Platform.parse(spelled) is not has:
                yield f"{descriptor['digest'][:19]} is listed for {spelled} and is for {has}"
    if {part.digest for part in stored} != set(platforms):
        yield "the index lists an image twice, or one that is none"
    for named_part in image.by_platform():
        view = folder / platform_folder(named_part.images[0].platform)
        if (view / "index.json").exists() and (
            (view / "index.json").read_bytes() != index_json([named_part])
            or (view / "blobs").resolve() != (folder / "blobs").resolve()
        ):
            yield f"the view {view.name} is of another image"


# Provenance.


def _provenance(
    title: str, data: bytes, image: NamedImage, settings: Settings
) -> tuple[Check, Mapping[str, Any] | None]:
    try:
        statement = json.loads(data)
        problems = list(_statement_problems(statement, image, settings))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        return Check("provenance", Outcome.REFUSED, f"{title} is no SLSA provenance: {why}"), None
    if problems:
        return Check("provenance", Outcome.REFUSED, f"{title}: {'; '.join(problems[:3])}"), None
    builder = statement["predicate"]["runDetails"]["builder"]["id"]
    detail = f"says that {builder} built it; nobody has signed that"
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
            return f"{commit}{_DIRTY if changed else ''}"
    return None


# The lock.


def _locks(
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
    commit = (_source_of(statement) or "").removesuffix(_DIRTY)
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


# SBOMs.


def _sboms(inventory: Inventory, locked: Inventory | None, evidence: Evidence) -> Iterator[Check]:
    title = f"SBOM {inventory.platform}"
    given = evidence.sboms.get(inventory.platform, ())
    if not given:
        yield Check(title, Outcome.NOT_VERIFIED, "there is none")
    for name, kind, data in given:
        wrong = _sbom_problem(data, kind, [one for one in (locked, inventory) if one is not None])
        if wrong:
            yield Check(title, Outcome.REFUSED, f"{name}: {wrong}")
        else:
            yield Check(title, Outcome.VERIFIED, f"{len(inventory.components)} packages")


def _sbom_problem(data: bytes, kind: str, candidates: Sequence[Inventory]) -> str:
    """Return where an SBOM differs from the one that the image gives, or nothing.

    The tool's version is left out: another version of it may have written the same.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"it cannot be read: {' '.join(str(error).split())}"
    if not isinstance(said, dict):
        return "it is no SBOM"
    problems = []
    for inventory in candidates:
        own = json.loads(WRITERS[kind](inventory))
        problem = _difference(_without_tool(said), _without_tool(own), "")
        if not problem:
            return ""
        problems.append(problem)
    return problems[0]


def _without_tool(document: Mapping[str, Any]) -> dict[str, Any]:
    slim = dict(document)
    for key in ("metadata", "creationInfo"):
        if isinstance(slim.get(key), dict):
            part = {k: v for k, v in slim[key].items() if k not in ("tools", "creators")}
            slim[key] = part
    return slim


def _difference(said: Any, own: Any, path: str) -> str:
    """Return the first place where two documents differ, in words; "" where they are equal."""
    if isinstance(said, dict) and isinstance(own, dict):
        for key in [*own, *(key for key in said if key not in own)]:
            if key not in said or key not in own:
                return f"{path or 'it'} {'lacks' if key not in said else 'adds'} '{key}'"
            if found := _difference(said[key], own[key], f"{path}.{key}".lstrip(".")):
                return found
        return ""
    if isinstance(said, list) and isinstance(own, list):
        if len(said) != len(own):
            return f"{path} has {len(said)} entries instead of {len(own)}"
        for number, (one, other) in enumerate(zip(said, own, strict=True)):
            if found := _difference(one, other, f"{path}[{number}]"):
                return found
        return ""
    if said == own and type(said) is type(own):
        return ""
    return f"{path} is {said!r:.60}, not {own!r:.60}"


# Where images are.


def verify(request: VerifyRequest, progress: Progress) -> Verification:
    """Check the image in a layout, or at a reference, which is pulled to a temporary folder.

    Raises what opening it raises; what is wrong with the image is in the result.
    """
    settings = read_settings(commands.ROOT)
    folder = Path(request.where)
    if folder.is_dir() or request.where.startswith((".", "/")):
        try:
            image = open_layout(folder)
        except ImageInvalid as error:
            return Verification(
                str(folder), "", (Check("digests", Outcome.REFUSED, error.message),)
            )
        beside = evidence_beside(folder, image.tag, [part.platform for part in image.images])
        return verify_layout(folder, beside, settings, digest=request.digest)
    reference = Reference.parse(request.where)
    with (
        tempfile.TemporaryDirectory(prefix="verify-") as name,
        open_registry(plain_http=request.plain_http) as registry,
    ):
        before = registry.get_manifest(reference).descriptor.digest
        pinned = Reference(reference.repository, digest=before)
        pull_image(pinned, Path(name) / "image", registry, progress)
        image = open_layout(Path(name) / "image")
        said = _evidence_at(registry, reference.repository, image)
        found = verify_layout(
            Path(name) / "image", said, settings, digest=request.digest, called=_called(said)
        )
        checks = (_tag(registry, reference, before, image), *found.checks)
    return Verification(str(reference), before, checks)


def _evidence_at(registry: Registry, repository: Repository, image: NamedImage) -> Evidence:
    """Return what refers to an image in a registry."""

    def said(digest: str) -> Iterator[tuple[str, str, bytes]]:
        for one in list_referrers(registry, repository, digest):
            kind = _KINDS.get(one.type)
            if kind is not None:
                yield one.digest[:19], kind, fetch(registry, repository, digest, one)

    statements: dict[str, bytes] = {}
    sboms: dict[Platform, tuple[tuple[str, str, bytes], ...]] = {}
    digests = {part.manifest.descriptor.digest: part.platform for part in image.images}
    for digest in dict.fromkeys((image.top.descriptor.digest, *digests)):
        found = list(said(digest))
        statements.update({name: data for name, kind, data in found if kind == _PROVENANCE})
        if digest in digests:
            sboms[digests[digest]] = tuple(one for one in found if one[1] != _PROVENANCE)
    return Evidence(tuple(statements.items()), sboms)


def _called(evidence: Evidence) -> tuple[str, str] | None:
    """Return what an image was called when it was built; all that is said of it has to agree."""
    documents = [data for _, data in evidence.provenance]
    documents += [data for found in evidence.sboms.values() for _, _, data in found]
    for data in documents:
        # What cannot be read is refused where it is looked at.
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError, RecursionError):
            said = json.loads(data)
            subject = said["subject"][0] if "subject" in said else said["metadata"]["component"]
            name, colon, tag = str(subject["name"]).partition(" ")[0].rpartition(":")
            if colon:
                return name, tag
    return None


def _tag(registry: Registry, reference: Reference, digest: str, image: NamedImage) -> Check:
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
