"""Flags become the layouts that are meant, of whatever suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ImageMissing, OptionInvalid, UnknownTarget
from pipeline.layouts import choose_layouts, target_of
from pipeline.platforms import Platform
from tests.unit.pipeline.factories import BOTH, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.fill_cache()
    world.build(targets=("base", "production"))
    world.build(targets=("base",), platforms=(Platform.ARM64,))
    return world


def tags(world: World, *targets: str, default: str = "production") -> list[str]:
    found = choose_layouts(world.settings(), world.output, targets, default=default)
    return [layout.tag for layout in found]


def test_flags_choose_targets(world: World) -> None:
    assert tags(world) == ["production"]
    assert tags(world, default="all") == ["base", "production"]
    assert tags(world, "base,production") == ["base", "production"]
    assert tags(world, "all") == ["base", "production"]


def test_all_is_what_is_built_of_every_suite(world: World) -> None:
    (world.output / "base").rename(world.output / "base-tiny")
    assert tags(world, "all") == ["base-tiny", "production"]
    with pytest.raises(ImageMissing, match=r"no image in .*base; build it: .* --target base"):
        tags(world, "base")


def test_one_layout_is_known_by_its_own_name(world: World) -> None:
    (layout,) = choose_layouts(world.settings(), world.output / "base", (), default="production")
    assert (layout.tag, layout.target) == ("base", "base")
    assert layout.view(Platform.ARM64).name == "linux-arm64"
    with pytest.raises(OptionInvalid, match="is one image"):
        choose_layouts(world.settings(), world.output / "base", ["base"], default="all")


def test_names_that_are_none(world: World, tmp_path: Path) -> None:
    with pytest.raises(UnknownTarget, match="did you mean 'base'"):
        tags(world, "bse")
    with pytest.raises(ImageMissing, match="build one first"):
        choose_layouts(world.settings(), tmp_path / "empty", ["all"], default="all")


@pytest.mark.parametrize(
    ("tag", "target"),
    [("base", "base"), ("base-tiny", "base"), ("base-huge", None), ("tool", None), ("-tiny", None)],
)
def test_a_tag_names_a_target_with_or_without_a_suite(
    world: World, tag: str, target: str | None
) -> None:
    assert target_of(tag, world.settings()) == target


def test_platforms_are_those_of_the_flags(world: World) -> None:
    base, production = choose_layouts(world.settings(), world.output, ["all"], default="all")
    assert [image.platform for image in production.images(())] == list(BOTH)
    assert [image.platform for image in production.images(["arm64"])] == [Platform.ARM64]
    assert [image.platform for image in base.images(["all"])] == [Platform.ARM64]
    with pytest.raises(ImageMissing, match="has no image for linux/amd64; it has linux/arm64"):
        base.images(["amd64"])


def test_views_that_a_copy_without_links_left_out_are_written_again(world: World) -> None:
    (production,) = choose_layouts(world.settings(), world.output, ["production"], default="all")
    view = production.view(Platform.ARM64)
    index = (view / "index.json").read_bytes()
    for folder in (production.folder / "linux-arm64", production.folder / "linux-amd64"):
        (folder / "blobs").unlink()
        (folder / "index.json").unlink()
        (folder / "oci-layout").unlink()
        folder.rmdir()
    assert production.view(Platform.ARM64) == view
    assert (view / "index.json").read_bytes() == index
    assert (view / "blobs").resolve() == (production.folder / "blobs").resolve()
