"""Commands of other people's programs: what they name has to be there."""

from __future__ import annotations

import pytest

from pipeline.command_lines import commands_in
from pipeline.guides import programs
from pipeline.guides.facts import Facts


def reasons(script: str, facts: Facts) -> list[str]:
    found: list[str] = []
    forwarded: dict[int, int] = {}
    for command in commands_in(script):
        forwarded |= dict(programs.forwards(command.words))
        found += programs.wrong(command.words, facts, forwarded)
    return found


@pytest.mark.parametrize(
    "script",
    [
        "docker run -p 127.0.0.1:8000:8000 accelerapp:production",
        "docker run --rm accelerapp:production new",
        "docker build -f deployment/docker/Dockerfile --target production .",
        "docker compose --profile redis up --detach",
        "docker compose -f deployment/docker/docker-compose.yml exec ollama ollama list",
        "docker compose -f docker-compose.gpu.yml logs --tail 50 accelerapp",
        "kubectl --namespace x exec deployment/accelerapp-redis -- cat deployment/nothing",
        "kubectl logs deployment/accelerapp-blue",
        "kubectl port-forward service/accelerapp-preview 8001:8000; "
        "curl http://127.0.0.1:8001/readyz?verbose",
        "curl http://localhost:8080/health",
        "curl https://example.org:9/any",
        "helm test accelerapp --namespace x",
        "helm get values accelerapp",
        "helm install accelerapp oci://ghcr.io/o/charts/accelerapp",
        "pip install -r requirements/audit.txt",
        "gpg --show-keys deployment/keyrings/*.gpg",
    ],
)
def test_what_is_there(script: str, facts: Facts) -> None:
    assert reasons(script, facts) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("dockr ps", "nobody knows the program dockr; did you mean 'docker'?"),
        ("docker run accelerapp:produktion", "there is no target produktion"),
        ("docker build --target prod .", "--target prod: there is no such target"),
        ("docker build --target=prod .", "--target prod: there is no such target"),
        (
            "docker build -f deployment/docker/Dockerfil .",
            "there is no deployment/docker/Dockerfil",
        ),
        ("docker compose --profile reddis up", "there is no profile reddis"),
        ("docker compose exec olama ollama list", "the stack has no service olama"),
        ("docker compose logs accelerapp web", "the stack has no service web"),
        ("docker compose -f gone.yml ps", "there is no Compose file gone.yml"),
        ("kubectl exec deployment/accelerap -- ls", "there is no deployment accelerap"),
        ("kubectl get svc/accelerapp-web", "there is no service accelerapp-web"),
        ("curl http://127.0.0.1:8001/readyz", "nothing listens on port 8001"),
        ("curl http://127.0.0.1:8000/health", "port 8000 answers no /health"),
        ("curl http://127.0.0.1:8080/v1/generate", "port 8080 answers no /v1/generate"),
        (
            "kubectl port-forward service/accelerapp 9000:8000; curl http://127.0.0.1:9000/heath",
            "port 8000 answers no /heath",
        ),
        ("helm uninstall acelerapp", "guides call the release accelerapp, not acelerapp"),
        (
            "helm pull oci://r/chart/accelerapp",
            "oci://r/chart/accelerapp: 'invoke push --chart' puts the chart at",
        ),
        ("pip install -r requirements/gone.txt", "there is no requirements/gone.txt"),
        ("kubectl apply --filename=deployment/kubernetes/a.yaml", "there is no deployment/kub"),
    ],
)
def test_what_is_not_there(script: str, said: str, facts: Facts) -> None:
    found = reasons(script, facts)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_the_programs_that_the_pipeline_knows_are_known() -> None:
    from pipeline.tools import PROGRAMS

    named = {program.argv[0].rpartition("/")[2] for program in PROGRAMS}
    assert {"cosign", "docker", "helm", "kubectl", "skopeo", "trivy", "syft"} <= named
    assert named >= programs.FLAGS_ASKED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deployment/images.toml", True),
        ("./pipeline/errors.py", True),
        (".github/workflows/docker.yml", True),
        ("requirements/*.in", False),
        ("dist/images", False),
        ("deployment/../x", False),
        ("deployment/NAME.yaml or so", False),
    ],
)
def test_inline_code_that_is_a_path(text: str, expected: bool) -> None:
    assert programs.is_path(text) is expected
