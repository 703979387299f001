"""Caches of workflows: never what a release is made of, and never written by strangers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.events import Event

# Actions that cache when they are told to, with the input that tells them.
_ON_DEMAND = {
    "actions/setup-python": "cache",
    "actions/setup-node": "cache",
    "actions/setup-java": "cache",
    "actions/setup-dotnet": "cache",
    "docker/build-push-action": "cache-from",
}
# Those that do so unless they are told not to.
_BY_THEMSELVES = {"actions/setup-go": "cache", "astral-sh/setup-uv": "enable-cache"}
_OFF = ("", "false")


def caching(action: str, given: Mapping[str, Any], event: Event) -> Iterator[str]:
    """Yield what is wrong with what an action caches on an event."""
    reads = action in ("actions/cache", "actions/cache/restore")
    writes = action in ("actions/cache", "actions/cache/save")
    if key := _ON_DEMAND.get(action):
        reads = writes = given.get(key, "") not in (*_OFF, UNKNOWN)
    if key := _BY_THEMSELVES.get(action):
        reads = writes = given.get(key, "true") not in _OFF
    if reads and event.is_tag:
        yield (
            f"{action} takes from a cache what a release is made of; leave it out for tags "
            "(\"if: github.ref_type != 'tag'\")"
        )
    if writes and event.is_pull_request:
        yield (
            f"{action} saves what a pull request made, for others to use; use "
            "actions/cache/restore there"
        )
