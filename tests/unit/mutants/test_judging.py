"""A mutant is noticed by the test that fails, and what survives is listed and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mutants import __main__ as program
from mutants import judge as judging
from mutants import lines
from mutants.judge import NothingRan, Verdict, check_sound, judge
from mutants.kinds import Kind, Operators
from mutants.mutant import Mutant

TESTS = """\
from pathlib import Path

def said():
    return Path(__file__).with_name("settings").read_text()

def test_port():
    assert "port 80" in said()

def test_compared_with_itself():
    assert said() == "port 80\\nunread 1\\n"
"""
KIND = Kind(
    "small",
    ("settings",),
    lambda path: Operators(lines.edits, lines.meaning),
    lambda path: (("test_settings.py",),),
    ("test_compared",),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a small repository, which is the one that mutants are of."""
    root, copy = tmp_path / "root", tmp_path / "copy"
    for place in (root, copy):
        place.mkdir()
        (place / "settings").write_text("port 80\nunread 1\n")
        (place / "test_settings.py").write_text(TESTS)
    monkeypatch.setattr(judging, "ROOT", root)
    monkeypatch.setattr(program, "ROOT", root)
    yield copy
    # Whatever became of mutants, the copy is whole again.
    assert (copy / "settings").read_text() == "port 80\nunread 1\n"


def by_title(folder: Path) -> dict[str, Mutant]:
    return {str(mutant).partition("settings:")[2]: mutant for mutant in KIND.mutants(folder)}


def test_the_first_test_that_fails_is_named(folder: Path) -> None:
    mutant = by_title(folder)["1: 80 is 81: port 80"]
    verdict = judge(KIND, mutant, folder)
    assert verdict.by == "test_settings.py::test_port"
    assert verdict.to_json()["noticed_by"] == verdict.by


def test_what_compares_is_left_out_so_that_a_mutant_survives(folder: Path) -> None:
    verdict = judge(KIND, by_title(folder)["2: 1 is 2: unread 1"], folder)
    assert verdict.by == ""
    assert verdict.to_json() == {
        "kind": "small",
        "file": "settings",
        "line": 2,
        "change": "1 is 2: unread 1",
        "noticed_by": None,
        "seconds": pytest.approx(verdict.seconds, abs=0.1),
    }


def test_tests_that_fail_without_a_mutant_judge_nothing(folder: Path) -> None:
    assert check_sound(KIND, folder).failed == ""
    (folder / "test_settings.py").write_text("def test_bad():\n    assert False\n")
    assert check_sound(KIND, folder).failed.startswith("test_settings.py::test_bad\n")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("test_gone.py", 4),
        ("test_settings.py::TestGone", 4),
        ("test_settings.py::test_compared_with_itself", 5),
    ],
)
def test_where_no_test_runs_nobody_has_noticed_anything(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
) -> None:
    kind = replace(KIND, judges=lambda path: ((name,), ("test_settings.py",)))
    with pytest.raises(
        NothingRan, match=rf"small: no test ran, pytest's exit code {code}: .*{name}"
    ):
        judge(kind, by_title(folder)["1: 80 is 81: port 80"], folder)
    # Beside tests that run it would not be seen: each stage is checked by itself.
    with pytest.raises(NothingRan):
        check_sound(kind, folder)
    monkeypatch.setattr(program, "KINDS", (kind,))
    monkeypatch.setattr(program, "copy_repository", lambda place: folder)
    assert program.main(["--all", "--workers", "1"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: small: no test ran, pytest's exit code {code}: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("name", ["test_settings.py", "test_settings.py::TestA"])
@pytest.mark.parametrize("importer", ["test_settings.py", "conftest.py"])
def test_a_mutant_that_cannot_be_imported_is_noticed(
    folder: Path, name: str, importer: str
) -> None:
    (folder / "test_settings.py").write_text("class TestA:\n    def test_a(self):\n        pass\n")
    with (folder / importer).open("a") as file:
        file.write("from pathlib import Path\n")
        file.write("assert '80' in Path(__file__).with_name('settings').read_text()\n")
    kind = replace(KIND, judges=lambda path: ((name,),))
    assert check_sound(kind, folder).failed == ""
    by = judge(kind, by_title(folder)["1: 80 is 81: port 80"], folder).by
    assert importer in by


def test_tests_that_are_skipped_are_counted(folder: Path) -> None:
    (folder / "test_settings.py").write_text(
        "import pytest\n\ndef test_a():\n    pytest.skip('no tool')\n"
    )
    assert check_sound(KIND, folder).skipped == 1


def test_a_loop_without_an_end_is_ended_with_all_that_it_started(folder: Path) -> None:
    (folder / "test_settings.py").write_text(
        "import subprocess, sys, time\nfrom pathlib import Path\n\ndef test_a():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    Path(__file__).with_name('child').write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    assert judging._run_tests(KIND, ("test_settings.py",), folder, 5.0)[0] == "it took too long"
    child = int((folder / "child").read_text())
    # An orphan may wait to be collected; it runs no more.
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def verdicts(noticed: int, survived: int) -> list[Verdict]:
    mutant = Mutant(Path("settings"), 3, "gone: port 80", "")
    return [
        *(Verdict("small", mutant, "test_x.py::test_y", 1.0) for _ in range(noticed)),
        *(Verdict("small", mutant, "", 1.0) for _ in range(survived)),
    ]


@pytest.mark.parametrize(("noticed", "survived", "code"), [(95, 5, 0), (94, 6, 1), (0, 1, 1)])
def test_the_floor_is_95_percent(
    noticed: int, survived: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program._report(verdicts(noticed, survived), as_json=False) == code
    printed = capsys.readouterr().out
    assert printed.count("survives: small: settings:3: gone: port 80\n") == survived
    total = noticed + survived
    assert f"small: {noticed} of {total} noticed, {noticed / total:.1%}\n" in printed
    assert f"{noticed} of {total} mutants noticed: {noticed / total:.1%}, floor 95%" in printed


def test_one_kind_that_nobody_looks_at_is_not_lost_in_the_whole() -> None:
    mutant = Mutant(Path("other"), 1, "gone", "")
    unseen = [Verdict("other", mutant, "", 1.0)]
    assert program._report([*verdicts(1000, 0), *unseen], as_json=True) == 1


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert program._report(verdicts(19, 1), as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["share"], report["floor"]) == (0.95, 0.95)
    assert report["kinds"] == {"small": {"noticed": 19, "mutants": 20}}
    (survivor,) = report["survivors"]
    assert (survivor["file"], survivor["line"]) == ("settings", 3)
    assert len(report["mutants"]) == 20


def test_a_whole_run_lists_what_survives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copied(place: Path) -> Path:
        place.mkdir(parents=True)
        for name in ("settings", "test_settings.py"):
            (place / name).write_text((folder / name).read_text())
        return place

    monkeypatch.setattr(program, "KINDS", (KIND,))
    monkeypatch.setattr(program, "copy_repository", copied)
    assert program.main(["--all", "--workers", "2"]) == 1
    told = capsys.readouterr()
    assert "small: the tests pass without a mutant" in told.err
    survivors = [line for line in told.out.splitlines() if line.startswith("survives: ")]
    assert survivors == [
        "survives: small: settings:2: gone: unread 1",
        "survives: small: settings:2: 1 is 2: unread 1",
    ]
    assert "small: 3 of 5 noticed, 60.0%" in told.out


@pytest.mark.parametrize(
    "arguments", [["--kind", "nothing"], ["--sample", "0"], ["--workers", "0"], ["no-such-file"]]
)
def test_flags_that_cannot_be_used_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        program.main(arguments)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]
