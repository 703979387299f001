"""What a container sees: the layers of an image, one on the other, as paths and facts.

Follows the OCI image specification 1.1 (layer.md): whiteouts (`.wh.name`) and opaque folders
(`.wh..wh..opq`) hide what lower layers have.  Contents are hashed while they stream by, so
memory grows with the number of files alone.
"""

from __future__ import annotations

import enum
import hashlib
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from pipeline.errors import ImageInvalid
from pipeline.oci.image import ImageLayer
from pipeline.oci.unpack import open_layer

_CHUNK_BYTES = 1 << 20
_WHITEOUT = ".wh."
_RESERVED = ".wh..wh."
_OPAQUE = ".wh..wh..opq"

Keep = Callable[[str], int]
"""Returns how many bytes of a file's content, by its path, are wanted besides its hash."""


class NodeKind(enum.Enum):
    """What is at a path. A hard link is the file that it links to."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DEVICE = "device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Node:
    """What a container sees at a path; times are left out."""

    kind: NodeKind
    mode: int = 0o644
    """Permissions with the set-id and sticky bits: `0o4755`."""
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    sha256: str = ""
    """Of a file's content, 64 hex digits."""
    target: str = ""
    """A symbolic link's text, or a device's numbers: `1,3`."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A file system: nodes by path (`usr/bin/python3`), and the contents that were kept."""

    nodes: dict[str, Node] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerTree:
    """One layer by itself: what it adds, and what it hides of those below."""

    own: Tree
    links: dict[str, str]
    """Hard links to files that only a lower layer has."""
    removed: frozenset[str]
    emptied: frozenset[str]


def read_layer(layer: ImageLayer, path: Path, keep: Keep) -> LayerTree:
    """Return what the layer's blob at `path` holds.

    Raises `ImageInvalid` for one that is damaged, that is not what its digest in the
    configuration (diff_id) promises, or that leaves the root, and `ToolMissing` for zstd
    where Python cannot read it.
    """
    try:
        with open_layer(path, layer.compression) as stream:
            with tarfile.open(
                fileobj=cast(BinaryIO, stream), mode="r|", bufsize=_CHUNK_BYTES
            ) as tar:
                found = _read(tar, keep)
            stream.drain()
            diff_id = stream.diff_id
    except (tarfile.TarError, ValueError, OverflowError) as error:
        problem = " ".join(str(error).split()) or "it is no tar"
        raise _invalid(layer, f"cannot be read: {problem}") from None
    if diff_id != layer.diff_id:
        raise _invalid(layer, f"unpacks to {diff_id[:19]}, not to {layer.diff_id[:19]}")
    return found


def _invalid(layer: ImageLayer, problem: str) -> ImageInvalid:
    return ImageInvalid(f"the layer {layer.digest[:19]} {problem}", hint="build or pull it again")


def _read(tar: tarfile.TarFile, keep: Keep) -> LayerTree:
    own = Tree()
    links: dict[str, str] = {}
    removed: set[str] = set()
    emptied: set[str] = set()
    for member in _members(tar):
        path = _path(member.name)
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            emptied.add(folder)
        elif name.startswith(_RESERVED):
            continue  # What some engines note for themselves.
        elif name.startswith(_WHITEOUT):
            removed.add(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif path:
            own.contents.pop(path, None)
            own.nodes.pop(path, None)
            links.pop(path, None)
            if not member.islnk():
                own.nodes[path] = _node(tar, member, path, keep, own.contents)
                continue
            target = _path(member.linkname)
            if target not in own.nodes:
                links[path] = links.get(target, target)
                continue
            own.nodes[path] = own.nodes[target]
            if target in own.contents:
                own.contents[path] = own.contents[target]
    return LayerTree(own, links, frozenset(removed), frozenset(emptied))


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        yield member
        tar.members = []  # type: ignore[attr-defined]  # It would keep them all.


def _path(name: str) -> str:
    """Return a member's name as a relative path, empty for the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"'{name}' is outside of the image")
    return "/".join(parts)


def _node(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: str,
    keep: Keep,
    contents: dict[str, bytes],
) -> Node:
    mode, uid, gid = member.mode & 0o7777, member.uid, member.gid
    if member.isdir():
        return Node(NodeKind.FOLDER, mode, uid, gid)
    if member.issym():
        # Its mode means nothing to Linux, and tools write different ones.
        return Node(NodeKind.LINK, 0o777, uid, gid, target=member.linkname)
    if member.ischr() or member.isblk():
        numbers = f"{'c' if member.ischr() else 'b'} {member.devmajor},{member.devminor}"
        return Node(NodeKind.DEVICE, mode, uid, gid, target=numbers)
    if member.isfifo():
        return Node(NodeKind.FIFO, mode, uid, gid)
    if (file := tar.extractfile(member)) is None:
        raise ValueError(f"'{path}' is of a kind that layers do not have")
    digest, kept = _hashed(file, keep(path), member.size, path)
    if kept is not None:
        contents[path] = kept
    return Node(NodeKind.FILE, mode, uid, gid, member.size, digest)


def _hashed(file: IO[bytes], wanted: int, size_bytes: int, path: str) -> tuple[str, bytes | None]:
    """Return the digest of a content, and its first `wanted` bytes unless that is none."""
    digest = hashlib.sha256()
    kept = bytearray()
    read = 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        read += len(chunk)
        kept += chunk[: max(wanted - len(kept), 0)]
    if read != size_bytes:
        raise ValueError(f"'{path}' ends after {read} of {size_bytes} bytes")
    return digest.hexdigest(), bytes(kept) if wanted else None


def stack(layers: Iterable[LayerTree]) -> Tree:
    """Return the file system of layers, the lowest first.

    Raises `ImageInvalid` for a hard link to a file that is nowhere.
    """
    tree = Tree()
    for layer in layers:
        hidden = {
            path for path, node in layer.own.nodes.items() if node.kind is not NodeKind.FOLDER
        }
        hidden |= layer.removed | layer.links.keys()
        linked = {path: _linked(target, layer, tree) for path, target in layer.links.items()}
        for path in [path for path in tree.nodes if _is_hidden(path, hidden, layer.emptied)]:
            del tree.nodes[path]
            tree.contents.pop(path, None)
        tree.nodes.update(layer.own.nodes)
        tree.contents.update(layer.own.contents)
        for path, (node, content) in linked.items():
            tree.nodes[path] = node
            if content is not None:
                tree.contents[path] = content
    return tree


def _linked(target: str, layer: LayerTree, below: Tree) -> tuple[Node, bytes | None]:
    for tree in (layer.own, below):
        if target in tree.nodes:
            return tree.nodes[target], tree.contents.get(target)
    raise ImageInvalid(
        f"a layer has a hard link to '{target}', which is in no layer", hint="build it again"
    )


def _is_hidden(path: str, hidden: set[str], emptied: frozenset[str]) -> bool:
    if path in hidden:
        return True
    while path:
        path = posixpath.dirname(path)
        if path in emptied or (path and path in hidden):
            return True
    return False
