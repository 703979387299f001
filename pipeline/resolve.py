"""Making the lock: every image, suite and platform resolved to packages and wheels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.bases import (
    LockedBase,
    OpenRegistry,
    anonymous_registry,
    full_reference,
    lock_base,
)
from pipeline.cache import Cache
from pipeline.errors import SettingsInvalid
from pipeline.lock import Contents, Lock, LockedPackage, LockedSuite, description_inputs
from pipeline.platforms import Platform
from pipeline.report import Progress
from pipeline.settings import Image, Settings, Suite, fill_in
from pipeline.sources.debian.archive import LoadedSuite, find_mirrors, load_suite
from pipeline.sources.debian.control import Package, PackageIndex
from pipeline.sources.debian.resolver import resolve_all, unused_omissions
from pipeline.sources.project import Project, lock_build_requirements
from pipeline.sources.requirements import LockedWheel, compile_requirements, resolve_wheels

KEYRINGS = Path(__file__).resolve().parent.parent / "deployment" / "keyrings"
OLDEST_PYTHON = "3.11"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where resolving may look; values, so that tests can point it at loopback."""

    mirrors: Sequence[str] = ()
    """Given by the user, tried first."""
    environ: Mapping[str, str] | None = None
    apt_root: Path = Path("/etc/apt")
    keyrings: Path = KEYRINGS

    def mirrors_of(self, snapshot: str = "") -> Mapping[str, tuple[str, ...]]:
        """Return the mirrors of each archive; see `find_mirrors`."""
        return find_mirrors(
            environ=os.environ if self.environ is None else self.environ,
            apt_root=self.apt_root,
            given=self.mirrors,
            snapshot=snapshot,
        )


def compile_all_requirements(settings: Settings, progress: Progress, *, upgrade: bool) -> None:
    """Write `requirements/*.txt` from `requirements/*.in`."""
    for source in sorted((settings.root / "requirements").glob("*.in")):
        output = source.with_suffix(".txt")
        with progress.step(f"requirements/{output.name}"):
            compile_requirements(
                source, output, python=OLDEST_PYTHON, root=settings.root, upgrade=upgrade
            )


def requirements_inputs(root: Path) -> Mapping[str, str]:
    """Return the SHA-256 of each `requirements/*.in`."""
    return {
        f"requirements/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "requirements").glob("*.in"))
    }


def make_lock(
    settings: Settings,
    project: Project | None,
    cache: Cache,
    progress: Progress,
    *,
    now: datetime,
    sources: Sources,
    old: Lock | None = None,
    open_registry: OpenRegistry = anonymous_registry,
) -> Lock:
    """Resolve everything that the description names.

    Base images from registries keep the digests that `old` has for them; others are looked
    up through `open_registry`.  Raises the errors of the resolvers: an unknown package, one
    that exists on some platforms only, a conflict, a signature, a dependency without a wheel,
    an unusable base, no network.
    """
    build_requirements: tuple[str, ...] = ()
    if project is not None:
        with progress.step("build requirements"):
            build_requirements = lock_build_requirements(project, cache)
    loaded = {
        suite.name: _load_suite(settings, suite, cache, progress, now=now, sources=sources)
        for suite in settings.suites.values()
    }
    _refuse_unused_omissions(settings, loaded)
    suites = {
        suite.name: _lock_suite(
            settings,
            suite,
            loaded[suite.name],
            progress,
            bases=_lock_bases(settings, suite, cache, open_registry, progress, old),
        )
        for suite in settings.suites.values()
    }
    requires = project.build_requires if project is not None else ()
    inputs = {
        **description_inputs(settings, requires),
        **requirements_inputs(settings.root),
    }
    return Lock(inputs=inputs, suites=suites, build_requirements=build_requirements)


def _load_suite(
    settings: Settings,
    suite: Suite,
    cache: Cache,
    progress: Progress,
    *,
    now: datetime,
    sources: Sources,
) -> LoadedSuite:
    with progress.step(f"{suite.name}: package indexes") as step:
        loaded = load_suite(
            suite.name,
            settings.platforms,
            mirrors=sources.mirrors_of(),
            keyrings=sources.keyrings,
            store=cache.new_blob_path,
            now=now,
        )
        step.note(f"{len(loaded.releases)} signatures verified")
    return loaded


def _refuse_unused_omissions(settings: Settings, loaded: Mapping[str, LoadedSuite]) -> None:
    """Raise `SettingsInvalid` for an omission that has an effect in no suite."""
    for name in settings.images:
        image = settings.images[name]
        unused = set(image.omit)
        for suite in settings.suites.values():
            roots, omit = _roots(image, suite), _omissions(image, suite)
            # What is wrong with the packages themselves is said first.
            resolve_all(roots, loaded[suite.name].indexes, omit=omit)
            without_effect = unused_omissions(roots, loaded[suite.name].indexes, omit=omit)
            unused &= {name for name in image.omit if fill_in(name, suite) in without_effect}
        if unused:
            raise SettingsInvalid(
                f"{settings.path}: images.{name}.omit names '{min(unused)}', which nothing "
                "depends on",
                hint="remove it",
            )


def _lock_bases(
    settings: Settings,
    suite: Suite,
    cache: Cache,
    open_registry: OpenRegistry,
    progress: Progress,
    old: Lock | None,
) -> Mapping[Platform, Mapping[str, LockedBase]]:
    """Return the base images from registries, by their full references."""
    settings = settings.filled(suite)
    references = {settings.registry_base(name) for name in settings.images}
    named = sorted({full_reference(reference) for reference in references if reference})
    if not named:
        return {}
    before = old.suites[suite.name].bases if old and suite.name in old.suites else {}
    found: dict[Platform, dict[str, LockedBase]] = {p: {} for p in settings.platforms}
    for reference in named:
        kept = {p: before.get(p, {}).get(reference) for p in settings.platforms}
        bases = {p: base for p, base in kept.items() if base is not None}
        if len(bases) != len(settings.platforms):
            with open_registry() as registry:
                bases = dict(lock_base(reference, settings.platforms, cache, registry, progress))
        for platform, base in bases.items():
            base.adapt(suite)  # Another Python is noticed here, not by a build.
            found[platform][reference] = base
    return found


def _lock_suite(
    settings: Settings,
    suite: Suite,
    loaded: LoadedSuite,
    progress: Progress,
    *,
    bases: Mapping[Platform, Mapping[str, LockedBase]],
) -> LockedSuite:
    settings = settings.filled(suite)
    epoch_s = max(int(release.date.timestamp()) for release in loaded.releases)
    with progress.step(f"{suite.name}: packages"):
        packages = {
            name: _lock_packages(settings, suite, settings.images[name], loaded.indexes)
            for name in settings.images
        }
        roots = [f"python{suite.python}-minimal"]
        interpreter = resolve_all(roots, loaded.indexes, omit=frozenset())
        docker = _lock_named(settings.docker.build_packages, suite, loaded.indexes)

    def wheels(platform: Platform) -> Mapping[str, tuple[LockedWheel, ...]]:
        with progress.step(f"{suite.name}: wheels for {platform}"):
            return {
                name: _lock_wheels(
                    settings,
                    _suite_of(settings, settings.images[name], suite, bases.get(platform, {})),
                    settings.images[name],
                    platform,
                )
                for name in settings.images
            }

    # Mostly waiting for the index: platforms are resolved side by side.
    with ThreadPoolExecutor(len(settings.platforms)) as pool:
        resolved = dict(zip(settings.platforms, pool.map(wheels, settings.platforms), strict=True))
    images = {
        platform: {
            name: Contents(packages[name][platform], found[name]) for name in settings.images
        }
        for platform, found in resolved.items()
    }
    return LockedSuite(
        epoch_s=epoch_s,
        snapshot=datetime.fromtimestamp(epoch_s, UTC).strftime("%Y%m%dT%H%M%SZ"),
        archives={str(release.archive): release.sha256 for release in loaded.releases},
        interpreter={
            platform: tuple(_locked(package) for package in found)
            for platform, found in interpreter.items()
        },
        images=images,
        docker=docker,
        bases=bases,
    )


def _suite_of(
    settings: Settings, image: Image, suite: Suite, bases: Mapping[str, LockedBase]
) -> Suite:
    """Return the suite as the image has it: another C library on a base from a registry."""
    reference = settings.registry_base(image.name)
    return bases[full_reference(reference)].adapt(suite) if reference else suite


def _lock_named(
    names: Sequence[str], suite: Suite, indexes: Mapping[Platform, PackageIndex]
) -> Mapping[Platform, tuple[LockedPackage, ...]]:
    """Return the packages of these names without what they need."""
    roots = sorted(fill_in(name, suite) for name in names)
    wanted = {root.partition("=")[0] for root in roots}
    return {
        platform: tuple(_locked(package) for package in packages if package.name in wanted)
        for platform, packages in resolve_all(roots, indexes, omit=frozenset()).items()
    }


def _lock_packages(
    settings: Settings,
    suite: Suite,
    image: Image,
    indexes: Mapping[Platform, PackageIndex],
) -> Mapping[Platform, tuple[LockedPackage, ...]]:
    """Return what the image needs beyond what the images below it have."""
    below: dict[Platform, set[str]] = {platform: set() for platform in indexes}
    for lower in settings.chain(image.name)[:-1]:
        for platform, packages in _closure(settings, suite, lower, indexes).items():
            below[platform].update(package.name for package in packages)
    return {
        platform: tuple(
            _locked(package) for package in packages if package.name not in below[platform]
        )
        for platform, packages in _closure(settings, suite, image, indexes).items()
    }


def _closure(
    settings: Settings, suite: Suite, image: Image, indexes: Mapping[Platform, PackageIndex]
) -> Mapping[Platform, tuple[Package, ...]]:
    return resolve_all(_roots(image, suite), indexes, omit=_omissions(image, suite))


def _roots(image: Image, suite: Suite) -> tuple[str, ...]:
    return tuple(fill_in(name, suite) for name in image.packages)


def _omissions(image: Image, suite: Suite) -> frozenset[str]:
    return frozenset(fill_in(name, suite) for name in image.omit)


def _lock_wheels(
    settings: Settings, suite: Suite, image: Image, platform: Platform
) -> tuple[LockedWheel, ...]:
    if image.requirements is None:
        return ()
    text = (settings.root / image.requirements).read_text(encoding="utf-8")
    return resolve_wheels(text, suite, platform, what=image.requirements)


def _locked(package: Package) -> LockedPackage:
    return LockedPackage(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        archive=package.archive,
        path=package.path,
        sha256=package.sha256,
        size_bytes=package.size_bytes,
    )
