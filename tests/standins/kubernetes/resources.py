"""The kinds that the stand-in serves, and the documents with which clients discover them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

GATEWAY = "gateway.networking.k8s.io"
MONITORING = "monitoring.coreos.com"
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """One kind of object.

    `parts` are its subresources; `generations` says that a change of its spec is counted;
    `posted_only` that it is a question, not an object that stays.
    """

    group: str
    version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    namespaced: bool = True
    generations: bool = False
    posted_only: bool = False

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Return the name as the server writes it in messages: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _core(plural: str, kind: str, short: tuple[str, ...] = (), **rest: Any) -> Resource:
    return Resource("", "v1", plural, kind, short, **rest)


_WORKLOAD: dict[str, Any] = {"parts": ("status", "scale"), "generations": True}
_COUNTED: dict[str, Any] = {"parts": ("status",), "generations": True}
_QUESTION: dict[str, Any] = {"posted_only": True}
_AUTHORIZATION = "authorization.k8s.io"
_RBAC = "rbac.authorization.k8s.io"

NAMESPACES = _core("namespaces", "Namespace", ("ns",), parts=("status",), namespaced=False)
NODES = _core("nodes", "Node", ("no",), parts=("status",), namespaced=False)
PODS = _core("pods", "Pod", ("po",), parts=("status", "log", "proxy"), generations=True)
SERVICES = _core("services", "Service", ("svc",), parts=("status", "proxy"))
CONFIG_MAPS = _core("configmaps", "ConfigMap", ("cm",))
SECRETS = _core("secrets", "Secret")
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", ("sa",))
CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim", ("pvc",), parts=("status",))
EVENTS = _core("events", "Event", ("ev",))
ENDPOINTS = _core("endpoints", "Endpoints", ("ep",))
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", ("deploy",), **_WORKLOAD)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", ("rs",), **_WORKLOAD)
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet", ("sts",), **_WORKLOAD)
JOBS = Resource("batch", "v1", "jobs", "Job", **_COUNTED)
AUTOSCALERS = Resource(
    *("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ("hpa",)),
    parts=("status",),
)
BUDGETS = Resource(
    *("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", ("pdb",)), **_COUNTED
)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", ("ing",), **_COUNTED)
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generations=True)
ROUTES = Resource(GATEWAY, "v1", "httproutes", "HTTPRoute", **_COUNTED)
ACCESS_REVIEWS = Resource(
    *(_AUTHORIZATION, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    namespaced=False,
    **_QUESTION,
)
RULES_REVIEWS = Resource(
    *(_AUTHORIZATION, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    namespaced=False,
    **_QUESTION,
)

EVERY = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    CLAIMS,
    EVENTS,
    ENDPOINTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    STATEFUL_SETS,
    JOBS,
    AUTOSCALERS,
    BUDGETS,
    INGRESSES,
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", ("netpol",)),
    SLICES,
    Resource(_RBAC, "v1", "roles", "Role"),
    Resource(_RBAC, "v1", "rolebindings", "RoleBinding"),
    ACCESS_REVIEWS,
    RULES_REVIEWS,
    Resource(GATEWAY, "v1", "gateways", "Gateway", ("gtw",), **_COUNTED),
    ROUTES,
    Resource(MONITORING, "v1", "servicemonitors", "ServiceMonitor", ("smon",), **_COUNTED),
    Resource(MONITORING, "v1", "prometheusrules", "PrometheusRule", ("promrule",), **_COUNTED),
)


# What `kubectl get all` shows.
_IN_ALL = (PODS, SERVICES, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, JOBS, AUTOSCALERS)


def served(*, gateway: bool, monitoring: bool) -> tuple[Resource, ...]:
    """Return what a cluster with or without the two optional groups serves."""
    absent = {GATEWAY} - ({GATEWAY} if gateway else set())
    absent |= {MONITORING} - ({MONITORING} if monitoring else set())
    return tuple(resource for resource in EVERY if resource.group not in absent)


def api_groups(resources: Iterable[Resource]) -> Object:
    """Return `/apis`: the groups, the core one aside."""
    groups: list[Object] = []
    for group_version in _group_versions(resources):
        group, slash, version = group_version.partition("/")
        if slash:
            named = {"groupVersion": group_version, "version": version}
            groups.append({"name": group, "versions": [named], "preferredVersion": named})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_resources(resources: Iterable[Resource], group_version: str) -> Object | None:
    """Return `/api/v1` or `/apis/GROUP/VERSION`; None for a group that is not served."""
    found: list[Object] = []
    for resource in resources:
        if resource.group_version != group_version:
            continue
        found.append(
            {
                "name": resource.plural,
                "singularName": resource.kind.lower(),
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["create"] if resource.posted_only else list(VERBS),
            }
            | ({"shortNames": list(resource.short)} if resource.short else {})
            | ({"categories": ["all"]} if resource in _IN_ALL else {})
        )
        found += [_part(resource, part) for part in resource.parts]
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": found,
    }


def _part(resource: Resource, part: str) -> Object:
    found: Object = {
        "name": f"{resource.plural}/{part}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    }
    match part:
        case "scale":
            return found | {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        case "proxy":
            kind = "PodProxyOptions" if resource is PODS else "ServiceProxyOptions"
            return found | {"kind": kind, "verbs": ["create", "delete", "get", "patch", "update"]}
        case "log":
            return found | {"verbs": ["get"]}
    return found


def openapi_index(resources: Iterable[Resource]) -> Object:
    """Return `/openapi/v3`."""
    paths = {_root(version): _root(version) for version in _group_versions(resources)}
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in paths}}


def openapi_document(resources: Iterable[Resource], root: str) -> Object | None:
    """Return what clients look for in `/openapi/v3/ROOT`: which parameters a PATCH takes.

    kubectl and Helm leave validation to the server when `fieldValidation` is among them.
    Without schemas they patch known kinds by the types that they are built with.
    """
    paths: Object = {}
    for resource in resources:
        if _root(resource.group_version) != root or resource.posted_only:
            continue
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        group, _, version = resource.group_version.rpartition("/")
        paths[f"/{root}{scope}/{resource.plural}/{{name}}"] = {
            "patch": {
                "operationId": f"patch{resource.kind}",
                "parameters": [
                    {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
                    for name, kind in (
                        ("dryRun", "string"),
                        ("fieldManager", "string"),
                        ("fieldValidation", "string"),
                        ("force", "boolean"),
                    )
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {
                    "group": group,
                    "version": version,
                    "kind": resource.kind,
                },
            }
        }
    if not paths:
        return None
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths}


def _group_versions(resources: Iterable[Resource]) -> list[str]:
    return list(dict.fromkeys(resource.group_version for resource in resources))


def _root(group_version: str) -> str:
    return f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"
