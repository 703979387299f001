"""Two commits, checked out: which, where, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from benchmarks.trees import Refused, checked_out, resolve, without
from pipeline import process
from tests.unit.benchmarks.conftest import Commit, git


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_base_is_where_head_left_it(repository: Path, commit: Commit) -> None:
    base = commit({"file": "1"})
    git(repository, "switch", "--quiet", "--create", "change")
    head = commit({"file": "2"})
    git(repository, "switch", "--quiet", "main")
    later = commit({"other": "1"})
    git(repository, "switch", "--quiet", "change")
    for reference in ("main", later, base, "HEAD~1"):
        assert resolve(repository, reference) == (base, head)
    assert resolve(repository, "HEAD") == (head, head)


@pytest.mark.parametrize("reference", ["nope", "", "--all", "HEAD~7", "HEAD:file", "a b"])
def test_what_is_no_commit_is_refused(repository: Path, commit: Commit, reference: str) -> None:
    commit({"file": "1"})
    with pytest.raises(Refused, match="is no commit of") as caught:
        resolve(repository, reference)
    assert repr(reference) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commits_without_a_common_history_are_refused(repository: Path, commit: Commit) -> None:
    commit({"file": "1"})
    git(repository, "switch", "--quiet", "--orphan", "other")
    commit({"file": "2"})
    with pytest.raises(Refused, match="'main' and HEAD have no history in common"):
        resolve(repository, "main")


def test_a_shallow_clone_is_told_how_to_be_a_whole_one(
    repository: Path, commit: Commit, tmp_path: Path
) -> None:
    base = commit({"file": "1"})
    commit({"file": "2"})
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "shallow")
    with pytest.raises(Refused, match="fetch-depth: 0"):
        resolve(tmp_path / "shallow", base)


def test_what_is_no_work_tree_is_refused(repository: Path, commit: Commit, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not a git work tree"):
        resolve(tmp_path, "HEAD")
    commit({"below/file": "1"})
    with pytest.raises(Refused, match="is not a git work tree"):
        resolve(repository / "below", "HEAD")


def test_a_repository_without_a_commit_is_refused(repository: Path) -> None:
    with pytest.raises(Refused, match="HEAD is no commit yet"):
        resolve(repository, "main")


def test_without_git_that_is_said(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="git is not installed"):
        resolve(repository, "HEAD")


def test_each_commit_is_in_a_folder_of_its_own_and_none_stays(
    repository: Path, commit: Commit, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, head = commit({"file": "1"}), commit({"file": "2"})
    (repository / "file").write_text("not committed")
    before = git(repository, "status"), sorted(repository.joinpath(".git").rglob("*"))
    # As in a hook of another repository.
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    with checked_out(repository, base, head) as (one, other):
        monkeypatch.delenv("GIT_DIR")
        assert (one.name, one.commit, other.name, other.commit) == ("base", base, "head", head)
        assert (one.code / "file").read_text() == "1"
        assert (other.code / "file").read_text() == "2"
        assert git(other.code, "rev-parse", "HEAD") == head
        assert git(other.code, "status", "--porcelain") == ""
        assert len({one.code, other.code, one.cache, other.cache, one.output, other.output}) == 6
        assert one.description == other.description
        (one.code / "read-only").mkdir(mode=0o500)
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir())
    assert before == (git(repository, "status"), sorted(repository.joinpath(".git").rglob("*")))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_stays_after_a_failure(
    repository: Path, commit: Commit, scratch: Path, error: type[BaseException]
) -> None:
    one = commit({"file": "1"})

    def fail() -> None:
        with checked_out(repository, one, one):
            assert list(scratch.iterdir())
            raise error

    with pytest.raises(error):
        fail()
    assert not list(scratch.iterdir())


def test_a_second_ctrl_c_does_not_stop_the_removal(
    repository: Path, commit: Commit, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = commit({"file": "1"})
    remove = tempfile.TemporaryDirectory.cleanup

    def slowly(folder: tempfile.TemporaryDirectory[str]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(folder)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", slowly)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="first"), checked_out(repository, one, one):
        raise ValueError("first")
    assert not list(scratch.iterdir())
    assert signal.getsignal(signal.SIGINT) is handler


def test_what_cannot_be_checked_out_is_refused_and_leaves_nothing(
    repository: Path, commit: Commit, scratch: Path
) -> None:
    one = commit({"file": "1"})
    refused = pytest.raises(Refused, match="cccccccccccc cannot be checked out: ")
    with refused, checked_out(repository, one, "c" * 40):
        pass
    assert not list(scratch.iterdir())


def test_variables_are_taken_away_by_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_ONE", "BENCH_TWO", "KEPT_BENCH_"):
        monkeypatch.setenv(name, "x")
    done = process.run((*without("BENCH_"), "env"))
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert "KEPT_BENCH_" in names
    assert not names & {"BENCH_ONE", "BENCH_TWO"}
