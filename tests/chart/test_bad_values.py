"""Values that are refused: by the schema one by one, by the chart where they do not go together."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from pipeline.helm.commands import Values, reasons
from pipeline.process import Completed
from tests.chart.conftest import CASES, CHART
from tests.chart.test_values import SCHEMA, resolved

DEFAULTS: dict[str, Any] = YAML(typ="safe").load((CHART / "values.yaml").read_text())
VALIDATOR = Draft7Validator(SCHEMA)
Path_ = tuple[str, ...]


def objects(node: Any, schema: Mapping[str, Any], path: Path_ = ()) -> Iterator[Path_]:
    """Yield every mapping whose keys the schema knows."""
    properties = resolved(schema).get("properties")
    if isinstance(node, dict) and properties:
        yield path
        for key, value in node.items():
            if key in properties:
                yield from objects(value, properties[key], (*path, key))


def leaves(node: Any, schema: Mapping[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Yield every leaf with its schema."""
    schema = resolved(schema)
    if isinstance(node, dict) and "properties" in schema:
        for key, value in node.items():
            yield from leaves(value, schema["properties"][key], (*path, key))
    else:
        yield path, schema


def mutated(path: Path_, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(DEFAULTS)
    node = values
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return values


def alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    schema = resolved(schema)
    if "anyOf" not in schema:
        return [schema]
    return [one for each in schema["anyOf"] for one in alternatives(each)]


def mutants() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in objects(DEFAULTS, SCHEMA):
        yield f"{'.'.join((*path, 'unknown'))}=1", mutated((*path, "unknown"), 1)
    for path, schema in leaves(DEFAULTS, SCHEMA):
        title = ".".join(path)
        types = {one.get("type") for one in alternatives(schema)}
        for wrong in ("sixteen tons", 4.25, True, ["a", 7], {"a": 7}):
            kind = {str: "string", float: "number", bool: "boolean", list: "array", dict: "object"}
            if kind[type(wrong)] not in types:
                yield f"{title}={wrong!r}", mutated(path, wrong)
        for one in alternatives(schema):
            if "minimum" in one:
                yield f"{title} too small", mutated(path, one["minimum"] - 1)
            if "maximum" in one:
                yield f"{title} too large", mutated(path, one["maximum"] + 1)
            if "enum" in one:
                yield f"{title} of no kind", mutated(path, "nonsense")
            if "pattern" in one:
                yield f"{title} out of pattern", mutated(path, "no such\nthing!")


MUTANTS = dict(mutants())


def test_the_schema_is_one_and_takes_every_case() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert not list(VALIDATOR.iter_errors(DEFAULTS))
    assert len(CASES) >= 12
    for file in CASES:
        values = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        merged = overlaid(DEFAULTS, values)
        assert not list(VALIDATOR.iter_errors(merged)), file.name


def overlaid(base: Any, over: Any) -> Any:
    """Merge values as helm does: mappings by key, null takes a key away."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    found = {**base, **{key: overlaid(base.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in found.items() if not (key in over and value is None)}


@pytest.mark.parametrize("title", MUTANTS)
def test_a_mutated_value_is_refused(title: str) -> None:
    assert list(VALIDATOR.iter_errors(MUTANTS[title]))


def test_there_are_enough_of_them() -> None:
    assert len(MUTANTS) >= 200


def ask(helm: str, tmp_path: Path, values: Mapping[str, Any], how: str = "template") -> Completed:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    words = {
        "template": ("template", "shop", str(CHART)),
        "lint": ("lint", "--strict", str(CHART)),
    }[how]
    argv = (helm, *words, "--values", str(file))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return Completed(argv, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("title", list(MUTANTS)[::17])
def test_helm_agrees(helm: str, tmp_path: Path, title: str) -> None:
    done = ask(helm, tmp_path, MUTANTS[title])
    assert done.returncode != 0
    told = reasons(done)
    assert told
    path = title.partition("=")[0].partition(" ")[0]
    assert any(path.removesuffix(".unknown").rpartition(".")[2] in line for line in told), told


# What does not go together.

DIGEST = "sha256:" + "0" * 64
EXCLUSIVE = {"enabled": True, "accessModes": ["ReadWriteOnce"]}
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    # values, a part of what is said
    ({"image": {"tag": "v1", "digest": DIGEST}}, "image.tag (v1) and image.digest (sha256:000"),
    (
        {"blueGreen": {"blue": {"image": {"tag": "v1", "digest": DIGEST}}}},
        "blueGreen.blue.image.tag (v1) and",
    ),
    (
        {"blueGreen": {"green": {"image": {"tag": "v1", "digest": DIGEST}}}},
        "blueGreen.green.image.tag (v1) and",
    ),
    ({"monitor": {"image": {"tag": "v1", "digest": DIGEST}}}, "monitor.image.tag (v1) and"),
    ({"ollama": {"image": {"tag": "0.1"}}}, "ollama.image.tag (0.1) and"),
    ({"redis": {"image": {"tag": "v1", "digest": DIGEST}}}, "redis.image.tag (v1) and"),
    ({"image": {"tag": "latest"}}, "image.tag is latest"),
    ({"ollama": {"enabled": True, "image": {"digest": ""}}}, "neither tag nor digest"),
    ({"blueGreen": {"enabled": True}}, "blueGreen.enabled without blueGreen.colour"),
    ({"blueGreen": {"colour": "blue"}}, "blueGreen.enabled is false"),
    (
        {"blueGreen": {"enabled": True, "colour": "blue", "blue": {"replicas": 0}}},
        "blueGreen.blue.replicas is 0 and blue gets the traffic",
    ),
    (
        {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}},
        "autoscaling.minReplicas (9) is more than autoscaling.maxReplicas (3)",
    ),
    (
        {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}},
        "with nothing to aim at",
    ),
    (
        {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
        "resources.requests.cpu is not set",
    ),
    (
        {
            "autoscaling": {"enabled": True, "targetMemoryUtilizationPercentage": 80},
            "resources": {"requests": {"memory": None}},
        },
        "resources.requests.memory is not set",
    ),
    (
        {"pdb": {"minAvailable": 1, "maxUnavailable": 1}},
        "pdb.minAvailable and pdb.maxUnavailable are both set",
    ),
    ({"pdb": {"maxUnavailable": 0}}, "pdb.maxUnavailable is 0"),
    ({"pdb": {"maxUnavailable": "0%"}}, "pdb.maxUnavailable is 0"),
    ({"pdb": {"minAvailable": 2}}, "keeps all of 2 pods"),
    ({"pdb": {"minAvailable": "100%"}}, "keeps all of 2 pods"),
    ({"pdb": {"minAvailable": "51%"}}, "keeps all of 2 pods"),
    (
        {"replicas": 1, "pdb": {"minAvailable": 1}},
        "keeps all of 1 pods",
    ),
    (
        {
            "autoscaling": {"enabled": True, "minReplicas": 3},
            "replicas": 9,
            "pdb": {"minAvailable": 3},
        },
        "keeps all of 3 pods",
    ),
    (
        {
            "blueGreen": {"enabled": True, "colour": "blue", "green": {"replicas": 1}},
            "pdb": {"minAvailable": 1},
        },
        "keeps all of 1 pods of green",
    ),
    ({"persistence": {"models": EXCLUSIVE}}, "persistence.models is ReadWriteOnce, which 2 pods"),
    ({"persistence": {"cache": EXCLUSIVE}}, "persistence.cache is ReadWriteOnce, which 2 pods"),
    ({"persistence": {"output": EXCLUSIVE}}, "persistence.output is ReadWriteOnce, which 2 pods"),
    (
        {
            "replicas": 1,
            "persistence": {"output": {**EXCLUSIVE, "accessModes": ["ReadWriteOncePod"]}},
        },
        "persistence.output is ReadWriteOncePod, which the old and the new pod",
    ),
    (
        {
            "replicas": 1,
            "autoscaling": {"enabled": True},
            "persistence": {"output": EXCLUSIVE},
        },
        "which 6 pods cannot mount",
    ),
    (
        {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "blueGreen": {"enabled": True, "colour": "blue"},
            "persistence": {"output": EXCLUSIVE},
        },
        "which blue and green cannot mount at once",
    ),
    (
        {"persistence": {"output": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
        "persistence.output is ReadOnlyMany",
    ),
    ({"strategy": {"maxSurge": 0}}, "no pod could ever be replaced"),
    ({"strategy": {"maxSurge": "0%", "maxUnavailable": "0%"}}, "no pod could ever be replaced"),
    ({"terminationGracePeriodSeconds": 13}, "terminationGracePeriodSeconds (13) is not more than"),
    ({"config": {"shutdownGraceSeconds": 24.5}}, "is not more than drainSeconds (5)"),
    ({"ingress": {"enabled": True}}, "ingress.enabled without ingress.hosts"),
    (
        {
            "ingress": {
                "enabled": True,
                "hosts": [{"host": "a.example.org"}],
                "tls": [{"hosts": ["b.example.org"]}],
            }
        },
        "ingress.tls is for b.example.org",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled without httpRoute.parentRefs"),
    ({"ollama": {"enabled": True, "url": "http://o"}}, "ollama.enabled and ollama.url"),
    ({"redis": {"enabled": True, "url": "redis://r"}}, "redis.enabled and redis.url"),
    (
        {"redis": {"enabled": True, "persistence": {"accessModes": ["ReadOnlyMany"]}}},
        "redis.persistence is ReadOnlyMany",
    ),
    ({"existingSecret": {"redisUrlKey": "k"}}, "existingSecret has keys and no name"),
    ({"existingSecret": {"monitorTokenKey": "k"}}, "existingSecret has keys and no name"),
    ({"existingSecret": {"name": "s"}}, "existingSecret.name without a key"),
    (
        {"existingSecret": {"name": "s", "redisUrlKey": "k"}, "redis": {"url": "redis://r"}},
        "existingSecret.redisUrlKey and redis.url",
    ),
    (
        {"redis": {"enabled": True, "configSecret": "c"}},
        "redis.configSecret without existingSecret.redisUrlKey",
    ),
    (
        {"monitor": {"enabled": True, "required": ["ollama"]}},
        "monitor.required names ollama and there is none",
    ),
    (
        {"monitor": {"enabled": True, "required": ["redis"]}},
        "monitor.required names redis and there is none",
    ),
    (
        {"monitor": {"enabled": True, "ollamaModels": ["a"]}},
        "monitor.ollamaModels without an Ollama",
    ),
    (
        {"service": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}},
        "service.loadBalancerSourceRanges with service.type ClusterIP",
    ),
    ({"service": {"nodePort": 30000}}, "service.nodePort with service.type ClusterIP"),
    (
        {"extraEnv": [{"name": "ACCELERAPP_THREADS", "value": "1"}]},
        "extraEnv sets ACCELERAPP_THREADS",
    ),
    ({"extraEnv": [{"name": "REDIS_URL", "value": "x"}]}, "extraEnv sets REDIS_URL"),
    ({"extraEnv": [{"name": "ACCELERAPP_PORT", "value": "1"}]}, "extraEnv sets ACCELERAPP_PORT"),
    ({"extraVolumes": [{"name": "cache", "emptyDir": {}}]}, "extraVolumes has a second cache"),
    (
        {"extraVolumeMounts": [{"name": "none", "mountPath": "/x"}]},
        "extraVolumeMounts mounts none, which is no volume",
    ),
    (
        {
            "extraVolumes": [{"name": "x", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "x", "mountPath": "/app/output"}],
        },
        "extraVolumeMounts mounts over /app/output",
    ),
]


@pytest.mark.parametrize(
    ("values", "expected"), CONTRADICTIONS, ids=[said[:60] for _, said in CONTRADICTIONS]
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    helm: str, tmp_path: Path, values: dict[str, Any], expected: str
) -> None:
    done = ask(helm, tmp_path, values)
    assert done.returncode != 0
    told = reasons(done)
    assert any(expected in line for line in told), told
    # One reason for one mistake, and each with what to do.
    assert len(told) == 1, told
    assert any(mark in told[0] for mark in (": ", "; ", "?"))


def test_lint_refuses_the_same(helm: str, tmp_path: Path) -> None:
    done = ask(helm, tmp_path, {"blueGreen": {"enabled": True}}, "lint")
    assert done.returncode != 0
    assert any("blueGreen.colour" in line for line in reasons(done)), reasons(done)


def test_all_reasons_are_told_at_once(helm: str, tmp_path: Path) -> None:
    bad = {"ingress": {"enabled": True}, "httpRoute": {"enabled": True}, "image": {"tag": "latest"}}
    assert len(reasons(ask(helm, tmp_path, bad))) == 3


GOOD: list[dict[str, Any]] = [
    {"replicas": 1, "strategy": {"type": "Recreate"}, "persistence": {"output": EXCLUSIVE}},
    {"replicas": 3, "pdb": {"minAvailable": 2}},
    {"replicas": 3, "pdb": {"minAvailable": "50%"}},
    {"replicas": 1, "pdb": {"maxUnavailable": 1}},
    {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 4}},
    {"strategy": {"type": "Recreate", "maxSurge": 0}},
    {"strategy": {"maxSurge": 0, "maxUnavailable": 1}},
    {"terminationGracePeriodSeconds": 14},
    {"persistence": {"models": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
    {
        "redis": {"enabled": True, "configSecret": "c"},
        "existingSecret": {"name": "s", "redisUrlKey": "k"},
    },
    {"pdb": {"enabled": False, "maxUnavailable": 0}},
    {"ingress": {"hosts": []}},
    {"service": {"type": "LoadBalancer", "nodePort": 30000}},
    {"replicas": 0, "pdb": {"minAvailable": 1}},
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_what_goes_together_is_taken(helm: str, tmp_path: Path, values: dict[str, Any]) -> None:
    done = ask(helm, tmp_path, values)
    assert done.ok, done.stderr


def test_the_title_of_values_is_that_of_their_file() -> None:
    assert Values((CASES[0],)).title == CASES[0].name
