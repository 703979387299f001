"""Base images from registries: pinned by digest in the lock, with what is built on them.

`lock_base` pulls a base once, for each platform, and records what a build has to know.
A build takes the layers as they are, from the cache or the registry, and never compresses
them again; whoever only pushes does not even need them.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipeline.cache import Cache
from pipeline.errors import BaseUnusable, ImageInvalid, UnsupportedPlatform
from pipeline.oci.image import (
    Configuration,
    Document,
    ImageDocuments,
    ImageLayer,
)
from pipeline.oci.registry.reference import Reference
from pipeline.oci.unpack import open_layer
from pipeline.platforms import Platform
from pipeline.report import Progress
from pipeline.settings import Suite
from pipeline.sources.base import BaseFacts, read_base
from pipeline.transfer import entries_of, image_at, image_of, is_index

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

OpenRegistry = Callable[[], AbstractContextManager["Registry"]]
"""Opens access to registries, when it turns out to be needed."""

_NANOSECONDS = 1_000_000_000
_EVERY_PLATFORM = "choose a base for every platform that images.toml names"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RUNTIME_KEYS = frozenset(
    {
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "Labels",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    }
)


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """One layer of a base. Digests are "sha256:" + 64 hex digits."""

    digest: str
    diff_id: str
    size_bytes: int
    unpacked_bytes: int
    files: int
    created_by: str
    compression: str

    @property
    def image_layer(self) -> ImageLayer:
        """Its place in an image that is built on it."""
        return ImageLayer(
            self.digest, self.diff_id, self.size_bytes, self.created_by, self.compression
        )


@dataclass(frozen=True, slots=True)
class LockedBase:
    """One platform of a base image, as it was when it was locked."""

    reference: str
    """As the description names it, spelled in full: `docker.io/library/python:3.11-slim`."""
    digest: str
    """What the reference pointed at: an index, or a manifest."""
    manifest_digest: str
    """This platform's manifest."""
    runtime: Mapping[str, Any]
    """The `config` object of its image configuration."""
    layers: tuple[BaseLayer, ...]
    facts: BaseFacts

    @property
    def repository(self) -> str:
        """Where its layers are: `docker.io/library/python`."""
        return str(Reference.parse(self.reference).repository)

    @property
    def pinned(self) -> str:
        """The reference with the digest that it had."""
        return f"{self.reference.partition('@')[0]}@{self.digest}"

    @property
    def annotations(self) -> Mapping[str, str]:
        """What images that are built on it say of it (OCI annotations)."""
        return {
            "org.opencontainers.image.base.digest": self.digest,
            "org.opencontainers.image.base.name": self.reference.partition("@")[0],
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """Its environment variables."""
        return _environment(self.runtime)

    def adapt(self, suite: Suite) -> Suite:
        """Return `suite` with the places and the C library of this base.

        Raises `BaseUnusable` when its Python is another than the suite's.
        """
        if self.facts.python != suite.python:
            raise BaseUnusable(
                f"'{self.reference}' has Python {self.facts.python}, suite '{suite.name}' has "
                f"{suite.python}",
                hint='name a base that has it, as in from = "python:{python}-slim"',
            )
        return replace(
            suite,
            glibc=self.facts.glibc,
            interpreter=self.facts.interpreter,
            packages_folder=self.facts.site_packages,
        )

    def extended(self, own: Configuration, *, resets_command: bool) -> Configuration:
        """Return the configuration of an image on this base whose own settings are `own`.

        As with a Dockerfile: what is not set is the base's; who sets an entry point without
        a command (`resets_command`) does not inherit the base's command.
        """
        runtime = self.runtime
        health = runtime.get("Healthcheck") or {}
        inherited = replace(
            own,
            user=own.user or runtime.get("User") or "",
            environment={**self.environment, **own.environment},
            entrypoint=own.entrypoint or runtime.get("Entrypoint") or (),
            command=own.command or (() if resets_command else runtime.get("Cmd") or ()),
            workdir=own.workdir or runtime.get("WorkingDir") or "",
            ports=tuple(dict.fromkeys([*(runtime.get("ExposedPorts") or ()), *own.ports])),
            volumes=tuple(dict.fromkeys([*(runtime.get("Volumes") or ()), *own.volumes])),
            labels=dict(sorted({**(runtime.get("Labels") or {}), **own.labels}.items())),
            stop_signal=own.stop_signal or runtime.get("StopSignal") or "",
        )
        if own.health_test or not health.get("Test"):
            return inherited
        return replace(
            inherited,
            health_test=tuple(health["Test"]),
            health_interval_s=health.get("Interval", 0) / _NANOSECONDS,
            health_timeout_s=health.get("Timeout", 0) / _NANOSECONDS,
            health_start_period_s=health.get("StartPeriod", 0) / _NANOSECONDS,
            health_retries=health.get("Retries", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the base for the lock."""
        return {
            "digest": self.digest,
            "manifest-digest": self.manifest_digest,
            "runtime": dict(self.runtime),
            "layers": [asdict(layer) for layer in self.layers],
            "facts": self.facts.to_json(),
        }

    @classmethod
    def from_json(cls, reference: str, document: Mapping[str, Any]) -> LockedBase:
        """Return what `to_json` wrote; raises `KeyError`, `TypeError` or `ValueError`."""
        return cls(
            reference=reference,
            digest=document["digest"],
            manifest_digest=document["manifest-digest"],
            runtime=document["runtime"],
            layers=tuple(BaseLayer(**layer) for layer in document["layers"]),
            facts=BaseFacts.from_json(document["facts"]),
        )


def full_reference(text: str) -> str:
    """Return a reference spelled in full; raises `NameInvalid`."""
    return str(Reference.parse(text))


def lock_base(
    reference: str,
    platforms: Sequence[Platform],
    cache: Cache,
    registry: Registry,
    progress: Progress,
) -> Mapping[Platform, LockedBase]:
    """Pull a base for each of `platforms` into the cache, and return what to lock of it.

    Raises `BaseUnusable` for an image that cannot be built on, and what the registry raises.
    """
    named = Reference.parse(reference)
    top = registry.get_manifest(named)
    locked = {}
    for platform in platforms:
        image = _image_of(named, top, platform, registry)
        # The registry is open already, and stays so.
        fetch_layers(reference, image.layers, cache, lambda: nullcontext(registry), progress)
        with progress.step(f"read {named} for {platform}"):
            locked[platform] = _locked(named, top, image, cache)
    return locked


def anonymous_registry() -> AbstractContextManager[Registry]:
    """Open registries without credentials."""
    from pipeline.oci.registry.client import Registry

    return Registry(credentials=lambda repository: None)


def fetch_layers(
    reference: str,
    layers: Sequence[ImageLayer],
    cache: Cache,
    open_registry: OpenRegistry,
    progress: Progress,
) -> None:
    """Bring layers of an image that the cache does not have into it, verified."""
    absent = {
        layer.digest: layer.size_bytes
        for layer in layers
        if cache.verified(layer.digest.removeprefix("sha256:")) is None
    }
    if not absent:
        return
    total = sum(absent.values())
    repository = Reference.parse(reference).repository
    title = f"download base layers of {repository}"
    with open_registry() as registry, progress.step(title, total_bytes=total) as step:
        for digest, size_bytes in absent.items():
            with cache.new_blob() as blob:
                for chunk in registry.read_blob(repository, digest, size_bytes):
                    blob.file.write(chunk)
                    step.advance(len(chunk))
                blob.keep(digest.removeprefix("sha256:"))
        step.note(f"{total / 1e6:.1f} MB")


def _image_of(
    named: Reference, top: Document, platform: Platform, registry: Registry
) -> ImageDocuments:
    """Return one platform's image of what a reference points at."""
    try:
        if is_index(top):
            for entry in entries_of(registry, named.repository, top):
                if entry.platform is platform:
                    return image_at(registry, replace(named, tag=None, digest=entry.digest))
            raise BaseUnusable(f"'{named}' has no image for {platform}", hint=_EVERY_PLATFORM)
        image = image_of(registry, named.repository, top)
    except (ImageInvalid, UnsupportedPlatform) as error:
        raise _unusable(named, error.message) from None
    if image.platform is not platform:
        raise BaseUnusable(f"'{named}' is for {image.platform} alone", hint=_EVERY_PLATFORM)
    return image


def _locked(named: Reference, top: Document, image: ImageDocuments, cache: Cache) -> LockedBase:
    runtime = json.loads(image.config.data).get("config") or {}
    if runtime.get("OnBuild"):
        raise _unusable(named, "it has ONBUILD instructions, which ask for a Docker build")
    layers: list[BaseLayer] = []
    search = _environment(runtime).get("PATH", _DEFAULT_PATH).split(":")
    try:
        facts = read_base(
            _tars(image.layers, layers, cache), image.platform, search=search, name=str(named)
        )
    except (OSError, EOFError, tarfile.TarError, ImageInvalid) as error:
        raise _unusable(named, f"a layer cannot be read: {error}") from None
    return LockedBase(
        reference=str(named),
        digest=top.descriptor.digest,
        manifest_digest=image.manifest.descriptor.digest,
        runtime={key: value for key, value in runtime.items() if key in _RUNTIME_KEYS and value},
        layers=tuple(layers),
        facts=facts,
    )


def _tars(
    layers: Sequence[ImageLayer], read: list[BaseLayer], cache: Cache
) -> Iterator[tarfile.TarFile]:
    """Yield the tar of each layer, and add what was read of it to `read`."""
    for layer in layers:
        path = cache.blob_path(layer.digest.removeprefix("sha256:"))
        with open_layer(path, layer.compression) as stream:
            with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|") as tar:
                yield tar
                files = len(tar.getmembers())
            stream.drain()
            if stream.diff_id != layer.diff_id:
                raise ImageInvalid(f"{layer.digest} unpacks to another layer than it should")
            read.append(
                BaseLayer(
                    digest=layer.digest,
                    diff_id=layer.diff_id,
                    size_bytes=layer.size_bytes,
                    unpacked_bytes=stream.size_bytes,
                    files=files,
                    created_by=layer.created_by,
                    compression=layer.compression,
                )
            )


def _environment(runtime: Mapping[str, Any]) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in runtime.get("Env") or () if "=" in line)


def _unusable(named: Reference, problem: str) -> BaseUnusable:
    return BaseUnusable(f"'{named}' cannot be a base: {problem}", hint="choose another")
