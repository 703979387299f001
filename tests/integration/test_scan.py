"""The gate with the real Trivy and a test database: what is planted is found by name."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.integration.building import ROOT, Checkout

DATABASE = ROOT / "tests" / "data" / "trivy-db"
SCHEMA = ROOT / "tests" / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"
OLD = ("--max-db-age", "99999d")
Scan = Callable[..., subprocess.CompletedProcess[str]]

CRITICAL, HIGH, MEDIUM = (
    ("CVE-2099-0001", "libexpat1"),
    ("CVE-2099-0002", "libssl3"),
    ("CVE-2099-0003", "jinja2"),
)


def policy(folder: Path, *excepted: tuple[str, str], expiry: str = "2099-01-01") -> Path:
    """Write exceptions from the gate."""
    text = "schema = 1\n"
    for id, package in excepted:
        text += f'[[exceptions]]\nid = "{id}"\npackage = "{package}"\nowner = "tests"\n'
        text += f'reason = "planted by the tests"\nexpiry = {expiry}\n'
    path = folder / "trust.toml"
    path.write_text(text)
    return path


@pytest.fixture
def scan(repository: Checkout, layouts: Path, trivy: Path) -> Scan:
    """Return a function that scans with the test database."""

    def run(*flags: str | Path, db: Path = DATABASE) -> subprocess.CompletedProcess[str]:
        return repository.invoke("scan", *flags, *OLD, "--db", db)

    return run


@pytest.fixture
def production(layouts: Path) -> tuple[str | Path, ...]:
    return ("--images", layouts, "--target", "production", "--platform", "amd64")


@pytest.mark.parametrize(
    ("severity", "excepted", "code"),
    [
        ("CRITICAL", (), 91),
        ("CRITICAL", (CRITICAL,), 0),
        ("CRITICAL", (HIGH,), 91),
        ("CRITICAL,HIGH", (), 91),
        ("CRITICAL,HIGH", (CRITICAL,), 91),
        ("CRITICAL,HIGH", (HIGH,), 91),
        ("CRITICAL,HIGH", (CRITICAL, HIGH), 0),
        ("MEDIUM", (CRITICAL, HIGH), 91),
        ("MEDIUM", (CRITICAL, HIGH, MEDIUM), 0),
        ("LOW", (CRITICAL, HIGH, MEDIUM), 0),
        ("CRITICAL", (CRITICAL, ("CVE-2099-0009", "libexpat1")), 93),
        ("CRITICAL", (CRITICAL, ("CVE-2099-0002", "libexpat1")), 93),
    ],
)
def test_the_gate(
    scan: Scan,
    production: tuple[str | Path, ...],
    tmp_path: Path,
    severity: str,
    excepted: tuple[tuple[str, str], ...],
    code: int,
) -> None:
    path = policy(tmp_path, *excepted)
    done = scan(*production, "--severity", severity, "--policy", path, "--format", "json")
    assert done.returncode == code, done.stderr
    report = json.loads(done.stdout)
    assert report["clean"] == (code == 0)
    named = {(f["id"], f["package"]) for f in report["failing"]}
    assert named <= {CRITICAL, HIGH, MEDIUM}
    assert bool(named) == (code == 91)
    if code == 91:
        for id, package in named:
            assert f"{id} in {package}" in done.stderr


def test_an_expired_exception_fails_by_name(
    scan: Scan, production: tuple[str | Path, ...], tmp_path: Path
) -> None:
    path = policy(tmp_path, CRITICAL, expiry="2020-01-01")
    done = scan(*production, "--policy", path, "--severity", "CRITICAL")
    assert done.returncode == 91
    assert "expired on 2020-01-01" in done.stdout


def test_sarif_has_a_run_an_image_and_platform(scan: Scan, layouts: Path, tmp_path: Path) -> None:
    output = tmp_path / "scan.sarif"
    done = scan("--images", layouts, "--target", "production,redis", "--format", "sarif",
                "--output", output)  # fmt: skip
    assert done.returncode == 91
    document = json.loads(output.read_bytes())
    jsonschema.Draft4Validator(json.loads(SCHEMA.read_bytes())).validate(document)
    ids = [run["automationDetails"]["id"] for run in document["runs"]]
    assert ids == [
        f"scan/{target}/linux/{architecture}/"
        for target in ("production", "redis")
        for architecture in ("amd64", "arm64")
    ]


def test_the_project_has_no_misconfiguration_and_no_secret(scan: Scan) -> None:
    flags = ("--only", "repository,configuration,compose", "--severity", "MEDIUM")
    done = scan(*flags, "--format", "json")
    report = json.loads(done.stdout)
    kinds = {finding["kind"] for finding in report["failing"]}
    assert kinds <= {"vulnerability"}  # The database's invention for Jinja.
    assert {f["id"] for f in report["failing"]} <= {"CVE-2099-0003"}
    assert [s["subject"] for s in report["subjects"]] == ["repository", "configuration", "compose"]


PRIVILEGED = """\
apiVersion: v1
kind: Pod
metadata: {name: planted}
spec:
  containers:
    - {name: planted, image: "planted:1", securityContext: {privileged: true}}
"""


@pytest.fixture
def planted(repository: Checkout, tmp_path: Path, trivy: Path) -> Callable[..., Any]:
    """Return a function: scan a copy of the repository with a file more or another."""

    def run(
        path: str, text: str, part: str, severity: str = "HIGH"
    ) -> subprocess.CompletedProcess[str]:
        copy = tmp_path / "copy"
        shutil.copytree(
            repository.folder,
            copy,
            symlinks=True,
            ignore=shutil.ignore_patterns(".git", "dist", ".nox", ".venv", ".*_cache"),
        )
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(text)
        checkout = replace(repository, folder=copy)
        return checkout.invoke(
            *("scan", "--only", part, "--severity", severity, *OLD, "--db", DATABASE)
        )

    return run


@pytest.mark.parametrize(
    ("path", "text", "part", "words"),
    [
        (
            "src/accelerapp/keys.py",
            # In two parts, so that nobody finds it here.
            'TOKEN = "ghp_' + "0123456789abcdefghijABCDEFGHIJ456789" + '"\n',
            "repository",
            "github-pat in src/accelerapp/keys.py:1 (repository)",
        ),
        (
            "deployment/docker/Dockerfile.planted",
            "FROM scratch\nCOPY a /a\nUSER root\nHEALTHCHECK NONE\n",
            "configuration",
            "DS002 in deployment/docker/Dockerfile.planted:3 (configuration)",
        ),
        (
            "deployment/kubernetes/planted.yaml",
            PRIVILEGED,
            "configuration",
            "in deployment/kubernetes/planted.yaml",
        ),
        (
            "deployment/helm/accelerapp/templates/planted.yaml",
            PRIVILEGED,
            "configuration",
            "in deployment/helm/accelerapp/templates/planted.yaml",
        ),
    ],
)
def test_what_is_planted_in_the_repository_is_found(
    planted: Callable[..., Any], path: str, text: str, part: str, words: str
) -> None:
    done = planted(path, text, part)
    assert done.returncode == 91, done.stdout + done.stderr
    assert words in done.stderr
    assert "0123456789abcdefghij" not in done.stdout + done.stderr


def test_a_vulnerable_requirement_is_found(planted: Callable[..., Any]) -> None:
    done = planted("requirements/planted.txt", "jinja2==3.1.6\n", "repository", "MEDIUM")
    assert done.returncode == 91
    assert "CVE-2099-0003 in jinja2 3.1.6 (requirements/" in done.stderr
    assert "jinja2 3.1.6 (requirements/planted.txt)" in done.stdout


def test_an_image_that_runs_as_root_is_found(scan: Scan, layouts: Path, tmp_path: Path) -> None:
    path = policy(tmp_path, CRITICAL, HIGH)
    done = scan("--images", layouts, "--target", "base", "--policy", path)
    assert done.returncode == 91
    assert "root-user in config (base linux/amd64)" in done.stderr


# Not scanned is not clean.


def test_no_trivy(repository: Checkout, production: tuple[str | Path, ...], layouts: Path) -> None:
    without = replace(repository, environment={"TRIVY": "/nowhere/trivy"})
    done = without.invoke("scan", *production, "--db", DATABASE, *OLD)
    assert done.returncode == 92
    assert "TRIVY is '/nowhere/trivy', and that cannot be run" in done.stderr


@pytest.mark.parametrize("version", ["0.40.0", "0.69.4"])
def test_a_trivy_that_is_not_supported(
    repository: Checkout, production: tuple[str | Path, ...], tmp_path: Path, version: str
) -> None:
    program = tmp_path / "trivy"
    program.write_text(f"#!/bin/sh\necho Version: {version}\n")
    program.chmod(0o755)
    other = replace(repository, environment={"TRIVY": str(program)})
    done = other.invoke("scan", *production, "--db", DATABASE, *OLD)
    assert done.returncode == 92
    assert f"is Trivy {version}" in done.stderr


def test_no_database(scan: Scan, production: tuple[str | Path, ...], tmp_path: Path) -> None:
    done = scan(*production, db=tmp_path)
    assert done.returncode == 92
    assert "there is no database" in done.stderr


def test_a_database_that_is_too_old(
    repository: Checkout, production: tuple[str | Path, ...]
) -> None:
    done = repository.invoke("scan", *production, "--db", DATABASE, "--max-db-age", "0h")
    assert done.returncode == 92
    assert "days old (2026-11-01)" in done.stderr


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_database(
    scan: Scan, production: tuple[str | Path, ...], tmp_path: Path, damage: str
) -> None:
    shutil.copy(DATABASE / "metadata.json", tmp_path)
    data = (DATABASE / "trivy.db").read_bytes()
    (tmp_path / "trivy.db").write_bytes(data[:5000] if damage == "cut" else b"\0" * len(data))
    done = scan(*production, db=tmp_path)
    assert done.returncode == 92, done.stdout
    assert "Trivy could not scan production linux/amd64" in done.stderr


@pytest.mark.parametrize(("known", "words"), [(b"debian 12", "debian 12"), (b"pip::", "pip")])
def test_a_database_that_knows_nothing_of_what_is_scanned(
    scan: Scan, production: tuple[str | Path, ...], tmp_path: Path, known: bytes, words: str
) -> None:
    shutil.copy(DATABASE / "metadata.json", tmp_path)
    data = (DATABASE / "trivy.db").read_bytes()
    assert known in data
    (tmp_path / "trivy.db").write_bytes(data.replace(known, known[::-1]))
    done = scan(*production, db=tmp_path)
    assert done.returncode == 92, done.stdout
    assert f"knows nothing of '{words}', so nothing of production linux/amd64" in done.stderr


def test_an_image_that_is_not_built(scan: Scan, tmp_path: Path) -> None:
    done = scan("--images", tmp_path, "--target", "production")
    assert done.returncode == 92
    assert "invoke build --target production" in done.stderr


def test_a_chart_that_trivy_cannot_render_is_not_scanned(planted: Callable[..., Any]) -> None:
    done = planted(
        "deployment/helm/accelerapp/templates/bad.yaml", "{{ nonsense }}", "configuration"
    )
    assert done.returncode == 92, done.stdout + done.stderr
    assert "looked at nothing in the chart deployment/helm/accelerapp" in done.stderr
