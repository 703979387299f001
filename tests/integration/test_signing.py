"""`invoke sign` and `invoke verify` with cosign and a registry."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.building import Checkout, run
from tests.integration.registry import PASSWORD, USERNAME, LocalRegistry
from tests.integration.shop import HERMETIC, NAME, Shop

TAG = "stable"
"""It names no version, so it may name any."""


@dataclass(frozen=True)
class Keys:
    """A pair of cosign's."""

    private: Path
    public: Path


def key_pair(cosign: Path, folder: Path, password: str = "") -> Keys:
    folder.mkdir()
    subprocess.run(
        (cosign, "generate-key-pair"),
        cwd=folder,
        env={**os.environ, "COSIGN_PASSWORD": password},
        check=True,
        capture_output=True,
    )
    return Keys(folder / "cosign.key", folder / "cosign.pub")


@pytest.fixture(scope="module")
def keys(cosign: Path, tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return key_pair(cosign, tmp_path_factory.mktemp("keys") / "pair")


@pytest.fixture(scope="module")
def signed(shop: Shop, production: Path, keys: Keys) -> Shop:
    """Return a shop with production, pushed and signed."""
    shop = replace(
        shop, checkout=replace(shop.checkout, environment={**HERMETIC, "COSIGN_PASSWORD": ""})
    )
    shop.push(production, tag=TAG)
    shop.invoke("sign", shop.reference(f":{TAG}"), "--key", keys.private)
    return shop


def verify(shop: Shop, *arguments: str | Path, suffix: str = f":{TAG}") -> tuple[int, Any, str]:
    """Return exit code, outcomes by name, and what `invoke verify` says on stderr."""
    done = shop.checkout.invoke("verify", shop.reference(suffix), "--json", *arguments)
    checks = json.loads(done.stdout)["checks"] if done.stdout.strip() else []
    return done.returncode, {check["name"]: check for check in checks}, done.stderr


def test_what_is_pushed_can_be_verified_and_says_that_nobody_vouches_for_it(
    shop: Shop, production: Path
) -> None:
    shop.push(production, tag="unsigned")
    code, checks, _ = verify(shop, suffix=f"@{shop.registry.digest(NAME, 'unsigned')}")
    assert code == 0
    outcomes = {name: check["outcome"] for name, check in checks.items()}
    assert outcomes == {
        "tag": "not verified",
        "signature": outcomes["signature"],
        "digests": "verified",
        "provenance": "verified",
        "lock": "verified",
        "SBOM linux/amd64": "verified",
        "SBOM linux/arm64": "verified",
    }


def test_an_image_without_a_signature_is_not_verified_by_a_key(
    registry: LocalRegistry, committed: Checkout, production: Path, keys: Keys, cosign: Path
) -> None:
    place = ("--registry", registry.address, "--images", production, "--tag", TAG)
    assert committed.invoke("push", *place).returncode == 0
    where = f"{registry.address}/{NAME}:{TAG}"
    done = committed.invoke("verify", where, "--key", keys.public)
    assert done.returncode == 95
    assert "signature is required and was not verified: there is none" in done.stderr


def test_a_signed_image_is_verified_with_all_that_is_said_of_it(signed: Shop, keys: Keys) -> None:
    code, checks, _ = verify(signed, "--key", keys.public)
    assert code == 0
    assert checks["signature"]["outcome"] == "verified"
    assert str(keys.public) in checks["signature"]["detail"]
    assert f"signed by the key {keys.public}" in checks["provenance"]["detail"]
    code, checks, _ = verify(signed)
    assert code == 0
    assert checks["signature"]["outcome"] == "not verified"
    assert "there is one" in checks["signature"]["detail"]


def test_cosign_itself_verifies_each_of_them(signed: Shop, keys: Keys, cosign: Path) -> None:
    report = signed.invoke("sign", signed.reference(f":{TAG}"), "--key", keys.private, "--dry-run")
    names = [one["name"] for one in report["signed"]]
    assert sorted(names) == [
        "SBOM linux/amd64",
        "SBOM linux/arm64",
        "image",
        "image linux/amd64",
        "image linux/arm64",
        "provenance",
    ]
    for one in report["signed"]:
        place = signed.reference(f"@{one['digest']}")
        run((cosign, "verify", "--key", keys.public, "--insecure-ignore-tlog=true", place))


def test_another_key_is_refused(signed: Shop, cosign: Path, tmp_path: Path) -> None:
    other = key_pair(cosign, tmp_path / "other")
    code, checks, error = verify(signed, "--key", other.public)
    assert code == 94
    assert checks["signature"]["outcome"] == "refused"
    assert "signature: not by the key" in error


def test_the_signature_of_another_image_is_refused(signed: Shop, keys: Keys) -> None:
    (top, arm) = (signed.registry.digest(NAME, TAG) or "", platform_digest(signed))
    found = signed.registry.manifest(NAME, f"{top.replace(':', '-')}.sig")
    assert found is not None
    put(signed, f"{arm.replace(':', '-')}.sig", found[1])
    try:
        code, checks, _ = verify(signed, "--key", keys.public, suffix=f"@{arm}")
        assert (code, checks["signature"]["outcome"]) == (94, "refused")
    finally:
        signed.invoke("sign", signed.reference(f":{TAG}"), "--key", keys.private)


def test_a_signature_that_was_changed_is_refused(signed: Shop, keys: Keys) -> None:
    tag = f"{platform_digest(signed).replace(':', '-')}.sig"
    found = signed.registry.manifest(NAME, tag)
    assert found is not None
    changed = json.loads(json.dumps(found[1]))
    for layer in changed["layers"]:
        notes = layer["annotations"]
        (key,) = (name for name in notes if name.endswith("/signature"))
        data = bytearray(base64.b64decode(notes[key]))
        data[-1] ^= 1
        notes[key] = base64.b64encode(data).decode()
    put(signed, tag, changed)
    try:
        where = f"@{platform_digest(signed)}"
        code, checks, _ = verify(signed, "--key", keys.public, suffix=where)
        assert (code, checks["signature"]["outcome"]) == (94, "refused")
    finally:
        put(signed, tag, found[1])


def test_a_provenance_that_nobody_signed_says_so(
    signed: Shop, keys: Keys, production: Path, tmp_path: Path
) -> None:
    """Somebody who can write to the registry, and has no key, adds a statement of their own."""
    copied = tmp_path / "images"
    shutil.copytree(production, copied, symlinks=True)
    path = copied / "production.provenance.json"
    statement = json.loads(path.read_bytes())
    statement["predicate"]["runDetails"]["builder"]["id"] = "https://example.com/better"
    path.write_text(json.dumps(statement))
    signed.push(copied, tag="again")
    code, _, _ = verify(signed, "--key", keys.public)
    assert code == 0
    done = signed.checkout.invoke("verify", signed.reference(f":{TAG}"), "--key", keys.public)
    (line,) = (line for line in done.stdout.splitlines() if "example.com/better" in line)
    assert "that is not signed" in line


def test_a_key_with_a_password(shop: Shop, signed: Shop, cosign: Path, tmp_path: Path) -> None:
    locked = key_pair(cosign, tmp_path / "locked", password="open sesame")
    for password, code in (("wrong", 96), ("open sesame", 0)):
        checkout = replace(shop.checkout, environment={**HERMETIC, "COSIGN_PASSWORD": password})
        done = checkout.invoke("sign", shop.reference(f":{TAG}"), "--key", locked.private)
        assert done.returncode == code
        assert ("decryption failed" in done.stderr) == bool(code)
        assert "open sesame" not in done.stdout + done.stderr
    assert verify(signed, "--key", locked.public)[0] == 0


def test_a_registry_with_a_password(
    registry_with_auth: LocalRegistry, committed: Checkout, production: Path, keys: Keys
) -> None:
    environment = {
        **HERMETIC,
        "COSIGN_PASSWORD": "",
        "REGISTRY_USERNAME": USERNAME,
        "REGISTRY_PASSWORD": PASSWORD,
    }
    checkout = replace(committed, environment=environment)
    place = ("--registry", registry_with_auth.address, "--images", production, "--tag", TAG)
    assert checkout.invoke("push", *place).returncode == 0
    where = f"{registry_with_auth.address}/{NAME}:{TAG}"
    done = checkout.invoke("sign", where, "--key", keys.private)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    done = replace(checkout, environment={**HERMETIC, "COSIGN_PASSWORD": ""}).invoke(
        "sign", where, "--key", keys.private
    )
    assert done.returncode != 0


def test_without_cosign_nothing_is_taken_for_verified(
    shop: Shop, signed: Shop, keys: Keys, tmp_path: Path
) -> None:
    checkout = replace(shop.checkout, environment={**HERMETIC, "COSIGN": str(tmp_path / "none")})
    done = checkout.invoke("verify", shop.reference(f":{TAG}"), "--key", keys.public)
    assert done.returncode == 95
    assert "the signature cannot be verified: COSIGN is" in done.stderr
    assert checkout.invoke(
        "sign", shop.reference(f":{TAG}"), "--key", keys.private
    ).returncode not in (0, 1)


def platform_digest(shop: Shop) -> str:
    found = shop.registry.manifest(NAME, TAG)
    assert found is not None
    return str(found[1]["manifests"][1]["digest"])


def put(shop: Shop, tag: str, document: Any) -> None:
    data = json.dumps(document).encode()
    status, _, _ = shop.registry.request(
        "PUT", f"/v2/{NAME}/manifests/{tag}", {"Content-Type": document["mediaType"]}, data
    )
    assert status == 201
