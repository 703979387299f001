"""Objects out of YAML: all of them, each with the place that leads people to it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ManifestInvalid
from pipeline.kubernetes.objects import (
    LASTING,
    WORKLOADS,
    KubernetesObject,
    containers,
    fits,
    items,
    mapping,
    read_objects,
    selects,
)

RENDERED = """\
---
# Source: shop/templates/service.yaml
apiVersion: v1
kind: Service
metadata: {name: a, namespace: n, labels: {l: x}}
---
# Source: shop/charts/other/templates/tests/pod.yaml
# A comment of the template.
apiVersion: v1
kind: Pod
metadata: {name: b, annotations: {helm.sh/hook: test}}
"""


def places(text: str, place: str = "file.yaml") -> list[str]:
    return [found.place for found in read_objects(text, place)]


def test_what_helm_rendered_comes_from_its_template() -> None:
    service, pod = read_objects(RENDERED, "values.yaml")
    assert service.place == "templates/service.yaml"
    assert pod.place == "charts/other/templates/tests/pod.yaml"
    assert (service.kind, service.api_version, service.name) == ("Service", "v1", "a")
    assert (service.namespace, service.labels, service.title) == ("n", {"l": "x"}, "Service a")
    assert (service.is_hook, pod.is_hook) == (False, True)


def test_what_people_wrote_comes_from_a_line() -> None:
    text = (
        "# A file.\n\na: {}\napiVersion: v1\nkind: X\n"
        "--- # the second\n# about it\n\napiVersion: v1\nkind: Y\n"
        "---\t\napiVersion: v1\nkind: Z\n"
    )
    assert places(text) == ["file.yaml:3", "file.yaml:9", "file.yaml:12"]


def test_documents_without_an_object_are_passed_over() -> None:
    text = "---\n# nothing\n---\n\n---\nkind: X\napiVersion: v1\n---\n# Source: a/b\n---\n"
    (found,) = read_objects(text, "f")
    assert (found.kind, found.place) == ("X", "f:6")
    assert read_objects("", "f") == read_objects("# only\n", "f") == ()


@pytest.mark.parametrize("said", ["# Source: alone", "# Source: /etc", "x: '# Source: a/b'"])
def test_what_only_looks_like_a_source_is_none(said: str) -> None:
    assert places(f"{said}\napiVersion: v1\nkind: X\n")[0].startswith("file.yaml:")


def test_a_line_of_dashes_in_a_text_begins_no_document() -> None:
    (found,) = read_objects("kind: X\napiVersion: v1\ndata:\n  a: |\n    ---\n    b\n", "f")
    assert found.data["data"] == {"a": "---\nb\n"}


def test_a_list_is_its_items_at_its_place() -> None:
    text = "\napiVersion: v1\nkind: List\nitems: [{kind: A, apiVersion: x/v1}, {kind: B}, 1]\n"
    one, two = read_objects(text, "f")
    assert [(one.kind, one.api_version), (two.kind, two.api_version)] == [("A", "x/v1"), ("B", "")]
    assert one.place == two.place == "f:2"
    assert read_objects("apiVersion: v1\nkind: List\n", "f") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "f:1: not YAML: "),
        ("kind: X\napiVersion: v1\n---\na: 1\nb: {\nc\n", "f:7: not YAML: "),
        ("kind: X\napiVersion: v1\nkind: Y\n", "f:3: not YAML: found duplicate key"),
        ("a: 1\n--- {b: 1}\n", "f:2: not YAML: but found another document"),
        ("a: \x07\n", "f:1: not YAML: "),
        ("---\n---\n- 1\n", "f:3: no Kubernetes object"),
        ("text\n", "f:1: no Kubernetes object"),
        ("\n\nkind: X\n", "f:3: no Kubernetes object"),
        ("apiVersion: v1\n", "f:1: no Kubernetes object"),
        ("apiVersion: v1\nkind:\n", "f:1: no Kubernetes object"),
        ("# Source: c/t.yaml\nkind: X\n", "t.yaml: no Kubernetes object"),
        ("[" * 800 + "]" * 800, "f:1: not YAML: maximum recursion"),
    ],
)
def test_what_is_no_object_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read_objects(text, "f")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def made(data: dict[str, Any]) -> KubernetesObject:
    return KubernetesObject(data, "here")


@pytest.mark.parametrize("kind", sorted(WORKLOADS - {"Pod", "CronJob"}))
def test_a_workload_has_the_pods_that_it_makes(kind: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    found = made({"kind": kind, "spec": {"template": template}})
    assert found.template == template
    assert found.pod == {"containers": []}
    assert found.pod_labels == {"a": "b"}


def test_a_pod_is_its_own_template() -> None:
    found = made({"kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}})
    assert found.template == found.data
    assert (found.pod, found.pod_labels) == ({"x": 1}, {"a": "b"})


def test_the_pods_of_a_cron_job_are_those_of_its_jobs() -> None:
    template = {"spec": {"x": 1}}
    found = made({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}})
    assert (found.template, found.pod) == (template, {"x": 1})


def test_what_makes_no_pods_has_none() -> None:
    found = made({"kind": "Service", "spec": {"template": {"spec": {"x": 1}}}})
    assert (found.template, found.pod, found.pod_labels) == ({}, {}, {})


@pytest.mark.parametrize("wrong", [None, 1, "text", []])
def test_what_is_of_another_shape_is_empty(wrong: Any) -> None:
    found = made({"kind": "Deployment", "metadata": wrong, "spec": wrong})
    assert (found.metadata, found.labels, found.spec, found.template) == ({}, {}, {}, {})
    assert (found.name, found.namespace, found.is_hook) == ("", "", False)
    assert mapping(wrong) == {}
    assert items(wrong) == []


def test_lasting_workloads_are_workloads() -> None:
    assert sorted(LASTING) == ["DaemonSet", "Deployment", "StatefulSet"]
    assert LASTING < WORKLOADS
    assert "CronJob" in WORKLOADS


def test_all_containers_of_a_pod_are_found_with_their_fields() -> None:
    spec = {
        "containers": [{"name": "a"}, {"name": "b"}, "wrong"],
        "initContainers": [{"name": "c"}],
        "ephemeralContainers": [{"name": "d"}],
        "volumes": [{"name": "v"}],
    }
    assert [(field, found["name"]) for field, found in containers(spec)] == [
        ("initContainers[0]", "c"),
        ("containers[0]", "a"),
        ("containers[1]", "b"),
        ("ephemeralContainers[0]", "d"),
    ]
    assert list(containers({"containers": None})) == []


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"a": "1"}, True),
        ({"a": "1", "b": "2"}, True),
        ({"a": "2"}, False),
        ({"a": "1", "c": "3"}, False),
        ({}, False),
    ],
)
def test_a_selector_fits_when_all_of_it_does(selector: dict[str, str], expected: bool) -> None:
    assert selects(selector, {"a": "1", "b": "2"}) is expected


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


@pytest.mark.parametrize(
    ("labels", "expressions", "expected"),
    [
        ({}, [], True),
        ({"a": "1"}, [], True),
        ({"a": "2"}, [], False),
        ({"c": "3"}, [], False),
        ({}, [expression("a", "In", "0", "1")], True),
        ({}, [expression("a", "In", "2")], False),
        ({}, [expression("c", "In", "1")], False),
        ({}, [expression("a", "NotIn", "2")], True),
        ({}, [expression("a", "NotIn", "2", "1")], False),
        # Who has no such label has none of its values.
        ({}, [expression("c", "NotIn", "1")], True),
        ({}, [expression("b", "Exists")], True),
        ({}, [expression("c", "Exists")], False),
        ({}, [expression("c", "DoesNotExist")], True),
        ({}, [expression("b", "DoesNotExist")], False),
        ({}, [expression("a", "Near", "1")], False),
        ({"a": "1"}, [expression("b", "Exists"), expression("a", "In", "1")], True),
        ({"a": "1"}, [expression("b", "Exists"), expression("c", "Exists")], False),
        ({"a": "2"}, [expression("b", "Exists")], False),
    ],
)
def test_labels_fit_a_selector_when_they_fit_all_of_it(
    labels: dict[str, str], expressions: list[dict[str, Any]], expected: bool
) -> None:
    selector = {"matchLabels": labels, "matchExpressions": expressions}
    assert fits(selector, {"a": "1", "b": "2"}) is expected


@pytest.mark.parametrize("selector", [{}, {"matchLabels": None}, {"matchExpressions": []}])
def test_an_empty_selector_fits_everything(selector: dict[str, Any]) -> None:
    assert fits(selector, {"a": "1"})
    assert fits(selector, {})
