"""Who a person is to a registry: from the environment, from files that other programs
wrote (`docker login`, `podman login`), and from credential helpers.

Nothing here writes, and nothing is skipped silently: what is there and cannot be read is
an error, for a push that goes on without it would fail later and say something else.

Formats: Docker's `config.json`, `containers-auth.json(5)`, and the protocol of
docker-credential-helpers.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

from pipeline.errors import CredentialHelperFailed, OptionInvalid, ToolMissing
from pipeline.oci.registry.reference import Repository, familiar, normal_registry
from pipeline.process import Completed, OutputTooLong, Runner, run

HELPER_TIMEOUT_S = 10.0
IDENTITY_USERNAME = "<token>"
"""The user name that says that the password is an identity token."""

_HELPER_BYTES = 1 << 20
_SHOWN_LIMIT = 200


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets, as they are or as requests spell them."""
    spelled = {
        form
        for secret in secrets
        if secret
        for form in (
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
        )
    }
    for form in sorted(spelled, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


class Secret:
    """A string that no message, log or `repr` shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the string itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, specification: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one registry asks of a person: a password, or a token that stands for one."""

    username: str
    password: Secret
    identity_token: Secret | None
    """A refresh token (RFC 6749, 6) that the token service exchanges."""
    origin: str
    """Where they are from, for messages: such as `/home/x/.docker/config.json`."""
    registry_token: Secret | None = None
    """A bearer token that goes to the registry as it is."""


def find_credentials(
    repository: Repository,
    *,
    environ: Mapping[str, str],
    home: Path,
    use_environment: bool,
    runner: Runner = run,
    helper_timeout_s: float = HELPER_TIMEOUT_S,
) -> Credentials | None:
    """Return the credentials for a repository, from the first place that has some.

    `REGISTRY_USERNAME` and `REGISTRY_PASSWORD` (with `use_environment`, which is for the
    registry that is pushed to, and for no other), `REGISTRY_AUTH_FILE`, Docker's
    `config.json` in `DOCKER_CONFIG` or `~/.docker`, containers' `auth.json` in
    `XDG_RUNTIME_DIR` and `~/.config`. Within a file: the registry's own helper
    (`credHelpers`), what is written there (`auths`, the most specific key first), the
    helper for all (`credsStore`).

    Raises `OptionInvalid` for half a pair in the environment, and `CredentialHelperFailed`
    for a file in disorder and for a helper that is missing, fails or does not answer.
    """
    if use_environment and (found := _from_environment(environ)):
        return found
    for path, is_required in _files(environ, home):
        document = _read(path, is_required)
        found = _from_file(path, document, repository, runner, helper_timeout_s)
        if found is not None:
            return found
    return None


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    names = ("REGISTRY_USERNAME", "REGISTRY_PASSWORD")
    username, password = (environ.get(name, "") for name in names)
    if not username and not password:
        return None
    if not username or not password:
        there, missing = names if username else reversed(names)
        raise OptionInvalid(
            f"{there} is set and {missing} is not", hint="set both, or neither to use docker login"
        )
    for name, value in zip(names, (username, password), strict=True):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise OptionInvalid(f"{name} is not UTF-8", hint="set it to text") from None
    return _credentials(username, password, " and ".join(names))


def _files(environ: Mapping[str, str], home: Path) -> Iterator[tuple[Path, bool]]:
    """Give each file of credentials, and whether somebody said that it is there."""
    if explicit := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(explicit), True
    docker = environ.get("DOCKER_CONFIG")
    yield (Path(docker) if docker else home / ".docker") / "config.json", False
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json", False
    config = environ.get("XDG_CONFIG_HOME")
    yield (Path(config) if config else home / ".config") / "containers" / "auth.json", False


def _read(path: Path, is_required: bool) -> Mapping[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not is_required:
            return {}
        raise CredentialHelperFailed(
            f"{path} does not exist", hint="correct REGISTRY_AUTH_FILE, or unset it"
        ) from None
    except OSError as error:
        raise CredentialHelperFailed(
            f"{path} cannot be read: {error.strerror}", hint="correct its permissions"
        ) from None
    try:
        # An empty file is what is left of a login that was undone.
        document = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError):
        # What the parser says quotes the file.
        raise _disorder(path, "it is not JSON") from None
    if not isinstance(document, dict):
        raise _disorder(path, "it is not a JSON object")
    return document


def _disorder(path: Path, problem: str) -> CredentialHelperFailed:
    return CredentialHelperFailed(
        f"{path} cannot be used: {problem}", hint="correct it, or log in anew with docker login"
    )


def _from_file(
    path: Path,
    document: Mapping[str, Any],
    repository: Repository,
    runner: Runner,
    timeout_s: float,
) -> Credentials | None:
    helpers, auths = _table(path, document, "credHelpers"), _table(path, document, "auths")
    for key in _matching(helpers, Repository(repository.registry, "")):
        if not isinstance(helpers[key], str):
            raise _disorder(path, f"credHelpers has no name for '{key}'")
        if found := _ask_helper(helpers[key], path, repository, runner, timeout_s):
            return found
    for key in _matching(auths, repository):
        if found := _from_entry(path, key, auths[key]):
            return found
    store = document.get("credsStore") or ""
    if not isinstance(store, str):
        raise _disorder(path, "credsStore is not a name")
    return _ask_helper(store, path, repository, runner, timeout_s) if store else None


def _table(path: Path, document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise _disorder(path, f"{name} is not an object")
    return table


def _matching(table: Mapping[str, Any], repository: Repository) -> list[str]:
    """Return the keys that are about a repository, the most specific one first."""
    full = f"{repository.registry}/{repository.name}".rstrip("/")
    matches = [
        (-len(normal), key not in (repository.credentials_key, repository.registry), key)
        for key in table
        if (normal := _normal_key(key)) and f"{full}/".startswith(f"{normal}/")
    ]
    # Python's sort is stable: of several spellings the usual one, then the file's order.
    return [key for *_, key in sorted(matches, key=lambda match: match[:2])]


def _normal_key(key: str) -> str:
    """Return `host[:port][/namespace…]` for the many ways of writing it.

    A key with a scheme is about the whole host: paths in such keys are old API versions.
    """
    stripped = re.sub(r"^https?://", "", key, flags=re.IGNORECASE)
    host, _, path = stripped.partition("/")
    path = path.strip("/")
    if stripped != key or path in ("v1", "v2"):
        path = ""
    return "/".join(part for part in (normal_registry(host.lower()), path) if part)


def _from_entry(path: Path, key: str, entry: Any) -> Credentials | None:
    """Return what an entry of `auths` holds: nothing, when a helper holds it instead."""
    if not isinstance(entry, dict):
        raise _disorder(path, f"the entry '{key}' is not an object")
    values = {}
    for name in ("auth", "username", "password", "identitytoken", "registrytoken"):
        value = entry.get(name)
        if not isinstance(value, str | None):
            raise _disorder(path, f"{name} of '{key}' is not a string")
        values[name] = value or ""
    username, password = values["username"], values["password"]
    if values["auth"]:
        username, password = _decoded(path, key, values["auth"])
    if not any((password, values["identitytoken"], values["registrytoken"])):
        return None
    return _credentials(
        username, password, str(path), values["identitytoken"], values["registrytoken"]
    )


def _decoded(path: Path, key: str, auth: str) -> tuple[str, str]:
    try:
        text = base64.b64decode("".join(auth.split()), validate=True).decode()
    except ValueError:
        raise _disorder(path, f"auth of '{key}' is not base64 of text") from None
    username, colon, password = text.partition(":")
    if not colon:
        raise _disorder(path, f"auth of '{key}' is not a user name, ':' and a password")
    # Docker fills up with NUL.
    return username, password.strip("\0")


def _credentials(
    username: str, password: str, origin: str, identity: str = "", registry: str = ""
) -> Credentials:
    if username == IDENTITY_USERNAME and not identity:
        identity, password = password, ""
    return Credentials(
        username,
        Secret(password),
        Secret(identity) if identity else None,
        origin,
        Secret(registry) if registry else None,
    )


def _ask_helper(
    name: str, path: Path, repository: Repository, runner: Runner, timeout_s: float
) -> Credentials | None:
    """Return what a credential helper knows about the registry; None when it knows nothing."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise _disorder(path, f"'{_line(name)}' is not the name of a credential helper")
    program = f"docker-credential-{name}"
    done = _run_helper(program, path, repository, runner, timeout_s)
    if not done.ok:
        said = done.stdout.strip() or done.stderr.strip()
        if any(_is_not_found(text) for text in (done.stdout, done.stderr)):
            return None
        if "{" in said:
            said = ""  # An answer after all, perhaps with the secret in it.
        raise _failed(
            program,
            path,
            repository,
            f"failed with exit code {done.returncode}" + (f": {_line(said)}" if said else ""),
        )
    try:
        answer = json.loads(done.stdout)
        username, secret = answer["Username"], answer["Secret"]
        if not isinstance(username, str) or not isinstance(secret, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        # Whatever it is, it may hold the secret.
        raise _failed(program, path, repository, "gave an answer that cannot be read") from None
    return _credentials(username, secret, program) if secret else None


def _run_helper(
    program: str, path: Path, repository: Repository, runner: Runner, timeout_s: float
) -> Completed:
    """Run `docker-credential-… get`: the server's name on stdin, the answer on stdout."""
    server = repository.credentials_key.encode()
    try:
        return runner(
            (program, "get"), stdin=server, timeout_s=timeout_s, limit_bytes=_HELPER_BYTES
        )
    except OutputTooLong:
        raise _failed(program, path, repository, "prints more than 1 MB") from None
    except TimeoutError:
        raise _failed(program, path, repository, f"did not answer within {timeout_s:g} s") from None
    except ToolMissing as error:
        raise CredentialHelperFailed(
            f"{error.message}, and {path} says to ask it for {familiar(repository.registry)}",
            hint="install it, or take it out of that file",
        ) from None
    except OSError as error:
        raise _failed(program, path, repository, f"cannot be run: {error.strerror}") from None


def _is_not_found(text: str) -> bool:
    return text.strip().lower().startswith("credentials not found")


def _failed(
    program: str, path: Path, repository: Repository, problem: str
) -> CredentialHelperFailed:
    return CredentialHelperFailed(
        f"{program}, which {path} names for {familiar(repository.registry)}, {problem}",
        hint="set it right, or take it out of that file and log in anew",
    )


def _line(text: str) -> str:
    """Return what a program printed, fit for one line of an error."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN_LIMIT else f"{line[:_SHOWN_LIMIT]}…"
