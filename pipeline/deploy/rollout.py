"""Whether a release's pods are ready, and why they are not: read from the cluster, in words."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import commands
from pipeline.deploy.cluster import Cluster
from pipeline.errors import ClusterDenied, ClusterUnavailable, HelmFailed, PipelineError
from pipeline.kubernetes.objects import items, mapping
from pipeline.report import Progress

POLL_S = 1.0
PATIENCE_S = 20.0
"""How long something that does not mend itself may last before it is given up."""
_HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "FailedCreate",
        "ImagePullBackOff",
        "InvalidImageName",
        "ProgressDeadlineExceeded",
        "RunContainerError",
    }
)
_AWAY = 5
"""How many times in a row a cluster may not answer while something is waited for."""
_LOG_LINES = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something is not ready. `reason` is Kubernetes' own word for it."""

    title: str
    """`Pod accelerapp-5d…`, or the Deployment where there is no pod to ask."""
    reason: str
    message: str
    container: str = ""
    restarts: int = 0
    has_run: bool = False
    """Whether the container has ended at least once, and so may have said why."""

    @property
    def is_hopeless(self) -> bool:
        """Whether waiting rarely mends it."""
        return self.reason in _HOPELESS

    def __str__(self) -> str:
        restarts = f" (started {self.restarts + 1} times)" if self.restarts else ""
        message = f": {self.message}" if self.message else ""
        return f"{self.title}: {self.reason}{restarts}{message}"


@dataclass(frozen=True, slots=True)
class State:
    """A Deployment as it is."""

    name: str
    labels: Mapping[str, Any]
    wanted: int
    updated: int
    ready: int
    """Pods that are ready, old ones included."""
    new_ready: int
    """Those of them that are of the newest version."""
    available: int
    total: int
    is_current: bool
    """Whether Kubernetes has seen its newest version."""
    image: str
    troubles: tuple[Trouble, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether every pod is of the newest version, ready, and there is no other."""
        return (
            self.is_current
            and self.updated == self.ready == self.available == self.total == self.wanted
        )

    @property
    def shown(self) -> str:
        old = max(self.total - self.updated, 0)
        waits = f", {old} old to go" if old else ""
        return f"{self.new_ready} of {self.wanted} ready{waits}"


def states(cluster: Cluster, selector: str) -> list[State]:
    """Return the Deployments that a selector names, each with what troubles it."""
    found = cluster.get(("deployments", "replicasets", "pods"), selector)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        by_kind.setdefault(str(one.get("kind")), []).append(one)
    events = _events(cluster)
    return [
        _state(one, by_kind.get("ReplicaSet", []), by_kind.get("Pod", []), events)
        for one in sorted(by_kind.get("Deployment", []), key=_name)
    ]


def _name(data: Mapping[str, Any]) -> str:
    return str(mapping(data.get("metadata")).get("name", ""))


def _owned(data: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    uid = mapping(owner.get("metadata")).get("uid")
    return any(
        one.get("uid") == uid for one in items(mapping(data["metadata"]).get("ownerReferences"))
    )


def _state(
    deployment: Mapping[str, Any],
    sets: Sequence[Mapping[str, Any]],
    pods: Sequence[Mapping[str, Any]],
    events: Mapping[str, Mapping[str, Any]],
) -> State:
    spec, status = mapping(deployment.get("spec")), mapping(deployment.get("status"))
    metadata = mapping(deployment.get("metadata"))
    own_sets = [one for one in sets if _owned(one, deployment)]
    newest = max(own_sets, key=_set_revision, default=None)
    new_pods = [] if newest is None else [pod for pod in pods if _owned(pod, newest)]
    template = mapping(mapping(spec.get("template")).get("spec"))
    image = next((str(one.get("image", "")) for one in items(template.get("containers"))), "")
    wanted = int(spec.get("replicas", 1))
    # Pods of older versions may well be in trouble: that may be why there is a newer one.
    lasting = [pod for pod in new_pods if not _is_over(pod)]
    troubles = [trouble for pod in lasting for trouble in _pod_troubles(pod, events)]
    troubles += _own_troubles(deployment, any_pods=bool(troubles))
    return State(
        name=_name(deployment),
        labels=mapping(metadata.get("labels")),
        wanted=wanted,
        updated=int(status.get("updatedReplicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        new_ready=sum(map(_is_ready, new_pods)),
        available=int(status.get("availableReplicas", 0)),
        total=int(status.get("replicas", 0)),
        is_current=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        image=image,
        troubles=tuple(troubles),
    )


def _is_over(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has come to its end, or was told to: it troubles nobody."""
    phase = mapping(pod.get("status")).get("phase")
    return phase in ("Failed", "Succeeded") or bool(
        mapping(pod.get("metadata")).get("deletionTimestamp")
    )


def _set_revision(data: Mapping[str, Any]) -> int:
    annotations = mapping(mapping(data.get("metadata")).get("annotations"))
    return int(annotations.get("deployment.kubernetes.io/revision", 0))


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = items(mapping(pod.get("status")).get("conditions"))
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _own_troubles(deployment: Mapping[str, Any], *, any_pods: bool) -> Iterator[Trouble]:
    """What a Deployment says of itself: pods that a quota or a policy keeps from being made."""
    title = f"Deployment {_name(deployment)}"
    for one in items(mapping(deployment.get("status")).get("conditions")):
        kind, status = one.get("type"), one.get("status")
        stuck = kind == "Progressing" and status == "False" and not any_pods
        if stuck or (kind == "ReplicaFailure" and status == "True"):
            yield Trouble(title, str(one.get("reason", kind)), _line(one.get("message")))


def _pod_troubles(
    pod: Mapping[str, Any], events: Mapping[str, Mapping[str, Any]]
) -> Iterator[Trouble]:
    if _is_ready(pod):
        return
    title, status = f"Pod {_name(pod)}", mapping(pod.get("status"))
    conditions = {str(one.get("type")): one for one in items(status.get("conditions"))}
    scheduled = mapping(conditions.get("PodScheduled"))
    if scheduled.get("status") == "False":
        reason = str(scheduled.get("reason", "Unschedulable"))
        yield Trouble(title, reason, _line(scheduled.get("message")))
        return
    told = False
    statuses = [
        *items(status.get("initContainerStatuses")),
        *items(status.get("containerStatuses")),
    ]
    for container in statuses:
        state = mapping(container.get("state"))
        waiting = mapping(state.get("waiting"))
        ended = mapping(state.get("terminated")) or mapping(
            mapping(container.get("lastState")).get("terminated")
        )
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            told = True
            message = _ended(ended) if ended else _line(waiting.get("message"))
            yield Trouble(
                title,
                str(waiting.get("reason", "waiting")),
                message,
                str(container.get("name", "")),
                int(container.get("restartCount", 0)),
                has_run=bool(ended),
            )
        elif ended and not container.get("ready"):
            told = True
            yield Trouble(
                title,
                str(ended.get("reason", "ended")),
                _ended(ended),
                str(container.get("name", "")),
                int(container.get("restartCount", 0)),
                has_run=bool(ended),
            )
    event = mapping(events.get(_name(pod)))
    if not told and event:
        yield Trouble(title, str(event.get("reason", "not ready")), _line(event.get("message")))


def _ended(ended: Mapping[str, Any]) -> str:
    reason = str(ended.get("reason", ""))
    if reason == "OOMKilled":
        return "ended by the kernel, out of memory; raise resources.limits.memory"
    return f"ended with exit code {ended.get('exitCode', '?')}"


def _events(cluster: Cluster) -> dict[str, Mapping[str, Any]]:
    """Return the last warning about each pod; none where this user may not read events."""
    try:
        found = cluster.get(("events",), fields="type=Warning")
    except ClusterDenied:
        return {}
    warnings = [one for one in found if one.get("type") == "Warning"]
    warnings.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return {str(mapping(one.get("involvedObject")).get("name", "")): one for one in warnings}


def _line(text: Any) -> str:
    return " ".join(str(text or "").split())[:300]


# Waiting.


@dataclass(frozen=True, slots=True)
class Waited:
    """How waiting ended. `troubles` is empty where everything is ready."""

    states: tuple[State, ...]
    troubles: tuple[Trouble, ...]
    seconds: float
    is_late: bool
    """Whether time ran out, rather than something being hopeless."""

    @property
    def is_ready(self) -> bool:
        return bool(self.states) and all(state.is_ready for state in self.states)


def wait(
    cluster: Cluster,
    selector: str,
    names: Sequence[str],
    progress: Progress,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Waited:
    """Wait until the named Deployments are ready; give up when one cannot get there.

    Says each change.  A cluster that does not answer for a moment is asked again.
    """
    begin_s = clock()
    said: dict[str, str] = {}
    hopeless_since: dict[str, float] = {}
    away = 0
    with progress.step("ready") as step:
        while True:
            now_s = clock()
            try:
                found = tuple(one for one in states(cluster, selector) if one.name in names)
                away = 0
            except (ClusterUnavailable, HelmFailed):
                away += 1
                if away >= _AWAY or now_s - begin_s >= timeout_s:
                    raise
                sleep(POLL_S)
                continue
            for state in found:
                text = state.shown
                if said.get(state.name) != text:
                    said[state.name] = text
                    progress.say(f"{state.name}: {text}")
                for trouble in state.troubles:
                    if said.get(trouble.title) != trouble.reason:
                        said[trouble.title] = trouble.reason
                        progress.say(f"  {trouble}")
            step.note(", ".join(f"{state.name} {state.shown}" for state in found))
            if {state.name for state in found} == set(names) and all(o.is_ready for o in found):
                return Waited(found, (), now_s - begin_s, is_late=False)
            troubles = [trouble for state in found for trouble in state.troubles]
            hopeless = {one.title: one for one in troubles if one.is_hopeless}
            hopeless_since = {t: hopeless_since.get(t, now_s) for t in hopeless}
            given_up = any(now_s - since >= PATIENCE_S for since in hopeless_since.values())
            late = now_s - begin_s >= timeout_s
            if given_up or late:
                told = tuple(hopeless.values()) or tuple(troubles)
                return Waited(found, told, now_s - begin_s, is_late=late and not given_up)
            sleep(POLL_S)


def last_words(cluster: Cluster, trouble: Trouble) -> list[str]:
    """Return the end of a container's log: of the one that ended, where it was started again."""
    if not trouble.has_run:
        return []
    pod = trouble.title.removeprefix("Pod ")
    try:
        done = cluster.ask_kubectl(
            commands.logs(cluster.place, pod, trouble.container, previous=trouble.restarts > 0)
        )
    except PipelineError:
        return []  # Whoever may not read logs is told the rest.
    return done.stdout.splitlines()[-_LOG_LINES:]


class Health(enum.Enum):
    """What came of asking a pod."""

    GOOD = "good"
    BAD = "bad"
    UNASKED = "unasked"
    """This user may not."""
    UNREACHED = "unreached"
    """The cluster itself does not get to the pod."""


def running_pods(cluster: Cluster, selector: str) -> list[str]:
    """Return the names of the pods that a selector names, without those that are over."""
    return [_name(pod) for pod in cluster.get(("pods",), selector) if not _is_over(pod)]


def pod_health(cluster: Cluster, pod: str, path: str) -> tuple[Health, str]:
    """Ask a pod itself, through the cluster, and return how it is and what it says."""
    where = f"/api/v1/namespaces/{cluster.place.namespace}/pods/http:{pod}:8000/proxy{path}"
    done = cluster.try_kubectl(commands.raw(cluster.place, where))
    said = _line(done.stderr) or done.reason
    if not done.ok:
        if 'cannot get resource "pods/proxy"' in said:
            return Health.UNASKED, "this user may not (pods/proxy)"
        if "error trying to reach service" in said or "Unable to connect" in said:
            return Health.UNREACHED, said
        # What the pod itself answers is told by kubectl as if the cluster said it.
        return Health.BAD, said.removeprefix("Error from server ").removeprefix("error: ")
    try:
        status = str(mapping(json.loads(done.stdout)).get("status", ""))
    except ValueError:
        return Health.BAD, f"it answers {_line(done.stdout)[:80]!r}"
    good = status in ("pass", "warn")
    return (Health.GOOD if good else Health.BAD), status or "no status"
