"""A release as helm keeps it: its revisions, its values, its objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import commands
from pipeline.deploy.cluster import Cluster, busy
from pipeline.errors import ReleaseBusy, ReleaseMissing
from pipeline.kubernetes.objects import KubernetesObject, containers, mapping, read_objects
from pipeline.kubernetes.rules import COMPONENT, SERVICE

COLOURS = ("blue", "green")
COLOUR = "accelerapp/colour"
"""The label that the chart gives a colour's deployment and pods."""
_WELL = ("deployed", "superseded")


@dataclass(frozen=True, slots=True)
class Revision:
    """One line of a release's history."""

    number: int
    status: str
    """`deployed`, `superseded`, `failed`, `uninstalling`, `pending-upgrade` and so on."""
    chart: str
    """NAME-VERSION."""
    app_version: str
    updated: str
    description: str

    @property
    def is_pending(self) -> bool:
        return self.status.startswith("pending") or self.status == "uninstalling"

    @property
    def was_well(self) -> bool:
        return self.status in _WELL


@dataclass(frozen=True, slots=True)
class Release:
    """A release that is there. `revisions` is its history, oldest first."""

    name: str
    revisions: tuple[Revision, ...]

    @property
    def current(self) -> Revision:
        return self.revisions[-1]

    @property
    def last_well(self) -> Revision | None:
        """The newest revision that was deployed."""
        return next((one for one in reversed(self.revisions) if one.was_well), None)

    def before(self) -> Revision | None:
        """The revision to go back to: the newest that was well before the current one."""
        return next((one for one in reversed(self.revisions[:-1]) if one.was_well), None)


def find_release(cluster: Cluster) -> Release | None:
    """Return the release, None where the namespace has none of that name."""
    try:
        done = cluster.ask_helm(commands.history(cluster.place))
    except ReleaseMissing:
        return None
    revisions = tuple(
        Revision(
            int(entry["revision"]),
            str(entry.get("status", "")),
            str(entry.get("chart", "")),
            str(entry.get("app_version", "")),
            str(entry.get("updated", "")),
            str(entry.get("description", "")),
        )
        for entry in json.loads(done.stdout)
    )
    ordered = tuple(sorted(revisions, key=lambda one: one.number))
    return Release(cluster.place.release, ordered) if ordered else None


def need_release(cluster: Cluster) -> Release:
    """Return the release; raises `ReleaseMissing`."""
    found = find_release(cluster)
    if found is None:
        place = cluster.place
        raise ReleaseMissing(
            f"there is no release {place.release} in namespace {place.namespace}",
            hint="install it: invoke deploy; or name another with --release, --namespace",
        )
    return found


def need_rest(cluster: Cluster, release: Release) -> None:
    """Raise `ReleaseBusy` for a release that is pending, with the way out."""
    current = release.current
    if not current.is_pending:
        return
    what = f"{current.status} since {current.updated[:19]} (revision {current.number})"
    if release.last_well is None:
        raise ReleaseBusy(
            f"release {release.name} is {what}: another command is at it, or one was cut off",
            hint="wait for it; when nobody is at it: helm uninstall "
            f"{release.name} --namespace {cluster.place.namespace}",
        )
    raise busy(cluster.place, what)


def live_manifest(cluster: Cluster) -> str:
    """Return the objects of the current revision, as helm keeps them."""
    return cluster.ask_helm(commands.manifest(cluster.place)).stdout


def given_values(cluster: Cluster) -> Mapping[str, Any]:
    """Return the values that the current revision was given, nulls included."""
    done = cluster.ask_helm(commands.given_values(cluster.place))
    return mapping(json.loads(done.stdout))


@dataclass(frozen=True, slots=True)
class Colours:
    """Which colour has the traffic, and which image each runs: `REPOSITORY:TAG` or `…@DIGEST`."""

    active: str
    images: Mapping[str, str]

    @property
    def idle(self) -> str:
        return next(colour for colour in COLOURS if colour != self.active)


def colours_of(objects: Sequence[KubernetesObject]) -> Colours | None:
    """Return the colours of a release's objects, None where it has none."""
    images = {
        str(found.labels[COLOUR]): image_of(found)
        for found in objects
        if found.kind == "Deployment" and COLOUR in found.labels
    }
    service = service_of(objects)
    active = str(mapping(service.spec.get("selector")).get(COLOUR, "")) if service else ""
    return Colours(active, images) if active in COLOURS and set(images) == set(COLOURS) else None


def service_of(objects: Sequence[KubernetesObject]) -> KubernetesObject | None:
    """Return the Service that the traffic goes through."""
    return next(
        (o for o in objects if o.kind == "Service" and o.labels.get(COMPONENT) == SERVICE), None
    )


def image_of(workload: KubernetesObject) -> str:
    """Return the image of a workload's first container."""
    return next((str(one.get("image", "")) for _, one in containers(workload.pod)), "")


def deployments_of(objects: Sequence[KubernetesObject]) -> list[KubernetesObject]:
    return [found for found in objects if found.kind == "Deployment"]


def objects_of(text: str) -> tuple[KubernetesObject, ...]:
    """Return the objects in a manifest of helm's."""
    return read_objects(text, "the release's manifest")
