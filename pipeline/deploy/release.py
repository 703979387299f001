"""A release as helm keeps it, and its colours as the cluster has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import commands
from pipeline.deploy.cluster import Cluster, busy, document
from pipeline.deploy.target import Target
from pipeline.errors import HelmFailed, ReleaseBusy, ReleaseMissing
from pipeline.kubernetes.objects import KubernetesObject, containers, mapping, read_objects
from pipeline.kubernetes.rules import COMPONENT, SERVICE

COLOURS = ("blue", "green")
COLOUR = "accelerapp/colour"
"""The label that the chart gives a colour's deployment and pods."""
_UNINSTALLING = "uninstalling"


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
        return self.status.startswith("pending") or self.status == _UNINSTALLING

    @property
    def was_applied(self) -> bool:
        """Whether all of it came to the cluster; helm calls what failed superseded, too."""
        applied = self.status in ("deployed", "superseded")
        return applied and "failed" not in self.description.lower()

    @property
    def origin(self) -> int | None:
        """The revision that this one brought back, None where it is one of its own."""
        found = re.fullmatch(r"Rollback to (\d+)", self.description.strip())
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Release:
    """A release that is there. `revisions` is its history, oldest first."""

    name: str
    revisions: tuple[Revision, ...]

    @property
    def current(self) -> Revision:
        return self.revisions[-1]

    @property
    def applied(self) -> Revision | None:
        """What the cluster has, when the newest revision is not it: the one that is deployed."""
        deployed = (one for one in reversed(self.revisions) if one.status == "deployed")
        good = (one for one in reversed(self.revisions) if one.was_applied)
        return next(deployed, None) or next(good, None)

    def before(self) -> Iterator[Revision]:
        """Yield what there is to go back to, newest first.

        Neither what failed, nor what was gone back from, nor a rollback, which is another
        revision again.  Of one that is pending or has failed, what was there is the first.
        """
        known = {one.number: one for one in self.revisions}
        current = self.current
        while current.origin is not None and current.origin in known:
            current = known[current.origin]
        left = {
            number
            for one in self.revisions
            if one.origin is not None
            for number in range(one.origin + 1, one.number + 1)
        }
        for one in reversed(self.revisions):
            if one.number < current.number and one.was_applied and one.number not in left:
                yield one


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
        for entry in document(done)
    )
    ordered = tuple(sorted(revisions, key=lambda one: one.number))
    # `helm uninstall --keep-history` leaves the record of a release that is gone.
    gone = not ordered or ordered[-1].status == "uninstalled"
    return None if gone else Release(cluster.place.release, ordered)


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


def need_rest(cluster: Cluster, release: Release, *, to_go_back: bool = False) -> None:
    """Raise `ReleaseBusy` for a release that is pending, with the way out.

    `to_go_back`, one that can be brought back is at rest enough.
    """
    current = release.current
    if not current.is_pending:
        return
    what = f"{current.status} since {current.updated[:19]} (revision {current.number})"
    if current.status == _UNINSTALLING or release.applied is None:
        raise ReleaseBusy(
            f"release {release.name} is {what}: another command is at it, or one was cut off",
            hint="wait for it; when nobody is at it: helm uninstall "
            f"{release.name} --namespace {cluster.place.namespace}",
        )
    if not to_go_back:
        raise busy(cluster.place, what)


def need_deployed(cluster: Cluster, before: int | None) -> int:
    """Return the number of the revision that a change made; raises `HelmFailed` for a change that
    helm's record does not have, whatever helm said."""
    current = need_release(cluster).current
    if current.status != "deployed" or (before is not None and current.number <= before):
        raise HelmFailed(
            f"helm's record says {current.status}, revision {current.number}: "
            f"{current.description or 'nothing'}",
            hint="may this user update secrets? helm keeps its record in them",
        )
    return current.number


def manifest_of(cluster: Cluster, revision: int | None = None) -> tuple[KubernetesObject, ...]:
    """Return the objects of a revision, by default the newest, as helm keeps them."""
    text = cluster.ask_helm(commands.manifest(cluster.place, revision)).stdout
    return objects_of(text)


def given_values(cluster: Cluster) -> Mapping[str, Any]:
    """Return the values that the current revision was given, nulls included."""
    done = cluster.ask_helm(commands.given_values(cluster.place))
    return mapping(document(done))


@dataclass(frozen=True, slots=True)
class Colours:
    """Which colour has the traffic, and which image each runs: `REPOSITORY:TAG` or `…@DIGEST`."""

    active: str
    images: Mapping[str, str]

    @property
    def idle(self) -> str:
        return other_colour(self.active)


def other_colour(colour: str) -> str:
    return next(one for one in COLOURS if one != colour)


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


def live_colours(cluster: Cluster, target: Target) -> Colours | None:
    """Return the colours as the cluster has them, whatever helm's record says."""
    found = cluster.get(("deployments", "services"), target.selector)
    return colours_of([KubernetesObject(one, "cluster") for one in found])


def service_of(objects: Sequence[KubernetesObject]) -> KubernetesObject | None:
    """Return the Service that the traffic goes through."""
    return next(
        (o for o in objects if o.kind == "Service" and o.labels.get(COMPONENT) == SERVICE), None
    )


def image_of(workload: KubernetesObject) -> str:
    """Return the image of a workload's first container."""
    return next((str(one.get("image", "")) for _, one in containers(workload.pod)), "")


def service_image(objects: Sequence[KubernetesObject]) -> str:
    """Return the image that gets the traffic."""
    if colours := colours_of(objects):
        return colours.images[colours.active]
    own = (one for one in deployments_of(objects) if one.labels.get(COMPONENT) == SERVICE)
    return next((image_of(one) for one in own), "")


def deployments_of(objects: Sequence[KubernetesObject]) -> list[KubernetesObject]:
    return [found for found in objects if found.kind == "Deployment"]


def objects_of(text: str) -> tuple[KubernetesObject, ...]:
    """Return the objects in a manifest of helm's."""
    return read_objects(text, "the release's manifest")
