"""What the workflows are made of: jobs, rights, commands and where their variables come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from tests.infrastructure.repository import ROOT, yaml_of

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
SETUP_ACTION = ".github/actions/setup"
RUNNER = "ubuntu-24.04"
READ = {"contents": "read"}
PUBLIC_OR_PAID = "(!github.event.repository.private || vars.CODE_SECURITY == 'true')"
NOT_FROM_A_FORK = (
    f"!cancelled() && hashFiles('scan.sarif') != '' && {PUBLIC_OR_PAID}"
    " && (github.event_name != 'pull_request'"
    " || github.event.pull_request.head.repo.full_name == github.repository)"
)
ON_A_PULL_REQUEST = "github.event_name == 'pull_request'"
WITH_KEYLESS, WITH_KEY = "vars.SIGN_WITH != 'key'", "vars.SIGN_WITH == 'key'"
PUSHES = "needs.plan.outputs.push == 'true'"
ISSUER = "--issuer https://token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Job:
    """What a job waits for, may do, and runs: the commands in their order."""

    commands: tuple[str, ...]
    minutes: int
    needs: tuple[str, ...] = ()
    condition: str = ""
    permissions: dict[str, str] = field(default_factory=lambda: dict(READ))


def gate(workflow: str, may_skip: str, *needs: str) -> dict[str, Job]:
    """The job that a branch's protection asks for: green when all of the others are."""
    command = f'invoke ci.gate --needs "$NEEDS" --may-skip {may_skip}'
    return {f"{workflow}-passed": Job((command,), 10, needs, "always()")}


JOBS: dict[str, dict[str, Job]] = {
    "ci": {
        "tests": Job(('nox -s "compat-$PYTHON"',), 40),
        "lint": Job(("nox -s lint",), 20),
        "types": Job(("nox -s types",), 20),
        "docs": Job(("invoke tools.install helm,kubectl --missing", "nox -s docs"), 40),
        "chart": Job(("invoke tools.install helm,kubectl,trivy --missing", "nox -s chart"), 60),
        "fuzz": Job(("nox -s fuzz",), 30),
        "package": Job(
            (
                "invoke release.package --output dist/python",
                "invoke release.test-package --dist dist/python",
            ),
            20,
        ),
        "bench": Job(
            ('nox -s bench -- compare --base "$BASE" --markdown bench.md',),
            30,
            condition=ON_A_PULL_REQUEST,
        ),
        **gate(
            "ci",
            "bench",
            *("tests", "lint", "types", "docs", "chart", "fuzz", "package", "bench"),
        ),
    },
    "docker": {
        "plan": Job(
            (
                'invoke matrix --github --target "$TARGETS" --platform "$PLATFORMS"'
                ' --runners "$RUNNERS"',
                "invoke tags --github",
            ),
            10,
        ),
        "build-and-push": Job(
            (
                'invoke build --target "$TARGET" --platform "$PLATFORM"',
                'invoke push --target "$TARGET" --by-digest dist/digests',
            ),
            60,
            ("plan",),
            permissions={**READ, "packages": "write"},
        ),
        "build-compose": Job(
            (
                "invoke compose.check",
                "invoke load --target production,monitoring,redis --platform amd64",
                "invoke compose.smoke --timeout 300",
            ),
            30,
            ("plan", "build-and-push"),
            "inputs.targets == '' && (inputs.platforms == '' || inputs.platforms == 'all')",
        ),
        "scan-security": Job(
            (
                "invoke tools.install trivy --missing",
                'invoke scan --target "$TARGET" --platform "$PLATFORM" --ignore-unfixed'
                " --format sarif --output scan.sarif",
            ),
            30,
            ("plan", "build-and-push"),
            permissions={**READ, "actions": "read", "security-events": "write"},
        ),
        "publish-manifest": Job(
            (
                'invoke manifest --by-digest dist/digests --platform "$PLATFORMS" --untagged'
                " --checksums dist/images.sha256 --github",
                'invoke sign "$REFERENCES" --keyless',
                'invoke sign "$REFERENCES" --key env://COSIGN_PRIVATE_KEY',
                f'invoke verify "$REFERENCES" --identity "$IDENTITY" {ISSUER}'
                " --require provenance,sbom,lock",
                'invoke verify "$REFERENCES" --key env://COSIGN_PUBLIC_KEY'
                " --require provenance,sbom,lock",
                'invoke manifest --by-digest dist/digests --platform "$PLATFORMS" --github',
            ),
            30,
            ("plan", "build-and-push", "build-compose", "scan-security"),
            f"!cancelled() && !failure() && {PUSHES} && needs.scan-security.result == 'success'",
            {**READ, "packages": "write", "id-token": "write", "attestations": "write"},
        ),
        **gate(
            "docker",
            "build-compose,publish-manifest",
            *("plan", "build-and-push", "build-compose", "scan-security", "publish-manifest"),
        ),
    },
    "release": {
        "check": Job(("invoke release.check",), 10),
        "package": Job(
            (
                "invoke release.package --output dist/python",
                "invoke release.test-package --dist dist/python",
            ),
            20,
            ("check",),
        ),
        "images": Job(
            (
                f'invoke release.images --wait 5400 --identity "$IDENTITY" {ISSUER}',
                "invoke release.images --wait 5400 --key env://COSIGN_PUBLIC_KEY",
            ),
            120,
            ("check",),
            permissions={**READ, "packages": "read"},
        ),
        "assets": Job(
            (
                "invoke release.assets --output dist/release",
                "invoke release.notes --images dist/images --output dist/notes.md",
            ),
            20,
            ("check", "package", "images"),
            permissions={**READ, "id-token": "write", "attestations": "write"},
        ),
        "publish-chart": Job(
            ("invoke push --chart",),
            10,
            ("assets",),
            permissions={**READ, "packages": "write"},
        ),
        "publish-python": Job((), 10, ("assets",), permissions={"id-token": "write"}),
        "publish-release": Job(
            ("invoke release.publish --assets dist/release --notes dist/notes.md",),
            10,
            ("check", "assets", "publish-chart", "publish-python"),
            permissions={"contents": "write"},
        ),
    },
    "security": {
        "audit": Job(
            ("invoke tools.install trivy --missing", "invoke audit", "invoke ci.check"), 20
        ),
        "scan": Job(
            (
                "invoke build --target production,monitoring,redis,development --platform all",
                "invoke tools.install trivy --missing",
                "invoke scan --ignore-unfixed --format sarif --output scan.sarif",
            ),
            30,
            permissions={**READ, "actions": "read", "security-events": "write"},
        ),
        "dependencies": Job((), 10, condition=f"{ON_A_PULL_REQUEST} && {PUBLIC_OR_PAID}"),
        **gate("security", "dependencies", "audit", "scan", "dependencies"),
    },
}
TRIGGERS: dict[str, dict[str, Any]] = {
    "ci": {
        "push": {"branches": ["main", "develop"]},
        "pull_request": None,
        "workflow_dispatch": None,
    },
    "docker": {
        "push": {"branches": ["main", "develop"], "tags": ["v*"]},
        "pull_request": {"branches": ["main"]},
        "workflow_dispatch": {
            "inputs": {
                "targets": {"type": "string", "default": ""},
                "platforms": {"type": "string", "default": "all"},
                "runners": {"type": "choice", "options": ["one", "native"], "default": "one"},
                # Whoever starts it by hand does not publish by accident.
                "push": {"type": "boolean", "default": False},
            }
        },
    },
    "release": {"push": {"tags": ["v*"]}},
    "security": {
        "push": {"branches": ["main"]},
        "pull_request": {"branches": ["main"]},
        "schedule": [{"cron": "17 4 * * 1"}],
        "workflow_dispatch": None,
    },
}
# What a variable is, wherever a step has it.  Nothing of an event is written into a command.
VARIABLES_OF_STEPS = {
    "PYTHON": {"matrix.python"},
    "BASE": {"github.event.pull_request.base.sha"},
    "NEEDS": {"toJSON(needs)"},
    "TARGETS": {"inputs.targets"},
    "PLATFORMS": {"inputs.platforms", "inputs.platforms || 'all'"},
    "RUNNERS": {"inputs.runners"},
    "TARGET": {"matrix.target"},
    "PLATFORM": {"matrix.platform"},
    "REFERENCES": {"steps.joined.outputs.references"},
    "REGISTRY_USERNAME": {"vars.REGISTRY_USERNAME || github.actor"},
    "REGISTRY_PASSWORD": {
        # GitHub's token is for GitHub's registry, and for no other.
        "secrets.REGISTRY_PASSWORD || (!vars.REGISTRY && secrets.GITHUB_TOKEN) || ''"
    },
    "COSIGN_PRIVATE_KEY": {"secrets.COSIGN_PRIVATE_KEY"},
    "COSIGN_PASSWORD": {"secrets.COSIGN_PASSWORD"},
    "COSIGN_PUBLIC_KEY": {"vars.COSIGN_PUBLIC_KEY"},
    "GH_TOKEN": {"secrets.GITHUB_TOKEN"},
}
IDENTITIES = {
    # Keyless signatures name the workflow that made them: docker.yml, at this ref.
    "docker": "${{ github.server_url }}/${{ github.workflow_ref }}",
    "release": "${{ github.server_url }}/${{ github.repository }}"
    "/.github/workflows/docker.yml@${{ github.ref }}",
}
# What a command reads from its environment without its being in the command.
READ_FROM_ENVIRONMENT = {
    "invoke push": {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"},
    "invoke manifest": {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"},
    "invoke verify": {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"},
    "invoke sign": {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"},
    "invoke release.images": {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"},
    "invoke release.publish": {"GH_TOKEN"},
}
# Which commands look at tags or at the history, which a checkout of one commit has not.
READS_HISTORY = (
    *("invoke tags", "invoke manifest", "invoke release.check", "invoke release.images"),
    *("invoke release.publish", "nox -s bench -- compare"),
)
CACHE_KEY = (
    "images-${{ matrix.name }}-${{ hashFiles('deployment/images.lock', 'requirements/*.txt') }}"
)


@cache
def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml_of(WORKFLOWS[name].read_text(encoding="utf-8"))
    return found


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in WORKFLOWS:
        for job, said in workflow(name)["jobs"].items():
            yield name, job, said


def steps_using(action: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each step that uses an action, with its workflow and job."""
    for name, job, said in jobs():
        for step in said["steps"]:
            if step.get("uses", "").partition("@")[0] == action:
                yield name, job, step


def expression(text: Any) -> str:
    """Return what is between `${{` and `}}`, of a text that is nothing else."""
    said = str(text)
    if said.startswith("${{") and said.endswith("}}") and said.count("${{") == 1:
        said = said[3:-2]
    return " ".join(said.split())


def is_own_action(uses: str) -> bool:
    # Of the commit that runs, whatever a job has checked out.
    return uses == f"$/{SETUP_ACTION}"


def without_descriptions(triggers: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(triggers)
    loaded: dict[str, Any] = json.loads(text)
    for trigger in loaded.values():
        for one in (
            (trigger or {}).get("inputs", {}) if isinstance(trigger, dict) else {}
        ).values():
            assert one.pop("description")
    return loaded


EVERY_WORKFLOW = pytest.mark.parametrize("name", JOBS)
EVERY_JOB = pytest.mark.parametrize(
    ("name", "job"), [(name, job) for name, some in JOBS.items() for job in some]
)
