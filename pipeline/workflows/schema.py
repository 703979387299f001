"""The schemas of GitHub's files, which the package check-jsonschema keeps current."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ToolMissing
from pipeline.findings import Finding
from pipeline.workflows.document import Document, Kind, Path_

_PACKAGE = "check_jsonschema"
_FILES = {
    Kind.WORKFLOW: "github-workflows.json",
    Kind.ACTION: "github-actions.json",
    Kind.DEPENDABOT: "dependabot.json",
    Kind.FORM: "github-issue-forms.json",
    Kind.FORMS: "github-issue-config.json",
}
_MESSAGE_CHARACTERS = 200


def schema_findings(document: Document) -> Iterator[Finding]:
    """Yield what of a document its schema refuses. Raises `ToolMissing` without the schemas."""
    for error in _validator(document.kind).iter_errors(document.plain):
        # Of alternatives, what the likeliest one lacks says more than that none fits.
        told = error
        while told.context:
            told = max(told.context, key=lambda inner: (len(inner.absolute_path), _weight(inner)))
        path: Path_ = tuple(told.absolute_path)
        message = " ".join(told.message.split())
        if len(message) > _MESSAGE_CHARACTERS:
            message = f"{message[:_MESSAGE_CHARACTERS]}…"
        where = ".".join(str(part) for part in path)
        yield document.finding(
            path, "schema", f"{f'{where}: ' if where else ''}{message}; see GitHub's reference"
        )


def _weight(error: Any) -> int:
    """Return how much a schema's complaint says: of an unknown or a missing key, the most."""
    return {"additionalProperties": 2, "required": 2, "enum": 1, "pattern": 1}.get(
        error.validator, 0
    )


@functools.cache
def _validator(kind: Kind) -> Any:
    from jsonschema import Draft7Validator

    return Draft7Validator(json.loads(_read(_FILES[kind])))


def _read(name: str) -> str:
    # The package is not imported: its command line would come along.
    found = importlib.util.find_spec(_PACKAGE)
    for place in (found.submodule_search_locations or ()) if found else ():
        path = Path(place) / "builtin_schemas" / "vendor" / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ToolMissing(
        "the schemas of GitHub's files are not here: they are in the package check-jsonschema",
        hint="pip install -r requirements/audit.txt, or use --only for the rest",
    )
