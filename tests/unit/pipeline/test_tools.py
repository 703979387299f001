"""Programs of others: where they are found, and that only pinned releases are fetched."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import tools
from pipeline.errors import DownloadCorrupt, NetworkUnavailable, OptionInvalid, ToolMissing
from pipeline.process import Completed
from pipeline.tools import PROGRAMS, Found, Program, Release, find, inspect, install, locate
from tests.unit.pipeline.tasks.test_namespace import run

SYSTEM = "linux/amd64"
SCRIPT = b"#!/bin/sh\necho 'Version: 0.71.2'\n"


def archive(name: str = "trivy") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path, data in (("README.md", b"about trivy"), (f"linux-amd64/{name}", SCRIPT)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def pinned(data: bytes, asset: str = "trivy_Linux.tar.gz", address: str = "") -> Program:
    assets = {SYSTEM: (asset, hashlib.sha256(data).hexdigest())}
    return replace(tools.program("trivy"), release=Release("0.71.2", address, assets))


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Return a folder with a release, as somebody carries it to a machine without a network."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "trivy_Linux.tar.gz").write_bytes(archive())
    return folder


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Program:
    program = pinned(archive())
    monkeypatch.setitem(tools._BY_NAME, "trivy", program)
    return program


def test_a_release_is_fetched_once_and_then_found(known: Program, shelf: Path) -> None:
    with pytest.raises(ToolMissing, match=r"trivy is not here; invoke tools\.install trivy"):
        find("trivy", {"PATH": ""})
    done = install("trivy", str(shelf), SYSTEM)
    assert (done.version, done.is_new) == ("0.71.2", True)
    assert done.path.read_bytes() == SCRIPT
    assert done.path.stat().st_mode & 0o777 == 0o755
    assert find("trivy", {"PATH": ""}) == str(done.path)
    (found,) = inspect(["trivy"], {"PATH": ""})
    assert (found.version, found.path, found.is_supported) == ("0.71.2", str(done.path), True)
    assert not install("trivy", str(shelf / "gone"), SYSTEM).is_new


def test_one_that_was_changed_is_fetched_again(known: Program, shelf: Path) -> None:
    path = install("trivy", str(shelf), SYSTEM).path
    path.write_bytes(b"#!/bin/sh\nsteal\n")
    assert install("trivy", str(shelf), SYSTEM).is_new
    assert path.read_bytes() == SCRIPT


def test_a_program_that_comes_as_it_is(
    monkeypatch: pytest.MonkeyPatch, shelf: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(tools._BY_NAME, "trivy", pinned(SCRIPT, "linux/amd64/trivy", f"{shelf}/"))
    (shelf / "trivy").write_bytes(SCRIPT)
    assert install("trivy", str(shelf), SYSTEM).path.read_bytes() == SCRIPT


@pytest.mark.parametrize("tamper", ["flipped", "short", "other"])
def test_anything_else_is_refused_and_not_kept(known: Program, shelf: Path, tamper: str) -> None:
    path = shelf / "trivy_Linux.tar.gz"
    data = path.read_bytes()
    flipped = data[:20] + bytes([data[20] ^ 1]) + data[21:]
    path.write_bytes({"flipped": flipped, "short": data[:-1], "other": archive("x")}[tamper])
    with pytest.raises(DownloadCorrupt, match=r"is not trivy 0\.71\.2 for linux/amd64"):
        install("trivy", str(shelf), SYSTEM)
    assert known.release is not None
    assert not tools.installed_path(known, known.release).exists()


def test_a_pin_of_an_archive_without_the_program_is_said(
    monkeypatch: pytest.MonkeyPatch, shelf: Path
) -> None:
    data = archive("another")
    (shelf / "trivy_Linux.tar.gz").write_bytes(data)
    monkeypatch.setitem(tools._BY_NAME, "trivy", pinned(data))
    with pytest.raises(DownloadCorrupt, match="has no program 'trivy'"):
        install("trivy", str(shelf), SYSTEM)


def test_a_place_without_the_release_is_said(known: Program, tmp_path: Path) -> None:
    with pytest.raises(NetworkUnavailable, match=r"trivy 0\.71\.2"):
        install("trivy", str(tmp_path / "nowhere"), SYSTEM)


@pytest.mark.parametrize(
    ("name", "system", "message"),
    [
        ("trivi", SYSTEM, "there is no tool 'trivi'.*did you mean 'trivy'"),
        ("git", SYSTEM, "git is not fetched by this"),
        ("kubectl", "plan9/mips", "no pinned release of kubectl for plan9/mips"),
    ],
)
def test_what_cannot_be_fetched_is_said(name: str, system: str, message: str) -> None:
    with pytest.raises(OptionInvalid, match=message):
        install(name, system=system)


def test_pins_are_whole_and_of_https() -> None:
    releases = [program.release for program in PROGRAMS if program.release is not None]
    assert {program.name for program in PROGRAMS if program.release} == {
        "trivy",
        "helm",
        "kubectl",
        "hadolint",
    }
    for release in releases:
        assert release.address.startswith("https://")
        assert release.address.endswith("/")
        assert {"linux/amd64", "linux/arm64"} <= set(release.assets)
        digests = [sha256 for _, sha256 in release.assets.values()]
        assert len(set(digests)) == len(digests)
        for digest in digests:
            assert len(bytes.fromhex(digest)) == 32


def test_the_variable_wins_then_path_then_what_was_fetched(
    known: Program, shelf: Path, tmp_path: Path
) -> None:
    fetched = install("trivy", str(shelf), SYSTEM).path
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "trivy").write_bytes(SCRIPT)
    (folder / "trivy").chmod(0o755)
    assert find("trivy", {"PATH": str(folder), "TRIVY": str(fetched)}) == str(fetched)
    assert find("trivy", {"PATH": str(folder)}) == str(folder / "trivy")
    assert locate("trivy", {"PATH": str(folder)}) == "trivy"
    with pytest.raises(ToolMissing, match="TRIVY is '/nowhere', and that cannot be run"):
        find("trivy", {"PATH": str(folder), "TRIVY": "/nowhere"})


@pytest.mark.parametrize(
    ("name", "printed", "version", "supported"),
    [
        ("trivy", "Version: 0.58.1\n", "0.58.1", False),
        ("trivy", "Version: 0.59.0\n", "0.59.0", True),
        ("trivy", "Version: 1.0.0\n", "1.0.0", False),
        ("cosign", "GitVersion:    v3.0.2\nGoVersion:     go1.24.4\n", "3.0.2", False),
        ("cosign", "GitVersion:    devel\nGoVersion:     go1.24.4\n", "devel", True),
        ("helm", "v3.20.0+g1234567\n", "3.20.0+g1234567", True),
        ("kubectl", "Client Version: v1.36.0\nKustomize Version: v5.7.1\n", "1.36.0", True),
        ("docker compose", "Docker Compose version v2.19.1\n", "2.19.1", False),
        ("git", "no number\n", "", True),
    ],
)
def test_versions_are_judged(
    name: str, printed: str, version: str, supported: bool, tmp_path: Path
) -> None:
    for word in ("trivy", "cosign", "helm", "kubectl", "docker", "git"):
        (tmp_path / word).touch(mode=0o755)

    def answer(argv: tuple[str, ...], **_: Any) -> Completed:
        return Completed(argv, 0, printed, "")

    (found,) = inspect([name], {"PATH": str(tmp_path)}, answer)
    assert (found.version, found.is_supported) == (version, supported)


def test_what_fails_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "docker").touch(mode=0o755)

    def fail(argv: tuple[str, ...], **_: Any) -> Completed:
        return Completed(argv, 1, "", "unknown command")

    (found,) = inspect(["docker compose"], {"PATH": str(tmp_path)}, fail)
    assert found == Found(tools.program("docker compose"), "", "")
    assert not found.is_supported


def test_the_list_names_each_and_the_way_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tools", "--json") == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert set(listed) == {program.name for program in PROGRAMS}
    assert listed["git"]["supported"]
    assert run("tools") == 0
    assert "to get it" in capsys.readouterr().out


def test_the_task_fetches_several(
    known: Program, shelf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "this_system", lambda: SYSTEM)
    assert run("tools.install", "trivy,trivy", "--source", str(shelf), "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["name"], one["version"]) == ("trivy", "0.71.2")
    assert run("tools.install", "nothing") == OptionInvalid.exit_code
