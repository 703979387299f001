"""A release of this repository, in a clone of it: looked at, made, packed, installed, collected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.building import Checkout, commit_all, copy_repository, git
from tests.integration.conftest import find_tool
from tests.integration.shop import HERMETIC

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Tester"), ("EMAIL", "tester@example.org"))
}
# The real steps; of the checks, those that take many minutes are left to who releases.
RELEASE = """\
import sys
from pipeline.release.checks import raise_for
from pipeline.release.prepare import ReleaseRequest, carry_out, changes, examine
from pipeline.release.questions import of_the_project
from pipeline.report import Silent

def quick(root, scratch, doors):
    found = of_the_project(root, scratch, doors)
    assert [q.name for q in found if q.is_long] == ["tests", "reproducible", "scan"]
    return [question for question in found if not question.is_long]

found = examine(ReleaseRequest(part=sys.argv[1], pre=sys.argv[2]), Silent(), questions=quick)
raise_for(found.checked)
print(carry_out(found, changes(found)))
"""


@pytest.fixture(scope="module")
def clone(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a clone that knows nothing but this repository as it is."""
    find_tool("helm", unchecked="that a release renders the manifest of its chart")
    folder = tmp_path_factory.mktemp("release")
    copied = copy_repository(folder / "origin")
    subprocess.run(("git", "init", "--quiet", "--initial-branch=main", copied), check=True)
    commit_all(copied)
    git(folder, "clone", "--quiet", str(copied), "clone")
    environment = {**HERMETIC, **IDENTITY, "GITHUB_ACTIONS": None}
    return Checkout(folder / "clone", repository.cache, environment=environment)


def succeed(clone: Checkout, *arguments: str | Path) -> str:
    done = clone.invoke(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def make(clone: Checkout, part: str, pre: str = "") -> str:
    done = subprocess.run(
        (sys.executable, "-c", RELEASE, part, pre),
        cwd=clone.folder,
        env=clone.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def say_something(clone: Checkout) -> None:
    """Make sure that there is something to release."""
    path = clone.folder / "CHANGELOG.md"
    text = path.read_text(encoding="utf-8")
    entry = "## Unreleased\n\n### Security\n\n- Nothing that anybody heard of.\n"
    if "### Security" not in text.partition("\n## ")[2].partition("\n## ")[0]:
        path.write_text(text.replace("## Unreleased\n", entry, 1), encoding="utf-8")
        git(clone.folder, "commit", "--quiet", "--all", "--message", "More")


def versions(clone: Checkout) -> list[str]:
    """Return how each file spells the version."""
    chart = (clone.folder / "deployment/helm/accelerapp/Chart.yaml").read_text().splitlines()
    source = (clone.folder / "src/accelerapp/__init__.py").read_text()
    return [
        source.split('"')[-2],
        *(line for line in chart if line.startswith(("version:", "appVersion:"))),
    ]


def test_a_release_from_the_first_look_to_its_assets(
    clone: Checkout, layouts: Path, tmp_path: Path
) -> None:
    say_something(clone)
    before = git(clone.folder, "rev-parse", "HEAD")

    out = succeed(clone, "release", "--part", "minor", "--dry-run")
    assert "tests" in out
    assert "would run  nox -s tests lint types" in out
    assert "+++ b/deployment/kubernetes/accelerapp-deployment.yaml" in out
    assert git(clone.folder, "rev-parse", "HEAD") == before
    assert git(clone.folder, "status", "--porcelain") == ""

    commit = make(clone, "minor")
    tag = git(clone.folder, "describe", "--exact-match").strip()
    version = tag.removeprefix("v")
    assert git(clone.folder, "rev-parse", f"{tag}^{{commit}}").strip() == commit
    assert versions(clone)[0] == version
    for check in (
        ("lock", "--check"),
        ("dockerfile", "--check"),
        ("helm.docs", "--check"),
        ("k8s.render", "--check"),
        ("release.check", "--tag", tag),
    ):
        succeed(clone, *check)
    refused = clone.invoke("release", "--version", version)
    assert refused.returncode == 122
    assert f"the tag {tag} exists" in refused.stderr
    assert "Traceback" not in refused.stderr

    first = json.loads(succeed(clone, "release.package", "--json"))
    again = json.loads(succeed(clone, "release.package", "--json", "--output", tmp_path / "again"))
    assert list(first["files"].values()) == list(again["files"].values())
    tried = json.loads(succeed(clone, "release.test-package", "--json"))
    assert [one["kind"] for one in tried] == ["wheel", "sdist"]
    assert tried[0]["outputs"] == tried[1]["outputs"]
    assert "device.zip" in tried[0]["outputs"]

    images = ("--images", layouts)
    missing = clone.invoke("release.assets", *images)
    assert missing.returncode == 122
    assert "cdx.json is missing; make it: invoke sbom --target production" in missing.stdout
    succeed(clone, "sbom", "--target", "all", *images)
    succeed(clone, "release.assets", *images)
    assets = clone.folder / "dist" / "release"
    names = {path.name for path in assets.iterdir()}
    assert {f"accelerapp-{version}.tgz", f"accelerapp-{version}.tar.gz"} <= names
    assert {"redis.provenance.json", "production-linux-arm64.cdx.json"} <= names
    assert not [name for name in names if name.startswith("base")]
    subprocess.run(("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"), cwd=assets,
                   check=True)  # fmt: skip
    notes = succeed(clone, "release.notes", *images)
    assert "- Nothing that anybody heard of." in notes
    assert f"| production | `accelerapp:{tag}-production` | `sha256:" in notes
    argv = succeed(clone, "release.publish", "--dry-run")
    assert f"gh release create {tag} --verify-tag" in argv


def test_a_pre_release_is_spelled_as_each_wants_it(clone: Checkout) -> None:
    say_something(clone)
    make(clone, "major", "rc")
    tag = git(clone.folder, "describe", "--exact-match").strip()
    assert tag.endswith(".0.0-rc.1")
    python, chart, app = versions(clone)
    assert python == tag[1:].replace("-rc.", "rc")
    assert (chart, app) == (f"version: {tag[1:]}", f'appVersion: "{tag[1:]}"')
    for check in (("k8s.render", "--check"), ("helm.lint",), ("release.check", "--tag", tag)):
        succeed(clone, *check)
    said = json.loads(succeed(clone, "release.check", "--tag", tag, "--json"))
    assert (said["prerelease"], said["latest"]) == (True, False)
    assert os.linesep not in said["version"]
