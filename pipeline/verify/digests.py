"""Whether an image is what its digests say (OCI image specification, descriptor.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.atomic import file_sha256
from pipeline.contents import LayerReader, StoredImage
from pipeline.errors import ImageInvalid
from pipeline.oci.layout import NamedImage, blob_path, index_json, platform_folder
from pipeline.platforms import Platform
from pipeline.push import base_of
from pipeline.verify.checks import Check, Outcome


def check_digests(
    folder: Path, image: NamedImage, stored: Sequence[StoredImage], expected: str | None
) -> Check:
    """Check every document and layer of a layout; `expected` is the digest it has to be."""
    top = image.top.descriptor
    problems = list(_document_problems(folder, image, stored))
    if expected is not None and top.digest != expected:
        problems.insert(0, f"the image is {top.digest}, not {expected}")
    absent, whole = 0, set()
    for part in stored:
        for layer in part.layers:
            if layer.layer.digest in whole:
                continue
            whole.add(layer.layer.digest)
            if not layer.path.exists() and base_of(image) is not None:
                absent += 1
                continue
            problems += _layer_problems(layer.path, layer.layer.digest, layer.layer.size_bytes)
    if not problems and not absent:
        read = LayerReader()
        for part in stored:
            for layer in part.layers:
                try:
                    read(layer)  # Unpacks to what the configuration names.
                except ImageInvalid as error:
                    problems.append(error.message)
    if problems:
        return Check("digests", Outcome.REFUSED, "; ".join(problems[:3]))
    documents = len(image.documents())
    if absent:
        return Check(
            "digests",
            Outcome.NOT_VERIFIED,
            f"{documents} documents are right; {absent} layers are left in a registry",
        )
    return Check("digests", Outcome.VERIFIED, f"{documents} documents, {len(whole)} layers")


def _layer_problems(path: Path, digest: str, size_bytes: int) -> Iterator[str]:
    try:
        found = path.stat().st_size
        if found != size_bytes:
            yield f"layer {digest[:19]} has {found} bytes instead of {size_bytes}"
        elif (actual := f"sha256:{file_sha256(path)}") != digest:
            yield f"layer {digest[:19]} has the digest {actual[:19]}"
    except OSError:
        yield f"layer {digest[:19]} is not there"


def _document_problems(
    folder: Path, image: NamedImage, stored: Sequence[StoredImage]
) -> Iterator[str]:
    """Yield what descriptors say that is not so: sizes, platforms, views."""
    listed = json.loads((folder / "index.json").read_bytes())["manifests"]
    if image.index is not None:
        listed = [*listed, *json.loads(image.index.data)["manifests"]]
    for part in image.images:
        listed = [*listed, json.loads(part.manifest.data)["config"]]
    platforms = {part.manifest.descriptor.digest: part.platform for part in image.images}
    for descriptor in listed:
        size = blob_path(folder, descriptor["digest"]).stat().st_size
        if descriptor.get("size") != size:
            yield f"{descriptor['digest'][:19]} has {size} bytes, not {descriptor.get('size')}"
        named = descriptor.get("platform")
        has = platforms.get(descriptor["digest"])
        if named is not None and has is not None:
            spelled = "/".join(str(named[k]) for k in ("os", "architecture") if k in named)
            if Platform.parse(spelled) is not has:
                yield f"{descriptor['digest'][:19]} is listed for {spelled} and is for {has}"
    if {part.digest for part in stored} != set(platforms):
        yield "the index lists an image twice, or one that is none"
    for named_part in image.by_platform():
        view = folder / platform_folder(named_part.images[0].platform)
        if (view / "index.json").exists() and (
            (view / "index.json").read_bytes() != index_json([named_part])
            or (view / "blobs").resolve() != (folder / "blobs").resolve()
        ):
            yield f"the view {view.name} is of another image"
