"""Both engines give the same images, and where they do not, it is known why.

Whatever differs and is not listed fails, and so does what is listed and does not differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pipeline.contents import ImageContents, read_contents
from pipeline.oci.tree import Node
from pipeline.platforms import Platform
from tests.integration.building import PLATFORMS, PYTHON_TARGETS, SETTINGS, TARGETS

HOST = Platform.host()
# Emulation takes minutes for every package that is installed: one image, the one that is shipped.
BUILDS = [
    *((target, HOST) for target in TARGETS),
    *(("production", platform) for platform in PLATFORMS if platform is not HOST),
]
SITE = SETTINGS.suite().site_packages
HOMES = tuple(
    user.home.strip("/")
    for user in (SETTINGS.merged(target).user for target in TARGETS)
    if user is not None
)
APPLICATION = ("usr/local", *dict.fromkeys((*HOMES, "app")))
"""Where everything is the application's; a difference there needs an entry of its own."""


class Side(Enum):
    """Which image has a path."""

    DAEMONLESS = "without Docker only"
    DOCKER = "with Docker only"
    BOTH = "otherwise with Docker"


@dataclass(frozen=True, slots=True)
class Difference:
    """Paths that differ, and why they may."""

    side: Side
    globs: tuple[str, ...]
    """`*` also matches a slash."""
    reason: str
    targets: tuple[str, ...] = TARGETS
    only: tuple[str, ...] = ("sha256", "size_bytes")
    """Attributes that may differ where both have the path."""
    always: bool = True
    """Whether it is a mistake of this list when nothing differs."""

    def covers(self, target: str, side: Side, path: str, attributes: frozenset[str]) -> bool:
        """Return whether this is why `path` differs."""
        if target not in self.targets or side is not self.side or attributes - {*self.only}:
            return False
        return any(
            fnmatchcase(path, glob) and (_is_application(glob) or not _is_application(path))
            for glob in self.globs
        )


_WITH_WHEELS = tuple(t for t in TARGETS if any(i.requirements for i in SETTINGS.chain(t)))

DIFFERENCES = (
    Difference(
        Side.DOCKER,
        (
            "bin/*",
            "sbin/*",
            "lib/*",
            "usr/bin/*",
            "usr/sbin/*",
            "usr/lib/*",
            "usr/libexec/*",
            "usr/include*",
            "etc/*",
            "var/lib/*",
            "var/cache/*",
            "var/log/*",
        ),
        "Debian's image has its essential packages, apt and dpkg, and what their scripts made",
    ),
    Difference(
        Side.DOCKER,
        ("usr/share/*",),
        "manuals, translations and documentation stay in a package that dpkg installs",
    ),
    Difference(
        Side.DOCKER,
        (
            "boot",
            "dev*",
            "home",
            "media",
            "mnt",
            "opt",
            "proc",
            "root*",
            "run*",
            "srv",
            "sys",
            "usr/games",
            "usr/src",
            "usr/lib*",
            "var/backups",
            "var/local",
            "var/opt",
            "var/spool*",
            "var/tmp",
            "tmp*",
        ),
        "folders of base-files, and what is left in them",
    ),
    Difference(
        Side.DOCKER,
        (
            "usr/local/games",
            "usr/local/man",
            "usr/local/share/man",
            "usr/local/src",
            "usr/local/etc",
            "usr/local/include",
            "usr/local/sbin",
        ),
        "base-files' script makes folders that nothing uses",
    ),
    Difference(
        Side.DOCKER,
        (f"usr/local/lib/{SITE.split('/')[-2]}", SITE),
        "python3's script makes the folder that wheels go to",
        targets=tuple(target for target in PYTHON_TARGETS if target not in _WITH_WHEELS),
    ),
    Difference(
        Side.DOCKER,
        (f"{SITE}/*.dist-info/REQUESTED",),
        "pip notes that a package was asked for by name",
        targets=_WITH_WHEELS,
    ),
    Difference(
        Side.BOTH,
        (f"{SITE}/*.dist-info/INSTALLER", f"{SITE}/*.dist-info/RECORD"),
        "pip is who installed, and lists bytecode and its own scripts",
        targets=_WITH_WHEELS,
    ),
    Difference(
        Side.BOTH,
        ("usr/local/bin/*",),
        "pip writes console scripts that do the same in other words",
        targets=_WITH_WHEELS,
    ),
    Difference(
        Side.BOTH,
        (f"{SITE}/redis/__pycache__/cluster.*.pyc",),
        "marshal writes a constant once or twice, by what else the compiling process holds",
        targets=_WITH_WHEELS,
        always=False,
    ),
    Difference(
        Side.BOTH,
        ("usr/lib/python3*.pyc",),
        "Debian's scripts compile the standard library with times instead of hashes",
        targets=PYTHON_TARGETS,
    ),
    Difference(
        Side.BOTH,
        ("etc/group", "etc/passwd", "etc/networks"),
        "adduser and base-files' scripts order and space them in another way",
    ),
    Difference(Side.BOTH, ("etc/ld.so.cache",), "it lists the libraries of more packages"),
    Difference(
        Side.BOTH,
        ("etc/shells",),
        "add-shell lists each shell by two paths",
        targets=("development",),
    ),
    Difference(
        Side.BOTH,
        ("var/lock", "var/run"),
        "links below /run, which is not there without an init",
        only=("kind", "mode", "target"),
    ),
    Difference(Side.BOTH, ("var/mail",), "belongs to the group mail", only=("gid",)),
    Difference(
        Side.DAEMONLESS,
        ("var/lib/dpkg/status.d*",),
        "without dpkg its database is a file a package, which scanners read as well",
    ),
)


def _is_application(path: str) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in APPLICATION)


def differing(
    daemonless: Mapping[str, Node], docker: Mapping[str, Node]
) -> Iterator[tuple[Side, str, frozenset[str]]]:
    """Yield each path that differs, on which side, and in which attributes."""
    for path in sorted({*daemonless, *docker}):
        one, other = daemonless.get(path), docker.get(path)
        if one is None or other is None:
            yield (Side.DOCKER if one is None else Side.DAEMONLESS), path, frozenset()
        elif one != other:
            names = Node.__slots__
            yield (
                Side.BOTH,
                path,
                frozenset(name for name in names if getattr(one, name) != getattr(other, name)),
            )


@dataclass(frozen=True, slots=True)
class Pair:
    """One image by both engines."""

    target: str
    platform: Platform
    daemonless: ImageContents
    docker: ImageContents


@pytest.fixture(
    scope="module", params=BUILDS, ids=lambda build: f"{build[0]}-{build[1].architecture}"
)
def pair(
    request: pytest.FixtureRequest,
    layouts: Path,
    built_by_docker: Callable[[str, Platform], Path],
) -> Pair:
    """Return an image by both engines, read."""
    target, platform = request.param
    return Pair(
        target,
        platform,
        read_contents(layouts / target, platform),
        read_contents(built_by_docker(target, platform), platform),
    )


def test_containers_start_in_the_same_way(pair: Pair) -> None:
    # User, environment, command, entrypoint, ports, volumes, labels, health check, stop signal.
    assert pair.docker.config == pair.daemonless.config
    assert pair.docker.platform is pair.daemonless.platform is pair.platform


def test_python_packages_are_the_same(pair: Pair) -> None:
    assert pair.docker.python_packages == pair.daemonless.python_packages
    if pair.target in _WITH_WHEELS:
        assert pair.docker.python_packages


def test_debian_packages_have_the_same_versions(pair: Pair) -> None:
    ours, theirs = pair.daemonless.packages, pair.docker.packages
    assert {name: theirs.get(name) for name in ours} == dict(ours)
    assert "apt" not in ours
    assert "apt" in theirs


def test_files_differ_only_where_it_is_known_why(pair: Pair) -> None:
    unknown = []
    seen: set[Difference] = set()
    for side, path, attributes in differing(pair.daemonless.files, pair.docker.files):
        why = [d for d in DIFFERENCES if d.covers(pair.target, side, path, attributes)]
        seen.update(why[:1])
        if not why:
            unknown.append(f"{side.value}: {path} {' '.join(sorted(attributes))}")
    assert not unknown, f"{len(unknown)} differences are not listed:\n" + "\n".join(unknown[:40])
    gone = [
        d.reason for d in DIFFERENCES if d.always and pair.target in d.targets and d not in seen
    ]
    assert not gone, f"listed, and does not differ any more: {gone}"


OWN = (f"{SITE}/accelerapp/", f"{SITE}/monitoring/", "app", "etc/accelerapp/")


def test_the_application_s_files_are_the_same_to_the_byte(pair: Pair) -> None:
    # Not a matter of the list above: what is deployed is the same, bytecode and all.
    ours, theirs = (
        {path: node for path, node in contents.files.items() if path.startswith(OWN)}
        for contents in (pair.daemonless, pair.docker)
    )
    assert theirs == ours
    assert ours or pair.target == "base"


def test_docker_costs_more(pair: Pair) -> None:
    # Why there is a daemonless engine; also, that the sizes are those of what was compared.
    assert pair.docker.size_bytes > pair.daemonless.size_bytes
