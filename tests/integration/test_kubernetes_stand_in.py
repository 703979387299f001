"""The stand-in for a cluster does what real helm and kubectl expect of one.

What other tests conclude from it is worth as much as this: that these clients do their whole
work against it, and that its refusals are worded as a server's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import find_tool
from tests.standins.kubernetes import Cluster, running_cluster

UNCHECKED = "that the stand-in for a cluster is one to helm and kubectl"
TIMEOUT_S = 60
WAIT = ("--wait", "--timeout=15s")
PROGRAMS = ["helm", *(["helm3"] if shutil.which("helm3") else [])]

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    "values.yaml": "image: example.com/web:1\nextra: true\nreplicas: 2\n",
    "templates/all.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data:
  kept: "1"
  {{- if .Values.extra }}
  extra: "1"
  {{- end }}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: {{ .Values.image }}
          ports: [{name: http, containerPort: 8080}]
          env:
            - {name: KEPT, value: "1"}
            {{- if .Values.extra }}
            - {name: EXTRA, value: "1"}
            {{- end }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: public}]
  rules:
    - backendRefs: [{name: web, port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-test, annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers: [{name: test, image: example.com/test:1}]
""",
}

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}


class Clients:
    """helm and kubectl with a kubeconfig, caches and a home of their own."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.folder = folder
        self.kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        self.chart = folder / "chart"
        for name, text in CHART.items():
            (self.chart / name).parent.mkdir(parents=True, exist_ok=True)
            (self.chart / name).write_text(text)

    def run(
        self, program: str, *arguments: str, body: Any = None
    ) -> subprocess.CompletedProcess[str]:
        found = find_tool(program, unchecked=UNCHECKED)
        return subprocess.run(
            (str(found), *arguments),
            input=json.dumps(body),
            env={
                "HOME": str(self.folder),
                "KUBECONFIG": str(self.kubeconfig),
                "PATH": os.environ["PATH"],
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def helm(self, *arguments: str, program: str = "helm") -> str:
        return self._succeed(program, *arguments)

    def kubectl(self, *arguments: str, body: Any = None) -> str:
        return self._succeed("kubectl", *arguments, body=body)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def _succeed(self, program: str, *arguments: str, body: Any = None) -> str:
        done = self.run(program, *arguments, body=body)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def complaint(self, program: str, *arguments: str, body: Any = None) -> str:
        done = self.run(program, *arguments, body=body)
        assert done.returncode != 0, done.stdout
        return done.stderr.strip()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(delay_s=0.05) as cluster:
        yield cluster


@pytest.fixture
def clients(tmp_path: Path, cluster: Cluster) -> Clients:
    return Clients(tmp_path, cluster)


def container_of(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def names_of_env(deployment: dict[str, Any]) -> list[str]:
    return [variable["name"] for variable in container_of(deployment)["env"]]


def conditions_of(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {condition["type"]: condition for condition in obj["status"].get("conditions", [])}


def deployment(name: str = "web", image: str = "example.com/web:1", **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        }
        | spec,
    }


def ready_replicas(cluster: Cluster, name: str = "web") -> int:
    found = cluster.find("deployments", name) or {}
    return int(found.get("status", {}).get("readyReplicas", 0))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_release_lives(clients: Clients, cluster: Cluster, program: str) -> None:
    chart = str(clients.chart)
    kinds = ["configmaps/web", "services/web", "deployments/web", "httproutes/web"]

    clients.helm("install", "web", chart, *WAIT, program=program)
    verbs = {"helm": "PATCH", "helm3": "POST"}
    assert cluster.changes() == [f"{verbs[program]} {kind}" for kind in kinds]
    assert "POST secrets/sh.helm.release.v1.web.v1" in cluster.all_changes()
    assert ready_replicas(cluster) == 2
    first = clients.get("deployment", "web")
    assert names_of_env(first) == ["KEPT", "EXTRA"]
    assert first["metadata"]["generation"] == 1

    cluster.forget()
    new = ("--set", "extra=false,image=example.com/web:2,replicas=3")
    clients.helm("upgrade", "web", chart, *new, *WAIT, program=program)
    assert "PATCH deployments/web" in cluster.changes()
    second = clients.get("deployment", "web")
    assert names_of_env(second) == ["KEPT"]
    assert container_of(second)["image"] == "example.com/web:2"
    assert container_of(second)["imagePullPolicy"] == "IfNotPresent"
    assert second["metadata"]["generation"] == 2
    assert clients.get("configmap", "web")["data"] == {"kept": "1"}
    cluster.settle()
    pods = clients.get("pods", "-l", "app=web")["items"]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == ["example.com/web:2"] * 3

    clients.helm("rollback", "web", "1", *WAIT, program=program)
    third = clients.get("deployment", "web")
    assert names_of_env(third) == ["KEPT", "EXTRA"]
    assert third["spec"]["replicas"] == 2
    assert third["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert clients.get("configmap", "web")["data"] == {"kept": "1", "extra": "1"}
    history = json.loads(clients.helm("history", "web", "-o", "json", program=program))
    states = [(entry["revision"], entry["status"]) for entry in history]
    assert states == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    cluster.log = lambda name: f"{name} says hello\n"
    assert "web-test says hello" in clients.helm("test", "web", "--logs", program=program)

    clients.helm("uninstall", "web", "--wait", program=program)
    cluster.settle()
    assert clients.get("deployments,replicasets,pods,services", "-l", "app=web")["items"] == []
    assert clients.get("secrets")["items"] == []


def test_what_is_only_tried_leaves_nothing(clients: Clients, cluster: Cluster) -> None:
    clients.helm("install", "web", str(clients.chart), "--dry-run=server")
    clients.kubectl("apply", "--server-side", "--dry-run=server", "-f-", body=deployment())
    clients.kubectl("create", "--dry-run=server", "-f-", body=deployment())
    assert cluster.all_changes() == []
    tried = [request for request in cluster.requests if request.dry_run]
    assert [(request.method, request.status) for request in tried] == [
        ("PATCH", 201),
        ("POST", 201),
    ]
    assert cluster.find("deployments", "web") is None


@pytest.mark.skipif(len(PROGRAMS) == 1, reason="a bonus, where there is a helm3")
def test_helm_4_takes_over_from_helm_3(clients: Clients) -> None:
    clients.helm("install", "web", str(clients.chart), program="helm3")
    new = ("--set", "extra=false", "--server-side=true", *WAIT)
    clients.helm("upgrade", "web", str(clients.chart), *new)
    assert names_of_env(clients.get("deployment", "web")) == ["KEPT"]
    assert clients.get("configmap", "web")["data"] == {"kept": "1"}


def test_fields_have_owners(clients: Clients, cluster: Cluster) -> None:
    apply = ("apply", "--server-side", "-f-")
    clients.kubectl(*apply, body={**CONFIG_MAP, "data": {"kept": "1", "gone": "1"}})
    clients.kubectl(*apply, body={**CONFIG_MAP, "data": {"kept": "1"}})
    assert clients.get("configmap", "settings")["data"] == {"kept": "1"}

    other = (*apply, "--field-manager=other")
    clients.kubectl(*other, body={**CONFIG_MAP, "data": {"kept": "1", "own": "1"}})
    complaint = clients.complaint("kubectl", *other, body={**CONFIG_MAP, "data": {"kept": "2"}})
    assert complaint.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl": .data.kept\n'
    )
    clients.kubectl(*other, "--force-conflicts", body={**CONFIG_MAP, "data": {"kept": "2"}})
    assert clients.get("configmap", "settings")["data"] == {"kept": "2"}

    body = deployment("worker")
    for empty in ({"sizeLimit": "1Gi"}, {}):
        volumes = [{"name": "data", "emptyDir": empty}]
        body["spec"]["template"]["spec"]["volumes"] = volumes
        clients.kubectl(*apply, body=body)
        live = clients.get("deployment", "worker")["spec"]["template"]["spec"]
        assert live["volumes"] == volumes
    del body["spec"]["template"]["spec"]["volumes"]
    clients.kubectl(*apply, body=body)
    assert "volumes" not in clients.get("deployment", "worker")["spec"]["template"]["spec"]

    clients.helm("install", "web", str(clients.chart), *WAIT)
    clients.kubectl("scale", "deployment/web", "--replicas=1")
    done = clients.run("helm", "upgrade", "web", str(clients.chart), "--set", "replicas=4")
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1' in done.stderr
    assert ".spec.replicas" in done.stderr


def test_kubectl_does_its_work(clients: Clients, cluster: Cluster) -> None:
    body = deployment(replicas=2)
    clients.kubectl("apply", "-f-", body=body)
    assert "successfully rolled out" in clients.kubectl("rollout", "status", "deployment/web")
    clients.kubectl("set", "image", "deployment/web", "web=example.com/web:2")
    clients.kubectl("rollout", "status", "deployment/web")
    clients.kubectl("rollout", "undo", "deployment/web")
    clients.kubectl("rollout", "status", "deployment/web")
    assert container_of(clients.get("deployment", "web"))["image"] == "example.com/web:1"
    clients.kubectl("scale", "deployment/web", "--replicas=0")
    clients.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=5s")
    container_of(body)["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    clients.kubectl("apply", "-f-", body=body)
    container_of(body)["env"].pop(0)
    clients.kubectl("apply", "-f-", body=body)
    assert names_of_env(clients.get("deployment", "web")) == ["B"]
    clients.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=5s")
    clients.kubectl("create", "namespace", "other")
    clients.kubectl("delete", "namespace", "other")
    clients.kubectl("delete", "deployment", "web")
    assert clients.get("pods,replicasets")["items"] == []


def test_pods_answer_through_proxies(clients: Clients, cluster: Cluster) -> None:
    clients.helm("install", "web", str(clients.chart), *WAIT)
    cluster.settle()
    first, second = (pod["metadata"]["name"] for pod in cluster.objects("pods"))
    pods = "/api/v1/namespaces/default/pods"
    health = clients.kubectl("get", "--raw", f"{pods}/http:{first}:8080/proxy/health?full=1")
    assert json.loads(health) == {"status": "pass"}
    cluster.answer_for(lambda path: (200, f"{path} of the second"), name=second)
    assert clients.kubectl("get", "--raw", f"{pods}/{second}/proxy/version") == (
        "/version of the second"
    )
    cluster.answer_for(lambda path: (503, {"status": "fail"}), selector="app=web")
    complaint = clients.complaint("kubectl", "get", "--raw", f"{pods}/{first}/proxy/")
    assert complaint.startswith("Error from server (ServiceUnavailable)")
    services = "/api/v1/namespaces/default/services"
    cluster.answer_for(lambda path: (200, path), selector="app=web")
    assert clients.kubectl("get", "--raw", f"{services}/web:http/proxy/ready") == "/ready"
    (subset,) = clients.get("endpoints", "web")["subsets"]
    assert [port["port"] for port in subset["ports"]] == [8080]
    assert len(subset["addresses"]) == 2


def test_a_missing_image_stops_a_rollout(clients: Clients, cluster: Cluster) -> None:
    clients.helm("install", "web", str(clients.chart), *WAIT)
    cluster.break_image("web:2", message="manifest unknown")
    new = ("--set", "image=example.com/web:2")
    failed = ("upgrade", "web", str(clients.chart), *new, "--wait", "--timeout=1s")
    assert "UPGRADE FAILED" in clients.complaint("helm", *failed)
    found = clients.get("deployment", "web")
    assert found["status"]["updatedReplicas"] == 1
    assert found["status"]["availableReplicas"] == 2
    waiting = [
        status["state"]["waiting"]
        for pod in clients.get("pods", "-l", "app=web")["items"]
        for status in pod["status"]["containerStatuses"]
        if "waiting" in status["state"]
    ]
    assert waiting == [{"reason": "ImagePullBackOff", "message": "manifest unknown"}]
    events = clients.get("events", "--field-selector=involvedObject.kind=Pod")["items"]
    assert [(event["type"], event["message"]) for event in events] == [
        ("Warning", "manifest unknown")
    ]
    cluster.heal("web:2")
    clients.kubectl("rollout", "status", "deployment/web", "--timeout=10s")
    assert len(cluster.objects("pods", selector="app=web")) == 2


def test_pods_fail_in_every_way(cluster: Cluster) -> None:
    def pod(name: str) -> dict[str, Any]:
        found = cluster.objects("pods", selector=f"app={name}")
        return found[0] if found and "status" in found[0] else {}

    def has_trouble(name: str) -> dict[str, Any]:
        found = pod(name)
        events = [
            event["message"]
            for event in cluster.objects("events")
            if found and event["involvedObject"]["uid"] == found["metadata"]["uid"]
        ]
        return found if events else {}

    cluster.break_image("killed", reason="CrashLoopBackOff", ended="OOMKilled", exit_code=137)
    cluster.break_readiness("unready")
    cluster.unschedulable("homeless")
    for name in ("killed", "unready", "homeless", "slow"):
        cluster.put(deployment(name, f"example.com/{name}:1", progressDeadlineSeconds=1))
    needy = deployment("needy")
    container_of(needy)["envFrom"] = [{"secretRef": {"name": "password"}}]
    cluster.put(needy)

    (status,) = cluster.wait_for(lambda: has_trouble("killed"))["status"]["containerStatuses"]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["restartCount"] == 4
    ended = status["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    unready = cluster.wait_for(lambda: has_trouble("unready"))
    assert unready["status"]["phase"] == "Running"
    assert conditions_of(unready)["Ready"]["status"] == "False"
    homeless = cluster.wait_for(lambda: has_trouble("homeless"))
    assert homeless["status"]["phase"] == "Pending"
    assert conditions_of(homeless)["PodScheduled"]["reason"] == "Unschedulable"
    (status,) = cluster.wait_for(lambda: has_trouble("needy"))["status"]["containerStatuses"]
    assert status["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'secret "password" not found',
    }

    def is_overdue() -> bool:
        found = conditions_of(cluster.find("deployments", "killed") or {})
        return found["Progressing"]["reason"] == "ProgressDeadlineExceeded"

    cluster.wait_for(is_overdue)
    cluster.heal()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}}
    cluster.put(secret)
    for name in ("killed", "unready", "homeless", "needy"):
        cluster.wait_for(lambda name=name: ready_replicas(cluster, name) == 1)


def test_a_user_may_not_do_everything(clients: Clients, cluster: Cluster) -> None:
    can_i = ("auth", "can-i", "create", "deployments.apps")
    assert clients.kubectl(*can_i) == "yes\n"
    cluster.deny("create", "deployments")
    cluster.deny("get", "secrets", "password")
    done = clients.run("kubectl", *can_i)
    assert (done.returncode, done.stdout) == (1, "no\n")
    create = clients.complaint("kubectl", "create", "-f-", body=deployment())
    forbidden = (
        'deployments.apps is forbidden: User "tester" cannot create resource "deployments" in '
        'API group "apps" in the namespace "default"'
    )
    assert f"Error from server (Forbidden): {forbidden}" in create.replace(
        'error when creating "STDIN": ', ""
    )
    named = forbidden.replace("apps is", 'apps "web" is')
    assert named in clients.complaint("helm", "install", "web", str(clients.chart))
    assert clients.complaint("kubectl", "get", "secret", "password") == (
        'Error from server (Forbidden): secrets "password" is forbidden: User "tester" cannot get '
        'resource "secrets" in API group "" in the namespace "default"'
    )
    assert clients.complaint("kubectl", "get", "secret", "other") == (
        'Error from server (NotFound): secrets "other" not found'
    )
    cluster.allow("create", "deployments")
    assert clients.kubectl(*can_i) == "yes\n"
    assert cluster.find("deployments", "web") is None


def test_a_server_may_be_closed(clients: Clients, cluster: Cluster) -> None:
    cluster.require_token("secret")
    complaint = clients.complaint("kubectl", "get", "pods")
    assert complaint.endswith(
        "error: You must be logged in to the server (the server has asked for the client to "
        "provide credentials)"
    )
    complaint = clients.complaint("kubectl", "get", "--raw", "/api/v1/nodes")
    assert complaint == "error: You must be logged in to the server (Unauthorized)"
    cluster.write_kubeconfig(clients.kubeconfig, token="secret")
    assert clients.get("pods")["items"] == []
    cluster.unavailable = True
    complaint = clients.complaint("kubectl", "get", "pods")
    assert "the server is currently unable to handle the request" in complaint
    complaint = clients.complaint("helm", "install", "web", str(clients.chart))
    assert "cluster unreachable" in complaint
    cluster.unavailable = False
    clients.helm("install", "web", str(clients.chart), *WAIT)


def test_pods_have_to_be_secure(clients: Clients, cluster: Cluster) -> None:
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.add_namespace("strict", level)
    broken = (
        'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "web" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "web" must set '
        'securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
        '"web" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container '
        '"web" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )
    body = deployment()
    done = clients.run("kubectl", "-n", "strict", "create", "-f-", body=body)
    assert broken.replace("violates", "Warning: would violate") in done.stderr

    def failure() -> Any:
        found = clients.get("deployment", "web", "-n", "strict")
        return "status" in found and conditions_of(found).get("ReplicaFailure")

    told = cluster.wait_for(failure)
    assert told["reason"] == "FailedCreate"
    assert broken in told["message"]
    assert cluster.objects("pods", "strict") == []

    container_of(body)["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    clients.kubectl("-n", "strict", "replace", "-f-", body=body)
    clients.kubectl("-n", "strict", "rollout", "status", "deployment/web", "--timeout=5s")


def other_labels(body: dict[str, Any]) -> None:
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}


def two_ports_of_a_name(body: dict[str, Any]) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "http", "port": 81}]
    body.update(apiVersion="v1", kind="Service", spec={"ports": ports})


def both_limits(body: dict[str, Any]) -> None:
    spec = {"minAvailable": 1, "maxUnavailable": 1}
    body.update(apiVersion="policy/v1", kind="PodDisruptionBudget", spec=spec)


def a_bad_name(body: dict[str, Any]) -> None:
    body["metadata"]["name"] = "Web_1"


def a_bad_label(body: dict[str, Any]) -> None:
    body["metadata"]["labels"] = {"app": "a b"}


def an_unknown_volume(body: dict[str, Any]) -> None:
    container_of(body)["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            other_labels,
            'The Deployment "web" is invalid: spec.template.metadata.labels: Invalid value: '
            '{"app": "other"}: `selector` does not match template `labels`',
        ),
        (
            two_ports_of_a_name,
            'The Service "web" is invalid: spec.ports[1].name: Duplicate value: "http"',
        ),
        (both_limits, "minAvailable and maxUnavailable cannot be both set"),
        (a_bad_name, 'metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain'),
        (a_bad_label, 'metadata.labels: Invalid value: "a b": a valid label must be'),
        (
            an_unknown_volume,
            'The Deployment "web" is invalid: spec.template.spec.containers[0].volumeMounts[0]'
            '.name: Not found: "data"',
        ),
    ],
)
def test_bad_objects_are_refused(
    clients: Clients,
    spoil: Callable[[dict[str, Any]], None],
    complaint: str,
) -> None:
    body = deployment()
    spoil(body)
    assert complaint in clients.complaint("kubectl", "create", "-f-", body=body)


def test_changes_have_limits(clients: Clients, cluster: Cluster) -> None:
    clients.kubectl("create", "-f-", body=deployment())
    body = deployment()
    body["spec"]["selector"]["matchLabels"] = {"app": "web", "slot": "blue"}
    body["spec"]["template"]["metadata"]["labels"] = {"app": "web", "slot": "blue"}
    forced = ("--server-side", "--force-conflicts")
    complaint = clients.complaint("kubectl", "apply", *forced, "-f-", body=body)
    assert "spec.selector: Invalid value" in complaint
    assert "field is immutable" in complaint
    assert 'deployments.apps "web" already exists' in clients.complaint(
        "kubectl", "create", "-f-", body=deployment()
    )
    assert 'namespaces "nowhere" not found' in clients.complaint(
        "kubectl", "-n", "nowhere", "create", "-f-", body=deployment()
    )
    old = clients.get("deployment", "web")
    clients.kubectl("annotate", "deployment", "web", "a=b")
    stale = clients.complaint("kubectl", "replace", "-f-", body=old)
    assert "Operation cannot be fulfilled on deployments.apps" in stale
    assert "the object has been modified" in stale


def test_schemas_may_be_brought(tmp_path: Path) -> None:
    def validate(obj: dict[str, Any]) -> list[str]:
        return ["spec.replica: unknown field"] if "replica" in obj.get("spec", {}) else []

    with running_cluster(validate=validate) as cluster:
        clients = Clients(tmp_path, cluster)
        clients.kubectl("create", "-f-", body=deployment())
        complaint = clients.complaint(
            "kubectl", "create", "-f-", body=deployment("other", replica=1)
        )
        assert 'The Deployment "other" is invalid: spec.replica: unknown field' in complaint


def test_a_cluster_may_have_less(tmp_path: Path) -> None:
    with running_cluster(gateway=False, monitoring=False, version="v1.29.4") as cluster:
        clients = Clients(tmp_path, cluster)
        assert "Server Version: v1.29.4" in clients.kubectl("version")
        assert "monitoring.coreos.com" not in clients.kubectl("api-versions")
        complaint = clients.complaint("helm", "install", "web", str(clients.chart))
        assert 'no matches for kind "HTTPRoute" in version "gateway.networking.k8s.io/v1"' in (
            complaint
        )


def test_watches_end(tmp_path: Path) -> None:
    """On time, and with the server."""
    seen: list[str] = []
    with running_cluster() as cluster:
        clients = Clients(tmp_path, cluster)

        def watch() -> None:
            watched = ("get", "configmaps", "--watch", "-o", "name")
            seen.append(clients.run("kubectl", *watched).stdout)

        watcher = threading.Thread(target=watch)
        watcher.start()
        # A list, and the watch that follows it.
        cluster.wait_for(lambda: sum("/configmaps" in one.path for one in cluster.requests) == 2)
        cluster.put(CONFIG_MAP)
        raw = clients.kubectl("get", "--raw", "/api/v1/configmaps?watch=1&timeoutSeconds=1")
    watcher.join(timeout=10)
    assert not watcher.is_alive()
    assert seen == ["configmap/kube-root-ca.crt\nconfigmap/settings\n"]
    names = [json.loads(line)["object"]["metadata"]["name"] for line in raw.splitlines()]
    assert sorted(names) == ["kube-root-ca.crt"] * 4 + ["settings"]
