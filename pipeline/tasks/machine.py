"""What this machine has: tools and cache."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task


@task(help={"json": "print as JSON"})
def doctor(c: Context, json: bool = False) -> None:
    """Show the tools that are here, and what each missing one would enable."""
    from pipeline import doctor as inspection
    from pipeline.tasks import show

    show.doctor(inspection.inspect(), as_json=json)


@task(
    help={
        "prune": "remove what no build used for some time",
        "older-than": "days for --prune (default: 30; 0 empties the cache)",
        "json": "print as JSON",
    },
)
def cache(c: Context, prune: bool = False, older_than: str = "30", json: bool = False) -> None:
    """Show what the cache holds; --prune shrinks it."""
    import time

    from pipeline.cache import Cache, default_cache_folder
    from pipeline.errors import OptionInvalid
    from pipeline.tasks import show

    if not older_than.isdecimal():
        raise OptionInvalid(f"--older-than is '{older_than}'", hint="it must be a number of days")
    store = Cache(default_cache_folder())
    removed = None
    if prune:
        removed = store.prune(unused_for_s=int(older_than) * 86_400, now_s=time.time())
    show.cache(store, removed, as_json=json)


@task(help={"json": "print as JSON"})
def list_tools(c: Context, json: bool = False) -> None:
    """Show the programs of others: what each is for, which is here, what version."""
    from pipeline import tools as programs
    from pipeline.tasks import show

    show.tools(programs.inspect(), as_json=json)


@task(
    help={
        "names": "trivy, helm, kubectl or hadolint; several with commas",
        "source": "folder or address that has the releases' files under their own names "
        "(default: their vendors')",
        "missing": "leave those alone that are here in a version that will do",
        "json": "print as JSON",
    },
)
def install(
    c: Context,
    names: str,
    source: str | None = None,
    missing: bool = False,
    json: bool = False,
) -> None:
    """Fetch pinned releases of tools into the cache, where the tasks find them.

    What has another digest than the one that is pinned for this system is refused.
    """
    from pipeline import report
    from pipeline import tools as programs
    from pipeline.flags import values_of

    wanted = programs.split_names(values_of([names]))
    rows = []
    if missing:
        here = [found for found in programs.inspect(wanted) if found.is_supported]
        rows = [(found.program.name, found.version, found.path) for found in here]
        wanted = tuple(name for name in wanted if name not in {row[0] for row in rows})
    with report.progress() as progress:
        for name in wanted:
            with progress.step(f"fetch {name}"):
                one = programs.install(name, source)
            rows.append((one.name, one.version, str(one.path)))
    if json:
        report.print_json(
            [dict(zip(("name", "version", "path"), row, strict=True)) for row in rows]
        )
    else:
        report.print_table(("tool", "version", "path"), rows)


tools = Collection("tools")
tools.add_task(list_tools, name="list", default=True)
tools.add_task(install)
