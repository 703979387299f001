"""`deployment/trust.toml`: exceptions from the gate, and the licences that are not taken.

Every exception has an owner, a reason and an end.  One that has expired, or that nothing
needs any more, fails a scan as a finding would: the list only ever holds what is true.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.errors import ExceptionsInvalid, nearest
from pipeline.scan.findings import Finding, LicencePolicy

POLICY = Path("deployment/trust.toml")
_REQUIRED = ("id", "package", "reason", "owner", "expiry")
_OPTIONAL = ("where",)
_TABLES = ("schema", "licences", "exceptions")
_LICENCES = ("forbidden", "forbidden-python")
_SHORTEST_REASON = 10


@dataclass(frozen=True, slots=True)
class Exemption:
    """One exception from the gate."""

    id: str
    package: str
    """A package's name; of a secret or a misconfiguration, the file's path. `*` matches."""
    reason: str
    owner: str
    expiry: datetime.date
    """The last day on which it holds."""
    where: str = "*"
    """The subjects that it is for: `production*`, `repository`."""

    def covers(self, finding: Finding) -> bool:
        """Return whether a finding is the one that is excepted."""
        return (
            finding.id == self.id
            and fnmatchcase(finding.package or finding.path, self.package)
            and fnmatchcase(finding.subject, self.where)
        )

    def __str__(self) -> str:
        return f"{self.id} of {self.package}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What `deployment/trust.toml` says."""

    exemptions: tuple[Exemption, ...] = ()
    licences: LicencePolicy = field(default_factory=LicencePolicy)
    path: str = str(POLICY)


@dataclass(frozen=True, slots=True)
class Judged:
    """Findings at or above the gate, those that are excepted, and the rest."""

    failing: tuple[Finding, ...]
    excepted: tuple[tuple[Finding, Exemption], ...]
    below: tuple[Finding, ...]
    stale: tuple[str, ...]
    """Exceptions that have expired, or that cover nothing, each in a sentence."""


def judge(
    findings: Iterable[Finding],
    subjects: Sequence[str],
    policy: Policy,
    gate: int,
    today: datetime.date,
) -> Judged:
    """Sort findings by what becomes of them.

    `subjects` is all that was scanned: an exception that is for none of it is not looked at.
    One that has expired covers nothing.
    """
    failing: list[Finding] = []
    excepted: list[tuple[Finding, Exemption]] = []
    below: list[Finding] = []
    used: set[Exemption] = set()
    for finding in findings:
        covers = [e for e in policy.exemptions if e.covers(finding)]
        used.update(covers)
        cover = next((e for e in covers if e.expiry >= today), None)
        if cover is not None:
            excepted.append((finding, cover))
        elif finding.severity >= gate:
            failing.append(finding)
        else:
            below.append(finding)
    stale = []
    for exemption in policy.exemptions:
        if not any(fnmatchcase(subject, exemption.where) for subject in subjects):
            continue
        if exemption.expiry < today:
            stale.append(
                f"the exception for {exemption} in {policy.path} expired on {exemption.expiry} "
                f"(ask {exemption.owner})"
            )
        elif exemption not in used:
            stale.append(
                f"the exception for {exemption} in {policy.path} covers nothing that was found"
            )
    return Judged(tuple(failing), tuple(excepted), tuple(below), tuple(stale))


def find_policy(asked: Path | None, root: Path) -> Policy:
    """Return the policy in the file that is asked for, or else the repository's own.

    Raises `ExceptionsInvalid`, also for a file that is asked for and not there.
    """
    path = asked or root / POLICY
    shown = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    if asked is not None and not path.exists():
        raise ExceptionsInvalid(f"there is no file {shown}", hint="name one with --policy")
    return read_policy(path, shown)


def read_policy(path: Path, shown: str) -> Policy:
    """Return the policy; without a file, nothing is excepted.

    Raises `ExceptionsInvalid` with the entry and the field.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        return Policy(path=shown)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExceptionsInvalid(
            f"{shown} cannot be read: {' '.join(str(error).split())}", hint="mend it"
        ) from None
    _only(document, _TABLES, shown, "")
    if document.get("schema") != 1:
        raise ExceptionsInvalid(
            f"{shown}: schema is {document.get('schema')!r}", hint="write 'schema = 1'"
        )
    licences = document.get("licences", {})
    entries = document.get("exceptions", [])
    if not isinstance(licences, dict) or not isinstance(entries, list):
        raise ExceptionsInvalid(
            f"{shown}: 'licences' is a table, and 'exceptions' a list of tables",
            hint="write [licences] and [[exceptions]]",
        )
    _only(licences, _LICENCES, shown, "licences")
    for key, patterns in licences.items():
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ExceptionsInvalid(
                f"{shown}: licences.{key} is not a list of patterns", hint='such as ["AGPL-*"]'
            )
    exemptions = tuple(_exemption(e, f"exceptions[{n}]", shown) for n, e in enumerate(entries))
    for number, exemption in enumerate(exemptions):
        if exemption in exemptions[:number]:
            raise ExceptionsInvalid(
                f"{shown}: exceptions[{number}] is there twice", hint="remove one"
            )
    return Policy(
        exemptions,
        LicencePolicy(
            tuple(licences.get("forbidden", ())), tuple(licences.get("forbidden-python", ()))
        ),
        shown,
    )


def _exemption(entry: Any, where: str, shown: str) -> Exemption:
    if not isinstance(entry, dict):
        raise ExceptionsInvalid(f"{shown}: {where} is not a table", hint="write [[exceptions]]")
    _only(entry, (*_REQUIRED, *_OPTIONAL), shown, where)
    for key in _REQUIRED:
        if key not in entry:
            raise ExceptionsInvalid(
                f"{shown}: {where} has no '{key}'", hint=f"it needs {', '.join(_REQUIRED)}"
            )
    for key, value in entry.items():
        if key != "expiry" and not (isinstance(value, str) and value.strip()):
            raise ExceptionsInvalid(f"{shown}: {where}.{key} is empty or no text", hint="say it")
    expiry = entry["expiry"]
    if isinstance(expiry, str):
        try:
            expiry = datetime.date.fromisoformat(expiry)
        except ValueError:
            expiry = None
    if isinstance(expiry, datetime.datetime) or not isinstance(expiry, datetime.date):
        raise ExceptionsInvalid(
            f"{shown}: {where}.expiry is {entry['expiry']!r}", hint="write a day, as 2027-01-31"
        )
    if len(entry["reason"].strip()) < _SHORTEST_REASON:
        raise ExceptionsInvalid(
            f"{shown}: {where}.reason says nothing: '{entry['reason']}'",
            hint="say why it is safe, or what is waited for",
        )
    return Exemption(**{**entry, "expiry": expiry})


def _only(values: Mapping[str, Any], known: Sequence[str], shown: str, where: str) -> None:
    for key in values:
        if key not in known:
            dotted = f"{where}.{key}" if where else key
            raise ExceptionsInvalid(
                f"{shown}: '{dotted}' is not known",
                hint=f"{nearest(key, known)} known are {', '.join(known)}".strip(),
            )
