"""What a check finds in files: a place, the rule that is broken, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong. `place` is FILE:LINE, or what else leads there."""

    place: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}: {self.message}"

    def to_json(self) -> dict[str, str]:
        """Return the finding for programs."""
        return {"place": self.place, "rule": self.rule, "message": self.message}


def counted(findings: Sequence[Finding]) -> str:
    """Return how many there are: `1 finding`, `3 findings`."""
    return f"{len(findings)} finding{'' if len(findings) == 1 else 's'}"
