"""Configurations, manifests and indexes that follow the specification, to the byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.oci.image import (
    Configuration,
    Descriptor,
    Document,
    Format,
    ImageDocuments,
    ImageLayer,
    canonical,
    document_of,
    image_documents,
    image_from_documents,
    index_document,
    timestamp,
)
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.image_factory import EPOCH_S, Blobs
from tests.unit.pipeline.oci.specification import DOCKER, OCI, check_image

TYPES = {Format.OCI: OCI, Format.DOCKER: DOCKER}
FULL = Configuration(
    user="1000:1000",
    environment={"PATH": "/usr/bin", "EMPTY": "", "WITH": "a=b"},
    entrypoint=["/usr/bin/tool"],
    command=["serve"],
    workdir="/app",
    ports=["8000/tcp", "53/udp"],
    volumes=["/app/models"],
    labels={"org.opencontainers.image.title": "Tool"},
    stop_signal="SIGTERM",
    health_test=["CMD", "/usr/bin/true"],
    health_interval_s=30,
    health_timeout_s=0.5,
    health_start_period_s=5,
    health_retries=3,
)

GOLDEN_CONFIG = "sha256:2886c6a0dd029fc2b7baf97582b3afc972c9aeecf9132cc505c9904021c3f872"
GOLDEN_MANIFEST = "sha256:77ade0cebd8654139f60dd7b0d8d5bf6179807821ec2d165bd8855eeda43e9f7"


def documents(
    blobs: Blobs,
    platform: Platform = Platform.ARM64,
    *,
    format: Format = Format.OCI,
    configuration: Configuration = FULL,
    annotations: Mapping[str, str] | None = None,
) -> ImageDocuments:
    layers = blobs.image("text", platforms=[platform]).images[0].layers
    return image_documents(
        platform,
        configuration,
        layers,
        created_s=EPOCH_S,
        format=format,
        annotations={"a": "b"} if annotations is None else annotations,
    )


def parsed(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.data)
    return found


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path)


def walk(top: Document, images: list[ImageDocuments], blobs: Blobs, format: Format) -> list[str]:
    """Check everything that `top` leads to; return the platforms."""
    known = {d.descriptor.digest: d.data for i in images for d in (i.config, i.manifest)}
    known[top.descriptor.digest] = top.data

    def read(digest: str) -> bytes:
        return known[digest] if digest in known else blobs(digest).read_bytes()

    return list(check_image(top.descriptor.to_json(), read, TYPES[format]))


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("platform", Platform)
def test_an_image_follows_the_specification(
    blobs: Blobs, platform: Platform, format: Format
) -> None:
    image = documents(blobs, platform, format=format)
    assert walk(image.manifest, [image], blobs, format) == [str(platform)]


@pytest.mark.parametrize("format", Format)
def test_an_index_follows_the_specification(blobs: Blobs, format: Format) -> None:
    images = [documents(blobs, platform, format=format) for platform in Platform]
    index = index_document(images, format=format, annotations={"a": "b"})
    assert walk(index, images, blobs, format) == ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize("format", Format)
def test_no_format_names_a_media_type_of_the_other(blobs: Blobs, format: Format) -> None:
    image = documents(blobs, format=format)
    index = index_document([image], format=format, annotations={})
    text = b"".join(d.data for d in (image.config, image.manifest, index)).decode()
    other = {Format.OCI: "vnd.docker", Format.DOCKER: "vnd.oci"}[format]
    assert other not in text


def test_an_image_without_layers_and_settings_is_still_one() -> None:
    image = image_documents(
        Platform.AMD64, Configuration(), [], created_s=0, format=Format.OCI, annotations={}
    )
    assert parsed(image.config) == {
        "architecture": "amd64",
        "config": {},
        "created": "1970-01-01T00:00:00Z",
        "history": [],
        "os": "linux",
        "rootfs": {"diff_ids": [], "type": "layers"},
    }
    assert "annotations" not in parsed(image.manifest)


def test_the_documents_have_their_golden_digests() -> None:
    image = image_documents(
        Platform.ARM64, FULL, [], created_s=EPOCH_S, format=Format.OCI, annotations={"a": "b"}
    )
    assert image.config.descriptor.digest == GOLDEN_CONFIG
    assert image.manifest.descriptor.digest == GOLDEN_MANIFEST


def test_every_setting_arrives_as_the_specification_spells_it(blobs: Blobs) -> None:
    assert parsed(documents(blobs).config)["config"] == {
        "User": "1000:1000",
        "Env": ["PATH=/usr/bin", "EMPTY=", "WITH=a=b"],
        "Entrypoint": ["/usr/bin/tool"],
        "Cmd": ["serve"],
        "WorkingDir": "/app",
        "ExposedPorts": {"8000/tcp": {}, "53/udp": {}},
        "Volumes": {"/app/models": {}},
        "Labels": {"org.opencontainers.image.title": "Tool"},
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", "/usr/bin/true"],
            "Interval": 30_000_000_000,
            "Timeout": 500_000_000,
            "StartPeriod": 5_000_000_000,
            "Retries": 3,
        },
    }


def test_history_explains_each_layer_in_order(blobs: Blobs) -> None:
    image = documents(blobs)
    config, manifest = parsed(image.config), parsed(image.manifest)
    created = "2023-11-14T22:13:20Z"
    assert config["created"] == created
    assert config["history"] == [
        {"created": created, "created_by": "base"},
        {"created": created, "created_by": "application text"},
    ]
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in image.layers]
    assert [layer["digest"] for layer in manifest["layers"]] == [
        layer.digest for layer in image.layers
    ]


@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_a_layer_says_how_it_is_compressed(compression: str) -> None:
    layer = ImageLayer("sha256:" + "0" * 64, "sha256:" + "1" * 64, 5, "base", compression)
    image = image_documents(
        Platform.AMD64,
        Configuration(),
        [layer],
        created_s=EPOCH_S,
        format=Format.OCI,
        annotations={},
    )
    (described,) = parsed(image.manifest)["layers"]
    suffix = f"+{compression}" if compression else ""
    assert described["mediaType"] == f"application/vnd.oci.image.layer.v1.tar{suffix}"
    assert image_from_documents(image.manifest, image.config).layers == (layer,)


def test_dockers_format_has_no_zstd() -> None:
    with pytest.raises(ValueError, match="zstd"):
        Format.DOCKER.layer_type("zstd")


def test_an_image_for_another_system_or_with_a_layer_too_many_is_refused(blobs: Blobs) -> None:
    image = documents(blobs)
    config = parsed(image.config)
    for change in ({"os": "windows"}, {"rootfs": {"diff_ids": []}}):
        other = document_of(canonical({**config, **change}), OCI["config"])
        with pytest.raises(ValueError, match=r"windows|2 layers and 0"):
            image_from_documents(image.manifest, other)


def test_arm64_carries_its_variant_and_amd64_none(blobs: Blobs) -> None:
    arm, intel = (documents(blobs, p) for p in (Platform.ARM64, Platform.AMD64))
    assert parsed(arm.config)["variant"] == "v8"
    assert arm.manifest.descriptor.to_json()["platform"] == {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
    }
    assert "variant" not in parsed(intel.config)
    assert intel.manifest.descriptor.to_json()["platform"] == {
        "os": "linux",
        "architecture": "amd64",
    }


def test_annotations_are_for_oci_alone(blobs: Blobs) -> None:
    for format, expected in ((Format.OCI, {"a": "b"}), (Format.DOCKER, None)):
        image = documents(blobs, format=format)
        index = index_document([image], format=format, annotations={"a": "b"})
        assert parsed(image.manifest).get("annotations") == expected
        assert parsed(index).get("annotations") == expected


def test_an_index_with_a_platform_twice_is_refused(blobs: Blobs) -> None:
    one = documents(blobs, configuration=Configuration(command=["one"]))
    other = documents(blobs, configuration=Configuration(command=["other"]))
    with pytest.raises(ValueError, match="exactly one entry a platform"):
        index_document([one, other], format=Format.OCI, annotations={})


def test_json_is_canonical() -> None:
    assert canonical({"b": [1, "ü"], "a": {"d": None, "c": True}}) == (
        '{"a":{"c":true,"d":null},"b":[1,"ü"]}'.encode()
    )


@pytest.mark.parametrize(
    ("epoch_s", "expected"),
    [(0, "1970-01-01T00:00:00Z"), (2**33 - 1, "2242-03-16T12:56:31Z")],
)
def test_times_are_utc(epoch_s: int, expected: str) -> None:
    assert timestamp(epoch_s) == expected


def test_a_descriptor_says_no_more_than_it_has() -> None:
    assert Descriptor("type", "sha256:x", 3).to_json() == {
        "mediaType": "type",
        "digest": "sha256:x",
        "size": 3,
    }
