"""What Prometheus scrapes, and what it tells people: by metrics that there are."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from accelerapp.events import Publisher
from accelerapp.metrics import Metrics
from monitoring.checks import WORDS
from tests.chart.conftest import NAME, NAMESPACE, RELEASE, ROOT, Render
from tests.integration.conftest import find_tool

OF = f'namespace="{NAMESPACE}",service="{NAME}"'
ASKED = 'route!~"/livez|/readyz|/metrics"'
OF_MONITOR = f'namespace="{NAMESPACE}",service="{NAME}-monitor"'


def test_service_and_monitor_are_scraped(render: Render) -> None:
    found = render("monitoring")
    assert found.names("ServiceMonitor") == [NAME, f"{NAME}-monitor"]
    for name, component in ((NAME, "service"), (f"{NAME}-monitor", "monitor")):
        monitor = found.one("ServiceMonitor", name)
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert monitor["spec"] == {
            "selector": {
                "matchLabels": {
                    "app.kubernetes.io/name": "accelerapp",
                    "app.kubernetes.io/instance": RELEASE,
                    "app.kubernetes.io/component": component,
                }
            },
            "endpoints": [
                {"port": "http", "path": "/metrics", "interval": "15s", "scrapeTimeout": "5s"}
            ],
        }


def test_the_monitor_s_token_goes_along(render: Render) -> None:
    found = render("external-redis")
    (endpoint,) = found.one("ServiceMonitor", f"{NAME}-monitor")["spec"]["endpoints"]
    assert endpoint["authorization"] == {
        "credentials": {"name": "accelerapp", "key": "monitor-token"}
    }
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("30s", "10s")
    (own,) = found.one("ServiceMonitor")["spec"]["endpoints"]
    assert "authorization" not in own


def test_only_what_is_there_is_scraped(render: Render) -> None:
    assert render(serviceMonitor__enabled=True).names("ServiceMonitor") == [NAME]
    assert not render().all("ServiceMonitor")
    assert not render().all("PrometheusRule")


def rules(render: Render, *files: str, **values: Any) -> dict[str, dict[str, Any]]:
    rule = render(*files, **values).one("PrometheusRule")
    (group,) = rule["spec"]["groups"]
    assert group["name"] == NAME
    return {alert["alert"]: alert for alert in group["rules"]}


EXPRESSIONS = {
    "AccelerappDown": f"sum(up{{{OF}}}) == 0 or absent(up{{{OF}}})",
    "AccelerappErrors": "sum(rate(accelerapp_http_requests_total"
    f'{{{OF},{ASKED},status=~"5.."}}[5m])) / '
    f"sum(rate(accelerapp_http_requests_total{{{OF},{ASKED}}}[5m])) > 0.01",
    "AccelerappSlow": "histogram_quantile(0.95, sum by (le) "
    f"(rate(accelerapp_http_request_duration_seconds_bucket{{{OF},{ASKED}}}[5m]))) > 0.25",
    "AccelerappBusy": f'sum(rate(accelerapp_generations_total{{{OF},result="busy"}}[5m])) > 0',
    "AccelerappRedisDown": f"min(accelerapp_redis_up{{{OF}}}) == 0",
    "AccelerappEventsDropped": f"sum(increase(accelerapp_events_dropped_total{{{OF}}}[15m])) > 0",
    "AccelerappAssistDegraded": "sum(rate(accelerapp_assists_total"
    f'{{{OF},result="degraded"}}[15m])) / sum(rate(accelerapp_assists_total{{{OF}}}[15m])) > 0.5',
    "AccelerappUnhealthy": f'max(accelerapp_health_status{{{OF_MONITOR},status="unhealthy"}}) == 1',
    "AccelerappMonitorDown": f"sum(up{{{OF_MONITOR}}}) == 0 or absent(up{{{OF_MONITOR}}})",
}
OF_REDIS = {"AccelerappRedisDown", "AccelerappEventsDropped"}
ALERTED = {"serviceMonitor__enabled": True, "prometheusRule__enabled": True}
CRITICAL = {"AccelerappDown", "AccelerappErrors", "AccelerappUnhealthy"}


def test_alerts_of_a_release_with_everything(render: Render) -> None:
    found = rules(render, "monitoring")
    assert {name: alert["expr"] for name, alert in found.items()} == EXPRESSIONS
    for name, alert in found.items():
        severity = "critical" if name in CRITICAL else "warning"
        assert alert["labels"] == {"severity": severity, "team": "devices"}, name
        assert alert["for"] == "10m"
        # What is so, and what to do about it.
        assert len(alert["annotations"]["summary"]) > 20
        assert len(alert["annotations"]["description"]) > 20
    labels = render("monitoring").one("PrometheusRule")["metadata"]["labels"]
    assert labels["release"] == "prometheus"


def test_alerts_of_a_release_with_less(render: Render) -> None:
    found = rules(render, **ALERTED)
    assert set(found) == {
        "AccelerappDown",
        "AccelerappErrors",
        "AccelerappSlow",
        "AccelerappBusy",
    }
    assert found["AccelerappErrors"]["expr"].endswith("> 0.05")
    assert found["AccelerappSlow"]["expr"].endswith("> 0.5")
    assert found["AccelerappDown"]["for"] == "5m"
    assert found["AccelerappDown"]["labels"] == {"severity": "critical"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"redis__url": "redis://r.example.org"}, OF_REDIS),
        ({"existingSecret": {"name": "s", "redisUrlKey": "k"}}, OF_REDIS),
        ({"ollama__url": "http://o.example.org"}, {"AccelerappAssistDegraded"}),
        ({"monitor__enabled": True}, {"AccelerappUnhealthy", "AccelerappMonitorDown"}),
    ],
)
def test_alerts_come_with_what_they_are_about(
    render: Render, values: Any, expected: set[str]
) -> None:
    less = set(rules(render, **ALERTED))
    assert set(rules(render, **ALERTED, **values)) - less == expected


class _Silent(Publisher):
    """A publisher that has published nothing, for what its metrics are called."""

    def __init__(self) -> None:
        pass

    @property
    def counts(self) -> tuple[int, int]:
        return 0, 0

    def check(self) -> Any:
        return "pass", ""


def emitted() -> dict[str, set[str]]:
    """Return the series that service and monitor emit, with the labels they may have."""
    text, _ = Metrics("", _Silent()).exposition("text/plain")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text.decode()):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
        for suffix in suffixes.get(family.type, ("",)):
            found[family.name + suffix] = set()
    table = (ROOT / "monitoring" / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(accelerapp_\w+)` \|", table, re.MULTILINE):
        found[name] = set()
    return found


def test_every_metric_of_an_alert_is_one_that_there_is(render: Render) -> None:
    used = {
        name
        for alert in rules(render, "monitoring").values()
        for name in re.findall(r"\baccelerapp_\w+", alert["expr"])
    }
    assert len(used) >= 7
    assert used <= set(emitted())


def test_values_of_labels_are_ones_that_there_are() -> None:
    """`result="busy"` and the like: a label that nothing sets would never alert."""
    source = (ROOT / "src" / "accelerapp" / "metrics.py").read_text(encoding="utf-8")
    for value in ("busy", "degraded"):
        assert re.search(rf"result: .*\b{value}\b", source), value
    assert "unhealthy" in WORDS.values()


def test_prometheus_itself_has_no_objection(render: Render, tmp_path: Path) -> None:
    promtool = find_tool("promtool", unchecked="that Prometheus understands the alerts")
    rule = render("monitoring").one("PrometheusRule")
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump({"groups": rule["spec"]["groups"]}, stream)
    file = tmp_path / "rules.yaml"
    file.write_text(stream.getvalue(), encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout


SERIES = f"""
evaluation_interval: 1m
rule_files: [rules.yaml]
tests:
  - interval: 1m
    input_series:
      - series: 'up{{{OF},pod="a"}}'
        values: '0x30'
      - series: 'accelerapp_http_requests_total{{{OF},route="/",method="GET",status="200"}}'
        values: '0+90x30'
      - series: 'accelerapp_http_requests_total{{{OF},route="/",method="GET",status="500"}}'
        values: '0+10x30'
      - series: 'accelerapp_http_request_duration_seconds_bucket{{{OF},route="/",le="0.1"}}'
        values: '0+1x30'
      - series: 'accelerapp_http_request_duration_seconds_bucket{{{OF},route="/",le="10"}}'
        values: '0+100x30'
      - series: 'accelerapp_http_request_duration_seconds_bucket{{{OF},route="/",le="+Inf"}}'
        values: '0+100x30'
      - series: 'accelerapp_generations_total{{{OF},platform="esp32",result="busy"}}'
        values: '0+5x30'
      - series: 'accelerapp_redis_up{{{OF}}}'
        values: '0x30'
      - series: 'accelerapp_events_dropped_total{{{OF}}}'
        values: '0+1x30'
      - series: 'accelerapp_assists_total{{{OF},result="pass"}}'
        values: '0+1x30'
      - series: 'accelerapp_assists_total{{{OF},result="degraded"}}'
        values: '0+9x30'
      - series: 'accelerapp_health_status{{{OF_MONITOR},status="unhealthy"}}'
        values: '1x30'
      - series: 'up{{{OF_MONITOR}}}'
        values: '0x30'
    alert_rule_test:
"""


def firing(render: Render, tmp_path: Path, series: str) -> set[str]:
    """Return the alerts that fire after 25 minutes of these series."""
    promtool = find_tool("promtool", unchecked="that the alerts fire")
    rule = render("monitoring", prometheusRule__alertLabels={}).one("PrometheusRule")
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.dump({"groups": rule["spec"]["groups"]}, stream)
    (tmp_path / "rules.yaml").write_text(stream.getvalue(), encoding="utf-8")
    text = series
    (group,) = rule["spec"]["groups"]
    for alert in group["rules"]:
        text += f"      - {{eval_time: 25m, alertname: {alert['alert']}, exp_alerts: []}}\n"
    (tmp_path / "test.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    assert "SUCCESS" in told or "FAILED" in told, told
    # No alert was expected: promtool names each that fires.
    return set(re.findall(r'alertname="(\w+)"', told))


def test_each_alert_fires_when_it_should(render: Render, tmp_path: Path) -> None:
    assert firing(render, tmp_path, SERIES) == set(EXPRESSIONS)


def of_requests(*series: tuple[str, str, int]) -> str:
    """Return series of a release that is up, whose requests are (route, status, a minute), and as
    slow as their status is bad."""
    text = f"""
evaluation_interval: 1m
rule_files: [rules.yaml]
tests:
  - interval: 1m
    input_series:
      - series: 'up{{{OF},pod="a"}}'
        values: '1x30'
      - series: 'up{{{OF_MONITOR}}}'
        values: '1x30'
"""
    for route, status, number in series:
        labels = f'{OF},route="{route}"'
        quick = number if status == "200" else 0
        for name, count in (
            (f'accelerapp_http_requests_total{{{labels},method="GET",status="{status}"}}', number),
            (f'accelerapp_http_request_duration_seconds_bucket{{{labels},le="0.1"}}', quick),
            (f'accelerapp_http_request_duration_seconds_bucket{{{labels},le="10"}}', number),
            (f'accelerapp_http_request_duration_seconds_bucket{{{labels},le="+Inf"}}', number),
        ):
            text += f"      - series: '{name}'\n        values: '0+{count}x30'\n"
    return text + "    alert_rule_test:\n"


MANY = [(route, "200", 100_000) for route in ("/livez", "/readyz", "/metrics")]


def test_probes_do_not_hide_errors_nor_slowness(render: Render, tmp_path: Path) -> None:
    """A service that few people ask, each for nothing, is asked by probes all the time."""
    series = of_requests(*MANY, ("/v1/generate", "500", 60))
    assert firing(render, tmp_path, series) == {"AccelerappErrors", "AccelerappSlow"}


def test_a_probe_that_fails_is_no_error_of_the_answers(render: Render, tmp_path: Path) -> None:
    series = of_requests(("/readyz", "503", 100_000), ("/v1/generate", "200", 60))
    assert firing(render, tmp_path, series) == set()


def test_answers_with_a_model_may_be_too_slow(render: Render, tmp_path: Path) -> None:
    # Of what is slow here, nothing is an error of the service.
    series = of_requests(*MANY, ("/v1/generate", "404", 60))
    assert firing(render, tmp_path, series) == {"AccelerappSlow"}


def test_nothing_fires_where_all_is_well(render: Render, tmp_path: Path) -> None:
    series = of_requests(*MANY, ("/", "200", 60), ("/v1/generate", "200", 60))
    assert firing(render, tmp_path, series) == set()


def test_the_routes_that_are_left_out_are_ones_that_there_are() -> None:
    source = (ROOT / "src" / "accelerapp" / "web.py").read_text(encoding="utf-8")
    for route in ("/livez", "/readyz", "/metrics"):
        assert f'app.route("{route}", "GET"' in source, route
