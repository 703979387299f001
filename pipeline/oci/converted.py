"""What an engine exports, as images of ours: normalised layers and the same configuration.

Engines write a Docker archive (`manifest.json`; layers are plain tars in older ones) or
an OCI layout in a tar (`index.json`; layers are compressed).  Times in them are those of
the build, so each layer's tar is written anew: no time is younger than `epoch_s`, no
access or change times, no names of owners.  Content, order, modes, numeric owners,
extended attributes, devices, hard links and whiteouts stay as they are.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import ImageInvalid, UnsupportedPlatform
from pipeline.oci.image import Configuration
from pipeline.oci.layer import LayerBlob, write_tar
from pipeline.oci.unpack import LayerTar
from pipeline.platforms import Platform

_READ_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_XATTR = "SCHILY.xattr."
_KINDS = {
    tarfile.REGTYPE: tarfile.REGTYPE,
    tarfile.AREGTYPE: tarfile.REGTYPE,
    tarfile.CONTTYPE: tarfile.REGTYPE,
    tarfile.GNUTYPE_SPARSE: tarfile.REGTYPE,
    tarfile.DIRTYPE: tarfile.DIRTYPE,
    tarfile.SYMTYPE: tarfile.SYMTYPE,
    tarfile.LNKTYPE: tarfile.LNKTYPE,
    tarfile.CHRTYPE: tarfile.CHRTYPE,
    tarfile.BLKTYPE: tarfile.BLKTYPE,
    tarfile.FIFOTYPE: tarfile.FIFOTYPE,
}
_DAMAGED = (EOFError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class ExportedConfig:
    """An image's configuration as the engine wrote it."""

    data: bytes
    platform: Platform
    runtime: Configuration
    diff_ids: tuple[str, ...]
    """Of its layers as they were exported, the lowest first."""
    created_by: tuple[str, ...]
    """For each layer, the instruction that made it; empty where the engine does not say."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A normalised layer."""

    blob: LayerBlob
    members: int


def read_config(data: bytes) -> ExportedConfig:
    """Return what the JSON of an image configuration says.

    Raises `ImageInvalid` when it is none, or one for a platform that is not known.
    """
    try:
        document = json.loads(data)
        if document["os"] != "linux":
            raise ValueError(f"it is for {document['os']}")
        diff_ids = tuple(str(diff_id) for diff_id in document["rootfs"]["diff_ids"])
        history = [line for line in document.get("history") or () if not line.get("empty_layer")]
        if len(history) != len(diff_ids):
            history = [{}] * len(diff_ids)  # Optional, and not always kept up.
        return ExportedConfig(
            data=data,
            platform=Platform.parse(document["architecture"]),
            runtime=_runtime(document.get("config") or {}),
            diff_ids=diff_ids,
            created_by=tuple(_instruction(line.get("created_by") or "") for line in history),
        )
    except (*_DAMAGED, UnsupportedPlatform) as error:
        raise _unusable(f"its configuration cannot be used: {error}") from None


def _runtime(config: Mapping[str, Any]) -> Configuration:
    health = config.get("Healthcheck") or {}
    environment = (pair.partition("=") for pair in config.get("Env") or ())
    return Configuration(
        user=config.get("User") or "",
        environment={name: value for name, _, value in environment},
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        workdir=config.get("WorkingDir") or "",
        ports=tuple(sorted(config.get("ExposedPorts") or ())),
        volumes=tuple(sorted(config.get("Volumes") or ())),
        labels=dict(sorted((config.get("Labels") or {}).items())),
        stop_signal=config.get("StopSignal") or "",
        health_test=tuple(health.get("Test") or ()),
        health_interval_s=_seconds(health.get("Interval")),
        health_timeout_s=_seconds(health.get("Timeout")),
        health_start_period_s=_seconds(health.get("StartPeriod")),
        health_retries=health.get("Retries") or 0,
    )


def _seconds(nanoseconds: int | None) -> float:
    return (nanoseconds or 0) / 1_000_000_000


def _instruction(created_by: str) -> str:
    return created_by.removesuffix(" # buildkit")


@contextlib.contextmanager
def open_export(path: Path, platform: Platform) -> Iterator[Export]:
    """Yield the image for `platform` in an exported tar.

    Raises `ImageInvalid` for a file that is no such tar, or lacks the platform.
    """
    try:
        archive = tarfile.open(path, "r:")  # noqa: SIM115
    except (OSError, tarfile.TarError) as error:
        raise _unusable(f"it is no tar: {error}") from None
    with archive:
        try:
            members = {member.name.removeprefix("./"): member for member in archive}
            export = _opened(_Members(archive, members), platform)
        except (*_DAMAGED, OSError, tarfile.TarError) as error:
            raise _unusable(str(error)) from None
        yield export


@dataclass(frozen=True, slots=True)
class Export:
    """One image in a tar that an engine wrote."""

    config: ExportedConfig
    _files: _Members
    _layers: tuple[str, ...]

    def convert(self, number: int, out: BinaryIO, *, epoch_s: int) -> Converted:
        """Write layer `number` (0 is the lowest), normalised and compressed, to `out`.

        Raises `ImageInvalid` when it does not have its digest, or holds what is no file.
        """
        diff_id = self.config.diff_ids[number]
        source = LayerTar(_uncompressed(self._files.open(self._layers[number])))
        counter = _Counter()
        try:
            blob = write_tar(normalised(cast(BinaryIO, source), epoch_s, counter), out)
            source.drain()
        except (*_DAMAGED, tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
            raise _unusable(f"layer {diff_id[:19]} cannot be read: {error}") from None
        if source.diff_id != diff_id:
            raise _unusable(f"layer {diff_id[:19]} has the content of {source.diff_id[:19]}")
        return Converted(blob, counter.members)


def normalised(tar: BinaryIO, epoch_s: int, counter: _Counter | None = None) -> Iterator[bytes]:
    """Yield the bytes of a tar without the time and place of its making.

    `tar` is read as a stream, `epoch_s` is in seconds since 1970.
    """
    with tarfile.open(fileobj=tar, mode="r|", bufsize=_READ_BYTES) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # Each is seen just once.
            name = _relative(member.name)
            if not name:
                continue  # The root: no layer needs to say that it is there.
            if member.type not in _KINDS:
                raise ValueError(f"'{name}' is neither file, folder, link nor device")
            clean = tarfile.TarInfo(name)
            clean.type = _KINDS[member.type]
            clean.mode = member.mode & 0o7777
            clean.uid, clean.gid = member.uid, member.gid
            clean.mtime = min(int(member.mtime), epoch_s)
            clean.linkname = _relative(member.linkname) if member.islnk() else member.linkname
            clean.devmajor, clean.devminor = member.devmajor, member.devminor
            clean.size = member.size if clean.isreg() else 0
            clean.pax_headers = {
                key: value
                for key, value in sorted(member.pax_headers.items())
                if key.startswith(_XATTR)
            }
            yield clean.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            if clean.isreg():
                yield from _content(archive, member)
            if counter is not None:
                counter.members += 1
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(member)
    left = member.size
    while file is not None and left:
        chunk = file.read(min(_READ_BYTES, left))
        if not chunk:
            raise ValueError(f"'{member.name}' is shorter than its header says")
        left -= len(chunk)
        yield chunk
    yield b"\0" * (-member.size % tarfile.BLOCKSIZE)


def _relative(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"'{name}' leaves the root")
    return "/".join(parts)


@dataclass(slots=True)
class _Counter:
    members: int = 0


@dataclass(frozen=True, slots=True)
class _Members:
    """The files of a tar on disk, by path."""

    archive: tarfile.TarFile
    members: Mapping[str, tarfile.TarInfo]

    def open(self, name: str) -> BinaryIO:
        member = self.members[name]
        if member.issym():
            # Older engines keep a layer that occurs twice as a link: ../<id>/layer.tar
            folder = name.rpartition("/")[0]
            parts: list[str] = []
            for part in f"{folder}/{member.linkname}".split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            member = self.members["/".join(parts)]
        file = self.archive.extractfile(member)
        if file is None:
            raise ValueError(f"'{name}' is no file")
        return cast(BinaryIO, file)

    def json(self, name: str) -> Any:
        with self.open(name) as file:
            return json.loads(file.read())


def _opened(files: _Members, platform: Platform) -> Export:
    """Return the image in a Docker archive or an OCI layout."""
    if "manifest.json" in files.members:
        images = files.json("manifest.json")
        if len(images) != 1:
            raise ValueError(f"it holds {len(images)} images")
        config, layers = images[0]["Config"], images[0]["Layers"]
    else:
        manifest = _manifest(files, files.json("index.json"), platform)
        config = _blob(manifest["config"])
        layers = [_blob(layer) for layer in manifest["layers"]]
    with files.open(config) as file:
        found = read_config(file.read())
    if len(layers) != len(found.diff_ids):
        raise ValueError(f"{len(layers)} layers and {len(found.diff_ids)} diff_ids")
    if found.platform is not platform:
        raise ImageInvalid(
            f"the engine built an image for {found.platform}, not for {platform}",
            hint="its base image is for another platform: see 'docker image inspect'",
        )
    return Export(found, files, tuple(layers))


def _manifest(files: _Members, index: Mapping[str, Any], platform: Platform) -> Any:
    """Return the manifest that an index names, or an index in it; attestations are passed by."""
    found: Sequence[Mapping[str, Any]] = [
        entry
        for entry in index["manifests"]
        if (entry.get("platform") or {}).get("architecture", platform.architecture)
        == platform.architecture
    ]
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} images for {platform}")
    document = files.json(_blob(found[0]))
    return _manifest(files, document, platform) if "manifests" in document else document


def _blob(descriptor: Mapping[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _uncompressed(file: BinaryIO) -> BinaryIO:
    magic = file.read(4)
    file.seek(0)
    if magic == _ZSTD:
        raise _unusable("a layer is compressed with zstd", "make the base image's layers gzip")
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if magic[:2] == _GZIP else file


def _unusable(problem: str, hint: str = "") -> ImageInvalid:
    return ImageInvalid(
        f"the image that the engine exported cannot be used: {problem}",
        hint=hint or "build it again; if it stays so, use '--engine daemonless'",
    )
