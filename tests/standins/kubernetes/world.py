"""What every controller has to hand: the store, the moment, who is ready, and events."""

from __future__ import annotations

from collections.abc import Callable

from tests.standins.kubernetes.api import Api, letters, now
from tests.standins.kubernetes.faults import Fault
from tests.standins.kubernetes.resources import EVENTS, Object, Resource


class World:
    """One round of the controllers begins with `begin`, and `due_s` tells when the next is."""

    def __init__(self, api: Api, delay_s: float) -> None:
        self.api = api
        self.store = api.store
        self.delay_s = delay_s
        self.faults: list[Fault] = []
        self.ready: dict[str, float] = {}  # by a pod's uid: since when
        self.now = 0.0
        self._due: list[float] = []
        self._told: set[tuple[str, str, str]] = set()

    def begin(self, moment: float) -> None:
        self.now = moment
        self._due = []

    def later(self, moment: float) -> bool:
        """Say whether a moment is still to come, and if so come back then."""
        if moment > self.now:
            self._due.append(moment)
            return True
        return False

    def due_s(self) -> float | None:
        """Return in how many seconds there is more to do; None: when something changes."""
        return max(0.0, min(self._due) - self.now) if self._due else None

    def is_ready(self, pod: Object) -> bool:
        return pod["metadata"]["uid"] in self.ready

    def each(self, resource: Resource, work: Callable[[Object], None]) -> None:
        """Do something with each object of a kind, as it is when its turn comes."""
        for obj in self.store.held(resource):
            metadata = obj["metadata"]
            live = self.store.find(resource, metadata["namespace"], metadata["name"])
            if live is not None:
                work(live)

    def owned(self, resource: Resource, owner: Object) -> list[Object]:
        metadata = owner["metadata"]
        return [
            obj
            for obj in self.store.held(resource, metadata["namespace"])
            if any(
                reference["uid"] == metadata["uid"]
                for reference in obj["metadata"].get("ownerReferences") or []
            )
        ]

    def tell(self, obj: Object, reason: str, message: str, component: str) -> None:
        metadata = obj["metadata"]
        told = (metadata["uid"], reason, message)
        if told in self._told:
            return
        self._told.add(told)
        self.api.keep(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{metadata['name']}.{letters(repr(told), 16)}",
                    "namespace": metadata["namespace"],
                },
                "involvedObject": {
                    "apiVersion": obj["apiVersion"],
                    "kind": obj["kind"],
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
                "reason": reason,
                "message": message,
                "type": "Warning",
                "count": 1,
                "firstTimestamp": now(),
                "lastTimestamp": now(),
                "source": {"component": component},
                "reportingComponent": component,
                "reportingInstance": "",
            },
        )
