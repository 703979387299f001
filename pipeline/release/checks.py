"""What has to be so before a release: each thing is asked, and every answer is in one table.

The quick questions are all asked.  Those that take minutes are asked when every quick one is
answered well: nobody waits for images of a work tree that must not be released.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError, ReleaseRefused
from pipeline.report import Progress


class Answer(enum.Enum):
    """What came of a question."""

    GOOD = "ok"
    REFUSED = "refused"
    WOULD_ASK = "would run"
    NOT_ASKED = "not run"


@dataclass(frozen=True, slots=True)
class Question:
    """Something that has to be so.

    `ask` returns what it found in a few words, and raises a `PipelineError` where it is not so.
    """

    name: str
    ask: Callable[[Progress], str]
    about: str = ""
    """Of a long one: what it runs, for those who only want to know."""
    keeps_code: bool = False
    """Whether its error, where it is the only one, is what the command ends with."""

    @property
    def is_long(self) -> bool:
        """Whether it takes minutes."""
        return bool(self.about)


@dataclass(frozen=True, slots=True)
class Checked:
    """A question and its answer."""

    name: str
    answer: Answer
    detail: str
    seconds: float = 0.0
    error: PipelineError | None = None
    keeps_code: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the answer for programs."""
        return {
            "check": self.name,
            "answer": self.answer.value,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }


def ask_all(
    questions: Sequence[Question], progress: Progress, *, dry_run: bool
) -> tuple[Checked, ...]:
    """Return the answers in the order of the questions; a dry run asks the quick ones alone."""
    quick = {q.name: _asked(q, progress) for q in questions if not q.is_long}
    refused = is_refused(tuple(quick.values()))

    def long(question: Question) -> Checked:
        if dry_run:
            return Checked(question.name, Answer.WOULD_ASK, question.about)
        if refused:
            return Checked(question.name, Answer.NOT_ASKED, "not while something else is refused")
        return _asked(question, progress)

    return tuple(quick.get(q.name) or long(q) for q in questions)


def _asked(question: Question, progress: Progress) -> Checked:
    begin = time.monotonic()
    try:
        if question.is_long:
            with progress.step(question.name) as step:
                detail = question.ask(progress)
                step.note(detail)
        else:
            detail = question.ask(progress)
    except PipelineError as error:
        seconds = time.monotonic() - begin
        keeps = question.keeps_code
        return Checked(question.name, Answer.REFUSED, str(error), seconds, error, keeps)
    return Checked(question.name, Answer.GOOD, detail, time.monotonic() - begin)


def is_refused(checked: Sequence[Checked]) -> bool:
    """Return whether any answer is a refusal."""
    return any(one.answer is Answer.REFUSED for one in checked)


def raise_for(checked: Sequence[Checked]) -> None:
    """Raise what is refused: the error itself where its code says more, else `ReleaseRefused` with
    every reason."""
    errors = [one for one in checked if one.error is not None]
    if len(errors) == 1 and errors[0].keeps_code and errors[0].error is not None:
        raise errors[0].error
    if errors:
        raise ReleaseRefused("; ".join(f"{one.name}: {one.detail}" for one in errors))
