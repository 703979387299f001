"""A checkout whose images go to a registry of the tests' own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.building import Checkout
from tests.integration.registry import FaultProxy, LocalRegistry

NAME = "accelerapp"
TAG = "v1.2.3"
HERMETIC: dict[str, str | None] = {
    "REGISTRY_USERNAME": None,
    "REGISTRY_PASSWORD": None,
    "REGISTRY_AUTH_FILE": None,
    "ACCELERAPP_REGISTRY": None,
}


@dataclass(frozen=True)
class Shop:
    """A checkout, a registry, and the proxy between them, which only writes down."""

    checkout: Checkout
    registry: LocalRegistry
    proxy: FaultProxy

    def invoke(self, task: str, *arguments: str | Path) -> Any:
        """Run a task with --json, which must succeed, and return what it prints."""
        done = self.checkout.invoke(task, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def push(self, layouts: Path, *arguments: str, tag: str = TAG) -> Any:
        """Push production from a folder of layouts; return the report of its images."""
        place = ("--registry", self.proxy.address, "--images", layouts)
        return self.invoke("push", *place, "--tag", tag, *arguments)["images"]

    def reference(self, suffix: str = f":{TAG}") -> str:
        """Return the registry's own name of the image, without the proxy."""
        return f"{self.registry.address}/{NAME}{suffix}"
