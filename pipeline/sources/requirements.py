"""Python requirements resolved for a target that is not this machine, and their wheels.

uv resolves (it evaluates markers for the target), pip downloads (it knows each
team's indexes, credentials, proxies and certificates).  Both are told to touch
wheels only: a source distribution would be built for, and run on, the wrong machine.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.atomic import file_sha256
from pipeline.cache import Cache
from pipeline.errors import (
    DownloadCorrupt,
    NetworkUnavailable,
    PipelineError,
    ResolutionFailed,
    ToolMissing,
    WheelMissing,
)
from pipeline.platforms import Platform
from pipeline.process import Completed, Runner, run
from pipeline.settings import Suite

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """One wheel for one target; `sha256` is 64 hex digits."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int


def uv_program() -> str:
    """Return the path of uv; raises `ToolMissing`."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise ToolMissing(
            "uv, which resolves Python requirements, is not installed",
            hint="pip install -r requirements/dev.txt",
        )
    return found


def index_environment(runner: Runner = run) -> Mapping[str, str]:
    """Return the environment that makes uv use the indexes that pip is configured with.

    What is set for uv itself goes first.  Folders of this machine are left out: a lock
    holds for others too, and they often have some wheels of a release and not the rest.
    """
    options = pip_options(runner)
    environment = {}
    for option, variable in (("index-url", "UV_DEFAULT_INDEX"), ("extra-index-url", "UV_INDEX")):
        urls = [url for url in options.get(option, "").split() if "://" in url]
        remote = " ".join(url for url in urls if not url.startswith("file:"))
        if remote and variable not in os.environ:
            environment[variable] = remote
    if "UV_INDEX" in environment:
        # pip compares versions over all of its indexes.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def pip_options(runner: Runner = run) -> Mapping[str, str]:
    """Return pip's options on this machine, by name: its files, its environment over them."""
    done = runner((sys.executable, "-m", "pip", "config", "list"))
    options: dict[str, str] = {}
    # "global.", then "install." as pip prints them; ":env:." it prints first, and it wins.
    lines = sorted(done.stdout.splitlines(), key=lambda line: line.startswith(":env:"))
    for line in lines if done.ok else ():
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = " ".join(value.strip("'\"").replace("\\n", " ").split())
    return options


def required(requires: Iterable[str], suite: Suite, platform: Platform) -> tuple[Requirement, ...]:
    """Return those of a wheel's `Requires-Dist` that hold in an image, without extras."""
    from packaging.requirements import Requirement

    environment = {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": f"{suite.python}.0",
        "os_name": "posix",
        "platform_machine": platform.kernel,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{suite.python}.0",
        "python_version": suite.python,
        "sys_platform": "linux",
    }
    parsed = (Requirement(text) for text in requires)
    return tuple(
        requirement
        for requirement in parsed
        if requirement.marker is None or requirement.marker.evaluate(environment)
    )


def compile_requirements(
    source: Path, output: Path, *, python: str, root: Path, upgrade: bool, runner: Runner = run
) -> None:
    """Write a requirements file with hashes that holds on every platform and newer Python.

    `source` is a `.in` file or a pyproject.toml, `python` the oldest minor version.
    Pins that `output` has are kept unless `upgrade`.  Raises as `resolve_wheels` does.
    """
    argv = [
        uv_program(), "pip", "compile", "--quiet", "--universal", "--generate-hashes",
        "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--annotation-style=line",
        "--python-version", python, "--output-file", str(output),
        *(("--upgrade",) if upgrade else ()), str(source),
    ]  # fmt: skip
    done = runner(tuple(argv), cwd=root, env=index_environment(runner))
    if not done.ok:
        raise resolution_error(done, f"{source.name}", "")


def resolve_wheels(
    requirements: str,
    suite: Suite,
    platform: Platform,
    *,
    what: str,
    runner: Runner = run,
) -> tuple[LockedWheel, ...]:
    """Return the wheels that satisfy `requirements` (the text of a requirements file).

    Hashes in the text are binding.  `what` names the text in messages.  Raises
    `WheelMissing`, `ResolutionFailed` or `NetworkUnavailable`.
    """
    minor = min(suite.glibc[1], 40)  # The newest that uv knows; newer ones include it.
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "requirements.txt"
        source.write_text(requirements, encoding="utf-8")
        output = Path(folder) / "pylock.toml"
        argv = (
            uv_program(), "pip", "compile", "--quiet", "--format", "pylock.toml",
            "--only-binary", ":all:", "--python-version", suite.python,
            "--python-platform", f"{platform.kernel}-manylinux_{suite.glibc[0]}_{minor}",
            "--output-file", str(output), str(source),
        )  # fmt: skip
        done = runner(argv, env=index_environment(runner))
        if not done.ok:
            raise resolution_error(done, what, f" on {platform} with Python {suite.python}")
        document = tomllib.loads(output.read_text(encoding="utf-8"))
    # uv compares hashes when it installs, and this only resolves.
    hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements))
    wheels = []
    for package in document.get("packages", ()):
        listed = [w for w in package.get("wheels", ()) if w["hashes"].get("sha256") in hashes]
        if hashes and package.get("wheels") and not listed:
            raise ResolutionFailed(
                f"no wheel of '{package['name']} {package['version']}' that the index has is "
                f"listed with its hash in {what}",
                hint="run 'invoke lock' and review the change, or use another index",
            )
        candidates = listed if hashes else package.get("wheels", ())
        wheels.append(_best_wheel(package, candidates, suite, platform))
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def _best_wheel(
    package: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    suite: Suite,
    platform: Platform,
) -> LockedWheel:
    from packaging.tags import compatible_tags, cpython_tags
    from packaging.utils import parse_wheel_filename

    python = tuple(int(part) for part in suite.python.split("."))
    platforms = platform.wheel_platform_tags(suite.glibc)
    interpreter = f"cp{suite.python.replace('.', '')}"
    tags = [
        *cpython_tags(python, platforms=platforms),
        *compatible_tags(python, interpreter=interpreter, platforms=platforms),
    ]
    rank = {tag: i for i, tag in enumerate(tags)}
    best: tuple[tuple[int, Any], Mapping[str, Any], str] | None = None
    for wheel in candidates:
        filename = wheel.get("name") or str(wheel.get("url") or wheel["path"]).rpartition("/")[2]
        filename = filename.replace("%2B", "+")
        _, _, build, wheel_tags = parse_wheel_filename(filename)
        ranks = [rank[tag] for tag in wheel_tags if tag in rank]
        # The best tag, then the highest build number.
        key = (-min(ranks, default=0), build)
        if ranks and (best is None or key > best[0]):
            best = (key, wheel, filename)
    if best is None:
        raise _no_wheel(f"{package['name']} {package['version']}", f" on {platform}")
    _, wheel, filename = best
    return LockedWheel(
        name=package["name"],
        version=package["version"],
        filename=filename,
        sha256=wheel["hashes"]["sha256"],
        size_bytes=int(wheel.get("size") or 0),
    )


def download_wheels(
    wheels: Sequence[LockedWheel],
    suite: Suite,
    platform: Platform,
    cache: Cache,
    *,
    runner: Runner = run,
) -> None:
    """Put the wheels that the cache lacks into it, each checked against its digest.

    Raises `DownloadCorrupt`, `NetworkUnavailable`, `WheelMissing` or `ToolMissing`.
    """
    missing = [w for w in wheels if cache.verified(w.sha256) is None]
    if not missing:
        return
    names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in missing)
    with tempfile.TemporaryDirectory(dir=cache.temporary_folder()) as name:
        folder = Path(name)
        listing = folder / "requirements.txt"
        listing.write_text(
            "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in missing),
            encoding="utf-8",
        )
        tags = [
            part
            for tag in (*platform.wheel_platform_tags(suite.glibc), "any")
            for part in ("--platform", tag)
        ]
        interpreter = f"cp{suite.python.replace('.', '')}"
        argv = (
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input",
            "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes",
            *tags, "--python-version", suite.python, "--implementation", "cp",
            "--abi", interpreter, "--abi", "abi3", "--abi", "none",
            "--dest", str(folder), "--requirement", str(listing),
        )  # fmt: skip
        done = runner(argv)
        if not done.ok:
            raise _download_failed(done, names)
        for wheel in missing:
            path = folder / wheel.filename
            if not path.exists() or file_sha256(path) != wheel.sha256:
                raise DownloadCorrupt(
                    f"the index did not give {wheel.filename} with the locked digest",
                    hint="run 'invoke lock' if the release was replaced",
                )
            with cache.new_blob() as blob, path.open("rb") as source:
                shutil.copyfileobj(source, blob.file)
                blob.keep(wheel.sha256)


def _download_failed(done: Completed, names: str) -> PipelineError:
    text = done.stderr
    if "No module named pip" in text:
        return ToolMissing(
            "pip, which downloads wheels, is not part of this environment",
            hint=f"run '{sys.executable} -m ensurepip'",
        )
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in text:
        return DownloadCorrupt(
            f"a download does not have its locked digest (one of: {names})",
            hint="try again; if it stays so, the index is not to be trusted",
        )
    network = (
        r"Connection|Retrying|timed out|Name or service|resolution|ProxyError|SSLError|unreachable"
    )
    if re.search(network, text) or "from versions: none" in text:
        return NetworkUnavailable(
            f"these wheels are neither cached nor reachable: {names}",
            hint="connect to a package index, or set PIP_INDEX_URL to a mirror",
        )
    return NetworkUnavailable(
        f"these wheels cannot be downloaded: {names} ({_last_line(text)})",
        hint="see 'pip config list' for the index that was asked",
    )


def resolution_error(done: Completed, what: str, where: str) -> PipelineError:
    """Return the error that uv's explanation means.

    `what` names what was resolved, `where` adds for which target: " on linux/arm64".
    """
    text = " ".join(done.stderr.split())
    for pattern in (
        r"[Ww]heels are required for `([^`]+)`",
        r"all versions of (\S+) have no usable wheels",
        r"(?:Because|and) (?:only )?(\S+) (?:has|have) no (?:usable )?wheels",
    ):
        if found := re.search(pattern, text):
            return _no_wheel(re.split(r"[<>=!~,;\[]", found[1])[0], where)
    if re.search(r"Failed to fetch|client error|the network was disabled", text):
        return NetworkUnavailable(
            f"{what} cannot be resolved: the package index is not reachable",
            hint="connect to it, or configure a mirror for pip or uv",
        )
    if found := re.search(r"(\S+) was not found in the package registry", text):
        return ResolutionFailed(
            f"{what} requires '{found[1]}', which the package index does not have",
            hint="correct its name, or configure the index that has it",
        )
    reason = re.search(r"cause: (.*?)(?: hint:|$)", text)
    return ResolutionFailed(
        f"{what} cannot be resolved{where}: {reason[1] if reason else _last_line(done.stderr)}",
        hint="change the requirements",
    )


def _no_wheel(package: str, where: str) -> WheelMissing:
    return WheelMissing(
        f"'{package}' has no wheel that fits{where}",
        hint="require a version that has one, replace it, or build a wheel for the target "
        "and give pip and uv its folder (PIP_FIND_LINKS, UV_FIND_LINKS)",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
