"""What a Docker build must know and an image must not: certificates, indexes, mirrors.

Each is a file that BuildKit mounts for one instruction (`--mount=type=secret`), so that it
is in no layer, no history and no command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.buildkit import PROXY_VARIABLES, Redactor, secrets_of
from pipeline.errors import OptionInvalid
from pipeline.process import Runner, run
from pipeline.sources.debian.archive import MIRROR_VARIABLES, archives_of, find_mirrors
from pipeline.sources.requirements import pip_options

CERTIFICATE_VARIABLES = (
    "ACCELERAPP_CA_BUNDLE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
)
"""Where a bundle of certificates is looked for; the first that is set is used."""

_LIMIT_BYTES = 500 * 1024
"""What BuildKit takes as a secret."""
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_URL_OPTIONS = ("index-url", "extra-index-url")


@dataclass(frozen=True, slots=True)
class BuildSecrets:
    """Secrets by id, as files, and what hides them in output."""

    files: Mapping[str, Path]
    redact: Redactor
    left_out: tuple[str, ...]
    """Mirrors that a container cannot reach: folders of this machine."""


def gather(
    folder: Path,
    *,
    suite: str,
    mirrors: Sequence[str],
    environ: Mapping[str, str],
    apt_root: Path,
    runner: Runner = run,
) -> BuildSecrets:
    """Write the secrets of a build into `folder`, which only this user can read.

    `suite` is a codename, `mirrors` what the user gave.  Raises `OptionInvalid` for a bundle
    that cannot be used, and for a mirror of one archive without one of the other.
    """
    files: dict[str, Path] = {}
    if bundle := certificates(environ):
        files["ca"] = bundle
    options = pip_options(runner)
    configuration = pip_configuration(options)
    if configuration:
        files["pip"] = _private(folder / "pip.conf", configuration)
    found = find_mirrors(environ=environ, apt_root=apt_root, given=mirrors)
    asked = [*mirrors, *(environ.get(name, "") for name in MIRROR_VARIABLES.values())]
    if sources := apt_sources(suite, found):
        files["sources"] = _private(folder / "debian.sources", sources)
    urls = [url for name in _URL_OPTIONS for url in options.get(name, "").split()]
    urls += [url for many in found.values() for url in many]
    urls += [environ[name] for name in PROXY_VARIABLES if name in environ]
    return BuildSecrets(
        files=files,
        redact=Redactor(secrets_of(urls)),
        left_out=tuple(m for words in asked for m in words.split() if not _is_remote(m)),
    )


def certificates(environ: Mapping[str, str]) -> Path | None:
    """Return the bundle of certificates that this machine uses besides its own, or None."""
    for variable in CERTIFICATE_VARIABLES:
        if value := environ.get(variable):
            path = Path(value).absolute()
            try:
                size_bytes = path.stat().st_size
                usable = path.is_file() and os.access(path, os.R_OK)
            except OSError:
                usable = False
            if not usable:
                raise OptionInvalid(
                    f"{variable} names '{value}', which is no readable file",
                    hint="correct or unset it",
                )
            if size_bytes > _LIMIT_BYTES:
                raise OptionInvalid(
                    f"{variable} names a file of {size_bytes} bytes; BuildKit takes no secret "
                    f"over {_LIMIT_BYTES}",
                    hint="name a smaller bundle with ACCELERAPP_CA_BUNDLE",
                )
            return path
    return None


def pip_configuration(options: Mapping[str, str]) -> str:
    """Return the text of a pip.conf with the indexes in `options`, empty without any.

    Folders of this machine are left out: a container does not have them.
    """
    lines = []
    for name in _URL_OPTIONS:
        urls = [url for url in options.get(name, "").split() if _is_remote(url)]
        if urls:
            lines.append(f"{name} = " + "\n    ".join(urls))
    if lines and (hosts := options.get("trusted-host", "").split()):
        lines.append("trusted-host = " + "\n    ".join(hosts))
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def apt_sources(suite: str, mirrors: Mapping[str, Sequence[str]]) -> str:
    """Return apt's sources for `suite` (deb822), the first remote mirror of each archive.

    They take the place of the image's own, so one archive alone raises `OptionInvalid`;
    without any the text is empty.
    """
    first = {name: next(filter(_is_remote, urls), "") for name, urls in mirrors.items()}
    if not any(first.values()):
        return ""
    for name, mirror in first.items():
        if not mirror:
            raise OptionInvalid(
                f"there is a mirror for Docker to use, and none of '{name}'",
                hint=f"give another --mirror that ends in /{name}, or set {MIRROR_VARIABLES[name]}",
            )
    stanzas = []
    for name, mirror in first.items():
        suites = " ".join(archive.suite for archive in archives_of(suite) if archive.name == name)
        stanzas.append(
            f"Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\n"
            f"Signed-By: {_KEYRING}\n"
        )
    return "\n".join(stanzas)


def _is_remote(url: str) -> bool:
    return re.match(r"https?://", url) is not None


def _private(path: Path, text: str) -> Path:
    """Write a file that only this user can read, from its first moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path
