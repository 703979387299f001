"""Planted mistakes: each is found by the part that is for it, at its line, and nothing else is
said of a repository that is as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pipeline.workflows.repository import (
    CHECKOUT,
    CI,
    DOCKER,
    FILES,
    RELEASE,
    SETUP,
    checked,
    found,
    write,
)

# File, what is replaced, by what, a text of the line where it is found, and what is said.
Planted = tuple[str, str, str, str, str]

EXPRESSIONS: list[Planted] = [
    (CI, "${{ github.ref }}", "${{ github.ref", "github.ref", "a '${{' without its '}}'"),
    (CI, "github.event_name == 'pull_request'", "github.event_name = 'x'", "cancel-in",
     "'=' is no operator"),
    (CI, "ci-${{ github.ref }}", "ci-${{ github.reff }}", "group:", "did you mean 'ref'?"),
    (CI, "ci-${{ github.ref }}", "ci-${{ githb.ref }}", "group:", "did you mean 'github'?"),
    (CI, "ci-${{ github.ref }}", "ci-${{ secrets.x }}", "group:", "'secrets' is not known"),
    (CI, "ci-${{ github.ref }}", "ci-${{ matrix.x }}", "group:", "'matrix' is not known"),
    (CI, "ci-${{ github.ref }}", "ci-${{ lower(github.ref) }}", "group:",
     "there is no function 'lower'"),
    (CI, "ci-${{ github.ref }}", "ci-${{ format() }}", "group:", "format takes 1 or more"),
    (CI, "ci-${{ github.ref }}", "ci-${{ contains('a') }}", "group:", "takes 2 arguments"),
    (CI, "ci-${{ github.ref }}", "ci-${{ success() }}", "group:", "for conditions alone"),
    (CI, "ci-${{ github.ref }}", "ci-${{ hashFiles('a') }}", "group:", "for steps alone"),
    (CI, "== 'pull_request'", "== 'pull_reqest'", "cancel-in", "'pull_reqest' never starts"),
    (CI, "${{ matrix.python }}\n    runs", "${{ matrix.pyton }}\n    runs", "pyton",
     "the matrix has no 'pyton'; did you mean 'python'?"),
    (CI, "name: Lint\n    runs", "name: ${{ matrix.python }}\n    runs",
     "name: ${{ matrix.python }}", "job 'lint' has no matrix"),
    (CI, "steps.setup.outputs.folder", "steps.setpu.outputs.folder", "setpu",
     "did you mean 'setup'?"),
    (CI, "steps.setup.outputs.folder", "steps.setup.outputs.foldr", "foldr",
     "has no output 'foldr'; did you mean 'folder'?"),
    (CI, "steps.setup.outputs.folder", "steps.setup.output", "setup.output", "'output'"),
    (CI, "steps.setup.outputs.folder", "env.NONE", "env.NONE", "env.NONE is set nowhere"),
    (CI, "steps.setup.outputs.folder", "runner.osx", "runner.osx", "runner has no 'osx'"),
    (CI, "if: always()", "if: always() && needs.bench.result == 'x'", "if: always()",
     "does not need 'bench'"),
    (CI, "if: always()", "if: ${{ always() }} || true", "if:", "always true"),
    (CI, "if: always()", "if: 1 == 1", "if:", "always the same"),
    (CI, "name: Tests\n", "name: Tests\n        if: secrets.x\n", "if: secrets.x",
     "'secrets' is not known"),
    (CI, "name: Tests\n", "name: Tests\n        if: true\n", "if: true", "always the same"),
    (CI, "needs: [tests, lint]", "needs: [tests, lnt]", "needs: [", "did you mean 'lint'?"),
    (CI, "needs: [tests, lint]", "needs: [tests, lint, lint]", "needs: [", "needed twice"),
    (CI, "name: Lint\n", "name: Lint\n    needs: ci-passed\n", "needs: ci-passed",
     "waits for itself"),
    (CI, "  lint:\n", "  lint it:\n", "  lint it:", "is no id of a job"),
    (CI, "- name: Tests\n", "- name: Tests\n        id: setup\n", "        id: setup",
     "taken by a step before"),
    (CI, "- name: Tests\n", "- name: Tests\n        id: 1x\n", "id: 1x", "is no id"),
    (CI, "- name: Tests\n", "- name: Tests\n        shell: bsh\n", "shell: bsh",
     "did you mean 'bash'?"),
    (CI, "runs-on: ubuntu-24.04\n    timeout-minutes: 10", "runs-on: ubuntu-24.4\n    timeout-"
     "minutes: 10", "ubuntu-24.4", "did you mean 'ubuntu-24.04'?"),
    (CI, '["3.11", "3.12"]', '["3.11", "3.11"]', "python: [", "there twice"),
    (CI, "        include:\n", "        exclude: [{pyton: '3.11'}]\n        include:\n", "pyton",
     "no 'pyton' to exclude"),
    (CI, "17 4 * * 1", "17 24 * * 1", "cron:", "'24' is no hour"),
    (CI, "17 4 * * 1", "17 4 * *", "cron:", "there are five"),
    (CI, "17 4 * * 1", "*/2 * * * *", "cron:", "five minutes are the least"),
    (CI, "branches: [main, develop]", "branches: [main]\n    branches-ignore: [x]",
     "branches-ignore", "not beside branches"),
    (CI, "python-version: ${{", "python-versoin: ${{", "python-versoin",
     "has no input 'python-versoin'; did you mean 'python-version'?"),
    (CI, "- id: setup\n        uses: ./.github/actions/setup", "- id: setup\n        uses: "
     "./.github/actions/set-up", "set-up", "there is no action in ./.github/actions/set-up"),
    (SETUP, 'description: Which Python\n    default: "3.11"', "description: Which\n    required: "
     "true", "", "requires the input 'python-version'"),
    (SETUP, "inputs.python-version", "inputs.version", "inputs.version", "there is no input"),
    (SETUP, "${{ inputs.python-version }}", "${{ secrets.x }}", "secrets.x",
     "'secrets' is not known"),
    (SETUP, "steps.python.outputs.python-path", "steps.pyton.outputs.x", "pyton",
     "no step before this has the id 'pyton'"),
    (SETUP, "shell: bash", "shell: bahs", "shell: bahs", "did you mean 'bash'?"),
    (DOCKER, "default: one\n      push", "default: two\n      push", "default: two",
     "'two' is no option"),
    (DOCKER, "jobs.publish.outputs.references", "jobs.publsh.outputs.references", "publsh",
     "did you mean 'publish'?"),
    (DOCKER, "jobs.publish.outputs.references", "jobs.publish.outputs.refs", "outputs.refs",
     "job 'publish' has no output 'refs'"),
    (DOCKER, "TARGETS: ${{ inputs.targets }}", "TARGETS: ${{ inputs.target }}", "TARGETS: $",
     "there is no input 'target'; did you mean 'targets'?"),
    (DOCKER, "secrets.PASSWORD ||", "secrets.PASSWRD ||", "PASSWRD", "is not declared"),
    (DOCKER, "if: needs.plan.outputs.push == 'true'\n    runs",
     "if: needs.plan.outputs.psh == 'true'\n    runs", "outputs.psh",
     "job 'plan' has no output 'psh'; did you mean 'push'?"),
    (RELEASE, "needs.images.outputs.references", "needs.images.outputs.tags", "outputs.tags",
     "job 'images' has no output 'tags'"),
    (RELEASE, "      push: true\n", "      psh: true\n", "psh: true", "did you mean 'push'?"),
    (RELEASE, "    with:\n      push: true\n", "", "  images:", "requires the input 'push'"),
    (RELEASE, "      push: true\n", "      push: 'yes'\n", "push: 'yes'", "'push' is a boolean"),
    (RELEASE, "PASSWORD: ${{", "PASSWRD: ${{", "PASSWRD", "has no secret 'PASSWRD'"),
    (RELEASE, "workflows/docker.yml", "workflows/doker.yml", "doker.yml",
     "there is no workflow ./.github/workflows/doker.yml"),
    (RELEASE, "workflows/docker.yml", "workflows/ci.yml", "workflows/ci.yml", "cannot be called"),
]  # fmt: skip
COMMANDS: list[Planted] = [
    (CI, "invoke helm.lint", "invoke helm.lnt", "helm.lnt", "did you mean 'helm.lint'?"),
    (CI, "invoke helm.lint", "invoke helm.lint --strct", "--strct",
     "invoke helm.lint has no flag --strct; did you mean '--strict'?"),
    (CI, "invoke helm.lint", "invoke", "          invoke", "is given no task"),
    (CI, "invoke helm.lint", "invoke pull", "invoke pull", "invoke pull needs reference"),
    (CI, "invoke helm.lint", "invoke build --target", "--target", "needs a value"),
    (CI, "invoke helm.lint", "invoke build --output", "--output", "needs a value"),
    (CI, "invoke helm.lint", "invoke build --target prodution", "prodution",
     "did you mean 'production'?"),
    (CI, "invoke helm.lint", "invoke build --platform amd64,arm65", "arm65", "arm65"),
    (CI, "invoke helm.lint", "invoke scan --severity HIHG", "HIHG", "did you mean 'HIGH'?"),
    (CI, "invoke helm.lint", "invoke scan --only image", "--only", "did you mean 'images'?"),
    (CI, "invoke helm.lint", "invoke helm.lint helm.lnt", "helm.lnt", "no task 'helm.lnt'"),
    (CI, "invoke helm.lint", "make lint", "make lint", "'make' is run by a workflow itself"),
    (CI, "invoke helm.lint", "invoke helm.lint | tee log", "tee log", "'tee'"),
    (CI, "invoke helm.lint", 'invoke ci.gate --needs "$(cat x)"', "cat x", "'cat'"),
    (CI, "invoke helm.lint", 'invoke "helm.lint', 'invoke "helm.lint', 'a " that nothing closes'),
    *[
        (CI, "invoke helm.lint", command, command, f"'{command}' only shows something")
        for command in ("invoke --list", "invoke build --help", "invoke --help build",
                        "invoke --version", "nox --list", "nox -l", "nox --help", "nox --version")
    ],
    (CI, "invoke helm.lint", "exit 0", "exit 0", "'exit' is run by a workflow itself"),
    (CI, "nox -t check", "nox -t chek", "-t chek", "nox has no tag 'chek'"),
    (CI, "nox -t check", "nox -s tets", "-s tets", "no session 'tets'; did you mean 'tests'?"),
    (CI, "nox -t check", "nox --sesion tests", "--sesion", "nox: unrecognized arguments"),
    # Of the matrix: there is no session for one of the values.
    (CI, '["3.11", "3.12"]', '["3.11", "3.10"]', 'compat-$PYTHON', "no session 'compat-3.10'"),
]  # fmt: skip
PINS: list[Planted] = [
    (DOCKER, "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
     "actions/attest@v4", "actions/attest@v4", "may change"),
    (DOCKER, "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
     "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6", "actions/attest@", "vX.Y.Z"),
    (DOCKER, "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
     "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4", "actions/attest@", "vX.Y.Z"),
    (DOCKER, "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
     "docker://alpine:3", "docker://alpine:3", "may change"),
    (RELEASE, CHECKOUT, CHECKOUT.replace("@3d3c", "@4d3c"), "@4d3c", "pinned to something else"),
    (CI, "registry:3@sha256:" + "0" * 64, "registry:3", "image: registry:3", "may change"),
    (CI, "    services:\n", "    container: python:3.11\n    services:\n", "container:",
     "python:3.11 may change"),
    (RELEASE, "./.github/workflows/docker.yml", "other/one/.github/workflows/x.yml@main", "@main",
     "may change"),
]  # fmt: skip
PERMISSIONS: list[Planted] = [
    (CI, "permissions: {}\n", "", "name: ci", "'permissions: {}' at its top"),
    (CI, "permissions: {}\n", "permissions: write-all\n", "permissions: write-all", "at its top"),
    (CI, "permissions: {}\n", "permissions:\n  contents: read\n", "permissions:\n",
     "at its top"),
    (CI, "    permissions:\n      contents: read\n    services", "    services", "  lint:",
     "'lint' does not state"),
    (CI, "    permissions:\n      contents: read\n    services", "    permissions: read-all\n    "
     "services", "read-all", "gives 'lint' rights to everything"),
    (CI, "    permissions:\n      contents: read\n    services", "    permissions: {}\n    "
     "services", "permissions: {}\n    services", "actions/checkout in 'lint' needs contents"),
    (CI, "      contents: read\n    services", "      contents: write\n    services",
     "contents: write", "nothing in 'lint' needs contents: write"),
    (DOCKER, "      packages: write\n    strategy", "    strategy", "",
     "invoke push in 'build' needs packages: write"),
    (DOCKER, "      security-events: write\n", "", "",
     "upload-sarif in 'scan' needs security-events: write"),
    (DOCKER, "      id-token: write\n", "", "", "in 'publish' needs id-token: write"),
    (DOCKER, "      attestations: write\n", "", "", "actions/attest in 'publish' needs attest"),
    (RELEASE, "      id-token: write\n", "", "", "docker.yml in 'images' needs id-token: write"),
    (RELEASE, "      security-events: write\n", "      security-events: write\n      pages: "
     "write\n", "pages: write", "nothing in 'images' needs pages: write"),
]  # fmt: skip
HYGIENE: list[Planted] = [
    (CI, "invoke helm.lint", "invoke helm.lint || true", "|| true", "'|| true' hides a failure"),
    (CI, "nox -t check", "set +e; nox -t check", "set +e", "'set +e' hides a failure"),
    (CI, "- name: Tests\n", "- name: Tests\n        continue-on-error: true\n", "continue-on",
     "'Tests' cannot fail"),
    (CI, "  lint:\n", "  lint:\n    continue-on-error: true\n", "continue-on",
     "'lint' cannot fail"),
    (CI, "  pull_request:\n", "  pull_request:\n  pull_request_target:\n", "_target:",
     "runs strangers' code"),
    (CI, 'compat-$PYTHON"', 'compat-${{ matrix.python }}"', "compat-${{", "pass it through env"),
    (CI, "        with:\n          persist-credentials: false\n      - id: setup",
     "      - id: setup", "", "persist-credentials: false"),
    (CI, "persist-credentials: false", "persist-credentials: true", "", "persist-credentials"),
    (CI, "    timeout-minutes: 20\n    permissions:\n      contents: read\n    services",
     "    permissions:\n      contents: read\n    services", "  lint:", "'lint' may hang"),
    (DOCKER, "concurrency:\n  group: docker-${{ github.workflow }}-${{ github.ref }}\n", "",
     "name: docker\n", "runs pile up"),
    (RELEASE, "    secrets:\n      PASSWORD: ${{ secrets.PASSWORD }}\n", "    secrets: inherit\n",
     "secrets: inherit", "hands over every secret"),
    (CI, "if: always()", "if: ${{ !cancelled() }}", "jobs:", "no job sums this up"),
    (CI, "if: always()", "if: github.event_name == 'push'", "jobs:", "no job sums this up"),
    (CI, "needs: [tests, lint]", "needs: [tests]", "needs: [tests]", "does not need 'lint'"),
    *[
        (CI, 'invoke ci.gate --needs "$NEEDS"', command, "  ci-passed:",
         "looks at the result of 'lint'")
        for command in (
            # Being told is not judging.
            "invoke helm.lint",
            'invoke ci.gate --needs "$NEEDS" --help',
            "invoke --help ci.gate",
            "invoke ci.gate --needs '{}'",
            'invoke ci.gate --needs "$OTHER"',
            'invoke ci.gate --needs "$NEEDS" || invoke helm.lint',
            'if invoke ci.gate --needs "$NEEDS"; then invoke helm.lint; fi',
            'invoke "ci.gate',
        )
    ],
    (CI, "NEEDS: ${{ toJSON(needs) }}", "NEEDS: ${{ join(needs.*.result) }}", "  ci-passed:",
     "looks at the result of 'lint'"),
    (CI, '--needs "$NEEDS"', '--needs "$NEEDS" --may-skip lint', "run: invoke ci.gate",
     "'lint' runs on every event; leave it out of --may-skip"),
    (CI, '--needs "$NEEDS"', '--needs "$NEEDS" --may-skip=x,tests', "run: invoke ci.gate",
     "'tests' runs on every event"),
    (CI, "NEEDS: ${{ toJSON(needs) }}", "NEEDS: '{}'", "  ci-passed:",
     "looks at the result of 'lint'"),
    (CI, "NEEDS: ${{ toJSON(needs) }}", "NEEDS: ${{ needs.lint.result }}", "  ci-passed:",
     "looks at the result of 'tests'"),
    (CI, "- name: Every job came out well\n", "- name: Every job came out well\n        if: "
     "github.event_name == 'push' && needs.lint.result == 'success'\n", "  ci-passed:",
     "looks at the result of 'lint'"),
    (DOCKER, "contains(needs.*.result, 'failure') || ", "", "  docker-passed:",
     "looks at the result of 'scan'"),
    (DOCKER, "        run: exit 1", "        run: exit 0", "  docker-passed:",
     "looks at the result of 'scan'"),
]  # fmt: skip
ALL = [
    (part, planted)
    for part, cases in (
        ("expressions", EXPRESSIONS),
        ("commands", COMMANDS),
        ("pins", PINS),
        ("permissions", PERMISSIONS),
        ("hygiene", HYGIENE),
    )
    for planted in cases
]


def test_a_repository_that_is_as_it_should_be_has_no_findings(tmp_path: Path) -> None:
    done = checked(write(tmp_path))
    assert done.findings == []
    assert set(done.files) == set(FILES)
    assert sum(not one.skipped for one in done.simulations) >= 10


@pytest.mark.parametrize(
    ("part", "planted"), ALL, ids=[f"{part}-{case[4][:40]}" for part, case in ALL]
)
def test_a_planted_mistake_is_found_at_its_line(
    part: str, planted: Planted, tmp_path: Path
) -> None:
    name, old, new, where, said = planted
    root = write(tmp_path, (name, old, new))
    findings = found(root, part)
    mine = [finding for finding in findings if said in finding.message]
    assert mine, findings
    if where:
        text = (root / name).read_text()
        line = text[: text.index(where)].count("\n") + 1
        assert f"{name}:{line}" in {finding.place for finding in mine}
    assert all("; " in finding.message for finding in mine)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (CI, "ci-${{ github.ref }}", "ci-${{ vars.anything }}"),
        (CI, "runs-on: ubuntu-24.04", "runs-on: [self-hosted, big]"),
        (CI, "17 4 * * 1", "*/15 1-5,7 * jan-mar mon"),
        (SETUP, "shell: bash", "shell: bash -e {0}"),
        (CI, "invoke helm.lint", ".venv/bin/invoke helm.lint build --target redis,base"),
        (CI, "invoke helm.lint", 'invoke build --target "$X" --platform "$Y,arm64"'),
        (CI, "nox -t check", "nox -s tests -- --no-such-flag of pytest"),
        (CI, "nox -t check", 'nox -s "$SESSION"'),
        (CI, "NEEDS: ${{ toJSON(needs) }}", "NEEDS: ${{ tojson( needs ) }}"),
        (CI, '--needs "$NEEDS"', '--needs="${NEEDS}"'),
        (CI, "permissions:\n      contents: read\n    steps:\n      - uses: " + CHECKOUT + "\n     "
         "   with:\n          persist-credentials: false\n      - uses: ./.github/actions/setup\n"
         "      - name: Every job came out well\n        env:\n          NEEDS: ${{ toJSON(needs) "
         "}}\n", "permissions: {}\n    env:\n      NEEDS: ${{ toJSON(needs) }}\n    steps:\n"
         "      - name: Every job came out well\n"),
        (CI, "./.github/actions/setup", "$/.github/actions/setup"),
        (CI, "if: always()", "if: ${{ always() }}"),
        (DOCKER, "needs.plan.outputs.push == 'true'\n    runs", "${{ needs['plan'].outputs.push "
         "}}\n    runs"),
        (RELEASE, "PASSWORD: ${{ secrets.PASSWORD }}", "password: ${{ secrets.PASSWORD }}"),
    ],
)  # fmt: skip
def test_what_is_right_is_not_found(name: str, old: str, new: str, tmp_path: Path) -> None:
    parts = ("expressions", "commands", "pins", "permissions", "hygiene")
    assert found(write(tmp_path, (name, old, new)), *parts) == []


@pytest.mark.parametrize(
    ("jobs", "may_skip", "found_for"),
    [
        ((("tests", "if: github.event_name == 'push'"),), "tests", ()),
        ((("tests", "if: always()"),), "tests", ("tests",)),
        # What waits for a job that is skipped is skipped.
        ((("tests", "if: github.event_name == 'push'"), ("lint", "needs: tests")), "lint,tests",
         ()),
        ((("tests", "if: github.event_name == 'push'"),), "lint,tests", ("lint",)),
    ],
)  # fmt: skip
def test_jobs_may_be_let_skip_where_something_skips_them(
    jobs: tuple[tuple[str, str], ...], may_skip: str, found_for: tuple[str, ...], tmp_path: Path
) -> None:
    plants = [(CI, f"  {name}:\n", f"  {name}:\n    {line}\n") for name, line in jobs]
    gate = (CI, '--needs "$NEEDS"', f'--needs "$NEEDS" --may-skip {may_skip}')
    findings = found(write(tmp_path, *plants, gate), "hygiene")
    said = [one.message for one in findings if "runs on every event" in one.message]
    assert [message.split("'")[1] for message in said] == list(found_for)


def test_lines_of_scripts_are_those_of_the_file(tmp_path: Path) -> None:
    folded = (CI, "run: |\n          # Two of them.\n          nox -t check", "run: nox -t chek")
    root = write(tmp_path, folded, (CI, "          invoke helm.lint\n", ""))
    text = (root / CI).read_text()
    line = text[: text.index("nox -t chek")].count("\n") + 1
    (finding,) = found(root, "commands")
    assert finding.place == f"{CI}:{line}"
