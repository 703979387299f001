"""What this machine has, and what each missing thing would enable."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ToolMissing
from pipeline.process import Runner, run


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, a library or a place. `version` is empty when it is not here."""

    name: str
    version: str
    path: str
    needed: bool
    """Whether `invoke build` needs it."""
    enables: str
    advice: str
    """How to get it."""


_LIBRARIES: Mapping[str, tuple[bool, str]] = {
    "deflate": (True, "compressing layers"),
    "installer": (True, "reading wheels"),
    "urllib3": (True, "downloading Debian packages"),
    "pip": (True, "downloading wheels"),
    "uv": (True, "resolving requirements, build environments"),
    "packaging": (True, "comparing versions, choosing wheels"),
    "platformdirs": (True, "finding the cache"),
    "pyproject-hooks": (True, "building the project's wheel"),
    "pysequoia": (False, "'invoke lock': checking Debian's signatures"),
    "packageurl-python": (True, "the names of packages in provenance and SBOMs"),
    "jsonschema": (False, "'invoke compose.check': the Compose specification"),
    "ruamel.yaml": (False, "'invoke compose.check': reading Compose files"),
    "rich": (False, "progress bars on a terminal"),
    "nox": (False, "tests, lint and benchmarks: 'nox -s tests'"),
}
_PROGRAMS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "git": (
        ("git", "--version"),
        "labels with the revision, times of the commit",
        "install git",
    ),
    "docker": (
        ("docker", "--version"),
        "running images: docker load -i FILE",
        "install Docker Engine; building does not need it",
    ),
    "docker compose": (
        ("docker", "compose", "version"),
        "the stack: invoke compose.up",
        "install Docker's compose plugin, 2.20 or newer",
    ),
    "podman": (("podman", "--version"), "running images without a daemon", "install podman"),
    "skopeo": (
        ("skopeo", "--version"),
        "copying a layout to a registry",
        "install skopeo",
    ),
    "trivy": (
        ("trivy", "--version"),
        "'invoke scan', 'invoke sbom --check'",
        "install it from its vendor, 0.59 or newer",
    ),
    "cosign": (
        ("cosign", "version"),
        "'invoke sign', 'invoke verify --key'",
        "install it from its vendor, version 2",
    ),
    "syft": (("syft", "--version"), "'invoke sbom --check'", "install it from its vendor"),
}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def inspect(runner: Runner = run) -> tuple[Tool, ...]:
    """Return everything that the tasks can use, present or not."""
    return (*_this_machine(), *_libraries(), *_programs(runner), _emulation())


def _this_machine() -> tuple[Tool, ...]:
    from pipeline.cache import Cache, default_cache_folder
    from pipeline.report import megabytes

    cache = Cache(default_cache_folder())
    held = sum(part.size_bytes for part in cache.usage())
    return (
        Tool(
            "python",
            platform.python_version(),
            sys.executable,
            True,
            "running the tasks",
            "install Python 3.11 or newer",
        ),
        Tool("cache", megabytes(held), str(cache.folder), True, "building again quickly", ""),
    )


def _libraries() -> tuple[Tool, ...]:
    found = []
    for name, (needed, enables) in _LIBRARIES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        found.append(
            Tool(name, version, "", needed, enables, "pip install -r requirements/dev.txt")
        )
    return tuple(found)


def _programs(runner: Runner) -> tuple[Tool, ...]:
    return tuple(
        Tool(name, _version(argv, runner), shutil.which(argv[0]) or "", False, enables, advice)
        for name, (argv, enables, advice) in _PROGRAMS.items()
    )


def _version(argv: tuple[str, ...], runner: Runner) -> str:
    try:
        done = runner(argv)
    except (ToolMissing, OSError):
        return ""
    found = re.search(r"\d+(?:\.\d+)+[\w.+-]*", done.stdout)
    return found[0].rstrip(".") if done.ok and found else ""


def _emulation() -> Tool:
    handlers = sorted(path.name for path in _BINFMT.glob("qemu-*")) if _BINFMT.is_dir() else []
    return Tool(
        "emulation",
        ", ".join(handlers),
        str(_BINFMT) if handlers else "",
        False,
        "running images of other platforms; building them does not need it",
        "install qemu-user-static",
    )
