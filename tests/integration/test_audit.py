"""`invoke audit` with the real programs: each finds what is planted for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.building import Checkout, commit_all, copy_repository
from tests.integration.conftest import TRIVY_DATABASE

PLANTED = {
    "source": ("planted.py", "import subprocess\nsubprocess.run('x', shell=True)\n", "S602"),
    "shell": ("planted.sh", '#!/bin/sh\nfor f in $(ls); do echo "$f"; done\n', "SC2045"),
    "dockerfiles": ("planted/Dockerfile", "FROM debian\n", "DL3006"),
    "workflows": (
        ".github/workflows/planted.yml",
        "name: planted\non: pull_request_target\npermissions: {}\njobs:\n  a:\n"
        "    runs-on: ubuntu-latest\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }}\n",
        "template-injection",
    ),
}
OFFLINE = "source,shell,dockerfiles,workflows,licences"


@pytest.fixture(scope="module")
def checkout(repository: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = commit_all(copy_repository(tmp_path_factory.mktemp("audited")))
    return Checkout(folder, repository.cache)


def test_this_repository_is_clean(checkout: Checkout) -> None:
    done = checkout.invoke("audit", "--severity", "LOW", "--only", OFFLINE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_vulnerable_requirement_is_named(checkout: Checkout, trivy: Path) -> None:
    """The test database says that Jinja2, which the service is made with, is vulnerable."""
    rest = ("--only", "repository", "--db", TRIVY_DATABASE, "--max-db-age", "9999d")
    done = checkout.invoke("audit", *rest)
    assert done.returncode == 91
    assert "CVE-2099-0003 in jinja2" in done.stderr
    assert "requirements/production.txt" in done.stdout
    # Nothing else: no secret.
    assert checkout.invoke("audit", "--severity", "HIGH", *rest).returncode == 0


@pytest.mark.parametrize("part", PLANTED)
def test_each_finds_what_is_planted(checkout: Checkout, part: str) -> None:
    name, text, rule = PLANTED[part]
    path = checkout.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        done = checkout.invoke("audit", "--only", part, "--format", "json")
    finally:
        path.unlink()
    assert done.returncode == 91
    assert f"{rule} in {name}" in done.stderr
    failing = json.loads(done.stdout)["failing"]
    assert (rule, name) in {(one["id"], one["path"]) for one in failing}


def test_without_a_database_the_rest_is_no_answer(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.invoke("audit", "--db", tmp_path)
    assert done.returncode == 92
    assert "there is no database" in done.stderr
