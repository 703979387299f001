"""How many pods there are, and which may be missing."""

from __future__ import annotations

from tests.chart.conftest import NAME, RELEASE, Render


def test_pods_by_number_without_an_autoscaler(render: Render) -> None:
    assert render("shared-volumes").one("Deployment")["spec"]["replicas"] == 10
    assert not render().all("HorizontalPodAutoscaler")


def test_an_autoscaler_sets_the_number_itself(render: Render) -> None:
    found = render("production")
    assert "replicas" not in found.one("Deployment")["spec"]
    assert found.one("HorizontalPodAutoscaler")["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": 3,
        "maxReplicas": 12,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": resource,
                    "target": {"type": "Utilization", "averageUtilization": share},
                },
            }
            for resource, share in (("cpu", 70), ("memory", 80))
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }


def test_each_colour_has_an_autoscaler(render: Render) -> None:
    found = render("blue-green-autoscaled")
    assert found.names("HorizontalPodAutoscaler") == [f"{NAME}-blue", f"{NAME}-green"]
    for colour in ("blue", "green"):
        scaler = found.one("HorizontalPodAutoscaler", f"{NAME}-{colour}")
        assert scaler["spec"]["scaleTargetRef"]["name"] == f"{NAME}-{colour}"
        assert [one["resource"]["name"] for one in scaler["spec"]["metrics"]] == ["memory"]
        assert scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
        assert scaler["metadata"]["labels"]["accelerapp/colour"] == colour
        assert "replicas" not in found.one("Deployment", f"{NAME}-{colour}")["spec"]


def test_a_budget_lets_nodes_be_drained(render: Render) -> None:
    assert render().one("PodDisruptionBudget")["spec"] == {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {
            "matchLabels": {
                "app.kubernetes.io/name": "accelerapp",
                "app.kubernetes.io/instance": RELEASE,
                "app.kubernetes.io/component": "service",
            }
        },
    }
    assert not render("minimal").all("PodDisruptionBudget")


def test_a_budget_says_one_where_nothing_is_said(render: Render) -> None:
    spec = render(pdb__minAvailable=1).one("PodDisruptionBudget")["spec"]
    assert spec["minAvailable"] == 1
    assert "maxUnavailable" not in spec


def test_a_budget_by_share_or_by_what_stays(render: Render) -> None:
    shared = render("shared-volumes").one("PodDisruptionBudget")["spec"]
    assert shared["maxUnavailable"] == "30%"
    least = render("production").one("PodDisruptionBudget")["spec"]
    assert least["minAvailable"] == 2
    assert "maxUnavailable" not in least


def test_each_colour_has_a_budget(render: Render) -> None:
    found = render("blue-green")
    assert found.names("PodDisruptionBudget") == [f"{NAME}-blue", f"{NAME}-green"]
    for colour in ("blue", "green"):
        budget = found.one("PodDisruptionBudget", f"{NAME}-{colour}")
        assert budget["spec"]["minAvailable"] == "50%"
        assert budget["spec"]["selector"]["matchLabels"]["accelerapp/colour"] == colour


def test_a_colour_without_pods_has_no_budget(render: Render) -> None:
    found = render("blue-green", blueGreen__green__replicas=0)
    assert found.names("PodDisruptionBudget") == [f"{NAME}-blue"]
    assert found.one("Deployment", f"{NAME}-green")["spec"]["replicas"] == 0
