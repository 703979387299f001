"""What this machine has, and what each missing thing would enable."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import tools
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
    "jsonschema": (False, "'invoke compose.check', 'invoke k8s.check': schemas"),
    "kubernetes-validate": (False, "'invoke k8s.check': the schemas of Kubernetes"),
    "ruamel.yaml": (False, "reading Compose files, charts and Kubernetes objects"),
    "rich": (False, "progress bars on a terminal"),
    "nox": (False, "tests, lint and benchmarks: 'nox -s tests'"),
}
_ELSEWHERE = {"kubernetes-validate": "kubernetes"}
"""The requirements of those that are not among the tasks' own."""
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
        advice = f"pip install -r requirements/{_ELSEWHERE.get(name, 'dev')}.txt"
        found.append(Tool(name, version, "", needed, enables, advice))
    return tuple(found)


def _programs(runner: Runner) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            found.program.name,
            found.version,
            found.path,
            False,
            found.program.enables,
            found.program.advice,
        )
        for found in tools.inspect(runner=runner)
    )


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
