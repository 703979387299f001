"""The release that is in a cluster afterwards, part by part, and where to look at it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import accelerapp
from accelerapp.settings import Settings as ServiceSettings
from monitoring.settings import VARIABLES
from tests.infrastructure.cluster import Part, http_probe, spread
from tests.infrastructure.repository import IMAGES, ROOT, port_of
from tests.infrastructure.stack import OLLAMA_PORT, service
from tests.integration.conftest import find_tool

CHART = ROOT / "deployment" / "helm" / "accelerapp"
MANIFEST = "deployment/kubernetes/accelerapp-deployment.yaml"
NAMESPACE = "accelerapp"
VERSION = accelerapp.__version__
REPOSITORY = "ghcr.io/accelerapp/accelerapp"
OLLAMA_DIGEST = service("ollama")["image"].partition("@")[2]
TMP = {"emptyDir": {"sizeLimit": "16Mi"}}
UNTIL_THERE = http_probe("/livez", 1, 2, 30)
ALIVE = http_probe("/livez", 10, 2, 3)
ADDRESSES = {
    "OLLAMA_HOST": f"http://accelerapp-ollama:{OLLAMA_PORT}",
    "REDIS_URL": f"redis://accelerapp-redis:{port_of('redis')}/0",
}
SERVICE_DEFAULTS = ServiceSettings.load({})
MONITOR_DEFAULTS = {variable.name: variable.default for variable in VARIABLES}


def redis_check_command() -> list[str]:
    check = IMAGES["redis"].healthcheck
    assert check is not None
    return list(check.test[1:])


PROGRAM = {
    part.name: part
    for part in (
        Part(
            name="service",
            container="accelerapp",
            image=f"{REPOSITORY}:v{VERSION}-production",
            port=port_of("production"),
            port_name="http",
            requests={"cpu": "100m", "memory": "128Mi"},
            limits={"cpu": "1", "memory": "256Mi"},
            environment={
                "ACCELERAPP_HOST": "0.0.0.0",
                "ACCELERAPP_PORT": str(port_of("production")),
                "ACCELERAPP_ASSIST_CONCURRENCY": str(SERVICE_DEFAULTS.assist_concurrency),
                "ACCELERAPP_ASSIST_DEADLINE_S": f"{SERVICE_DEFAULTS.assist_deadline_s:g}",
                "ACCELERAPP_CONCURRENCY": str(SERVICE_DEFAULTS.concurrency),
                "ACCELERAPP_MAX_BODY_BYTES": str(SERVICE_DEFAULTS.max_body_bytes),
                "ACCELERAPP_REDIS_MAXLEN": str(SERVICE_DEFAULTS.redis_maxlen),
                # A model's answer may be under way.
                "ACCELERAPP_SHUTDOWN_GRACE_S": f"{SERVICE_DEFAULTS.assist_deadline_s + 5:g}",
                "ACCELERAPP_THREADS": str(SERVICE_DEFAULTS.threads),
                **ADDRESSES,
            },
            probes={
                "startupProbe": UNTIL_THERE,
                "livenessProbe": ALIVE,
                "readinessProbe": http_probe("/readyz", 5, 3, 2),
            },
            mounts={
                "tmp": "/tmp",
                **{Path(volume).name: volume for volume in IMAGES["production"].volumes},
            },
            volumes={
                "tmp": TMP,
                "models": {"emptyDir": {"sizeLimit": "64Mi"}},
                "cache": {"emptyDir": {"sizeLimit": "64Mi"}},
                "output": {"emptyDir": {"sizeLimit": "256Mi"}},
            },
            reaches=("ollama", "redis"),
            pod={
                # Drain, grace, and some time besides.
                "terminationGracePeriodSeconds": 60,
                "topologySpreadConstraints": [
                    spread("kubernetes.io/hostname"),
                    spread("topology.kubernetes.io/zone"),
                ],
            },
            strategy={
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
        ),
        Part(
            name="monitor",
            container="monitor",
            image=f"{REPOSITORY}:v{VERSION}-monitoring",
            port=port_of("monitoring"),
            port_name="http",
            requests={"cpu": "20m", "memory": "64Mi"},
            limits={"cpu": "500m", "memory": "128Mi"},
            environment={
                "MONITOR_HOST": "0.0.0.0",
                "MONITOR_PORT": str(port_of("monitoring")),
                "ACCELERAPP_URL": f"http://accelerapp:{port_of('production')}",
                "MONITOR_REQUIRED": MONITOR_DEFAULTS["MONITOR_REQUIRED"],
                "MONITOR_PROBE_INTERVAL_S": MONITOR_DEFAULTS["MONITOR_PROBE_INTERVAL_S"],
                **ADDRESSES,
            },
            probes={
                "startupProbe": UNTIL_THERE,
                "livenessProbe": ALIVE,
                "readinessProbe": http_probe("/readyz", 5, 2, 2),
            },
            mounts={"tmp": "/tmp"},
            volumes={"tmp": TMP},
            reaches=("service", "ollama", "redis"),
            pod={"terminationGracePeriodSeconds": 10},
        ),
        Part(
            name="ollama",
            container="ollama",
            image=f"ollama/ollama@{OLLAMA_DIGEST}",
            port=OLLAMA_PORT,
            port_name="http",
            requests={"cpu": "1", "memory": "2Gi"},
            limits={"cpu": "4", "memory": "4Gi"},
            environment={
                "HOME": "/models",
                "OLLAMA_HOST": f"0.0.0.0:{OLLAMA_PORT}",
                "OLLAMA_MODELS": "/models",
            },
            probes={
                "startupProbe": http_probe("/api/version", 2, 2, 60),
                "livenessProbe": http_probe("/api/version", 20, 5, 3),
                "readinessProbe": http_probe("/api/version", 5, 3, 2),
            },
            mounts={"tmp": "/tmp", "models": "/models"},
            volumes={
                "tmp": TMP,
                "models": {"persistentVolumeClaim": {"claimName": "accelerapp-ollama"}},
            },
            strategy={"type": "Recreate"},
        ),
        Part(
            name="redis",
            container="redis",
            image=f"{REPOSITORY}:v{VERSION}-redis",
            port=port_of("redis"),
            port_name="redis",
            requests={"cpu": "20m", "memory": "64Mi"},
            limits={"cpu": "500m", "memory": "192Mi"},
            environment={},
            probes={
                # Loading a long file is no reason to start it again.
                "livenessProbe": {
                    "tcpSocket": {"port": "redis"},
                    "periodSeconds": 10,
                    "timeoutSeconds": 3,
                    "failureThreshold": 3,
                },
                "readinessProbe": {
                    "exec": {"command": redis_check_command()},
                    "periodSeconds": 10,
                    "timeoutSeconds": 3,
                    "failureThreshold": 3,
                },
            },
            mounts={"tmp": "/tmp", "data": IMAGES["redis"].volumes[0]},
            volumes={
                "tmp": TMP,
                "data": {"persistentVolumeClaim": {"claimName": "accelerapp-redis"}},
            },
            strategy={"type": "Recreate"},
        ),
    )
}
KINDS = {
    "Namespace": ["accelerapp"],
    "NetworkPolicy": [f"accelerapp-{part}" for part in ("monitor", "ollama", "redis", "service")],
    "PodDisruptionBudget": ["accelerapp"],
    "ServiceAccount": ["accelerapp"],
    "ConfigMap": ["accelerapp"],
    "PersistentVolumeClaim": ["accelerapp-ollama", "accelerapp-redis"],
    "Service": sorted(part.full_name() for part in PROGRAM.values()),
    "Deployment": sorted(part.full_name() for part in PROGRAM.values()),
    "HorizontalPodAutoscaler": ["accelerapp"],
}
API_VERSIONS = {
    "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "ServiceAccount": "v1",
    "ConfigMap": "v1",
    "PersistentVolumeClaim": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}


@dataclass(frozen=True)
class Release:
    """Objects by kind and name, and who says that they are theirs."""

    manager: str
    objects: dict[tuple[str, str], dict[str, Any]]

    def of(self, kind: str, name: str = "accelerapp") -> dict[str, Any]:
        return self.objects[kind, name]

    def spec(self, kind: str, name: str = "accelerapp") -> dict[str, Any]:
        found: dict[str, Any] = self.objects[kind, name]["spec"]
        return found

    def pod(self, part: Part) -> dict[str, Any]:
        found: dict[str, Any] = self.spec("Deployment", part.full_name())["template"]["spec"]
        return found

    def container(self, part: Part) -> dict[str, Any]:
        (found,) = self.pod(part)["containers"]
        return dict(found)


def release_of(text: str, manager: str) -> Release:
    loaded = [one for one in YAML(typ="safe", pure=True).load_all(text) if one]
    keys = [(one["kind"], one["metadata"]["name"]) for one in loaded]
    assert len(keys) == len(set(keys)), keys
    return Release(manager, dict(zip(keys, loaded, strict=True)))


def helm_template(*flags: str) -> subprocess.CompletedProcess[str]:
    helm = find_tool("helm", unchecked="what the chart renders")
    argv = [str(helm), "template", "accelerapp", str(CHART), "--namespace", NAMESPACE, *flags]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def version_of(part: Part) -> str:
    """The label of a version: of an image, its tag, or the beginning of its digest."""
    tag, _, digest = part.image.rpartition("/")[2].partition("@")
    return f"sha256-{digest[7:19]}" if digest else tag.partition(":")[2]


EVERY_PART = pytest.mark.parametrize("part", PROGRAM.values(), ids=PROGRAM)
