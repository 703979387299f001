from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from accelerapp.generate import File, output
from accelerapp.generate.output import OutputError, write

FILES = (File("device.json", '{"accelerapp": "0"}'), File("sdk/a.py", "x = 1\n"))
OTHER = (File("device.json", '{"accelerapp": "1"}'), File("ui/index.html", "<p>"))


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def as_tree(files: tuple[File, ...]) -> dict[str, str]:
    return {file.path: file.content for file in files}


def test_a_new_folder_holds_the_files_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write(FILES, tmp_path / "below" / "lamp", within=tmp_path)
    assert tree(tmp_path / "below" / "lamp") == as_tree(FILES)
    assert os.listdir(tmp_path / "below") == ["lamp"]


def test_a_former_output_is_replaced_whole(tmp_path: Path) -> None:
    write(FILES, tmp_path / "lamp")
    write(OTHER, tmp_path / "lamp")
    assert tree(tmp_path / "lamp") == as_tree(OTHER)
    assert os.listdir(tmp_path) == ["lamp"]


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_was_not_generated_is_left_alone(tmp_path: Path, there: str) -> None:
    place, mine = tmp_path / "lamp", tmp_path / "mine"
    mine.mkdir()
    (mine / "letter").write_text("dear")
    if there == "file":
        place.write_text("dear")
    elif there == "folder":
        place.mkdir()
        (place / "letter").write_text("dear")
    else:
        place.symlink_to(mine)
    with pytest.raises(OutputError, match="was not generated") as caught:
        write(FILES, place)
    assert caught.value.foreign
    assert "dear" in (place.read_text() if there == "file" else (place / "letter").read_text())
    write(FILES, place, replace=True)
    assert tree(place) == as_tree(FILES)
    assert not place.is_symlink()
    assert (mine / "letter").read_text() == "dear"


def test_an_empty_folder_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "lamp").mkdir()
    write(FILES, tmp_path / "lamp")
    assert tree(tmp_path / "lamp") == as_tree(FILES)


@pytest.mark.parametrize("way", ["../escaped", "below/../../escaped", "link/escaped"])
def test_nothing_is_written_outside(tmp_path: Path, way: str) -> None:
    inside = tmp_path / "inside"
    (inside / "below").mkdir(parents=True)
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="outside of"):
        write(FILES, inside / way, within=inside)
    assert not (tmp_path / "escaped").exists()


def test_the_allowed_folder_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(FILES, tmp_path / "link" / "lamp", within=tmp_path / "link")
    assert tree(tmp_path / "real" / "lamp") == as_tree(FILES)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write(FILES, tmp_path / "lamp")

    def full(path: Path, content: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="free some space") as caught:
        write(OTHER, tmp_path / "lamp")
    assert caught.value.full
    assert caught.value.exit_code == 6
    assert tree(tmp_path / "lamp") == as_tree(FILES)
    assert os.listdir(tmp_path) == ["lamp"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = r"cannot be written: .*; choose another folder"
    with pytest.raises(OutputError, match=said) as caught:
        write(FILES, tmp_path / "file" / "lamp")
    assert not caught.value.full
    assert "\n" not in str(caught.value)


class NoExchange:
    """A C library whose renameat2 is not for this file system."""

    @staticmethod
    def renameat2(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


@pytest.mark.parametrize("library", [NoExchange(), object()])
def test_without_an_exchange_in_one_step_there_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: object
) -> None:
    monkeypatch.setattr(output.ctypes, "CDLL", lambda *_, **__: library)  # type: ignore[attr-defined]
    write(FILES, tmp_path / "lamp")
    write(OTHER, tmp_path / "lamp")
    assert tree(tmp_path / "lamp") == as_tree(OTHER)
    assert os.listdir(tmp_path) == ["lamp"]


def test_an_interrupt_between_the_two_steps_takes_the_first_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(FILES, tmp_path / "lamp")
    monkeypatch.setattr(output.ctypes, "CDLL", lambda *_, **__: object())  # type: ignore[attr-defined]
    real, calls = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        calls.append(path.name)
        if calls == ["new", "lamp", "new"]:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write(OTHER, tmp_path / "lamp")
    assert tree(tmp_path / "lamp") == as_tree(FILES)
    assert os.listdir(tmp_path) == ["lamp"]


def test_writers_at_once_leave_one_whole_output(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def often(files: tuple[File, ...]) -> None:
        try:
            for _ in range(10):
                write(files, tmp_path / "lamp")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=often, args=(files,)) for files in (FILES, OTHER) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert tree(tmp_path / "lamp") in (as_tree(FILES), as_tree(OTHER))
    assert os.listdir(tmp_path) == ["lamp"]
