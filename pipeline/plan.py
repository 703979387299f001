"""The plan: flags and settings and lock, turned into a value that says what will be built.

A layer's key is the digest of everything that decides its bytes, so equal keys mean
equal layers: across targets, platforms, commits and machines.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.assemble import source_files
from pipeline.bases import LockedBase
from pipeline.cache import key_of
from pipeline.errors import EntryPointMissing, LockStale
from pipeline.lock import Contents, Lock, LockedPackage
from pipeline.oci.image import Configuration, timestamp
from pipeline.platforms import Platform
from pipeline.recipe import Recipe
from pipeline.revision import DIRTY, Revision
from pipeline.settings import File, HealthCheck, Image, Settings, Suite, User
from pipeline.sources.project import ProjectWheel
from pipeline.sources.requirements import required

# Code that decides nothing about a layer's bytes; all other code does, or may.
_BYSTANDERS = (
    "oci/registry/",
    "tasks/",
    "oci/converted.py",
    "oci/tree.py",
    "build_secrets.py",
    "buildkit.py",
    "commands.py",
    "compare.py",
    "contents.py",
    "docker_engine.py",
    "dockerfile.py",
    "doctor.py",
    "errors.py",
    "fetch.py",
    "load.py",
    "monitor.py",
    "pull.py",
    "push.py",
    "registries.py",
    "report.py",
    "shipping.py",
    "tags.py",
    "transfer.py",
)


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One target on one platform."""

    target: str
    platform: Platform
    layers: tuple[Recipe, ...]
    configuration: Configuration
    interpreter: tuple[LockedPackage, ...]
    """The packages of the host's bytecode compiler; empty when the lock has none for it."""
    base: LockedBase | None
    """The image from a registry under its layers."""
    suite: Suite
    """The plan's suite; on a base from a registry, with the places of that base."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one command builds."""

    settings: Settings
    suite: Suite
    images: tuple[ImagePlan, ...]
    created_s: int
    """What the images say they were created at, seconds since 1970."""
    epoch_s: int
    """No file of a layer is younger."""
    snapshot: str
    """Where the snapshot archive has the locked packages."""
    has_revision: bool
    """Whether version control says which commit this is."""
    annotations: Mapping[str, Mapping[str, str]]
    """For each target, the OCI annotations of its manifest and index."""

    def tag(self, target: str) -> str:
        """Return the tag and folder of a target: with the suite where it is not the default."""
        if self.suite.name == self.settings.default_suite:
            return target
        return f"{target}-{self.suite.name}"

    def recipes(self) -> tuple[Recipe, ...]:
        """Return every layer once, each after those that it needs."""
        found = {recipe.key: recipe for image in self.images for recipe in image.layers}
        return tuple(sorted(found.values(), key=lambda recipe: len(recipe.below)))


def make_plan(
    settings: Settings,
    lock: Lock,
    *,
    targets: Sequence[str],
    platforms: Sequence[Platform],
    suite: Suite,
    project: ProjectWheel | None,
    revision: Revision,
    source_date_epoch_s: int | None,
    host: Platform | None,
) -> Plan:
    """Return the plan for `targets` on `platforms`.

    `source_date_epoch_s` is `SOURCE_DATE_EPOCH`: no file and no document is younger; without
    it the commit's time is what images were created at.  `host` is this machine's platform,
    None where no Linux program can run.  Raises `UnknownTarget`, `LockStale` and
    `EntryPointMissing`.
    """
    settings = settings.filled(suite)
    locked = lock.suite(suite.name)
    epoch_s = locked.epoch_s
    created_s = revision.commit_s if revision.commit_s is not None else epoch_s
    if source_date_epoch_s is not None:
        epoch_s = min(epoch_s, source_date_epoch_s)
        created_s = source_date_epoch_s
    images = []
    annotations = {}
    for target in targets:
        merged = settings.merged(target)
        wheel = project if any(i.project for i in settings.chain(target)) else None
        labels = _labels(settings, merged, project, revision, created_s)
        reference = settings.registry_base(target)
        for platform in platforms:
            base = lock.base(suite.name, platform, reference) if reference else None
            fitting = base.adapt(suite) if base is not None else suite
            if base is not None:
                labels = dict(sorted({**labels, **base.annotations}.items()))
            layers: tuple[Recipe, ...] = ()
            for image in settings.chain(target):
                contents = lock.contents(suite.name, platform, image.name)
                layers += _recipes(
                    settings, fitting, image, platform, contents, wheel, layers, epoch_s, base
                )
            configuration = _configuration(merged, labels)
            if base is not None:
                resets_command = any(image.entrypoint for image in settings.chain(target))
                configuration = base.extended(configuration, resets_command=resets_command)
            images.append(
                ImagePlan(
                    target=target,
                    platform=platform,
                    layers=layers,
                    configuration=configuration,
                    interpreter=locked.interpreter.get(host, ()) if host is not None else (),
                    base=base,
                    suite=fitting,
                )
            )
            if wheel is not None:
                _check_requirements(wheel, layers, suite, platform, target)
        annotations[target] = labels
    return Plan(
        settings=settings,
        suite=suite,
        images=tuple(images),
        created_s=created_s,
        epoch_s=epoch_s,
        snapshot=locked.snapshot,
        has_revision=bool(revision.commit),
        annotations=annotations,
    )


def _recipes(
    settings: Settings,
    suite: Suite,
    image: Image,
    platform: Platform,
    contents: Contents,
    project: ProjectWheel | None,
    below: tuple[Recipe, ...],
    epoch_s: int,
    base: LockedBase | None,
) -> tuple[Recipe, ...]:
    """Return the layers that `image` adds: packages, dependencies, application."""
    found: list[Recipe] = []
    links = tuple(sorted(image.links.items()))
    user = settings.merged(image.name).user or User()

    def add(kind: str, **parts: object) -> None:
        lower = (*below, *found)
        recipe = Recipe(
            kind=kind,
            image=image.name,
            platform=platform,
            suite=suite,
            epoch_s=epoch_s,
            key="",
            below=lower,
            bytecode=image.bytecode,
            base=base,
            **parts,  # type: ignore[arg-type]
        )
        found.append(replace(recipe, key=_key(recipe, settings.root)))

    if contents.packages:
        kind = "packages" if below else "base"
        add(kind, packages=contents.packages, exclude=image.exclude, links=links)
        links = ()
    if contents.wheels:
        add("dependencies", wheels=contents.wheels)
    wheel = project if image.project else None
    owned = tuple(dict.fromkeys((*image.directories, *image.volumes)))
    if wheel or image.files or owned or links or image.user:
        add(
            "application",
            project=wheel,
            files=image.files,
            directories=owned,
            links=links,
            user=user,
            new_user=image.user is not None and image.user.uid != 0,
        )
    return tuple(found)


def _key(recipe: Recipe, root: Path) -> str:
    """Return the digest of everything that decides the layer's bytes."""
    # Only a packages layer looks at those below it: for ld.so.cache; an application layer
    # that adds a user extends their accounts.
    depends = recipe.packages or recipe.new_user
    return key_of(
        {
            "builder": builder_digest(),
            "kind": recipe.kind,
            "platform": str(recipe.platform),
            "suite": [recipe.suite.name, recipe.suite.python],
            "python": [recipe.suite.interpreter, recipe.suite.site_packages],
            "base": recipe.base.manifest_digest if recipe.base and depends else "",
            "epoch": recipe.epoch_s,
            "below": [lower.key for lower in recipe.below] if depends else [],
            "packages": [package.sha256 for package in recipe.packages],
            "exclude": list(recipe.exclude),
            "wheels": [[wheel.filename, wheel.sha256] for wheel in recipe.wheels],
            "project": [recipe.project.filename, recipe.project.sha256] if recipe.project else [],
            "files": [_file_key(file, root) for file in recipe.files],
            "directories": list(recipe.directories),
            "links": [list(link) for link in recipe.links],
            "user": [recipe.user.name, recipe.user.uid, recipe.user.gid, recipe.user.home]
            if recipe.kind == "application"
            else [],
            "new-user": recipe.new_user,
            "bytecode": recipe.bytecode,
        }
    )


def _file_key(file: File, root: Path) -> list[object]:
    found = [
        [relative, hashlib.sha256(path.read_bytes()).hexdigest(), mode]
        for relative, path, mode in source_files(file, root)
    ]
    return [file.path, file.owned, found]


@functools.cache
def builder_digest() -> str:
    """Return the digest of the code that makes layers: other code, other keys."""
    folder = Path(__file__).parent
    digest = hashlib.sha256(importlib.metadata.version("installer").encode())
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith(_BYSTANDERS):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _labels(
    settings: Settings,
    image: Image,
    project: ProjectWheel | None,
    revision: Revision,
    created_s: int,
) -> Mapping[str, str]:
    labels = dict(settings.labels)
    if image.description:
        labels["org.opencontainers.image.description"] = image.description
    labels.update(image.labels)
    labels["org.opencontainers.image.created"] = timestamp(created_s)
    if project is not None:
        labels["org.opencontainers.image.version"] = project.metadata.version
    if revision.commit:
        suffix = DIRTY if revision.dirty else ""
        labels["org.opencontainers.image.revision"] = f"{revision.commit}{suffix}"
    return dict(sorted(labels.items()))


def _configuration(image: Image, labels: Mapping[str, str]) -> Configuration:
    health = image.healthcheck or HealthCheck(test=())
    user = image.user or User()
    return Configuration(
        # Numeric, so that Kubernetes can see that it is not root.
        user=f"{user.uid}:{user.gid}" if user.uid else "",
        environment=image.environment,
        entrypoint=tuple(image.entrypoint or ()),
        command=tuple(image.command or ()),
        workdir=image.workdir or "",
        ports=image.ports,
        volumes=image.volumes,
        labels=labels,
        stop_signal=image.stop_signal or "",
        health_test=health.test,
        health_interval_s=health.interval_s,
        health_timeout_s=health.timeout_s,
        health_start_period_s=health.start_period_s,
        health_retries=health.retries,
    )


def _check_requirements(
    wheel: ProjectWheel,
    layers: Sequence[Recipe],
    suite: Suite,
    platform: Platform,
    target: str,
) -> None:
    """Raise `LockStale` unless the image holds what the project's wheel requires."""
    from packaging.utils import canonicalize_name

    present = {
        canonicalize_name(locked.name): locked.version for r in layers for locked in r.wheels
    }
    for requirement in required(wheel.metadata.requires, suite, platform):
        version = present.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            has = f"has {version}" if version else "does not have it"
            raise LockStale(
                f"{wheel.metadata.name} requires '{requirement}', and '{target}' {has}",
                hint="add it to the image's requirements and run 'invoke lock'",
            )


def check_runnable(plan: Plan) -> None:
    """Raise `EntryPointMissing` for a target whose container would have nothing to run."""
    for image in plan.images:
        configuration = image.configuration
        runs = configuration.entrypoint or configuration.command
        if image.layers and image.layers[-1].project and not runs:
            raise EntryPointMissing(
                f"nothing says what a container of '{image.target}' runs",
                hint="set entrypoint or command in images.toml, or give --entrypoint",
            )
