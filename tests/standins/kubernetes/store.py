"""What the cluster holds, and the history of it that a watch reads.

An object in the store is never changed in place: a writer copies, changes and puts back. So
readers need no copies, and the history costs nothing but references.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from tests.standins.kubernetes.resources import NAMESPACES, Object, Resource
from tests.standins.kubernetes.status import already_exists, expired, not_found

_HISTORY = 5000


@dataclass(frozen=True)
class Change:
    """One step of the history: `before` is None for what is new, `after` for what is gone."""

    version: int
    resource: Resource
    before: Object | None
    after: Object | None


class Store:
    """All objects by resource, namespace and name. Hold `changed` for more than one step."""

    def __init__(self) -> None:
        # Re-entrant, as the API holds it over a whole request and calls what locks again.
        self.changed = threading.Condition(threading.RLock())
        self.version = 1
        self.news = 0  # grows with every change, and with every `touch`
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._history: deque[Change] = deque(maxlen=_HISTORY)

    def touch(self) -> None:
        """Wake up whoever waits for a change, as something outside the store has changed."""
        with self.changed:
            self.news += 1
            self.changed.notify_all()

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        with self.changed:
            return self._objects.get(resource, {}).get((namespace, name))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.find(resource, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def held(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Return the objects of one namespace, or of all, by namespace and name."""
        with self.changed:
            held = self._objects.get(resource, {})
            return [held[key] for key in sorted(held) if namespace in ("", key[0])]

    def resources(self) -> list[Resource]:
        with self.changed:
            return list(self._objects)

    def has_namespace(self, name: str) -> bool:
        return self.find(NAMESPACES, "", name) is not None

    def insert(self, resource: Resource, obj: Object) -> None:
        with self.changed:
            key = _key(obj)
            held = self._objects.setdefault(resource, {})
            if key in held:
                raise already_exists(resource, key[1])
            held[key] = obj
            self._record(resource, None, obj)

    def replace(self, resource: Resource, obj: Object) -> None:
        with self.changed:
            key = _key(obj)
            before = self.get(resource, *key)
            self._objects[resource][key] = obj
            self._record(resource, before, obj)

    def remove(self, resource: Resource, obj: Object) -> None:
        with self.changed:
            before = self._objects[resource].pop(_key(obj))
            self._record(resource, before, None)

    def since(self, version: int) -> list[Change]:
        """Return what changed after a version. Raises Refusal (410) when it is too long ago."""
        with self.changed:
            if self._history and version < self._history[0].version - 1:
                raise expired()
            return [change for change in self._history if change.version > version]

    def _record(self, resource: Resource, before: Object | None, after: Object | None) -> None:
        self.version += 1
        self.news += 1
        if after is not None:
            after["metadata"]["resourceVersion"] = str(self.version)
        self._history.append(Change(self.version, resource, before, after))
        self.changed.notify_all()


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
