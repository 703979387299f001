"""A repository whose workflows are as they should be, and the means to spoil it.

Its tasks are few and its own, with the flags that the project's have: what happens to those is
for other tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.tasks import task

from pipeline.findings import Finding
from pipeline.flags import values_of
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.settings import read_settings
from pipeline.tasks.vocabulary import ROOT, Vocabulary
from pipeline.workflows.check import Checked, check
from pipeline.workflows.document import Documents, read_documents
from pipeline.workflows.effects import World
from pipeline.workflows.events import Event
from pipeline.workflows.simulate import Simulation, simulate
from pipeline.workflows.vocabulary import Invocation

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"
UPLOAD = "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1"
DOWNLOAD = "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1"

CI = ".github/workflows/ci.yml"
DOCKER = ".github/workflows/docker.yml"
RELEASE = ".github/workflows/release.yml"
SETUP = ".github/actions/setup/action.yml"
DEPENDABOT = ".github/dependabot.yml"
FORM = ".github/ISSUE_TEMPLATE/bug.yml"
FORMS = ".github/ISSUE_TEMPLATE/config.yml"

FILES = {
    CI: f"""\
name: ci

on:
  push:
    branches: [main, develop]
  pull_request:
  schedule:
    - cron: "17 4 * * 1"

permissions: {{}}

concurrency:
  group: ci-${{{{ github.ref }}}}
  cancel-in-progress: ${{{{ github.event_name == 'pull_request' }}}}

jobs:
  tests:
    name: Tests on ${{{{ matrix.python }}}}
    runs-on: ubuntu-24.04
    timeout-minutes: 20
    permissions:
      contents: read
    strategy:
      matrix:
        python: ["3.11", "3.12"]
        include:
          - python: "3.11"
            oldest: true
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - id: setup
        uses: ./.github/actions/setup
        with:
          python-version: ${{{{ matrix.python }}}}
      - name: Tests
        env:
          PYTHON: ${{{{ matrix.python }}}}
          FOLDER: ${{{{ steps.setup.outputs.folder }}}}
        run: nox -s "compat-$PYTHON"

  lint:
    name: Lint
    runs-on: ubuntu-24.04
    timeout-minutes: 20
    permissions:
      contents: read
    services:
      registry:
        image: registry:3@sha256:{"0" * 64}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - name: Lint
        run: |
          # Two of them.
          nox -t check
          invoke helm.lint

  ci-passed:
    name: ci passed
    needs: [tests, lint]
    if: always()
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - name: Every job came out well
        env:
          NEEDS: ${{{{ toJSON(needs) }}}}
        run: invoke ci.gate --needs "$NEEDS"
""",
    DOCKER: f"""\
name: docker

on:
  push:
    branches: [main, develop]
  pull_request:
    branches: [main]
  workflow_dispatch:
    inputs:
      targets:
        description: Images, with commas
        type: string
        default: ""
      runners:
        description: Machines
        type: choice
        options: [one, native]
        default: one
      push:
        description: Push what is built
        type: boolean
        default: false
  workflow_call:
    inputs:
      targets:
        type: string
        default: ""
      runners:
        type: string
        default: one
      push:
        type: boolean
        required: true
    secrets:
      PASSWORD:
        required: false
    outputs:
      references:
        description: What was pushed
        value: ${{{{ jobs.publish.outputs.references }}}}

permissions: {{}}

concurrency:
  group: docker-${{{{ github.workflow }}}}-${{{{ github.ref }}}}

env:
  ACCELERAPP_REGISTRY: ghcr.io/acme

jobs:
  plan:
    name: Plan
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions:
      contents: read
    outputs:
      matrix: ${{{{ steps.matrix.outputs.matrix }}}}
      push: ${{{{ github.event_name == 'push' || inputs.push == true }}}}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - name: Jobs
        id: matrix
        env:
          TARGETS: ${{{{ inputs.targets }}}}
          RUNNERS: ${{{{ inputs.runners }}}}
        run: invoke matrix --github --target "$TARGETS" --runners "$RUNNERS"

  build:
    name: Build ${{{{ matrix.name }}}}
    needs: plan
    runs-on: ${{{{ matrix.runner }}}}
    timeout-minutes: 60
    permissions:
      contents: read
      packages: write
    strategy:
      matrix: ${{{{ fromJSON(needs.plan.outputs.matrix) }}}}
    env:
      TARGET: ${{{{ matrix.target }}}}
      PLATFORM: ${{{{ matrix.platform }}}}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - name: Earlier builds
        if: github.ref_type == 'branch'
        uses: actions/cache/restore@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0
        with:
          path: ~/.cache/accelerapp
          key: images-${{{{ hashFiles('deployment/images.lock') }}}}
      - name: Build
        run: invoke build --target "$TARGET" --platform "$PLATFORM"
      - name: Push by digest
        if: needs.plan.outputs.push == 'true'
        env:
          REGISTRY_PASSWORD: ${{{{ secrets.PASSWORD || secrets.GITHUB_TOKEN }}}}
        run: invoke push --target "$TARGET" --by-digest dist/digests
      - name: Hand over digests
        if: needs.plan.outputs.push == 'true'
        uses: {UPLOAD}
        with:
          name: digests-${{{{ matrix.name }}}}
          path: dist/digests
      - name: Hand over images
        uses: {UPLOAD}
        with:
          name: images-${{{{ matrix.name }}}}
          path: dist/images

  scan:
    name: Scan ${{{{ matrix.name }}}}
    needs: [plan, build]
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    permissions:
      contents: read
      security-events: write
    strategy:
      matrix: ${{{{ fromJSON(needs.plan.outputs.matrix) }}}}
    env:
      TARGET: ${{{{ matrix.target }}}}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - uses: {DOWNLOAD}
        with:
          name: images-${{{{ matrix.name }}}}
          path: dist/images
      - name: Scan
        run: invoke scan --target "$TARGET" --format sarif --output scan.sarif
      - if: ${{{{ !cancelled() && hashFiles('scan.sarif') != '' }}}}
        uses: github/codeql-action/upload-sarif@24c54180a607b1449ed407dd24f251e4e9147c8d # v4.38.3
        with:
          sarif_file: scan.sarif

  publish:
    name: Name them
    needs: [plan, build, scan]
    if: needs.plan.outputs.push == 'true'
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    permissions:
      contents: read
      packages: write
      id-token: write
      attestations: write
    outputs:
      references: ${{{{ steps.joined.outputs.references }}}}
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - uses: {DOWNLOAD}
        with:
          pattern: digests-*
          path: dist/digests
          merge-multiple: true
      - name: Join
        id: joined
        run: invoke manifest --by-digest dist/digests --checksums dist/images.sha256 --github
      - name: Sign
        env:
          REFERENCES: ${{{{ steps.joined.outputs.references }}}}
        run: invoke sign "$REFERENCES" --keyless
      - uses: actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2
        with:
          subject-checksums: dist/images.sha256

  docker-passed:
    name: docker passed
    needs: [plan, build, scan, publish]
    if: always()
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions: {{}}
    steps:
      - name: Every job came out well
        if: contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled')
        run: exit 1
""",
    RELEASE: f"""\
name: release

on:
  push:
    tags: ["v*"]

permissions: {{}}

concurrency:
  group: release-${{{{ github.ref }}}}

jobs:
  images:
    name: Images
    permissions:
      contents: read
      packages: write
      id-token: write
      attestations: write
      security-events: write
    uses: ./.github/workflows/docker.yml
    with:
      push: true
    secrets:
      PASSWORD: ${{{{ secrets.PASSWORD }}}}

  verify:
    name: Verify
    needs: images
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    permissions:
      contents: read
    steps:
      - uses: {CHECKOUT}
        with:
          persist-credentials: false
      - uses: ./.github/actions/setup
      - name: By digest
        env:
          REFERENCES: ${{{{ needs.images.outputs.references }}}}
        run: invoke verify "$REFERENCES" --require sbom
      - name: By name
        env:
          VERSION: ${{{{ github.ref_name }}}}
        run: invoke verify "ghcr.io/acme/accelerapp:$VERSION-production"
""",
    SETUP: """\
name: Set up
description: A Python with what the tasks need

inputs:
  python-version:
    description: Which Python
    default: "3.11"

outputs:
  folder:
    description: Where it is
    value: ${{ steps.python.outputs.python-path }}

runs:
  using: composite
  steps:
    - id: python
      uses: actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0
      with:
        python-version: ${{ inputs.python-version }}
    - shell: bash
      run: python3 -m pip install --require-hashes -r requirements/dev.txt
""",
    DEPENDABOT: """\
version: 2
updates:
  - package-ecosystem: github-actions
    directory: /
    schedule:
      interval: weekly
    cooldown:
      default-days: 7
""",
    FORM: """\
name: Bug
description: Something does not work
body:
  - type: textarea
    id: what
    attributes:
      label: What happened
    validations:
      required: true
""",
    FORMS: """\
blank_issues_enabled: false
""",
}


# The tasks.


@task(iterable=["target", "platform"])
def build(
    c: Any, target: Any = None, platform: Any = None, output: str = "", dry_run: bool = False,
    archive: str = "", format: str = "oci",
) -> None: ...  # fmt: skip


@task(iterable=["target", "platform", "tag"])
def push(
    c: Any, target: Any = None, platform: Any = None, registry: str = "", tag: Any = None,
    images: str = "", by_digest: str = "", chart: bool = False, dry_run: bool = False,
) -> None: ...  # fmt: skip


@task(iterable=["target", "platform", "tag", "digest"])
def manifest(
    c: Any, target: Any = None, platform: Any = None, registry: str = "", tag: Any = None,
    digest: Any = None, by_digest: str = "", checksums: str = "", untagged: bool = False,
    github: bool = False, dry_run: bool = False,
) -> None: ...  # fmt: skip


@task(iterable=["target", "platform"])
def matrix(
    c: Any, target: Any = None, platform: Any = None, runners: str = "one", github: bool = False
) -> None: ...


@task(iterable=["target"])
def tags(c: Any, target: Any = None, registry: str = "", github: bool = False) -> None: ...


@task(iterable=["target", "platform", "only", "severity"])
def scan(
    c: Any, target: Any = None, platform: Any = None, only: Any = None, severity: Any = None,
    format: str = "table", output: str = "", images: str = "",
) -> None: ...  # fmt: skip


@task(iterable=["target"])
def load(c: Any, target: Any = None, images: str = "") -> None: ...


@task(iterable=["platform"])
def pull(c: Any, reference: str, platform: Any = None, output: str = "") -> None: ...


@task
def sign(c: Any, where: str, keyless: bool = False, dry_run: bool = False) -> None: ...


@task(iterable=["require"])
def verify(c: Any, where: str, require: Any = None) -> None: ...


@task
def lint(c: Any, strict: bool = False) -> None: ...


@task(iterable=["may_skip"])
def gate(c: Any, needs: str, may_skip: Any = None) -> None: ...


@task
def unknown_to_the_simulator(c: Any, github: bool = False) -> None: ...


NAMESPACE = Collection(
    build,
    push,
    manifest,
    matrix,
    tags,
    scan,
    load,
    pull,
    sign,
    verify,
    Collection("helm", lint),
    Collection("ci", gate),
    Collection("other", make=unknown_to_the_simulator),
)
SESSIONS = (
    ("tests", "tests", ["check"]),
    ("lint", "lint", ["check"]),
    ("compat-3.11", "compat", []),
    ("compat-3.12", "compat", []),
)


def list_sessions(argv: tuple[str, ...], **_: object) -> Completed:
    """Answer as `nox --json --list` does, and as zizmor does that finds nothing."""
    if "nox" in argv:
        listed = [
            {"session": session, "name": name, "tags": tags} for session, name, tags in SESSIONS
        ]
        return Completed(argv, 0, json.dumps(listed), "")
    return Completed(argv, 0, "[]", "")


VOCABULARY = Vocabulary(namespace=NAMESPACE, runner=list_sessions)


def made_matrix(asked: Invocation) -> Any:
    """Return a matrix as `invoke matrix` does, of fewer images."""
    targets = values_of(asked.texts("target")) or ["production", "redis"]
    if asked.text("runners") != "native":
        return {
            "include": [
                {"name": name, "target": name, "platform": "amd64,arm64", "runner": "ubuntu-24.04"}
                for name in targets
            ]
        }
    return {
        "include": [
            {"name": f"{name}-{one}", "target": name, "platform": one, "runner": "ubuntu-24.04"}
            for name in targets
            for one in ("amd64", "arm64")
        ]
    }


def write(root: Path, *plants: tuple[str, str, str]) -> Path:
    """Write the repository, with some text of some file replaced by another: each once."""
    files = dict(FILES)
    for name, old, new in plants:
        assert old in files[name], f"{name} has no {old!r}"
        files[name] = files[name].replace(old, new, 1)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def world(root: Path) -> World:
    """Return what the flow depends on."""
    return World(VOCABULARY, read_settings(ROOT), made_matrix, root)


def read(root: Path) -> Documents:
    """Return the documents of a repository that can be read."""
    documents, unreadable = read_documents(root)
    assert not unreadable
    return documents


def checked(root: Path, only: Sequence[str] = ()) -> Checked:
    """Check a repository, without the programs of others."""
    parts = only or ("expressions", "commands", "pins", "permissions", "hygiene", "flow")
    return check(Silent(), world(root), only=parts, environ={}, runner=list_sessions)


def found(root: Path, *only: str) -> list[Finding]:
    """Return what is wrong with a repository."""
    return checked(root, only).findings


def simulated(root: Path, event: Event) -> Simulation:
    """Return what an event would lead to."""
    return simulate(read(root), event, world(root))
