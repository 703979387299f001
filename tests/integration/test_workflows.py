"""The workflows, run by act on this machine: what is pushed is what was foretold, and no more.

Actions that only GitHub's network brings have stand-ins (tests/standins/actions); the registry,
the engine, Trivy, cosign and the tasks are real.  Only GitHub would show its own rules: rights of
tokens, environments, its own machines, and what its actions do beyond what workflows see.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.oci.registry.reference import Repository
from pipeline.release.places import written
from pipeline.release.version import parse_version
from tests.integration.building import ROOT, Checkout, commit_all, copy_repository, git
from tests.integration.conftest import TRIVY_DATABASE, find_tool
from tests.integration.ollama import ollama_stand_in
from tests.integration.registry import PASSWORD, USERNAME, LocalRegistry, running_registry

if TYPE_CHECKING:
    import docker

UNCHECKED = "that the workflows run, and push what they should"
STAND_INS = ROOT / "tests" / "standins" / "actions"
TIMEOUT_S = 1800
# What was planted in the test database, in the images that have it.
PLANTED = {
    ("CVE-2099-0001", "libexpat1"): ("production *", "monitoring *", "development *"),
    ("CVE-2099-0002", "libssl3"): ("production *", "monitoring *", "redis *", "development *"),
    ("CVE-2099-0003", "jinja2"): ("repository",),
}
_PASSED_ON = re.compile(
    r"(PIP|UV|DOCKER|TRIVY|SSL_CERT|REQUESTS|CURL|STAND_INS|OLLAMA|PYTEST|COSIGN)(_\w+)?"
)


@dataclass
class GitHub:
    """A repository as GitHub would have it, and a machine to run its workflows on."""

    checkout: Checkout
    home: Path
    state: Path
    """What is between jobs: artifacts, caches."""
    environment: dict[str, str]
    registry: LocalRegistry
    owner: str
    name: str = "accelerapp"

    def run(
        self, workflow: str, *flags: str, environment: dict[str, str] | None = None
    ) -> tuple[int, Any, str]:
        """Run a workflow; return its exit code, its report, and what it printed."""
        variables = {**self.environment, **(environment or {})}
        names = [name for name in variables if _PASSED_ON.fullmatch(name)]
        argv = (
            *("ci.run", workflow, "--stand-ins", STAND_INS, "--at-once", "1", "--json"),
            *("--env", ",".join(["HOME", *names])),
            *("--var", f"REGISTRY={self.registry.address}"),
            *("--var", f"REGISTRY_USERNAME={USERNAME}"),
            *("--var", "SIGN_WITH=key", "--var", f"COSIGN_PUBLIC_KEY={self.public_key}"),
            *("--secret", "COSIGN_PRIVATE_KEY,COSIGN_PASSWORD,REGISTRY_PASSWORD"),
        )
        for kept in ("artifacts", "sarif"):
            shutil.rmtree(self.state / kept, ignore_errors=True)
        done = subprocess.run(
            (sys.executable, "-m", "invoke", *map(str, argv), *flags),
            cwd=self.checkout.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        report = json.loads(done.stdout) if done.stdout.strip() else None
        return done.returncode, report, done.stderr

    @property
    def public_key(self) -> str:
        return self.environment["COSIGN_PUBLIC_KEY"]

    def foretold(self, *flags: str) -> set[str]:
        """Return the tags that the simulator says there will be, in the one repository."""
        found = self.checkout.invoke(
            "ci.foretell",
            *("--json", "--repository", f"{self.owner}/{self.name}"),
            *("--commit", git(self.checkout.folder, "rev-parse", "HEAD").strip()),
            *flags,
        )
        assert found.returncode == 0, found.stderr
        references = {
            reference
            for simulation in json.loads(found.stdout)
            for reference in simulation["references"]
        }
        place = f"ghcr.io/{self.owner.lower()}/accelerapp:"
        assert all(reference.startswith(place) for reference in references), references
        return {reference.removeprefix(place) for reference in references}

    def tags(self) -> set[str]:
        """Return the tags of images in the registry: without signatures and what is attached."""
        everything = self.registry.tags(f"{self.owner.lower()}/accelerapp")
        return {tag for tag in everything if not tag.startswith("sha256-")}


def results(report: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for job in report["jobs"]:
        found.setdefault(job["job"], set()).add(job["result"])
    return found


@pytest.fixture(scope="module")
def act() -> Path:
    return find_tool("act", unchecked=UNCHECKED)


@pytest.fixture(scope="module")
def ollama(
    repository: Checkout,
    docker_engine: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    find_tool("docker", unchecked=UNCHECKED)
    with ollama_stand_in(repository, docker_engine, tmp_path_factory.mktemp("ollama")) as name:
        yield name


@pytest.fixture(scope="module")
def machine(
    act: Path,
    ollama: str,
    repository: Checkout,
    layouts: Path,
    cosign: Path,
    trivy: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Return the environment of a machine with warm caches, signing keys and a fresh database."""
    home = tmp_path_factory.mktemp("home")
    link = os.link if os.stat(repository.cache).st_dev == os.stat(home).st_dev else shutil.copy2
    shutil.copytree(
        repository.cache, home / ".cache" / "accelerapp", copy_function=link, symlinks=True
    )
    database = home / "trivy" / "db"
    database.mkdir(parents=True)
    shutil.copy(TRIVY_DATABASE / "trivy.db", database)
    metadata = json.loads((TRIVY_DATABASE / "metadata.json").read_bytes())
    metadata["UpdatedAt"] = datetime.datetime.now(datetime.UTC).isoformat()
    (database / "metadata.json").write_text(json.dumps(metadata))
    own = Path.home()
    environment = {
        **os.environ,
        "HOME": str(home),
        "TRIVY_CACHE_DIR": str(home / "trivy"),
        "OLLAMA_IMAGE": ollama,
        "STAND_INS": str(STAND_INS),
        "COSIGN_PASSWORD": "of the tests",
        "REGISTRY_PASSWORD": PASSWORD,
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(own / ".cache" / "uv")),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(own / ".cache" / "pip")),
    }
    for variable in ("ACCELERAPP_BUILD_CACHE", "XDG_CACHE_HOME", "SOURCE_DATE_EPOCH"):
        environment.pop(variable, None)
    # pip's own settings are a person's, at home: where it finds packages.
    for place in (own / ".config" / "pip" / "pip.conf", own / ".pip" / "pip.conf"):
        if place.is_file() and "PIP_CONFIG_FILE" not in environment:
            environment["PIP_CONFIG_FILE"] = str(place)
    done = subprocess.run(
        (cosign, "generate-key-pair"),
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    environment["COSIGN_PRIVATE_KEY"] = (home / "cosign.key").read_text()
    environment["COSIGN_PUBLIC_KEY"] = (home / "cosign.pub").read_text()
    return environment


def _be_version(checkout: Checkout, version: str) -> None:
    """Write a version wherever one stands, as `invoke release` does."""
    for path, text in written(checkout.folder, parse_version(version)).items():
        (checkout.folder / path).write_text(text)
    changelog = checkout.folder / "CHANGELOG.md"
    heading = f"## Unreleased\n\n## {version} - 2026-01-02\n"
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", heading, 1))
    done = checkout.invoke("k8s.render")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def github(
    machine: dict[str, str], registry_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GitHub]:
    """Yield a repository whose owner has capitals, at a commit on main."""
    folder = copy_repository(tmp_path_factory.mktemp("github") / "repository")
    policy = folder / "deployment" / "trust.toml"
    text = policy.read_text()
    for (id, package), places in PLANTED.items():
        for place in places:
            text += f'\n[[exceptions]]\nid = "{id}"\npackage = "{package}"\nwhere = "{place}"\n'
            text += 'reason = "planted in the database of the tests"\nowner = "tests"\n'
            text += "expiry = 2099-01-01\n"
    policy.write_text(text)
    home = Path(machine["HOME"])
    checkout = Checkout(folder, home / ".cache" / "accelerapp")
    _be_version(checkout, "1.2.3")
    commit_all(folder)
    git(folder, "branch", "--move", "--force", "main")
    git(folder, "remote", "add", "origin", "https://github.com/Acme/AccelerApp.git")
    state = tmp_path_factory.mktemp("state")
    machine["STAND_INS_STATE"] = str(state)
    folder_of_registry = tmp_path_factory.mktemp("registry")
    with running_registry(registry_program, folder_of_registry, password=True) as running:
        basic = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        registry = replace(running, authorization=f"Basic {basic}")
        yield GitHub(checkout, home, state, machine, registry, "Acme", "AccelerApp")


def test_a_pull_request_is_built_used_and_scanned_and_nothing_is_pushed(github: GitHub) -> None:
    assert github.foretold("--event", "pull_request") == set()
    code, report, log = github.run(
        "docker", "--event=pull_request", "--ref=feature/x", "--number=7"
    )
    assert code == 0, log[-5000:]
    assert results(report) == {
        "plan": {"success"},
        "build-and-push": {"success"},
        "build-compose": {"success"},
        "scan-security": {"success"},
        "docker-passed": {"success"},
    }
    assert github.registry.tags("acme/accelerapp") == set()
    assert not any((github.registry.storage).rglob("_manifests"))
    names = {path.name for path in (github.state / "artifacts").iterdir()}
    assert names == {f"images-{t}" for t in ("production", "monitoring", "redis", "development")}
    assert not (github.state / "cache").exists() or not any((github.state / "cache").iterdir())


def test_main_arrives_under_the_tags_that_were_foretold(github: GitHub) -> None:
    foretold = github.foretold("--event", "push", "--ref", "main")
    assert {"main-production", "main-redis"} <= foretold
    before = github.tags()
    code, report, log = github.run("docker", "--event=push", "--ref=refs/heads/main")
    assert code == 0, log[-5000:]
    assert results(report)["publish-manifest"] == {"success"}
    assert github.tags() - before == foretold
    assert "latest" not in github.tags()
    assert {path.stem for path in (github.state / "sarif").iterdir()} == {
        *("production", "monitoring", "redis", "development")
    }
    assert any((github.state / "cache").iterdir()), "a push to a branch keeps a cache"
    attested = (github.state / "attested").read_text()
    place = Repository(github.registry.address, "acme/accelerapp")
    for target in ("production", "monitoring", "redis", "development"):
        found = github.registry.manifest("acme/accelerapp", f"main-{target}")
        assert found is not None
        digest = found[0].removeprefix("sha256:")
        assert f"{digest}  {place}/{target}\n" in attested
        assert len(found[1]["manifests"]) == 2


def test_a_release_arrives_under_its_names_without_any_cache(github: GitHub) -> None:
    git(github.checkout.folder, "tag", "v1.2.3")
    foretold = github.foretold("--event", "tag", "--ref", "v1.2.3")
    assert {"latest", "1-production", "1.2-redis", "v1.2.3-monitoring"} <= foretold
    before = github.tags()
    kept = {path.name for path in (github.state / "cache").iterdir()}
    code, report, log = github.run("docker", "--event=push", "--ref=refs/tags/v1.2.3")
    assert code == 0, log[-5000:]
    assert results(report)["publish-manifest"] == {"success"}
    assert github.tags() - before == foretold - before
    latest = github.registry.manifest("acme/accelerapp", "latest")
    release = github.registry.manifest("acme/accelerapp", "v1.2.3-production")
    assert latest is not None
    assert release is not None
    assert latest[0] == release[0]
    assert {path.name for path in (github.state / "cache").iterdir()} == kept
    assert "restored" not in log
    asking = replace(
        github.checkout,
        environment={
            "ACCELERAPP_REGISTRY": f"{github.registry.address}/acme",
            "REGISTRY_USERNAME": USERNAME,
            "REGISTRY_PASSWORD": PASSWORD,
        },
    )
    done = asking.invoke(
        "verify",
        f"{github.registry.address}/acme/accelerapp:v1.2.3-production",
        *("--key", github.home / "cosign.pub", "--require", "provenance,sbom,lock,tag"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


GH = """\
#!/bin/sh
echo "$@" >> "$GH_LOG"
case "$1 $2" in
  "release view") echo "release not found" >&2; exit 1 ;;
  "release create") exit 0 ;;
  *) echo "gh version 2.80.0" ;;
esac
"""


def test_the_release_goes_out_when_its_images_are_there(github: GitHub, tmp_path: Path) -> None:
    """Of the tag before: it verifies docker.yml's images, and publishes what it tested."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.replace("$GH_LOG", str(tmp_path / "gh.log")))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{github.environment['PATH']}"
    flags = ("--event=push", "--ref=refs/tags/v1.2.3")
    code, report, log = github.run("release", *flags, environment={"PATH": path})
    assert code == 0, log[-5000:]
    assert {job: result for job, result in results(report).items() if result != {"success"}} == {}
    published = {file.name for file in (github.state / "published").iterdir()}
    assert published == {"accelerapp-1.2.3-py3-none-any.whl", "accelerapp-1.2.3.tar.gz"}
    assert github.registry.tags("acme/charts/accelerapp") == {"1.2.3"}
    created = (tmp_path / "gh.log").read_text().splitlines()[-1]
    assert created.startswith("release create v1.2.3 --verify-tag")
    assets = {path.name for path in (github.state / "artifacts" / "release" / "release").iterdir()}
    assert {"SHA256SUMS", *published} <= assets
    assert all(f"/{name}" in created for name in assets)
    assert any(name.endswith(".cdx.json") for name in assets)
    notes = (github.state / "artifacts" / "release" / "notes.md").read_text()
    found = github.registry.manifest("acme/accelerapp", "v1.2.3-production")
    assert found is not None
    assert found[0] in notes


def test_what_a_scan_finds_keeps_every_name_back(github: GitHub) -> None:
    """A new commit on main, whose policy excepts nothing: its images are there, unnamed."""
    folder = github.checkout.folder
    policy = folder / "deployment" / "trust.toml"
    whole = policy.read_text()
    before = github.tags()
    named = github.registry.manifest("acme/accelerapp", "main-production")
    try:
        policy.write_text(whole.partition('\n[[exceptions]]\nid = "CVE-')[0] + "\n")
        git(folder, "commit", "--quiet", "--all", "--message", "Nothing is excepted")
        flags = ("--event=workflow_dispatch", "--input=push=true", "--input=targets=redis")
        more = ("--input=platforms=all", "--input=runners=one", "--ref=refs/heads/main")
        code, report, log = github.run("docker", *flags, *more)
    finally:
        git(folder, "reset", "--quiet", "--hard", "HEAD~1")
    assert code == 121, log[-5000:]
    found = results(report)
    assert found.get("scan-security") == {"failure"}, log[-5000:]
    assert found["docker-passed"] == {"failure"}
    assert "publish-manifest" not in found
    assert "CVE-2099-0002" in log
    assert github.tags() == before
    assert github.registry.manifest("acme/accelerapp", "main-production") == named


# Some of each session's: of the units, the guides, the chart and the made-up requests.
SAMPLE = (
    "test_platforms or test_gate or test_command_lines or test_versions"
    " or exactly_one_class or every_image_that_is_described"
    " or test_every_answer_is_described"
)


def test_the_source_passes_its_own_workflow(github: GitHub) -> None:
    """Every job and step of ci.yml; of the tests a sample, since whoever runs this runs them all.

    The Python that this runs with stands for the four.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    code, report, log = github.run(
        "ci",
        *("--event=push", "--ref=refs/heads/main", f"--matrix=python:{version}"),
        environment={"PYTEST_ADDOPTS": f"-k {SAMPLE!r} -p no:cacheprovider"},
    )
    assert code == 0, log[-5000:]
    assert results(report) == {
        job: {"success"}
        for job in ("tests", "lint", "types", "docs", "chart", "fuzz", "package", "ci-passed")
    }
    assert len(list((github.state / "artifacts" / "python").glob("*.whl"))) == 1


@pytest.mark.parametrize("event", ["schedule", "pull_request"])
def test_what_became_known_is_looked_at(github: GitHub, event: str) -> None:
    code, report, log = github.run("security", f"--event={event}")
    assert code == 0, log[-5000:]
    jobs = {"audit", "scan", "security-passed"} | (
        {"dependencies"} if event == "pull_request" else set()
    )
    assert results(report) == {job: {"success"} for job in jobs}
    report_file = github.state / "sarif" / "security.sarif"
    if event == "pull_request":
        # Nobody says that its branch is of this repository: as from a fork.
        assert not report_file.exists()
        return
    assert len(json.loads(report_file.read_bytes())["runs"]) >= 4 * 2


def test_a_job_that_is_not_there_is_named(github: GitHub) -> None:
    done = github.checkout.invoke("ci.run", "docker", "--job", "build-and-psh")
    assert done.returncode == 15
    assert "docker.yml has no job 'build-and-psh'; did you mean 'build-and-push'?" in done.stderr
