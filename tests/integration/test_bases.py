"""A service on a base from a real registry: locked, built, run, and pushed beside its base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.platforms import Platform
from tests.integration.building import PLATFORMS, Checkout, assert_refused, whole_layout
from tests.integration.conftest import LoadArchive, RunImage
from tests.integration.registry import FaultProxy, LocalRegistry, running_registry

DESCRIPTION = """
schema = 1
name = "tool"
default-suite = "bookworm"
platforms = ["linux/amd64", "linux/arm64"]

[suites.bookworm]
python = "3.11"
glibc = "2.36"

[images.production]
from = "REFERENCE"
requirements = "requirements/production.txt"
project = true
user = { name = "tool", uid = 1000, gid = 1000, home = "/app" }
entrypoint = ["/usr/local/bin/tool"]
"""
PROJECT = """
[build-system]
requires = ["flit_core>=3.12,<4"]
build-backend = "flit_core.buildapi"

[project]
name = "tool"
version = "1.0"
description = "Says where it runs"
dependencies = ["markupsafe"]

[project.scripts]
tool = "tool:main"
"""
MODULE = """
import os
import platform


def main():
    from markupsafe import _speedups

    print("tool on", platform.machine(), "as", os.getuid(), "with", _speedups.__name__)
"""


@dataclass(frozen=True)
class Workshop:
    """A project whose base is in a registry, behind a proxy that writes down."""

    checkout: Checkout
    project: Path
    registry: LocalRegistry
    proxy: FaultProxy
    reference: str

    def invoke(self, task: str, *arguments: str | Path) -> Any:
        done = self.checkout.invoke(task, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def workshop(
    repository: Checkout, registry_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """Yield a locked project; our own base image, pushed, stands for somebody else's."""
    folder = tmp_path_factory.mktemp("bases")
    with (
        running_registry(registry_program, folder / "registry") as registry,
        FaultProxy(registry.address) as proxy,
    ):
        images = folder / "images"
        repository.build("--target", "base", "--platform", "all", "--output", images)
        place = ("--images", images, "--registry", f"{proxy.address}/team")
        pushed = repository.invoke("push", "--target", "base", *place, "--tag", "base")
        assert pushed.returncode == 0, pushed.stderr
        reference = f"{proxy.address}/team/accelerapp:base"
        project = folder / "project"
        for name, text in {
            "deployment/images.toml": DESCRIPTION.replace("REFERENCE", reference),
            "pyproject.toml": PROJECT,
            "src/tool/__init__.py": MODULE,
            "requirements/production.in": "markupsafe\n",
        }.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        locked = repository.invoke("lock", "--source", project)
        assert locked.returncode == 0, locked.stderr
        yield Workshop(repository, project, registry, proxy, reference)


@pytest.fixture(scope="module")
def built(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the layout of the project's image and an archive of it."""
    folder = tmp_path_factory.mktemp("tool")
    output = ("--output", folder, "--archive", folder / "tool.tar")
    workshop.checkout.build("--source", workshop.project, "--platform", "all", *output)
    return folder


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.architecture)
def test_it_runs(
    built: Path, load_archive: LoadArchive, run_image: RunImage, platform: Platform
) -> None:
    ids = load_archive(built / "tool.tar")
    chosen = ids[-len(PLATFORMS) :][PLATFORMS.index(platform)]
    with run_image(chosen, platform, read_only=True, cap_drop=["ALL"]) as container:
        assert container.wait(timeout=120)["StatusCode"] == 0
        said = container.logs().decode()
    assert said == f"tool on {platform.kernel} as 1000 with markupsafe._speedups\n"


def test_skopeo_reads_it(built: Path, skopeo: Path) -> None:
    from tests.integration.building import run

    for platform in PLATFORMS:
        override = ("--override-arch", platform.architecture)
        found = json.loads(
            run((skopeo, *override, "inspect", f"oci:{built / 'production'}:production"))
        )
        assert len(found["Layers"]) == 3


def test_layers_of_the_base_are_taken_as_they_are(workshop: Workshop, built: Path) -> None:
    base = workshop.registry.manifest("team/accelerapp", "base")
    assert base is not None
    for part in base[1]["manifests"]:
        below = workshop.registry.manifest("team/accelerapp", part["digest"])
        assert below is not None
        for layer in below[1]["layers"]:
            assert (built / "production" / "blobs" / layer["digest"].replace(":", "/")).exists()


def test_a_push_to_the_same_registry_needs_no_layer_of_the_base(
    workshop: Workshop, built: Path, tmp_path: Path
) -> None:
    # Another machine: a cache without the base's layers.
    cache = tmp_path / "cache"
    shutil.copytree(workshop.checkout.cache / "records", cache / "records")
    elsewhere = replace(workshop.checkout, cache=cache)
    workshop.proxy.forget()
    options = ("--source", workshop.project, "--platform", "all", "--output", tmp_path / "images")
    elsewhere.build(*options, "--sparse")
    assert not workshop.proxy.requests("GET", "/blobs/")
    layout = tmp_path / "images" / "production"
    assert json.loads((layout / "index.json").read_text()) == json.loads(
        (built / "production" / "index.json").read_text()
    )
    workshop.proxy.forget()
    place = ("--images", layout, "--registry", f"{workshop.proxy.address}/other", "--tag", "v1")
    done = elsewhere.invoke("push", "--json", *place)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["images"]
    assert report["blobs"]["mounted"] == 2
    assert not workshop.proxy.requests("GET", "/blobs/")
    assert workshop.proxy.blob_bytes() < 1_000_000
    assert workshop.registry.is_whole("other/accelerapp", "v1")
    assert report["digest"] == whole_layout(built / "production")


def test_an_archive_cannot_leave_layers_out(workshop: Workshop, tmp_path: Path) -> None:
    done = workshop.checkout.invoke(
        *("build", "--source", workshop.project, "--platform", "all", "--sparse"),
        *("--output", tmp_path / "out", "--archive", tmp_path / "x.tar"),
    )
    assert_refused(done, 15, "--sparse", "--archive", output=tmp_path / "out")


def test_a_base_that_does_not_exist_is_named(workshop: Workshop, tmp_path: Path) -> None:
    project = shutil.copytree(workshop.project, tmp_path / "project")
    description = project / "deployment" / "images.toml"
    wrong = workshop.reference.replace(":base", ":nope")
    description.write_text(description.read_text().replace(workshop.reference, wrong))
    before = (project / "deployment" / "images.lock").read_bytes()
    done = workshop.checkout.invoke("lock", "--source", project)
    assert_refused(done, 78, wrong, output=None)
    assert (project / "deployment" / "images.lock").read_bytes() == before
