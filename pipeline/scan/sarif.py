"""Findings as SARIF 2.1.0: one run a subject, for GitHub's Security tab and others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.scan.findings import Finding, Kind, Severity
from pipeline.scan.policy import Exemption

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {
    Severity.UNKNOWN: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
# GitHub reads a number in place of a word: over 9 critical, 7 high, 4 medium.
_SCORES = {
    Severity.UNKNOWN: "0.0",
    Severity.LOW: "2.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
_FINGERPRINT = "accelerapp/v1"


def sarif(
    subjects: Sequence[str],
    findings: Sequence[Finding],
    excepted: Mapping[Finding, Exemption],
    *,
    version: str,
    places: Mapping[str, str],
) -> bytes:
    """Return the document: a run for each subject, also for one without findings, which
    closes what an earlier scan opened.

    `version` is Trivy's; `places` is the file of the repository to show for a subject that is
    no file there, such as an image.
    """
    runs = [
        _run(
            subject,
            [finding for finding in findings if finding.subject == subject],
            excepted,
            version,
            places.get(subject, ""),
        )
        for subject in subjects
    ]
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": runs}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _run(
    subject: str,
    findings: Sequence[Finding],
    excepted: Mapping[Finding, Exemption],
    version: str,
    place: str,
) -> dict[str, Any]:
    rules = {finding.id: _rule(finding) for finding in sorted(findings, reverse=True)}
    numbers = {id: number for number, id in enumerate(rules)}
    return {
        "tool": {
            "driver": {
                "name": "Trivy",
                "informationUri": "https://trivy.dev",
                "version": version,
                "rules": list(rules.values()),
            }
        },
        # Of two uploads with one id the newer replaces the older (SARIF 3.17.3).
        "automationDetails": {"id": f"scan/{subject.replace(' ', '/')}/"},
        "columnKind": "utf16CodeUnits",
        "results": [
            _result(finding, numbers[finding.id], excepted.get(finding), place)
            for finding in findings
        ],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": finding.id,
        "shortDescription": {"text": finding.title or finding.id},
        "defaultConfiguration": {"level": _LEVELS[finding.severity]},
        "properties": {
            "tags": ["security", finding.kind.value, finding.severity.name],
            "security-severity": _SCORES[finding.severity],
        },
    }
    if finding.url:
        rule["helpUri"] = finding.url
    return rule


def _result(
    finding: Finding, number: int, exemption: Exemption | None, place: str
) -> dict[str, Any]:
    location = {
        "artifactLocation": {"uri": place or finding.path or "."},
        # Lines count from 1 (SARIF 3.30.5); of a file that stands for an image none is the one.
        "region": {"startLine": 1 if place else max(finding.line, 1)},
    }
    text = f"{finding.id} ({finding.severity.name}) in {finding.place}, {finding.subject}"
    if finding.kind is Kind.VULNERABILITY:
        text += f"; fixed in {finding.fixed}" if finding.fixed else "; not fixed yet"
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": number,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{text}. {finding.title}".strip()},
        "locations": [
            {"physicalLocation": location, "message": {"text": finding.path or finding.subject}}
        ],
        "partialFingerprints": {_FINGERPRINT: finding.fingerprint},
    }
    if exemption is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{exemption.reason} ({exemption.owner}, to {exemption.expiry})",
            }
        ]
    return result
