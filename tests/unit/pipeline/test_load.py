"""Images get into engines that behave as Docker, Podman and containerd do, and are compared."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
import tarfile
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import load as module
from pipeline.errors import (
    EngineFailed,
    EngineUnavailable,
    ImageInvalid,
    ImageMissing,
    OptionInvalid,
    PipelineError,
    ToolMissing,
    UnknownTarget,
)
from pipeline.load import (
    Containerd,
    Docker,
    Engine,
    LoadReport,
    LoadRequest,
    Podman,
    connect_containerd,
    connect_docker,
    connect_podman,
    connectors,
    find_engine,
    load,
)
from pipeline.oci.layout import NamedImage, blob_path, open_layout, write_layout
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.report import Silent
from tests.unit.pipeline.oci.image_factory import Blobs


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Store:
    """What an engine makes of an archive: names, and the digest that each leads to."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.swaps: dict[str, str] = {}
        """Digests to hold in place of others: somebody else writes the name, too."""

    def read(self, archive: Iterable[bytes]) -> None:
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
            readers = ((member.name, tar.extractfile(member)) for member in tar)
            self.files = {name: reader.read() for name, reader in readers if reader}
        for name, data in self.files.items():
            if name.startswith("blobs/sha256/"):
                assert name.endswith(hashlib.sha256(data).hexdigest())

    def docker(self, archive: Iterable[bytes], prefix: str = "") -> list[str]:
        """Load like Docker's classic store; return the names in the archive's order."""
        self.read(archive)
        loaded = []
        for entry in json.loads(self.files["manifest.json"]):
            for layer in entry["Layers"]:
                assert layer in self.files
            for tag in entry["RepoTags"]:
                digest = digest_of(self.files[entry["Config"]])
                self.names[prefix + tag] = self.swaps.get(digest, digest)
                loaded.append(prefix + tag)
        return loaded

    def containerd(self, archive: Iterable[bytes]) -> None:
        """Load like containerd: an index stays one."""
        self.read(archive)
        for descriptor in json.loads(self.files["index.json"])["manifests"]:
            name = descriptor["annotations"]["io.containerd.image.name"]
            digest = descriptor["digest"]
            self.names[name] = self.swaps.get(digest, digest)


class FakeClient:
    """The part of docker.DockerClient that is used."""

    def __init__(self, *, answers: Iterable[Mapping[str, str]] = (), containerd: bool = False):
        self.store = Store()
        self.api = types.SimpleNamespace(load_image=self._load, timeout=0)
        self.images = types.SimpleNamespace(get=self._get)
        self._answers = list(answers)
        self._containerd = containerd

    def _load(self, archive: Iterable[bytes]) -> Iterator[Mapping[str, str]]:
        assert not isinstance(archive, bytes)
        if self._containerd:
            self.store.containerd(archive)
        else:
            self.store.docker(archive)
        yield {"stream": "Loaded image"}
        yield from self._answers

    def _get(self, name: str) -> Any:
        full = f"docker.io/library/{name}" if self._containerd else name
        return types.SimpleNamespace(id=self.store.names[full])

    def version(self) -> dict[str, str]:
        return {"Os": "linux", "Arch": "arm64"}

    def info(self) -> dict[str, Any]:
        kind = "io.containerd.snapshotter.v1" if self._containerd else "overlay2"
        return {"DriverStatus": [["driver-type", kind]]}


class DockerError(Exception):
    """docker.errors.DockerException."""


class RefusedError(DockerError):
    """docker.errors.APIError."""

    explanation = "no space left\non device"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for the docker package, which the unit tests do without."""
    docker, context, errors, requests = (
        types.ModuleType(name) for name in ("docker", "docker.context", "docker.errors", "requests")
    )
    docker.__path__ = []
    vars(errors).update(DockerException=DockerError, APIError=RefusedError)
    vars(requests).update(RequestException=type("RequestException", (OSError,), {}))
    here = types.SimpleNamespace(Host="unix:///run/user/context.sock", TLSConfig=None)
    vars(context)["ContextAPI"] = types.SimpleNamespace(get_current_context=lambda: here)
    vars(docker)["errors"] = errors
    for found in (docker, context, errors, requests):
        monkeypatch.setitem(sys.modules, found.__name__, found)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return docker


class Commands:
    """podman and ctr, as runner and as feeder."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.store = Store()
        self.argvs: list[tuple[str, ...]] = []
        self.answers = answers
        """By the last word of the command that has one; instead of what it would do."""

    def _answer(self, argv: tuple[str, ...]) -> Completed | None:
        self.argvs.append(argv)
        for word in argv:
            if word in self.answers:
                return Completed(argv, *self.answers[word])
        return None

    def run(self, argv: tuple[str, ...], **_: Any) -> Completed:
        if answer := self._answer(argv):
            return answer
        if argv[:3] == ("podman", "image", "inspect"):
            return Completed(argv, 0, self.store.names[argv[-1]].removeprefix("sha256:") + "\n", "")
        if argv[0] == "ctr" and argv[-1].startswith("name=="):
            name = argv[-1].removeprefix("name==")
            row = f"{name} application/x {self.store.names.get(name, '-')} 1 MiB linux/amd64 -\n"
            return Completed(argv, 0, "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + row, "")
        return Completed(argv, 0, "amd64\n", "")

    def feed(self, argv: tuple[str, ...], chunks: Iterable[bytes]) -> Completed:
        if answer := self._answer(argv):
            return answer
        if argv[0] == "podman":
            names = self.store.docker(chunks, "localhost/")
            return Completed(argv, 0, "".join(f"Loaded image: {name}\n" for name in names), "")
        self.store.containerd(chunks)
        return Completed(argv, 0, "", "")


@pytest.fixture
def layouts(tmp_path: Path) -> Path:
    """Layouts of production (both platforms) and base (arm64 alone)."""
    blobs = Blobs(tmp_path / "blobs")
    folder = tmp_path / "images"
    write_layout(folder / "production", blobs.image("one"), blobs)
    only = blobs.image("two", tag="base", platforms=[Platform.ARM64])
    write_layout(folder / "base", only, blobs)
    return folder


def loaded(
    engine: Engine, layouts: Path, *targets: str, platforms: tuple[str, ...] = ()
) -> LoadReport:
    request = LoadRequest(targets=targets, platforms=platforms, images=layouts)
    return load(request, Silent(), {"it": lambda: engine})


def ids(layouts: Path, target: str = "production") -> dict[Platform, str]:
    """Return what classic engines call the image of each platform."""
    image = open_layout(layouts / target)
    return {part.platform: part.config.descriptor.digest for part in image.images}


def names(report: LoadReport) -> dict[str, str]:
    return {held.name: held.id for image in report.images for held in image.held}


def test_docker_has_a_tag_for_each_platform_and_its_own_also_plain(
    layouts: Path, library: types.ModuleType
) -> None:
    client: Any = FakeClient()
    report = loaded(Docker(client, Platform.ARM64, False), layouts)
    amd64, arm64 = ids(layouts).values()
    assert names(report) == {
        "example:production-amd64": amd64,
        "example:production": arm64,
        "example:production-arm64": arm64,
    }
    assert client.store.names == names(report)


def test_docker_with_containerd_inside_has_the_whole_under_one_name(
    layouts: Path, library: types.ModuleType
) -> None:
    client: Any = FakeClient(containerd=True)
    report = loaded(Docker(client, Platform.AMD64, True), layouts)
    top = open_layout(layouts / "production").top.descriptor.digest
    assert names(report) == {"example:production": top}
    assert report.images[0].held[0].platforms == tuple(Platform)


def test_podman_reads_a_docker_archive_so_that_health_checks_stay(layouts: Path) -> None:
    commands = Commands()
    report = loaded(Podman(Platform.AMD64, commands.run, commands.feed), layouts)
    amd64, arm64 = ids(layouts).values()
    assert names(report) == {
        "localhost/example:production": amd64,
        "localhost/example:production-amd64": amd64,
        "localhost/example:production-arm64": arm64,
    }
    assert not {"index.json", "oci-layout"} & set(commands.store.files)


def test_containerd_keeps_the_index_in_the_namespace_that_was_asked_for(layouts: Path) -> None:
    commands = Commands()
    engine = Containerd(Platform.AMD64, "k8s.io", commands.run, commands.feed)
    report = loaded(engine, layouts)
    top = open_layout(layouts / "production").top.descriptor.digest
    assert names(report) == {"docker.io/library/example:production": top}
    ctr = ("ctr", "--namespace", "k8s.io", "images")
    assert commands.argvs[0] == (*ctr, "import", "--all-platforms", "-")
    assert all(argv[:4] == ctr for argv in commands.argvs)


def test_containerd_does_not_unpack_what_is_for_other_machines(layouts: Path) -> None:
    commands = Commands()
    engine = Containerd(Platform.AMD64, "default", commands.run, commands.feed)
    loaded(engine, layouts, platforms=("arm64",))
    assert "--no-unpack" in commands.argvs[0]


def test_one_platform_of_several_gets_the_plain_name(
    layouts: Path, library: types.ModuleType
) -> None:
    client: Any = FakeClient()
    report = loaded(Docker(client, Platform.AMD64, False), layouts, platforms=("aarch64",))
    assert names(report) == {"example:production": ids(layouts)[Platform.ARM64]}


def test_all_means_every_layout_and_all_platforms_means_those_that_are_there(
    layouts: Path,
) -> None:
    commands = Commands()
    engine = Podman(Platform.AMD64, commands.run, commands.feed)
    report = loaded(engine, layouts, "all", platforms=("all",))
    assert [image.target for image in report.images] == ["base", "production"]
    assert [len(image.held) for image in report.images] == [1, 3]
    assert [document["target"] for document in report.to_json()["images"]] == [
        "base",
        *["production"] * 3,
    ]


def test_a_layout_can_be_given_by_itself(layouts: Path) -> None:
    commands = Commands()
    engine = Podman(Platform.ARM64, commands.run, commands.feed)
    report = loaded(engine, layouts / "base")
    assert names(report) == {"localhost/example:base": ids(layouts, "base")[Platform.ARM64]}
    with pytest.raises(OptionInvalid, match="one image"):
        loaded(engine, layouts / "base", "base")


@pytest.mark.parametrize(
    ("targets", "platforms", "error", "text"),
    [
        (["development"], [], ImageMissing, "development; build it first: invoke build"),
        (["prodution"], [], UnknownTarget, "did you mean 'production'"),
        (["base"], ["amd64"], ImageMissing, "is not for linux/amd64, but for linux/arm64"),
    ],
)
def test_what_is_not_built_is_said_before_an_engine_is_asked(
    layouts: Path,
    targets: list[str],
    platforms: list[str],
    error: type[PipelineError],
    text: str,
) -> None:
    def never() -> Engine:
        raise AssertionError("asked an engine")

    request = LoadRequest(targets=targets, platforms=platforms, images=layouts)
    with pytest.raises(error, match=text):
        load(request, Silent(), {"it": never})


def test_all_of_nothing_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing, match="there is no image in"):
        load(LoadRequest(targets=["all"], images=tmp_path), Silent(), {})


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_layout_without_all_of_its_layers_is_not_sent(layouts: Path, damage: str) -> None:
    image = open_layout(layouts / "production")
    path = blob_path(layouts / "production", image.layer_digests()[0])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    commands = Commands()
    with pytest.raises(ImageInvalid, match=r"layer sha256:[0-9a-f]{64} is missing or cut off"):
        loaded(Podman(Platform.AMD64, commands.run, commands.feed), layouts)
    assert commands.argvs == []


def swapped(store: Store, image: NamedImage) -> None:
    found = (image.top, *(part.config for part in image.images))
    store.swaps = {document.descriptor.digest: f"sha256:{'0' * 64}" for document in found}


@pytest.mark.parametrize("kind", ["docker", "podman", "containerd"])
def test_an_engine_that_has_something_else_afterwards_is_a_failure(
    layouts: Path, library: types.ModuleType, kind: str
) -> None:
    client: Any = FakeClient()
    commands = Commands()
    engine: Engine
    if kind == "docker":
        engine, store = Docker(client, Platform.AMD64, False), client.store
    elif kind == "podman":
        engine, store = Podman(Platform.AMD64, commands.run, commands.feed), commands.store
    else:
        engine = Containerd(Platform.AMD64, "default", commands.run, commands.feed)
        store = commands.store
    swapped(store, open_layout(layouts / "production"))
    with pytest.raises(EngineFailed, match=r"as sha256:0{64}, and sha256:[0-9a-f]{64} was sent"):
        loaded(engine, layouts)


def test_docker_s_own_error_is_passed_on_in_one_line(
    layouts: Path, library: types.ModuleType
) -> None:
    client: Any = FakeClient(answers=[{"error": "invalid diffID\nfor layer 0"}])
    with pytest.raises(EngineFailed, match=r"invalid diffID for layer 0$"):
        loaded(Docker(client, Platform.AMD64, False), layouts)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RefusedError("500"), "Docker refused: no space left on device"),
        (DockerError("a", ConnectionResetError(104, "Connection reset by peer")), "reset by peer"),
        (BrokenPipeError(32, "Broken pipe"), "broke off: broken pipe"),
    ],
)
def test_a_connection_that_breaks_is_one_line(
    layouts: Path, library: types.ModuleType, error: Exception, text: str
) -> None:
    client: Any = FakeClient()

    def broken(archive: Iterable[bytes]) -> Iterator[Mapping[str, str]]:
        next(iter(archive))
        raise error

    client.api.load_image = broken
    with pytest.raises(EngineFailed, match=text) as caught:
        loaded(Docker(client, Platform.AMD64, False), layouts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stderr", "text"),
    [
        (
            "Copying blob\nError: no space left on device\n\n",
            "Podman did not load the image: no sp",
        ),
        (
            'time="2026-01-01T00:00:00Z" level=fatal msg="the \\"store\\" is old"\n',
            'the "store" is',
        ),
        ("", "'podman' exited with 125 and said nothing"),
    ],
)
def test_a_command_s_last_word_is_the_reason(layouts: Path, stderr: str, text: str) -> None:
    commands = Commands(load=(125, "", stderr))
    with pytest.raises(EngineFailed, match=text):
        loaded(Podman(Platform.AMD64, commands.run, commands.feed), layouts)


def test_a_podman_that_names_nothing_has_loaded_nothing(layouts: Path) -> None:
    commands = Commands(load=(0, "done\n", ""))
    with pytest.raises(EngineFailed, match="does not say that it loaded example:production"):
        loaded(Podman(Platform.AMD64, commands.run, commands.feed), layouts)


def test_a_containerd_that_lists_nothing_has_loaded_nothing(layouts: Path) -> None:
    commands = Commands(list=(0, "REF TYPE DIGEST\n", ""))
    with pytest.raises(EngineFailed, match="as nothing, and sha256"):
        loaded(Containerd(None, "default", commands.run, commands.feed), layouts)


def test_a_layout_without_a_name_gets_the_description_s(layouts: Path) -> None:
    index = json.loads((layouts / "base" / "index.json").read_bytes())
    del index["manifests"][0]["annotations"]
    (layouts / "base" / "index.json").write_text(json.dumps(index))
    commands = Commands()
    report = loaded(Podman(None, commands.run, commands.feed), layouts, "base")
    assert list(names(report)) == ["localhost/accelerapp:base"]


# Which engine


def absent(reason: str) -> Callable[[], Engine]:
    def connect() -> Engine:
        raise EngineUnavailable(reason)

    return connect


def test_the_first_engine_that_answers_is_taken() -> None:
    engine = Podman(None)
    assert find_engine({"docker": absent("no"), "podman": lambda: engine}) is engine


def test_no_engine_names_all_that_was_tried_and_why() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        find_engine({"docker": absent("its socket: gone"), "podman": absent("is not installed")})
    assert "docker (its socket: gone), podman (is not installed)" in caught.value.message


def test_the_order_is_docker_podman_containerd() -> None:
    assert list(connectors(None, None)) == ["docker", "podman", "containerd"]
    assert list(connectors("podman", None)) == ["podman"]
    assert list(connectors("containerd", "k8s.io")) == ["containerd"]


@pytest.mark.parametrize(
    ("into", "namespace", "text"),
    [
        ("dokcer", None, "did you mean 'docker'"),
        ("docker", "k8s.io", "add --into containerd"),
        (None, "k8s.io", "add --into containerd"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    into: str | None, namespace: str | None, text: str
) -> None:
    with pytest.raises(OptionInvalid, match=text):
        connectors(into, namespace)


def test_docker_is_reached_where_its_client_would_reach_it(
    library: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Any]] = []

    def client(**options: Any) -> FakeClient:
        seen.append(("context", options.get("base_url")))
        return FakeClient(containerd=True)

    def from_env(**options: Any) -> FakeClient:
        seen.append(("environment", None))
        return FakeClient()

    vars(library).update(DockerClient=client, from_env=from_env)
    found = connect_docker(asked=False)
    assert (found.platform, found.keeps_indexes) == (Platform.ARM64, True)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert not connect_docker(asked=False).keeps_indexes
    assert seen == [("context", "unix:///run/user/context.sock"), ("environment", None)]


def test_a_docker_that_does_not_answer_says_where_and_why(library: types.ModuleType) -> None:
    def client(**options: Any) -> FakeClient:
        raise DockerError("version", OSError("x", PermissionError(13, "Permission denied")))

    vars(library)["DockerClient"] = client
    with pytest.raises(EngineUnavailable, match=r"^unix:///run/user/context.sock: permission"):
        connect_docker(asked=False)


def test_a_docker_of_windows_containers_is_none(library: types.ModuleType) -> None:
    client = FakeClient()
    client.version = lambda: {"Os": "windows", "Arch": "amd64"}  # type: ignore[method-assign]
    vars(library)["DockerClient"] = lambda **options: client
    with pytest.raises(EngineUnavailable, match="it runs containers of windows"):
        connect_docker(asked=False)


@pytest.mark.parametrize("sign", ["flag", "DOCKER_HOST", "client"])
def test_where_docker_may_be_its_library_is_needed(
    sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: "x" if sign == "client" else None)
    if sign == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere")
    with pytest.raises(ToolMissing, match="Python package docker"):
        find_engine({"docker": lambda: connect_docker(asked=sign == "flag"), "x": absent("y")})


def test_where_docker_is_not_the_next_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(EngineUnavailable, match="it is not installed"):
        connect_docker(asked=False)


def test_commands_answer_or_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINERD_NAMESPACE", raising=False)
    commands = Commands()
    assert connect_podman(commands.run).platform is Platform.AMD64
    assert connect_containerd(None, commands.run).namespace == "default"
    monkeypatch.setenv("CONTAINERD_NAMESPACE", "k8s.io")
    assert connect_containerd(None, commands.run).namespace == "k8s.io"
    assert connect_containerd("mine", commands.run).namespace == "mine"
    broken = Commands(info=(125, "", "Error: storage is locked\n"), version=(1, "", "ctr: down\n"))
    with pytest.raises(EngineUnavailable, match=r"^storage is locked$"):
        connect_podman(broken.run)
    with pytest.raises(EngineUnavailable, match=r"^down$"):
        connect_containerd(None, broken.run)


@pytest.mark.parametrize("error", [ToolMissing("'podman' is not installed"), TimeoutError("late")])
def test_a_command_that_is_missing_or_hangs_is_an_engine_that_does_not_answer(
    error: Exception,
) -> None:
    def runner(argv: tuple[str, ...], **_: Any) -> Completed:
        raise error

    with pytest.raises(EngineUnavailable, match=r"is not installed|late"):
        connect_podman(runner)


def test_an_architecture_that_nobody_builds_for_has_no_plain_name(layouts: Path) -> None:
    commands = Commands(info=(0, "riscv64\n", ""))
    found = connect_podman(commands.run)
    assert found.platform is None
    report = loaded(dataclasses.replace(found, feeder=commands.feed), layouts)
    assert list(names(report)) == [
        "localhost/example:production-amd64",
        "localhost/example:production-arm64",
    ]
