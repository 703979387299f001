"""A description for a project that has none, from what its wheel says of itself.

The base comes from this repository's own description and lock; what is added is the
project, its dependencies and a user.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.cache import Cache, key_of
from pipeline.errors import EntryPointMissing, LockTampered, OptionInvalid, SettingsInvalid, nearest
from pipeline.lock import Contents, Lock, description_inputs, parse_lock, write_lock
from pipeline.platforms import Platform
from pipeline.report import Progress
from pipeline.settings import Image, Settings, Suite, User
from pipeline.sources.project import Project, ProjectWheel, build_wheel, lock_build_requirements
from pipeline.sources.requirements import required, resolve_wheels
from pipeline.sources.wheels import Metadata

TARGET = "production"
_BASE = "base"


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that a plan needs for a project without a description."""

    settings: Settings
    lock: Lock
    wheel: ProjectWheel
    suite: Suite
    lock_path: Path


def derive(
    project: Project,
    own: Settings,
    own_lock: Lock,
    cache: Cache,
    progress: Progress,
    *,
    platforms: Sequence[Platform],
    suite: str | None,
    entrypoint: str | None,
) -> Derived:
    """Return description, lock and wheel of `project`.

    `own` and `own_lock` lend the base.  Dependencies are resolved once for the same
    metadata, and kept in the cache.  Raises what building and resolving raise,
    `SettingsInvalid` when no suite has a Python for it, and `EntryPointMissing`.
    """
    requirements = _build_requirements(project, cache, progress)
    with progress.step(f"wheel of {project.root.name}"):
        wheel = build_wheel(project, requirements, cache)
    chosen = choose_suite(wheel.metadata, own, suite, python_versions(own_lock, own))
    image = Image(
        name=TARGET,
        base=_BASE,
        project=True,
        user=User(name="app", uid=1000, gid=1000, home="/app"),
        workdir="/app",
        entrypoint=choose_entrypoint(wheel.metadata, entrypoint),
        stop_signal="SIGTERM",
    )
    name = re.sub(r"[-_.]+", "-", wheel.metadata.name).lower()
    settings = replace(
        own,
        root=project.root,
        name=name,
        default_suite=chosen.name,
        images={_BASE: own.image(_BASE), TARGET: image},
        labels={"org.opencontainers.image.title": wheel.metadata.name, **wheel.metadata.labels},
        path=project.root / "pyproject.toml",
    )
    lock, path = _lock(settings, own_lock, chosen, wheel.metadata, platforms, cache, progress)
    return Derived(settings, lock, wheel, chosen, path)


def _build_requirements(project: Project, cache: Cache, progress: Progress) -> tuple[str, ...]:
    key = key_of([list(project.build_requires), project.back_end, project.setup_key])
    found = cache.record("build-requirements", key)
    if found is None:
        with progress.step(f"build requirements of {project.root.name}"):
            found = list(lock_build_requirements(project, cache))
        cache.write_record("build-requirements", key, found)
    return tuple(found)


def python_versions(lock: Lock, own: Settings) -> Mapping[str, str]:
    """Return the full version of each suite's Python, as far as it is locked: `3.11.2`."""
    versions = {}
    for suite in own.suites.values():
        packages = [p for found in lock.suite(suite.name).interpreter.values() for p in found]
        for package in packages:
            if package.name == f"python{suite.python}-minimal":
                versions[suite.name] = re.split(r"[-~+]", package.version)[0]
    return versions


def choose_suite(
    metadata: Metadata,
    own: Settings,
    asked: str | None,
    versions: Mapping[str, str] | None = None,
) -> Suite:
    """Return the suite that was asked for, or the first whose Python the project accepts.

    The default suite goes first.  `versions` are those of `python_versions`.  Raises
    `SettingsInvalid`.
    """
    from packaging.specifiers import SpecifierSet

    accepts = SpecifierSet(metadata.requires_python)
    suites = sorted(own.suites.values(), key=lambda suite: suite.name != own.default_suite)
    if asked is not None:
        suites = [own.suite(asked)]
    for suite in suites:
        if accepts.contains((versions or {}).get(suite.name, f"{suite.python}.0")):
            return suite
    known = ", ".join(
        f"{suite.name} has {(versions or {}).get(suite.name, suite.python)}" for suite in suites
    )
    raise SettingsInvalid(
        f"{metadata.name} requires Python {metadata.requires_python}: {known}",
        hint="describe a suite that fits in deployment/images.toml",
    )


def choose_entrypoint(metadata: Metadata, asked: str | None) -> tuple[str, ...]:
    """Return what the container runs: `--entrypoint`, or the project's console script.

    Of several scripts the one called like the project is taken.  Raises `EntryPointMissing`.
    """
    scripts = metadata.console_scripts
    if asked is not None:
        program, *arguments = _words(asked)
        if "/" not in program and program in scripts:
            program = f"/usr/local/bin/{program}"
        elif "/" not in program and not program.startswith("python"):
            guess = nearest(program, scripts)
            raise EntryPointMissing(
                f"'{program}' is no console script of {metadata.name}",
                hint=f"{guess} it has {', '.join(scripts) or 'none'}; an absolute path works too",
            )
        return (program, *arguments)
    named = [script for script in scripts if _same_name(script, metadata.name)]
    if len(scripts) == 1 or len(named) == 1:
        return (f"/usr/local/bin/{(named or list(scripts))[0]}",)
    if not scripts:
        raise EntryPointMissing(
            f"{metadata.name} has no console script: nothing says what a container runs",
            hint=f"give one, such as --entrypoint 'python3 -m {metadata.name.replace('-', '_')}'",
        )
    raise EntryPointMissing(
        f"{metadata.name} has several console scripts: {', '.join(scripts)}",
        hint="choose one with --entrypoint",
    )


def _words(entrypoint: str) -> list[str]:
    try:
        words = shlex.split(entrypoint)
    except ValueError as error:
        raise OptionInvalid(
            f"--entrypoint {entrypoint!r} cannot be split: {str(error).lower()}",
            hint="close the quotation",
        ) from None
    if not words:
        raise OptionInvalid("--entrypoint is empty", hint="name a program, or leave it out")
    return words


def _same_name(one: str, other: str) -> bool:
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()


def _lock(
    settings: Settings,
    own_lock: Lock,
    suite: Suite,
    metadata: Metadata,
    platforms: Sequence[Platform],
    cache: Cache,
    progress: Progress,
) -> tuple[Lock, Path]:
    """Return the lock, made unless the cache has it, and where it is kept."""
    inputs = {
        **description_inputs(settings, ()),
        "base": own_lock.digest,
        "requires": key_of(sorted(metadata.requires)),
        "suite": suite.name,
        "platforms": key_of([str(platform) for platform in platforms]),
    }
    path = cache.folder / "sources" / f"{settings.name}-{key_of(dict(inputs))[:12]}.lock"
    if path.exists():
        try:
            return parse_lock(path.read_bytes(), path), path
        except LockTampered:
            cache.damaged.append(f"lock {path.name}")
    locked = own_lock.suite(suite.name)
    images: dict[Platform, Mapping[str, Contents]] = {}
    for platform in platforms:
        requirements = required(metadata.requires, suite, platform)
        text = "\n".join(str(requirement) for requirement in requirements)
        with progress.step(f"dependencies of {settings.name} for {platform}"):
            wheels = resolve_wheels(text, suite, platform, what=metadata.name) if text else ()
        images[platform] = {
            _BASE: own_lock.contents(suite.name, platform, _BASE),
            TARGET: Contents(wheels=wheels),
        }
    lock = Lock(inputs=inputs, suites={suite.name: replace(locked, images=images)})
    write_lock(path, lock)
    return parse_lock(path.read_bytes(), path), path
