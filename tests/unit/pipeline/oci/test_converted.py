"""What an engine exports becomes a layer without the time and place of its making."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ImageInvalid
from pipeline.oci.converted import Export, normalised, open_export, read_config
from pipeline.oci.image import Configuration
from pipeline.platforms import Platform
from tests.unit.pipeline.oci.exports import (
    EPOCH_S,
    Member,
    config,
    digest,
    docker_archive,
    member,
    oci_archive,
    tar,
)

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x00\x00\x00\x00"


def cleaned(data: bytes, epoch_s: int = EPOCH_S) -> dict[str, tarfile.TarInfo]:
    out = b"".join(normalised(io.BytesIO(data), epoch_s))
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        return {info.name: info for info in archive}


LAYER = [
    member("./", kind=tarfile.DIRTYPE),
    member("./etc/", kind=tarfile.DIRTYPE, mode=0o750, mtime=EPOCH_S - 100),
    member("etc/new", b"new", uid=1000, gid=1001, mode=0o4755, uname="me", gname="us"),
    member("etc/old", b"old" * 5000, mtime=12345.75),
    member("etc/alias", kind=tarfile.LNKTYPE, linkname="./etc/new"),
    member("etc/link", kind=tarfile.SYMTYPE, linkname="../usr/./x"),
    member("etc/.wh.gone"),
    member("etc/.wh..wh..opq"),
    member("dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
    member("dev/disk", kind=tarfile.BLKTYPE, devmajor=8, devminor=1),
    member("run/fifo", kind=tarfile.FIFOTYPE),
    member(
        "usr/bin/ping",
        b"\x7fELF",
        pax_headers={
            "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
            "atime": "1.5",
            "ctime": "2.5",
        },
    ),
    member("usr/" + "deep/" * 40 + "ü.txt", b"deep"),
]


def test_times_are_clamped_and_nothing_of_the_builder_stays() -> None:
    found = cleaned(tar(LAYER))
    assert found["etc/new"].mtime == EPOCH_S
    assert found["etc"].mtime == EPOCH_S - 100
    assert found["etc/old"].mtime == 12345
    for info in found.values():
        assert (info.uname, info.gname) == ("", "")
        assert not {"atime", "ctime", "mtime"} & set(info.pax_headers)


def test_what_a_container_sees_stays() -> None:
    found = cleaned(tar(LAYER))
    assert "" not in found
    assert "." not in found
    new = found["etc/new"]
    assert (new.mode, new.uid, new.gid, new.size) == (0o4755, 1000, 1001, 3)
    assert found["etc"].isdir()
    assert found["etc"].mode == 0o750
    assert found["etc/alias"].islnk()
    assert found["etc/alias"].linkname == "etc/new"
    assert found["etc/link"].linkname == "../usr/./x"
    assert {"etc/.wh.gone", "etc/.wh..wh..opq"} <= set(found)
    assert (found["dev/null"].ischr(), found["dev/null"].devminor) == (True, 3)
    assert (found["dev/disk"].isblk(), found["dev/disk"].devmajor) == (True, 8)
    assert found["run/fifo"].isfifo()
    kept = found["usr/bin/ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert kept.encode("utf-8", "surrogateescape") == CAPABILITY
    assert found["usr/" + "deep/" * 40 + "ü.txt"].size == 4


def test_contents_and_order_stay() -> None:
    data = tar(LAYER)
    out = b"".join(normalised(io.BytesIO(data), EPOCH_S))
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        names = archive.getnames()
        assert names.index("etc/new") < names.index("etc/old") < names.index("usr/bin/ping")
        old = archive.extractfile("etc/old")
        assert old is not None
        assert old.read() == b"old" * 5000


def test_the_same_tree_built_at_another_time_gives_the_same_bytes() -> None:
    def built(at_s: float, who: str, format: int) -> bytes:
        members = [
            member("a", kind=tarfile.DIRTYPE, mtime=at_s, uname=who),
            member("a/file", b"x" * 1000, mtime=at_s + 0.25, uname=who, gname=who),
        ]
        return b"".join(normalised(io.BytesIO(tar(members, format)), EPOCH_S))

    one = built(EPOCH_S + 1, "me", tarfile.PAX_FORMAT)
    assert built(EPOCH_S + 99_999, "you", tarfile.GNU_FORMAT) == one


def test_normalising_again_changes_nothing() -> None:
    once = b"".join(normalised(io.BytesIO(tar(LAYER)), EPOCH_S))
    assert b"".join(normalised(io.BytesIO(once), EPOCH_S)) == once


@given(st.binary(max_size=64), st.integers(0, 2**33), st.integers(0, 2**31), st.integers(0, 0o7777))
def test_any_attribute_and_time_comes_through(
    value: bytes, time_s: int, uid: int, mode: int
) -> None:
    text = value.decode("utf-8", "surrogateescape")
    headers = {"SCHILY.xattr.user.x": text} if text else {}
    data = tar([member("f", mtime=time_s, uid=uid, mode=mode, pax_headers=headers)])
    found = cleaned(data)["f"]
    assert (found.mtime, found.uid, found.mode) == (min(time_s, EPOCH_S), uid, mode)
    if text:
        kept = found.pax_headers["SCHILY.xattr.user.x"]
        assert kept.encode("utf-8", "surrogateescape") == value


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../x"), "leaves the root"),
        (member("a/../../x"), "leaves the root"),
        (member("x", kind=b"V"), "neither file"),
    ],
)
def test_what_is_no_file_is_refused(bad: Member, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cleaned(tar([bad]))


# Exported images

RUNTIME = Configuration(
    user="1000:1000",
    environment={"PATH": "/usr/bin", "EQUATION": "a=b"},
    entrypoint=("/bin/app",),
    command=("serve",),
    workdir="/app",
    ports=("8000/tcp", "9000/tcp"),
    volumes=("/a", "/b"),
    labels={"a": "2", "z": "1"},
    stop_signal="SIGTERM",
    health_test=("CMD", "probe"),
    health_interval_s=30,
    health_timeout_s=1.5,
    health_start_period_s=5,
    health_retries=3,
)
LOWER, UPPER = tar([member("lower", b"1")]), tar([member("upper", b"2")])


def converted(export: Export) -> list[tuple[bytes, str]]:
    """Return each layer's tar, and the diff_id that is said to be its own."""
    found = []
    for number in range(len(export.config.diff_ids)):
        out = io.BytesIO()
        done = export.convert(number, out, epoch_s=EPOCH_S)
        assert done.blob.digest == digest(out.getvalue())
        assert done.members == 1
        found.append((gzip.decompress(out.getvalue()), done.blob.diff_id))
    return found


@pytest.mark.parametrize("write", [docker_archive, oci_archive])
def test_both_kinds_of_export_give_the_same_image(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "x.tar", [LOWER, UPPER], config(LOWER, UPPER))
    with open_export(path, Platform.ARM64) as export:
        assert export.config.runtime == RUNTIME
        assert export.config.created_by == ("RUN 0", "RUN 1")
        layers = converted(export)
    assert [digest(data) for data, _ in layers] == [diff_id for _, diff_id in layers]
    assert [cleaned(data).keys() for data, _ in layers] == [{"lower"}, {"upper"}]


def test_a_layer_that_occurs_twice_is_found_by_its_link(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "x.tar", [LOWER], config(LOWER, LOWER), repeated=True)
    with open_export(path, Platform.ARM64) as export:
        one, other = converted(export)
    assert one == other


def test_compressed_layers_in_a_docker_archive_are_read(tmp_path: Path) -> None:
    packed = [gzip.compress(layer) for layer in (LOWER, UPPER)]
    path = docker_archive(tmp_path / "x.tar", packed, config(LOWER, UPPER))
    with open_export(path, Platform.ARM64) as export:
        assert len(converted(export)) == 2


def test_a_layer_with_other_content_than_its_digest_is_refused(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "x.tar", [LOWER, LOWER], config(LOWER, UPPER))
    with (
        open_export(path, Platform.ARM64) as export,
        pytest.raises(ImageInvalid, match="has the content of"),
    ):
        converted(export)


def test_a_cut_layer_is_refused(tmp_path: Path) -> None:
    cut = gzip.compress(LOWER)[:-20]
    path = docker_archive(tmp_path / "x.tar", [cut, UPPER], config(LOWER, UPPER))
    with (
        open_export(path, Platform.ARM64) as export,
        pytest.raises(ImageInvalid, match="cannot be read"),
    ):
        converted(export)


def test_a_layer_in_zstd_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "x.tar", [b"\x28\xb5\x2f\xfd..", UPPER], config(LOWER, UPPER))
    with open_export(path, Platform.ARM64) as export, pytest.raises(ImageInvalid, match="zstd"):
        converted(export)


def test_an_image_for_another_platform_is_refused(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "x.tar", [LOWER, UPPER], config(LOWER, UPPER))
    with (
        pytest.raises(ImageInvalid, match=r"for linux/arm64, not for linux/amd64"),
        open_export(path, Platform.AMD64),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tar at all" * 100,
        tar([member("manifest.json", b"[]")]),
        tar([member("manifest.json", b"{")]),
        tar([member("manifest.json", b'[{"Config": "x", "Layers": []}]')]),
        tar([member("index.json", b'{"manifests": []}')]),
        tar([member("other", b"")]),
    ],
)
def test_a_tar_without_an_image_is_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ImageInvalid, match="cannot be used"), open_export(path, Platform.ARM64):
        pass


def test_errors_of_whoever_reads_are_their_own(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "x.tar", [LOWER, UPPER], config(LOWER, UPPER))
    with (
        pytest.raises(OSError, match="disk full"),
        open_export(path, Platform.ARM64),
    ):
        raise OSError("disk full")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", config(LOWER, os="windows"), config(LOWER, architecture="riscv64")],
)
def test_a_configuration_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ImageInvalid, match="configuration"):
        read_config(data)


def test_history_is_optional() -> None:
    assert read_config(config(LOWER, UPPER, history=None)).created_by == ("", "")
