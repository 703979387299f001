"""Every value of values.yaml changes what is rendered, is described, and is in the schema."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from accelerapp.settings import Settings, SettingsError
from monitoring.settings import Settings as MonitorSettings
from monitoring.settings import SettingsError as MonitorSettingsError
from pipeline.helm.docs import read_values
from tests.chart.conftest import CHART, NAMESPACE, RELEASE, case

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = {value.path: value for value in read_values(CHART)}
DIGEST = "sha256:" + "e" * 64
EVERYTHING = {
    "monitor": {"enabled": True},
    "ollama": {"enabled": True},
    "redis": {"enabled": True},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "hosts": [{"host": "a.example.org"}]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    "persistence": {
        name: {"enabled": True, "accessModes": ["ReadWriteMany"]}
        for name in ("models", "cache", "output")
    },
}
COLOURS = {**EVERYTHING, "blueGreen": {"enabled": True, "colour": "blue"}, "autoscaling": {}}
ELSEWHERE = {"existingSecret": {"name": "s", "redisUrlKey": "k"}}
# What is changed beside a value, where the value alone changes nothing or does not go with the
# rest; everything else is looked at in a release that has everything.
WITH: dict[str, dict[str, Any]] = {
    "replicas": {},
    "ollama.url": {},
    "redis.url": {},
    "existingSecret.name": ELSEWHERE,
    "existingSecret.redisUrlKey": ELSEWHERE,
    "existingSecret.monitorTokenKey": {
        "existingSecret": {"name": "s", "monitorTokenKey": "t"},
        "monitor": {"enabled": True},
    },
    "service.nodePort": {"service": {"type": "NodePort"}},
    "service.loadBalancerSourceRanges": {"service": {"type": "LoadBalancer"}},
    "ollama.image.tag": {"ollama": {"enabled": True, "image": {"digest": "", "tag": "v1"}}},
    "ollama.image.digest": {"ollama": {"enabled": True}},
    "redis.configSecret": {"redis": {"enabled": True, "configSecret": "c"}, **ELSEWHERE},
    # Alerts are about what is scraped.
    "serviceMonitor.enabled": {},
    "pdb.minAvailable": {"replicas": 3, "pdb": {"minAvailable": 2}},
    "autoscaling.minReplicas": {"autoscaling": {"enabled": True}, "pdb": {"enabled": False}},
    "ollama.gpu.enabled": {"ollama": {"enabled": True}},
    # Enabling it takes a colour, and a colour takes it to be enabled.
    "blueGreen.enabled": {},
    "networkPolicy.ingressFrom": {"monitor": {"enabled": True}},
    "extraVolumeMounts": {"extraVolumes": [{"name": "more", "emptyDir": {}}]},
    "serviceAccount.create": {},
}
for _name in ("resource", "count", "runtimeClassName"):
    WITH[f"ollama.gpu.{_name}"] = {"ollama": {"enabled": True, "gpu": {"enabled": True}}}
for _claim in ("persistence.models", "persistence.cache", "persistence.output"):
    WITH[f"{_claim}.ephemeralSize"] = {}
for _component in ("ollama", "redis"):
    WITH[f"{_component}.persistence.ephemeralSize"] = {
        _component: {"enabled": True, "persistence": {"enabled": False}}
    }
for _colour in ("blue", "green"):
    _named = {"enabled": True, "colour": "blue", _colour: {"image": {"tag": "v1"}}}
    WITH[f"blueGreen.{_colour}.image.repository"] = {**COLOURS, "blueGreen": _named}
WITH |= {path: COLOURS for path in VALUES if path.startswith("blueGreen.") and path not in WITH}
TO: dict[str, Any] = {
    "nameOverride": "gadgets",
    "fullnameOverride": "web",
    "commonLabels": {"team": "devices"},
    "commonAnnotations": {"contact": "devices"},
    "image.repository": "registry.example/a",
    "imagePullSecrets": ["registry"],
    "strategy.maxSurge": "50%",
    "strategy.maxUnavailable": 1,
    "blueGreen.colour": "green",
    "config.ollamaModel": "codellama:7b",
    "config.redisStream": "a:b",
    "config.shutdownGraceSeconds": 9.5,
    "existingSecret.name": "other",
    "existingSecret.redisUrlKey": "other",
    "existingSecret.monitorTokenKey": "other",
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "podLabels": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {}},
    "priorityClassName": "high",
    "service.type": "NodePort",
    "service.nodePort": 30123,
    "service.loadBalancerSourceRanges": ["192.0.2.0/24"],
    "service.annotations": {"a": "b"},
    "ingress.className": "nginx",
    "ingress.annotations": {"a": "b"},
    "ingress.hosts": [{"host": "b.example.org"}],
    "ingress.tls": [{"secretName": "tls", "hosts": ["a.example.org"]}],
    "httpRoute.annotations": {"a": "b"},
    "httpRoute.parentRefs": [{"name": "other"}],
    "httpRoute.hostnames": ["a.example.org"],
    "httpRoute.path": "/a",
    "autoscaling.targetMemoryUtilizationPercentage": 80,
    "pdb.minAvailable": 1,
    "pdb.maxUnavailable": "40%",
    "serviceAccount.name": "theirs",
    "serviceAccount.annotations": {"a": "b"},
    "networkPolicy.ingressFrom": [{"namespaceSelector": {}}],
    "networkPolicy.egressPorts": [5000],
    "serviceMonitor.labels": {"release": "prometheus"},
    "serviceMonitor.interval": "20s",
    "serviceMonitor.scrapeTimeout": "5s",
    "prometheusRule.labels": {"release": "prometheus"},
    "prometheusRule.alertLabels": {"team": "devices"},
    "prometheusRule.for": "9m",
    "prometheusRule.errorRatio": 0.2,
    "prometheusRule.latencySeconds": 2,
    "monitor.serviceAnnotations": {"a": "b"},
    "monitor.required": ["accelerapp"],
    "monitor.ollamaModels": ["llama3.2:1b"],
    "monitor.probeIntervalSeconds": 2.5,
    "ollama.url": "http://ollama.example.org",
    "ollama.gpu.resource": "amd.com/gpu",
    "ollama.gpu.runtimeClassName": "nvidia",
    "ollama.image.digest": DIGEST,
    "redis.url": "redis://redis.example.org",
    "redis.configSecret": "redis",
    "terminationGracePeriodSeconds": 50,
    "resources.requests.memory": "222Mi",
    "monitor.resources.requests.memory": "99Mi",
    "redis.resources.requests.memory": "99Mi",
    "ollama.resources.requests.memory": "3Gi",
    "ollama.resources.limits.cpu": "5",
    "ollama.resources.limits.memory": "5Gi",
    "ollama.extraEnv": [{"name": "A", "value": "b"}],
}


def changed(path: str, default: Any) -> Any:
    """Return another value that the schema takes."""
    if path in TO:
        return TO[path]
    last = path.rpartition(".")[2]
    named = {
        "tag": "v9",
        "digest": DIGEST,
        "repository": "registry.example/a",
        "existingClaim": "theirs",
        "storageClass": "fast",
        "annotations": {"a": "b"},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAffinity": {}},
        "accessModes": ["ReadWriteMany", "ReadOnlyMany"],
        "cpu": "333m",
        "replicas": 5,
    }
    if last in named:
        return named[last]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if last in ("size", "ephemeralSize", "memory"):
        return "333Mi"
    choices = [entry for entry in schema_of(path).get("enum", []) if entry not in (default, "")]
    assert choices, f"nobody has said what {path} may be changed to: add it to TO"
    return choices[0]


def schema_of(path: str) -> Mapping[str, Any]:
    """Return the schema of a value."""
    node: Mapping[str, Any] = SCHEMA
    for key in path.split("."):
        node = resolved(node)["properties"][key]
    return resolved(node)


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]
    return node


def found_in(values: Mapping[str, Any], path: str, default: Any) -> Any:
    """Return what values have at a path."""
    node: Any = values
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return default
        node = node[key]
    return node


Template = Callable[..., str]


@pytest.fixture(scope="module")
def rendered(helm: str, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Return a function: what `helm template` prints, with values files made of mappings."""
    folder = tmp_path_factory.mktemp("values")

    def run(*values: Mapping[str, Any]) -> str:
        argv = [helm, "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
        for number, one in enumerate(values):
            file = folder / f"{number}.json"
            file.write_text(json.dumps(one))
            argv += ["--values", str(file)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    found: dict[str, Any] = value
    return found


@pytest.mark.parametrize("path", VALUES)
def test_a_changed_value_changes_what_is_rendered(rendered: Template, path: str) -> None:
    around = WITH.get(path, EVERYTHING)
    before = found_in(around, path, VALUES[path].default)
    value = changed(path, before)
    assert value != before
    more = {"blueGreen": {"colour": "blue"}} if path == "blueGreen.enabled" else {}
    assert rendered(around, more, nested(path, value)) != rendered(around)


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_no_value_is_left_out_of_the_walk() -> None:
    data = YAML(typ="safe").load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(leaves(data)) == set(VALUES)
    assert len(VALUES) > 150
    assert not set(WITH) - set(VALUES)
    assert not set(TO) - set(VALUES)


@pytest.mark.parametrize("path", VALUES)
def test_every_value_is_in_the_schema_and_described(path: str) -> None:
    assert schema_of(path)
    description = VALUES[path].description
    assert len(description) > 7
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert f"| `{path}` |" in readme


def test_the_schema_has_nothing_that_the_chart_does_not_have() -> None:
    """A value that is only in the schema would be taken and do nothing."""

    def paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
        for key, child in resolved(node).get("properties", {}).items():
            path = f"{prefix}{key}"
            if path in VALUES:
                yield path
            else:
                found = list(paths(child, f"{path}."))
                yield from found or [path]

    # Of charts that have this one below them: what is everybody's, and a condition.
    assert set(paths(SCHEMA)) == {*VALUES, "global", "enabled"}


WHOLE = {
    "threads": "ACCELERAPP_THREADS",
    "concurrency": "ACCELERAPP_CONCURRENCY",
    "maxBodyBytes": "ACCELERAPP_MAX_BODY_BYTES",
    "assistConcurrency": "ACCELERAPP_ASSIST_CONCURRENCY",
    "redisMaxLength": "ACCELERAPP_REDIS_MAXLEN",
}
SECONDS = {
    "config.shutdownGraceSeconds": (Settings, "ACCELERAPP_SHUTDOWN_GRACE_S"),
    "config.assistDeadlineSeconds": (Settings, "ACCELERAPP_ASSIST_DEADLINE_S"),
    "monitor.probeIntervalSeconds": (MonitorSettings, "MONITOR_PROBE_INTERVAL_S"),
}


def test_settings_have_the_service_s_own_limits() -> None:
    """Who reads `config.threads: 300` in a values file is told by helm, not by a pod."""
    for value, variable in WHOLE.items():
        schema = schema_of(f"config.{value}")
        low, high = schema["minimum"], schema["maximum"]
        for good in (low, high):
            Settings.load({variable: str(good)})
        for bad in (low - 1, high + 1):
            with pytest.raises(SettingsError):
                Settings.load({variable: str(bad)})


@pytest.mark.parametrize("path", SECONDS)
def test_seconds_have_the_limits_of_who_reads_them(path: str) -> None:
    program, variable = SECONDS[path]
    schema = schema_of(path)
    number = next(one for one in schema["anyOf"] if one["type"] == "number")
    low, high = number["minimum"], number["maximum"]
    taken = [low, high, "0.1", "2.5", "99.125", 2.5, 9.125]
    refused = [low - 0.1, high + 0.5, "2.5555", 2.5555, "2.", ".5", "-1.5", "1e1", "x"]
    for value in (*taken, *refused):
        fits = Draft7Validator(schema).is_valid(value)
        assert fits is (value in taken), value
        if fits:
            program.load({variable: str(value)})
        else:
            with pytest.raises((SettingsError, MonitorSettingsError)):
                program.load({variable: str(value)})


@pytest.mark.parametrize("name", ["minimal", "production"])
def test_cases_are_there(name: str) -> None:
    assert isinstance(case(name), Path)
