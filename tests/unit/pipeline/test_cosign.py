"""cosign's commands, versions and messages; the real one is in the integration tests."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cosign import Cosign, Signer, check_version, open_cosign, parse_signer
from pipeline.errors import OptionInvalid, ToolMissing
from pipeline.oci.registry.credentials import Credentials, Secret
from pipeline.oci.registry.reference import Reference
from pipeline.process import Completed

DIGEST = "sha256:" + "a" * 64
IMAGE = Reference.parse(f"ghcr.io/owner/name@{DIGEST}")
ISSUER = "https://token.actions.githubusercontent.com"


class Recorder:
    """Remembers commands and answers each with the same."""

    def __init__(self, code: int = 0, stdout: str = "", stderr: str = "") -> None:
        self.answer = (code, stdout, stderr)
        self.calls: list[tuple[tuple[str, ...], Any]] = []

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        self.calls.append((argv, options))
        return Completed(argv, *self.answer)


def test_a_key_signs_without_a_network() -> None:
    runner = Recorder()
    assert Cosign("cosign", runner=runner).sign([IMAGE, IMAGE], Signer(key="k")).ok
    ((argv, options),) = runner.calls
    head = ("cosign", "sign", "--yes", "--key", "k", "--tlog-upload=false")
    assert argv == (*head, str(IMAGE), str(IMAGE))
    assert options["env"] == {}
    assert options["timeout_s"] > 0


def test_without_a_key_it_is_an_identity_in_the_transparency_log() -> None:
    runner = Recorder()
    cosign = Cosign("cosign", plain_http=True, docker_config=Path("/c"), runner=runner)
    cosign.sign([IMAGE], Signer())
    cosign.verify(IMAGE, Signer(identity="me", issuer=ISSUER))
    assert [argv for argv, _ in runner.calls] == [
        ("cosign", "sign", "--allow-http-registry", "--yes", str(IMAGE)),
        (
            *("cosign", "verify", "--allow-http-registry", "--certificate-identity", "me"),
            *("--certificate-oidc-issuer", ISSUER, str(IMAGE)),
        ),
    ]
    assert runner.calls[0][1]["env"] == {"DOCKER_CONFIG": "/c"}


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (
            "WARNING: x\nError: no matching signatures: invalid\nerror during command: no\n",
            "no matching signatures: invalid",
        ),
        ("Error: signing [a b c]: reading key: wrong\nerror during it\n", "reading key: wrong"),
        ("error during command execution: signing [a b]: not a key\n", "not a key"),
        ("panic\nat last\n", "at last"),
        ("", "it does not say why"),
    ],
)
def test_its_reason_is_one_line(stderr: str, reason: str) -> None:
    done = Cosign("cosign", runner=Recorder(1, stderr=stderr)).verify(IMAGE, Signer(key="k"))
    assert not done.ok
    assert done.reason == reason


def test_one_that_does_not_come_to_an_end_has_failed() -> None:
    def slow(argv: tuple[str, ...], **_options: Any) -> Completed:
        raise TimeoutError("'cosign' was not done after 300 s")

    done = Cosign("cosign", runner=slow).verify(IMAGE, Signer(key="k"))
    assert (done.ok, done.reason) == (False, "'cosign' was not done after 300 s")


@pytest.mark.parametrize("version", ["v2.5.0", "2.0.0-rc.1", "devel"])
def test_versions_that_are_understood(version: str) -> None:
    check_version("cosign", Recorder(stdout=json.dumps({"gitVersion": version})))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Recorder(stdout='{"gitVersion": "v3.0.2"}'), "is cosign 3.0.2, which is not supported"),
        (Recorder(stdout='{"gitVersion": "v1.13.1"}'), "is cosign 1.13.1"),
        (Recorder(stdout="hello"), "does not say its version"),
        (Recorder(1), "does not say its version"),
    ],
)
def test_versions_that_are_not(answer: Recorder, message: str) -> None:
    with pytest.raises(ToolMissing, match=message):
        check_version("cosign", answer)


@pytest.mark.parametrize(
    ("where", "credentials", "auths"),
    [
        (
            "ghcr.io/a/b:1",
            Credentials("me", Secret("pa:ss"), None, "x"),
            {"ghcr.io": {"auth": base64.b64encode(b"me:pa:ss").decode()}},
        ),
        (
            "a/b:1",
            Credentials("", Secret(""), Secret("refresh"), "x"),
            {"https://index.docker.io/v1/": {"identitytoken": "refresh"}},
        ),
        (
            "r.example:5000/a:1",
            Credentials("", Secret(""), None, "x", Secret("bearer")),
            {"r.example:5000": {"registrytoken": "bearer"}},
        ),
    ],
)
def test_it_logs_in_as_everything_else_does(
    tmp_path: Path, where: str, credentials: Credentials, auths: Any
) -> None:
    program = tmp_path / "cosign"
    program.touch(mode=0o755)
    runner = Recorder(stdout='{"gitVersion": "devel"}')
    environ = {"COSIGN": str(program)}
    reference = Reference.parse(where)
    with open_cosign(credentials, reference, environ=environ, runner=runner) as cosign:
        folder = cosign.docker_config
        assert folder is not None
        assert json.loads((folder / "config.json").read_text()) == {"auths": auths}
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_who_has_to_have_signed(tmp_path: Path) -> None:
    key = tmp_path / "cosign.pub"
    key.touch()
    assert parse_signer(None, None, None) is None
    assert parse_signer(str(key), None, None) == Signer(key=str(key))
    assert parse_signer("env://KEY", None, None) == Signer(key="env://KEY")
    assert parse_signer(None, "me", ISSUER) == Signer(identity="me", issuer=ISSUER)
    assert str(Signer(identity="me", issuer=ISSUER)) == f"me ({ISSUER})"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("nowhere.pub", None, None), "there is no such file"),
        ((None, "me", None), "--identity is given and --issuer is not"),
        ((None, None, ISSUER), "--issuer is given and --identity is not"),
        (("env://KEY", "me", ISSUER), "say two things"),
    ],
)
def test_who_cannot_be_meant(
    flags: tuple[str | None, str | None, str | None], message: str
) -> None:
    with pytest.raises(OptionInvalid, match=message):
        parse_signer(*flags)


@pytest.mark.parametrize(
    ("stderr", "is_answer"),
    [
        ("Error: no matching signatures: invalid signature\n", True),
        ("Error: loading public key: pem to public key: PEM decoding failed\n", False),
        ("Error: getting Rekor public keys: updating local metadata\n", False),
        ('Error: Get "https://r.example": dial tcp: lookup r.example\n', False),
    ],
)
def test_what_could_not_be_asked_is_no_answer(stderr: str, is_answer: bool) -> None:
    done = Cosign("cosign", runner=Recorder(1, stderr=stderr)).verify(IMAGE, Signer(key="k"))
    assert done.is_answer is is_answer
