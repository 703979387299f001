"""What was found in the guides, as lines for people or JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import GuidesInvalid, RenderedStale
from pipeline.findings import counted
from pipeline.report import print_json

if TYPE_CHECKING:
    from pipeline.guides.check import Checked


def checked(done: Checked, *, as_json: bool) -> None:
    """Print it; raises `GuidesInvalid` for findings, and else `RenderedStale` for old tables."""
    if as_json:
        print_json(done.to_json())
    else:
        for finding in done.findings:
            print(finding)
        for name in done.written:
            print(f"{name}: written")
        if not done.findings and not done.stale:
            print(
                f"{len(done.guides)} guides, {done.commands} commands, {done.links} links, "
                f"{done.sections} rendered tables: nothing wrong"
            )
    if done.findings:
        raise GuidesInvalid(
            f"{counted(done.findings)} in the guides", hint="correct what is listed above"
        )
    if done.stale:
        raise RenderedStale(
            f"{', '.join(done.stale)}: rendered tables are not current",
            hint="run 'invoke docs' and commit what it writes",
        )
