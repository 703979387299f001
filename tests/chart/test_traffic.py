"""How requests get to the pods: Service, Ingress, HTTPRoute, two colours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import NAME, NAMESPACE, RELEASE, Render

DIGEST = "sha256:" + "5" * 64


def selector(component: str, **more: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "accelerapp",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": component,
        **more,
    }


def test_the_service_leads_to_the_pods(render: Render) -> None:
    assert render().one("Service")["spec"] == {
        "type": "ClusterIP",
        "ports": [{"name": "http", "port": 8000, "targetPort": "http", "protocol": "TCP"}],
        "selector": selector("service"),
    }
    assert render().names("Service") == [NAME]


def test_a_service_of_another_type(render: Render) -> None:
    node = render("development").one("Service")["spec"]
    assert node["type"] == "NodePort"
    assert node["ports"][0]["nodePort"] == 30800
    balanced = render("httproute").one("Service")["spec"]
    assert balanced["type"] == "LoadBalancer"
    assert balanced["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert "nodePort" not in balanced["ports"][0]


def test_the_service_s_port_and_annotations(render: Render) -> None:
    service = render("ingress-tls").one("Service", "devices")
    assert service["spec"]["ports"][0]["port"] == 80
    assert service["metadata"]["annotations"] == {"service.example.org/note": "behind the ingress"}


def test_an_ingress_with_a_certificate(render: Render) -> None:
    ingress = render("ingress-tls").one("Ingress", "devices")
    assert ingress["metadata"]["annotations"] == {
        "cert-manager.io/cluster-issuer": "letsencrypt",
        "nginx.ingress.kubernetes.io/proxy-body-size": "64k",
    }
    backend = {"service": {"name": "devices", "port": {"name": "http"}}}
    assert ingress["spec"] == {
        "ingressClassName": "nginx",
        "tls": [{"secretName": "devices-tls", "hosts": ["devices.example.org", "api.example.org"]}],
        "rules": [
            {
                "host": "devices.example.org",
                "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
            },
            {
                "host": "api.example.org",
                "http": {"paths": [{"path": "/v1", "pathType": "Exact", "backend": backend}]},
            },
        ],
    }


def test_an_ingress_of_the_cluster_s_own_class_without_a_certificate(render: Render) -> None:
    spec = render("blue-green-autoscaled").one("Ingress")["spec"]
    assert not {"ingressClassName", "tls"} & set(spec)
    assert not render().all("Ingress")


def test_a_route_of_the_gateway_api(render: Render) -> None:
    route = render("httproute").one("HTTPRoute")
    assert route["metadata"]["annotations"] == {"example.org/owner": "devices"}
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["devices.example.org", "*.devices.example.org"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": NAME, "port": 8000}],
            }
        ],
    }
    assert not render().all("HTTPRoute")


def test_a_route_for_every_host_below_a_path(render: Render) -> None:
    spec = render("httproute", httpRoute__hostnames=[], httpRoute__path="/make").one("HTTPRoute")[
        "spec"
    ]
    assert "hostnames" not in spec
    assert spec["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/make"}}]


# Two colours.


@pytest.mark.parametrize(("active", "idle"), [("blue", "green"), ("green", "blue")])
def test_one_colour_has_the_traffic_and_the_other_a_preview(
    render: Render, active: str, idle: str
) -> None:
    found = render("blue-green", blueGreen__colour=active)
    assert found.names("Service") == [NAME, f"{NAME}-monitor", f"{NAME}-preview"]
    traffic, preview = found.one("Service"), found.one("Service", f"{NAME}-preview")
    assert traffic["spec"]["selector"] == selector("service", **{"accelerapp/colour": active})
    assert preview["spec"]["selector"] == selector("service", **{"accelerapp/colour": idle})
    assert preview["spec"]["ports"] == traffic["spec"]["ports"]
    assert preview["metadata"]["labels"]["app.kubernetes.io/component"] == "preview"


def test_each_colour_has_its_own_image_and_pods(render: Render) -> None:
    found = render("blue-green")
    images = {one.name: one.pod["containers"][0]["image"] for one in found.all("Deployment")}
    assert images[f"{NAME}-blue"] == f"ghcr.io/accelerapp/accelerapp@{DIGEST}"
    assert images[f"{NAME}-green"] == "ghcr.io/accelerapp/accelerapp:v0.2.0-production"
    pods = {one.name: one.spec["replicas"] for one in found.all("Deployment")}
    assert pods == {f"{NAME}-blue": 4, f"{NAME}-green": 3, f"{NAME}-monitor": 1}
    for colour in ("blue", "green"):
        deployment = found.one("Deployment", f"{NAME}-{colour}")
        expected = selector("service", **{"accelerapp/colour": colour})
        assert deployment["spec"]["selector"] == {"matchLabels": expected}
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert labels["accelerapp/colour"] == colour
        assert deployment["metadata"]["labels"]["accelerapp/colour"] == colour
        for constraint in found.pod(f"{NAME}-{colour}")["topologySpreadConstraints"]:
            assert constraint["labelSelector"] == {"matchLabels": expected}


def test_a_colour_without_an_image_runs_the_release_s(render: Render) -> None:
    found = render(blueGreen__enabled=True, blueGreen__colour="blue", image__tag="v7", replicas=3)
    for colour in ("blue", "green"):
        deployment = found.one("Deployment", f"{NAME}-{colour}")
        assert found.container(f"{NAME}-{colour}")["image"].endswith(":v7")
        assert deployment["spec"]["replicas"] == 3


def test_the_image_of_a_colour_may_be_of_another_repository(render: Render) -> None:
    image = {"repository": "registry.example/a", "digest": DIGEST}
    found = render(blueGreen={"enabled": True, "colour": "green", "green": {"image": image}})
    theirs = f"registry.example/a@{DIGEST}"
    assert found.container(f"{NAME}-green")["image"] == theirs
    assert found.container(f"{NAME}-blue")["image"].startswith("ghcr.io/accelerapp/accelerapp:")
    (container,) = found.one("Pod", f"{NAME}-test")["spec"]["containers"]
    assert container["image"] == theirs


def test_a_switch_changes_services_and_nothing_else(render: Render) -> None:
    def objects(colour: str) -> dict[str, Any]:
        found = render("blue-green", blueGreen__colour=colour)
        kept = (one for one in found.objects if one.kind != "Service" and not one.is_hook)
        return {one.title: one.data for one in kept}

    assert objects("blue") == objects("green")


def test_a_new_image_of_one_colour_leaves_the_other_alone(render: Render) -> None:
    def blue(**values: Any) -> dict[str, Any]:
        return render("blue-green", **values).one("Deployment", f"{NAME}-blue")

    assert blue(blueGreen__green__image__tag="v9", blueGreen__green__replicas=9) == blue()


def test_the_services_of_both_colours_take_no_part_of_a_node(render: Render) -> None:
    found = render("blue-green", service={"type": "NodePort", "nodePort": 30001})
    assert found.one("Service")["spec"]["ports"][0]["nodePort"] == 30001
    preview = found.one("Service", f"{NAME}-preview")["spec"]
    assert preview["type"] == "ClusterIP"
    assert "nodePort" not in preview["ports"][0]


def test_a_preview_has_no_address_of_the_traffic_s(render: Render) -> None:
    """A name for external-dns, such as it is, would be that of both."""
    found = render(
        "blue-green",
        service__annotations={"external-dns.alpha.kubernetes.io/hostname": "a.example.org"},
        commonAnnotations={"contact": "devices"},
    )
    traffic, preview = found.one("Service"), found.one("Service", f"{NAME}-preview")
    assert traffic["metadata"]["annotations"] == {
        "contact": "devices",
        "external-dns.alpha.kubernetes.io/hostname": "a.example.org",
    }
    assert preview["metadata"]["annotations"] == {"contact": "devices"}


def test_a_preview_is_nobody_s_load_balancer(render: Render) -> None:
    ranges = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}
    found = render("blue-green", service=ranges)
    assert found.one("Service")["spec"]["loadBalancerSourceRanges"] == ["192.0.2.0/24"]
    assert "loadBalancerSourceRanges" not in found.one("Service", f"{NAME}-preview")["spec"]


# Whether it works.


def test_the_pod_of_helm_test_uses_the_service(render: Render) -> None:
    found = render("blue-green")
    test = found.one("Pod", f"{NAME}-test")
    assert test["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert test["spec"]["restartPolicy"] == "Never"
    assert test["spec"]["activeDeadlineSeconds"] == 120
    (container,) = test["spec"]["containers"]
    # The image of the colour that has the traffic.
    assert container["image"] == f"ghcr.io/accelerapp/accelerapp@{DIGEST}"
    assert container["env"] == [
        {"name": "SERVICE", "value": f"http://{NAME}:8000"},
        {"name": "PATIENCE_S", "value": "60"},
    ]
    assert container["command"][:3] == ["/usr/bin/python3", "-I", "-c"]
    assert container["resources"] == {
        "requests": {"cpu": "20m", "memory": "64Mi"},
        "limits": {"cpu": "500m", "memory": "128Mi"},
    }
    # No Service and no policy takes it for a pod of the service.
    assert test["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    assert test["metadata"]["namespace"] == NAMESPACE
    assert not render("minimal").all("Pod")
