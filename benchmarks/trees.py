"""The two commits that are compared, each in a folder of its own that does not stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import process
from pipeline.revision import git

_CLONE_TIMEOUT_S = 300.0
# A git hook's variables speak of the repository that runs the hook.
HOOK_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)


class Refused(Exception):
    """Commits that cannot be compared; one line says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One commit, checked out, with a cache and outputs of its own below `home`."""

    name: str
    commit: str
    home: Path

    @property
    def code(self) -> Path:
        """The work tree."""
        return self.home / "tree"

    @property
    def cache(self) -> Path:
        """The builds' cache."""
        return self.home / "cache"

    @property
    def output(self) -> Path:
        """Where `accelerapp` writes to."""
        return self.home / "output"

    @property
    def description(self) -> Path:
        """The device that is generated: the same file for both trees."""
        return self.home.parent / "device.yaml"


def resolve(root: Path, reference: str) -> tuple[str, str]:
    """Return the commits to compare: where HEAD left `reference`, and HEAD.

    What `reference` has got since then is no part of the change. Raises `Refused`.
    """
    if shutil.which("git") is None:
        raise Refused("git is not installed, and compare checks commits out with it")
    top = git(root, "rev-parse", "--show-toplevel").rstrip("\n")
    if not top or Path(top).resolve() != root.resolve():
        raise Refused(f"{root} is not a git work tree; compare needs one, with its history")
    shallow = git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    hint = "; this clone is shallow: 'git fetch --unshallow', or fetch-depth: 0" if shallow else ""
    head = _commit(root, "HEAD")
    if not head:
        raise Refused("HEAD is no commit yet; commit the change first")
    named = _commit(root, reference)
    if not named:
        hint = hint or "; name a branch, a tag or a commit that this clone has"
        raise Refused(f"--base {reference!r} is no commit of {root}{hint}")
    base = git(root, "merge-base", named, head).strip()
    if not base:
        raise Refused(f"--base {reference!r} and HEAD have no history in common{hint}")
    return base, head


def _commit(root: Path, reference: str) -> str:
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    return git(root, *arguments).strip()


@contextlib.contextmanager
def checked_out(root: Path, base: str, head: str) -> Iterator[tuple[Tree, Tree]]:
    """Yield both trees; afterwards, whatever has happened, nothing of them is left.

    They borrow the objects of the repository at `root`, which itself is not written to.
    Raises `Refused`.
    """
    with _scratch() as folder:
        trees = (Tree("base", base, folder / "base"), Tree("head", head, folder / "head"))
        for tree in trees:
            tree.home.mkdir()
            _check_out(root, tree)
        yield trees


def _check_out(root: Path, tree: Tree) -> None:
    quiet = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
    clone = ("clone", "--quiet", "--shared", "--no-checkout", "--", str(root), str(tree.code))
    for arguments in (
        clone,
        ("-C", str(tree.code), "checkout", "--quiet", "--detach", tree.commit),
    ):
        argv = (*without(*HOOK_VARIABLES), "git", *quiet, *arguments)
        try:
            done = process.run(argv, timeout_s=_CLONE_TIMEOUT_S)
        except TimeoutError as error:
            raise Refused(f"{tree.commit[:12]} cannot be checked out: {error}") from None
        if not done.ok:
            raise Refused(f"{tree.commit[:12]} cannot be checked out: {done.reason}")


def without(*prefixes: str) -> tuple[str, ...]:
    """Return the beginning of a command: the rest of it runs without variables named so."""
    names = sorted(name for name in os.environ if name.startswith(prefixes))
    return ("env", *(part for name in names for part in ("-u", name)))


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = tempfile.TemporaryDirectory(prefix="accelerapp-compare-")
    try:
        yield Path(folder.name).resolve()
    finally:
        # Who presses Ctrl-C twice does not want a gigabyte to stay.
        with _undisturbed():
            folder.cleanup()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in kept.items():
            signal.signal(one, handler)
