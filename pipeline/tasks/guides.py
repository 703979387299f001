"""The guides: checked against what is so, and their tables made from it."""

from __future__ import annotations

from invoke.context import Context

from pipeline.tasks.command import task


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
    from pipeline.guides.check import check as look
    from pipeline.guides.facts import read_facts
    from pipeline.guides.tables import renders
    from pipeline.tasks import show_guides
    from pipeline.tasks.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(commands.ROOT)
    with report.progress() as progress, progress.step("read the guides") as step:
        facts = read_facts(commands.ROOT, vocabulary.listed())
        checked = look(facts, vocabulary.wrong, renders(facts), write=not check)
        step.note(f"{len(checked.guides)} guides, {checked.commands} commands")
    show_guides.checked(checked, as_json=json)
