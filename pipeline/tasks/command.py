"""`@task`: Invoke's, with the project's habits, and errors turned into one line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task as invoke_task

from pipeline.errors import PipelineError

INTERRUPTED = 130


def _printable(text: str) -> str:
    """Return `text` as one line: what a user gave may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def task(*, iterable: tuple[str, ...] = (), help: dict[str, str] | None = None) -> Any:
    """Return Invoke's task decorator for a thin function.

    No automatic short flags: adding an option must not rename another's.  A
    `PipelineError` ends the command with its message and exit code, Ctrl-C with 130 and what the
    `KeyboardInterrupt` says of the state that it leaves.
    """

    def decorate(function: Callable[..., None]) -> Any:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
                sys.stdout.flush()
            except PipelineError as error:
                raise Exit(f"error: {_printable(str(error))}", code=error.exit_code) from error
            except BrokenPipeError:
                # Whoever read the output has seen enough (`| head`).
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            except (OSError, UnicodeError, RecursionError) as error:
                # Nothing that a user gives should get here; if it does, one line still says so.
                text = " ".join(str(error).split())
                raise Exit(f"error: {type(error).__name__}: {text}", code=1) from error
            except KeyboardInterrupt as interrupt:
                state = str(interrupt) or "the output is as it was"
                raise Exit(f"interrupted: {state}", INTERRUPTED) from None

        return invoke_task(guarded, auto_shortflags=False, iterable=list(iterable), help=help or {})

    return decorate
