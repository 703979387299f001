"""`invoke release.package`: wheel and sdist, built once, and what is in them looked at.

Both are made by the locked build back end, from what git knows, with the commit's time: the same
commit gives the same bytes.  The wheel that the sdist gives is the one that the tree gives.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline import commands
from pipeline.atomic import alone_in, write_atomically, writing
from pipeline.cache import Cache
from pipeline.errors import ProjectBuildFailed
from pipeline.helm.package import source_time_s
from pipeline.lock import read_lock
from pipeline.release.places import SOURCE, read_version
from pipeline.release.sums import sums_text
from pipeline.release.version import Version
from pipeline.report import Progress
from pipeline.revision import read_revision
from pipeline.settings import LOCK
from pipeline.sources.project import Distribution, Project, build_distribution

if TYPE_CHECKING:
    from packaging.metadata import Metadata

PYTHON = Path("dist/python")
_README_TYPE = "text/markdown"
_NEVER = frozenset({"tests", "test", "__pycache__", "pipeline", ".git"})


@dataclass(frozen=True, slots=True)
class Packages:
    """A wheel and an sdist of one version."""

    version: Version
    files: Mapping[str, str]
    """SHA-256 by name, the wheel first."""
    output: Path
    sums: Path
    """The file of their digests, beside the folder: all in it is for an index."""
    epoch_s: int

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "version": self.version.python,
            "files": {str(self.output / name): sha256 for name, sha256 in self.files.items()},
            "sums": str(self.sums),
            "source_date_epoch": self.epoch_s,
        }


def sums_path(output: Path) -> Path:
    """Return where the digests of a folder's files are."""
    return output.parent / f"{output.name}.SHA256SUMS"


def package(
    progress: Progress,
    *,
    output: Path = PYTHON,
    root: Path | None = None,
    cache: Cache | None = None,
    requirements: Sequence[str] | None = None,
) -> Packages:
    """Build wheel and sdist of the project into a folder, in place of those of other versions.

    `requirements` are the locked ones of the back end by default.  Raises `ProjectBuildFailed`
    for a distribution that is not what it has to be, `OutputUnwritable`, and what building raises.
    """
    root, cache = root or commands.ROOT, cache or commands.builder_cache()
    version = read_version(root)
    project = Project.read(root)
    if requirements is None:
        requirements = read_lock(root / LOCK, LOCK).build_requirements
    epoch_s = source_time_s()
    if read_revision(root).dirty:
        progress.say("note: tracked files differ from the commit; this is nothing to publish")
    with progress.step("sdist") as step:
        sdist = build_distribution(project, requirements, cache, "sdist", epoch_s=epoch_s)
        step.note(sdist.filename)
    with progress.step("wheel") as step:
        wheel = build_distribution(project, requirements, cache, "wheel", epoch_s=epoch_s)
        step.note(wheel.filename)
    with progress.step("wheel of the sdist"), tempfile.TemporaryDirectory() as name:
        unpacked = unpack_sdist(sdist, Path(name), version)
        again = build_distribution(
            Project.read(unpacked), requirements, cache, "wheel", epoch_s=epoch_s
        )
    if again != wheel:
        raise ProjectBuildFailed(
            f"the wheel of {sdist.filename} is not the wheel of {root}",
            hint="the sdist lacks, or adds, something: see the back end's includes",
        )
    check_wheel(wheel, root, version)
    check_sdist(sdist, wheel, version)
    made = {one.filename: one.data for one in (wheel, sdist)}
    files = {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    sums = sums_path(output)
    with alone_in(output.parent), writing(output):
        for stale in (*output.glob("accelerapp-*.whl"), *output.glob("accelerapp-*.tar.gz")):
            if stale.name not in made:
                stale.unlink()  # Whoever uploads the folder would upload it, too.
        for name, data in made.items():
            write_atomically(output / name, data)
        write_atomically(sums, sums_text(files))
    return Packages(version, files, output, sums, epoch_s)


def unpack_sdist(sdist: Distribution, folder: Path, version: Version) -> Path:
    """Unpack an sdist; return its one folder.  Raises `ProjectBuildFailed` for what is none."""
    top = f"accelerapp-{version.python}"
    try:
        with tarfile.open(fileobj=io.BytesIO(sdist.data), mode="r:gz") as archive:
            # By hand: the oldest Pythons that are supported have no filter for `extractall`.
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if parts[:1] != (top,) or ".." in parts:
                    raise _wrong(sdist, f"{member.name} is not below {top}/")
                path = folder.joinpath(*parts)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                elif member.isfile() and (data := archive.extractfile(member)) is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data.read())
                else:
                    raise _wrong(sdist, f"{member.name} is neither a file nor a folder")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise _wrong(sdist, f"it cannot be unpacked: {error}") from None
    return folder / top


# What is in them.


def check_wheel(wheel: Distribution, root: Path, version: Version) -> None:
    """Raise `ProjectBuildFailed` unless a wheel holds the package, its licence, and nothing else.

    RECORD has to name every file with its digest, and the metadata has to be valid.
    """
    info = f"accelerapp-{version.python}.dist-info"
    if wheel.filename != f"accelerapp-{version.python}-py3-none-any.whl":
        raise _wrong(wheel, f"its name is not that of version {version.python}")
    try:
        with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
            listed = archive.infolist()
            data = {one.filename: archive.read(one) for one in listed if not one.is_dir()}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise _wrong(wheel, f"it cannot be read: {error}") from None
    links = [one for one in listed if stat.S_ISLNK(one.external_attr >> 16)]
    if links:
        raise _wrong(wheel, f"{links[0].filename} is a symbolic link")
    package = root / SOURCE.parent
    expected = {
        f"accelerapp/{path.relative_to(package).as_posix()}": path.read_bytes()
        for name in Project.read(root).files
        if (path := root / name).is_relative_to(package)
    }
    found = {name: content for name, content in data.items() if not name.startswith(f"{info}/")}
    for name in sorted(expected.keys() ^ found.keys()):
        raise _wrong(wheel, f"{name} is {'missing' if name in expected else 'not of the project'}")
    for name, content in expected.items():
        if found[name] != content:
            raise _wrong(wheel, f"{name} is another than {SOURCE.parent / name[11:]}")
    _refuse_tests(wheel, found)
    if data.get(f"{info}/licenses/LICENSE") != (root / "LICENSE").read_bytes():
        raise _wrong(wheel, "the project's LICENSE is not in it")
    if b"accelerapp=accelerapp.cli:main" not in data.get(f"{info}/entry_points.txt", b"").replace(
        b" ", b""
    ):
        raise _wrong(wheel, "it has no command 'accelerapp'")
    _check_record(wheel, f"{info}/RECORD", data)
    check_metadata(wheel, data.get(f"{info}/METADATA", b""), version)


def check_sdist(sdist: Distribution, wheel: Distribution, version: Version) -> None:
    """Raise `ProjectBuildFailed` unless an sdist has what builds the wheel, and says the same."""
    top = f"accelerapp-{version.python}"
    if sdist.filename != f"{top}.tar.gz":
        raise _wrong(sdist, f"its name is not that of version {version.python}")
    try:
        with tarfile.open(fileobj=io.BytesIO(sdist.data), mode="r:gz") as archive:
            names = {member.name.partition("/")[2] for member in archive if member.isfile()}
            info = archive.extractfile(f"{top}/PKG-INFO") if "PKG-INFO" in names else None
            said = info.read() if info is not None else b""
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise _wrong(sdist, f"it cannot be read: {error}") from None
    for needed in ("pyproject.toml", "LICENSE", "README.md", "PKG-INFO"):
        if needed not in names:
            raise _wrong(sdist, f"{needed} is not in it")
    _refuse_tests(sdist, names)
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as built:
        metadata = built.read(f"{top}.dist-info/METADATA")
    if said != metadata:
        raise _wrong(sdist, f"its PKG-INFO is not the METADATA of {wheel.filename}")


def check_metadata(distribution: Distribution, data: bytes, version: Version) -> None:
    """Raise `ProjectBuildFailed` for metadata that an index would refuse, or could not show."""
    from packaging.metadata import InvalidMetadata, Metadata

    try:
        metadata: Metadata = Metadata.from_email(data, validate=True)
        wrong = [why for is_wrong, why in _against(version) if is_wrong(metadata)]
    except (ExceptionGroup, InvalidMetadata) as error:
        causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        wrong = [" ".join(str(cause).split()) for cause in causes]
    if wrong:
        raise _wrong(distribution, f"its metadata: {'; '.join(wrong)}")


def _against(version: Version) -> Sequence[tuple[Callable[[Metadata], bool], str]]:
    return (
        (lambda m: m.name != "accelerapp", "its name is not accelerapp"),
        (lambda m: str(m.version) != version.python, f"its version is not {version.python}"),
        (lambda m: not m.summary, "there is no summary"),
        (lambda m: not (m.description or "").strip(), "there is no description"),
        (
            lambda m: (m.description_content_type or "").partition(";")[0] != _README_TYPE,
            f"the description is not {_README_TYPE}",
        ),
        (lambda m: m.requires_python is None, "it does not say for which Python it is"),
        (lambda m: not m.license_expression, "there is no license expression"),
        (lambda m: list(m.license_files or ()) != ["LICENSE"], "it does not name LICENSE"),
    )


def _check_record(wheel: Distribution, name: str, data: Mapping[str, bytes]) -> None:
    recorded = {}
    for row in csv.reader(data.get(name, b"").decode("utf-8", "replace").splitlines()):
        recorded[row[0]] = row[1] if len(row) > 1 else ""
    for path in sorted(recorded.keys() ^ data.keys()):
        where = "RECORD alone" if path in recorded else "no RECORD"
        raise _wrong(wheel, f"{path} is in {where}")
    for path, content in data.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if path != name and recorded[path] != f"sha256={digest}":
            raise _wrong(wheel, f"{path} has another digest than RECORD says")


def _refuse_tests(distribution: Distribution, names: Iterable[str]
) -> None:  # fmt: skip
    for name in sorted(names):
        if _NEVER & set(PurePosixPath(name).parts) or name.endswith((".pyc", ".pyo")):
            raise _wrong(distribution, f"{name} does not belong in it")


def _wrong(distribution: Distribution, problem: str) -> ProjectBuildFailed:
    return ProjectBuildFailed(
        f"{distribution.filename}: {problem}", hint="see pyproject.toml and the build back end"
    )
