"""The provenance of an image that was joined from parts: what their statements say together.

Each part was built, and stated, by itself; their union is, to the byte, the statement of one build
of all of them.  Follows SLSA provenance v1, as `pipeline.provenance` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import ImageInvalid
from pipeline.platforms import Platform


def joined_statement(digest: str, parts: Mapping[Platform, tuple[str, str]]) -> bytes:
    """Return the statement on the index `digest`, of which each part has its own: the digest of
    its manifest, and its statement as text.

    Raises `ImageInvalid` for what is no statement, for one of another image, and for parts that
    were built in different ways.
    """
    read = {
        platform: _read(platform, *parts[platform]) for platform in Platform if platform in parts
    }
    statements = list(read.values())
    first = statements[0]
    definitions = [one["predicate"]["buildDefinition"] for one in statements]
    runs = [one["predicate"]["runDetails"] for one in statements]
    name = first["subject"][0]["name"]
    subjects = [{"name": name, "digest": _digest(digest)}] + [
        {"name": f"{name} {platform}", "digest": _digest(parts[platform][0])} for platform in read
    ]
    document = {
        "_type": _same("_type", (one["_type"] for one in statements)),
        "subject": subjects,
        "predicateType": _same("predicateType", (one["predicateType"] for one in statements)),
        "predicate": {
            "buildDefinition": {
                "buildType": _same("buildType", (one["buildType"] for one in definitions)),
                "externalParameters": _parameters(definitions, read),
                "internalParameters": _same(
                    "internalParameters", (one["internalParameters"] for one in definitions)
                ),
                "resolvedDependencies": _dependencies(definitions),
            },
            "runDetails": _same("runDetails", runs),
        },
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _read(platform: Platform, manifest: str, text: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(text)
        named = {f"sha256:{one['digest']['sha256']}" for one in document["subject"]}
        definition = document["predicate"]["buildDefinition"]
        for key in ("buildType", "externalParameters", "internalParameters"):
            definition[key]
        for dependency in definition["resolvedDependencies"]:
            dependency["name"], dependency["digest"]
        document["predicate"]["runDetails"], document["_type"], document["predicateType"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageInvalid(
            f"the provenance of the part for {platform} cannot be read: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            hint="build and push that part again",
        ) from None
    if manifest not in named:
        raise ImageInvalid(
            f"the provenance of the part for {platform} is of another image: it does not name "
            f"{manifest}",
            hint="build and push that part again",
        )
    return document


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}


def _same(what: str, values: Iterable[Any]) -> Any:
    """Return what all parts say; raises `ImageInvalid` where two say different things."""
    first, *others = list(values)
    for other in others:
        if other != first:
            raise ImageInvalid(
                f"the parts were not built in one way: {what} is {_short(first)} and "
                f"{_short(other)}",
                hint="build all of them from one commit, with the same flags, in one workflow run",
            )
    return first


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:120]


def _parameters(
    definitions: Sequence[Mapping[str, Any]], platforms: Iterable[Platform]
) -> dict[str, Any]:
    """Return the flags of a build of all platforms, in the order of each part's."""
    flags = [one["externalParameters"] for one in definitions]
    return {
        key: [str(platform) for platform in platforms]
        if key == "platforms"
        else _same(key, (one.get(key) for one in flags))
        for key in flags[0]
    }


def _dependencies(definitions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every dependency once, in the order in which one build lists them."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for definition in definitions:
        for one in definition["resolvedDependencies"]:
            found.setdefault((one["name"], json.dumps(one["digest"], sort_keys=True)), one)
    ordered = list(found.values())
    packages = [one for one in ordered if str(one.get("uri", "")).startswith("pkg:")]
    wheels = [one for one in ordered if "uri" not in one and one["name"].endswith(".whl")]
    rest = [one for one in ordered if one not in packages and one not in wheels]
    return [
        *rest,
        *sorted(wheels, key=lambda one: str(one["name"])),
        *sorted(packages, key=lambda one: str(one["uri"])),
    ]
