"""`invoke helm.test`: pytest over tests/chart, and what its exit code means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands as pipeline_commands
from pipeline import tools
from pipeline.errors import ChartInvalid, ToolMissing
from pipeline.helm import assertions
from pipeline.helm.assertions import TESTS, run_tests
from tests.unit.pipeline.helm.fake_helm import FakeHelm


class Pytest:
    """A pytest that prints two lines and ends with this code."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[tuple[tuple[str, ...], Any]] = []

    def __call__(
        self, argv: tuple[str, ...], on_line: Callable[[str], None], **options: Any
    ) -> int:
        self.calls.append((argv, options))
        on_line("....")
        on_line("4 passed")
        return self.code


@pytest.fixture(autouse=True)
def helm_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: f"/opt/{name}")


def test_all_tests_of_the_chart_are_run_from_the_root(capsys: pytest.CaptureFixture[str]) -> None:
    streamer = Pytest()
    run_tests(runner=FakeHelm(), streamer=streamer)
    ((argv, options),) = streamer.calls
    assert argv == (sys.executable, "-m", "pytest", "-q", "tests/chart")
    assert options == {"cwd": pipeline_commands.ROOT}
    assert capsys.readouterr().out == "....\n4 passed\n"


def test_the_tests_are_there() -> None:
    assert list((Path(__file__).parents[4] / TESTS).glob("test_*.py"))


def test_some_can_be_chosen_by_name() -> None:
    streamer = Pytest()
    run_tests("probe or volume", runner=FakeHelm(), streamer=streamer)
    assert streamer.calls[0][0][-3:] == ("tests/chart", "-k", "probe or volume")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "a test of the chart fails; see above"),
        (2, "a test of the chart fails; see above"),
        (5, "no test has that in its name; see above"),
    ],
)
def test_another_exit_code_is_a_failure(code: int, said: str) -> None:
    with pytest.raises(ChartInvalid) as caught:
        run_tests("x", runner=FakeHelm(), streamer=Pytest(code))
    assert str(caught.value) == said
    assert caught.value.exit_code == 100


def test_without_helm_no_test_is_run() -> None:
    streamer = Pytest()
    with pytest.raises(ToolMissing, match=r"Helm v2\.17\.0"):
        run_tests(runner=FakeHelm(version="Client: v2.17.0"), streamer=streamer)
    assert streamer.calls == []


def test_without_pytest_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assertions.importlib.util, "find_spec", lambda name: None)
    helm = FakeHelm()
    with pytest.raises(ToolMissing) as caught:
        run_tests(runner=helm, streamer=Pytest())
    assert str(caught.value) == (
        "pytest is not here; pip install -r requirements/chart.txt, or run 'nox -s chart'"
    )
    assert helm.calls == []
