"""Values that are refused: by the schema one by one, by the chart where they do not go together."""

from __future__ import annotations

import copy
import json
import re
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
from tests.chart.test_values import SCHEMA, nested, resolved
from tests.integration.conftest import find_tool

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
FIXED = ("app.kubernetes.io/name", "app.kubernetes.io/x", "helm.sh/chart", "accelerapp/colour")
OLLAMAS = (
    *("http://o", "https://o.example.org/ollama", "o", "o:1", "o:65535", "http://192.0.2.1:80/"),
    *("http://[2001:db8::1]:9001", "http://[::1]", "[::1]:11434", "2001:db8::1", "o.example.org."),
)
REDISES = ("redis://r", "rediss://r.example.org:6380/15", "redis://[::1]:6379/0", "redis://r/9999")


def mounting(*paths: str) -> dict[str, Any]:
    """Return values with a volume at these paths."""
    return {
        "extraVolumes": [{"name": "x", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "x", "mountPath": path} for path in paths],
    }


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
    *(
        (
            nested(f"blueGreen.{colour}.image.repository", "r.example/a"),
            f"blueGreen.{colour}.image.repository without a tag or a digest",
        )
        for colour in ("blue", "green")
    ),
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
    (
        {"pdb": {"maxUnavailable": 0}},
        "pdb.maxUnavailable is 0: no node with one of these pods could ever be drained; allow 1",
    ),
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
        {"persistence": {"models": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
        "persistence.models is ReadOnlyMany, and nobody could fill a new claim",
    ),
    (
        {"commonAnnotations": {"helm.sh/hook": "test"}},
        "commonAnnotations has helm.sh/hook, which makes helm treat objects otherwise",
    ),
    (
        {"podAnnotations": {"helm.sh/resource-policy": "keep"}},
        "podAnnotations has helm.sh/resource-policy",
    ),
    (
        {"persistence": {"output": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
        "persistence.output is ReadOnlyMany",
    ),
    (
        {"persistence": {"cache": {"enabled": True, "accessModes": ["ReadOnlyMany"]}}},
        "persistence.cache is ReadOnlyMany",
    ),
    (
        {
            "persistence": {
                "models": {"enabled": True, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}
            }
        },
        "persistence.models is ReadWriteOnce, ReadOnlyMany, which 2 pods cannot mount",
    ),
    (
        {"ollama": {"enabled": True, "persistence": {"accessModes": ["ReadOnlyMany"]}}},
        "ollama.persistence is ReadOnlyMany",
    ),
    ({"strategy": {"maxSurge": 0}}, "no pod could ever be replaced; allow one of them 1"),
    ({"strategy": {"maxSurge": "0%", "maxUnavailable": "0%"}}, "no pod could ever be replaced"),
    ({"terminationGracePeriodSeconds": 40}, "terminationGracePeriodSeconds (40) is not more than"),
    ({"config": {"shutdownGraceSeconds": 54.5}}, "is not more than drainSeconds (5)"),
    # As `--set` gives it.
    ({"config": {"shutdownGraceSeconds": "54.5"}}, "is not more than drainSeconds (5)"),
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
    *(
        (
            {
                "ingress": {
                    "enabled": True,
                    "hosts": [{"host": host}],
                    "tls": [{"hosts": ["*.example.org"]}],
                }
            },
            "ingress.tls is for *.example.org",
        )
        # Of one name alone is the star.
        for host in ("a.example.net", "a.b.example.org", "example.org", "aexample.org")
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled without httpRoute.parentRefs"),
    ({"ollama": {"enabled": True, "url": "http://o"}}, "ollama.enabled and ollama.url"),
    ({"redis": {"enabled": True, "url": "redis://r"}}, "redis.enabled and redis.url"),
    (
        {"redis": {"enabled": True, "persistence": {"accessModes": ["ReadOnlyMany"]}}},
        "redis.persistence is ReadOnlyMany",
    ),
    ({"existingSecret": {"redisUrlKey": "k"}}, "existingSecret has keys and no name"),
    (
        {"existingSecret": {"monitorTokenKey": "k"}, "monitor": {"enabled": True}},
        "existingSecret has keys and no name",
    ),
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
        {
            "redis": {"configSecret": "c"},
            "existingSecret": {"name": "s", "redisUrlKey": "k"},
        },
        "redis.configSecret without redis.enabled",
    ),
    (
        {"redis": {"enabled": True}, "existingSecret": {"name": "s", "redisUrlKey": "k"}},
        "redis.enabled and existingSecret.redisUrlKey without redis.configSecret",
    ),
    (
        {"existingSecret": {"name": "s", "monitorTokenKey": "k"}},
        "existingSecret.monitorTokenKey without monitor.enabled",
    ),
    ({"ollama": {"gpu": {"enabled": True}}}, "ollama.gpu.enabled without ollama.enabled"),
    (
        {"prometheusRule": {"enabled": True}},
        "prometheusRule.enabled without serviceMonitor.enabled",
    ),
    *(
        (
            {"serviceMonitor": {"scrapeTimeout": timeout, "interval": interval}},
            f"serviceMonitor.scrapeTimeout ({timeout}) is longer than serviceMonitor.interval "
            f"({interval})",
        )
        for timeout, interval in (
            ("31s", "30s"),
            ("1m", "59s"),
            ("1001ms", "1s"),
            ("5s", "500ms"),
            ("61m", "1h"),
            ("86400001ms", "1d"),
        )
    ),
    # Labels that the chart sets itself.
    *(
        (nested(what, {label: "x"}), f"{what} has {label}, which the chart sets")
        for what in ("commonLabels", "podLabels", "serviceMonitor.labels", "prometheusRule.labels")
        for label in FIXED
    ),
    # Claims that nobody would use.
    *(
        (nested(claim, {"enabled": False, "existingClaim": "c"}), f"{claim}.existingClaim without")
        for claim in (
            *(f"persistence.{name}" for name in ("models", "cache", "output")),
            "ollama.persistence",
            "redis.persistence",
        )
    ),
    # More than there may be.
    *(
        (
            nested(
                f"{component}resources",
                {"requests": {resource: asked}, "limits": {resource: most}},
            ),
            f"{component}resources.requests.{resource} ({asked}) is more than "
            f"{component}resources.limits.{resource} ({most})",
        )
        for component in ("", "monitor.", "ollama.", "redis.")
        for resource, asked, most in (
            ("cpu", "2", "1"),
            ("cpu", "1500m", "1"),
            ("cpu", "1.5", "1"),
            ("cpu", "1.09", "1.05"),
            ("cpu", "10", "9"),
            ("cpu", 0.5, "250m"),
            ("memory", "1Gi", "256Mi"),
            ("memory", "1Gi", "1G"),
            ("memory", "1025Mi", "1Gi"),
            ("memory", "9000Ti", "1Ti"),
        )
    ),
    # Addresses.
    *(
        ({"ollama": {"url": url}}, f"ollama.url ({url}) is no address")
        for url in ("a..b", "http://a:b", "http://[::1", "http://", "-a", "http:/a")
    ),
    *(
        ({"redis": {"url": url}}, f"redis.url ({url}) is no address")
        for url in (
            *("redis://a..b", "redis://[::1", "redis://a:b", "redis://a/x", "redis://::1"),
            *("redis://[12345::1]", "redis://[1:2:3:4:5:6:7:8:9]"),
        )
    ),
    *(
        (nested(what, url), f"{what} ({url}) has a port that there is not")
        for what, scheme in (("ollama.url", "http"), ("redis.url", "redis"))
        for url in (
            f"{scheme}://a:0",
            f"{scheme}://a:00",
            f"{scheme}://a:99999",
            f"{scheme}://[::1]:65536",
        )
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
    (
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "extraEnv sets A, which is set already",
    ),
    ({"extraEnv": [{"name": "ACCELERAPP_HOST", "value": "x"}]}, "extraEnv sets ACCELERAPP_HOST"),
    *(
        ({"ollama": {"extraEnv": [{"name": name, "value": "x"}]}}, f"ollama.extraEnv sets {name}")
        for name in ("HOME", "OLLAMA_HOST", "OLLAMA_MODELS")
    ),
    (
        {"ollama": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
        "ollama.extraEnv sets A, which is set already",
    ),
    *(
        (mounting(*paths), f"extraVolumeMounts mounts over {over}: ")
        for paths, over in (
            (["/tmp"], "/tmp"),
            (["/tmp/"], "/tmp"),
            (["/app/output/"], "/app/output"),
            (["/app/../app/cache"], "/app/cache"),
            (["/app"], "/app/models, /app/cache, /app/output"),
            (["/"], "/tmp, /app/models, /app/cache, /app/output"),
            (["/x", "/x"], "/x"),
            (["/x", "/x/"], "/x"),
            (["/x/y", "/x"], "/x/y"),
        )
    ),
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


@pytest.mark.parametrize("name", ["1st", "my.app", "a.b"])
def test_a_release_whose_name_is_none_of_a_service_is_refused(helm: str, name: str) -> None:
    argv = (helm, "template", name, str(CHART))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    (told,) = reasons(Completed(argv, done.returncode, done.stdout, done.stderr))
    assert f"{name}-accelerapp cannot be the name of a Service" in told
    assert told.endswith("set fullnameOverride")
    words = [*argv, "--set", "fullnameOverride=web"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_a_long_name_of_a_release_leaves_room_for_what_comes_behind(helm: str) -> None:
    argv = [helm, "template", "a" * 53, str(CHART), "--set", "monitor.enabled=true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f'name: "{"a" * 50}-monitor"' in done.stdout


# As `--set` gives it: a number with a point is a text.
SETS = {
    "config.shutdownGraceSeconds": ("2.5", "0.125", "2.5555"),
    "config.assistDeadlineSeconds": ("2.5", "30.0", "2.5555"),
    "monitor.probeIntervalSeconds": ("0.5", "2.25", "0.0"),
    "prometheusRule.errorRatio": ("0.05", "0.10", "0.0"),
    "prometheusRule.latencySeconds": ("0.25", "12.5", "0.0"),
}


@pytest.mark.parametrize("path", SETS)
@pytest.mark.parametrize("program", ["helm", "helm3"])
def test_decimals_may_be_given_by_hand(program: str, path: str) -> None:
    helm = str(find_tool(program, unchecked="that decimals can be given with --set"))
    *good, bad = SETS[path]
    enabled = ("monitor", "serviceMonitor", "prometheusRule")
    words = [word for one in enabled for word in ("--set", f"{one}.enabled=true")]
    for value in good:
        argv = [helm, "template", "shop", str(CHART), *words, "--set", f"{path}={value}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (value, done.stderr)
        assert re.search(rf'(value: "|> ){re.escape(value)}', done.stdout), value
    argv[-1] = f"{path}={bad}"
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("value", [2.5555, "2.5555", "2.", ".5", "1e3", "2,5", 3600.5])
def test_more_than_three_decimals_are_none_that_the_service_takes(value: Any) -> None:
    for path in ("shutdownGraceSeconds", "assistDeadlineSeconds"):
        assert list(VALIDATOR.iter_errors(mutated(("config", path), value)))
    assert list(VALIDATOR.iter_errors(mutated(("monitor", "probeIntervalSeconds"), value)))


@pytest.mark.parametrize("name", ["runAsUser", "runAsGroup", "fsGroup"])
def test_a_user_is_one_that_kubernetes_has(name: str) -> None:
    assert not list(VALIDATOR.iter_errors(mutated(("podSecurity", name), 2**31 - 1)))
    for bad in (2**31, 0, -1, "1000", 1000.5):
        assert list(VALIDATOR.iter_errors(mutated(("podSecurity", name), bad)))


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
    {"terminationGracePeriodSeconds": 41},
    {"config": {"shutdownGraceSeconds": "53.999"}},
    *(
        nested(f"{component}resources", given)
        for component in ("", "monitor.", "ollama.", "redis.")
        for given in (
            # At most the limit, however the two are written.
            {"requests": {"cpu": "1000m"}, "limits": {"cpu": "1"}},
            {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1.5"}},
            {"requests": {"cpu": 1.5}, "limits": {"cpu": "1500m"}},
            {"requests": {"cpu": "1.05"}, "limits": {"cpu": "1.09"}},
            {"requests": {"cpu": "9"}, "limits": {"cpu": "10"}},
            {"requests": {"cpu": "9"}, "limits": {"cpu": None}},
            {"requests": {"cpu": None}, "limits": {"cpu": "9"}},
            {"requests": {"memory": "1024Mi"}, "limits": {"memory": "1Gi"}},
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Ti"}},
            {"requests": {"memory": "1G"}, "limits": {"memory": "1Gi"}},
            {"requests": {"memory": "256000k"}, "limits": {"memory": "256M"}},
        )
    ),
    *(
        {"serviceMonitor": {"scrapeTimeout": timeout, "interval": interval}}
        for timeout, interval in (
            ("5s", "1m"),
            ("500ms", "1s"),
            ("60s", "1m"),
            ("60m", "1h"),
            ("24h", "1d"),
        )
    ),
    {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
    {
        "ingress": {
            "enabled": True,
            "hosts": [{"host": "a.example.org"}, {"host": "*.example.net"}],
            "tls": [{"hosts": ["*.example.org", "*.example.net", "a.example.org"]}],
        }
    },
    *({"ollama": {"url": url}} for url in OLLAMAS),
    *({"redis": {"url": url}} for url in REDISES),
    {"extraEnv": [{"name": "HOME", "value": "/tmp"}, {"name": "A", "value": "b"}]},
    {
        "ollama": {
            "enabled": True,
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        }
    },
    mounting("/tmp/x"),
    mounting("/app/outputs"),
    mounting("/app/output/x"),
    mounting("/x", "/y"),
    {"commonLabels": {"kubernetes.io/x": "a", "helm": "b", "app": "c"}},
    {"persistence": {"cache": {"enabled": True, "accessModes": ["ReadWriteMany", "ReadOnlyMany"]}}},
    {"podSecurity": {"runAsUser": 2147483647}},
    {
        "persistence": {
            "models": {"enabled": True, "accessModes": ["ReadOnlyMany"], "existingClaim": "models"}
        }
    },
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
