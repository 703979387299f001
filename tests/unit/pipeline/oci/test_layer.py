"""The same entries give the same bytes; what cannot be unpacked is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.entries import Entry, Kind, Slice, Spool, directory, symlink
from pipeline.errors import CompressorChanged
from pipeline.oci import layer as subject
from pipeline.oci.layer import LayerBlob, arrange, check_compressor, compress, write_layer
from tests.unit.pipeline.oci.specification import check_layer

EPOCH_S = 1_700_000_000
LONG = "/".join(["folder-with-a-long-name"] * 12) + "/file"
ENTRIES = [
    Entry("usr/bin/tool", mode=0o755, content=b"#!/bin/sh\n" * 100, origin="tool"),
    Entry("etc/tool.conf", content=b"colour = red\n", origin="tool"),
    Entry("usr/share/naïve/日本語.txt", content="Grüße\n".encode()),
    Entry(LONG, content=b"deep"),
    Entry("home/app/data", content=b"owned", uid=1000, gid=1000, mode=0o600),
    directory("tmp", 0o1777),
    symlink("bin", "usr/bin"),
    symlink("usr/bin/long", f"/{LONG}"),
    Entry("usr/bin/alias", Kind.HARDLINK, target="usr/bin/tool"),
]
GOLDEN_DIFF_ID = "sha256:8bf2dbe4e1daca459007af38dbaa5f23774b0f652cf492748a9837abb758e5d8"
GOLDEN_DIGEST = "sha256:7d42b6ba467024deb593f9fc5b2a5a9a3365a9cbe572047e39d2bb18e480ae9a"

GOLDEN_COMPRESSED = "7c11e8246428b8f5091bf95c4d41e7e58b0a23e0993d597b85577811ff3f6ea6"


def written(entries: Iterable[Entry]) -> tuple[LayerBlob, bytes]:
    out = io.BytesIO()
    blob = write_layer(entries, out, epoch_s=EPOCH_S)
    return blob, out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {member.name: member for member in archive.getmembers()}


def paths(*entries: Entry) -> list[str]:
    return [entry.path for entry in arrange(entries)]


def test_a_layer_has_its_golden_digests() -> None:
    blob, data = written(ENTRIES)
    assert blob.diff_id == GOLDEN_DIFF_ID
    assert blob.digest == GOLDEN_DIGEST
    assert blob.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert blob.size_bytes == len(data)


def test_the_layer_follows_the_specification() -> None:
    blob, data = written(ENTRIES)
    found = check_layer(data, blob.diff_id)
    assert set(found) >= {entry.path for entry in ENTRIES}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_entries_changes_nothing(seed: int) -> None:
    shuffled = random.Random(seed).sample(ENTRIES, len(ENTRIES))
    assert written(shuffled) == written(ENTRIES)


def test_contents_on_disk_and_in_memory_give_the_same_bytes(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.add(iter([b"something before"]))
        spooled = [
            replace(entry, content=spool.add(iter([entry.read()])))
            if entry.kind is Kind.FILE
            else entry
            for entry in ENTRIES
        ]
        spool.flush()
        assert all(isinstance(e.content, Slice) for e in spooled if e.kind is Kind.FILE)
        assert written(spooled) == written(ENTRIES)


def test_parents_are_added_and_come_first() -> None:
    _, data = written([Entry("a/b/c/file")])
    found = members(data)
    assert list(found) == ["a", "a/b", "a/b/c", "a/b/c/file"]
    assert all(found[path].isdir() and found[path].mode == 0o755 for path in ("a", "a/b", "a/b/c"))


def test_a_parent_that_is_described_keeps_its_mode() -> None:
    _, data = written([Entry("root/.profile"), directory("root", 0o700)])
    assert members(data)["root"].mode == 0o700


def test_a_folder_and_its_content_stay_together() -> None:
    assert paths(Entry("a-b/x"), Entry("a/z"), Entry("a/b"), Entry("a.txt")) == [
        "a",
        "a/b",
        "a/z",
        "a-b",
        "a-b/x",
        "a.txt",
    ]


def test_members_carry_what_the_entries_say_and_nothing_of_this_machine() -> None:
    found = members(written(ENTRIES)[1])
    assert {member.mtime for member in found.values()} == {EPOCH_S}
    assert {(member.uname, member.gname) for member in found.values()} == {("", "")}
    assert (found["home/app/data"].uid, found["home/app/data"].gid) == (1000, 1000)
    assert {found[p].uid for p in found if p != "home/app/data"} == {0}
    assert found["home/app/data"].mode == 0o600
    assert found["tmp"].mode == 0o1777
    assert found["usr/bin/tool"].mode == 0o755
    assert found["bin"].issym()
    assert found["bin"].linkname == "usr/bin"


def test_long_and_non_ascii_names_survive() -> None:
    found = members(written(ENTRIES)[1])
    assert found[LONG].pax_headers["path"] == LONG
    assert "usr/share/naïve/日本語.txt" in found
    assert found["usr/bin/long"].linkname == f"/{LONG}"


def test_a_name_that_is_not_utf_8_survives() -> None:
    name = b"usr/caf\xe9".decode("utf-8", "surrogateescape")
    assert name in members(written([Entry(name)])[1])


def test_contents_can_be_read_back_with_the_standard_library() -> None:
    _, data = written(ENTRIES)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in ENTRIES:
            if entry.kind is Kind.FILE and entry.path != "usr/bin/tool":
                member = archive.extractfile(entry.path)
                assert member is not None
                assert member.read() == entry.read()


def test_the_first_path_of_hard_links_has_the_content() -> None:
    _, data = written(ENTRIES)
    found = members(data)
    assert found["usr/bin/alias"].isreg()
    assert found["usr/bin/alias"].size == 1000
    assert found["usr/bin/alias"].mode == 0o755
    assert found["usr/bin/tool"].islnk()
    assert found["usr/bin/tool"].linkname == "usr/bin/alias"
    assert found["usr/bin/tool"].size == 0


def test_hard_links_do_not_depend_on_which_path_was_the_original() -> None:
    content = b"shared"
    one = [Entry("b", content=content), *(Entry(p, Kind.HARDLINK, target="b") for p in "ac")]
    other = [Entry("c", content=content), *(Entry(p, Kind.HARDLINK, target="c") for p in "ab")]
    assert written(one) == written(other)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("missing", id="absent"),
        pytest.param("folder", id="a folder"),
        pytest.param("link", id="a symbolic link"),
        pytest.param("other-hard-link", id="another hard link"),
    ],
)
def test_a_hard_link_needs_a_file_in_the_same_layer(target: str) -> None:
    entries = [
        directory("folder"),
        symlink("link", "file"),
        Entry("file"),
        Entry("other-hard-link", Kind.HARDLINK, target="file"),
        Entry("hard-link", Kind.HARDLINK, target=target),
    ]
    with pytest.raises(ValueError, match=f"'hard-link' points at '{target}'"):
        written(entries)


def test_a_path_that_occurs_twice_is_refused_with_both_origins() -> None:
    twice = [Entry("etc/x", origin="package one"), Entry("etc/x", origin="package two")]
    with pytest.raises(ValueError, match=r"'etc/x' comes from package one and from package two"):
        written(twice)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a//b", "a/", ".", "./a", "a/./b"],
)
def test_a_path_that_leaves_the_root_or_has_two_spellings_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"\(some wheel\) is not a path inside a layer"):
        written([Entry(path, origin="some wheel")])


@pytest.mark.parametrize(
    "parent",
    [Entry("a/b", origin="two"), symlink("a/b", "c", origin="two")],
    ids=["a file", "a symbolic link"],
)
def test_a_path_inside_something_else_than_a_folder_is_refused(parent: Entry) -> None:
    with pytest.raises(ValueError, match=r"'a/b/c' \(one\) is inside 'a/b' \(two\), which is no"):
        written([Entry("a/b/c", origin="one"), parent])


def test_arranging_what_is_arranged_changes_nothing() -> None:
    assert arrange(arrange(ENTRIES)) == arrange(ENTRIES)


@pytest.mark.parametrize("path", ["a..b", "...", "..a/b", ".hidden"])
def test_dots_in_names_are_no_way_out(path: str) -> None:
    assert path in members(written([Entry(path)])[1])


def test_content_that_is_shorter_than_it_was_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with (tmp_path / "file").open("rb") as file:
        shrunk = Entry("data", content=Slice(file, 0, 6), origin="a file")
        with pytest.raises(ValueError, match=r"'data' \(a file\) is shorter than it was"):
            written([shrunk])


def test_a_layer_without_entries_is_an_empty_tar() -> None:
    blob, data = written([])
    assert gzip.decompress(data) == bytes(1024)
    assert blob.unpacked_bytes == 1024


def test_a_large_layer_is_several_gzip_members_that_read_as_one() -> None:
    content = random.Random(1).randbytes(1 << 20) * 9
    blob, data = written([Entry("large", content=content)])
    tar = gzip.decompress(data)
    assert len(tar) == blob.unpacked_bytes
    assert data.count(compress(tar[: 4 << 20])) == 1
    assert data.count(compress(tar[4 << 20 : 8 << 20])) == 1
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        member = archive.extractfile("large")
        assert member is not None
        assert member.read() == content


def test_the_gzip_header_names_no_time_file_or_level() -> None:
    header = compress(b"x")[:10]
    assert header[:4] == b"\x1f\x8b\x08\x00", "deflate, no flags: neither name nor comment"
    assert header[4:8] == bytes(4), "no time"
    assert header[9] == 255, "unknown operating system"


def test_the_pinned_compressor_gives_its_golden_bytes() -> None:
    check_compressor()
    vector = b"The quick brown fox jumps over the lazy dog. " * 50
    assert hashlib.sha256(compress(vector)).hexdigest() == GOLDEN_COMPRESSED


def test_another_compressor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "compress", lambda data: gzip.compress(data, 6, mtime=0))
    with pytest.raises(CompressorChanged, match="expected f4bd54a50777") as caught:
        check_compressor()
    assert "requirements/dev.txt" in caught.value.hint


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12])
def test_another_level_is_noticed(monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    monkeypatch.setattr(subject, "_LEVEL", level)
    with pytest.raises(CompressorChanged):
        check_compressor()


def test_a_disk_that_fails_ends_the_layer() -> None:
    def fail(_: bytes) -> int:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_layer(ENTRIES, SimpleNamespace(write=fail), epoch_s=EPOCH_S)  # type: ignore[arg-type]


NAMES = st.text(st.sampled_from("abé.-_ "), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)


@given(
    st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=600))
)
def test_any_tree_is_a_valid_layer(files: dict[str, bytes]) -> None:
    folders = {path[:i] for path in files for i, c in enumerate(path) if c == "/"}
    kept = {path: data for path, data in files.items() if path not in folders}
    blob, data = written(Entry(path, content=content) for path, content in kept.items())
    found = check_layer(data, blob.diff_id)
    assert [path for path in found if path in kept] == sorted(kept, key=lambda p: p.split("/"))
