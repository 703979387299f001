"""A cluster as this user may use it: what it answers, or one line about why it does not."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import tools
from pipeline.deploy import commands
from pipeline.deploy.commands import Place
from pipeline.errors import (
    ClusterDenied,
    ClusterUnavailable,
    HelmFailed,
    NamespaceMissing,
    PipelineError,
    ReleaseBusy,
    ReleaseMissing,
)
from pipeline.helm.commands import find_helm
from pipeline.kubernetes.objects import KubernetesObject, mapping
from pipeline.kubernetes.schemas import OLDEST
from pipeline.process import Completed, Runner, Streamer, stream

TIMEOUT_S = 120.0
_PLURALS = {
    "ConfigMap": ("", "configmaps"),
    "Deployment": ("apps", "deployments"),
    "HTTPRoute": ("gateway.networking.k8s.io", "httproutes"),
    "HorizontalPodAutoscaler": ("autoscaling", "horizontalpodautoscalers"),
    "Ingress": ("networking.k8s.io", "ingresses"),
    "NetworkPolicy": ("networking.k8s.io", "networkpolicies"),
    "PersistentVolumeClaim": ("", "persistentvolumeclaims"),
    "Pod": ("", "pods"),
    "PodDisruptionBudget": ("policy", "poddisruptionbudgets"),
    "PrometheusRule": ("monitoring.coreos.com", "prometheusrules"),
    "ReplicaSet": ("apps", "replicasets"),
    "Secret": ("", "secrets"),
    "Service": ("", "services"),
    "ServiceAccount": ("", "serviceaccounts"),
    "ServiceMonitor": ("monitoring.coreos.com", "servicemonitors"),
}
_WRITES = ("get", "create", "patch")
_RECORDS = ("get", "list", "create", "update", "delete")
"""What helm does with its own history, which is in Secrets."""
_WATCHED = ("Deployment", "Pod", "ReplicaSet", "Service")
_ENFORCED = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
}


@dataclass(frozen=True)
class Cluster:
    """helm and kubectl, and the place that they are asked about."""

    helm: str
    kubectl: str
    place: Place
    runner: Runner
    streamer: Streamer = stream

    @classmethod
    def open(cls, place: Place, runner: Runner) -> Cluster:
        """Return the cluster; raises `ToolMissing` without helm or kubectl."""
        return cls(find_helm(runner), tools.find("kubectl"), place, runner)

    def upgrade(self, words: Sequence[str]) -> None:
        """Have helm install or upgrade; raises what `failure` makes of an error.

        Ctrl-C is passed on: an upgrade that is interrupted puts helm's record in order, one that
        is killed would leave the release pending.
        """
        argv = (self.helm, *words)
        printed: list[str] = []
        code = self.streamer(argv, printed.append)
        if code:
            raise failure(Completed(argv, code, "", "\n".join(printed)), self.place)

    def finish(self, words: Sequence[str]) -> None:
        """Have helm roll back or uninstall, to its end: neither survives Ctrl-C in order."""
        with _undisturbed():
            self.upgrade(words)

    def ask_kubectl(self, words: Sequence[str], stdin: bytes | None = None) -> Completed:
        """Run kubectl; raises what `failure` makes of an error."""
        return self._asked((self.kubectl, *words), stdin)

    def try_kubectl(self, words: Sequence[str]) -> Completed:
        """Run kubectl, and leave what it says to the caller."""
        return self.runner((self.kubectl, *words), timeout_s=TIMEOUT_S)

    def ask_helm(self, words: Sequence[str]) -> Completed:
        """Run helm; raises what `failure` makes of an error."""
        return self._asked((self.helm, *words), None)

    def _asked(self, argv: tuple[str, ...], stdin: bytes | None) -> Completed:
        try:
            done = self.runner(argv, stdin=stdin, timeout_s=TIMEOUT_S)
        except TimeoutError as error:
            raise ClusterUnavailable(
                f"the cluster does not answer: {error}", hint="is it up? try 'kubectl version'"
            ) from None
        if not done.ok:
            raise failure(done, self.place)
        return done

    def get(
        self, kinds: Sequence[str], selector: str = "", fields: str = ""
    ) -> list[dict[str, Any]]:
        """Return the objects of some kinds in the namespace."""
        done = self.ask_kubectl(commands.get(self.place, kinds, selector, fields))
        found = document(done)
        return list(found.get("items", [found] if found.get("kind") else []))

    def version(self) -> str:
        """Return the version, such as `1.36.0`; raises `ClusterUnavailable` for an old one."""
        done = self.ask_kubectl(commands.raw(self.place, "/version"))
        given = str(mapping(document(done)).get("gitVersion", ""))
        found = re.match(r"v?(\d+)\.(\d+)(\.\d+)?", given)
        if found is None:
            raise ClusterUnavailable(
                f"the cluster does not say what it is: {given!r}", hint="is it Kubernetes?"
            )
        if (int(found[1]), int(found[2])) < tuple(map(int, OLDEST.split("."))):
            raise ClusterUnavailable(
                f"the cluster has Kubernetes {given}, which is not supported",
                hint=f"it has to have {OLDEST} or newer",
            )
        return found[0].removeprefix("v")

    def has_namespace(self) -> bool:
        """Return whether the namespace is there.

        Who may not look at namespaces is told by what comes next.
        """
        name = self.place.namespace
        try:
            self.ask_kubectl(self.place.kubectl("get", "namespace", name, "--output", "name"))
        except ClusterDenied:
            return True
        except NamespaceMissing:
            return False
        return True

    def make_namespace(self) -> None:
        """Make the namespace, with the restricted profile enforced."""
        wanted = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.place.namespace, "labels": _ENFORCED},
        }
        self.ask_kubectl(commands.create(self.place), json.dumps(wanted).encode())

    def need_permissions(
        self,
        before: Iterable[KubernetesObject],
        after: Iterable[KubernetesObject],
    ) -> None:
        """Raise `ClusterDenied` with all that this user may not do and a change needs.

        That is to read and write what is there `after`, to delete what is there only `before`
        or only `after`, since a change may have to be taken back, helm's own records, and to see
        what becomes of pods.
        """
        old, new = (
            {_PLURALS[found.kind] for found in some if found.kind in _PLURALS}
            for some in (before, after)
        )
        needed = {(verb, *_PLURALS["Secret"]) for verb in _RECORDS}
        needed |= {("list", *_PLURALS[kind]) for kind in _WATCHED}
        needed |= {(verb, *kind) for kind in new for verb in _WRITES}
        needed |= {("delete", *kind) for kind in old ^ new}
        asked = sorted(needed, key=lambda one: (one[1], one[2], one[0]))
        reviews = [
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {
                        "namespace": self.place.namespace,
                        "verb": verb,
                        "group": group,
                        "resource": resource,
                    }
                },
            }
            for verb, group, resource in asked
        ]
        listed = {"apiVersion": "v1", "kind": "List", "items": reviews}
        done = self.ask_kubectl(
            commands.create(self.place, "--validate=false"), json.dumps(listed).encode()
        )
        answers = _documents(done)
        denied = [
            f"{verb} {resource}"
            for (verb, _, resource), answer in zip(asked, answers, strict=True)
            if not answer.get("status", {}).get("allowed")
        ]
        if denied:
            raise ClusterDenied(
                f"this user may not {', '.join(denied)} in namespace {self.place.namespace}",
                hint="ask whoever runs the cluster for a role that may",
            )


def document(done: Completed) -> Any:
    """Return what a command prints as JSON; raises `ClusterUnavailable` for anything else."""
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise _no_json(done.stdout) from None


def _no_json(text: str) -> ClusterUnavailable:
    shown = " ".join(text.split())[:60]
    return ClusterUnavailable(
        f"what answers is no Kubernetes API server: {shown!r}",
        hint="is there a proxy, or a login page, before it?",
    )


def _documents(done: Completed) -> list[dict[str, Any]]:
    """Return the objects that `kubectl create --output json` prints: a List, or one by one."""
    text, decoder, at = done.stdout, json.JSONDecoder(), 0
    found: list[dict[str, Any]] = []
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            one, at = decoder.raw_decode(text, at)
        except ValueError:
            raise _no_json(text) from None
        found += one["items"] if one.get("kind") == "List" else [one]
    return found


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Take no notice of Ctrl-C for a while; it is for the main thread alone to decide."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# What helm and kubectl say, as errors of ours.

_AWAY = re.compile(
    r"connection to the server|unable to connect|cluster unreachable|connection refused|"
    r"no such host|i/o timeout|TLS handshake timeout|deadline exceeded|EOF$|"
    r"currently unable to handle|ServiceUnavailable|Client\.Timeout",
    re.IGNORECASE,
)
_NO_CONTEXT = re.compile(r'context "?([^"\s]+)"? does not exist|context was not found', re.I)
_NO_CONFIG = re.compile(
    r"no configuration has been provided|Missing or incomplete configuration|localhost:8080"
    r"|invalid configuration",
    re.IGNORECASE,
)
_UNKNOWN_USER = re.compile(
    r"\bUnauthorized\b|must be logged in|to provide credentials|certificate.*(expired|unknown)",
    re.I,
)
_DENIED = re.compile(r'User "[^"]*" cannot |\(Forbidden\): (?!.*(exceeded quota|PodSecurity))')
_POLICY = re.compile(r"\bforbidden\b|denied the request|admission webhook", re.IGNORECASE)
"""What a quota, Pod Security or an admission policy says: nobody's permission mends it."""
_NO_NAMESPACE = re.compile(r'namespaces "([^"]+)" not found', re.IGNORECASE)
_NO_KIND = re.compile(r'no matches for kind "(\w+)" in version "([^"]+)"')
_BUSY = re.compile(r"another operation .* is in progress", re.IGNORECASE)
_NO_RELEASE = re.compile(
    r"release: not found|release not loaded|has no \d+ version|no revision", re.I
)
_OPTIONAL = {
    "ServiceMonitor": "serviceMonitor.enabled=false,prometheusRule.enabled=false",
    "PrometheusRule": "prometheusRule.enabled=false",
    "HTTPRoute": "httpRoute.enabled=false",
}


def failure(done: Completed, place: Place) -> PipelineError:
    """Return the error for what helm or kubectl says when it does not do what it is asked."""
    text = done.stderr.strip() or done.stdout.strip()
    said = _reason(text) or done.reason
    if found := _NO_CONTEXT.search(text):
        name = found[1] or place.context
        return ClusterUnavailable(
            f"there is no context '{name}'", hint="see 'kubectl config get-contexts'"
        )
    if _NO_CONFIG.search(said):
        return ClusterUnavailable(
            f"no cluster is configured: {said}", hint="set KUBECONFIG, or name one with --context"
        )
    if _UNKNOWN_USER.search(text):
        return ClusterDenied(
            f"the cluster does not know this user: {said}", hint="log in again, then try again"
        )
    if found := _NO_NAMESPACE.search(text):
        return NamespaceMissing(
            f"there is no namespace {found[1]}",
            hint=f"kubectl create namespace {found[1]}, or --create-namespace",
        )
    if _DENIED.search(text):
        return ClusterDenied(said, hint="ask whoever runs the cluster for a role that may")
    if _POLICY.search(said):
        return HelmFailed(
            f"the cluster's own rules refuse it: {said}", hint="see quota and admission policies"
        )
    if _AWAY.search(said):
        return ClusterUnavailable(
            f"the cluster does not answer: {said}", hint="is it up? try 'kubectl version'"
        )
    if _BUSY.search(text):
        return busy(place, "changed by somebody else")
    if _NO_RELEASE.search(text):
        return ReleaseMissing(
            f"there is no such release in namespace {place.namespace}: {said}",
            hint=f"helm list --namespace {place.namespace}",
        )
    if found := _NO_KIND.search(text):
        off = _OPTIONAL.get(found[1])
        way = f"install what brings it, or --set {off}" if off else "install what brings it"
        return HelmFailed(f"the cluster has no {found[1]} of {found[2]}", hint=way)
    program = "helm" if "helm" in done.argv[0].rpartition("/")[2] else "kubectl"
    return HelmFailed(f"{program} {_verb(done.argv)}: {said}")


def busy(place: Place, what: str) -> ReleaseBusy:
    """Return the error for a release that is not at rest."""
    return ReleaseBusy(
        f"release {place.release} is {what}: another command is at it, or one was cut off",
        hint=f"wait for it; when nobody is at it: invoke deploy.rollback --release {place.release}"
        f" --namespace {place.namespace}",
    )


def _reason(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    told = [line for line in lines if line and not line.startswith(("W1", "E1", "I1", "level="))]
    for line in reversed(told):
        if line.startswith(("Error", "error", "The connection", "Unable")):
            return line.removeprefix("Error: ").removeprefix("error: ")[:400]
    return told[-1][:400] if told else ""


def _verb(argv: Sequence[str]) -> str:
    verbs = {"upgrade", "rollback", "uninstall", "history", "get", "create", "logs"}
    return next((word for word in argv[1:] if word in verbs), "")
