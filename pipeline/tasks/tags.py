"""What built images are called."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from pipeline.tasks.command import task


@task(
    iterable=("target",),
    help={
        "target": "of which images: base, production, development, monitoring, all "
        "(default: production)",
        "registry": "print full references, as `invoke push` uses them: HOST[:PORT][/NAMESPACE] "
        "(default: ACCELERAPP_REGISTRY; in GitHub Actions the owner's place at ghcr.io)",
        "json": "print as JSON",
        "github": "also append tags, json, version and latest to the file that GITHUB_OUTPUT "
        "names, and a line to GITHUB_STEP_SUMMARY's",
    },
)
def tags(
    c: Context,
    target: Any = None,
    registry: str | None = None,
    json: bool = False,
    github: bool = False,
) -> None:
    """Show the tags that this commit, branch, release or pull request gets.

    A commit gets sha-0123456-production, a branch main-production, a release v1.2.3-production
    and, unless a higher one exists, 1.2-production, 1-production (not before 1.0.0) and latest.
    Pre-releases move nothing. A pull request gets pr-7-production alone. While tracked files
    differ from the commit there is sha-0123456-dirty-production alone: no tag of a commit,
    branch or release ever names what nobody can check out.
    """
    import os

    from pipeline import commands, report, shipping
    from pipeline import tags as rules
    from pipeline.settings import read_settings
    from pipeline.tasks import show_tags

    settings = read_settings(commands.ROOT)
    targets = commands.choose_targets(settings, target or ())
    place = shipping.configured_registry(os.environ) if registry is None else registry
    repository = shipping.destination(settings, place, os.environ) if place is not None else None
    state = rules.read_state(commands.ROOT, os.environ)
    plans = tuple(rules.compute_tags(state, name) for name in targets)
    outcome = show_tags.Outcome(state, plans, repository)
    if github:
        show_tags.write_github(outcome, os.environ)
    if json:
        report.print_json(outcome.to_json())
    else:
        show_tags.table(outcome)
