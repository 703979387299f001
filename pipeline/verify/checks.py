"""What is looked at in an image, and what became of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import NotVerified, VerificationFailed
from pipeline.platforms import Platform

REQUIRABLE = ("digests", "lock", "provenance", "sbom", "signature", "tag")
"""What `--require` may name: the first words of checks."""


class Outcome(enum.Enum):
    """What became of a check."""

    VERIFIED = "verified"
    NOT_VERIFIED = "not verified"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, or could not be."""

    name: str
    """Such as `digests`, `provenance`, `SBOM linux/arm64`."""
    outcome: Outcome
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the check for programs."""
        return {"name": self.name, "outcome": self.outcome.value, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is said of an image: a provenance, an SBOM."""

    name: str
    """For messages: a path, a digest."""
    kind: str
    """`provenance`, or an SBOM's: `cdx.json`, `spdx.json`."""
    data: bytes
    signer: str | None = None
    """Who signed it, verified; "" where they did not, None where nobody was asked for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is said of an image."""

    provenance: tuple[Claim, ...] = ()
    sboms: Mapping[Platform, tuple[Claim, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """Every check of one image."""

    where: str
    digest: str
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verification for programs."""
        return {
            "image": self.where,
            "digest": self.digest,
            "checks": [check.to_json() for check in self.checks],
        }

    def raise_for(self, required: Sequence[str]) -> None:
        """Raise `VerificationFailed` for what was refused, `NotVerified` for what is missing.

        `required` are of `REQUIRABLE`.
        """
        refused = [check for check in self.checks if check.outcome is Outcome.REFUSED]
        if refused:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise VerificationFailed(
                f"{self.where} is not what is said of it: {refused[0].name}: "
                f"{refused[0].detail}{more}",
                hint="do not use it; build or pull it again",
            )
        for word in required:
            checks = [c for c in self.checks if c.name.split()[0].lower() == word.lower()]
            missing = [c for c in checks if c.outcome is not Outcome.VERIFIED]
            if missing or not checks:
                detail = missing[0].detail if missing else "nothing says so"
                raise NotVerified(
                    f"{self.where}: {word} is required and was not verified: {detail}",
                    hint="have it made, or do not ask for it",
                )
