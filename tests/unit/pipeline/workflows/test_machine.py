"""What uploads take of a machine's files, and where downloads put them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.workflows.artifacts import Uploads, downloads, uploads
from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.machine import Artifact, Machine, is_over

FILES = ("dist/a/one.json", "dist/a/two.txt", "dist/b/three.json", "top.txt")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    for file in FILES:
        made.write(f"./{file}")
    return made


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["dist/a"], ("one.json", "two.txt")),
        (["dist/a/"], ("one.json", "two.txt")),
        (["./dist"], ("a/one.json", "a/two.txt", "b/three.json")),
        (["dist/a/one.json"], ("one.json",)),
        (["dist/*/*.json"], ("a/one.json", "b/three.json")),
        (["dist/**/t*"], ("a/two.txt", "b/three.json")),
        (["dist/a", "!dist/a/*.txt"], ("one.json",)),
        (["dist/a", "dist/b"], ("a/one.json", "a/two.txt", "b/three.json")),
        (["dist/a", "top.txt"], ("dist/a/one.json", "dist/a/two.txt", "top.txt")),
    ],
)
def test_an_upload_keeps_what_its_paths_have_not_in_common(
    patterns: list[str], taken: tuple[str, ...], machine: Machine
) -> None:
    assert machine.collect(patterns) == (taken, "")


def test_what_is_not_there_is_named(machine: Machine) -> None:
    assert machine.collect(["dist/a", "dist/c"]) == ((), "dist/c")
    machine.is_open = True
    assert machine.collect(["dist/c"]) == (None, "")


def test_what_is_beside_the_folder_of_the_job_is_not_judged(machine: Machine) -> None:
    machine.write("/srv/out/x.json")
    assert machine.collect(["dist/a", "/srv/out"]) == (None, "")
    assert machine.collect(["/srv/out"]) == (("x.json",), "")
    assert machine.collect(["dist/a", "/srv/none"]) == ((), "/srv/none")


def test_files_of_the_repository_are_there_once_it_is_checked_out(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "dist").mkdir()
    machine = Machine(tmp_path)
    assert machine.collect(["docs"]) == ((), "docs")
    machine.has_source = True
    assert machine.collect(["docs"]) == (None, "")
    # Whatever happens to lie there on this machine is not in the repository.
    assert machine.collect(["dist"]) == ((), "dist")


def test_artifacts_come_out_where_they_are_downloaded(machine: Machine, tmp_path: Path) -> None:
    done = Uploads()
    assert list(uploads(done, machine, "one", {"name": "x-a", "path": "dist/a"})) == []
    assert list(uploads(done, machine, "two", {"name": "x-b", "path": "dist/b"})) == []
    before = frozenset(("one", "two", "here"))

    def after(**given: str) -> set[str]:
        other = Machine(tmp_path)
        assert list(downloads(done, other, "here", before, given)) == []
        return other.files

    assert after(name="x-a", path="in") == {"in/one.json", "in/two.txt"}
    assert after(pattern="x-*", path="in") == {
        "in/x-a/one.json", "in/x-a/two.txt", "in/x-b/three.json"
    }  # fmt: skip
    assert after() == {"x-a/one.json", "x-a/two.txt", "x-b/three.json"}
    assert "in/three.json" in after(**{"path": "in", "merge-multiple": "true"})


def test_an_artifact_may_take_the_place_of_another_where_that_is_said(machine: Machine) -> None:
    done = Uploads()
    given = {"name": "x", "path": "dist/a"}
    assert list(uploads(done, machine, "one", given)) == []
    assert "and so does 'one'" in next(iter(uploads(done, machine, "two", given)))
    assert list(uploads(done, machine, "two", {**given, "overwrite": "true"})) == []
    assert [one.job for one in done.artifacts] == ["two"]


def test_an_artifact_whose_name_is_not_known_may_be_any(machine: Machine, tmp_path: Path) -> None:
    done = Uploads()
    assert list(uploads(done, machine, "one", {"name": UNKNOWN, "path": "dist/a"})) == []
    other = Machine(tmp_path)
    assert list(downloads(done, other, "two", frozenset(("one",)), {"name": "y"})) == []
    assert other.is_open


def test_what_comes_from_another_run_is_not_judged(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    given = {"name": "y", "run-id": "7"}
    assert list(downloads(Uploads(), machine, "two", frozenset(), given)) == []
    assert machine.is_open


def test_whoever_waits_for_a_caller_waits_for_what_it_calls() -> None:
    assert is_over("images/build", {"images"})
    assert is_over("images/build", {"images/build"})
    assert not is_over("images/build", {"build", "images/plan"})
    machine = Machine(Path("/"))
    machine.unpack(Artifact("x", "one", None), "in")
    assert machine.is_open
