"""What helm and kubectl say, as one line with an exit code of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.deploy.cluster import Cluster, failure
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
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.process import Completed

PLACE = Place("web", "devices", "lab")
SAID: list[tuple[str, type[PipelineError], str]] = [
    (
        "The connection to the server 127.0.0.1:9 was refused - did you specify the right host?",
        ClusterUnavailable,
        "the cluster does not answer: The connection to the server 127.0.0.1:9 was refused",
    ),
    (
        'Error: Kubernetes cluster unreachable: Get "https://10.0.0.1:6443/version": dial tcp '
        "10.0.0.1:6443: i/o timeout",
        ClusterUnavailable,
        "the cluster does not answer: Kubernetes cluster unreachable",
    ),
    (
        "E1129 memcache.go:265] couldn't get current server API group list\n"
        "Unable to connect to the server: dial tcp: lookup nowhere: no such host",
        ClusterUnavailable,
        "Unable to connect to the server: dial tcp: lookup nowhere",
    ),
    (
        "Error from server (ServiceUnavailable): the server is currently unable to handle the "
        "request",
        ClusterUnavailable,
        "is it up? try 'kubectl version'",
    ),
    ('error: context "lab" does not exist', ClusterUnavailable, "there is no context 'lab'"),
    (
        'Error: kubernetes cluster unreachable: context "lab" does not exist',
        ClusterUnavailable,
        "kubectl config get-contexts",
    ),
    (
        "error: Missing or incomplete configuration info.  Please point to an existing, complete "
        "config file",
        ClusterUnavailable,
        "no cluster is configured",
    ),
    (
        "The connection to the server localhost:8080 was refused",
        ClusterUnavailable,
        "set KUBECONFIG, or name one with --context",
    ),
    (
        "error: You must be logged in to the server (Unauthorized)",
        ClusterDenied,
        "the cluster does not know this user",
    ),
    (
        "Error: query: failed: the server has asked for the client to provide credentials",
        ClusterDenied,
        "log in again",
    ),
    (
        'Error from server (Forbidden): deployments.apps is forbidden: User "u" cannot list',
        ClusterDenied,
        "ask whoever runs the cluster",
    ),
    (
        'Error: INSTALLATION FAILED: pods "a" is forbidden: exceeded quota: small, requested: x',
        HelmFailed,
        "the cluster's own rules refuse it: INSTALLATION FAILED: pods",
    ),
    (
        'Error from server (Forbidden): pods "a" is forbidden: violates PodSecurity "restricted"',
        HelmFailed,
        "see quota and admission policies",
    ),
    (
        'Error: admission webhook "policy.example" denied the request: no registry',
        HelmFailed,
        "the cluster's own rules refuse it",
    ),
    (
        'Error from server (NotFound): namespaces "devices" not found',
        NamespaceMissing,
        "there is no namespace devices; kubectl create namespace devices, or --create-namespace",
    ),
    ("Error: release: not found", ReleaseMissing, "there is no such release in namespace devices"),
    (
        "Error: another operation (install/upgrade/rollback) is in progress",
        ReleaseBusy,
        "invoke deploy.rollback --release web --namespace devices",
    ),
    (
        'Error: resource mapping not found: no matches for kind "HTTPRoute" in version '
        '"gateway.networking.k8s.io/v1"\nensure CRDs are installed first',
        HelmFailed,
        "the cluster has no HTTPRoute of gateway.networking.k8s.io/v1; install what brings it, or "
        "--set httpRoute.enabled=false",
    ),
    (
        'Error: no matches for kind "Thing" in version "v1"',
        HelmFailed,
        "install what brings it",
    ),
    (
        'Error: UPGRADE FAILED: conflict occurred: .spec.replicas is owned by "kubectl"',
        HelmFailed,
        'helm upgrade: UPGRADE FAILED: conflict occurred: .spec.replicas is owned by "kubectl"',
    ),
    ("", HelmFailed, "helm upgrade: exit code 1"),
]


@pytest.mark.parametrize(("stderr", "kind", "expected"), SAID, ids=[said[2][:50] for said in SAID])
def test_what_is_said_has_an_exit_code(
    stderr: str, kind: type[PipelineError], expected: str
) -> None:
    error = failure(Completed(("/bin/helm", "upgrade", "web"), 1, "", stderr), PLACE)
    assert type(error) is kind
    assert expected in str(error)
    assert "\n" not in str(error)


class Answers:
    """A runner that answers by the last words of what it is asked."""

    def __init__(self, **said: str) -> None:
        self.said = said
        self.asked: list[tuple[tuple[str, ...], bytes | None]] = []

    def __call__(self, argv: tuple[str, ...], *, stdin: bytes | None = None, **_: Any) -> Completed:
        self.asked.append((argv, stdin))
        for key, text in self.said.items():
            if key in argv:
                return Completed(argv, 0, text, "")
        raise AssertionError(argv)


def cluster(answers: Any) -> Cluster:
    return Cluster("helm", "kubectl", PLACE, answers)


def test_both_programs_are_asked_about_the_same_place() -> None:
    assert PLACE.kubectl("get", "pods") == (
        "--context",
        "lab",
        "--namespace",
        "devices",
        "--request-timeout",
        "20s",
        "get",
        "pods",
    )
    assert PLACE.helm("history", "web") == (
        "history",
        "web",
        "--namespace",
        "devices",
        "--kube-context",
        "lab",
    )
    assert "--context" not in Place("web", "devices").kubectl("get")
    assert "--kube-context" not in Place("web", "devices").helm("list")


@pytest.mark.parametrize("given", ["v1.28.0", "v1.36.2-gke.1500", "1.31.4+k3s1"])
def test_a_version_that_will_do(given: str) -> None:
    found = cluster(Answers(**{"/version": json.dumps({"gitVersion": given})})).version()
    assert found == given.removeprefix("v").partition("-")[0].partition("+")[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("v1.27.9", "Kubernetes v1.27.9, which is not supported"), ("", "does not say what it is")],
)
def test_a_version_that_will_not(given: str, expected: str) -> None:
    with pytest.raises(ClusterUnavailable, match=expected):
        cluster(Answers(**{"/version": json.dumps({"gitVersion": given})})).version()


def test_a_cluster_that_hangs() -> None:
    def hang(argv: tuple[str, ...], **_: Any) -> Completed:
        raise TimeoutError("'kubectl' was not done after 120 s")

    with pytest.raises(ClusterUnavailable, match="does not answer: 'kubectl' was not done"):
        cluster(hang).version()


def review(allowed: bool) -> dict[str, Any]:
    return {"kind": "SelfSubjectAccessReview", "status": {"allowed": allowed}}


def objects(*kinds: str) -> list[KubernetesObject]:
    return [KubernetesObject({"kind": kind, "apiVersion": "v1"}, "") for kind in kinds]


NEEDED = (
    [(verb, "", "pods") for verb in ("list",)]
    + [(verb, "", "secrets") for verb in ("create", "delete", "get", "list", "update")]
    + [(verb, "", "services") for verb in ("create", "delete", "get", "list", "patch")]
    + [(verb, "apps", "deployments") for verb in ("create", "get", "list", "patch")]
    + [("list", "apps", "replicasets"), ("delete", "policy", "poddisruptionbudgets")]
)


@pytest.mark.parametrize("together", [True, False])
def test_permissions_are_asked_for_all_at_once(together: bool) -> None:
    answers = [review(True)] * len(NEEDED)
    answers[5] = review(False)
    answers[-1] = {"kind": "SelfSubjectAccessReview"}
    text = (
        json.dumps({"kind": "List", "items": answers})
        if together
        else "\n".join(json.dumps(one) for one in answers)
    )
    asked = Answers(create=text)
    before = objects("Deployment", "PodDisruptionBudget")
    with pytest.raises(ClusterDenied) as caught:
        # Services are new, budgets go, and a Thing is nothing that is known here.
        cluster(asked).need_permissions(before, objects("Deployment", "Service", "Thing"))
    said = "may not update secrets, delete poddisruptionbudgets in namespace devices"
    assert said in str(caught.value)
    ((argv, stdin),) = asked.asked
    assert argv[-1] == "--validate=false"
    assert stdin is not None
    sent = [one["spec"]["resourceAttributes"] for one in json.loads(stdin)["items"]]
    assert [(one["verb"], one["group"], one["resource"]) for one in sent] == NEEDED
    assert {one["namespace"] for one in sent} == {"devices"}


def test_a_namespace_that_may_not_be_looked_at_is_not_in_the_way() -> None:
    def forbidden(argv: tuple[str, ...], **_: Any) -> Completed:
        said = 'Error from server (Forbidden): namespaces "devices" is forbidden: User "u" cannot'
        return Completed(argv, 1, "", said)

    assert cluster(forbidden).has_namespace()


def test_a_namespace_is_made_with_the_profile_enforced() -> None:
    made: list[bytes] = []

    def answer(argv: tuple[str, ...], *, stdin: bytes | None = None, **_: Any) -> Completed:
        if "create" in argv:
            assert stdin is not None
            made.append(stdin)
            return Completed(argv, 0, "{}", "")
        return Completed(
            argv, 1, "", 'Error from server (NotFound): namespaces "devices" not found'
        )

    assert not cluster(answer).has_namespace()
    assert not made
    cluster(answer).make_namespace()
    (document,) = map(json.loads, made)
    assert document["metadata"] == {
        "name": "devices",
        "labels": {
            f"pod-security.kubernetes.io/{mode}": "restricted"
            for mode in ("enforce", "audit", "warn")
        },
    }


def test_a_page_is_no_cluster() -> None:
    with pytest.raises(ClusterUnavailable, match="is no Kubernetes API server: '<html>Log in"):
        cluster(Answers(**{"/version": "<html>Log in</html>"})).version()
    with pytest.raises(ClusterUnavailable, match="is no Kubernetes API server"):
        cluster(Answers(create="<html>")).need_permissions([], [])


def test_going_back_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    seen = []

    def helm(argv: tuple[str, ...], on_line: Any, **_: Any) -> int:
        seen.append((argv, signal.getsignal(signal.SIGINT)))
        return 0

    subject = Cluster("helm", "kubectl", PLACE, Answers(), helm)
    before = signal.getsignal(signal.SIGINT)
    subject.finish(("rollback", "web", "1"))
    subject.upgrade(("upgrade", "web"))
    assert seen == [
        (("helm", "rollback", "web", "1"), signal.SIG_IGN),
        (("helm", "upgrade", "web"), before),
    ]
    assert signal.getsignal(signal.SIGINT) is before
