"""The rules of the OCI image specification 1.1, written down a second time.

Nothing of the pipeline is imported: what it writes is judged by the specification alone.
Each function raises `AssertionError` at the first rule that is broken.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
RUNTIME = {
    "User": str,
    "ExposedPorts": dict,
    "Env": list,
    "Entrypoint": list,
    "Cmd": list,
    "Volumes": dict,
    "WorkingDir": str,
    "Labels": dict,
    "StopSignal": str,
    "Healthcheck": dict,
}

Blob = Callable[[str], bytes]
Json = Mapping[str, Any]


def check_digest(digest: str) -> None:
    """descriptor.md: the registered algorithm sha256, 64 lower-case hex digits."""
    assert re.fullmatch(r"sha256:[a-f0-9]{64}", digest), digest


def check_descriptor(descriptor: Json, media_types: set[str]) -> None:
    """descriptor.md: required properties, and nothing that the specification does not know."""
    assert set(descriptor) <= {"mediaType", "digest", "size", "platform", "annotations"}
    assert descriptor["mediaType"] in media_types
    check_digest(descriptor["digest"])
    assert isinstance(descriptor["size"], int)
    assert descriptor["size"] > 0
    check_annotations(descriptor)
    if "platform" in descriptor:
        check_platform(descriptor["platform"])


def check_annotations(document: Json) -> None:
    """annotations.md: a map of strings; it may be absent."""
    annotations = document.get("annotations", {})
    assert all(isinstance(k, str) and k and isinstance(v, str) for k, v in annotations.items())


def check_platform(platform: Json) -> None:
    """image-index.md: GOOS and GOARCH, and arm64's variant where there is one."""
    assert set(platform) <= {"os", "architecture", "variant"}
    assert platform["os"] == "linux"
    assert (platform["architecture"], platform.get("variant")) in {("amd64", None), ("arm64", "v8")}


def check_index(document: Json, types: Mapping[str, str]) -> None:
    """image-index.md: one manifest for each platform, all of the index's own kind."""
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == types["index"]
    check_annotations(document)
    assert document["manifests"]
    for descriptor in document["manifests"]:
        check_descriptor(descriptor, {types["manifest"]})
    platforms = [tuple(sorted(d["platform"].items())) for d in document["manifests"]]
    assert len(set(platforms)) == len(platforms)


def check_manifest(document: Json, types: Mapping[str, str]) -> None:
    """manifest.md: a configuration and layers; Docker's kind knows no annotations."""
    known = {"schemaVersion", "mediaType", "config", "layers", "annotations"}
    assert set(document) <= known - ({"annotations"} if types is DOCKER else set())
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == types["manifest"]
    check_annotations(document)
    check_descriptor(document["config"], {types["config"]})
    assert isinstance(document["layers"], list)
    for descriptor in document["layers"]:
        check_descriptor(descriptor, {types["layer"]})


def check_config(document: Json) -> None:
    """config.md: platform, root file system, history, and the types of what a container gets."""
    known = {"os", "architecture", "variant", "created", "author", "config", "rootfs", "history"}
    assert set(document) <= known
    check_platform({key: document[key] for key in ("os", "architecture")} | _variant(document))
    assert RFC_3339.fullmatch(document["created"])
    assert document["rootfs"]["type"] == "layers"
    for diff_id in document["rootfs"]["diff_ids"]:
        check_digest(diff_id)
    filled = [entry for entry in document["history"] if not entry.get("empty_layer", False)]
    assert len(filled) == len(document["rootfs"]["diff_ids"])
    assert all(RFC_3339.fullmatch(entry["created"]) for entry in filled)
    runtime = document.get("config", {})
    assert set(runtime) <= set(RUNTIME)
    for key, value in runtime.items():
        assert isinstance(value, RUNTIME[key]), key
    assert all(re.fullmatch(r"[^=]+=.*", line, re.DOTALL) for line in runtime.get("Env", []))
    assert all(re.fullmatch(r"\d+/(tcp|udp)", port) for port in runtime.get("ExposedPorts", {}))
    assert all(
        value == {}
        for key in ("ExposedPorts", "Volumes")
        for value in runtime.get(key, {}).values()
    )
    for key in ("Interval", "Timeout", "StartPeriod"):
        assert isinstance(runtime.get("Healthcheck", {}).get(key, 0), int)


def _variant(document: Json) -> dict[str, str]:
    return {"variant": document["variant"]} if "variant" in document else {}


def check_layer(data: bytes, diff_id: str) -> tuple[str, ...]:
    """layer.md: the tar has the digest of its diff_id, no path twice, parents first."""
    tar = gzip.decompress(data)
    assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
    seen: dict[str, tarfile.TarInfo] = {}
    for member in members:
        assert member.name not in seen, member.name
        assert not member.name.startswith("/")
        assert not {"", ".", ".."} & set(member.name.split("/")), member.name
        parent = member.name.rpartition("/")[0]
        assert not parent or seen[parent].isdir(), f"{member.name} before its parent"
        if member.islnk():
            assert seen[member.linkname].isreg(), f"{member.name} before its content"
        seen[member.name] = member
    return tuple(seen)


def check_image(descriptor: Json, blob: Blob, types: Mapping[str, str]) -> dict[str, Json]:
    """Walk from a descriptor to every layer; return each platform's configuration."""
    document = read_verified(descriptor, blob)
    if document["mediaType"] == types["index"]:
        check_index(document, types)
        found: dict[str, Json] = {}
        for entry in document["manifests"]:
            for platform, config in check_image(entry, blob, types).items():
                assert platform not in found
                assert platform == f"{entry['platform']['os']}/{entry['platform']['architecture']}"
                found[platform] = config
        return found
    check_manifest(document, types)
    config = read_verified(document["config"], blob)
    check_config(config)
    diff_ids = config["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(document["layers"])
    for layer, diff_id in zip(document["layers"], diff_ids, strict=True):
        check_layer(verified(layer, blob), diff_id)
    return {f"{config['os']}/{config['architecture']}": config}


def verified(descriptor: Json, blob: Blob) -> bytes:
    """Return the bytes that a descriptor names; size and digest must be what it says."""
    data = blob(descriptor["digest"])
    assert len(data) == descriptor["size"]
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]
    return data


def read_verified(descriptor: Json, blob: Blob) -> dict[str, Any]:
    """Return the JSON document that a descriptor names."""
    document: dict[str, Any] = json.loads(verified(descriptor, blob))
    assert document.get("mediaType", descriptor["mediaType"]) == descriptor["mediaType"]
    return document


def check_layout(folder: Path, types: Mapping[str, str] = OCI) -> dict[str, Json]:
    """image-layout.md: marker, index and blobs. Returns each platform's configuration."""
    return check_layout_files(lambda name: (folder / name).read_bytes(), types)


def check_layout_files(read: Callable[[str], bytes], types: Mapping[str, str]) -> dict[str, Json]:
    """Check a layout, given a function that reads its files by name."""
    assert json.loads(read("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(read("index.json"))
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == OCI["index"]
    found: dict[str, Json] = {}
    for descriptor in index["manifests"]:
        check_descriptor(descriptor, {types["index"], types["manifest"]})
        assert re.fullmatch(
            r"[A-Za-z0-9]+(?:[-._:@/+][A-Za-z0-9]+)*",
            descriptor["annotations"]["org.opencontainers.image.ref.name"],
        )
        found |= check_image(descriptor, lambda d: read(f"blobs/{d.replace(':', '/')}"), types)
    return found
