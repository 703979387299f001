"""A running stand-in, and the knobs that a test turns."""

from __future__ import annotations

import copy
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.standins.kubernetes import faults, resources
from tests.standins.kubernetes.api import CONTROLLER, Api, Validate
from tests.standins.kubernetes.controllers import Controllers
from tests.standins.kubernetes.faults import Fault
from tests.standins.kubernetes.resources import NODES, Object, Resource
from tests.standins.kubernetes.selectors import label_selector
from tests.standins.kubernetes.server import Answer, Denial, Request, Server, State
from tests.standins.kubernetes.store import Store

_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_USER = "token"
_MAX_STEPS = 2000
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")
_RELEASE = "sh.helm.release.v1."


class Cluster:
    """See `running_cluster`. Every method may be called while clients are at work."""

    def __init__(self, state: State, controllers: Controllers, server: Server) -> None:
        self._state = state
        self._store = state.api.store
        self._controllers = controllers
        self._server = server
        self._idle_at = -1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def write_kubeconfig(
        self,
        path: Path,
        *,
        namespace: str = "default",
        token: str | None = None,
        context: str = "stand-in",
    ) -> Path:
        """Write a kubeconfig file for this cluster, and return its path.

        Over plain HTTP clients keep a user's token to themselves. So it stands in the address,
        too, from where they send it as a password.
        """
        address = self.url if token is None else self.url.replace("://", f"://{_USER}:{token}@")
        cluster = {"server": address}
        user = {"token": token} if token is not None else {}
        named = {"cluster": context, "user": context, "namespace": namespace}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": context, "user": user}],
            "contexts": [{"name": context, "context": named}],
            "current-context": context,
        }
        path.write_text(json.dumps(document, indent=2))
        path.chmod(0o600)
        return path

    # What clients did

    @property
    def requests(self) -> list[Request]:
        """Return every request so far, in the order of the answers."""
        return list(self._state.requests)

    def changes(self) -> list[str]:
        """Return what clients changed, as "PATCH deployments/web", Helm's own records aside.

        A dry run, a question (`auth can-i`) and what was refused have changed nothing; events
        count as nothing, either.
        """
        return [change for change in self.all_changes() if f"/{_RELEASE}" not in change]

    def all_changes(self) -> list[str]:
        """Return the same, with Helm's records of its releases."""
        questions = (resources.ACCESS_REVIEWS.plural, resources.RULES_REVIEWS.plural)
        return [
            str(request)
            for request in self.requests
            if request.method in _CHANGES
            and request.status < 400
            and not request.dry_run
            and request.resource not in (*questions, resources.EVENTS.plural, "")
            and not request.name.endswith("/proxy")
        ]

    def forget(self) -> None:
        """Begin the record anew."""
        self._state.requests.clear()

    # What is there

    def find(self, plural: str, name: str, namespace: str = "default") -> Object | None:
        """Return a copy of an object, or None: `find("deployments", "web")`."""
        resource = self._resource(plural)
        found = self._store.find(resource, namespace if resource.namespaced else "", name)
        return copy.deepcopy(found)

    def objects(self, plural: str, namespace: str = "default", selector: str = "") -> list[Object]:
        """Return copies of a namespace's objects (`namespace=""`: of all)."""
        resource = self._resource(plural)
        picks = label_selector(selector)
        found = self._store.held(resource, namespace if resource.namespaced else "")
        return [copy.deepcopy(obj) for obj in found if picks(obj)]

    def put(self, obj: Object) -> Object:
        """Create or replace an object, past the record and the denials, not past admission."""
        for resource in self._state.served:
            if (resource.group_version, resource.kind) == (obj["apiVersion"], obj["kind"]):
                namespace = obj["metadata"].get("namespace", "default")
                place = (resource, namespace if resource.namespaced else "")
                name = obj["metadata"]["name"]
                api = self._state.api
                if self._store.find(*place, name):
                    return copy.deepcopy(api.replace(*place, name, obj, CONTROLLER))
                return copy.deepcopy(api.create(*place, obj, CONTROLLER))
        raise KeyError(f"{obj['apiVersion']} {obj['kind']} is not served")

    def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        self.put(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": dict(labels or {})},
            }
        )

    def wait_for(self, what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
        """Return what `what()` returns once that is true. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while not (found := what()):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout_s:g} s")
            time.sleep(0.01)
        return found

    def settle(self, timeout_s: float = 10.0) -> None:
        """Wait until the controllers have nothing to do before somebody changes something.

        A rollout that cannot get on never settles while its deadline is to come: use `wait_for`.
        """
        self.wait_for(lambda: self._idle_at == self._store.news, timeout_s)

    # What goes wrong

    def break_image(
        self,
        match: str,
        *,
        reason: str = "ImagePullBackOff",
        message: str = "",
        exit_code: int = 1,
        ended: str = "Error",
        restarts: int = 4,
    ) -> None:
        """Let containers whose image contains `match` wait for `reason`.

        A pod that runs is left alone, but with CrashLoopBackOff, which also reports how the
        container ended before: `exit_code`, `ended` (Error, OOMKilled) and `restarts`.
        """
        told = {
            "ImagePullBackOff": f'Back-off pulling image "{match}"',
            faults.CRASHING: "back-off 5m0s restarting failed container",
        }
        message = message or told.get(reason, reason)
        self._fault(Fault(match, reason, message, exit_code, ended, restarts))

    def break_readiness(
        self,
        match: str,
        message: str = "Readiness probe failed: HTTP probe failed with statuscode: 503",
    ) -> None:
        """Let containers whose image contains `match` run without ever being ready."""
        self._fault(Fault(match, faults.UNREADY, message))

    def unschedulable(
        self,
        match: str,
        message: str = "0/1 nodes are available: 1 Insufficient cpu.",
    ) -> None:
        """Leave new pods with such an image without a node."""
        self._fault(Fault(match, faults.UNSCHEDULABLE, message))

    def heal(self, match: str | None = None) -> None:
        """Take back the faults of one `match`, or all."""
        with self._store.changed:
            kept = [
                fault
                for fault in self._controllers.world.faults
                if match not in (None, fault.match)
            ]
            self._controllers.world.faults = kept
            self._store.touch()

    def _fault(self, fault: Fault) -> None:
        with self._store.changed:
            self._controllers.world.faults.append(fault)
            self._store.touch()

    def deny(self, verb: str, resource: str, name: str | None = None) -> None:
        """Forbid the user something: `deny("create", "deployments")`, `deny("*", "secrets")`.

        A resource may have its group ("deployments.apps") and its part ("pods/proxy").
        """
        self._state.denials.append(Denial(verb, resource, name or ""))

    def allow(self, verb: str, resource: str, name: str | None = None) -> None:
        """Take back a `deny` of the same words."""
        self._state.denials.remove(Denial(verb, resource, name or ""))

    def require_token(self, token: str | None) -> None:
        """Answer 401 to whoever has not this token; None lets everybody in."""
        self._state.token = token

    @property
    def unavailable(self) -> bool:
        return self._state.unavailable

    @unavailable.setter
    def unavailable(self, value: bool) -> None:
        """Answer 503 to everything."""
        self._state.unavailable = value

    # What pods answer

    @property
    def answer(self) -> Answer:
        return self._state.answer

    @answer.setter
    def answer(self, answer: Answer) -> None:
        """Say what a proxied pod answers to a path: status and body (JSON, text or bytes)."""
        self._state.answer = answer

    def answer_for(self, answer: Answer, *, selector: str = "", name: str = "") -> None:
        """Say it for the pods of a label selector, or with `name` in their names; last wins."""
        picks = label_selector(selector)
        self._state.overrides.append(
            (lambda pod: name in pod["metadata"]["name"] and picks(pod), answer)
        )

    @property
    def log(self) -> Callable[[str], str]:
        return self._state.log

    @log.setter
    def log(self, log: Callable[[str], str]) -> None:
        """Say what `kubectl logs` shows of a pod, by its name."""
        self._state.log = log

    def _resource(self, plural: str) -> Resource:
        for resource in self._state.served:
            if plural in (resource.plural, resource.qualified):
                return resource
        raise KeyError(f"{plural} are not served")

    def _control(self) -> None:
        """Step the controllers until the server stops; after a failure they stand still."""
        store, stopping = self._store, self._state.stopping
        steps = 0
        try:
            while not stopping.is_set():
                with store.changed:
                    before = store.news
                    due_s = self._controllers.step(time.monotonic())
                    steps += 1
                    if steps > _MAX_STEPS:
                        raise RuntimeError(f"the controllers do not settle in {steps} steps")
                    if store.news != before:
                        continue
                    steps = 0
                    self._idle_at = before if due_s is None else -1
                    store.changed.wait(timeout=due_s)
        except Exception:
            self._state.errors.append(traceback.format_exc())


@contextmanager
def running_cluster(
    *,
    version: str = "v1.36.0",
    gateway: bool = True,
    monitoring: bool = True,
    delay_s: float = 0.2,
    validate: Validate | None = None,
    user: str = "tester",
) -> Iterator[Cluster]:
    """Yield an empty cluster on a free port of 127.0.0.1, which is gone afterwards.

    `delay_s` is how long a container takes to start; `validate` returns what is wrong with an
    object that a client wants to keep (422). Raises AssertionError at the end when the
    stand-in itself has failed.
    """
    store = Store()
    api = Api(store, validate)
    controllers = Controllers(api, delay_s)
    state = State(
        api=api,
        served=resources.served(gateway=gateway, monitoring=monitoring),
        git_version=version,
        user=user,
        answer=lambda path: (200, {"status": "pass"}),
        log=lambda name: f"{name} has written nothing\n",
    )
    for name in _NAMESPACES:
        api.add_namespace(name)
    api.keep(NODES, _node())
    server = Server(state)
    cluster = Cluster(state, controllers, server)
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True),
        threading.Thread(target=cluster._control, daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield cluster
    except Exception as error:
        for failure in state.errors:
            error.add_note(f"the stand-in has failed, too:\n{failure}")
        raise
    finally:
        state.stopping.set()
        store.touch()
        server.shutdown()
        server.close_connections()
        server.server_close()
        for thread in threads:
            thread.join(timeout=5)
    assert not state.errors, "the stand-in has failed:\n" + "\n".join(state.errors)


def _node() -> Object:
    room = {"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "node-1",
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": "node-1",
                "kubernetes.io/os": "linux",
            },
        },
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}],
            "allocatable": room,
            "capacity": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux"},
        },
    }
