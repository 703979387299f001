"""Releases as helm prints them, colours, and what an upgrade would change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.deploy.cluster import Cluster
from pipeline.deploy.commands import Place, upgrade
from pipeline.deploy.difference import changes, pods_differ
from pipeline.deploy.release import (
    Release,
    Revision,
    colours_of,
    find_release,
    need_deployed,
    need_rest,
)
from pipeline.errors import HelmFailed, ReleaseBusy
from pipeline.helm.commands import Values
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.process import Completed

PLACE = Place("web", "devices")


def revision(number: int, status: str, why: str = "invoke deploy") -> Revision:
    return Revision(number, status, "accelerapp-0.1.0", "0.1.0", "2026-11-29T12:00:00.5Z", why)


def release(*history: str) -> Release:
    """Return a release of revisions such as `deployed` or `superseded: Rollback to 1`."""
    parts = [entry.partition(": ") for entry in history]
    return Release(
        "web",
        tuple(revision(n, s, why or "invoke deploy") for n, (s, _, why) in enumerate(parts, 1)),
    )


def cluster(text: str, code: int = 0, stderr: str = "") -> Cluster:
    def run(argv: tuple[str, ...], **_: Any) -> Completed:
        return Completed(argv, code, text, stderr)

    return Cluster("helm", "kubectl", PLACE, run)


def test_a_history_is_read_oldest_first() -> None:
    entries = [
        {"revision": 2, "status": "deployed", "chart": "a-2", "app_version": "2", "updated": "t"},
        {"revision": 1, "status": "superseded", "chart": "a-1", "description": "Install complete"},
    ]
    found = find_release(cluster(json.dumps(entries)))
    assert found is not None
    assert [one.number for one in found.revisions] == [1, 2]
    assert (found.current.status, found.current.chart) == ("deployed", "a-2")


def test_no_release_is_none() -> None:
    assert find_release(cluster("", 1, "Error: release: not found")) is None
    assert find_release(cluster("[]")) is None


@pytest.mark.parametrize(
    ("history", "applied", "before"),
    [
        (["deployed"], 1, []),
        (["superseded", "deployed"], 2, [1]),
        (["superseded", "superseded", "deployed"], 3, [2, 1]),
        (["superseded", "failed", "deployed"], 3, [1]),
        # What the cluster has when the newest is none of it.
        (["deployed", "pending-upgrade"], 1, [1]),
        (["superseded", "deployed", "failed"], 2, [2, 1]),
        (["failed"], None, []),
        # helm calls what failed superseded once something else is there.
        (["deployed", 'superseded: Upgrade "web" failed: conflict', "failed"], 1, [1]),
        # What was gone back from, and the way back itself, are nowhere to go.
        (["superseded", "superseded", "deployed: Rollback to 1"], 3, []),
        (["superseded", "superseded", "superseded: Rollback to 1", "deployed"], 4, [1]),
        (
            ["superseded", "superseded", "superseded", "superseded: Rollback to 2", "deployed"],
            5,
            [2, 1],
        ),
        (["superseded", "superseded", "superseded", "deployed: Rollback to 2"], 4, [1]),
    ],
)
def test_where_there_is_to_go_back_to(
    history: list[str], applied: int | None, before: list[int]
) -> None:
    found = release(*history)
    assert (found.applied.number if found.applied else None) == applied
    assert [one.number for one in found.before()] == before


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback"])
def test_a_release_that_is_pending_is_busy(status: str) -> None:
    with pytest.raises(
        ReleaseBusy, match=f"is {status} since 2026-11-29T12:00:00 \\(revision 2\\)"
    ):
        need_rest(cluster(""), release("deployed", status))
    with pytest.raises(ReleaseBusy, match="helm uninstall web --namespace devices"):
        need_rest(cluster(""), release(status))
    need_rest(cluster(""), release("deployed", status), to_go_back=True)
    with pytest.raises(ReleaseBusy):
        need_rest(cluster(""), release(status), to_go_back=True)
    need_rest(cluster(""), release("failed", "deployed"))
    need_rest(cluster(""), release("deployed", "failed"))


def test_an_upgrade_keeps_no_values_but_those_given() -> None:
    from pathlib import Path

    values = Values((Path("a.yaml"),), ("b=c",))
    values = values.also(["d=1"])
    assert upgrade(PLACE, Path("chart"), values, description="why") == (
        *("upgrade", "--install", "web", "chart", "--reset-values", "--description", "why"),
        *("--values", "a.yaml", "--set", "b=c", "--set-string", "d=1", "--namespace", "devices"),
    )


def test_one_that_is_being_uninstalled_is_not_brought_back() -> None:
    for to_go_back in (True, False):
        with pytest.raises(ReleaseBusy, match="helm uninstall web --namespace devices"):
            need_rest(cluster(""), release("deployed", "uninstalling"), to_go_back=to_go_back)


def test_one_that_was_uninstalled_is_none() -> None:
    entries = [{"revision": 1, "status": "uninstalled"}]
    assert find_release(cluster(json.dumps(entries))) is None


@pytest.mark.parametrize("status", ["pending-upgrade", "failed"])
def test_a_change_that_helm_s_record_does_not_have_is_none(status: str) -> None:
    entries = [{"revision": 1, "status": "superseded"}, {"revision": 2, "status": status}]
    with pytest.raises(HelmFailed, match=f"helm's record says {status}, revision 2"):
        need_deployed(cluster(json.dumps(entries)), 1)
    same = [{"revision": 1, "status": "deployed"}]
    with pytest.raises(HelmFailed, match="deployed, revision 1"):
        need_deployed(cluster(json.dumps(same)), 1)
    assert need_deployed(cluster(json.dumps(same)), None) == 1


def deployment(colour: str, image: str, **spec: Any) -> KubernetesObject:
    labels = {"accelerapp/colour": colour} if colour else {}
    return KubernetesObject(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"web-{colour}", "labels": {**labels, "helm.sh/chart": "a-1"}},
            "spec": {"template": {"spec": {"containers": [{"image": image}]}}, **spec},
        },
        "",
    )


def service(colour: str, component: str = "service") -> KubernetesObject:
    selector = {"accelerapp/colour": colour} if colour else {}
    return KubernetesObject(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": component, "labels": {"app.kubernetes.io/component": component}},
            "spec": {"selector": selector},
        },
        "",
    )


BOTH = [deployment("blue", "web:1"), deployment("green", "web@sha256:2")]


def test_colours_are_read_from_the_service_and_the_deployments() -> None:
    found = colours_of([service("blue", "preview"), service("green"), *BOTH])
    assert found is not None
    assert (found.active, found.idle) == ("green", "blue")
    assert found.images == {"blue": "web:1", "green": "web@sha256:2"}


@pytest.mark.parametrize(
    "objects",
    [[], BOTH, [service("blue")], [service("blue"), BOTH[0]], [service(""), *BOTH],
     [service("red"), *BOTH]],
)  # fmt: skip
def test_what_has_no_colours(objects: list[KubernetesObject]) -> None:
    assert colours_of(objects) is None


def test_changes_are_told_object_by_object() -> None:
    before = [service("blue"), deployment("blue", "web:1"), deployment("green", "web:1")]
    after = [service("green"), deployment("blue", "web:1"), deployment("", "monitor:1")]
    found = changes(before, after)
    assert [(one.title, one.what) for one in found] == [
        ("Service service", "changed"),
        ("Deployment web-", "added"),
        ("Deployment web-green", "removed"),
    ]
    assert "-    accelerapp/colour: blue" in found[0].lines
    assert "+    accelerapp/colour: green" in found[0].lines
    assert found[0].lines[:2] == ("--- Service service (now)", "+++ Service service (then)")


def test_a_chart_s_name_and_a_hook_are_no_change() -> None:
    other = deployment("blue", "web:1")
    other.data["metadata"]["labels"]["helm.sh/chart"] = "a-2"
    hook = KubernetesObject(
        {"kind": "Pod", "metadata": {"name": "t", "annotations": {"helm.sh/hook": "test"}}}, ""
    )
    assert changes([deployment("blue", "web:1")], [other, hook]) == ()


def test_whether_pods_would_be_new() -> None:
    one = deployment("blue", "web:1")
    assert not pods_differ(one, deployment("blue", "web:1", replicas=9))
    assert pods_differ(one, deployment("blue", "web:2"))
    assert pods_differ(None, one)


def test_a_selector_alone_is_a_switch() -> None:
    (switched,) = changes([service("blue")], [service("green")])
    assert switched.is_selector
    other = service("green")
    other.data["spec"]["ports"] = [{"port": 9}]
    (more,) = changes([service("blue")], [other])
    assert not more.is_selector
    assert not any(one.is_selector for one in changes([], [service("blue")]))
    assert not any(one.is_selector for one in changes([service("blue")], []))
    assert not any(one.is_selector for one in changes([BOTH[0]], [deployment("blue", "web:2")]))


def secret(**data: str) -> KubernetesObject:
    return KubernetesObject({"kind": "Secret", "metadata": {"name": "s"}, "data": data}, "")


def with_env(**env: str) -> KubernetesObject:
    entries = [{"name": name, "value": value} for name, value in env.items()]
    spec = {"template": {"spec": {"containers": [{"name": "c", "env": entries}]}}}
    return KubernetesObject({"kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}, "")


def test_secrets_are_not_in_a_diff() -> None:
    (changed,) = changes([secret(a="hunter1", b="same")], [secret(a="hunter22", b="same")])
    text = "\n".join(changed.lines)
    assert "hunter" not in text
    assert "same" not in text
    assert "-  a: '*** (7 characters)'" in changed.lines
    assert "+  a: '*** (8 characters)'" in changed.lines
    (changed,) = changes(
        [with_env(API_TOKEN="hunter1", LEVEL="1")], [with_env(API_TOKEN="hunter22", LEVEL="2")]
    )
    text = "\n".join(changed.lines)
    assert "hunter" not in text
    assert "*** (8 characters)" in text
    assert any("value: '2'" in line for line in changed.lines)
