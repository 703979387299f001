"""Wheels laid into a root file system for any platform (the binary distribution format).

The reading is `installer`'s; what differs from an installation is the destination:
entries of a layer instead of files on this machine, and the image's interpreter in
every script.  Nothing of a wheel is run.
"""

from __future__ import annotations

import configparser
import io
import posixpath
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.entries import Entry, Spool
from pipeline.errors import ArchiveMalformed

if TYPE_CHECKING:
    import os
    from email.message import Message

    from installer.records import RecordEntry
    from installer.scripts import ScriptSection
    from installer.utils import Scheme

INTERPRETER = "/usr/bin/python3"
INSTALLER = b"accelerapp\n"
_CHUNK = 1 << 20
# What reading raises where an archive is damaged, or is not what the format asks for.
_UNREADABLE = (
    OSError, ValueError, KeyError, AssertionError, EOFError, NotImplementedError,
    configparser.Error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metadata:
    """The core metadata of a wheel that decides what an image needs."""

    name: str
    version: str
    requires: tuple[str, ...]
    """`Requires-Dist`, as written."""
    requires_python: str
    console_scripts: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """OCI annotations that follow from it: description, licences, source, url."""


def read_metadata(path: Path, filename: str) -> Metadata:
    """Return the metadata of the wheel at `path`; raises `ArchiveMalformed`."""
    from installer.utils import parse_entrypoints, parse_metadata_file

    with _opened(path, filename) as archive:
        folder = _dist_info(archive)
        message = parse_metadata_file(archive.read(f"{folder}/METADATA").decode("utf-8"))
        scripts: tuple[str, ...] = ()
        if f"{folder}/entry_points.txt" in archive.namelist():
            text = archive.read(f"{folder}/entry_points.txt").decode("utf-8")
            scripts = tuple(
                name for name, _, _, section in parse_entrypoints(text) if section == "console"
            )
    return Metadata(
        name=str(message["Name"]),
        version=str(message["Version"]),
        requires=tuple(str(value) for value in message.get_all("Requires-Dist") or ()),
        requires_python=str(message["Requires-Python"] or ""),
        console_scripts=scripts,
        labels=_labels(message),
    )


def _labels(message: Message) -> Mapping[str, str]:
    """Return the annotations that the core metadata gives a value for."""
    urls = {}
    for text in message.get_all("Project-URL") or ():
        name, _, url = str(text).partition(",")
        urls[name.strip().lower()] = url.strip()
    source = next((urls[n] for n in ("source", "source code", "repository") if n in urls), "")
    licence = str(message["License-Expression"] or message["License"] or "")
    found = {
        "description": str(message["Summary"] or ""),
        # Older metadata has a whole text there, which is no name of a licence.
        "licenses": licence if len(licence.splitlines()) == 1 and len(licence) < 80 else "",
        "source": source,
        "url": str(message["Home-page"] or urls.get("homepage", "")),
    }
    return {f"org.opencontainers.image.{name}": text for name, text in found.items() if text}


def unpack(
    path: Path,
    filename: str,
    spool: Spool,
    *,
    site_packages: str,
    interpreter: str = INTERPRETER,
    direct: bool = False,
) -> list[Entry]:
    """Return the entries of the wheel at `path`, contents in `spool`.

    `filename` is the wheel's own name, `site_packages` the relative folder that modules go
    to.  Console scripts start with the image's `interpreter`; `RECORD` lists what was laid
    down; `REQUESTED` marks a wheel that was asked for by name (`direct`).
    Raises `ArchiveMalformed`.
    """
    from installer import install
    from installer.sources import WheelFile

    metadata = {"INSTALLER": INSTALLER}
    if direct:
        metadata["REQUESTED"] = b""
    with _opened(path, filename) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # A __pycache__ is left out: ours follows.
        destination = _Destination(spool, site_packages, interpreter, origin=filename)
        install(WheelFile(archive), destination, metadata)  # type: ignore[arg-type]
    return destination.entries


class _opened:
    """A wheel opened under its own name; whatever is wrong in it is `ArchiveMalformed`."""

    def __init__(self, path: Path, filename: str) -> None:
        self._path = path
        self._filename = filename

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self._archive = zipfile.ZipFile(self._path)
        except (OSError, zipfile.BadZipFile) as error:
            raise self._malformed(error) from error
        self._archive.filename = self._filename
        return self._archive

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from installer.exceptions import InstallerError
        from installer.records import InvalidRecordEntry

        self._archive.close()
        if isinstance(error, (*_UNREADABLE, InstallerError, InvalidRecordEntry)):
            raise self._malformed(error) from error

    def _malformed(self, error: BaseException) -> ArchiveMalformed:
        reason = " ".join(str(error).split())
        return ArchiveMalformed(
            f"the wheel {self._filename} cannot be read ({reason})",
            hint="report this to its publisher, or require another version",
        )


def _dist_info(archive: zipfile.ZipFile) -> str:
    folders = {name.split("/", 1)[0] for name in archive.namelist()}
    found = [name for name in folders if name.endswith(".dist-info")]
    if len(found) != 1:
        raise ValueError("it does not have exactly one .dist-info folder")
    return found[0]


class _Destination:
    """`installer`'s destination that collects entries."""

    def __init__(self, spool: Spool, site_packages: str, interpreter: str, *, origin: str) -> None:
        self.entries: list[Entry] = []
        self._spool = spool
        self._origin = origin
        self._interpreter = interpreter
        python = posixpath.basename(posixpath.dirname(site_packages))
        distribution = origin.split("-", 1)[0]
        self._folders = {
            "purelib": site_packages,
            "platlib": site_packages,
            "scripts": "usr/local/bin",
            "data": "usr/local",
            "headers": f"usr/local/include/{python}/{distribution}",
        }

    def write_script(
        self, name: str, module: str, attr: str, section: ScriptSection
    ) -> RecordEntry:
        from installer.scripts import Script

        filename, data = Script(name, module, attr, section).generate(self._interpreter, "posix")
        return self._add("scripts", filename, io.BytesIO(data), executable=True)

    def write_file(
        self,
        scheme: Scheme,
        path: str | os.PathLike[str],
        stream: BinaryIO,
        is_executable: bool,
    ) -> RecordEntry:
        from installer.utils import fix_shebang

        if scheme == "scripts":
            with fix_shebang(stream, self._interpreter) as fixed:
                return self._add(scheme, str(path), fixed, executable=True)
        return self._add(scheme, str(path), stream, executable=is_executable)

    def finalize_installation(
        self,
        scheme: Scheme,
        record_file_path: str,
        records: Iterable[tuple[Scheme, RecordEntry]],
    ) -> None:
        base = self._folders[scheme]
        rows = []
        for record_scheme, record in records:
            path = posixpath.join(self._folders[record_scheme], record.path)
            hash_ = str(record.hash_) if record.hash_ else ""
            size = "" if record.size is None else str(record.size)
            rows.append((posixpath.relpath(path, base), hash_, size))
        # The order inside a wheel is its back end's affair; ours is fixed.
        text = io.StringIO()
        import csv

        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        path = posixpath.join(base, record_file_path)
        self.entries.append(Entry(path, content=text.getvalue().encode(), origin=self._origin))

    def _add(self, scheme: str, path: str, stream: BinaryIO, *, executable: bool) -> RecordEntry:
        import base64
        import hashlib

        from installer.records import Hash, RecordEntry

        folder = self._folders[scheme]
        place = posixpath.normpath(posixpath.join(folder, path))
        if not place.startswith(f"{folder}/"):
            raise ValueError(f"'{path}' leaves the folder that it belongs to")
        digest = hashlib.sha256()

        def chunks() -> Iterable[bytes]:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                yield chunk

        content = self._spool.add(iter(chunks()))
        mode = 0o755 if executable else 0o644
        self.entries.append(Entry(place, mode=mode, content=content, origin=self._origin))
        encoded = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
        return RecordEntry(path, Hash("sha256", encoded), content.size)
