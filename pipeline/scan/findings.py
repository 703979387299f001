"""`Finding`: one thing that a scan found, wherever it was found."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pipeline.errors import NotScanned, OptionInvalid, nearest
from pipeline.flags import values_of

REPOSITORY = "repository"
"""The subject that is the repository's own files."""


class Severity(enum.IntEnum):
    """How bad a finding is, as Trivy says it; comparable."""

    UNKNOWN = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Kind(enum.Enum):
    """What a finding is about."""

    VULNERABILITY = "vulnerability"
    SECRET = "secret"  # noqa: S105 -- a word, and no secret
    MISCONFIGURATION = "misconfiguration"
    LICENCE = "licence"
    WEAKNESS = "weakness"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in one subject."""

    subject: str
    """What was scanned: `production linux/amd64`, `repository`, `configuration`, `compose`."""
    kind: Kind
    severity: Severity
    id: str
    """`CVE-2026-0001`, `DS002`, a rule of Trivy's for secrets, an SPDX licence."""
    package: str = ""
    version: str = ""
    fixed: str = ""
    """Versions that are not affected; empty where there is none."""
    path: str = ""
    """Relative: to the repository, or to the image's root."""
    line: int = 0
    """From 1; 0 where a line says nothing."""
    title: str = ""
    url: str = ""

    def __lt__(self, other: Finding) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[object, ...]:
        return (-self.severity, self.kind.value, self.id, self.subject, self.package, self.path,
                self.line)  # fmt: skip

    @property
    def place(self) -> str:
        """Where it is, in a few words: a package and its version, or a file and its line."""
        if self.package:
            file = f" ({self.path})" if self.subject == REPOSITORY else ""
            return f"{self.package} {self.version}".strip() + file
        return f"{self.path}:{self.line}" if self.line else self.path

    @property
    def fingerprint(self) -> str:
        """What stays when versions and lines change: 64 hex digits."""
        parts = (self.subject, self.kind.value, self.id, self.package, self.path)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the finding for programs."""
        return {
            "subject": self.subject,
            "kind": self.kind.value,
            "severity": self.severity.name,
            "id": self.id,
            "package": self.package or None,
            "version": self.version or None,
            "fixed": self.fixed or None,
            "path": self.path or None,
            "line": self.line or None,
            "title": self.title,
            "url": self.url or None,
            "fingerprint": self.fingerprint,
        }


def parse_gate(values: Sequence[str]) -> Severity:
    """Return the lowest severity that fails, of flags such as `CRITICAL,HIGH`.

    Everything at or above the lowest that is named fails.  Raises `OptionInvalid`.
    """
    names = [name.upper() for name in values_of(values)]
    known = [severity.name for severity in reversed(Severity)]
    for name in names:
        if name not in known:
            raise OptionInvalid(
                f"severity '{name}' is not known",
                hint=f"{nearest(name, known)} choose {', '.join(known)}".strip(),
            )
    return min((Severity[name] for name in names), default=Severity.HIGH)


@dataclass(frozen=True, slots=True)
class LicencePolicy:
    """Which licences are not taken: patterns of SPDX identifiers, such as `AGPL-*`."""

    forbidden: tuple[str, ...] = ()
    """Of anything, CRITICAL."""
    forbidden_python: tuple[str, ...] = ()
    """Of Python packages, which the application is one program with: HIGH."""

    def severity(self, licence: str, *, python: bool) -> Severity | None:
        """Return how bad a licence is, None for one that is taken."""
        if any(fnmatchcase(licence, pattern) for pattern in self.forbidden):
            return Severity.CRITICAL
        if python and any(fnmatchcase(licence, pattern) for pattern in self.forbidden_python):
            return Severity.HIGH
        return None


def read_results(
    document: Mapping[str, Any], subject: str, policy: LicencePolicy
) -> tuple[Finding, ...]:
    """Return the findings of a JSON report of Trivy's (schema 2).

    Raises `NotScanned` for a report that is none.
    """
    try:
        if document["SchemaVersion"] != 2:
            raise ValueError(f"its schema is {document['SchemaVersion']}")
        found = [
            finding
            for result in document.get("Results") or []
            for finding in _of_result(result, subject, policy)
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotScanned(
            f"the report of Trivy on {subject} cannot be read: {type(error).__name__}: {error}",
            hint="see 'invoke doctor' for its version",
        ) from None
    return tuple(sorted(set(found)))


def _of_result(result: Mapping[str, Any], subject: str, policy: LicencePolicy) -> Iterator[Finding]:
    target = str(result.get("Target", ""))
    for entry in result.get("Vulnerabilities") or []:
        path = entry.get("PkgPath", "")
        if not path and result.get("Class") == "lang-pkgs":
            path = target
        yield Finding(
            subject,
            Kind.VULNERABILITY,
            Severity[entry["Severity"]],
            entry["VulnerabilityID"],
            package=_package(entry["PkgName"], result),
            version=entry["InstalledVersion"],
            fixed=entry.get("FixedVersion", ""),
            path=path,
            title=_line(entry.get("Title") or entry.get("Description") or ""),
            url=entry.get("PrimaryURL", ""),
        )
    for entry in result.get("Misconfigurations") or []:
        if entry.get("Status", "FAIL") == "FAIL":
            yield Finding(
                subject,
                Kind.MISCONFIGURATION,
                Severity[entry["Severity"]],
                entry["ID"],
                path=target,
                line=(entry.get("CauseMetadata") or {}).get("StartLine", 0) or 0,
                title=_line(f"{entry.get('Title', '')}: {entry.get('Message', '')}"),
                url=entry.get("PrimaryURL", ""),
            )
    for entry in result.get("Secrets") or []:
        yield Finding(
            subject,
            Kind.SECRET,
            Severity[entry["Severity"]],
            entry["RuleID"],
            path=target.lstrip("/"),
            line=entry.get("StartLine", 0),
            # Not its `Match`: that has part of the secret in it.
            title=_line(entry.get("Title", "")),
        )
    for entry in result.get("Licenses") or []:
        python = result.get("Target") == "Python" or str(entry.get("FilePath")).endswith("METADATA")
        severity = policy.severity(entry["Name"], python=python)
        if severity is not None:
            yield Finding(
                subject,
                Kind.LICENCE,
                severity,
                entry["Name"],
                package=_canonical(entry["PkgName"]) if python else entry["PkgName"],
                path=entry.get("FilePath", ""),
                title="a licence that the policy does not take",
            )


def _package(name: str, result: Mapping[str, Any]) -> str:
    return _canonical(name) if result.get("Type") in ("python-pkg", "pip") else name


def _canonical(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
