"""`invoke build --source` on projects that know nothing of this one, one a build back end."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from pipeline.platforms import Platform
from tests.integration.building import PLATFORMS, ROOT, Checkout, digests, run
from tests.integration.conftest import LoadArchive, RunImage

PINS = ROOT / "requirements" / "test-sources.txt"


@dataclass(frozen=True, slots=True)
class Published:
    """A project as it was published, and what its command prints."""

    name: str
    back_end: str
    arguments: tuple[str, ...]
    output: str
    entrypoint: str | None = None


PROJECTS = (
    Published(
        "httpie",
        "setuptools",
        ("--help",),
        "Managing interface for the HTTPie itself",
        entrypoint="httpie",
    ),
    Published("httpie", "setuptools", ("--version",), "3.2.4", entrypoint="http"),
    Published("mkdocs", "hatchling", ("--help",), "Project documentation with Markdown."),
    Published("mkdocs", "hatchling", ("--version",), "mkdocs, version 1.6.1"),
    Published("dunamai", "poetry-core", ("--help",), "Generate dynamic versions"),
    Published("flit", "flit", ("--help",), "publish"),
    Published("flit", "flit", ("--version",), "Flit 3.12.0"),
)

SourceOf = Callable[[str], Path]


@pytest.fixture(scope="session")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> SourceOf:
    """Return a function from a project's name to its unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sources")
    run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
            *("--no-deps", "--no-binary", ":all:", "--require-hashes"),
            *("--dest", folder / "published", "--requirement", PINS),
        ]
    )

    @cache
    def unpack(name: str) -> Path:
        (archive,) = (folder / "published").glob(f"{name}-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        return folder / archive.name.removesuffix(".tar.gz")

    return unpack


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.architecture)
@pytest.mark.parametrize("project", PROJECTS, ids=lambda p: f"{p.name}{p.arguments[0]}")
def test_published_project_builds_and_runs(
    repository: Checkout,
    source_of: SourceOf,
    load_archive: LoadArchive,
    run_image: RunImage,
    tmp_path: Path,
    project: Published,
    platform: Platform,
) -> None:
    archive = tmp_path / "image.tar"
    entrypoint = ("--entrypoint", project.entrypoint) if project.entrypoint else ()
    report = repository.build(
        *("--source", source_of(project.name), "--platform", str(platform), *entrypoint),
        *("--output", tmp_path / "layouts", "--archive", archive),
    )
    assert report["images"][0]["name"] == f"{project.name}:production"
    (image_id,) = load_archive(archive)
    arguments = list(project.arguments)
    with run_image(image_id, platform, command=arguments, read_only=True) as container:
        assert container.wait(timeout=120)["StatusCode"] == 0, container.logs().decode()
        assert project.output in container.logs().decode()
        assert container.image.attrs["Config"]["User"] == "1000:1000"


def test_source_folder_is_left_as_it_was_and_builds_the_same_again(
    repository: Checkout, source_of: SourceOf, tmp_path: Path
) -> None:
    source = source_of("flit")
    before = sorted(str(path) for path in source.rglob("*"))
    flags = ("--source", source, "--platform", "all")
    first = repository.build(*flags, "--output", tmp_path / "first")
    second = repository.build(*flags, "--output", tmp_path / "second")
    assert digests(first) == digests(second)
    assert sorted(str(path) for path in source.rglob("*")) == before
