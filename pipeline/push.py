"""Images from layouts to a registry, each whole or not at all.

Blobs go first, then each platform's manifest by digest, then the index by digest, and the
tags last, moving ones at the very end: wherever a push ends, each tag names the old image
or the new one.  What the registry has is not sent, so a push that was cut off goes on
where it was.  See the OCI distribution specification 1.1, "Pushing manifests".
"""

from __future__ import annotations

import contextlib
import enum
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.errors import ImageInvalid, ImageMissing, NameInvalid, NotInRegistry
from pipeline.oci.image import Document, Format, ImageDocuments
from pipeline.oci.layout import NamedImage, blob_path
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.platforms import Platform
from pipeline.report import Progress, Step, megabytes
from pipeline.transfer import Stop, entries_of, entry_for, image_at, image_of, in_parallel, is_index

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

_BASE = "org.opencontainers.image.base.name"
_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?![\d.]).*")
_COMMIT = re.compile(r"(?:[a-z]+-)?[0-9a-f]{7,64}(?:-.*)?")
_SAME_COMMIT = tuple(
    f"org.opencontainers.image.{name}" for name in ("revision", "version", "created")
)


class Fate(enum.Enum):
    """What becomes of a blob or a manifest."""

    EXISTS = "exists"
    WOULD_SEND = "would send"
    WOULD_MOUNT = "would mount"
    MOUNTED = "mounted"
    SENT = "sent"


_ABSENT = (Fate.WOULD_SEND, Fate.WOULD_MOUNT)


@dataclass(frozen=True, slots=True)
class Cargo:
    """An image, the layout that it is in, and where it is to go."""

    target: str
    image: NamedImage
    layout: Path
    repository: Repository
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer or a configuration. `sent_bytes` counts repeated attempts, too."""

    digest: str
    size_bytes: int
    fate: Fate
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One platform's image: its manifest's digest, and what that names."""

    platform: Platform
    digest: str
    fate: Fate
    blobs: tuple[Blob, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of layers and configuration, as a client downloads them."""
        return sum(blob.size_bytes for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class TagMove:
    """What a tag names before and after; `before` is None for a new tag."""

    tag: str
    before: str | None
    after: str

    @property
    def moves(self) -> bool:
        """Whether the two differ."""
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Attached:
    """Something that is said of an image, beside it in the registry."""

    name: str
    """Such as `SBOM linux/arm64`, `provenance`."""
    subject: str
    """The digest of the manifest that it is about."""
    digest: str
    """Of its own manifest."""
    fate: Fate


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did; of a survey, what it would do."""

    target: str
    repository: Repository
    digest: str
    fate: Fate
    """Of the index, or of the only platform's manifest."""
    parts: tuple[Part, ...]
    tags: tuple[TagMove, ...]
    seconds: float = 0.0
    attached: tuple[Attached, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be attached, and why."""

    @property
    def reference(self) -> str:
        """The image by digest: what to deploy."""
        return f"{self.repository}@{self.digest}"

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Every blob, each once, whatever number of platforms shares it."""
        return tuple({blob.digest: blob for part in self.parts for blob in part.blobs}.values())

    def count(self, *fates: Fate) -> int:
        """Return the number of blobs that any of the fates befell."""
        return sum(blob.fate in fates for blob in self.blobs)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "target": self.target,
            "repository": str(self.repository),
            "digest": self.digest,
            "reference": self.reference,
            "manifest": self.fate.value,
            "tags": [
                {"tag": move.tag, "before": move.before, "after": move.after} for move in self.tags
            ],
            "platforms": [
                {
                    "platform": str(part.platform),
                    "digest": part.digest,
                    "manifest": part.fate.value,
                    "size_bytes": part.size_bytes,
                    "blobs": [
                        {
                            "digest": blob.digest,
                            "size_bytes": blob.size_bytes,
                            "fate": blob.fate.value,
                        }
                        for blob in part.blobs
                    ],
                }
                for part in self.parts
            ],
            "attached": [
                {
                    "name": one.name,
                    "subject": one.subject,
                    "digest": one.digest,
                    "fate": one.fate.value,
                }
                for one in self.attached
            ],
            "notes": list(self.notes),
            "blobs": {fate.value: self.count(fate) for fate in Fate if self.count(fate)},
            "bytes_to_send": sum(b.size_bytes for b in self.blobs if b.fate is Fate.WOULD_SEND),
            "bytes_sent": sum(blob.sent_bytes for blob in self.blobs),
            "seconds": round(self.seconds, 3),
        }


def tag_order(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags in the order to set them, each once: those that name one version for good
    (`v1.2.3`, `sha-0123456`), then those that move (`1.2`, `main`), `latest` at the end."""

    def rank(tag: str) -> int:
        if tag == "latest" or tag.startswith("latest-"):
            return 2
        return 0 if _VERSION.fullmatch(tag) or _COMMIT.fullmatch(tag) else 1

    return tuple(sorted(dict.fromkeys(tags), key=rank))


def platform_tag(tag: str, platform: Platform) -> str:
    """Return the tag of one platform's part of an image: `v1.2.3-arm64`."""
    return f"{tag}-{platform.architecture}"


def platform_parts(cargo: Cargo, platforms: Sequence[Platform]) -> tuple[Cargo, ...]:
    """Return a cargo of its own for each platform; raises `ImageMissing` for one that the
    layout lacks."""
    parts = {part.images[0].platform: part for part in cargo.image.by_platform()}
    for platform in platforms:
        if platform not in parts:
            has = ", ".join(str(known) for known in parts)
            raise ImageMissing(
                f"the image in {cargo.layout} has no {platform}, but {has}",
                hint=f"build it: invoke build --target {cargo.target} --platform "
                f"{','.join(p.architecture for p in Platform if p in parts or p is platform)}",
            )
    return tuple(
        replace(
            cargo,
            image=parts[platform],
            tags=tuple(platform_tag(tag, platform) for tag in cargo.tags),
        )
        for platform in platforms
    )


def survey_push(
    cargo: Cargo,
    registry: Registry,
    *,
    sources: Sequence[str] = (),
    present: frozenset[str] = frozenset(),
) -> PushReport:
    """Return what a push would do; asks the registry and sends nothing.

    `present` are digests that are known to be there by then, `sources` the names of other
    repositories of the registry to look into for what is not.  A layout may lack layers of
    the image that it is based on; raises `ImageInvalid` for one that lacks others.
    """
    from pipeline.oci.registry.client import MOUNT_REFUSALS

    begin_s = time.monotonic()
    sources = (*sources, *_mountable(cargo))
    images, repository = cargo.image.images, cargo.repository
    top = cargo.image.top.descriptor.digest
    sizes = {digest: size for image in images for digest, size in _blob_sizes(image).items()}

    def has_blob(digest: str) -> Fate:
        if digest in present or registry.has_blob(repository, digest, pushing=True) is not None:
            return Fate.EXISTS
        _check_there(cargo, digest, sizes[digest])
        for name in sources:
            # As with a mount: a repository that says nothing has nothing.
            with contextlib.suppress(*MOUNT_REFUSALS):
                source = Repository(repository.registry, name)
                if registry.has_blob(source, digest) is not None:
                    return Fate.WOULD_MOUNT
        return Fate.WOULD_SEND

    def has_manifest(digest: str) -> Fate:
        found = registry.head_manifest(Reference(repository, digest=digest), pushing=True)
        return Fate.WOULD_SEND if found is None else Fate.EXISTS

    def tagged(tag: str) -> str | None:
        found = registry.head_manifest(Reference(repository, tag=tag), pushing=True)
        return found.digest if found is not None else None

    tags = tag_order(cargo.tags)
    manifests = dict.fromkeys([*(image.manifest.descriptor.digest for image in images), top])
    # One answer to each question, whatever its kind.
    questions: list[Callable[[], Fate | str | None]] = [
        *(partial(has_blob, digest) for digest in sizes),
        *(partial(has_manifest, digest) for digest in manifests),
        *(partial(tagged, tag) for tag in tags),
    ]
    answers = in_parallel(lambda ask, _stop: ask(), questions)
    fates: dict[str, Any] = dict(zip((*sizes, *manifests), answers, strict=False))
    before: dict[str, Any] = dict(zip(tags, answers[len(fates) :], strict=True))
    return PushReport(
        cargo.target,
        repository,
        top,
        fates[top],
        tuple(
            Part(
                image.platform,
                image.manifest.descriptor.digest,
                fates[image.manifest.descriptor.digest],
                tuple(Blob(d, size, fates[d]) for d, size in _blob_sizes(image).items()),
            )
            for image in images
        ),
        tuple(TagMove(tag, before[tag], top) for tag in tags),
        time.monotonic() - begin_s,
    )


def push_image(
    cargo: Cargo,
    registry: Registry,
    progress: Progress,
    *,
    sources: Sequence[str] = (),
    present: frozenset[str] = frozenset(),
    before_tags: Callable[[], None] = lambda: None,
) -> PushReport:
    """Bring an image to its repository, and its tags to the image; say what that took.

    `sources` and `present` are as for `survey_push`: what other repositories of the
    registry have is mounted from there.  `before_tags` is called when the image is there and no
    tag names it yet.
    """
    begin_s = time.monotonic()
    before = survey_push(cargo, registry, present=present)
    missing = [blob for blob in before.blobs if blob.fate in _ABSENT]
    arrived: dict[str, Blob] = {}
    if missing:
        total = sum(blob.size_bytes for blob in missing)
        with progress.step(_title(cargo), total_bytes=total) as step:
            done = in_parallel(partial(_send, cargo, registry, step, sources), missing)
            arrived = {blob.digest: blob for blob in done}
            sent = sum(blob.sent_bytes for blob in done)
            step.note(f"{megabytes(sent)} sent, {_mounted(done)}{_there(before)}")
    absent = [part.digest for part in before.parts if part.fate in _ABSENT]
    _put_by_digest(
        [image.manifest for image in cargo.image.images], absent, cargo.repository, registry
    )
    top = cargo.image.top
    if before.fate in _ABSENT and before.digest not in absent:
        _put_by_digest([top], [before.digest], cargo.repository, registry)
    before_tags()
    _move_tags(before.tags, top, cargo.repository, registry)
    return replace(
        before,
        fate=Fate.EXISTS if before.fate is Fate.EXISTS else Fate.SENT,
        parts=tuple(
            replace(
                part,
                fate=Fate.EXISTS if part.fate is Fate.EXISTS else Fate.SENT,
                blobs=tuple(arrived.get(blob.digest, blob) for blob in part.blobs),
            )
            for part in before.parts
        ),
        seconds=time.monotonic() - begin_s,
    )


def _title(cargo: Cargo) -> str:
    platforms = ",".join(image.platform.architecture for image in cargo.image.images)
    return f"push {cargo.target} {platforms}".replace("  ", " ")


def _mounted(blobs: Sequence[Blob]) -> str:
    count = sum(blob.fate is Fate.MOUNTED for blob in blobs)
    return f"{count} mounted, " if count else ""


def _there(report: PushReport) -> str:
    return f"{report.count(Fate.EXISTS)} of {len(report.blobs)} were there"


def _send(
    cargo: Cargo, registry: Registry, step: Step, sources: Sequence[str], blob: Blob, stop: Stop
) -> Blob:
    moved = 0

    def advance(change_bytes: int) -> None:
        nonlocal moved
        stop.check()
        moved += change_bytes
        step.advance(change_bytes)

    uploaded = registry.upload_blob(
        cargo.repository,
        blob.digest,
        blob.size_bytes,
        lambda: _open_blob(cargo, blob, registry, stop),
        on_progress=advance,
        sources=(*sources, *_mountable(cargo)),
    )
    step.advance(blob.size_bytes - moved)
    fate = Fate(uploaded.outcome.value)
    return replace(blob, fate=fate, sent_bytes=uploaded.bytes_sent)


def _open_blob(cargo: Cargo, blob: Blob, registry: Registry, stop: Stop) -> BinaryIO:
    """Return the blob from the layout or, where it was left there, from its base's registry."""
    path = blob_path(cargo.layout, blob.digest)
    base = base_of(cargo.image)
    if base is None or path.exists():
        return path.open("rb")
    with contextlib.ExitStack() as held:
        file = held.enter_context(tempfile.TemporaryFile())
        for chunk in registry.read_blob(base.repository, blob.digest, blob.size_bytes):
            stop.check()
            file.write(chunk)
        file.seek(0)
        held.pop_all()
        return file


def base_of(image: NamedImage) -> Reference | None:
    """Return the image from a registry that `image` says it is based on."""
    names = {str(_annotations(part).get(_BASE) or "") for part in image.images}
    name = names.pop() if len(names) == 1 else ""
    with contextlib.suppress(NameInvalid):  # What somebody else's image says is no error here.
        return Reference.parse(name) if name else None
    return None


def _mountable(cargo: Cargo) -> tuple[str, ...]:
    """Return the base's repository where it is in the registry that is pushed to."""
    base = base_of(cargo.image)
    if base is None or base.repository.registry != cargo.repository.registry:
        return ()
    return (base.repository.name,)


def _put_by_digest(
    documents: Sequence[Document],
    wanted: Sequence[str],
    repository: Repository,
    registry: Registry,
) -> None:
    """Put those of the documents whose digest is wanted."""

    def put(document: Document, _stop: Stop) -> None:
        registry.put_manifest(Reference(repository, digest=document.descriptor.digest), document)

    in_parallel(put, [d for d in documents if d.descriptor.digest in wanted])


def _move_tags(
    moves: Sequence[TagMove], top: Document, repository: Repository, registry: Registry
) -> None:
    for move in moves:
        if move.moves:
            registry.put_manifest(Reference(repository, tag=move.tag), top)


def _blob_sizes(image: ImageDocuments) -> Mapping[str, int]:
    """Return the size of each blob of an image by digest; the configuration is last."""
    config = image.config.descriptor
    return {
        **{layer.digest: layer.size_bytes for layer in image.layers},
        config.digest: config.size_bytes,
    }


def _check_there(cargo: Cargo, digest: str, size_bytes: int) -> None:
    path = blob_path(cargo.layout, digest)
    try:
        found = path.stat().st_size
    except OSError:
        found = -1
        if base_of(cargo.image) is not None and digest in cargo.image.layer_digests():
            return
    if found != size_bytes:
        problem = "is not there" if found < 0 else f"has {found} bytes instead of {size_bytes}"
        raise ImageInvalid(
            f"the layout in {cargo.layout} is damaged: its blob {digest} {problem}",
            hint="build or pull it again",
        )


# An index of parts that were pushed one platform at a time.


def parts_by_tag(
    registry: Registry, repository: Repository, tag: str, platforms: Sequence[Platform]
) -> tuple[ImageDocuments, ...]:
    """Return the image at `<tag>-<architecture>` for each platform.

    Raises `NotInRegistry` with the tag and the platform of a part that is missing, and
    `ImageInvalid` for one that is something else.
    """

    def find(platform: Platform, _stop: Stop) -> ImageDocuments:
        reference = Reference(repository, tag=platform_tag(tag, platform))
        try:
            manifest = registry.get_manifest(reference)
        except NotInRegistry:
            raise NotInRegistry(
                f"there is no {reference}: the part for {platform} is missing",
                hint="push it first, with the same --tag: invoke push --platform "
                f"{platform.architecture}",
            ) from None
        if is_index(manifest):
            entry = entry_for(entries_of(registry, repository, manifest), platform, reference)
            image = image_at(registry, Reference(repository, digest=entry.digest))
        else:
            image = image_of(registry, repository, manifest)
        if image.platform is not platform:
            raise ImageInvalid(
                f"{reference} is for {image.platform}, not for {platform}",
                hint=f"push the part for {platform} again",
            )
        return image

    return tuple(in_parallel(find, platforms))


def parts_by_digest(
    registry: Registry,
    repository: Repository,
    digests: Sequence[str],
    platforms: Sequence[Platform],
) -> tuple[ImageDocuments, ...]:
    """Return the images with these digests, of an index those for `platforms`.

    Raises `NotInRegistry` for a digest that is not there and for a platform that none of
    them is for, `ImageInvalid` for two that are for the same one.
    """

    def read(digest: str, _stop: Stop) -> list[ImageDocuments]:
        manifest = registry.get_manifest(Reference(repository, digest=digest))
        if not is_index(manifest):
            return [image_of(registry, repository, manifest)]
        return [
            image_at(registry, Reference(repository, digest=entry.digest))
            for entry in entries_of(registry, repository, manifest)
            if entry.platform in platforms
        ]

    found: dict[Platform, ImageDocuments] = {}
    for images in in_parallel(read, list(dict.fromkeys(digests))):
        for image in images:
            other = found.setdefault(image.platform, image).manifest.descriptor.digest
            if other != image.manifest.descriptor.digest:
                raise ImageInvalid(
                    f"{other} and {image.manifest.descriptor.digest} are both for {image.platform}",
                    hint="give one --digest a platform",
                )
    for platform in platforms:
        if platform not in found:
            raise NotInRegistry(
                f"none of the digests is an image for {platform}",
                hint="give the digest of that part, too, or say with --platform what to join",
            )
    for platform in found:
        if platform not in platforms:
            raise ImageInvalid(
                f"{found[platform].manifest.descriptor.digest} is for {platform}, which was "
                "not asked for",
                hint="leave it out, or say with --platform what to join",
            )
    return tuple(found[platform] for platform in Platform if platform in found)


def join(parts: Sequence[ImageDocuments], name: str, tag: str) -> NamedImage:
    """Return the image of several platforms that parts of one commit make up.

    The index is, to the byte, the one that a build of all of them writes: in the order of
    `Platform`, with the annotations that all share.  Raises `ImageInvalid` for parts that
    do not belong together.
    """
    formats = {_format(part): part for part in parts}
    if len(formats) > 1:
        raise ImageInvalid(
            f"the parts mix media types: {_apart(formats)}", hint="push all in one --format"
        )
    for key in _SAME_COMMIT:
        values = {facts_of(part).get(key, ""): part for part in parts}
        if len(values) > 1:
            raise ImageInvalid(
                f"the parts are not of one commit: {key.rpartition('.')[2]} is {_apart(values)}",
                hint="push all of them from the same commit",
            )
    annotations = [_annotations(part) for part in parts]
    common = {
        key: value
        for key, value in annotations[0].items()
        if all(said.get(key) == value for said in annotations)
    }
    ordered = sorted(parts, key=lambda part: list(Platform).index(part.platform))
    (format,) = formats
    return NamedImage(name, tag, tuple(ordered), format, common)


def put_index(
    target: str,
    image: NamedImage,
    repository: Repository,
    tags: Sequence[str],
    registry: Registry,
    *,
    dry_run: bool,
    before_tags: Callable[[], None] = lambda: None,
) -> PushReport:
    """Put what joins images that the registry has, then its tags.

    `before_tags` is called when the index is there and no tag names it yet.
    """
    begin_s = time.monotonic()
    top = image.top

    def head(reference: Reference, _stop: Stop) -> str | None:
        found = registry.head_manifest(reference, pushing=True)
        return found.digest if found is not None else None

    ordered = tag_order(tags)
    there, *before = in_parallel(
        head,
        [
            Reference(repository, digest=top.descriptor.digest),
            *(Reference(repository, tag=tag) for tag in ordered),
        ],
    )
    moves = tuple(
        TagMove(tag, old, top.descriptor.digest) for tag, old in zip(ordered, before, strict=True)
    )
    fate = Fate.EXISTS if there else Fate.WOULD_SEND
    if not dry_run and fate is Fate.WOULD_SEND:
        _put_by_digest([top], [top.descriptor.digest], repository, registry)
        fate = Fate.SENT
    before_tags()
    if not dry_run:
        _move_tags(moves, top, repository, registry)
    parts = tuple(
        Part(
            part.platform,
            part.manifest.descriptor.digest,
            Fate.EXISTS,
            tuple(Blob(d, size, Fate.EXISTS) for d, size in _blob_sizes(part).items()),
        )
        for part in image.images
    )
    return PushReport(
        target, repository, top.descriptor.digest, fate, parts, moves, time.monotonic() - begin_s
    )


def _format(part: ImageDocuments) -> Format:
    """Return the format of a part; raises `ImageInvalid` when it mixes two."""
    types = {part.manifest.descriptor.media_type, part.config.descriptor.media_type}
    for format in Format:
        if types == {format.manifest_type, format.config_type}:
            return format
    raise ImageInvalid(
        f"the part for {part.platform} mixes media types: {', '.join(sorted(types))}",
        hint="push it again",
    )


def _annotations(part: ImageDocuments) -> Mapping[str, str]:
    found = json.loads(part.manifest.data).get("annotations")
    return found if isinstance(found, dict) else {}


def facts_of(part: ImageDocuments) -> Mapping[str, str]:
    """Return what a part says of itself; Docker's format has labels alone."""
    runtime = json.loads(part.config.data).get("config")
    labels = runtime.get("Labels") if isinstance(runtime, dict) else None
    said = {**(labels if isinstance(labels, dict) else {}), **_annotations(part)}
    return {str(key): str(value) for key, value in said.items()}


def _apart(values: Mapping[Any, ImageDocuments]) -> str:
    """Return values that differ and whose they are: `'1' for linux/amd64, '2' for …`."""
    return ", ".join(
        f"'{getattr(value, 'value', value)}' for {part.platform}" for value, part in values.items()
    )
