"""`invoke scan`: images, repository, configuration and Compose files, one summary over all."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.compose import check as compose
from pipeline.contents import LayerReader, StoredImage
from pipeline.errors import (
    ComposeUnreadable,
    ExceptionsInvalid,
    FindingsAboveGate,
    ImageMissing,
    NotScanned,
    OptionInvalid,
)
from pipeline.flags import parts_of, values_of
from pipeline.layouts import BuiltLayout, choose_layouts
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.revision import git
from pipeline.sbom.crosscheck import Identity
from pipeline.sbom.inventory import difference, keep, read_inventory
from pipeline.scan import trivy
from pipeline.scan.findings import (
    REPOSITORY,
    Finding,
    Kind,
    LicencePolicy,
    Severity,
    parse_gate,
    read_results,
)
from pipeline.scan.policy import Judged, Policy, find_policy, judge
from pipeline.scan.sarif import sarif
from pipeline.settings import LOCK, Settings, read_settings

IMAGES, CONFIGURATION, COMPOSE = "images", "configuration", "compose"
PARTS = (IMAGES, REPOSITORY, CONFIGURATION, COMPOSE)
FORMATS = ("table", "json", "sarif")
_ROOT_USERS = ("", "root", "0")
_PYTHON = "pip::"
"""How Trivy's database calls the lists of Python packages."""
_NOT_OURS = frozenset({".git", ".nox", ".venv", "__pycache__", "dist", "node_modules"})
_NAMED = 5
_COMPOSE_FOLDER = Path("deployment/docker")


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """The flags of `invoke scan`."""

    targets: Sequence[str] = ()
    platforms: Sequence[str] = ()
    only: Sequence[str] = ()
    severity: Sequence[str] = ()
    format: str = "table"
    ignore_unfixed: bool = False
    images: Path | None = None
    db: Path | None = None
    max_db_age: str = "7d"
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that was scanned."""

    name: str
    findings: tuple[Finding, ...]
    seconds: float
    scanner_seconds: float
    """Of these, Trivy's own."""
    packages: int = 0


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What was scanned, with what, and what came of it."""

    subjects: tuple[Subject, ...]
    judged: Judged
    gate: Severity
    trivy: str
    database: datetime.datetime | None
    policy: str

    def count(self, subject: str, severity: Severity) -> int:
        """Return how many findings a subject has that nothing excepts."""
        open_ = (*self.judged.failing, *self.judged.below)
        return sum(f.subject == subject and f.severity is severity for f in open_)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "trivy": self.trivy or None,
            "database": self.database.isoformat() if self.database else None,
            "gate": self.gate.name,
            "clean": not self.judged.failing and not self.judged.stale,
            "subjects": [
                {
                    "subject": subject.name,
                    "packages": subject.packages,
                    "seconds": round(subject.seconds, 3),
                    "scanner_seconds": round(subject.scanner_seconds, 3),
                    **{s.name: self.count(subject.name, s) for s in reversed(Severity)},
                }
                for subject in self.subjects
            ],
            "failing": [finding.to_json() for finding in self.judged.failing],
            "excepted": [
                {
                    **finding.to_json(),
                    "reason": exemption.reason,
                    "owner": exemption.owner,
                    "expiry": exemption.expiry.isoformat(),
                }
                for finding, exemption in self.judged.excepted
            ],
            "below": [finding.to_json() for finding in self.judged.below],
            "stale_exceptions": list(self.judged.stale),
        }

    def to_sarif(self) -> bytes:
        """Return the report as SARIF 2.1.0."""
        findings = [f for subject in self.subjects for f in subject.findings]
        places = {s.name: str(LOCK) for s in self.subjects if s.name not in PARTS}
        return sarif(
            [subject.name for subject in self.subjects],
            findings,
            dict(self.judged.excepted),
            version=self.trivy,
            places=places,
        )

    def raise_for_gate(self) -> None:
        """Raise `FindingsAboveGate` or `ExceptionsInvalid` unless the gate is open."""
        failing = self.judged.failing
        if failing:
            named = [f"{f.id} in {f.place or f.path} ({f.subject})" for f in failing[:_NAMED]]
            more = f" and {len(failing) - _NAMED} more" if len(failing) > _NAMED else ""
            count = "1 finding" if len(failing) == 1 else f"{len(failing)} findings"
            raise FindingsAboveGate(
                f"{count} at {self.gate.name} or above: {', '.join(named)}{more}",
                hint=f"update what is named, or except it in {self.policy}",
            )
        if self.judged.stale:
            raise ExceptionsInvalid(
                "; ".join(self.judged.stale), hint="remove it, or give a new reason and day"
            )


def scan(
    request: ScanRequest,
    progress: Progress,
    *,
    now: datetime.datetime,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> ScanReport:
    """Scan what is asked for, and judge what was found.

    Raises `NotScanned` when any part of it could not be scanned, `ExceptionsInvalid` for a
    policy that cannot be read, `OptionInvalid`, and what reading images raises.
    """
    settings = read_settings(root or commands.ROOT)
    gate = parse_gate(request.severity)
    longest = trivy.parse_age(request.max_db_age)
    parts = _parts(request)
    policy = find_policy(request.policy, settings.root)
    layouts = _layouts(request, settings) if IMAGES in parts else ()
    subjects: list[Subject] = []
    version, database = "", None
    if set(parts) != {COMPOSE}:
        with trivy.ready(request.db, longest, now=now, environ=environ, runner=runner) as scanner:
            version, database = scanner.version, scanner.database.updated
            subjects += _scan_images(
                layouts, request.platforms, settings, scanner, policy.licences, progress, runner
            )
            if REPOSITORY in parts or CONFIGURATION in parts:
                subjects += _scan_files(
                    settings.root, parts, scanner, policy.licences, progress, runner
                )
    if COMPOSE in parts:
        subjects.append(_check_compose(settings.root, progress))
    if request.ignore_unfixed:
        subjects = [_fixable(subject) for subject in subjects]
    return judged_report(subjects, policy, gate, now, trivy=version, database=database)


def judged_report(
    subjects: Sequence[Subject],
    policy: Policy,
    gate: Severity,
    now: datetime.datetime,
    *,
    trivy: str = "",
    database: datetime.datetime | None = None,
) -> ScanReport:
    """Return the report of subjects whose findings are sorted by what becomes of them."""
    judged = judge(
        [finding for subject in subjects for finding in subject.findings],
        [subject.name for subject in subjects],
        policy,
        gate,
        now.date(),
    )
    return ScanReport(tuple(subjects), judged, gate, trivy, database, policy.path)


def _fixable(subject: Subject) -> Subject:
    kept = tuple(f for f in subject.findings if f.kind is not Kind.VULNERABILITY or f.fixed)
    return replace(subject, findings=kept)


def _parts(request: ScanRequest) -> tuple[str, ...]:
    parts = parts_of(request.only, PARTS)
    if request.targets or request.platforms or request.images is not None:
        if IMAGES not in parts:
            raise OptionInvalid(
                "--target, --platform and --images choose images, and --only leaves them out",
                hint="leave one of them out",
            )
        return parts if values_of(request.only) else (IMAGES,)
    return parts


def _layouts(request: ScanRequest, settings: Settings) -> tuple[BuiltLayout, ...]:
    """Return the layouts of the flags, or all that are built; raises `NotScanned`."""
    try:
        return choose_layouts(settings, request.images, request.targets, default=commands.ALL)
    except ImageMissing as error:
        others = ",".join(part for part in PARTS if part != IMAGES)
        hint = (
            error.hint if request.targets else f"{error.hint}; or leave images out: --only {others}"
        )
        raise NotScanned(error.message, hint=hint) from None


# Images.


def _scan_images(
    layouts: Sequence[BuiltLayout],
    platforms: Sequence[str],
    settings: Settings,
    scanner: trivy.Trivy,
    licences: LicencePolicy,
    progress: Progress,
    runner: Runner,
) -> Iterator[Subject]:
    read, cache = LayerReader(keep), commands.builder_cache()
    for layout in layouts:
        try:
            images = layout.images(platforms)
        except ImageMissing as error:
            raise NotScanned(error.message, hint=error.hint) from None
        for image in images:
            name = f"{layout.tag} {image.platform}"
            with progress.step(f"scan {name}") as step:
                begin = time.monotonic()
                found = read_inventory(layout.folder, image, settings.name, layout.tag, cache, read)
                before = time.monotonic()
                view = layout.view(image.platform)
                document = trivy.report(scanner.image(view), name, runner)
                scanner_s = time.monotonic() - before
                packages = _seen(document, name, found.identities)
                _check_known(scanner.database, (_debian(document, name), _PYTHON), name)
                findings = (*read_results(document, name, licences), *_own_rules(image, name))
                step.note(f"{packages} packages")
                yield Subject(
                    name,
                    tuple(sorted(findings)),
                    time.monotonic() - begin,
                    scanner_s,
                    packages,
                )


def _seen(document: Mapping[str, Any], name: str, expected: frozenset[Identity]) -> int:
    """Return how many packages Trivy saw; raises `NotScanned` unless it saw all of them."""
    from packaging.utils import canonicalize_name

    seen: set[Identity] = set()
    for result in document.get("Results") or []:
        for package in result.get("Packages") or []:
            if result.get("Class") == "os-pkgs":
                epoch = f"{package['Epoch']}:" if package.get("Epoch") else ""
                release = f"-{package['Release']}" if package.get("Release") else ""
                version = f"{epoch}{package.get('Version', '')}{release}"
                seen.add(("deb", package["Name"], version))
            elif result.get("Type") == "python-pkg":
                seen.add(("pypi", canonicalize_name(package["Name"]), package["Version"]))
    if missing := expected - seen:
        raise NotScanned(
            f"Trivy did not see all of {name}: {difference(missing, (), 'the image', 'Trivy')}",
            hint="do not take its silence for an answer; see 'invoke doctor' for its version",
        )
    if not seen:
        raise NotScanned(f"Trivy saw no package in {name}", hint="is it an image of Debian?")
    return len(seen)


def _debian(document: Mapping[str, Any], name: str) -> str:
    """Return the database's name for the Debian that Trivy sees: `debian 12`."""
    system = (document.get("Metadata") or {}).get("OS") or {}
    if not system.get("Family") or not system.get("Name"):
        raise NotScanned(
            f"Trivy does not say what system {name} is, so it compared no package of it",
            hint="is there an /etc/os-release in it?",
        )
    return f"{system['Family']} {str(system['Name']).partition('.')[0]}"


def _check_known(database: trivy.Database, sources: Sequence[str], name: str) -> None:
    """Raise `NotScanned` for a database that has nothing to compare the packages with."""
    for source in sources:
        if not database.knows(source):
            raise NotScanned(
                f"the database in {database.folder} knows nothing of '{source.rstrip(':')}', "
                f"so nothing of {name} was compared with it",
                hint="fetch a whole one, or give another with --db",
            )


def _own_rules(image: StoredImage, name: str) -> Iterator[Finding]:
    """Yield what Trivy does not look at in images without a Dockerfile's history."""
    user = str(image.runtime.get("User") or "").partition(":")[0]
    if user in _ROOT_USERS:
        yield Finding(
            name,
            Kind.MISCONFIGURATION,
            Severity.HIGH,
            "root-user",
            path="config",
            title="a container of it runs as root: its configuration names no other user",
        )


# Files.


def _scan_files(
    root: Path,
    parts: Sequence[str],
    scanner: trivy.Trivy,
    licences: LicencePolicy,
    progress: Progress,
    runner: Runner,
) -> Iterator[Subject]:
    scans: dict[str, Callable[[Path], tuple[str, ...]]] = {
        REPOSITORY: scanner.repository,
        CONFIGURATION: scanner.configuration,
    }
    with _copied(root) as folder:
        for name, command in scans.items():
            if name in parts:
                with progress.step(f"scan {name}"):
                    begin = time.monotonic()
                    document = trivy.report(command(folder), name, runner)
                    if name == REPOSITORY:
                        _check_known(scanner.database, (_PYTHON,), name)
                    else:
                        _check_charts(document, folder)
                    seconds = time.monotonic() - begin
                    yield Subject(name, read_results(document, name, licences), seconds, seconds)


def _check_charts(document: Mapping[str, Any], folder: Path) -> None:
    """Raise `NotScanned` for a chart of which Trivy looked at nothing.

    It says nothing of one that it cannot render, and finds nothing in it then.
    """
    seen = {
        str(result.get("Target", ""))
        for result in document.get("Results") or []
        if result.get("Type") == "helm"
    }
    for chart in sorted(folder.rglob("Chart.yaml")):
        place = chart.parent.relative_to(folder).as_posix()
        if not any(target.startswith(f"{place}/") for target in seen):
            raise NotScanned(
                f"Trivy looked at nothing in the chart {place}: it could not render it",
                hint="try 'invoke helm.lint', and 'invoke tools' for Trivy's version",
            )


@contextlib.contextmanager
def _copied(root: Path) -> Iterator[Path]:
    """Yield a folder with the files of the repository: what git has or would add, nothing
    that it ignores."""
    with tempfile.TemporaryDirectory(prefix="repository-") as name:
        for path in repository_files(root):
            source = root / path
            if source.is_file() and not source.is_symlink():
                destination = Path(name) / path
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, destination)
        yield Path(name)


def repository_files(root: Path) -> list[Path]:
    """Return the files of a repository, relative to it: what git has or would add."""
    known = git(root, "ls-files", "-co", "--exclude-standard", "-z")
    return sorted({Path(name) for name in known.split("\0") if name} or set(_walked(root)))


def _walked(root: Path) -> Iterator[Path]:
    """Yield the files of a folder that git does not know, without what tools leave in it."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_OURS]
        yield from (Path(folder).relative_to(root) / name for name in names)


def _check_compose(root: Path, progress: Progress) -> Subject:
    """Return what our own rules find in the Compose files: Trivy does not read those."""
    begin = time.monotonic()
    folder = root / _COMPOSE_FOLDER
    if not (folder / compose.BASE).exists():
        return Subject(COMPOSE, (), 0, 0)
    try:
        checked = compose.check(folder, progress, root=root, ask_docker=False)
    except ComposeUnreadable as error:
        raise NotScanned(f"Compose files: {error.message}", hint=error.hint) from None
    findings = []
    for found in checked.findings:
        path, _, line = found.place.partition(":")
        findings.append(
            Finding(
                COMPOSE,
                Kind.MISCONFIGURATION,
                Severity.HIGH,
                f"compose-{found.rule}",
                path=path,
                line=int(line) if line.isdecimal() else 0,
                title=found.message,
            )
        )
    return Subject(COMPOSE, tuple(sorted(findings)), time.monotonic() - begin, 0)
