"""What changed between two images, for people who review a release.

`compare_images` looks at two values and knows nothing of where they come from;
`compare_named` finds the images that two arguments of `invoke diff` name.
"""

from __future__ import annotations

import contextlib
import enum
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contents import (
    ImageContents,
    LayerReader,
    StoredImage,
    contents_of,
    layout_images,
    missing_platform,
    open_images,
)
from pipeline.errors import ImageMissing
from pipeline.oci.image import ImageLayer
from pipeline.oci.registry.reference import Reference
from pipeline.oci.tree import Node
from pipeline.platforms import Platform

Pull = Callable[[str, Path, Sequence[Platform]], None]
"""Makes a folder the layout of the image that a reference names: all platforms, or those."""

_MAPPINGS = ("Env", "Labels", "Healthcheck")


class Direction(enum.Enum):
    """What happened to something that has a version."""

    ADDED = "added"
    REMOVED = "removed"
    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A configuration value or a version; None where there is none."""

    name: str
    before: Any
    after: Any
    direction: Direction

    def to_json(self) -> dict[str, Any]:
        """Return the change for programs."""
        return {
            "name": text(self.name),
            "before": self.before,
            "after": self.after,
            "change": self.direction.value,
        }


@dataclass(frozen=True, slots=True)
class FileChange:
    """What is at a path in one image and in the other."""

    path: str
    before: Node | None
    after: Node | None

    @property
    def direction(self) -> Direction:
        """Whether it was added, removed or changed."""
        if self.before is None:
            return Direction.ADDED
        return Direction.REMOVED if self.after is None else Direction.CHANGED

    @property
    def what(self) -> tuple[str, ...]:
        """What of it changed: `type` alone, or some of content, target, mode and owner."""
        one, other = self.before, self.after
        if one is None or other is None:
            return ()
        if one.kind is not other.kind:
            return ("type",)
        found = {
            "content": (one.sha256, one.size_bytes) != (other.sha256, other.size_bytes),
            "target": one.target != other.target,
            "mode": one.mode != other.mode,
            "owner": (one.uid, one.gid) != (other.uid, other.gid),
        }
        return tuple(name for name, differs in found.items() if differs)

    @property
    def grown_bytes(self) -> int:
        """How many bytes of content more there are; negative for less."""
        return (self.after.size_bytes if self.after else 0) - (
            self.before.size_bytes if self.before else 0
        )

    def to_json(self) -> dict[str, Any]:
        """Return the change for programs."""
        return {
            "path": f"/{text(self.path)}",
            "change": self.direction.value,
            "what": list(self.what),
            "before": _node_json(self.before),
            "after": _node_json(self.after),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one platform's image differs from another."""

    platform: Platform
    digests: tuple[str, str]
    download_bytes: tuple[int, int]
    size_bytes: tuple[int, int]
    configuration: tuple[Change, ...]
    shared_layers: tuple[ImageLayer, ...]
    """Those that hold the same, however they are compressed."""
    removed_layers: tuple[ImageLayer, ...]
    added_layers: tuple[ImageLayer, ...]
    packages: tuple[Change, ...]
    python_packages: tuple[Change, ...]
    files: tuple[FileChange, ...]

    @property
    def identical(self) -> bool:
        """Whether the two are one image, to the byte."""
        return self.digests[0] == self.digests[1]

    @property
    def differs(self) -> bool:
        """Whether a container could tell. Times of files and images, history and how layers
        are cut and compressed do not count."""
        return bool(self.configuration or self.packages or self.python_packages or self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for programs."""
        return {
            "platform": str(self.platform),
            "identical": self.identical,
            "differs": self.differs,
            "digests": list(self.digests),
            "download_bytes": list(self.download_bytes),
            "size_bytes": list(self.size_bytes),
            "configuration": [change.to_json() for change in self.configuration],
            "layers": {
                "shared": [_layer_json(layer) for layer in self.shared_layers],
                "removed": [_layer_json(layer) for layer in self.removed_layers],
                "added": [_layer_json(layer) for layer in self.added_layers],
            },
            "debian_packages": [change.to_json() for change in self.packages],
            "python_packages": [change.to_json() for change in self.python_packages],
            "files": [change.to_json() for change in self.files],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The comparisons of every platform that both of two images have."""

    names: tuple[str, str]
    comparisons: tuple[Comparison, ...]
    removed_platforms: tuple[Platform, ...] = ()
    added_platforms: tuple[Platform, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether there is a difference that counts, see `Comparison.differs`."""
        return bool(
            self.removed_platforms
            or self.added_platforms
            or any(comparison.differs for comparison in self.comparisons)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "before": self.names[0],
            "after": self.names[1],
            "differs": self.differs,
            "removed_platforms": [str(platform) for platform in self.removed_platforms],
            "added_platforms": [str(platform) for platform in self.added_platforms],
            "platforms": [comparison.to_json() for comparison in self.comparisons],
        }


def text(name: str) -> str:
    """Return a name from an image, which need not be text, as text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _node_json(node: Node | None) -> dict[str, Any] | None:
    if node is None:
        return None
    facts = {
        "type": node.kind.value,
        "mode": f"{node.mode:04o}",
        "owner": f"{node.uid}:{node.gid}",
        "size_bytes": node.size_bytes,
        "sha256": node.sha256,
        "target": text(node.target),
    }
    return {key: value for key, value in facts.items() if value != ""}


def _layer_json(layer: ImageLayer) -> dict[str, Any]:
    return {
        "digest": layer.digest,
        "diff_id": layer.diff_id,
        "size_bytes": layer.size_bytes,
        "created_by": layer.created_by,
    }


def compare_images(one: ImageContents, other: ImageContents) -> Comparison:
    """Return what changed from `one` to `other`."""
    ids = [{layer.diff_id for layer in image.layers} for image in (one, other)]
    return Comparison(
        platform=other.platform,
        digests=(one.digest, other.digest),
        download_bytes=(one.download_bytes, other.download_bytes),
        size_bytes=(one.size_bytes, other.size_bytes),
        configuration=_changes(_flat(one.config), _flat(other.config)),
        shared_layers=tuple(layer for layer in other.layers if layer.diff_id in ids[0]),
        removed_layers=tuple(layer for layer in one.layers if layer.diff_id not in ids[1]),
        added_layers=tuple(layer for layer in other.layers if layer.diff_id not in ids[0]),
        packages=_changes(one.packages, other.packages, _debian_version),
        python_packages=_changes(one.python_packages, other.python_packages, _python_version),
        files=tuple(
            FileChange(path, one.files.get(path), other.files.get(path))
            for path in sorted({**one.files, **other.files}, key=lambda path: path.split("/"))
            if one.files.get(path) != other.files.get(path)
        ),
    )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with a name of its own for each variable, label and setting."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key in _MAPPINGS and isinstance(value, Mapping):
            found.update({f"{key} {name}": part for name, part in value.items()})
        else:
            found[key] = value
    return found


def _changes(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    version: Callable[[str], Any] | None = None,
) -> tuple[Change, ...]:
    """Return what differs; with `version`, which orders values, also in which direction."""
    found = []
    for name in sorted({*one, *other}):
        before, after = one.get(name), other.get(name)
        if before != after:
            found.append(Change(name, before, after, _direction(before, after, version)))
    return tuple(found)


def _direction(before: Any, after: Any, version: Callable[[str], Any] | None) -> Direction:
    if before is None:
        return Direction.ADDED
    if after is None:
        return Direction.REMOVED
    if version is not None:
        # A version that is none, or two of them at once, has no place in an order.
        with contextlib.suppress(ValueError):
            if version(before) < version(after):
                return Direction.UPGRADED
            if version(before) > version(after):
                return Direction.DOWNGRADED
    return Direction.CHANGED


def _debian_version(text: str) -> Any:
    from pipeline.sources.debian.version import DebianVersion

    return DebianVersion(text)


def _python_version(text: str) -> Any:
    from packaging.version import Version

    return Version(text)


def asked_platforms(spellings: Sequence[str]) -> tuple[Platform, ...]:
    """Return the platforms of flags; none of them, or `all`, means all that there are."""
    parts = [part.strip().lower() for text in spellings for part in text.split(",")]
    return Platform.parse_many(spellings) if any(parts) and "all" not in parts else ()


def compare_named(
    names: tuple[str, str],
    *,
    platforms: Sequence[Platform] = (),
    pull: Pull,
) -> Report:
    """Return what changed between the images that two arguments name.

    Each is a layout folder, an archive, or a reference for `pull`.  `platforms` are compared,
    or else all that both have.  Raises `ImageMissing` where there is no image or not for a
    platform that was asked for, `ImageInvalid`, and what `pull` raises.
    """
    read = LayerReader()
    with contextlib.ExitStack() as opened:
        one, other = (
            {image.platform: image for image in opened.enter_context(_found(name, platforms, pull))}
            for name in names
        )
        for platform in platforms:
            for name, images in zip(names, (one, other), strict=True):
                if platform not in images:
                    raise missing_platform(platform, name, tuple(images))
        chosen = platforms or [platform for platform in one if platform in other]
        comparisons = tuple(
            compare_images(contents_of(one[platform], read), contents_of(other[platform], read))
            for platform in chosen
        )
    if platforms:
        return Report(names, comparisons)
    return Report(
        names,
        comparisons,
        removed_platforms=tuple(platform for platform in one if platform not in other),
        added_platforms=tuple(platform for platform in other if platform not in one),
    )


@contextlib.contextmanager
def _found(
    name: str, platforms: Sequence[Platform], pull: Pull
) -> Iterator[tuple[StoredImage, ...]]:
    """Yield the images that an argument names."""
    if Path(name).exists():
        with open_images(Path(name)) as images:
            yield images
        return
    if not _is_reference(name):
        raise ImageMissing(
            f"there is no image at '{name}'",
            hint="give a layout folder, an archive, or a reference such as ghcr.io/owner/name:tag",
        )
    Reference.parse(name)  # A name that cannot be is refused before anything is asked.
    with tempfile.TemporaryDirectory(prefix="image-") as work:
        folder = Path(work) / "layout"
        pull(name, folder, platforms)
        yield layout_images(folder)


def _is_reference(name: str) -> bool:
    """Whether a name that no file has is meant for a registry, and not mistyped.

    It then has a tag, a digest, or a registry's address in front.
    """
    if re.match(r"[./~]", name):
        return False
    first, slash, rest = name.partition("/")
    if slash and rest and ("." in first or ":" in first or first == "localhost"):
        return True
    return "@" in name or ":" in name.rpartition("/")[2]
