"""Built images into the container engine that is there, each checked when it has arrived.

An engine reads one archive an image, which is made while it reads: nothing is written on
the way and little is held in memory.  Docker and Podman keep one platform under a name, so
several get a tag with their architecture each; containerd keeps the index whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pipeline.commands import ALL, OUTPUT, ROOT, choose_targets, host_platform
from pipeline.errors import (
    EngineFailed,
    EngineUnavailable,
    ImageInvalid,
    ImageMissing,
    OptionInvalid,
    ToolMissing,
    UnsupportedPlatform,
    nearest,
)
from pipeline.flags import values_of
from pipeline.oci.archive import archive_chunks, engine_tags
from pipeline.oci.layout import NamedImage, blob_path, open_layout
from pipeline.platforms import Platform
from pipeline.process import Completed, Feeder, Runner, feed, run
from pipeline.report import Progress, megabytes
from pipeline.settings import read_settings

if TYPE_CHECKING:
    from docker import DockerClient

CONNECT_TIMEOUT_S = 15
LOAD_TIMEOUT_S = 600
DEFAULT_NAMESPACE = "default"
_LOADED = re.compile(r"^Loaded image(?:\(s\)|s)?: *(.+)$", re.MULTILINE)
_LOG_LINE = re.compile(r'time="[^"]*" level=\w+ msg="(.*)"')


@dataclass(frozen=True, slots=True)
class Held:
    """What an engine has under a name. `sent` and `id` are digests, equal when all is well."""

    name: str
    platforms: tuple[Platform, ...]
    sent: str
    id: str


class Engine(Protocol):
    """A container engine that answers."""

    title: ClassVar[str]
    """What people call it."""
    reads_layouts: ClassVar[bool]
    """Whether its archive is to be an OCI layout, too."""

    @property
    def platform(self) -> Platform | None:
        """What it runs without emulation, None when that is no platform of ours."""
        ...

    def load(self, image: NamedImage, archive: Iterable[bytes]) -> tuple[Held, ...]:
        """Give it the archive of `image`; return what it has then. Raises `EngineFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class Docker:
    """Docker Engine 20.10 or newer, by its API."""

    title: ClassVar[str] = "Docker"
    reads_layouts: ClassVar[bool] = True
    client: DockerClient
    platform: Platform | None
    keeps_indexes: bool
    """Whether it stores images in containerd, where a name is an index with all platforms."""

    def load(self, image: NamedImage, archive: Iterable[bytes]) -> tuple[Held, ...]:
        """Give it the archive of `image`; return what it has then. Raises `EngineFailed`."""
        with _docker_failures():
            for answer in self.client.api.load_image(archive):  # type: ignore[no-untyped-call]
                if "error" in answer:
                    raise EngineFailed(
                        f"Docker did not load the image: {_one_line(answer['error'])}"
                    )
            if self.keeps_indexes:
                name = f"{image.repository}:{image.tag}"
                held = str(self.client.images.get(name).id)
                platforms = tuple(part.platform for part in image.images)
                return (Held(name, platforms, image.top.descriptor.digest, held),)
            return tuple(
                Held(name, (platform,), sent, str(self.client.images.get(name).id))
                for name, platform, sent in _tagged(image, self.platform)
            )


@dataclass(frozen=True, slots=True)
class Podman:
    """Podman 4 or newer, by its command.

    It gets a Docker archive and nothing else: read as that, the image keeps its health
    check, which Podman knows in Docker's format only, and every platform arrives.
    """

    title: ClassVar[str] = "Podman"
    reads_layouts: ClassVar[bool] = False
    platform: Platform | None
    runner: Runner = run
    feeder: Feeder = feed

    def load(self, image: NamedImage, archive: Iterable[bytes]) -> tuple[Held, ...]:
        """Give it the archive of `image`; return what it has then. Raises `EngineFailed`."""
        done = self.feeder(("podman", "load"), archive)
        _check(done, "Podman did not load the image")
        # It puts a registry before the names: `localhost/accelerapp:production`.
        names = [name.strip() for line in _LOADED.findall(done.stdout) for name in line.split(",")]
        held = []
        for tag, platform, sent in _tagged(image, self.platform):
            name = next((name for name in names if f"/{name}".endswith(f"/{tag}")), None)
            if name is None:
                raise EngineFailed(
                    f"Podman does not say that it loaded {tag}",
                    hint="look at what it has: podman images",
                )
            found = self.runner(("podman", "image", "inspect", "--format", "{{.Id}}", name))
            _check(found, f"Podman does not have {name}")
            held.append(Held(name, (platform,), sent, f"sha256:{found.stdout.strip()}"))
        return tuple(held)


@dataclass(frozen=True, slots=True)
class Containerd:
    """containerd 1.6 or newer, by its command `ctr`.

    Kubernetes looks for images in the namespace `k8s.io`.
    """

    title: ClassVar[str] = "containerd"
    reads_layouts: ClassVar[bool] = True
    platform: Platform | None
    namespace: str = DEFAULT_NAMESPACE
    runner: Runner = run
    feeder: Feeder = feed

    def load(self, image: NamedImage, archive: Iterable[bytes]) -> tuple[Held, ...]:
        """Give it the archive of `image`; return what it has then. Raises `EngineFailed`."""
        ctr = ("ctr", "--namespace", self.namespace, "images")
        platforms = tuple(part.platform for part in image.images)
        # It can unpack its own platform alone, and refuses an image that has others only.
        unpack = () if self.platform in platforms else ("--no-unpack",)
        done = self.feeder((*ctr, "import", "--all-platforms", *unpack, "-"), archive)
        _check(done, "containerd did not import the image")
        name = f"docker.io/library/{image.repository}:{image.tag}"
        listed = self.runner((*ctr, "list", f"name=={name}"))
        _check(listed, f"containerd does not list {name}")
        lines = [line.split() for line in listed.stdout.splitlines()]
        row = next((line for line in lines if line[:1] == [name]), [])
        digest = next((cell for cell in row if cell.startswith("sha256:")), "nothing")
        return (Held(name, platforms, image.top.descriptor.digest, digest),)


def _tagged(image: NamedImage, preferred: Platform | None) -> Iterator[tuple[str, Platform, str]]:
    """Yield the names of an image where each is one platform, and the image's id there."""
    tags = engine_tags(image, preferred)
    for part in image.images:
        for tag in tags[part.platform]:
            yield tag, part.platform, part.config.descriptor.digest


def connect_docker(*, asked: bool) -> Docker:
    """Return the Docker Engine of DOCKER_HOST, of the client's context, or of this machine.

    Raises `EngineUnavailable`, and `ToolMissing` without the library where there may be an
    engine: `asked` for, or shown by its client.
    """
    try:
        import docker
        from docker.context import ContextAPI
    except ImportError:
        if not (asked or os.environ.get("DOCKER_HOST") or shutil.which("docker")):
            raise EngineUnavailable("it is not installed") from None
        raise ToolMissing(
            "the Python package docker, which talks to Docker Engine, is not installed",
            hint="pip install -r requirements/docker.txt, or choose another engine with --into",
        ) from None
    address = os.environ.get("DOCKER_HOST", "")
    try:
        if address:
            client = docker.from_env(timeout=CONNECT_TIMEOUT_S, use_ssh_client=True)
        else:
            context = ContextAPI.get_current_context()
            address = (context.Host if context is not None else None) or ""
            client = docker.DockerClient(
                base_url=address or None,
                tls=context.TLSConfig if context is not None else None,
                timeout=CONNECT_TIMEOUT_S,
                use_ssh_client=True,
            )
        version = client.version()
        driver = dict(client.info().get("DriverStatus") or ())
    except Exception as error:
        # The library passes on what it meets: its own errors, requests', urllib3's, ssh's.
        raise EngineUnavailable(f"{address or 'its socket'}: {_cause(error)}") from None
    if version.get("Os") != "linux":
        raise EngineUnavailable(f"{address}: it runs containers of {version.get('Os')}")
    client.api.timeout = LOAD_TIMEOUT_S
    return Docker(
        client,
        _platform(version.get("Arch", "")),
        str(driver.get("driver-type", "")).startswith("io.containerd."),
    )


def connect_podman(runner: Runner = run, feeder: Feeder = feed) -> Podman:
    """Return this user's Podman; raises `EngineUnavailable`."""
    done = _answer(runner, ("podman", "info", "--format", "{{.Host.Arch}}"))
    return Podman(_platform(done.stdout.strip()), runner, feeder)


def connect_containerd(
    namespace: str | None, runner: Runner = run, feeder: Feeder = feed
) -> Containerd:
    """Return the containerd of CONTAINERD_ADDRESS or of this machine.

    `namespace` is CONTAINERD_NAMESPACE's, or `default`, when it is None.  Raises
    `EngineUnavailable`.
    """
    _answer(runner, ("ctr", "version"))
    namespace = namespace or os.environ.get("CONTAINERD_NAMESPACE") or DEFAULT_NAMESPACE
    return Containerd(host_platform(), namespace, runner, feeder)


def _answer(runner: Runner, argv: tuple[str, ...]) -> Completed:
    try:
        done = runner(argv, timeout_s=CONNECT_TIMEOUT_S)
    except (ToolMissing, TimeoutError) as error:
        message = error.message if isinstance(error, ToolMissing) else str(error)
        raise EngineUnavailable(message) from None
    if not done.ok:
        raise EngineUnavailable(_last_line(done))
    return done


Connectors = Mapping[str, Callable[[], Engine]]
"""How to reach each engine, the one that is tried first at the front."""


def connectors(into: str | None, namespace: str | None) -> Connectors:
    """Return the engines that the flags leave to try; raises `OptionInvalid`."""
    known: Connectors = {
        "docker": partial(connect_docker, asked=into is not None),
        "podman": connect_podman,
        "containerd": partial(connect_containerd, namespace),
    }
    if namespace is not None and into != "containerd":
        raise OptionInvalid(
            "--namespace is containerd's", hint="add --into containerd, or leave it out"
        )
    if into is None:
        return known
    if into not in known:
        raise OptionInvalid(
            f"engine '{into}' is not known",
            hint=f"{nearest(into, known)} choose {', '.join(known)}".strip(),
        )
    return {into: known[into]}


def find_engine(engines: Connectors) -> Engine:
    """Return the first engine that answers.

    Raises `EngineUnavailable` with what was tried and why it did not do.
    """
    reasons = []
    for name, connect in engines.items():
        try:
            return connect()
        except EngineUnavailable as error:
            reasons.append(f"{name} ({error.message})")
    raise EngineUnavailable(
        f"no container engine answers: tried {', '.join(reasons)}",
        hint="start it, or choose another with --into"
        if len(reasons) == 1
        else "start one of them; 'invoke build' itself needs none",
    )


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """The flags of `invoke load`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    images: Path | None = None
    into: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A target, and what the engine has of it."""

    target: str
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was loaded, and into what."""

    engine: str
    images: tuple[Loaded, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "engine": self.engine.lower(),
            "images": [
                {
                    "target": image.target,
                    "name": held.name,
                    "platforms": [str(platform) for platform in held.platforms],
                    "id": held.id,
                }
                for image in self.images
                for held in image.held
            ],
            "seconds": round(self.seconds, 3),
        }


def load(request: LoadRequest, progress: Progress, engines: Connectors | None = None) -> LoadReport:
    """Load what was built; the engine is asked for the first time when all of it is there.

    Raises `ImageMissing` and `ImageInvalid` for layouts, `EngineUnavailable` and
    `EngineFailed`, and `OptionInvalid`.
    """
    begin_s = time.monotonic()
    engines = connectors(request.into, request.namespace) if engines is None else engines
    layouts = _layouts(request)
    images = {target: _chosen(target, path, request.platforms) for target, path in layouts.items()}
    engine = find_engine(engines)
    loaded = tuple(
        Loaded(target, _load(engine, image, layouts[target], progress))
        for target, image in images.items()
    )
    return LoadReport(engine.title, loaded, time.monotonic() - begin_s)


def _layouts(request: LoadRequest) -> dict[str, Path]:
    """Return the layout of each target: those of the flags, of `all` those that are built.

    Raises `UnknownTarget` for a name that neither the folder nor the description has.
    """
    folder = request.images or OUTPUT
    asked = values_of(request.targets)
    if request.images is not None and (folder / "index.json").exists():
        if asked:
            raise OptionInvalid(
                f"{folder} is one image, so --target chooses nothing",
                hint="leave it out, or give a folder of layouts with --images",
            )
        return {folder.resolve().name: folder}
    found: dict[str, Path] = {}
    for target in asked or ["production"]:
        if target == ALL:
            known = read_settings(ROOT).images if request.images is None else None
            found.update(
                (path.parent.name, path.parent)
                for path in sorted(folder.glob("*/index.json"))
                if known is None or path.parent.name in known
            )
        elif (folder / target / "index.json").exists():
            found[target] = folder / target  # Even one that is not described here.
        else:
            found.update(
                (name, folder / name) for name in choose_targets(read_settings(ROOT), (target,))
            )
    if not found:
        raise ImageMissing(f"there is no image in {folder}", hint="build it first: invoke build")
    return found


def _chosen(target: str, folder: Path, asked: Sequence[str]) -> NamedImage:
    """Return the image in a layout, with the platforms of the flags only."""
    image = open_layout(folder)
    if not image.repository:
        image = replace(image, repository=read_settings(ROOT).name, tag=target, index=image.top)
    has = [part.platform for part in image.images]
    every = any(part.strip().lower() == ALL for text in asked for part in text.split(","))
    wanted = Platform.parse_many(asked) if asked else ()
    for platform in () if every else wanted:
        if platform not in has:
            raise ImageMissing(
                f"the image in {folder} is not for {platform}, but for {', '.join(map(str, has))}",
                hint=f"build it: invoke build --target {target} --platform {ALL}",
            )
    if every or not wanted or set(wanted) == set(has):
        return image
    parts = tuple(part for part in image.images if part.platform in wanted)
    return replace(image, images=parts, index=None)


def _load(engine: Engine, image: NamedImage, folder: Path, progress: Progress) -> tuple[Held, ...]:
    size_bytes = _size_of_layers(image, folder)
    name = f"{image.repository}:{image.tag}"
    blob = partial(blob_path, folder)
    archive = archive_chunks([image], blob, preferred=engine.platform, layout=engine.reads_layouts)
    with progress.step(f"load {name} into {engine.title}", total_bytes=size_bytes) as step:

        def watched() -> Iterator[bytes]:
            for chunk in archive:
                step.advance(len(chunk))
                yield chunk

        with contextlib.closing(archive):  # Blobs are open, and an engine may stop reading.
            found = engine.load(image, watched())
        step.note(megabytes(size_bytes))
    for held in found:
        if held.id != held.sent:
            raise EngineFailed(
                f"{engine.title} has {held.name} as {held.id}, and {held.sent} was sent",
                hint="load it again, when nothing else writes that name",
            )
    return found


def _size_of_layers(image: NamedImage, folder: Path) -> int:
    """Return the size of an image's layers; raises `ImageInvalid` unless they are there."""
    sizes = {layer.digest: layer.size_bytes for part in image.images for layer in part.layers}
    for digest, size_bytes in sizes.items():
        path = blob_path(folder, digest)
        if not path.is_file() or path.stat().st_size != size_bytes:
            raise ImageInvalid(
                f"the layout in {folder} cannot be used: the layer {digest} is missing or cut off",
                hint="build or pull it again",
            )
    return sum(sizes.values())


@contextlib.contextmanager
def _docker_failures() -> Iterator[None]:
    """Turn what the library and the connection raise into `EngineFailed`."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise EngineFailed(f"Docker refused: {_one_line(error.explanation or error)}") from None
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineFailed(
            f"the connection to Docker broke off: {_cause(error)}",
            hint="look at the engine's log; its disk may be full",
        ) from None


def _check(done: Completed, failure: str) -> None:
    if not done.ok:
        raise EngineFailed(f"{failure}: {_last_line(done)}")


def _last_line(done: Completed) -> str:
    """Return the last thing that a command said, which is where engines put the reason."""
    for text in (done.stderr, done.stdout):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            logged = _LOG_LINE.fullmatch(lines[-1])
            line = logged[1].replace('\\"', '"') if logged else lines[-1]
            return re.sub(r"^(?:Error|ctr): ", "", line)
    return f"'{done.argv[0]}' exited with {done.returncode} and said nothing"


def _cause(error: BaseException) -> str:
    """Return what the system said at the bottom of an error, or else what the error says."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and isinstance(current.strerror, str):
            return current.strerror.lower()
        if isinstance(current, BaseException):
            waiting.extend((*current.args, current.__cause__, current.__context__))
    return _one_line(error)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _platform(architecture: str) -> Platform | None:
    try:
        return Platform.parse(architecture)
    except UnsupportedPlatform:
        return None
