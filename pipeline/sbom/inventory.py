"""`Inventory`: the packages of one platform's image, each with its origin and its layer.

The list comes from the image: what its package databases name, with licences from the
files beside them.  Digests and pool paths come from the lock, which has to name the same
packages in the same versions; where it does not, there is no inventory.
"""

from __future__ import annotations

import enum
import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import Any

from pipeline.cache import Cache, key_of
from pipeline.contents import (
    LayerReader,
    StoredImage,
    debian_paragraphs,
    python_metadata,
    tells_packages,
)
from pipeline.errors import ArchiveMalformed, ImageInvalid, PackagesDiffer
from pipeline.lock import Lock
from pipeline.oci.layout import blob_path
from pipeline.oci.tree import NodeKind, Tree, stack
from pipeline.plan import builder_digest
from pipeline.platforms import Platform
from pipeline.sbom import licences
from pipeline.settings import Settings, Suite
from pipeline.sources.debian.control import parse_relations
from pipeline.sources.requirements import required

_COPYRIGHT_LIMIT_BYTES = 1 << 20
_RELEASE_FILES = ("usr/lib/os-release", "etc/os-release")
_LINK_LIMIT = 8


class Ecosystem(enum.Enum):
    """Who names a package: the type of its package URL."""

    DEBIAN = "deb"
    PYTHON = "pypi"


@dataclass(frozen=True, slots=True)
class Component:
    """One package of an image."""

    ecosystem: Ecosystem
    name: str
    version: str
    architecture: str = ""
    """As Debian spells it (`arm64`, `all`); empty for Python's."""
    source: tuple[str, str] = ("", "")
    """Name and version of the Debian source package."""
    supplier: str = ""
    homepage: str = ""
    licences: tuple[str, ...] = ()
    """SPDX expressions that the package declares."""
    layer: str = ""
    """The digest of the layer that brings it."""
    requires: tuple[str, ...] = ()
    """Names of packages of the same ecosystem in the same image."""
    sha256: str = ""
    """Of the `.deb` or wheel; empty for what the lock does not hold."""
    file: str = ""
    """The pool path of the `.deb`, or the wheel's file name."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Ecosystem, name and version: what two lists have to agree on."""
        return (self.ecosystem.value, self.name, self.version)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one platform's image consists of."""

    name: str
    """The repository's name, such as `accelerapp`."""
    target: str
    platform: Platform
    digest: str
    """Of its manifest."""
    created: str
    """As in its configuration: RFC 3339."""
    labels: Mapping[str, str]
    distribution: Mapping[str, str]
    """The fields of its os-release, such as `ID` and `VERSION_ID`."""
    components: tuple[Component, ...]
    """By ecosystem and name."""
    builder: str = field(default_factory=builder_digest)
    """The SHA-256 of the code that assembled it and lists it."""

    def purl(self, component: Component) -> str:
        """Return the package URL of a component."""
        from packageurl import PackageURL

        if component.ecosystem is Ecosystem.PYTHON:
            return str(PackageURL("pypi", None, component.name, component.version).to_string())
        qualifiers = {"arch": component.architecture}
        if self.distribution.get("VERSION_ID"):
            vendor = self.distribution.get("ID", "debian")
            qualifiers["distro"] = f"{vendor}-{self.distribution['VERSION_ID']}"
        name, version = component.source
        if (name, version) != (component.name, component.version):
            same = version == component.version
            qualifiers["upstream"] = name if same else f"{name}@{version}"
        vendor = self.distribution.get("ID", "debian")
        url = PackageURL("deb", vendor, component.name, component.version, qualifiers)
        return str(url.to_string())

    @property
    def identities(self) -> frozenset[tuple[str, str, str]]:
        """Ecosystem, name and version of each component."""
        return frozenset(component.identity for component in self.components)


def keep(path: str) -> int:
    """Return how much of a file an inventory needs; see `pipeline.oci.tree.Keep`."""
    if path.startswith("usr/share/doc/") and path.endswith("/copyright"):
        return _COPYRIGHT_LIMIT_BYTES
    return 1 << 16 if path in _RELEASE_FILES else tells_packages(path)


def read_inventory(
    layout: Path, image: StoredImage, name: str, target: str, cache: Cache, read: LayerReader
) -> Inventory:
    """Return what an image in a layout holds, as far as the image itself knows.

    What was read once is kept in the cache, by the manifest's digest.  Raises `ImageInvalid`.
    """
    key = key_of([image.digest, builder_digest()])
    record = cache.record("inventories", key)
    if record is None:
        tree, layers = _tree(image, read)
        found = [*_debian(tree, layers), *_python(tree, layers, image.platform)]
        record = {
            "distribution": _distribution(tree),
            "components": [
                {**asdict(component), "ecosystem": component.ecosystem.value}
                for component in sorted(found, key=lambda c: c.identity)
            ],
        }
        cache.write_record("inventories", key, record)
    config = _configuration(layout, image)
    return Inventory(
        name=name,
        target=target,
        platform=image.platform,
        digest=image.digest,
        created=str(config.get("created", "")),
        labels=image.runtime.get("Labels") or {},
        distribution=record["distribution"],
        components=tuple(_component(part) for part in record["components"]),
    )


def _component(part: Mapping[str, Any]) -> Component:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
    values["ecosystem"] = Ecosystem(part["ecosystem"])
    return Component(**values)


def _configuration(layout: Path, image: StoredImage) -> Mapping[str, Any]:
    try:
        manifest = json.loads(blob_path(layout, image.digest).read_bytes())
        config: Mapping[str, Any] = json.loads(
            blob_path(layout, manifest["config"]["digest"]).read_bytes()
        )
        return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageInvalid(
            f"{layout} cannot be used: {' '.join(str(error).split())}", hint="build it again"
        ) from None


def _tree(image: StoredImage, read: LayerReader) -> tuple[Tree, Mapping[str, str]]:
    """Return what a container sees, and for each kept file the digest of its layer."""
    read_layers = [(stored.layer.digest, read(stored)) for stored in image.layers]
    layers: dict[str, str] = {}
    for digest, layer in read_layers:
        layers.update(dict.fromkeys(layer.own.contents, digest))
    return stack(layer for _, layer in read_layers), layers


def _distribution(tree: Tree) -> dict[str, str]:
    for path in _RELEASE_FILES:
        if path in tree.contents:
            lines = tree.contents[path].decode("utf-8", "replace").splitlines()
            pairs = (line.partition("=") for line in lines if "=" in line)
            return {key: value.strip().strip("\"'") for key, _, value in pairs}
    return {}


def _debian(tree: Tree, layers: Mapping[str, str]) -> Iterator[Component]:
    found = list(debian_paragraphs(tree))
    providers: dict[str, str] = {}
    for _, fields in found:
        for name in _provided(fields):
            providers.setdefault(name, fields["package"])
    installed = {fields["package"] for _, fields in found}
    for path, fields in found:
        name, version = fields["package"], fields.get("version", "")
        source, _, rest = fields.get("source", name).partition(" ")
        wanted = {
            providers.get(needed, needed) if needed not in installed else needed
            for needed in _needed(fields, installed | providers.keys())
        }
        yield Component(
            Ecosystem.DEBIAN,
            name,
            version,
            architecture=fields.get("architecture", "all"),
            source=(source, rest.strip("() ") or version),
            supplier=fields.get("maintainer", ""),
            homepage=fields.get("homepage", ""),
            licences=licences.of_debian_copyright(_copyright(tree, name)),
            layer=layers.get(path, ""),
            requires=tuple(sorted(wanted - {name})),
        )


def _provided(fields: Mapping[str, str]) -> Iterator[str]:
    for alternatives in _relations(fields, "provides"):
        yield from (relation.name for relation in alternatives)


def _needed(fields: Mapping[str, str], present: Iterable[str]) -> Iterator[str]:
    """Yield, of each set of alternatives, the first that the image has."""
    known = frozenset(present)
    for key in ("pre-depends", "depends"):
        for alternatives in _relations(fields, key):
            for relation in alternatives:
                if relation.name in known:
                    yield relation.name
                    break


def _relations(fields: Mapping[str, str], key: str) -> Any:
    try:
        return parse_relations(fields.get(key, "").replace("\n", " "))
    except ArchiveMalformed as error:
        raise ImageInvalid(f"package '{fields['package']}': {error.message}") from None


def _copyright(tree: Tree, package: str) -> str:
    """Return the text of a package's copyright file, where its folder is a link, too."""
    path = f"usr/share/doc/{package}"
    for _ in range(_LINK_LIMIT):
        node = tree.nodes.get(path)
        if node is None or node.kind is not NodeKind.LINK:
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), node.target)).lstrip("/")
    path = f"{path}/copyright"
    node = tree.nodes.get(path)
    if node is not None and node.kind is NodeKind.LINK:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), node.target)).lstrip("/")
    return tree.contents.get(path, b"").decode("utf-8", "replace")


def _python(tree: Tree, layers: Mapping[str, str], platform: Platform) -> Iterator[Component]:
    from packaging.requirements import InvalidRequirement
    from packaging.utils import canonicalize_name

    found = list(python_metadata(tree))
    installed = {canonicalize_name(metadata["Name"]) for _, metadata in found}
    for path, metadata in found:
        name = canonicalize_name(metadata["Name"])
        version = posixpath.basename(posixpath.dirname(posixpath.dirname(posixpath.dirname(path))))
        suite = Suite("", version.removeprefix("python"), (0, 0))
        try:
            needed = required(metadata.get_all("Requires-Dist", []), suite, platform)
        except InvalidRequirement as error:
            raise ImageInvalid(f"/{path} cannot be read: {error}") from None
        wanted = {canonicalize_name(requirement.name) for requirement in needed} & installed
        yield Component(
            Ecosystem.PYTHON,
            name,
            str(metadata.get("Version", "")),
            supplier=str(metadata.get("Author") or metadata.get("Author-email") or ""),
            homepage=_homepage(metadata),
            licences=licences.of_wheel(metadata),
            layer=layers.get(path, ""),
            requires=tuple(sorted(wanted - {name})),
        )


def _homepage(metadata: Message) -> str:
    """Return a distribution's page: its own field, or the `Project-URL` that is called so."""
    for text in metadata.get_all("Project-URL", []):
        label, _, address = str(text).partition(",")
        if re.sub(r"[\W_]", "", label).lower() == "homepage":
            return address.strip()
    return str(metadata.get("Home-page") or "")


# The lock.


def from_lock(
    found: Inventory, settings: Settings, lock: Lock, target: str, project: str | None
) -> Inventory:
    """Return the inventory with the digest and the file of each package, out of the lock.

    `target` is the described one, `project` the name of the project's own wheel, which no
    lock holds.  Raises `PackagesDiffer` when image and lock do not hold the same packages, as
    far as the lock goes: what a base from a registry brings is not in it.
    """
    suite = settings.suite(_suite_of(found, settings))
    locked: dict[tuple[str, str, str], tuple[str, str]] = {}
    for image in settings.chain(target):
        contents = lock.contents(suite.name, found.platform, image.name)
        for package in contents.packages:
            identity = (Ecosystem.DEBIAN.value, package.name, package.version)
            locked[identity] = (package.sha256, package.path)
        for wheel in contents.wheels:
            identity = (Ecosystem.PYTHON.value, _canonical(wheel.name), wheel.version)
            locked[identity] = (wheel.sha256, wheel.filename)
    based = settings.registry_base(target) is not None
    own = _canonical(project) if project else ""
    unlocked = {
        c.identity
        for c in found.components
        if c.identity not in locked
        and not (c.ecosystem is Ecosystem.PYTHON and c.name == own)
        and not based
    }
    if (missing := locked.keys() - found.identities) or unlocked:
        raise PackagesDiffer(
            f"'{found.target}' for {found.platform} is not what the lock names: "
            + difference(missing, unlocked, "the lock", "the image"),
            hint="build it again: invoke build",
        )
    return replace(
        found,
        components=tuple(
            replace(component, sha256=sha256, file=file)
            for component in found.components
            for sha256, file in [locked.get(component.identity, ("", ""))]
        ),
    )


def difference(
    first: Iterable[tuple[str, str, str]],
    second: Iterable[tuple[str, str, str]],
    first_name: str,
    second_name: str,
    limit: int = 5,
) -> str:
    """Return in words what only one of two lists has; at most `limit` of each."""
    parts = []
    for only, name in ((sorted(first), first_name), (sorted(second), second_name)):
        if only:
            named = ", ".join(f"{package} {version}" for _, package, version in only[:limit])
            more = f" and {len(only) - limit} more" if len(only) > limit else ""
            parts.append(f"only {name} has {named}{more}")
    return "; ".join(parts)


def _suite_of(found: Inventory, settings: Settings) -> str | None:
    codename = found.distribution.get("VERSION_CODENAME")
    return codename if codename in settings.suites else None


def _canonical(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def counts(components: Sequence[Component]) -> dict[str, int]:
    """Return the number of components by ecosystem."""
    return {
        ecosystem.value: sum(component.ecosystem is ecosystem for component in components)
        for ecosystem in Ecosystem
    }
