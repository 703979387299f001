"""A file is the old one or the new one, and a disk that refuses is one line."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.atomic import alone_in, copy_verified, file_sha256, write_atomically, writing
from pipeline.errors import OutputUnwritable

NEW = b"new" * 1000
SHA256 = hashlib.sha256(NEW).hexdigest()


def write(path: Path) -> None:
    write_atomically(path, NEW)


def copy(path: Path) -> None:
    source = path.parent.parent / "source"
    source.write_bytes(NEW)
    copy_verified(source, path, SHA256)


@pytest.fixture(params=[write, copy], ids=["write", "copy"])
def make(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    found: Callable[[Path], None] = request.param
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place in a folder that does not exist."""
    return tmp_path / "folder" / "file"


def test_the_file_and_its_folder_appear(make: Callable[[Path], None], path: Path) -> None:
    make(path)
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_is_replaced_not_written_over(
    make: Callable[[Path], None], path: Path
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        make(path)
        assert reader.read() == b"old"
    assert path.read_bytes() == NEW


def test_a_mode_can_be_asked_for(path: Path) -> None:
    write_atomically(path, NEW, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), KeyboardInterrupt()], ids=repr)
def test_interrupted_there_is_the_old_file_and_nothing_else(
    make: Callable[[Path], None],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((OutputUnwritable, KeyboardInterrupt)):
        make(path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_data_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append(f"fsync of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def note_replace(source: str, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write(path)
    assert done == [f"fsync of {len(NEW)}", "rename"]


def test_a_copy_that_is_there_already_is_kept(path: Path) -> None:
    copy(path)
    inode = path.stat().st_ino
    copy(path)
    assert path.stat().st_ino == inode


def test_a_copy_that_is_damaged_is_made_again(path: Path) -> None:
    copy(path)
    path.write_bytes(NEW[:-1] + b"?")
    copy(path)
    assert path.read_bytes() == NEW


def test_a_source_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy_verified(tmp_path / "gone", tmp_path / "copy", SHA256)
    assert list(tmp_path.iterdir()) == []


REFUSALS = ["EACCES", "EDQUOT", "EEXIST", "EFBIG", "EISDIR", "ENOSPC", "ENOTDIR", "EPERM", "EROFS"]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_disk_that_refuses_is_one_line_with_the_reason(name: str) -> None:
    code = getattr(errno, name)
    with pytest.raises(OutputUnwritable) as caught, writing(Path("dist/x")):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == (
        f"dist/x cannot be written: {os.strerror(code).lower()}; "
        "free space there or choose another folder"
    )


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), ValueError("x")])
def test_other_errors_are_not_the_disks(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing(Path("x")):
        raise error
    assert caught.value is error


def test_a_full_device_is_a_disk_that_refuses() -> None:
    def fill() -> None:
        with writing(Path("/dev/full")), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(OutputUnwritable, match="no space left on device"):
        fill()


@pytest.mark.parametrize("place", ["file/x", "folder"])
def test_a_place_that_cannot_be_a_file_is_one_line(
    make: Callable[[Path], None], tmp_path: Path, place: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    (tmp_path / "in" / "folder").mkdir()
    (tmp_path / "in" / "source").write_bytes(NEW)
    with pytest.raises(OutputUnwritable, match="cannot be written"):
        make(tmp_path / "in" / place)


def test_a_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(NEW)
    assert file_sha256(tmp_path / "file") == SHA256


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    entered = threading.Event()

    def other() -> None:
        with alone_in(folder):
            entered.set()

    second = threading.Thread(target=other)
    with alone_in(folder):
        second.start()
        assert not entered.wait(0.2)
    assert entered.wait(30)
    second.join()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable), alone_in(tmp_path / "file" / "folder"):
        pytest.fail("a file is no folder")
