"""What helm prints after an install: where the release is, and what to do next."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.chart.conftest import CHART, NAME, NAMESPACE, RELEASE, VERSION, case
from tests.integration.conftest import absent

HEAD = f"accelerapp {VERSION} is release {RELEASE} in namespace {NAMESPACE}.\n"
HERE = f"""
From this machine:
  kubectl --namespace {NAMESPACE} port-forward service/{NAME} 8000:8000
  curl 'http://127.0.0.1:8000/readyz?verbose'
"""
TEST = f"""
Whether it works:
  helm --namespace {NAMESPACE} test {RELEASE}
"""


@pytest.fixture(scope="module")
def notes(helm: str) -> Callable[..., str]:
    """Return a function: the notes of a case, and values besides."""
    version = subprocess.run([helm, "version", "--short"], capture_output=True, text=True)
    if not version.stdout.startswith("v4."):
        absent("Helm 4", unchecked="NOTES.txt", reason="Helm 3 prints notes in a cluster alone")

    def run(name: str = "", *sets: str) -> str:
        argv = [helm, "install", RELEASE, str(CHART), "--namespace", NAMESPACE]
        argv += ["--dry-run=client", *(("--values", str(case(name))) if name else ())]
        argv += [word for one in sets for word in ("--set-json", one)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("\nNOTES:\n")[2].rstrip() + "\n"

    return run


def test_a_release_of_default_values(notes: Callable[..., str]) -> None:
    assert notes() == HEAD + HERE + TEST
    assert notes("", "tests.enabled=false") == HEAD + HERE


def test_the_service_s_own_port(notes: Callable[..., str]) -> None:
    assert f"port-forward service/{NAME} 8000:80\n" in notes("", "service.port=80")


def test_an_ingress_with_a_certificate(notes: Callable[..., str]) -> None:
    where = """
It is at:
  https://devices.example.org/
  https://api.example.org/v1
"""
    assert notes("ingress-tls") == HEAD + where + TEST


def test_an_ingress_without_one_and_two_colours(notes: Callable[..., str]) -> None:
    text = f"""
It is at:
  http://devices.example.org/

green has the traffic; blue is at service/{NAME}-preview.
  invoke deploy.switch      # gives it to the other colour, once that is healthy
"""
    assert notes("blue-green-autoscaled") == HEAD + text + TEST


def test_a_route(notes: Callable[..., str]) -> None:
    behind = "\nIt is behind public, as devices.example.org, *.devices.example.org.\n"
    assert notes("httproute") == HEAD + behind + TEST
    assert "It is behind public.\n" in notes("httproute", "httpRoute.hostnames=[]")


def test_an_ingress_with_a_certificate_for_every_name(notes: Callable[..., str]) -> None:
    hosts = [{"host": "a.example.org"}, {"host": "b.a.example.org"}, {"host": "example.org"}]
    sets = {"enabled": True, "hosts": hosts, "tls": [{"hosts": ["*.example.org"]}]}
    assert (
        notes("", f"ingress={json.dumps(sets)}")
        .partition("It is at:\n")[2]
        .startswith("  https://a.example.org/\n  http://b.a.example.org/\n  http://example.org/\n")
    )


MODEL = f"""
Ollama has no model yet, unless its volume has.%s Once:
  kubectl --namespace {NAMESPACE} exec deployment/{NAME}-ollama -- ollama pull %s
"""


def test_models_have_to_be_fetched(notes: Callable[..., str]) -> None:
    assert notes("gpu") == HEAD + HERE + MODEL % ("", "llama3.3:70b") + TEST


def test_a_policy_may_keep_them_from_being_fetched(notes: Callable[..., str]) -> None:
    kept = MODEL % (" networkPolicy.modelDownloads keeps it from fetching one.", "llama3.2:1b")
    assert kept in notes("air-gapped")
    # It is the policy that does.
    assert MODEL % ("", "llama3.2:1b") in notes("air-gapped", "networkPolicy.enabled=false")
