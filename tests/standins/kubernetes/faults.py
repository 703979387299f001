"""What goes wrong with pods: what a test asks for, and what a kubelet would miss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.standins.kubernetes.resources import (
    CLAIMS,
    CONFIG_MAPS,
    SECRETS,
    Object,
    Resource,
)
from tests.standins.kubernetes.store import Store

PULLING = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
UNSCHEDULABLE = "Unschedulable"
UNREADY = "Unhealthy"
CRASHING = "CrashLoopBackOff"


@dataclass(frozen=True)
class Fault:
    """What is wrong with every container whose image contains `match`.

    `reason` is what the container waits for (ImagePullBackOff, CrashLoopBackOff, …), or
    Unschedulable, or Unhealthy for a container that runs and is never ready. The rest tells
    how a container that crashes ended.
    """

    match: str
    reason: str
    message: str
    exit_code: int = 1
    ended: str = "Error"
    restarts: int = 4

    @property
    def spares_running(self) -> bool:
        """Say whether a container that runs already is left alone, as by a missing image."""
        return self.reason not in (CRASHING, UNREADY)


def containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def asked(faults: Iterable[Fault], pod: Object) -> tuple[Fault, str] | None:
    """Return the first fault that a pod has, with the container's name; "" for the pod's own."""
    for fault in faults:
        for container in containers(pod["spec"]):
            if fault.match in container["image"]:
                return fault, "" if fault.reason == UNSCHEDULABLE else container["name"]
    return None


def missing(store: Store, pod: Object) -> tuple[Fault, str] | None:
    """Return what a pod refers to and the cluster has not: claims, config maps, secrets."""
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    for volume in spec.get("volumes") or []:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and store.find(CLAIMS, namespace, claim) is None:
            return Fault("", UNSCHEDULABLE, f'persistentvolumeclaim "{claim}" not found'), ""
    for container in containers(spec):
        for message in _missing_in(store, namespace, container):
            return Fault("", "CreateContainerConfigError", message), container["name"]
    for volume in spec.get("volumes") or []:
        for resource, field, key in ((CONFIG_MAPS, "configMap", "name"), *_SECRET_VOLUME):
            source = volume.get(field) or {}
            name = source.get(key)
            if name and not source.get("optional") and not store.find(resource, namespace, name):
                message = (
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : '
                    f'{resource.plural[:-1]} "{name}" not found'
                )
                return Fault("", "ContainerCreating", message), containers(spec)[0]["name"]
    return None


_SECRET_VOLUME: tuple[tuple[Resource, str, str], ...] = ((SECRETS, "secret", "secretName"),)


def _missing_in(store: Store, namespace: str, container: Object) -> Iterable[str]:
    for source in container.get("envFrom") or []:
        for resource, field in ((CONFIG_MAPS, "configMapRef"), (SECRETS, "secretRef")):
            yield from _missing_key(store, namespace, resource, source.get(field), "")
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        for resource, field in ((CONFIG_MAPS, "configMapKeyRef"), (SECRETS, "secretKeyRef")):
            reference = source.get(field)
            key = (reference or {}).get("key", "")
            yield from _missing_key(store, namespace, resource, reference, key)


def _missing_key(
    store: Store, namespace: str, resource: Resource, reference: Any, key: str
) -> Iterable[str]:
    if not reference or reference.get("optional"):
        return
    name = reference.get("name", "")
    found = store.find(resource, namespace, name)
    if found is None:
        yield f'{resource.plural[:-1]} "{name}" not found'
    elif key and key not in {**(found.get("data") or {}), **(found.get("binaryData") or {})}:
        yield f"couldn't find key {key} in {resource.kind} {namespace}/{name}"
