"""The Pod Security Standards' "restricted" and "baseline": each control, wherever it applies.

https://kubernetes.io/docs/concepts/security/pod-security-standards/, as of Kubernetes 1.35.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.kubernetes.restricted import against_restricted
from tests.unit.pipeline.kubernetes.release_factory import Data, container, drop, pod, put

LISTS = ("containers", "initContainers", "ephemeralContainers")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
HOOKS = ("lifecycle.postStart", "lifecycle.preStop")


def good() -> Data:
    """Return the template of pods with nothing wrong: one container of each list."""
    spec = pod(container("web", "http", 8000))
    for field in LISTS[1:]:
        spec[field] = [container(field[:4], "http", 1)]
    spec["volumes"] = [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]
    return {"metadata": {"labels": {"a": "b"}}, "spec": spec}


def planted(**changes: Any) -> Data:
    """Return that template with changes, `__` for dots in their paths."""
    template = good()
    for path, value in changes.items():
        *above, _last = path.split("__")
        for end in range(1, len(above) + 1):
            fill(template["spec"], ".".join(above[:end]))
        put(template["spec"], path.replace("__", "."), value)
    return template


def fill(spec: Data, path: str) -> None:
    node: Any = spec
    for part in path.split("."):
        node = node[int(part)] if part.isdigit() else node.setdefault(part, {})


def found(template: Data) -> list[tuple[str, str]]:
    return list(against_restricted(template))


def test_a_careful_pod_passes() -> None:
    assert found(good()) == []


def test_nothing_is_no_pod() -> None:
    assert found({}) == []


# What a pod itself may not have.

POD: list[tuple[str, Any, str, str]] = [
    # path in the spec, value, field, what is said
    ("hostNetwork", True, "hostNetwork", "shares the node's"),
    ("hostPID", True, "hostPID", "shares the node's"),
    ("hostIPC", True, "hostIPC", "shares the node's"),
    *(
        (
            "securityContext__sysctls",
            [{"name": name, "value": "1"}],
            "securityContext.sysctls",
            said,
        )
        for name, said in (
            ("kernel.msgmax", "kernel.msgmax is not a safe one"),
            ("net.core.somaxconn", "net.core.somaxconn is not"),
            ("fs.mqueue.msg_max", "fs.mqueue.msg_max is not"),
        )
    ),
]
# What neither a pod's security context nor a container's may have.
CONTEXT: list[tuple[str, Any, str, str]] = [
    (
        "windowsOptions",
        {"hostProcess": True},
        "windowsOptions.hostProcess",
        "is a process of the node",
    ),
    ("runAsUser", 0, "runAsUser", "0 is root"),
    *(
        ("seLinuxOptions", {"type": kind}, "seLinuxOptions.type", f"{kind} is not a container's")
        for kind in ("spc_t", "unconfined_t", "container_logreader_t")
    ),
    ("seLinuxOptions", {"user": "system_u"}, "seLinuxOptions.user", "is not allowed"),
    ("seLinuxOptions", {"role": "sysadm_r"}, "seLinuxOptions.role", "is not allowed"),
    ("seccompProfile", {"type": "Unconfined"}, "seccompProfile.type", "Unconfined; set"),
    ("appArmorProfile", {"type": "Unconfined"}, "appArmorProfile.type", "Unconfined; set"),
]


@pytest.mark.parametrize(("path", "value", "field", "said"), POD, ids=[row[0] for row in POD])
def test_what_a_pod_may_not_have(path: str, value: Any, field: str, said: str) -> None:
    places = [(place, said in message) for place, message in found(planted(**{path: value}))]
    assert places == [(field, True)]


@pytest.mark.parametrize(("path", "value", "field", "said"), CONTEXT)
def test_what_a_pods_context_may_not_have(path: str, value: Any, field: str, said: str) -> None:
    ((place, message),) = found(planted(**{f"securityContext__{path}": value}))
    assert place == f"securityContext.{field}"
    assert said in message


VOLUMES = (
    *("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "fc", "flexVolume"),
    *("flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "image", "iscsi"),
    *("nfs", "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos"),
    "vsphereVolume",
)


@pytest.mark.parametrize("kind", VOLUMES)
def test_volumes_of_the_node_and_of_networks_are_not_allowed(kind: str) -> None:
    volumes = [{"name": "ok", "emptyDir": {}}, {"name": "data", kind: {"path": "/"}}]
    assert found(planted(volumes=volumes)) == [
        (f"volumes[1].{kind}", f"data: {kind} is not allowed")
    ]


@pytest.mark.parametrize("value", ["unconfined", "custom"])
def test_annotations_cannot_take_apparmor_away(value: str) -> None:
    template = good()
    key = "container.apparmor.security.beta.kubernetes.io/web"
    template["metadata"]["annotations"] = {key: value, "other.example/web": "unconfined"}
    assert found(template) == [(f"annotations[{key}]", f"{value} takes AppArmor away")]


# What no container may have, be it first, running or added to debug.

CONTAINER: list[tuple[str, Any, str, str]] = [
    *(
        (f"securityContext__{row[0]}", row[1], f"securityContext.{row[2]}", row[3])
        for row in CONTEXT
    ),
    ("securityContext__privileged", True, "securityContext.privileged", "root of the node"),
    ("securityContext__procMount", "Unmasked", "securityContext.procMount", "Unmasked; leave"),
    *(
        (
            "securityContext__allowPrivilegeEscalation",
            value,
            "securityContext.allowPrivilegeEscalation",
            "set it to false",
        )
        for value in (True, None)
    ),
    ("securityContext__runAsNonRoot", False, "securityContext.runAsNonRoot", "set it to true"),
    *(
        ("securityContext__capabilities", value, "securityContext.capabilities.drop", "set [ALL]")
        for value in ({"drop": ["NET_RAW"]}, {"drop": []}, {"drop": None}, {}, None)
    ),
    *(
        (
            "securityContext__capabilities__add",
            ["NET_BIND_SERVICE", name],
            "securityContext.capabilities.add",
            f"{name} is not allowed",
        )
        for name in ("NET_ADMIN", "SYS_ADMIN", "CHOWN", "ALL")
    ),
    (
        "ports",
        [{"containerPort": 1}, {"containerPort": 2, "hostPort": 80}],
        "ports[1].hostPort",
        "is a port of the node",
    ),
    *(
        (
            f"{handler.replace('.', '__')}",
            {way: {"host": "169.254.169.254", "port": 80}},
            f"{handler}.{way}.host",
            "asks another machine",
        )
        for handler in (*PROBES, *HOOKS)
        for way in ("httpGet", "tcpSocket")
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(
    ("path", "value", "field", "said"), CONTAINER, ids=[f"{row[2]}={row[1]}" for row in CONTAINER]
)
def test_what_no_container_may_have(
    where: str, path: str, value: Any, field: str, said: str
) -> None:
    template = planted(**{f"{where}__0__{path}": value})
    name = template["spec"][where][0]["name"]
    ((place, message),) = found(template)
    assert place == f"{where}[0].{field}"
    assert message.startswith(f"{name}: ")
    assert said in message


@pytest.mark.parametrize("where", LISTS)
def test_a_container_without_a_context_lacks_what_no_pod_can_say_for_it(where: str) -> None:
    template = good()
    drop(template["spec"], f"{where}.0.securityContext")
    assert [place for place, _ in found(template)] == [
        f"{where}[0].securityContext.allowPrivilegeEscalation",
        f"{where}[0].securityContext.capabilities.drop",
    ]


def test_the_second_container_is_named() -> None:
    template = good()
    second = container("second", "http", 2)
    second["securityContext"]["privileged"] = True
    template["spec"]["containers"].append(second)
    ((place, message),) = found(template)
    assert place == "containers[1].securityContext.privileged"
    assert message.startswith("second: ")


# What a pod says for its containers.

INHERITED = [("runAsNonRoot", True), ("seccompProfile", {"type": "RuntimeDefault"})]


@pytest.mark.parametrize(("field", "value"), INHERITED)
def test_without_the_pods_word_each_container_needs_its_own(field: str, value: Any) -> None:
    template = good()
    drop(template["spec"], f"securityContext.{field}")
    assert [place for place, _ in found(template)] == [
        f"{where}[0].securityContext.{field}"
        for where in ("initContainers", "containers", "ephemeralContainers")
    ]
    for where in LISTS:
        put(template["spec"], f"{where}.0.securityContext.{field}", value)
    assert found(template) == []


@pytest.mark.parametrize(("field", "value"), INHERITED)
def test_null_is_what_a_pod_says(field: str, value: Any) -> None:
    assert found(planted(**{f"containers__0__securityContext__{field}": None})) == []


def test_a_pod_without_any_context_lacks_both() -> None:
    template = good()
    drop(template["spec"], "securityContext")
    for where in LISTS[1:]:
        drop(template["spec"], where)
    assert [(place, message) for place, message in found(template)] == [
        (
            "containers[0].securityContext.runAsNonRoot",
            "web: set it to true, here or for the pod",
        ),
        (
            "containers[0].securityContext.seccompProfile",
            "web: set RuntimeDefault, here or for the pod",
        ),
    ]


def test_a_pod_that_allows_root_is_wrong_whatever_its_containers_say() -> None:
    template = planted(securityContext__runAsNonRoot=False)
    for where in LISTS:
        put(template["spec"], f"{where}.0.securityContext.runAsNonRoot", True)
    assert found(template) == [("securityContext.runAsNonRoot", "false allows root")]


# What is allowed.

SYSCTLS = (
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_rmem"),
    *("net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_wmem"),
    *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    "net.ipv4.tcp_keepalive_probes",
)
ALLOWED_VOLUMES = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
)
WEB = "containers__0__"
ALLOWED: list[tuple[str, Any]] = [
    *((field, False) for field in ("hostNetwork", "hostPID", "hostIPC")),
    *(("securityContext__sysctls", [{"name": name, "value": "1"}]) for name in SYSCTLS),
    ("securityContext__sysctls", None),
    *(("volumes", [{"name": "v", kind: {}}]) for kind in ALLOWED_VOLUMES),
    ("volumes", [{"name": "v", "hostPath": None, "emptyDir": {}}]),
    *(
        (f"{where}securityContext__{field}", value)
        for where in ("", WEB)
        for field, value in (
            ("runAsUser", 1),
            ("windowsOptions", {"hostProcess": False}),
            ("seccompProfile", {"type": "RuntimeDefault"}),
            ("seccompProfile", {"type": "Localhost", "localhostProfile": "own.json"}),
            ("appArmorProfile", {"type": "RuntimeDefault"}),
            ("appArmorProfile", {"type": "Localhost", "localhostProfile": "own"}),
            *(
                ("seLinuxOptions", {"type": kind, "level": "s0:c1,c2"})
                for kind in (
                    *("", None, "container_t", "container_init_t", "container_kvm_t"),
                    "container_engine_t",
                )
            ),
            ("seLinuxOptions", {"user": "", "role": ""}),
        )
    ),
    (f"{WEB}securityContext__privileged", False),
    (f"{WEB}securityContext__procMount", "Default"),
    (f"{WEB}securityContext__procMount", None),
    (f"{WEB}securityContext__capabilities__add", ["NET_BIND_SERVICE"]),
    (f"{WEB}securityContext__capabilities__add", None),
    (f"{WEB}securityContext__capabilities__drop", ["NET_RAW", "ALL"]),
    (f"{WEB}ports", [{"containerPort": 80, "hostPort": 0}]),
    (f"{WEB}livenessProbe", {"httpGet": {"host": "", "port": 80}}),
    (f"{WEB}livenessProbe", {"exec": {"command": ["true"]}}),
    (f"{WEB}lifecycle__preStop", {"exec": {"command": ["true"]}}),
]


@pytest.mark.parametrize(("path", "value"), ALLOWED, ids=[f"{p}={v}" for p, v in ALLOWED])
def test_what_is_allowed_passes(path: str, value: Any) -> None:
    assert found(planted(**{path: value})) == []


@pytest.mark.parametrize("value", ["runtime/default", "localhost/own", ""])
def test_annotations_of_apparmor_that_are_allowed(value: str) -> None:
    template = good()
    key = "container.apparmor.security.beta.kubernetes.io/web"
    template["metadata"]["annotations"] = {key: value}
    assert found(template) == []


def test_looking_changes_nothing() -> None:
    template = planted(hostNetwork=True, volumes=[{"name": "a", "nfs": {}}])
    before = copy.deepcopy(template)
    found(template)
    assert template == before
