"""What this machine has: tools and cache."""

from __future__ import annotations

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
