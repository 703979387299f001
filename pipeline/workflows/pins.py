"""What workflows take from elsewhere: each by a commit or a digest, the same one everywhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pipeline.findings import Finding
from pipeline.workflows.document import (
    Document,
    Documents,
    Path_,
    all_steps,
    is_local,
    jobs_of,
    mapping_of,
    text_of,
)

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_VERSION = re.compile(r"#\s*v\d+\.\d+\.\d+(?:[-+.][0-9A-Za-z.-]+)?\s*$")


def pin_findings(documents: Documents) -> Iterator[Finding]:
    """Yield what is not pinned, or in two ways."""
    pins: dict[str, dict[str, str]] = defaultdict(dict)
    for document, path, uses in _uses(documents):
        place = document.place(path)
        if uses.startswith("docker://"):
            if not _DIGEST.fullmatch(uses):
                yield Finding(place, "pins", f"{uses} may change; write docker://IMAGE@sha256:…")
            continue
        name, at, commit = uses.partition("@")
        if not at or not _COMMIT.fullmatch(commit):
            yield Finding(
                place, "pins", f"{uses} may change; write {name}@COMMIT # vX.Y.Z, the commit with "
                "its 40 digits"
            )  # fmt: skip
            continue
        version = _VERSION.search(document.text.splitlines()[document.line(path) - 1])
        if version is None:
            yield Finding(place, "pins", f"nobody can read what {name} is; add '# vX.Y.Z' to it")
        pin = f"{commit} {version[0].strip() if version else ''}".strip()
        # An action in a folder of a repository has that repository's commit.
        repository = "/".join(name.lower().split("/")[:2])
        first = pins[repository].setdefault(pin, place)
        others = [other for other in pins[repository] if other != pin]
        if others and first == place:
            yield Finding(
                place, "pins", f"{name} is pinned to something else at "
                f"{pins[repository][others[0]]}; use one of both"
            )  # fmt: skip
    for document, path, image in _images(documents):
        if "${{" not in image and not _DIGEST.fullmatch(image):
            yield document.finding(path, "pins", f"{image} may change; write IMAGE:TAG@sha256:…")


def _uses(documents: Documents) -> Iterator[tuple[Document, Path_, str]]:
    for step in all_steps(documents):
        if step.uses and not step.is_local:
            yield step.document, (*step.path, "uses"), step.uses
    for document in documents.workflows:
        for job in jobs_of(document):
            if job.uses and not is_local(job.uses):
                yield document, (*job.path, "uses"), job.uses


def _images(documents: Documents) -> Iterator[tuple[Document, Path_, str]]:
    for document in documents.workflows:
        for job in jobs_of(document):
            places: list[tuple[Path_, Any]] = [
                ((*job.path, "container"), job.data.get("container"))
            ]
            services = mapping_of(job.data.get("services"))
            places += [((*job.path, "services", name), one) for name, one in services.items()]
            for path, data in places:
                if isinstance(data, str):
                    yield document, path, data
                elif image := text_of(mapping_of(data).get("image")):
                    yield document, (*path, "image"), image
    for document in documents.actions:
        runs = mapping_of(document.plain.get("runs"))
        image = text_of(runs.get("image"))
        if image.startswith("docker://"):
            yield document, ("runs", "image"), image
