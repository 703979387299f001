"""The numbers that people, Prometheus and containers meet: a change of one is meant.

Each stands in a module that other tests ask for it, and that would agree with another.
"""

from __future__ import annotations

from monitoring import (
    addresses,
    cgroup,
    health_check,
    history,
    metrics,
    page,
    probe,
    redis,
    targets,
    web,
)


def test_ports_are_those_of_ollama_and_redis() -> None:
    assert (addresses.OLLAMA_PORT, addresses.REDIS_PORT) == (11434, 6379)


def test_curves_are_of_ten_minutes_and_throttling_of_one() -> None:
    assert (history.INTERVAL_S, history.LENGTH) == (5.0, 120)
    assert history.WINDOW_S == 60.0


def test_the_histogram_s_buckets_are_a_contract() -> None:
    assert metrics.BUCKETS_S == (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)


def test_the_page_refreshes_and_cuts_what_is_long() -> None:
    assert page.REFRESH_S == 10.0
    assert (page.LONGEST_TEXT, page.LONGEST_NAME, page.LONGEST_CLAUSE) == (300, 80, 120)
    assert page.MOST_CLAUSES == 4


def test_answers_of_others_are_read_up_to_a_length() -> None:
    assert (targets._LONGEST_ANSWER, targets._LONGEST_LIST) == (64 * 1024, 1024 * 1024)
    assert redis._LONGEST_REPLY == 512
    assert (cgroup._READ_BYTES, cgroup._UNLIMITED_BYTES) == (16 * 1024, 2**62)


def test_a_health_check_takes_two_seconds_at_most() -> None:
    # Below the timeout of HEALTHCHECK, of Compose and of Kubernetes' probes.
    assert probe.DEADLINE_S == 2.0
    assert health_check.SLACK_S == 0.5


def test_what_runs_it_is_supported_and_what_is_short_is_not_compressed() -> None:
    assert targets.OLDEST_PYTHON == (3, 11)
    assert web._WORTH_COMPRESSING == 1024
