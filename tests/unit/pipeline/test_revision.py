"""The revision of a folder is that of its own repository, or none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.revision import Revision, git, read_revision

needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="git is not here: nothing checks what images are labelled"
)


def run(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ("git", *arguments), cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's and the user's git settings, and any hook's, out."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2001-01-01T00:00:00Z")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2023-11-14T22:13:20Z")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q")
    (folder / "file").write_text("text")
    run(folder, "add", "file")
    run(folder, "commit", "-q", "-m", "first")
    return folder


@needs_git
def test_a_clean_tree_has_its_commit_and_when_it_was_committed(repository: Path) -> None:
    commit = run(repository, "rev-parse", "HEAD").strip()
    assert read_revision(repository) == Revision(commit, 1_700_000_000, dirty=False)


@needs_git
def test_a_changed_file_makes_it_dirty(repository: Path) -> None:
    (repository / "file").write_text("changed")
    assert read_revision(repository).dirty


@needs_git
def test_a_file_that_git_does_not_know_leaves_it_clean(repository: Path) -> None:
    (repository / "notes").write_text("x")
    assert not read_revision(repository).dirty


@needs_git
def test_a_folder_inside_a_repository_has_no_revision_of_its_own(repository: Path) -> None:
    (repository / "inside").mkdir()
    assert read_revision(repository / "inside") == Revision()


@needs_git
def test_a_repository_without_a_commit_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty", "init", "-q")
    assert read_revision(tmp_path / "empty") == Revision()


@needs_git
def test_reading_does_not_touch_the_repository(repository: Path) -> None:
    index = repository / ".git" / "index"
    os.utime(repository / "file", (1, 1))
    before = index.read_bytes()
    assert not read_revision(repository).dirty
    assert index.read_bytes() == before


def test_outside_of_version_control_there_is_none(tmp_path: Path) -> None:
    assert read_revision(tmp_path) == Revision()
    assert read_revision(tmp_path / "absent") == Revision()


def test_without_git_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert git(tmp_path, "--version") == ""
    assert read_revision(tmp_path) == Revision()


@needs_git
def test_a_hook_s_variables_do_not_name_another_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_revision(repository)
    assert expected.commit
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert read_revision(repository) == expected


@needs_git
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_work_tree_of_somebody_else_is_read(repository: Path) -> None:
    expected = read_revision(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 61234, 61234)
    assert read_revision(repository) == expected


@needs_git
def test_names_that_are_no_text_are_kept(repository: Path) -> None:
    name = os.fsdecode(b"\xff.txt")
    (repository / name).touch()
    assert name in git(repository, "ls-files", "-z", "--others").split("\0")
