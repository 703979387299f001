"""What a patch has to know of the shape of Kubernetes' objects: what merges, and by which key.

A real server reads it from its OpenAPI document (`x-kubernetes-list-map-keys`, `…-map-type`).
Here it is a table of the kinds that are served. A trail is the way to a field by names alone,
items of lists left out: `("spec", "template", "spec", "containers", "ports")`.
"""

from __future__ import annotations

from typing import Any

Trail = tuple[str, ...]

_WITH_PODS = {"Pod", "Deployment", "ReplicaSet", "StatefulSet", "Job"}
_CONTAINERS = {"containers", "initContainers", "ephemeralContainers"}
_IN_PODS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_ELSEWHERE: dict[tuple[str, Trail], tuple[str, ...]] = {
    ("Service", ("spec", "ports")): ("port", "protocol"),
    ("ServiceAccount", ("secrets",)): ("name",),
    ("ServiceAccount", ("imagePullSecrets",)): ("name",),
    ("Gateway", ("spec", "listeners")): ("name",),
    ("PrometheusRule", ("spec", "groups")): ("name",),
}
_WHOLE_MAPS = {
    "configMapKeyRef",
    "fieldRef",
    "labelSelector",
    "namespaceSelector",
    "nodeSelector",
    "podSelector",
    "resourceFieldRef",
    "roleRef",
    "scaleTargetRef",
    "secretKeyRef",
    "selector",
}
_KEY_DEFAULTS = {"protocol": "TCP"}


def merge_keys(kind: str, trail: Trail) -> tuple[str, ...] | None:
    """Return the fields that tell one item of a list from another; None: replaced whole."""
    if trail == ("metadata", "ownerReferences"):
        return ("uid",)
    if trail == ("status", "conditions"):
        return ("type",)
    if (kind, trail) in _ELSEWHERE:
        return _ELSEWHERE[kind, trail]
    if kind not in _WITH_PODS or len(trail) < 2:
        return None
    if trail[-1] == "ports" and trail[-2] in _CONTAINERS:
        return ("containerPort", "protocol")
    if trail[-2:] == ("resources", "claims"):
        return ("name",)
    return _IN_PODS.get(trail[-1]) if "spec" in trail else None


def is_set(trail: Trail) -> bool:
    """Say whether a list of plain values is a set that several managers share."""
    return trail == ("metadata", "finalizers")


def is_whole(trail: Trail) -> bool:
    """Say whether a map is owned and replaced as one value by server-side apply."""
    return len(trail) > 1 and trail[0] != "data" and trail[-1] in _WHOLE_MAPS


def key_of(item: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return an item's keys with their values. Raises KeyError for one that is missing."""
    found = {}
    for key in keys:
        if isinstance(item, dict) and key in item:
            found[key] = item[key]
        elif key in _KEY_DEFAULTS:
            found[key] = _KEY_DEFAULTS[key]
        else:
            raise KeyError(key)
    return found
