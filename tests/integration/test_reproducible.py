"""One description, one digest: whoever builds it, where, when and with what."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.building import (
    Checkout,
    commit_all,
    copy_repository,
    digests,
    seed_cache,
    whole_layout,
)

NOBODY_UID = 61234
MODULES = "deflate, installer, invoke, packaging, platformdirs, pyproject_hooks, urllib3"
# The pytest that asks has set these, or the user's shell.
CLEAN: Mapping[str, str | None] = {"PYTHONHASHSEED": None, "LC_ALL": None, "LANG": None, "TZ": None}


@dataclass(frozen=True, slots=True)
class Variation:
    """One thing about a machine that must not matter."""

    name: str
    environment: Mapping[str, str | None] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    umask: int = 0o022
    folder: str = "repository"
    times: str = "as copied"
    """Or `old`, `new`, `random`."""
    order: str = "as copied"
    """Or `reversed`, `random`: the order in which files are created in their folders."""
    uid: int | None = None
    python: str = sys.executable
    quick: bool = False
    """Whether it is built where the full matrix is not."""


VARIATIONS = (
    Variation("nothing", quick=True),
    Variation("a second time"),
    Variation(
        "everything that a user may set",
        environment={"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        umask=0o077,
        folder="another place/mit Leerzeichen und Ümläuten",
        times="random",
        order="reversed",
        quick=True,
    ),
    Variation("umask 077", umask=0o077),
    Variation("umask 000", umask=0o000),
    Variation("TZ=Pacific/Kiritimati", environment={"TZ": "Pacific/Kiritimati"}),
    Variation("TZ=America/St_Johns", environment={"TZ": "America/St_Johns"}),
    Variation("LC_ALL=C", environment={"LC_ALL": "C"}),
    Variation("LC_ALL=tr_TR.UTF-8", environment={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    Variation("PYTHONHASHSEED=0", environment={"PYTHONHASHSEED": "0"}),
    Variation("PYTHONHASHSEED=4294967295", environment={"PYTHONHASHSEED": "4294967295"}),
    Variation("PYTHONOPTIMIZE=2", environment={"PYTHONOPTIMIZE": "2"}),
    Variation(
        "a locale without UTF-8",
        environment={"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
        order="random",
        quick=True,
    ),
    Variation("a deep folder", folder="/".join(["deep"] * 20)),
    Variation("a folder with spaces", folder="with spaces and ünïcode"),
    Variation("files from 1990", times="old"),
    Variation("files from tomorrow", times="new"),
    Variation("files of any time", times="random"),
    Variation("files created in reverse", order="reversed"),
    Variation("files created in any order", order="random"),
    Variation("one core", prefix=("taskset", "--cpu-list", "0")),
    Variation(
        "another user",
        uid=NOBODY_UID,
        umask=0o077,
        environment={"USER": "somebody", "LOGNAME": "somebody"},
    ),
    Variation("another user, in a user namespace", prefix=("unshare", "--user")),
)


def other_pythons() -> Iterator[Variation]:
    """Yield a variation for each Python of another version here that could run the tasks.

    They are looked for on PATH, and first in the folders of `ACCELERAPP_TEST_PYTHONS`.
    """
    folders = os.environ.get("ACCELERAPP_TEST_PYTHONS", "").split(os.pathsep)
    found: dict[str, str] = {}
    for minor in range(11, 16):
        for folder in (*filter(None, folders), None):
            python = shutil.which(f"python3.{minor}", path=folder)
            if python and _imports(python):
                found.setdefault(_version(python), python)
    found.pop(_version(sys.executable), None)
    for version, path in sorted(found.items()):
        yield Variation(f"run by Python {version}", python=path)


def _imports(python: str) -> bool:
    argv = (python, "-c", f"import pip, {MODULES}")
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _version(python: str) -> str:
    done = subprocess.run((python, "-V"), capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


@pytest.fixture(scope="module")
def origin(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a repository of one commit, and a cache with every download."""
    repository.build("--platform", "all", "--output", tmp_path_factory.mktemp("warm"))
    copy = copy_repository(tmp_path_factory.mktemp("origin") / "repository")
    return Checkout(commit_all(copy), repository.cache)


def lay_out(source: Path, destination: Path, variation: Variation) -> None:
    """Copy `source` in the order, and with the file times, that the variation asks for."""
    dice = random.Random(variation.name)
    paths = sorted(path for path in source.rglob("*") if not path.is_dir())
    if variation.order == "reversed":
        paths.reverse()
    elif variation.order == "random":
        dice.shuffle(paths)
    for path in paths:
        target = destination / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    now_s = time.time()
    moments = {
        "old": lambda: 631_152_000.0,
        "new": lambda: now_s + 86_400,
        "random": lambda: dice.uniform(0, now_s),
    }
    if variation.times != "as copied":
        for path in paths:
            target = destination / path.relative_to(source)
            moment_s = moments[variation.times]()
            os.utime(target, (moment_s, moment_s), follow_symlinks=False)


def may_run_as(uid: int, python: str) -> bool:
    """Return whether `python` starts, and finds the tasks' modules, for another user."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    argv = (*as_user(uid), python, "-c", f"import {MODULES}")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, uid, uid)
        done = subprocess.run(argv, cwd="/", capture_output=True, check=False)
        enter = (*as_user(uid), "test", "-w", folder)
        entered = subprocess.run(enter, check=False)
    return done.returncode == entered.returncode == 0


def as_user(uid: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")


def build_varied(origin: Checkout, variation: Variation, folder: Path) -> Any:
    """Build production for every platform as the variation says; return the report."""
    folder.chmod(0o755)
    checkout = folder / variation.folder
    lay_out(origin.folder, checkout, variation)
    home = folder / "home"
    home.mkdir()
    # Own copies where another user must own them, and where the file system cannot link.
    cache = seed_cache(origin.cache, folder / "cache", copy=variation.uid is not None)
    prefix = variation.prefix
    environment = {**CLEAN, **variation.environment}
    if variation.uid is not None:
        prefix = (*as_user(variation.uid), *prefix)
        environment["HOME"] = str(home)
        environment["TMPDIR"] = str(home)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, variation.uid, variation.uid, follow_symlinks=False)
    varied = Checkout(
        checkout,
        cache,
        python=variation.python,
        # The shell sets what only a process can set for its children, and steps aside.
        prefix=("sh", "-c", f'umask {variation.umask:04o} && exec "$@"', "sh", *prefix),
        environment=environment,
    )
    return varied.build("--platform", "all", "--output", folder / "layouts")


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that other users may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="reproducible-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def matrix(origin: Checkout, variations: tuple[Variation, ...], folder: Path) -> None:
    """Build every variation, print the table, and compare the digests."""
    found: dict[str, list[str]] = {}
    width = max(len(variation.name) for variation in variations)
    print()
    for number, variation in enumerate(variations):
        place = folder / f"{number:02}"
        place.mkdir()
        begin_s = time.monotonic()
        report = build_varied(origin, variation, place)
        seconds = time.monotonic() - begin_s
        parts = report["images"][0]["platforms"]
        assert not any(layer["reused"] for part in parts for layer in part["layers"])
        digest = digests(report)["production"]
        assert whole_layout(place / "layouts" / "production") == digest
        print(f"{variation.name:<{width}}  {seconds:5.1f} s  {digest}", flush=True)
        found.setdefault(digest, []).append(variation.name)
        shutil.rmtree(place)
    assert len(found) == 1, found


def possible(variations: tuple[Variation, ...]) -> tuple[Variation, ...]:
    """Leave out, and say so, what this machine cannot do."""
    kept = []
    for variation in variations:
        program = next(iter(variation.prefix), "sh")
        works = shutil.which(program) is not None
        if variation.uid is not None:
            works = works and may_run_as(variation.uid, variation.python)
        elif program == "unshare":
            argv = (*variation.prefix, "true")
            works = works and subprocess.run(argv, check=False, capture_output=True).returncode == 0
        if works:
            kept.append(variation)
        else:
            print(f"left out, as this machine cannot do it: {variation.name}")
    return tuple(kept)


def test_three_different_builds_have_one_digest(origin: Checkout, place: Path) -> None:
    quick = tuple(variation for variation in VARIATIONS if variation.quick)
    assert len(quick) == 3
    matrix(origin, quick, place)


@pytest.mark.slow
def test_the_whole_matrix_has_one_digest(origin: Checkout, place: Path) -> None:
    variations = possible((*VARIATIONS, *other_pythons()))
    assert len(variations) >= 20
    matrix(origin, variations, place)


@pytest.mark.slow
def test_each_target_is_the_same_alone_and_in_company(
    repository: Checkout, layouts: Path, tmp_path: Path
) -> None:
    for target in sorted(path.name for path in layouts.iterdir() if path.is_dir()):
        report = repository.build("--target", target, "--platform", "all", "--output", tmp_path)
        assert digests(report)[target] == whole_layout(layouts / target)
