"""What a step tells GitHub's runner: outputs for later steps and jobs, a summary for people."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from pipeline.atomic import writing
from pipeline.errors import OptionInvalid, OutputUnwritable


def write_outputs(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Append the outputs of a step, as the runner reads them (`name<<delimiter`).

    Raises `OptionInvalid` where there is no file to append to, `OutputUnwritable` where it
    cannot be.
    """
    path = environ.get("GITHUB_OUTPUT")
    if not path:
        raise OptionInvalid(
            "--github is given, and GITHUB_OUTPUT is not set",
            hint="GitHub Actions sets it for each step; leave --github out elsewhere",
        )
    # Nobody who chooses a branch's name can know the delimiter, and end a value early.
    delimiter = f"end-{secrets.token_hex(16)}"
    _append(
        path,
        "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items()),
    )


def write_summary(text: str, environ: Mapping[str, str]) -> None:
    """Append Markdown to the summary of the run, where there is one."""
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        _append(summary, text)


def _append(path: str, text: str) -> None:
    try:
        with writing(Path(path)), open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except (FileNotFoundError, ValueError) as error:
        raise OutputUnwritable(
            f"{path!r} cannot be written: {error}", hint="GitHub's runner names a file that it made"
        ) from None
