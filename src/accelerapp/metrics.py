"""What the service counts, for Prometheus (text format 0.0.4, or OpenMetrics when asked)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from accelerapp import __version__
from accelerapp.events import Publisher

# When a series began is a series more for each; rate() needs none of them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One registry. Labels are the routes' own names, never what somebody asked for."""

    def __init__(self, revision: str, publisher: Publisher | None) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build = Gauge(
            "accelerapp_build_info",
            "1, with the version and the revision as labels.",
            ["version", "revision"],
            registry=self.registry,
        )
        build.labels(__version__, revision).set(1)
        self.requests = Counter(
            "accelerapp_http_requests_total",
            "Requests that were answered, by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "accelerapp_http_request_duration_seconds",
            "Time from the request to the answer, assist included, by route.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10, 30, 60),
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "accelerapp_http_requests_in_progress",
            "Requests that are being answered.",
            registry=self.registry,
        )
        self.generations = Counter(
            "accelerapp_generations_total",
            "Descriptions by platform and result: generated, invalid, unreadable, busy, unsaved.",
            ["platform", "result"],
            registry=self.registry,
        )
        self.generated_bytes = Counter(
            "accelerapp_generated_bytes_total",
            "Bytes of all files that were generated.",
            registry=self.registry,
        )
        self.assists = Counter(
            "accelerapp_assists_total",
            "Times that the local model was asked, by result: pass, degraded.",
            ["result"],
            registry=self.registry,
        )
        self.assist_seconds = Histogram(
            "accelerapp_assist_duration_seconds",
            "Time that the local model took, by result.",
            ["result"],
            buckets=(0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60),
            registry=self.registry,
        )
        if publisher is not None:
            self.registry.register(_Events(publisher))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their media type, in the best format of the Accept header."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class _Events(Collector):
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def collect(self) -> Iterator[Metric]:
        published, dropped = self._publisher.counts
        yield CounterMetricFamily(
            "accelerapp_events_published_total",
            "Generations that were put on the Redis stream.",
            value=published,
        )
        yield CounterMetricFamily(
            "accelerapp_events_dropped_total",
            "Generations that never came to the Redis stream.",
            value=dropped,
        )
        yield GaugeMetricFamily(
            "accelerapp_redis_up",
            "1 if Redis answered when it was last asked.",
            value=self._publisher.check()[0] == "pass",
        )
