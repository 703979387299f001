"""An image on a base from a registry: locked once, its layers handed on as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.bases import LockedBase, OpenRegistry, full_reference, lock_base
from pipeline.build import BuildReport, Output, build
from pipeline.errors import BaseUnusable, ImageInvalid, LockStale, NotInRegistry
from pipeline.lock import Contents, Lock, LockedSuite, description_inputs, format_lock, parse_lock
from pipeline.oci.image import (
    Document,
    Format,
    ImageDocuments,
    canonical,
    document_of,
    index_document,
)
from pipeline.oci.layout import NamedImage, blob_path, open_layout
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.plan import Plan, make_plan
from pipeline.platforms import Platform
from pipeline.report import Silent
from pipeline.revision import Revision
from pipeline.settings import Settings, parse_settings
from tests.unit.pipeline.factories import BOTH, EPOCH_S, PYTHON, World, read_image
from tests.unit.pipeline.sources.elf_factory import elf_file

REFERENCE = "registry.example/team/base:1"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"


class Shelf:
    """A registry that holds one layout, and remembers what was asked of it."""

    def __init__(self, layout: Path) -> None:
        self._layout = layout
        self.image = open_layout(layout)
        self.documents: dict[str, Document] = {}
        self.blobs_read: list[str] = []
        self.put(self.image)

    def put(self, image: NamedImage) -> None:
        """Hold `image` under the tag; its layers must be in the layout."""
        self.documents = {d.descriptor.digest: d for d in image.documents()}
        self.documents["1"] = image.top

    def get_manifest(self, reference: Reference) -> Document:
        if reference.name not in self.documents:
            raise NotInRegistry(f"{reference} is not there")
        return self.documents[reference.name]

    def read_blob(self, repository: Repository, digest: str, size_bytes: int) -> Iterator[bytes]:
        assert str(repository) == "registry.example/team/base"
        if digest in self.documents:
            yield self.documents[digest].data
            return
        self.blobs_read.append(digest)
        data = blob_path(self._layout, digest).read_bytes()
        assert len(data) == size_bytes
        yield data[:100]
        yield data[100:]

    def opened(self) -> OpenRegistry:
        return lambda: nullcontext(cast(Any, self))


class Based:
    """The miniature world, its base image on a shelf and its service built on that."""

    def __init__(self, where: Path) -> None:
        self.world = World(where)
        self.world.fill_cache()
        self.world.build(targets=["base"])
        self.shelf = Shelf(self.world.output / "base")
        head, _, rest = self.world.description.partition("[images.base]")
        _, _, production = rest.partition("[images.production]")
        production = production.replace('from = "base"', f'from = "{REFERENCE}"')
        self.world.description = f"{head}[images.production]{production}"

    @property
    def settings(self) -> Settings:
        return parse_settings(self.world.description, root=self.world.root, path=Path("x.toml"))

    def bases(self) -> Mapping[Platform, LockedBase]:
        return lock_base(REFERENCE, BOTH, self.world.cache, cast(Any, self.shelf), Silent())

    def lock(self, bases: Mapping[Platform, LockedBase] | None = None) -> Lock:
        contents = {
            platform: {"production": Contents(wheels=tuple(w.locked for w in self.world.wheels))}
            for platform in BOTH
        }
        found = {platform: {b.reference: b} for platform, b in (bases or self.bases()).items()}
        suite = LockedSuite(EPOCH_S, "20231114T221320Z", {}, {}, contents, bases=found)
        return Lock(inputs=description_inputs(self.settings, ()), suites={"tiny": suite})

    def plan(self, lock: Lock | None = None) -> Plan:
        return make_plan(
            self.settings,
            lock or self.lock(),
            targets=["production"],
            platforms=BOTH,
            suite=self.settings.suite(),
            project=self.world.project.in_cache(self.world.cache),
            revision=Revision(),
            source_date_epoch_s=None,
            host=None,
        )

    def build(self, plan: Plan | None = None, *, sparse: bool = False) -> BuildReport:
        return build(
            plan or self.plan(),
            self.world.cache,
            Output(self.world.output, None, Format.OCI, Platform.AMD64, sparse),
            mirrors={},
            host=None,
            progress=Silent(),
            open_registry=self.shelf.opened(),
        )

    @property
    def layout(self) -> Path:
        return self.world.output / "production"


@pytest.fixture
def based(tmp_path: Path) -> Based:
    return Based(tmp_path)


def forget_base_layers(based: Based) -> None:
    for digest in based.shelf.image.layer_digests():
        based.world.cache.blob_path(digest[7:]).unlink()


@pytest.mark.parametrize("platform", BOTH)
def test_an_image_stands_on_its_base(based: Based, platform: Platform) -> None:
    (built,) = based.build().images
    image = read_image(based.layout, platform)
    below = read_image(based.world.output / "base", platform)
    assert image.manifest["layers"][:1] == below.manifest["layers"]
    assert image.config["rootfs"]["diff_ids"][:1] == below.config["rootfs"]["diff_ids"]
    assert len(image.config["history"]) == len(image.layers)
    assert f"{SITE}/dep/__init__.py" in image.files
    assert f"{SITE}/mini/cli.py" in image.files
    script = image.files["usr/local/bin/mini"].data
    assert script.startswith(f"#!/usr/bin/python{PYTHON}\n".encode())
    part = next(part for part in built.platforms if part.platform is platform)
    assert [layer.digest for layer in part.layers] == [
        layer["digest"] for layer in image.manifest["layers"]
    ]
    assert part.layers[0].kind == "registry"
    assert part.layers[0].summary == REFERENCE
    assert part.layers[0].unpacked_bytes > part.layers[0].size_bytes


def test_accounts_of_the_base_are_kept_and_extended(based: Based) -> None:
    based.build()
    accounts = read_image(based.layout, Platform.AMD64).layers[-1]["etc/passwd"].data.decode()
    assert accounts.splitlines()[0].startswith("root:")
    assert accounts.endswith("app:x:1000:1000::/app:/usr/sbin/nologin\n")


def test_what_is_not_set_is_the_bases(based: Based) -> None:
    config = read_image(based.world.output / "base", Platform.AMD64).config["config"]
    assert config["Env"] == ["PATH=/usr/local/bin:/usr/bin"]
    based.build()
    runtime = read_image(based.layout, Platform.AMD64).config["config"]
    assert runtime["Env"] == ["PATH=/usr/local/bin:/usr/bin"]
    assert runtime["User"] == "1000:1000"
    assert runtime["Cmd"] == ["serve"]


def test_an_image_says_what_it_is_based_on(based: Based) -> None:
    based.build()
    image = open_layout(based.layout)
    expected = {
        "org.opencontainers.image.base.name": REFERENCE,
        "org.opencontainers.image.base.digest": based.shelf.image.top.descriptor.digest,
    }
    for document in (image.top, *(part.manifest for part in image.images)):
        annotations = json.loads(document.data)["annotations"]
        assert {key: annotations[key] for key in expected} == expected


def test_base_layers_come_from_the_cache_and_then_from_the_registry(based: Based) -> None:
    plan = based.plan()
    based.shelf.blobs_read.clear()
    based.build(plan)
    assert based.shelf.blobs_read == []
    forget_base_layers(based)
    first = based.build(plan).images[0].digest
    assert sorted(based.shelf.blobs_read) == sorted(based.shelf.image.layer_digests())
    assert based.build(plan).images[0].digest == first


def test_a_sparse_layout_leaves_base_layers_where_they_are(based: Based) -> None:
    whole = based.build().images[0].digest
    plan = based.plan()
    forget_base_layers(based)
    based.shelf.blobs_read.clear()
    shutil.rmtree(based.layout)
    assert based.build(plan, sparse=True).images[0].digest == whole
    assert based.shelf.blobs_read == []
    for digest in open_layout(based.layout).layer_digests():
        held = blob_path(based.layout, digest).exists()
        assert held is (digest not in based.shelf.image.layer_digests())


def test_the_lock_remembers_a_base(based: Based) -> None:
    lock = based.lock()
    read = parse_lock(format_lock(lock), Path("images.lock"))
    for platform in BOTH:
        assert read.base("tiny", platform, REFERENCE) == lock.base("tiny", platform, REFERENCE)
    assert read.base("tiny", Platform.ARM64, REFERENCE).pinned.startswith(f"{REFERENCE}@sha256:")


def test_a_lock_without_the_base_is_stale(based: Based) -> None:
    lock = based.lock()
    suite = replace(lock.suites["tiny"], bases={})
    with pytest.raises(
        LockStale, match=r"does not hold the base '.*' for linux/amd64.*invoke lock"
    ):
        based.plan(replace(lock, suites={"tiny": suite}))


def test_libraries_of_the_base_are_counted(based: Based) -> None:
    needing = elf_file(needed=["libc.so.6"], requires={"libc.so.6": ["GLIBC_2.34"]})
    arm = elf_file(machine=183, needed=["libc.so.6"])
    (based.world.root / "conf/good.so").write_bytes(needing)
    with pytest.raises(ImageInvalid, match=r"for linux/arm64.*good\.so.*built for x86-64"):
        based.build()
    (based.world.root / "conf/good.so").write_bytes(arm)
    with pytest.raises(ImageInvalid, match=r"for linux/amd64.*good\.so.*built for aarch64"):
        based.build()


def test_a_library_that_the_base_lacks_is_missed(based: Based) -> None:
    missing = elf_file(needed=["libssl.so.3"])
    (based.world.root / "conf/needs.so").write_bytes(missing)
    with pytest.raises(ImageInvalid, match=r"libssl\.so\.3"):
        based.build()


def test_another_python_than_the_suites_is_refused(based: Based) -> None:
    lock = based.lock()
    other = based.world.description.replace(f'python = "{PYTHON}"', 'python = "3.99"')
    based.world.description = other
    with pytest.raises(BaseUnusable) as caught:
        based.plan(lock)
    assert f"has Python {PYTHON}, suite 'tiny' has 3.99" in str(caught.value)
    assert "{python}" in str(caught.value)


def test_a_base_for_one_platform_alone_is_refused(based: Based) -> None:
    (arm,) = (p for p in based.shelf.image.by_platform() if p.images[0].platform is Platform.ARM64)
    based.shelf.put(arm)
    with pytest.raises(BaseUnusable, match=r"'registry.example/team/base:1' is for linux/arm64"):
        based.bases()


def test_an_index_without_the_platform_is_refused(based: Based) -> None:
    image = based.shelf.image
    lone = index_document(image.images[:1], format=Format.OCI, annotations={})
    based.shelf.put(replace(image, index=lone))
    with pytest.raises(BaseUnusable, match=r"has no image for linux/arm64"):
        based.bases()


def changed_config(image: NamedImage, change: Mapping[str, Any]) -> NamedImage:
    """Return the image with `change` made to the configurations of its platforms."""

    def changed(part: ImageDocuments) -> ImageDocuments:
        config = document_of(
            canonical({**json.loads(part.config.data), **change}),
            part.config.descriptor.media_type,
        )
        body = json.loads(part.manifest.data) | {"config": config.descriptor.to_json()}
        manifest = document_of(canonical(body), part.manifest.descriptor.media_type)
        described = replace(manifest.descriptor, platform=part.platform)
        return replace(part, config=config, manifest=replace(manifest, descriptor=described))

    parts = tuple(changed(part) for part in image.images)
    return replace(image, images=parts, index=None)


def test_instructions_for_whoever_builds_on_it_ask_for_docker(based: Based) -> None:
    runtime = {"config": {"OnBuild": ["RUN true"], "Env": ["PATH=/usr/bin"]}}
    based.shelf.put(changed_config(based.shelf.image, runtime))
    with pytest.raises(BaseUnusable, match="ONBUILD"):
        based.bases()


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(based: Based) -> None:
    wrong = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    based.shelf.put(changed_config(based.shelf.image, wrong))
    with pytest.raises(BaseUnusable, match="unpacks to another layer"):
        based.bases()


def test_a_health_check_is_inherited_with_its_times(based: Based) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 2_500_000_000, "Retries": 4}
    runtime = {"config": {"Healthcheck": check, "User": "9", "Cmd": ["bash"]}}
    based.shelf.put(changed_config(based.shelf.image, runtime))
    settings = based.world.description.partition("[images.production.healthcheck]")[0]
    based.world.description = settings.replace('command = ["serve"]\n', "")
    based.build()
    inherited = read_image(based.layout, Platform.AMD64).config["config"]
    assert inherited["Healthcheck"] == check
    assert inherited["User"] == "1000:1000"
    # Whoever sets an entry point does not get the arguments that were meant for another.
    assert "Cmd" not in inherited


def test_short_names_are_spelled_in_full() -> None:
    assert full_reference("python:3.11-slim") == "docker.io/library/python:3.11-slim"
