"""The floor: what it costs to read, tar, compress and hash an image's bytes, no more."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.builder import Builder
from pipeline.oci.layer import compress

_PART_BYTES = 4 << 20


def unpack(builder: Builder, folder: Path) -> list[Path]:
    """Write the files of each platform's layers below `folder`; return their folders."""
    layout = builder.tree / "dist" / "images" / "production"
    if not layout.exists():
        builder.build_all()
    trees = []
    for view in sorted(layout.glob("linux-*")):
        manifest = _read(view, json.loads((view / "index.json").read_bytes())["manifests"][0])
        tree = folder / view.name
        for layer in manifest["layers"]:
            data = gzip.decompress(_blob(view, layer["digest"]).read_bytes())
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                files = [member for member in archive if member.isreg()]
                # The oldest Pythons that are supported have no filter; these layers are ours.
                safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                archive.extractall(tree, files, **safe)  # noqa: S202
        trees.append(tree)
    return trees


def run(trees: Sequence[Path]) -> None:
    """Do the floor's work for every tree, side by side."""
    with ProcessPoolExecutor(len(trees)) as pool:
        list(pool.map(_pack, trees))


def _pack(tree: Path) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(tree).as_posix())
    data = buffer.getvalue()
    plain, packed = hashlib.sha256(data), hashlib.sha256()
    for start in range(0, len(data), _PART_BYTES):
        packed.update(compress(data[start : start + _PART_BYTES]))
    return plain.hexdigest() + packed.hexdigest()


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _read(layout: Path, descriptor: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    document: dict[str, list[dict[str, str]]] = json.loads(
        _blob(layout, descriptor["digest"]).read_bytes()
    )
    return document
