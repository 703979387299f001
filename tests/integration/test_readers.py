"""What other people's tools make of the layouts and archives."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.platforms import Platform
from tests.integration.building import (
    PLATFORMS,
    PYTHON_TARGETS,
    ROOT,
    SETTINGS,
    TARGETS,
    BuiltImage,
    Checkout,
    blob,
    run,
    whole_layout,
)
from tests.integration.conftest import LoadArchive

ImageOf = Callable[[str, Platform], BuiltImage]
Inventory = Mapping[str, set[tuple[str, str]]]

SCHEMAS = ROOT / "tests" / "data" / "oci-schemas"

every_image = pytest.mark.parametrize(
    ("target", "platform"),
    [(target, platform) for target in TARGETS for platform in PLATFORMS],
    ids=lambda value: value if isinstance(value, str) else value.architecture,
)
every_python_image = pytest.mark.parametrize(
    ("target", "platform"),
    [(target, platform) for target in PYTHON_TARGETS for platform in PLATFORMS],
    ids=lambda value: value if isinstance(value, str) else value.architecture,
)
every_platform = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda p: p.architecture)
every_target = pytest.mark.parametrize("target", TARGETS)


def validate(document: Any, schema: str) -> None:
    """Raise `jsonschema.ValidationError` unless the document fits tests/data/oci-schemas."""
    rules = json.loads((SCHEMAS / f"{schema}.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(rules)
    jsonschema.Draft202012Validator(rules).validate(document)


@every_target
def test_every_document_follows_the_oci_specification(layouts: Path, target: str) -> None:
    folder = layouts / target
    views = [folder / str(platform).replace("/", "-") for platform in PLATFORMS]
    seen = []
    for layout in (folder, *views):
        validate(json.loads((layout / "oci-layout").read_bytes()), "oci-layout")
        pending = [("index", json.loads((layout / "index.json").read_bytes()))]
        while pending:
            schema, document = pending.pop()
            validate(document, schema)
            seen.append(schema)
            for part in document.get("manifests", ()):
                kind = "index" if "image.index" in part["mediaType"] else "manifest"
                pending.append((kind, json.loads(blob(layout, part["digest"]).read_bytes())))
            if schema == "manifest":
                config = json.loads(blob(layout, document["config"]["digest"]).read_bytes())
                validate(config, "config")
                layers = len(document["layers"])
                assert len(config["rootfs"]["diff_ids"]) == layers
                assert len([h for h in config["history"] if not h.get("empty_layer")]) == layers
    assert seen.count("manifest") == 2 * len(PLATFORMS)


@every_target
def test_every_blob_is_named_and_has_its_digest(layouts: Path, target: str) -> None:
    folder = layouts / target
    top = whole_layout(folder)
    for platform in PLATFORMS:
        assert whole_layout(folder / str(platform).replace("/", "-"))
    index = json.loads(blob(folder, str(top)).read_bytes())
    assert [part["platform"]["architecture"] for part in index["manifests"]] == [
        platform.architecture for platform in PLATFORMS
    ]


@every_image
def test_skopeo_inspects_each_platform_of_the_whole_layout(
    skopeo: Path, layouts: Path, target: str, platform: Platform
) -> None:
    override = ("--override-os", "linux", "--override-arch", platform.architecture)
    reference = f"oci:{layouts / target}:{target}"
    answer = json.loads(run([skopeo, *override, "inspect", reference]))
    assert answer["Architecture"] == platform.architecture
    assert answer["Labels"]["org.opencontainers.image.title"]


@every_target
def test_skopeo_copies_all_platforms_without_changing_the_digest(
    skopeo: Path, layouts: Path, target: str, tmp_path: Path
) -> None:
    run([skopeo, "copy", "--quiet", "--all", f"oci:{layouts / target}:{target}", f"dir:{tmp_path}"])
    copied = (tmp_path / "manifest.json").read_bytes()
    assert copied == blob(layouts / target, str(whole_layout(layouts / target))).read_bytes()


@every_platform
def test_skopeo_converts_to_a_docker_archive_that_loads(
    skopeo: Path,
    image_of: ImageOf,
    platform: Platform,
    tmp_path: Path,
    load_archive: LoadArchive,
) -> None:
    image = image_of("production", platform)
    archive = tmp_path / "converted.tar"
    override = ("--override-arch", platform.architecture)
    run(
        [
            *(skopeo, *override, "copy", "--quiet", f"oci:{image.view}"),
            f"docker-archive:{archive}:converted:{platform.architecture}",
        ]
    )
    (image_id,) = load_archive(archive)
    # The engine's id is the configuration's digest; skopeo keeps its bytes.
    assert image_id == image.manifest["config"]["digest"]


@every_image
def test_umoci_unpacks_what_the_layers_say(
    umoci: Path, image_of: ImageOf, target: str, platform: Platform, tmp_path: Path
) -> None:
    image = image_of(target, platform)
    bundle = tmp_path / "bundle"
    run([umoci, "unpack", "--rootless", "--image", f"{image.view}:{target}", bundle])
    root = bundle / "rootfs"
    tree = image.tree()
    found = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    assert found == set(tree)
    wrong = [
        name
        for name, member in tree.items()
        if member.isreg() and (root / name).lstat().st_size != member.size
    ]
    assert not wrong


def test_one_archive_has_every_platform_for_docker_and_for_oci_readers(
    repository: Checkout, skopeo: Path, load_archive: LoadArchive, tmp_path: Path
) -> None:
    archive = tmp_path / "all.tar"
    report = repository.build(
        "--platform", "all", "--output", tmp_path / "layouts", "--archive", archive
    )
    (image,) = report["images"]
    expected = {part["platform"]: part["config_digest"] for part in image["platforms"]}
    assert set(load_archive(archive)) == set(expected.values())
    raw = run([skopeo, "inspect", "--raw", f"oci-archive:{archive}:production"])
    assert [part["digest"] for part in json.loads(raw)["manifests"]] == [
        part["digest"] for part in image["platforms"]
    ]
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))


@every_platform
def test_docker_format_is_read_and_keeps_its_health_check(
    repository: Checkout, skopeo: Path, tmp_path: Path, platform: Platform
) -> None:
    repository.build("--format", "docker", "--platform", "all", "--output", tmp_path / "layouts")
    layout = tmp_path / "layouts" / "production"
    override = ("--override-arch", platform.architecture)
    config = json.loads(run([skopeo, *override, "inspect", "--config", "--raw", f"oci:{layout}"]))
    assert config["config"]["Healthcheck"]["Test"][0] == "CMD"
    documents = [path.read_text() for path in (layout / "blobs" / "sha256").iterdir()
                 if path.stat().st_size < 20_000 and path.read_bytes()[:1] == b"{"]  # fmt: skip
    assert documents
    assert not [text for text in documents if "application/vnd.oci." in text]


@pytest.fixture(scope="session")
def application_version(repository: Checkout) -> str:
    """Return the version of the project, from its own mouth."""
    source = (repository.folder / "src" / "accelerapp" / "__init__.py").read_text()
    return source.partition('__version__ = "')[2].partition('"')[0]


def locked(target: str, platform: Platform, application_version: str) -> Inventory:
    """Return the Debian packages and Python distributions that the lock puts in an image."""
    lock = json.loads((ROOT / "deployment" / "images.lock").read_bytes())
    part = lock["suites"][SETTINGS.default_suite]["platforms"][str(platform)]
    chain = SETTINGS.chain(target)
    wheels = [part["wheels"][name] for i in chain for name in part["images"][i.name]["wheels"]]
    python = {(wheel["name"], wheel["version"]) for wheel in wheels}
    if any(image.project for image in chain):
        python.add((SETTINGS.name, application_version))
    packages = [name for i in chain for name in part["images"][i.name]["packages"]]
    debian = {(name, part["packages"][name]["version"]) for name in packages}
    return {"debian": debian, "python": python}


def canonical(name: str) -> str:
    """Return a distribution's name as PEP 503 writes it."""
    return name.lower().replace("_", "-").replace(".", "-")


def difference(expected: Inventory, found: Inventory) -> dict[str, list[tuple[str, str]]]:
    """Return what is missing (`-`) and what nobody locked (`+`) of each kind."""
    changes = {}
    for kind, names in expected.items():
        changes[f"-{kind}"] = sorted(names - found[kind])
        changes[f"+{kind}"] = sorted(found[kind] - names)
    return {kind: names for kind, names in changes.items() if names}


@pytest.fixture(scope="session")
def scan(trivy: Path, trivy_cache_dir: Path) -> Callable[[BuiltImage], Any]:
    """Return a function: Trivy's report on one platform of an image."""

    def scan_image(image: BuiltImage) -> Any:
        offline = ("--skip-db-update", "--skip-java-db-update", "--offline-scan", "--quiet")
        report = run(
            [
                *(trivy, "image", "--input", image.view, "--cache-dir", trivy_cache_dir),
                *(*offline, "--list-all-pkgs", "--format", "json", "--scanners", "vuln"),
            ]
        )
        return json.loads(report)

    return scan_image


def trivy_version(package: Mapping[str, Any]) -> str:
    """Return a Debian version of Trivy's, who takes them apart."""
    epoch = f"{package['Epoch']}:" if package.get("Epoch") else ""
    release = f"-{package['Release']}" if package.get("Release") else ""
    return f"{epoch}{package['Version']}{release}"


@every_image
def test_trivy_lists_exactly_what_is_locked(
    scan: Callable[[BuiltImage], Any],
    image_of: ImageOf,
    application_version: str,
    target: str,
    platform: Platform,
) -> None:
    report = scan(image_of(target, platform))
    assert report["Metadata"]["OS"]["Family"] == "debian"
    assert report["Metadata"]["ImageConfig"]["architecture"] == platform.architecture
    results = report["Results"]
    found: dict[str, set[tuple[str, str]]] = {"debian": set(), "python": set()}
    for result in results:
        for package in result.get("Packages", ()):
            if result["Class"] == "os-pkgs":
                found["debian"].add((package["Name"], trivy_version(package)))
                assert package["Arch"] in (platform.debian, "all")
            else:
                assert result["Type"] == "python-pkg", result["Target"]
                found["python"].add((canonical(package["Name"]), package["Version"]))
    assert not difference(locked(target, platform, application_version), found)


@every_image
def test_syft_lists_exactly_what_is_locked(
    syft: Path,
    image_of: ImageOf,
    application_version: str,
    target: str,
    platform: Platform,
) -> None:
    image = image_of(target, platform)
    report = json.loads(run([syft, "scan", "--quiet", "--output", "json", f"oci-dir:{image.view}"]))
    found: dict[str, set[tuple[str, str]]] = {"debian": set(), "python": set()}
    others = []
    for package in report["artifacts"]:
        if package["type"] == "deb":
            found["debian"].add((package["name"], package["version"]))
        elif package["type"] == "python":
            found["python"].add((canonical(package["name"]), package["version"]))
        else:
            others.append((package["type"], package["name"]))
    assert report["distro"]["id"] == "debian"
    assert not difference(locked(target, platform, application_version), found)
    # Programs that it recognises by their bytes; what they belong to is listed above.
    assert {kind for kind, _ in others} <= {"binary", "rust-crate"}, others


@every_python_image
def test_trivy_finds_the_vulnerable_packages_of_the_base(
    scan: Callable[[BuiltImage], Any], image_of: ImageOf, target: str, platform: Platform
) -> None:
    report = scan(image_of(target, platform))
    found = {
        (vulnerability["VulnerabilityID"], vulnerability["PkgName"], vulnerability["Severity"])
        for result in report["Results"]
        for vulnerability in result.get("Vulnerabilities", ())
    }
    assert ("CVE-2099-0001", "libexpat1", "CRITICAL") in found
    assert ("CVE-2099-0002", "libssl3", "HIGH") in found
