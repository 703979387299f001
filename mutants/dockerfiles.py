"""Where a Dockerfile can be spoiled: its instructions, the lines and the words of them.

Left alone are comments and blanks: nothing reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutants.mutant import Edit
from mutants.words import digests, numbers

_FLAG = re.compile(r"(?<= )--?[A-Za-z][\w-]*(=\S+)?")
_STAGE = re.compile(r"^FROM (\S+) AS (\S+)", re.MULTILINE)


def meaning(text: str) -> list[list[str]]:
    """What an engine reads: each instruction's words."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [line.split() for line in whole if line.strip()]


def _instructions(text: str) -> Iterator[list[tuple[int, int]]]:
    """Yield the places of each instruction's lines, their ends included."""
    places: list[tuple[int, int]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        if line.lstrip().startswith("#") or not line.strip():
            continue
        places.append((begin, at))
        if not line.rstrip().endswith("\\"):
            yield places
            places = []


def edits(text: str) -> Iterator[Edit]:
    """Yield every edit of a Dockerfile."""
    stages = [match[2] for match in _STAGE.finditer(text)]
    for places in _instructions(text):
        begin, end = places[0][0], places[-1][1]
        yield begin, end, "", "gone"
        if len(places) > 1:
            yield from _lines(text, places)
        yield from _of_instruction(text[begin:end], begin, stages)


def _lines(text: str, places: list[tuple[int, int]]) -> Iterator[Edit]:
    for number, (begin, end) in enumerate(places[1:], 1):
        if number < len(places) - 1:
            yield begin, end, "", "line gone"
        else:
            # The line before is the last one now.
            before = text[places[number - 1][0] : begin]
            kept = before.rstrip().removesuffix("\\").rstrip()
            yield begin - len(before) + len(kept), end, "\n", "last line gone"


def _of_instruction(said: str, at: int, stages: list[str]) -> Iterator[Edit]:
    for begin, end, other in (*digests(said), *numbers(said)):
        yield at + begin, at + end, other, f"{said[begin:end][-12:]} is {other[-12:]}"
    for flag in _FLAG.finditer(said):
        yield at + flag.start(), at + flag.end(), "", f"without {flag[0]}"
    for joint in re.finditer("&&", said):
        yield at + joint.start(), at + joint.end(), ";", "goes on after a failure"
    if stage := _STAGE.match(said):
        # One that is there already, so that it is a Dockerfile still.
        for other in stages[: stages.index(stage[2])]:
            if other != stage[1]:
                yield at + stage.start(1), at + stage.end(1), other, f"starts from {other}"
    if said.startswith("USER "):
        yield at + 5, at + len(said.rstrip()), "root", "as root"
