"""What stands beside the workloads: services and who is behind them, claims, limits, routes."""

from __future__ import annotations

from tests.standins.kubernetes import admission, statuses
from tests.standins.kubernetes.api import letters
from tests.standins.kubernetes.ownership import Manager
from tests.standins.kubernetes.resources import (
    AUTOSCALERS,
    BUDGETS,
    CLAIMS,
    DEPLOYMENTS,
    ENDPOINTS,
    INGRESSES,
    PODS,
    ROUTES,
    SERVICES,
    SLICES,
    Object,
    Resource,
)
from tests.standins.kubernetes.world import World

_SCALER = Manager("kube-controller-manager", subresource="scale")


class Neighbours:
    def __init__(self, world: World) -> None:
        self._world = world

    def step(self) -> None:
        self._world.each(CLAIMS, self._claim)
        self._world.each(AUTOSCALERS, self._autoscaler)
        self._world.each(SERVICES, self._service)
        self._world.each(BUDGETS, self._budget)
        self._world.each(INGRESSES, self._ingress)
        self._world.each(ROUTES, self._route)

    def _claim(self, claim: Object) -> None:
        if "status" not in claim:
            spec = claim["spec"]
            volume = f"pvc-{claim['metadata']['uid']}"
            claim = {**claim, "metadata": dict(claim["metadata"])}
            claim["spec"] = {**spec, "volumeName": volume}
            found = {"phase": "Bound", "accessModes": spec.get("accessModes", [])}
            found["capacity"] = (spec.get("resources") or {}).get("requests") or {}
            self._world.api.put_status(CLAIMS, claim, found)

    def _autoscaler(self, scaler: Object) -> None:
        """Bring the target between the limits; what it should be within them nobody measures."""
        namespace, spec = scaler["metadata"]["namespace"], scaler["spec"]
        target = spec["scaleTargetRef"]
        found = None
        if target["kind"] == "Deployment":
            found = self._world.store.find(DEPLOYMENTS, namespace, target["name"])
        if found is None:
            return
        now_there = found["spec"]["replicas"]
        wanted = max(spec["minReplicas"], min(spec["maxReplicas"], now_there))
        if now_there and wanted != now_there:
            scale = {"spec": {"replicas": wanted}}
            self._world.api.replace(DEPLOYMENTS, namespace, target["name"], scale, _SCALER)
        able = statuses.condition("AbleToScale", "True", "ReadyForNewScale", "")
        active = statuses.condition("ScalingActive", "True", "ValidMetricFound", "")
        status = {"currentReplicas": now_there, "desiredReplicas": wanted if now_there else 0}
        status["conditions"] = statuses.timed(scaler, [able, active])
        self._world.api.put_status(AUTOSCALERS, scaler, status)

    def _service(self, service: Object) -> None:
        metadata, spec = service["metadata"], service["spec"]
        if spec["type"] == "LoadBalancer":
            address = {"ip": "192.0.2.20", "ipMode": "VIP"}
            self._world.api.put_status(SERVICES, service, {"loadBalancer": {"ingress": [address]}})
        if not spec.get("selector"):
            return
        ready: list[Object] = []
        waiting: list[Object] = []
        for pod in self._world.store.held(PODS, metadata["namespace"]):
            address = (pod.get("status") or {}).get("podIP", "")
            labels = pod["metadata"].get("labels") or {}
            ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if (
                address
                and not ended
                and admission.matches({"matchLabels": spec["selector"]}, labels)
            ):
                (ready if self._world.is_ready(pod) else waiting).append(pod)
        pods = [*ready, *waiting]
        ports = _endpoint_ports(spec, pods)
        place = {"name": metadata["name"], "namespace": metadata["namespace"]}
        place["ownerReferences"] = [statuses.owner(service)]
        subset: Object = {"ports": ports}
        for field, found in (("addresses", ready), ("notReadyAddresses", waiting)):
            if found:
                subset[field] = [_address(pod) for pod in found]
        subsets = {"subsets": [subset] if pods else []}
        self._keep_up(ENDPOINTS, {**place, "labels": metadata.get("labels") or {}}, subsets)
        endpoints = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": self._world.is_ready(pod),
                    "serving": self._world.is_ready(pod),
                    "terminating": False,
                },
                "nodeName": "node-1",
                "targetRef": _address(pod)["targetRef"],
            }
            for pod in pods
        ]
        labels = {**(metadata.get("labels") or {})}
        labels["kubernetes.io/service-name"] = metadata["name"]
        labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
        place = {**place, "name": f"{metadata['name']}-{letters(metadata['uid'], 5)}"}
        content = {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}
        self._keep_up(SLICES, {**place, "labels": labels}, content)

    def _keep_up(self, resource: Resource, metadata: Object, content: Object) -> None:
        live = self._world.store.find(resource, metadata["namespace"], metadata["name"])
        identity = {"apiVersion": resource.group_version, "kind": resource.kind}
        if live is None:
            self._world.api.keep(resource, {**identity, "metadata": metadata, **content})
        elif any(live.get(name) != value for name, value in content.items()):
            new = {
                **live,
                "metadata": {**live["metadata"], "labels": metadata["labels"]},
                **content,
            }
            self._world.store.replace(resource, new)

    def _budget(self, budget: Object) -> None:
        metadata, spec = budget["metadata"], budget["spec"]
        pods = [
            pod
            for pod in self._world.store.held(PODS, metadata["namespace"])
            if admission.matches(spec.get("selector") or {}, pod["metadata"].get("labels") or {})
        ]
        healthy = sum(self._world.is_ready(pod) for pod in pods)
        if "minAvailable" in spec:
            wanted = statuses.share(spec["minAvailable"], len(pods), up=True)
        else:
            wanted = len(pods) - statuses.share(spec.get("maxUnavailable", 1), len(pods), up=True)
        found = {
            "currentHealthy": healthy,
            "desiredHealthy": max(0, wanted),
            "disruptionsAllowed": max(0, healthy - wanted),
            "expectedPods": len(pods),
            "observedGeneration": metadata["generation"],
        }
        allowed = found["disruptionsAllowed"] > 0
        reason = "SufficientPods" if allowed else "InsufficientPods"
        condition = statuses.condition("DisruptionAllowed", str(allowed), reason, "")
        found["conditions"] = statuses.timed(budget, [condition])
        self._world.api.put_status(BUDGETS, budget, found)

    def _ingress(self, ingress: Object) -> None:
        self._world.api.put_status(
            INGRESSES, ingress, {"loadBalancer": {"ingress": [{"ip": "192.0.2.21"}]}}
        )

    def _route(self, route: Object) -> None:
        parents = []
        generation = route["metadata"]["generation"]
        accepted = [
            {
                **statuses.condition("Accepted", "True", "Accepted", ""),
                "observedGeneration": generation,
            },
            {
                **statuses.condition("ResolvedRefs", "True", "ResolvedRefs", ""),
                "observedGeneration": generation,
            },
        ]
        for parent in route["spec"].get("parentRefs") or []:
            since = [
                {**condition, "lastTransitionTime": route["metadata"]["creationTimestamp"]}
                for condition in accepted
            ]
            controller = "example.com/stand-in"
            parents.append({"parentRef": parent, "controllerName": controller, "conditions": since})
        self._world.api.put_status(ROUTES, route, {"parents": parents})


def _endpoint_ports(spec: Object, pods: list[Object]) -> list[Object]:
    ports = []
    for port in spec.get("ports") or []:
        number = port.get("targetPort", port["port"])
        for pod in pods:
            for container in pod["spec"]["containers"]:
                for open_port in container.get("ports") or []:
                    if open_port.get("name") == number:
                        number = open_port["containerPort"]
        if isinstance(number, int):
            named = {"name": port["name"]} if "name" in port else {}
            ports.append({**named, "port": number, "protocol": port["protocol"]})
    return ports


def _address(pod: Object) -> Object:
    metadata = pod["metadata"]
    target = {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"]}
    target["uid"] = metadata["uid"]
    return {"ip": pod["status"]["podIP"], "nodeName": "node-1", "targetRef": target}
