"""Kubernetes' own schemas: what a version does not have is found, what it has passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.helm import commands
from pipeline.kubernetes.check import check_objects
from pipeline.kubernetes.schemas import OLDEST, against_schema, chosen_versions, known_versions
from pipeline.settings import read_settings
from tests.unit.pipeline.kubernetes.release_factory import Data, drop, good, objects, put

ROOT = Path(__file__).parents[2]
NEWEST = known_versions()[-1]
GONE = object()
"""In place of a value: what is there is removed."""


def changed(place: str, **changes: Any) -> Data:
    """Return an object of the good release with changes, `__` for dots in their paths."""
    data = good()[place]
    for name, value in changes.items():
        path = name.replace("__", ".")
        if value is GONE:
            drop(data, path)
        else:
            put(data, path, value)
    return data


def said(data: Data, version: str) -> list[tuple[str, str]]:
    (found,) = objects({"here": data})
    return list(against_schema(found, version))


def test_versions_reach_from_the_charts_oldest_to_one_that_charts_are_rendered_for() -> None:
    known = known_versions()
    assert known[0] == OLDEST == "1.28"
    minors = [int(version.removeprefix("1.")) for version in known]
    assert minors == list(range(28, 28 + len(known)))
    assert commands.KUBERNETES.rpartition(".")[0] in known
    assert chosen_versions("") == (OLDEST, NEWEST)
    assert chosen_versions("all") == known


@pytest.mark.parametrize("version", known_versions())
def test_a_good_release_passes_every_version(version: str) -> None:
    assert check_objects(objects(good()), read_settings(ROOT), (version,)) == []


SHOP = "Deployment/shop"
WEB = "spec__template__spec__containers__0"
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    # object, change, field, what is said
    (SHOP, {"spec__replicsa": 1}, "spec", "there is no such field: replicsa"),
    (SHOP, {f"{WEB}__imagePullPolcy": "Always"}, f"{WEB}", "no such field: imagePullPolcy"),
    (SHOP, {"metadata__lables": {}}, "metadata", "no such field: lables"),
    (SHOP, {"status": {}, "sepc": {}}, "", "there is no such field: sepc"),
    (SHOP, {"spec__replicas": "2"}, "spec__replicas", "'2' is not of type 'integer'"),
    (SHOP, {"metadata__labels__a": 1}, "metadata__labels__a", "1 is not of type 'string'"),
    (SHOP, {f"{WEB}__env": {"A": "b"}}, f"{WEB}__env", "is not of type 'array'"),
    (SHOP, {f"{WEB}__env__0__value": 1}, f"{WEB}__env__0__value", "1 is not of type 'string'"),
    (SHOP, {"spec__template": GONE}, "spec", "'template' is a required property"),
    (SHOP, {"spec__selector": GONE}, "spec", "'selector' is a required property"),
    (SHOP, {f"{WEB}__name": GONE}, f"{WEB}", "'name' is a required property"),
    (
        SHOP,
        {"spec__template__spec__containers": GONE},
        "spec__template__spec",
        "'containers' is a required",
    ),
    (SHOP, {"apiVersion": "apps/v1beta2"}, "", "has no Deployment of apps/v1beta2"),
    (SHOP, {"apiVersion": "apps.example.org/v1"}, "apiVersion", "is not one of ['apps/v1']"),
    (SHOP, {"kind": "Deploymnet"}, "", "has no Deploymnet of apps/v1"),
    (
        "PodDisruptionBudget/shop",
        {"apiVersion": "policy/v1beta1"},
        "",
        "has no PodDisruptionBudget of policy/v1beta1",
    ),
    (
        "HorizontalPodAutoscaler/shop",
        {"apiVersion": "autoscaling/v2beta2"},
        "",
        "has no HorizontalPodAutoscaler of autoscaling/v2beta2",
    ),
    (
        "Ingress/shop",
        {"apiVersion": "networking.k8s.io/v1beta1"},
        "",
        "has no Ingress of networking.k8s.io/v1beta1",
    ),
    ("Service/shop", {"spec__ports__0__port": "80"}, "spec__ports__0__port", "'80' is not of"),
    ("Service/shop", {"spec__ports__0__port": GONE}, "spec__ports__0", "'port' is a required"),
    (
        "Service/shop",
        {"spec__ports__0__targetPort": [1]},
        "spec__ports__0__targetPort",
        "[1] is not of type",
    ),
    ("Service/shop", {"spec__1": "x"}, "spec", "there is no such field: 1"),
    (
        "ConfigMap/shop",
        {"data__A": 8},
        "data__A",
        "8 is not of type 'string'",
    ),
    (
        "NetworkPolicy/shop",
        {"spec__ingress__0__from": {}},
        "spec__ingress__0__from",
        "is not of type 'array'",
    ),
    # Kinds of others.
    (
        "HTTPRoute/shop",
        {"spec__rules__0__backendRefs__0__prot": 80},
        "spec__rules__0__backendRefs__0",
        "no such field: prot",
    ),
    (
        "HTTPRoute/shop",
        {"spec__rules__0__backendRefs__0__port": 0},
        "spec__rules__0__backendRefs__0__port",
        "less than the minimum",
    ),
    (
        "HTTPRoute/shop",
        {"spec__rules__0__backendRefs__0__name": GONE},
        "spec__rules__0__backendRefs__0",
        "'name' is a required property",
    ),
    ("HTTPRoute/shop", {"spec__parentRefs__0__name": ""}, "spec__parentRefs__0__name", "''"),
    ("HTTPRoute/shop", {"spec__rules": []}, "spec__rules", "should be non-empty"),
    ("HTTPRoute/shop", {"spec__hostnames": ["A_b"]}, "spec__hostnames__0", "does not match"),
    ("HTTPRoute/shop", {"spec": GONE}, "", "'spec' is a required property"),
    (
        "HTTPRoute/shop",
        {"apiVersion": "gateway.networking.k8s.io/v1beta1"},
        "",
        "has no HTTPRoute of gateway.networking.k8s.io/v1beta1",
    ),
    (
        "ServiceMonitor/shop",
        {"spec__endpoints__0__schema": "http"},
        "spec__endpoints__0",
        "no such field: schema",
    ),
    (
        "ServiceMonitor/shop",
        {"spec__endpoints__0__scheme": "ftp"},
        "spec__endpoints__0__scheme",
        "is not one of",
    ),
    (
        "ServiceMonitor/shop",
        {"spec__endpoints__0__interval": "30"},
        "spec__endpoints__0__interval",
        "'30' does not match",
    ),
    (
        "ServiceMonitor/shop",
        {"spec__endpoints__0__port": 8000},
        "spec__endpoints__0__port",
        "8000 is not of type 'string'",
    ),
    ("ServiceMonitor/shop", {"spec__selector": GONE}, "spec", "'selector' is a required"),
    (
        "PrometheusRule/shop",
        {"spec__groups__0__rules__0__expr": GONE},
        "spec__groups__0__rules__0",
        "'expr' is a required",
    ),
    ("PrometheusRule/shop", {"spec__groups__0__name": ""}, "spec__groups__0__name", "''"),
    (
        "PrometheusRule/shop",
        {"spec__groups__0__rules__0__for": "5 minutes"},
        "spec__groups__0__rules__0__for",
        "'5 minutes' does not match",
    ),
    (
        "PrometheusRule/shop",
        {"spec__groups__0__rules__0__labels__severity": 1},
        "spec__groups__0__rules__0__labels__severity",
        "1 is not of type 'string'",
    ),
    ("PrometheusRule/shop", {"spec__groups__0__ruls": []}, "spec__groups__0", "field: ruls"),
]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    ("place", "change", "field", "message"), WRONG, ids=[f"{p}-{list(c)}" for p, c, *_ in WRONG]
)
def test_what_no_version_has_is_found(
    place: str, change: dict[str, Any], field: str, message: str, version: str
) -> None:
    ((found, told),) = said(changed(place, **change), version)
    assert message in told
    parts = [f"[{part}]" if part.isdigit() else f".{part}" for part in field.split("__")]
    assert found == "".join(parts).removeprefix(".")


RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


@pytest.mark.parametrize(
    ("change", "field", "name"),
    [
        ({f"{WEB}__restartPolicyRules": RULES}, "containers[0]", "restartPolicyRules"),
        ({"spec__template__spec__resources": {"limits": {"cpu": "1"}}}, "spec", "resources"),
        (
            {f"{WEB}__securityContext__appArmorProfile": {"type": "RuntimeDefault"}},
            "securityContext",
            "appArmorProfile",
        ),
    ],
)
def test_what_is_newer_than_the_oldest_is_refused_for_it(
    change: dict[str, Any], field: str, name: str
) -> None:
    data = changed(SHOP, **change)
    ((place, told),) = said(data, OLDEST)
    assert place.endswith(field)
    assert told == f"there is no such field: {name}"
    assert said(data, NEWEST) == []
    release = {**good(), SHOP: data}
    rules = {
        one.rule for one in check_objects(objects(release), read_settings(ROOT), known_versions())
    }
    assert f"kubernetes-{OLDEST}" in rules
    assert f"kubernetes-{NEWEST}" not in rules


def test_what_breaks_a_schema_is_said_once_and_nothing_else() -> None:
    release = {**good(), SHOP: changed(SHOP, spec__replicas="2")}
    release[SHOP]["spec"]["template"]["spec"]["hostNetwork"] = True
    versions = (OLDEST, NEWEST)
    found = check_objects(objects(release), read_settings(ROOT), versions)
    assert [(one.place, one.rule) for one in found] == [
        (SHOP, f"kubernetes-{version}") for version in versions
    ]
    assert found[0].message.startswith("Deployment shop: spec.replicas: '2' is not of type")


def test_null_is_as_good_as_nothing() -> None:
    data = changed(SHOP, spec__replicas=None)
    data["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = None
    release = objects({**good(), SHOP: data})
    assert check_objects(release, read_settings(ROOT), (OLDEST, NEWEST)) == []
