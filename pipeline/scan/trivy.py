"""Trivy: where it is, which versions are believed, its database, and its commands.

A scan that was not done never looks like a clean one: whatever is missing, damaged or too
old raises `NotScanned`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import mmap
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import tools
from pipeline.errors import NotScanned, OptionInvalid, ToolMissing
from pipeline.helm.commands import KUBERNETES
from pipeline.process import Completed, Runner, run

_PROGRAM = tools.program("trivy")
# https://github.com/aquasecurity/trivy/security/advisories/GHSA-69fq-xp46-6x23: released by
# somebody else in March 2026, to steal credentials.
_MALICIOUS = ((0, 69, 4), (0, 69, 5), (0, 69, 6))
_SCHEMA = 2
_TIMEOUT = "10m"
_OFFLINE = ("--skip-db-update", "--skip-java-db-update", "--offline-scan")
_PIP_FILES = "pip:requirements/[^/]*\\.txt$"


@dataclass(frozen=True, slots=True)
class Database:
    """Trivy's database of vulnerabilities."""

    folder: Path
    """The one with `trivy.db` and `metadata.json`."""
    updated: datetime.datetime

    def age(self, now: datetime.datetime) -> datetime.timedelta:
        """Return how long ago its newest entry was made."""
        return now - self.updated

    def knows(self, source: str) -> bool:
        """Whether it has a list of vulnerabilities by this name: `debian 12`, `pip::`.

        Names of lists (buckets of bbolt) are in the file as they are.
        """
        with (
            (self.folder / "trivy.db").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return data.find(source.encode()) >= 0


@dataclass(frozen=True, slots=True)
class Trivy:
    """A scanner that is ready: program, version, and the cache folder with its database."""

    program: str
    version: str
    cache: Path
    database: Database

    def image(self, view: Path) -> tuple[str, ...]:
        """Return the command that scans a layout of one platform."""
        # The list of packages shows that it understood the image.
        scanners = ("--scanners", "vuln,secret,license", "--list-all-pkgs")
        return self._command("image", *scanners, "--input", str(view))

    def repository(self, folder: Path) -> tuple[str, ...]:
        """Return the command that looks for vulnerable requirements and for secrets."""
        return self._command(
            "fs", "--scanners", "vuln,secret", "--file-patterns", _PIP_FILES, str(folder)
        )

    def configuration(self, folder: Path) -> tuple[str, ...]:
        """Return the command that checks Dockerfiles, charts and manifests."""
        # With the checks that came with the program: those do not change under it.  Charts for a
        # Kubernetes that they support: Trivy's own default is one of 2020.
        version = ("--helm-kube-version", KUBERNETES)
        return self._command(
            "fs", "--scanners", "misconfig", "--skip-check-update", *version, str(folder)
        )

    def _command(self, kind: str, *rest: str) -> tuple[str, ...]:
        common = ("--quiet", "--format", "json", "--timeout", _TIMEOUT, *_OFFLINE)
        return (self.program, kind, *common, "--cache-dir", str(self.cache), *rest)


def find(environ: Mapping[str, str] = os.environ) -> str:
    """Return Trivy's path; raises `NotScanned` where there is none."""
    try:
        return tools.find("trivy", environ)
    except ToolMissing as error:
        raise NotScanned(error.message, hint=error.hint) from None


def check_version(program: str, runner: Runner = run) -> str:
    """Return the version of the Trivy at `program`; raises `NotScanned` for an unsuitable one."""
    try:
        done = runner((program, "--version"))
    except (ToolMissing, OSError) as error:
        raise NotScanned(f"'{program}' cannot be run: {error}", hint="install Trivy") from None
    found = re.search(r"^Version: v?((\d+)\.(\d+)\.(\d+)\S*)", done.stdout, re.MULTILINE)
    if not done.ok or found is None:
        raise NotScanned(f"'{program}' does not say its version", hint="install Trivy again")
    version = (int(found[2]), int(found[3]), int(found[4]))
    if version in _MALICIOUS:
        raise NotScanned(
            f"'{program}' is Trivy {found[1]}, which was published to steal credentials",
            hint="remove it, renew every credential of this machine, install another version",
        )
    if not _PROGRAM.oldest <= version < _PROGRAM.below:
        low, high = (".".join(map(str, v)) for v in (_PROGRAM.oldest, _PROGRAM.below))
        raise NotScanned(
            f"'{program}' is Trivy {found[1]}, which is not supported",
            hint=f"install a version from {low} up to, not including, {high}",
        )
    return found[1]


def parse_age(text: str) -> datetime.timedelta:
    """Return a duration such as `7d`, `36h` or `3` (days); raises `OptionInvalid`."""
    found = re.fullmatch(r"([0-9]{1,6})([dh]?)", text.strip())
    if found is None:
        raise OptionInvalid(f"--max-db-age is '{text}'", hint="write days or hours: 7d, 36h")
    number = int(found[1])
    return datetime.timedelta(hours=number) if found[2] == "h" else datetime.timedelta(days=number)


def read_database(folder: Path) -> Database:
    """Return the database in a folder, or in its `db`; raises `NotScanned` without a whole one."""
    inner = folder if (folder / "metadata.json").exists() else folder / "db"
    try:
        metadata = json.loads((inner / "metadata.json").read_bytes())
        updated = datetime.datetime.fromisoformat(metadata["UpdatedAt"])
        if updated.tzinfo is None:
            updated = updated.replace(tzinfo=datetime.UTC)
        if metadata["Version"] != _SCHEMA:
            raise NotScanned(
                f"the database in {inner} has schema {metadata['Version']}, not {_SCHEMA}",
                hint="fetch it again with the Trivy that reads it",
            )
        size_bytes = (inner / "trivy.db").stat().st_size
    except FileNotFoundError as error:
        raise NotScanned(
            f"there is no database of vulnerabilities in {folder}: "
            f"{Path(error.filename).name} is missing",
            hint="run with a network, or name the folder of one with --db",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotScanned(
            f"the database in {inner} is damaged: {' '.join(str(error).split())}",
            hint="fetch it again",
        ) from None
    if not size_bytes:
        raise NotScanned(f"the database in {inner} is empty", hint="fetch it again")
    return Database(inner, updated)


def check_age(database: Database, longest: datetime.timedelta, now: datetime.datetime) -> None:
    """Raise `NotScanned` for a database that is too old, or from the future."""
    age = database.age(now)
    if age > longest:
        raise NotScanned(
            f"the database in {database.folder} is {age.days} days old "
            f"({database.updated:%Y-%m-%d})",
            hint="update it, or allow more with --max-db-age",
        )
    if age < -datetime.timedelta(days=1):
        raise NotScanned(
            f"the database in {database.folder} is from the future ({database.updated:%Y-%m-%d})",
            hint="set this machine's clock",
        )


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder where Trivy keeps its database."""
    if folder := environ.get("TRIVY_CACHE_DIR"):
        return Path(folder)
    home = environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "trivy"


@contextlib.contextmanager
def ready(
    folder: Path | None,
    longest: datetime.timedelta,
    *,
    now: datetime.datetime,
    environ: Mapping[str, str] = os.environ,
    runner: Runner = run,
) -> Iterator[Trivy]:
    """Yield Trivy with a database: of `folder`, or Trivy's own, fetched when it is missing or
    too old.

    Trivy's notes on layers go to a folder that is gone afterwards, so that no scan repeats
    what an earlier one believed.
    """
    program = find(environ)
    version = check_version(program, runner)
    database = (
        _own_database(program, longest, now, environ, runner)
        if folder is None
        else read_database(folder)
    )
    check_age(database, longest, now)
    with tempfile.TemporaryDirectory(prefix="trivy-") as name:
        (Path(name) / "db").symlink_to(database.folder.resolve())
        yield Trivy(program, version, Path(name), database)


def _own_database(
    program: str,
    longest: datetime.timedelta,
    now: datetime.datetime,
    environ: Mapping[str, str],
    runner: Runner,
) -> Database:
    cache = default_cache(environ)
    with contextlib.suppress(NotScanned):
        found = read_database(cache)
        check_age(found, longest, now)
        return found
    argv = (program, "image", "--download-db-only", "--quiet", "--cache-dir", str(cache))
    done = runner(argv)
    if not done.ok:
        reason = last_line(done)
        try:
            check_age(read_database(cache), longest, now)
        except NotScanned as error:
            raise NotScanned(
                f"{error.message}, and fetching it failed: {reason}", hint=error.hint
            ) from None
    return read_database(cache)


def report(argv: tuple[str, ...], subject: str, runner: Runner = run) -> dict[str, Any]:
    """Run a scan and return its report; raises `NotScanned` when there is none."""
    done = runner(argv)
    if not done.ok:
        raise NotScanned(
            f"Trivy could not scan {subject}: {last_line(done)}",
            hint="if it speaks of its database, fetch that again",
        )
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise NotScanned(
            f"Trivy's report on {subject} is not JSON: {error}", hint="see 'invoke doctor'"
        ) from None
    if not isinstance(document, dict):
        raise NotScanned(f"Trivy's report on {subject} is no report", hint="see 'invoke doctor'")
    return document


def last_line(done: Completed) -> str:
    """Return the last thing that Trivy said, without its time and level."""
    return " ".join(re.sub(r"^\S+Z\s+[A-Z]+\s+", "", done.reason).split())
