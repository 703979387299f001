"""Debian version numbers and their order (Debian Policy 5.6.12, deb-version(7))."""

from __future__ import annotations

import functools
import re

# The revision follows the last hyphen; only a version with an epoch may have other colons.
_SYNTAX = re.compile(
    r"(?!.*-\Z)(?:([0-9]+):)?((?(1)[A-Za-z0-9.+~:-]+?|[A-Za-z0-9.+~-]+?))(?:-([A-Za-z0-9.+~]+))?",
    re.ASCII,
)
_RUNS = re.compile(r"([^0-9]*)([0-9]*)")

_Key = tuple["int | tuple[int, ...]", ...]


@functools.total_ordering
class DebianVersion:
    """`[epoch:]upstream[-revision]`, ordered as dpkg orders it.

    Equality is dpkg's too: `1.0`, `0:1.0` and `1.00-0` are one version, and hash alike.
    Raises `ValueError` for text that is not a version.
    """

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        found = _SYNTAX.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text}' is not a Debian version")
        epoch, upstream, revision = found.groups(default="")
        self.text = text
        self._key = (int(epoch or "0"), _sort_key(upstream), _sort_key(revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._key == other._key

    def __lt__(self, other: DebianVersion) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"DebianVersion({self.text!r})"


def compare(a: str, b: str) -> int:
    """Return -1, 0 or 1 as version `a` is earlier than, equal to or later than `b`.

    Raises `ValueError` for text that is not a version.
    """
    left, right = DebianVersion(a), DebianVersion(b)
    return (left > right) - (left < right)


def _sort_key(part: str) -> _Key:
    """Return a tuple that sorts as Policy 5.6.12 compares an upstream version or a revision.

    Runs of non-digits (as tuples of weights) alternate with numbers.  A final
    `(0,)` stands for the end of the text: later than `~`, earlier than anything else.
    """
    runs = [run for run in _RUNS.findall(part) if run != ("", "")] or [("", "")]
    key: list[int | tuple[int, ...]] = []
    for text, digits in runs:
        key += ((*map(_weight, text), 0), int(digits or "0"))
    return (*key, (0,))


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
