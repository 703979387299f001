"""The gate is green when every job came out well, and at no other time."""

from __future__ import annotations

import itertools
import json

import pytest

from pipeline.errors import OptionInvalid, WorkflowFailed
from pipeline.gate import RESULTS, check_gate, read_needs
from tests.unit.pipeline.tasks.test_namespace import run


def needs(**results: str) -> str:
    return json.dumps({name: {"result": r, "outputs": {}} for name, r in results.items()})


@pytest.mark.parametrize(("one", "two"), list(itertools.product(RESULTS, RESULTS)))
def test_every_combination_of_two_jobs(one: str, two: str) -> None:
    jobs = read_needs(needs(build=one, publish=two), ["publish"])
    if one == "success" and two in ("success", "skipped"):
        check_gate(jobs)
        return
    with pytest.raises(WorkflowFailed) as failed:
        check_gate(jobs)
    assert (f"build ({one})" in str(failed.value)) == (one != "success")
    assert (f"publish ({two})" in str(failed.value)) == (two not in ("success", "skipped"))


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a": 1}', '{"a": {}}', "null", "{" * 5000])
def test_what_github_does_not_say_is_refused(text: str) -> None:
    with pytest.raises(OptionInvalid, match="not what a workflow knows"):
        read_needs(text, [])


def test_a_gate_that_looks_at_nothing_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="names no job"):
        read_needs("{}", [])
    with pytest.raises(OptionInvalid, match=r"'publsh' is no job .* choose build, publish"):
        read_needs(needs(build="success", publish="success"), ["publsh"])
    with pytest.raises(OptionInvalid, match="the result 'succes'"):
        read_needs(needs(build="succes"), [])


def test_the_task_prints_each_job_and_fails_for_a_bad_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = needs(build="success", bench="skipped")
    assert run("ci.gate", "--needs", good, "--may-skip=bench,build") == 0
    assert capsys.readouterr().out.split() == [
        *("job", "result", "build", "success", "bench", "skipped")
    ]
    assert run("ci.gate", "--needs", good, "--json") == WorkflowFailed.exit_code
    out, err = capsys.readouterr()
    assert json.loads(out)[1] == {"job": "bench", "result": "skipped"}
    assert err == "error: not every job came out well: bench (skipped); its own log says why\n"
