"""What is asked of the objects of one release beyond schemas and the restricted profile.

Each rule has a name and looks at all objects together: most mistakes are between two of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.findings import Finding
from pipeline.kubernetes.objects import (
    LASTING,
    KubernetesObject,
    containers,
    fits,
    items,
    mapping,
    selects,
)
from pipeline.kubernetes.quantities import quantity
from pipeline.settings import Settings

COMPONENT = "app.kubernetes.io/component"
LABELS = tuple(
    f"app.kubernetes.io/{name}"
    for name in ("name", "instance", "component", "version", "part-of", "managed-by")
)
SERVICE, MONITOR = "service", "monitor"
TARGETS: Mapping[str, str] = {SERVICE: "production", MONITOR: "monitoring", "redis": "redis"}
"""Components that run images of images.toml."""
SECRET = re.compile(
    r"(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|CREDENTIALS)(?!_FILE$)($|_)", re.IGNORECASE
)
"""Names of variables that hold what nobody may read; a file's path is no such thing."""
_EVERYWHERE = ("localhost", "kubernetes")
"""Names without a dot that no release brings."""
_USUAL_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}
_GRACE = "ACCELERAPP_SHUTDOWN_GRACE_S"


@dataclass(frozen=True)
class Release:
    """The objects of one release, and what images.toml says of their images."""

    objects: Sequence[KubernetesObject]
    settings: Settings

    def of(self, *kinds: str) -> Iterator[KubernetesObject]:
        """Yield the objects of these kinds."""
        return (found for found in self.objects if found.kind in kinds)

    @property
    def workloads(self) -> Iterator[KubernetesObject]:
        """The objects that make pods."""
        return (found for found in self.objects if found.template)

    def named(self, kind: str, name: Any) -> KubernetesObject | None:
        return next((found for found in self.of(kind) if found.name == name), None)

    def component(self, name: str) -> Iterator[KubernetesObject]:
        """Yield the lasting workloads of a component."""
        for found in self.workloads:
            if found.kind in LASTING and found.labels.get(COMPONENT) == name:
                yield found


Found = Iterator[tuple[KubernetesObject, str]]
Rule = Callable[[Release], Found]
RULES: dict[str, Rule] = {}


def _rule(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


def findings(release: Release) -> list[Finding]:
    """Return everything that is wrong with the objects of a release."""
    return sorted(
        {
            Finding(found.place, name, f"{found.title}: {message}")
            for name, rule in RULES.items()
            for found, message in rule(release)
        }
    )


# Names, labels, selectors.


@_rule("duplicate")
def _duplicate(release: Release) -> Found:
    seen = set()
    for found in release.objects:
        key = (found.api_version, found.kind, found.namespace, found.name)
        if key in seen:
            yield found, "is there twice; one would replace the other"
        seen.add(key)


@_rule("name")
def _name(release: Release) -> Found:
    for found in release.of("Service"):
        # RFC 1035, which is stricter than what other objects may be called.
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", found.name):
            yield found, "is no name of a Service: a letter first, no dots, at most 63 characters"


@_rule("namespace")
def _namespace(release: Release) -> Found:
    namespaces = {found.namespace for found in release.objects if found.kind != "Namespace"}
    for found in release.objects:
        if len(namespaces) > 1 and found.kind != "Namespace":
            yield found, f"is in '{found.namespace}', and others are elsewhere: one for all"


@_rule("labels")
def _labels(release: Release) -> Found:
    for found in release.objects:
        if found.kind == "Namespace":
            continue
        missing = [label for label in LABELS if not found.labels.get(label)]
        if missing:
            yield found, f"has no {', '.join(missing)}"
        selector = mapping(mapping(found.spec.get("selector")).get("matchLabels"))
        if found.kind in LASTING and (volatile := set(selector) & set(LABELS[3:])):
            yield found, f"is selected by {', '.join(sorted(volatile))}, which change"


@_rule("selector")
def _selector(release: Release) -> Found:
    pods = [found.pod_labels for found in release.workloads]
    for found in release.objects:
        if found.kind in LASTING:
            wanted = mapping(mapping(found.spec.get("selector")).get("matchLabels"))
            if not selects(wanted, found.pod_labels):
                yield found, "does not select its own pods"
            matching = {n for n, labels in enumerate(pods) if selects(wanted, labels)}
            if len(matching) > 1:
                yield found, "selects pods of another workload, too"
        elif found.kind in ("NetworkPolicy", "PodDisruptionBudget"):
            if not any(_covers(found, labels) for labels in pods):
                yield found, "selects no pod"
        elif found.kind == "Service":
            # One without a selector leads to what somebody else says, such as another name.
            wanted = mapping(found.spec.get("selector"))
            if wanted and not any(selects(wanted, labels) for labels in pods):
                yield found, "selects no pod"
    for found in release.of("ServiceMonitor"):
        if not list(_monitored(release, found)):
            yield found, "selects no Service"


def _covers(found: KubernetesObject, labels: Mapping[str, Any]) -> bool:
    """Whether a NetworkPolicy or a PodDisruptionBudget is about pods with these labels."""
    if found.kind == "NetworkPolicy":
        return fits(mapping(found.spec.get("podSelector")), labels)
    # A budget that does not say is about none, and one that says {} about all.
    chosen = found.spec.get("selector")
    return chosen is not None and fits(mapping(chosen), labels)


def _monitored(release: Release, monitor: KubernetesObject) -> Iterator[KubernetesObject]:
    wanted = mapping(mapping(monitor.spec.get("selector")).get("matchLabels"))
    return (found for found in release.of("Service") if selects(wanted, found.labels))


def _behind(release: Release, service: KubernetesObject) -> list[KubernetesObject]:
    wanted = mapping(service.spec.get("selector"))
    return [found for found in release.workloads if selects(wanted, found.pod_labels)]


# Ports and addresses.


def _ports(pod: Mapping[str, Any]) -> set[str]:
    """The ports of a pod's containers, by name and by number."""
    found = set()
    for _, container in containers(pod):
        for port in items(container.get("ports")):
            found |= {str(port.get("containerPort")), str(port.get("name", ""))}
    return found - {""}


@_rule("port")
def _port(release: Release) -> Found:
    for service in release.of("Service"):
        for port in items(service.spec.get("ports")):
            target = str(port.get("targetPort", port.get("port")))
            for workload in _behind(release, service):
                if target not in _ports(workload.pod):
                    yield service, f"leads to port {target}, which {workload.title} does not have"
    for workload in release.workloads:
        ports = _ports(workload.pod)
        for _, container in containers(workload.pod):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for way in ("httpGet", "tcpSocket"):
                    asked = mapping(mapping(container.get(probe)).get(way)).get("port")
                    if asked is not None and str(asked) not in ports:
                        yield workload, f"its {probe} asks port {asked}, which it does not have"
    for monitor in release.of("ServiceMonitor"):
        for service in _monitored(release, monitor):
            names = {port.get("name") for port in items(service.spec.get("ports"))}
            for endpoint in items(monitor.spec.get("endpoints")):
                if endpoint.get("port") not in names:
                    yield monitor, f"scrapes port {endpoint.get('port')} of {service.title}"
    for policy in release.of("NetworkPolicy"):
        yield from _policy_ports(release, policy)


def _policy_ports(release: Release, policy: KubernetesObject) -> Found:
    """Ports that a policy opens to, or lets out to, pods of the release that have none such."""
    own = [found for found in release.workloads if _covers(policy, found.pod_labels)]
    for rule in items(policy.spec.get("ingress")):
        for port in _policy_numbers(rule):
            for workload in own:
                if port not in _ports(workload.pod):
                    yield policy, f"opens port {port}, which nothing listens on"
    for rule in items(policy.spec.get("egress")):
        peers = [mapping(peer["podSelector"]) for peer in items(rule.get("to")) if _is_own(peer)]
        reached = [
            found
            for found in release.workloads
            if any(fits(peer, found.pod_labels) for peer in peers)
        ]
        if peers and not reached:
            yield policy, "lets out to pods that are not there"
        for port in _policy_numbers(rule):
            for workload in reached:
                if port not in _ports(workload.pod):
                    yield policy, f"lets out to port {port} of {workload.title}, which has none"
            if peers and not port.isdigit():
                yield (
                    policy,
                    f"lets out to a port by its name, {port}: some networks take numbers only",
                )


def _is_own(peer: Mapping[str, Any]) -> bool:
    """Whether a policy's peer is pods of the same namespace."""
    return "podSelector" in peer and "namespaceSelector" not in peer


def _policy_numbers(rule: Mapping[str, Any]) -> list[str]:
    """The ports of a policy's rule, without ranges and without those that are any."""
    ports = (port for port in items(rule.get("ports")) if "endPort" not in port)
    return [str(port["port"]) for port in ports if port.get("port") is not None]


@_rule("backend")
def _backend(release: Release) -> Found:
    for ingress in release.of("Ingress"):
        for rule in items(ingress.spec.get("rules")):
            if not rule.get("host"):
                yield ingress, "has a rule without a host, which takes everybody's requests"
            for path in items(mapping(rule.get("http")).get("paths")):
                backend = mapping(mapping(path.get("backend")).get("service"))
                port = mapping(backend.get("port"))
                wanted = port.get("name", port.get("number"))
                yield from _leads(release, ingress, backend.get("name"), wanted)
    for route in release.of("HTTPRoute"):
        for rule in items(route.spec.get("rules")):
            for backend in items(rule.get("backendRefs")):
                yield from _leads(release, route, backend.get("name"), backend.get("port"))


def _leads(release: Release, found: KubernetesObject, name: Any, port: Any) -> Found:
    service = release.named("Service", name)
    if service is None:
        yield found, f"leads to Service {name}, which is not there"
    elif port not in {
        value for entry in items(service.spec.get("ports")) for value in _names_of(entry)
    }:
        yield found, f"leads to port {port} of Service {name}, which it does not have"


def _names_of(port: Mapping[str, Any]) -> tuple[Any, Any]:
    return port.get("name"), port.get("port")


@_rule("address")
def _address(release: Release) -> Found:
    for workload in release.workloads:
        for variable, value in _environment(release, workload):
            if "://" not in value:
                continue
            try:
                parts = urlsplit(value)
                host, port = parts.hostname or "", parts.port
            except ValueError:
                yield workload, f"{variable} is no address: {value}"
                continue
            if not host or "." in host or ":" in host or host in _EVERYWHERE:
                continue  # Not one of this namespace's own names.
            port = port or _USUAL_PORTS.get(parts.scheme)
            service = release.named("Service", host)
            if service is None:
                yield workload, f"{variable} leads to Service {host}, which is not there"
            elif service.spec.get("type") == "ExternalName":
                continue  # What it leads to has ports that nobody knows here.
            elif port not in {entry.get("port") for entry in items(service.spec.get("ports"))}:
                yield workload, f"{variable} leads to port {port} of Service {host}"


def _environment(release: Release, workload: KubernetesObject) -> Iterator[tuple[str, str]]:
    """Yield the variables of a workload's containers whose values are known, ConfigMaps read."""
    for _, container in containers(workload.pod):
        for source in items(container.get("envFrom")):
            name = mapping(source.get("configMapRef")).get("name")
            config = release.named("ConfigMap", name)
            for variable, value in mapping(config.data.get("data") if config else None).items():
                yield str(variable), str(value)
        for entry in items(container.get("env")):
            if "value" in entry:
                yield str(entry.get("name")), str(entry["value"])


# Pods.


@_rule("probe")
def _probe(release: Release) -> Found:
    for workload in release.workloads:
        if workload.kind not in LASTING:
            continue
        for field, container in containers(workload.pod):
            if not field.startswith("containers"):
                continue  # Others come to an end, and can have no probe.
            name = container.get("name")
            for probe in ("livenessProbe", "readinessProbe"):
                if not container.get(probe):
                    yield workload, f"{name} has no {probe}"
            path = mapping(mapping(container.get("livenessProbe")).get("httpGet")).get("path", "")
            if path in ("/readyz", "/health"):
                yield workload, f"{name} is started again when what it needs is away: ask /livez"
    for workload in release.component(SERVICE):
        for _, container in containers(workload.pod):
            ready = mapping(mapping(container.get("readinessProbe")).get("httpGet"))
            if container.get("name") == "accelerapp" and ready.get("path") != "/readyz":
                yield workload, "gets requests without being asked for /readyz"


@_rule("limits")
def _limits(release: Release) -> Found:
    for workload in release.workloads:
        for _, container in containers(workload.pod):
            resources = mapping(container.get("resources"))
            for kind, names in (("requests", ("cpu", "memory")), ("limits", ("memory",))):
                for name in names:
                    if not mapping(resources.get(kind)).get(name):
                        yield workload, f"{container.get('name')} has no {kind}.{name}"
            for name, most in mapping(resources.get("limits")).items():
                asked, limit = (
                    quantity(mapping(resources.get("requests")).get(name)),
                    quantity(most),
                )
                if asked is not None and limit is not None and asked > limit:
                    yield workload, f"{container.get('name')} requests more {name} than its limit"
        for volume in items(workload.pod.get("volumes")):
            if "emptyDir" in volume and not mapping(volume["emptyDir"]).get("sizeLimit"):
                yield workload, f"volume {volume.get('name')} can fill the node: set a sizeLimit"


@_rule("image")
def _image(release: Release) -> Found:
    for workload in release.workloads:
        for _, container in containers(workload.pod):
            image = str(container.get("image", ""))
            name, _, digest = image.partition("@")
            tag = name.rpartition("/")[2].partition(":")[2]
            if digest:
                if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                    yield workload, f"{image} has no digest that there is"
            elif tag in ("", "latest"):
                yield workload, f"{image} is another image tomorrow: give a digest or a version"


@_rule("hardened")
def _hardened(release: Release) -> Found:
    for workload in release.workloads:
        if workload.pod.get("automountServiceAccountToken") is not False:
            yield workload, "has a token of the cluster: set automountServiceAccountToken: false"
        for _, container in containers(workload.pod):
            context = mapping(container.get("securityContext"))
            if context.get("readOnlyRootFilesystem") is not True:
                yield workload, f"{container.get('name')} can write its root: make it read-only"
    for account in release.of("ServiceAccount"):
        if account.data.get("automountServiceAccountToken") is not False:
            yield account, "hands out tokens: set automountServiceAccountToken: false"


@_rule("secret")
def _secret(release: Release) -> Found:
    for secret in release.of("Secret"):
        yield secret, "is in a file that people commit: refer to one that is there already"
    for workload in release.workloads:
        for variable, value in _environment(release, workload):
            if value and (SECRET.search(variable) or re.search(r"://[^/@\s]*:[^/@\s]+@", value)):
                yield workload, f"{variable} has a secret in it: take it from a Secret"


@_rule("grace")
def _grace(release: Release) -> Found:
    for workload in release.component(SERVICE):
        given = _number(workload.pod, "terminationGracePeriodSeconds", 30)
        for _, container in containers(workload.pod):
            drain_s = _drain_s(mapping(mapping(container.get("lifecycle")).get("preStop")))
            if container.get("name") == "accelerapp" and drain_s is None:
                yield workload, "gets requests while it stops: drain it with a preStop"
                continue
            grace = dict(_environment(release, workload)).get(_GRACE, "8")
            if not re.fullmatch(r"\d+(\.\d+)?", grace):
                yield workload, f"{_GRACE} is no number: {grace}"
                continue
            needed = (drain_s or 0) + float(grace)
            if needed >= given:
                yield workload, f"is killed after {given:g} s, and may need {needed:g}"


def _drain_s(stop: Mapping[str, Any]) -> float | None:
    """How long a preStop waits: Kubernetes' own `sleep`, or one of Python or a shell."""
    seconds = mapping(stop.get("sleep")).get("seconds")
    if seconds is not None:
        return float(seconds)
    command = " ".join(map(str, mapping(stop.get("exec")).get("command") or []))
    found = re.search(r"\bsleep[( ](\d+)", command)
    return float(found[1]) if found else None


# What images.toml says.


@_rule("image-description")
def _description(release: Release) -> Found:
    for component, target in TARGETS.items():
        if target not in release.settings.images:
            continue
        image = release.settings.merged(target)
        for workload in release.component(component):
            ports = _ports(workload.pod)
            for port in image.ports:
                if port.partition("/")[0] not in ports:
                    yield workload, f"does not name port {port} of {target}"
            mounts = {
                str(mount.get("mountPath"))
                for _, container in containers(workload.pod)
                for mount in items(container.get("volumeMounts"))
            }
            for volume in image.volumes:
                if volume not in mounts:
                    yield workload, f"mounts nothing at {volume}, which {target} writes"
            user = mapping(workload.pod.get("securityContext")).get("runAsUser")
            if image.user is not None and user is not None and user != image.user.uid:
                yield workload, f"runs as {user}, and {target} is made for {image.user.uid}"


# Volumes.


@_rule("volume")
def _volume(release: Release) -> Found:
    used: dict[str, list[KubernetesObject]] = {}
    for workload in release.workloads:
        declared = {str(entry.get("name")): entry for entry in items(workload.pod.get("volumes"))}
        mounted = {
            str(mount.get("name"))
            for _, container in containers(workload.pod)
            for mount in items(container.get("volumeMounts"))
        }
        claimed = {
            str(mapping(template.get("metadata")).get("name"))
            for template in items(workload.spec.get("volumeClaimTemplates"))
        }
        for name in sorted(mounted - set(declared) - claimed):
            yield workload, f"mounts {name}, which is no volume of it"
        for name in sorted(set(declared) - mounted):
            yield workload, f"has a volume {name} that nothing mounts"
        for entry in declared.values():
            claim = mapping(entry.get("persistentVolumeClaim")).get("claimName")
            if claim:
                used.setdefault(str(claim), []).append(workload)
    for claim in release.of("PersistentVolumeClaim"):
        users = used.get(claim.name, [])
        if not users:
            yield claim, "is mounted by nothing"
        modes = set(claim.spec.get("accessModes") or [])
        if modes == {"ReadOnlyMany"} or "ReadWriteMany" in modes:
            continue
        pods = sum(_most_pods(release, workload) for workload in users)
        if pods > 1:
            yield claim, f"is {', '.join(sorted(modes))}, and {pods} pods mount it"
        for workload in users:
            how = mapping(workload.spec.get("strategy")).get("type", "RollingUpdate")
            if workload.kind == "Deployment" and how != "Recreate":
                yield claim, f"cannot be mounted by the old and the new pod of {workload.title}"


def _scaled(release: Release, workload: KubernetesObject) -> KubernetesObject | None:
    for scaler in release.of("HorizontalPodAutoscaler"):
        target = mapping(scaler.spec.get("scaleTargetRef"))
        if (target.get("kind"), target.get("name")) == (workload.kind, workload.name):
            return scaler
    return None


def _most_pods(release: Release, workload: KubernetesObject) -> int:
    scaler = _scaled(release, workload)
    if scaler:
        return _number(scaler.spec, "maxReplicas", 1)
    return _number(workload.spec, "replicas", 1)


def _fewest_pods(release: Release, workload: KubernetesObject) -> int:
    scaler = _scaled(release, workload)
    if scaler:
        return _number(scaler.spec, "minReplicas", 1)
    return _number(workload.spec, "replicas", 1)


def _number(spec: Mapping[str, Any], field: str, default: int) -> int:
    """Return a field that may be absent or null, which are the same to Kubernetes."""
    value = spec.get(field)
    return default if value is None else int(value)


# Scaling and disruption.


@_rule("autoscaling")
def _autoscaling(release: Release) -> Found:
    for scaler in release.of("HorizontalPodAutoscaler"):
        target = mapping(scaler.spec.get("scaleTargetRef"))
        workload = release.named(str(target.get("kind")), target.get("name"))
        if workload is None:
            yield scaler, f"scales {target.get('kind')} {target.get('name')}, which is not there"
            continue
        if _number(scaler.spec, "minReplicas", 1) > _number(scaler.spec, "maxReplicas", 0):
            yield scaler, "wants at least more pods than at most"
        if workload.spec.get("replicas") is not None:
            yield workload, f"has replicas of its own, and {scaler.title} sets them"
        metrics = items(scaler.spec.get("metrics"))
        if not metrics:
            yield scaler, "has nothing to aim at"
        for metric in metrics:
            resource = mapping(metric.get("resource")).get("name")
            for field, container in containers(workload.pod):
                if not field.startswith("containers"):
                    continue  # Others do not count.
                requests = mapping(mapping(container.get("resources")).get("requests"))
                if resource and resource not in requests:
                    yield scaler, f"aims at a share of {resource}, and none is requested"


@_rule("disruption")
def _disruption(release: Release) -> Found:
    for budget in release.of("PodDisruptionBudget"):
        workloads = [w for w in release.workloads if _covers(budget, w.pod_labels)]
        pods = sum(_fewest_pods(release, workload) for workload in workloads)
        least, most = budget.spec.get("minAvailable"), budget.spec.get("maxUnavailable")
        if (least is None) == (most is None):
            yield budget, "needs one of minAvailable and maxUnavailable"
        elif not re.fullmatch(r"\d+%?", str(most if least is None else least)):
            yield budget, f"{most if least is None else least} is neither a number nor a share"
        elif str(most) in ("0", "0%") or (least is not None and _share(least, pods) >= pods > 0):
            yield budget, f"keeps all of {pods} pods: no node with one could ever be drained"


def _share(value: Any, whole: int) -> int:
    text = str(value)
    return math.ceil(int(text[:-1]) * whole / 100) if text.endswith("%") else int(text)
