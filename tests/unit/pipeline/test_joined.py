"""Statements on parts are, together, the statement on the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ImageInvalid
from pipeline.joined import joined_statement
from pipeline.oci.image import Format
from pipeline.platforms import Platform
from pipeline.provenance import Inputs, statement
from pipeline.revision import Revision
from tests.unit.pipeline.factories import World

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Parts = dict[Platform, tuple[str, str]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (world.root / "images.lock").write_text("{}")
    world.fill_cache()
    return world


def stated(world: World, *platforms: Platform) -> tuple[Any, str]:
    """Build for platforms; return the image, and the statement on it."""
    options = {"platforms": platforms, "revision": Revision(COMMIT, 1_750_000_000)}
    report, plan = world.build(**options), world.plan(**options)
    (image,) = report.images
    given = Inputs(world.root / "images.lock", world.root, Format.OCI, None, {})
    return image, statement(image, plan, given).decode()


def parts(world: World) -> Parts:
    found = {}
    for platform in (Platform.ARM64, Platform.AMD64):
        image, text = stated(world, platform)
        found[platform] = (image.digest, text)
    return found


def test_they_are_to_the_byte_the_statement_on_one_build(world: World) -> None:
    apart = parts(world)
    image, whole = stated(world, Platform.AMD64, Platform.ARM64)
    assert {p.platform: p.manifest_digest for p in image.platforms} == {
        platform: digest for platform, (digest, _) in apart.items()
    }
    assert joined_statement(image.digest, apart).decode() == whole


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("buildDefinition", "externalParameters", "suite"), "trixie"),
        (("buildDefinition", "externalParameters", "target"), "monitoring"),
        (("buildDefinition", "internalParameters", "created"), "2001-01-01T00:00:00Z"),
        (("buildDefinition", "buildType"), "https://example.org/another"),
        (("runDetails", "builder", "id"), "https://example.org/somebody"),
    ],
)
def test_parts_that_were_built_in_two_ways_are_not_joined(
    world: World, path: tuple[str, ...], value: str
) -> None:
    apart = parts(world)
    digest, text = apart[Platform.ARM64]
    document = json.loads(text)
    inner = document["predicate"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    apart[Platform.ARM64] = (digest, json.dumps(document))
    with pytest.raises(ImageInvalid, match=r"not built in one way: .*in one workflow run"):
        joined_statement("sha256:" + 64 * "0", apart)


def test_the_statement_on_another_image_is_refused(world: World) -> None:
    apart = parts(world)
    apart[Platform.ARM64] = (apart[Platform.AMD64][0], apart[Platform.ARM64][1])
    with pytest.raises(ImageInvalid, match="part for linux/arm64 is of another image"):
        joined_statement("sha256:" + 64 * "0", apart)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"subject": []}', '{"subject": 1}'])
def test_what_is_no_statement_is_refused(world: World, text: str) -> None:
    apart = parts(world)
    apart[Platform.ARM64] = (apart[Platform.ARM64][0], text)
    with pytest.raises(ImageInvalid, match="part for linux/arm64 cannot be read"):
        joined_statement("sha256:" + 64 * "0", apart)
