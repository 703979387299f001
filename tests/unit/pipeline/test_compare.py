"""What changed between two images is what a reviewer would want to know, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare import (
    Change,
    Direction,
    FileChange,
    asked_platforms,
    compare_images,
    compare_named,
)
from pipeline.contents import ImageContents
from pipeline.entries import Entry
from pipeline.errors import ImageInvalid, ImageMissing, NameInvalid
from pipeline.oci.archive import write_archive
from pipeline.oci.image import ImageLayer
from pipeline.oci.layout import blob_path, write_layout
from pipeline.oci.tree import Node, NodeKind
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import Blobs

AMD64, ARM64 = Platform.AMD64, Platform.ARM64


def layer(name: str, *, compressed: str = "") -> ImageLayer:
    return ImageLayer(f"sha256:{compressed or name}", f"sha256:{name}", 100, name)


EMPTY = ImageContents(AMD64, "sha256:1", {}, (), {}, {}, {})


def changed(**parts: Any) -> ImageContents:
    return replace(EMPTY, digest="sha256:2", **parts)


def file(**parts: Any) -> Node:
    return Node(**{"kind": NodeKind.FILE, "size_bytes": 1, "sha256": "a", **parts})


def compared(before: dict[str, Any], after: dict[str, Any]) -> Any:
    return compare_images(replace(EMPTY, **before), changed(**after))


def test_an_image_is_identical_to_itself() -> None:
    full = changed(config={"User": "1"}, packages={"a": "1"}, files={"a": file()})
    comparison = compare_images(full, full)
    assert comparison.identical
    assert not comparison.differs


def test_other_bytes_of_the_same_contents_are_no_difference() -> None:
    same: dict[str, Any] = {"config": {"User": "1"}, "files": {"a": file()}}
    comparison = compared(
        {**same, "layers": (layer("a"), layer("b"))},
        {**same, "layers": (layer("a", compressed="zstd"), layer("c"))},
    )
    assert not comparison.identical
    assert not comparison.differs
    assert [found.created_by for found in comparison.shared_layers] == ["a"]
    assert [found.created_by for found in comparison.removed_layers] == ["b"]
    assert [found.created_by for found in comparison.added_layers] == ["c"]


def test_configuration_is_compared_by_variable_label_and_setting() -> None:
    comparison = compared(
        {
            "config": {
                "User": "0",
                "Env": {"PATH": "/bin", "OLD": "1"},
                "Labels": {"version": "1", "same": "x"},
                "Cmd": ["serve"],
                "Healthcheck": {"Test": ["CMD", "a"], "Interval": 5},
                "Shell": ["sh"],
            }
        },
        {
            "config": {
                "User": "1000",
                "Env": {"PATH": "/bin", "NEW": "2"},
                "Labels": {"version": "2", "same": "x"},
                "Cmd": ["serve"],
                "Healthcheck": {"Test": ["CMD", "b"], "Interval": 5},
            }
        },
    )
    assert comparison.configuration == (
        Change("Env NEW", None, "2", Direction.ADDED),
        Change("Env OLD", "1", None, Direction.REMOVED),
        Change("Healthcheck Test", ["CMD", "a"], ["CMD", "b"], Direction.CHANGED),
        Change("Labels version", "1", "2", Direction.CHANGED),
        Change("Shell", ["sh"], None, Direction.REMOVED),
        Change("User", "0", "1000", Direction.CHANGED),
    )
    assert comparison.differs


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        ("2.36-9+deb12u4", "2.36-9+deb12u10", Direction.UPGRADED),
        ("1:1.0", "2.0", Direction.DOWNGRADED),
        ("1.0~rc1", "1.0", Direction.UPGRADED),
        ("not a version", "1.0", Direction.CHANGED),
        ("1.0", "1.00", Direction.CHANGED),
    ],
)
def test_debian_packages_are_ordered_as_dpkg_does(
    before: str, after: str, direction: Direction
) -> None:
    comparison = compared({"packages": {"p": before}}, {"packages": {"p": after}})
    assert comparison.packages == (Change("p", before, after, direction),)


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        ("1.9", "1.10", Direction.UPGRADED),
        ("2.0", "2.0rc1", Direction.DOWNGRADED),
        ("1, 2", "1", Direction.CHANGED),
    ],
)
def test_python_packages_are_ordered_as_pip_does(
    before: str, after: str, direction: Direction
) -> None:
    comparison = compared({"python_packages": {"p": before}}, {"python_packages": {"p": after}})
    assert comparison.python_packages == (Change("p", before, after, direction),)


def test_packages_come_and_go() -> None:
    comparison = compared({"packages": {"a": "1", "b": "1"}}, {"packages": {"b": "1", "c": "2"}})
    assert comparison.packages == (
        Change("a", "1", None, Direction.REMOVED),
        Change("c", None, "2", Direction.ADDED),
    )


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (file(sha256="b"), ("content",)),
        (file(sha256="b", size_bytes=2), ("content",)),
        (file(mode=0o755), ("mode",)),
        (file(uid=1), ("owner",)),
        (file(gid=1), ("owner",)),
        (file(sha256="b", mode=0o755, uid=1), ("content", "mode", "owner")),
        (Node(NodeKind.LINK, 0o777, target="x"), ("type",)),
        (Node(NodeKind.FOLDER), ("type",)),
    ],
)
def test_it_is_said_what_of_a_file_changed(after: Node, what: tuple[str, ...]) -> None:
    (change,) = compared({"files": {"a": file()}}, {"files": {"a": after}}).files
    assert (change.direction, change.what) == (Direction.CHANGED, what)


def test_a_link_that_points_elsewhere_has_changed() -> None:
    links = [Node(NodeKind.LINK, 0o777, target=target) for target in ("x", "y")]
    (change,) = compared({"files": {"a": links[0]}}, {"files": {"a": links[1]}}).files
    assert change.what == ("target",)


def test_files_are_in_the_order_of_folders() -> None:
    before = {"a-b": file(), "same": file()}
    after = {"a": file(size_bytes=5), "a/b": file(), "same": file()}
    comparison = compared({"files": before}, {"files": after})
    assert [(change.path, change.direction.value) for change in comparison.files] == [
        ("a", "added"),
        ("a/b", "added"),
        ("a-b", "removed"),
    ]
    assert [change.grown_bytes for change in comparison.files] == [5, 1, -1]
    assert FileChange("x", file(size_bytes=9), file()).grown_bytes == -8


# Images by name.


def never(reference: str, folder: Path, platforms: Sequence[Platform]) -> None:
    raise AssertionError(f"{reference} was pulled")


class Made:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = Blobs(folder / "source")

    def layout(self, text: str, *, platforms: Sequence[Platform] = tuple(Platform)) -> str:
        image = self.blobs.image(text, platforms=platforms)
        path = self.folder / f"{text}-{len(platforms)}"
        write_layout(path, image, self.blobs)
        return str(path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_every_platform_that_both_have_is_compared(made: Made) -> None:
    names = (made.layout("one"), made.layout("two"))
    report = compare_named(names, pull=never)
    assert report.names == names
    assert report.differs
    assert [comparison.platform for comparison in report.comparisons] == [AMD64, ARM64]
    for comparison in report.comparisons:
        assert [change.path for change in comparison.files] == ["app/text"]
        assert [change.name for change in comparison.configuration] == ["Labels text"]
        assert [found.created_by for found in comparison.shared_layers] == ["base"]
    assert not compare_named((names[0], names[0]), pull=never).differs


def test_a_platform_that_only_one_has_is_a_difference(made: Made) -> None:
    both, one = made.layout("x"), made.layout("x", platforms=[ARM64])
    report = compare_named((both, one), pull=never)
    assert report.differs
    assert (report.removed_platforms, report.added_platforms) == ((AMD64,), ())
    assert compare_named((one, both), pull=never).added_platforms == (AMD64,)
    report = compare_named((both, one), platforms=[ARM64], pull=never)
    assert not report.differs
    assert report.removed_platforms == ()
    with pytest.raises(ImageMissing, match="no image for linux/amd64; it has linux/arm64"):
        compare_named((both, one), platforms=[AMD64], pull=never)


def test_a_layout_and_an_archive_of_it_are_identical(made: Made, tmp_path: Path) -> None:
    image = made.blobs.image("x")
    write_archive(tmp_path / "x.tar", [image], made.blobs, preferred=AMD64)
    report = compare_named((made.layout("x"), str(tmp_path / "x.tar")), pull=never)
    assert [comparison.identical for comparison in report.comparisons] == [True, True]


def test_a_reference_is_pulled_for_what_is_asked_and_leaves_nothing(
    made: Made, tmp_path: Path
) -> None:
    asked = []

    def pull(reference: str, folder: Path, platforms: Sequence[Platform]) -> None:
        asked.append((reference, tuple(platforms), folder))
        write_layout(folder, made.blobs.image("pulled"), made.blobs)

    report = compare_named((made.layout("x"), "localhost:5000/x:1"), platforms=[ARM64], pull=pull)
    assert report.differs
    ((reference, platforms, folder),) = asked
    assert (reference, platforms) == ("localhost:5000/x:1", (ARM64,))
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    "name", ["python:3.11-slim", "ghcr.io/o/x", "localhost/x", "x@sha256:" + "0" * 64]
)
def test_what_can_only_be_meant_for_a_registry_is_pulled(made: Made, name: str) -> None:
    def pull(reference: str, folder: Path, platforms: Sequence[Platform]) -> None:
        raise NameInvalid(reference)

    with pytest.raises(NameInvalid, match=name):
        compare_named((made.layout("x"), name), pull=pull)


@pytest.mark.parametrize("name", ["dist/images/prodution", "production", "./a:b", "/x.io/y", "~/a"])
def test_a_mistyped_path_is_never_looked_for_in_a_registry(made: Made, name: str) -> None:
    with pytest.raises(ImageMissing, match="there is no image at"):
        compare_named((made.layout("x"), name), pull=never)


def test_a_name_that_cannot_be_is_refused_before_anything_is_asked(made: Made) -> None:
    with pytest.raises(NameInvalid):
        compare_named((made.layout("x"), "ghcr.io/Owner/x:1"), pull=never)


def test_a_damaged_layer_is_not_compared(made: Made) -> None:
    one, other = made.layout("one"), made.layout("two")
    digest = made.blobs.image("two").images[0].layers[1].digest
    blob_path(Path(other), digest).write_bytes(b"damaged")
    with pytest.raises(ImageInvalid, match="the layer"):
        compare_named((one, other), pull=never)


def test_platforms_are_those_of_the_flags() -> None:
    assert asked_platforms([]) == asked_platforms(["all"]) == asked_platforms([""]) == ()
    assert asked_platforms(["aarch64", "amd64"]) == (AMD64, ARM64)


def test_reports_are_json_whatever_names_are_in_an_image(tmp_path: Path) -> None:
    import json

    odd = Entry("caf\udce9", content=b"x")
    comparison = compared({}, {"files": {odd.path: file()}, "layers": (layer("a"),)})
    document = json.dumps(comparison.to_json(), ensure_ascii=False).encode()
    (found,) = json.loads(document)["files"]
    assert found == {
        "path": "/caf\\udce9",
        "change": "added",
        "what": [],
        "before": None,
        "after": {
            "type": "file",
            "mode": "0644",
            "owner": "0:0",
            "size_bytes": 1,
            "sha256": "a",
        },
    }
