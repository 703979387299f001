"""cosign (Sigstore): where it is, which versions are understood, its commands.

Signatures are those of cosign 1 and 2: a manifest under the tag `sha256-….sig` beside the image
(sigstore/cosign, specs/SIGNATURE_SPEC.md).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import OptionInvalid, ToolMissing
from pipeline.oci.registry.reference import Reference
from pipeline.process import Runner, run
from pipeline.tools import find

if TYPE_CHECKING:
    from pipeline.oci.registry.credentials import Credentials

MAJOR = 2
"""The versions whose signatures are understood here: 3 writes bundles of another format."""
_TIMEOUT_S = 300.0
_SHOWN_LIMIT = 300
_NO_ANSWER = re.compile(
    r"loading public key|getting (?:Rekor|Fulcio|CTLog)|dial tcp|no such host|\bTUF\b"
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, or has to have signed: a key, or an identity (keyless)."""

    key: str = ""
    """A file, or what cosign takes for one: `env://NAME`, `awskms://…`, `k8s://…`."""
    identity: str = ""
    """Such as a workflow's address; for verifying."""
    issuer: str = ""
    """The OpenID Connect provider that vouches for the identity."""

    def __str__(self) -> str:
        if self.key:
            return f"the key {self.key}"
        return f"{self.identity} ({self.issuer})" if self.identity else "an identity (keyless)"


def parse_signer(key: str | None, identity: str | None, issuer: str | None) -> Signer | None:
    """Return who has to have signed, as flags say; None where they say nothing.

    Raises `OptionInvalid` for half an identity, for both, and for a key that is not there.
    """
    if key and (identity or issuer):
        raise OptionInvalid("--key and --identity say two things", hint="give one of them")
    if bool(identity) != bool(issuer):
        given, other = ("identity", "issuer") if identity else ("issuer", "identity")
        raise OptionInvalid(
            f"--{given} is given and --{other} is not",
            hint="an identity is only as good as who vouches for it: give both, such as "
            "--issuer https://token.actions.githubusercontent.com",
        )
    if identity and issuer:
        return Signer(identity=identity, issuer=issuer)
    return Signer(key=check_key(key)) if key else None


def check_key(key: str) -> str:
    """Return the key as cosign takes it; raises `OptionInvalid` for a file that is not there."""
    if "://" not in key and not Path(key).is_file():
        raise OptionInvalid(
            f"--key is '{key}', and there is no such file",
            hint="make a pair with: cosign generate-key-pair",
        )
    return key


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command of cosign's ended; `reason` is its own line on what was wrong."""

    returncode: int
    reason: str

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked for."""
        return self.returncode == 0

    @property
    def is_answer(self) -> bool:
        """Whether it looked at the image at all: not without its key, nor without a network that
        it needs for who may sign."""
        return _NO_ANSWER.search(self.reason) is None and self.returncode >= 0


@dataclass(frozen=True, slots=True)
class Cosign:
    """A cosign that is there and understood."""

    program: str
    plain_http: bool = False
    docker_config: Path | None = None
    """A folder with a `config.json` for the registry; None for cosign's own search."""
    runner: Runner = run

    def sign(self, references: Sequence[Reference], signer: Signer) -> Finished:
        """Sign manifests, each by its digest."""
        with_key = ("--key", signer.key, "--tlog-upload=false") if signer.key else ()
        return self._run("sign", "--yes", *with_key, *map(str, references))

    def verify(self, reference: Reference, signer: Signer) -> Finished:
        """Verify the signature of a manifest; exit code 10 says that there is none."""
        if signer.key:
            # Signed without a network, so no transparency log has seen it.
            who: tuple[str, ...] = ("--key", signer.key, "--insecure-ignore-tlog=true")
        else:
            who = (
                *("--certificate-identity", signer.identity),
                *("--certificate-oidc-issuer", signer.issuer),
            )
        return self._run("verify", *who, str(reference))

    def _run(self, task: str, *rest: str) -> Finished:
        http = ("--allow-http-registry",) if self.plain_http else ()
        env = {"DOCKER_CONFIG": str(self.docker_config)} if self.docker_config else {}
        argv = (self.program, task, *http, *rest)
        try:
            done = self.runner(argv, env=env, timeout_s=_TIMEOUT_S)
        except TimeoutError as error:
            return Finished(-1, str(error))
        return Finished(done.returncode, _reason(done.stderr))


def _reason(printed: str) -> str:
    """Return what cosign says was wrong, in one line, without all that was to be signed."""
    said = re.findall(
        r"^(?:Error|error during command execution): (?:signing \[[^\]]*\]: )?(.*)",
        printed,
        re.MULTILINE,
    )[:1]
    words = " ".join(said or printed.split("\n")[-2:]).split()
    return " ".join(words)[:_SHOWN_LIMIT] or "it does not say why"


@contextlib.contextmanager
def open_cosign(
    credentials: Credentials | None,
    reference: Reference,
    *,
    plain_http: bool = False,
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> Iterator[Cosign]:
    """Yield a cosign that logs in as everything else here does.

    Raises `ToolMissing` where it is not there, or of a version that is not understood.
    """
    program = find("cosign", environ)
    check_version(program, runner)
    if credentials is None:
        yield Cosign(program, plain_http, None, runner)
        return
    with tempfile.TemporaryDirectory(prefix="cosign-") as name:
        folder = Path(name)  # Of mode 0700, so nobody else reads the password.
        (folder / "config.json").write_text(_docker_config(credentials, reference))
        yield Cosign(program, plain_http, folder, runner)


def check_version(program: str, runner: Runner = run) -> None:
    """Raise `ToolMissing` for a cosign of another major version.

    One that distributions build does not say its version ("devel"), and is taken.
    """
    done = runner((program, "version", "--json"))
    found = re.search(r'"gitVersion":\s*"v?(\d+)\.([^"]*)"', done.stdout)
    if not done.ok or '"gitVersion"' not in done.stdout:
        raise ToolMissing(f"'{program}' does not say its version", hint="install cosign 2")
    if found is not None and int(found[1]) != MAJOR:
        raise ToolMissing(
            f"'{program}' is cosign {found[1]}.{found[2]}, which is not supported",
            hint=f"install cosign {MAJOR}",
        )


def _docker_config(credentials: Credentials, reference: Reference) -> str:
    """Return a `config.json` as `docker login` writes it, for one registry."""
    if credentials.registry_token is not None:
        entry = {"registrytoken": credentials.registry_token.reveal()}
    elif credentials.identity_token is not None:
        entry = {"identitytoken": credentials.identity_token.reveal()}
    else:
        pair = f"{credentials.username}:{credentials.password.reveal()}"
        entry = {"auth": base64.b64encode(pair.encode()).decode()}
    return json.dumps({"auths": {reference.repository.credentials_key: entry}})
