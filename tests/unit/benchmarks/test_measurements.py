"""What is run of a tree: its own code, its own cache, and what its failures mean."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from benchmarks import measurements
from benchmarks.measurements import MEASUREMENTS, Measurement, Unmeasured, sizes, write_description
from benchmarks.trees import Tree
from tests.unit.benchmarks.conftest import APPLICATION, BUILD, NO_BUILD, WHOLE, Files

MakeTree = Callable[[Files], Tree]
LIST, ANEW, AGAIN, GENERATE, SERVE, SCRAPE = MEASUREMENTS
REFUSING = """
import argparse

parser = argparse.ArgumentParser()
parser.add_subparsers(metavar="COMMAND").add_parser("info")
parser.parse_args()
"""


def run(measurement: Measurement, tree: Tree) -> measurements.Reading:
    measurement.before(tree)
    return measurement.run(tree)


def refused(measurement: Measurement, tree: Tree) -> Unmeasured:
    with pytest.raises(Unmeasured) as caught:
        run(measurement, tree)
    return caught.value


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.name)
def test_a_tree_with_nothing_lacks_all_of_it(tree: MakeTree, measurement: Measurement) -> None:
    assert refused(measurement, tree({"file": ""})).lacking


def test_a_task_that_is_not_there_is_lacking(tree: MakeTree) -> None:
    error = refused(ANEW, tree({"tasks.py": NO_BUILD}))
    assert (error.reason, error.lacking) == ("No idea what 'build' is!", True)


@pytest.mark.parametrize("measurement", [GENERATE, SERVE], ids=lambda one: one.name)
def test_a_command_that_is_not_there_is_lacking(tree: MakeTree, measurement: Measurement) -> None:
    error = refused(measurement, tree({"src/accelerapp/__main__.py": REFUSING}))
    assert error.lacking
    assert "invalid choice" in error.reason


@pytest.mark.parametrize(
    ("measurement", "files"),
    [
        (LIST, {"tasks.py": "import accelerapp_nope"}),
        (ANEW, {"tasks.py": BUILD.replace("reused = records", "raise SystemExit('no')")}),
        (GENERATE, {"src/accelerapp/__main__.py": "import accelerapp.nope"}),
        (GENERATE, {"src/accelerapp/__main__.py": "import monitoring"}),
        (SERVE, {"src/accelerapp/__main__.py": "raise OSError('no')"}),
        (SCRAPE, {"monitoring/monitor.py": "import monitoring.nope"}),
        (SCRAPE, {"monitoring/monitor.py": "import psutil_nope"}),
    ],
)
def test_what_is_there_and_fails_is_not_lacking(
    tree: MakeTree, measurement: Measurement, files: Files
) -> None:
    error = refused(measurement, tree(files))
    assert not error.lacking
    assert error.reason
    assert "\n" not in error.reason


def test_everything_of_a_tree_is_measured(tree: MakeTree) -> None:
    one = tree(WHOLE)
    write_description((one, one))
    for measurement in MEASUREMENTS:
        reading = run(measurement, one)
        assert 0 < reading.seconds < 60
        # A Python that does something, and not what has started it.
        assert 4 << 20 < reading.peak_bytes < 60 << 20
    assert sizes(one) == {
        "linux/amd64: image, compressed, bytes": 1234,
        "linux/amd64: image, unpacked, bytes": 5678,
        "linux/amd64: installed wheels, number": 2,
        # Files of the last layer are what there is; what no wheel has brought does not count.
        "linux/amd64: installed wheels, bytes": 101 + 10 + 200 + 10,
    }


def test_the_most_memory_is_that_of_the_command_alone(tree: MakeTree) -> None:
    ballast = bytearray(b"x" * (200 << 20))
    greedy = f"{NO_BUILD}\nb'x' * int('{150 << 20}')\n"
    assert 150 << 20 < run(LIST, tree({"tasks.py": greedy})).peak_bytes < 195 << 20
    assert len(ballast) == 200 << 20


def test_a_build_that_took_layers_from_a_cache_is_none_without(tree: MakeTree) -> None:
    """A cache that keeps its records elsewhere would be fast for nothing."""
    one = tree({"tasks.py": BUILD.replace('"records")', '"elsewhere")')})
    run(ANEW, one)
    assert refused(ANEW, one).reason == "layers were taken from the cache"


def test_a_build_that_made_its_layers_again_is_none_of_nothing_new(tree: MakeTree) -> None:
    one = tree(WHOLE)
    assert refused(AGAIN, one).reason == "layers were not taken from the cache"
    run(AGAIN, one)
    run(ANEW, one)


@pytest.mark.parametrize(
    "report",
    ["", "[]", '{"images": []}', '{"images": [{"platforms": [{"platform": "linux/../../x"}]}]}'],
)
def test_a_report_of_another_shape_is_said_to_be_one(tree: MakeTree, report: str) -> None:
    task = BUILD.replace("print(documents", f"print({report!r}) if True else print(documents")
    with pytest.raises(Unmeasured, match="report of invoke build --json is not what it was"):
        sizes(tree({"tasks.py": task}))


def test_an_image_that_cannot_be_read_is_said_to_be_one(tree: MakeTree) -> None:
    with pytest.raises(Unmeasured, match="the image for linux/amd64 cannot be read"):
        sizes(tree({"tasks.py": BUILD.replace('"index.json"', '"other.json"')}))


def test_a_monitor_without_metrics_is_not_timed(tree: MakeTree) -> None:
    files = {"monitoring/monitor.py": WHOLE["monitoring/monitor.py"].replace('"/metrics"', '"/"')}
    assert refused(SCRAPE, tree(files)).reason == "/metrics answered 404"


def test_the_base_s_example_is_generated_or_else_the_change_s(tree: MakeTree) -> None:
    head = tree({"src/accelerapp/__main__.py": APPLICATION})
    base = Tree("base", "a" * 40, head.home.with_name("base"))
    base.code.mkdir(parents=True)
    write_description((base, head))
    assert head.description.read_text() == "name: x"
    folder = base.code / "src" / "accelerapp"
    folder.mkdir(parents=True)
    (folder / "__main__.py").write_text(APPLICATION.replace("name: x", "name: y"))
    write_description((base, head))
    assert base.description.read_text() == "name: y"


def test_nothing_of_the_caller_s_environment_gets_in(
    tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GITHUB_STEP_SUMMARY", "GIT_DIR", "INVOKE_DEBUG", "ACCELERAPP_PORT", "PYTHONOPTIMIZE")
    for name in names:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    # No asserts: PYTHONOPTIMIZE would do away with them.
    check = (
        f"import os\nseen = set(os.environ) & {set(names)}\n"
        "good = not seen and os.environ['PYTHONPATH'].endswith('/head/tree/src')\n"
        "good = good and os.environ['ACCELERAPP_BUILD_CACHE'].endswith('/head/cache')\n"
        "if not good: raise SystemExit(str(seen))\n"
    )
    run(LIST, tree({"tasks.py": check + NO_BUILD}))


def test_a_command_that_does_not_end_is_given_up(
    tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "_TIMEOUT_S", 0.5)
    error = refused(LIST, tree({"tasks.py": "import time\ntime.sleep(60)"}))
    assert (error.reason, error.lacking) == ("not done after 0.5 s", False)


def test_what_cannot_be_started_is_said(tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert "nonexistent" in refused(LIST, tree(WHOLE)).reason
