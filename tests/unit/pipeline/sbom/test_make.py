"""An SBOM equals the image and the lock, passes its format's own rules, and never varies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from pipeline.errors import ImageMissing, LockTampered, OptionInvalid, PackagesDiffer, ToolMissing
from pipeline.lock import Contents, write_lock
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.sbom.make import Sbom, SbomRequest, make_sboms
from pipeline.settings import LOCK
from tests.unit.pipeline.factories import Recorder, World, deb, snapshot_of

EXPECTED = {
    ("deb", "base-passwd", "1.0-1"),
    ("deb", "ca-certificates", "1.0-1"),
    ("deb", "libc6", "1.0-1"),
    ("deb", "zlib1g", "1:1.2.13.dfsg-1+b1"),
    ("deb", "zlib1g-more", "7"),
    ("pypi", "dep", "1.0"),
    ("pypi", "other", "1.0"),
    ("pypi", "mini", "1.0"),
}


def make(world: World, **request: Any) -> tuple[Sbom, ...]:
    asked = SbomRequest(images=world.output, **request)
    return make_sboms(asked, Silent(), root=world.root, runner=request.pop("runner", Recorder()))


def documents(world: World, **request: Any) -> dict[str, Any]:
    """Return each document by its file's name."""
    return {s.path.name: json.loads(s.path.read_bytes()) for s in make(world, **request)}


def component(document: Any, name: str) -> Any:
    (found,) = (c for c in document["components"] if c["name"] == name)
    return found


def test_there_is_a_document_a_platform_with_every_package(built: World) -> None:
    made = documents(built)
    assert sorted(made) == ["production-linux-amd64.cdx.json", "production-linux-arm64.cdx.json"]
    for document in made.values():
        found = {
            (c["purl"].partition(":")[2].partition("/")[0], c["name"], c["version"])
            for c in document["components"]
            if "purl" in c and not c["name"].startswith("python")
        }
        assert found == EXPECTED


def test_cyclonedx_is_valid_and_says_where_each_package_is_from(built: World) -> None:
    document = documents(built, platforms=["arm64"])["production-linux-arm64.cdx.json"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    zlib = component(document, "zlib1g")
    (locked,) = (d.locked for d in built.debs[Platform.ARM64] if d.name == "zlib1g")
    assert zlib["purl"] == "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1%2Bb1?arch=arm64"
    assert zlib["hashes"] == [{"alg": "SHA-256", "content": locked.sha256}]
    assert zlib["licenses"][0]["expression"] == (
        "(Artistic-1.0-Perl OR GPL-2.0-or-later) AND LicenseRef-own AND MIT"
    )
    properties = {p["name"]: p["value"] for p in zlib["properties"]}
    assert properties["accelerapp:file"] == locked.path
    assert properties["aquasecurity:trivy:SrcEpoch"] == "1"
    assert properties["aquasecurity:trivy:SrcVersion"] == "1.2.13.dfsg"
    assert properties["aquasecurity:trivy:SrcRelease"] == "1+b1"
    manifest = document["metadata"]["component"]["version"].removeprefix("sha256:")
    layers = json.loads((built.output / "production/blobs/sha256" / manifest).read_bytes())[
        "layers"
    ]
    assert properties["accelerapp:layer"] == layers[0]["digest"]
    own = {p["name"]: p["value"] for p in component(document, "mini")["properties"]}
    assert own["accelerapp:layer"] == layers[-1]["digest"]
    # A folder that is a link to another package's says what that one says.
    assert component(document, "zlib1g-more")["licenses"] == zlib["licenses"]
    assert "licenses" not in component(document, "dep")
    needs = {d["ref"]: d["dependsOn"] for d in document["dependencies"]}
    assert needs["pkg:pypi/dep@1.0"] == ["pkg:pypi/other@1.0"]
    assert needs["pkg:pypi/mini@1.0"] == ["pkg:pypi/dep@1.0"]


def test_spdx_passes_the_rules_of_its_own_tools(built: World) -> None:
    for made in make(built, formats=["spdx"]):
        parsed = parse_file(str(made.path))
        assert [m.validation_message for m in validate_full_spdx_document(parsed)] == []
        names = {(p.name, p.version) for p in parsed.packages}
        assert {(name, version) for _, name, version in EXPECTED} <= names
        assert made.digest in {p.version for p in parsed.packages}


def test_the_same_image_gives_the_same_bytes(built: World, tmp_path: Path) -> None:
    both = ["cyclonedx,spdx"]
    first = {s.path.name: s.path.read_bytes() for s in make(built, formats=both)}
    # From the records of the cache, and without them.
    for cached in (True, False):
        if not cached:
            for path in (built.cache.folder / "records" / "inventories").iterdir():
                path.unlink()
        again = make(built, formats=both, output=tmp_path / f"again-{cached}")
        assert {s.path.name: s.path.read_bytes() for s in again} == first
    assert len(first) == 4


def test_a_package_that_the_lock_lacks_is_refused(built: World) -> None:
    built.debs[Platform.ARM64].pop()
    write_lock(built.root / LOCK, built.lock())
    before = snapshot_of(built.output)
    with pytest.raises(PackagesDiffer, match="only the image has zlib1g-more 7"):
        make(built)
    assert snapshot_of(built.output) == before  # amd64's was good, and is not written either.


def test_a_package_that_the_image_lacks_is_refused(built: World) -> None:
    built.debs[Platform.AMD64].append(deb("new", [], version="3"))
    write_lock(built.root / LOCK, built.lock())
    with pytest.raises(PackagesDiffer, match="only the lock has new 3"):
        make(built)


def test_another_version_is_refused(built: World) -> None:
    lock = built.lock()
    suite = lock.suites["tiny"]
    for images in suite.images.values():
        wheels = tuple(replace(w, version="2.0") for w in images["production"].wheels)
        assert isinstance(images, dict)
        images["production"] = Contents(wheels=wheels)
    write_lock(built.root / LOCK, lock)
    with pytest.raises(
        PackagesDiffer, match=r"only the lock has dep 2\.0.* only the image has dep"
    ):
        make(built)


def test_a_changed_lock_is_refused(built: World) -> None:
    path = built.root / LOCK
    path.write_text(path.read_text().replace("zlib1g", "zlib2g"))
    with pytest.raises(LockTampered):
        make(built)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"formats": ["cyclondx"]}, OptionInvalid, "did you mean 'cyclonedx'"),
        ({"targets": ["base"]}, ImageMissing, "no image in .*base"),
    ],
)
def test_bad_flags_get_one_line(
    built: World, request_: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(built, **request_)


def test_a_platform_that_is_not_built_is_named(world: World) -> None:
    from tests.unit.pipeline.sbom.conftest import write_files

    write_files(world)
    world.fill_cache()
    world.build(platforms=[Platform.AMD64])
    with pytest.raises(ImageMissing, match=r"no image for linux/arm64; it has linux/amd64"):
        make(world, platforms=["arm64"])


# Scanners.


def scanners(built: World, *, trivy: list[str] | None = None, fails: str = "") -> Any:
    """Return a runner that answers as Trivy and Syft would, apart from what is changed."""
    document = documents(built, platforms=["amd64"])["production-linux-amd64.cdx.json"]
    packages = [c for c in document["components"] if "purl" in c]
    purls = [
        c["purl"].replace("zlib1g@1:", "zlib1g@").replace("?", "?epoch=1&", "zlib1g@" in c["purl"])
        for c in packages
    ]
    artifacts = [
        {
            "type": "deb" if c["purl"].startswith("pkg:deb") else "python",
            "name": c["name"].title() if c["name"] == "dep" else c["name"],
            "version": c["version"],
        }
        for c in packages
    ]
    artifacts.append({"type": "binary", "name": "python", "version": "3"})

    def run(argv: tuple[str, ...], **_: Any) -> Completed:
        if fails == argv[0]:
            return Completed(argv, 1, "", "warning\nFATAL  it broke\n")
        if argv[0] == "trivy":
            listed = [{"purl": purl} for purl in (purls if trivy is None else trivy)]
            return Completed(argv, 0, json.dumps({"components": [{"name": "os"}, *listed]}), "")
        return Completed(argv, 0, json.dumps({"artifacts": artifacts}), "")

    return run


def checked(built: World, runner: Any) -> tuple[Sbom, ...]:
    request = SbomRequest(images=built.output, platforms=["amd64"], check=True)
    return make_sboms(request, Silent(), root=built.root, runner=runner)


def test_scanners_that_agree_are_named(built: World) -> None:
    (made,) = checked(built, scanners(built))
    assert made.checked == ("trivy", "syft")
    assert made.to_json()["packages"] == {"deb": 6, "pypi": 3}


def test_a_scanner_that_finds_something_else_is_believed(built: World) -> None:
    with pytest.raises(PackagesDiffer, match=r"trivy does not find .* only trivy has evil 6"):
        checked(built, scanners(built, trivy=["pkg:pypi/evil@6"]))


@pytest.mark.parametrize("scanner", ["trivy", "syft"])
def test_a_scanner_that_fails_is_no_agreement(built: World, scanner: str) -> None:
    with pytest.raises(ToolMissing, match=f"{scanner} could not list .*: FATAL  it broke"):
        checked(built, scanners(built, fails=scanner))


def test_an_answer_that_is_none_is_no_agreement(built: World) -> None:
    with pytest.raises(ToolMissing, match="cannot be read"):
        checked(built, Recorder([(0, "[]", "")]))
