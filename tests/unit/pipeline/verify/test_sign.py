"""`invoke sign`: which manifests are signed; and what `invoke verify` says of signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import commands
from pipeline.errors import NotVerified, OptionInvalid, SigningFailed, ToolMissing
from pipeline.oci.image import Descriptor, Format
from pipeline.oci.registry.reference import Reference, Repository
from pipeline.oci.registry.referrers import Artifact, attach
from pipeline.registries import open_registry
from pipeline.report import Silent
from pipeline.shipping import PushRequest, push
from pipeline.sign import SignRequest, sign
from pipeline.verify.checks import Outcome, Verification
from pipeline.verify.run import VerifyRequest, verify
from tests.unit.pipeline.factories import World
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.sbom.conftest import write_files

PROGRAM = """#!/bin/sh
case "$1" in
version) echo '{"gitVersion": "v2.5.0"}' ;;
sign) echo "$@" >> %(log)s; if [ "$COSIGN_PASSWORD" = wrong ]; then
  echo "Error: signing [x]: decryption failed" >&2; exit 1; fi ;;
verify) exit %(code)s ;;
esac
"""


@pytest.fixture
def remote(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyRegistry]:
    write_files(world)
    world.fill_cache()
    world.build()
    monkeypatch.setattr(commands, "ROOT", world.root)
    with FaultyRegistry() as registry:
        request = PushRequest(
            tags=["stable"], registry=f"{registry.host}/owner", images=world.output
        )
        push(request, Silent(), environ={"HOME": str(world.root)})
        yield registry


def environ(folder: Path, *, code: int = 0) -> dict[str, str]:
    program = folder / "cosign"
    program.write_text(PROGRAM % {"log": folder / "log", "code": code})
    program.chmod(0o755)
    return {"HOME": str(folder), "COSIGN": str(program), "PATH": "/usr/bin:/bin"}


def where(remote: FaultyRegistry) -> str:
    return f"{remote.host}/owner/mini:stable"


def key(folder: Path) -> str:
    path = folder / "cosign.key"
    path.touch()
    return str(path)


def test_image_platforms_and_what_is_said_of_them_are_signed(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    report = sign(
        SignRequest(where(remote), key=key(tmp_path)), Silent(), environ=environ(tmp_path)
    )
    names = {one.name for one in report.signed}
    assert names == {
        "image",
        "image linux/amd64",
        "image linux/arm64",
        "SBOM linux/amd64",
        "SBOM linux/arm64",
    }
    (line,) = (tmp_path / "log").read_text().splitlines()
    for one in report.signed:
        assert f"{remote.host}/owner/mini@{one.digest}" in line
    assert ":stable" not in line
    assert json.loads(json.dumps(report.to_json()))["image"].endswith(report.signed[0].digest)


def test_nothing_is_signed_in_a_dry_run(remote: FaultyRegistry, tmp_path: Path) -> None:
    request = SignRequest(where(remote), keyless=True, dry_run=True)
    # cosign is not even looked for.
    report = sign(request, Silent(), environ={"HOME": str(tmp_path), "COSIGN": "nowhere"})
    assert len(report.signed) == 5
    assert not (tmp_path / "log").exists()


def test_what_cosign_says_is_the_error(
    remote: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SignRequest(where(remote), keyless=True)
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")  # cosign reads it by itself.
    with pytest.raises(SigningFailed, match=r"could not be signed by an identity.*decryption"):
        sign(request, Silent(), environ=environ(tmp_path))


def test_a_folder_cannot_be_signed(tmp_path: Path) -> None:
    for place in (str(tmp_path), "./dist", "/nowhere"):
        with pytest.raises(OptionInvalid, match="is a folder, and signatures are in registries"):
            sign(SignRequest(place, keyless=True), Silent(), environ=environ(tmp_path))


def test_a_key_that_cannot_be_read_is_not_a_wrong_signature(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    program = tmp_path / "cosign"
    program.write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo \'{"gitVersion": "devel"}\' && exit 0\n'
        "echo 'Error: loading public key: PEM decoding failed' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    request = VerifyRequest(where(remote), key=key(tmp_path))
    found = verify(request, Silent(), environ={"HOME": str(tmp_path), "COSIGN": str(program)})
    (check,) = (check for check in found.checks if check.name == "signature")
    assert check.outcome is Outcome.NOT_VERIFIED
    assert "could not tell: loading public key" in check.detail


def test_how_to_sign_is_said(remote: FaultyRegistry, tmp_path: Path) -> None:
    for request, message in (
        (SignRequest(where(remote)), "nothing says what to sign with"),
        (SignRequest(where(remote), key="env://K", keyless=True), "say two things"),
        (SignRequest(where(remote), key=str(tmp_path / "none")), "no such file"),
    ):
        with pytest.raises(OptionInvalid, match=message):
            sign(request, Silent(), environ=environ(tmp_path))
    with pytest.raises(ToolMissing, match="COSIGN is 'nowhere'"):
        sign(
            SignRequest(where(remote), keyless=True),
            Silent(),
            environ={"HOME": str(tmp_path), "COSIGN": "nowhere"},
        )


def verified(remote: FaultyRegistry, folder: Path, *, code: int) -> Verification:
    request = VerifyRequest(where(remote), key=key(folder))
    return verify(request, Silent(), environ=environ(folder, code=code))


@pytest.mark.parametrize(
    ("code", "outcome", "detail"),
    [
        (0, Outcome.VERIFIED, "by the key"),
        (10, Outcome.NOT_VERIFIED, "there is none"),
        (12, Outcome.REFUSED, "not by the key"),
        (1, Outcome.REFUSED, "not by the key"),
    ],
)
def test_what_cosign_finds_is_the_outcome(
    remote: FaultyRegistry, tmp_path: Path, code: int, outcome: Outcome, detail: str
) -> None:
    found = verified(remote, tmp_path, code=code)
    (check,) = (check for check in found.checks if check.name == "signature")
    assert check.outcome is outcome
    assert check.detail.startswith(detail)


def test_without_cosign_a_key_cannot_be_verified(remote: FaultyRegistry, tmp_path: Path) -> None:
    request = VerifyRequest(where(remote), key=key(tmp_path))
    with pytest.raises(NotVerified, match="the signature cannot be verified: COSIGN"):
        verify(request, Silent(), environ={"HOME": str(tmp_path), "COSIGN": "nowhere"})


def test_a_signature_that_nobody_asked_about_is_not_verified(
    remote: FaultyRegistry, tmp_path: Path
) -> None:
    def detail() -> str:
        found = verify(VerifyRequest(where(remote)), Silent(), environ={"HOME": str(tmp_path)})
        (check,) = (check for check in found.checks if check.name == "signature")
        assert check.outcome is Outcome.NOT_VERIFIED
        return check.detail

    assert detail() == "there is none"
    content = remote.content["owner/mini"]
    top = content.tags["stable"]
    content.tags[f"{top.replace(':', '-')}.sig"] = top
    assert detail().startswith("there is one; say whose it has to be")


def test_a_bundle_of_cosign_3_is_named(remote: FaultyRegistry, tmp_path: Path) -> None:
    repository = Repository.parse(f"{remote.host}/owner/mini")
    bundle = Artifact("application/vnd.dev.sigstore.bundle.v0.3+json", b"{}", "bundle.json")
    with open_registry(environ={"HOME": str(tmp_path)}) as registry:
        top = registry.get_manifest(Reference(repository, tag="stable"))
        subject = Descriptor(Format.OCI.index_type, top.descriptor.digest, len(top.data))
        attach(registry, repository, subject, bundle)
    found = verified(remote, tmp_path, code=10)
    (check,) = (check for check in found.checks if check.name == "signature")
    assert "cosign 3" in check.detail
