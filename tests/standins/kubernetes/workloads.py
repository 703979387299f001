"""Deployments, replica sets, stateful sets and jobs, and the pods that they make.

After kube-controller-manager: a deployment rolls with `maxSurge` and `maxUnavailable`, has
revisions, and is overdue after `progressDeadlineSeconds`.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.standins.kubernetes import statuses
from tests.standins.kubernetes.api import CONTROLLER, letters, now
from tests.standins.kubernetes.resources import (
    CLAIMS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    Object,
    Resource,
)
from tests.standins.kubernetes.status import Refusal
from tests.standins.kubernetes.world import World

_HASH = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"


class Workloads:
    def __init__(self, world: World) -> None:
        self._world = world
        self._progress: dict[str, tuple[Any, float]] = {}  # by a deployment's uid
        self._pods_made: dict[str, int] = {}  # by their owner's uid

    def step(self) -> None:
        self._world.each(DEPLOYMENTS, self._deployment)
        self._world.each(REPLICA_SETS, self._replica_set)
        self._world.each(STATEFUL_SETS, self._stateful_set)
        self._world.each(JOBS, self._job)

    def _deployment(self, deployment: Object) -> None:
        spec = deployment["spec"]
        sets = self._world.owned(REPLICA_SETS, deployment)
        new = next((found for found in sets if _template(found) == _bare(spec["template"])), None)
        if new is None and not spec.get("paused"):
            new = self._new_set(deployment, sets)
        elif new is not None:
            new = self._renumber(deployment, new, sets)
        sets = self._world.owned(REPLICA_SETS, deployment)
        label = new["metadata"]["name"] if new else ""
        old = [found for found in sets if found["metadata"]["name"] != label]
        if spec.get("paused"):
            active = new or max(old, key=lambda found: found["spec"]["replicas"], default=None)
            if active is not None:
                self._resize(active, spec["replicas"])
        elif new is not None:
            self._roll(deployment, new, old)
            self._forget(deployment, old)
        self._deployment_status(deployment["metadata"]["namespace"], deployment, new)

    def _new_set(self, deployment: Object, sets: list[Object]) -> Object:
        metadata, spec = deployment["metadata"], deployment["spec"]
        template = copy.deepcopy(spec["template"])
        label = letters(json.dumps(template, sort_keys=True), 10)
        template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = label
        selector = copy.deepcopy(spec["selector"])
        selector.setdefault("matchLabels", {})[_HASH] = label
        revision = str(max((_revision(found) for found in sets), default=0) + 1)
        inner = {"replicas": 0, "selector": selector, "template": template}
        if "minReadySeconds" in spec:
            inner["minReadySeconds"] = spec["minReadySeconds"]
        new = self._world.api.keep(
            REPLICA_SETS,
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{metadata['name']}-{label}",
                    "namespace": metadata["namespace"],
                    "labels": dict(template["metadata"]["labels"]),
                    "annotations": {_REVISION: revision},
                    "ownerReferences": [statuses.owner(deployment)],
                },
                "spec": inner,
            },
        )
        self._annotate(DEPLOYMENTS, deployment, revision)
        return new

    def _renumber(self, deployment: Object, new: Object, sets: list[Object]) -> Object:
        """Give a replica set that is in use again the highest revision."""
        highest = max(_revision(found) for found in sets)
        if _revision(new) < highest:
            new = self._annotate(REPLICA_SETS, new, str(highest + 1))
        self._annotate(DEPLOYMENTS, deployment, str(_revision(new)))
        return new

    def _annotate(self, resource: Resource, obj: Object, revision: str) -> Object:
        metadata = obj["metadata"]
        live = self._world.store.get(resource, metadata["namespace"], metadata["name"])
        annotations = live["metadata"].get("annotations") or {}
        if annotations.get(_REVISION) == revision:
            return live
        changed = {**live["metadata"], "annotations": {**annotations, _REVISION: revision}}
        new = {**live, "metadata": changed}
        self._world.store.replace(resource, new)
        return new

    def _resize(self, found: Object, replicas: int) -> None:
        if found["spec"]["replicas"] != replicas:
            metadata = {**found["metadata"]}
            metadata["generation"] = metadata.get("generation", 1) + 1
            spec = {**found["spec"], "replicas": replicas}
            self._world.store.replace(REPLICA_SETS, {**found, "metadata": metadata, "spec": spec})

    def _roll(self, deployment: Object, new: Object, old: list[Object]) -> None:
        """Move pods from the old replica sets to the new one, as far as the strategy lets."""
        wanted = deployment["spec"]["replicas"]
        surge, unavailable = _room(deployment["spec"])
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            for found in old:
                self._resize(found, 0)
            if not any(self._world.owned(PODS, found) for found in old):
                self._resize(new, wanted)
            return
        everything = new["spec"]["replicas"] + sum(found["spec"]["replicas"] for found in old)
        size = new["spec"]["replicas"]
        if size > wanted:
            self._resize(new, wanted)
            return
        if size < wanted and everything < wanted + surge:
            self._resize(new, size + min(wanted + surge - everything, wanted - size))
            return
        ready = {found["metadata"]["uid"]: self._available(found) for found in [new, *old]}
        waiting = size - ready[new["metadata"]["uid"]]
        spare = everything - (wanted - unavailable) - max(0, waiting)
        # Pods that are not available go first: nobody misses them.
        for found in old:
            broken = found["spec"]["replicas"] - ready[found["metadata"]["uid"]]
            down = min(spare, broken)
            if down > 0:
                self._resize(found, found["spec"]["replicas"] - down)
                spare -= down
        spare = min(spare, sum(ready.values()) - (wanted - unavailable))
        for found in old:
            live = self._world.store.get(
                REPLICA_SETS, found["metadata"]["namespace"], found["metadata"]["name"]
            )
            down = min(spare, live["spec"]["replicas"])
            if down > 0:
                self._resize(live, live["spec"]["replicas"] - down)
                spare -= down

    def _forget(self, deployment: Object, old: list[Object]) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [found for found in old if not found["spec"]["replicas"]]
        for found in sorted(idle, key=_revision)[: max(0, len(idle) - limit)]:
            metadata = found["metadata"]
            if not self._world.owned(PODS, found):
                self._world.api.delete(REPLICA_SETS, metadata["namespace"], metadata["name"])

    def _available(self, found: Object) -> int:
        least_s = found["spec"].get("minReadySeconds", 0)
        moments = [
            self._world.ready[pod["metadata"]["uid"]]
            for pod in self._world.owned(PODS, found)
            if self._world.is_ready(pod)
        ]
        return sum(not self._world.later(moment + least_s) for moment in moments)

    def _deployment_status(self, namespace: str, deployment: Object, new: Object | None) -> None:
        deployment = self._world.store.get(DEPLOYMENTS, namespace, deployment["metadata"]["name"])
        spec = deployment["spec"]
        sets = self._world.owned(REPLICA_SETS, deployment)
        label = new["metadata"]["name"] if new else ""
        pods = {found["metadata"]["name"]: self._world.owned(PODS, found) for found in sets}
        total = sum(len(found) for found in pods.values())
        updated = len(pods.get(label, []))
        ready = sum(self._world.is_ready(pod) for found in pods.values() for pod in found)
        available = sum(self._available(found) for found in sets)
        wanted = spec["replicas"]
        found = statuses.counts(
            replicas=total,
            updatedReplicas=updated,
            readyReplicas=ready,
            availableReplicas=available,
            unavailableReplicas=max(0, max(total, wanted) - available),
        )
        found["observedGeneration"] = deployment["metadata"]["generation"]
        complete = updated == total == available == wanted and new is not None
        conditions = [_availability(available, wanted, spec)]
        conditions.append(self._progressing(deployment, label, complete, (total, updated, ready)))
        for inner in sets:
            for condition in (inner.get("status") or {}).get("conditions") or []:
                if condition["type"] == "ReplicaFailure":
                    conditions.append(condition)
        found["conditions"] = statuses.timed(deployment, conditions)
        self._world.api.put_status(DEPLOYMENTS, deployment, found)

    def _progressing(self, deployment: Object, label: str, complete: bool, counts: Any) -> Object:
        metadata, spec = deployment["metadata"], deployment["spec"]
        if complete:
            self._progress.pop(metadata["uid"], None)
            message = f'ReplicaSet "{label}" has successfully progressed.'
            return statuses.condition("Progressing", "True", "NewReplicaSetAvailable", message)
        if spec.get("paused"):
            self._progress.pop(metadata["uid"], None)
            message = "Deployment is paused"
            return statuses.condition("Progressing", "Unknown", "DeploymentPaused", message)
        mark = (label, counts)
        if self._progress.get(metadata["uid"], (None, 0))[0] != mark:
            self._progress[metadata["uid"]] = (mark, self._world.now)
        since = self._progress[metadata["uid"]][1]
        if self._world.later(since + spec["progressDeadlineSeconds"]):
            message = f'ReplicaSet "{label}" is progressing.'
            return statuses.condition("Progressing", "True", "ReplicaSetUpdated", message)
        message = f'ReplicaSet "{label}" has timed out progressing.'
        return statuses.condition("Progressing", "False", "ProgressDeadlineExceeded", message)

    def _replica_set(self, found: Object) -> None:
        pods = self._world.owned(PODS, found)
        wanted = found["spec"]["replicas"]
        # Those that are not ready go first, and of the others the youngest.
        pods.sort(key=lambda pod: (not self._world.is_ready(pod), int(_version(pod))), reverse=True)
        for pod in pods[: max(0, len(pods) - wanted)]:
            self._world.api.delete(PODS, found["metadata"]["namespace"], pod["metadata"]["name"])
        failure = ""
        for _ in range(wanted - len(pods)):
            failure = self._new_pod(found, {"name": self._pod_name(found)})
            if failure:
                break
        pods = self._world.owned(PODS, found)
        counts = statuses.counts(
            fullyLabeledReplicas=len(pods),
            readyReplicas=sum(self._world.is_ready(pod) for pod in pods),
            availableReplicas=self._available(found),
        )
        counts |= {"replicas": len(pods), "observedGeneration": found["metadata"]["generation"]}
        if failure:
            condition = statuses.condition("ReplicaFailure", "True", "FailedCreate", failure)
            counts["conditions"] = statuses.timed(found, [condition])
        self._world.api.put_status(REPLICA_SETS, found, counts)

    def _stateful_set(self, found: Object) -> None:
        metadata, spec = found["metadata"], found["spec"]
        label = f"{metadata['name']}-{letters(json.dumps(spec['template'], sort_keys=True), 10)}"
        pods = {pod["metadata"]["name"]: pod for pod in self._world.owned(PODS, found)}
        names = [f"{metadata['name']}-{number}" for number in range(spec["replicas"])]
        for name, pod in list(pods.items()):
            if name not in names or pod["metadata"]["labels"]["controller-revision-hash"] != label:
                self._world.api.delete(PODS, metadata["namespace"], name)
                del pods[name]
        for name in names:
            if name in pods:
                if self._world.is_ready(pods[name]):
                    continue
                break
            labels = {
                "controller-revision-hash": label,
                "statefulset.kubernetes.io/pod-name": name,
            }
            self._claims(found, name)
            self._new_pod(found, {"name": name, "labels": labels})
            break
        pods = {pod["metadata"]["name"]: pod for pod in self._world.owned(PODS, found)}
        ready = sum(self._world.is_ready(pod) for pod in pods.values())
        counts = statuses.counts(
            currentReplicas=len(pods),
            updatedReplicas=len(pods),
            readyReplicas=ready,
        )
        counts |= {
            "replicas": len(pods),
            "availableReplicas": ready,
            "currentRevision": label,
            "updateRevision": label,
            "observedGeneration": metadata["generation"],
        }
        self._world.api.put_status(STATEFUL_SETS, found, counts)

    def _claims(self, found: Object, pod: str) -> None:
        namespace = found["metadata"]["namespace"]
        for template in found["spec"].get("volumeClaimTemplates") or []:
            name = f"{template['metadata']['name']}-{pod}"
            if self._world.store.find(CLAIMS, namespace, name) is None:
                metadata = {**template["metadata"], "name": name, "namespace": namespace}
                claim: Object = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
                claim |= {"metadata": metadata, "spec": copy.deepcopy(template["spec"])}
                self._world.api.create(CLAIMS, namespace, claim, CONTROLLER)

    def _job(self, job: Object) -> None:
        metadata, spec = job["metadata"], job["spec"]
        before = job.get("status") or {}
        if any(
            condition["type"] in ("Complete", "Failed") for condition in statuses.conditions_of(job)
        ):
            return
        if spec.get("suspend"):
            return
        pods = self._world.owned(PODS, job)
        failure = ""
        if not pods:
            labels = {
                "job-name": metadata["name"],
                "batch.kubernetes.io/job-name": metadata["name"],
            }
            failure = self._new_pod(job, {"name": self._pod_name(job), "labels": labels})
        phases = [pod.get("status", {}).get("phase") for pod in pods]
        found: Object = {"startTime": before.get("startTime", now())}
        found |= statuses.counts(
            active=len([phase for phase in phases if phase not in ("Succeeded", "Failed")]),
            succeeded=phases.count("Succeeded"),
            failed=phases.count("Failed"),
        )
        conditions: list[Object] = []
        if "Succeeded" in phases:
            found["completionTime"] = now()
            reached = "Reached expected number of succeeded pods"
            conditions = [
                statuses.condition("SuccessCriteriaMet", "True", "CompletionsReached", reached),
                statuses.condition("Complete", "True", "CompletionsReached", reached),
            ]
        elif "Failed" in phases:
            message = "Job has reached the specified backoff limit"
            conditions = [statuses.condition("Failed", "True", "BackoffLimitExceeded", message)]
        if conditions:
            found["conditions"] = statuses.timed(job, conditions)
        if not failure:
            self._world.api.put_status(JOBS, job, found)

    def _pod_name(self, owner: Object) -> str:
        """Return the next pod's name: the same until it is there, and so in messages, too."""
        metadata = owner["metadata"]
        number = self._pods_made.get(metadata["uid"], 0)
        return f"{metadata['name']}-{letters(metadata['uid'] + str(number), 5)}"

    def _new_pod(self, owner: Object, metadata: Object) -> str:
        """Create a pod from its owner's template; return why not, or "" when it is there."""
        template = copy.deepcopy(owner["spec"]["template"])
        inner = template.get("metadata") or {}
        labels = {**(inner.get("labels") or {}), **metadata.pop("labels", {})}
        made = {**inner, **metadata, "labels": labels, "ownerReferences": [statuses.owner(owner)]}
        pod: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": made,
            "spec": template["spec"],
        }
        spec = pod["spec"]
        for claim in owner["spec"].get("volumeClaimTemplates") or []:
            name = claim["metadata"]["name"]
            source = {"claimName": f"{name}-{made['name']}"}
            spec.setdefault("volumes", []).append({"name": name, "persistentVolumeClaim": source})
        try:
            self._world.api.create(PODS, owner["metadata"]["namespace"], pod, CONTROLLER)
        except Refusal as refusal:
            self._world.tell(
                owner, "FailedCreate", f"Error creating: {refusal}", "replicaset-controller"
            )
            return str(refusal)
        uid = owner["metadata"]["uid"]
        self._pods_made[uid] = self._pods_made.get(uid, 0) + 1
        return ""


def _template(found: Object) -> Object:
    """Return a replica set's template as its deployment has it."""
    return _bare(found["spec"]["template"])


def _bare(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != _HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def _revision(found: Object) -> int:
    return int((found["metadata"].get("annotations") or {}).get(_REVISION, "0"))


def _version(obj: Object) -> str:
    version: str = obj["metadata"]["resourceVersion"]
    return version


def _room(spec: Object) -> tuple[int, int]:
    """Return how many pods may be there beyond those wanted, and how many may be missing."""
    rolling = spec["strategy"].get("rollingUpdate") or {}
    surge = statuses.share(rolling.get("maxSurge", "25%"), spec["replicas"], up=True)
    unavailable = statuses.share(rolling.get("maxUnavailable", "25%"), spec["replicas"], up=False)
    return surge, 1 if surge == unavailable == 0 else unavailable


def _availability(available: int, wanted: int, spec: Object) -> Object:
    missing = 0 if spec["strategy"]["type"] == "Recreate" else _room(spec)[1]
    if available >= wanted - missing:
        reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
        return statuses.condition("Available", "True", reason, message)
    message = "Deployment does not have minimum availability."
    return statuses.condition("Available", "False", "MinimumReplicasUnavailable", message)
