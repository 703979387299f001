"""What a release carries, its notes, and what is missing for it, a line each."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands
from pipeline.errors import ImageInvalid, ImageMissing, ReleaseRefused
from pipeline.oci.layout import open_layout
from pipeline.release import assets
from pipeline.release.assets import Assets, collect
from pipeline.release.notes import make_notes
from pipeline.release.sums import read_sums
from tests.unit.pipeline.release.small_project import MANIFEST, SmallProject
from tests.unit.pipeline.release.test_package import build, with_back_end
from tests.unit.pipeline.release.test_prepare import release

ROOT = Path(__file__).parents[4]
TARGETS = ("production", "monitoring", "redis", "development")
PLATFORMS = ("linux-amd64", "linux-arm64")


def blob(layout: Path, document: Any, media_type: str) -> dict[str, Any]:
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    path = layout / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def write_layout(layout: Path, *architectures: str) -> dict[str, str]:
    """Write images without layers; return the digest of each platform's, and of the index."""
    oci = "application/vnd.oci.image"
    listed, digests = [], {}
    for architecture in architectures:
        platform = {"os": "linux", "architecture": architecture}
        rootfs = {"type": "layers", "diff_ids": []}
        config = blob(
            layout, {**platform, "author": layout.name, "rootfs": rootfs}, f"{oci}.config.v1+json"
        )
        manifest = {"schemaVersion": 2, "config": config, "layers": []}
        found = blob(layout, manifest, f"{oci}.manifest.v1+json")
        listed.append({**found, "platform": platform})
        digests[f"linux-{architecture}"] = found["digest"]
    index = blob(layout, {"schemaVersion": 2, "manifests": listed}, f"{oci}.index.v1+json")
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    return {**digests, "": index["digest"]}


def write_images(folder: Path) -> None:
    for target in TARGETS:
        digests = write_layout(folder / target, "amd64", "arm64")
        subjects = [{"digest": {"sha256": d.removeprefix("sha256:")}} for d in digests.values()]
        (folder / f"{target}.provenance.json").write_text(json.dumps({"subject": subjects}))
        for platform in PLATFORMS:
            sbom = {"metadata": {"component": {"version": digests[platform]}}}
            (folder / f"{target}-{platform}.cdx.json").write_text(json.dumps(sbom))


@pytest.fixture
def ready(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """Return a release whose packages and images are built."""
    with_back_end(project, monkeypatch)
    project.write(
        "deployment/images.toml", (ROOT / "deployment" / "images.toml").read_text(encoding="utf-8")
    )
    project.write("deployment/helm/accelerapp/templates/a.yaml", "a: 1\n")
    project.commit("Images")
    release(project, part="minor")
    build(project)
    write_images(project.root / "dist" / "images")
    return project


def gather(project: SmallProject) -> Assets:
    dist = project.root / "dist"
    return collect(
        output=dist / "release", dist=dist / "python", images=dist / "images", root=project.root
    )


def test_a_release_carries_everything_once(ready: SmallProject) -> None:
    found = gather(ready)
    found.raise_for_missing()
    folder = ready.root / "dist" / "release"
    expected = {
        "SHA256SUMS",
        "accelerapp-0.2.0-py3-none-any.whl",
        "accelerapp-0.2.0.tar.gz",
        "accelerapp-0.2.0.tgz",
        "accelerapp-deployment.yaml",
        *(f"{target}.provenance.json" for target in TARGETS),
        *(f"{target}-{platform}.cdx.json" for target in TARGETS for platform in PLATFORMS),
    }
    assert {path.name for path in folder.iterdir()} == expected
    assert [one.name for one in found.files] == sorted(expected)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    names = [line.split("  ")[1] for line in lines]
    assert names == sorted(expected - {"SHA256SUMS"})
    for name, sha256 in (read_sums((folder / "SHA256SUMS").read_bytes()) or {}).items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    again = gather(ready)
    assert again == found


def spoil(project: SmallProject, what: str) -> None:
    dist = project.root / "dist"
    if what == "nothing built":
        shutil.rmtree(dist)
    elif what == "wheel":
        (dist / "python" / "accelerapp-0.2.0-py3-none-any.whl").write_bytes(b"PK")
    elif what == "extra":
        (dist / "python" / "other.whl").touch()
    elif what == "sbom":
        (dist / "images" / "redis-linux-arm64.cdx.json").unlink()
    elif what == "other sbom":
        path = dist / "images" / "redis-linux-arm64.cdx.json"
        path.write_text((dist / "images" / "redis-linux-amd64.cdx.json").read_text())
    elif what == "other provenance":
        path = dist / "images" / "redis.provenance.json"
        path.write_text((dist / "images" / "production.provenance.json").read_text())
    elif what == "no provenance":
        (dist / "images" / "redis.provenance.json").write_text("{}")
    elif what == "manifest":
        project.write(MANIFEST, project.read(MANIFEST).replace("v0.2.0", "v0.1.0"))


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("wheel", ["dist/python/accelerapp-0.2.0-py3-none-any.whl is not what "]),
        ("extra", ["dist/python/other.whl is there, too"]),
        ("sbom", ["dist/images/redis-linux-arm64.cdx.json is missing; make it: invoke sbom"]),
        ("other sbom", ["redis-linux-arm64.cdx.json is not of "]),
        ("other provenance", ["redis.provenance.json is not of "]),
        ("no provenance", ["redis.provenance.json is no provenance"]),
        ("manifest", [f"the version is 0.2.0, and {MANIFEST} names 0.1.0"]),
        (
            "nothing built",
            ["there is no ", *("is missing; make it: invoke build",), *["is missing"] * 11],
        ),
    ],
)
def test_what_is_missing_is_a_line_each(ready: SmallProject, what: str, lines: list[str]) -> None:
    spoil(ready, what)
    found = gather(ready)
    assert len(found.missing) == len(lines)
    for line, expected in zip(found.missing, lines, strict=True):
        assert expected in line
        assert "\n" not in line
    assert found.files == ()
    assert not (ready.root / "dist" / "release").exists()
    count = "1 input of the release is" if len(lines) == 1 else f"{len(lines)} inputs of the"
    with pytest.raises(ReleaseRefused, match=count):
        found.raise_for_missing()


def test_a_wheel_of_other_files_is_refused_without_its_sums(ready: SmallProject) -> None:
    """Another job may have brought the packages alone."""
    (ready.root / "dist" / "python.SHA256SUMS").unlink()
    gather(ready).raise_for_missing()
    ready.write("src/accelerapp/cli.py", "def main() -> int:\n    return 1\n")
    (line,) = gather(ready).missing
    assert "accelerapp/cli.py is another than src/accelerapp/cli.py" in line


def test_a_folder_of_something_else_is_kept(ready: SmallProject) -> None:
    folder = ready.root / "dist" / "release"
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(ReleaseRefused, match="is no folder of assets"):
        gather(ready)
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_old_assets_are_replaced_as_a_whole(ready: SmallProject) -> None:
    gather(ready)
    folder = ready.root / "dist" / "release"
    (folder / "accelerapp-0.1.0.tgz").touch()
    gather(ready)
    assert "accelerapp-0.1.0.tgz" not in [path.name for path in folder.iterdir()]


# Notes.


def test_notes_are_the_section_and_the_images(
    ready: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ready.root / "dist" / "images"
    write_layout(folder / "redis", "amd64")
    shutil.rmtree(folder / "monitoring")
    place = "r.example/o/accelerapp:v0.2.0"
    monkeypatch.setattr(commands, "OUTPUT", folder)
    text = make_notes("", root=ready.root, environ={"ACCELERAPP_REGISTRY": "r.example/o"})
    digests = {
        target: open_layout(folder / target).top.descriptor.digest
        for target in ("production", "development")
    }
    assert text == (
        "### Added\n\n- Something.\n\n### Images\n\n"
        "| target | image | digest |\n| --- | --- | --- |\n"
        f"| production | `{place}-production` | `{digests['production']}` |\n"
        f"| monitoring | `{place}-monitoring` |  |\n"
        f"| redis | `{place}-redis` |  |\n"
        f"| development | `{place}-development` | `{digests['development']}` |\n"
    )


def test_notes_of_a_folder_that_is_named_have_all_images(
    ready: SmallProject, tmp_path: Path
) -> None:
    folder = ready.root / "dist" / "images"
    assert make_notes("", root=ready.root, images=folder, environ={}).count("`sha256:") == 4
    with pytest.raises(ImageMissing, match=r"there is no image in .*nowhere"):
        make_notes("", root=ready.root, images=tmp_path / "nowhere", environ={})
    shutil.rmtree(folder / "redis")
    with pytest.raises(ImageMissing, match=r"there is no image in .*redis"):
        make_notes("", root=ready.root, images=folder, environ={})


@pytest.mark.parametrize("named", [True, False])
def test_notes_of_an_image_that_is_damaged_are_none(
    ready: SmallProject, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    folder = ready.root / "dist" / "images"
    monkeypatch.setattr(commands, "OUTPUT", folder)
    (folder / "redis" / "index.json").write_text("{")
    with pytest.raises(ImageInvalid, match="redis"):
        make_notes("", root=ready.root, images=folder if named else None, environ={})


def test_notes_of_a_version_that_nobody_wrote_about(ready: SmallProject) -> None:
    with pytest.raises(ReleaseRefused, match=r"has no section of 0\.3\.0"):
        make_notes("0.3.0", root=ready.root)


def test_the_folder_of_images_is_that_of_builds() -> None:
    assert assets.ASSETS.parent == commands.OUTPUT.parent
