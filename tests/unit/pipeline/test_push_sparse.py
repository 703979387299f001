"""A layout without its base's layers is pushed whole: they are mounted, or fetched on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ImageInvalid, NotInRegistry
from pipeline.oci.layout import blob_path, open_layout
from pipeline.push import Fate, PushReport, push_image, survey_push
from pipeline.report import Silent
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.shipments import build, cargo, client

BASE_NAME = "org.opencontainers.image.base.name"


@pytest.fixture
def remote() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def elsewhere() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


def publish_base(registry: FaultyRegistry, folder: Path) -> str:
    """Push an image that has the shared layer; return that layer's digest."""
    image = build(folder / "base" / "production", text="base")
    with client(registry) as opened:
        push_image(
            cargo(registry, folder / "base" / "production", "1", name="team/base"), opened, Silent()
        )
    return image.images[0].layers[0].digest


def sparse_layout(folder: Path, reference: str, shared: str) -> Path:
    layout = folder / "images" / "production"
    build(layout, annotations={BASE_NAME: reference})
    blob_path(layout, shared).unlink()
    return layout


def push(remote: FaultyRegistry, layout: Path) -> PushReport:
    with client(remote) as registry:
        return push_image(cargo(remote, layout, "v1"), registry, Silent())


def fate_of(report: PushReport, digest: str) -> Fate:
    return next(blob.fate for blob in report.blobs if blob.digest == digest)


def test_a_base_in_the_same_registry_is_mounted(remote: FaultyRegistry, tmp_path: Path) -> None:
    shared = publish_base(remote, tmp_path)
    layout = sparse_layout(tmp_path, f"{remote.host}/team/base:1", shared)
    with client(remote) as registry:
        planned = survey_push(cargo(remote, layout, "v1"), registry)
    assert fate_of(planned, shared) is Fate.WOULD_MOUNT
    remote.requests.clear()
    assert fate_of(push(remote, layout), shared) is Fate.MOUNTED
    assert not [seen for seen in remote.seen("GET") if "/blobs/" in seen.path]
    assert shared in remote.content["owner/accelerapp"].blobs


def test_a_registry_that_mounts_nothing_gets_what_it_has_itself(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    shared = publish_base(remote, tmp_path)
    remote.allow_mounts = False
    layout = sparse_layout(tmp_path, f"{remote.host}/team/base:1", shared)
    assert fate_of(push(remote, layout), shared) is Fate.SENT
    content = remote.content
    assert content["owner/accelerapp"].blobs[shared] == content["team/base"].blobs[shared]


def test_a_base_in_another_registry_is_fetched_on_the_way(
    remote: FaultyRegistry, elsewhere: FaultyRegistry, tmp_path: Path
) -> None:
    shared = publish_base(elsewhere, tmp_path)
    layout = sparse_layout(tmp_path, f"{elsewhere.host}/team/base:1", shared)
    assert fate_of(push(remote, layout), shared) is Fate.SENT
    held = remote.content["owner/accelerapp"].blobs[shared]
    assert held == elsewhere.content["team/base"].blobs[shared]
    assert open_layout(layout).top.descriptor.digest in remote.content["owner/accelerapp"].manifests


def test_what_is_there_needs_no_base_at_all(
    remote: FaultyRegistry, elsewhere: FaultyRegistry, tmp_path: Path
) -> None:
    shared = publish_base(elsewhere, tmp_path)
    layout = sparse_layout(tmp_path, f"{elsewhere.host}/team/base:1", shared)
    push(remote, layout)
    elsewhere.requests.clear()
    assert fate_of(push(remote, layout), shared) is Fate.EXISTS
    assert elsewhere.requests == []


def test_a_base_that_is_gone_is_named(remote: FaultyRegistry, tmp_path: Path) -> None:
    shared = publish_base(remote, tmp_path)
    layout = sparse_layout(tmp_path, f"{remote.host}/team/gone:1", shared)
    with pytest.raises(NotInRegistry, match="team/gone"):
        push(remote, layout)
    assert "v1" not in remote.content["owner/accelerapp"].tags


def test_a_layout_without_a_base_lacks_nothing(remote: FaultyRegistry, tmp_path: Path) -> None:
    layout = tmp_path / "images" / "production"
    shared = build(layout).images[0].layers[0].digest
    blob_path(layout, shared).unlink()
    with pytest.raises(ImageInvalid, match=f"{shared} is not there"):
        push(remote, layout)
