"""`nox -s bench -- compare`: from two commits to what a pull request shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.compare import alternate, main
from benchmarks.measurements import MEASUREMENTS, Measurement, Reading, Unmeasured
from benchmarks.summary import Missing
from benchmarks.trees import Tree
from tests.unit.benchmarks.conftest import NO_BUILD, WHOLE, Commit

PROJECT = Path(__file__).parents[3]
TREES = (Tree("base", "a" * 40, Path("base")), Tree("head", "b" * 40, Path("head")))


SIGNAL = signal.signal
"""The real one, which tests in this process do not get."""


@pytest.fixture(autouse=True)
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `main` does to this process is undone, and no summary of a CI is written to."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def only_list(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One measurement, of the repository that the test has made."""
    monkeypatch.setattr(compare, "ROOT", repository)
    monkeypatch.setattr(compare, "MEASUREMENTS", MEASUREMENTS[:1])


def measurement(
    log: list[str], values: dict[str, list[Reading | Unmeasured]], name: str = "x"
) -> Measurement:
    def before(tree: Tree) -> None:
        log.append(f"before {tree.name}")

    def run(tree: Tree) -> Reading:
        log.append(tree.name)
        value = values[tree.name].pop(0)
        if isinstance(value, Unmeasured):
            raise value
        return value

    return Measurement(name, run, before)


def readings(*seconds: float) -> list[Reading | Unmeasured]:
    return [Reading(one, int(one * 100)) for one in seconds]


def test_both_run_in_turn_and_the_first_pair_only_warms_up() -> None:
    log: list[str] = []
    pairs: list[int] = []
    one = measurement(log, {"base": readings(9, 1, 2), "head": readings(90, 10, 30)})
    times, memory = alternate(one, TREES, 2, pairs.append)
    assert log == ["before base", "base", "before head", "head"] * 3
    assert pairs == [0, 1, 2]
    assert (times.name, times.unit, times.base, times.head) == ("x", "seconds", (1, 2), (10, 30))
    assert (memory.name, memory.unit) == ("x: peak memory", "bytes")
    assert (memory.base, memory.head) == ((100, 200), (1000, 3000))


def test_what_the_base_lacks_is_asked_for_once_and_the_change_is_measured_alone() -> None:
    log: list[str] = []
    base: list[Reading | Unmeasured] = [Unmeasured("No idea", lacking=True)]
    one = measurement(log, {"base": base, "head": readings(9, 1, 2)})
    (times,) = alternate(one, TREES, 2, lambda _: None)
    assert (times.base, times.head) == (Missing("No idea", lacking=True), (1, 2))
    assert log.count("base") == 1
    assert times.ratios == ()


def test_a_run_that_fails_later_takes_its_side_away() -> None:
    head = [*readings(9, 1), Unmeasured("no disk")]
    one = measurement([], {"base": readings(9, 1, 2), "head": head})
    (times,) = alternate(one, TREES, 2, lambda _: None)
    assert (times.base, times.head) == ((1, 2), Missing("no disk", lacking=False))


def test_two_commits_from_end_to_end(
    repository: Path,
    commit: Commit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base, head = commit({"tasks.py": NO_BUILD}), commit(WHOLE)
    (repository / "tasks.py").write_text("raise SystemExit('not committed')")
    monkeypatch.setattr(compare, "ROOT", repository)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("# Before\n")
    files = ("--markdown", str(tmp_path / "x.md"), "--json", str(tmp_path / "x.json"))
    assert main(["--base", "HEAD~1", "--runs", "1", *files]) == 0

    said = capsys.readouterr()
    assert "changes that are not committed are not measured" in said.err
    assert "not in the base" in said.out
    text = (tmp_path / "x.md").read_text()
    assert (tmp_path / "summary.md").read_text() == f"# Before\n{text}"
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert lines["invoke --list"].count(" ms |") + lines["invoke --list"].count(" s |") == 2
    lacking = [name for name, line in lines.items() if "| not in the base |" in line]
    assert len(lacking) == 5 + 4
    assert "| 1,234 |" in lines["linux/amd64: image, compressed, bytes"]
    document = json.loads((tmp_path / "x.json").read_text())
    assert (document["base"], document["head"]) == (base, head)
    # `--runs` of a build from nothing, three times that of what is quick.
    assert [len(one["head"]) for one in document["measurements"]] == [3, 3, 1, 3, 3, 3, 3]
    assert not list((tmp_path / "scratch").glob("accelerapp-compare-*"))


@pytest.mark.usefixtures("only_list")
def test_a_change_that_does_not_run_fails_and_is_shown(
    commit: Commit,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit({"tasks.py": NO_BUILD})
    commit({"tasks.py": "raise SystemExit('error: `no`')"})
    path = tmp_path / "x.md"
    assert main(["--base", "HEAD~1", "--runs", "1", "--markdown", str(path)]) == 1
    assert "- invoke --list failed in this change: `error: 'no'`" in path.read_text()
    assert "error: invoke --list failed in this change: error: 'no'" in capsys.readouterr().err


@pytest.mark.usefixtures("only_list")
def test_a_base_that_does_not_run_is_no_fault_of_the_change(
    commit: Commit,
) -> None:
    commit({"tasks.py": "raise SystemExit('error: no')"})
    commit({"tasks.py": NO_BUILD})
    assert main(["--base", "HEAD~1", "--runs", "1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "nope"), "'nope' is no commit of"),
        (("--base", "HEAD", "--markdown", "."), ". is a folder"),
        (("--base", "HEAD", "--json", "."), ". is a folder"),
    ],
)
@pytest.mark.usefixtures("only_list")
def test_what_cannot_be_compared_is_one_line_and_2(
    commit: Commit,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    commit({"tasks.py": NO_BUILD})
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert said in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("runs", ["0", "-1", "x", "1001", "²"])
def test_the_number_of_runs_is_one(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--base", "HEAD", f"--runs={runs}"])
    assert caught.value.code == 2
    assert "is not a number from 1 to 1000" in capsys.readouterr().err


@pytest.mark.usefixtures("only_list")
def test_a_summary_that_cannot_be_written_is_one_line(
    repository: Path,
    commit: Commit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit({"tasks.py": NO_BUILD})
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repository / "no" / "folder"))
    assert main(["--base", "HEAD", "--runs", "1"]) == 42
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--markdown", "--json"])
@pytest.mark.parametrize("name", ["file/x", "x" * 250], ids=["below a file", "long"])
@pytest.mark.usefixtures("only_list")
def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    commit: Commit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    name: str,
) -> None:
    commit({"tasks.py": NO_BUILD})
    (tmp_path / "file").touch()
    log: list[str] = []
    monkeypatch.setattr(compare, "MEASUREMENTS", (measurement(log, {}),))
    assert main(["--base", "HEAD", "--runs", "1", flag, str(tmp_path / name)]) == 42
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert f"{name} cannot be written" in said
    assert log == []


@pytest.mark.usefixtures("only_list")
def test_a_file_that_is_there_is_whole_until_it_is_replaced(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit({"tasks.py": NO_BUILD})
    path = tmp_path / "x.md"
    path.write_text("before")

    def stopped(*_: object) -> None:
        assert list(tmp_path.glob("*x.md*")) == [path]
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "measure", stopped)
    assert main(["--base", "HEAD", "--markdown", str(path)]) == 130
    assert path.read_text() == "before"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_when_it_is_stopped_nothing_stays_and_nothing_runs_on(
    repository: Path, commit: Commit, tmp_path: Path, number: int, code: int
) -> None:
    hangs = tmp_path / "pid"
    write = f"import os, pathlib, time\npathlib.Path({str(hangs)!r}).write_text(str(os.getpid()))\n"
    commit({"tasks.py": f"{write}time.sleep(100)\n"})
    (tmp_path / "scratch").mkdir()
    start = (
        "import pathlib, sys; from benchmarks import compare;"
        f"compare.ROOT = pathlib.Path({str(repository)!r});"
        "sys.exit(compare.main(['--base', 'HEAD']))"
    )
    with subprocess.Popen(
        (sys.executable, "-c", start),
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(tmp_path / "scratch")},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and what they start inherits that.
        preexec_fn=lambda: SIGNAL(signal.SIGINT, signal.SIG_DFL),
    ) as started:
        try:
            until(lambda: hangs.exists() and bool(hangs.read_text()))
            assert list((tmp_path / "scratch").iterdir())
            started.send_signal(number)
            said = started.communicate(timeout=60)[1]
        finally:
            started.kill()
    assert started.returncode == code
    assert "Traceback" not in said
    assert not list((tmp_path / "scratch").iterdir())
    until(lambda: not Path(f"/proc/{hangs.read_text()}").exists())


def until(true: object) -> None:
    assert callable(true)
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("that did not come about")
