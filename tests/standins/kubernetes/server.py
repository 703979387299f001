"""The HTTP side: routes, who may do what, watches, proxies, and the record of requests."""

from __future__ import annotations

import base64
import json
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.standins.kubernetes import protobuf, resources, status
from tests.standins.kubernetes.api import APPLY, Api, scale_of
from tests.standins.kubernetes.ownership import Manager
from tests.standins.kubernetes.resources import (
    ACCESS_REVIEWS,
    ENDPOINTS,
    NAMESPACES,
    PODS,
    RULES_REVIEWS,
    SERVICES,
    Object,
    Resource,
)
from tests.standins.kubernetes.selectors import Picks, field_selector, label_selector
from tests.standins.kubernetes.status import Refusal
from tests.standins.kubernetes.store import Change

Answer = Callable[[str], tuple[int, Any]]

_WATCH_S = 300.0
_POLL_S = 0.5
_MAX_BODY_BYTES = 8 * 1024 * 1024
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Request(NamedTuple):
    """One request as the record keeps it; `path` has no query, `status` is the answer's."""

    method: str
    path: str
    dry_run: bool
    status: int
    resource: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.resource}/{self.name}"


@dataclass(frozen=True)
class Denial:
    """What the user may not do; `name` empty: with none of them, "*": anything."""

    verb: str
    resource: str
    name: str = ""

    def covers(self, access: Access) -> bool:
        plural = f"{access.plural}/{access.part}" if access.part else access.plural
        qualified = f"{plural}.{access.group}" if access.group else plural
        return (
            self.verb in ("*", access.verb)
            and self.resource in ("*", plural, qualified)
            and self.name in ("", access.name)
        )


@dataclass(frozen=True)
class Access:
    """One thing that somebody wants to do."""

    verb: str
    group: str
    plural: str
    part: str = ""
    namespace: str = ""
    name: str = ""

    def refusal(self, user: str, resource: Resource) -> Refusal:
        plural = f"{self.plural}/{self.part}" if self.part else self.plural
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        why = (
            f'User "{user}" cannot {self.verb} resource "{plural}" in API group "{self.group}" '
            f"{where}"
        )
        return status.forbidden(resource, self.name, why)


@dataclass
class State:
    """What the handlers of one cluster share; `Cluster` turns the knobs in it."""

    api: Api
    served: tuple[Resource, ...]
    git_version: str
    user: str
    answer: Answer
    log: Callable[[str], str]
    overrides: list[tuple[Callable[[Object], bool], Answer]] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    token: str | None = None
    unavailable: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    def allows(self, access: Access) -> bool:
        return not any(denial.covers(access) for denial in list(self.denials))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # helm and kubectl ask for much at once, and leave their connections open.
    request_queue_size = 64

    def __init__(self, state: State) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nobody's error; what else fails is in `State.errors`."""

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


@dataclass(frozen=True)
class _Route:
    """Where a request goes: `name` empty for a whole collection."""

    resource: Resource
    namespace: str
    name: str = ""
    part: str = ""
    rest: str = ""


def _route(served: tuple[Resource, ...], path: str) -> _Route | None:
    parts = path.split("/")[1:]
    if parts[:2] == ["api", "v1"] and len(parts) > 2:
        group_version, parts = "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group_version, parts = "/".join(parts[1:3]), parts[3:]
    else:
        return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = unquote(parts[1]), parts[2:]
    for resource in served:
        if resource.group_version == group_version and resource.plural == parts[0]:
            name, part = (unquote(text) for text in ([*parts[1:3], "", ""])[:2])
            if part and part not in resource.parts:
                return None
            if resource.namespaced and name and not namespace:
                return None
            return _Route(resource, namespace, name, part, "/".join(parts[3:]))
    return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests read `State.requests`."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self._path = url.path
        self._query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self._said_name = ""
        self._dry_run = self._query.get("dryRun") == "All"
        self._target = None
        try:
            self._target = _route(self.server.state.served, url.path)
            self._body = self._read_body()
            self._dispatch()
        except Refusal as refusal:
            self._json(refusal.code, refusal.document)
        except OSError:
            # The client is gone, in the middle of a watch as a rule.
            self.close_connection = True
        except Exception:
            self.server.state.errors.append(f"{self.command} {self.path}\n{traceback.format_exc()}")
            failure = Refusal(500, "InternalError", "the stand-in has failed; see its errors")
            self._json(500, failure.document)

    def _read_body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or "0")
        if length > _MAX_BODY_BYTES:
            raise Refusal(413, "RequestEntityTooLarge", "the request is too large")
        return self.rfile.read(length)

    def _token(self) -> str:
        """Return a client's bearer token, or the password that stands for it."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return value
        return base64.b64decode(value).decode(errors="replace").partition(":")[2]

    def _dispatch(self) -> None:
        state = self.server.state
        if state.unavailable:
            message = "the server is currently unable to handle the request"
            raise status.unavailable(message)
        if state.token not in (None, self._token()):
            raise status.unauthorized()
        target = self._target
        if target is None:
            self._about_itself()
        elif target.resource.posted_only:
            self._review(target.resource)
        elif target.part == "proxy":
            self._authorize("get" if self.command == "GET" else "create")
            self._proxy(target)
        elif target.part == "log":
            self._authorize("get")
            state.api.store.get(PODS, target.namespace, target.name)
            self._text(200, state.log(target.name))
        elif self.command == "GET":
            self._read(target)
        elif self.command == "POST":
            self._create(target)
        elif self.command == "DELETE":
            self._delete(target)
        elif target.name:
            self._change(target)
        else:
            raise status.not_allowed()

    # Discovery

    def _about_itself(self) -> None:
        path = self._path.rstrip("/")
        if self.command != "GET":
            raise status.not_allowed()
        if path in ("/healthz", "/livez", "/readyz"):
            self._text(200, "ok")
        elif path == "/openapi/v2":
            # The protobuf of `{"swagger": "2.0"}`: clients ask for nothing else.
            kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            self._send(200, b"\x0a\x032.0", kind)
        else:
            found = self._document(path)
            if found is None:
                self._text(404, "404 page not found\n")
            else:
                self._json(200, found)

    def _document(self, path: str) -> Object | None:
        state = self.server.state
        match path.split("/")[1:]:
            case ["version"]:
                major, minor = state.git_version.removeprefix("v").split(".")[:2]
                return {"major": major, "minor": minor, "gitVersion": state.git_version} | {
                    "platform": "linux/amd64"
                }
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                return resources.api_groups(state.served)
            case ["api", "v1"]:
                return resources.api_resources(state.served, "v1")
            case ["apis", group, version]:
                return resources.api_resources(state.served, f"{group}/{version}")
            case ["openapi", "v3"]:
                return resources.openapi_index(state.served)
            case ["openapi", "v3", *root]:
                return resources.openapi_document(state.served, "/".join(root))
        return None

    # Who may do what

    def _access(self, verb: str, name: str = "") -> Access:
        assert self._target is not None
        resource = self._target.resource
        namespace = self._target.namespace
        if resource is NAMESPACES:
            namespace = self._target.name
        name = name or self._target.name
        return Access(verb, resource.group, resource.plural, self._target.part, namespace, name)

    def _authorize(self, verb: str) -> None:
        access = self._access(verb)
        if not self.server.state.allows(access):
            assert self._target is not None
            raise access.refusal(self.server.state.user, self._target.resource)

    def _review(self, resource: Resource) -> None:
        if self.command != "POST":
            raise status.not_allowed()
        review = self._json_body()
        spec = review.get("spec") or {}
        if resource is ACCESS_REVIEWS:
            asked = spec.get("resourceAttributes") or {}
            names = ("verb", "group", "resource", "subresource", "namespace", "name")
            allowed = self.server.state.allows(Access(*(asked.get(name, "") for name in names)))
            found: Object = {"allowed": allowed}
        else:
            assert resource is RULES_REVIEWS
            found = {"resourceRules": self._rules(), "nonResourceRules": [], "incomplete": False}
        self._json(201, {**review, "status": found})

    def _rules(self) -> list[Object]:
        rules = []
        for resource in self.server.state.served:
            for part in ("", *resource.parts):
                plural = f"{resource.plural}/{part}" if part else resource.plural
                verbs = [
                    verb
                    for verb in resources.VERBS
                    if self.server.state.allows(
                        Access(verb, resource.group, resource.plural, part, "*")
                    )
                ]
                if verbs:
                    rules.append(
                        {"verbs": verbs, "apiGroups": [resource.group], "resources": [plural]}
                    )
        return rules

    # Reading

    def _picks(self) -> Picks:
        by_label = label_selector(self._query.get("labelSelector", ""))
        by_field = field_selector(self._query.get("fieldSelector", ""))
        return lambda obj: by_label(obj) and by_field(obj)

    def _read(self, target: _Route) -> None:
        store = self.server.state.api.store
        if target.name and self._query.get("watch") not in ("1", "true"):
            self._authorize("get")
            found = store.get(target.resource, target.namespace, target.name)
            self._json(200, scale_of(found) if target.part == "scale" else found)
            return
        if self._query.get("watch") in ("1", "true"):
            self._authorize("watch")
            self._watch(target)
            return
        self._authorize("list")
        picks = self._picks()
        with store.changed:
            items = [obj for obj in store.held(target.resource, target.namespace) if picks(obj)]
            version = str(store.version)
        self._json(
            200,
            {
                "kind": f"{target.resource.kind}List",
                "apiVersion": target.resource.group_version,
                "metadata": {"resourceVersion": version},
                "items": items,
            },
        )

    def _watch(self, target: _Route) -> None:
        """Stream what changes, until the client goes, its time is over or the server stops."""
        store = self.server.state.api.store
        picks = self._picks()
        limit_s = min(float(self._query.get("timeoutSeconds") or _WATCH_S), _WATCH_S)
        end = time.monotonic() + limit_s
        started = self._query.get("resourceVersion", "")
        initial = self._query.get("sendInitialEvents") == "true"
        events: list[Object] = []
        with store.changed:
            if initial or started in ("", "0"):
                for obj in store.held(target.resource, target.namespace):
                    if self._concerns(target, obj) and picks(obj):
                        events.append({"type": "ADDED", "object": obj})
                version = store.version
            else:
                version = int(started)
        if initial:
            events.append(_bookmark(target.resource, version))
        self._begin_stream()
        try:
            for event in events:
                self._chunk(event)
            while time.monotonic() < end and not self.server.state.stopping.is_set():
                try:
                    with store.changed:
                        changes = store.since(version)
                        if not changes:
                            store.changed.wait(_POLL_S)
                            changes = store.since(version)
                except Refusal as refusal:
                    self._chunk({"type": "ERROR", "object": refusal.document})
                    break
                for change in changes:
                    version = change.version
                    if change.resource == target.resource:
                        for event in _events(
                            change, lambda obj: self._concerns(target, obj), picks
                        ):
                            self._chunk(event)
                if not changes and self._is_gone():
                    break
            self._raw(b"")
        finally:
            self.close_connection = True

    def _concerns(self, target: _Route, obj: Object) -> bool:
        metadata = obj["metadata"]
        return target.namespace in ("", metadata.get("namespace", "")) and target.name in (
            "",
            metadata["name"],
        )

    def _is_gone(self) -> bool:
        """Say whether the client has closed the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    # Changing

    def _manager(self, operation: str, part: str = "") -> Manager:
        agent = self.headers.get("User-Agent", "unknown").partition("/")[0]
        return Manager(self._query.get("fieldManager") or agent, operation, part)

    def _json_body(self) -> Any:
        kind = self.headers.get("Content-Type", "application/json").partition(";")[0]
        try:
            if kind == protobuf.MEDIA_TYPE:
                return protobuf.decode(self._body)
            text = self._body.decode()
            if kind in (APPLY, "application/yaml"):
                return _load_yaml(text)
            if kind.endswith("json"):
                return json.loads(text)
        except Exception as error:
            raise status.bad_request(f"error decoding the body: {error}") from None
        raise status.unsupported(kind, f"application/json, application/yaml, {protobuf.MEDIA_TYPE}")

    def _create(self, target: _Route) -> None:
        if target.name:
            raise status.not_allowed()
        body = self._json_body()
        self._said_name = str((body.get("metadata") or {}).get("name", ""))
        self._authorize("create")
        api = self.server.state.api
        manager = self._manager("Update")
        new = api.create(target.resource, target.namespace, body, manager, dry_run=self._dry_run)
        self._said_name = new["metadata"]["name"]
        self._changed(201, target, new)

    def _change(self, target: _Route) -> None:
        """PUT and PATCH, of an object or of its status or scale."""
        api = self.server.state.api
        self._authorize(_VERBS[self.command])
        place = (target.resource, target.namespace, target.name)
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        body = self._json_body()
        code = 200
        if self.command == "PATCH" and kind == APPLY:
            if not self._query.get("fieldManager"):
                cause = status.Cause(
                    "fieldManager",
                    "Required value: is required for apply patch",
                    "FieldValueRequired",
                )
                options = Resource("meta.k8s.io", "v1", "patchoptions", "PatchOptions")
                raise status.invalid(options, "", [cause])
            if target.part == "" and api.store.find(*place) is None:
                self._authorize("create")
            manager = self._manager("Apply", target.part)
            force = self._query.get("force") == "true"
            new, created = api.apply(*place, body, manager, force=force, dry_run=self._dry_run)
            code = 201 if created else 200
        elif self.command == "PATCH":
            manager = self._manager("Update", target.part)
            new = api.patch(*place, body, manager, kind, dry_run=self._dry_run)
        else:
            manager = self._manager("Update", target.part)
            new = api.replace(*place, body, manager, dry_run=self._dry_run)
        self._changed(code, target, new)

    def _changed(self, code: int, target: _Route, new: Object) -> None:
        api = self.server.state.api
        warnings = api.warnings(target.resource, target.namespace, new)
        self._json(code, scale_of(new) if target.part == "scale" else new, warnings)

    def _delete(self, target: _Route) -> None:
        options = self._json_body() if self._body else {}
        options = options if isinstance(options, dict) else {}
        self._dry_run = self._dry_run or "All" in (options.get("dryRun") or [])
        policy = options.get("propagationPolicy") or self._query.get("propagationPolicy")
        orphan = policy == "Orphan" or options.get("orphanDependents") is True
        api = self.server.state.api
        place = (target.resource, target.namespace)
        if not target.name:
            self._authorize("deletecollection")
            picks = self._picks()
            with api.store.changed:
                for obj in list(filter(picks, api.store.held(*place))):
                    name = obj["metadata"]["name"]
                    if api.store.find(target.resource, target.namespace, name):
                        api.delete(*place, name, orphan=orphan, dry_run=self._dry_run)
            self._json(200, _success({"kind": target.resource.plural}))
            return
        self._authorize("delete")
        uid = (options.get("preconditions") or {}).get("uid", "")
        gone = api.delete(*place, target.name, orphan=orphan, uid=uid, dry_run=self._dry_run)
        if target.resource is PODS or gone["metadata"].get("finalizers"):
            self._json(200, gone)
            return
        details = {"name": target.name, "kind": target.resource.plural}
        if target.resource.group:
            details["group"] = target.resource.group
        self._json(200, _success({**details, "uid": gone["metadata"]["uid"]}))

    # Proxies

    def _proxy(self, target: _Route) -> None:
        state = self.server.state
        store = state.api.store
        # [SCHEME:]NAME[:PORT]; nothing here speaks TLS, so that the scheme does not matter.
        named = target.name.split(":")
        if named[0] in ("http", "https") and len(named) > 1:
            named = named[1:]
        name, port = (*named, "")[:2]
        if target.resource is PODS:
            pod = store.get(PODS, target.namespace, name)
        else:
            pod = self._behind(target.namespace, name, port)
        address = (pod.get("status") or {}).get("podIP", "")
        if not address:
            raise status.bad_request("address not allowed")
        runs = [
            found for found in pod["status"]["containerStatuses"] if "running" in found["state"]
        ]
        if not runs:
            port = port or "80"
            raise status.unavailable(
                f"error trying to reach service: dial tcp {address}:{port}: connect: connection "
                "refused"
            )
        answer = state.answer
        for picks, other in reversed(state.overrides):
            if picks(pod):
                answer = other
                break
        code, body = answer("/" + target.rest)
        if isinstance(body, bytes):
            self._send(code, body, "application/octet-stream")
        elif isinstance(body, str):
            self._text(code, body)
        else:
            self._send(code, json.dumps(body).encode(), "application/health+json")

    def _behind(self, namespace: str, name: str, port: str) -> Object:
        """Return the pod that a service would send a request to."""
        store = self.server.state.api.store
        service = store.get(SERVICES, namespace, name)
        known = service["spec"].get("ports") or []
        if port and not any(port in (str(one["port"]), one.get("name")) for one in known):
            raise status.unavailable(f'no service port "{port}" found for service "{name}"')
        endpoints = store.find(ENDPOINTS, namespace, name) or {}
        for subset in endpoints.get("subsets") or []:
            for address in subset.get("addresses") or []:
                found = store.find(PODS, namespace, address["targetRef"]["name"])
                if found is not None:
                    return found
        raise status.unavailable(f'no endpoints available for service "{name}"')

    # Sending

    def _record(self, code: int) -> None:
        target = self._target
        name = resource = ""
        if target is not None:
            part = f"/{target.part}" if target.part else ""
            resource, name = target.resource.plural, (target.name or self._said_name) + part
        self.server.state.requests.append(
            Request(self.command, self._path, self._dry_run, code, resource, name)
        )

    def _json(self, code: int, body: Object, warnings: list[str] | None = None) -> None:
        self._send(code, json.dumps(body).encode(), "application/json", warnings)

    def _text(self, code: int, body: str) -> None:
        self._send(code, body.encode(), "text/plain; charset=utf-8")

    def _send(
        self, code: int, body: bytes, content_type: str, warnings: list[str] | None = None
    ) -> None:
        self._record(code)
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for warning in warnings or []:
            told = warning.replace("\\", "\\\\").replace('"', '\\"')
            self.send_header("Warning", f'299 - "{told}"')
        self.end_headers()
        self.wfile.write(body)

    def _begin_stream(self) -> None:
        self._record(200)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, event: Object) -> None:
        self._raw(json.dumps(event).encode() + b"\n")

    def _raw(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _success(details: Object) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"} | {
        "details": details
    }


def _bookmark(resource: Resource, version: int) -> Object:
    metadata = {
        "resourceVersion": str(version),
        "annotations": {"k8s.io/initial-events-end": "true"},
    }
    obj = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata}
    return {"type": "BOOKMARK", "object": obj}


def _events(change: Change, concerns: Picks, picks: Picks) -> Iterator[Object]:
    """Return what a watcher sees of a change: what no longer fits its selectors is gone."""

    def seen(obj: Object | None) -> bool:
        return obj is not None and concerns(obj) and picks(obj)

    if seen(change.after):
        kind = "MODIFIED" if seen(change.before) else "ADDED"
        yield {"type": kind, "object": change.after}
    elif seen(change.before):
        last = change.after or change.before
        assert last is not None
        metadata = {**last["metadata"], "resourceVersion": str(change.version)}
        yield {"type": "DELETED", "object": {**last, "metadata": metadata}}


def _load_yaml(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # Loaded when it is needed: clients send JSON, as a rule.
        from ruamel.yaml import YAML

        return YAML(typ="safe", pure=True).load(text)
