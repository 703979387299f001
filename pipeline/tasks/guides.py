"""The guides: checked against what is so, and their tables made from it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from invoke.context import Context

from pipeline.tasks.command import task

if TYPE_CHECKING:
    from pipeline.guides.facts import Command


@task(
    help={
        "check": "write nothing; exit code 23 when a rendered table is not current",
        "json": "print the result as JSON",
    },
)
def docs(c: Context, check: bool = False, json: bool = False) -> None:
    """Render the tables of the guides, and check every command, link, path and name in them.

    Exit code 123: a guide says what is not so; each finding is printed with its line.
    """
    from pipeline import commands, report
    from pipeline.guides.check import Ours
    from pipeline.guides.check import check as look
    from pipeline.guides.facts import read_facts
    from pipeline.guides.tables import renders
    from pipeline.tasks import show_guides
    from pipeline.tasks.vocabulary import Vocabulary

    listed, flags = _contents()
    ours = Ours(Vocabulary().wrong, flags)
    with report.progress() as progress, progress.step("read the guides") as step:
        facts = read_facts(commands.ROOT, listed)
        checked = look(facts, ours, renders(facts), write=not check)
        step.note(f"{len(checked.guides)} guides, {checked.commands} commands")
    show_guides.checked(checked, as_json=json)


def _contents() -> tuple[tuple[Command, ...], frozenset[str]]:
    """Return the tasks as `invoke --list` has them, and every flag of any of them."""
    from pipeline.guides.facts import Command

    namespace = importlib.import_module("tasks").namespace
    listed, flags = [], set()
    for name, aliases in namespace.task_names.items():
        one = namespace[name]
        # `deploy` is what people call the default task of that collection.
        short = min((name, *aliases), key=len)
        listed.append(Command(short, (one.__doc__ or "").split("\n")[0]))
        flags |= {f"--{argument.name.replace('_', '-')}" for argument in one.get_arguments()}
    return tuple(sorted(listed, key=lambda one: one.name)), frozenset(flags)
