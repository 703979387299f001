"""What becomes of each command in the guides: it is run, or parsed alone, and why.

Every command is in exactly one class, and every class has a command: see test_commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

REGISTRY = "ghcr.io/owner"
"""What the guides call a registry; a registry on loopback stands in for it."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run in a copy of the repository, as it stands but for what stands in for other machines."""

    pattern: str
    needs: tuple[str, ...] = ()
    """Programs without which it is not run."""
    cluster: bool = False
    """Against a stand-in for a Kubernetes API server."""
    after_new_version: bool = False
    """A new version of the service is built, pushed and deployed before."""
    serves: str = ""
    """It serves until it is stopped; this address answers then."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """Not run; `because` says what keeps us from it, and who runs the same."""

    pattern: str
    because: str
    tested_in: str = ""
    """The file whose tests do the same."""


CLASSES: tuple[Run | Parsed, ...] = (
    # Builds.
    Run(r"invoke build"),
    Run(r"invoke build --(platform all|archive accelerapp\.tar|dry-run|json)"),
    Run(r"invoke build --target (monitoring|production,monitoring,redis)"),
    Run(r"invoke build --target development --platform amd64,arm64"),
    Run(r"invoke (images|doctor|tools|cache|--list)"),
    Run(r"invoke --help build"),
    Run(r"invoke lock --check"),
    Run(r"invoke dockerfile( --check)?"),
    Run(r"invoke docs( --check)?"),
    Run(r"invoke tags( --json)?"),
    Run(r"invoke (matrix|ci\.check|ci\.foretell --event pull_request)"),
    Parsed(r"invoke ci\.run .*", "act, for minutes", "tests/unit/pipeline/test_matrix.py"),
    Parsed(r"invoke release .*", "the whole of the tests, and it commits"),
    Parsed(r"git (clone|push) .*", "the network"),
    Parsed(
        r"invoke lock( --upgrade)?",
        "minutes with the network",
        "tests/unit/pipeline/test_resolve.py",
    ),
    Parsed(
        r"invoke cache --prune .*", "the cache is everybody's", "tests/unit/pipeline/test_cache.py"
    ),
    Parsed(
        r"invoke build --engine docker .*", "minutes", "tests/integration/test_docker_engine.py"
    ),
    Parsed(
        r"invoke build --source .*", "needs another project", "tests/integration/test_source.py"
    ),
    # Registries.
    Run(r"invoke push --registry ghcr\.io/owner( --dry-run| --tag \S+)?", ("docker-registry",)),
    Run(r"invoke push --chart --registry ghcr\.io/owner", ("docker-registry",)),
    Run(r"invoke pull ghcr\.io/owner/\S+", ("docker-registry",)),
    Run(r"invoke diff ghcr\.io/owner/\S+ dist/images/production", ("docker-registry",)),
    # Trust.
    Run(r"invoke sbom --target all"),
    Run(r"invoke sbom --format cyclonedx,spdx --check", ("trivy", "syft")),
    Run(r"invoke verify dist/images/production"),
    Run(r"invoke verify ghcr\.io/owner/\S+ --require \S+", ("docker-registry",)),
    Run(r"invoke sign ghcr\.io/owner/\S+ --key cosign\.key", ("docker-registry", "cosign")),
    Run(
        r"invoke verify ghcr\.io/owner/\S+ --key cosign\.pub( --require \S+)?",
        ("docker-registry", "cosign"),
    ),
    Run(
        r"invoke rebuild (dist/images/production|ghcr\.io/owner/\S+) --check", ("docker-registry",)
    ),
    Run(r"invoke audit --only source,shell,dockerfiles"),
    Parsed(r"invoke sign \S+ --keyless", "a person, or a workflow, and Sigstore"),
    Parsed(r"invoke verify \S+ --identity .*", "a signature of a workflow's, and Sigstore"),
    Parsed(r"invoke audit", "Trivy's database of today", "tests/integration/test_audit.py"),
    Parsed(r"invoke scan.*", "Trivy's database of today", "tests/integration/test_scan.py"),
    Parsed(r"invoke tools\.install trivy", "the network", "tests/unit/pipeline/test_tools.py"),
    Parsed(r"cosign generate-key-pair", "asks for a password; the tests' key pair is made so"),
    # The chart and the cluster.
    Run(r"invoke helm\.(lint|package|template --set replicas=3)", ("helm",)),
    Run(r"invoke helm\.docs( --check)?"),
    Run(r"invoke k8s\.check( --kubernetes all)?", ("helm",)),
    Run(r"invoke k8s\.render( --check)?", ("helm",)),
    Run(
        r"invoke deploy(\.status|\.rollback)? --namespace devices\b.*",
        ("helm", "kubectl", "docker-registry"),
        cluster=True,
    ),
    Run(
        r"invoke deploy --values production\.yaml --image-from dist/images",
        ("helm", "kubectl", "docker-registry"),
        cluster=True,
    ),
    Run(
        r"invoke deploy\.switch",
        ("helm", "kubectl", "docker-registry"),
        cluster=True,
        after_new_version=True,
    ),
    Run(r"invoke deploy\.rollback", ("helm", "kubectl", "docker-registry"), cluster=True),
    Run(r"helm history accelerapp --namespace devices", ("helm",), cluster=True),
    Parsed(r"invoke helm\.test", "nox -s chart runs the same tests", "tests/chart/test_text.py"),
    Parsed(r"helm test .*", "runs a pod", "tests/chart/test_helm_test_pod.py"),
    Parsed(r"helm install .*", "an https registry", "tests/integration/test_deploy.py"),
    Parsed(r"kubectl .*", "a cluster with containers in it"),
    # The stack and engines.
    Run(r"invoke compose\.check"),
    Parsed(
        r"invoke compose\.(down|logs|ps|smoke|up)\b.*",
        "an engine, for minutes",
        "tests/integration/test_compose.py",
    ),
    Parsed(r"docker compose .*", "an engine, for minutes", "tests/integration/test_compose.py"),
    Parsed(r"invoke load.*", "an engine", "tests/integration/test_load.py"),
    Parsed(r"docker (run|load|inspect) .*", "an engine", "tests/integration/test_containers.py"),
    Parsed(r"docker build .*", "minutes", "tests/integration/test_docker_engine.py"),
    Parsed(r"docker login .*", "asks for a password"),
    Parsed(r"skopeo .*", "an https registry", "tests/integration/test_readers.py"),
    Parsed(r"(trivy|syft) .*", "see invoke sbom --check", "tests/integration/test_readers.py"),
    # The service and the monitor.
    Run(r"accelerapp (new|validate device\.yaml|generate device\.yaml -o out/)"),
    Run(r"accelerapp serve", serves="http://127.0.0.1:8000/livez"),
    Run(r"invoke monitor", serves="http://127.0.0.1:8080/livez"),
    Run(r"invoke monitor --check"),
    Run(r"curl .*", ("curl",)),
    # Environments, and what people have of their own.
    Parsed(r"python3 -m venv .*|(\S+/)?pip install .*|\. \.venv/bin/activate", ".ci/run does"),
    Parsed(r"\.venv/bin/(invoke|nox) .*", ".ci/run does"),
    Parsed(r"nox -s .*", "sessions; CI runs them"),
    Parsed(r"(cd|export|jq|ss|basename|cmp|gpg|apt-get) .*", "a machine's own"),
)


def classes_of(command: str) -> list[Run | Parsed]:
    """Return the classes that a command is in."""
    return [one for one in CLASSES if re.fullmatch(one.pattern, command)]
