"""Wheel and sdist: the same bytes each time, the same wheel from both, and nothing odd inside."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.sources.project
from pipeline import commands
from pipeline.cache import Cache
from pipeline.errors import ProjectBuildFailed
from pipeline.release.package import (
    Packages,
    check_metadata,
    check_sdist,
    check_wheel,
    package,
    sums_path,
    unpack_sdist,
)
from pipeline.release.sums import read_sums
from pipeline.release.version import Version, parse_version
from pipeline.report import Silent
from pipeline.sources.project import Distribution
from tests.unit.pipeline.release.small_project import SmallProject

VERSION = parse_version("0.1.0")
COMMIT_S = 1_795_953_600  # 2026-11-29T12:00:00Z
PYPROJECT = """\
[build-system]
requires = []
build-backend = "back_end"
backend-path = ["."]

[project]
name = "accelerapp"
dynamic = ["version"]
"""
# As much of a build back end as there has to be.
BACK_END = '''\
import base64, gzip, hashlib, io, os, pathlib, re, tarfile, time, zipfile

EPOCH_S = int(os.environ["SOURCE_DATE_EPOCH"])
VERSION = re.search('"(.*)"', open("src/accelerapp/__init__.py").read().splitlines()[-1])[1]
TOP = f"accelerapp-{VERSION}"
METADATA = f"""Metadata-Version: 2.4
Name: accelerapp
Version: {VERSION}
Summary: Small
License-Expression: MIT
License-File: LICENSE
Requires-Python: >=3.11
Description-Content-Type: text/markdown

{open("README.md").read()}"""


def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = f"{TOP}.dist-info"
    files = {
        path.relative_to("src").as_posix(): path.read_bytes()
        for path in sorted(pathlib.Path("src").rglob("*.py"))
    }
    files[f"{info}/METADATA"] = METADATA.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\\naccelerapp=accelerapp.cli:main\\n"
    files[f"{info}/licenses/LICENSE"] = open("LICENSE", "rb").read()
    rows = [f"{name},sha256={digest(data)},{len(data)}" for name, data in files.items()]
    record = f"{info}/RECORD"
    files[record] = "".join(f"{row}\\n" for row in [*rows, f"{record},,"]).encode()
    name = f"{TOP}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, time.gmtime(EPOCH_S)[:6]), data)
    return name


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def build_sdist(folder, config_settings=None):
    files = {
        path.as_posix(): path.read_bytes()
        for top in ("src", "README.md", "LICENSE", "pyproject.toml", "back_end.py")
        for path in (sorted(pathlib.Path(top).rglob("*.py")) or [pathlib.Path(top)])
    }
    files["PKG-INFO"] = METADATA.encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(f"{TOP}/{path}")
            member.size, member.mtime = len(data), EPOCH_S
            archive.addfile(member, io.BytesIO(data))
    name = f"{TOP}.tar.gz"
    pathlib.Path(folder, name).write_bytes(gzip.compress(out.getvalue(), mtime=EPOCH_S))
    return name
'''


def with_back_end(project: SmallProject, patch: pytest.MonkeyPatch) -> SmallProject:
    """Return the project with a back end of its own, which runs in this Python."""
    patch.setattr(
        pipeline.sources.project, "_environment", lambda _lines, _cache: Path(sys.executable)
    )
    patch.setattr(commands, "ROOT", project.root)
    project.write("pyproject.toml", PYPROJECT)
    project.write("back_end.py", BACK_END)
    project.write("tests/test_a.py", "")
    project.commit("A back end")
    return project


@pytest.fixture
def source(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    return with_back_end(project, monkeypatch)


def build(source: SmallProject, output: str = "dist/python") -> Packages:
    cache = Cache(source.root.parent / "cache")
    return package(
        Silent(), output=source.root / output, root=source.root, cache=cache, requirements=()
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Distribution, Distribution]:
    """Return wheel and sdist, built once for all tests that only look into them."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("made")
        made = build(with_back_end(SmallProject(folder / "project"), patch))
    wheel, sdist = (Distribution(n, (made.output / n).read_bytes()) for n in made.files)
    return wheel, sdist


def test_a_commit_has_one_wheel_and_one_sdist(source: SmallProject) -> None:
    first, second = build(source), build(source, "elsewhere/python")
    assert first.files == second.files
    assert list(first.files) == ["accelerapp-0.1.0-py3-none-any.whl", "accelerapp-0.1.0.tar.gz"]
    assert first.epoch_s == COMMIT_S
    with tarfile.open(first.output / "accelerapp-0.1.0.tar.gz") as archive:
        assert {member.mtime for member in archive} == {COMMIT_S}
    for name, sha256 in first.files.items():
        data = (first.output / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
    assert read_sums(sums_path(first.output).read_bytes()) == dict(first.files)
    # All that is in the folder is for an index.
    assert sorted(p.name for p in first.output.iterdir()) == sorted(first.files)


def test_what_was_built_of_another_version_is_gone(source: SmallProject) -> None:
    folder = source.root / "dist" / "python"
    folder.mkdir(parents=True)
    for name in ("accelerapp-0.0.9.tar.gz", "accelerapp-0.0.9-py3-none-any.whl", "other.whl"):
        (folder / name).touch()
    build(source)
    assert "other.whl" in [p.name for p in folder.iterdir()]
    assert not list(folder.glob("*0.0.9*"))


def test_an_sdist_that_lacks_a_module_is_refused(source: SmallProject) -> None:
    less = BACK_END.replace('"src", "README', '"src/accelerapp/__init__.py", "README')
    source.write("back_end.py", less)
    with pytest.raises(ProjectBuildFailed, match=r"the wheel of .*tar\.gz is not the wheel of"):
        build(source)
    assert not (source.root / "dist" / "python").exists()


def test_changed_files_are_noticed(source: SmallProject) -> None:
    said: list[str] = []

    class Hears(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    source.write("README.md", "# Other\n")
    cache = Cache(source.root.parent / "cache")
    output = source.root / "dist" / "python"
    package(Hears(), output=output, root=source.root, cache=cache, requirements=())
    assert said == ["note: tracked files differ from the commit; this is nothing to publish"]


# What is in them.


def rewritten(
    wheel: Distribution, change: Callable[[dict[str, bytes]], None], *, records: bool = True
) -> Distribution:
    """Return a wheel with other files, whose RECORD says what they are, if it `records` them."""
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record = next(name for name in files if name.endswith("/RECORD"))
    change(files)
    if record in files and records:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for name, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            writer.writerow((name, "" if name == record else f"sha256={digest}", ""))
        files[record] = out.getvalue().encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return replace(wheel, data=packed.getvalue())


INFO = "accelerapp-0.1.0.dist-info"


def edit(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new)

    return change


METADATA = f"{INFO}/METADATA"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update({"accelerapp/x.py": b""}), "accelerapp/x.py is not of the project"),
        (lambda f: f.update({"tests/a.py": b""}), "tests/a.py is not of the project"),
        (lambda f: f.pop("accelerapp/cli.py"), "accelerapp/cli.py is missing"),
        (lambda f: f.update({"accelerapp/cli.py": b"1"}), "is another than src/accelerapp/cli.py"),
        (lambda f: f.pop(f"{INFO}/licenses/LICENSE"), "the project's LICENSE is not in it"),
        (edit(f"{INFO}/licenses/LICENSE", b"like", b"must"), "LICENSE is not in it"),
        (lambda f: f.pop(f"{INFO}/entry_points.txt"), "it has no command 'accelerapp'"),
        (lambda f: f.pop(f"{INFO}/RECORD"), "is in no RECORD"),
        (lambda f: f.pop(METADATA), "its metadata: "),
        (edit(METADATA, b"Version: 0.1.0", b"Version: 0.2.0"), "its version is not 0.1.0"),
        (edit(METADATA, b"Name: accelerapp", b"Name: other"), "its name is not accelerapp"),
        (edit(METADATA, b"Name: accelerapp", b"Name: -"), "its metadata: "),
        (edit(METADATA, b"Metadata-Version: 2.4", b"Metadata-Version: 9.9"), "its metadata: "),
        (edit(METADATA, b"text/markdown", b"text/plain"), "the description is not text/markdown"),
        (edit(METADATA, b"Summary: Small\n", b""), "there is no summary"),
        (edit(METADATA, b"License-Expression: MIT\n", b""), "there is no license expression"),
        (edit(METADATA, b"License-File: LICENSE\n", b""), "it does not name LICENSE"),
        (edit(METADATA, b"Requires-Python: >=3.11\n", b""), "for which Python it is"),
    ],
)  # fmt: skip
def test_a_wheel_that_is_not_what_it_has_to_be(
    source: SmallProject,
    made: tuple[Distribution, Distribution],
    change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    wheel, _ = made
    check_wheel(rewritten(wheel, lambda files: None), source.root, VERSION)
    with pytest.raises(ProjectBuildFailed) as refused:
        check_wheel(rewritten(wheel, change), source.root, VERSION)
    assert message in str(refused.value)
    assert str(refused.value).startswith(wheel.filename)


def test_a_record_that_is_wrong(
    source: SmallProject, made: tuple[Distribution, Distribution]
) -> None:
    wheel, _ = made
    record = f"{INFO}/RECORD"
    for old, new, message in [
        (b"accelerapp/cli.py,sha256=", b"accelerapp/cli.py,sha256=x", "cli.py has another digest"),
        (b"accelerapp/cli.py,", b"accelerapp/other.py,", "cli.py is in no RECORD"),
        (b"accelerapp/cli.py,", b"accelerapp/other.py,,\naccelerapp/cli.py,", "in RECORD alone"),
    ]:
        spoiled = rewritten(wheel, edit(record, old, new), records=False)
        with pytest.raises(ProjectBuildFailed, match=message):
            check_wheel(spoiled, source.root, VERSION)
    with pytest.raises(ProjectBuildFailed, match="cannot be read"):
        check_wheel(replace(wheel, data=b"PK"), source.root, VERSION)
    with pytest.raises(ProjectBuildFailed, match=r"its name is not that of version 0\.2\.0"):
        check_wheel(wheel, source.root, parse_version("0.2.0"))


def packed(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Distribution:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), kind
            archive.addfile(member, io.BytesIO(data))
    return Distribution("accelerapp-0.1.0.tar.gz", out.getvalue())


def test_an_sdist_that_is_not_what_it_has_to_be(made: tuple[Distribution, Distribution]) -> None:
    wheel, sdist = made
    check_sdist(sdist, wheel, VERSION)
    with tarfile.open(fileobj=io.BytesIO(sdist.data)) as archive:
        files = {m.name: f.read() for m in archive if (f := archive.extractfile(m)) is not None}
    top = "accelerapp-0.1.0"
    for name in ("LICENSE", "README.md", "pyproject.toml", "PKG-INFO"):
        less = {path: data for path, data in files.items() if path != f"{top}/{name}"}
        with pytest.raises(ProjectBuildFailed, match=f"{name} is not in it"):
            check_sdist(packed(less), wheel, VERSION)
    with pytest.raises(ProjectBuildFailed, match=r"tests/a\.py does not belong in it"):
        check_sdist(packed({**files, f"{top}/tests/a.py": b""}), wheel, VERSION)
    with pytest.raises(ProjectBuildFailed, match="is not the METADATA of"):
        check_sdist(packed({**files, f"{top}/PKG-INFO": b"Name: x\n"}), wheel, VERSION)
    with pytest.raises(ProjectBuildFailed, match="cannot be read"):
        check_sdist(replace(sdist, data=sdist.data[:100]), wheel, VERSION)


def test_an_sdist_unpacks_below_one_folder(tmp_path: Path) -> None:
    for odd, message in [
        (packed({"../a": b""}), "is not below accelerapp-0.1.0/"),
        (packed({"other/a": b""}), "is not below"),
        (packed({"accelerapp-0.1.0/a": b""}, tarfile.SYMTYPE), "neither a file nor a folder"),
        (packed({"accelerapp-0.1.0/../../a": b""}), "is not below"),
        (Distribution("accelerapp-0.1.0.tar.gz", b"no"), "cannot be unpacked"),
    ]:
        with pytest.raises(ProjectBuildFailed, match=message):
            unpack_sdist(odd, tmp_path / "out", VERSION)
    assert not (tmp_path / "a").exists()


def test_pre_releases_are_spelled_as_python_spells_them(source: SmallProject) -> None:
    source.write("src/accelerapp/__init__.py", '__version__ = "1.0.0rc1"\n')
    assert list(build(source).files) == [
        "accelerapp-1.0.0rc1-py3-none-any.whl", "accelerapp-1.0.0rc1.tar.gz"
    ]  # fmt: skip


def test_metadata_of_another_version(made: tuple[Distribution, Distribution]) -> None:
    wheel, _ = made
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        data = archive.read(METADATA)
    check_metadata(wheel, data, VERSION)
    other = Version((0, 1, 1))
    with pytest.raises(ProjectBuildFailed, match=r"its version is not 0\.1\.1"):
        check_metadata(wheel, data, other)
