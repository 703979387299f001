"""A chart's archive: the same bytes from the same files, wherever and by whomever it is packed.

`helm package` stamps each file with the clock and rewrites Chart.yaml; here the time is an
argument and every file is as it is on disk.  helm reads either: a gzip-compressed tar with all
files below a folder of the chart's name, Chart.yaml first.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import commands
from pipeline.atomic import write_atomically
from pipeline.entries import Entry
from pipeline.errors import ChartInvalid
from pipeline.helm.chart import CHART_FILE, FILE_BYTES, Chart, chart_files, read_chart, shown
from pipeline.lock import read_lock
from pipeline.oci.layer import check_compressor, tar_chunks, write_tar
from pipeline.revision import read_revision
from pipeline.settings import LOCK, read_settings


@dataclass(frozen=True, slots=True)
class Packaged:
    """An archive that was written."""

    path: Path
    name: str
    version: str
    digest: str
    """Of the archive, which is what a registry keeps as the chart's layer."""
    size_bytes: int
    files: int

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "path": str(self.path),
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "files": self.files,
        }


def package(folder: Path, output: Path, *, epoch_s: int | None = None) -> Packaged:
    """Write the chart in `folder` to `output`/NAME-VERSION.tgz, whole or not at all.

    Every file in it gets the time `epoch_s`, seconds since 1970; without one, see
    `source_time_s`.  Raises `ChartInvalid`, `CompressorChanged` and `OutputUnwritable`.
    """
    chart = read_chart(folder)
    contents = _contents(chart)
    data = _archive(chart, contents, source_time_s() if epoch_s is None else epoch_s)
    path = output / f"{chart.name}-{chart.version}.tgz"
    write_atomically(path, data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Packaged(path, chart.name, chart.version, digest, len(data), len(contents))


def chart_archive(chart: Chart, epoch_s: int) -> bytes:
    """Return the package of a chart, a gzip-compressed tar; raises as `package` does."""
    return _archive(chart, _contents(chart), epoch_s)


def source_time_s() -> int:
    """Return the time of what is packed, in seconds since 1970, as builds take it for images:
    SOURCE_DATE_EPOCH, else when the commit was made, else, outside of version control, the
    lock's time.

    Raises `OptionInvalid` for a SOURCE_DATE_EPOCH that is none, and the errors of the lock.
    """
    given_s = commands.source_date_epoch()
    if given_s is not None:
        return given_s
    commit_s = read_revision(commands.ROOT).commit_s
    if commit_s is not None:
        return commit_s
    settings = read_settings(commands.ROOT)
    return read_lock(settings.root / LOCK, LOCK).suite(settings.default_suite).epoch_s


def _archive(chart: Chart, contents: Mapping[Path, bytes], epoch_s: int) -> bytes:
    check_compressor()
    entries = [
        Entry(f"{chart.name}/{path.as_posix()}", content=data) for path, data in contents.items()
    ]
    out = io.BytesIO()
    write_tar(tar_chunks(entries, epoch_s=epoch_s), out)
    return out.getvalue()


def _contents(chart: Chart) -> dict[Path, bytes]:
    """Return the chart's files in the archive's order."""
    files = sorted(chart_files(chart.folder), key=lambda path: (path != Path(CHART_FILE), path))
    _check_dependencies(chart, files)
    return {path: _read(chart.folder / path) for path in files}


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise ChartInvalid(f"{shown(path)} cannot be read: {reason}") from None
    if len(data) > FILE_BYTES:
        raise ChartInvalid(
            f"{shown(path)} has {len(data)} bytes, and helm reads no file of a chart beyond "
            f"{FILE_BYTES}",
            hint="exclude it in .helmignore",
        )
    return data


def _check_dependencies(chart: Chart, files: list[Path]) -> None:
    """Raise `ChartInvalid` for a dependency that Chart.yaml names and `charts/` lacks: what is
    packed without it cannot be installed."""
    there = {path.parts[1] for path in files if path.parts[0] == "charts" and len(path.parts) > 1}
    for dependency in chart.metadata.get("dependencies") or ():
        name = str(dependency.get("name") or "")
        if not any(one == name or one.startswith(f"{name}-") for one in there):
            raise ChartInvalid(
                f"{shown(chart.folder / CHART_FILE)}: dependency '{name}' is not in charts/",
                hint="fetch it: helm dependency build",
            )
