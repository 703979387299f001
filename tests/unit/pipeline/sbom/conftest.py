"""A miniature repository with a built image, as `invoke sbom` finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.lock import write_lock
from pipeline.settings import DESCRIPTION, LOCK
from tests.unit.pipeline.factories import World, deb, regular, soft_link, wheel

Change = Callable[[World], None]
MACHINE_READABLE = (
    "Format: 1.0\n\n"
    "Files: *\nLicense: GPL-2+ or Artistic\n\nFiles: x\nLicense: Expat\n\nFiles: y\nLicense: own\n"
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world with packages whose licences are worth reading."""
    world = World(tmp_path)
    for platform, debs in world.debs.items():
        architecture = platform.debian
        debs += [
            deb(
                "zlib1g",
                [regular("usr/share/doc/zlib1g/copyright", MACHINE_READABLE)],
                version="1:1.2.13.dfsg-1+b1",
                architecture=architecture,
            ),
            deb(
                "zlib1g-more",
                [soft_link("usr/share/doc/zlib1g-more", "zlib1g")],
                version="7",
                architecture=architecture,
            ),
        ]
    world.wheels = [
        wheel("dep", {"dep/__init__.py": ""}, requires=["other>=1", 'colorama; os_name == "nt"']),
        wheel("other", {"other/__init__.py": ""}),
    ]
    (world.root / "requirements" / "production.txt").write_text("dep==1.0\nother==1.0\n")
    (world.root / "pyproject.toml").write_text('[project]\nname = "mini"\nversion = "1.0"\n')
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(world.cache.folder))
    return world


@pytest.fixture
def built(world: World) -> World:
    """Return the world with its images for two platforms, and its lock."""
    write_files(world)
    world.fill_cache()
    world.build()
    return world


def write_files(world: World) -> None:
    """Write description and lock where the tasks look for them."""
    (world.root / DESCRIPTION).parent.mkdir(parents=True, exist_ok=True)
    (world.root / DESCRIPTION).write_text(world.description)
    write_lock(world.root / LOCK, world.lock())
