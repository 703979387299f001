"""Debian control data: paragraphs, relations, packages and an index of packages.

Follows deb822(5) and Debian Policy 5.1 and 7.1.  A `Packages` file has 60 000
paragraphs and an image needs thirty of them: the index finds every paragraph's
name and what it provides, and reads the rest of a paragraph when it is asked for.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.errors import ArchiveMalformed
from pipeline.sources.debian.version import DebianVersion

_PRIORITIES = ("required", "important", "standard", "optional", "extra")

_OPERATORS: dict[str, Callable[[DebianVersion, DebianVersion], bool]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
}
# Policy 7.1: the obsolete forms mean "or equal", whatever they look like.
_OBSOLETE_OPERATORS = {"<": "<=", ">": ">="}

_RELATION = re.compile(
    r"""(?P<name>[a-zA-Z0-9][a-zA-Z0-9+.-]*)
        (?: :(?P<qualifier>[a-z0-9-]+) )?
        \s* (?: \( \s* (?P<operator><<|<=|=|>=|>>|<|>) \s* (?P<version>[^\s()]+) \s* \) )?
        \s* (?: \[ (?P<architectures>[^\]]*) \] )?""",
    re.VERBOSE,
)


def parse_paragraph(text: str) -> dict[str, str]:
    """Return the fields of one deb822 paragraph, keyed by lower-case name.

    Continuation lines are joined with newlines, without their leading space;
    comment lines (`#`) are dropped.  Raises `ArchiveMalformed` for a line that
    is neither.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise ArchiveMalformed(f"'{line[:60]}' is not a line of a Debian control paragraph")
        fields[name] = value.strip()
    return fields


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a deb822 file, each as `parse_paragraph` returns it."""
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        fields = parse_paragraph(block)
        if fields:
            yield fields


@dataclass(frozen=True, slots=True)
class Relation:
    """One alternative of a relation, such as `libc6:any (>= 2.36) [amd64]` (Policy 7.1).

    `operator` and `version` are both empty or both set.
    """

    name: str
    operator: str = ""
    version: str = ""
    qualifier: str = ""
    """Architecture qualifier: `any`, `native`, an architecture, or empty."""
    architectures: tuple[str, ...] = ()
    """Architecture restriction, as written: `("amd64", "arm64")` or `("!i386",)`."""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name

    def admits(self, version: str) -> bool:
        """Whether `version` fulfils the relation's constraint; without one, any does."""
        if not self.operator:
            return True
        return _OPERATORS[self.operator](DebianVersion(version), DebianVersion(self.version))

    def applies_to(self, architecture: str) -> bool:
        """Whether the relation counts on `architecture`, a Debian name such as `arm64`."""
        if not self.architectures:
            return True
        excluded = [name[1:] for name in self.architectures if name.startswith("!")]
        if excluded:
            return not any(_matches(wildcard, architecture) for wildcard in excluded)
        return any(_matches(wildcard, architecture) for wildcard in self.architectures)


def _matches(wildcard: str, architecture: str) -> bool:
    """Compare with an architecture or a wildcard such as `linux-any` (Policy 11.1.1)."""
    system, _, cpu = wildcard.rpartition("-")
    return cpu in (architecture, "any") and system in ("", "linux", "any")


@functools.lru_cache(maxsize=4096)
def parse_relations(field: str) -> tuple[tuple[Relation, ...], ...]:
    """Return the alternatives of each comma-separated part of a relationship field.

    `a, b (>= 1) | c` gives `((a,), (b >= 1, c))`.  Raises `ArchiveMalformed`
    for text that Policy 7.1 does not allow in a binary package.
    """
    return tuple(
        tuple(_parse_relation(alternative) for alternative in part.split("|"))
        for part in field.split(",")
        if part.strip()
    )


def _parse_relation(text: str) -> Relation:
    found = _RELATION.fullmatch(text.strip())
    if found is None:
        raise ArchiveMalformed(f"'{text.strip()}' is not a relation between Debian packages")
    written = found["operator"] or ""
    version = found["version"] or ""
    if version:
        _check_version(version)
    return Relation(
        name=found["name"],
        operator=_OBSOLETE_OPERATORS.get(written, written),
        version=version,
        qualifier=found["qualifier"] or "",
        architectures=tuple((found["architectures"] or "").split()),
    )


def _check_version(text: str) -> None:
    try:
        DebianVersion(text)
    except ValueError as error:
        raise ArchiveMalformed(str(error)) from None


@dataclass(frozen=True, slots=True)
class Package:
    """One `.deb` of one archive, as its `Packages` paragraph describes it.

    Relationship fields are raw text, read with `relations()`.
    """

    name: str
    version: str
    architecture: str
    archive: str
    """`debian` or `debian-security`: whose mirrors have `path`."""
    path: str
    """Relative to a mirror: `pool/main/t/tzdata/tzdata_2024a-0+deb12u1_all.deb`."""
    sha256: str
    size_bytes: int
    source: str = ""
    priority: str = "optional"
    essential: bool = False
    pre_depends: str = ""
    depends: str = ""
    provides: str = ""
    conflicts: str = ""
    breaks: str = ""

    @property
    def rank(self) -> int:
        """Place of the priority, `required` (0) first (Policy 2.5)."""
        return _PRIORITIES.index(self.priority) if self.priority in _PRIORITIES else 5

    def relations(self, *fields: str) -> Iterator[tuple[Relation, ...]]:
        """Yield each set of alternatives of `fields` (`"pre_depends"`, …) that applies here."""
        for field in fields:
            for alternatives in parse_relations(getattr(self, field)):
                here = tuple(r for r in alternatives if r.applies_to(self.architecture))
                if here:
                    yield here

    def answers(self, relation: Relation) -> bool:
        """Whether this package fulfils `relation`, by name or by what it provides.

        A versioned relation needs a versioned provision (Policy 7.5).
        """
        if relation.qualifier not in ("", "any", "native", self.architecture):
            return False
        if relation.name == self.name and relation.admits(self.version):
            return True
        return any(
            relation.name == provided.name
            and (not relation.operator or (provided.version and relation.admits(provided.version)))
            for alternatives in self.relations("provides")
            for provided in alternatives
        )


def parse_package(paragraph: str, archive: str) -> Package:
    """Return the package that a paragraph of `archive`'s `Packages` file describes.

    Raises `ArchiveMalformed` for a paragraph without the fields that name,
    locate and identify a file, or with a path that leaves the pool.
    """
    fields = parse_paragraph(paragraph)
    try:
        name, version, path = fields["package"], fields["version"], fields["filename"]
        architecture, sha256, size = fields["architecture"], fields["sha256"], fields["size"]
    except KeyError as missing:
        subject = fields.get("package", paragraph[:40])
        raise ArchiveMalformed(f"package '{subject}' of {archive} has no field {missing}") from None
    if not path.startswith("pool/") or ".." in path.split("/"):
        raise ArchiveMalformed(f"package '{name}' of {archive} is outside the pool: '{path}'")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not re.fullmatch(r"[0-9]+", size, re.ASCII):
        raise ArchiveMalformed(f"package '{name}' of {archive} has no usable SHA256 and Size")
    _check_version(version)
    return Package(
        name=name,
        version=version,
        architecture=architecture,
        archive=archive,
        path=path,
        sha256=sha256,
        size_bytes=int(size),
        # "Source: glibc (2.36-9)": the version is there where it differs from the binary's.
        source=fields.get("source", name).partition(" ")[0],
        priority=fields.get("priority", "optional"),
        essential=fields.get("essential") == "yes",
        pre_depends=fields.get("pre-depends", ""),
        depends=fields.get("depends", ""),
        provides=fields.get("provides", ""),
        conflicts=fields.get("conflicts", ""),
        breaks=fields.get("breaks", ""),
    )


class PackageIndex:
    """Every package of a suite for one architecture, over all of its archives."""

    def __init__(self, architecture: str, contents: Iterable[tuple[str, bytes]]) -> None:
        """Index `contents`: pairs of an archive's name and the bytes of its `Packages` file.

        Of one version that several archives carry, the first archive's is kept.
        """
        self.architecture = architecture
        self._paragraphs: dict[str, list[tuple[str, bytes]]] = {}
        self._providers: dict[str, list[str]] = {}
        self._versions: dict[str, tuple[Package, ...]] = {}
        for archive, content in contents:
            for paragraph in content.split(b"\n\n"):
                name = _field(paragraph, b"Package")
                if not name:
                    continue
                self._paragraphs.setdefault(name, []).append((archive, paragraph))
                if b"\nProvides:" in paragraph:
                    for part in _field(paragraph, b"Provides").split(","):
                        virtual = re.split(r"[\s:(]", part.strip(), maxsplit=1)[0]
                        self._providers.setdefault(virtual, []).append(name)

    def __contains__(self, name: str) -> bool:
        return bool(self.versions(name))

    def __len__(self) -> int:
        return len(self._paragraphs)

    @property
    def names(self) -> Iterable[str]:
        """The names of all real packages."""
        return self._paragraphs.keys()

    def versions(self, name: str) -> tuple[Package, ...]:
        """Return all versions of a real package, the highest first; empty if there is none."""
        known = self._versions.get(name)
        if known is None:
            found = (
                parse_package(paragraph.decode("utf-8", "replace"), archive)
                for archive, paragraph in self._paragraphs.get(name, ())
            )
            fitting = [p for p in found if p.architecture in (self.architecture, "all")]
            # A stable sort in descending order keeps the order of equal versions.
            fitting.sort(key=lambda package: DebianVersion(package.version), reverse=True)
            known = self._versions[name] = tuple(fitting)
        return known

    def candidate(self, name: str) -> Package | None:
        """Return the highest version of a real package, or None."""
        return next(iter(self.versions(name)), None)

    def providers(self, name: str) -> tuple[Package, ...]:
        """Return candidates whose Provides names `name`: most important first, then by name."""
        candidates = (self.candidate(provider) for provider in set(self._providers.get(name, ())))
        # The highest version of a package may have dropped what an older one provided.
        fitting = [p for p in candidates if p is not None and p.answers(Relation(name))]
        return tuple(sorted(fitting, key=lambda package: (package.rank, package.name)))


def _field(paragraph: bytes, name: bytes) -> str:
    """Return one field of a paragraph without parsing the others; "" if it is absent."""
    label = name + b":"
    start = 0 if paragraph.startswith(label) else paragraph.find(b"\n" + label) + 1
    if start == 0 and not paragraph.startswith(label):
        return ""
    end = paragraph.find(b"\n", start)
    while end != -1 and paragraph[end + 1 : end + 2] in (b" ", b"\t"):
        end = paragraph.find(b"\n", end + 1)
    value = paragraph[start + len(label) : None if end == -1 else end]
    return value.decode("utf-8", "replace").strip()
