"""The tests of what the chart renders: pytest over tests/chart, as `nox -s chart` has it."""

from __future__ import annotations

import importlib.util
import sys

from pipeline import commands as pipeline_commands
from pipeline.errors import ChartInvalid, ToolMissing
from pipeline.helm.commands import find_helm
from pipeline.process import Runner, Streamer, run, stream

TESTS = "tests/chart"


def run_tests(select: str = "", *, runner: Runner = run, streamer: Streamer = stream) -> None:
    """Run the tests, and print what pytest prints.

    Raises `ChartInvalid` when one fails, `ToolMissing` without helm or pytest.
    """
    if importlib.util.find_spec("pytest") is None:
        raise ToolMissing(
            "pytest is not here",
            hint="pip install -r requirements/chart.txt, or run 'nox -s chart'",
        )
    find_helm(runner)
    chosen = ("-k", select) if select else ()
    argv = (sys.executable, "-m", "pytest", "-q", TESTS, *chosen)
    code = streamer(argv, lambda line: print(line, flush=True), cwd=pipeline_commands.ROOT)
    if code:
        raise ChartInvalid(
            "no test has that in its name" if code == 5 else "a test of the chart fails",
            hint="see above",
        )
