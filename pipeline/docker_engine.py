"""The same images by Docker: rendered Dockerfiles built by BuildKit, then made ours.

What BuildKit exports is normalised (`pipeline.oci.converted`) and gets documents of our
own, so that layouts, archives and reports are those of the daemonless engine.  A layer that
was converted before comes from the cache: the same inputs and BuildKit's cache give the
same digests.
"""

from __future__ import annotations

import contextlib
import platform as host_platform
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import build_secrets
from pipeline.atomic import writing
from pipeline.build import BuiltLayer, BuiltPlatform, MadeImage
from pipeline.buildkit import (
    PROXY_VARIABLES,
    Builder,
    BuildOrder,
    Failure,
    PlainProgress,
    Redactor,
    Way,
    build_argv,
    check_platform,
    find_builder,
)
from pipeline.cache import Cache, key_of
from pipeline.dockerfile import (
    BUILD_REQUIREMENTS,
    COMMAND,
    dockerfile_of,
    render,
    render_build_requirements,
    render_dockerignore,
)
from pipeline.errors import (
    EngineFailed,
    EngineUnavailable,
    EngineUnsuitable,
    RenderedStale,
    ToolMissing,
)
from pipeline.lock import Lock
from pipeline.oci.converted import ExportedConfig, open_export, read_config
from pipeline.oci.image import Format, ImageDocuments, ImageLayer, image_documents
from pipeline.oci.layer import check_compressor
from pipeline.oci.layout import NamedImage
from pipeline.plan import ImagePlan, Plan, builder_digest
from pipeline.platforms import Platform
from pipeline.process import Runner, Streamer, run, stream
from pipeline.report import Progress
from pipeline.settings import Settings, fill_in

if TYPE_CHECKING:
    import docker

ENGINE = "docker"
BASE_IMAGE_VARIABLE = "ACCELERAPP_DEBIAN_IMAGE"

_BASE_ARGUMENT = "DEBIAN_IMAGE"
_OLDEST_ENGINE = (20, 10)
_API_TIMEOUT_S = 900  # The engine writes a whole image to its disk before it sends a byte.
_CHUNK_BYTES = 2 << 20
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
# Decided by a commit, so that Dockerfiles cannot have them.
_COMMIT_LABELS = tuple(
    f"org.opencontainers.image.{name}" for name in ("created", "revision", "version")
)
_DAEMONLESS = "use '--engine daemonless', which needs no Docker"


@dataclass(frozen=True, slots=True)
class DockerBuild:
    """Targets of a plan for Docker to build, and what it takes."""

    plan: Plan
    """Of these targets alone."""
    settings: Settings
    """As they were read."""
    lock: Lock
    builder: Builder
    base_image: str = ""
    """What Dockerfiles start from instead of the suite's Debian image; `{suite}` and
    `{architecture}` stand for those of the build."""
    mirrors: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    apt_root: Path = Path("/etc/apt")

    def dockerfile(self, target: str) -> str:
        """Return the text of the Dockerfile with `target`, as it is built."""
        file = dockerfile_of(self.settings, target)
        return render(self.settings, self.lock, self.plan.suite, file)

    def order(self, image: ImagePlan, dockerfile: Path, files: Mapping[str, Path]) -> BuildOrder:
        """Return what to build for `image`; `files` are secrets by id."""
        arguments: dict[str, str | None] = {"SOURCE_DATE_EPOCH": str(self.plan.epoch_s)}
        if self.base_image and f"ARG {_BASE_ARGUMENT}=" in self.dockerfile(image.target):
            text = fill_in(self.base_image, self.plan.suite)
            text = text.replace("{architecture}", image.platform.architecture)
            arguments[_BASE_ARGUMENT] = text
        arguments.update({name: None for name in PROXY_VARIABLES if self.environ.get(name)})
        labels = self.plan.annotations[image.target]
        return BuildOrder(
            dockerfile=dockerfile,
            context=self.settings.root,
            target=image.target,
            platform=image.platform,
            labels={name: labels[name] for name in _COMMIT_LABELS if name in labels},
            build_args=arguments,
            secrets=files,
        )

    def secrets(self, folder: Path, runner: Runner = run) -> build_secrets.BuildSecrets:
        """Write what the build must know and the image must not into `folder`."""
        return build_secrets.gather(
            folder,
            suite=self.plan.suite.name,
            mirrors=self.mirrors,
            environ=self.environ,
            apt_root=self.apt_root,
            runner=runner,
        )

    def commands(self) -> Mapping[tuple[str, Platform], tuple[str, ...]]:
        """Return the command for each target and platform; `…` is what a build makes first."""
        folder = Path("…")
        with tempfile.TemporaryDirectory() as scratch:
            secret_files = {name: folder / name for name in self.secrets(Path(scratch)).files}
        return {
            (image.target, image.platform): build_argv(
                self.builder,
                self.order(image, folder / "Dockerfile", secret_files),
                str(folder / "image.tar") if self.builder.way is Way.EXPORT else "…",
            )
            for image in self.plan.images
        }


def prepare(
    plan: Plan,
    settings: Settings,
    lock: Lock,
    *,
    builder: str | None,
    base_image: str,
    mirrors: Sequence[str],
    environ: Mapping[str, str],
    runner: Runner = run,
) -> DockerBuild:
    """Return what Docker would build; raises what `find_builder` and rendering raise.

    Raises `RenderedStale` when a rendered file that Dockerfiles read is not current.
    """
    if any(image.project for target in _targets(plan) for image in settings.chain(target)):
        _check_build_requirements(settings, lock)
    prepared = DockerBuild(
        plan=plan,
        settings=settings,
        lock=lock,
        builder=find_builder(builder, runner),
        base_image=base_image,
        mirrors=mirrors,
        environ=environ,
    )
    for target in _targets(plan):
        prepared.dockerfile(target)
    return prepared


def _targets(plan: Plan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(image.target for image in plan.images))


def _check_build_requirements(settings: Settings, lock: Lock) -> None:
    """Raise `RenderedStale` unless the file is current that stages mount from the context."""
    path = settings.root / BUILD_REQUIREMENTS
    if not lock.build_requirements:
        return
    try:
        current = path.read_text(encoding="utf-8") == render_build_requirements(lock)
    except (OSError, UnicodeDecodeError):
        current = False
    if not current:
        raise RenderedStale(
            f"{BUILD_REQUIREMENTS} is not what the lock renders", hint=f"run '{COMMAND}'"
        )


def make_images(
    build: DockerBuild,
    cache: Cache,
    format: Format,
    *,
    progress: Progress,
    runner: Runner = run,
    streamer: Streamer = stream,
) -> tuple[MadeImage, ...]:
    """Build every target for every platform, each on its own, and convert what came out.

    Raises `EngineUnavailable` without an engine, `EngineUnsuitable` for a platform that it
    cannot run, `EngineFailed` for a build that failed, and `ImageInvalid`.
    """
    check_compressor()
    with contextlib.ExitStack() as stack:
        engine: Engine | None = None
        if build.builder.way is not Way.EXPORT:
            engine = stack.enter_context(connect(build.environ, runner))
        for image in build.plan.images:
            if engine is None:
                check_platform(build.builder, image.platform)
            else:
                engine.check_platform(image.platform)
        made = []
        for target in _targets(build.plan):
            images = [image for image in build.plan.images if image.target == target]
            parts = [
                _make(build, image, cache, format, engine, progress, runner, streamer)
                for image in images
            ]
            annotations = build.plan.annotations[target]
            named = NamedImage(
                repository=build.plan.settings.name,
                tag=build.plan.tag(target),
                images=tuple(documents for documents, _ in parts),
                format=format,
                annotations=annotations,
            )
            made.append(MadeImage(target, named, tuple(part for _, part in parts), ENGINE))
    return tuple(made)


def _make(
    build: DockerBuild,
    image: ImagePlan,
    cache: Cache,
    format: Format,
    engine: Engine | None,
    progress: Progress,
    runner: Runner,
    streamer: Streamer,
) -> tuple[ImageDocuments, BuiltPlatform]:
    """Build one target for one platform."""
    with tempfile.TemporaryDirectory(dir=cache.temporary_folder(), prefix="docker-") as name:
        folder = Path(name)  # Nobody else can look into it.
        found = build.secrets(folder, runner)
        for mirror in found.left_out:
            progress.say(f"note: a Docker build does not reach the mirror {mirror}")
        dockerfile = folder / "Dockerfile"
        with writing(folder):
            dockerfile.write_text(build.dockerfile(image.target), encoding="utf-8")
            ignore = folder / f"{dockerfile.name}.dockerignore"
            ignore.write_text(render_dockerignore(build.settings), encoding="utf-8")
        order = build.order(image, dockerfile, found.files)
        archive = folder / "image.tar"
        if engine is None:
            argv = build_argv(build.builder, order, str(archive))
            _run(build.builder, argv, order, cache, progress, found.redact, streamer)
            return _converted(archive, image, build.plan, cache, format, progress)
        # A tag that nobody else has: what it names can be looked at, and removed, safely.
        tag = f"{build.plan.settings.name}-build:{secrets.token_hex(8)}"
        try:
            argv = build_argv(build.builder, order, tag)
            _run(build.builder, argv, order, cache, progress, found.redact, streamer)
            config = _known_config(engine.image_id(tag), cache)
            layers = _known_layers(config, build.plan, cache) if config is not None else None
            if config is not None and layers is not None:
                return _documents(config, layers, image, build.plan, format)
            with progress.step(f"{image.target} {image.platform}: export") as step:
                step.note(f"{engine.save(tag, archive) / 1e6:.1f} MB")
            return _converted(archive, image, build.plan, cache, format, progress)
        finally:
            engine.remove(tag)


def _run(
    builder: Builder,
    argv: tuple[str, ...],
    order: BuildOrder,
    cache: Cache,
    progress: Progress,
    redact: Redactor,
    streamer: Streamer,
) -> None:
    """Run the build; raises `EngineFailed`, and keeps the log then."""
    log = cache.folder / "logs" / f"docker-{order.target}-{order.platform.architecture}.log"
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("w", encoding="utf-8")
    prefix = f"{order.target} {order.platform}"
    with file, PlainProgress(progress, prefix, redact) as plain:

        def on_line(line: str) -> None:
            file.write(f"{redact(line)}\n")
            plain.line(line)

        code = streamer(argv, on_line, env=builder.environment)
        file.flush()
        if code:
            raise _failed(order, plain.failure(), log)
    log.unlink(missing_ok=True)


def _failed(order: BuildOrder, failure: Failure, log: Path) -> EngineFailed:
    where = f" at {failure.where}" if failure.where else ""
    code = f" with exit code {failure.exit_code}" if failure.exit_code is not None else ""
    said = f": {failure.last_line}" if failure.last_line else ""
    hint = f"the whole log is {log}"
    if "exec format error" in failure.last_line:
        hint = f"the machine of the builder does not emulate {order.platform}; {hint}"
    return EngineFailed(
        f"Docker's build of '{order.target}' for {order.platform} failed{where}{code}{said}",
        hint=hint,
    )


# What was built, as documents of ours


def _key(diff_id: str, epoch_s: int) -> str:
    return key_of({"builder": builder_digest(), "diff_id": diff_id, "epoch": epoch_s})


def _known_config(image_id: str, cache: Cache) -> ExportedConfig | None:
    """Return a configuration that was exported before: an image's id is its digest."""
    path = cache.verified(image_id.removeprefix("sha256:"))
    return read_config(path.read_bytes()) if path is not None else None


def _known_layer(diff_id: str, plan: Plan, cache: Cache) -> Mapping[str, Any] | None:
    record: Mapping[str, Any] | None = cache.record("converted", _key(diff_id, plan.epoch_s))
    if record is None or cache.verified(record["digest"].removeprefix("sha256:")) is None:
        return None
    return record


def _known_layers(
    config: ExportedConfig, plan: Plan, cache: Cache
) -> tuple[BuiltLayer, ...] | None:
    """Return the layers when all were converted before."""
    records = [_known_layer(diff_id, plan, cache) for diff_id in config.diff_ids]
    found = [record for record in records if record is not None]
    if len(found) < len(records):
        return None
    return tuple(
        _layer(record, created_by, reused=True)
        for record, created_by in zip(found, config.created_by, strict=True)
    )


def _layer(record: Mapping[str, Any], created_by: str, *, reused: bool) -> BuiltLayer:
    summary = " ".join(created_by.split()) or "a layer of the base image"
    return BuiltLayer(kind=ENGINE, summary=summary, reused=reused, facts="", **record)


def _converted(
    archive: Path,
    image: ImagePlan,
    plan: Plan,
    cache: Cache,
    format: Format,
    progress: Progress,
) -> tuple[ImageDocuments, BuiltPlatform]:
    """Return the image in an exported tar, its layers in the cache."""
    layers = []
    with (
        open_export(archive, image.platform) as export,
        progress.step(f"{image.target} {image.platform}: convert") as step,
    ):
        for number, diff_id in enumerate(export.config.diff_ids):
            record = _known_layer(diff_id, plan, cache)
            reused = record is not None
            if record is None:
                with cache.new_blob() as blob:
                    done = export.convert(number, blob.file, epoch_s=plan.epoch_s)
                    blob.keep(done.blob.digest.removeprefix("sha256:"))
                record = {
                    "digest": done.blob.digest,
                    "diff_id": done.blob.diff_id,
                    "size_bytes": done.blob.size_bytes,
                    "unpacked_bytes": done.blob.unpacked_bytes,
                    "files": done.members,
                }
                cache.write_record("converted", _key(diff_id, plan.epoch_s), record)
            layers.append(_layer(record, export.config.created_by[number], reused=reused))
        cache.store(export.config.data)
        step.note(f"{sum(not layer.reused for layer in layers)} of {len(layers)} layers")
    return _documents(export.config, layers, image, plan, format)


def _documents(
    config: ExportedConfig,
    layers: Sequence[BuiltLayer],
    image: ImagePlan,
    plan: Plan,
    format: Format,
) -> tuple[ImageDocuments, BuiltPlatform]:
    documents = image_documents(
        image.platform,
        config.runtime,
        [
            ImageLayer(layer.digest, layer.diff_id, layer.size_bytes, layer.summary)
            for layer in layers
        ],
        created_s=plan.created_s,
        format=format,
        annotations=plan.annotations[image.target],
    )
    return documents, BuiltPlatform(
        platform=image.platform,
        config_digest=documents.config.descriptor.digest,
        manifest_digest=documents.manifest.descriptor.digest,
        layers=tuple(layers),
        glibc="",
    )


# The engine itself


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine that answers."""

    client: docker.DockerClient
    architecture: str
    """The kernel's name for it: `x86_64`."""
    is_local: bool
    """Whether its kernel is the one that this process runs on."""

    def check_platform(self, platform: Platform) -> None:
        """Raise `EngineUnsuitable` when the engine cannot run what is for `platform`."""
        if self.architecture == platform.kernel or not self.is_local:
            return
        if not (_BINFMT / f"qemu-{platform.kernel}").exists():
            raise EngineUnsuitable(
                f"Docker on this machine ({self.architecture}) cannot run what is for {platform}: "
                f"there is no qemu-{platform.kernel} in binfmt_misc",
                hint=f"install qemu-user-static, name another machine with --builder, or "
                f"{_DAEMONLESS}",
            )

    def image_id(self, tag: str) -> str:
        """Return the id of an image, "sha256:" + 64 hex digits."""
        with _answering():
            return str(self.client.images.get(tag).id)

    def save(self, tag: str, path: Path) -> int:
        """Write the image to a tar at `path`; return its length."""
        with _answering(), writing(path), path.open("wb") as file:
            api: Any = self.client.api
            return sum(file.write(chunk) for chunk in api.get_image(tag, _CHUNK_BYTES))

    def remove(self, tag: str) -> None:
        """Take a tag away, and the image if nothing else names it."""
        import docker

        # What cannot be removed is no reason to lose what was built.
        with contextlib.suppress(docker.errors.DockerException, OSError):
            self.client.images.remove(tag)


@contextlib.contextmanager
def connect(environ: Mapping[str, str], runner: Runner = run) -> Iterator[Engine]:
    """Yield the engine that docker's client would use.

    Raises `EngineUnavailable` when it does not answer, and `ToolMissing` without the
    library that talks to it.
    """
    try:
        import docker
        from docker.context import ContextAPI
    except ImportError:
        raise ToolMissing(
            "the Python package docker, which talks to Docker Engine, is not installed",
            hint=f"pip install -r requirements/dev.txt, or {_DAEMONLESS}",
        ) from None
    context, address = _address(environ, runner)
    try:
        if not context:
            client = docker.from_env(
                timeout=_API_TIMEOUT_S, use_ssh_client=True, environment=dict(environ)
            )
        else:
            known = ContextAPI.get_context(context)
            client = docker.DockerClient(
                base_url=address,
                tls=known.TLSConfig if known is not None else None,
                timeout=_API_TIMEOUT_S,
                use_ssh_client=True,
            )
        version, about = str(client.version()["Version"]), client.info()
    except (docker.errors.DockerException, OSError, ValueError, KeyError) as error:
        raise EngineUnavailable(
            f"no Docker Engine answers at {address} ({_reason(error)})",
            hint=f"start it, set DOCKER_HOST, or {_DAEMONLESS}",
        ) from None
    with contextlib.closing(client):
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if len(numbers) == 2 and numbers < _OLDEST_ENGINE:
            raise EngineUnsuitable(
                f"Docker Engine {version} at {address} is older than 20.10",
                hint=f"update it, or {_DAEMONLESS}",
            )
        yield Engine(
            client=client,
            architecture=str(about.get("Architecture", "")),
            is_local=about.get("Name") == host_platform.node(),
        )


def _address(environ: Mapping[str, str], runner: Runner) -> tuple[str, str]:
    """Return the client's current context, empty for DOCKER_HOST, and where its engine is."""
    if named := environ.get("DOCKER_HOST"):
        return "", named
    form = "{{.Name}} {{.Endpoints.docker.Host}}"
    done = runner(("docker", "context", "inspect", "--format", form))
    name, _, address = done.stdout.strip().partition(" ") if done.ok else ("", "", "")
    return name or "default", address or "unix:///var/run/docker.sock"


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    import docker
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineFailed(
            f"Docker Engine does not give what it built: {_short(error)}",
            hint="see its log",
        ) from None


def _reason(error: BaseException) -> str:
    """Return the innermost of the reasons that a client's error wraps."""
    quoted = re.findall(r"\(\d+, '([^']+)'\)", str(error))
    return str(quoted[-1]).lower() if quoted else _short(error)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:159]}…"
