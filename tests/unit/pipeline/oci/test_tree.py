"""Layers become what a container sees, whoever wrote them."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
import tracemalloc
import types
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.errors import ImageInvalid, ToolMissing
from pipeline.oci.image import ImageLayer
from pipeline.oci.tree import LayerTree, Node, NodeKind, Tree, read_layer, stack

Member = tuple[str, bytes | str | None]
"""A path with a file's content, a link's target, or None for a folder."""


def member(name: str, **parts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for key, value in parts.items():
        setattr(found, key, value)
    return found


def tar_of(*members: tarfile.TarInfo | Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for part in members:
            info, content = (part, b"") if isinstance(part, tarfile.TarInfo) else _plain(part)
            info.size = info.size or len(content)
            tar.addfile(info, io.BytesIO(content or bytes(info.size)))
    return out.getvalue()


def _plain(part: Member) -> tuple[tarfile.TarInfo, bytes]:
    name, what = part
    if isinstance(what, bytes):
        return member(name), what
    if what is None:
        return member(name, type=tarfile.DIRTYPE, mode=0o755), b""
    return member(name, type=tarfile.SYMTYPE, linkname=what), b""


class Layers:
    """Writes layers' blobs to a folder and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = 0

    def blob(self, data: bytes, compression: str, diff_id: str) -> tuple[ImageLayer, Path]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        layer = ImageLayer(f"sha256:{digest}", diff_id, len(data), "", compression)
        return layer, self.folder / digest

    def read(self, *members: tarfile.TarInfo | Member) -> LayerTree:
        tar = tar_of(*members)
        diff_id = f"sha256:{hashlib.sha256(tar).hexdigest()}"
        return read_layer(*self.blob(tar, "", diff_id), lambda path: self.kept)

    def stacked(self, *layers: Sequence[tarfile.TarInfo | Member]) -> Tree:
        return stack(self.read(*layer) for layer in layers)


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_each_kind_of_member_becomes_a_node(layers: Layers) -> None:
    tree = layers.stacked(
        [
            member("./", type=tarfile.DIRTYPE, mode=0o755),
            member("./app/", type=tarfile.DIRTYPE, mode=0o1777, uid=7, gid=8),
            ("/app/text", b"hello"),
            ("app/link", "../text"),
            member("app/again", type=tarfile.LNKTYPE, linkname="./app/text"),
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            member("dev/pipe", type=tarfile.FIFOTYPE, mode=0o600),
            member("bin/su", mode=0o104755, size=3),
        ]
    )
    assert tree.nodes == {
        "app": Node(NodeKind.FOLDER, 0o1777, 7, 8),
        "app/text": Node(NodeKind.FILE, 0o644, size_bytes=5, sha256=sha(b"hello")),
        "app/link": Node(NodeKind.LINK, 0o777, target="../text"),
        "app/again": Node(NodeKind.FILE, 0o644, size_bytes=5, sha256=sha(b"hello")),
        "dev/null": Node(NodeKind.DEVICE, 0o666, target="c 1,3"),
        "dev/pipe": Node(NodeKind.FIFO, 0o600),
        "bin/su": Node(NodeKind.FILE, 0o4755, size_bytes=3, sha256=sha(bytes(3))),
    }


def test_an_upper_layer_is_what_is_seen(layers: Layers) -> None:
    tree = layers.stacked([("a", b"old"), ("b", b"stays")], [("a", b"new")])
    assert tree.nodes["a"].sha256 == sha(b"new")
    assert tree.nodes["b"].sha256 == sha(b"stays")


def test_a_whiteout_hides_a_file_or_a_whole_folder(layers: Layers) -> None:
    tree = layers.stacked(
        [("etc", None), ("etc/a", b""), ("etc/b", b""), ("opt", None), ("opt/x/y", b"")],
        [("etc/.wh.a", b""), (".wh.opt", b"")],
    )
    assert set(tree.nodes) == {"etc", "etc/b"}


def test_a_whiteout_is_for_lower_layers_alone(layers: Layers) -> None:
    both = [("opt", None), ("opt/new", b""), (".wh.opt", b""), ("opt/.wh.new", b"")]
    tree = layers.stacked([("opt", None), ("opt/old", b"")], both)
    assert set(tree.nodes) == {"opt", "opt/new"}


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_keeps_what_its_own_layer_has(layers: Layers, first: bool) -> None:
    upper: list[tarfile.TarInfo | Member] = [("d", None), ("d/new", b"")]
    upper.insert(0 if first else 2, ("d/.wh..wh..opq", b""))
    tree = layers.stacked([("d", None), ("d/old", b""), ("d/deep/er", b""), ("e", b"")], upper)
    assert set(tree.nodes) == {"d", "d/new", "e"}


def test_an_opaque_root_hides_all_below(layers: Layers) -> None:
    tree = layers.stacked([("a", b""), ("b/c", b"")], [(".wh..wh..opq", b""), ("d", b"")])
    assert set(tree.nodes) == {"d"}


def test_what_engines_note_for_themselves_is_no_file(layers: Layers) -> None:
    assert layers.stacked([(".wh..wh.plnk", None), (".wh..wh.aufs", b"")]).nodes == {}


def test_a_file_in_the_place_of_a_folder_hides_what_was_in_it(layers: Layers) -> None:
    lower: list[tarfile.TarInfo | Member] = [("d", None), ("d/a", b""), ("d/b/c", b"")]
    assert set(layers.stacked(lower, [("d", b"now a file")]).nodes) == {"d"}
    assert set(layers.stacked(lower, [("d", "/elsewhere")]).nodes) == {"d"}
    assert set(layers.stacked(lower, [("d", None)]).nodes) == {"d", "d/a", "d/b/c"}


def test_a_hard_link_to_a_lower_layer_is_that_file(layers: Layers) -> None:
    layers.kept = 10
    linked = member("b", type=tarfile.LNKTYPE, linkname="a")
    again = member("c", type=tarfile.LNKTYPE, linkname="b")
    tree = layers.stacked([("a", b"text")], [linked, again, (".wh.a", b"")])
    assert {path: node.sha256 for path, node in tree.nodes.items()} == dict.fromkeys(
        "bc", sha(b"text")
    )
    assert tree.contents == dict.fromkeys("bc", b"text")


def test_a_hard_link_to_nothing_is_refused(layers: Layers) -> None:
    with pytest.raises(ImageInvalid, match="hard link to 'nowhere'"):
        layers.stacked([member("b", type=tarfile.LNKTYPE, linkname="nowhere")])


def test_a_path_that_comes_twice_is_what_came_last(layers: Layers) -> None:
    assert layers.stacked([("a", b"1"), ("a", b"2")]).nodes["a"].sha256 == sha(b"2")
    linked = member("a", type=tarfile.LNKTYPE, linkname="b")
    tree = layers.stacked([("b", b"lower")], [linked, ("a", b"own")])
    assert tree.nodes["a"].sha256 == sha(b"own")


def test_contents_are_kept_as_far_as_they_are_wanted(layers: Layers) -> None:
    assert layers.stacked([("a", b"text")]).contents == {}
    layers.kept = 2
    tree = layers.stacked([("a", b"text"), ("b", b"gone"), ("c", b"")], [(".wh.b", b"")])
    assert tree.contents == {"a": b"te", "c": b""}
    assert tree.nodes["a"].sha256 == sha(b"text")


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", ".."])
def test_a_layer_that_leaves_the_root_is_refused(layers: Layers, name: str) -> None:
    with pytest.raises(ImageInvalid, match="is outside of the image"):
        layers.read((name, b""))


TAR = tar_of(("a", b"text" * 5000))
DIFF_ID = f"sha256:{sha(TAR)}"


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (TAR, ""),
        (gzip.compress(TAR), "gzip"),
        (gzip.compress(TAR[:7000]) + gzip.compress(TAR[7000:]), "gzip"),
    ],
)
def test_layers_of_any_compression_are_read(layers: Layers, data: bytes, compression: str) -> None:
    found = read_layer(*layers.blob(data, compression, DIFF_ID), lambda path: 0)
    assert found.own.nodes["a"].sha256 == sha(b"text" * 5000)


def test_padding_after_a_tar_belongs_to_its_digest(layers: Layers) -> None:
    padded = TAR + bytes(3_000_000)
    blob = layers.blob(gzip.compress(padded), "gzip", f"sha256:{sha(padded)}")
    assert set(read_layer(*blob, lambda path: 0).own.nodes) == {"a"}


def test_zstd_is_read_or_named(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ToolMissing, match="zstd, which this Python cannot read"):
        read_layer(*layers.blob(TAR, "zstd", DIFF_ID), lambda path: 0)


def test_zstd_goes_through_whatever_reads_it(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader(io.BytesIO):
        """Stands in for the package's stream: the file that it gets is the tar itself."""

    class Decompressor:
        def stream_reader(self, file: io.BufferedReader, read_across_frames: bool) -> Reader:
            assert read_across_frames
            with file:
                return Reader(file.read())

    module = types.SimpleNamespace(ZstdDecompressor=Decompressor)
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", module)
    found = read_layer(*layers.blob(TAR, "zstd", DIFF_ID), lambda path: 0)
    assert set(found.own.nodes) == {"a"}

    class ZstdError(Exception):
        pass

    def refuse(self: Decompressor, file: io.BufferedReader, read_across_frames: bool) -> Reader:
        file.close()
        raise ZstdError("unknown frame")

    monkeypatch.setattr(Decompressor, "stream_reader", refuse)
    with pytest.raises(ImageInvalid, match="unknown frame"):
        read_layer(*layers.blob(TAR, "zstd", DIFF_ID), lambda path: 0)


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (gzip.compress(TAR)[:-20], "gzip"),
        (_flipped(gzip.compress(TAR, 0)), "gzip"),
        (gzip.compress(TAR) + b"rubbish", "gzip"),
        (TAR, "gzip"),
        (b"", "gzip"),
        (TAR[:3000], ""),
        (_flipped(TAR), ""),
        (b"no tar at all" * 100, ""),
        (tar_of(("b", b"another")), ""),
    ],
)
def test_a_damaged_layer_is_one_line(layers: Layers, data: bytes, compression: str) -> None:
    layer, path = layers.blob(data, compression, DIFF_ID)
    with pytest.raises(ImageInvalid, match="the layer ") as raised:
        read_layer(layer, path, lambda path: 0)
    assert "\n" not in str(raised.value)


def test_a_layer_that_is_not_there_is_named(layers: Layers, tmp_path: Path) -> None:
    layer, path = layers.blob(TAR, "", DIFF_ID)
    path.unlink()
    with pytest.raises(ImageInvalid, match="is not there"):
        read_layer(layer, path, lambda path: 0)


def test_memory_does_not_grow_with_contents(layers: Layers) -> None:
    big = member("big", size=30_000_000)
    tar = tar_of(big)
    blob = layers.blob(gzip.compress(tar, 1), "gzip", f"sha256:{sha(tar)}")
    del tar
    tracemalloc.start()
    try:
        assert read_layer(*blob, lambda path: 0).own.nodes["big"].size_bytes == 30_000_000
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()
