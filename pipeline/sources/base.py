"""What has to be known of somebody else's image to build on it: its Python and its libraries.

Read once, from the tars of its layers, when the base is locked; a build then trusts these
facts and needs the layers themselves only to hand them on.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.entries import Entry, Kind
from pipeline.errors import BaseUnusable
from pipeline.platforms import Platform
from pipeline.sources.elf import LinkFacts, LinkTree, scan

ACCOUNTS = ("etc/passwd", "etc/group")
_PYTHON = re.compile(r"(usr/local|usr)/bin/python(3\.[0-9]{1,3})")
_LIBRARY_FOLDER = re.compile(r"(usr/(local/)?)?lib[^/]*(/|$)")
_PYTHON_FOLDER = re.compile(r"/python[23]?(\.[0-9]+)?/")
_GLIBC = re.compile(r"GLIBC_([0-9]+)\.([0-9]+)")
# Python in /usr/bin of an image with dpkg is Debian's, which looks elsewhere than others'.
_DPKG = "var/lib/dpkg/"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """One platform's base image, as far as layers above it depend on it."""

    python: str
    """Minor version: `3.11`."""
    interpreter: str
    """Absolute path of the interpreter: `/usr/local/bin/python3.11`."""
    site_packages: str
    """Where it looks for packages, a relative path."""
    glibc: tuple[int, int]
    links: LinkFacts
    """Of its shared libraries alone."""
    accounts: Mapping[str, str]
    """The text of /etc/passwd and /etc/group, where it has them."""
    folders: tuple[str, ...]
    """Symbolic links to folders at its root, which no layer above may replace: `bin`, `lib`."""

    def to_json(self) -> dict[str, Any]:
        """Return the facts for the lock."""
        return {
            "python": self.python,
            "interpreter": self.interpreter,
            "site-packages": self.site_packages,
            "glibc": list(self.glibc),
            "accounts": dict(self.accounts),
            "folders": list(self.folders),
            "links": self.links.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BaseFacts:
        """Return what `to_json` wrote; raises `KeyError`, `TypeError` or `ValueError`."""
        major, minor = document["glibc"]
        return cls(
            python=document["python"],
            interpreter=document["interpreter"],
            site_packages=document["site-packages"],
            glibc=(int(major), int(minor)),
            links=LinkFacts.from_json(document["links"]),
            accounts=dict(document["accounts"]),
            folders=tuple(document["folders"]),
        )


@dataclass(slots=True)
class _Seen:
    """One layer, as far as it has been read."""

    accounts: dict[str, str]
    pythons: set[str]
    has_dpkg: bool
    removed: set[str]
    emptied: set[str]


def read_base(
    layers: Iterable[tarfile.TarFile], platform: Platform, *, search: Sequence[str], name: str
) -> BaseFacts:
    """Return the facts of a base image from the tars of its layers, the lowest first.

    `search` is its PATH; `name` is for messages.  Raises `BaseUnusable` for an image without
    glibc or Python 3 in /usr/local/bin or /usr/bin, and `tarfile.TarError`, `OSError` or
    `EOFError` for layers that cannot be read.
    """
    links: list[LinkFacts] = []
    accounts: dict[str, str] = {}
    pythons: set[str] = set()
    has_dpkg = False
    for tar in layers:
        seen = _Seen({}, set(), False, set(), set())
        facts = scan(_entries(tar, seen))

        def is_gone(path: str, seen: _Seen = seen) -> bool:
            parents = [path, *_parents(path)]
            return not seen.removed.isdisjoint(parents) or not seen.emptied.isdisjoint(parents[1:])

        links = [_without(lower, is_gone) for lower in links]
        links.append(facts)
        accounts = {p: text for p, text in accounts.items() if not is_gone(p)} | seen.accounts
        pythons = {path for path in pythons if not is_gone(path)} | seen.pythons
        has_dpkg = has_dpkg or seen.has_dpkg
    prefix, python = _python(pythons, search, name)
    site_packages = f"usr/local/lib/python{python}/site-packages"
    if prefix == "usr":
        site_packages = (
            f"usr/local/lib/python{python}/dist-packages"
            if has_dpkg
            else f"usr/lib/python{python}/site-packages"
        )
    merged = _merged(links)
    return BaseFacts(
        python=python,
        interpreter=f"/{prefix}/bin/python{python}",
        site_packages=site_packages,
        glibc=_glibc(merged, platform, name),
        links=_libraries(merged),
        accounts=accounts,
        folders=tuple(sorted(path for path in merged.symlinks if "/" not in path)),
    )


def _entries(tar: tarfile.TarFile, seen: _Seen) -> Iterator[Entry]:
    """Yield what matters of a layer's members, one at a time, and note the rest in `seen`."""
    for member in tar:
        path = posixpath.normpath(member.name.lstrip("/")) if member.name.strip("/.") else ""
        if not path or path.startswith("../"):
            continue
        seen.has_dpkg |= path.startswith(_DPKG)
        folder, file = posixpath.split(path)
        if file == _OPAQUE:
            seen.emptied.add(folder)
        elif file.startswith(_WHITEOUT):
            seen.removed.add(posixpath.join(folder, file.removeprefix(_WHITEOUT)))
        elif member.issym():
            if _PYTHON.fullmatch(path):
                seen.pythons.add(path)
            yield Entry(path, Kind.SYMLINK, target=member.linkname)
        elif member.islnk():
            yield Entry(path, Kind.HARDLINK, target=posixpath.normpath(member.linkname.lstrip("/")))
        elif member.isreg() and (content := tar.extractfile(member)) is not None:
            data = content.read()
            if _PYTHON.fullmatch(path):
                seen.pythons.add(path)
            if path in ACCOUNTS:
                seen.accounts[path] = data.decode("utf-8", "replace")
            yield Entry(path, mode=member.mode, content=data)


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _without(facts: LinkFacts, is_gone: Callable[[str], bool]) -> LinkFacts:
    return LinkFacts(
        files={path: elf for path, elf in facts.files.items() if not is_gone(path)},
        symlinks={path: target for path, target in facts.symlinks.items() if not is_gone(path)},
        hardlinks={p: target for p, target in facts.hardlinks.items() if not is_gone(p)},
        ld_so_conf={path: text for path, text in facts.ld_so_conf.items() if not is_gone(path)},
    )


def _merged(layers: Sequence[LinkFacts]) -> LinkFacts:
    """Return the layers as one: what an upper layer has takes the place of what is below."""
    merged = LinkFacts()
    for layer in layers:
        taken = {*layer.files, *layer.symlinks, *layer.hardlinks, *layer.plain, *layer.malformed}
        lower = _without(merged, taken.__contains__)
        merged = LinkFacts(
            files=lower.files | layer.files,
            symlinks=lower.symlinks | layer.symlinks,
            hardlinks=lower.hardlinks | layer.hardlinks,
            ld_so_conf=lower.ld_so_conf | layer.ld_so_conf,
        )
    return merged


def _libraries(facts: LinkFacts) -> LinkFacts:
    """Return what programs of upper layers may load or be started by, and nothing else."""

    def is_library(path: str) -> bool:
        return ".so" in posixpath.basename(path) and not _PYTHON_FOLDER.search(path)

    def is_link(path: str) -> bool:
        return is_library(path) or (
            _LIBRARY_FOLDER.match(path) is not None and not _PYTHON_FOLDER.search(path)
        )

    hardlinks = {path: target for path, target in facts.hardlinks.items() if is_library(path)}
    return LinkFacts(
        files={
            path: elf
            for path, elf in facts.files.items()
            if is_library(path) or path in hardlinks.values()
        },
        symlinks={
            path: target
            for path, target in facts.symlinks.items()
            if "/" not in path or is_link(path)
        },
        hardlinks=hardlinks,
        ld_so_conf=facts.ld_so_conf,
    )


def _python(found: Iterable[str], search: Sequence[str], name: str) -> tuple[str, str]:
    """Return the prefix and minor version of the Python that PATH finds first."""
    matches = [match for path in found if (match := _PYTHON.fullmatch(path))]
    for folder in search:
        versions = [m[2] for m in matches if f"/{m[1]}/bin" == folder.rstrip("/")]
        if versions:
            prefix = folder.strip("/").removesuffix("/bin")
            return prefix, max(versions, key=lambda version: int(version.partition(".")[2]))
    raise BaseUnusable(
        f"'{name}' has no python3.x in /usr/local/bin or /usr/bin",
        hint="choose a base with Python, or describe one with packages",
    )


def _glibc(facts: LinkFacts, platform: Platform, name: str) -> tuple[int, int]:
    """Return the newest GLIBC version that the image's libc provides."""
    tree = LinkTree([facts])
    provided = [
        (int(match[1]), int(match[2]))
        for path, elf in tree.files.items()
        if posixpath.basename(path) == "libc.so.6" and elf.machine == platform.elf_machine
        for version in elf.provided_versions
        if (match := _GLIBC.fullmatch(version))
    ]
    if not provided:
        raise BaseUnusable(
            f"'{name}' has no glibc for {platform}, and wheels are built for it",
            hint="choose a base that is made of Debian, Ubuntu, Fedora or the like, not of Alpine",
        )
    return max(provided)
