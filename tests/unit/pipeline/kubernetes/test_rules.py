"""Planted mistakes: each is found by the name of its rule, at the object that it is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.findings import Finding
from pipeline.kubernetes.objects import KubernetesObject, read_objects
from pipeline.kubernetes.rules import LABELS, RULES, Release, findings
from pipeline.settings import Settings, read_settings
from tests.unit.pipeline.kubernetes.release_factory import (
    DIGEST,
    Data,
    container,
    deployment,
    drop,
    good,
    labels,
    made,
    objects,
    pod,
    put,
    selector,
)

ROOT = Path(__file__).parents[4]
SETTINGS: Settings = read_settings(ROOT)
SHOP, MONITOR, REDIS = "Deployment/shop", "Deployment/shop-monitor", "Deployment/shop-redis"
POD = "spec.template.spec"
WEB = f"{POD}.containers.0"
Plant = Callable[[dict[str, Data]], None]


def check(release: Mapping[str, Data]) -> list[Finding]:
    return findings(Release(objects(dict(release)), SETTINGS))


def planted(*plants: Plant) -> list[Finding]:
    release = good()
    for plant in plants:
        plant(release)
    return check(release)


def setting(place: str, path: str, value: Any) -> Plant:
    return lambda release: put(release[place], path, value)


def without(place: str, path: str = "") -> Plant:
    def plant(release: dict[str, Data]) -> None:
        if path:
            drop(release[place], path)
        else:
            del release[place]

    return plant


def adding(data: Data, place: str = "") -> Plant:
    def plant(release: dict[str, Data]) -> None:
        release[place or f"{data['kind']}/{data['metadata']['name']}"] = data

    return plant


def both(*plants: Plant) -> Plant:
    def plant(release: dict[str, Data]) -> None:
        for one in plants:
            one(release)

    return plant


def variable(place: str, name: str, value: str) -> Plant:
    return lambda release: (
        release[place]["spec"]["template"]["spec"]["containers"][0]
        .setdefault("env", [])
        .append({"name": name, "value": value})
    )


def init(place: str = SHOP, **changes: Any) -> Plant:
    """Add a container that comes to an end before the others start."""
    first = container("first", "http", 8000, **changes)
    for probe in ("livenessProbe", "readinessProbe"):
        first.pop(probe)
    return setting(place, f"{POD}.initContainers", [first])


def test_a_whole_release_has_nothing_wrong() -> None:
    assert check(good()) == []


def test_the_committed_manifest_has_nothing_wrong() -> None:
    path = ROOT / "deployment/kubernetes/accelerapp-deployment.yaml"
    found = read_objects(path.read_text(encoding="utf-8"), "manifest")
    assert len(found) > 10
    assert findings(Release(found, SETTINGS)) == []


def test_nothing_is_no_release() -> None:
    assert check({}) == []


SELECTOR = "spec.selector.matchLabels"
SECRETS = (
    "MONITOR_TOKEN",
    "API_TOKEN",
    "TOKEN",
    "db_password",
    "APIKEY",
    "AWS_SECRET",
    "A_SECRET_B",
)
SECRETS += ("CREDENTIALS_X",)
HPA = "HorizontalPodAutoscaler/shop"
PDB = "PodDisruptionBudget/shop"
PVC = "PersistentVolumeClaim/shop-redis"
POLICY = "NetworkPolicy/shop"
INGRESS = "Ingress/shop"
SCRAPE = "ServiceMonitor/shop"
BACKEND = "spec.rules.0.http.paths.0.backend.service"
TWIN = deployment("twin", "service", pod(container("twin", "http", 8000)))
SECRET = made("v1", "Secret", "own", "service", stringData={"a": "b"})
COMPONENT = "app.kubernetes.io/component"
NO_CONFIG = without("ConfigMap/shop")
SOMEWHERE_ELSE = {"key": COMPONENT, "operator": "NotIn", "values": ["service"]}
HERE = {**SOMEWHERE_ELSE, "operator": "In"}


def of_before() -> Data:
    """A workload of the kind that was there before Deployments, with a token."""
    data = deployment("old", "old", pod(container("old", "http", 1)))
    data |= {"apiVersion": "v1", "kind": "ReplicationController"}
    data["spec"]["selector"] = selector("old")
    drop(data, "spec.template.spec.automountServiceAccountToken")
    return data


def lets_out(peer: Data | None, *ports: Data) -> Plant:
    """Let the service's pods out to a peer, or anywhere, at some ports."""
    rule: Data = {"ports": list(ports), **({} if peer is None else {"to": [peer]})}
    return setting(POLICY, "spec.egress", [rule])


def pods(component: str) -> Data:
    return {"podSelector": {"matchLabels": selector(component)}}


def named(name: str) -> Plant:
    return adding(
        made("v1", "Service", name, "other", spec={"ports": [{"port": 80}]}), f"Service/{name}"
    )


PLANTED: list[tuple[str, str, Plant, str]] = [
    # rule, place, what is planted, what is said
    (
        "duplicate",
        "again",
        lambda release: release.update(again=release["Service/shop"]),
        "Service shop: is there twice; one would replace the other",
    ),
    (
        "labels",
        "Service/shop",
        lambda release: release["Service/shop"]["metadata"]["labels"].pop(LABELS[3]),
        "Service shop: has no app.kubernetes.io/version",
    ),
    (
        "labels",
        "ConfigMap/shop",
        without("ConfigMap/shop", "metadata.labels"),
        f"has no {', '.join(LABELS)}",
    ),
    (
        "labels",
        MONITOR,
        lambda release: release[MONITOR]["spec"]["selector"]["matchLabels"].update(
            {"app.kubernetes.io/version": "1"}
        ),
        "is selected by app.kubernetes.io/version, which change",
    ),
    (
        "selector",
        MONITOR,
        setting(MONITOR, "spec.template.metadata.labels", {}),
        "does not select its own pods",
    ),
    ("selector", SHOP, without(SHOP, "spec.selector"), "does not select its own pods"),
    ("selector", "Deployment/twin", adding(TWIN), "selects pods of another workload, too"),
    (
        "selector",
        "Service/shop-redis",
        setting("Service/shop-redis", "spec.selector", selector("other")),
        "selects no pod",
    ),
    (
        "selector",
        POLICY,
        setting(POLICY, "spec.podSelector.matchLabels", selector("other")),
        "selects no pod",
    ),
    (
        "selector",
        POLICY,
        setting(POLICY, "spec.podSelector.matchExpressions", [SOMEWHERE_ELSE]),
        "selects no pod",
    ),
    ("selector", PDB, setting(PDB, SELECTOR, selector("other")), "selects no pod"),
    ("selector", PDB, without(PDB, "spec.selector"), "selects no pod"),
    ("selector", SCRAPE, setting(SCRAPE, SELECTOR, selector("other")), "selects no Service"),
    (
        "port",
        "Service/shop",
        setting("Service/shop", "spec.ports.0.targetPort", "web"),
        "leads to port web, which Deployment shop does not have",
    ),
    (
        "port",
        "Service/shop",
        without("Service/shop", "spec.ports.0.targetPort"),
        "leads to port 80, which",
    ),
    (
        "port",
        SHOP,
        setting(SHOP, f"{WEB}.startupProbe", {"httpGet": {"path": "/livez", "port": 8001}}),
        "its startupProbe asks port 8001, which it does not have",
    ),
    (
        "port",
        SHOP,
        setting(SHOP, f"{WEB}.livenessProbe.httpGet.port", "web"),
        "its livenessProbe asks port web",
    ),
    (
        "port",
        REDIS,
        setting(REDIS, f"{WEB}.readinessProbe", {"tcpSocket": {"port": 1}}),
        "its readinessProbe asks port 1,",
    ),
    (
        "port",
        SCRAPE,
        setting(SCRAPE, "spec.endpoints.0.port", "metrics"),
        "scrapes port metrics of Service shop",
    ),
    (
        "port",
        POLICY,
        setting(POLICY, "spec.ingress.0.ports.0.port", 8001),
        "opens port 8001, which nothing listens on",
    ),
    (
        "port",
        POLICY,
        setting(POLICY, "spec.podSelector", {}),
        "opens port 8000, which nothing listens on",
    ),
    ("port", POLICY, lets_out(pods("gone")), "lets out to pods that are not there"),
    ("port", POLICY, lets_out(pods("gone"), {"port": 1}), "lets out to pods that are not there"),
    (
        "port",
        POLICY,
        lets_out(pods("redis"), {"port": 6379}, {"port": 6380}),
        "lets out to port 6380 of Deployment shop-redis, which has none",
    ),
    (
        "port",
        POLICY,
        lets_out(
            {"podSelector": {"matchExpressions": [{"key": COMPONENT, "operator": "Exists"}]}},
            {"port": 8080},
        ),
        "lets out to port 8080 of Deployment shop, which has none",
    ),
    (
        "port",
        POLICY,
        lets_out(pods("redis"), {"port": "redis"}),
        "lets out to a port by its name, redis: some networks take numbers only",
    ),
    *(
        ("name", f"Service/{name}", named(name), "is no name of a Service")
        for name in ("1st-x", "my.app", "-x", "x-", "X", "x" * 64)
    ),
    (
        "backend",
        INGRESS,
        without(INGRESS, "spec.rules.0.host"),
        "has a rule without a host",
    ),
    (
        "backend",
        INGRESS,
        setting(INGRESS, f"{BACKEND}.name", "shopp"),
        "leads to Service shopp, which is not there",
    ),
    (
        "backend",
        INGRESS,
        setting(INGRESS, f"{BACKEND}.port", {"number": 8000}),
        "leads to port 8000 of Service shop, which it does not have",
    ),
    (
        "backend",
        "HTTPRoute/shop",
        setting("HTTPRoute/shop", "spec.rules.0.backendRefs.0.name", "shopp"),
        "leads to Service shopp",
    ),
    (
        "backend",
        "HTTPRoute/shop",
        setting("HTTPRoute/shop", "spec.rules.0.backendRefs.0.port", 81),
        "leads to port 81 of Service shop",
    ),
    ("address", MONITOR, variable(MONITOR, "A", "http://[::1"), "A is no address: http://[::1"),
    ("address", MONITOR, variable(MONITOR, "A", "http://x:99999"), "A is no address"),
    (
        "address",
        MONITOR,
        variable(MONITOR, "A", "http://gone:80/x"),
        "A leads to Service gone, which is not there",
    ),
    (
        "address",
        SHOP,
        setting("ConfigMap/shop", "data.URL", "http://shop:8000"),
        "URL leads to port 8000 of Service shop",
    ),
    ("address", MONITOR, variable(MONITOR, "A", "https://shop"), "A leads to port 443 of"),
    ("address", MONITOR, variable(MONITOR, "A", "redis://shop/0"), "A leads to port 6379 of"),
    ("address", MONITOR, variable(MONITOR, "A", "rediss://shop/0"), "A leads to port 6379 of"),
    ("address", MONITOR, variable(MONITOR, "A", "amqp://shop"), "A leads to port None of"),
    (
        "probe",
        MONITOR,
        without(MONITOR, f"{WEB}.livenessProbe"),
        "monitor has no livenessProbe",
    ),
    (
        "probe",
        MONITOR,
        without(MONITOR, f"{WEB}.readinessProbe"),
        "monitor has no readinessProbe",
    ),
    *(
        (
            "probe",
            MONITOR,
            setting(MONITOR, f"{WEB}.livenessProbe.httpGet.path", path),
            "monitor is started again when what it needs is away: ask /livez",
        )
        for path in ("/readyz", "/health")
    ),
    (
        "probe",
        SHOP,
        setting(SHOP, f"{WEB}.readinessProbe.httpGet.path", "/livez"),
        "gets requests without being asked for /readyz",
    ),
    *(
        (
            "limits",
            MONITOR,
            without(MONITOR, f"{WEB}.resources.{kind}.{name}"),
            f"monitor has no {kind}.{name}",
        )
        for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory"))
    ),
    *(
        (
            "limits",
            MONITOR,
            setting(MONITOR, f"{WEB}.resources", {"requests": requests, "limits": limits}),
            f"monitor requests more {name} than its limit",
        )
        for name, requests, limits in (
            ("cpu", {"cpu": 2, "memory": "1Mi"}, {"cpu": 1, "memory": "1Mi"}),
            ("cpu", {"cpu": "1500m", "memory": "1Mi"}, {"cpu": 1, "memory": "1Mi"}),
            ("memory", {"cpu": 1, "memory": "1Gi"}, {"memory": "256Mi"}),
            ("memory", {"cpu": 1, "memory": "1Gi"}, {"memory": "1G"}),
        )
    ),
    ("limits", SHOP, init(resources={"requests": {"cpu": 1, "memory": 1}}), "first has no limits"),
    (
        "limits",
        SHOP,
        setting(SHOP, f"{POD}.volumes.0.emptyDir", {}),
        "volume tmp can fill the node: set a sizeLimit",
    ),
    (
        "image",
        SHOP,
        setting(SHOP, f"{WEB}.image", "r.example/a@sha256:123"),
        "r.example/a@sha256:123 has no digest that there is",
    ),
    *(
        (
            "image",
            MONITOR,
            setting(MONITOR, f"{WEB}.image", image),
            f"{image} is another image tomorrow",
        )
        for image in ("r.example:5000/a/b", "r.example/a:latest", "a")
    ),
    (
        "hardened",
        SHOP,
        without(SHOP, f"{POD}.automountServiceAccountToken"),
        "Deployment shop: has a token of the cluster",
    ),
    (
        "hardened",
        "Pod/shop-test",
        setting("Pod/shop-test", "spec.automountServiceAccountToken", True),
        "has a token of the cluster",
    ),
    *(
        (
            "hardened",
            SHOP,
            setting(SHOP, f"{WEB}.securityContext.readOnlyRootFilesystem", value),
            "accelerapp can write its root",
        )
        for value in (False, None)
    ),
    (
        "hardened",
        "ReplicationController/old",
        lambda release: release.update({"ReplicationController/old": of_before()}),
        "ReplicationController old: has a token of the cluster",
    ),
    (
        "hardened",
        "ServiceAccount/shop",
        without("ServiceAccount/shop", "automountServiceAccountToken"),
        "hands out tokens",
    ),
    ("secret", "Secret/own", adding(SECRET), "is in a file that people commit"),
    *(
        ("secret", MONITOR, variable(MONITOR, name, "hunter2"), f"{name} has a secret in it")
        for name in SECRETS
    ),
    (
        "secret",
        MONITOR,
        variable(MONITOR, "A", "redis://:hunter2@redis.example.org:6379"),
        "A has a secret in it: take it from a Secret",
    ),
    (
        "secret",
        SHOP,
        setting("ConfigMap/shop", "data.API_KEY", "x"),
        "API_KEY has a secret in it",
    ),
    (
        "grace",
        SHOP,
        without(SHOP, f"{WEB}.lifecycle"),
        "gets requests while it stops: drain it with a preStop",
    ),
    (
        "grace",
        SHOP,
        setting(SHOP, f"{POD}.terminationGracePeriodSeconds", 13),
        "is killed after 13 s, and may need 13",
    ),
    (
        "grace",
        SHOP,
        both(
            setting(SHOP, f"{POD}.terminationGracePeriodSeconds", None),
            setting("ConfigMap/shop", "data.ACCELERAPP_SHUTDOWN_GRACE_S", "25.5"),
        ),
        "is killed after 30 s, and may need 30.5",
    ),
    (
        "grace",
        SHOP,
        both(NO_CONFIG, setting(SHOP, f"{POD}.terminationGracePeriodSeconds", 12)),
        "is killed after 12 s, and may need 13",
    ),
    *(
        (
            "grace",
            SHOP,
            setting(SHOP, f"{WEB}.lifecycle.preStop", stop),
            "is killed after 30 s, and may need 30",
        )
        for stop in (
            {"sleep": {"seconds": 22}},
            {"exec": {"command": ["sleep", "22"]}},
            {"exec": {"command": ["sh", "-c", "sleep 22; true"]}},
        )
    ),
    (
        "grace",
        SHOP,
        setting(SHOP, f"{WEB}.lifecycle.preStop", {"exec": {"command": ["true"]}}),
        "drain it with a preStop",
    ),
    (
        "grace",
        SHOP,
        setting("ConfigMap/shop", "data.ACCELERAPP_SHUTDOWN_GRACE_S", "long"),
        "ACCELERAPP_SHUTDOWN_GRACE_S is no number: long",
    ),
    (
        "image-description",
        REDIS,
        setting(REDIS, f"{WEB}.ports", [{"name": "redis", "containerPort": 6380}]),
        "does not name port 6379/tcp of redis",
    ),
    (
        "image-description",
        SHOP,
        setting(SHOP, f"{WEB}.volumeMounts.1.mountPath", "/app/model"),
        "mounts nothing at /app/models, which production writes",
    ),
    (
        "image-description",
        MONITOR,
        setting(MONITOR, f"{POD}.securityContext.runAsUser", 1001),
        "runs as 1001, and monitoring is made for 1000",
    ),
    (
        "volume",
        REDIS,
        without(REDIS, f"{POD}.volumes"),
        "mounts data, which is no volume of it",
    ),
    (
        "volume",
        MONITOR,
        setting(MONITOR, f"{POD}.volumes", [{"name": "x", "emptyDir": {"sizeLimit": "1Mi"}}]),
        "has a volume x that nothing mounts",
    ),
    (
        "volume",
        "PersistentVolumeClaim/more",
        adding(made("v1", "PersistentVolumeClaim", "more", "redis", spec={})),
        "is mounted by nothing",
    ),
    (
        "volume",
        PVC,
        setting(REDIS, "spec.replicas", 2),
        "is ReadWriteOnce, and 2 pods mount it",
    ),
    (
        "volume",
        PVC,
        both(
            setting(REDIS, "spec.replicas", 2),
            setting(PVC, "spec.accessModes", ["ReadWriteOnce", "ReadOnlyMany"]),
        ),
        "is ReadOnlyMany, ReadWriteOnce, and 2 pods mount it",
    ),
    (
        "volume",
        PVC,
        both(
            setting(PVC, "spec.accessModes", ["ReadWriteOncePod"]),
            setting(HPA, "spec.scaleTargetRef.name", "shop-redis"),
            without(REDIS, "spec.replicas"),
        ),
        "is ReadWriteOncePod, and 6 pods mount it",
    ),
    *(
        (
            "volume",
            PVC,
            setting(REDIS, "spec.strategy", strategy),
            "cannot be mounted by the old and the new pod of Deployment shop-redis",
        )
        for strategy in ({"type": "RollingUpdate"}, {}, None)
    ),
    (
        "autoscaling",
        HPA,
        setting(HPA, "spec.scaleTargetRef.name", "gone"),
        "scales Deployment gone, which is not there",
    ),
    (
        "autoscaling",
        HPA,
        setting(HPA, "spec.scaleTargetRef.kind", "StatefulSet"),
        "scales StatefulSet shop",
    ),
    ("autoscaling", HPA, setting(HPA, "spec.minReplicas", 7), "wants at least more pods than at"),
    (
        "autoscaling",
        SHOP,
        setting(SHOP, "spec.replicas", 2),
        "has replicas of its own, and HorizontalPodAutoscaler shop sets them",
    ),
    ("autoscaling", HPA, without(HPA, "spec.metrics"), "has nothing to aim at"),
    (
        "autoscaling",
        HPA,
        setting(HPA, "spec.metrics.0.resource.name", "gpu"),
        "aims at a share of gpu, and none is requested",
    ),
    *(
        (
            "disruption",
            PDB,
            both(without(PDB, "spec.maxUnavailable"), *more),
            "needs one of minAvailable and maxUnavailable",
        )
        for more in ([], [setting(PDB, "spec.minAvailable", None)])
    ),
    (
        "disruption",
        PDB,
        setting(PDB, "spec.minAvailable", 1),
        "needs one of minAvailable and maxUnavailable",
    ),
    *(
        (
            "disruption",
            PDB,
            setting(PDB, "spec.maxUnavailable", most),
            "keeps all of 2 pods: no node with one could ever be drained",
        )
        for most in (0, "0%")
    ),
    *(
        (
            "disruption",
            PDB,
            both(without(PDB, "spec.maxUnavailable"), setting(PDB, "spec.minAvailable", least)),
            "keeps all of 2 pods",
        )
        for least in (2, 3, "100%", "51%")
    ),
    (
        "disruption",
        PDB,
        both(
            without(PDB, "spec.maxUnavailable"),
            setting(PDB, "spec.minAvailable", 1),
            without(HPA, "spec.minReplicas"),
        ),
        "keeps all of 1 pods",
    ),
    (
        "disruption",
        PDB,
        both(
            without(PDB, "spec.maxUnavailable"),
            setting(PDB, "spec.minAvailable", 1),
            setting(HPA, "spec.scaleTargetRef.kind", "StatefulSet"),
        ),
        "keeps all of 1 pods",
    ),
    (
        "disruption",
        PDB,
        both(
            without(PDB, "spec.maxUnavailable"),
            setting(PDB, "spec.minAvailable", 3),
            without(HPA),
            setting(SHOP, "spec.replicas", 3),
        ),
        "keeps all of 3 pods",
    ),
    (
        "disruption",
        PDB,
        setting(PDB, "spec.maxUnavailable", "half"),
        "half is neither a number nor a share",
    ),
]


@pytest.mark.parametrize(
    ("rule", "place", "plant", "said"), PLANTED, ids=[f"{p[0]}-{n}" for n, p in enumerate(PLANTED)]
)
def test_a_planted_mistake_is_found_by_name(rule: str, place: str, plant: Plant, said: str) -> None:
    found = planted(plant)
    told = [finding for finding in found if finding.rule == rule and finding.place == place]
    assert [finding for finding in told if said in finding.message], found
    kind, _, name = place.partition("/")
    if name:
        assert all(finding.message.startswith(f"{kind} {name}: ") for finding in told)
    assert found == sorted(set(found))


def test_every_rule_has_a_planted_mistake() -> None:
    assert {rule for rule, *_ in PLANTED} | {"namespace"} == set(RULES)


ALONE = {"duplicate", "labels", "port", "backend", "address", "probe", "limits", "image"}
ALONE |= {"hardened", "grace", "autoscaling", "name"}


@pytest.mark.parametrize(
    ("rule", "plant"),
    [pytest.param(p[0], p[2], id=f"{p[0]}-{n}") for n, p in enumerate(PLANTED) if p[0] in ALONE],
)
def test_one_mistake_breaks_one_rule(rule: str, plant: Plant) -> None:
    assert {finding.rule for finding in planted(plant)} == {rule}


def test_each_object_outside_the_namespace_of_another_is_told() -> None:
    found = planted(setting("Service/shop", "metadata.namespace", "other"))
    assert {finding.rule for finding in found} == {"namespace"}
    assert len(found) == len(good()) - 1
    told = {finding.place: finding.message for finding in found}
    assert "is in 'other', and others are elsewhere: one for all" in told["Service/shop"]
    assert "is in 'devices'" in told[SHOP]
    assert "Namespace/devices" not in told


# What is no mistake.

STATEFUL = deployment(
    "shop-redis",
    "redis",
    good()[REDIS]["spec"]["template"]["spec"],
    volumeClaimTemplates=[{"metadata": {"name": "data"}}],
)
STATEFUL["kind"] = "StatefulSet"
JOB = made(
    *("batch/v1", "Job", "migrate", "service"),
    spec={
        "template": {
            "metadata": {"labels": labels("job")},
            "spec": pod(container("accelerapp", "http", 1)),
        }
    },
)


OUTSIDE = made(
    *("v1", "Service", "outside", "other"),
    spec={"type": "ExternalName", "externalName": "redis.example.org"},
)


def nowhere(release: dict[str, Data]) -> None:
    for data in release.values():
        data["metadata"].pop("namespace", None)


RIGHT: dict[str, Plant] = {
    "two kinds of one name": adding(
        made("v1", "ConfigMap", "shop-monitor", "monitor", data={"a": "b"})
    ),
    "no namespace anywhere": nowhere,
    "a port by number": setting("Service/shop", "spec.ports.0.targetPort", 8000),
    "a probe by number": setting(SHOP, f"{WEB}.livenessProbe.httpGet.port", 8000),
    "a probe that asks no port": setting(
        SHOP, f"{WEB}.livenessProbe", {"exec": {"command": ["true"]}}
    ),
    "a backend by number": setting(INGRESS, f"{BACKEND}.port", {"number": 80}),
    "a Service of another name": adding(OUTSIDE),
    "a Service for addresses that somebody else says": without(
        "Service/shop-redis", "spec.selector"
    ),
    "a name of 63 characters": named("x" * 63),
    "a policy for everybody": both(
        setting(POLICY, "spec.podSelector", {}), without(POLICY, "spec.ingress")
    ),
    "a policy by an expression": setting(POLICY, "spec.podSelector", {"matchExpressions": [HERE]}),
    "a budget for everybody": setting(PDB, "spec.selector", {}),
    "a policy's port by name": setting(POLICY, "spec.ingress.0.ports.0.port", "http"),
    "a policy for every port": setting(POLICY, "spec.ingress.0.ports", [{"protocol": "TCP"}]),
    "a policy for a range of ports": setting(
        POLICY, "spec.ingress.0.ports", [{"port": 1, "endPort": 9000}]
    ),
    "a way out to pods": lets_out(pods("redis"), {"port": 6379}),
    "a way out to every port of pods": lets_out(pods("redis")),
    "a way out to a range of ports": lets_out(pods("redis"), {"port": 1, "endPort": 9000}),
    "a way out to anywhere": lets_out(None, {"port": 53}),
    "a way out to another namespace": lets_out(
        {**pods("gone"), "namespaceSelector": {}}, {"port": "dns"}
    ),
    "a way out to a network": lets_out({"ipBlock": {"cidr": "192.0.2.0/24"}}, {"port": 1}),
    "an address of the pod itself": variable(MONITOR, "A", "http://localhost:9"),
    "an address of the cluster": variable(MONITOR, "A", "https://kubernetes"),
    "the port that http has": variable(MONITOR, "A", "http://shop/x"),
    "the port that redis has": variable(MONITOR, "A", "redis://shop-redis/0"),
    "an address behind another name": both(
        adding(OUTSIDE), variable(MONITOR, "A", "http://outside:8123")
    ),
    "no secret but a number": variable(MONITOR, "MAX_TOKENS", "4096"),
    "no secret but where one is": variable(MONITOR, "MONITOR_TOKEN_FILE", "/run/token"),
    "no secret but a name": variable(MONITOR, "TOKENIZER", "cl100k"),
    "no secret but a word with one in it": variable(MONITOR, "PHOTOKEN", "x"),
    "a drain by Kubernetes itself": setting(
        SHOP, f"{WEB}.lifecycle.preStop", {"sleep": {"seconds": 21}}
    ),
    "a drain by a program": setting(
        SHOP, f"{WEB}.lifecycle.preStop", {"exec": {"command": ["sleep", "21"]}}
    ),
    "no drain before a moment": setting(
        SHOP, f"{WEB}.lifecycle.preStop", {"sleep": {"seconds": 0}}
    ),
    "a request as large as its limit": setting(
        MONITOR,
        f"{WEB}.resources",
        {
            "requests": {"cpu": "1000m", "memory": "1024Mi"},
            "limits": {"cpu": 1, "memory": "1Gi"},
        },
    ),
    "an address elsewhere": variable(MONITOR, "A", "http://gone.other.svc:1"),
    "an address by number": variable(MONITOR, "A", "http://[::1]:1"),
    "a variable that is none": variable(MONITOR, "A", "shop:8000"),
    "an empty token": variable(MONITOR, "MONITOR_TOKEN", ""),
    "a user without a password": variable(MONITOR, "A", "redis://me@redis.example.org:1"),
    "a container before the others": init(),
    "shares of memory": setting(HPA, "spec.metrics.0.resource.name", "memory"),
    "a metric of another kind": setting(HPA, "spec.metrics.0", {"type": "External"}),
    "a tag beside a digest": setting(SHOP, f"{WEB}.image", f"r:5000/a:latest@{DIGEST}"),
    "volumes of its own": both(
        without(REDIS),
        without(PVC),
        adding(STATEFUL),
        lambda release: release["StatefulSet/shop-redis"]["spec"]["template"]["spec"].pop(
            "volumes"
        ),
    ),
    "many may mount it": both(
        setting(PVC, "spec.accessModes", ["ReadWriteMany"]),
        setting(REDIS, "spec.replicas", 3),
        setting(REDIS, "spec.strategy", {}),
    ),
    "one that many may share, too": both(
        setting(PVC, "spec.accessModes", ["ReadWriteOnce", "ReadWriteMany"]),
        setting(REDIS, "spec.replicas", 3),
        setting(REDIS, "spec.strategy", {}),
    ),
    "a job of the service": adding(JOB),
    "replicas: null": both(
        setting(SHOP, "spec.replicas", None), setting(REDIS, "spec.replicas", None)
    ),
    "minReplicas: null": setting(HPA, "spec.minReplicas", None),
    "minReplicas as maxReplicas": setting(HPA, "spec.minReplicas", 6),
    "one may be away": both(
        without(PDB, "spec.maxUnavailable"), setting(PDB, "spec.minAvailable", 1)
    ),
    "half may be away": both(
        without(PDB, "spec.maxUnavailable"), setting(PDB, "spec.minAvailable", "50%")
    ),
    "a share may be away": setting(PDB, "spec.maxUnavailable", "25%"),
    "a budget for pods that are not there yet": both(
        without(PDB, "spec.maxUnavailable"),
        setting(PDB, "spec.minAvailable", 1),
        without(HPA),
        setting(SHOP, "spec.replicas", 0),
    ),
    "just enough time": setting(SHOP, f"{POD}.terminationGracePeriodSeconds", 14),
    "no user named": without(SHOP, f"{POD}.securityContext.runAsUser"),
    "another container beside it": lambda release: release[SHOP]["spec"]["template"]["spec"][
        "containers"
    ].append(container("beside", "http", 8000)),
}


@pytest.mark.parametrize("plant", RIGHT.values(), ids=RIGHT)
def test_what_is_no_mistake_is_not_found(plant: Plant) -> None:
    assert planted(plant) == []


def test_a_service_that_drains_nothing_is_told_that_alone() -> None:
    short = setting(SHOP, f"{POD}.terminationGracePeriodSeconds", 5)
    (finding,) = planted(without(SHOP, f"{WEB}.lifecycle"), short)
    assert "drain it with a preStop" in finding.message


def test_a_container_before_the_others_is_not_what_the_autoscaler_counts() -> None:
    found = planted(init(resources={"limits": {"memory": 1}}))
    assert {finding.rule for finding in found} == {"limits"}


def test_what_images_toml_does_not_have_is_not_compared() -> None:
    plant = setting(REDIS, f"{WEB}.ports", [{"name": "redis", "containerPort": 6380}])
    release = good()
    plant(release)
    kept = {name: image for name, image in SETTINGS.images.items() if name != "redis"}
    found = findings(Release(objects(release), replace(SETTINGS, images=kept)))
    assert "image-description" not in {finding.rule for finding in found}


def test_findings_are_the_same_in_any_order_of_objects() -> None:
    plants = (variable(MONITOR, "TOKEN", "x"), without(SHOP, f"{WEB}.resources"))
    release = good()
    for plant in plants:
        plant(release)
    found: list[KubernetesObject] = objects(release)
    backwards = findings(Release(found[::-1], SETTINGS))
    assert backwards == findings(Release(found, SETTINGS)) == sorted(backwards)
    assert len(backwards) == 5
