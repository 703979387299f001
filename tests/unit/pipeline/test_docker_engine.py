"""From a plan to images by Docker; BuildKit is played, what it leaves is real."""

from __future__ import annotations

import json
import platform as host_platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from pipeline import docker_engine
from pipeline.build import MadeImage, Output
from pipeline.buildkit import Builder, Way
from pipeline.commands import Prepared
from pipeline.docker_engine import DockerBuild, connect, make_images, prepare
from pipeline.errors import (
    EngineFailed,
    EngineUnavailable,
    EngineUnsuitable,
    ImageInvalid,
    RenderedStale,
)
from pipeline.oci.image import Format
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.resolve import Sources
from pipeline.tasks import show
from tests.unit.pipeline.factories import BOTH, World
from tests.unit.pipeline.oci.exports import (
    config,
    digest,
    docker_archive,
    member,
    oci_archive,
    tar,
)

DOCKERFILE = "ARG DEBIAN_IMAGE=debian:x\nFROM ${DEBIAN_IMAGE} AS production\n"
LOWER, UPPER = tar([member("lower", b"1")]), tar([member("upper", b"2", mtime=2_000_000_000)])
LABELS = {"org.opencontainers.image.title": "Mini"}


def settings_of(architecture: str = "arm64", upper: bytes = UPPER) -> bytes:
    runtime = {"User": "1000:1000", "Cmd": ["serve"], "Labels": LABELS}
    return config(LOWER, upper, architecture=architecture, config=runtime)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(docker_engine, "render", lambda *_: DOCKERFILE)
    return World(tmp_path)


def planned(
    world: World, way: Way, *, platforms: tuple[Platform, ...] = (Platform.ARM64,), **options: Any
) -> DockerBuild:
    return DockerBuild(
        plan=world.plan(platforms=platforms),
        settings=world.settings(),
        lock=world.lock(),
        builder=Builder(way),
        **{"apt_root": Path("/nowhere"), **options},
    )


def quiet(argv: tuple[str, ...], **_: Any) -> Completed:
    return Completed(argv, 0, "", "")


def after(argv: tuple[str, ...], flag: str) -> list[str]:
    return [argv[i + 1] for i, part in enumerate(argv) if part == flag]


@dataclass
class BuildKit:
    """A docker client that builds: notes the command and its files, leaves what it is told."""

    leave: Callable[[Path, str], object] = lambda path, architecture: oci_archive(
        path, [LOWER, UPPER], settings_of(architecture)
    )
    lines: tuple[str, ...] = ()
    code: int = 0
    argvs: list[tuple[str, ...]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def __call__(
        self,
        argv: tuple[str, ...],
        on_line: Callable[[str], None],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        self.argvs.append(argv)
        (file,) = after(argv, "--file")
        self.folder = Path(file).parent
        for path in self.folder.iterdir():
            self.files[path.name] = path.read_text()
        for line in self.lines:
            on_line(line)
        for output in after(argv, "--output"):
            destination = output.partition("dest=")[2].partition(",")[0]
            (platform,) = after(argv, "--platform")
            self.leave(Path(destination), Platform.parse(platform).architecture)
        return self.code


def made(world: World, build: DockerBuild, buildkit: BuildKit) -> MadeImage:
    (image,) = make_images(
        build, world.cache, Format.OCI, progress=Silent(), runner=quiet, streamer=buildkit
    )
    return image


# A builder that exports


def test_an_exported_image_becomes_documents_and_layers_of_ours(world: World) -> None:
    build = planned(world, Way.EXPORT)
    image = made(world, build, BuildKit())
    assert (image.target, image.engine) == ("production", "docker")
    assert image.named.annotations == build.plan.annotations["production"]
    (part,) = image.platforms
    assert [layer.summary for layer in part.layers] == ["RUN 0", "RUN 1"]
    assert {(layer.kind, layer.reused, layer.files) for layer in part.layers} == {
        ("docker", False, 1)
    }
    for layer in part.layers:
        path = world.cache.blob_path(layer.digest[7:])
        assert digest(path.read_bytes()) == layer.digest
    # Too young a time was in the upper one alone.
    diff_ids = [layer.diff_id for layer in part.layers]
    assert diff_ids[1] != digest(UPPER)
    documents = image.named.images[0]
    assert b'"User":"1000:1000"' in documents.config.data
    assert b'"Mini"' in documents.config.data
    assert b"2030" not in documents.config.data


def test_each_platform_is_built_on_its_own(world: World) -> None:
    buildkit = BuildKit()
    image = made(world, planned(world, Way.EXPORT, platforms=BOTH), buildkit)
    assert [after(argv, "--platform") for argv in buildkit.argvs] == [
        ["linux/amd64"],
        ["linux/arm64"],
    ]
    assert [part.platform for part in image.platforms] == list(BOTH)


def test_the_same_build_again_takes_its_layers_from_the_cache(world: World) -> None:
    build = planned(world, Way.EXPORT)
    first = made(world, build, BuildKit())
    again = made(world, build, BuildKit())
    assert again.named.top.descriptor == first.named.top.descriptor
    assert all(layer.reused for layer in again.platforms[0].layers)


def test_a_changed_layer_leaves_the_one_below_it_as_it_was(world: World) -> None:
    build = planned(world, Way.EXPORT)
    before = made(world, build, BuildKit()).platforms[0].layers
    other = tar([member("upper", b"3")])

    def leave(path: Path, architecture: str) -> object:
        return oci_archive(path, [LOWER, other], settings_of(architecture, other))

    after_it = made(world, build, BuildKit(leave)).platforms[0].layers
    assert after_it[0].digest == before[0].digest
    assert [layer.reused for layer in after_it] == [True, False]


def test_a_damaged_layer_in_the_cache_is_made_again(world: World) -> None:
    build = planned(world, Way.EXPORT)
    first = made(world, build, BuildKit())
    path = world.cache.blob_path(first.platforms[0].layers[0].digest[7:])
    path.write_bytes(b"damaged")
    again = made(world, build, BuildKit())
    assert again.named.top.descriptor == first.named.top.descriptor
    assert [layer.reused for layer in again.platforms[0].layers] == [False, True]


def test_what_is_built_is_the_rendered_text_and_nothing_stays_behind(world: World) -> None:
    buildkit = BuildKit()
    made(world, planned(world, Way.EXPORT), buildkit)
    assert buildkit.files["Dockerfile"] == DOCKERFILE
    assert "*\n!" in buildkit.files["Dockerfile.dockerignore"]
    assert not buildkit.folder.exists()
    assert list((world.cache.folder / "logs").iterdir()) == []


def test_labels_of_the_commit_and_the_epoch_are_given(world: World) -> None:
    buildkit = BuildKit()
    build = planned(world, Way.EXPORT)
    made(world, build, buildkit)
    (argv,) = buildkit.argvs
    created = build.plan.annotations["production"]["org.opencontainers.image.created"]
    assert after(argv, "--label") == [
        f"org.opencontainers.image.created={created}",
        "org.opencontainers.image.version=1.0",
    ]
    assert after(argv, "--build-arg") == [f"SOURCE_DATE_EPOCH={build.plan.epoch_s}"]
    assert argv[-1] == str(world.root)


def test_the_base_image_can_be_another(world: World) -> None:
    build = planned(
        world, Way.EXPORT, base_image="mirror.example/debian:{suite}-slim-{architecture}"
    )
    buildkit = BuildKit()
    made(world, build, buildkit)
    expected = "DEBIAN_IMAGE=mirror.example/debian:tiny-slim-arm64"
    assert expected in after(buildkit.argvs[0], "--build-arg")


def test_proxies_are_named_and_secrets_are_files(world: World) -> None:
    secret = "pa55word"
    environ = {
        "HTTPS_PROXY": f"http://me:{secret}@proxy.example:1",
        "HTTP_PROXY": "",
        "ACCELERAPP_DEBIAN_MIRROR": f"http://me:{secret}@mirror.example/debian",
        "ACCELERAPP_DEBIAN_SECURITY_MIRROR": "http://mirror.example/debian-security",
    }
    buildkit = BuildKit()
    made(world, planned(world, Way.EXPORT, environ=environ), buildkit)
    (argv,) = buildkit.argvs
    assert "HTTPS_PROXY" in after(argv, "--build-arg")
    assert "HTTP_PROXY" not in after(argv, "--build-arg")
    assert not any(secret in part for part in argv)
    assert after(argv, "--secret") == [f"id=sources,src={buildkit.folder}/debian.sources"]
    assert secret in buildkit.files["debian.sources"]


# What goes wrong

FAILED = (
    "#6 [production 2/3] RUN make",
    "#6 0.412 cannot reach http://me:pa55word@mirror.example",
    "#6 ERROR: executor failed running [/bin/sh -c make]: exit code: 3",
)


def test_a_failed_build_is_one_line_and_a_log_without_secrets(world: World) -> None:
    environ = {"HTTPS_PROXY": "http://me:pa55word@proxy.example:1"}
    buildkit = BuildKit(lambda *_: None, lines=FAILED, code=1)
    with pytest.raises(EngineFailed) as caught:
        made(world, planned(world, Way.EXPORT, environ=environ), buildkit)
    log = world.cache.folder / "logs/docker-production-arm64.log"
    assert str(caught.value) == (
        "Docker's build of 'production' for linux/arm64 failed at [production 2/3] RUN make "
        "with exit code 3: cannot reach http://me:***@mirror.example; "
        f"the whole log is {log}"
    )
    assert log.read_text().splitlines() == [line.replace("pa55word", "***") for line in FAILED]
    assert not buildkit.folder.exists()


def test_a_platform_that_the_builder_does_not_emulate_is_explained(world: World) -> None:
    lines = (
        "#6 [production 2/3] RUN make",
        "#6 0.4 exec /bin/sh: exec format error",
        "#6 ERROR: process did not complete successfully: exit code: 1",
    )
    with pytest.raises(EngineFailed, match="does not emulate linux/arm64"):
        made(world, planned(world, Way.EXPORT), BuildKit(lambda *_: None, lines, code=1))


def test_an_interrupt_removes_what_was_written(world: World) -> None:
    buildkit = BuildKit()

    def interrupted(*arguments: Any, **options: Any) -> int:
        buildkit(*arguments, **options)
        raise KeyboardInterrupt

    build = planned(world, Way.EXPORT)
    with pytest.raises(KeyboardInterrupt):
        make_images(
            build, world.cache, Format.OCI, progress=Silent(), runner=quiet, streamer=interrupted
        )
    assert not buildkit.folder.exists()


def test_an_image_for_another_platform_is_not_taken_for_this_one(world: World) -> None:
    def leave(path: Path, architecture: str) -> object:
        return oci_archive(path, [LOWER, UPPER], settings_of("amd64"))

    with pytest.raises(ImageInvalid):
        made(world, planned(world, Way.EXPORT), BuildKit(leave))


def test_a_builder_without_the_platform_is_not_started(world: World) -> None:
    build = replace(
        planned(world, Way.EXPORT), builder=Builder(Way.EXPORT, platforms=("linux/amd64",))
    )
    buildkit = BuildKit()
    with pytest.raises(EngineUnsuitable):
        made(world, build, buildkit)
    assert buildkit.argvs == []


# An engine that keeps what it built


@dataclass
class Client:
    """A Docker Engine with whatever image `archive` holds, as far as it is asked."""

    archive: bytes = b""
    id: str = "sha256:" + "0" * 64
    version_text: str = "20.10.24"
    machine: str = "aarch64"
    name: str = "elsewhere"
    tags: set[str] = field(default_factory=set)
    saved: int = 0

    @property
    def images(self) -> Client:
        return self

    @property
    def api(self) -> Client:
        return self

    def version(self) -> dict[str, str]:
        return {"Version": self.version_text}

    def info(self) -> dict[str, str]:
        return {"Architecture": self.machine, "Name": self.name}

    def get(self, tag: str) -> Client:
        assert tag in self.tags
        return self

    def get_image(self, tag: str, _size: int) -> Iterator[bytes]:
        assert tag in self.tags
        self.saved += 1
        yield self.archive

    def remove(self, tag: str) -> None:
        if tag not in self.tags:
            raise docker.errors.ImageNotFound(tag)  # type: ignore[no-untyped-call]
        self.tags.remove(tag)

    def close(self) -> None:
        pass


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """An engine that has built `LOWER` and `UPPER`."""
    settings = settings_of()
    archive = docker_archive(tmp_path / "saved.tar", [LOWER, UPPER], settings).read_bytes()
    found = Client(archive=archive, id=digest(settings))
    monkeypatch.setattr(docker, "DockerClient", lambda **_: found)
    monkeypatch.setattr(docker, "from_env", lambda **_: found)
    return found


def loading(client: Client) -> BuildKit:
    """A docker client that leaves the image in the engine."""
    buildkit = BuildKit()

    class Loading(BuildKit):
        def __call__(self, argv: tuple[str, ...], on_line: Any, **options: Any) -> int:
            client.tags.update(after(argv, "--tag"))
            return buildkit(argv, on_line, **options)

    return Loading()


@pytest.mark.parametrize("way", [Way.LOAD, Way.CLASSIC])
def test_an_engine_s_image_is_the_same_as_an_exported_one(
    world: World, client: Client, way: Way
) -> None:
    exported = made(world, planned(world, Way.EXPORT), BuildKit())
    loaded = made(world, planned(world, way), loading(client))
    assert loaded.named.top.descriptor == exported.named.top.descriptor


def test_what_the_engine_built_before_is_not_exported_again(world: World, client: Client) -> None:
    build = planned(world, Way.LOAD)
    first = made(world, build, loading(client))
    again = made(world, build, loading(client))
    assert client.saved == 1
    assert again.named.top.descriptor == first.named.top.descriptor
    assert all(layer.reused for layer in again.platforms[0].layers)


def test_the_engine_keeps_no_tag(world: World, client: Client) -> None:
    made(world, planned(world, Way.LOAD), loading(client))
    assert client.tags == set()
    client.tags.add("before")
    with pytest.raises(EngineFailed):
        made(world, planned(world, Way.LOAD), BuildKit(lines=FAILED, code=1))
    assert client.tags == {"before"}


def test_a_foreign_platform_needs_emulation_on_this_machine(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(docker_engine, "_BINFMT", tmp_path)
    client.machine, client.name = "x86_64", host_platform.node()
    buildkit = loading(client)
    with pytest.raises(EngineUnsuitable, match=r"qemu-aarch64.*qemu-user-static"):
        made(world, planned(world, Way.LOAD), buildkit)
    assert client.tags == set()
    (tmp_path / "qemu-aarch64").touch()
    made(world, planned(world, Way.LOAD), buildkit)


def test_another_machine_s_emulation_is_its_own_affair(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(docker_engine, "_BINFMT", tmp_path)
    client.machine = "x86_64"
    made(world, planned(world, Way.LOAD), loading(client))


def test_an_engine_that_is_too_old_is_named(client: Client) -> None:
    client.version_text = "19.03.15"
    with (
        pytest.raises(EngineUnsuitable, match=r"19\.03\.15 at ssh://x is older than 20\.10"),
        connect({"DOCKER_HOST": "ssh://x"}, quiet),
    ):
        pass


def test_the_engine_of_the_current_context_is_used(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    seen: list[str] = []

    def created(*, base_url: str, **_: Any) -> Client:
        seen.append(base_url)
        return client

    monkeypatch.setattr(docker, "DockerClient", created)
    answer = "default unix:///run/mine.sock\n"
    with connect({}, lambda argv, **_: Completed(argv, 0, answer, "")):
        pass
    with connect({}, lambda argv, **_: Completed(argv, 1, "", "no contexts")):
        pass
    assert seen == ["unix:///run/mine.sock", "unix:///var/run/docker.sock"]


def test_without_an_engine_the_other_one_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "unix:///none.sock"
    cause = "('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))"

    def refuse(**_: Any) -> Client:
        raise docker.errors.DockerException(f"Error while fetching server API version: {cause}")

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(EngineUnavailable) as caught, connect({"DOCKER_HOST": address}, quiet):
        pass
    assert str(caught.value) == (
        f"no Docker Engine answers at {address} (no such file or directory); "
        "start it, set DOCKER_HOST, or use '--engine daemonless', which needs no Docker"
    )


def test_an_engine_that_does_not_give_the_image_is_an_error(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_tag: str) -> Client:
        raise docker.errors.APIError("no space left")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(client, "get", refuse, raising=False)
    with pytest.raises(EngineFailed, match="no space left"):
        made(world, planned(world, Way.LOAD), loading(client))


# Preparing


def prepared(world: World, **changes: Any) -> DockerBuild:
    return prepare(
        world.plan(),
        world.settings(),
        replace(world.lock(), **changes),
        builder=None,
        base_image="",
        mirrors=(),
        environ={},
        runner=lambda argv, **_: Completed(
            argv, 0 if "buildx" not in argv else 1, "Docker version 20.10.24", ""
        ),
    )


def test_requirements_that_a_dockerfile_mounts_have_to_be_current(world: World) -> None:
    prepared(world)
    pins = ("flit-core==3.12 --hash=sha256:00",)
    with pytest.raises(RenderedStale, match=r"requirements/build\.txt.*invoke dockerfile"):
        prepared(world, build_requirements=pins)
    (world.root / "requirements/build.txt").write_text("old\n")
    with pytest.raises(RenderedStale):
        prepared(world, build_requirements=pins)


def test_commands_can_be_shown_before_anything_is_built(world: World) -> None:
    build = replace(prepared(world), apt_root=Path("/nowhere"))
    commands = build.commands()
    assert list(commands) == [("production", platform) for platform in BOTH]
    assert commands["production", Platform.ARM64][:2] == ("docker", "build")
    assert build.dockerfile("production") == DOCKERFILE


def test_a_dry_run_shows_commands_and_each_dockerfile_once(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    build = replace(prepared(world), apt_root=Path("/nowhere"))
    output = Output(Path("out"), None, Format.OCI, Platform.AMD64)
    plan = Prepared(
        build.plan, output, world.cache, Sources(), None, Path("images.lock"), docker=build
    )
    show.plan(plan, as_json=False)
    text = capsys.readouterr().out
    assert text.count(DOCKERFILE) == 1
    assert "production for linux/arm64, by Docker → out\n  docker build --progress plain" in text
    show.plan(plan, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == []
    assert [(part["platform"], part["dockerfile"]) for part in document["docker"]] == [
        (str(platform), DOCKERFILE) for platform in BOTH
    ]
    assert document["docker"][0]["command"][-1] == str(world.root)
