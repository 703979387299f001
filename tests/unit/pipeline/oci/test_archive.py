"""One tar that is an OCI layout and a Docker archive, with the same blobs for both."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OutputUnwritable
from pipeline.oci.archive import archive_chunks, engine_tags, write_archive
from pipeline.oci.image import Format
from pipeline.oci.layout import NamedImage
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import BOTH, Blobs
from tests.unit.pipeline.oci.specification import DOCKER, OCI, check_layout_files

GOLDEN = "4928f0b6f24a5d4239a90344033db30aebc3215468eae3b7b46d79fc9fe42fb0"


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "source")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "images.tar"


class Archive:
    """A written archive, read with the standard library."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as tar:
            self.members = {member.name: member for member in tar.getmembers()}
            self.names = [member.name for member in tar.getmembers()]
            self.files = {
                name: reader.read()
                for name, member in self.members.items()
                if (reader := tar.extractfile(member)) is not None
            }

    @property
    def docker(self) -> list[dict[str, Any]]:
        """What `docker load` reads."""
        found: list[dict[str, Any]] = json.loads(self.files["manifest.json"])
        return found

    def tags(self) -> dict[str, str]:
        """Return the platform that each tag leads to."""
        return {
            tag: json.loads(self.files[entry["Config"]])["architecture"]
            for entry in self.docker
            for tag in entry["RepoTags"]
        }


def archived(
    path: Path, images: Sequence[NamedImage], blobs: Blobs, preferred: Platform = Platform.AMD64
) -> Archive:
    write_archive(path, images, blobs, preferred=preferred)
    return Archive(path)


@pytest.mark.parametrize(("format", "types"), [(Format.OCI, OCI), (Format.DOCKER, DOCKER)])
@pytest.mark.parametrize("platforms", [BOTH, BOTH[:1], BOTH[1:]], ids=str)
def test_the_archive_is_an_oci_layout(
    blobs: Blobs,
    path: Path,
    platforms: Sequence[Platform],
    format: Format,
    types: dict[str, str],
) -> None:
    image = blobs.image("text", platforms=platforms, format=format)
    found = archived(path, [image], blobs)
    configs = check_layout_files(found.files.__getitem__, types)
    assert list(configs) == [str(platform) for platform in platforms]


@pytest.mark.parametrize("format", Format)
def test_the_archive_is_a_docker_archive(blobs: Blobs, path: Path, format: Format) -> None:
    found = archived(path, [blobs.image("text", format=format)], blobs)
    assert len(found.docker) == 2
    for entry in found.docker:
        assert set(entry) == {"Config", "RepoTags", "Layers"}
        for name in (entry["Config"], *entry["Layers"]):
            assert name == f"blobs/sha256/{hashlib.sha256(found.files[name]).hexdigest()}"
        config = json.loads(found.files[entry["Config"]])
        assert len(config["rootfs"]["diff_ids"]) == len(entry["Layers"])


def test_the_only_platform_gets_the_plain_tag(blobs: Blobs, path: Path) -> None:
    image = blobs.image("text", platforms=[Platform.ARM64])
    assert archived(path, [image], blobs).tags() == {"example:production": "arm64"}


@pytest.mark.parametrize("preferred", Platform)
def test_of_several_platforms_the_preferred_one_gets_the_plain_tag(
    blobs: Blobs, path: Path, preferred: Platform
) -> None:
    assert archived(path, [blobs.image("text")], blobs, preferred).tags() == {
        "example:production": preferred.architecture,
        "example:production-amd64": "amd64",
        "example:production-arm64": "arm64",
    }


def test_several_images_share_an_archive_and_their_blobs(blobs: Blobs, path: Path) -> None:
    images = [blobs.image(tag, tag=tag) for tag in ("base", "production")]
    found = archived(path, images, blobs)
    assert len(found.names) == len(set(found.names))
    assert len(found.tags()) == 6
    names = [
        descriptor["annotations"]["org.opencontainers.image.ref.name"]
        for descriptor in json.loads(found.files["index.json"])["manifests"]
    ]
    assert names == ["base", "production"]
    shared = {entry["Layers"][0] for entry in found.docker}
    assert len(shared) == 1


def test_folders_are_members_for_readers_that_want_them(blobs: Blobs, path: Path) -> None:
    found = archived(path, [blobs.image("text")], blobs)
    assert found.names[:2] == ["blobs", "blobs/sha256"]
    assert all(found.members[name].isdir() for name in found.names[:2])
    assert set(found.names[-3:]) == {"index.json", "manifest.json", "oci-layout"}


def test_the_archive_holds_nothing_that_no_document_names(blobs: Blobs, path: Path) -> None:
    image = blobs.image("text")
    blobs.image("something else")
    found = archived(path, [image], blobs)
    named = {d.descriptor.digest for d in image.documents()} | set(image.layer_digests())
    held = {n.removeprefix("blobs/") for n in found.files if n.startswith("blobs/")}
    assert held == {digest.replace(":", "/") for digest in named}


def test_the_archive_is_the_same_every_time(blobs: Blobs, path: Path, tmp_path: Path) -> None:
    found = archived(path, [blobs.image("text")], blobs)
    write_archive(tmp_path / "again.tar", [blobs.image("text")], blobs, preferred=Platform.AMD64)
    assert (tmp_path / "again.tar").read_bytes() == path.read_bytes()
    assert {(m.mtime, m.uid, m.gid) for m in found.members.values()} == {(0, 0, 0)}
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN


def test_everybody_may_read_the_archive(blobs: Blobs, path: Path) -> None:
    archived(path, [blobs.image("text")], blobs)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_disk_that_refuses_leaves_the_old_archive(
    blobs: Blobs, path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    archived(path, [blobs.image("old")], blobs)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OutputUnwritable, match=f"{path} cannot be written: no space left"):
        write_archive(path, [blobs.image("new")], blobs, preferred=Platform.AMD64)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("parent", ["file", "folder.tar"])
def test_a_place_that_cannot_be_an_archive_is_one_line(
    blobs: Blobs, tmp_path: Path, parent: str
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder.tar").mkdir()
    path = tmp_path / "file" / "x.tar" if parent == "file" else tmp_path / "folder.tar"
    with pytest.raises(OutputUnwritable, match="cannot be written"):
        write_archive(path, [blobs.image("new")], blobs, preferred=Platform.AMD64)
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder.tar", "source"}


def test_the_bytes_come_without_a_file_and_are_the_same(blobs: Blobs, path: Path) -> None:
    image = blobs.image("one")
    archived(path, [image], blobs)
    assert b"".join(archive_chunks([image], blobs, preferred=Platform.AMD64)) == path.read_bytes()


def test_without_the_layout_it_is_a_docker_archive_only(blobs: Blobs, path: Path) -> None:
    image = blobs.image("one")
    whole = archived(path, [image], blobs)
    chunks = archive_chunks([image], blobs, preferred=Platform.AMD64, layout=False)
    path.write_bytes(b"".join(chunks))
    assert set(whole.names) - set(Archive(path).names) == {"index.json", "oci-layout"}
    assert Archive(path).tags() == whole.tags()


def test_without_a_preference_no_platform_of_several_has_the_plain_tag(blobs: Blobs) -> None:
    several, one = blobs.image("one"), blobs.image("one", platforms=BOTH[1:])
    assert engine_tags(several, None) == {
        platform: (f"example:production-{platform.architecture}",) for platform in BOTH
    }
    assert engine_tags(one, None) == {BOTH[1]: ("example:production",)}
