"""`invoke docs`: guides read, their commands asked about, links followed, tables made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.atomic import write_atomically
from pipeline.command_lines import ScriptUnreadable, commands_in
from pipeline.errors import nearest
from pipeline.findings import Finding
from pipeline.guides import programs, source
from pipeline.guides.document import Guide, Span, parse_guide, read_guide
from pipeline.guides.facts import Facts
from pipeline.guides.sections import Render, fill

Wrong = Callable[[Sequence[str]], str]

# Beside the tasks: what the service and the monitor take.
_PARSERS = ("src/accelerapp/cli.py", "monitoring/health_check.py")


@dataclass(frozen=True, slots=True)
class Ours:
    """What is known of this project's own commands."""

    wrong: Wrong
    """Why the words of a command cannot be; empty where they can."""
    flags: frozenset[str]
    """Flags of all tasks, such as `--dry-run`."""


PLACES = (
    "*.md",
    "deployment/README.md",
    "deployment/helm/*/README.md",
    "deployment/keyrings/README.md",
    "monitoring/README.md",
    ".github/*.md",
    ".github/*/*.md",
)
"""Where guides are."""

# In inline code, what is optional, what is left to the reader, and what goes on.
_OPTIONAL = re.compile(r"[\[\]]")
_OTHERWISE = re.compile(r"(?<=\w)\|[\w.-]+")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_]*")
_FLAG = re.compile(r"--[a-z][a-z-]*")
_AND_SO_ON = frozenset(("…", "..."))


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at and found. `stale` are guides whose sections are not what code gives."""

    guides: tuple[str, ...]
    commands: int
    links: int
    sections: int
    stale: tuple[str, ...]
    written: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "guides": list(self.guides),
            "commands": self.commands,
            "links": self.links,
            "sections": self.sections,
            "stale": list(self.stale),
            "written": list(self.written),
            "findings": [finding.to_json() for finding in self.findings],
        }


def guides_of(root: Path) -> tuple[str, ...]:
    """Return the guides below `root`, by their paths."""
    found = {path for place in PLACES for path in root.glob(place) if path.is_file()}
    return tuple(sorted(path.relative_to(root).as_posix() for path in found))


def check(
    facts: Facts, ours: Ours, renders: Mapping[str, Render], *, write: bool = False
) -> Checked:
    """Look at every guide; with `write`, bring its sections up to date first.

    Raises `GuidesInvalid` for a guide that is no text.
    """
    guides: dict[str, Guide] = {}
    findings: list[Finding] = []
    stale, written, sections = [], [], 0
    for name in guides_of(facts.root):
        guide = read_guide(facts.root, name)
        filled = fill(name, guide.text, renders)
        sections += len(filled.names)
        findings += filled.findings
        # Where marks are wrong, the text is as it was.
        if filled.text != guide.text:
            if write:
                write_atomically(facts.root / name, filled.text.encode())
                written.append(name)
                guide = parse_guide(name, filled.text)
            else:
                stale.append(name)
        guides[name] = guide
    known = ours.flags | _other_flags(facts.root)
    for guide in guides.values():
        findings += guide.unreadable
        findings += _commands(guide, facts, ours.wrong)
        findings += _spans(guide, facts, ours.wrong)
        findings += _flags(guide, known)
        findings += _links(guide, guides, facts.root)
    return Checked(
        tuple(guides),
        sum(len(guide.commands) for guide in guides.values()),
        sum(len(guide.links) for guide in guides.values()),
        sections,
        tuple(stale),
        tuple(written),
        tuple(sorted(set(findings))),
    )


def _commands(guide: Guide, facts: Facts, wrong: Wrong) -> Iterator[Finding]:
    forwarded: dict[int, int] = {}
    block = -1
    for shown in guide.commands:
        if shown.block != block:
            forwarded, block = {}, shown.block
        words = shown.command.words
        forwarded |= dict(programs.forwards(words))
        for reason in _reasons(words, facts, wrong, forwarded):
            yield Finding(f"{guide.name}:{shown.line}", "command", reason)


def _reasons(
    words: Sequence[str], facts: Facts, wrong: Wrong, forwarded: Mapping[int, int]
) -> Iterator[str]:
    program, *rest = (words[0].rpartition("/")[2], *words[1:])
    if program == "invoke" and rest[:1] == ["--help"]:
        rest = [*rest[1:], "$REST"]
    if program in programs.OURS | {"python3"} and (reason := wrong((program, *rest))):
        yield reason
    yield from programs.wrong(words, facts, forwarded)


def _spans(guide: Guide, facts: Facts, wrong: Wrong) -> Iterator[Finding]:
    for span in guide.spans:
        place = f"{guide.name}:{span.line}"
        if programs.is_path(span.text):
            if not (facts.root / span.text).exists():
                yield Finding(place, "path", f"there is no {span.text} in this repository")
            continue
        program, _, rest = span.text.partition(" ")
        if not rest or program not in programs.OURS | programs.FLAGS_ASKED:
            continue
        try:
            found = commands_in(_meant(span))
        except ScriptUnreadable as error:
            yield Finding(place, "unreadable", f"`{span.text}`: {error.reason}")
            continue
        for command in found:
            words = command.words
            if words[0] == "invoke":
                # In a sentence: what the task needs besides is not said there.
                words = (*words, "$REST")
            for reason in _reasons(words, facts, wrong, {}):
                yield Finding(place, "command", reason)


def _other_flags(root: Path) -> frozenset[str]:
    found = [
        call
        for name in _PARSERS
        if (root / name).exists()
        for call in source.calls(root / name, "add_argument")
    ]
    return frozenset(word for _, words in found for word in words if str(word).startswith("--"))


def _flags(guide: Guide, known: frozenset[str]) -> Iterator[Finding]:
    """Give each flag, alone in inline code, that no command has."""
    for span in guide.spans:
        if (flag := _FLAG.match(span.text)) and flag[0] not in known:
            hint = nearest(flag[0], known) or "name its program beside it"
            yield Finding(
                f"{guide.name}:{span.line}", "flag", f"no command of ours has {flag[0]}; {hint}"
            )


def _meant(span: Span) -> str:
    """Return inline code as a command: `invoke lock [--check]`, `invoke verify WHERE`, …"""
    text = _OTHERWISE.sub("", _OPTIONAL.sub("", span.text))
    words = [word for word in text.split() if word not in _AND_SO_ON]
    return " ".join(f"${word}" if _PLACEHOLDER.fullmatch(word) else word for word in words)


def _links(guide: Guide, guides: Mapping[str, Guide], root: Path) -> Iterator[Finding]:
    for link in guide.links:
        place = f"{guide.name}:{link.line}"
        if link.target.startswith("https://"):
            continue
        path, _, anchor = unquote(link.target).partition("#")
        if ":" in path:
            yield Finding(place, "link", f"{link.target} is neither https:// nor a file here")
            continue
        target = (root / guide.name).parent / path if path else root / guide.name
        resolved = target.resolve()
        if not resolved.is_relative_to(root.resolve()) or not target.exists():
            yield Finding(place, "link", f"there is no {path} here")
            continue
        if not anchor:
            continue
        other = guides.get(resolved.relative_to(root.resolve()).as_posix())
        if other is None:
            yield Finding(place, "link", f"{path} is no guide that has headings")
        elif anchor not in other.anchors:
            yield Finding(place, "link", f"{other.name} has no heading #{anchor}")
