"""What `invoke --list` and `invoke --help` say of the tasks of this repository."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from invoke import Program

import tasks

NAMES = sorted(tasks.namespace.task_names)
HELP = {name: dict(tasks.namespace[name].help) for name in NAMES}


def run(*arguments: str) -> int:
    """Run invoke with these arguments; return the exit code."""
    for name, task in all_tasks().items():
        task.help = dict(HELP[name])  # Invoke uses it up.
    try:
        Program(name="invoke", namespace=tasks.namespace, version="1").run(["invoke", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def all_tasks() -> dict[str, Any]:
    return {name: tasks.namespace[name] for name in NAMES}


def test_every_task_is_listed_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    listed = capsys.readouterr().out
    for name, task in all_tasks().items():
        assert name in listed
        assert task.__doc__.splitlines()[0] in " ".join(listed.split())


def test_the_list_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", "--list-format=json") == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", NAMES)
def test_every_task_and_every_option_explain_themselves(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task = all_tasks()[name]
    assert run("--help", name) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert task.__doc__.splitlines()[0] in shown
    options = {argument.name.replace("_", "-") for argument in task.get_arguments()}
    assert set(HELP[name]) == options
    for option, text in HELP[name].items():
        assert f"--{option}" in shown
        assert text.split()[0] in shown


@pytest.mark.parametrize("name", NAMES)
def test_no_option_has_a_short_form(name: str) -> None:
    for argument in all_tasks()[name].get_arguments():
        assert all(len(spelling) > 1 for spelling in argument.names), argument


@pytest.mark.parametrize("name", NAMES)
def test_options_that_can_be_repeated_say_nothing_by_default(name: str) -> None:
    task = all_tasks()[name]
    parameters = inspect.signature(task.body).parameters
    assert {parameters[option].default for option in task.iterable} <= {None}


@pytest.mark.parametrize("name", ["build", "lock", "images", "cache", "doctor"])
def test_the_tasks_that_people_know_are_there(name: str) -> None:
    assert name in NAMES
