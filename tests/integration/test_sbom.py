"""What `invoke sbom` says of real images is what the lock, Trivy and Syft say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.integration.building import TARGETS, Checkout


@pytest.fixture(scope="module")
def documents(
    repository: Checkout,
    layouts: Path,
    trivy: Path,
    syft: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder with what `invoke sbom --check` wrote of every image."""
    folder = tmp_path_factory.mktemp("sbom")
    done = repository.invoke(
        *("sbom", "--target", "all", "--format", "cyclonedx,spdx", "--check", "--json"),
        *("--images", layouts, "--output", folder),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert {(part["target"], part["format"]) for part in made} == {
        (target, format) for target in TARGETS for format in ("cyclonedx", "spdx")
    }
    assert {tuple(part["checked"]) for part in made} == {("trivy", "syft")}
    assert all(part["locked"] for part in made)
    assert {part["platform"] for part in made} == {"linux/amd64", "linux/arm64"}
    return folder


@pytest.mark.parametrize("platform", ["linux-amd64", "linux-arm64"])
@pytest.mark.parametrize("target", TARGETS)
def test_documents_are_valid(documents: Path, target: str, platform: str) -> None:
    text = (documents / f"{target}-{platform}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parsed = parse_file(str(documents / f"{target}-{platform}.spdx.json"))
    assert [m.validation_message for m in validate_full_spdx_document(parsed)] == []


def test_trivy_finds_in_the_document_what_it_finds_in_the_image(
    documents: Path, layouts: Path, trivy: Path, trivy_cache_dir: Path
) -> None:
    offline = ("--skip-db-update", "--skip-java-db-update", "--offline-scan", "--quiet")
    found = []
    for kind, *subject in (
        ("image", "--scanners", "vuln", "--input", layouts / "production" / "linux-amd64"),
        ("sbom", documents / "production-linux-amd64.cdx.json"),
    ):
        command = [trivy, kind, *offline, "--cache-dir", trivy_cache_dir, *subject]
        command += ["--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(
            {
                (v["VulnerabilityID"], v["PkgName"].lower(), v["InstalledVersion"], v["Severity"])
                for result in json.loads(done.stdout)["Results"]
                for v in result.get("Vulnerabilities", ())
            }
        )
    assert found[0] == found[1]
    assert ("CVE-2099-0001", "libexpat1", "CRITICAL") in {(i, n, s) for i, n, _, s in found[1]}


def test_an_image_with_something_added_is_refused(
    repository: Checkout, layouts: Path, tmp_path: Path
) -> None:
    """The index of one image names the documents of another."""
    shutil.copytree(layouts / "monitoring", tmp_path / "images" / "production", symlinks=True)
    done = repository.invoke("sbom", "--images", tmp_path / "images")
    assert done.returncode == 90
    assert "only the lock has accelerapp" not in done.stderr
    assert "'production' for linux/amd64 is not what the lock names" in done.stderr
    assert not list((tmp_path / "images").glob("*.json"))
