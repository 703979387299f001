"""A release in a cluster, as tables and diffs for people or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.kubernetes.rules import COMPONENT
from pipeline.report import print_json, print_table

if TYPE_CHECKING:
    from pipeline.deploy.deploy import Deployed
    from pipeline.deploy.difference import Change
    from pipeline.deploy.rollout import State
    from pipeline.deploy.status import Status
    from pipeline.deploy.traffic import Switched

_COLOURS = {"+": "\033[32m", "-": "\033[31m", "@": "\033[36m"}


def deployed(done: Deployed, *, dry_run: bool, as_json: bool) -> None:
    """Print what a deploy did, or would do."""
    if as_json:
        print_json({"dry_run": dry_run, **done.to_json()})
        return
    where = f"release {done.target.release} in namespace {done.target.namespace}"
    if dry_run:
        _diff(done.changes)
        for note in done.notes:
            print(f"note: {note}")
        what = "would be installed" if done.before is None else "would change"
        print(f"{where}: {len(done.changes)} objects {what}; nothing was changed")
        return
    _states(done.states, "")
    print()
    was = f", was {done.before}" if done.before is not None else ""
    print(f"{where}: revision {done.revision}{was}, ready in {done.seconds:.1f} s")


def status(found: Status, *, as_json: bool) -> None:
    """Print a release as it is."""
    if as_json:
        print_json(found.to_json())
        return
    revision = found.revision
    print(
        f"release {found.target.release} in namespace {found.target.namespace}: revision "
        f"{revision.number}, {revision.status}, {revision.chart}, {revision.updated[:19]}"
    )
    _states(found.states, found.active)
    for state in found.states:
        for trouble in state.troubles:
            print(trouble)


def switched(done: Switched, *, dry_run: bool, as_json: bool) -> None:
    """Print what a switch or a rollback did, or would do."""
    if as_json:
        print_json({"dry_run": dry_run, **done.to_json()})
        return
    for check in done.checks:
        print(check)
    if dry_run:
        _diff(done.changes)
        print("nothing was changed")
        return
    what = f"{done.colour} has the traffic: " if done.colour else ""
    print(f"{what}{done.image}, revision {done.revision}")


def _states(states: Sequence[State], active: str) -> None:
    from pipeline.deploy.release import COLOUR

    def traffic(state: State) -> str:
        return "traffic" if active and state.labels.get(COLOUR) == active else ""

    print_table(
        ("deployment", "component", "pods", "", "image"),
        [
            (
                state.name,
                str(state.labels.get(COMPONENT, "")),
                state.shown,
                traffic(state),
                state.image,
            )
            for state in states
        ],
    )


def _diff(changes: Sequence[Change]) -> None:
    colour = sys.stdout.isatty()
    for change in changes:
        if change.what == "added":
            # All of a new object would be all of the manifest.
            print(f"+ {change.title}")
            continue
        for line in change.lines:
            begin = _COLOURS.get(line[:1], "") if colour else ""
            print(f"{begin}{line}\033[0m" if begin else line)
