"""What a request does to the store: defaults, admission, ownership of fields, conflicts.

Every public function is one request that either happens as a whole or raises Refusal. A dry
run goes the same way, and returns the same object, but keeps nothing.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.standins.kubernetes import admission, defaults, ownership, patches, status
from tests.standins.kubernetes.ownership import Manager
from tests.standins.kubernetes.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    SERVICE_ACCOUNTS,
    Object,
    Resource,
)
from tests.standins.kubernetes.status import Cause
from tests.standins.kubernetes.store import Store

Validate = Callable[[Object], list[str]]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

CONTROLLER = Manager("kube-controller-manager")
_SAFE_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_LEVEL = "pod-security.kubernetes.io/"


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def letters(seed: str, count: int) -> str:
    """Return `count` letters that depend on `seed` alone, of those Kubernetes names with."""
    number = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    found = ""
    for _ in range(count):
        number, place = divmod(number, len(_SAFE_LETTERS))
        found += _SAFE_LETTERS[place]
    return found


class Api:
    def __init__(self, store: Store, validate: Validate | None = None) -> None:
        self.store = store
        self._validate = validate
        self._numbers = itertools.count(1)

    def create(
        self,
        resource: Resource,
        namespace: str,
        obj: Object,
        manager: Manager,
        *,
        dry_run: bool = False,
    ) -> Object:
        """Create what a client posts. Raises Refusal: 400, 403, 404, 409 or 422."""
        with self.store.changed:
            new = self._received(resource, namespace, "", obj)
            return self._insert(resource, namespace, new, manager, dry_run=dry_run)

    def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Object,
        manager: Manager,
        *,
        dry_run: bool = False,
    ) -> Object:
        """Put `obj` in the place of what is there, or only its status or its scale."""
        with self.store.changed:
            live = self.store.get(resource, namespace, name)
            if manager.subresource == "scale":
                new = _scaled(live, obj)
            else:
                new = self._received(resource, namespace, name, obj)
            self._fresh(resource, live, new)
            return self._update(resource, live, new, manager, dry_run=dry_run)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        manager: Manager,
        content_type: str,
        *,
        dry_run: bool = False,
    ) -> Object:
        with self.store.changed:
            live = self.store.get(resource, namespace, name)
            scaling = manager.subresource == "scale"
            before = scale_of(live) if scaling else live
            try:
                if content_type == JSON_PATCH:
                    new = patches.json_patch(before, patch)
                elif content_type == MERGE_PATCH:
                    new = patches.merge_patch(before, patch)
                elif content_type == STRATEGIC_PATCH:
                    new = patches.strategic_patch(resource.kind, before, patch)
                else:
                    accepted = ", ".join((JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY))
                    raise status.unsupported(content_type, accepted)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise status.bad_request(f"the patch does not fit: {error}") from None
            # Of the version only what the patch itself says may be stale.
            said = patch.get("metadata") or {} if isinstance(patch, dict) else {}
            self._fresh(resource, live, {"metadata": said})
            new = _scaled(live, new) if scaling else _without_nulls(new)
            return self._update(resource, live, new, manager, dry_run=dry_run)

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Object,
        manager: Manager,
        *,
        force: bool,
        dry_run: bool = False,
    ) -> tuple[Object, bool]:
        """Apply on the server's side; return the object, and whether it is a new one."""
        with self.store.changed:
            if obj.get("metadata", {}).get("managedFields"):
                raise status.bad_request("metadata.managedFields must be nil")
            applied = self._received(resource, namespace, name, obj)
            live = self.store.find(resource, namespace, name)
            base = live or {**_identity(resource), "metadata": {}}
            if live:
                self._fresh(resource, live, applied)
            try:
                new = ownership.apply(base, applied, manager, force=force, time=now())
            except KeyError as error:
                raise status.bad_request(f"associative list without key {error}") from None
            if live is None:
                return self._insert(resource, namespace, new, manager, dry_run=dry_run), True
            return self._update(resource, live, new, manager, dry_run=dry_run), False

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        orphan: bool = False,
        uid: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Delete an object and, at once, what it owns. Return it as it was."""
        with self.store.changed:
            live = self.store.get(resource, namespace, name)
            if uid and uid != live["metadata"]["uid"]:
                raise status.stale(resource, name)
            if dry_run:
                return live
            if live["metadata"].get("finalizers"):
                if not live["metadata"].get("deletionTimestamp"):
                    going = copy.deepcopy(live)
                    going["metadata"]["deletionTimestamp"] = now()
                    self.store.replace(resource, going)
                return live
            self._remove(resource, live, orphan=orphan)
            return live

    def keep(self, resource: Resource, obj: Object) -> Object:
        """Create what the cluster itself makes, which no admission looks at."""
        with self.store.changed:
            self._stamp(resource, obj["metadata"].get("namespace", ""), obj)
            self.store.insert(resource, obj)
            return obj

    def put_status(self, resource: Resource, live: Object, found: Object) -> None:
        """Write a status that a controller has found, if it is another than before."""
        if live.get("status") != found:
            self.store.replace(resource, {**_copied(live), "status": found})

    def number(self) -> int:
        """Return a number that nothing else has got."""
        return next(self._numbers)

    def warnings(self, resource: Resource, namespace: str, obj: Object) -> list[str]:
        """Return what a server warns of as it takes `obj`."""
        level = self._security_level(namespace, "warn") if resource.namespaced else ""
        if resource is PODS:
            spec = obj.get("spec") or {}
        elif resource.kind in ("Deployment", "ReplicaSet", "StatefulSet", "Job"):
            spec = obj["spec"].get("template", {}).get("spec", {})
        else:
            return []
        broken = admission.pod_security(level, spec)
        if not broken:
            return []
        return [f'would violate PodSecurity "{level}:latest": {", ".join(broken)}']

    def add_namespace(self, name: str) -> None:
        """Create a namespace, if there is none, with what controllers put into every one."""
        with self.store.changed:
            if not self.store.has_namespace(name):
                new = {**_identity(NAMESPACES), "metadata": {"name": name}}
                self.create(NAMESPACES, "", new, CONTROLLER)

    def _received(self, resource: Resource, namespace: str, name: str, obj: Object) -> Object:
        """Return a copy of what a client sent, with its place. Raises Refusal (400, 404)."""
        if not isinstance(obj, dict) or (obj.get("kind"), obj.get("apiVersion")) != (
            resource.kind,
            resource.group_version,
        ):
            sent = f"{obj.get('apiVersion')}, Kind={obj.get('kind')}" if obj else "nothing"
            expected = f"{resource.group_version}, Kind={resource.kind}"
            raise status.bad_request(f"the object provided is unrecognized: {sent} ({expected})")
        new: Object = _without_nulls(obj)
        metadata = new.setdefault("metadata", {})
        if resource.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on "
                    "the request"
                )
        else:
            metadata.pop("namespace", None)
        if name and metadata.setdefault("name", name) != name:
            raise status.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL "
                f"({name})"
            )
        return new

    def _insert(
        self, resource: Resource, namespace: str, new: Object, manager: Manager, *, dry_run: bool
    ) -> Object:
        metadata = new["metadata"]
        if resource.namespaced and not self.store.has_namespace(namespace):
            raise status.not_found(NAMESPACES, namespace)
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                cause = Cause("metadata.name", "Required value: name or generateName is required")
                raise status.invalid(resource, "", [cause])
            metadata["name"] = metadata["generateName"] + letters(str(next(self._numbers)), 5)
        name = metadata["name"]
        if self.store.find(resource, namespace, name):
            raise status.already_exists(resource, name)
        for field in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"):
            metadata.pop(field, None)
        if "status" in resource.parts or new.get("status") == {}:
            new.pop("status", None)
        if manager.operation == "Update":
            metadata.pop("managedFields", None)
        if resource is PODS:
            self._admit_pod(namespace, new)
        self._check(resource, new, None)
        if manager.operation == "Update":
            ownership.track(None, new, manager, time=now())
        # Nobody owns what the server allots.
        defaults.allot(new, None, self.number)
        self._stamp(resource, namespace, new)
        if not dry_run:
            self.store.insert(resource, new)
            if resource is NAMESPACES:
                self._furnish(name)
        return new

    def _update(
        self, resource: Resource, live: Object, new: Object, manager: Manager, *, dry_run: bool
    ) -> Object:
        kept = live["metadata"]
        for field in (
            *("uid", "creationTimestamp", "namespace", "name", "generation", "resourceVersion"),
            "deletionTimestamp",
        ):
            new["metadata"].pop(field, None)
            if field in kept:
                new["metadata"][field] = kept[field]
        if manager.subresource == "status":
            new = {**_copied(live), "status": new.get("status", {})}
        elif "status" in resource.parts:
            new.pop("status", None)
            if "status" in live:
                new["status"] = live["status"]
        self._check(resource, new, live)
        if resource.generations and new.get("spec") != live.get("spec"):
            new["metadata"]["generation"] = kept.get("generation", 1) + 1
        if manager.operation == "Update":
            ownership.track(live, new, manager, time=now())
        defaults.allot(new, live, self.number)
        if new == live or dry_run:
            return new
        if kept.get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            self._remove(resource, live, orphan=False)
            return new
        self.store.replace(resource, new)
        return new

    def _check(self, resource: Resource, new: Object, live: Object | None) -> None:
        for field in ("labels", "annotations"):
            if new["metadata"].get(field) == {}:
                del new["metadata"][field]
        try:
            defaults.fill(new)
            causes = admission.check(resource, new, live)
        except (AttributeError, KeyError, TypeError) as error:
            # A field of another type than its kind has, as a server finds in decoding.
            raise status.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: {error}"
            ) from error
        if self._validate is not None and not causes:
            plain = {name: value for name, value in new.items() if name != "status"}
            plain["metadata"] = {
                name: value for name, value in new["metadata"].items() if name != "managedFields"
            }
            causes = [_told(message) for message in self._validate(plain)]
        if causes:
            raise status.invalid(resource, new["metadata"]["name"], causes)

    def _stamp(self, resource: Resource, namespace: str, new: Object) -> None:
        metadata = new["metadata"]
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, str(next(self._numbers))))
        metadata["creationTimestamp"] = now()
        if resource.generations:
            metadata["generation"] = 1

    def _fresh(self, resource: Resource, live: Object, new: Object) -> None:
        for field in ("resourceVersion", "uid"):
            said = new["metadata"].get(field)
            if said and said != live["metadata"][field]:
                raise status.stale(resource, live["metadata"]["name"])

    def _admit_pod(self, namespace: str, pod: Object) -> None:
        spec = pod.setdefault("spec", {})
        account = spec.setdefault("serviceAccountName", "default")
        name = pod["metadata"]["name"]
        if self.store.find(SERVICE_ACCOUNTS, namespace, account) is None:
            why = (
                f"error looking up service account {namespace}/{account}: serviceaccount "
                f'"{account}" not found'
            )
            raise status.forbidden(PODS, name, why)
        level = self._security_level(namespace, "enforce")
        broken = admission.pod_security(level, spec)
        if broken:
            why = f'violates PodSecurity "{level}:latest": {", ".join(broken)}'
            raise status.forbidden(PODS, name, why)

    def _security_level(self, namespace: str, mode: str) -> str:
        found = self.store.find(NAMESPACES, "", namespace) or {"metadata": {}}
        labels: dict[str, str] = found["metadata"].get("labels") or {}
        return labels.get(_LEVEL + mode, "privileged")

    def _remove(self, resource: Resource, live: Object, *, orphan: bool) -> None:
        self.store.remove(resource, live)
        name, uid = live["metadata"]["name"], live["metadata"]["uid"]
        namespace = live["metadata"].get("namespace", "")
        for other in self.store.resources():
            if resource is NAMESPACES and other.namespaced:
                for inner in self.store.held(other, name):
                    self.store.remove(other, inner)
                continue
            for dependent in self.store.held(other, namespace):
                owners = dependent["metadata"].get("ownerReferences") or []
                if not any(owner.get("uid") == uid for owner in owners):
                    continue
                if orphan:
                    freed = _copied(dependent)
                    left = [owner for owner in owners if owner.get("uid") != uid]
                    freed["metadata"]["ownerReferences"] = left
                    self.store.replace(other, freed)
                elif self.store.find(other, namespace, dependent["metadata"]["name"]):
                    self._remove(other, dependent, orphan=False)

    def _furnish(self, namespace: str) -> None:
        place = {"namespace": namespace}
        account = {**_identity(SERVICE_ACCOUNTS), "metadata": {"name": "default", **place}}
        self.keep(SERVICE_ACCOUNTS, account)
        roots = {**_identity(CONFIG_MAPS), "metadata": {"name": "kube-root-ca.crt", **place}}
        self.keep(CONFIG_MAPS, roots | {"data": {"ca.crt": ""}})


def scale_of(obj: Object) -> Object:
    """Return the `scale` subresource of a workload."""
    metadata = obj["metadata"]
    selector = obj["spec"].get("selector", {}).get("matchLabels") or {}
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in names},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in selector.items()),
        },
    }


def _told(message: str) -> Cause:
    """Return what a validator says as a cause: "spec.replicas: must be an integer"."""
    field, colon, rest = message.partition(": ")
    if colon and " " not in field:
        return Cause(field, rest)
    # kubectl shows causes, and no message that has none.
    return Cause("(root)", message)


def _scaled(live: Object, scale: Object) -> Object:
    new = copy.deepcopy(live)
    new["spec"]["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
    said = (scale.get("metadata") or {}).get("resourceVersion")
    if said:
        new["metadata"]["resourceVersion"] = said
    return new


def _identity(resource: Resource) -> Object:
    return {"apiVersion": resource.group_version, "kind": resource.kind}


def _copied(obj: Object) -> Object:
    """Return a copy whose metadata can be written to."""
    return {**obj, "metadata": dict(obj["metadata"])}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
