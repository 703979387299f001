"""What events would lead to: what runs, what is pushed, and what is read that nobody made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.workflows.events import (
    IN_CAPITALS,
    REPOSITORY,
    Event,
    asked_for,
    events_for,
    pull_request,
    push,
    starts,
)
from tests.unit.pipeline.workflows.repository import (
    CI,
    DOCKER,
    RELEASE,
    SETUP,
    found,
    read,
    simulated,
    write,
)

MAIN = push("refs/heads/main", tags=("v1.1.8",))
HIGHEST = push("refs/tags/v1.2.3", tags=("v1.1.8",))
LOWER = push("refs/tags/v1.1.9", tags=("v1.2.3",))
PRE_RELEASE = push("refs/tags/v1.3.0-rc.1", tags=("v1.2.3",))
IMAGES = "ghcr.io/acme/accelerapp"


def tags_of(root: Path, event: Event) -> set[str]:
    done = simulated(root, event)
    assert done.findings == []
    assert all(one.startswith(f"{IMAGES}:") for one in done.references)
    assert list(done.references) == sorted(set(done.references))
    return {one.removeprefix(f"{IMAGES}:") for one in done.references}


def commit(event: Event) -> str:
    return f"sha-{event.commit[:7]}"


def test_a_push_to_a_branch_gives_the_branch_and_the_commit(tmp_path: Path) -> None:
    root = write(tmp_path)
    assert tags_of(root, MAIN) == {
        f"{begin}-{target}"
        for begin in ("main", commit(MAIN))
        for target in ("production", "redis")
    }
    assert tags_of(root, push("refs/heads/other")) == set()


def test_a_release_gives_its_series_and_latest_through_the_called_workflow(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path), HIGHEST) == {
        "latest",
        *(
            f"{begin}-{target}"
            for begin in ("v1.2.3", "1.2", "1", commit(HIGHEST))
            for target in ("production", "redis")
        ),
    }


def test_a_lower_release_moves_its_own_series_alone(tmp_path: Path) -> None:
    tags = tags_of(write(tmp_path), LOWER)
    assert "latest" not in tags
    assert "1-production" not in tags
    assert {"v1.1.9-production", "1.1-production"} <= tags


def test_a_pre_release_moves_nothing(tmp_path: Path) -> None:
    tags = tags_of(write(tmp_path), PRE_RELEASE)
    assert {tag.rpartition("-")[0] for tag in tags} == {"v1.3.0-rc.1", commit(PRE_RELEASE)}


@pytest.mark.parametrize("from_fork", [False, True])
def test_a_pull_request_pushes_nothing_and_is_built(from_fork: bool, tmp_path: Path) -> None:
    done = simulated(write(tmp_path), pull_request(from_fork=from_fork))
    assert done.references == ()
    assert done.findings == []
    jobs = {run.job for run in done.jobs}
    assert {"build", "scan", "docker-passed", "tests", "ci-passed"} <= jobs
    assert "publish" not in jobs


def test_a_dispatch_does_what_was_chosen(tmp_path: Path) -> None:
    root = write(tmp_path)
    chosen = {str(event): event for event in events_for(read(root)) if event.inputs}
    assert set(chosen) == {
        "dispatch of docker.yml with push=True",
        "dispatch of docker.yml with runners=native",
        "dispatch of docker.yml with runners=native, push=True",
    }
    assert tags_of(root, chosen["dispatch of docker.yml with runners=native"]) == set()
    native = simulated(root, chosen["dispatch of docker.yml with runners=native, push=True"])
    assert [run.matrix["name"] for run in native.jobs if run.job == "build"] == [
        "production-amd64", "production-arm64", "redis-amd64", "redis-arm64"
    ]  # fmt: skip
    assert len(native.references) == 4
    (digests,) = (one for one in native.artifacts if one.name == "digests-production-arm64")
    assert digests.files == ("production-arm64.json",)


def test_what_runs_is_said_with_its_matrix_and_its_steps(tmp_path: Path) -> None:
    done = simulated(write(tmp_path), MAIN)
    tests = [run for run in done.jobs if run.job == "tests"]
    assert [run.matrix for run in tests] == [
        {"python": "3.11", "oldest": True},
        {"python": "3.12"},
    ]
    build = next(run for run in done.jobs if run.job == "build")
    assert build.steps[-4:] == ("Build", "Push by digest", "Hand over digests", "Hand over images")
    assert {(one.name, one.job, one.files) for one in done.artifacts} == {
        ("digests-production", "build", ("production-amd64-arm64.json",)),
        ("digests-redis", "build", ("redis-amd64-arm64.json",)),
        ("images-production", "build", ("production/index.json",)),
        ("images-redis", "build", ("redis/index.json",)),
    }
    assert done.to_json()["references"] == list(done.references)


def test_an_owner_with_capitals_gives_names_in_lower_case(tmp_path: Path) -> None:
    root = write(tmp_path, (DOCKER, "env:\n  ACCELERAPP_REGISTRY: ghcr.io/acme\n", "env: {}\n"))
    event = replace(MAIN, repository=IN_CAPITALS)
    assert len(tags_of(root, event)) == 4
    named = write(
        tmp_path / "named",
        (DOCKER, "ghcr.io/acme", "ghcr.io/${{ github.repository }}"),
    )
    assert simulated(named, MAIN).findings == []
    assert any(
        "accelerapp" in finding.message.lower() for finding in simulated(named, event).findings
    )


def test_the_commit_of_an_event_may_be_given(tmp_path: Path) -> None:
    (event,) = asked_for(read(write(tmp_path)), "push", ref="main", commit="0123456789" * 4)
    assert f"{IMAGES}:sha-0123456-redis" in simulated(tmp_path, event).references


# Planted mistakes: file, what is replaced, by what, what is said.
FLOW = [
    (DOCKER, "name: digests-${{ matrix.name }}", "name: digest-${{ matrix.name }}",
     "downloads 'digests-*', which no job uploads; did you mean 'digest-redis'?"),
    (DOCKER, "name: images-${{ matrix.name }}\n          path: dist/images\n      - name: Scan",
     "name: image-${{ matrix.name }}\n          path: dist/images\n      - name: Scan",
     "downloads 'image-production', which no job uploads; did you mean 'images-production'?"),
    (DOCKER, "          merge-multiple: true\n", "", "manifest finds nothing in dist/digests"),
    (DOCKER, "path: dist/digests\n          merge", "path: dist/digest\n          merge",
     "invoke manifest finds nothing in dist/digests"),
    (DOCKER, "          path: dist/digests\n      - name: Hand over images",
     "          path: dist/digest\n      - name: Hand over images",
     "'build' uploads dist/digest, and nothing in it has written that"),
    (DOCKER, "name: images-${{ matrix.name }}\n          path: dist/images\n\n",
     "name: images\n          path: dist/images\n\n",
     "'build' uploads 'images', and so does 'build'"),
    (DOCKER, "name: images-${{ matrix.name }}\n          path: dist/images\n\n",
     "name: images/${{ matrix.name }}\n          path: dist/images\n\n", "no name of an artifact"),
    (DOCKER, "name: images-${{ matrix.name }}\n          path: dist/images\n\n",
     "name: images-${{ matrix.name }}\n          path: dist\n\n",
     "invoke scan reads dist/images/production"),
    (DOCKER, "needs: [plan, build]\n", "needs: [plan]\n",
     "which 'build' uploads and 'scan' does not wait for"),
    (DOCKER, "        run: invoke build --target \"$TARGET\" --platform \"$PLATFORM\"",
     "        run: invoke tags", "reads dist/images/production, and nothing in 'build' has"),
    (DOCKER, "        if: needs.plan.outputs.push == 'true'\n        env:", "        env:",
     "invoke push pushes on a pull request"),
    (DOCKER, "    if: needs.plan.outputs.push == 'true'\n    runs", "    runs",
     "invoke sign pushes on a pull request"),
    (DOCKER, "--checksums dist/images.sha256 --github", "--target production --tag latest --github",
     "'latest' is moved by push of main"),
    (DOCKER, "steps.joined.outputs.references", "steps.joined.outputs.reference",
     "has no output 'reference'; there are references, tags, json"),
    (DOCKER, "steps.matrix.outputs.matrix", "steps.matrix.outputs.matrx",
     "has no output 'matrx'; there are matrix"),
    (DOCKER, "matrix: ${{ steps.matrix.outputs.matrix }}", "matrix: '{'", "is not JSON"),
    (DOCKER, "matrix: ${{ steps.matrix.outputs.matrix }}", "matrix: '{\"include\":[]}'",
     "the matrix is empty"),
    (DOCKER, "matrix: ${{ steps.matrix.outputs.matrix }}", "matrix: '[]'", "is no mapping"),
    (DOCKER, "TARGET: ${{ matrix.target }}\n      PLATFORM", "TARGET: ${{ matrix.targt }}\n      "
     "PLATFORM", "the matrix has no 'targt'; there are name, platform, runner, target"),
    (DOCKER, "invoke sign \"$REFERENCES\"", f"invoke sign {IMAGES}:v9-production",
     f"invoke sign reads {IMAGES}:v9-production, which nobody pushes"),
    (RELEASE, "accelerapp:$VERSION-production", "accelerapp:$VERSION",
     f"invoke verify reads {IMAGES}:v1.2.3, which nobody pushes"),
    (RELEASE, "    needs: images\n    runs", "    runs", "which 'images/publish' pushes"),
    (DOCKER, "        if: github.ref_type == 'branch'\n        uses", "        uses",
     "actions/cache/restore takes from a cache what a release is made of"),
    (DOCKER, "actions/cache/restore@", "actions/cache@", "saves what a pull request made"),
    (SETUP, "        python-version: ${{ inputs.python-version }}\n",
     "        python-version: ${{ inputs.python-version }}\n        cache: pip\n",
     "actions/setup-python takes from a cache"),
    (CI, "  lint:\n", "  lint:\n    if: github.event_name == 'push'\n",
     "'ci-passed' fails, because 'lint' is skipped; add it to --may-skip"),
    (CI, "--needs \"$NEEDS\"", "--needs \"$NEEDS\" --may-skip lnt",
     "lets 'lnt' be skipped, and does not need it"),
    (DOCKER, "invoke matrix --github --target", "invoke matrix --github --target redsi --target",
     "did you mean 'redis'?"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "said"), FLOW, ids=[case[3][:50] for case in FLOW])
def test_what_flows_wrong_is_found(
    name: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    findings = found(write(tmp_path, (name, old, new)), "flow")
    assert [finding for finding in findings if said in finding.message], findings
    assert all(finding.place.partition(":")[2].isdecimal() for finding in findings)


def test_a_cache_that_a_release_leaves_out_is_no_finding(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        (
            SETUP,
            "        python-version: ${{ inputs.python-version }}\n",
            "        python-version: ${{ inputs.python-version }}\n"
            "        cache: ${{ github.event_name == 'push' && github.ref_type == 'branch' && "
            "'pip' || '' }}\n",
        ),
    )
    assert found(root, "flow") == []


def test_a_job_that_may_be_skipped_is_no_finding(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        (CI, "  lint:\n", "  lint:\n    if: github.event_name == 'push'\n"),
        (CI, '--needs "$NEEDS"', '--needs "$NEEDS" --may-skip lint'),
    )
    assert found(root, "flow") == []


def test_what_a_task_writes_that_is_not_known_may_be_anything(tmp_path: Path) -> None:
    old = '        run: nox -s "compat-$PYTHON"\n'
    upload = (
        "      - uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1\n"
        "        with:\n          name: x-${{ matrix.python }}\n          path: dist/made\n"
    )
    for run in ("nox -s tests", "invoke other.make"):
        root = write(tmp_path / run.split()[0], (CI, old, f"        run: {run}\n{upload}"))
        assert found(root, "flow") == []


def test_parts_that_are_joined_by_name_have_to_be_pushed(tmp_path: Path) -> None:
    by_name = (DOCKER, "--by-digest dist/digests\n      - name: Hand", "--platform all\n      - "
               "name: Hand")  # fmt: skip
    no_upload = (DOCKER, "          path: dist/digests\n      - name: Hand over images",
                 "          path: dist/images\n      - name: Hand over images")  # fmt: skip
    joined = (DOCKER, "--by-digest dist/digests --checksums", "--target redis --checksums")
    root = write(tmp_path, by_name, no_upload, joined)
    done = simulated(root, MAIN)
    assert done.findings == []
    assert f"{IMAGES}:main-redis-arm64" in done.references
    assert f"{IMAGES}:main-redis" in done.references
    wrong = (DOCKER, "--by-digest dist/digests --checksums", "--target monitoring --checksums")
    root = write(tmp_path / "wrong", by_name, no_upload, wrong)
    assert any(
        "monitoring-amd64, which nobody" in f.message for f in simulated(root, MAIN).findings
    )


# Events.


@pytest.mark.parametrize(
    ("on", "event", "expected"),
    [
        ("push", MAIN, True),
        ("push", HIGHEST, True),
        ("[push, pull_request]", pull_request(), True),
        ("{push: {branches: [main]}}", HIGHEST, False),
        ("{push: {tags: ['v*']}}", MAIN, False),
        ("{push: {tags: ['v*'], branches: ['ma*']}}", MAIN, True),
        ("{push: {branches-ignore: [main]}}", MAIN, False),
        ("{push: {tags-ignore: ['x*']}}", HIGHEST, True),
        ("{push: {branches: ['**', '!main']}}", MAIN, False),
        ("{push: {paths: ['docs/**']}}", MAIN, True),
        ("{pull_request: {branches: [develop]}}", pull_request(), False),
        ("{pull_request: {types: [closed]}}", pull_request(), False),
        ("{schedule: [{cron: '1 1 * * *'}]}", MAIN, False),
        ("{workflow_dispatch: }", replace(MAIN, name="workflow_dispatch", workflow="x"), False),
    ],
)
def test_which_workflows_an_event_starts(
    on: str, event: Event, expected: bool, tmp_path: Path
) -> None:
    path = tmp_path / ".github/workflows/one.yml"
    path.parent.mkdir(parents=True)
    path.write_text(f"on: {on}\njobs: {{}}\n")
    (workflow,) = read(tmp_path).workflows
    assert starts(event, workflow) is expected


def test_events_are_those_of_a_life_in_a_repository(tmp_path: Path) -> None:
    names = [str(event) for event in events_for(read(write(tmp_path)))]
    assert names[:10] == [
        "push of main",
        "push of develop",
        "push of tag v1.2.3",
        "push of tag v1.1.9",
        "push of tag v1.3.0-rc.1",
        "pull request from feature/x",
        "pull request from a fork",
        "push of main in Acme/AccelerApp",
        "push of tag v1.2.3 in Acme/AccelerApp",
        "pull request from feature/x in Acme/AccelerApp",
    ]
    assert "schedule '17 4 * * 1'" in names
    assert len(set(names)) == len(names)
    assert {event.repository for event in events_for(read(tmp_path))} == {REPOSITORY, IN_CAPITALS}
