"""An expected failure is one line on stderr with its exit code; nobody sees a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke import Collection, Program

from pipeline import errors
from pipeline.errors import PipelineError
from pipeline.tasks.command import INTERRUPTED, task

REPOSITORY = Path(__file__).parents[4]


def error_classes(base: type[PipelineError] = PipelineError) -> list[type[PipelineError]]:
    return [base, *(found for sub in base.__subclasses__() for found in error_classes(sub))]


ERRORS = [error for error in error_classes() if error.__module__ == errors.__name__]


def run(body: Callable[[], None], command: str = "work") -> int:
    """Run a task with this body as Invoke's command line would; return the exit code."""

    @task(help={"name": "a name"})
    def work(c: Any, name: str = "", number: int = 1) -> None:
        """Do something."""
        body()

    program = Program(name="invoke", namespace=Collection(work), version="1")
    try:
        program.run(["invoke", *command.split()])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_what_a_user_gave_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run(raising(PipelineError("'a\nFROM b\x1b[2J' is no name: größer")))
    assert capsys.readouterr().err == "error: 'a\\nFROM b\\x1b[2J' is no name: größer\n"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_error_is_one_line_with_its_exit_code(
    error: type[PipelineError], capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(raising(error("this failed", hint="do that")))
    assert code == error.exit_code
    assert capsys.readouterr() == ("", "error: this failed; do that\n")


def test_success_is_silent_and_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyboardInterrupt())) == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "interrupted: the output is as it was\n")


def test_an_unexpected_failure_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


@pytest.mark.parametrize("flag", ["-n", "-m", "--nam"])
def test_options_have_no_short_form(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: None, f"work {flag} x") == 1
    assert f"'{flag}'" in capsys.readouterr().err


def test_the_task_keeps_its_name_and_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: None, "--list") == 0
    assert "work   Do something." in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_ends_the_task_quietly() -> None:
    code = """
import sys
from invoke import Collection, Program
from pipeline.tasks.command import task

@task()
def work(c):
    sys.stdin.read()
    for number in range(100_000):
        print(number)

Program(namespace=Collection(work)).run(["invoke", "work"])
"""
    reader, writer = os.pipe()
    with subprocess.Popen(
        (sys.executable, "-c", code),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        os.close(reader)
        _, err = process.communicate(b"")
    assert (process.returncode, err) == (0, b"")
