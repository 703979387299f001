"""A package is the same to the byte, whatever the machine did to the files it is made from."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

import pipeline.helm.package as subject
from pipeline import commands
from pipeline.errors import ChartInvalid, CompressorChanged, OptionInvalid, OutputUnwritable
from pipeline.helm.chart import FILE_BYTES, read_chart
from pipeline.helm.package import chart_archive, package, source_time_s
from pipeline.lock import read_lock
from pipeline.oci import layer
from pipeline.revision import Revision
from pipeline.settings import LOCK, read_settings
from tests.unit.pipeline.helm.chart_factory import CHART_YAML, make_chart

EPOCH_S = 1_700_000_000
GOLDEN = "7a8f8ba6e285f4f2d9656640965dc3c924d46121d7174374eff31629328d32b3"


def archive(folder: Path, epoch_s: int = EPOCH_S) -> bytes:
    return chart_archive(read_chart(folder), epoch_s)


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return tar.getmembers()


# The archive.


def test_an_archive_has_its_golden_bytes(tmp_path: Path) -> None:
    data = archive(make_chart(tmp_path, files={"README.md": "Read me.\n"}))
    assert hashlib.sha256(data).hexdigest() == GOLDEN


def test_all_is_below_the_charts_name_with_chart_yaml_first(tmp_path: Path) -> None:
    make_chart(tmp_path / "elsewhere", files={".helmignore": "*.bak", "x.bak": "", "A.md": "a"})
    found = members(archive(tmp_path / "elsewhere"))
    assert [member.name for member in found] == [
        "demo/Chart.yaml",
        "demo/.helmignore",
        "demo/A.md",
        "demo/templates/configmap.yaml",
        "demo/values.yaml",
    ]
    for member in found:
        assert member.isreg()
        assert (member.mode, member.mtime) == (0o644, EPOCH_S)
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
        assert not member.pax_headers


def test_files_are_as_they_are_on_disk(tmp_path: Path) -> None:
    text = f"# Kept.\n{CHART_YAML}description:   spaced\n"
    make_chart(tmp_path, text, files={"binary": "\0\r\n\ufeff"})
    with tarfile.open(fileobj=io.BytesIO(archive(tmp_path)), mode="r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert file.read() == (tmp_path / member.name.removeprefix("demo/")).read_bytes()


def test_neither_times_modes_nor_the_order_of_writing_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"docs/{name}.md" for name in "zyxabc"]
    one = make_chart(tmp_path / "one", files={name: name for name in names})
    old = os.umask(0o077)
    try:
        two = make_chart(tmp_path / "two", files={name: name for name in reversed(names)})
    finally:
        os.umask(old)
    for number, path in enumerate(sorted(two.rglob("*"))):
        os.utime(path, (number, number))
    (two / "values.yaml").chmod(0o755)
    monkeypatch.chdir(two)
    assert archive(one) == archive(Path())


def test_every_content_name_and_time_counts(tmp_path: Path) -> None:
    made = [
        archive(make_chart(tmp_path / "a")),
        archive(tmp_path / "a", EPOCH_S + 1),
        archive(make_chart(tmp_path / "b", files={"values.yaml": "a: 2\n"})),
        archive(make_chart(tmp_path / "c", files={"more": ""})),
        archive(make_chart(tmp_path / "d", CHART_YAML.replace("demo", "other"))),
    ]
    assert len(set(made)) == len(made)


def test_long_names_and_other_scripts_survive(tmp_path: Path) -> None:
    names = ["d" * 90 + "/" + "f" * 90 + "/" + "g" * 120, "für.md"]
    found = members(archive(make_chart(tmp_path, files=dict.fromkeys(names, "x"))))
    assert {f"demo/{name}" for name in names} < {member.name for member in found}
    assert [bool(m.pax_headers) for m in found if m.name == "demo/values.yaml"] == [False]


def test_a_file_that_helm_would_not_read_is_refused(tmp_path: Path) -> None:
    make_chart(tmp_path, files={"big": "x" * FILE_BYTES})
    assert len(members(archive(tmp_path))) == 4
    (tmp_path / "big").write_text("x" * (FILE_BYTES + 1))
    with pytest.raises(ChartInvalid, match=f"big has {FILE_BYTES + 1} bytes, and helm reads no"):
        archive(tmp_path)


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chart(tmp_path)
    chart = read_chart(tmp_path)

    def refuse(_path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ChartInvalid, match=r"Chart\.yaml cannot be read: permission denied"):
        chart_archive(chart, EPOCH_S)


def test_a_dependency_that_is_not_fetched_is_refused(tmp_path: Path) -> None:
    make_chart(tmp_path, CHART_YAML + "dependencies: [{name: redis, version: 1.0.0}]\n")
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "redistribution").touch()
    with pytest.raises(ChartInvalid, match=r"Chart\.yaml: dependency 'redis' is not in charts/"):
        archive(tmp_path)
    (tmp_path / "charts" / "redis-1.0.0.tgz").touch()
    assert "demo/charts/redis-1.0.0.tgz" in [member.name for member in members(archive(tmp_path))]
    (tmp_path / "charts" / "redis-1.0.0.tgz").unlink()
    make_chart(tmp_path / "charts" / "redis", CHART_YAML.replace("demo", "redis"))
    assert "demo/charts/redis/Chart.yaml" in [member.name for member in members(archive(tmp_path))]


def test_a_changed_compressor_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chart(tmp_path / "chart")
    monkeypatch.setattr(layer, "_LEVEL", 6)
    with pytest.raises(CompressorChanged):
        package(tmp_path / "chart", tmp_path / "out", epoch_s=EPOCH_S)
    assert not (tmp_path / "out").exists()


# The file.


def test_a_package_is_a_file_named_after_the_version(tmp_path: Path) -> None:
    make_chart(tmp_path / "chart", CHART_YAML.replace("0.1.0", "0.1.0-rc.1+b.5"))
    old = os.umask(0o077)
    try:
        done = package(tmp_path / "chart", tmp_path / "a" / "b", epoch_s=EPOCH_S)
    finally:
        os.umask(old)
    data = done.path.read_bytes()
    assert done.path == tmp_path / "a" / "b" / "demo-0.1.0-rc.1+b.5.tgz"
    assert data == archive(tmp_path / "chart")
    assert done.path.stat().st_mode & 0o777 == 0o644
    assert list(done.path.parent.iterdir()) == [done.path]
    assert done.to_json() == {
        "path": str(done.path),
        "name": "demo",
        "version": "0.1.0-rc.1+b.5",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size_bytes": len(data),
        "files": 3,
    }


def test_a_package_replaces_an_older_one(tmp_path: Path) -> None:
    make_chart(tmp_path / "chart")
    before = package(tmp_path / "chart", tmp_path, epoch_s=1)
    after = package(tmp_path / "chart", tmp_path, epoch_s=2)
    assert before.path == after.path
    assert before.digest != after.digest
    assert hashlib.sha256(after.path.read_bytes()).hexdigest() == after.digest[7:]


def test_an_output_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    make_chart(tmp_path / "chart")
    (tmp_path / "out").touch()
    with pytest.raises(OutputUnwritable, match=r"out/demo-0\.1\.0\.tgz cannot be written"):
        package(tmp_path / "chart", tmp_path / "out", epoch_s=EPOCH_S)


# The time.


def test_without_a_time_it_is_that_of_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chart(tmp_path / "chart")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH_S))
    implied = package(tmp_path / "chart", tmp_path)
    assert implied == package(tmp_path / "chart", tmp_path, epoch_s=EPOCH_S)
    assert package(tmp_path / "chart", tmp_path, epoch_s=0).digest != implied.digest


def test_the_time_is_the_variables_else_the_commits_else_the_locks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Path] = []

    def revision(root: Path) -> Revision:
        asked.append(root)
        return known

    monkeypatch.setattr(subject, "read_revision", revision)
    known = Revision("0" * 40, 123)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert source_time_s() == 0
    assert asked == []
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    assert source_time_s() == 123
    assert asked == [commands.ROOT]
    known = Revision()
    suite = read_settings(commands.ROOT).default_suite
    assert source_time_s() == read_lock(commands.ROOT / LOCK, LOCK).suite(suite).epoch_s


def test_a_variable_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(OptionInvalid, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        source_time_s()
