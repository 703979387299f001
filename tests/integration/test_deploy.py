"""`invoke deploy` and what follows it, with the real helm and kubectl, against a stand-in for a
cluster (tests/standins/kubernetes): a stateful API server that plays Deployments and pods.

Every object that comes to it is held to Kubernetes' own schemas, where they are installed, and
pods to the restricted profile.  Only a real cluster would show scheduling, images being pulled,
probes being asked, quotas, and a CNI that obeys NetworkPolicies.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ToolMissing
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.kubernetes.schemas import against_schema, known_versions
from pipeline.release.places import read_version
from tests.integration.building import ROOT
from tests.integration.conftest import absent, find_tool
from tests.integration.shop import Shop
from tests.standins.kubernetes import Cluster, running_cluster

UNCHECKED = "that a release is installed, upgraded, switched and taken back"
NAMESPACE = "devices"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
COLOURS = ("--set", "blueGreen.enabled=true", "--set", "blueGreen.colour=blue")
ALWAYS = [
    "PATCH networkpolicies/accelerapp-service",
    "PATCH networkpolicies/accelerapp-test",
    "PATCH poddisruptionbudgets/accelerapp",
    "PATCH serviceaccounts/accelerapp",
    "PATCH configmaps/accelerapp",
    "PATCH services/accelerapp",
    "PATCH deployments/accelerapp",
]
HELM4, HELM3 = "helm", "helm3"


def complaints() -> Callable[[dict[str, Any]], list[str]] | None:
    try:
        version = known_versions()[-2]
    except ToolMissing as error:
        absent("kubernetes-validate", unchecked="objects by Kubernetes' schemas", reason=str(error))

    def complain(data: dict[str, Any]) -> list[str]:
        plain = {key: value for key, value in data.items() if key != "status"}
        metadata = {k: v for k, v in plain.get("metadata", {}).items() if k != "managedFields"}
        found = KubernetesObject({**plain, "metadata": metadata}, "request")
        if found.api_version.startswith(("gateway.", "monitoring.")):
            return []
        return [f"{field}: {message}" for field, message in against_schema(found, version)]

    return complain


def in_order(changes: list[str]) -> list[str]:
    """Return changes as they came, those of one kind by name: helm has no order for these."""
    kinds = list(dict.fromkeys(change.partition("/")[0] for change in changes))
    return sorted(changes, key=lambda change: (kinds.index(change.partition("/")[0]), change))


@dataclass
class Site:
    """A cluster, and this repository's tasks in it."""

    cluster: Cluster
    home: Path
    helm: str = HELM4

    def __post_init__(self) -> None:
        self.kubeconfig = self.cluster.write_kubeconfig(self.home / "kubeconfig")
        self.environment: dict[str, str] = {
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.home),
            "HELM": str(find_tool(self.helm, unchecked=UNCHECKED)),
        }

    def invoke(self, task: str, *flags: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a task in the namespace of the tests."""
        where = () if "--namespace" in flags else ("--namespace", NAMESPACE)
        argv = [sys.executable, "-m", "invoke", task, *where, *map(str, flags)]
        environ = {**os.environ, **self.environment, "CI": "true"}
        environ.pop("ACCELERAPP_REGISTRY", None)
        return subprocess.run(
            argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    def done(self, task: str, *flags: str | Path) -> dict[str, Any]:
        """Run a task, which must succeed, and return what it prints as JSON."""
        found = self.invoke(task, "--json", *flags)
        assert found.returncode == 0, found.stderr
        return dict(json.loads(found.stdout))

    def refused(self, code: int, said: str, task: str, *flags: str | Path) -> str:
        """Run a task, which must fail with one line and no traceback; return that line."""
        found = self.invoke(task, *flags)
        assert found.returncode == code, (found.returncode, found.stdout, found.stderr)
        assert "Traceback" not in found.stderr
        (line,) = (one for one in found.stderr.splitlines() if one.startswith("error: "))
        assert found.stderr.rstrip().endswith(line)
        assert said in line, line
        return line

    def changes(self) -> list[str]:
        """Return what was changed since it was last asked, in order."""
        found = self.cluster.changes()
        self.cluster.forget()
        return [change.replace("POST ", "PATCH ") for change in found]

    def changed(self) -> list[str]:
        """Return the same without budgets, which Helm 3 patches with nothing each time."""
        return [change for change in self.changes() if "poddisruptionbudgets" not in change]

    def colour(self) -> str | None:
        """Return the colour that the Service leads to."""
        service = self.cluster.find("services", "accelerapp", NAMESPACE)
        assert service is not None
        colour: str | None = service["spec"]["selector"].get("accelerapp/colour")
        return colour

    def pods(self, colour: str = "") -> set[str]:
        chosen = f",accelerapp/colour={colour}" if colour else ""
        found = self.cluster.objects(
            "pods", NAMESPACE, f"app.kubernetes.io/component=service{chosen}"
        )
        return {pod["metadata"]["name"] for pod in found}

    def behind(self) -> set[str]:
        """Return the pods that the Service's endpoints name."""
        found = self.cluster.find("endpoints", "accelerapp", NAMESPACE)
        assert found is not None
        return {
            address["targetRef"]["name"]
            for subset in found.get("subsets", [])
            for address in subset["addresses"]
        }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield a cluster with the namespace, which enforces the restricted profile."""
    find_tool("kubectl", unchecked=UNCHECKED)
    with running_cluster(delay_s=0.02, validate=complaints()) as cluster:
        cluster.add_namespace(NAMESPACE, RESTRICTED)
        yield Site(cluster, tmp_path)


@pytest.fixture
def helm3(site: Site) -> Site:
    """Return the same with Helm 3."""
    return Site(site.cluster, site.home, HELM3)


def installed(site: Site, *flags: str) -> Site:
    site.done("deploy", "--set", "image.tag=v1", *flags)
    site.changes()
    return site


# Install, upgrade, go back, uninstall.


@pytest.mark.parametrize("helm", [HELM4, HELM3])
def test_the_life_of_a_release(site: Site, helm: str) -> None:
    site = Site(site.cluster, site.home, helm)
    made = site.done("deploy", "--set", "image.tag=v1")
    assert (made["before"], made["revision"]) == (None, 1)
    assert in_order(site.changes()) == ALWAYS
    (deployment,) = made["deployments"]
    assert (deployment["wanted"], deployment["ready"], deployment["is_ready"]) == (2, 2, True)

    changed = site.done("deploy", "--set", "image.tag=v2", "--set", "replicas=3")
    assert (changed["before"], changed["revision"]) == (1, 2)
    assert changed["changes"] == [{"object": "Deployment accelerapp", "change": "changed"}]
    if helm == HELM4:
        # Applied by the server, each as it was rendered, in the same order.
        assert in_order(site.changes()) == ALWAYS
    else:
        assert site.changed() == ["PATCH deployments/accelerapp"]
    assert len(site.pods()) == 3

    back = site.done("deploy.rollback")
    assert back["revision"] == 3
    assert back["image"].endswith(":v1")
    assert len(site.pods()) == 2
    assert site.changes()[-1] == "PATCH deployments/accelerapp"

    argv = [site.environment["HELM"], "uninstall", "accelerapp", "--namespace", NAMESPACE]
    subprocess.run(argv, env={**os.environ, **site.environment}, check=True, capture_output=True)
    removed = site.changes()
    assert sorted(removed) == sorted(change.replace("PATCH", "DELETE") for change in ALWAYS)
    # What answers goes before what it is configured with.
    assert removed.index("DELETE deployments/accelerapp") < removed.index(
        "DELETE configmaps/accelerapp"
    )
    assert not site.pods()


def test_a_namespace_is_made_where_that_is_asked_for(site: Site) -> None:
    site.refused(105, "there is no namespace nowhere", "deploy", "--namespace", "nowhere")
    assert site.changes() == []
    done = site.invoke("deploy", "--namespace", "nowhere", "--create-namespace")
    assert done.returncode == 0, done.stderr
    assert site.changes()[0] == "PATCH namespaces/nowhere"
    namespace = site.cluster.find("namespaces", "nowhere")
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_dry_run_shows_a_diff_and_changes_nothing(site: Site) -> None:
    first = site.invoke("deploy", "--dry-run")
    assert first.returncode == 0, first.stderr
    assert "+ Deployment accelerapp\n" in first.stdout
    assert "7 objects would be installed" in first.stdout
    installed(site)
    found = site.invoke(
        "deploy", "--dry-run", "--set", "image.tag=v2", "--set", "pdb.enabled=false"
    )
    assert found.returncode == 0, found.stderr
    assert "-          image: ghcr.io/accelerapp/accelerapp:v1\n" in found.stdout
    assert "+          image: ghcr.io/accelerapp/accelerapp:v2\n" in found.stdout
    assert "+++ PodDisruptionBudget accelerapp (then)" in found.stdout
    assert "2 objects would change; nothing was changed" in found.stdout
    assert site.changes() == []
    same = site.invoke("deploy", "--dry-run", "--set", "image.tag=v1")
    (line,) = same.stdout.splitlines()
    assert line.endswith("0 objects would change; nothing was changed")
    assert site.cluster.all_changes() == []


def test_status_says_what_is_there(site: Site) -> None:
    site.refused(106, f"there is no release accelerapp in namespace {NAMESPACE}", "deploy.status")
    installed(site, *COLOURS)
    found = site.invoke("deploy.status")
    assert found.returncode == 0, found.stderr
    head, _, blue, green = found.stdout.splitlines()
    assert f"revision 1, deployed, accelerapp-{read_version(ROOT).semver}" in head
    image = "ghcr.io/accelerapp/accelerapp:v1"
    assert " ".join(blue.split()) == f"accelerapp-blue service 2 of 2 ready traffic {image}"
    assert " ".join(green.split()) == f"accelerapp-green service 2 of 2 ready {image}"
    assert site.changes() == []


# Two colours.


@pytest.mark.parametrize("helm", [HELM4, HELM3])
def test_a_new_version_goes_to_the_colour_that_waits_and_is_switched_to(
    site: Site, helm: str
) -> None:
    site = installed(Site(site.cluster, site.home, helm), *COLOURS)
    blue = site.pods("blue")
    assert site.behind() == blue

    new = ("--set", "image.tag=v1", "--set", "blueGreen.green.image.tag=v2")
    made = site.done("deploy", *COLOURS, *new)
    assert made["changes"] == [{"object": "Deployment accelerapp-green", "change": "changed"}]
    assert (site.colour(), site.behind()) == ("blue", blue)
    assert site.pods("blue") == blue
    site.changes()

    switched = site.done("deploy.switch")
    assert switched["traffic"] == "green"
    assert switched["image"].endswith(":v2")
    assert {change["object"] for change in switched["changes"]} == {
        "Service accelerapp",
        "Service accelerapp-preview",
    }
    services = ["PATCH services/accelerapp", "PATCH services/accelerapp-preview"]
    changes = site.changed()
    if helm == HELM3:
        assert sorted(changes) == services
    else:
        assert sorted(set(changes) & set(services)) == services
    assert (site.colour(), site.behind()) == ("green", site.pods("green"))
    # The old colour is there as it was.
    assert site.pods("blue") == blue

    # The next version goes to blue, whatever the values say of the colour.
    next_ = ("--set", "image.tag=v1", "--set", "blueGreen.blue.image.tag=v3")
    green = site.pods("green")
    made = site.done("deploy", *COLOURS, *next_)
    assert "green has it: kept" in " ".join(made["notes"])
    assert (site.colour(), site.pods("green")) == ("green", green)
    assert site.pods("blue") != blue

    # Blue's version never had the traffic: going there is no way back.
    site.refused(109, "v3, which never had the traffic", "deploy.rollback")
    site.done("deploy.switch")
    assert site.colour() == "blue"
    back = site.done("deploy.rollback")
    assert (back["traffic"], site.colour()) == ("green", "green")
    assert back["image"].endswith(":v2")
    assert site.behind() == site.pods("green") == green


def two_versions(site: Site) -> Site:
    installed(site, *COLOURS)
    new = ("--set", "image.tag=v1", "--set", "blueGreen.green.image.tag=v2")
    site.done("deploy", *COLOURS, *new)
    site.changes()
    return site


def test_a_switch_can_be_looked_at_first(site: Site) -> None:
    two_versions(site)
    found = site.invoke("deploy.switch", "--dry-run")
    assert found.returncode == 0, found.stderr
    assert "-    accelerapp/colour: blue\n+    accelerapp/colour: green\n" in found.stdout
    assert "answers /readyz with pass" in found.stdout
    assert (site.changes(), site.colour()) == ([], "blue")


def refuses(site: Site, said: str, *flags: str, task: str = "deploy.switch") -> None:
    site.refused(109, said, task, *flags)
    assert (site.changes(), site.colour()) == ([], "blue")


def test_the_colour_that_has_the_traffic_is_not_switched_to(site: Site) -> None:
    two_versions(site)
    refuses(site, "blue has the traffic already", "--to", "blue")
    site.refused(15, "--to 'red' is not known", "deploy.switch", "--to", "red")
    site.refused(15, "names two colours", "deploy.switch", "--to", "blue,green")


def test_a_colour_that_is_not_ready_gets_no_traffic(site: Site) -> None:
    two_versions(site)
    site.cluster.break_readiness(":v2", message="Readiness probe failed: 503")
    site.cluster.wait_for(lambda: site.cluster.objects("events", NAMESPACE))
    refuses(site, "green is not ready, 0 of 2 ready")


@pytest.mark.parametrize(("status", "body"), [(503, {"status": "fail"}), (401, {}), (200, {})])
def test_a_colour_that_says_it_is_not_well_gets_no_traffic(
    site: Site, status: int, body: dict[str, str]
) -> None:
    two_versions(site)
    site.cluster.answer_for(lambda path: (status, body), selector="accelerapp/colour=green")
    refuses(site, "is not well")
    # Whoever knows better can leave that out.
    site.done("deploy.switch", "--no-health-check")


def test_a_colour_with_a_warning_gets_the_traffic(site: Site) -> None:
    two_versions(site)
    site.cluster.answer_for(
        lambda path: (200, {"status": "warn"}), selector="accelerapp/colour=green"
    )
    switched = site.done("deploy.switch")
    assert any("answers /readyz with warn" in check for check in switched["checks"])


def test_a_colour_with_fewer_pods_gets_no_traffic_unless_that_is_meant(site: Site) -> None:
    installed(site, *COLOURS, "--set", "blueGreen.green.replicas=1")
    refuses(site, "green has 1 pods, and blue, which has the traffic, 2")
    site.done("deploy.switch", "--allow-fewer")
    assert site.colour() == "green"


def test_with_autoscalers_there_are_as_many_pods_as_these_say(site: Site) -> None:
    installed(site, *COLOURS, "--set", "autoscaling.enabled=true")
    scale = ["kubectl", "--namespace", NAMESPACE, "scale", "deployment/accelerapp-blue"]
    subprocess.run(
        [*scale, "--replicas=4"],
        env={**os.environ, **site.environment},
        check=True,
        capture_output=True,
    )
    site.cluster.wait_for(lambda: len(site.pods("blue")) == 4)
    site.cluster.forget()
    line = site.refused(109, "green has 2 pods", "deploy.switch")
    assert "raise autoscaling.minReplicas" in line


def test_a_colour_without_pods_gets_no_traffic(site: Site) -> None:
    installed(site, *COLOURS, "--set", "blueGreen.green.replicas=0")
    refuses(site, "green has no pods")


def test_where_pods_may_not_be_asked_that_is_said(site: Site) -> None:
    two_versions(site)
    site.cluster.deny("get", "pods/proxy")
    switched = site.done("deploy.switch")
    assert any("were not asked for /readyz" in check for check in switched["checks"])


def test_a_release_without_colours_is_not_switched(site: Site) -> None:
    installed(site)
    site.refused(109, "has one deployment, not two colours", "deploy.switch")
    assert site.changes() == []


def test_another_chart_is_not_switched_with(site: Site, tmp_path: Path) -> None:
    two_versions(site)
    chart = tmp_path / "accelerapp"
    shutil.copytree(ROOT / "deployment" / "helm" / "accelerapp", chart)
    values = chart / "values.yaml"
    text = values.read_text(encoding="utf-8")
    for old, new in (("drainSeconds: 5", "drainSeconds: 6"), ("  port: 8000", "  port: 9999")):
        assert old in text
        values.write_text(text.replace(old, new), encoding="utf-8")
        refuses(site, "the chart here is not the release's", "--chart", str(chart))
    # Going back takes no chart: helm remembers what is wanted.
    site.done("deploy.switch")
    site.done("deploy.rollback", "--chart", str(chart))
    assert site.colour() == "blue"


def test_a_switch_that_fails_leaves_the_traffic_and_the_record_as_they_were(site: Site) -> None:
    two_versions(site)
    # Allowed in general, and refused for this one object: nobody could have known.
    site.cluster.deny("patch", "services", "accelerapp")
    line = site.refused(104, "cannot patch", "deploy.switch")
    assert "blue has the traffic" in line
    assert site.colour() == "blue"
    site.cluster.allow("patch", "services", "accelerapp")
    # The next deploy goes to the colour that waits, and the traffic does not move.
    blue = site.pods("blue")
    new = ("--set", "image.tag=v1", "--set", "blueGreen.green.image.tag=v3")
    site.done("deploy", *COLOURS, *new)
    assert (site.colour(), site.pods("blue")) == ("blue", blue)
    site.done("deploy.switch")
    assert site.colour() == "green"


def test_a_service_that_somebody_changed_by_hand_is_believed(site: Site) -> None:
    two_versions(site)
    patch = '{"spec":{"selector":{"accelerapp/colour":"green"}}}'
    argv = ["kubectl", "--namespace", NAMESPACE, "patch", "service/accelerapp", "--patch", patch]
    environ = {**os.environ, **site.environment}
    subprocess.run(argv, env=environ, check=True, capture_output=True)
    assert site.colour() == "green"
    site.refused(109, "green has the traffic already", "deploy.switch", "--to", "green")
    green = site.pods("green")
    site.done("deploy", *COLOURS, "--set", "image.tag=v1", "--set", "blueGreen.blue.image.tag=v4")
    assert (site.colour(), site.pods("green")) == ("green", green)


def test_a_new_image_of_the_release_goes_to_the_colour_that_waits(site: Site) -> None:
    installed(site, *COLOURS)
    blue = site.pods("blue")
    made = site.done("deploy", *COLOURS, "--set", "image.tag=v2")
    assert [change["object"] for change in made["changes"]] == ["Deployment accelerapp-green"]
    assert any(note.startswith("green gets ") for note in made["notes"])
    assert site.pods("blue") == blue
    # The same again changes nothing, and neither does a setting of another kind.
    same = site.done("deploy", *COLOURS, "--set", "image.tag=v2", "--dry-run")
    assert same["changes"] == []


def test_the_colour_with_the_traffic_keeps_its_repository_and_a_tag_of_digits(
    site: Site, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text('image: {tag: "20260101"}\nblueGreen: {enabled: true, colour: blue}\n')
    site.done("deploy", "--values", values)
    blue = site.pods("blue")
    values.write_text(
        'image: {repository: x.example/y, tag: "20260102"}\nblueGreen: {enabled: true}\n'
    )
    # Without a colour: after the first time the release itself knows it.
    site.done("deploy", "--values", values)
    assert site.pods("blue") == blue
    found = {one["colour"]: one["image"] for one in site.done("deploy.status")["deployments"]}
    assert found == {
        "blue": "ghcr.io/accelerapp/accelerapp:20260101",
        "green": "x.example/y:20260102",
    }


def test_from_one_deployment_to_two_colours_and_back_is_asked_for(site: Site) -> None:
    installed(site)
    site.refused(109, "one deployment, and the values two colours", "deploy", *COLOURS)
    assert site.changes() == []
    site.done("deploy", "--set", "image.tag=v1", *COLOURS, "--allow-downtime")
    assert site.colour() == "blue"
    site.changes()
    site.refused(109, "two colours, and the values one deployment", "deploy")
    assert site.changes() == []
    site.done("deploy", "--set", "image.tag=v1", "--allow-downtime")
    assert site.colour() is None


def test_a_revision_is_not_gone_back_to_before_its_pods_are_there(site: Site) -> None:
    two_versions(site)
    site.done("deploy.switch")
    site.done("deploy", *COLOURS, "--set", "image.tag=v1", "--set", "blueGreen.blue.image.tag=v3")
    site.changes()
    line = site.refused(
        109, "revision 1 gives the traffic to blue", "deploy.rollback", "--revision", "1"
    )
    assert "blue runs ghcr.io/accelerapp/accelerapp:v3" in line
    assert (site.changes(), site.colour()) == ([], "green")


def test_there_is_no_way_back_to_the_same_image(site: Site) -> None:
    installed(site, *COLOURS)
    refuses(site, "runs the same image as blue", task="deploy.rollback")


def test_values_that_change_the_colour_with_the_traffic_are_told(site: Site) -> None:
    two_versions(site)
    new = ("--set", "image.tag=v1", "--set", "blueGreen.green.image.tag=v2")
    found = site.done("deploy", *COLOURS, *new, "--set", "config.threads=3", "--dry-run")
    assert any("blue, which has the traffic, gets new pods" in note for note in found["notes"])


# What does not get ready.


def test_an_upgrade_that_does_not_get_ready_is_taken_back(site: Site) -> None:
    installed(site)
    before = site.pods()
    site.cluster.break_image(":v2", message="manifest unknown")
    line = site.refused(
        108, "ImagePullBackOff", "deploy", "--set", "image.tag=v2", "--timeout", "3"
    )
    assert "manifest unknown" in line
    assert "revision 1 is back and is ready" in line
    assert site.pods() == before
    assert site.done("deploy.status")["deployments"][0]["image"].endswith(":v1")


def test_an_install_that_does_not_get_ready_leaves_nothing(site: Site) -> None:
    site.cluster.unschedulable(":v1", message="0/3 nodes are available: insufficient memory")
    line = site.refused(
        108, "insufficient memory", "deploy", "--set", "image.tag=v1", "--timeout", "3"
    )
    assert "nothing is left of it" in line
    site.refused(106, "there is no release", "deploy.status")


def test_what_was_gone_back_from_is_not_gone_back_to(site: Site) -> None:
    installed(site)
    site.cluster.break_image(":v2")
    site.refused(108, "ImagePullBackOff", "deploy", "--set", "image.tag=v2", "--timeout", "2")
    site.cluster.heal()
    site.refused(109, "no other revision before", "deploy.rollback")
    site.done("deploy", "--set", "image.tag=v3")
    site.done("deploy", "--set", "image.tag=v3")  # Once more, as CI does.
    assert site.done("deploy.rollback")["image"].endswith(":v1")
    site.refused(109, "no other revision before", "deploy.rollback")


def test_an_install_that_is_refused_half_way_leaves_nothing(site: Site) -> None:
    site.cluster.deny("patch", "deployments.apps", "accelerapp")
    site.cluster.deny("create", "deployments.apps", "accelerapp")
    line = site.refused(104, "cannot", "deploy", "--set", "image.tag=v1")
    assert "nothing is left of it" in line
    assert site.cluster.find("services", "accelerapp", NAMESPACE) is None


def test_what_is_kept_is_named(site: Site) -> None:
    site.cluster.break_image(":v1")
    kept = ("--set", "persistence.output.enabled=true")
    line = site.refused(
        108,
        "nothing is left of it but PersistentVolumeClaim accelerapp-output",
        "deploy",
        *kept,
        *("--set", "persistence.output.accessModes={ReadWriteMany}", "--set", "image.tag=v1"),
        *("--timeout", "2"),
    )
    assert "ImagePullBackOff" in line


def test_a_container_that_ends_is_quoted(site: Site) -> None:
    installed(site)
    site.cluster.break_image(":v2", reason="CrashLoopBackOff", exit_code=2)
    site.cluster.log = lambda pod: "starting\nACCELERAPP_PORT='x' cannot be used"
    found = site.invoke("deploy", "--set", "image.tag=v2", "--timeout", "3", "--keep-failed")
    assert found.returncode == 108
    assert "CrashLoopBackOff (started 5 times): ended with exit code 2" in found.stderr
    assert "  ACCELERAPP_PORT='x' cannot be used\n" in found.stderr
    assert "it is left as it is (--keep-failed)" in found.stderr
    status = site.invoke("deploy.status")
    assert status.returncode == 0
    assert "0 of 2 ready, 2 old to go" in status.stdout
    assert "CrashLoopBackOff" in status.stdout


def test_memory_that_is_too_little_is_said(site: Site) -> None:
    installed(site)
    site.cluster.break_image(":v2", reason="CrashLoopBackOff", exit_code=137, ended="OOMKilled")
    site.refused(
        108, "raise resources.limits.memory", "deploy", "--set", "image.tag=v2", "--timeout", "3"
    )


def test_what_mends_itself_is_waited_for(site: Site) -> None:
    installed(site)
    site.cluster.break_image(":v2", message="registry is away")
    timer = threading.Timer(4, site.cluster.heal)
    timer.start()
    try:
        made = site.done("deploy", "--set", "image.tag=v2", "--timeout", "60")
    finally:
        timer.cancel()
    assert made["revision"] == 2
    assert made["deployments"][0]["is_ready"]


def test_going_back_without_colours_needs_a_revision(site: Site) -> None:
    installed(site)
    site.refused(109, "no other revision before 1 that was ever deployed", "deploy.rollback")
    site.done("deploy", "--set", "image.tag=v2")
    site.changes()
    site.refused(106, "has no revision 9", "deploy.rollback", "--revision", "9")
    site.refused(15, "--revision='x'", "deploy.rollback", "--revision", "x")
    looked = site.done("deploy.rollback", "--dry-run", "--revision", "1")
    assert looked["revision"] is None
    assert site.changes() == []
    assert site.done("deploy.rollback", "--revision", "1")["image"].endswith(":v1")


def test_an_interrupted_deploy_leaves_the_old_state_or_the_new(site: Site) -> None:
    installed(site)
    slow, started = site.home / "slow-helm", site.home / "started"
    # Half a second of work between beginning and end, for the signal to come.
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = upgrade ] && touch {started} && sleep 0.5\n'
        f'exec {site.environment["HELM"]} "$@"\n'
    )
    slow.chmod(0o755)
    site.environment["HELM"] = str(slow)
    argv = [sys.executable, "-m", "invoke", "deploy", "--namespace", NAMESPACE]
    environ = {**os.environ, **site.environment}
    with subprocess.Popen(
        [*argv, "--set", "image.tag=v2"],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline_s = time.monotonic() + 60
        while not started.exists() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: the cluster goes on; invoke deploy.status" in said
    assert "Traceback" not in said
    # Whatever it left, the next one is not in its way.
    assert site.done("deploy", "--set", "image.tag=v3")["deployments"][0]["image"].endswith(":v3")


# What stands in the way.


def pending(site: Site, status: str) -> None:
    """Leave the release as a helm that was killed leaves it."""
    secrets = site.cluster.objects("secrets", NAMESPACE, "owner=helm")
    last = max(secrets, key=lambda one: int(one["metadata"]["labels"]["version"]))
    _encode(last, status)
    site.cluster.put(last)
    site.cluster.forget()


def _encode(secret: dict[str, Any], status: str) -> None:
    import base64
    import gzip

    data = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    release = json.loads(gzip.decompress(data))
    release["info"]["status"] = status
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    secret["data"]["release"] = base64.b64encode(packed).decode()
    secret["metadata"]["labels"]["status"] = status


def test_a_release_that_was_left_pending_and_the_way_out(site: Site) -> None:
    installed(site)
    site.done("deploy", "--set", "image.tag=v2")
    pending(site, "pending-upgrade")
    line = site.refused(107, "is pending-upgrade since", "deploy", "--set", "image.tag=v3")
    assert f"invoke deploy.rollback --release accelerapp --namespace {NAMESPACE}" in line
    assert site.changes() == []
    assert site.done("deploy.rollback")["image"].endswith(":v1")
    assert site.done("deploy", "--set", "image.tag=v3")["deployments"][0]["is_ready"]


def test_an_install_that_was_left_pending_and_the_way_out(site: Site) -> None:
    installed(site)
    pending(site, "pending-install")
    line = site.refused(107, "is pending-install", "deploy")
    assert f"helm uninstall accelerapp --namespace {NAMESPACE}" in line
    site.refused(107, "pending-install", "deploy.switch")


def test_what_this_user_may_not_do_is_said_before_anything_is_done(site: Site) -> None:
    site.cluster.deny("create", "poddisruptionbudgets.policy")
    site.cluster.deny("patch", "deployments.apps")
    site.cluster.deny("update", "secrets")
    site.refused(
        104,
        "this user may not update secrets, patch deployments, create poddisruptionbudgets in "
        f"namespace {NAMESPACE}",
        "deploy",
    )
    assert site.cluster.all_changes() == []


def test_what_has_to_be_deleted_is_asked_about_too(site: Site) -> None:
    installed(site)
    site.cluster.deny("delete", "poddisruptionbudgets.policy")
    site.refused(104, "may not delete poddisruptionbudgets", "deploy", "--set", "pdb.enabled=false")
    assert site.changes() == []
    # Who may not delete what nobody deletes is in nobody's way.
    site.done("deploy", "--set", "image.tag=v2")


def test_who_may_not_read_releases_is_told(site: Site) -> None:
    site.cluster.deny("list", "secrets")
    site.refused(104, "forbidden", "deploy.status")


def test_a_user_that_the_cluster_does_not_know(site: Site) -> None:
    site.cluster.require_token("another-token")
    for task in ("deploy", "deploy.status", "deploy.switch", "deploy.rollback"):
        site.refused(104, "the cluster does not know this user", task)


def test_no_cluster_answers(site: Site) -> None:
    site.cluster.unavailable = True
    for task in ("deploy", "deploy.status", "deploy.switch", "deploy.rollback"):
        site.refused(103, "the cluster does not answer", task)
    site.cluster.unavailable = False
    text = site.kubeconfig.read_text(encoding="utf-8")
    site.kubeconfig.write_text(text.replace(site.cluster.url, "http://127.0.0.1:9"))
    site.refused(103, "the cluster does not answer", "deploy.status")


def test_no_cluster_is_configured(site: Site) -> None:
    site.environment["KUBECONFIG"] = str(site.home / "none")
    for task in ("deploy", "deploy.status"):
        line = site.refused(103, "no cluster is configured", task)
        assert "KUBECONFIG" in line


def test_a_context_that_there_is_not(site: Site) -> None:
    for task in ("deploy", "deploy.status"):
        site.refused(103, "there is no context 'elsewhere'", task, "--context", "elsewhere")


def test_no_helm_no_kubectl_and_a_wrong_helm(site: Site, tmp_path: Path) -> None:
    site.environment["HELM"] = str(tmp_path / "none")
    site.refused(61, "HELM is", "deploy")
    old = tmp_path / "helm2"
    old.write_text("#!/bin/sh\necho 'Client: v2.17.0+ga690bad'\n")
    old.chmod(0o755)
    site.environment["HELM"] = str(old)
    site.refused(61, "is Helm v2.17.0, which is not supported", "deploy")
    site.environment["HELM"] = str(find_tool(HELM4, unchecked=UNCHECKED))
    site.environment["KUBECTL"] = str(tmp_path / "none")
    site.refused(61, "KUBECTL is", "deploy")


def test_a_kubernetes_that_is_too_old(tmp_path: Path) -> None:
    with running_cluster(version="v1.26.3") as cluster:
        site = Site(cluster, tmp_path)
        site.refused(103, "Kubernetes v1.26.3, which is not supported", "deploy")
        assert cluster.all_changes() == []


def test_kinds_that_the_cluster_does_not_have(tmp_path: Path) -> None:
    with running_cluster(monitoring=False, gateway=False) as cluster:
        cluster.add_namespace(NAMESPACE, RESTRICTED)
        site = Site(cluster, tmp_path)
        line = site.refused(
            110, "has no ServiceMonitor of", "deploy", "--set", "serviceMonitor.enabled=true"
        )
        assert "--set serviceMonitor.enabled=false,prometheusRule.enabled=false" in line


def test_values_that_do_not_go_together_never_reach_the_cluster(site: Site, tmp_path: Path) -> None:
    site.refused(
        100, "ingress.enabled without ingress.hosts", "deploy", "--set", "ingress.enabled=true"
    )
    site.refused(100, "there is no values file", "deploy", "--values", tmp_path / "none.yaml")
    site.refused(100, "sets nothing", "deploy", "--set", "replicas")
    site.refused(15, "--timeout='soon'", "deploy", "--timeout", "soon")
    site.refused(15, "--registry goes with --image-from", "deploy", "--registry", "r.example")
    # Nor is a namespace made for them.
    bad = ("--set", "ingress.enabled=true", "--create-namespace", "--namespace", "nowhere")
    site.refused(100, "ingress.enabled", "deploy", *bad)
    assert site.cluster.find("namespaces", "nowhere") is None
    assert site.cluster.all_changes() == []


def test_a_page_in_place_of_a_cluster(site: Site) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<html>Please log in</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = site.kubeconfig.read_text(encoding="utf-8")
        here = f"http://127.0.0.1:{server.server_address[1]}"
        site.kubeconfig.write_text(text.replace(site.cluster.url, here))
        site.refused(103, "is no Kubernetes API server", "deploy")
        server.shutdown()


def test_secrets_are_not_in_a_diff(site: Site) -> None:
    installed(site, "--set", "extraEnv[0].name=API_TOKEN,extraEnv[0].value=hunter1")
    other = "extraEnv[0].name=API_TOKEN,extraEnv[0].value=hunter22"
    found = site.invoke("deploy", "--dry-run", "--set", "image.tag=v1", "--set", other)
    assert found.returncode == 0
    assert "hunter" not in found.stdout
    assert "*** (7 characters)" in found.stdout
    assert "*** (8 characters)" in found.stdout


# What was built.


def test_a_release_runs_what_was_built_by_its_digest(
    site: Site, shop: Shop, production: Path
) -> None:
    (pushed,) = shop.push(production)
    place = shop.proxy.address
    flags = ("--image-from", production, "--registry", place)
    made = site.done("deploy", *flags)
    assert made["deployments"][0]["image"] == f"{place}/accelerapp@{pushed['digest']}"
    # The tag beside it is looked up: the same image is no contradiction, another one is.
    site.done("deploy", *flags, "--set", "image.tag=v1.2.3")
    line = site.refused(
        100,
        "image.tag is v9, which is not in the registry",
        "deploy",
        *flags,
        "--set",
        "image.tag=v9",
    )
    assert pushed["digest"] in line


def test_the_colour_that_waits_runs_what_was_built(
    site: Site, shop: Shop, production: Path
) -> None:
    (pushed,) = shop.push(production)
    installed(site, *COLOURS)
    blue = site.pods("blue")
    place = shop.proxy.address
    site.done("deploy", *COLOURS, "--image-from", production, "--registry", place)
    images = {one["colour"]: one["image"] for one in site.done("deploy.status")["deployments"]}
    assert images == {
        "blue": "ghcr.io/accelerapp/accelerapp:v1",
        "green": f"{place}/accelerapp@{pushed['digest']}",
    }
    assert (site.colour(), site.pods("blue")) == ("blue", blue)


def test_both_colours_of_a_new_release_run_what_was_built(
    site: Site, shop: Shop, production: Path
) -> None:
    (pushed,) = shop.push(production)
    flags = ("--image-from", production, "--registry", shop.proxy.address)
    site.done("deploy", *COLOURS, "--set", "blueGreen.blue.image.tag=old", *flags)
    images = {one["image"] for one in site.done("deploy.status")["deployments"]}
    assert images == {f"{shop.proxy.address}/accelerapp@{pushed['digest']}"}


def test_what_was_not_pushed_is_not_deployed(site: Site, shop: Shop, production: Path) -> None:
    shop.push(production)
    flags = ("--image-from", production, "--registry", f"{shop.proxy.address}/elsewhere")
    line = site.refused(78, "was not pushed", "deploy", *flags)
    assert f"invoke push --registry {shop.proxy.address}/elsewhere" in line
    line = site.refused(66, "there is no image in", "deploy", "--image-from", site.home)
    assert "invoke build" in line
    assert site.cluster.all_changes() == []
