"""What any text of settings can have that another value would spoil: numbers, digests, words."""

from __future__ import annotations

import re

_DIGEST = re.compile(r"\b[0-9a-f]{40,64}\b")
_NUMBER = re.compile(r"(?<![0-9A-Fa-f.])\d+(?![0-9A-Fa-f]*[a-f][0-9a-f]*\b)")
_BOOLEAN = re.compile(r"\b(true|false|yes|no)\b")
_OTHER = {"true": "false", "false": "true", "yes": "no", "no": "yes"}


def another_digest(digest: str) -> str:
    """Return a digest of the same length, one digit away."""
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


def digests(text: str) -> list[tuple[int, int, str]]:
    """Return the place of each digest or commit of a text, and another one."""
    return [(m.start(), m.end(), another_digest(m[0])) for m in _DIGEST.finditer(text)]


def numbers(text: str) -> list[tuple[int, int, str]]:
    """Return the place of each number of a text, and the next number; none inside of digests."""
    covered = [(begin, end) for begin, end, _ in digests(text)]
    return [
        (m.start(), m.end(), str(int(m[0]) + 1))
        for m in _NUMBER.finditer(text)
        if not any(begin <= m.start() < end for begin, end in covered)
    ]


def booleans(text: str) -> list[tuple[int, int, str]]:
    """Return the place of each yes or no of a text, and its opposite."""
    return [(m.start(), m.end(), _OTHER[m[0]]) for m in _BOOLEAN.finditer(text)]
