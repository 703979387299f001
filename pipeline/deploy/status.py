"""`invoke deploy.status`: a release as the cluster has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.deploy.cluster import Cluster
from pipeline.deploy.release import COLOUR, Revision, need_release
from pipeline.deploy.rollout import State, states
from pipeline.deploy.target import Target
from pipeline.kubernetes.objects import KubernetesObject, mapping
from pipeline.kubernetes.rules import COMPONENT, SERVICE
from pipeline.process import Runner, run


@dataclass(frozen=True, slots=True)
class Status:
    """A release as it is now."""

    target: Target
    revision: Revision
    active: str
    """The colour that has the traffic; empty where there are none."""
    states: tuple[State, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the status for programs."""
        return {
            "release": self.target.release,
            "namespace": self.target.namespace,
            "revision": self.revision.number,
            "status": self.revision.status,
            "chart": self.revision.chart,
            "app_version": self.revision.app_version,
            "updated": self.revision.updated,
            "traffic": self.active or None,
            "deployments": [state_json(state) for state in self.states],
        }


def status(target: Target, *, runner: Runner = run) -> Status:
    """Return what is there, ready or not; raises `ReleaseMissing` and what a cluster says."""
    cluster = Cluster.open(target.place, runner)
    release = need_release(cluster)
    return Status(
        target,
        release.current,
        traffic(cluster, target),
        tuple(states(cluster, target.selector)),
    )


def traffic(cluster: Cluster, target: Target) -> str:
    """Return the colour that the Service selects in the cluster, whatever helm remembers."""
    found = cluster.get(("services",), f"{target.selector},{COMPONENT}={SERVICE}")
    service = next((KubernetesObject(one, "cluster") for one in found), None)
    return str(mapping(service.spec.get("selector")).get(COLOUR, "")) if service else ""


def state_json(state: State) -> dict[str, Any]:
    """Return a Deployment's state for programs."""
    return {
        "deployment": state.name,
        "component": state.labels.get(COMPONENT),
        "colour": state.labels.get(COLOUR),
        "image": state.image,
        "wanted": state.wanted,
        "ready": state.ready,
        "is_ready": state.is_ready,
        "troubles": [str(trouble) for trouble in state.troubles],
    }
