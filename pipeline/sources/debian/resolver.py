"""The closure of a set of Debian packages: what has to be installed for them to run.

Pre-Depends and Depends are followed, Recommends never (Debian Policy 7.2).  One
version of each package takes part, the highest or the pinned one, and choices
are never taken back: the result is a function of the roots and the index alone.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import (
    OptionInvalid,
    PackageNotFound,
    PackageNotOnPlatform,
    PackagesConflict,
    nearest,
)
from pipeline.platforms import Platform
from pipeline.sources.debian.control import Package, PackageIndex, Relation
from pipeline.sources.debian.version import DebianVersion

_DEPENDENCIES = ("pre_depends", "depends")


def resolve(
    roots: Sequence[str],
    index: PackageIndex,
    *,
    omit: frozenset[str] = frozenset(),
) -> tuple[Package, ...]:
    """Return `roots` and all that they depend on, sorted by name.

    A root is `name` or `name=version`.  `omit` names packages that stay out
    although something depends on them; a dependency that only they could fulfil
    counts as fulfilled.

    Raises `PackageNotFound` for an unknown root, `PackagesConflict` for a
    dependency that nothing fulfils or for packages that exclude each other, and
    `OptionInvalid` for a root that is pinned twice or omitted.
    """
    closure = _close(roots, index, omit)
    _refuse_conflicts(closure)
    return tuple(package for _, package in sorted(closure.selected.items()))


def resolve_all(
    roots: Sequence[str],
    indexes: Mapping[Platform, PackageIndex],
    *,
    omit: frozenset[str] = frozenset(),
) -> dict[Platform, tuple[Package, ...]]:
    """Return `resolve` for each platform.

    Raises `PackageNotOnPlatform` for a root that only some platforms have, and
    what `resolve` raises.
    """
    for name, version in map(_parse_root, roots):
        present = [p for p, index in indexes.items() if _versions(index, name, version)]
        absent = [p for p in indexes if p not in present]
        if present and absent:
            raise PackageNotOnPlatform(
                f"package '{_spell(name, version)}' exists on {_list(present)} "
                f"but not on {_list(absent)}",
                hint=f"leave it out, or build for {_list(present)} only",
            )
    return {platform: resolve(roots, index, omit=omit) for platform, index in indexes.items()}


def unused_omissions(
    roots: Sequence[str],
    indexes: Mapping[Platform, PackageIndex],
    *,
    omit: frozenset[str],
) -> tuple[str, ...]:
    """Return the names in `omit` that nothing would pull in on any platform, sorted."""
    used: set[str] = set()
    for index in indexes.values():
        used |= _close(roots, index, omit).omitted
    return tuple(sorted(omit - used))


@dataclass(slots=True)
class _Closure:
    index: PackageIndex
    omit: frozenset[str]
    pins: dict[str, Package]
    selected: dict[str, Package] = field(default_factory=dict)
    needed_by: dict[str, str] = field(default_factory=dict)
    """For each selected package, the one that pulled it in; roots have none."""
    omitted: set[str] = field(default_factory=set)

    def select(self, package: Package, needed_by: str = "") -> None:
        self.selected[package.name] = package
        if needed_by:
            self.needed_by[package.name] = needed_by

    def fulfilled(self, alternatives: Sequence[Relation]) -> bool:
        return any(
            package.answers(relation)
            for relation in alternatives
            for package in self.selected.values()
        )

    def candidate(self, name: str) -> Package | None:
        return self.pins.get(name) or self.index.candidate(name)

    def choose(self, relation: Relation) -> Package | None:
        """Return the package to install for `relation`: a real one, else the best provider."""
        real = self.candidate(relation.name)
        if real is not None and real.answers(relation):
            return real
        for provider in self.index.providers(relation.name):
            package = self.pins.get(provider.name, provider)
            if package.answers(relation):
                return package
        return None

    def chain(self, name: str) -> str:
        """Return how `name` came to be selected: `root → a → name`."""
        names = [name]
        while names[-1] in self.needed_by:
            names.append(self.needed_by[names[-1]])
        return " → ".join(reversed(names))


def _close(roots: Sequence[str], index: PackageIndex, omit: frozenset[str]) -> _Closure:
    closure = _Closure(index, omit, pins={})
    for name, version in map(_parse_root, roots):
        if name in omit:
            raise OptionInvalid(
                f"package '{name}' is both asked for and omitted",
                hint="remove it from one of the two lists",
            )
        package = _root(index, name, version)
        if closure.selected.get(name, package) != package:
            raise OptionInvalid(f"package '{name}' is asked for in two versions")
        closure.select(package)
        if version:
            closure.pins[name] = package

    # Dependencies that leave no choice come first: what they bring in may be
    # one of the alternatives that the others offer.
    unread = deque(closure.selected.values())
    undecided: deque[tuple[Package, tuple[Relation, ...]]] = deque()
    while unread or undecided:
        if unread:
            dependent = unread.popleft()
            for alternatives in dependent.relations(*_DEPENDENCIES):
                if len(alternatives) > 1 or alternatives[0].name not in index:
                    undecided.append((dependent, alternatives))
                else:
                    unread.extend(_fulfil(closure, dependent, alternatives))
        else:
            unread.extend(_fulfil(closure, *undecided.popleft()))
    return closure


def _fulfil(
    closure: _Closure, dependent: Package, alternatives: tuple[Relation, ...]
) -> list[Package]:
    """Select what fulfils a dependency; return the package if it is new to the closure."""
    if closure.fulfilled(alternatives):
        return []
    omitted: set[str] = set()
    for relation in alternatives:
        package = closure.choose(relation)
        name = package.name if package else relation.name
        if name in closure.omit:
            omitted.add(name)
        elif package is not None and name not in closure.selected:
            closure.select(package, needed_by=dependent.name)
            return [package]
    if not omitted:
        raise _unfulfilled(closure, dependent, alternatives)
    closure.omitted |= omitted
    return []


def _unfulfilled(
    closure: _Closure, dependent: Package, alternatives: tuple[Relation, ...]
) -> PackagesConflict:
    having = []
    for relation in alternatives:
        package = closure.candidate(relation.name)
        providers = ", ".join(p.name for p in closure.index.providers(relation.name))
        if package is not None:
            pinned = " (pinned)" if relation.name in closure.pins else ""
            having.append(f"{relation.name} {package.version}{pinned}")
        elif providers:
            having.append(f"{relation.name} only as provided by {providers}")
        else:
            having.append(f"no {relation.name}")
    needed = " | ".join(map(str, alternatives))
    return PackagesConflict(
        f"{closure.chain(dependent.name)} needs {needed}, and the archive has "
        f"{', '.join(having)} for {closure.index.architecture}",
        hint=f"leave out or pin '{closure.chain(dependent.name).partition(' ')[0]}', "
        "or omit the dependency on purpose",
    )


def _refuse_conflicts(closure: _Closure) -> None:
    packages = sorted(closure.selected.values(), key=lambda package: package.name)
    for package in packages:
        for relation in itertools.chain.from_iterable(package.relations("conflicts", "breaks")):
            for other in packages:
                # Policy 7.4: a package may conflict with what it provides itself.
                if other is not package and other.answers(relation):
                    raise PackagesConflict(
                        f"{package.name} {package.version} excludes {relation}, "
                        f"and so {other.name} {other.version}",
                        hint=f"both are needed: {closure.chain(package.name)}, "
                        f"and {closure.chain(other.name)}; leave one out",
                    )


def _root(index: PackageIndex, name: str, version: str) -> Package:
    found = _versions(index, name, version)
    if found:
        return found[0]
    known = ", ".join(package.version for package in index.versions(name))
    if known:
        raise PackageNotFound(
            f"package '{name}' has no version {version} for {index.architecture}",
            hint=f"the archive has {known}",
        )
    providers = ", ".join(package.name for package in index.providers(name))
    if providers:
        raise PackageNotFound(
            f"package '{name}' is virtual", hint=f"name one that provides it: {providers}"
        )
    # Comparing with all 60 000 names would take seconds.
    similar = (known for known in index.names if known[:1] == name[:1])
    raise PackageNotFound(
        f"no archive has a package '{name}' for {index.architecture}", hint=nearest(name, similar)
    )


def _versions(index: PackageIndex, name: str, version: str) -> list[Package]:
    if not version:
        return list(index.versions(name)[:1])
    try:
        pinned = DebianVersion(version)
    except ValueError as error:
        raise OptionInvalid(
            f"package '{name}={version}' cannot be asked for: {error}", hint="write name=version"
        ) from None
    return [p for p in index.versions(name) if DebianVersion(p.version) == pinned]


def _parse_root(root: str) -> tuple[str, str]:
    name, equals, version = (part.strip() for part in root.partition("="))
    if not name or (equals and not version):
        raise OptionInvalid(f"'{root}' does not name a package", hint="write name or name=version")
    return name, version


def _spell(name: str, version: str) -> str:
    return f"{name}={version}" if version else name


def _list(platforms: Sequence[Platform]) -> str:
    return ", ".join(platform.debian for platform in platforms)
