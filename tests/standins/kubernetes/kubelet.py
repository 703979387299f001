"""What happens to pods, as a scheduler and a kubelet would have it: no container is started.

A container "starts" after the world's `delay_s` and is ready from then on, as no probe is run,
unless a `Fault` is in its way.
"""

from __future__ import annotations

from typing import Any

from tests.standins.kubernetes import faults, statuses
from tests.standins.kubernetes.api import now
from tests.standins.kubernetes.defaults import address
from tests.standins.kubernetes.faults import Fault
from tests.standins.kubernetes.resources import PODS, Object
from tests.standins.kubernetes.world import World

# What keeps all containers of a pod from starting, not one.
_WHOLE_POD = ("ContainerCreating",)


class Kubelet:
    def __init__(self, world: World) -> None:
        self._world = world
        self._started: dict[str, float] = {}  # by a pod's uid: when nothing was in its way

    def step(self) -> None:
        self._world.each(PODS, self._pod)

    def _pod(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            return
        running = phase == "Running"
        wrong = faults.asked(self._world.faults, pod)
        if wrong is not None and wrong[0].spares_running and running:
            wrong = None
        if wrong is None and not running:
            wrong = faults.missing(self._world.store, pod)
        if wrong is not None:
            fault, container = wrong
            self._world.ready.pop(uid, None)
            if fault.reason == faults.UNREADY:
                self._started.setdefault(uid, self._world.now)
            else:
                self._started.pop(uid, None)
            self._broken_pod(pod, fault, container)
            return
        started = self._started.setdefault(uid, self._world.now)
        if uid not in self._world.ready and self._world.later(started + self._world.delay_s):
            reason = "ContainerCreating"
            phase = "Running" if running else "Pending"
            self._put_pod(pod, phase, lambda _: {"waiting": {"reason": reason}})
            return
        if _runs_once(pod):
            ended = {"exitCode": 0, "reason": "Completed", "finishedAt": now()}
            self._put_pod(pod, "Succeeded", lambda _: {"terminated": ended})
            return
        self._world.ready.setdefault(uid, self._world.now)
        since = {"running": {"startedAt": now()}}
        self._put_pod(pod, "Running", lambda _: since, ready=True)

    def _broken_pod(self, pod: Object, fault: Fault, container: str) -> None:
        component = "kubelet"
        if fault.reason == faults.UNSCHEDULABLE:
            component = "default-scheduler"
            self._put_pod(pod, "Pending", None, fault=fault)
            self._world.tell(pod, "FailedScheduling", fault.message, component)
            return
        if fault.reason == faults.UNREADY:
            since = {"running": {"startedAt": now()}}
            self._put_pod(pod, "Running", lambda _: since, broken=container)
            self._world.tell(pod, faults.UNREADY, fault.message, component)
            return
        ended = {"exitCode": fault.exit_code, "reason": fault.ended, "finishedAt": now()}
        crashed = fault.reason == faults.CRASHING
        if crashed and pod["spec"]["restartPolicy"] == "Never":
            self._put_pod(pod, "Failed", lambda _: {"terminated": ended})
            return
        waiting: Object = {"reason": fault.reason}
        if fault.message and fault.reason != "ContainerCreating":
            waiting["message"] = fault.message
        initial = [one["name"] for one in pod["spec"].get("initContainers") or []]
        others: Object = {"running": {"startedAt": now()}}
        if container in initial or fault.reason in _WHOLE_POD:
            others = {"waiting": {"reason": "PodInitializing"}}

        def state(name: str) -> Object:
            return {"waiting": waiting} if name == container else others

        phase = "Running" if crashed else "Pending"
        last = {"terminated": ended} if crashed else {}
        self._put_pod(pod, phase, state, fault=fault, broken=container, last=last)
        reason = "FailedMount" if fault.reason == "ContainerCreating" else "Failed"
        self._world.tell(pod, "BackOff" if crashed else reason, fault.message, component)

    def _put_pod(
        self,
        pod: Object,
        phase: str,
        state: Any,
        *,
        ready: bool = False,
        fault: Fault | None = None,
        broken: str = "",
        last: Object | None = None,
    ) -> None:
        """Write a pod's status. `state` says a container's; None for a pod without a node."""
        before = pod.get("status") or {}
        placed = state is not None
        found: Object = {"phase": phase, "qosClass": "Burstable"}
        found["observedGeneration"] = pod["metadata"].get("generation", 1)
        initial = [container["name"] for container in pod["spec"].get("initContainers") or []]
        done = phase in ("Succeeded", "Running") and broken not in initial
        if placed:
            found |= {"hostIP": "192.0.2.10", "startTime": before.get("startTime", now())}
            found["podIP"] = before.get("podIP") or address("10.244", self._world.api.number())
            found["podIPs"] = [{"ip": found["podIP"]}]
            old = {
                shown["name"]: shown
                for field in ("initContainerStatuses", "containerStatuses")
                for shown in before.get(field) or []
            }
            completed = {"terminated": {"exitCode": 0, "reason": "Completed"}}
            for group in ("initContainers", "containers"):
                shown_now = []
                for container in pod["spec"].get(group) or []:
                    name = container["name"]
                    first = group == "initContainers"
                    shown = completed if first and done else state(name)
                    healthy = broken not in ("", name) and "running" in shown
                    status = _container_status(
                        container, shown, ready=done if first else ready or healthy
                    )
                    if name in old:
                        status["restartCount"] = old[name]["restartCount"]
                        status["lastState"] = old[name]["lastState"]
                    if fault is not None and name == broken and last:
                        status["lastState"] = last
                        status["restartCount"] = fault.restarts
                    shown_now.append(_kept_times(old.get(name), status))
                if shown_now:
                    found[f"{group[:-1]}Statuses"] = shown_now
        if not placed and fault is not None:
            conditions = [
                statuses.condition("PodScheduled", "False", faults.UNSCHEDULABLE, fault.message)
            ]
        else:
            up = "True" if ready else "False"
            why = "" if ready else "ContainersNotReady"
            why = "PodCompleted" if phase == "Succeeded" else why
            conditions = [
                statuses.condition("Initialized", "True" if done or not initial else "False"),
                statuses.condition("Ready", up, why),
                statuses.condition("ContainersReady", up, why),
                statuses.condition("PodScheduled", "True"),
            ]
        found["conditions"] = statuses.timed(pod, conditions)
        if placed and "nodeName" not in pod["spec"]:
            pod = {**pod, "spec": {**pod["spec"], "nodeName": "node-1"}}
            pod["metadata"] = dict(pod["metadata"])
        self._world.api.put_status(PODS, pod, found)


def _container_status(container: Object, state: Object, *, ready: bool) -> Object:
    image = container["image"]
    begun = "waiting" not in state
    digest = image if "@" in image else f"{image.rpartition(':')[0] or image}@sha256:{'0' * 64}"
    return {
        "name": container["name"],
        "image": image,
        "imageID": digest if begun else "",
        "ready": ready,
        "started": begun and "running" in state,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    }


def _kept_times(old: Object | None, new: Object) -> Object:
    """Return a container's status with the moment it had when it is in the same state."""
    if old is None or set(old["state"]) != set(new["state"]):
        return new
    kept = {**new}
    for field in ("state", "lastState"):
        for name, inner in new[field].items():
            times = {
                time: value
                for time, value in old[field].get(name, {}).items()
                if time in ("startedAt", "finishedAt")
            }
            kept[field] = {name: {**inner, **times}}
    return kept


def _runs_once(pod: Object) -> bool:
    """Say whether a pod is to end: one of a job, or a test of Helm's."""
    metadata, policy = pod["metadata"], pod["spec"]["restartPolicy"]
    owners = metadata.get("ownerReferences") or []
    hook = (metadata.get("annotations") or {}).get("helm.sh/hook", "")
    of_job = any(owner["kind"] == "Job" for owner in owners)
    return of_job or (policy == "Never" and "test" in hook)
