"""What the schema takes and what it refuses, from what values are for; nothing is read from it.

`test_bad_values.py` asks the schema for its own limits, and would agree with any: the limits
themselves are stated here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from tests.chart.conftest import CHART

VALIDATOR = Draft7Validator(json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")))
VALUES: dict[str, Any] = YAML(typ="safe").load((CHART / "values.yaml").read_text(encoding="utf-8"))
COMPONENTS = ("monitor", "ollama", "redis")
VOLUMES = (
    *(f"persistence.{name}" for name in ("models", "cache", "output")),
    "ollama.persistence",
    "redis.persistence",
)
RESOURCES = ("resources", *(f"{name}.resources" for name in COMPONENTS))
IMAGES = (
    *("image", "blueGreen.blue.image", "blueGreen.green.image"),
    *(f"{name}.image" for name in COMPONENTS),
)
SHARES = ("strategy.maxSurge", "strategy.maxUnavailable", "pdb.minAvailable", "pdb.maxUnavailable")
# Kubernetes' numbers, and those of the programs.
WHOLE_NUMBERS = {
    "replicas": (0, 1000),
    "blueGreen.blue.replicas": (0, 1000),
    "blueGreen.green.replicas": (0, 1000),
    "revisionHistoryLimit": (0, 100),
    "config.threads": (1, 256),
    "config.concurrency": (1, 256),
    "config.maxBodyBytes": (1024, 1048576),
    "config.assistConcurrency": (1, 64),
    "config.redisMaxLength": (1, 1_000_000),
    "podSecurity.runAsUser": (1, 2**31 - 1),
    "podSecurity.runAsGroup": (1, 2**31 - 1),
    "podSecurity.fsGroup": (1, 2**31 - 1),
    **{f"probes.{name}.periodSeconds": (1, 300) for name in ("startup", "liveness", "readiness")},
    **{f"probes.{name}.timeoutSeconds": (1, 60) for name in ("startup", "liveness", "readiness")},
    **{
        f"probes.{name}.failureThreshold": (1, 120) for name in ("startup", "liveness", "readiness")
    },
    "drainSeconds": (0, 300),
    "terminationGracePeriodSeconds": (1, 3600),
    "topologySpread.maxSkew": (1, 100),
    "service.port": (1, 65535),
    "service.nodePort": (1, 65535),
    "monitor.port": (1, 65535),
    "autoscaling.minReplicas": (1, 1000),
    "autoscaling.maxReplicas": (1, 1000),
    "autoscaling.targetCPUUtilizationPercentage": (1, 1000),
    "autoscaling.targetMemoryUtilizationPercentage": (1, 1000),
    "autoscaling.scaleDownStabilizationSeconds": (0, 3600),
    "ollama.gpu.count": (1, 64),
    **dict.fromkeys(
        (
            *("strategy.maxSurge", "strategy.maxUnavailable"),
            *("pdb.minAvailable", "pdb.maxUnavailable"),
        ),
        (0, 1000),
    ),
}
SECONDS = {
    "config.shutdownGraceSeconds": (0, 3600),
    "config.assistDeadlineSeconds": (0, 3600),
    "monitor.probeIntervalSeconds": (0.1, 3600),
}
CHOICES = {
    "image.pullPolicy": ("IfNotPresent", "Always", "Never"),
    "strategy.type": ("RollingUpdate", "Recreate"),
    "blueGreen.colour": ("", "blue", "green"),
    "config.logFormat": ("plain", "json"),
    "podSecurity.fsGroupChangePolicy": ("OnRootMismatch", "Always"),
    "topologySpread.whenUnsatisfiable": ("ScheduleAnyway", "DoNotSchedule"),
    "service.type": ("ClusterIP", "NodePort", "LoadBalancer"),
}
# What may be null, which means that it is not said.  In a values file of Helm null takes a key
# away, so that these may also be missing.
NULLABLE = {
    *("blueGreen.blue.replicas", "blueGreen.green.replicas", "service.nodePort"),
    *(f"podSecurity.{name}" for name in ("runAsUser", "runAsGroup", "fsGroup")),
    *("pdb.minAvailable", "pdb.maxUnavailable"),
    "autoscaling.targetCPUUtilizationPercentage",
    "autoscaling.targetMemoryUtilizationPercentage",
    *(f"{name}.requests.cpu" for name in RESOURCES),
    *(f"{name}.requests.memory" for name in RESOURCES),
    *(f"{name}.limits.cpu" for name in RESOURCES),
}
LONG = "a" * 253
NAMES = (
    *("existingSecret.name", "priorityClassName", "ingress.className", "serviceAccount.name"),
    *("ollama.gpu.runtimeClassName", "redis.configSecret"),
    *(f"{name}.existingClaim" for name in VOLUMES),
    *(f"{name}.storageClass" for name in VOLUMES),
)
LABELS = (
    *("commonLabels", "podLabels", "nodeSelector", "serviceMonitor.labels"),
    *("prometheusRule.labels", "ollama.nodeSelector"),
)
ANNOTATIONS = (
    *("commonAnnotations", "podAnnotations", "service.annotations", "ingress.annotations"),
    *("httpRoute.annotations", "serviceAccount.annotations", "monitor.serviceAnnotations"),
    *(f"{name}.annotations" for name in VOLUMES),
)
# Paths, what is taken, what is refused.
TEXTS: list[tuple[tuple[str, ...], list[Any], list[Any]]] = [
    (("nameOverride", "fullnameOverride"), ["", "a", "a-1", "a" * 50], ["1a", "A", "a-", "a" * 51]),
    (NAMES, ["", "a", "a.b-1", "1", LONG], ["A", "a_b", "-a", "a.", LONG + "a", 1]),
    (
        tuple(f"{name}.digest" for name in IMAGES),
        ["", "sha256:" + "0" * 64],
        ["sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "sha512:" + "0" * 64],
    ),
    (
        tuple(f"{name}.tag" for name in IMAGES),
        ["", "v1.2.3-production", "_", "a" * 128],
        ["-a", ".a", "a" * 129, "a b", 1],
    ),
    (
        tuple(f"{name}.repository" for name in IMAGES),
        ["a", "ghcr.io/a/b", "localhost:5000/a", "a__b/c-d.e", "a" * 255],
        ["A", "a/", "a:tag", "a//b", "h:123456/a", "a" * 256],
    ),
    (("existingSecret.redisUrlKey", "existingSecret.monitorTokenKey"),
     ["", "a", "A.b_c-1", "a" * 253], ["-a", "a b", "a/b", "a" * 254]),
    (("config.ollamaModel",), ["a", "A/b.c:1-x"], ["", ":a", "a:", "a b"]),
    (("config.redisStream",), ["a", "!" * 200], ["", "a b", "a" * 201]),
    (("ollama.url",), ["", "http://a:1/b", "[::1]:2", "a~b_c"], ["a b", "a@b", "a?b"]),
    (("redis.url",), ["", "redis://a", "rediss://[::1]:1/0"], ["a", "http://a", "redis://u@a", "redis://"]),
    (("ollama.gpu.resource",), ["a/b", "nvidia.com/mig-1g.5gb_x"], ["", "a", "A/b", "a/"]),
    (("httpRoute.path",), ["/", "/a~!", "/" + "a" * 1023], ["", "a", "/a b", "/" + "a" * 1024]),
    (
        ("serviceMonitor.interval", "serviceMonitor.scrapeTimeout", "prometheusRule.for"),
        ["1ms", "10s", "5m", "1h", "2d"],
        ["0s", "s", "1", "1w", "1.5s", 5],
    ),
    (
        tuple(f"{name}.{key}" for name in VOLUMES for key in ("size", "ephemeralSize")),
        ["1", "9" * 15, *(f"8{unit}" for unit in ("k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"))],
        ["0", "0Gi", "1.5Gi", "9" * 16, "1Pi", "8gi", 8, ""],
    ),
    (
        tuple(f"{name}.{key}.memory" for name in RESOURCES for key in ("requests", "limits")),
        ["1", "9" * 15, *(f"8{unit}" for unit in ("k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"))],
        ["0", "0Gi", "1.5Gi", "9" * 16, "1Pi", "8gi", 8, ""],
    ),
    (
        tuple(f"{name}.{key}.cpu" for name in RESOURCES for key in ("requests", "limits")),
        ["1", "0.125", "100m", "9" * 6, 0.1, 1024],
        ["1.2345", "9" * 7, "1.", "m", "1.5m", 0, -1, 1025, ""],
    ),
    (
        tuple(f"{name}.accessModes" for name in VOLUMES),
        [["ReadWriteOnce"], ["ReadWriteOncePod"], ["ReadWriteMany", "ReadOnlyMany"]],
        [[], ["ReadWrite"], ["ReadWriteOnce"] * 2, "ReadWriteOnce"],
    ),
    (
        LABELS,
        [{}, {"a": ""}, {"x.io/a_B.c": "V-1"}, {"a" * 63: "a" * 63}],
        [{"a b": "c"}, {"-a": "b"}, {"a": "b c"}, {"a" * 64: "b"}, {"a": "b" * 64}, {"a": 1}, []],
    ),
    (
        ANNOTATIONS,
        [{}, {"a": "any text: {} ü"}, {"x.io/" + "a" * 63: "b" * 300}],
        [{"a b": "c"}, {"x/" + "a" * 64: "b"}, {"a": 1}, {"a": None}, []],
    ),
    (("prometheusRule.alertLabels",), [{}, {"_a1": "b"}], [{"1a": "b"}, {"a-b": "c"}, {"a": 1}]),
    (("imagePullSecrets",), [[], ["a", "b"]], [["a", "a"], ["A"], [{"name": "a"}], "a"]),
    (
        ("networkPolicy.egressPorts",),
        [[], [1, 65535]],
        [[0], [65536], [1, 1], ["1"], 1],
    ),
    (
        ("networkPolicy.ingressFrom",),
        [
            [],
            [{"podSelector": {}, "namespaceSelector": {}}],
            [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
        ],
        [[{"selector": {}}], [{"ipBlock": {}}], [{"ipBlock": {"cidr": "10.0.0.0"}}], [1]],
    ),
    (
        ("service.loadBalancerSourceRanges",),
        [[], ["10.0.0.0/8", "fd00::/128"]],
        [["10.0.0.0"], ["x/8"], ["10.0.0.0/1000"], "10.0.0.0/8"],
    ),
    (
        ("ingress.hosts",),
        [
            [],
            [{"host": "a.example.org"}],
            *(
                [{"host": "*.a", "path": "/x", "pathType": kind}]
                for kind in ("Prefix", "Exact", "ImplementationSpecific")
            ),
        ],
        [
            [{}],
            [{"host": "a_b"}],
            [{"host": "a", "path": "x"}],
            [{"host": "a", "pathType": "Regex"}],
            [{"host": "a", "port": 1}],
            [{"host": "a" * 64}],
            [{"host": ".".join(["a" * 50] * 5)}],
        ],
    ),
    (
        ("ingress.tls",),
        [[], [{"hosts": ["a"], "secretName": "s"}], [{"hosts": ["a"]}]],
        [[{}], [{"hosts": []}], [{"hosts": ["a"], "secret": "s"}], [{"hosts": ["A b"]}]],
    ),
    (("httpRoute.hostnames",), [[], ["a.b", "*.c"]], [["a b"], [1], "a"]),
    (
        ("httpRoute.parentRefs",),
        [
            [],
            [{"name": "a", "namespace": "b", "sectionName": "c", "port": 1}],
            [{"name": "a", "port": 65535}],
        ],
        [[{}], [{"name": "A"}], [{"name": "a", "port": 0}], [{"name": "a", "port": 65536}],
         [{"name": "a", "kind": "b"}], [{"name": "a", "namespace": "B"}],
         [{"name": "a", "sectionName": "B"}]],
    ),
    (
        ("monitor.required",),
        [[], ["accelerapp", "ollama", "redis", "disk", "memory", "cpu", "python"]],
        [["none"], ["cpu", "cpu"], "cpu"],
    ),
    (
        ("monitor.ollamaModels",),
        [[], ["a/B.c-_1:x"], ["a" * 201 + ":" + "b" * 80]],
        [[""], ["a b"], ["a:"], ["a" * 202], ["a:" + "b" * 81]],
    ),
    (
        ("tolerations", "ollama.tolerations"),
        [
            [],
            *(
                [{"key": "a", "operator": operator, "value": "b", "effect": effect}]
                for operator in ("Exists", "Equal")
                for effect in ("NoSchedule", "PreferNoSchedule", "NoExecute")
            ),
            [{"tolerationSeconds": 0}],
            [{"tolerationSeconds": 10**9}],
        ],
        [
            [{"operator": "In"}], [{"effect": "No"}], [{"other": 1}], [{"key": 1}], [{"value": 1}],
            [{"tolerationSeconds": -1}], [{"tolerationSeconds": 10**9 + 1}],
        ],
    ),
    (
        ("affinity", "ollama.affinity"),
        [{}, {"nodeAffinity": {}, "podAffinity": {}, "podAntiAffinity": {}}],
        [{"pods": {}}, {"nodeAffinity": 1}, {"podAffinity": []}, {"podAntiAffinity": ""}, []],
    ),
    (
        ("extraEnv", "ollama.extraEnv"),
        [
            [],
            [{"name": "_A1", "value": "b"}],
            *(
                [{"name": "A", "valueFrom": {source: {}}}]
                for source in ("configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef")
            ),
        ],
        [[{}], [{"name": "1A"}], [{"name": "A", "value": 1}], [{"name": "A", "x": 1}],
         [{"name": "A", "valueFrom": {"x": {}}}], [{"name": "A", "valueFrom": {"fieldRef": 1}}]],
    ),
    (
        ("extraVolumes",),
        [[], [{"name": "a-1", "configMap": {}}], [{"name": "a" * 63, "emptyDir": {}}]],
        [[{}], [{"name": "A", "emptyDir": {}}], [{"name": "a" * 64}],
         [{"name": "a", "hostPath": {}}], [{"name": "a", "configMap": 1}]],
    ),
    (
        ("extraVolumeMounts",),
        [[], [{"name": "a", "mountPath": "/b", "readOnly": True, "subPath": "c"}]],
        [[{"name": "a"}], [{"mountPath": "/b"}], [{"name": "", "mountPath": "/b"}],
         [{"name": "a", "mountPath": "b"}], [{"name": "a", "mountPath": "/b", "x": 1}],
         [{"name": "a", "mountPath": "/b", "readOnly": "yes"}]],
    ),
    (
        ("prometheusRule.errorRatio",),
        [0.01, 0.99, "0.05", "0.000001"],
        [0, 1, -0.1, "0", "0.0", "1.0", "5"],
    ),
    (
        ("prometheusRule.latencySeconds",),
        [0.1, 30, "0.25", "9.999", "29.5"],
        [0, 30.1, -1, "0", "0.0", "30.1", "1.2345"],
    ),
]  # fmt: skip
OBJECTS_OF_PEOPLE = {
    *LABELS,
    *ANNOTATIONS,
    "affinity",
    "ollama.affinity",
    "prometheusRule.alertLabels",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    *above, last = path.split(".")
    node = values
    for key in above:
        node = node[key]
    assert last in node, path
    node[last] = value
    return values


def without(path: str) -> dict[str, Any]:
    values = copy.deepcopy(VALUES)
    *above, last = path.split(".")
    node = values
    for key in above:
        node = node[key]
    del node[last]
    return values


def takes(path: str, value: Any) -> bool:
    return bool(VALIDATOR.is_valid(changed(path, value)))


def walk(node: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of values.yaml, mappings included, with its path."""
    for key, value in node.items():
        path = f"{above}.{key}" if above else key
        yield path, value
        if isinstance(value, dict) and path not in OBJECTS_OF_PEOPLE:
            yield from walk(value, path)


EVERY_VALUE = dict(walk(VALUES))


def test_the_values_as_they_are_are_taken() -> None:
    assert VALIDATOR.is_valid(VALUES)
    Draft7Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("path", WHOLE_NUMBERS)
def test_a_whole_number_has_its_limits(path: str) -> None:
    low, high = WHOLE_NUMBERS[path]
    assert [takes(path, value) for value in (low, high)] == [True, True]
    assert [takes(path, value) for value in (low - 1, high + 1)] == [False, False]
    assert not takes(path, low + 0.5)
    assert not takes(path, str(low))
    assert not takes(path, True)


@pytest.mark.parametrize("path", SECONDS)
def test_seconds_have_their_limits_and_three_decimals(path: str) -> None:
    low, high = SECONDS[path]
    assert all(takes(path, value) for value in (low, high, 2.5, "2.5", "999.999"))
    assert not any(
        takes(path, value) for value in (low - 0.001, high + 0.001, 2.5555, "5", "2.5555")
    )


@pytest.mark.parametrize("path", CHOICES)
def test_a_choice_is_one_of_its_words(path: str) -> None:
    assert all(takes(path, word) for word in CHOICES[path])
    assert not any(takes(path, word) for word in ("no-such", f"{CHOICES[path][-1]}x", None, 1))


@pytest.mark.parametrize("path", SHARES)
def test_a_share_is_of_a_hundred(path: str) -> None:
    assert all(takes(path, value) for value in ("0%", "9%", "50%", "100%"))
    assert not any(takes(path, value) for value in ("101%", "5", "05%", "-1%", "50 %"))


@pytest.mark.parametrize(("paths", "good", "bad"), TEXTS, ids=[paths[0] for paths, *_ in TEXTS])
def test_texts_and_lists_are_what_reads_them_takes(
    paths: tuple[str, ...], good: list[Any], bad: list[Any]
) -> None:
    for path in paths:
        assert [value for value in good if not takes(path, value)] == [], path
        assert [value for value in bad if takes(path, value)] == [], path


def test_an_image_has_a_repository_where_no_other_gives_it_one() -> None:
    found = {name: takes(f"{name}.repository", "") for name in IMAGES}
    own = {"image", "ollama.image"}
    assert found == {name: name not in own for name in IMAGES}


def test_what_is_on_or_off_is_nothing_else() -> None:
    switches = [path for path, value in EVERY_VALUE.items() if isinstance(value, bool)]
    assert len(switches) > 20
    for path in switches:
        assert takes(path, True)
        assert takes(path, False)
        assert not any(takes(path, value) for value in ("true", 1, None))


def test_null_is_for_what_need_not_be_said() -> None:
    found = {path for path in EVERY_VALUE if takes(path, None)}
    assert found == NULLABLE


def test_a_value_that_is_not_there_is_one_that_need_not_be_said() -> None:
    found = {path for path in EVERY_VALUE if VALIDATOR.is_valid(without(path))}
    unsaid = {"affinity", "ollama.affinity"} & found
    assert found - unsaid == NULLABLE


def test_a_key_that_nobody_reads_is_refused_everywhere() -> None:
    mappings = [
        path
        for path, value in EVERY_VALUE.items()
        if isinstance(value, dict) and path not in OBJECTS_OF_PEOPLE
    ]
    assert len(mappings) > 30
    for path in mappings:
        assert not takes(path, {**EVERY_VALUE[path], "unknown": 1}), path
        assert not takes(path, []), path
    assert not VALIDATOR.is_valid({**VALUES, "unknown": 1})
    # Of a chart that has this one as a part.
    assert VALIDATOR.is_valid({**VALUES, "global": {"a": 1}, "enabled": True})
    assert not VALIDATOR.is_valid({**VALUES, "global": 1})
    assert not VALIDATOR.is_valid({**VALUES, "enabled": "yes"})


def test_every_value_has_its_limits_here() -> None:
    stated = {*WHOLE_NUMBERS, *SECONDS, *CHOICES, *(path for paths, *_ in TEXTS for path in paths)}
    leaves = {
        path
        for path, value in EVERY_VALUE.items()
        if not isinstance(value, bool)
        and (not isinstance(value, dict) or path in OBJECTS_OF_PEOPLE)
    }
    assert leaves - stated == set()
