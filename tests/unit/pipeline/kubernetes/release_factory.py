"""A small but whole release with nothing wrong in it, for tests that plant mistakes."""

from __future__ import annotations

import copy
from typing import Any

from pipeline.kubernetes.objects import KubernetesObject

Data = dict[str, Any]
DIGEST = "sha256:" + "4" * 64
_NAMES = "app.kubernetes.io/"


def labels(component: str) -> Data:
    """Return what every object of a component is labelled with."""
    return {**selector(component), f"{_NAMES}version": "1", **_OF_ALL}


_OF_ALL = {f"{_NAMES}part-of": "shop", f"{_NAMES}managed-by": "Helm"}


def selector(component: str) -> Data:
    """Return the labels that select the pods of a component."""
    named = {"name": "shop", "instance": "shop", "component": component}
    return {_NAMES + key: value for key, value in named.items()}


def made(api_version: str, kind: str, name: str, component: str, **rest: Any) -> Data:
    """Return an object of the release."""
    metadata = {"name": name, "namespace": "devices", "labels": labels(component)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def container(name: str, port_name: str, port: int, **rest: Any) -> Data:
    """Return a container that a careful cluster takes."""
    return {
        "name": name,
        "image": f"registry.example/{name}:v1.2.3",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "ports": [{"name": port_name, "containerPort": port}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"memory": "128Mi"},
        },
        "livenessProbe": {"httpGet": {"path": "/livez", "port": port_name}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": port_name}},
        **rest,
    }


def pod(*containers: Data, **rest: Any) -> Data:
    """Return the spec of a pod."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        **rest,
    }


def deployment(name: str, component: str, spec: Data, **rest: Any) -> Data:
    """Return a Deployment of pods like that."""
    template = {"metadata": {"labels": labels(component)}, "spec": spec}
    chosen = {"matchLabels": selector(component)}
    said = {"selector": chosen, "template": template, **rest}
    return made("apps/v1", "Deployment", name, component, spec=said)


def service(name: str, component: str, port_name: str, port: int) -> Data:
    """Return a Service for the pods of a component."""
    ports = [{"name": port_name, "port": port, "targetPort": port_name}]
    return made(
        "v1", "Service", name, component, spec={"selector": selector(component), "ports": ports}
    )


def _service_pod() -> Data:
    stop = {"exec": {"command": ["python3", "-c", "import time; time.sleep(5)"]}}
    mounts = {
        "tmp": "/tmp",
        "models": "/app/models",
        "cache": "/app/cache",
        "output": "/app/output",
    }
    return pod(
        container(
            "accelerapp",
            "http",
            8000,
            image=f"registry.example:5000/shop/accelerapp@{DIGEST}",
            envFrom=[{"configMapRef": {"name": "shop"}}],
            env=[
                {"name": "REDIS_URL", "value": "redis://shop-redis:6379/0"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "own", "key": "t"}}},
            ],
            lifecycle={"preStop": stop},
            volumeMounts=[{"name": k, "mountPath": path} for k, path in mounts.items()],
        ),
        terminationGracePeriodSeconds=30,
        volumes=[{"name": name, "emptyDir": {"sizeLimit": "16Mi"}} for name in mounts],
    )


def _redis_pod() -> Data:
    probe = {"tcpSocket": {"port": "redis"}}
    return pod(
        container(
            "redis",
            "redis",
            6379,
            livenessProbe=probe,
            readinessProbe=probe,
            volumeMounts=[{"name": "data", "mountPath": "/data"}],
        ),
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "shop-redis"}}],
    )


def good() -> dict[str, Data]:
    """Return the objects, each by `Kind/name`, which is also its place."""
    monitor = container("monitor", "http", 8080)
    monitor["env"] = [
        {"name": "ACCELERAPP_URL", "value": "http://shop:80"},
        {"name": "ELSEWHERE", "value": "https://example.org:8443/x"},
    ]
    job = pod(container("test", "http", 1), restartPolicy="Never")
    backend = {"service": {"name": "shop", "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    rule = {"host": "a.example", "http": {"paths": paths}}
    http_rule = {"backendRefs": [{"name": "shop", "port": 80}]}
    alert = {"alert": "Down", "expr": "up == 0", "for": "5m", "labels": {"severity": "critical"}}
    found = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "devices"}},
        made("v1", "ServiceAccount", "shop", "service", automountServiceAccountToken=False),
        made("v1", "ConfigMap", "shop", "service", data={"ACCELERAPP_SHUTDOWN_GRACE_S": "8"}),
        deployment("shop", "service", _service_pod()),
        deployment("shop-monitor", "monitor", pod(monitor), replicas=1),
        deployment("shop-redis", "redis", _redis_pod(), replicas=1, strategy={"type": "Recreate"}),
        made("v1", "Pod", "shop-test", "test", spec=job),
        service("shop", "service", "http", 80),
        service("shop-monitor", "monitor", "http", 8080),
        service("shop-redis", "redis", "redis", 6379),
        made(
            *("v1", "PersistentVolumeClaim", "shop-redis", "redis"),
            spec={
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        ),
        made(
            *("networking.k8s.io/v1", "NetworkPolicy", "shop", "service"),
            spec={
                "podSelector": {"matchLabels": selector("service")},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": 8000, "protocol": "TCP"}]}],
            },
        ),
        made(
            *("policy/v1", "PodDisruptionBudget", "shop", "service"),
            spec={"maxUnavailable": 1, "selector": {"matchLabels": selector("service")}},
        ),
        made(
            *("autoscaling/v2", "HorizontalPodAutoscaler", "shop", "service"),
            spec={
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "minReplicas": 2,
                "maxReplicas": 6,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 70},
                        },
                    }
                ],
            },
        ),
        made("networking.k8s.io/v1", "Ingress", "shop", "service", spec={"rules": [rule]}),
        made(
            *("gateway.networking.k8s.io/v1", "HTTPRoute", "shop", "service"),
            spec={"parentRefs": [{"name": "gateway"}], "rules": [http_rule]},
        ),
        made(
            *("monitoring.coreos.com/v1", "ServiceMonitor", "shop", "service"),
            spec={
                "selector": {"matchLabels": selector("service")},
                "endpoints": [{"port": "http", "path": "/metrics", "interval": "30s"}],
            },
        ),
        made(
            *("monitoring.coreos.com/v1", "PrometheusRule", "shop", "service"),
            spec={"groups": [{"name": "shop", "rules": [alert]}]},
        ),
    ]
    found[6]["metadata"]["annotations"] = {"helm.sh/hook": "test"}
    return {f"{data['kind']}/{data['metadata']['name']}": copy.deepcopy(data) for data in found}


def objects(found: dict[str, Data]) -> list[KubernetesObject]:
    """Return them as the checks take them."""
    return [KubernetesObject(data, place) for place, data in found.items()]


# Changes. A path is as people write it, dots between its parts, numbers for places in lists.


def at(data: Data, path: str) -> tuple[Any, Any]:
    """Return what holds the last part of a path, and that part."""
    *parts, last = (int(part) if part.isdigit() else part for part in path.split("."))
    node: Any = data
    for part in parts:
        node = node[part]
    return node, last


def put(data: Data, path: str, value: Any) -> None:
    """Set what is at a path, which has to be in something that is there."""
    node, last = at(data, path)
    node[last] = value


def drop(data: Data, path: str) -> None:
    """Remove what is at a path, which has to be there."""
    node, last = at(data, path)
    del node[last]
