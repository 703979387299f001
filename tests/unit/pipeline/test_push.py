"""A push brings an image whole, sends nothing twice, and never leaves a tag without an image."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AccessDenied, ImageInvalid, ImageMissing, NotInRegistry, RegistryRefused
from pipeline.oci.image import Format, ImageDocuments, canonical, document_of
from pipeline.oci.layout import blob_path, open_layout
from pipeline.oci.registry.client import Registry
from pipeline.oci.registry.credentials import Credentials, Secret
from pipeline.oci.registry.reference import Repository
from pipeline.platforms import Platform
from pipeline.push import (
    Cargo,
    Fate,
    PushReport,
    TagMove,
    base_of,
    facts_of,
    join,
    parts_by_digest,
    parts_by_tag,
    platform_parts,
    push_image,
    put_index,
    survey_push,
    tag_order,
)
from pipeline.report import Silent
from tests.unit.pipeline.oci.image_factory import BOTH
from tests.unit.pipeline.oci.registry.faulty_registry import Call, FaultyRegistry, error
from tests.unit.pipeline.shipments import COMMIT, REVISION, build, cargo, client

NAME = "owner/accelerapp"
OCI_MANIFEST = Format.OCI.manifest_type
AMD64, ARM64 = Platform.AMD64, Platform.ARM64


@pytest.fixture
def remote() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        yield registry


@pytest.fixture
def registry(remote: FaultyRegistry) -> Iterator[Registry]:
    with client(remote) as opened:
        yield opened


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    build(tmp_path / "images" / "production")
    return tmp_path / "images" / "production"


def push(remote: FaultyRegistry, layout: Path, *tags: str, name: str = NAME) -> PushReport:
    with client(remote) as registry:
        return push_image(cargo(remote, layout, *tags, name=name), registry, Silent())


def writes(remote: FaultyRegistry) -> list[str]:
    """Return the requests that change something."""
    return [str(seen) for seen in remote.requests if seen.method not in ("GET", "HEAD")]


def put_manifests(remote: FaultyRegistry) -> list[str]:
    """Return what manifests were put as, in order."""
    return [
        seen.path.rpartition("/")[2] for seen in remote.seen("PUT") if "/manifests/" in seen.path
    ]


def assert_whole(remote: FaultyRegistry, digest: str, name: str = NAME) -> None:
    """Assert that everything below a manifest or an index is there."""
    content = remote.content[name]
    document = json.loads(content.manifests[digest][1])
    for part in document.get("manifests", ()):
        assert_whole(remote, part["digest"], name)
    for part in [document["config"], *document["layers"]] if "layers" in document else ():
        assert part["digest"] in content.blobs


# Order, and what is not sent.


def test_an_image_arrives_with_its_bytes(remote: FaultyRegistry, layout: Path) -> None:
    image = open_layout(layout)
    report = push(remote, layout, "v1.2.3")
    content = remote.content[NAME]
    for document in image.documents():
        digest = document.descriptor.digest
        held = content.blobs.get(digest) or content.manifests[digest][1]
        assert held == document.data
    for digest in image.layer_digests():
        assert content.blobs[digest] == blob_path(layout, digest).read_bytes()
    assert content.tags == {"v1.2.3": image.top.descriptor.digest}
    assert report.reference == f"{remote.host}/{NAME}@{image.top.descriptor.digest}"
    assert {blob.fate for blob in report.blobs} == {Fate.SENT}
    assert sum(b.sent_bytes for b in report.blobs) == sum(b.size_bytes for b in report.blobs)


def test_children_go_before_the_index_and_moving_tags_last(
    remote: FaultyRegistry, layout: Path
) -> None:
    image = open_layout(layout)
    push(remote, layout, "latest", "main", "v1.2.3", "1.2", "sha-0123456")
    said = writes(remote)
    last_blob = max(i for i, line in enumerate(said) if "/blobs/" in line)
    first_manifest = min(i for i, line in enumerate(said) if "/manifests/" in line)
    assert last_blob < first_manifest
    put = put_manifests(remote)
    assert set(put[:2]) == {part.manifest.descriptor.digest for part in image.images}
    assert put[2:] == [
        image.top.descriptor.digest,
        *("v1.2.3", "sha-0123456", "main", "1.2", "latest"),
    ]


def test_a_layer_of_both_platforms_is_sent_once(remote: FaultyRegistry, layout: Path) -> None:
    report = push(remote, layout, "one")
    assert len(report.blobs) == 5
    assert sum(len(part.blobs) for part in report.parts) == 6
    finished = [line for line in writes(remote) if "digest=" in line]
    assert len(finished) == len(set(finished)) == 5


def test_what_is_there_is_not_sent_again(remote: FaultyRegistry, layout: Path) -> None:
    push(remote, layout, "v1", "latest")
    remote.requests.clear()
    report = push(remote, layout, "v1", "latest")
    assert set(remote.methods()) == {"HEAD"}
    assert report.count(Fate.EXISTS) == len(report.blobs)
    assert not any(move.moves for move in report.tags)


def test_a_new_tag_of_an_old_image_is_one_request_more(
    remote: FaultyRegistry, layout: Path
) -> None:
    push(remote, layout, "v1")
    remote.requests.clear()
    push(remote, layout, "v1", "latest")
    assert writes(remote) == [f"PUT /v2/{NAME}/manifests/latest"]


def test_a_tag_says_what_it_named_before(remote: FaultyRegistry, layout: Path) -> None:
    old = push(remote, layout, "latest").digest
    build(layout, text="two")
    report = push(remote, layout, "latest", "v2")
    assert report.tags == (
        TagMove("v2", None, report.digest),
        TagMove("latest", old, report.digest),
    )
    assert old != report.digest


def test_another_image_sends_what_is_new_alone(remote: FaultyRegistry, layout: Path) -> None:
    push(remote, layout, "latest")
    build(layout, text="two")
    report = push(remote, layout, "latest")
    # Two layers and, as they name them, two configurations.
    assert (report.count(Fate.SENT), report.count(Fate.EXISTS)) == (4, 1)


def test_a_blob_that_vanished_below_a_manifest_is_sent_again(
    remote: FaultyRegistry, layout: Path
) -> None:
    digest = push(remote, layout, "v1").digest
    lost = open_layout(layout).layer_digests()[0]
    del remote.content[NAME].blobs[lost]
    push(remote, layout, "v1")
    assert_whole(remote, digest)


def test_layers_are_mounted_from_other_repositories(remote: FaultyRegistry, layout: Path) -> None:
    push(remote, layout, "v1", name="owner/base")
    with client(remote) as registry:
        there = cargo(remote, layout, "v1")
        report = push_image(there, registry, Silent(), sources=["owner/none", "owner/base"])
    assert report.count(Fate.MOUNTED) == len(report.blobs) == 5
    assert sum(blob.sent_bytes for blob in report.blobs) == 0
    assert_whole(remote, report.digest)


def test_a_registry_that_mounts_nothing_gets_the_bytes(
    remote: FaultyRegistry, layout: Path
) -> None:
    push(remote, layout, "v1", name="owner/base")
    remote.allow_mounts = False
    with client(remote) as registry:
        report = push_image(cargo(remote, layout, "v1"), registry, Silent(), sources=["owner/base"])
    assert report.count(Fate.SENT) == 5


# What a push that ends early leaves behind.


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_push_that_fails_leaves_every_tag_at_a_whole_image(tmp_path: Path, method: str) -> None:
    layout = tmp_path / "production"
    tags = ("v1", "main", "latest")
    failed = 0
    while True:
        with FaultyRegistry() as remote:
            build(layout, text="old")
            old = push(remote, layout, *tags).digest
            new = build(layout, text="new").top.descriptor.digest

            def well(_call: Call) -> None:
                """Let the registry do it."""

            remote.fault(method, *[well] * failed, error(400, "UNSUPPORTED", "not today"))
            try:
                push(remote, layout, *tags)
            except RegistryRefused:
                held = remote.content[NAME].tags
                assert set(held) == set(tags)
                assert set(held.values()) <= {old, new}
                # The first to move are the last that anybody would miss.
                assert [held[tag] for tag in tag_order(tags)] == sorted(
                    held.values(), key=lambda digest: digest != new
                )
                for digest in held.values():
                    assert_whole(remote, digest)
                push(remote, layout, *tags)  # Goes on where it was.
                assert set(remote.content[NAME].tags.values()) == {new}
            else:
                break
        failed += 1
    assert failed == {"POST": 4, "PATCH": 4, "PUT": 4 + 2 + 1 + 3}[method]


def test_a_push_that_was_cut_off_sends_only_the_rest(remote: FaultyRegistry, layout: Path) -> None:
    remote.fault("PUT", error(400, "UNSUPPORTED"), path="/manifests/")
    with pytest.raises(RegistryRefused):
        push(remote, layout, "v1")
    report = push(remote, layout, "v1")
    assert report.count(Fate.EXISTS) == len(report.blobs)


def test_an_error_ends_the_uploads_beside_it(remote: FaultyRegistry, layout: Path) -> None:
    remote.fault("POST", always=error(403, "DENIED", "no"))
    with pytest.raises(AccessDenied):
        push(remote, layout, "v1")
    assert not remote.content[NAME].tags


def test_of_two_pushes_at_once_one_image_is_left(remote: FaultyRegistry, tmp_path: Path) -> None:
    layouts = [tmp_path / text / "production" for text in ("one", "two")]
    for layout in layouts:
        build(layout, text=layout.parent.name)
    threads = [
        threading.Thread(target=push, args=(remote, layout, "main", "latest")) for layout in layouts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = {open_layout(layout).top.descriptor.digest for layout in layouts}
    assert set(remote.content[NAME].tags.values()) <= digests
    for digest in digests:
        assert_whole(remote, digest)


def test_a_layout_that_lacks_a_layer_is_refused_before_anything_is_sent(
    remote: FaultyRegistry, layout: Path
) -> None:
    digest = open_layout(layout).layer_digests()[-1]
    path = blob_path(layout, digest)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageInvalid, match=f"{digest} has .* bytes instead of"):
        push(remote, layout, "v1")
    path.unlink()
    with pytest.raises(ImageInvalid, match=f"{digest} is not there"):
        push(remote, layout, "v1")
    assert writes(remote) == []


# Looking without touching.


def test_a_survey_asks_and_sends_nothing(remote: FaultyRegistry, layout: Path) -> None:
    old = push(remote, layout, "latest").digest
    image = build(layout, text="two")
    remote.requests.clear()
    with client(remote) as registry:
        report = survey_push(cargo(remote, layout, "latest", "v2"), registry)
    assert set(remote.methods()) == {"HEAD"}
    fates = {blob.digest: blob.fate for blob in report.blobs}
    shared = image.images[0].layers[0].digest
    assert fates.pop(shared) is Fate.EXISTS
    assert set(fates.values()) == {Fate.WOULD_SEND}
    assert report.fate is Fate.WOULD_SEND
    assert {move.tag: move.before for move in report.tags} == {"v2": None, "latest": old}
    document = report.to_json()
    assert document["bytes_to_send"] == sum(
        blob.size_bytes for blob in report.blobs if blob.digest != shared
    )
    assert document["bytes_sent"] == 0


def test_a_survey_knows_what_could_be_mounted(remote: FaultyRegistry, layout: Path) -> None:
    push(remote, layout, "v1", name="owner/base")
    remote.requests.clear()
    with client(remote) as registry:
        report = survey_push(cargo(remote, layout, "v1"), registry, sources=["owner/base"])
    assert report.count(Fate.WOULD_MOUNT) == 5
    assert set(remote.methods()) == {"HEAD"}


def test_what_an_earlier_image_brings_is_not_asked_for(
    remote: FaultyRegistry, layout: Path
) -> None:
    present = frozenset(open_layout(layout).layer_digests())
    with client(remote) as registry:
        report = survey_push(cargo(remote, layout, "v1"), registry, present=present)
    assert report.count(Fate.EXISTS) == len(present)
    assert not [line for line in remote.said() if any(digest in line for digest in present)]


# Tags.


@pytest.mark.parametrize(
    ("tags", "ordered"),
    [
        (["latest", "v1.2.3"], ["v1.2.3", "latest"]),
        (["1", "1.2", "1.2.3"], ["1.2.3", "1", "1.2"]),
        (["latest-arm64", "main-arm64", "sha-0123456-arm64"], None),
        (["main", "main"], ["main"]),
        (["edge", "1.3.0rc1", "1.3.0-rc.1"], ["1.3.0rc1", "1.3.0-rc.1", "edge"]),
        (["latest", "pr-7", "0123456789abcdef"], ["0123456789abcdef", "pr-7", "latest"]),
    ],
)
def test_tags_that_stay_go_first_and_latest_last(
    tags: list[str], ordered: list[str] | None
) -> None:
    assert list(tag_order(tags)) == (ordered or tags[::-1])


# Parts, and what joins them.


def push_parts(remote: FaultyRegistry, layout: Path, *tags: str) -> list[PushReport]:
    with client(remote) as registry:
        return [
            push_image(part, registry, Silent())
            for part in platform_parts(cargo(remote, layout, *tags), BOTH)
        ]


def parts(remote: FaultyRegistry, tag: str = "v1") -> tuple[ImageDocuments, ...]:
    with client(remote) as registry:
        return parts_by_tag(registry, Repository(remote.host, NAME), tag, BOTH)


@pytest.mark.parametrize("format", Format)
def test_joined_parts_are_the_index_of_one_push(
    remote: FaultyRegistry, tmp_path: Path, format: Format
) -> None:
    layout = tmp_path / "production"
    whole = build(layout, format=format)
    push_parts(remote, layout, "v1", "latest")
    assert set(remote.content[NAME].tags) == {
        f"{tag}-{architecture}" for tag in ("v1", "latest") for architecture in ("amd64", "arm64")
    }
    remote.requests.clear()
    with client(remote) as registry:
        repository = Repository(remote.host, NAME)
        image = join(parts_by_tag(registry, repository, "v1", BOTH), "accelerapp", "production")
        report = put_index(
            "production", image, repository, ["latest", "v1"], registry, dry_run=False
        )
    assert report.digest == whole.top.descriptor.digest
    assert remote.content[NAME].manifests[report.digest][1] == whole.top.data
    assert put_manifests(remote) == [report.digest, "v1", "latest"]
    for layer in whole.layer_digests():
        assert not [line for line in remote.said() if layer in line]


def test_parts_that_were_built_apart_join_to_the_index_of_one_build(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    for platform in reversed(BOTH):
        build(tmp_path / str(platform), platforms=[platform])
        push_parts_of(remote, tmp_path / str(platform), platform)
    whole = build(tmp_path / "whole")
    image = join(parts(remote)[::-1], "accelerapp", "production")
    assert image.top.data == whole.top.data


def push_parts_of(remote: FaultyRegistry, layout: Path, platform: Platform) -> None:
    with client(remote) as registry:
        (part,) = platform_parts(cargo(remote, layout, "v1"), [platform])
        push_image(part, registry, Silent())


def test_a_dry_run_of_a_manifest_puts_nothing(remote: FaultyRegistry, layout: Path) -> None:
    push_parts(remote, layout, "v1")
    remote.requests.clear()
    image = join(parts(remote), "accelerapp", "production")
    with client(remote) as registry:
        report = put_index(
            "production", image, Repository(remote.host, NAME), ["v1"], registry, dry_run=True
        )
    assert writes(remote) == []
    assert report.fate is Fate.WOULD_SEND


def test_a_second_manifest_puts_nothing(remote: FaultyRegistry, layout: Path) -> None:
    push_parts(remote, layout, "v1")
    image = join(parts(remote), "accelerapp", "production")
    with client(remote) as registry:
        for _ in range(2):
            remote.requests.clear()
            put_index(
                "production", image, Repository(remote.host, NAME), ["v1"], registry, dry_run=False
            )
    assert writes(remote) == []


def test_one_part_is_the_image_itself(remote: FaultyRegistry, layout: Path) -> None:
    push_parts(remote, layout, "v1")
    with client(remote) as registry:
        found = parts_by_tag(registry, Repository(remote.host, NAME), "v1", [ARM64])
    image = join(found, "accelerapp", "production")
    assert image.top == open_layout(layout).images[1].manifest


@pytest.mark.parametrize("key", ["revision", "version", "created"])
@pytest.mark.parametrize("format", Format)
def test_parts_of_two_commits_are_refused(
    remote: FaultyRegistry, tmp_path: Path, key: str, format: Format
) -> None:
    for platform, value in zip(BOTH, ("one", "two"), strict=True):
        said = {f"org.opencontainers.image.{key}": value}
        layout = tmp_path / str(platform)
        build(layout, platforms=[platform], annotations=said, format=format)
        push_parts_of(remote, layout, platform)
    with pytest.raises(
        ImageInvalid, match=f"{key} is 'one' for linux/amd64, 'two' for linux/arm64"
    ):
        join(parts(remote), "accelerapp", "production")


def test_what_the_parts_do_not_share_is_left_out_of_the_index(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    for platform in BOTH:
        layout = tmp_path / str(platform)
        build(layout, platforms=[platform], annotations={"own": str(platform), "both": "x"})
        push_parts_of(remote, layout, platform)
    annotations = join(parts(remote), "accelerapp", "production").annotations
    assert annotations["both"] == "x"
    assert annotations[REVISION] == COMMIT
    assert "own" not in annotations


def test_parts_of_two_formats_are_refused(remote: FaultyRegistry, tmp_path: Path) -> None:
    for platform, format in zip(BOTH, Format, strict=True):
        layout = tmp_path / str(platform)
        build(layout, platforms=[platform], format=format)
        push_parts_of(remote, layout, platform)
    with pytest.raises(ImageInvalid, match=r"mix media types: 'oci' for .*'docker' for"):
        join(parts(remote), "accelerapp", "production")


def test_a_missing_part_is_named_with_its_tag_and_platform(
    remote: FaultyRegistry, layout: Path
) -> None:
    push_parts_of(remote, layout, AMD64)
    with pytest.raises(NotInRegistry, match=r":v1-arm64: the part for linux/arm64 is missing"):
        parts(remote)


def test_a_part_for_another_platform_is_refused(remote: FaultyRegistry, layout: Path) -> None:
    push_parts(remote, layout, "v1")
    held = remote.content[NAME].tags
    held["v1-arm64"] = held["v1-amd64"]
    with pytest.raises(ImageInvalid, match="is for linux/amd64, not for linux/arm64"):
        parts(remote)


def test_of_an_index_in_the_place_of_a_part_its_entry_is_taken(
    remote: FaultyRegistry, layout: Path
) -> None:
    image = open_layout(layout)
    push(remote, layout, "v1-amd64", "v1-arm64")
    assert parts(remote) == image.images
    build(layout, platforms=[AMD64])
    image = replace(image, images=image.images[:1], index=None)
    with client(remote) as registry:
        repository = Repository(remote.host, NAME)
        digest = push(remote, layout, "v2").digest
        assert digest == image.top.descriptor.digest
        with pytest.raises(NotInRegistry, match="none of the digests is an image for linux/arm64"):
            parts_by_digest(registry, repository, [digest], BOTH)


def test_parts_are_found_by_digest(remote: FaultyRegistry, layout: Path) -> None:
    image = open_layout(layout)
    whole = push(remote, layout, "v1").digest
    amd64, arm64 = (part.manifest.descriptor.digest for part in image.images)
    repository = Repository(remote.host, NAME)
    with client(remote) as registry:
        for digests in ([arm64, amd64], [whole], [whole, amd64]):
            assert parts_by_digest(registry, repository, digests, BOTH) == image.images
        assert parts_by_digest(registry, repository, [whole], [ARM64]) == image.images[1:]
        with pytest.raises(ImageInvalid, match="was not asked for"):
            parts_by_digest(registry, repository, [amd64, arm64], [ARM64])


def test_two_digests_for_one_platform_are_refused(remote: FaultyRegistry, layout: Path) -> None:
    digests = []
    for text in ("one", "two"):
        build(layout, text=text)
        digests.append(push(remote, layout, "v1").parts[0].digest)
    with (
        client(remote) as registry,
        pytest.raises(ImageInvalid, match=f"{digests[0]} and {digests[1]} are both for linux/amd"),
    ):
        parts_by_digest(registry, Repository(remote.host, NAME), digests, [AMD64])


def test_a_platform_that_the_layout_lacks_is_named(tmp_path: Path) -> None:
    image = build(tmp_path / "production", platforms=[AMD64])
    there = Cargo("production", image, tmp_path / "production", Repository("r.example", "x"), ())
    with pytest.raises(ImageMissing, match=re.escape("has no linux/arm64, but linux/amd64")):
        platform_parts(there, [ARM64])


# What others wrote.


def test_a_survey_passes_over_repositories_that_deny(layout: Path) -> None:
    with FaultyRegistry(users={"me": "pw"}, denied=["owner/secret"]) as guarded:
        credentials = Credentials("me", Secret("pw"), None, origin="a test")
        with Registry(credentials=lambda _: credentials) as registry:
            asked = survey_push(cargo(guarded, layout, "v1"), registry, sources=["owner/secret"])
    assert {blob.fate for blob in asked.blobs} == {Fate.WOULD_SEND}


@pytest.mark.parametrize("labels", [["a"], "text", None, {"n": 1}])
def test_labels_in_disorder_are_no_labels(layout: Path, labels: Any) -> None:
    (part, _) = open_layout(layout).images
    config = json.loads(part.config.data) | {"config": {"Labels": labels}}
    odd = replace(part, config=document_of(canonical(config), part.config.descriptor.media_type))
    assert facts_of(odd)[REVISION] == COMMIT
    plain = replace(part, config=document_of(b'{"config": 3}', "application/json"))
    assert facts_of(plain)[REVISION] == COMMIT


@pytest.mark.parametrize("name", ["Not A Name", "", ["list"]])
def test_a_base_that_is_no_reference_is_no_base(layout: Path, name: Any) -> None:
    image = open_layout(layout)
    (part, _) = image.images
    manifest = json.loads(part.manifest.data) | {
        "annotations": {"org.opencontainers.image.base.name": name}
    }
    odd = replace(part, manifest=document_of(canonical(manifest), OCI_MANIFEST))
    assert base_of(replace(image, images=(odd,), index=None)) is None
