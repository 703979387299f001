"""What is kept, where, and by whom."""

from __future__ import annotations

from tests.chart.conftest import NAME, Render


def test_nothing_is_kept_by_default(render: Render) -> None:
    assert not render().all("PersistentVolumeClaim")


def test_claims_that_many_pods_mount(render: Render) -> None:
    found = render("shared-volumes")
    assert found.names("PersistentVolumeClaim") == [f"{NAME}-cache", f"{NAME}-output"]
    output = found.one("PersistentVolumeClaim", f"{NAME}-output")
    assert output["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
        "resources": {"requests": {"storage": "50Gi"}},
    }
    assert output["metadata"]["annotations"] == {
        "backup.example.org/daily": "true",
        "helm.sh/resource-policy": "keep",
    }
    volumes = {volume["name"]: volume for volume in found.pod()["volumes"]}
    for name, claim in (
        # Which nobody can write to, says the claim; so says the mount.
        ("models", {"claimName": "models", "readOnly": True}),
        ("cache", {"claimName": f"{NAME}-cache"}),
        ("output", {"claimName": f"{NAME}-output"}),
    ):
        assert volumes[name] == {"name": name, "persistentVolumeClaim": claim}


def test_a_claim_that_somebody_can_write_to_is_not_mounted_read_only(render: Render) -> None:
    models = {"enabled": True, "accessModes": ["ReadWriteMany", "ReadOnlyMany"]}
    volumes = {v["name"]: v for v in render(persistence__models=models).pod()["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": f"{NAME}-models"}


def test_a_claim_of_one_pod(render: Render) -> None:
    claim = render("development").one("PersistentVolumeClaim", f"{NAME}-output")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "2Gi"}},
    }
    # `retain: false`: it goes with the release.
    assert "annotations" not in claim["metadata"]


def test_claims_of_models_and_cache_are_the_service_s(render: Render) -> None:
    found = render(
        persistence__models={"enabled": True, "size": "9Gi", "accessModes": ["ReadWriteMany"]}
    )
    claim = found.one("PersistentVolumeClaim", f"{NAME}-models")
    assert claim["spec"]["resources"]["requests"]["storage"] == "9Gi"
    assert claim["metadata"]["labels"]["app.kubernetes.io/component"] == "service"
    volumes = {volume["name"]: volume for volume in found.pod()["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == f"{NAME}-models"


def test_ollama_and_redis_keep_theirs(render: Render) -> None:
    found = render("production")
    assert found.names("PersistentVolumeClaim") == [f"{NAME}-ollama", f"{NAME}-redis"]
    for component, size in (("ollama", "20Gi"), ("redis", "1Gi")):
        claim = found.one("PersistentVolumeClaim", f"{NAME}-{component}")
        assert claim["metadata"]["labels"]["app.kubernetes.io/component"] == component
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert claim["spec"]["resources"]["requests"]["storage"] == size
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
        volumes = found.pod(f"{NAME}-{component}")["volumes"]
        claims = [v["persistentVolumeClaim"] for v in volumes if "persistentVolumeClaim" in v]
        assert claims == [{"claimName": f"{NAME}-{component}"}]


def test_claims_that_are_there_already(render: Render) -> None:
    found = render("air-gapped")
    assert not found.all("PersistentVolumeClaim")
    for component, claim in (("ollama", "models"), ("redis", "redis-of-before")):
        volumes = found.pod(f"{NAME}-{component}")["volumes"]
        claims = [v["persistentVolumeClaim"] for v in volumes if "persistentVolumeClaim" in v]
        assert claims == [{"claimName": claim}]


def test_ollama_and_redis_without_a_claim(render: Render) -> None:
    ollama = {v["name"]: v for v in render("monitoring").pod(f"{NAME}-ollama")["volumes"]}
    assert ollama["models"] == {"name": "models", "emptyDir": {"sizeLimit": "8Gi"}}
    redis = {v["name"]: v for v in render("development").pod(f"{NAME}-redis")["volumes"]}
    assert redis["data"] == {"name": "data", "emptyDir": {"sizeLimit": "256Mi"}}
