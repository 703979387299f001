"""`invoke load` into Docker Engine, Podman and containerd as Debian has them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.oci.layout import write_layout
from pipeline.platforms import Platform
from tests.integration.building import Checkout, assert_refused, read_image, run, whole_layout
from tests.integration.conftest import absent, find_tool
from tests.unit.pipeline.oci.image_factory import Blobs

if TYPE_CHECKING:
    import docker

NAME = "accelerapp"
TARGETS = ("base", "production")
START_TIMEOUT_S = 30.0
needs_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="containerd, and Podman with storage of its own, need root. "
    "Not checked: what `invoke load` leaves in them",
)


@pytest.fixture(scope="module")
def layouts(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of `invoke build`: two targets, every platform."""
    folder = tmp_path_factory.mktemp("layouts")
    repository.build(
        *("--target", ",".join(TARGETS), "--platform", "all", "--output", folder),
    )
    return folder


@dataclass(frozen=True)
class Loader:
    """`invoke load` of what was built, with an environment that leads to one engine."""

    checkout: Checkout
    layouts: Path

    def invoke(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return self.checkout.invoke("load", "--images", self.layouts, *arguments)

    def __call__(self, *arguments: str) -> dict[str, str]:
        """Run it, which must succeed; return the id of each name."""
        done = self.invoke("--json", *arguments)
        assert done.returncode == 0, done.stderr
        return {image["name"]: image["id"] for image in json.loads(done.stdout)["images"]}

    def config_digest(self, platform: Platform, target: str = "production") -> str:
        """Return what engines call the image of a platform."""
        return str(read_image(self.layouts / target, platform).manifest["config"]["digest"])


@pytest.fixture
def load(repository: Checkout, layouts: Path) -> Loader:
    """Return a loader in the environment of the tests."""
    return Loader(replace(repository, environment={}), layouts)


def within(loader: Loader, variables: Mapping[str, str | None]) -> Loader:
    """Return a loader with these variables."""
    return replace(loader, checkout=replace(loader.checkout, environment=variables))


def expected_names(load: Loader, prefix: str = "") -> dict[str, str]:
    amd64, arm64 = (load.config_digest(platform) for platform in Platform)
    own = amd64 if Platform.host() is Platform.AMD64 else arm64
    return {
        f"{prefix}{NAME}:production": own,
        f"{prefix}{NAME}:production-amd64": amd64,
        f"{prefix}{NAME}:production-arm64": arm64,
    }


# Docker


@pytest.fixture
def names_in_docker(docker_engine: docker.DockerClient) -> Iterator[dict[str, str]]:
    """Yield the names that `load` will give; afterwards each is what it was before.

    The engine may be somebody else's, too: nothing but these names is touched.
    """
    names = [f"{NAME}:{t}{suffix}" for t in TARGETS for suffix in ("", "-amd64", "-arm64")]
    before: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(docker_errors().ImageNotFound):
            before[name] = str(docker_engine.images.get(name).id)
    # A name keeps the image that had it, so that it can be given back.
    for name, image_id in before.items():
        docker_engine.images.get(image_id).tag(f"{NAME}-kept", name.partition(":")[2])
    yield before
    for name in names:
        with contextlib.suppress(docker_errors().ImageNotFound):
            docker_engine.images.remove(name)
        if name in before:
            docker_engine.images.get(before[name]).tag(*name.split(":"))
            docker_engine.images.remove(f"{NAME}-kept:{name.partition(':')[2]}")


def docker_errors() -> Any:
    import docker.errors

    return docker.errors


@pytest.mark.parametrize("arguments", [("--into", "docker"), ()], ids=["asked", "found"])
def test_docker_has_every_platform_and_its_own_under_the_plain_name(
    load: Loader,
    docker_engine: docker.DockerClient,
    names_in_docker: dict[str, str],
    arguments: tuple[str, ...],
) -> None:
    found = load(*arguments)
    assert found == expected_names(load)
    for name, image_id in found.items():
        assert docker_engine.images.get(name).id == image_id


def test_docker_runs_what_was_loaded(
    load: Loader, docker_engine: docker.DockerClient, names_in_docker: dict[str, str]
) -> None:
    load("--into", "docker", "--platform", str(Platform.host()))
    output = docker_engine.containers.run(
        f"{NAME}:production", entrypoint=["accelerapp"], command=["--version"], remove=True
    )
    assert output.decode().startswith("accelerapp")


def test_several_targets_at_once_and_twice(
    load: Loader, docker_engine: docker.DockerClient, names_in_docker: dict[str, str]
) -> None:
    first = load("--into", "docker", "--target", "all")
    assert {name.partition("-")[0] for name in first} == {f"{NAME}:{target}" for target in TARGETS}
    assert load("--into", "docker", "--target", "all") == first


def test_docker_refuses_a_damaged_layer_and_nothing_gets_its_name(
    load: Loader,
    docker_engine: docker.DockerClient,
    names_in_docker: dict[str, str],
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "layouts"
    # Bytes that no engine has: what it has it does not read again.
    blobs = Blobs(tmp_path / "blobs")
    unique = blobs.image(secrets.token_hex(), platforms=[Platform.host()])
    write_layout(damaged / "production", unique, blobs)
    image = read_image(damaged / "production", Platform.host())
    layer = image.layers[-1]
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    for name in expected_names(load):
        with contextlib.suppress(docker_errors().ImageNotFound):
            docker_engine.images.remove(name)
    done = replace(load, layouts=damaged).invoke(
        "--into", "docker", "--platform", str(Platform.host())
    )
    assert_refused(done, 65, "Docker did not load the image", output=None)
    with pytest.raises(docker_errors().ImageNotFound):
        docker_engine.images.get(f"{NAME}:production")


# Podman


@pytest.fixture
def podman(load: Loader, tmp_path: Path) -> Iterator[Loader]:
    """Yield a loader into a Podman with storage of its own."""
    program = find_tool("podman", unchecked="that images load into Podman")
    settings = tmp_path / "storage.conf"
    settings.write_text(
        "[storage]\n"
        'driver = "vfs"\n'
        f'graphroot = "{tmp_path / "podman"}"\n'
        f'runroot = "{tmp_path / "podman-run"}"\n'
    )
    variables = {"CONTAINERS_STORAGE_CONF": str(settings), "DOCKER_HOST": None}
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(settings)}
    done = subprocess.run((program, "info"), env=environment, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode().strip()
        absent("Podman", unchecked="that images load into Podman", reason=reason)
    yield within(load, variables)
    # It leaves mounts in its storage, which keep pytest from removing the folder.
    subprocess.run(
        (program, "system", "reset", "--force"), env=environment, capture_output=True, check=False
    )


@needs_root
def test_podman_has_every_platform_and_its_health_check(podman: Loader) -> None:
    assert podman("--into", "podman") == expected_names(podman, "localhost/")
    variables = {**os.environ, **(podman.checkout.environment or {})}
    found = subprocess.run(
        ("podman", "image", "inspect", f"{NAME}:production"),
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        check=True,
    )
    (image,) = json.loads(found.stdout)
    assert f"sha256:{image['Id']}" == podman.config_digest(Platform.host())
    assert image["Architecture"] == Platform.host().architecture
    assert image["Healthcheck"]["Test"][0] == "CMD"


# containerd


@pytest.fixture
def containerd(load: Loader) -> Iterator[Loader]:
    """Yield a loader into a containerd that runs for this test."""
    program = find_tool("containerd", unchecked="that images load into containerd")
    find_tool("ctr", unchecked="that images load into containerd")
    # Sockets must fit 108 bytes, which pytest's folders do not leave room for.
    with tempfile.TemporaryDirectory(prefix="ctd-") as name:
        folder = Path(name)
        (folder / "config.toml").write_text(
            'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'root = "{folder}/root"\nstate = "{folder}/state"\n'
            f'[grpc]\naddress = "{folder}/sock"\n'
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                (program, "--config", folder / "config.toml"), stdout=log, stderr=log
            )
        try:
            _wait_for(folder, process)
            yield within(
                load, {"CONTAINERD_ADDRESS": f"{folder}/sock", "CONTAINERD_NAMESPACE": None}
            )
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    version = ("ctr", "--address", folder / "sock", "--connect-timeout", "1s", "version")
    while subprocess.run(version, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            absent(
                "containerd",
                unchecked="that images load into containerd",
                reason=(folder / "log").read_text()[-500:],
            )
        time.sleep(0.05)


def ctr(loader: Loader, *arguments: str) -> str:
    """Run ctr on the test's own containerd."""
    address = (loader.checkout.environment or {})["CONTAINERD_ADDRESS"]
    return run(("ctr", "--address", str(address), *arguments))


@needs_root
def test_containerd_keeps_the_index_and_all_of_its_platforms(containerd: Loader) -> None:
    name = f"docker.io/library/{NAME}:production"
    digest = whole_layout(containerd.layouts / "production")
    assert containerd("--into", "containerd") == {name: digest}
    listed = ctr(containerd, "--namespace", "default", "images", "list")
    assert str(digest) in listed
    assert "linux/amd64,linux/arm64/v8" in listed
    held = ctr(containerd, "--namespace", "default", "content", "list", "--quiet").split()
    for platform in Platform:
        image = read_image(containerd.layouts / "production", platform)
        assert {layer["digest"] for layer in image.manifest["layers"]} <= set(held)


@needs_root
def test_containerd_has_it_where_kubernetes_looks_even_for_another_machine(
    containerd: Loader,
) -> None:
    (other,) = (platform for platform in Platform if platform is not Platform.host())
    options = ("--into", "containerd", "--namespace", "k8s.io", "--platform", str(other))
    name = f"docker.io/library/{NAME}:production"
    assert list(containerd(*options)) == [name]
    assert ctr(containerd, "--namespace", "default", "images", "list", "--quiet") == ""
    assert name in ctr(containerd, "--namespace", "k8s.io", "images", "list", "--quiet")


# Refusals


def test_without_an_engine_it_is_64_and_says_what_was_tried(load: Loader, tmp_path: Path) -> None:
    nowhere = {
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "CONTAINERD_ADDRESS": f"{tmp_path}/no.sock",
        "PATH": str(tmp_path),
    }
    done = within(load, nowhere).invoke()
    expected = ("docker (", "no.sock: no such file", "podman (", "containerd (")
    assert_refused(done, 64, *expected, output=None)
    assert_refused(within(load, nowhere).invoke("--into", "docker"), 64, "no.sock", output=None)


def test_what_is_not_built_is_66(load: Loader, tmp_path: Path) -> None:
    done = load.invoke("--target", "development")
    assert_refused(done, 66, "development", "invoke build", output=None)


def test_flags_that_make_no_sense_are_15(load: Loader) -> None:
    assert_refused(load.invoke("--into", "dokcer"), 15, "did you mean 'docker'", output=None)
    assert_refused(load.invoke("--namespace", "k8s.io"), 15, "--into containerd", output=None)
