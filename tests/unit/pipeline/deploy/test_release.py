"""Releases as helm prints them, colours, and what an upgrade would change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.deploy.cluster import Cluster
from pipeline.deploy.commands import Place, upgrade
from pipeline.deploy.difference import changes, pods_differ
from pipeline.deploy.release import Release, Revision, colours_of, find_release, need_rest
from pipeline.errors import ReleaseBusy
from pipeline.helm.commands import Values
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.process import Completed

PLACE = Place("web", "devices")


def revision(number: int, status: str) -> Revision:
    return Revision(number, status, "accelerapp-0.1.0", "0.1.0", "2026-11-29T12:00:00.5Z", "why")


def release(*statuses: str) -> Release:
    return Release("web", tuple(revision(n, status) for n, status in enumerate(statuses, 1)))


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
    ("statuses", "well", "before"),
    [
        (("deployed",), 1, None),
        (("superseded", "deployed"), 2, 1),
        (("superseded", "failed", "deployed"), 3, 1),
        (("deployed", "pending-upgrade"), 1, 1),
        (("failed",), None, None),
        (("superseded", "deployed", "failed"), 2, 2),
    ],
)
def test_where_there_is_to_go_back_to(
    statuses: tuple[str, ...], well: int | None, before: int | None
) -> None:
    found = release(*statuses)
    assert (found.last_well.number if found.last_well else None) == well
    one = found.before()
    assert (one.number if one else None) == before


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback"])
def test_a_release_that_is_pending_is_busy(status: str) -> None:
    with pytest.raises(
        ReleaseBusy, match=f"is {status} since 2026-11-29T12:00:00 \\(revision 2\\)"
    ):
        need_rest(cluster(""), release("deployed", status))
    with pytest.raises(ReleaseBusy, match="helm uninstall web --namespace devices"):
        need_rest(cluster(""), release(status))
    need_rest(cluster(""), release("failed", "deployed"))
    need_rest(cluster(""), release("deployed", "failed"))


def test_an_upgrade_says_which_values_it_keeps() -> None:
    from pathlib import Path

    values = Values((Path("a.yaml"),), ("b=c",))
    assert upgrade(PLACE, Path("chart"), values, description="why") == (
        *("upgrade", "--install", "web", "chart", "--reset-values", "--description", "why"),
        *("--values", "a.yaml", "--set", "b=c", "--namespace", "devices"),
    )
    assert "--reuse-values" in upgrade(PLACE, Path("chart"), values, description="", reuse=True)


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
