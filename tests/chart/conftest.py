"""What the chart renders, with the real helm, as objects that tests ask questions of."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubernetes.objects import KubernetesObject, read_objects
from pipeline.release.places import read_version
from tests.integration.conftest import find_tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deployment" / "helm" / "accelerapp"
VERSION = read_version(ROOT).semver
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "shop", "devices"
NAME = "shop-accelerapp"
"""Of the objects of the release."""
UNCHECKED = "what the chart renders"
Given = str | int | float | bool | None | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """The objects of a release."""

    objects: tuple[KubernetesObject, ...]

    def all(self, kind: str) -> list[KubernetesObject]:
        return [found for found in self.objects if found.kind == kind]

    def names(self, kind: str) -> list[str]:
        return sorted(found.name for found in self.all(kind))

    def one(self, kind: str, name: str = NAME) -> dict[str, Any]:
        """Return the object of that kind and name, which has to be there once."""
        (found,) = (found for found in self.all(kind) if found.name == name)
        return copy.deepcopy(dict(found.data))

    def pod(self, name: str = NAME) -> dict[str, Any]:
        """Return the pod template's spec of a Deployment."""
        pod: dict[str, Any] = self.one("Deployment", name)["spec"]["template"]["spec"]
        return pod

    def container(self, name: str = NAME) -> dict[str, Any]:
        """Return the only container of a Deployment."""
        (container,) = self.pod(name)["containers"]
        return dict(container)

    def environment(self, name: str = NAME) -> dict[str, Any]:
        """Return the variables of a Deployment's container: ConfigMaps read, Secrets as REF."""
        container, found = self.container(name), {}
        for source in container.get("envFrom", []):
            found.update(self.one("ConfigMap", source["configMapRef"]["name"])["data"])
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            value = f"secret {reference['name']}/{reference['key']}" if reference else None
            found[entry["name"]] = value or entry.get("value", entry.get("valueFrom"))
        return found


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def helm() -> str:
    return str(find_tool("helm", unchecked=UNCHECKED))


def arguments(values: Mapping[str, Given], files: tuple[Path, ...]) -> list[str]:
    words = [word for file in files for word in ("--values", str(file))]
    for key, value in values.items():
        words += ["--set-json", f"{key.replace('/', '.')}={json.dumps(value)}"]
    return words


@pytest.fixture(scope="session")
def template(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function: `helm template` with values files and values, whatever comes of it."""

    def run(*files: Path, **values: Given) -> subprocess.CompletedProcess[str]:
        dotted = {key.replace("__", "."): value for key, value in values.items()}
        argv = [helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
        return subprocess.run(
            [*argv, *arguments(dotted, files)], capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Return a function: what values give. `a__b=1` is `a.b=1`; a path is a values file."""

    @cache
    def rendered(key: str) -> Rendered:
        files, values = asked[key]
        done = template(*files, **values)
        assert done.returncode == 0, done.stderr
        return Rendered(read_objects(done.stdout, "chart"))

    asked: dict[str, tuple[tuple[Path, ...], dict[str, Given]]] = {}

    def run(*files: Path | str, **values: Given) -> Rendered:
        paths = tuple(case(file) if isinstance(file, str) else file for file in files)
        key = repr((paths, sorted(values.items())))
        asked[key] = (paths, values)
        return rendered(key)

    return run


def case(name: str) -> Path:
    """Return one of the chart's cases."""
    path = CHART / "ci" / f"{name}-values.yaml"
    assert path.is_file(), path
    return path
