"""The images of a release come from their registry, verified, or they do not come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import NotInRegistry, NotVerified, OptionInvalid, ReleaseRefused
from pipeline.oci.layout import open_layout
from pipeline.provenance import subjects_of
from pipeline.release.images import ImagesRequest, bring_images
from pipeline.report import Silent
from pipeline.verify.checks import Verification
from pipeline.verify.run import Clock
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.sbom.conftest import world
from tests.unit.pipeline.verify.test_verify import Shelf, remote, shelf

__all__ = ["remote", "shelf", "world"]


@pytest.fixture
def released(remote: FaultyRegistry, shelf: Shelf) -> FaultyRegistry:
    """Return a registry with the image of version 1.0.0 under the name that a release gives it."""
    source = shelf.root / "src" / "accelerapp" / "__init__.py"
    source.parent.mkdir(parents=True)
    source.write_text('__version__ = "1.0.0"\n')
    tags = remote.content["owner/mini"].tags
    tags["v1.0.0-production"] = tags["v1.0.0"]
    return remote


def bring(
    remote: FaultyRegistry, shelf: Shelf, output: Path, *, clock: Clock | None = None, **flags: Any
) -> tuple[Verification, ...]:
    environ = {"ACCELERAPP_REGISTRY": f"{remote.host}/owner", "HOME": str(shelf.root)}
    request = ImagesRequest(output=output, **flags)
    return bring_images(request, Silent(), root=shelf.root, environ=environ, clock=clock)


def test_an_image_comes_with_all_that_is_said_of_it(
    released: FaultyRegistry, shelf: Shelf, tmp_path: Path
) -> None:
    for _ in range(2):
        (found,) = bring(released, shelf, tmp_path / "out")
    layout = tmp_path / "out" / "production"
    image = open_layout(layout)
    assert found.digest == image.top.descriptor.digest
    assert found.digest == released.content["owner/mini"].tags["v1.0.0-production"]
    provenance = (tmp_path / "out" / "production.provenance.json").read_bytes()
    parts = {str(p.platform): p.manifest.descriptor.digest for p in image.images}
    assert {found.digest, *parts.values()} <= subjects_of(provenance, "")
    for platform, digest in parts.items():
        sbom = tmp_path / "out" / f"production-{platform.replace('/', '-')}.cdx.json"
        assert json.loads(sbom.read_bytes())["metadata"]["component"]["version"] == digest


def test_an_image_that_is_not_there_yet_is_waited_for(
    released: FaultyRegistry, shelf: Shelf, tmp_path: Path
) -> None:
    tags = released.content["owner/mini"].tags
    digest = tags.pop("v1.0.0-production")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            tags["v1.0.0-production"] = digest

    clock = Clock(lambda: sum(slept), sleep)
    with pytest.raises(NotInRegistry):
        bring(released, shelf, tmp_path / "out", clock=clock)
    (found,) = bring(released, shelf, tmp_path / "out", clock=clock, wait_s=60)
    assert (found.digest, slept) == (digest, [15, 15])


def test_an_image_that_nothing_is_said_of_does_not_come(
    released: FaultyRegistry, shelf: Shelf, tmp_path: Path
) -> None:
    content = released.content["owner/mini"]
    image = open_layout(shelf.layout)
    content.tags["v1.0.0-production"] = image.images[0].manifest.descriptor.digest
    with pytest.raises(NotVerified, match="is required and was not verified"):
        bring(released, shelf, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_kept(
    released: FaultyRegistry, shelf: Shelf, tmp_path: Path
) -> None:
    (tmp_path / "out" / "production").mkdir(parents=True)
    (tmp_path / "out" / "production" / "mine").touch()
    with pytest.raises(ReleaseRefused, match="is no image"):
        bring(released, shelf, tmp_path / "out")
    assert (tmp_path / "out" / "production" / "mine").exists()


def test_somebody_has_to_say_where_the_images_are(shelf: Shelf, released: FaultyRegistry) -> None:
    with pytest.raises(OptionInvalid, match="set ACCELERAPP_REGISTRY="):
        bring_images(ImagesRequest(), Silent(), root=shelf.root, environ={})
