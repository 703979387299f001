"""A tag is a release, or every reason why it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OptionInvalid, ReleaseRefused
from pipeline.release.checks import Answer, raise_for
from pipeline.release.tagged import Tagged, check_tag
from pipeline.report import Silent
from tests.unit.pipeline.release.small_project import MANIFEST, SmallProject
from tests.unit.pipeline.release.test_prepare import release


@pytest.fixture
def released(project: SmallProject) -> SmallProject:
    release(project, part="minor")
    return project


def look(project: SmallProject, tag: str = "v0.2.0", **environ: str) -> Tagged:
    return check_tag(tag, Silent(), root=project.root, environ=environ)


def refusals(found: Tagged) -> dict[str, str]:
    return {c.name: c.detail for c in found.checked if c.answer is Answer.REFUSED}


def test_a_release_is_what_its_tag_says(released: SmallProject) -> None:
    found = look(released)
    raise_for(found.checked)
    assert {c.name: c.detail for c in found.checked}["tag"].endswith(", annotated")
    assert found.outputs() == {"version": "0.2.0", "prerelease": "false", "latest": "true"}


def test_the_tag_of_a_workflow(released: SmallProject) -> None:
    assert look(released, "", GITHUB_REF="refs/tags/v0.2.0").tag == "v0.2.0"
    assert look(released, "refs/tags/v0.2.0").tag == "v0.2.0"
    for environ, message in [
        ({}, "which tag? GITHUB_REF is not set; give --tag"),
        ({"GITHUB_REF": "refs/heads/main"}, "which tag? GITHUB_REF is 'refs/heads/main'"),
    ]:
        with pytest.raises(OptionInvalid) as refused:
            look(released, "", **environ)
        assert message in str(refused.value)


def test_a_tag_without_a_message_is_taken_where_it_points_at_the_commit(
    released: SmallProject,
) -> None:
    commit = released.git("rev-parse", "HEAD")
    released.git("tag", "--force", "v0.2.0", commit)
    found = look(released)
    raise_for(found.checked)
    assert found.checked[0].detail == f"commit {commit[:12]}, not annotated"


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.2.0rc1", "vv0.2.0", "main", "v0.2.0+a"])
def test_a_tag_that_is_no_release(released: SmallProject, tag: str) -> None:
    with pytest.raises(ReleaseRefused, match="is no release; name it like"):
        look(released, tag)


def test_a_tag_of_something_else(released: SmallProject) -> None:
    assert refusals(look(released, "v0.3.0")) == {
        "tag": "there is no tag v0.3.0 here; git fetch --tags",
        "version": "the files are of 0.2.0, not of 0.3.0; 'invoke release' tags the commit that "
        "has the version",
        "same version everywhere": refusals(look(released, "v0.3.0"))["same version everywhere"],
        "changelog": "CHANGELOG.md does not say what 0.3.0 changes; it needs "
        "'## 0.3.0 - YYYY-MM-DD' with entries",
    }
    released.commit("Later")
    assert refusals(look(released))["tag"].startswith("v0.2.0 is commit ")


@pytest.mark.parametrize(
    ("file", "old", "new", "where"),
    [
        ("CHANGELOG.md", "- Something.\n", "", "changelog"),
        (MANIFEST, "v0.2.0-production", "v0.1.0-production", "same version everywhere"),
        ("deployment/helm/accelerapp/Chart.yaml", '"0.2.0"', '"0.1.0"', "same version everywhere"),
        ("src/accelerapp/__init__.py", "0.2.0", "0.1.0", "version"),
    ],
)
def test_files_that_disagree_with_the_tag(
    released: SmallProject, file: str, old: str, new: str, where: str
) -> None:
    assert old in released.read(file)
    released.write(file, released.read(file).replace(old, new))
    assert "tracked files" in refusals(look(released))
    commit = released.commit("Odd")
    released.git("tag", "--force", "--annotate", "--message", "x", "v0.2.0", commit)
    found = refusals(look(released))
    assert where in found
    assert "tracked files" not in found


@pytest.mark.parametrize(
    ("other", "flags", "outputs"),
    [
        ("v9.0.0", {"part": "minor"}, {"prerelease": "false", "latest": "false"}),
        ("v9.0.0-rc.1", {"part": "minor"}, {"prerelease": "false", "latest": "true"}),
        ("v0.0.1", {"part": "minor", "pre": "rc"}, {"prerelease": "true", "latest": "false"}),
    ],
)
def test_which_release_is_the_latest(
    project: SmallProject, other: str, flags: dict[str, Any], outputs: dict[str, str]
) -> None:
    release(project, **flags)
    project.git("tag", other, "HEAD~1")
    found = check_tag(
        project.git("describe", "--exact-match"), Silent(), root=project.root, environ={}
    )
    assert {k: v for k, v in found.outputs().items() if k != "version"} == outputs


def test_a_clone_that_may_lack_tags_does_not_say_latest(
    released: SmallProject, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    released.git(
        "clone", "--quiet", "--depth=1", "--branch=v0.2.0", "--config=advice.detachedHead=false",
        f"file://{released.root}", str(shallow),
    )  # fmt: skip
    with pytest.raises(ReleaseRefused, match="fetch them all: 'fetch-depth: 0'"):
        check_tag("v0.2.0", Silent(), root=shallow, environ={})
