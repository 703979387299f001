"""The values that a server fills in: those that clients see when they read an object back.

Not all of them: what the kinds of this project's chart use.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from tests.standins.kubernetes.resources import Object


def fill(obj: Object) -> None:
    """Fill in what the author of `obj` left to the server."""
    spec = obj.setdefault("spec", {}) if obj["kind"] in _DEFAULTS else {}
    template = spec.get("template") or {}
    match obj["kind"]:
        case "Namespace":
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj[
                "metadata"
            ]["name"]
        case "Pod":
            _pod(spec)
        case "Deployment":
            strategy = spec.setdefault("strategy", {})
            if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
                rolling = strategy.setdefault("rollingUpdate", {})
                _set(rolling, maxSurge="25%", maxUnavailable="25%")
        case "StatefulSet":
            spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
        case "Job":
            _pod(template.setdefault("spec", {}))
        case "Service":
            _service(spec)
        case "Secret":
            obj.setdefault("type", "Opaque")
            for name, value in (obj.pop("stringData", None) or {}).items():
                obj.setdefault("data", {})[name] = _base64(value)
        case "Ingress":
            for rule in spec.get("rules", []):
                for path in rule.get("http", {}).get("paths", []):
                    path.setdefault("pathType", "ImplementationSpecific")
        case "HTTPRoute":
            for parent in spec.get("parentRefs", []):
                _set(parent, group="gateway.networking.k8s.io", kind="Gateway")
            for rule in spec.get("rules", []):
                for backend in rule.get("backendRefs", []):
                    _set(backend, group="", kind="Service", weight=1)
        case "NetworkPolicy":
            for port in _policy_ports(spec):
                port.setdefault("protocol", "TCP")
            egress = ["Egress"] if "egress" in spec else []
            spec.setdefault("policyTypes", ["Ingress", *egress])
    _set(spec, **_DEFAULTS.get(obj["kind"], {}))
    if obj["kind"] in ("Deployment", "ReplicaSet", "StatefulSet"):
        _pod(template.setdefault("spec", {}))


_DEFAULTS: dict[str, dict[str, Any]] = {
    "Namespace": {"finalizers": ["kubernetes"]},
    "Pod": {},
    "Deployment": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "ReplicaSet": {"replicas": 1},
    "StatefulSet": {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
    },
    "Job": {"backoffLimit": 6, "completions": 1, "parallelism": 1, "suspend": False},
    "Service": {},
    "PersistentVolumeClaim": {"volumeMode": "Filesystem", "storageClassName": "standard"},
    "HorizontalPodAutoscaler": {"minReplicas": 1},
    "Ingress": {},
    "NetworkPolicy": {},
    "HTTPRoute": {},
}


def _set(node: dict[str, Any], **values: Any) -> None:
    for name, value in values.items():
        node.setdefault(name, value)


def _pod(spec: dict[str, Any]) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
    )
    spec.setdefault("securityContext", {})
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _container(container)
    for volume in spec.get("volumes") or []:
        for source in ("configMap", "secret", "projected", "downwardAPI"):
            if volume.get(source) is not None:
                volume[source].setdefault("defaultMode", 0o644)


def _container(container: dict[str, Any]) -> None:
    image = container.get("image", "")
    untagged = ":" not in image.rpartition("/")[2]
    _set(
        container,
        imagePullPolicy="Always" if untagged or image.endswith(":latest") else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    container.setdefault("resources", {})
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is not None:
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if probe.get("httpGet") is not None:
                _set(probe["httpGet"], path="/", scheme="HTTP")


def allot(obj: Object, live: Object | None, number: Callable[[], int]) -> None:
    """Give a Service its address and node ports: those of `live`, where it has them.

    `number` returns one that it has not returned before.
    """
    spec = obj.get("spec") or {}
    if obj["kind"] != "Service" or spec["type"] == "ExternalName":
        return
    before = (live or {}).get("spec") or {}
    if not spec.get("clusterIP"):
        spec["clusterIP"] = before.get("clusterIP") or address("10.96", number())
    spec["clusterIPs"] = [spec["clusterIP"]]
    _set(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if spec["type"] not in ("NodePort", "LoadBalancer"):
        return
    known = {(port["port"], port["protocol"]): port for port in before.get("ports") or []}
    for port in spec["ports"]:
        same = known.get((port["port"], port["protocol"]), {}).get("nodePort")
        port.setdefault("nodePort", same or 30000 + number() % 2768)


def address(network: str, number: int) -> str:
    """Return the address of a number in a /16 network: "10.96" holds 62,500 of them."""
    return f"{network}.{number // 250 % 250}.{number % 250 + 1}"


def _service(spec: dict[str, Any]) -> None:
    _set(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports") or []:
        _set(port, protocol="TCP", targetPort=port.get("port"))


def _policy_ports(spec: dict[str, Any]) -> list[dict[str, Any]]:
    rules = [*(spec.get("ingress") or []), *(spec.get("egress") or [])]
    return [port for rule in rules for port in rule.get("ports") or []]


def _base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
