"""Real tools for the integration tests: an engine to run images in, other people's readers.

A tool that is not here skips its tests on a user's machine, with the reason and what
went unchecked. Where `CI` is set the tool is meant to be here (`.ci/host.sh` installs
it), so its absence fails. Nothing is looked for before a test asks for it.
"""

from __future__ import annotations

import os
import platform as host_platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pipeline.platforms import Platform
from tests.integration.browser import Browser, Tab
from tests.integration.building import (
    ROOT,
    SETTINGS,
    BuiltImage,
    Checkout,
    commit_all,
    copy_repository,
    read_image,
)
from tests.integration.debian_base import load_debian
from tests.integration.registry import FaultProxy, LocalRegistry, running_registry
from tests.integration.shop import HERMETIC, Shop

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

RunImage = Callable[..., AbstractContextManager["Container"]]
LoadArchive = Callable[[Path], tuple[str, ...]]

TRIVY_DATABASE = Path(__file__).parent.parent / "data" / "trivy-db"
API_TIMEOUT_S = 300


def absent(tool: str, *, unchecked: str, reason: str) -> NoReturn:
    """Fail where `CI` is set, skip elsewhere. `unchecked` says what nobody looked at.

    `ACCELERAPP_MISSING_TOOLS=skip` is for a CI without `.ci/host.sh`, on machines of other people.
    """
    message = f"{tool} is not here: {reason}. Not checked: {unchecked}"
    in_ci = os.environ.get("CI", "").lower() not in {"", "0", "false"}
    if in_ci and os.environ.get("ACCELERAPP_MISSING_TOOLS") != "skip":
        pytest.fail(f"{message}. CI is meant to have it: see .ci/host.sh", pytrace=False)
    pytest.skip(message)


def find_tool(name: str, *, unchecked: str) -> Path:
    """Return the absolute path of a program on PATH; without it, see `absent`."""
    found = shutil.which(name)
    if found is None:
        absent(name, unchecked=unchecked, reason="no such program on PATH")
    return Path(found).absolute()


@pytest.fixture(scope="session")
def skopeo() -> Path:
    """Return skopeo's path: reads layouts and archives with containers/image."""
    return find_tool("skopeo", unchecked="that containers/image can read what was built")


@pytest.fixture(scope="session")
def umoci() -> Path:
    """Return umoci's path: unpacks OCI images, and checks every digest on the way."""
    return find_tool("umoci", unchecked="that layers unpack to the intended root file system")


@pytest.fixture(scope="session")
def trivy() -> Path:
    """Return Trivy's path. Its database is `trivy_cache_dir`."""
    return find_tool("trivy", unchecked="that a scanner finds packages and can fail a build")


@pytest.fixture(scope="session")
def trivy_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a `--cache-dir` with the made-up database, whatever the machine's own holds."""
    cache_dir = tmp_path_factory.mktemp("trivy")
    (cache_dir / "db").mkdir()
    for name in ("trivy.db", "metadata.json"):
        shutil.copyfile(TRIVY_DATABASE / name, cache_dir / "db" / name)
    return cache_dir


@pytest.fixture(scope="session")
def syft() -> Path:
    """Return Syft's path."""
    return find_tool("syft", unchecked="that an SBOM lists what is in the image")


@pytest.fixture(scope="session")
def oras() -> Path:
    """Return oras's path: reads registries with code of its own."""
    return find_tool("oras", unchecked="that oras finds what was pushed")


@pytest.fixture(scope="session")
def cosign() -> Path:
    """Return cosign's path: signs images, and verifies signatures."""
    return find_tool("cosign", unchecked="that images can be signed, and signatures verified")


@pytest.fixture(scope="session")
def buildx() -> tuple[str, ...]:
    """Return the command of buildx, Docker's client for indexes."""
    unchecked = "that Docker's tools find what was pushed"
    docker = find_tool("docker", unchecked=unchecked)
    command = (str(docker), "buildx")
    done = subprocess.run((*command, "version"), capture_output=True, text=True, check=False)
    if done.returncode:
        absent("buildx", unchecked=unchecked, reason=done.stderr.strip())
    return command


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """Return the path of Debian's registry (Distribution 2.8)."""
    return find_tool("docker-registry", unchecked="that a registry takes what is pushed")


@pytest.fixture
def registry(registry_program: Path, tmp_path: Path) -> Iterator[LocalRegistry]:
    """Yield an empty registry of this test's own, on loopback."""
    with running_registry(registry_program, tmp_path / "registry") as found:
        yield found


@pytest.fixture
def registry_with_auth(registry_program: Path, tmp_path: Path) -> Iterator[LocalRegistry]:
    """Yield an empty registry that wants the name and the password of `registry.basic`."""
    folder = tmp_path / "registry-with-auth"
    with running_registry(registry_program, folder, password=True) as found:
        yield found


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerClient]:
    """Yield a client of the engine that DOCKER_HOST names, or of the machine's own."""
    reason: str | None = None
    try:
        import docker

        client = docker.from_env(timeout=API_TIMEOUT_S)
    except ImportError as error:
        reason = str(error)
    except docker.errors.DockerException as error:
        reason = str(error)
    if reason is not None:
        unchecked = "that images load and run in Docker Engine"
        absent("Docker Engine", unchecked=unchecked, reason=reason)
    yield client
    client.close()


@pytest.fixture(scope="session")
def load_archive(docker_engine: docker.DockerClient) -> Iterator[LoadArchive]:
    """Yield a function: load an archive, return its images' ids in the archive's order.

    Images that were not in the engine before are removed when the session ends.
    (The SDK's own `images.load` loses ids when an archive has several untagged images.)
    """
    before = {image.id for image in docker_engine.images.list(all=True)}
    loaded: set[str] = set()
    api: Any = docker_engine.api

    def load(path: Path) -> tuple[str, ...]:
        with path.open("rb") as archive:
            answers = list(api.load_image(archive))
        report = "".join(answer.get("stream") or answer.get("error", "") for answer in answers)
        names = re.findall(r"^Loaded image(?: ID)?: (.+)$", report, re.MULTILINE)
        assert names, f"the engine loaded no image from {path}: {report}"
        ids = tuple(str(docker_engine.images.get(name).id) for name in names)
        loaded.update(ids)
        return ids

    yield load
    import docker

    for image_id in loaded - before:
        # A test that loads the same image under its name removes it, too.
        with suppress(docker.errors.ImageNotFound):
            docker_engine.images.remove(image_id, force=True)


@pytest.fixture(scope="session")
def run_image(docker_engine: docker.DockerClient) -> RunImage:
    """Return `run_image(image, platform, **kwargs)`: a running container, gone afterwards.

    `image` is an id or a tag that the engine has (nothing is pulled), `platform` a
    `Platform` or a spelling of one; the rest goes to `containers.create` of the SDK.
    A failure inside carries the end of the container's output.
    """

    @contextmanager
    def run(image: str, platform: Platform | str, **kwargs: Any) -> Iterator[Container]:
        target = platform if isinstance(platform, Platform) else Platform.parse(platform)
        require_emulation(docker_engine, target)
        container = docker_engine.containers.create(image, platform=str(target), **kwargs)
        try:
            container.start()
            yield container
        except Exception as error:
            output = container.logs(tail=50).decode(errors="replace")
            error.add_note(f"the container's output ({image}, {target}):\n{output}")
            raise
        finally:
            container.remove(force=True, v=True)

    return run


def require_emulation(engine: docker.DockerClient, target: Platform) -> None:
    """See `absent` when the engine is on this machine and its kernel cannot run `target`."""
    info = engine.info()
    if info["Architecture"] == target.kernel or info["Name"] != host_platform.node():
        return
    if not Path(f"/proc/sys/fs/binfmt_misc/qemu-{target.kernel}").exists():
        absent(
            f"emulation of {target}",
            unchecked=f"that the image runs on {target}",
            reason=f"no qemu-{target.kernel} in binfmt_misc",
        )


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return this repository with a cache for all tests.

    The cache is a new folder, or `ACCELERAPP_TEST_CACHE_DIR`, so that CI can keep it.
    """
    shared = os.environ.get("ACCELERAPP_TEST_CACHE_DIR")
    cache = Path(shared).absolute() if shared else tmp_path_factory.mktemp("cache")
    return Checkout(ROOT, cache)


@pytest.fixture(scope="session")
def layouts(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of `invoke build` for every target and platform."""
    folder = tmp_path_factory.mktemp("layouts")
    repository.build("--target", "all", "--platform", "all", "--output", folder)
    return folder


@pytest.fixture(scope="session")
def debian_image(docker_engine: docker.DockerClient) -> Callable[[Platform], str]:
    """Return a function: a platform's Debian image in the engine, for Dockerfiles to start from."""
    unchecked = "that Docker builds the images that are described"
    find_tool("mmdebstrap", unchecked=unchecked)

    @cache
    def load(platform: Platform) -> str:
        require_emulation(docker_engine, platform)
        return load_debian(docker_engine, SETTINGS.default_suite, platform)

    return load


@pytest.fixture(scope="session")
def docker_checkout(
    repository: Checkout, debian_image: Callable[[Platform], str]
) -> Callable[[Platform], Checkout]:
    """Return a function: this repository, where Dockerfiles start from a local Debian image."""

    def with_base(platform: Platform) -> Checkout:
        changes = {"ACCELERAPP_DEBIAN_IMAGE": debian_image(platform)}
        return replace(repository, environment={**(repository.environment or {}), **changes})

    return with_base


@pytest.fixture(scope="session")
def built_by_docker(
    docker_checkout: Callable[[Platform], Checkout], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Platform], Path]:
    """Return a function: the layout of a target that `--engine docker` built for a platform."""

    @cache
    def build(target: str, platform: Platform) -> Path:
        folder = tmp_path_factory.mktemp("by-docker")
        flags = ("--engine", "docker", "--target", target, "--platform", str(platform))
        docker_checkout(platform).build(*flags, "--output", folder)
        return folder / target

    return build


@pytest.fixture(scope="session")
def image_of(layouts: Path) -> Callable[[str, Platform], BuiltImage]:
    """Return a function from target and platform to what was built."""
    return lambda target, platform: read_image(layouts / target, platform)


@pytest.fixture(scope="session")
def loaded_image(
    repository: Checkout, load_archive: LoadArchive, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Platform], str]:
    """Return a function from target and platform to the id of its image in the engine."""

    @cache
    def load(target: str, platform: Platform) -> str:
        folder = tmp_path_factory.mktemp("archive")
        archive = folder / "image.tar"
        repository.build(
            *("--target", target, "--platform", str(platform)),
            *("--output", folder / "layout", "--archive", archive),
        )
        (image_id,) = load_archive(archive)
        shutil.rmtree(folder)
        return image_id

    return load


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Yield a running Chromium with a profile of its own."""
    program = find_tool("chromium", unchecked="that pages work in a browser")
    browser = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """Yield an empty tab whose complaints are kept."""
    context = browser.call("Target.createBrowserContext")["browserContextId"]
    target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)
    attached = browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    tab = Tab(browser, attached["sessionId"])
    for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
        tab.call(f"{domain}.enable")
    yield tab
    browser.call("Target.disposeBrowserContext", browserContextId=context)


@pytest.fixture(scope="module")
def committed(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy of this repository of one commit, which nobody else works on."""
    folder = commit_all(copy_repository(tmp_path_factory.mktemp("committed")))
    return Checkout(folder, repository.cache, environment=HERMETIC)


@pytest.fixture(scope="module")
def production(committed: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of `invoke build`: production, for every platform."""
    folder = tmp_path_factory.mktemp("production")
    committed.build("--platform", "all", "--output", folder)
    return folder


@pytest.fixture(scope="module")
def shop(
    committed: Checkout, registry_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Yield a registry for all tests that only add to it."""
    folder = tmp_path_factory.mktemp("registry")
    with (
        running_registry(registry_program, folder) as registry,
        FaultProxy(registry.address) as proxy,
    ):
        yield Shop(committed, registry, proxy)
