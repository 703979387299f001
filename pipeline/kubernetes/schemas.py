"""The schemas of Kubernetes: the oldest version that is supported and the newest that is known.

They are those of the package kubernetes-validate, made from Kubernetes' own API description and
strict: a field that a version does not have is an error, as it is to `kubectl --validate=strict`.
Versions are `1.28`, as people write them.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from pipeline.errors import OptionInvalid, ToolMissing
from pipeline.kubernetes.objects import KubernetesObject

OLDEST = "1.28"
"""What Chart.yaml's kubeVersion begins with, too; a test holds the two together."""
_PACKAGE = "kubernetes_validate"


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@functools.cache
def _folder() -> Traversable:
    try:
        return resources.files(_PACKAGE).joinpath("kubernetes-json-schema")
    except ModuleNotFoundError:
        raise ToolMissing(
            "the schemas of Kubernetes are not here",
            hint="pip install -r requirements/kubernetes.txt",
        ) from None


@functools.cache
def known_versions() -> tuple[str, ...]:
    """Return the supported versions whose schemas are here, oldest first; raises `ToolMissing`."""
    named = (
        re.match(r"v(\d+\.\d+)\.\d+-local-strict$", entry.name) for entry in _folder().iterdir()
    )
    found = sorted({match[1] for match in named if match}, key=_number)
    return tuple(version for version in found if _number(version) >= _number(OLDEST))


def chosen_versions(asked: str) -> tuple[str, ...]:
    """Return the versions of a flag: `1.30,1.34`, `all`; by default the oldest and the newest.

    Raises `OptionInvalid` for one that is not known.
    """
    known = known_versions()
    if not asked:
        return tuple(dict.fromkeys((known[0], known[-1])))
    if asked == "all":
        return known
    versions = tuple(dict.fromkeys(part.strip().removeprefix("v") for part in asked.split(",")))
    for version in versions:
        if version not in known:
            raise OptionInvalid(
                f"Kubernetes '{version}' is not known",
                hint=f"choose from {known[0]} to {known[-1]}, or all",
            )
    return versions


def against_schema(found: KubernetesObject, version: str) -> Iterator[tuple[str, str]]:
    """Yield the fields of an object, and what a version of Kubernetes says to them."""
    validator = _validator(found.api_version, found.kind, version)
    if validator is None:
        yield "", f"Kubernetes {version} has no {found.kind} of {found.api_version}"
        return
    for error in validator.iter_errors(dict(found.data)):
        told = error
        while told.context:
            # Of alternatives, what the likeliest one lacks says more than that none fits.
            told = max(told.context, key=lambda inner: len(inner.absolute_path))
        yield field_of(tuple(told.absolute_path)), _message(told)


def _message(error: Any) -> str:
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = sorted(str(field) for field in error.instance if field not in known)
        return f"there is no such field: {', '.join(unknown)}"
    text = " ".join(str(error.message).split())
    return text if len(text) <= 160 else f"{text[:157]}…"


def field_of(path: tuple[str | int, ...]) -> str:
    """Return a path as people write it: `spec.ports[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@functools.cache
def _custom() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("custom-resources.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def _definitions(version: str) -> Any:
    from referencing import Registry, Resource

    text = _folder().joinpath(f"v{version}.0-local-strict", "_definitions.json").read_text("utf-8")
    resource: Any = Resource.from_contents(json.loads(text))
    return resource @ Registry()


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    """Return the validator of a kind; None where that version of Kubernetes has none."""
    from jsonschema import Draft7Validator, Draft202012Validator
    from referencing import Resource

    custom = _custom()["kinds"].get(f"{api_version}/{kind}")
    if custom is not None:
        return Draft7Validator({**custom, "definitions": _custom()["definitions"]})
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    file = _folder().joinpath(f"v{version}.0-local-strict", f"{name}.json")
    if not file.is_file():
        return None
    schema = json.loads(file.read_text("utf-8"))
    resource: Any = Resource.from_contents(schema)
    return Draft202012Validator(schema, registry=resource @ _definitions(version))
