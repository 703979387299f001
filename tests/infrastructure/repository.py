"""What every test of the deployment starts from: the description, the lock, and the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.lock import read_lock
from pipeline.settings import LOCK, Image, read_settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deployment" / "docker"
SETTINGS = read_settings(ROOT)
SUITE = SETTINGS.suite()
IMAGES = SETTINGS.filled(SUITE).images
LOCKED = read_lock(ROOT / LOCK, LOCK)
DEPLOYED = ("production", "monitoring", "redis")


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def yaml_of(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def merged_image(name: str) -> Image:
    return SETTINGS.filled(SUITE).merged(name)


def port_of(image: str) -> int:
    (port,) = merged_image(image).ports
    return int(port.removesuffix("/tcp"))
