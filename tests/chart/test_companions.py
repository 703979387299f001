"""The monitor, Ollama and Redis of a release."""

from __future__ import annotations

from monitoring.settings import Settings
from pipeline.compose.document import merged, read_file
from pipeline.compose.stack import FOLDER
from pipeline.settings import read_settings
from tests.chart.conftest import NAME, RELEASE, ROOT, VERSION, Render

SETTINGS = read_settings(ROOT)
MONITOR, OLLAMA, REDIS = (f"{NAME}-{name}" for name in ("monitor", "ollama", "redis"))


def selector(component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "accelerapp",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": component,
    }


def test_none_of_them_is_there_by_default(render: Render) -> None:
    assert render().names("Deployment") == [NAME]
    assert render().names("Service") == [NAME]


def probe(path: str, **times: int) -> dict[str, object]:
    return {"httpGet": {"path": path, "port": "http"}, **times}


# The monitor.


def test_the_monitor_watches_what_the_release_has(render: Render) -> None:
    found = render("production")
    environment = found.environment(MONITOR)
    assert environment == {
        "MONITOR_HOST": "0.0.0.0",
        "MONITOR_PORT": "8080",
        "ACCELERAPP_URL": f"http://{NAME}:8000",
        "MONITOR_REQUIRED": "accelerapp,ollama,redis,memory,python",
        "MONITOR_PROBE_INTERVAL_S": "10",
        "MONITOR_OLLAMA_MODELS": "llama3.2:1b",
        "OLLAMA_HOST": f"http://{OLLAMA}:11434",
        "REDIS_URL": f"redis://{REDIS}:6379/0",
    }
    settings = Settings.load(environment)
    assert settings.application_url == f"http://{NAME}:8000"
    assert settings.required == {"accelerapp", "ollama", "redis", "memory", "python"}
    assert settings.redis is not None


def test_the_monitor_s_settings_are_the_values(render: Render) -> None:
    environment = render("external-redis").environment(MONITOR)
    assert environment["MONITOR_REQUIRED"] == "accelerapp,redis"
    assert environment["MONITOR_PROBE_INTERVAL_S"] == "2.5"
    assert "MONITOR_OLLAMA_MODELS" not in environment
    nothing = render(monitor={"enabled": True, "required": []}).environment(MONITOR)
    assert nothing["MONITOR_REQUIRED"] == "none"
    assert Settings.load(nothing).required == frozenset()
    moved = render("ingress-tls", monitor__enabled=True).environment("devices-monitor")
    assert moved["ACCELERAPP_URL"] == "http://devices:80"


def test_the_monitor_s_pod(render: Render) -> None:
    found = render("monitoring")
    container = found.container(MONITOR)
    assert container["name"] == "monitor"
    assert container["image"] == f"ghcr.io/accelerapp/accelerapp:v{VERSION}-monitoring"
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    assert [f"{p['containerPort']}/tcp" for p in container["ports"]] == list(
        SETTINGS.merged("monitoring").ports
    )
    assert container["startupProbe"] == probe(
        "/livez", periodSeconds=1, timeoutSeconds=2, failureThreshold=30
    )
    assert container["livenessProbe"] == probe(
        "/livez", periodSeconds=10, timeoutSeconds=2, failureThreshold=3
    )
    assert container["readinessProbe"] == probe(
        "/readyz", periodSeconds=5, timeoutSeconds=2, failureThreshold=2
    )
    assert container["resources"] == {
        "requests": {"cpu": "20m", "memory": "64Mi"},
        "limits": {"cpu": "500m", "memory": "128Mi"},
    }
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    pod = found.pod(MONITOR)
    assert pod["volumes"] == [{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}]
    assert pod["terminationGracePeriodSeconds"] == 10
    assert pod["serviceAccountName"] == NAME
    assert found.one("Deployment", MONITOR)["spec"]["replicas"] == 1


def test_with_a_token_the_monitor_is_asked_only_what_needs_none(render: Render) -> None:
    container = render("external-redis").container(MONITOR)
    assert container["readinessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}


def test_the_monitor_s_service(render: Render) -> None:
    service = render("external-redis").one("Service", MONITOR)
    assert service["spec"] == {
        "type": "ClusterIP",
        "ports": [{"name": "http", "port": 9090, "targetPort": "http", "protocol": "TCP"}],
        "selector": selector("monitor"),
    }
    assert service["metadata"]["annotations"] == {"team.example.org/contact": "devices"}
    assert service["metadata"]["labels"]["app.kubernetes.io/component"] == "monitor"


def test_images_of_another_registry(render: Render) -> None:
    found = render("air-gapped")
    mirror = "registry.internal:5000/mirror"
    assert found.container(MONITOR)["image"] == f"{mirror}/accelerapp-monitor@sha256:{'7' * 64}"
    assert found.container(REDIS)["image"] == f"{mirror}/accelerapp-redis@sha256:{'8' * 64}"
    assert found.container(OLLAMA)["image"] == f"{mirror}/ollama@sha256:{'9' * 64}"


def test_images_of_the_service_s_repository_by_digest_or_tag(render: Render) -> None:
    found = render("production")
    repository = "registry.example/accelerapp/accelerapp"
    assert found.container(MONITOR)["image"] == f"{repository}@sha256:{'2' * 64}"
    assert found.container(REDIS)["image"] == f"{repository}@sha256:{'3' * 64}"
    tagged = render(
        monitor={"enabled": True, "image": {"tag": "v5-monitoring"}},
        redis={"enabled": True, "image": {"tag": "v5-redis"}},
        ollama={"enabled": True, "image": {"tag": "0.33.3", "digest": ""}},
    )
    assert tagged.container(MONITOR)["image"].endswith("accelerapp:v5-monitoring")
    assert tagged.container(REDIS)["image"].endswith("accelerapp:v5-redis")
    assert tagged.container(OLLAMA)["image"] == "ollama/ollama:0.33.3"


# Ollama.


def test_ollama_is_the_one_of_the_stack(render: Render) -> None:
    stack = merged([read_file(FOLDER / "docker-compose.yml", ROOT)], {}).services["ollama"]
    container = render("monitoring").container(OLLAMA)
    name, _, digest = str(stack["image"]).partition("@")
    assert container["image"] == f"{name.partition(':')[0]}@{digest}"
    assert {entry["name"]: entry["value"] for entry in container["env"]} == stack["environment"]


def test_ollama_s_pod(render: Render) -> None:
    found = render("monitoring")
    container = found.container(OLLAMA)
    assert container["name"] == "ollama"
    assert container["ports"] == [{"name": "http", "containerPort": 11434, "protocol": "TCP"}]
    assert container["startupProbe"] == probe(
        "/api/version", periodSeconds=2, timeoutSeconds=2, failureThreshold=60
    )
    assert container["livenessProbe"] == probe(
        "/api/version", periodSeconds=20, timeoutSeconds=5, failureThreshold=3
    )
    assert container["readinessProbe"] == probe(
        "/api/version", periodSeconds=5, timeoutSeconds=3, failureThreshold=2
    )
    assert container["volumeMounts"] == [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "models", "mountPath": "/models"},
    ]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "4", "memory": "4Gi"},
    }
    spec = found.one("Deployment", OLLAMA)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}} in found.pod(OLLAMA)["volumes"]
    free = {"nodeSelector", "tolerations", "affinity", "runtimeClassName"}
    assert not free & set(found.pod(OLLAMA))


def test_ollama_s_service(render: Render) -> None:
    service = render("monitoring").one("Service", OLLAMA)
    assert service["spec"] == {
        "type": "ClusterIP",
        "ports": [{"name": "http", "port": 11434, "targetPort": "http", "protocol": "TCP"}],
        "selector": selector("ollama"),
    }


def test_ollama_with_gpus(render: Render) -> None:
    found = render("gpu")
    pod, container = found.pod(OLLAMA), found.container(OLLAMA)
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"cpu": "8", "memory": "24Gi", "nvidia.com/gpu": "2"},
    }
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["nodeSelector"] == {"accelerator": "nvidia-l4"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "nodeAffinity" in pod["affinity"]
    claim = found.one("PersistentVolumeClaim", OLLAMA)["spec"]
    assert claim["storageClassName"] == "fast"
    # The service's own pods go where they like.
    assert not {"nodeSelector", "tolerations", "affinity", "runtimeClassName"} & set(found.pod())


def test_gpus_of_another_kind_without_a_runtime_class(render: Render) -> None:
    found = render("gpu", ollama__gpu={"enabled": True, "resource": "amd.com/gpu", "count": 1})
    assert found.container(OLLAMA)["resources"]["limits"]["amd.com/gpu"] == "1"
    assert "runtimeClassName" not in found.pod(OLLAMA)
    off = render("gpu", ollama__gpu__enabled=False)
    assert "nvidia.com/gpu" not in off.container(OLLAMA)["resources"]["limits"]
    assert "runtimeClassName" not in off.pod(OLLAMA)


# Redis.


def test_redis_s_pod(render: Render) -> None:
    found = render("monitoring")
    container = found.container(REDIS)
    assert container["name"] == "redis"
    assert container["image"] == f"ghcr.io/accelerapp/accelerapp:v{VERSION}-redis"
    assert container["ports"] == [{"name": "redis", "containerPort": 6379, "protocol": "TCP"}]
    assert [f"{p['containerPort']}/tcp" for p in container["ports"]] == list(
        SETTINGS.merged("redis").ports
    )
    times = {"periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3}
    assert container["livenessProbe"] == {"tcpSocket": {"port": "redis"}, **times}
    ping = SETTINGS.merged("redis").healthcheck
    assert ping is not None
    assert container["readinessProbe"] == {"exec": {"command": list(ping.test[1:])}, **times}
    assert container["volumeMounts"] == [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "data", "mountPath": "/data"},
    ]
    assert container["resources"] == {
        "requests": {"cpu": "20m", "memory": "64Mi"},
        "limits": {"cpu": "500m", "memory": "192Mi"},
    }
    spec = found.one("Deployment", REDIS)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}} in found.pod(REDIS)["volumes"]


def test_redis_with_a_password(render: Render) -> None:
    found = render("openshift")
    container = found.container(REDIS)
    # Who does not know the password can see whether somebody listens, and no more.
    assert container["readinessProbe"]["tcpSocket"] == {"port": "redis"}
    assert "exec" not in container["readinessProbe"]
    assert {
        "name": "config",
        "mountPath": "/etc/accelerapp/redis.d",
        "readOnly": True,
    } in container["volumeMounts"]
    assert {"name": "config", "secret": {"secretName": "redis-password"}} in found.pod(REDIS)[
        "volumes"
    ]
    assert "include /etc/accelerapp/redis.d/" in (FOLDER / "redis.conf").read_text()
    assert found.environment()["REDIS_URL"] == "secret accelerapp/url"


def test_redis_s_service(render: Render) -> None:
    service = render("monitoring").one("Service", REDIS)
    assert service["spec"] == {
        "type": "ClusterIP",
        "ports": [{"name": "redis", "port": 6379, "targetPort": "redis", "protocol": "TCP"}],
        "selector": selector("redis"),
    }
