"""GitHub's workflows: checked, and foretold, without GitHub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from pipeline.tasks.command import task

if TYPE_CHECKING:
    from pipeline.workflows.effects import World

_FOLDER = "the repository whose .github it is (default: this one)"


@task(
    iterable=("only",),
    help={
        "only": "schema, expressions, commands, pins, permissions, hygiene, flow, zizmor, "
        "actionlint; repeatable, commas (default: all; actionlint where it is here)",
        "folder": _FOLDER,
        "json": "print the result as JSON, with what every event would lead to",
    },
)
def check(c: Context, only: Any = None, folder: str = "", json: bool = False) -> None:
    """Check workflows, actions, Dependabot's settings and issue forms; list all that is wrong.

    GitHub's schemas and expressions, the tasks that steps call, pins, rights, and what each
    event would push, upload and read. Exit code 120: found something.
    """
    from pipeline import report
    from pipeline.tasks import show_workflows
    from pipeline.workflows.check import check as check_workflows

    with report.progress() as progress:
        checked = check_workflows(progress, _world(folder), only=only or ())
    show_workflows.checked(checked, as_json=json)


@task(
    help={
        "event": "push, tag, pull_request, fork, schedule or workflow_dispatch (default: push)",
        "ref": "the branch or tag (default: main; of a tag v1.2.3)",
        "repository": "owner and name, as GitHub has them (default: acme/accelerapp)",
        "tags": "of a tag: those that there are besides, with commas (default: none)",
        "commit": "its 40 digits, for the tags that have some of them (default: made up)",
        "folder": _FOLDER,
        "json": "print the result as JSON",
    },
)
def foretell(
    c: Context,
    event: str = "push",
    ref: str = "",
    repository: str = "",
    tags: str = "",
    commit: str = "",
    folder: str = "",
    json: bool = False,
) -> None:
    """Show what an event would lead to: jobs, artifacts, and the tags that images would get."""
    from pipeline import report
    from pipeline.flags import values_of
    from pipeline.tasks import show_workflows
    from pipeline.workflows.document import read_documents
    from pipeline.workflows.events import asked_for
    from pipeline.workflows.simulate import simulate

    world = _world(folder)
    documents, unreadable = read_documents(world.root)
    show_workflows.raise_for(unreadable)
    events = asked_for(
        documents,
        event,
        ref=ref,
        repository=repository,
        tags=tuple(values_of([tags])),
        commit=commit,
    )
    with report.progress() as progress, progress.step("simulate"):
        done = tuple(simulate(documents, one, world) for one in events)
    show_workflows.foretold(done, as_json=json)


def _world(folder: str) -> World:
    """Return what the flow depends on: the tasks, the images, and `invoke matrix`."""
    from pipeline.commands import ROOT
    from pipeline.matrix import make_matrix, to_json
    from pipeline.settings import read_settings
    from pipeline.tasks.vocabulary import Vocabulary
    from pipeline.workflows.effects import World
    from pipeline.workflows.vocabulary import Invocation

    def matrix(asked: Invocation) -> Any:
        return to_json(
            make_matrix(asked.texts("target"), asked.texts("platform"), asked.text("runners"))
        )

    root = Path(folder).absolute() if folder else ROOT
    return World(Vocabulary(), read_settings(ROOT), matrix, root)
