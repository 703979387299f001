"""What was pushed by digest, in files that one job of a workflow hands to another.

A file is one image of a target, of one platform or of several: where it went, its digests, the
commit that it is of, and its provenance.  `invoke push --by-digest` writes them, `invoke manifest
--by-digest` reads them and gives the image its tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import write_atomically
from pipeline.errors import ImageInvalid, ImageMissing, NameInvalid, UnsupportedPlatform
from pipeline.oci.registry.reference import Repository, check_digest
from pipeline.platforms import Platform
from pipeline.revision import COMMIT, DIRTY

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image that a registry has, and that no tag need name yet."""

    target: str
    repository: Repository
    digest: str
    """Of the index, or of the only platform's manifest."""
    platforms: Mapping[Platform, str]
    """The digest of each platform's manifest."""
    revision: str
    """The commit, with `-dirty` for changed files; empty where the image does not say."""
    provenance: str = ""
    """The statement on it, as text; empty where there is none."""

    @property
    def file_name(self) -> str:
        """`production-amd64-arm64.json`: one name for one target and set of platforms."""
        architectures = [p.architecture for p in Platform if p in self.platforms]
        return f"{'-'.join((self.target, *architectures))}.json"


def write_pushed(folder: Path, pushed: Pushed) -> Path:
    """Write the file of an image; raises `OutputUnwritable`."""
    document = {
        "schema": _SCHEMA,
        "target": pushed.target,
        "repository": str(pushed.repository),
        "digest": pushed.digest,
        "platforms": {str(p): pushed.platforms[p] for p in Platform if p in pushed.platforms},
        "revision": pushed.revision,
        "provenance": pushed.provenance,
    }
    path = folder / pushed.file_name
    write_atomically(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def read_pushed(folder: Path) -> tuple[Pushed, ...]:
    """Return the images that the files of a folder name, in the order of their names.

    Raises `ImageMissing` where there is none, `ImageInvalid` for a file that is none of those that
    `write_pushed` writes.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise ImageMissing(
            f"there is no image in {folder}",
            hint=f"push one first: invoke push --by-digest {folder}",
        )
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Pushed:
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}")
        pushed = Pushed(
            target=_text(document, "target"),
            repository=Repository.parse(_text(document, "repository")),
            digest=check_digest(_text(document, "digest")),
            platforms={
                Platform.parse(spelling): check_digest(digest)
                for spelling, digest in document["platforms"].items()
            },
            revision=_text(document, "revision"),
            provenance=_text(document, "provenance"),
        )
        if not pushed.platforms:
            raise ValueError("it names no platform")
        if pushed.revision and not COMMIT.fullmatch(pushed.revision.removesuffix(DIRTY)):
            raise ValueError(f"'{pushed.revision}' is no commit")
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        NameInvalid,
        UnsupportedPlatform,
    ) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ImageInvalid(
            f"{path} says nothing of an image that was pushed: {' '.join(why.split())[:200]}",
            hint="push it again with --by-digest, into an empty folder",
        ) from None
    return pushed


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document[key]
    if not isinstance(value, str):
        raise TypeError(f"'{key}' is {type(value).__name__}, and has to be text")
    return value


def by_target(pushed: Sequence[Pushed]) -> dict[str, tuple[Pushed, ...]]:
    """Return the images of each target."""
    return {
        target: tuple(one for one in pushed if one.target == target)
        for target in dict.fromkeys(one.target for one in pushed)
    }
