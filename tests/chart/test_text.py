"""What looks like a number or a mapping, and is a text, is one in what is rendered."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.kubernetes.objects import read_objects
from tests.chart.conftest import CHART, Rendered, arguments

NAMESPACE = "20240101"
VALUES: dict[str, Any] = {
    "fullnameOverride": "acc",
    "imagePullSecrets": ["1"],
    "serviceAccount": {"create": False, "name": "7"},
    "priorityClassName": "1",
    "commonLabels": {"a": "1", "b": "true", "c": "1e3", "d": ""},
    "commonAnnotations": {"a": "1", "b": "null", "c": "x: y"},
    "podLabels": {"e": "0x10"},
    "podAnnotations": {"e": "2026-11-29"},
    "nodeSelector": {"a": "true"},
    "existingSecret": {"name": "1", "redisUrlKey": "2", "monitorTokenKey": "3"},
    "redis": {"enabled": True, "configSecret": "1"},
    "monitor": {"enabled": True, "serviceAnnotations": {"a": "1"}},
    "ollama": {
        "enabled": True,
        "gpu": {"enabled": True, "runtimeClassName": "1"},
        "extraEnv": [{"name": "A", "value": "1"}],
    },
    "persistence": {
        "models": {
            "enabled": True,
            "existingClaim": "20240101",
            "accessModes": ["ReadWriteMany"],
        },
        "output": {"enabled": True, "storageClass": "1", "accessModes": ["ReadWriteMany"]},
    },
    "ingress": {
        "enabled": True,
        "className": "1",
        "hosts": [{"host": "1", "path": "/x:"}, {"host": "a.example.org", "path": "/#x"}],
        "tls": [{"secretName": "1", "hosts": ["1"]}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "1"}], "path": "/y:"},
    "serviceMonitor": {"enabled": True, "labels": {"f": "1"}},
    "prometheusRule": {"enabled": True, "alertLabels": {"f": "1"}},
    "config": {"redisStream": "a:", "ollamaModel": "1"},
    "extraEnv": [{"name": "A", "value": "1"}],
}


@pytest.fixture(scope="module")
def found(helm: str) -> Rendered:
    """The objects of a release `123`, whose every name is a number where it can be one."""
    argv = [helm, "template", "123", str(CHART), "--namespace", NAMESPACE]
    done = subprocess.run(
        [*argv, *arguments(VALUES, ())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Rendered(read_objects(done.stdout, "chart"))


TEXTS = {
    *("name", "namespace", "key", "claimName", "secretName", "path", "value", "host"),
    *("serviceAccountName", "priorityClassName", "runtimeClassName", "storageClassName"),
    *("ingressClassName", "image", "expr", "for", "summary", "description"),
}
"""Fields that are texts wherever they are."""
MAPS = {"labels", "annotations", "matchLabels", "nodeSelector", "data"}


def texts(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what Kubernetes takes as text alone, with where it is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in MAPS and isinstance(value, dict):
                for name, one in value.items():
                    yield f"{place}.{key}.{name}", one
            elif key in TEXTS and not isinstance(value, dict | list):
                yield f"{place}.{key}", value
            else:
                yield from texts(value, f"{place}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from texts(value, f"{place}[{number}]")


def test_what_is_text_for_kubernetes_is_text(found: Rendered) -> None:
    looked_at = {
        f"{one.title}{place}": value for one in found.objects for place, value in texts(one.data)
    }
    assert len(looked_at) > 300
    assert {place: v for place, v in looked_at.items() if not isinstance(v, str)} == {}


def test_each_of_them_arrives_as_it_was_written(found: Rendered) -> None:
    assert {one.namespace for one in found.objects} == {NAMESPACE}
    assert {one.labels["app.kubernetes.io/instance"] for one in found.objects} == {"123"}
    pod = found.pod("acc")
    assert pod["serviceAccountName"] == "7"
    assert pod["imagePullSecrets"] == [{"name": "1"}]
    assert found.environment("acc")["REDIS_URL"] == "secret 1/2"
    assert found.environment("acc-monitor")["MONITOR_TOKEN"] == "secret 1/3"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "20240101"
    redis = {volume["name"]: volume for volume in found.pod("acc-redis")["volumes"]}
    assert redis["config"]["secret"]["secretName"] == "1"
    ingress = found.one("Ingress", "acc")["spec"]
    assert ingress["ingressClassName"] == "1"
    paths = [path["path"] for rule in ingress["rules"] for path in rule["http"]["paths"]]
    assert paths == ["/x:", "/#x"]
    (rule,) = found.one("HTTPRoute", "acc")["spec"]["rules"]
    assert rule["matches"][0]["path"]["value"] == "/y:"


def test_each_of_them_is_one_that_kubernetes_takes(found: Rendered) -> None:
    """Of the schemas of Kubernetes: a number in place of a text is refused."""
    from pipeline.kubernetes.schemas import against_schema, known_versions

    for one in found.objects:
        assert list(against_schema(one, known_versions()[-1])) == [], json.dumps(one.data)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        # What helm takes for a release, which is at most 53 characters.
        ("r" * 53, "r" * 50),
        (f"{'r' * 49}-{'s' * 3}", "r" * 49),
        (f"{'r' * 40}-accelerapp", f"{'r' * 40}-accelerap"),
        (f"accelerapp-{'r' * 42}", f"accelerapp-{'r' * 39}"),
    ],
)
def test_long_names_are_cut_to_what_a_service_may_have(
    helm: str, release: str, expected: str
) -> None:
    argv = [helm, "template", release, str(CHART), "--set", "monitor.enabled=true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = Rendered(read_objects(done.stdout, "chart"))
    assert found.names("Service") == [expected, f"{expected}-monitor"]
    assert max(len(one.name) for one in found.objects) <= 63
