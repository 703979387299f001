"""Labels and annotations: each once, the nearer over the more general, none over the chart's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ManifestInvalid
from pipeline.kubernetes.objects import read_objects
from tests.chart.conftest import CASES, NAME, Render

Template = Callable[..., subprocess.CompletedProcess[str]]
EVERYTHING: dict[str, Any] = {
    "monitor": {"enabled": True, "serviceAnnotations": {"a": "own"}},
    "ollama": {"enabled": True},
    "redis": {"enabled": True},
    "ingress": {
        "enabled": True,
        "hosts": [{"host": "a.example.org"}],
        "annotations": {"a": "own"},
    },
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "gateway"}],
        "annotations": {"a": "own"},
    },
    "service": {"annotations": {"a": "own"}},
    "serviceAccount": {"annotations": {"a": "own"}},
    "persistence": {
        "output": {
            "enabled": True,
            "accessModes": ["ReadWriteMany"],
            "annotations": {"a": "own", "helm.sh/resource-policy": "own"},
        }
    },
    "commonLabels": {"a": "common", "b": "common"},
    "commonAnnotations": {
        "a": "common",
        "b": "common",
        "checksum/config": "common",
    },
    "podLabels": {"a": "own"},
    "podAnnotations": {"a": "own", "checksum/config": "own"},
    "serviceMonitor": {"enabled": True, "labels": {"a": "own"}},
    "prometheusRule": {
        "enabled": True,
        "labels": {"a": "own"},
        "alertLabels": {"severity": "page", "a": "own"},
    },
}


@pytest.mark.parametrize(
    "file", [None, *CASES], ids=lambda f: f.name.removesuffix("-values.yaml") if f else "defaults"
)
def test_no_key_is_twice(template: Template, file: Path | None) -> None:
    """YAML with the same key twice is read by some as the first, by some not at all."""
    labels = {"a": "common", "release": "common", "sidecar.example.org/inject": "common"}
    done = template(
        *([file] if file else []),
        commonLabels=labels,
        commonAnnotations={**labels, "example.org/owner": "common", "contact": "common"},
        podLabels={**labels, "a": "own"},
        podAnnotations={**labels, "a": "own"},
    )
    assert done.returncode == 0, done.stderr
    assert len(read_objects(done.stdout, "chart")) >= 3


def test_a_key_that_is_twice_would_be_found() -> None:
    with pytest.raises(ManifestInvalid, match="duplicate key"):
        read_objects("apiVersion: v1\nkind: X\nmetadata:\n  labels:\n    a: b\n    a: c\n", "x")


def test_labels_of_pods_are_over_those_of_everything(render: Render) -> None:
    found = render(**EVERYTHING)
    for deployment in found.all("Deployment"):
        own = "own" if deployment.name == NAME else "common"
        assert (deployment.pod_labels["a"], deployment.pod_labels["b"]) == (own, "common")
        # They are the pods' alone, and never what pods are selected by.
        assert deployment.labels["a"] == "common"
        assert not {"a", "b"} & set(deployment.spec["selector"]["matchLabels"])


def test_labels_by_which_prometheus_finds_them_are_over_those_of_everything(
    render: Render,
) -> None:
    found = render(**EVERYTHING)
    assert len(found.all("ServiceMonitor")) == 2
    for one in (*found.all("ServiceMonitor"), *found.all("PrometheusRule")):
        assert (one.labels["a"], one.labels["b"]) == ("own", "common"), one.title
    for monitor in found.all("ServiceMonitor"):
        assert not {"a", "b"} & set(monitor.spec["selector"]["matchLabels"])


def test_an_alert_may_be_as_severe_as_somebody_says(render: Render) -> None:
    (group,) = render(**EVERYTHING).one("PrometheusRule")["spec"]["groups"]
    assert len(group["rules"]) >= 9
    for alert in group["rules"]:
        assert alert["labels"] == {"severity": "page", "a": "own"}, alert["alert"]


def test_annotations_of_an_object_are_over_those_of_everything(render: Render) -> None:
    found = render(**EVERYTHING)
    annotated = {
        ("Service", NAME),
        ("Service", f"{NAME}-monitor"),
        ("Ingress", NAME),
        ("HTTPRoute", NAME),
        ("ServiceAccount", NAME),
        ("PersistentVolumeClaim", f"{NAME}-output"),
    }
    for one in found.objects:
        annotations = one.metadata["annotations"]
        own = "own" if (one.kind, one.name) in annotated else "common"
        assert (annotations["a"], annotations["b"]) == (own, "common"), one.title


def test_what_the_chart_says_is_over_everything(render: Render) -> None:
    found = render(**EVERYTHING)
    for claim in found.all("PersistentVolumeClaim"):
        assert claim.metadata["annotations"]["helm.sh/resource-policy"] == "keep", claim.title


def test_nobody_else_says_what_the_settings_are(render: Render) -> None:
    """By another checksum, pods would go on with the settings of before."""

    def annotations(**values: Any) -> dict[str, str]:
        template = render(**{**EVERYTHING, **values}).one("Deployment")["spec"]["template"]
        found: dict[str, str] = template["metadata"]["annotations"]
        return found

    assert annotations()["checksum/config"] not in ("own", "common")
    assert annotations(config__ollamaModel="a:b") != annotations()
    assert (annotations()["a"], annotations()["b"]) == ("own", "common")
