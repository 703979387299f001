"""Trivy's reports become findings, and findings become SARIF."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.errors import NotScanned, OptionInvalid
from pipeline.scan.findings import (
    Finding,
    Kind,
    LicencePolicy,
    Severity,
    parse_gate,
    read_results,
)
from pipeline.scan.policy import Exemption
from pipeline.scan.sarif import sarif

DATA = Path(__file__).parents[3] / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"
REPORT: dict[str, Any] = {
    "SchemaVersion": 2,
    "Results": [
        {
            "Target": "image (debian 12)",
            "Class": "os-pkgs",
            "Type": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-1",
                    "PkgName": "libx",
                    "InstalledVersion": "1-1",
                    "FixedVersion": "1-2",
                    "Severity": "CRITICAL",
                    "Title": "two\nlines",
                    "PrimaryURL": "https://example.org/CVE-1",
                }
            ],
        },
        {
            "Target": "Python",
            "Class": "lang-pkgs",
            "Type": "python-pkg",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2",
                    "PkgName": "Jinja_2",
                    "PkgPath": "usr/x/METADATA",
                    "InstalledVersion": "3",
                    "Severity": "MEDIUM",
                }
            ],
        },
        {
            "Target": "Dockerfile",
            "Class": "config",
            "Misconfigurations": [
                {
                    "ID": "DS002",
                    "Severity": "HIGH",
                    "Status": "FAIL",
                    "Title": "root",
                    "Message": "no USER",
                    "CauseMetadata": {"StartLine": 4},
                },
                {"ID": "DS003", "Severity": "HIGH", "Status": "PASS"},
            ],
        },
        {
            "Target": "/app/.env",
            "Class": "secret",
            "Secrets": [
                {
                    "RuleID": "aws-access-key-id",
                    "Severity": "CRITICAL",
                    "Title": "AWS",
                    "StartLine": 2,
                    "Match": "KEY=hunter2",
                }
            ],
        },
        {
            "Target": "Python",
            "Class": "license",
            "Licenses": [
                {"PkgName": "X_y", "Name": "GPL-3.0-only", "Severity": "HIGH", "FilePath": "M"},
                {"PkgName": "z", "Name": "MIT", "Severity": "LOW", "FilePath": "M"},
            ],
        },
        {
            "Target": "OS Packages",
            "Class": "license",
            "Licenses": [
                {"PkgName": "dash", "Name": "GPL-3.0-only", "Severity": "HIGH", "FilePath": ""},
                {"PkgName": "bad", "Name": "AGPL-3.0-only", "Severity": "LOW", "FilePath": ""},
            ],
        },
        {"Target": "nothing", "Vulnerabilities": None},
    ],
}
POLICY = LicencePolicy(("AGPL-*",), ("GPL-*",))


def found() -> dict[str, Finding]:
    return {f"{f.id} {f.package}".strip(): f for f in read_results(REPORT, "it", POLICY)}


def test_every_kind_is_read() -> None:
    findings = found()
    assert {(f.kind.value, f.severity.name, key) for key, f in findings.items()} == {
        ("vulnerability", "CRITICAL", "CVE-1 libx"),
        ("vulnerability", "MEDIUM", "CVE-2 jinja-2"),
        ("misconfiguration", "HIGH", "DS002"),
        ("secret", "CRITICAL", "aws-access-key-id"),
        ("licence", "HIGH", "GPL-3.0-only x-y"),
        ("licence", "CRITICAL", "AGPL-3.0-only bad"),
    }
    assert findings["DS002"].place == "Dockerfile:4"
    assert findings["CVE-1 libx"].place == "libx 1-1"
    assert findings["CVE-1 libx"].title == "two lines"
    assert findings["aws-access-key-id"].path == "app/.env"


def test_no_secret_is_repeated() -> None:
    findings = read_results(REPORT, "it", POLICY)
    assert "hunter2" not in json.dumps([finding.to_json() for finding in findings])


def test_the_worst_come_first() -> None:
    severities = [finding.severity for finding in read_results(REPORT, "it", POLICY)]
    assert severities == sorted(severities, reverse=True)


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"SchemaVersion": 3},
        {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}]},
        {"SchemaVersion": 2, "Results": [{"Secrets": [{"Severity": "BAD", "RuleID": "x"}]}]},
        {"SchemaVersion": 2, "Results": [1]},
    ],
)
def test_a_report_that_cannot_be_read_is_no_clean_one(report: dict[str, Any]) -> None:
    with pytest.raises(NotScanned, match="on it cannot be read"):
        read_results(report, "it", POLICY)


@pytest.mark.parametrize(
    ("values", "gate"),
    [
        ((), Severity.HIGH),
        (("CRITICAL,HIGH",), Severity.HIGH),
        (("critical",), Severity.CRITICAL),
        (("HIGH", "low"), Severity.LOW),
        (("MEDIUM, CRITICAL",), Severity.MEDIUM),
    ],
)
def test_the_gate_is_the_lowest_that_is_named(values: tuple[str, ...], gate: Severity) -> None:
    assert parse_gate(values) is gate


def test_an_unknown_severity_is_named() -> None:
    with pytest.raises(OptionInvalid, match="'HIHG' is not known; did you mean 'HIGH'"):
        parse_gate(["HIHG"])


def test_a_fingerprint_survives_a_new_version_and_another_line() -> None:
    one = found()["CVE-1 libx"]
    assert replace(one, version="2-1", fixed="", line=9).fingerprint == one.fingerprint
    for other in (
        replace(one, subject="other"),
        replace(one, id="CVE-9"),
        replace(one, package="liby"),
        replace(one, path="elsewhere"),
        replace(one, kind=Kind.LICENCE),
    ):
        assert other.fingerprint != one.fingerprint


def document(*subjects: str) -> Any:
    findings = read_results(REPORT, "it", POLICY)
    cover = Exemption("CVE-1", "libx", "why not", "me", datetime.date(2030, 1, 1))
    places = {"it": "deployment/images.lock"} if "image" in subjects else {}
    data = sarif(
        [s for s in subjects if s != "image"],
        findings,
        {found()["CVE-1 libx"]: cover},
        version="0.59.1",
        places=places,
    )
    return json.loads(data)


@pytest.mark.parametrize("subjects", [("it", "production linux/arm64"), ("it", "image"), ()])
def test_sarif_is_valid(subjects: tuple[str, ...]) -> None:
    schema = json.loads(DATA.read_bytes())
    jsonschema.Draft4Validator(schema).validate(document(*subjects))


def test_there_is_a_run_a_subject_and_one_that_is_clean_closes_what_was_open() -> None:
    first, second = document("it", "production linux/arm64")["runs"]
    assert second["results"] == []
    assert second["automationDetails"]["id"] == "scan/production/linux/arm64/"
    assert len(first["results"]) == 6
    rules = first["tool"]["driver"]["rules"]
    for result in first["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    excepted = [r for r in first["results"] if "suppressions" in r]
    assert [r["ruleId"] for r in excepted] == ["CVE-1"]
    assert "why not (me, to 2030-01-01)" in excepted[0]["suppressions"][0]["justification"]
    (misconfigured,) = (r for r in first["results"] if r["ruleId"] == "DS002")
    location = misconfigured["locations"][0]["physicalLocation"]
    assert location == {"artifactLocation": {"uri": "Dockerfile"}, "region": {"startLine": 4}}


def test_what_is_in_an_image_is_shown_at_a_file_of_the_repository() -> None:
    (run,) = document("it", "image")["runs"]
    uris = {
        r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]
    }
    assert uris == {"deployment/images.lock"}
