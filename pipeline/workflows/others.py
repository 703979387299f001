"""What programs of others say to the workflows: zizmor, and actionlint where it is here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import tools, zizmor
from pipeline.errors import ToolMissing, WorkflowsInvalid
from pipeline.findings import Finding
from pipeline.process import Completed, Runner
from pipeline.workflows.document import Documents, Kind

ACTIONLINT = "actionlint"
_READ_BY_ZIZMOR = (Kind.WORKFLOW, Kind.ACTION, Kind.DEPENDABOT)


def zizmor_findings(
    documents: Documents, environ: Mapping[str, str], runner: Runner
) -> Iterator[Finding]:
    """Yield what zizmor finds at its most pedantic, of any severity. Raises `ToolMissing`."""
    program = tools.beside_python(zizmor.NAME) or shutil.which(
        zizmor.NAME, path=environ.get("PATH")
    )
    if not program:
        raise ToolMissing(
            "zizmor is not here", hint="pip install -r requirements/audit.txt, or use --only"
        )
    files = [one.name for one in documents.all if one.kind in _READ_BY_ZIZMOR]
    argv = (program, *zizmor.ARGUMENTS, *zizmor.PEDANTIC, *(f"./{name}" for name in files))
    done = runner(argv, cwd=documents.root)
    for found in zizmor.read(_json_of(done, "zizmor", (0,))):
        see = f"; see {found.url}" if found.url else ""
        yield Finding(f"{found.path}:{found.line}", f"zizmor {found.rule}", f"{found.title}{see}")


def find_actionlint(environ: Mapping[str, str]) -> str:
    """Return where actionlint is, an empty text where it is not here.

    Raises `ToolMissing` where `ACTIONLINT` names what is no program.
    """
    known = tools.program(ACTIONLINT)
    if not environ.get(known.variable):
        if beside := tools.beside_python(ACTIONLINT):
            return beside
        return shutil.which(ACTIONLINT, path=environ.get("PATH")) or ""
    return tools.find(ACTIONLINT, environ)


def actionlint_findings(documents: Documents, program: str, runner: Runner) -> Iterator[Finding]:
    """Yield what actionlint finds in the workflows."""
    files = [f"./{one.name}" for one in documents.workflows]
    argv = (program, "-no-color", "-format", "{{json .}}", *files)
    done = runner(argv, cwd=documents.root)
    for found in _json_of(done, ACTIONLINT, (0, 1)) or ():
        place = f"{Path(found['filepath'])}:{found['line']}"
        message = " ".join(str(found["message"]).split())
        yield Finding(place, f"{ACTIONLINT} {found['kind']}", f"{message}; correct it")


def _json_of(done: Completed, name: str, codes: tuple[int, ...]) -> Any:
    """Return the JSON that a program printed: what it could not check is not taken for clean."""
    if done.returncode in codes:
        try:
            return json.loads(done.stdout)
        except ValueError:
            why = "its output is not JSON"
    else:
        why = f"exit code {done.returncode}: {done.reason}"
    raise WorkflowsInvalid(
        f"{name} could not check the workflows: {why[:200]}", hint="run it by itself to see more"
    )
