"""A chart to a registry, as `helm push` puts it there, for `helm install oci://…` to find.

Follows Helm's "Use OCI-based registries" and HIP-6: the chart's metadata is the configuration,
its archive the only layer, its version the tag (`+`, which tags cannot have, is written `_`).
A version names one content for good: what a registry has is never replaced.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import VersionTaken
from pipeline.helm.chart import Chart
from pipeline.helm.package import chart_archive
from pipeline.oci.image import Descriptor, Document, Format, canonical, document_of, timestamp
from pipeline.oci.registry.reference import Reference, Repository, check_tag
from pipeline.push import Blob, Fate, TagMove
from pipeline.report import Progress, Step, megabytes

if TYPE_CHECKING:
    from pipeline.oci.registry.client import Registry

CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
CHART_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

_ANNOTATION = "org.opencontainers.image."
# What helm knows of Chart.yaml, by its names in JSON, which are those of the YAML.
_KNOWN = frozenset(
    (
        *("apiVersion", "name", "version", "kubeVersion", "description", "type", "keywords"),
        *("home", "sources", "dependencies", "maintainers", "icon", "appVersion", "deprecated"),
        *("annotations", "condition", "tags"),
    )
)
# An annotation of the chart may say these otherwise, to helm's mind, but not which chart it is.
_FIXED = (f"{_ANNOTATION}title", f"{_ANNOTATION}version")


@dataclass(frozen=True, slots=True)
class ChartCargo:
    """A chart as a registry keeps it, and where it is to go."""

    chart: Chart
    repository: Repository
    tag: str
    config: Document
    archive: Document
    manifest: Document


@dataclass(frozen=True, slots=True)
class ChartReport:
    """What a push of a chart did; of a survey, what it would do."""

    name: str
    version: str
    repository: Repository
    digest: str
    """Of the manifest: the one that helm prints."""
    fate: Fate
    """Of the manifest under its tag."""
    tag: TagMove
    blobs: tuple[Blob, ...]
    """The archive, then the metadata."""
    plain_http: bool = False
    """Whether helm needs to be told to speak http."""
    seconds: float = 0.0

    @property
    def reference(self) -> str:
        """The chart by digest: what to deploy."""
        return f"{self.repository}@{self.digest}"

    @property
    def install(self) -> tuple[str, ...]:
        """The command that installs it, under its own name."""
        place = f"oci://{self.repository}"
        flags = ("--plain-http",) if self.plain_http else ()
        return ("helm", "install", self.name, place, "--version", self.version, *flags)

    @property
    def bytes_to_send(self) -> int:
        """Bytes of blobs that the registry does not have."""
        return sum(blob.size_bytes for blob in self.blobs if blob.fate is Fate.WOULD_SEND)

    @property
    def bytes_sent(self) -> int:
        """Bytes of blobs that were sent, repeated attempts included."""
        return sum(blob.sent_bytes for blob in self.blobs)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "name": self.name,
            "version": self.version,
            "repository": str(self.repository),
            "digest": self.digest,
            "reference": self.reference,
            "manifest": self.fate.value,
            "tag": {"tag": self.tag.tag, "before": self.tag.before, "after": self.tag.after},
            "blobs": [
                {"digest": blob.digest, "size_bytes": blob.size_bytes, "fate": blob.fate.value}
                for blob in self.blobs
            ],
            "bytes_to_send": self.bytes_to_send,
            "bytes_sent": self.bytes_sent,
            "install": list(self.install),
            "seconds": round(self.seconds, 3),
        }


def chart_cargo(chart: Chart, epoch_s: int, repository: Repository) -> ChartCargo:
    """Return what `push_chart` sends; the same chart and time give the same digests.

    `epoch_s` is the time of the files and of the manifest's `created`, seconds since 1970.
    Raises `NameInvalid` for a version that is too long for a tag, and as `chart_archive`.
    """
    tag = check_tag(chart.version.replace("+", "_"))
    config = document_of(canonical(_metadata(chart)), CONFIG_TYPE)
    archive = document_of(chart_archive(chart, epoch_s), CHART_TYPE)
    body = {
        "schemaVersion": 2,
        "mediaType": Format.OCI.manifest_type,
        "config": config.descriptor.to_json(),
        "layers": [archive.descriptor.to_json()],
        "annotations": _annotations(chart, epoch_s),
    }
    manifest = document_of(canonical(body), Format.OCI.manifest_type)
    return ChartCargo(chart, repository, tag, config, archive, manifest)


def survey_chart(cargo: ChartCargo, registry: Registry) -> ChartReport:
    """Return what a push would do; asks the registry and sends nothing.

    Raises `VersionTaken` when the version names other content there.
    """
    begin_s = time.monotonic()
    repository, digest = cargo.repository, cargo.manifest.descriptor.digest
    reference = Reference(repository, tag=cargo.tag)
    found = registry.head_manifest(reference, pushing=True)
    there = found.digest if found is not None else None
    if there not in (None, digest):
        raise VersionTaken(
            f"{reference} is in the registry with other content: {there}, here it is {digest}",
            hint="raise the version in Chart.yaml, or delete that one there",
        )

    def blob(descriptor: Descriptor) -> Blob:
        size_bytes = registry.has_blob(repository, descriptor.digest, pushing=True)
        fate = Fate.WOULD_SEND if size_bytes is None else Fate.EXISTS
        return Blob(descriptor.digest, descriptor.size_bytes, fate)

    return ChartReport(
        name=cargo.chart.name,
        version=cargo.chart.version,
        repository=repository,
        digest=digest,
        fate=Fate.WOULD_SEND if there is None else Fate.EXISTS,
        tag=TagMove(cargo.tag, there, digest),
        blobs=(blob(cargo.archive.descriptor), blob(cargo.config.descriptor)),
        seconds=time.monotonic() - begin_s,
    )


def push_chart(cargo: ChartCargo, registry: Registry, progress: Progress) -> ChartReport:
    """Bring a chart to its repository, archive and metadata first; say what that took.

    What is there is not sent.  Raises `VersionTaken`, before anything is sent, when the
    version names other content there.
    """
    begin_s = time.monotonic()
    before = survey_chart(cargo, registry)
    blobs = before.blobs
    if before.bytes_to_send:
        title = f"push chart {before.name} {before.version}"
        with progress.step(title, total_bytes=before.bytes_to_send) as step:
            blobs = tuple(_sent(cargo, blob, registry, step) for blob in blobs)
            step.note(f"{megabytes(sum(blob.sent_bytes for blob in blobs))} sent")
    if before.fate is not Fate.EXISTS:
        registry.put_manifest(Reference(cargo.repository, tag=cargo.tag), cargo.manifest)
    return replace(
        before,
        fate=Fate.EXISTS if before.fate is Fate.EXISTS else Fate.SENT,
        blobs=blobs,
        seconds=time.monotonic() - begin_s,
    )


def _sent(cargo: ChartCargo, blob: Blob, registry: Registry, step: Step) -> Blob:
    """Return what became of a blob, once the registry has it."""
    if blob.fate is Fate.EXISTS:
        return blob
    documents = {one.descriptor.digest: one for one in (cargo.archive, cargo.config)}
    uploaded = registry.upload_blob(
        cargo.repository,
        blob.digest,
        blob.size_bytes,
        partial(io.BytesIO, documents[blob.digest].data),
        on_progress=step.advance,
    )
    return replace(blob, fate=Fate(uploaded.outcome.value), sent_bytes=uploaded.bytes_sent)


def _metadata(chart: Chart) -> dict[str, Any]:
    return {key: value for key, value in chart.metadata.items() if key in _KNOWN and value}


def _annotations(chart: Chart, epoch_s: int) -> Mapping[str, str]:
    """Return what helm says of a chart in its manifest, with a time that is no clock's."""
    said = chart.metadata
    own = {
        "title": chart.name,
        "version": chart.version,
        "description": said.get("description"),
        "created": timestamp(epoch_s),
        "url": said.get("home"),
        "source": next(iter(said.get("sources") or ()), ""),
        "authors": ", ".join(_author(one) for one in said.get("maintainers") or ()),
    }
    named = {f"{_ANNOTATION}{key}": value for key, value in own.items() if value and value.strip()}
    others = said.get("annotations") or {}
    return named | {key: value for key, value in others.items() if key not in _FIXED}


def _author(maintainer: Mapping[str, str]) -> str:
    name, email = maintainer.get("name") or "", maintainer.get("email") or ""
    return f"{name} ({email})" if email else name
