"""What the tasks ask for: flags in, a value out; no Invoke and nothing printed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline import docker_engine
from pipeline.atomic import write_atomically
from pipeline.build import DAEMONLESS, BuildReport, MadeImage, Output, build, is_cached
from pipeline.cache import Cache, default_cache_folder
from pipeline.derive import TARGET, derive
from pipeline.docker_engine import BASE_IMAGE_VARIABLE, DockerBuild
from pipeline.docker_engine import ENGINE as DOCKER
from pipeline.errors import (
    EngineUnsuitable,
    LockMissing,
    LockStale,
    LockTampered,
    OptionInvalid,
    SignatureInvalid,
    UnsupportedPlatform,
    nearest,
)
from pipeline.flags import values_of
from pipeline.lock import (
    Lock,
    changes,
    check_current,
    description_inputs,
    read_lock,
    write_lock,
)
from pipeline.oci.image import Format
from pipeline.oci.layout import LayoutSummary, read_layout
from pipeline.plan import Plan, check_runnable, make_plan
from pipeline.platforms import Platform
from pipeline.provenance import Inputs, write_provenance
from pipeline.recipe import Recipe
from pipeline.registries import open_registry
from pipeline.report import Progress
from pipeline.resolve import Sources, compile_all_requirements, make_lock, requirements_inputs
from pipeline.revision import read_revision
from pipeline.settings import DESCRIPTION, LOCK, Image, Settings, read_settings
from pipeline.sources.project import Project, build_wheel

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = Path("dist/images")
ALL = "all"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """The flags of `invoke build`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    suite: str | None = None
    source: Path | None = None
    output: Path | None = None
    archive: Path | None = None
    format: str = Format.OCI.value
    entrypoint: str | None = None
    mirrors: Sequence[str] = ()
    engine: str = AUTO
    builder: str | None = None
    base_image: str | None = None
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what it takes to carry it out."""

    plan: Plan
    output: Output
    cache: Cache
    sources: Sources
    host: Platform | None
    lock_path: Path
    """Where the lock is that the plan follows."""
    docker: DockerBuild | None = None
    """What Docker builds of the plan; the rest is built without."""

    @property
    def daemonless(self) -> Plan:
        """The part of the plan that is built without Docker."""
        others = self.docker.plan.images if self.docker is not None else ()
        return replace(self.plan, images=tuple(i for i in self.plan.images if i not in others))

    def cached(self) -> frozenset[str]:
        """Return the keys of the plan's layers that the cache has."""
        recipes = self.daemonless.recipes()
        return frozenset(recipe.key for recipe in recipes if is_cached(recipe, self.cache))

    def carry_out(self, progress: Progress) -> BuildReport:
        """Build, and write the provenance of each layout; see `pipeline.build.build`."""

        def by_docker() -> tuple[MadeImage, ...]:
            if self.docker is None:
                return ()
            return docker_engine.make_images(
                self.docker, self.cache, self.output.format, progress=progress
            )

        report = build(
            self.daemonless,
            self.cache,
            self.output,
            mirrors=self.sources.mirrors_of(self.plan.snapshot),
            host=self.host,
            progress=progress,
            open_registry=open_registry,
            by_others=by_docker,
        )
        inputs = Inputs(
            lock=self.lock_path,
            root=self.plan.settings.root,
            format=self.output.format,
            source_date_epoch_s=source_date_epoch(),
            environ=os.environ,
        )
        write_provenance(report, self.plan, inputs)
        return report


def builder_cache() -> Cache:
    """Return the cache of this user."""
    return Cache(default_cache_folder())


def prepare(
    request: BuildRequest, progress: Progress, held: contextlib.ExitStack | None = None
) -> Prepared:
    """Return the plan that the flags ask for; see the errors of what it calls.

    The project's own wheel is built, unless the cache has it: its metadata decides what
    the image is labelled and must hold.  From the first look into the cache until `held`
    is closed, nobody can prune it.
    """
    format = Format(_one_of("format", request.format, [known.value for known in Format]))
    _one_of("engine", request.engine, [AUTO, DAEMONLESS, DOCKER])
    if request.sparse and request.archive is not None:
        raise OptionInvalid(
            "--sparse leaves layers in a registry, and an --archive needs them all",
            hint="leave one of the two out",
        )
    platforms = Platform.parse_many(request.platforms)
    cache = builder_cache()
    described = request.source is None or (request.source / DESCRIPTION).exists()
    follow = _described if described else _derived
    held = held or contextlib.ExitStack()
    plan, folder, lock_path, docker = follow(request, platforms, cache, progress, held)
    check_runnable(plan)
    if (plan.settings.root / ".git").exists() and not plan.has_revision:
        progress.say(
            "note: git is missing or does not answer here: images have no revision, and the "
            "lock's time instead of the commit's"
        )
    output = Output(
        folder=request.output or folder,
        archive=request.archive,
        format=format,
        preferred=host_platform() or platforms[0],
        sparse=request.sparse,
    )
    sources = Sources(mirrors=request.mirrors)
    return Prepared(plan, output, cache, sources, host_platform(), lock_path, docker)


def _described(
    request: BuildRequest,
    platforms: Sequence[Platform],
    cache: Cache,
    progress: Progress,
    held: contextlib.ExitStack,
) -> tuple[Plan, Path, Path, DockerBuild | None]:
    """Return the plan of a repository with an images.toml, its output, its lock, and what of
    the plan is Docker's."""
    root = request.source.resolve() if request.source else ROOT
    settings = read_settings(root)
    if request.entrypoint is not None:
        raise OptionInvalid(
            f"--entrypoint is for a project without {DESCRIPTION}",
            hint=f"set 'entrypoint' in {settings.path}",
        )
    platforms = described_platforms(settings, request.platforms)
    suite = settings.suite(request.suite)
    targets = choose_targets(settings, request.targets)
    for_docker = _for_docker(settings, targets, request)
    project = project_of(settings)
    try:
        lock = read_lock(root / LOCK, LOCK)
        check_current(lock, description_inputs(settings, _build_requires(project)), LOCK)
    except (LockMissing, LockStale, LockTampered) as error:
        if request.source is not None:
            error.hint = error.hint.replace("invoke lock", f"invoke lock --source {request.source}")
        raise
    held.enter_context(cache.in_use())
    wheel = None
    if project is not None:
        # Images without the project carry its version, too.
        wheel = build_wheel(project, lock.build_requirements, cache)
    plan = make_plan(
        settings,
        lock,
        targets=targets,
        platforms=platforms,
        suite=suite,
        project=wheel,
        revision=read_revision(root),
        source_date_epoch_s=source_date_epoch(),
        host=host_platform(),
    )
    docker = None
    if for_docker:
        docker = docker_engine.prepare(
            replace(plan, images=tuple(i for i in plan.images if i.target in for_docker)),
            settings,
            lock,
            builder=request.builder,
            base_image=request.base_image or os.environ.get(BASE_IMAGE_VARIABLE, ""),
            mirrors=request.mirrors,
            environ=os.environ,
        )
    folder = OUTPUT if root == ROOT else OUTPUT / settings.name
    return plan, folder, root / LOCK, docker


def _for_docker(
    settings: Settings, targets: Sequence[str], request: BuildRequest
) -> tuple[str, ...]:
    """Return the targets that Docker builds.

    Raises `EngineUnsuitable` for one that only Docker can build when it may not, and
    `OptionInvalid` for a flag of Docker's when it has nothing to do.
    """
    needed = tuple(target for target in targets if settings.needs_docker(target))
    if request.engine == DAEMONLESS and needed:
        lines = next(image for image in settings.chain(needed[0]) if image.needs_docker)
        key = "docker-lines" if lines.docker_lines else "docker-build-lines"
        raise EngineUnsuitable(
            f"'{needed[0]}' cannot be built without Docker: {settings.path} has "
            f"images.{lines.name}.{key}",
            hint="build it with '--engine docker', or remove these lines",
        )
    chosen = tuple(targets) if request.engine == DOCKER else needed
    for flag, value in (("--builder", request.builder), ("--base-image", request.base_image)):
        if value is not None and not chosen:
            raise OptionInvalid(
                f"{flag} is for Docker, which has nothing to build", hint="add '--engine docker'"
            )
    return chosen


def _derived(
    request: BuildRequest,
    platforms: Sequence[Platform],
    cache: Cache,
    progress: Progress,
    held: contextlib.ExitStack,
) -> tuple[Plan, Path, Path, None]:
    """Return the plan of a project without an images.toml, its output and its lock."""
    assert request.source is not None
    if request.engine == DOCKER or request.builder is not None or request.base_image is not None:
        raise EngineUnsuitable(
            f"Docker builds what is described, and {request.source} has no {DESCRIPTION}",
            hint="leave --engine, --builder and --base-image out, or describe the images there",
        )
    root = request.source.resolve()
    project = Project.read(root)
    for target in values_of(request.targets):
        if target not in (TARGET, ALL):
            raise OptionInvalid(
                f"target '{target}' is not described: {request.source} has no {DESCRIPTION}",
                hint=f"leave --target out, which builds '{TARGET}', or describe it there",
            )
    own = read_settings(ROOT)
    own_lock = read_lock(ROOT / LOCK, LOCK)
    check_current(own_lock, description_inputs(own, _build_requires(project_of(own))), LOCK)
    held.enter_context(cache.in_use())
    derived = derive(
        project,
        own,
        own_lock,
        cache,
        progress,
        platforms=platforms,
        suite=request.suite,
        entrypoint=request.entrypoint,
    )
    plan = make_plan(
        derived.settings,
        derived.lock,
        targets=(TARGET,),
        platforms=platforms,
        suite=derived.suite,
        project=derived.wheel,
        revision=read_revision(root),
        source_date_epoch_s=source_date_epoch(),
        host=host_platform(),
    )
    return plan, OUTPUT / derived.settings.name, derived.lock_path, None


def described_platforms(settings: Settings, asked: Sequence[str]) -> tuple[Platform, ...]:
    """Return the platforms of the flags; `all` means all that the description names.

    Raises `UnsupportedPlatform` for one that it does not name.
    """
    explicit = [spelling for spelling in values_of(asked) if spelling.lower() != ALL]
    platforms = Platform.parse_many(explicit) if explicit or not asked else ()
    if len(explicit) < len(values_of(asked)):
        platforms = tuple(dict.fromkeys((*platforms, *settings.platforms)))
    for platform in platforms:
        if platform not in settings.platforms:
            named = ", ".join(str(platform) for platform in settings.platforms)
            raise UnsupportedPlatform(
                f"platform '{platform}' is not among those that {settings.path} names",
                hint=f"choose {named}, or add it there and lock again",
            )
    return tuple(platform for platform in Platform if platform in platforms)


def choose_targets(settings: Settings, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the targets of the flags: production by default, every local one for `all`."""
    chosen: list[str] = []
    for target in values_of(asked) or ["production"]:
        chosen.extend(settings.images if target == ALL else [settings.image(target).name])
    return tuple(dict.fromkeys(chosen))


def project_of(settings: Settings) -> Project | None:
    """Return the project at the description's root, None when no image holds one."""
    if not any(image.project for image in settings.images.values()):
        return None
    return Project.read(settings.root)


def host_platform() -> Platform | None:
    """Return this machine's platform, None where programs of no image can run."""
    if sys.platform != "linux":
        return None
    try:
        return Platform.host()
    except UnsupportedPlatform:
        return None


def source_date_epoch() -> int | None:
    """Return `SOURCE_DATE_EPOCH`; raises `OptionInvalid` when it is no number of seconds."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not (text.isdecimal() and int(text) < 2**33):
        raise OptionInvalid(
            f"SOURCE_DATE_EPOCH is '{text}'", hint="it must be a number of seconds since 1970"
        )
    return int(text) if text else None


def _build_requires(project: Project | None) -> tuple[str, ...]:
    return project.build_requires if project is not None else ()


def _one_of(option: str, text: str, known: Sequence[str]) -> str:
    if text not in known:
        choices = " or ".join((", ".join(known[:-1]), known[-1]))
        raise OptionInvalid(
            f"{option} '{text}' is not known",
            hint=f"{nearest(text, known)} choose {choices}".strip(),
        )
    return text


def lock(
    source: Path | None, *, mirrors: Sequence[str], upgrade: bool, progress: Progress
) -> tuple[Lock, Path]:
    """Resolve everything that a description names, and write its lock."""
    settings = read_settings(source.resolve() if source else ROOT)
    cache = builder_cache()
    path = settings.root / LOCK
    before = _requirements(settings.root)
    try:
        compile_all_requirements(settings, progress, upgrade=upgrade)
        with cache.in_use():
            made = make_lock(
                settings,
                project_of(settings),
                cache,
                progress,
                now=datetime.now(UTC),
                sources=Sources(mirrors=mirrors),
                old=None if upgrade else _old_lock(path),
                open_registry=open_registry,
            )
        _refuse_older(made, path)
    except BaseException:
        # The old lock was made from the old requirements: both stay, or neither does.
        for file in _requirements(settings.root).keys() | before.keys():
            _put_back(file, before.get(file))
        raise
    write_lock(path, made)
    return read_lock(path, LOCK), path


def _requirements(root: Path) -> dict[Path, bytes]:
    compiled = (source.with_suffix(".txt") for source in (root / "requirements").glob("*.in"))
    return {path: path.read_bytes() for path in compiled if path.exists()}


def _put_back(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    elif path.read_bytes() != data:
        write_atomically(path, data)


def _old_lock(path: Path) -> Lock | None:
    try:
        return read_lock(path, LOCK)
    except (LockMissing, LockTampered):
        return None


def _refuse_older(made: Lock, path: Path) -> None:
    """Raise `SignatureInvalid` when an archive went back in time: a mirror may replay it."""
    old = _old_lock(path)
    if old is None:
        return
    for name, suite in made.suites.items():
        if name in old.suites and suite.epoch_s < old.suites[name].epoch_s:
            raise SignatureInvalid(
                f"the archives of {name} are older ({suite.snapshot}) than those of the lock "
                f"({old.suites[name].snapshot})",
                hint=f"use another mirror; to go back on purpose, remove {LOCK} first",
            )


def stale_inputs(source: Path | None) -> tuple[str, ...]:
    """Return the names of what changed since the lock was written; offline."""
    settings = read_settings(source.resolve() if source else ROOT)
    inputs = {
        **description_inputs(settings, _build_requires(project_of(settings))),
        **requirements_inputs(settings.root),
    }
    return tuple(sorted(changes(read_lock(settings.root / LOCK, LOCK), inputs)))


@dataclass(frozen=True, slots=True)
class DescribedImage:
    """A described image, and what of it is built."""

    image: Image
    built: LayoutSummary | None
    path: Path


def images() -> tuple[DescribedImage, ...]:
    """Return every described image."""
    settings = read_settings(ROOT)
    found = []
    for image in settings.images.values():
        path = OUTPUT / image.name
        found.append(DescribedImage(image, read_layout(path), path))
    return tuple(found)


def contents_of(recipe: Recipe) -> tuple[str, ...]:
    """Return a line for each thing in a layer."""
    lines = [f"{package.name} {package.version}" for package in recipe.packages]
    lines += [f"{wheel.name} {wheel.version}" for wheel in recipe.wheels]
    if recipe.project is not None:
        lines.append(f"{recipe.project.metadata.name} {recipe.project.metadata.version}")
    lines += [f"{file.source} → {file.path}" for file in recipe.files]
    lines += list(recipe.directories)
    lines += [f"{path} → {target}" for path, target in recipe.links]
    return tuple(lines)
