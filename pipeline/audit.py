"""`invoke audit`: the source side: what is wrong with what images are made of, in one table.

Each part is one well-known program over the files that are its own: ruff (the rules of
flake8-bandit), shellcheck, hadolint and zizmor; Trivy, for vulnerable requirements and for
secrets; and the licences of the Python packages that the tasks and the images use.  What cannot
be checked is never taken for clean.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands, tools, zizmor
from pipeline.errors import NotScanned, ToolMissing
from pipeline.flags import parts_of
from pipeline.process import Runner, run
from pipeline.report import Progress
from pipeline.sbom.licences import joined, of_wheel
from pipeline.scan.findings import (
    REPOSITORY,
    Finding,
    Kind,
    LicencePolicy,
    Severity,
    parse_gate,
)
from pipeline.scan.policy import find_policy
from pipeline.scan.run import (
    ScanReport,
    ScanRequest,
    Subject,
    judged_report,
    repository_files,
    scan,
)

LICENCES = "licences"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
_BANDIT = re.compile(r"S[0-9]{3}")
_SHELL = re.compile(rb"#!\s*\S*[/ ](?:ba|da|k)?sh\b")
_DOCKERFILE = re.compile(r"(?:Dockerfile|Containerfile)(?:\..+)?|.+\.[Dd]ockerfile")
_SHELLCHECK_WIKI = "https://www.shellcheck.net/wiki"
_HADOLINT_WIKI = "https://github.com/hadolint/hadolint/wiki"
_LEVELS = {
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "info": Severity.LOW,
    "style": Severity.LOW,
}
_ZIZMOR_LEVELS = {
    "High": Severity.HIGH,
    "Medium": Severity.MEDIUM,
    "Low": Severity.LOW,
    "Informational": Severity.LOW,
}


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """The flags of `invoke audit`."""

    only: Sequence[str] = ()
    severity: Sequence[str] = ()
    db: Path | None = None
    max_db_age: str = "7d"
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class Checker:
    """A program that finds what is wrong with files of one kind."""

    name: str
    """Of the part: `source`, `shell`."""
    program: str
    arguments: tuple[str, ...]
    """Files follow."""
    is_its: Callable[[Path, Path], bool]
    """Whether a file (the root, and a path relative to it) is one of that kind."""
    read: Callable[[Any, Path], Iterator[Finding]]
    """Yields the findings of the JSON that it prints in a folder."""
    codes: tuple[int, ...] = (0,)
    """Exit codes of a run that came to its end."""


def audit(
    request: AuditRequest,
    progress: Progress,
    *,
    now: datetime.datetime,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> ScanReport:
    """Check what is asked for, and judge what was found.

    Raises `NotScanned` for what could not be checked, `ExceptionsInvalid` for a policy that
    cannot be read, `OptionInvalid`.
    """
    root = root or commands.ROOT
    parts = parts_of(request.only, PARTS)
    gate = parse_gate(request.severity or (Severity.MEDIUM.name,))
    policy = find_policy(request.policy, root)
    files = repository_files(root)
    subjects: list[Subject] = []
    for checker in CHECKERS:
        if checker.name in parts:
            with progress.step(f"audit {checker.name}") as step:
                begin = time.monotonic()
                own = [str(file) for file in files if checker.is_its(root, file)]
                step.note(f"{len(own)} files")
                found = _check(checker, own, root, environ, runner) if own else ()
                subjects.append(Subject(checker.name, tuple(sorted(found)), _since(begin), 0))
    if LICENCES in parts:
        with progress.step(f"audit {LICENCES}") as step:
            begin = time.monotonic()
            names = _required(root)
            here = {name: meta for name in names if (meta := _metadata(name)) is not None}
            step.note(f"{len(here)} packages; {len(names) - len(here)} are not installed here")
            licences = sorted((*_licences(here, policy.licences), *_own_licence(root)))
            subjects.append(Subject(LICENCES, tuple(licences), _since(begin), 0, len(here)))
    trivy, database = "", None
    if REPOSITORY in parts:
        scanned = scan(
            ScanRequest(
                only=(REPOSITORY,),
                db=request.db,
                max_db_age=request.max_db_age,
                policy=request.policy,
            ),
            progress,
            now=now,
            root=root,
            environ=environ,
            runner=runner,
        )
        trivy, database = scanned.trivy, scanned.database
        subjects += scanned.subjects
    return judged_report(subjects, policy, gate, now, trivy=trivy, database=database)


def _since(begin: float) -> float:
    return time.monotonic() - begin


def _check(
    checker: Checker,
    files: Sequence[str],
    root: Path,
    environ: Mapping[str, str],
    runner: Runner,
) -> Iterator[Finding]:
    program = tools.beside_python(checker.program) or _on_path(checker, environ)
    # Relative to the root, so that findings name files as the repository does; `./`, so that no
    # name is taken for a flag.
    argv = (program, *checker.arguments, *(f"./{file}" for file in files))
    try:
        done = runner(argv, cwd=root)
    except (ToolMissing, OSError) as error:
        raise NotScanned(
            f"{checker.name}: '{program}' cannot be run: {error}", hint="install it again"
        ) from None
    if done.returncode in checker.codes:
        try:
            yield from checker.read(json.loads(done.stdout), root)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            return
    else:
        why = done.reason
    raise NotScanned(
        f"{checker.name} could not be checked: {checker.program} (exit code {done.returncode}): "
        f"{why[:200]}",
        hint="run it by itself to see more",
    )


def _on_path(checker: Checker, environ: Mapping[str, str]) -> str:
    known = {program.name for program in tools.PROGRAMS}
    if checker.program in known:
        try:
            return tools.find(checker.program, environ)
        except ToolMissing:
            found = None
    else:
        found = shutil.which(checker.program, path=environ.get("PATH"))
    if found is None:
        raise NotScanned(
            f"{checker.name} could not be checked: {checker.program} is not here",
            hint="pip install -r requirements/audit.txt, or use --only for the rest",
        )
    return found


# What each program prints.


def _place(name: str) -> str:
    return str(Path(name))  # Without the `./` that it was given.


def _read_ruff(document: Any, root: Path) -> Iterator[Finding]:
    ignored = _ignored_rules(root)
    for found in document:
        # A file that cannot be read was not checked; the rest of ruff's rules is style.
        code = str(found["code"] or "invalid-syntax")
        if code != "invalid-syntax" and not (_BANDIT.fullmatch(code) and code not in ignored):
            continue
        yield Finding(
            "source",
            Kind.WEAKNESS,
            Severity.MEDIUM,
            code,
            path=os.path.relpath(found["filename"], root.resolve()),
            line=int(found["location"]["row"]),
            title=str(found["message"]),
            url=str(found.get("url") or ""),
        )


def _ignored_rules(root: Path) -> frozenset[str]:
    """Return the rules that pyproject.toml leaves out: selecting all of them on a command line
    brings those back."""
    path = root / "pyproject.toml"
    if not path.is_file():
        return frozenset()
    lint = tomllib.loads(path.read_text()).get("tool", {}).get("ruff", {}).get("lint", {})
    return frozenset((*lint.get("ignore", ()), *lint.get("extend-ignore", ())))


def _read_shellcheck(document: Any, _root: Path) -> Iterator[Finding]:
    for found in document["comments"]:
        yield _of_line("shell", Kind.WEAKNESS, found, f"SC{found['code']}", _SHELLCHECK_WIKI)


def _read_hadolint(document: Any, _root: Path) -> Iterator[Finding]:
    for found in document:
        code = str(found["code"])
        wiki = _SHELLCHECK_WIKI if code.startswith("SC") else _HADOLINT_WIKI
        yield _of_line("dockerfiles", Kind.MISCONFIGURATION, found, code, wiki)


def _of_line(subject: str, kind: Kind, found: Any, code: str, wiki: str) -> Finding:
    """Return a finding as shellcheck and hadolint print it, with the page on its rule."""
    return Finding(
        subject,
        kind,
        _LEVELS.get(found["level"], Severity.UNKNOWN),
        code,
        path=_place(found["file"]),
        line=int(found["line"]),
        title=str(found["message"]),
        url=f"{wiki}/{code}",
    )


def _read_zizmor(document: Any, _root: Path) -> Iterator[Finding]:
    for found in zizmor.read(document):
        yield Finding(
            "workflows",
            Kind.MISCONFIGURATION,
            _ZIZMOR_LEVELS.get(found.level, Severity.UNKNOWN),
            found.rule,
            path=found.path,
            line=found.line,
            title=found.title,
            url=found.url,
        )


def _is_shell(root: Path, file: Path) -> bool:
    if file.suffix in (".sh", ".bash"):
        return True
    path = root / file
    if file.suffix or not path.is_file():
        return False
    with path.open("rb") as opened:
        return _SHELL.match(opened.readline(200)) is not None


def _is_workflow(_root: Path, file: Path) -> bool:
    if file.suffix not in (".yml", ".yaml"):
        return False
    return file.parts[:2] == (".github", "workflows") or file.stem == "action"


CHECKERS = (
    Checker(
        "source",
        "ruff",
        ("check", "--extend-select", "S", "--output-format", "json", "--exit-zero", "--no-cache"),
        lambda _root, file: file.suffix == ".py",
        _read_ruff,
    ),
    Checker(
        "shell", "shellcheck", ("--format", "json1"), _is_shell, _read_shellcheck, codes=(0, 1)
    ),
    Checker(
        "dockerfiles",
        "hadolint",
        ("--format", "json", "--no-fail"),
        lambda _root, file: _DOCKERFILE.fullmatch(file.name) is not None,
        _read_hadolint,
    ),
    Checker(
        "workflows",
        zizmor.NAME,
        zizmor.ARGUMENTS,
        _is_workflow,
        _read_zizmor,
    ),
)
PARTS = (*(checker.name for checker in CHECKERS), LICENCES, REPOSITORY)


# Licences.


def _required(root: Path) -> tuple[str, ...]:
    """Return the Python packages of every lock, each once."""
    texts = (path.read_text() for path in sorted((root / "requirements").glob("*.txt")))
    return tuple(sorted({name for text in texts for name in _REQUIREMENT.findall(text)}))


def _metadata(name: str) -> Any:
    try:
        return importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _licences(packages: Mapping[str, Any], policy: LicencePolicy) -> Iterator[Finding]:
    """Yield the licences that are not taken.

    Only those that are not taken of anything: what the tasks use is not part of the application,
    whose own packages are looked at in its images.
    """
    for name, metadata in packages.items():
        expression = joined(of_wheel(metadata))
        choices: Iterable[str] = re.findall(r"[A-Za-z0-9.+-]+", expression)
        for licence in choices:
            severity = policy.severity(licence, python=False)
            if severity is not None:
                yield Finding(
                    LICENCES,
                    Kind.LICENCE,
                    severity,
                    licence,
                    package=name,
                    version=str(metadata.get("Version") or ""),
                    title=f"'{expression}' is not taken",
                )


def _own_licence(root: Path) -> Iterator[Finding]:
    """Yield whether the project says its own licence, in words and in full."""
    path = root / "pyproject.toml"
    declared = ""
    if path.is_file():
        declared = str(tomllib.loads(path.read_text()).get("project", {}).get("license", ""))
    if not declared or not any(root.glob("LICEN[SC]E*")):
        yield Finding(
            LICENCES,
            Kind.LICENCE,
            Severity.MEDIUM,
            "no-licence",
            path="pyproject.toml",
            title="the project has no licence: 'license' in pyproject.toml, and a file LICENSE",
        )
