"""A pull keeps bytes and digests, names what it leaves out, and goes on where it was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import (
    AccessDenied,
    ImageInvalid,
    NameInvalid,
    NotInRegistry,
    OutputUnwritable,
    RegistryCorrupt,
)
from pipeline.oci.image import Format
from pipeline.oci.layout import NamedImage, blob_path, open_layout
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.platforms import Platform
from pipeline.pull import PullReport, pull_image, short_name
from pipeline.push import push_image
from pipeline.report import Silent
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry, error, then
from tests.unit.pipeline.oci.specification import DOCKER, OCI, check_layout
from tests.unit.pipeline.shipments import build, cargo, client

NAME = "owner/accelerapp"
AMD64, ARM64 = Platform.AMD64, Platform.ARM64
OCI_INDEX, OCI_MANIFEST = Format.OCI.index_type, Format.OCI.manifest_type


@pytest.fixture
def remote() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "pulled" / "accelerapp-v1"


def pushed(remote: FaultyRegistry, tmp_path: Path, **how: Any) -> NamedImage:
    """Push an image as `v1`; return it."""
    image = build(tmp_path / "production", **how)
    with client(remote) as registry:
        push_image(cargo(remote, tmp_path / "production", "v1"), registry, Silent())
    remote.requests.clear()
    return image


def pull(remote: FaultyRegistry, output: Path, *platforms: Platform, tag: str = "v1") -> PullReport:
    reference = Reference(Repository(remote.host, NAME), tag=tag)
    with client(remote) as registry:
        return pull_image(reference, output, registry, Silent(), platforms=platforms)


def blobs_asked(remote: FaultyRegistry, image: NamedImage) -> list[str]:
    """Return the layers of an image that were downloaded."""
    return [
        layer for layer in image.layer_digests() if any(layer in line for line in remote.said())
    ]


def entry(digest: str, size: int = 1, *, media_type: str = OCI_MANIFEST, **named: Any) -> Any:
    """Return an entry of an index."""
    return {"mediaType": media_type, "digest": digest, "size": size, **named}


def put_index(remote: FaultyRegistry, entries: list[Any], **body: Any) -> tuple[str, bytes]:
    """Tag `v1` an index of these; return its digest and bytes, as no code here writes them."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **body}
    data = json.dumps(document, indent=3).encode()
    return remote.put_manifest(NAME, data, OCI_INDEX, "v1"), data


def entries_of(image: NamedImage) -> list[Mapping[str, Any]]:
    return [part.manifest.descriptor.to_json() for part in image.images]


@pytest.mark.parametrize("format", Format)
def test_what_was_pushed_comes_back_as_it_was(
    remote: FaultyRegistry, tmp_path: Path, output: Path, format: Format
) -> None:
    image = pushed(remote, tmp_path, format=format)
    report = pull(remote, output)
    check_layout(output, OCI if format is Format.OCI else DOCKER)
    back = open_layout(output)
    assert back.images == image.images
    assert back.top.data == image.top.data
    assert (back.repository, back.tag) == ("accelerapp", "v1")
    assert report.digest == report.registry_digest == image.top.descriptor.digest
    assert report.left_out == ()
    assert {path.name for path in output.parent.iterdir()} == {output.name, ".lock"}


def test_a_foreign_index_keeps_its_bytes(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    digest, data = put_index(remote, entries_of(image)[::-1], annotations={"who": "else"})
    assert pull(remote, output).digest == digest
    assert open_layout(output).top.data == data


def test_what_is_no_known_image_is_left_out_and_named(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    nothing = "sha256:" + 64 * "0"
    attested = {"vnd.docker.reference.type": "attestation-manifest"}
    digest, _ = put_index(
        remote,
        [
            entry(nothing, platform={"os": "windows", "architecture": "amd64"}),
            *entries_of(image),
            entry(nothing, platform={"os": "linux", "architecture": "arm", "variant": "v7"}),
            entry(nothing, platform={"os": "unknown", "architecture": "unknown"}),
            entry(
                nothing,
                platform={"os": "unknown", "architecture": "unknown"},
                annotations=attested,
            ),
            entry(nothing, media_type=OCI_INDEX),
            entry(nothing, platform={"os": "linux", "architecture": "arm64"}),
        ],
        annotations={"kept": "yes"},
    )
    report = pull(remote, output)
    assert report.left_out == (
        "windows/amd64",
        "linux/arm/v7",
        "unknown/unknown",
        "attestation",
        OCI_INDEX,
        "linux/arm64 (again)",
    )
    check_layout(output)
    back = open_layout(output)
    assert back.images == image.images
    assert back.annotations == {"kept": "yes"}
    assert report.registry_digest == digest != report.digest == back.top.descriptor.digest
    assert not [line for line in remote.said() if nothing in line]


def test_one_platform_of_several_keeps_its_own_digest(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    report = pull(remote, output, ARM64)
    amd64, arm64 = image.images
    assert report.digest == arm64.manifest.descriptor.digest
    assert report.left_out == ("linux/amd64",)
    assert open_layout(output).images == (arm64,)
    assert amd64.layers[1].digest not in blobs_asked(remote, image)


def test_a_platform_that_is_not_there_is_named_with_those_that_are(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path, platforms=[AMD64])
    for _ in range(2):
        with pytest.raises(NotInRegistry, match="no image for linux/arm64; it has linux/amd64"):
            pull(remote, output, ARM64)
        put_index(remote, entries_of(image))
    assert not output.exists()


def test_an_image_for_other_platforms_alone_is_refused(
    remote: FaultyRegistry, output: Path
) -> None:
    put_index(
        remote, [entry("sha256:" + 64 * "0", platform={"os": "linux", "architecture": "s390x"})]
    )
    with pytest.raises(NotInRegistry, match="it has linux/s390x"):
        pull(remote, output)


def test_entries_without_a_platform_are_looked_into(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    put_index(remote, [{**e, "platform": None} for e in entries_of(image)])
    assert pull(remote, output, ARM64).digest == image.images[1].manifest.descriptor.digest


def test_an_index_that_lies_about_a_platform_is_refused(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    amd64, _ = entries_of(pushed(remote, tmp_path))
    put_index(remote, [{**amd64, "platform": {"os": "linux", "architecture": "arm64"}}])
    with pytest.raises(ImageInvalid, match="for linux/arm64, and it is for linux/amd64"):
        pull(remote, output)


def test_layers_of_zstd_stay_as_they_are(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path, platforms=[AMD64])
    data = image.top.data.replace(b"tar+gzip", b"tar+zstd")
    digest = remote.put_manifest(NAME, data, OCI_MANIFEST, "v1")
    assert pull(remote, output).digest == digest
    back = open_layout(output)
    assert back.top.data == data
    assert {layer.compression for layer in back.images[0].layers} == {"zstd"}


# Going on, and not at all.


def test_a_pull_that_was_cut_off_fetches_only_the_rest(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    layers = image.layer_digests()
    staging = output.parent / f".partial-{output.name}"
    others = {layer.removeprefix("sha256:") for layer in layers} - {layers[1][7:]}

    def wait_for_the_others() -> None:
        deadline_s = time.monotonic() + 10
        while not others <= {path.name for path in staging.iterdir()}:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    refuse = then(wait_for_the_others, error(403, "DENIED", "no"))
    remote.fault("GET", always=refuse, path=layers[1])
    staging.mkdir(parents=True)
    (staging / ".half").write_bytes(b"of a pull that was killed")
    with pytest.raises(AccessDenied):
        pull(remote, output)
    assert not output.exists()
    assert {path.name for path in staging.iterdir()} == others
    with FaultyRegistry() as well:
        well.content.update(remote.content)
        report = pull(well, output)
        assert blobs_asked(well, image) == [layers[1]]
    assert report.kept == len(others)
    check_layout(output)
    assert {path.name for path in output.parent.iterdir()} == {output.name, ".lock"}


def test_what_is_whole_is_kept_and_what_is_not_is_fetched_again(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    pull(remote, output)
    remote.requests.clear()
    damaged = image.layer_digests()[0]
    path = blob_path(output, damaged)
    path.write_bytes(b"x" * path.stat().st_size)
    report = pull(remote, output)
    assert blobs_asked(remote, image) == [damaged]
    assert (report.kept, report.blobs) == (2, 3)
    check_layout(output)


def test_a_file_in_the_way_is_an_error_and_no_endless_wait(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    pushed(remote, tmp_path)
    output.parent.mkdir()
    (output.parent / f".partial-{output.name}").write_text("x")
    with pytest.raises(OutputUnwritable, match="file exists"):
        pull(remote, output)


def test_a_layer_that_arrives_changed_is_not_kept(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    layer = pushed(remote, tmp_path).layer_digests()[0]
    blobs = remote.content[NAME].blobs
    blobs[layer] = b"x" * len(blobs[layer])
    with pytest.raises(RegistryCorrupt):
        pull(remote, output)
    assert not output.exists()
    assert not list(output.parent.rglob(layer.removeprefix("sha256:")))


def test_pulls_to_one_folder_wait_for_each_other(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path)
    reports: list[PullReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(pull(remote, output))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.digest for report in reports] == [image.top.descriptor.digest] * 4
    assert sorted(report.kept for report in reports) == [0, 3, 3, 3]
    check_layout(output)


def test_a_newer_image_takes_the_place_of_the_older(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    pushed(remote, tmp_path)
    pull(remote, output)
    image = pushed(remote, tmp_path, text="two")
    report = pull(remote, output)
    assert open_layout(output).images == image.images
    assert report.kept == 1


# What is not an image, and what is not a place for one.


@pytest.mark.parametrize("what", ["something else", "another image", "a file"])
def test_a_folder_with_something_else_is_left_alone_before_any_download(
    remote: FaultyRegistry, tmp_path: Path, output: Path, what: str
) -> None:
    pushed(remote, tmp_path)
    if what == "something else":
        output.mkdir(parents=True)
        (output / "thesis.tex").write_text("x")
    elif what == "another image":
        build(output, tag="other")
    else:
        output.parent.mkdir()
        output.write_text("x")
    with pytest.raises(OutputUnwritable, match=str(output)):
        pull(remote, output)
    assert remote.requests == []


def test_digests_of_layers_cannot_lead_out_of_the_folder(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    image = pushed(remote, tmp_path, platforms=[AMD64])
    evil = "sha256:../../../evil"
    data = image.top.data.replace(image.layer_digests()[0].encode(), evil.encode())
    remote.put_manifest(NAME, data, OCI_MANIFEST, "v1")
    with pytest.raises(NameInvalid, match="is not a digest"):
        pull(remote, output)
    assert not [path for path in tmp_path.rglob("*") if path.name == "evil"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"application/vnd.oci.image.config.v1+json"', '"application/x.chart"', "x.chart"),
        ('"config"', '"confg"', "no 'config'"),
        ('"size"', '"siez"', "no 'size'"),
        ('"layers":[', '"layers":[7,', "cannot be used"),
        ('"layers":[', '"layers":[],"more":[', "0 layers and 2 diff_ids"),
    ],
)
def test_what_is_no_image_is_refused_in_a_line(
    remote: FaultyRegistry, tmp_path: Path, output: Path, old: str, new: str, problem: str
) -> None:
    image = pushed(remote, tmp_path, platforms=[AMD64])
    data = image.top.data.replace(old.encode(), new.encode())
    remote.put_manifest(NAME, data, OCI_MANIFEST, "v1")
    with pytest.raises(ImageInvalid, match=problem) as refused:
        pull(remote, output)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "entries", [[7], [{"digest": "x"}], 7, [{"digest": 1, "mediaType": 2}], [[]], None]
)
def test_an_index_in_disorder_is_refused(
    remote: FaultyRegistry, output: Path, entries: Any
) -> None:
    data = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    remote.content[NAME].manifests["sha256:x"] = (OCI_INDEX, data)
    digest = remote.put_manifest(NAME, data, OCI_INDEX, "v1")
    with pytest.raises(ImageInvalid, match=f"the index {digest} cannot be read"):
        pull(remote, output)


def test_nothing_is_left_of_a_pull_that_never_began(
    remote: FaultyRegistry, tmp_path: Path, output: Path
) -> None:
    with pytest.raises(NotInRegistry):
        pull(remote, output, tag="nope")
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("python", ("python", "latest")),
        ("ghcr.io/owner/app:1.2", ("app", "1.2")),
        ("ghcr.io/owner/app@sha256:" + 32 * "ab", ("app", "abababababab")),
        ("ghcr.io/owner/app:1.2@sha256:" + 32 * "ab", ("app", "1.2")),
    ],
)
def test_an_image_is_called_after_its_name_and_version(
    reference: str, name: tuple[str, str]
) -> None:
    assert short_name(Reference.parse(reference)) == name
