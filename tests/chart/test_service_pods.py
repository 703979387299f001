"""The pods of the service: what runs, as whom, with which settings, and how it begins and ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from accelerapp.settings import Settings
from monitoring.settings import Settings as MonitorSettings
from pipeline.settings import read_settings
from tests.chart.conftest import NAME, NAMESPACE, RELEASE, ROOT, VERSION, Render

IMAGE = read_settings(ROOT).merged("production")
DIGEST = "sha256:" + "a" * 64
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}


def test_the_image_is_the_release_s_own_by_default(render: Render) -> None:
    container = render().container()
    assert container["image"] == f"ghcr.io/accelerapp/accelerapp:v{VERSION}-production"
    assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image__tag": "v9-production"}, "ghcr.io/accelerapp/accelerapp:v9-production"),
        ({"image__digest": DIGEST}, f"ghcr.io/accelerapp/accelerapp@{DIGEST}"),
        (
            {"image__repository": "r.example:5000/a/b", "image__digest": DIGEST},
            f"r.example:5000/a/b@{DIGEST}",
        ),
    ],
)
def test_the_image_by_tag_or_digest(render: Render, values: Any, expected: str) -> None:
    assert render(**values).container()["image"] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, f"v{VERSION}-production"),
        ({"image__tag": "v9"}, "v9"),
        ({"image__digest": DIGEST}, "sha256-aaaaaaaaaaaa"),
    ],
)
def test_the_version_label_is_the_image_s(render: Render, values: Any, expected: str) -> None:
    deployment = render(**values).one("Deployment")
    label = "app.kubernetes.io/version"
    assert deployment["metadata"]["labels"][label] == expected
    assert deployment["spec"]["template"]["metadata"]["labels"][label] == expected


def test_pull_secrets_and_policy_are_everybody_s(render: Render) -> None:
    found = render("production", image__pullPolicy="Always", imagePullSecrets=["one", "two"])
    for deployment in found.all("Deployment"):
        (container,) = deployment.pod["containers"]
        assert deployment.pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
        assert container["imagePullPolicy"] == "Always"
    (test,) = found.all("Pod")
    assert test.pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert test.pod["containers"][0]["imagePullPolicy"] == "Always"
    assert "imagePullSecrets" not in render().pod()


def test_nobody_is_root_and_nothing_is_writable(render: Render) -> None:
    found = render("monitoring")
    pods = [one for one in found.objects if one.template]
    assert len(pods) == 5
    for one in pods:
        assert one.pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert one.pod["automountServiceAccountToken"] is False
        assert one.pod["enableServiceLinks"] is False
        for container in one.pod["containers"]:
            assert container["securityContext"] == HARDENED


def test_a_cluster_may_choose_users_and_groups(render: Render) -> None:
    assert render("openshift").pod()["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "Always",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_users_and_groups_are_whole_numbers(template: Any, tmp_path: Path) -> None:
    """As values files have them (a number), and as `--set` does: 1.00066e+09 is no user."""
    file = tmp_path / "values.yaml"
    file.write_text("podSecurity: {runAsUser: 1000660000, runAsGroup: 1, fsGroup: 2147483647}\n")
    done = template(file)
    assert done.returncode == 0, done.stderr
    for name, number in (("runAsUser", 1000660000), ("runAsGroup", 1), ("fsGroup", 2147483647)):
        # Once for the service, once for the pod of helm test.
        assert re.findall(rf"^ +{name}: (.*)$", done.stdout, re.MULTILINE) == [str(number)] * 2


def test_on_ipv6_everything_listens_everywhere(render: Render) -> None:
    found = render("monitoring", ipv6=True)
    service = {k: v for k, v in found.environment().items() if isinstance(v, str)}
    assert service["ACCELERAPP_HOST"] == "::"
    assert Settings.load(service).host == "::"
    monitor = found.environment(f"{NAME}-monitor")
    assert monitor["MONITOR_HOST"] == "::"
    assert MonitorSettings.load(monitor).host == "::"
    # Ollama's own way of writing it.
    assert found.environment(f"{NAME}-ollama")["OLLAMA_HOST"] == "[::]:11434"


def test_without_it_everything_listens_on_ipv4(render: Render) -> None:
    found = render("monitoring")
    assert found.environment()["ACCELERAPP_HOST"] == "0.0.0.0"
    assert found.environment(f"{NAME}-monitor")["MONITOR_HOST"] == "0.0.0.0"
    assert found.environment(f"{NAME}-ollama")["OLLAMA_HOST"] == "0.0.0.0:11434"


def test_settings_are_ones_that_the_service_takes(render: Render) -> None:
    settings = Settings.load(
        {
            name: value
            for name, value in render("production").environment().items()
            if isinstance(value, str)
        }
    )
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    assert settings.log_format == "json"
    assert settings.ollama_url == f"http://{NAME}-ollama:11434"
    assert settings.redis_url is not None
    assert settings.redis_url.reveal() == f"redis://{NAME}-redis:6379/0"
    assert str(settings.output_dir) == "/app/output"


def test_each_setting_is_the_value_s(render: Render) -> None:
    found = render(
        config={
            "threads": 3,
            "concurrency": 2,
            "maxBodyBytes": 1048576,
            "shutdownGraceSeconds": 2.5,
            "logFormat": "plain",
            "ollamaModel": "codellama:7b",
            "assistDeadlineSeconds": 45,
            "assistConcurrency": 5,
            "redisStream": "a:b",
            "redisMaxLength": 1000000,
        }
    ).environment()
    assert found == {
        "ACCELERAPP_ASSIST_CONCURRENCY": "5",
        "ACCELERAPP_ASSIST_DEADLINE_S": "45",
        "ACCELERAPP_CONCURRENCY": "2",
        "ACCELERAPP_HOST": "0.0.0.0",
        "ACCELERAPP_LOG_FORMAT": "plain",
        "ACCELERAPP_MAX_BODY_BYTES": "1048576",
        "ACCELERAPP_OLLAMA_MODEL": "codellama:7b",
        "ACCELERAPP_OUTPUT_DIR": "/app/output",
        "ACCELERAPP_PORT": "8000",
        "ACCELERAPP_REDIS_MAXLEN": "1000000",
        "ACCELERAPP_REDIS_STREAM": "a:b",
        "ACCELERAPP_SHUTDOWN_GRACE_S": "2.5",
        "ACCELERAPP_THREADS": "3",
    }
    settings = Settings.load(found)
    assert (settings.threads, settings.concurrency, settings.redis_maxlen) == (3, 2, 1000000)
    assert (settings.shutdown_grace_s, settings.assist_deadline_s) == (2.5, 45)


def test_a_changed_setting_is_new_pods(render: Render) -> None:
    def checksum(**values: Any) -> str:
        template = render(**values).one("Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert re.fullmatch(r"[0-9a-f]{64}", checksum())
    assert checksum(config__ollamaModel="codellama:7b") != checksum()
    assert checksum(replicas=3) == checksum()


def test_the_chart_s_version_is_no_reason_for_new_pods(render: Render) -> None:
    for deployment in render("monitoring").all("Deployment"):
        assert "helm.sh/chart" not in deployment.pod_labels
        assert deployment.labels["helm.sh/chart"] == f"accelerapp-{VERSION}"


def test_secrets_come_from_a_secret_that_is_there(render: Render) -> None:
    found = render("external-redis")
    assert found.environment()["REDIS_URL"] == "secret accelerapp/redis-url"
    assert found.environment()["OLLAMA_HOST"] == "https://llm.example.org/ollama"
    monitor = found.environment(f"{NAME}-monitor")
    assert monitor["REDIS_URL"] == "secret accelerapp/redis-url"
    assert monitor["MONITOR_TOKEN"] == "secret accelerapp/monitor-token"
    assert not found.all("Secret")


def test_without_ollama_and_redis_nobody_is_told_of_any(render: Render) -> None:
    assert not {"OLLAMA_HOST", "REDIS_URL"} & set(render().environment())


def test_probes_ask_what_they_are_for(render: Render) -> None:
    container = render().container()
    assert container["startupProbe"] == {
        "httpGet": {"path": "/livez", "port": "http"},
        "periodSeconds": 1,
        "timeoutSeconds": 2,
        "failureThreshold": 30,
    }
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/livez", "port": "http"},
        "periodSeconds": 10,
        "timeoutSeconds": 2,
        "failureThreshold": 3,
    }
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/readyz", "port": "http"},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "failureThreshold": 2,
    }


def test_a_pod_drains_before_it_stops(render: Render) -> None:
    found = render(drainSeconds=7, terminationGracePeriodSeconds=43)
    (command,) = (hook["exec"]["command"] for hook in [found.container()["lifecycle"]["preStop"]])
    assert command == ["/usr/bin/python3", "-I", "-S", "-c", "import time; time.sleep(7)"]
    assert found.pod()["terminationGracePeriodSeconds"] == 43


def test_by_default_a_request_with_a_model_is_answered_before_the_pod_ends(
    render: Render,
) -> None:
    found = render()
    settings = Settings.load(found.environment())
    assert settings.shutdown_grace_s == 35 > settings.assist_deadline_s
    assert found.pod()["terminationGracePeriodSeconds"] == 60
    assert "time.sleep(5)" in found.container()["lifecycle"]["preStop"]["exec"]["command"][-1]


def test_what_the_image_says_is_what_the_pod_has(render: Render) -> None:
    found = render()
    assert found.container()["ports"] == [
        {"name": "http", "containerPort": 8000, "protocol": "TCP"}
    ]
    assert [f"{port['containerPort']}/tcp" for port in found.container()["ports"]] == list(
        IMAGE.ports
    )
    mounts = {mount["mountPath"]: mount["name"] for mount in found.container()["volumeMounts"]}
    assert mounts == {
        "/tmp": "tmp",
        "/app/models": "models",
        "/app/cache": "cache",
        "/app/output": "output",
    }
    assert set(IMAGE.volumes) < set(mounts)
    assert "command" not in found.container()
    assert "args" not in found.container()


def test_volumes_that_end_with_the_pod_have_a_size(render: Render) -> None:
    volumes = {volume.pop("name"): volume for volume in render().pod()["volumes"]}
    assert volumes == {
        "tmp": {"emptyDir": {"sizeLimit": "16Mi"}},
        "models": {"emptyDir": {"sizeLimit": "64Mi"}},
        "cache": {"emptyDir": {"sizeLimit": "64Mi"}},
        "output": {"emptyDir": {"sizeLimit": "256Mi"}},
    }


def test_requests_and_limits(render: Render) -> None:
    assert render().container()["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "256Mi"},
    }
    assert render("production").container()["resources"] == {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_pods_are_spread_over_nodes_and_zones(render: Render) -> None:
    constraints = render().pod()["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    own = render().one("Deployment")["spec"]["selector"]["matchLabels"]
    for one in constraints:
        assert one["maxSkew"] == 1
        assert one["whenUnsatisfiable"] == "ScheduleAnyway"
        assert one["labelSelector"] == {"matchLabels": own}
        assert one["matchLabelKeys"] == ["pod-template-hash"]
    strict = render("production").pod()["topologySpreadConstraints"]
    assert {(one["maxSkew"], one["whenUnsatisfiable"]) for one in strict} == {(2, "DoNotSchedule")}
    assert "topologySpreadConstraints" not in render("minimal").pod()


def test_where_pods_may_run(render: Render) -> None:
    pod = render("openshift").pod()
    assert pod["nodeSelector"] == {"node-role.kubernetes.io/worker": ""}
    assert pod["tolerations"] == [
        {
            "key": "dedicated",
            "operator": "Equal",
            "value": "devices",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
    ]
    (term,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert render("production").pod()["priorityClassName"] == "business"
    nowhere = {"nodeSelector", "tolerations", "affinity", "priorityClassName"}
    assert not nowhere & set(render().pod())


def test_variables_volumes_labels_and_annotations_besides(render: Render) -> None:
    found = render("shared-volumes")
    assert found.environment()["SSL_CERT_FILE"] == "/etc/ssl/company/ca.crt"
    assert {"name": "certificates", "configMap": {"name": "certificates"}} in found.pod()["volumes"]
    assert {
        "name": "certificates",
        "mountPath": "/etc/ssl/company",
        "readOnly": True,
    } in found.container()["volumeMounts"]
    template = render("openshift").one("Deployment")["spec"]["template"]["metadata"]
    assert template["labels"]["sidecar.example.org/inject"] == "false"
    assert template["annotations"]["example.org/reviewed"] == "2026-11-29"
    assert render("development").environment()["NODE"] == {
        "fieldRef": {"fieldPath": "spec.nodeName"}
    }


def test_everything_has_the_labels_of_the_release(render: Render) -> None:
    found = render("production")
    for one in found.objects:
        assert one.namespace == NAMESPACE
        assert one.labels["app.kubernetes.io/name"] == "accelerapp"
        assert one.labels["app.kubernetes.io/instance"] == RELEASE
        assert one.labels["app.kubernetes.io/part-of"] == "accelerapp"
        assert one.labels["app.kubernetes.io/managed-by"] == "Helm"
        assert one.labels["helm.sh/chart"] == f"accelerapp-{VERSION}"
        assert one.labels["team"] == "devices"
        assert one.metadata["annotations"]["contact"] == "devices@example.org"
    for one in found.all("Deployment"):
        assert one.pod_labels["team"] == "devices"
        assert one.template["metadata"]["annotations"]["contact"] == "devices@example.org"


def test_what_has_no_image_has_the_application_s_version(render: Render) -> None:
    for kind in ("Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"):
        labels = render().all(kind)[0].labels
        assert labels["app.kubernetes.io/version"] == VERSION, kind


def test_selectors_are_labels_that_never_change(render: Render) -> None:
    found = render("monitoring")
    expected = {
        NAME: "service",
        f"{NAME}-monitor": "monitor",
        f"{NAME}-ollama": "ollama",
        f"{NAME}-redis": "redis",
    }
    for name, component in expected.items():
        deployment = found.one("Deployment", name)
        assert deployment["spec"]["selector"] == {
            "matchLabels": {
                "app.kubernetes.io/name": "accelerapp",
                "app.kubernetes.io/instance": RELEASE,
                "app.kubernetes.io/component": component,
            }
        }
        assert deployment["metadata"]["labels"]["app.kubernetes.io/component"] == component


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"fullnameOverride": "web"}, "web"),
        ({"nameOverride": "gadgets"}, f"{RELEASE}-gadgets"),
        ({"nameOverride": RELEASE}, RELEASE),
    ],
)
def test_names_can_be_chosen(render: Render, values: Any, expected: str) -> None:
    found = render(monitor__enabled=True, **values)
    assert found.names("Deployment") == [expected, f"{expected}-monitor"]
    assert found.names("ConfigMap") == [expected]


def test_a_name_override_is_in_the_labels(render: Render) -> None:
    deployment = render(nameOverride="gadgets").one("Deployment", f"{RELEASE}-gadgets")
    assert deployment["metadata"]["labels"]["app.kubernetes.io/name"] == "gadgets"
    assert deployment["metadata"]["labels"]["app.kubernetes.io/part-of"] == "gadgets"


def test_an_account_without_a_token(render: Render) -> None:
    found = render()
    account = found.one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert found.pod()["serviceAccountName"] == NAME
    named = render("ingress-tls")
    assert named.names("ServiceAccount") == ["devices"]
    assert named.one("ServiceAccount", "devices")["metadata"]["annotations"] == {
        "example.org/role": "none"
    }
    assert named.pod("devices")["serviceAccountName"] == "devices"


def test_the_account_of_somebody_else(render: Render) -> None:
    minimal = render("minimal")
    assert not minimal.all("ServiceAccount")
    assert minimal.pod()["serviceAccountName"] == "default"
    named = render(serviceAccount={"create": False, "name": "theirs"})
    assert not named.all("ServiceAccount")
    assert named.pod()["serviceAccountName"] == "theirs"


def test_an_update_never_takes_pods_away_before_others_are_there(render: Render) -> None:
    spec = render().one("Deployment")["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (2, 3)
    assert render("production").one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": "50%",
        "maxUnavailable": "25%",
    }
    assert render("development").one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    history = [d.spec["revisionHistoryLimit"] for d in render("openshift").all("Deployment")]
    assert history == [10, 10, 10]
