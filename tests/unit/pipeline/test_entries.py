"""Entries are values: contents read the same from memory and from disk."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.entries import Entry, Kind, Slice, Spool, directory, merge, symlink
from pipeline.errors import OutputUnwritable


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as spool:
        yield spool


def test_a_slice_reads_its_part_of_a_file_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        part = Slice(file, 2, 5)
        assert part.read() == b"23456"
        assert part.read(1, 2) == b"34"
        assert part.read(3, 100) == b"56"
        assert part.read(9) == b""
        assert part.read(0, 0) == b""


def test_an_entry_reads_the_same_from_memory_and_from_disk(spool: Spool) -> None:
    spool.add(iter([b"before"]))
    part = spool.add(iter([b"01", b"", b"234"]))
    spool.add(iter([b"after"]))
    spool.flush()
    memory, disk = Entry("a", content=b"01234"), Entry("a", content=part)
    assert memory.size_bytes == disk.size_bytes == 5
    for start, length in [(0, None), (1, 2), (4, 10), (5, None), (9, 1), (0, 0)]:
        assert memory.read(start, length) == disk.read(start, length)


def test_slices_are_read_from_several_threads(spool: Spool) -> None:
    parts = [spool.add(iter([bytes([i]) * 1000])) for i in range(50)]
    spool.flush()
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(i for i, part in enumerate(parts) if part.read() != bytes([i]) * 1000)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_spool_leaves_no_file_behind(spool: Spool, tmp_path: Path) -> None:
    spool.add(iter([b"x"]))
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_is_told_to_stop_takes_nothing_more(tmp_path: Path) -> None:
    stopped = [False]
    with Spool(tmp_path, stopped=lambda: stopped[0]) as spool:
        spool.add(iter([b"x"]))
        stopped[0] = True
        with pytest.raises(KeyboardInterrupt):
            spool.add(iter([b"y"]))


@pytest.mark.parametrize("size_bytes", [1, 1_000_000], ids=["when flushed", "when written"])
def test_a_disk_that_is_full_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: full.open("wb"))

    def fill() -> None:
        with Spool(tmp_path) as spool:
            spool.add(iter([bytes(size_bytes)]))
            spool.flush()

    with pytest.raises(OutputUnwritable, match=f"{tmp_path} cannot be written: no space left"):
        fill()


def test_directories_and_links_have_their_usual_modes() -> None:
    assert directory("a", origin="x") == Entry("a", Kind.DIRECTORY, 0o755)
    assert symlink("a", "b") == Entry("a", Kind.SYMLINK, 0o777, target="b")


def test_where_an_entry_comes_from_does_not_make_it_another() -> None:
    assert Entry("a", origin="one") == Entry("a", origin="two")


SAME = [
    (directory("a"), directory("a", 0o700)),
    (symlink("a", "b"), symlink("a", "b")),
    (Entry("a", content=b"x"), Entry("a", content=b"x")),
    (Entry("a", Kind.HARDLINK, target="b"), Entry("a", Kind.HARDLINK, target="b")),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_the_same_thing_may_come_from_two_places(first: Entry, second: Entry) -> None:
    assert merge([first, Entry("z"), second])["a"] is first


DIFFERENT = [
    (directory("a"), Entry("a")),
    (symlink("a", "b"), symlink("a", "c")),
    (Entry("a", content=b"x"), Entry("a", content=b"y")),
    (Entry("a", content=b"x"), Entry("a", content=b"xx")),
    (Entry("a", content=b"b"), symlink("a", "b")),
    (Entry("a", Kind.HARDLINK, target="b"), symlink("a", "b")),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_things_at_one_path_are_refused_with_both_origins(
    first: Entry, second: Entry
) -> None:
    named = [
        Entry(e.path, e.kind, e.mode, e.content, e.target, origin=origin)
        for e, origin in ((first, "package one"), (second, "package two"))
    ]
    with pytest.raises(
        ValueError, match=r"^'a' comes from package one and, different, from package two$"
    ):
        merge(named)


def test_contents_on_disk_are_compared_with_those_in_memory(spool: Spool) -> None:
    part = spool.add(iter([b"same"]))
    spool.flush()
    assert merge([Entry("a", content=part), Entry("a", content=b"same")])
    with pytest.raises(ValueError, match="'a' comes from"):
        merge([Entry("a", content=part), Entry("a", content=b"else")])
