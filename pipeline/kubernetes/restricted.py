"""The profile "restricted" of the Pod Security Standards, which includes "baseline".

https://kubernetes.io/docs/concepts/security/pod-security-standards/, every control of it, for
Linux pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.kubernetes.objects import containers, items, mapping

Found = Iterator[tuple[str, str]]
"""Fields of the pod's spec and what is wrong with them."""

_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_SECCOMP = frozenset({"RuntimeDefault", "Localhost"})
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def against_restricted(template: Mapping[str, Any]) -> Found:
    """Yield what a pod, or the template of one, has that the profile forbids, or lacks that it
    demands."""
    spec = mapping(template.get("spec"))
    for control in _POD_CONTROLS:
        yield from control(spec)
    annotations = mapping(mapping(template.get("metadata")).get("annotations"))
    for key, value in annotations.items():
        if str(key).startswith(_APPARMOR) and not (
            value in ("", "runtime/default") or str(value).startswith("localhost/")
        ):
            yield f"annotations[{key}]", f"{value} takes AppArmor away"
    inherited = mapping(spec.get("securityContext"))
    for field, container in containers(spec):
        for check in _CONTAINER_CONTROLS:
            for place, message in check(container, inherited):
                yield f"{field}.{place}", f"{container.get('name', '?')}: {message}"


def _namespaces(spec: Mapping[str, Any]) -> Found:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield field, "shares the node's; leave it out"


def _volumes(spec: Mapping[str, Any]) -> Found:
    for index, volume in enumerate(items(spec.get("volumes"))):
        kinds = {kind for kind, source in volume.items() if source is not None}
        for kind in sorted(kinds - {"name"} - _VOLUMES):
            yield f"volumes[{index}].{kind}", f"{volume.get('name', '?')}: {kind} is not allowed"


def _sysctls(spec: Mapping[str, Any]) -> Found:
    for entry in items(mapping(spec.get("securityContext")).get("sysctls")):
        if entry.get("name") not in _SYSCTLS:
            yield "securityContext.sysctls", f"{entry.get('name')} is not a safe one"


def _pod_context(spec: Mapping[str, Any]) -> Found:
    context = mapping(spec.get("securityContext"))
    for place, message in _common(context):
        yield f"securityContext.{place}", message
    if context.get("runAsNonRoot") is False:
        yield "securityContext.runAsNonRoot", "false allows root"


def _common(context: Mapping[str, Any]) -> Found:
    """What is asked alike of a pod's security context and of a container's."""
    if mapping(context.get("windowsOptions")).get("hostProcess"):
        yield "windowsOptions.hostProcess", "is a process of the node; leave it out"
    if context.get("runAsUser") == 0:
        yield "runAsUser", "0 is root"
    selinux = mapping(context.get("seLinuxOptions"))
    if (selinux.get("type") or "") not in _SELINUX_TYPES:
        yield "seLinuxOptions.type", f"{selinux.get('type')} is not a container's type"
    for field in ("user", "role"):
        if selinux.get(field):
            yield f"seLinuxOptions.{field}", "is not allowed; leave it out"
    seccomp = mapping(context.get("seccompProfile"))
    if seccomp and seccomp.get("type") not in _SECCOMP:
        yield "seccompProfile.type", f"{seccomp.get('type')}; set RuntimeDefault"
    apparmor = mapping(context.get("appArmorProfile"))
    if apparmor and apparmor.get("type") not in _SECCOMP:
        yield "appArmorProfile.type", f"{apparmor.get('type')}; set RuntimeDefault"


def _container_context(container: Mapping[str, Any], inherited: Mapping[str, Any]) -> Found:
    context = mapping(container.get("securityContext"))
    for place, message in _common(context):
        yield f"securityContext.{place}", message
    if context.get("privileged"):
        yield "securityContext.privileged", "is root of the node; leave it out"
    if (context.get("procMount") or "Default") != "Default":
        yield "securityContext.procMount", f"{context.get('procMount')}; leave it out"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation", "set it to false"
    own = context.get("runAsNonRoot")
    if (inherited.get("runAsNonRoot") if own is None else own) is not True:
        yield "securityContext.runAsNonRoot", "set it to true, here or for the pod"
    if not context.get("seccompProfile") and not inherited.get("seccompProfile"):
        yield "securityContext.seccompProfile", "set RuntimeDefault, here or for the pod"


def _capabilities(container: Mapping[str, Any], _inherited: Mapping[str, Any]) -> Found:
    capabilities = mapping(mapping(container.get("securityContext")).get("capabilities"))
    if "ALL" not in (capabilities.get("drop") or []):
        yield "securityContext.capabilities.drop", "set [ALL]"
    for name in capabilities.get("add") or []:
        if name != "NET_BIND_SERVICE":
            yield "securityContext.capabilities.add", f"{name} is not allowed"


def _host_ports(container: Mapping[str, Any], _inherited: Mapping[str, Any]) -> Found:
    for index, port in enumerate(items(container.get("ports"))):
        if port.get("hostPort"):
            yield f"ports[{index}].hostPort", "is a port of the node; leave it out"


def _handler_hosts(container: Mapping[str, Any], _inherited: Mapping[str, Any]) -> Found:
    handlers = {
        field: mapping(container.get(field))
        for field in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    for moment in ("postStart", "preStop"):
        handlers[f"lifecycle.{moment}"] = mapping(mapping(container.get("lifecycle")).get(moment))
    for field, handler in handlers.items():
        for way in ("httpGet", "tcpSocket"):
            if mapping(handler.get(way)).get("host"):
                yield f"{field}.{way}.host", "asks another machine; leave it out"


_PodControl = Callable[[Mapping[str, Any]], Found]
_ContainerControl = Callable[[Mapping[str, Any], Mapping[str, Any]], Found]
_POD_CONTROLS: tuple[_PodControl, ...] = (_namespaces, _volumes, _sysctls, _pod_context)
_CONTAINER_CONTROLS: tuple[_ContainerControl, ...] = (
    _container_context,
    _capabilities,
    _host_ports,
    _handler_hosts,
)
