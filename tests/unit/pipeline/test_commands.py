"""What the tasks ask for, from flags to a built image, in a repository of its own."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipeline.commands
import pipeline.derive
import pipeline.sources.project
from pipeline import docker_engine
from pipeline.buildkit import Builder, Way
from pipeline.commands import (
    BuildRequest,
    choose_targets,
    contents_of,
    described_platforms,
    host_platform,
    images,
    lock,
    prepare,
    project_of,
    source_date_epoch,
    stale_inputs,
)
from pipeline.errors import (
    CacheBusy,
    EngineUnsuitable,
    EntryPointMissing,
    LockMissing,
    LockStale,
    LockTampered,
    NotAPythonProject,
    OptionInvalid,
    PipelineError,
    SettingsUnreadable,
    UnknownTarget,
    UnsupportedPlatform,
)
from pipeline.lock import Lock, write_lock
from pipeline.oci.image import Format
from pipeline.plan import Plan
from pipeline.platforms import Platform
from pipeline.report import Silent
from pipeline.resolve import requirements_inputs
from pipeline.settings import DESCRIPTION, LOCK, Settings, read_settings
from tests.unit.pipeline.factories import BOTH, PYTHON, World, read_image, write_project


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository that is this one as far as the commands know, all of it cached."""
    world = World(tmp_path / "world")
    write_project(world.root / "tmp")
    for path in (world.root / "tmp").iterdir():
        path.rename(world.root / path.name)
    (world.root / "tmp").rmdir()
    (world.root / "deployment").mkdir()
    (world.root / DESCRIPTION).write_text(world.description)
    (world.root / "requirements/production.in").write_text("dep\n")
    locked = world.lock()
    inputs = {**locked.inputs, **requirements_inputs(world.root)}
    write_lock(world.root / LOCK, replace(locked, inputs=inputs))
    world.fill_cache()
    monkeypatch.setattr(pipeline.commands, "ROOT", world.root)
    monkeypatch.setattr(
        pipeline.sources.project, "_environment", lambda _lines, _cache: Path(sys.executable)
    )
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(world.cache.folder))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.chdir(tmp_path)
    return world


def prepared(**flags: object) -> pipeline.commands.Prepared:
    return prepare(BuildRequest(**flags), Silent())  # type: ignore[arg-type]


# From flags to an image


def test_a_build_without_flags_makes_production_for_this_machine(
    world: World, tmp_path: Path
) -> None:
    ready = prepared()
    assert [(image.target, image.platform) for image in ready.plan.images] == [
        ("production", Platform.host())
    ]
    assert ready.lock_path == world.root / LOCK
    report = ready.carry_out(Silent())
    assert report.images[0].output == Path("dist/images/production")
    image = read_image(tmp_path / "dist/images/production", Platform.host())
    assert f"usr/local/lib/python{PYTHON}/dist-packages/mini/cli.py" in image.files


def test_what_is_cached_is_known_before_the_build(world: World) -> None:
    assert prepared().cached() == frozenset()
    prepared().carry_out(Silent())
    ready = prepared()
    assert ready.cached() == {recipe.key for recipe in ready.plan.recipes()}


def test_flags_choose_targets_platforms_and_output(world: World, tmp_path: Path) -> None:
    ready = prepared(
        targets=("all",),
        platforms=("arm64,amd64",),
        output=tmp_path / "out",
        archive=tmp_path / "all.tar",
        format="docker",
    )
    assert [(image.target, image.platform) for image in ready.plan.images] == [
        (target, platform) for target in ("base", "production") for platform in BOTH
    ]
    assert (ready.output.folder, ready.output.archive) == (tmp_path / "out", tmp_path / "all.tar")
    assert ready.output.format is Format.DOCKER
    assert ready.output.preferred is Platform.host()


def test_another_repository_gets_a_folder_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pipeline.commands, "ROOT", tmp_path / "elsewhere")
    ready = prepared(source=world.root)
    assert ready.output.folder == Path("dist/images/mini")


def test_mirrors_of_the_flags_go_first(world: World) -> None:
    ready = prepared(mirrors=("/given/debian",))
    assert ready.sources.mirrors_of(ready.plan.snapshot)["debian"][0] == "/given/debian"


@pytest.mark.parametrize(
    ("flags", "expected", "words"),
    [
        ({"platforms": ("arm65",)}, UnsupportedPlatform, "'arm65'"),
        ({"targets": ("produktion",)}, UnknownTarget, "did you mean 'production'"),
        ({"format": "dokcer"}, OptionInvalid, "did you mean 'docker'"),
        ({"entrypoint": "mini"}, OptionInvalid, "without deployment/images.toml"),
        ({"suite": "buster"}, PipelineError, "'buster'"),
        ({"source": Path("/nowhere")}, NotAPythonProject, "/nowhere"),
    ],
)
def test_flags_that_cannot_be_used_are_named(
    world: World, flags: dict[str, object], expected: type[PipelineError], words: str
) -> None:
    with pytest.raises(expected) as caught:
        prepared(**flags)
    assert words in str(caught.value)


def test_a_changed_description_asks_for_a_new_lock(world: World) -> None:
    (world.root / DESCRIPTION).write_text(world.description.replace('"libc6", ', ""))
    with pytest.raises(LockStale, match=r"images\.base changed.*invoke lock"):
        prepared()
    assert stale_inputs(None) == ("images.base",)


def test_changed_build_requirements_ask_for_a_new_lock(world: World) -> None:
    pyproject = world.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("requires = []", 'requires = ["flit"]'))
    with pytest.raises(LockStale, match=r"build-system\.requires"):
        prepared()


def test_a_changed_comment_asks_for_nothing(world: World) -> None:
    (world.root / DESCRIPTION).write_text("# new\n" + world.description)
    (world.root / "requirements/production.in").write_text("# new\ndep\n")
    prepared()


def test_changed_requirements_are_stale_before_they_are_compiled(world: World) -> None:
    assert stale_inputs(world.root) == ()
    (world.root / "requirements/production.in").write_text("dep>=2\n")
    assert stale_inputs(world.root) == ("requirements/production.in",)


def test_a_lock_that_is_absent_or_tampered_with_is_refused(world: World) -> None:
    path = world.root / LOCK
    path.write_bytes(path.read_bytes().replace(b'"1.0-1"', b'"1.0-2"'))
    with pytest.raises(LockTampered):
        prepared()
    path.unlink()
    with pytest.raises(LockMissing, match="invoke lock"):
        prepared()


def test_without_a_description_there_is_nothing_to_build(world: World) -> None:
    (world.root / DESCRIPTION).unlink()
    with pytest.raises(SettingsUnreadable):
        prepared()


def test_an_image_with_nothing_to_run_is_refused(world: World) -> None:
    text = world.description.replace('entrypoint = ["/usr/local/bin/mini"]\n', "")
    (world.root / DESCRIPTION).write_text(text.replace('command = ["serve"]\n', ""))
    with pytest.raises(EntryPointMissing):
        prepared()


def test_the_base_alone_is_what_it_is_in_company(world: World) -> None:
    alone = prepared(targets=("base",)).plan
    company = prepared(targets=("base", "production")).plan
    assert alone.annotations["base"] == company.annotations["base"]
    assert "org.opencontainers.image.version" in alone.annotations["base"]


def test_nobody_prunes_from_the_first_look_into_the_cache_on(world: World) -> None:
    with contextlib.ExitStack() as held:
        prepare(BuildRequest(), Silent(), held)
        with pytest.raises(CacheBusy):
            world.cache.prune(unused_for_s=0, now_s=time.time())
    world.cache.prune(unused_for_s=10**9, now_s=time.time())


def test_a_platform_that_the_description_does_not_name_is_refused(world: World) -> None:
    settings = replace(read_settings(world.root), platforms=(Platform.AMD64,))
    assert described_platforms(settings, ["all"]) == (Platform.AMD64,)
    with pytest.raises(UnsupportedPlatform, match="linux/arm64"):
        described_platforms(settings, ["arm64"])


# A project without a description


def test_any_project_can_be_built_on_this_repository_s_base(world: World, tmp_path: Path) -> None:
    source = write_project(tmp_path / "other", "other")
    ready = prepared(source=source, platforms=("arm64",))
    report = ready.carry_out(Silent())
    assert report.images[0].name == "other:production"
    assert ready.lock_path.parent == world.cache.folder / "sources"
    image = read_image(tmp_path / "dist/images/other/production", Platform.ARM64)
    assert image.config["config"]["Entrypoint"] == ["/usr/local/bin/other"]
    assert image.config["config"]["User"] == "1000:1000"
    assert "usr/local/bin/other" in image.files


def test_its_program_can_be_chosen(world: World, tmp_path: Path) -> None:
    source = write_project(tmp_path / "other", "other")
    ready = prepared(source=source, entrypoint="python3 -m other")
    assert ready.plan.images[0].configuration.entrypoint == ("python3", "-m", "other")


def test_it_has_one_target(world: World, tmp_path: Path) -> None:
    source = write_project(tmp_path / "other", "other")
    prepared(source=source, targets=("all",))
    with pytest.raises(OptionInvalid, match="'development'"):
        prepared(source=source, targets=("development",))


# Which engine


LINES = 'docker-lines = ["RUN make everything"]\n'


@pytest.fixture
def by_docker(monkeypatch: pytest.MonkeyPatch) -> list[docker_engine.DockerBuild]:
    """What Docker was to build; nothing is built."""
    asked: list[docker_engine.DockerBuild] = []

    def make_images(build: docker_engine.DockerBuild, *_: object, **__: object) -> tuple[()]:
        asked.append(build)
        return ()

    def prepare_build(plan: Plan, settings: Settings, lock: Lock, **options: Any) -> object:
        options.pop("mirrors")
        builder = Builder(Way.EXPORT, name=options.pop("builder") or "")
        return docker_engine.DockerBuild(plan, settings, lock, builder, **options)

    monkeypatch.setattr(docker_engine, "prepare", prepare_build)
    monkeypatch.setattr(docker_engine, "make_images", make_images)
    return asked


def with_lines(world: World, image: str = "production") -> None:
    text = world.description.replace(f"[images.{image}]\n", f"[images.{image}]\n{LINES}")
    (world.root / DESCRIPTION).write_text(text)


def test_docker_builds_what_has_lines_of_its_own_and_nothing_else(
    world: World, by_docker: list[docker_engine.DockerBuild]
) -> None:
    with_lines(world)
    ready = prepared(targets=("all",), platforms=("all",))
    assert {image.target for image in ready.daemonless.images} == {"base"}
    report = ready.carry_out(Silent())
    assert [image.target for image in report.images] == ["base"]
    (build,) = by_docker
    assert [(image.target, image.platform) for image in build.plan.images] == [
        ("production", platform) for platform in BOTH
    ]


def test_lines_of_a_base_concern_what_is_built_on_it(
    world: World, by_docker: list[docker_engine.DockerBuild]
) -> None:
    with_lines(world, "base")
    ready = prepared(targets=("production",))
    assert ready.docker is not None
    assert ready.daemonless.images == ()
    assert ready.cached() == frozenset()


def test_docker_builds_everything_when_it_is_asked_to(
    world: World, by_docker: list[docker_engine.DockerBuild], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERAPP_DEBIAN_IMAGE", "from-environment")
    flags: dict[str, object] = {"targets": ("all",), "engine": "docker", "builder": "farm"}
    docker = prepared(**flags).docker
    assert docker is not None
    assert {image.target for image in docker.plan.images} == {"base", "production"}
    assert (docker.builder.name, docker.base_image) == ("farm", "from-environment")
    docker = prepared(**flags, base_image="from-flag").docker
    assert docker is not None
    assert docker.base_image == "from-flag"


def test_without_lines_docker_is_not_looked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert prepared().docker is None


def test_lines_that_only_docker_can_run_are_refused_by_key(world: World) -> None:
    with_lines(world, "base")
    with pytest.raises(EngineUnsuitable) as caught:
        prepared(engine="daemonless")
    assert str(caught.value) == (
        "'production' cannot be built without Docker: deployment/images.toml has "
        "images.base.docker-lines; build it with '--engine docker', or remove these lines"
    )


@pytest.mark.parametrize("flags", [{"builder": "farm"}, {"base_image": "debian"}])
def test_flags_of_docker_s_without_docker_are_refused(
    world: World, flags: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(OptionInvalid, match="add '--engine docker'"):
        prepared(**flags)
    source = write_project(tmp_path / "other", "other")
    with pytest.raises(EngineUnsuitable, match=r"has no deployment/images\.toml"):
        prepared(source=source, **flags)


def test_docker_builds_described_projects_only(world: World, tmp_path: Path) -> None:
    source = write_project(tmp_path / "other", "other")
    with pytest.raises(EngineUnsuitable, match=r"has no deployment/images\.toml"):
        prepared(source=source, engine="docker")


# Smaller things


def test_targets_may_be_lists_and_come_once(world: World) -> None:
    settings = world.settings()
    assert choose_targets(settings, ()) == ("production",)
    assert choose_targets(settings, ("base,production", "base")) == ("base", "production")
    assert choose_targets(settings, ("all", "base")) == ("base", "production")


def test_a_description_without_a_project_needs_no_pyproject(world: World) -> None:
    assert project_of(world.settings()) is not None
    (world.root / "pyproject.toml").unlink()
    world.description = world.description.replace("project = true\n", "")
    assert project_of(world.settings()) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("0", 0), ("1700000000", 1_700_000_000)]
)
def test_source_date_epoch_is_read(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int | None
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert source_date_epoch() == expected


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "99999999999", "²", "0x10"])
def test_a_source_date_epoch_that_is_no_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(OptionInvalid, match="seconds since 1970"):
        source_date_epoch()


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", Platform.AMD64),
        ("linux", "aarch64", Platform.ARM64),
        ("linux", "riscv64", None),
        ("darwin", "arm64", None),
    ],
)
def test_programs_of_an_image_run_on_linux_alone(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: Platform | None
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert host_platform() is expected


def test_described_images_are_listed_with_what_is_built(world: World) -> None:
    assert [(found.image.name, found.built) for found in images()] == [
        ("base", None),
        ("production", None),
    ]
    report = prepared().carry_out(Silent())
    built = {found.image.name: found.built for found in images()}
    assert built["base"] is None
    assert built["production"] is not None
    assert built["production"].digest == report.images[0].digest


def test_contents_of_a_layer_are_listed_by_name(world: World) -> None:
    base, dependencies, application = prepared().plan.images[0].layers
    assert "libc6 1.0-1" in contents_of(base)
    assert f"/usr/bin/python3 → python{PYTHON}" in contents_of(base)
    assert contents_of(dependencies) == ("dep 1.0",)
    assert contents_of(application) == (
        "mini 1.0",
        "conf → /app/conf",
        "conf/run.sh → /usr/local/bin/run",
        "/app/data",
    )


def test_locking_compiles_resolves_and_writes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.root / LOCK).unlink()
    steps: list[tuple[str, object]] = []

    def compile_all(settings: object, progress: object, *, upgrade: bool) -> None:
        steps.append(("compile", upgrade))

    def make(*_args: object, sources: pipeline.commands.Sources, **_kwargs: object) -> object:
        steps.append(("resolve", tuple(sources.mirrors)))
        return replace(world.lock(), build_requirements=("flit-core==3",))

    monkeypatch.setattr(pipeline.commands, "compile_all_requirements", compile_all)
    monkeypatch.setattr(pipeline.commands, "make_lock", make)
    made, path = lock(None, mirrors=("/given/debian",), upgrade=True, progress=Silent())
    assert steps == [("compile", True), ("resolve", ("/given/debian",))]
    assert path == world.root / LOCK
    assert made.build_requirements == ("flit-core==3",)
    assert json.loads(path.read_text())["digest"] == made.digest
