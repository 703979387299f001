"""The git repository of a release: what is asked of it, and the one step that changes it.

A commit and its tag are made as objects that nothing names; files and index are written; then
both references move in one transaction.  Whatever fails or interrupts before that leaves
everything as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.errors import ReleaseRefused, ToolMissing
from pipeline.process import Completed, Runner
from pipeline.release.version import Version
from pipeline.revision import DEFAULT_BRANCH, git

REMOTE = "origin"


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree, and the door to git."""

    root: Path
    runner: Runner

    def ask(self, *arguments: str) -> str:
        """Return what git prints, stripped; empty where it does not answer."""
        return git(self.root, *arguments).strip()

    def do(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> str:
        """Return what git prints; raises `ReleaseRefused` with what it says when it fails."""
        done = self._run(("git", *arguments), env, stdin)
        if not done.ok:
            raise ReleaseRefused(f"git {arguments[0]} failed: {done.reason}")
        return done.stdout.strip()

    def _run(
        self,
        argv: tuple[str, ...],
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        return self.runner(argv, cwd=self.root, env=env, stdin=stdin)

    # What is so.

    def check_work_tree(self) -> None:
        """Raise `ReleaseRefused` unless this is the top of a work tree with a commit."""
        if shutil.which("git") is None:
            raise ToolMissing("'git' is not installed", hint="install it, or put it on PATH")
        if self.ask("rev-parse", "--is-inside-work-tree") != "true":
            raise ReleaseRefused(
                f"{self.root} is no git work tree", hint="run this in a clone of the repository"
            )
        if self.ask("rev-parse", "--show-prefix"):
            raise ReleaseRefused(
                f"{self.root} is inside of another git work tree", hint="clone this one by itself"
            )
        if not self.head:
            raise ReleaseRefused(f"{self.root} has no commit", hint="commit what is to be released")

    @property
    def head(self) -> str:
        """The commit that is checked out, empty where there is none."""
        return self.ask("rev-parse", "--verify", "-q", "HEAD^{commit}")

    @property
    def branch(self) -> str:
        """The branch that is checked out, empty where none is."""
        return self.ask("symbolic-ref", "-q", "--short", "HEAD")

    @property
    def default_branch(self) -> str:
        """The branch that is released from, as the remote says, or else `main`."""
        known = self.ask("symbolic-ref", "-q", "--short", f"refs/remotes/{REMOTE}/HEAD")
        return known.removeprefix(f"{REMOTE}/") or DEFAULT_BRANCH

    def changed(self) -> tuple[str, ...]:
        """Return the tracked files that differ from the commit."""
        listed = git(self.root, "diff", "--name-only", "--no-ext-diff", "-z", "HEAD")
        return tuple(name for name in listed.split("\0") if name)

    def untracked(self) -> tuple[str, ...]:
        """Return the files that git neither tracks nor ignores."""
        listed = git(self.root, "ls-files", "-z", "--others", "--exclude-standard")
        return tuple(name for name in listed.split("\0") if name)

    def behind(self) -> tuple[str, int]:
        """Return the branch's upstream and how many commits that is ahead; empty without one."""
        upstream = self.ask("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}")
        if not upstream:
            return "", 0
        return upstream, int(self.ask("rev-list", "--count", "HEAD..@{upstream}") or 0)

    def has_tag(self, tag: str) -> bool:
        """Return whether there is a tag of this name."""
        return bool(self.ask("rev-parse", "--verify", "-q", f"refs/tags/{tag}"))

    def check_identity(self) -> None:
        """Raise `ReleaseRefused` where git does not know who commits."""
        for kind in ("AUTHOR", "COMMITTER"):
            # What git would make up from the names of user and machine is nobody.
            asked = ("git", "-c", "user.useConfigOnly=true", "var", f"GIT_{kind}_IDENT")
            done = self._run(asked)
            if not done.ok:
                raise ReleaseRefused(
                    "git does not know who you are",
                    hint="git config user.name NAME; git config user.email ADDRESS",
                )

    # What changes it.

    def release(self, files: Mapping[Path, bytes], version: Version, message: str) -> str:
        """Commit files (by path, relative to the root) and tag the commit; return the commit.

        Raises `ReleaseRefused` and `OutputUnwritable`; then, as after an interruption,
        references, index and files are as they were.
        """
        old, branch = self.head, self.branch
        entries = self._entries(files)
        commit = self._commit(old, entries, message)
        tag = self._tag(commit, version, message)
        before = {path: (self.root / path).read_bytes() for path in files}
        try:
            for path, data in files.items():
                mode = (self.root / path).stat().st_mode & 0o777
                write_atomically(self.root / path, data, mode=mode)
            self.do("update-index", "--index-info", stdin=entries)
            self.do("update-ref", "--stdin", stdin=_moves(branch, old, commit, version.tag, tag))
        except BaseException as error:
            if self.ask("rev-parse", "--verify", "-q", f"refs/tags/{version.tag}") != tag:
                self._undo(before, old)
                raise
            # git was done before somebody interrupted it.
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(f"{version.tag} is committed and tagged") from None
        # Only how git remembers the files' times: nothing depends on it.
        self._run(("git", "update-index", "-q", "--refresh"))
        return commit

    def _entries(self, files: Mapping[Path, bytes]) -> bytes:
        """Store files; return the lines that put them into an index."""
        lines = []
        for path, data in files.items():
            listed = self.ask("ls-files", "--stage", "--", path.as_posix())
            if not listed:
                raise ReleaseRefused(f"{path} is not tracked", hint="commit it first")
            blob = self.do("hash-object", "-w", "--stdin", stdin=data)
            lines.append(f"{listed.split()[0]} {blob}\t{path.as_posix()}\n")
        return "".join(lines).encode()

    def _commit(self, parent: str, entries: bytes, message: str) -> str:
        with _temporary_folder() as folder:
            env = {"GIT_INDEX_FILE": str(folder / "index")}
            self.do("read-tree", parent, env=env)
            self.do("update-index", "--index-info", env=env, stdin=entries)
            tree = self.do("write-tree", env=env)
        signs = self.ask("config", "--type=bool", "commit.gpgSign") == "true"
        sign = ("-S",) if signs else ()
        return self.do("commit-tree", *sign, "-p", parent, "-F", "-", tree, stdin=message.encode())

    def _tag(self, commit: str, version: Version, message: str) -> str:
        """Make an annotated tag, signed where that is configured, that no reference names yet.

        `git tag` always makes the reference, too: here in a repository that lives as long as
        this, with the configuration and the objects of the real one.
        """
        common = self.ask("rev-parse", "--path-format=absolute", "--git-common-dir")
        config = self.ask("rev-parse", "--path-format=absolute", "--git-path", "config")
        format = self.ask("rev-parse", "--show-object-format") or "sha1"
        with _temporary_folder() as folder:
            self.do("init", "--quiet", "--bare", f"--object-format={format}", str(folder))
            own = (folder / "config").read_text(encoding="utf-8")
            included = f'[include]\n\tpath = "{config}"\n'
            (folder / "config").write_text(included + own, encoding="utf-8")
            env = {"GIT_DIR": str(folder), "GIT_OBJECT_DIRECTORY": f"{common}/objects"}
            named = ("tag", "--annotate", "-F", "-", version.tag, commit)
            self.do(*named, env=env, stdin=message.encode())
            return self.do("rev-parse", f"refs/tags/{version.tag}", env=env)

    def _undo(self, before: Mapping[Path, bytes], old: str) -> None:
        for path, data in before.items():
            if (self.root / path).read_bytes() != data:
                mode = (self.root / path).stat().st_mode & 0o777
                write_atomically(self.root / path, data, mode=mode)
        # Straight to git: whatever has gone wrong may be the runner's.
        git(self.root, "reset", "--quiet", old, "--", *(path.as_posix() for path in before))


def _moves(branch: str, old: str, commit: str, name: str, tag: str) -> bytes:
    """Return a transaction of `git update-ref`: all of it happens, or nothing."""
    none = "0" * len(commit)
    lines = (
        "start",
        f"update refs/heads/{branch} {commit} {old}",
        f"update refs/tags/{name} {tag} {none}",
        "prepare",
        "commit",
    )
    return "".join(f"{line}\n" for line in lines).encode()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        yield Path(os.path.realpath(name))
