"""Debian's archives: which mirrors have them, and what their signed metadata says.

Trust goes from the keyrings that this repository carries to `InRelease`, from
there to the digest of `Packages.xz`, and from there to the digest of each `.deb`.
A mirror is never trusted, so any will do.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pipeline.errors import (
    ArchiveMalformed,
    NetworkUnavailable,
    OptionInvalid,
    SettingsInvalid,
    SignatureInvalid,
    ToolMissing,
)
from pipeline.fetch import Download, Progress, fetch_all, fetch_bytes
from pipeline.platforms import Platform
from pipeline.sources.debian.control import PackageIndex, paragraphs, parse_paragraph

MIRROR_VARIABLES = {
    "debian": "ACCELERAPP_DEBIAN_MIRROR",
    "debian-security": "ACCELERAPP_DEBIAN_SECURITY_MIRROR",
}
"""For each archive, the environment variable that names its mirrors."""

Mirrors = Mapping[str, tuple[str, ...]]
"""For each archive, base URLs or local directories without a trailing slash, best first."""

_SNAPSHOT = "https://snapshot.debian.org/archive"
_COMPONENT = "main"
_INRELEASE_LIMIT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """One suite of one archive: `dists/<suite>` below a mirror of `name`."""

    name: str
    """`debian` or `debian-security`."""
    suite: str
    """`bookworm`, `bookworm-updates`, `bookworm-security`."""

    def __str__(self) -> str:
        return f"{self.name} {self.suite}"


def archives_of(codename: str) -> tuple[Archive, ...]:
    """Return the archives that make up a release such as `bookworm`: main, updates, security."""
    return (
        Archive("debian", codename),
        Archive("debian", f"{codename}-updates"),
        Archive("debian-security", f"{codename}-security"),
    )


def find_mirrors(
    *,
    environ: Mapping[str, str],
    apt_root: Path,
    given: Sequence[str] = (),
    snapshot: str = "",
) -> dict[str, tuple[str, ...]]:
    """Return the mirrors of each archive, in the order in which to try them.

    First `given` (what `--mirror` names; one whose path does not end in
    `debian-security` is taken for `debian`), then `MIRROR_VARIABLES`, then those of
    the host's own apt sources below `apt_root` (`/etc/apt`) that are Debian's, and
    last the snapshot archive as of `snapshot` (`YYYYMMDDTHHMMSSZ`), which keeps
    superseded versions.  Raises `OptionInvalid` for another form of timestamp.
    """
    if snapshot and not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", snapshot, re.ASCII):
        raise OptionInvalid(
            f"'{snapshot}' is not a time of the snapshot archive",
            hint="write it as YYYYMMDDTHHMMSSZ, for example 20250601T000000Z",
        )
    host = [uri for uri in _apt_uris(apt_root) if _archive_name(uri)]
    found: dict[str, tuple[str, ...]] = {}
    for archive, variable in MIRROR_VARIABLES.items():
        named = [uri for words in given for uri in words.split()]
        mirrors = [uri for uri in named if (_archive_name(uri) or "debian") == archive]
        mirrors += environ.get(variable, "").split()
        mirrors += [uri for uri in host if _archive_name(uri) == archive]
        if snapshot:
            mirrors.append(f"{_SNAPSHOT}/{archive}/{snapshot}")
        found[archive] = tuple(dict.fromkeys(mirror.rstrip("/") for mirror in mirrors))
    return found


def _archive_name(uri: str) -> str:
    """Return the archive that a mirror's path ends in, or ""."""
    last = urlsplit(uri).path.rstrip("/").rpartition("/")[2]
    return last if last in MIRROR_VARIABLES else ""


def _apt_uris(apt_root: Path) -> Iterator[str]:
    """Yield the URIs of apt's binary sources for `main` (sources.list(5)).

    Files that cannot be read are passed over: they are a convenience, not a demand.
    """
    parts = apt_root / "sources.list.d"
    for path in (apt_root / "sources.list", *sorted(parts.glob("*.list"))):
        for line in _read(path).splitlines():
            # deb [options] uri suite component…
            found = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+\S+\s+([^#]*)", line)
            if found and _COMPONENT in found[2].split():
                yield from _usable(found[1])
    for path in sorted(parts.glob("*.sources")):
        try:
            stanzas = list(paragraphs(_read(path)))
        except ArchiveMalformed:
            continue
        for stanza in stanzas:
            enabled = stanza.get("enabled", "yes").lower() not in ("no", "false", "0", "off")
            binary = "deb" in stanza.get("types", "").split()
            if enabled and binary and _COMPONENT in stanza.get("components", "").split():
                for uri in stanza.get("uris", "").split():
                    yield from _usable(uri)


def _usable(uri: str) -> Iterator[str]:
    # Others, such as `mirror+file:` or `cdrom:`, are apt's own transports.
    if uri.startswith(("http://", "https://", "file:/")):
        yield uri


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class PoolFile(Protocol):
    """A package of an archive's pool: one of an index, or one of a lock."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def archive(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...


def pool_download(package: PoolFile, mirrors: Mirrors) -> Download:
    """Return how to fetch a package's `.deb` from the mirrors of its archive."""
    return Download(
        urls=tuple(f"{mirror}/{package.path}" for mirror in mirrors.get(package.archive, ())),
        sha256=package.sha256,
        size_bytes=package.size_bytes,
        name=f"{package.name} {package.version} ({package.architecture})",
        mirror_variable=MIRROR_VARIABLES.get(package.archive, ""),
    )


@dataclass(frozen=True, slots=True)
class Release:
    """What a suite's verified `InRelease` says."""

    archive: Archive
    date: datetime
    """When it was made, in UTC."""
    by_hash: bool
    """Whether index files can be fetched by digest, safe from a mirror's update."""
    indexes: Mapping[str, tuple[str, int]]
    """Path below `dists/<suite>` → (SHA-256, size in bytes)."""
    sha256: str
    """Of the InRelease file as it was served."""


def verify_release(inrelease: bytes, archive: Archive, keyrings: Path, *, now: datetime) -> Release:
    """Return what `inrelease` says, once one of the keys in `keyrings/*.gpg` vouches for it.

    `now` is an aware datetime: the present, or the time of a snapshot.

    Raises `SignatureInvalid` if no key does, if it has expired (Valid-Until) or
    describes another suite; `ArchiveMalformed` if it lacks what a Release file
    must have; `ToolMissing` without pysequoia.
    """
    fields = parse_paragraph(_verified(inrelease, archive, keyrings).decode("utf-8", "replace"))
    if archive.suite not in (fields.get("codename"), fields.get("suite")):
        raise SignatureInvalid(
            f"the InRelease of {archive} is signed, but describes "
            f"'{fields.get('codename', '')}' ({fields.get('suite', '')})",
            hint="the mirror is mixed up: use another",
        )
    expiry = fields.get("valid-until")
    if expiry and _utc(expiry, archive) < now:
        raise SignatureInvalid(
            f"the InRelease of {archive} was valid until {expiry}",
            hint="the mirror is out of date or this machine's clock is wrong: use another mirror",
        )
    return Release(
        archive=archive,
        date=_utc(fields.get("date", ""), archive),
        by_hash=fields.get("acquire-by-hash") == "yes",
        indexes=_digests(fields.get("sha256", ""), archive),
        sha256=hashlib.sha256(inrelease).hexdigest(),
    )


def _verified(inrelease: bytes, archive: Archive, keyrings: Path) -> bytes:
    """Return the text that is signed: anything around it in `inrelease` is not."""
    try:
        import pysequoia
    except ImportError:
        raise ToolMissing(
            "checking Debian's signatures needs the Python package pysequoia",
            hint="pip install -r requirements/dev.txt",
        ) from None
    files = sorted(keyrings.glob("*.gpg"))
    if not files:
        raise SignatureInvalid(
            f"there are no keyrings in '{keyrings}'", hint="restore deployment/keyrings from git"
        )
    try:
        certificates = [key for file in files for key in pysequoia.Cert.split_file(str(file))]
        verified = pysequoia.verify(bytes=inrelease, store=lambda _ids: certificates)
    except (RuntimeError, ValueError, OSError) as error:
        # Sequoia's message goes on with a backtrace of its own.
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SignatureInvalid(
            f"the InRelease of {archive} is not signed by a key in '{keyrings}': {reason}",
            hint="use another mirror; if Debian has new keys, see deployment/keyrings/README.md",
        ) from None
    if not verified.valid_sigs or not verified.bytes:
        raise SignatureInvalid(f"the InRelease of {archive} has no valid signature")
    return verified.bytes


def _utc(date: str, archive: Archive) -> datetime:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        raise ArchiveMalformed(f"the InRelease of {archive} has no usable date: '{date}'") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


def _digests(field: str, archive: Archive) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for line in filter(None, field.splitlines()):
        parts = re.fullmatch(r"([0-9a-f]{64})\s+([0-9]+)\s+(\S+)", line, re.ASCII)
        if parts is None:
            raise ArchiveMalformed(f"the InRelease of {archive} has no usable SHA256: '{line}'")
        found[parts[3]] = (parts[1], int(parts[2]))
    return found


def fetch_release(archive: Archive, mirrors: Mirrors, keyrings: Path, *, now: datetime) -> Release:
    """Return the `InRelease` of the first mirror that has a valid one.

    Raises what `verify_release` raises for the first mirror that answered, or
    `NetworkUnavailable` if none did.
    """
    rejected: SignatureInvalid | ArchiveMalformed | None = None
    unreachable: list[str] = []
    urls = [f"{mirror}/dists/{archive.suite}/InRelease" for mirror in mirrors[archive.name]]
    for url in urls:
        try:
            inrelease = fetch_bytes(
                (url,),
                max_bytes=_INRELEASE_LIMIT_BYTES,
                name=f"the InRelease of {archive}",
                mirror_variable=MIRROR_VARIABLES[archive.name],
            )
            return verify_release(inrelease, archive, keyrings, now=now)
        except NetworkUnavailable as error:
            unreachable.append(error.message)
        except (SignatureInvalid, ArchiveMalformed) as error:
            # Another vendor's archive may also end in /debian: its keys are not ours.
            rejected = rejected or error
    if rejected:
        raise rejected
    raise NetworkUnavailable(
        "; ".join(unreachable) or f"no mirror of {archive} is known",
        hint=f"check the network, or set {MIRROR_VARIABLES[archive.name]} to a mirror",
    )


@dataclass(frozen=True, slots=True)
class LoadedSuite:
    """A Debian release as it stands: its verified archives, and what they offer."""

    releases: tuple[Release, ...]
    indexes: Mapping[Platform, PackageIndex]


def load_suite(
    codename: str,
    platforms: Sequence[Platform],
    *,
    mirrors: Mirrors,
    keyrings: Path,
    store: Callable[[str], Path],
    now: datetime,
    on_progress: Progress | None = None,
) -> LoadedSuite:
    """Return the verified archives of a release, and its package index for each platform.

    `store(sha256)` is where an index file is cached.  Raises what
    `fetch_release` and `fetch_all` raise, and `SettingsInvalid` for a platform
    that the release does not have.
    """
    archives = archives_of(codename)
    releases = [fetch_release(archive, mirrors, keyrings, now=now) for archive in archives]
    downloads = {
        platform: [_index_download(release, platform, mirrors) for release in releases]
        for platform in platforms
    }
    fetch_all([one for many in downloads.values() for one in many], store, on_progress)

    def load(platform: Platform) -> PackageIndex:
        contents = (_decompress(store(one.sha256), one.name) for one in downloads[platform])
        names = (archive.name for archive in archives)
        return PackageIndex(platform.debian, zip(names, contents, strict=True))

    # lzma releases the interpreter lock, so platforms are unpacked side by side.
    with ThreadPoolExecutor(max(len(platforms), 1)) as pool:
        indexes = dict(zip(platforms, pool.map(load, platforms), strict=True))
    return LoadedSuite(tuple(releases), indexes)


def _index_download(release: Release, platform: Platform, mirrors: Mirrors) -> Download:
    archive = release.archive
    path = f"{_COMPONENT}/binary-{platform.debian}/Packages.xz"
    if path not in release.indexes:
        raise SettingsInvalid(
            f"{archive} has no packages for {platform.debian}",
            hint="choose another platform or another Debian release",
        )
    sha256, size_bytes = release.indexes[path]
    paths = [path]
    if release.by_hash:
        paths.insert(0, f"{_COMPONENT}/binary-{platform.debian}/by-hash/SHA256/{sha256}")
    return Download(
        urls=tuple(
            f"{mirror}/dists/{archive.suite}/{path}"
            for mirror in mirrors[archive.name]
            for path in paths
        ),
        sha256=sha256,
        size_bytes=size_bytes,
        name=f"package index of {archive} ({platform.debian})",
        mirror_variable=MIRROR_VARIABLES[archive.name],
    )


def _decompress(path: Path, name: str) -> bytes:
    try:
        return lzma.decompress(path.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise ArchiveMalformed(f"{name} at '{path}' cannot be read: {error}") from None
