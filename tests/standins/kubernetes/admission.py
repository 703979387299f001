"""What a server checks before it keeps an object: its own rules, and Pod Security.

A selection: the rules that a chart of this project can break. Field types and unknown fields
are the business of the schemas that `running_cluster(validate=…)` brings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.standins.kubernetes.resources import Object, Resource
from tests.standins.kubernetes.status import Cause

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_IMMUTABLE = "field is immutable"
_MAX_DATA_BYTES = 1024 * 1024
_TEMPLATED = {"Deployment", "ReplicaSet", "StatefulSet"}
_SAFE_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def check(resource: Resource, obj: Object, live: Object | None) -> list[Cause]:
    """Return what a server would not accept in `obj`, which replaces `live`."""
    causes = list(_metadata(resource, obj["metadata"]))
    spec = obj.get("spec") or {}
    if obj["kind"] in _TEMPLATED or obj["kind"] == "Job":
        causes += _template(obj["kind"], spec, live)
    if obj["kind"] in _RULES:
        causes += _RULES[obj["kind"]](obj, spec)
    if live is not None:
        causes += _unchanged(obj, live)
    return causes


def _invalid(field: str, value: Any, rule: str) -> Cause:
    return Cause(field, f"Invalid value: {json.dumps(value)}: {rule}")


def _required(field: str, rule: str = "") -> Cause:
    message = f"Required value: {rule}" if rule else "Required value"
    return Cause(field, message, "FieldValueRequired")


def _duplicate(field: str, value: Any) -> Cause:
    return Cause(field, f"Duplicate value: {json.dumps(value)}", "FieldValueDuplicate")


def _metadata(resource: Resource, metadata: Object) -> Iterable[Cause]:
    name = metadata["name"]
    if resource.kind == "Namespace":
        if not _LABEL.fullmatch(name):
            yield _invalid("metadata.name", name, _LABEL_RULE)
    elif resource.kind == "Service":
        if not _LABEL.fullmatch(name) or name[0].isdigit():
            yield _invalid("metadata.name", name, _SERVICE_RULE)
    elif resource.group != "rbac.authorization.k8s.io" and (
        not _SUBDOMAIN.fullmatch(name) or len(name) > 253
    ):
        yield _invalid("metadata.name", name, _SUBDOMAIN_RULE)
    yield from _labels(metadata.get("labels"), "metadata.labels")
    for key in metadata.get("annotations") or {}:
        if not _is_qualified(key.lower()):
            yield _invalid("metadata.annotations", key, "name part is not valid")
    for key, value in (metadata.get("annotations") or {}).items():
        if not isinstance(value, str):
            yield _invalid(f"metadata.annotations[{key}]", value, "must be of type string")


def _labels(labels: Any, field: str) -> Iterable[Cause]:
    for key, value in (labels or {}).items():
        if not _is_qualified(key):
            yield _invalid(field, key, "name part is not valid")
        if not isinstance(value, str):
            yield _invalid(field, value, "must be of type string")
        elif value and not _NAME_PART.fullmatch(value):
            long = "must be no more than 63 characters" if len(value) > 63 else _VALUE_RULE
            yield _invalid(field, value, long)


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (not _SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253):
        return False
    return bool(_NAME_PART.fullmatch(name))


def _template(kind: str, spec: Object, live: Object | None) -> Iterable[Cause]:
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from _labels(labels, "spec.template.metadata.labels")
    if kind in _TEMPLATED:
        selector = spec.get("selector") or {}
        if not selector:
            yield _required("spec.selector")
        elif not matches(selector, labels):
            rule = "`selector` does not match template `labels`"
            yield _invalid("spec.template.metadata.labels", labels, rule)
        if live is not None and live["spec"].get("selector") != selector:
            yield _invalid("spec.selector", selector, _IMMUTABLE)
    elif live is not None and live["spec"].get("template") != template:
        yield _invalid("spec.template", template, _IMMUTABLE)
    yield from _pod_spec(template.get("spec") or {}, "spec.template.spec")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if kind in _TEMPLATED and policy not in (None, "Always"):
        rule = 'supported values: "Always"'
        message = f"Unsupported value: {json.dumps(policy)}: {rule}"
        yield Cause("spec.template.spec.restartPolicy", message, "FieldValueNotSupported")
    if kind == "Job" and policy not in ("OnFailure", "Never"):
        yield _required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _pod_spec(spec: Object, field: str) -> Iterable[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield _required(f"{field}.containers")
    volumes = [volume.get("name") for volume in spec.get("volumes") or []]
    for at, name in enumerate(volumes):
        if name in volumes[:at]:
            yield _duplicate(f"{field}.volumes[{at}].name", name)
    names: list[str] = []
    for group in ("initContainers", "containers"):
        for at, container in enumerate(spec.get(group) or []):
            place = f"{field}.{group}[{at}]"
            name = container.get("name", "")
            if name in names:
                yield _duplicate(f"{place}.name", name)
            if not _LABEL.fullmatch(name):
                yield _invalid(f"{place}.name", name, _LABEL_RULE)
            names.append(name)
            if not container.get("image"):
                yield _required(f"{place}.image")
            for mount_at, mount in enumerate(container.get("volumeMounts") or []):
                if mount.get("name") not in volumes:
                    message = f"Not found: {json.dumps(mount.get('name'))}"
                    where = f"{place}.volumeMounts[{mount_at}].name"
                    yield Cause(where, message, "FieldValueNotFound")
            ports = [port.get("name") for port in container.get("ports") or []]
            for port_at, port in enumerate(ports):
                if port and port in ports[:port_at]:
                    yield _duplicate(f"{place}.ports[{port_at}].name", port)


def _pod(obj: Object, spec: Object) -> Iterable[Cause]:
    return _pod_spec(spec, "spec")


def _service(obj: Object, spec: Object) -> Iterable[Cause]:
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield _required("spec.ports")
    names: list[str] = []
    taken: list[tuple[Any, Any]] = []
    node_ports: list[tuple[Any, Any]] = []
    for at, port in enumerate(ports):
        place = f"spec.ports[{at}]"
        name = port.get("name", "")
        number = port.get("port")
        if not name and len(ports) > 1:
            yield _required(f"{place}.name")
        if name and name in names:
            yield _duplicate(f"{place}.name", name)
        names.append(name)
        if not isinstance(number, int) or not 1 <= number <= 65535:
            yield _invalid(f"{place}.port", number, "must be between 1 and 65535, inclusive")
        key = (number, port.get("protocol"))
        if key in taken:
            value = {"port": number, "protocol": port.get("protocol")}
            yield _duplicate(place, value)
        taken.append(key)
        if port.get("nodePort"):
            node_key = (port["nodePort"], port.get("protocol"))
            if node_key in node_ports:
                yield _duplicate(f"{place}.nodePort", port["nodePort"])
            node_ports.append(node_key)


def _budget(obj: Object, spec: Object) -> Iterable[Cause]:
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        rule = "minAvailable and maxUnavailable cannot be both set"
        yield _invalid("spec", spec, rule)


def _autoscaler(obj: Object, spec: Object) -> Iterable[Cause]:
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if most < 1:
        yield _invalid("spec.maxReplicas", most, "must be greater than 0")
    if most < least:
        rule = "must be greater than or equal to `minReplicas`"
        yield _invalid("spec.maxReplicas", most, rule)


def _data(obj: Object, spec: Object) -> Iterable[Cause]:
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            if not _DATA_KEY.fullmatch(key):
                yield _invalid(f"{field}[{key}]", key, "a valid config key must consist of …")
            if isinstance(value, str):
                encoded = obj["kind"] == "Secret" or field == "binaryData"
                size += len(value) * 3 // 4 if encoded else len(value)
            else:
                yield _invalid(f"{field}[{key}]", value, "must be of type string")
    if size > _MAX_DATA_BYTES:
        message = f"Too long: may not be more than {_MAX_DATA_BYTES} bytes"
        yield Cause("data", message, "FieldValueTooLong")


_RULES: dict[str, Callable[[Object, Object], Iterable[Cause]]] = {
    "Pod": _pod,
    "Service": _service,
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
    "ConfigMap": _data,
    "Secret": _data,
}


def _unchanged(obj: Object, live: Object) -> Iterable[Cause]:
    """Yield what may not change once an object is there; selectors aside, see `_template`."""
    spec, before = obj.get("spec") or {}, live.get("spec") or {}
    match obj["kind"]:
        case "PersistentVolumeClaim":
            if {**spec, "resources": 0} != {**before, "resources": 0}:
                rule = (
                    "spec is immutable after creation except resources.requests and "
                    "volumeAttributesClassName for bound claims"
                )
                yield Cause("spec", f"Forbidden: {rule}", "FieldValueForbidden")
        case "Service":
            if spec.get("clusterIP") not in (None, before.get("clusterIP")):
                value = [spec["clusterIP"]]
                yield _invalid("spec.clusterIPs[0]", value, "may not change once set")
        case "Pod":
            if _without_images(spec) != _without_images(before):
                rule = (
                    "pod updates may not change fields other than `spec.containers[*].image`,"
                    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                    "`spec.tolerations` (only additions to existing tolerations),"
                    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                    "previously negative)"
                )
                yield Cause("spec", f"Forbidden: {rule}", "FieldValueForbidden")
        case "StatefulSet":
            kept = ("serviceName", "volumeClaimTemplates", "podManagementPolicy")
            if any(spec.get(name) != before.get(name) for name in kept):
                rule = (
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                    "'template', 'updateStrategy', 'revisionHistoryLimit', "
                    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
                )
                yield Cause("spec", f"Forbidden: {rule}", "FieldValueForbidden")
        case "ConfigMap" | "Secret":
            if live.get("immutable") and obj.get("data") != live.get("data"):
                message = "Forbidden: field is immutable when `immutable` is set"
                yield Cause("data", message, "FieldValueForbidden")
            if obj.get("type") != live.get("type"):
                yield _invalid("type", obj.get("type"), _IMMUTABLE)
        case "RoleBinding":
            if obj.get("roleRef") != live.get("roleRef"):
                yield _invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")


def _without_images(spec: Object) -> Object:
    def bare(containers: Any) -> list[Object]:
        return [{**container, "image": "", "imagePullPolicy": ""} for container in containers or []]

    return {
        **spec,
        "containers": bare(spec.get("containers")),
        "initContainers": bare(spec.get("initContainers")),
        # Where a pod runs is the controllers' to write, and activeDeadlineSeconds anyone's.
        "nodeName": "",
        "activeDeadlineSeconds": 0,
    }


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Say whether a LabelSelector (`matchLabels`, `matchExpressions`) picks these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        has = rule["key"] in labels
        listed = labels.get(rule["key"]) in (rule.get("values") or [])
        met = {
            "In": has and listed,
            "NotIn": not listed,
            "Exists": has,
            "DoesNotExist": not has,
        }[rule["operator"]]
        if not met:
            return False
    return True


def pod_security(level: str, spec: Object) -> list[str]:
    """Return how a pod's spec breaks the `baseline` or `restricted` Pod Security Standard.

    The essential rules, in the words of the server's own `PodSecurity` admission.
    """
    if level not in ("baseline", "restricted"):
        return []
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    pod = spec.get("securityContext") or {}
    found = list(_baseline(spec, containers))
    if level == "restricted":
        found += _restricted(spec, pod, containers)
    return found


def _named(containers: list[Object]) -> str:
    names = ", ".join(f'"{container["name"]}"' for container in containers)
    return f"container {names}" if len(containers) == 1 else f"containers {names}"


def _context(container: Object) -> Object:
    return container.get("securityContext") or {}


def _baseline(spec: Object, containers: list[Object]) -> Iterable[str]:
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if shared:
        yield f"host namespaces ({', '.join(f'{name}=true' for name in shared)})"
    bad = [c for c in containers if any(port.get("hostPort") for port in c.get("ports") or [])]
    if bad:
        yield f"hostPort ({_named(bad)} uses hostPort)"
    paths = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if paths:
        yield "hostPath volumes (" + ", ".join(f'volume "{name}"' for name in paths) + ")"
    bad = [c for c in containers if _context(c).get("privileged")]
    if bad:
        yield f"privileged ({_named(bad)} must not set securityContext.privileged=true)"


def _restricted(spec: Object, pod: Object, containers: list[Object]) -> Iterable[str]:
    bad = [c for c in containers if _context(c).get("allowPrivilegeEscalation") is not False]
    if bad:
        yield (
            f"allowPrivilegeEscalation != false ({_named(bad)} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )
    bad = [
        c
        for c in containers
        if "ALL" not in ((_context(c).get("capabilities") or {}).get("drop") or [])
        or set((_context(c).get("capabilities") or {}).get("add") or []) - {"NET_BIND_SERVICE"}
    ]
    if bad:
        yield (
            f"unrestricted capabilities ({_named(bad)} must set "
            'securityContext.capabilities.drop=["ALL"])'
        )
    for volume in spec.get("volumes") or []:
        kinds = [name for name in volume if name != "name"]
        if kinds and kinds[0] not in _SAFE_VOLUMES:
            yield (
                f'restricted volume types (volume "{volume["name"]}" uses restricted volume type '
                f'"{kinds[0]}")'
            )
    bad = [
        c
        for c in containers
        if _context(c).get("runAsNonRoot", pod.get("runAsNonRoot")) is not True
    ]
    if bad:
        yield (
            f"runAsNonRoot != true (pod or {_named(bad)} must set "
            "securityContext.runAsNonRoot=true)"
        )
    roots = [c for c in containers if _context(c).get("runAsUser", pod.get("runAsUser")) == 0]
    if roots:
        yield f"runAsUser=0 (pod or {_named(roots)} must not set runAsUser=0)"
    bad = [
        c
        for c in containers
        if (_context(c).get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        not in ("RuntimeDefault", "Localhost")
    ]
    if bad:
        yield (
            f"seccompProfile (pod or {_named(bad)} must set securityContext.seccompProfile.type "
            'to "RuntimeDefault" or "Localhost")'
        )
