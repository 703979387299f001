"""What an image holds is the same value wherever the image comes from."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.contents import ImageContents, LayerReader, contents_of, open_images, read_contents
from pipeline.entries import Entry
from pipeline.errors import ImageInvalid, ImageMissing
from pipeline.oci.archive import write_archive
from pipeline.oci.image import Configuration, Format, canonical, image_documents
from pipeline.oci.layout import NamedImage, blob_path, write_layout
from pipeline.oci.tree import NodeKind
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import EPOCH_S, Blobs

AMD64, ARM64 = Platform.AMD64, Platform.ARM64
SITE = "usr/local/lib/python3.11/dist-packages"

STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-8

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""

CONFIGURATION = Configuration(
    user="1000:1000",
    environment={"PATH": "/bin", "EMPTY": ""},
    command=["serve"],
    ports=["8000/tcp"],
    volumes=["/b", "/a"],
    labels={"one": "1", "none": ""},
    health_test=["CMD", "x"],
    health_interval_s=30,
)

DISTROLESS = [
    Entry("var/lib/dpkg/status.d/zlib1g", content=b"Package: zlib1g\nVersion: 1:1.2.13\n"),
    Entry("var/lib/dpkg/status.d/zlib1g.md5sums", content=b"0123  usr/lib/x\n"),
    Entry(f"{SITE}/Some_Thing-1.0.dist-info/METADATA", content=b"Name: Some_Thing\nVersion: 1.0\n"),
]


class Images:
    """Layouts of images with given entries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = Blobs(folder / "source")

    def image(
        self,
        *layers: list[Entry],
        configuration: Configuration = CONFIGURATION,
        platforms: tuple[Platform, ...] = (AMD64,),
        format: Format = Format.OCI,
    ) -> NamedImage:
        made = [
            self.blobs.layer(entries, f"layer {number}") for number, entries in enumerate(layers)
        ]
        documents = tuple(
            image_documents(
                platform,
                configuration,
                made,
                created_s=EPOCH_S,
                format=format,
                annotations={},
            )
            for platform in platforms
        )
        return NamedImage("example", "production", documents, format, {})

    def layout(self, image: NamedImage, name: str = "layout") -> Path:
        write_layout(self.folder / name, image, self.blobs)
        return self.folder / name

    def contents(self, *layers: list[Entry], **parts: Any) -> ImageContents:
        return read_contents(self.layout(self.image(*layers, **parts)), AMD64)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


def read_all(path: Path) -> dict[Platform, ImageContents]:
    with open_images(path) as found:
        return {image.platform: contents_of(image, LayerReader()) for image in found}


def test_configuration_packages_and_files_are_there(images: Images) -> None:
    found = images.contents(DISTROLESS, [Entry("app/run", mode=0o755, content=b"#!", uid=1000)])
    assert found.packages == {"zlib1g": "1:1.2.13"}
    assert found.python_packages == {"some-thing": "1.0"}
    run = found.files["app/run"]
    assert (run.kind, run.mode, run.uid, run.size_bytes) == (NodeKind.FILE, 0o755, 1000, 2)
    assert found.files["app"].kind is NodeKind.FOLDER
    assert found.config == {
        "User": "1000:1000",
        "Env": {"PATH": "/bin", "EMPTY": ""},
        "Cmd": ["serve"],
        "ExposedPorts": ["8000/tcp"],
        "Volumes": ["/a", "/b"],
        "Labels": {"one": "1", "none": ""},
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 30_000_000_000},
    }
    assert [layer.created_by for layer in found.layers] == ["layer 0", "layer 1"]
    assert found.size_bytes == sum(len(e.content) for e in DISTROLESS if e.content) + 2  # type: ignore[arg-type]


def test_dpkg_s_own_list_is_read(images: Images) -> None:
    found = images.contents([Entry("var/lib/dpkg/status", content=STATUS)])
    assert found.packages == {"libc6": "2.36-9", "libc6:i386": "2.36-8"}


def test_a_list_of_packages_in_disorder_is_refused(images: Images) -> None:
    with pytest.raises(ImageInvalid, match="/var/lib/dpkg/status cannot be read"):
        images.contents([Entry("var/lib/dpkg/status", content=b"Package: x\nrubbish\n")])


def test_an_upper_layer_upgrades_a_package(images: Images) -> None:
    lower = [Entry("var/lib/dpkg/status", content=b"Package: a\nVersion: 1\n")]
    upper = [Entry("var/lib/dpkg/status", content=b"Package: a\nVersion: 2\n")]
    assert images.contents(lower, upper).packages == {"a": "2"}


def test_a_package_that_another_one_brings_along_is_not_installed(images: Images) -> None:
    def metadata(folder: str, version: str) -> Entry:
        content = f"Metadata-Version: 2.1\nName: x\nVersion: {version}\n\nVersion: 9".encode()
        return Entry(f"{folder}/x-{version}.dist-info/METADATA", content=content)

    found = images.contents(
        [metadata(SITE, "1"), metadata(f"{SITE}/pip/_vendor", "2"), metadata("root/cache", "3")]
    )
    assert found.python_packages == {"x": "1"}
    twice = images.contents([metadata(SITE, "1"), metadata("opt/venv/lib/site-packages", "4")])
    assert twice.python_packages == {"x": "1, 4"}


def test_what_engines_write_of_nothing_means_nothing(images: Images, tmp_path: Path) -> None:
    """As Docker writes a configuration: empty strings, nulls and false everywhere."""
    from pipeline.contents import normal_config

    runtime = {
        "Hostname": "0123",
        "AttachStdin": False,
        "User": "",
        "Env": ["A=1=2", "A=3"],
        "Cmd": ["x"],
        "Image": "sha256:00",
        "Volumes": None,
        "Entrypoint": None,
        "ExposedPorts": {"80": {}, "53/udp": {}},
        "OnBuild": [],
        "Labels": {},
        "Healthcheck": {"Test": ["NONE"], "Interval": 0},
    }
    assert normal_config(runtime) == {
        "Cmd": ["x"],
        "Env": {"A": "3"},
        "ExposedPorts": ["53/udp", "80/tcp"],
        "Healthcheck": {"Test": ["NONE"]},
    }
    for wrong in ({"Env": 7}, {"Env": [7]}, {"Volumes": ["/a"]}):
        with pytest.raises(ImageInvalid, match="configuration"):
            normal_config(wrong)


def test_layouts_and_archives_of_an_image_hold_the_same(images: Images, tmp_path: Path) -> None:
    for format in Format:
        image = images.image(DISTROLESS, platforms=(AMD64, ARM64), format=format)
        layout = read_all(images.layout(image, f"layout-{format.value}"))
        assert set(layout) == {AMD64, ARM64}
        archive = tmp_path / f"{format.value}.tar"
        write_archive(archive, [image], images.blobs, preferred=AMD64)
        assert read_all(archive) == layout
        packed = tmp_path / f"{format.value}.tar.gz"
        packed.write_bytes(gzip.compress(archive.read_bytes()))
        assert read_all(packed) == layout


def docker_archive(image: NamedImage, images: Images, path: Path, *, twice: bool = False) -> Path:
    """Write an archive as `docker save` of Engine 20.10 does: no digests, uncompressed layers,
    and a link in the place of a layer that came before."""
    (part,) = image.images
    members: dict[str, bytes | str] = {}
    names = []
    for number, layer in enumerate(part.layers):
        names.append(f"{number:064d}/layer.tar")
        members[names[-1]] = gzip.decompress(images.blobs(layer.digest).read_bytes())
        if [other.digest for other in part.layers].index(layer.digest) < number:
            members[names[-1]] = f"../{0:064d}/layer.tar"
    config = f"{hashlib.sha256(part.config.data).hexdigest()}.json"
    members[config] = part.config.data
    entry = {"Config": config, "RepoTags": ["x:1"], "Layers": names}
    members["manifest.json"] = json.dumps([entry] * (1 + twice)).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
                continue
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_of_docker_save_holds_the_same(images: Images, tmp_path: Path) -> None:
    shared = [Entry("same", content=b"x")]
    image = images.image(shared, DISTROLESS, shared)
    (expected,) = read_all(images.layout(image)).values()
    (found,) = read_all(docker_archive(image, images, tmp_path / "saved.tar")).values()
    assert found.files == expected.files
    assert found.config == expected.config
    assert found.packages == expected.packages
    assert [layer.diff_id for layer in found.layers] == [x.diff_id for x in expected.layers]
    assert found.digest == image.images[0].config.descriptor.digest


def test_nothing_stays_of_an_archive_that_was_read(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    archive = tmp_path / "a.tar"
    write_archive(archive, [images.image(DISTROLESS)], images.blobs, preferred=AMD64)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    read_all(archive)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_attestations_and_unknown_platforms_are_passed_over(images: Images) -> None:
    """As BuildKit writes a layout: an attestation beside the image, one index in another."""
    layout = images.layout(images.image(DISTROLESS))

    def put(document: dict[str, Any], media_type: str) -> dict[str, Any]:
        data = canonical(document)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob_path(layout, digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def manifest(config: dict[str, Any], media_type: str = Format.OCI.config_type) -> Any:
        return put(
            {"schemaVersion": 2, "config": put(config, media_type), "layers": []},
            Format.OCI.manifest_type,
        )

    real = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    empty = {"rootfs": {"type": "layers", "diff_ids": []}}
    others = [
        manifest({"os": "unknown", "architecture": "unknown", **empty}),
        manifest({"os": "linux", "architecture": "riscv64", **empty}),
        manifest({}, "application/vnd.in-toto+json"),
    ]
    index = put({"schemaVersion": 2, "manifests": [others[0], real]}, Format.OCI.index_type)
    top = put({"schemaVersion": 2, "manifests": [*others[1:], index]}, Format.OCI.index_type)
    expected = read_all(layout)
    (layout / "index.json").write_bytes(canonical({"manifests": [top]}))
    assert read_all(layout) == expected
    (layout / "index.json").write_bytes(canonical({"manifests": [others[0]]}))
    with pytest.raises(ImageInvalid, match="no image for a platform that is known here"):
        read_all(layout)


def test_a_layer_that_two_images_share_is_read_once_and_verified_twice(
    images: Images, tmp_path: Path
) -> None:
    image = images.image(DISTROLESS)
    one, other = (images.layout(image, name) for name in ("one", "other"))
    reader = LayerReader()
    assert read_contents(one, AMD64, read=reader) == read_contents(other, AMD64, read=reader)
    blob_path(other, image.layer_digests()[0]).write_bytes(b"damaged")
    with pytest.raises(ImageInvalid, match="the layer"):
        read_contents(other, AMD64, read=reader)


def test_a_platform_that_is_not_there_is_named(images: Images) -> None:
    layout = images.layout(images.image(DISTROLESS))
    with pytest.raises(ImageMissing, match="no image for linux/arm64; it has linux/amd64"):
        read_contents(layout, ARM64)


def test_what_is_no_image_is_one_line(images: Images, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("x")
    tar = tmp_path / "other.tar"
    with tarfile.open(tar, "w") as file:
        file.add(text, "text")
    image = images.image(DISTROLESS)
    several = tmp_path / "several.tar"
    pair = [image, NamedImage("example", "other", image.images, Format.OCI, {})]
    write_archive(several, pair, images.blobs, preferred=AMD64)
    twice = docker_archive(image, images, tmp_path / "twice.tar", twice=True)
    truncated = tmp_path / "truncated.tar"
    truncated.write_bytes(several.read_bytes()[:3000])
    (tmp_path / "empty").mkdir()
    for path, error, message in [
        (tmp_path / "absent", ImageMissing, "there is no image at"),
        (tmp_path / "empty", ImageMissing, "there is no image in"),
        (text, ImageInvalid, "it is no tar"),
        (tar, ImageInvalid, "neither an OCI layout nor a Docker archive"),
        (several, ImageInvalid, f"{several} holds 2 images"),
        (twice, ImageInvalid, "several images for one platform"),
        (truncated, ImageInvalid, f"{truncated} "),
    ]:
        with pytest.raises(error, match=message) as raised:
            read_all(path)
        assert "\n" not in str(raised.value), path


@pytest.mark.parametrize("what", ["index.json", "manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["missing", "rubbish", "empty object"])
def test_a_damaged_layout_is_one_line(images: Images, what: str, how: str) -> None:
    image = images.image(DISTROLESS)
    layout = images.layout(image)
    (part,) = image.images
    path = {
        "index.json": layout / "index.json",
        "manifest": blob_path(layout, part.manifest.descriptor.digest),
        "config": blob_path(layout, part.config.descriptor.digest),
        "layer": blob_path(layout, part.layers[0].digest),
    }[what]
    path.unlink()
    if how != "missing":
        path.write_bytes(b"\xff{" if how == "rubbish" else b"{}")
    expected = ImageMissing if (what, how) == ("index.json", "missing") else ImageInvalid
    with pytest.raises(expected) as raised:
        read_all(layout)
    assert "\n" not in str(raised.value)


def test_a_descriptor_cannot_name_a_file_outside_of_the_layout(
    images: Images, tmp_path: Path
) -> None:
    layout = images.layout(images.image(DISTROLESS))
    secret = tmp_path / "secret"
    secret.write_text("{}")
    shutil.copy(secret, layout / "blobs" / "secret")
    digest = "sha256:../secret"
    top = {"mediaType": Format.OCI.manifest_type, "digest": digest, "size": 2}
    (layout / "index.json").write_bytes(canonical({"manifests": [top]}))
    with pytest.raises(ImageInvalid, match="not a digest"):
        read_all(layout)
