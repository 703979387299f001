"""What maintainer scripts would have done, audited by hand, since none of them runs.

A package with a `postinst` that is not listed here stops the build: somebody has to
read the script, and either reproduce its effect or say why there is nothing to do.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.entries import Entry, Kind, directory, symlink
from pipeline.errors import MaintainerScriptUnaudited


@dataclass(frozen=True, slots=True)
class Audit:
    """The effect of one package's postinst on a fresh system; paths are relative."""

    why: str
    """What the script does, and why this reproduces it."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Destination: a file of the package."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Link: what it points at."""
    alternatives: Mapping[str, str] = field(default_factory=dict)
    """update-alternatives(1): the generic name, and the program it stands for."""
    folders: Mapping[str, int] = field(default_factory=dict)
    """Folder: its mode."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """File: its content."""
    certificates: bool = False
    """Whether the bundle of CA certificates is made."""


_COMPILES = Audit("compiles its modules: the bytecode step does that for every module")
_ONLY_UPGRADES = Audit("only acts when an older version is replaced")

AUDITED: Mapping[str, Audit] = {
    "base-files": Audit(
        "makes folders, links and defaults of an empty system",
        copies={
            "root/.profile": "usr/share/base-files/dot.profile",
            "root/.bashrc": "usr/share/base-files/dot.bashrc",
            "etc/profile": "usr/share/base-files/profile",
        },
        links={
            "etc/dpkg/origins/default": "debian",
            "var/run": "/run",
            "var/lock": "/run/lock",
            "var/spool/mail": "../mail",
        },
        folders={
            "etc/opt": 0o755,
            "media": 0o755,
            "mnt": 0o755,
            "opt": 0o755,
            "run/lock": 0o1777,
            "srv": 0o755,
            "usr/local/bin": 0o755,
            "usr/local/etc": 0o755,
            "usr/local/include": 0o755,
            "usr/local/lib": 0o755,
            "usr/local/sbin": 0o755,
            "usr/local/share": 0o755,
            "var/mail": 0o2775,
            "var/opt": 0o755,
        },
    ),
    "base-passwd": Audit(
        "copies the master files of accounts, through debconf only when they differ",
        copies={
            "etc/group": "usr/share/base-passwd/group.master",
            "etc/passwd": "usr/share/base-passwd/passwd.master",
        },
    ),
    "bash": Audit("links /bin/sh when nothing else does: dash ships it"),
    "ca-certificates": Audit(
        "asks debconf, then update-ca-certificates writes the bundle",
        folders={"usr/local/share/ca-certificates": 0o755},
        certificates=True,
    ),
    "coreutils": Audit("links /usr/bin/touch to /bin/touch: one folder in a merged /usr"),
    "cpp": Audit(
        "registers /lib/cpp as an alternative", alternatives={"usr/lib/cpp": "/usr/bin/cpp"}
    ),
    "dash": Audit("diverts /bin/sh on systems where another shell owned it"),
    "debianutils": Audit(
        "copies the list of shells and registers which as an alternative",
        copies={"etc/shells": "usr/share/debianutils/shells"},
        alternatives={"usr/bin/which": "/usr/bin/which.debianutils"},
    ),
    "dpkg": Audit("moves files of its own that older versions misplaced"),
    "g++": Audit("registers c++ as an alternative", alternatives={"usr/bin/c++": "/usr/bin/g++"}),
    "gcc": Audit(
        "registers cc, c89 and c99 as alternatives",
        alternatives={
            "usr/bin/cc": "/usr/bin/gcc",
            "usr/bin/c89": "/usr/bin/c89-gcc",
            "usr/bin/c99": "/usr/bin/c99-gcc",
        },
    ),
    "git": _ONLY_UPGRADES,
    "gzip": Audit("removes a diversion that another package left behind"),
    "init-system-helpers": Audit("repairs what an old debootstrap diverted"),
    "less": Audit(
        "registers pager as an alternative", alternatives={"usr/bin/pager": "/usr/bin/less"}
    ),
    "libc-bin": Audit(
        "copies nsswitch.conf and runs ldconfig: ld.so.cache is written with the layer",
        copies={"etc/nsswitch.conf": "usr/share/libc-bin/nsswitch.conf"},
    ),
    "libc6": Audit("restarts services of a running system after an upgrade"),
    "libcrypt-dev": _ONLY_UPGRADES,
    "libgcrypt20": _ONLY_UPGRADES,
    "libgssapi-krb5-2": _ONLY_UPGRADES,
    "libpython3.[0-9][0-9]-minimal": Audit(
        "makes the folder for local modules and compiles: the bytecode step does that"
    ),
    "mawk": Audit(
        "registers awk and nawk as alternatives",
        alternatives={"usr/bin/awk": "/usr/bin/mawk", "usr/bin/nawk": "/usr/bin/mawk"},
    ),
    "netbase": Audit(
        "writes /etc/hosts, which the container engine mounts, and /etc/networks",
        texts={
            "etc/networks": "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n"
        },
    ),
    "libselinux1": Audit("removes stale caches, and asks a running systemd for a folder"),
    "perl": _ONLY_UPGRADES,
    "perl-base": _ONLY_UPGRADES,
    "procps": Audit("removes old files, and registers names that it no longer ships apart"),
    "python3.[0-9][0-9]": _COMPILES,
    "python3.[0-9][0-9]-minimal": _COMPILES,
    "readline-common": Audit(
        "copies the default key bindings",
        copies={"etc/inputrc": "usr/share/readline/inputrc"},
    ),
    "redis-server": Audit("gives redis.conf to its user, and starts a service of the machine"),
    "redis-tools": Audit("makes a user and folders for that service; the image has its own"),
    "tar": Audit(
        "registers rmt as an alternative", alternatives={"usr/sbin/rmt": "/usr/sbin/rmt-tar"}
    ),
    "tzdata": Audit(
        "asks debconf for a zone; UTC is the answer that nobody has to give",
        links={"etc/localtime": "/usr/share/zoneinfo/Etc/UTC"},
        texts={"etc/timezone": "Etc/UTC\n"},
    ),
    "usrmerge": Audit("merges /usr: the root file system is laid out merged"),
    "xz-utils": Audit(
        "registers the names of lzma as alternatives",
        alternatives={"usr/bin/lzma": "/usr/bin/xz", "usr/bin/unlzma": "/usr/bin/unxz"},
    ),
}


def audit_of(package: str) -> Audit | None:
    """Return the audit of a package's postinst, or None when nobody has read it."""
    for pattern, audit in AUDITED.items():
        if fnmatch.fnmatchcase(package, pattern):
            return audit
    return None


def effects(packages: Iterable[str], tree: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield the entries that the postinst scripts of `packages` would have made.

    `tree` holds the layer's entries by path.  A copy or an alternative whose source is
    left out of the image is left out too.  Raises `MaintainerScriptUnaudited`.
    """
    for package in packages:
        audit = audit_of(package)
        if audit is None:
            raise MaintainerScriptUnaudited(
                f"the Debian package '{package}' has a postinst script that nobody has audited",
                hint="read it (dpkg-deb --control), and list its effect in "
                "pipeline/sources/debian/postinst.py",
            )
        for entry in _effects(package, audit, tree):
            if entry.path not in tree:
                yield entry


def _effects(package: str, audit: Audit, tree: Mapping[str, Entry]) -> Iterator[Entry]:
    for path, mode in audit.folders.items():
        yield directory(path, mode, origin=package)
    for path, source in audit.copies.items():
        original = tree.get(source)
        if original is not None and original.kind is Kind.FILE:
            yield Entry(path, content=original.content, origin=package)
    for path, text in audit.texts.items():
        yield Entry(path, content=text.encode(), origin=package)
    for path, target in audit.links.items():
        yield symlink(path, target, origin=package)
    for path, program in audit.alternatives.items():
        if program.removeprefix("/") in tree:
            name = posixpath.basename(path)
            yield symlink(f"etc/alternatives/{name}", program, origin=package)
            yield symlink(path, f"/etc/alternatives/{name}", origin=package)
    if audit.certificates:
        yield from _certificates(package, tree)


def _certificates(package: str, tree: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield the bundle as update-ca-certificates(8) makes it, and OpenSSL's way to it."""
    parts = []
    for path in sorted(tree):
        is_file = tree[path].kind is Kind.FILE
        if is_file and path.startswith("usr/share/ca-certificates/") and path.endswith(".crt"):
            content = tree[path].read()
            parts.append(content if content.endswith(b"\n") else content + b"\n")
    bundle = "etc/ssl/certs/ca-certificates.crt"
    yield Entry(bundle, content=b"".join(parts), origin=package)
    # OpenSSL's default file; Debian's own default is a folder of hashed links, which
    # only the openssl program can make.
    yield symlink("usr/lib/ssl/cert.pem", f"/{bundle}", origin=package)
    yield symlink("usr/lib/ssl/certs", "/etc/ssl/certs", origin=package)
