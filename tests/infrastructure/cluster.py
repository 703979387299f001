"""What a release of the chart consists of, from the ports, paths and users of the images.

A part of it stands here as it has to be in the cluster, without a word of the chart's templates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

NAME = "accelerapp"
PARTS = ("service", "monitor", "ollama", "redis")
Labels = dict[str, str]
# Pods, nodes and the cloud's own metadata: nothing that a download of models is for.
PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
PRIVATE_6 = ["fc00::/7", "fe80::/10"]


@dataclass(frozen=True)
class Part:
    """One Deployment with all that is about it."""

    name: str
    container: str
    image: str
    port: int
    port_name: str
    requests: dict[str, str]
    limits: dict[str, str]
    environment: dict[str, str]
    probes: dict[str, Any]
    mounts: dict[str, str]
    volumes: dict[str, dict[str, Any]]
    reaches: tuple[str, ...] = ()
    pod: dict[str, Any] = field(default_factory=dict)
    strategy: dict[str, Any] | None = None

    def full_name(self) -> str:
        return NAME if self.name == "service" else f"{NAME}-{self.name}"


def selector(part: str) -> Labels:
    return {
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/instance": NAME,
        "app.kubernetes.io/component": part,
    }


def http_probe(path: str, period: int, timeout: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def names() -> dict[str, Any]:
    """The rule that lets a pod ask for names: DNS, and OpenShift's port of it."""
    return {
        "ports": [
            {"port": port, "protocol": protocol}
            for port in (53, 5353)
            for protocol in ("UDP", "TCP")
        ]
    }


def to(part: str, port: int) -> dict[str, Any]:
    """The rule that lets a pod reach another part of the release."""
    return {
        "ports": [{"port": port, "protocol": "TCP"}],
        "to": [{"podSelector": {"matchLabels": selector(part)}}],
    }


def reached(port: int, by: Iterable[str] = ()) -> dict[str, Any]:
    """The rule that lets other parts reach a pod's port; everybody without any."""
    peers = [{"podSelector": {"matchLabels": selector(part)}} for part in by]
    return {"ports": [{"port": port, "protocol": "TCP"}], **({"from": peers} if peers else {})}


def internet() -> dict[str, Any]:
    """The rule that lets a pod fetch models, from no private address."""
    return {
        "ports": [{"port": 443, "protocol": "TCP"}],
        "to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}},
            {"ipBlock": {"cidr": "::/0", "except": PRIVATE_6}},
        ],
    }


POD_SECURITY = {
    "runAsNonRoot": True,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "runAsGroup": 1000,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}


def spread(key: str) -> dict[str, Any]:
    """A constraint that keeps the service's pods apart, each version by itself."""
    return {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector("service")},
        "matchLabelKeys": ["pod-template-hash"],
    }
