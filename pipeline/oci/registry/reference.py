"""Names in registries: `ghcr.io/owner/name:tag@sha256:…`, as Docker reads them.

The grammar is that of the OCI distribution specification 1.1 ("Pulling manifests"); what a
short name means (`python` is `docker.io/library/python`) is Docker's convention.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pipeline.errors import NameInvalid

DOCKER_HUB = "registry-1.docker.io"
"""The host that serves what people call `docker.io`."""

_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", DOCKER_HUB})
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_LENGTH_LIMIT = 255
_SHOWN_LIMIT = 100

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ADDRESS = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the versions of one image are. `str()` gives the spelling that people know."""

    registry: str
    """`host[:port]`, such as `ghcr.io`, `127.0.0.1:5000`; Docker Hub is `DOCKER_HUB`."""
    name: str
    """Such as `owner/accelerapp`, or `library/python`."""

    def __str__(self) -> str:
        return f"{familiar(self.registry)}/{self.name}"

    @property
    def credentials_key(self) -> str:
        """What the registry is called in files of credentials and by credential helpers."""
        return _DOCKER_HUB_KEY if self.registry == DOCKER_HUB else self.registry

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Return the repository that `text` spells, without tag or digest.

        Raises `NameInvalid` with what would be right, where that can be told.
        """
        _refuse_urls(text)
        if "@" in text or ":" in text.rpartition("/")[2]:
            name = _untagged(text.partition("@")[0])[0]
            raise NameInvalid(
                f"{_shown(name)} has a tag or a digest where a repository alone is meant",
                hint=f"leave it out: {_printable(name)}" if "/" in name else _EXAMPLE,
            )
        return _repository(text)


@dataclass(frozen=True, slots=True)
class Reference:
    """One version of an image: by tag, by digest, or by both (the digest then decides)."""

    repository: Repository
    tag: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.tag is None and self.digest is None:
            raise ValueError("a reference has a tag, a digest or both")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"

    @property
    def name(self) -> str:
        """What the manifests endpoint takes: the digest, or else the tag."""
        return self.digest or self.tag or ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the version that `text` spells; `latest` when it names none.

        Raises `NameInvalid` with what would be right, where that can be told.
        """
        _refuse_urls(text)
        named, at, digest = text.partition("@")
        name, tag = _untagged(named)
        repository = _repository(name)
        checked = check_digest(digest) if at else None
        if tag is None and checked is None:
            tag = "latest"
        return cls(repository, None if tag is None else check_tag(tag), checked)


def familiar(registry: str) -> str:
    """Return what people call a registry: `docker.io` for Docker Hub, else its host."""
    return "docker.io" if registry == DOCKER_HUB else registry


def normal_registry(host: str) -> str:
    """Return `Repository.registry` for a host as people or files spell it."""
    return DOCKER_HUB if host in _DOCKER_HUB_NAMES else host


def host_of(registry: str) -> str:
    """Return the host of `host[:port]`, without the brackets of an IPv6 address."""
    match = _ADDRESS.fullmatch(registry)
    return match[1].strip("[]") if match else registry


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or address alone, is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_tag(text: str) -> str:
    """Return `text` if it is a tag; raises `NameInvalid` with the nearest that would be."""
    if _TAG.fullmatch(text):
        return text
    nearest = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:128]
    such = f", such as '{nearest}'" if nearest else ""
    raise NameInvalid(
        f"{_shown(text)} is not a tag",
        hint="a tag is 1 to 128 letters, digits, '_', '.' and '-', and starts with none of the "
        f"last two{such}",
    )


def check_digest(text: str) -> str:
    """Return `text` if it is a digest, "sha256:" and 64 hexadecimal digits, lower case.

    Raises `NameInvalid`, for other algorithms too: nothing here verifies them.
    """
    if _DIGEST.fullmatch(text):
        return text
    raise NameInvalid(
        f"{_shown(text)} is not a digest",
        hint="a digest is 'sha256:' and 64 lower-case hexadecimal digits",
    )


_EXAMPLE = "a repository is written like ghcr.io/owner/name"


def _repository(text: str) -> Repository:
    """Return the repository of a name that carries neither tag nor digest."""
    if text != text.lower():
        raise NameInvalid(
            f"{_shown(text)} has upper-case letters, which no registry takes",
            hint=f"write {_shown(text.lower())}",
        )
    first, slash, rest = text.partition("/")
    names_host = "." in first or ":" in first or first == "localhost"
    if names_host and not (slash and rest):
        raise NameInvalid(
            f"{_shown(text)} is a registry without a repository",
            hint=f"add one: {_printable(first)}/owner/name",
        )
    if names_host:
        if not _is_host(first):
            raise NameInvalid(
                f"{_shown(first)} in {_shown(text)} is not a registry's address",
                hint="it is a host, or a host and a port, such as 127.0.0.1:5000",
            )
        repository = Repository(normal_registry(first), rest)
    else:
        repository = Repository(DOCKER_HUB, text)
    if repository.registry == DOCKER_HUB and "/" not in repository.name:
        repository = Repository(DOCKER_HUB, f"library/{repository.name}")
    for component in repository.name.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise NameInvalid(
                f"{_shown(text)} is not the name of a repository: "
                + (f"{_shown(component)} cannot be a part of one" if component else "empty part"),
                hint="a tag has no '/' in it"
                if ":" in component
                else "parts are lower-case letters and digits, with '.', '_', '__' or '-' between",
            )
    # The specification counts the registry in.
    if len(str(repository)) > _LENGTH_LIMIT:
        raise NameInvalid(
            f"{_shown(text)} has {len(str(repository))} characters",
            hint=f"registries take at most {_LENGTH_LIMIT}",
        )
    return repository


def _untagged(text: str) -> tuple[str, str | None]:
    """Split what follows the last `:` off, unless it belongs to the registry's address."""
    folder, slash, last = text.rpartition("/")
    if last.startswith("["):
        return text, None  # An IPv6 address and nothing else.
    name, colon, tag = last.partition(":")
    return folder + slash + name, tag if colon else None


def _is_host(text: str) -> bool:
    match = _ADDRESS.fullmatch(text)
    if not match:
        return False
    host, port = match.groups()
    if port is not None and not 0 < int(port) < 65536:
        return False
    if not host.startswith("["):
        return bool(_HOST_NAME.fullmatch(host))
    try:
        return not ipaddress.IPv6Address(host[1:-1]).scope_id
    except ValueError:
        return False


def _refuse_urls(text: str) -> None:
    """Raise `NameInvalid` for URLs; what may be a password in one is not repeated."""
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    _, at, after = rest.partition("@")
    if at and (scheme or "/" in after):
        raise NameInvalid(
            "the name of an image has no room for a user or password",
            hint="log in with docker login, or set REGISTRY_USERNAME and REGISTRY_PASSWORD",
        )
    if scheme:
        raise NameInvalid(
            f"{_shown(text)} is a URL, not the name of an image", hint=f"write {_shown(rest)}"
        )


def _shown(text: str) -> str:
    return f"'{_printable(text)}'"


def _printable(text: str) -> str:
    """Return `text` fit for one line of an error."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= _SHOWN_LIMIT else f"{line[:_SHOWN_LIMIT]}…"
