"""What `invoke push` brings to a registry, as Docker, skopeo, oras, buildx and `pull` find it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.platforms import Platform
from tests.integration.building import (
    PLATFORMS,
    Checkout,
    copy_repository,
    read_image,
    run,
    whole_layout,
)
from tests.integration.conftest import RunImage
from tests.integration.registry import (
    PASSWORD,
    USERNAME,
    LocalRegistry,
)
from tests.integration.shop import HERMETIC, NAME, TAG, Shop

if TYPE_CHECKING:
    import docker

INDEX = "application/vnd.oci.image.index.v1+json"
UPLOAD_LIMIT_BYTES = 150_000
"""What a change of the application may cost beside the application's own layer."""


@pytest.fixture(scope="module")
def digest(shop: Shop, production: Path) -> str:
    """Push production and return its digest."""
    (report,) = shop.push(production)
    assert report["digest"] == whole_layout(production / "production")
    return str(report["digest"])


def test_the_registry_has_all_of_it_under_the_tag(shop: Shop, digest: str) -> None:
    assert shop.registry.digest(NAME, TAG) == digest
    assert shop.registry.is_whole(NAME, TAG)


def test_skopeo_sees_an_index_with_exactly_two_entries(
    shop: Shop, digest: str, skopeo: Path
) -> None:
    raw = run((skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{shop.reference()}"))
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
    document = json.loads(raw)
    assert document["mediaType"] == INDEX
    assert [entry["platform"] for entry in document["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    ]


def test_oras_finds_the_digest_that_was_printed(shop: Shop, digest: str, oras: Path) -> None:
    found = run((oras, "manifest", "fetch", "--plain-http", "--descriptor", shop.reference()))
    assert json.loads(found)["digest"] == digest


def test_buildx_finds_the_digest_that_was_printed(
    shop: Shop, digest: str, buildx: tuple[str, ...]
) -> None:
    argv = (*buildx, "imagetools", "inspect", "--format", "{{json .Manifest}}", shop.reference())
    found = json.loads(run(argv))
    assert found["digest"] == digest
    assert len(found["manifests"]) == 2


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.architecture)
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_docker_pulls_and_runs_it(
    shop: Shop,
    digest: str,
    docker_engine: docker.DockerClient,
    run_image: RunImage,
    platform: Platform,
    by: str,
) -> None:
    name = shop.reference("")
    version = TAG if by == "tag" else digest
    reference = f"{name}:{TAG}" if by == "tag" else f"{name}@{digest}"
    image = docker_engine.images.pull(name, tag=version, platform=str(platform))
    try:
        assert image.attrs["Architecture"] == platform.architecture
        with run_image(str(image.id), platform, entrypoint=["accelerapp"], command=["info"]) as box:
            assert box.wait(timeout=120)["StatusCode"] == 0
            assert "accelerapp" in box.logs().decode().lower()
    finally:
        docker_engine.images.remove(reference)


def test_pull_gives_back_the_same_digest(shop: Shop, digest: str, tmp_path: Path) -> None:
    output = tmp_path / "pulled"
    report = shop.invoke("pull", shop.reference(), "--output", output)
    assert report["digest"] == digest == whole_layout(output)


def test_pushing_what_is_there_sends_no_blob(shop: Shop, digest: str, production: Path) -> None:
    shop.proxy.forget()
    (report,) = shop.push(production)
    assert report["digest"] == digest
    assert shop.proxy.blob_bytes() == 0
    assert not shop.proxy.requests("PATCH")
    assert not shop.proxy.requests("POST")


def test_a_matrix_joined_afterwards_is_the_same_to_the_byte(
    shop: Shop, digest: str, tmp_path: Path
) -> None:
    name = "matrix"
    for platform in PLATFORMS:
        folder = tmp_path / platform.architecture
        shop.checkout.build("--platform", str(platform), "--output", folder)
        (part,) = shop.push(folder, "--platform", str(platform), tag=name)
        assert [move["tag"] for move in part["tags"]] == [f"{name}-{platform.architecture}"]
    assert shop.registry.digest(NAME, name) is None
    (joined,) = shop.invoke("manifest", "--registry", shop.proxy.address, "--tag", name)["images"]
    assert joined["digest"] == digest == shop.registry.digest(NAME, name)


def test_a_change_of_the_application_uploads_little_besides_it(
    shop: Shop, digest: str, production: Path, tmp_path: Path
) -> None:
    before = layers_of(production)
    changed = replace(shop.checkout, folder=copy_repository(tmp_path / "copy"))
    module = changed.folder / "src" / "accelerapp" / "__init__.py"
    module.write_text(f"{module.read_text()}\n# Changed.\n")
    changed.build("--platform", "all", "--output", tmp_path / "after")
    after = layers_of(tmp_path / "after")
    own = {layer: size for layer, size in after.items() if layer not in before}
    assert 0 < len(own) <= len(PLATFORMS)  # One for both, when its bytes are the same.
    shop.proxy.forget()
    shop.push(tmp_path / "after", "--no-attach", tag="after")
    assert shop.registry.is_whole(NAME, "after")
    assert sum(own.values()) <= shop.proxy.blob_bytes() <= sum(own.values()) + UPLOAD_LIMIT_BYTES
    assert sum(own.values()) < 1_000_000


def layers_of(output: Path) -> dict[str, int]:
    """Return digest and size of every layer of production."""
    images = [read_image(output / "production", platform) for platform in PLATFORMS]
    return {
        layer["digest"]: layer["size"] for image in images for layer in image.manifest["layers"]
    }


def test_nothing_is_sent_in_a_dry_run(shop: Shop, production: Path) -> None:
    shop.proxy.forget()
    shop.push(production, "--dry-run", tag="never")
    assert {seen.method for seen in shop.proxy.seen} <= {"GET", "HEAD"}
    assert shop.registry.digest(NAME, "never") is None


def test_the_password_that_docker_login_stored_is_found(
    registry_with_auth: LocalRegistry,
    committed: Checkout,
    production: Path,
    tmp_path: Path,
    skopeo: Path,
) -> None:
    """skopeo writes the file that Podman, Buildah and Skopeo share."""
    file = tmp_path / "auth.json"
    login = (skopeo, "login", "--authfile", file, "--tls-verify=false", "--password-stdin")
    done = subprocess.run(
        (*login, "--username", USERNAME, registry_with_auth.address),
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checkout = replace(committed, environment={**HERMETIC, "REGISTRY_AUTH_FILE": str(file)})
    place = ("--registry", registry_with_auth.address, "--images", production, "--tag", TAG)
    pushed = checkout.invoke("push", *place)
    assert pushed.returncode == 0, pushed.stderr
    assert PASSWORD not in pushed.stdout + pushed.stderr
