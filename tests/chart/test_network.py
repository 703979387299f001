"""What may reach each pod, and what it may reach."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import NAME, RELEASE, Render

RELEASE_PODS = {
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/name": "accelerapp",
            "app.kubernetes.io/instance": RELEASE,
        }
    }
}
# Policies are about the ports of pods: those of OpenShift's DNS are 5353.
NAMES = {
    "ports": [
        {"port": port, "protocol": protocol} for port in (53, 5353) for protocol in ("UDP", "TCP")
    ]
}


def pods(component: str) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/name": "accelerapp",
        "app.kubernetes.io/instance": RELEASE,
        "app.kubernetes.io/component": component,
    }
    return {"podSelector": {"matchLabels": labels}}


def to(component: str, port: int) -> dict[str, Any]:
    return {"ports": [{"port": port, "protocol": "TCP"}], "to": [pods(component)]}


def policy(render: Render, component: str, *files: str, **values: Any) -> dict[str, Any]:
    found = render(*files, **values).one("NetworkPolicy", f"{NAME}-{component}")
    spec: dict[str, Any] = found["spec"]
    assert spec.pop("podSelector") == pods(component)["podSelector"]
    assert spec.pop("policyTypes") == ["Ingress", "Egress"]
    return spec


def test_by_default_everybody_asks_and_only_names_are_asked(render: Render) -> None:
    assert policy(render, "service") == {
        "ingress": [{"ports": [{"port": 8000, "protocol": "TCP"}]}],
        "egress": [NAMES],
    }
    assert render().names("NetworkPolicy") == [f"{NAME}-service", f"{NAME}-test"]


def test_every_port_is_a_number(render: Render) -> None:
    """A name stands for another number in another pod, and not every network takes one."""
    ports = [
        port["port"]
        for found in render("monitoring").all("NetworkPolicy")
        for way in ("ingress", "egress")
        for rule in found.spec[way]
        for port in rule["ports"]
    ]
    assert len(ports) >= 25
    assert all(isinstance(port, int) for port in ports), ports


def test_the_pod_of_helm_test_asks_the_service_and_nobody_asks_it(render: Render) -> None:
    for given in ("monitoring", "network-strict"):
        assert policy(render, "test", given) == {
            "ingress": [],
            # The pods' own port, whatever the Service's is.
            "egress": [NAMES, to("service", 8000)],
        }
    assert pods("test")["podSelector"]["matchLabels"].items() <= (
        render("monitoring").one("Pod", f"{NAME}-test")["metadata"]["labels"].items()
    )


def test_without_that_pod_it_has_no_policy(render: Render) -> None:
    assert render(tests__enabled=False).names("NetworkPolicy") == [f"{NAME}-service"]
    assert not render(networkPolicy__enabled=False).all("NetworkPolicy")


def test_no_policies_where_they_are_not_wanted(render: Render) -> None:
    assert not render("minimal").all("NetworkPolicy")


def test_the_service_reaches_what_the_release_has(render: Render) -> None:
    assert policy(render, "service", "monitoring")["egress"] == [
        NAMES,
        to("ollama", 11434),
        to("redis", 6379),
    ]


def test_the_monitor_reaches_the_service_too(render: Render) -> None:
    assert policy(render, "monitor", "monitoring") == {
        "ingress": [{"ports": [{"port": 8080, "protocol": "TCP"}]}],
        "egress": [NAMES, to("service", 8000), to("ollama", 11434), to("redis", 6379)],
    }


def test_only_who_is_named_may_ask_and_the_release_itself(render: Render) -> None:
    for component, port in (("service", 8000), ("monitor", 8080)):
        assert policy(render, component, "network-strict")["ingress"] == [
            {
                "ports": [{"port": port, "protocol": "TCP"}],
                "from": [
                    RELEASE_PODS,
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}
                        }
                    },
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                        },
                        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                    },
                    {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}},
                ],
            }
        ]


def test_ollama_and_redis_are_asked_by_service_and_monitor_alone(render: Render) -> None:
    for component, port in (("ollama", 11434), ("redis", 6379)):
        assert policy(render, component, "monitoring")["ingress"] == [
            {
                "ports": [{"port": port, "protocol": "TCP"}],
                "from": [pods("service"), pods("monitor")],
            }
        ]


def test_ollama_fetches_models_from_the_internet_and_from_nowhere_else(render: Render) -> None:
    assert policy(render, "ollama", "monitoring")["egress"] == [
        NAMES,
        {
            "ports": [{"port": 443, "protocol": "TCP"}],
            "to": [
                {
                    "ipBlock": {
                        "cidr": "0.0.0.0/0",
                        "except": [
                            "10.0.0.0/8",
                            "100.64.0.0/10",
                            "169.254.0.0/16",
                            "172.16.0.0/12",
                            "192.168.0.0/16",
                        ],
                    }
                },
                {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
            ],
        },
    ]


def test_ollama_without_downloads_and_redis_reach_nothing(render: Render) -> None:
    assert policy(render, "ollama", "network-strict")["egress"] == []
    assert policy(render, "redis", "monitoring")["egress"] == []


def external(render: Render, *files: str, **values: Any) -> list[int]:
    """Return the ports that the service may reach anywhere."""
    rules = [
        rule
        for rule in policy(render, "service", *files, **values)["egress"]
        if "to" not in rule and rule != NAMES
    ]
    assert len(rules) <= 1
    assert all(port["protocol"] == "TCP" for rule in rules for port in rule["ports"])
    return [port["port"] for rule in rules for port in rule["ports"]]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://llm.example.org/ollama", 443),
        ("http://llm.example.org", 80),
        ("http://llm.example.org:8000/x", 8000),
        ("llm.example.org", 11434),
        ("llm.example.org:9000", 9000),
        ("http://[2001:db8::1]:9001", 9001),
        ("https://[2001:db8::1]", 443),
        ("http://llm.example.org:0100", 100),
        ("2001:db8::1", 11434),
    ],
)
def test_an_ollama_elsewhere_is_reached_at_its_port(render: Render, url: str, port: int) -> None:
    assert external(render, ollama__url=url) == [port]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("redis://r.example.org/0", 6379),
        ("rediss://r.example.org", 6379),
        ("redis://redis.data.svc:6380/2", 6380),
    ],
)
def test_a_redis_elsewhere_is_reached_at_its_port(render: Render, url: str, port: int) -> None:
    assert external(render, redis__url=url) == [port]


def test_an_address_in_a_secret_and_ports_besides(render: Render) -> None:
    assert external(render, "external-redis") == [6380, 443, 6379]
    assert external(render, networkPolicy__egressPorts=[443, 5000]) == [443, 5000]
    # Redis of the release with a password: its address is a secret, and its port is known.
    assert external(render, "openshift") == []


def test_the_same_port_once(render: Render) -> None:
    assert external(render, "external-redis", networkPolicy__egressPorts=[443]) == [443, 6379]
