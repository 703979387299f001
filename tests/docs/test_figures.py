"""Sizes in DEPLOYMENT.md are those of what is built."""

from __future__ import annotations

import gzip
import re

import pytest

from pipeline.platforms import Platform
from tests.docs.conftest import Place
from tests.integration.building import ROOT, read_image

ROWS = re.findall(
    r"^\| `([a-z]+)` \| ([0-9.]+) MB \| ([0-9.]+) MB \|$",
    (ROOT / "DEPLOYMENT.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_every_image_that_is_described_has_a_row() -> None:
    assert {name for name, *_ in ROWS} == {"production", "monitoring", "redis", "development"}


@pytest.mark.parametrize(("target", "compressed", "unpacked"), ROWS)
def test_sizes(target: str, compressed: str, unpacked: str, place: Place) -> None:
    image = read_image(place.folder / "dist" / "images" / target, Platform.AMD64)
    packed = sum(layer.stat().st_size for layer in image.layers)
    assert float(compressed) == pytest.approx(packed / 1e6, rel=0.05)
    size = 0
    for layer in image.layers:
        with gzip.open(layer) as data:
            while chunk := data.read(1 << 22):
                size += len(chunk)
    assert float(unpacked) == pytest.approx(size / 1e6, rel=0.05)
