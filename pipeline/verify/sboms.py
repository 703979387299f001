"""Whether an SBOM is the one that an image gives, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.sbom.cyclonedx import cyclonedx
from pipeline.sbom.inventory import Inventory
from pipeline.sbom.spdx import spdx
from pipeline.verify.checks import Check, Claim, Evidence, Outcome

WRITERS = {"cdx.json": cyclonedx, "spdx.json": spdx}
_IDENTITY = {"cdx.json": "serialNumber", "spdx.json": "documentNamespace"}
"""What is derived from the digest of the image that an SBOM is of."""


def check_sboms(
    inventory: Inventory, locked: Inventory | None, evidence: Evidence
) -> Iterator[Check]:
    """Yield a check for each SBOM of a platform; `locked` is its inventory with the lock's
    digests, where the lock is known."""
    title = f"SBOM {inventory.platform}"
    claims = evidence.sboms.get(inventory.platform, ())
    if not claims:
        yield Check(title, Outcome.NOT_VERIFIED, "there is none")
    for claim in claims:
        wrong = _sbom_problem(claim, [one for one in (locked, inventory) if one is not None])
        if wrong:
            yield Check(title, Outcome.REFUSED, f"{claim.name}: {wrong}")
        else:
            yield Check(title, Outcome.VERIFIED, f"{len(inventory.components)} packages")


def _sbom_problem(claim: Claim, candidates: Sequence[Inventory]) -> str:
    """Return where an SBOM differs from the one that the image gives, or nothing.

    The tool's version is left out: another version of it may have written the same.
    """
    try:
        said = json.loads(claim.data)
    except (ValueError, RecursionError) as error:
        return f"it cannot be read: {' '.join(str(error).split())}"
    if not isinstance(said, dict):
        return "it is no SBOM"
    made = [json.loads(WRITERS[claim.kind](inventory)) for inventory in candidates]
    identity = _IDENTITY[claim.kind]
    if said.get(identity) not in [own[identity] for own in made]:
        return "it is of another image; make it again: invoke sbom"
    problems = []
    for own in made:
        problem = _difference(_without_tool(said), _without_tool(own), "")
        if not problem:
            return ""
        problems.append(problem)
    return problems[0]


def _without_tool(document: Mapping[str, Any]) -> dict[str, Any]:
    slim = dict(document)
    for key in ("metadata", "creationInfo"):
        if isinstance(slim.get(key), dict):
            part = {k: v for k, v in slim[key].items() if k not in ("tools", "creators")}
            slim[key] = part
    return slim


def _difference(said: Any, own: Any, path: str) -> str:
    """Return the first place where two documents differ, in words; "" where they are equal."""
    if isinstance(said, dict) and isinstance(own, dict):
        for key in [*own, *(key for key in said if key not in own)]:
            if key not in said or key not in own:
                return f"{path or 'it'} {'lacks' if key not in said else 'adds'} '{key}'"
            if found := _difference(said[key], own[key], f"{path}.{key}".lstrip(".")):
                return found
        return ""
    if isinstance(said, list) and isinstance(own, list):
        if len(said) != len(own):
            return f"{path} has {len(said)} entries instead of {len(own)}"
        for number, (one, other) in enumerate(zip(said, own, strict=True)):
            if found := _difference(one, other, f"{path}[{number}]"):
                return found
        return ""
    if said == own and type(said) is type(own):
        return ""
    return f"{path} is {said!r:.60}, not {own!r:.60}"
