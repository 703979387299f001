"""What steps may say: the commands of this project, as those who check workflows see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Invocation:
    """One task of an `invoke` command, with what its flags come to."""

    task: str
    values: Mapping[str, Any]
    """By name (`by-digest`): text, truth value, or list of texts; defaults where none is given."""

    def text(self, name: str) -> str:
        """Return a flag's or an argument's text, empty where there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a repeatable flag."""
        value = self.values.get(name)
        return tuple(value) if isinstance(value, (list, tuple)) else ()

    def has(self, name: str) -> bool:
        """Return whether a flag is set."""
        return bool(self.values.get(name))


class Vocabulary(Protocol):
    """The commands that there are."""

    def wrong(self, words: Sequence[str]) -> str:
        """Return what is wrong with a command and what to do about it; empty for nothing."""
        ...

    def invocations(self, words: Sequence[str]) -> tuple[Invocation, ...]:
        """Return the tasks that an `invoke` command runs; none for any other, or a wrong one."""
        ...

    def only_shows(self, words: Sequence[str]) -> bool:
        """Return whether a command of invoke or nox prints help, a list or a version, and runs
        nothing."""
        ...
