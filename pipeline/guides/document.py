"""One guide as CommonMark (with GitHub's tables): what it shows, names and links to.

https://spec.commonmark.org/0.31.2/ and https://github.github.com/gfm/, by markdown-it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.command_lines import Command, ScriptUnreadable, commands_in
from pipeline.errors import GuidesInvalid
from pipeline.findings import Finding

CONSOLE = "console"
DIAGRAM = "mermaid"
# Fences that hold commands without a `$ ` before each.
_OTHER_SHELLS = frozenset(("bash", "shell", "sh", "zsh", "shell-session", "terminal"))
_PROMPT = "$ "
_LABEL = re.compile(r'\["([^"]+)"\]')


@dataclass(frozen=True, slots=True)
class Shown:
    """A command of a guide, at its line; `block` tells the console blocks of a guide apart."""

    command: Command
    line: int
    script: str
    """All that follows the `$`: what a reader would copy."""
    block: int


@dataclass(frozen=True, slots=True)
class Span:
    """Inline code."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link or an image leads."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Guide:
    """A guide. `name` is its path below the root of the repository."""

    name: str
    text: str
    commands: tuple[Shown, ...]
    spans: tuple[Span, ...]
    links: tuple[Link, ...]
    anchors: frozenset[str]
    unreadable: tuple[Finding, ...]
    """Commands that no shell takes, and blocks whose commands nobody would find."""


def read_guide(root: Path, name: str) -> Guide:
    """Return the guide at `name` below `root`; raises `GuidesInvalid` for one that is no text."""
    try:
        text = (root / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise GuidesInvalid(f"{name} cannot be read: {reason}", hint="correct it") from error
    return parse_guide(name, text)


def parse_guide(name: str, text: str) -> Guide:
    """Return what is in the text of a guide."""
    from markdown_it import MarkdownIt

    commands: list[Shown] = []
    spans: list[Span] = []
    links: list[Link] = []
    headings: list[str] = []
    wrong: list[Finding] = []
    row = 0
    previous = ""
    for number, token in enumerate(MarkdownIt("commonmark").enable("table").parse(text)):
        row = token.map[0] + 1 if token.map else row
        if token.type == "fence":
            language = token.info.split()[0] if token.info.strip() else ""
            if language == CONSOLE:
                for line, script in _scripts(token.content, row + 1):
                    try:
                        found = commands_in(script)
                    except ScriptUnreadable as error:
                        place = f"{name}:{line + error.line - 1}"
                        wrong.append(Finding(place, "unreadable", error.reason))
                        continue
                    commands += [
                        Shown(each, line + each.line - 1, script, number) for each in found
                    ]
            elif language == DIAGRAM:
                # What is in its boxes is named as in inline code.
                for line, drawn in enumerate(token.content.splitlines(), row + 1):
                    spans += [Span(label, line) for label in _LABEL.findall(drawn)]
            elif language in _OTHER_SHELLS:
                wrong.append(
                    Finding(
                        f"{name}:{row}",
                        "not-console",
                        f"commands in a block of {language}; write ```{CONSOLE}, and '$ ' before"
                        " each command",
                    )
                )
        elif token.type == "inline":
            if previous == "heading_open":
                headings.append(_plain(token.children or ()))
            _read_inline(token, row, spans, links)
        previous = token.type
    return Guide(
        name,
        text,
        tuple(commands),
        tuple(spans),
        tuple(links),
        frozenset(_anchors(headings)),
        tuple(wrong),
    )


def _scripts(content: str, first_line: int) -> Iterator[tuple[int, str]]:
    """Give each `$ …` of a console block with its line, continuation lines included."""
    lines = content.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith(_PROMPT):
            at += 1
            continue
        begin = at
        while lines[at].endswith("\\") and at + 1 < len(lines):
            at += 1
        at += 1
        script = "\n".join(lines[begin:at])
        yield first_line + begin, script.removeprefix(_PROMPT)


def _read_inline(token: object, row: int, spans: list[Span], links: list[Link]) -> None:
    content: str = token.content  # type: ignore[attr-defined]
    at = 0
    for child in token.children or ():  # type: ignore[attr-defined]
        if child.type == "code_inline":
            # Code that goes on in the next line has a blank where the line ends.
            words = r"\s+".join(re.escape(word) for word in child.content.split())
            if found := re.compile(words).search(content, at):
                spans.append(
                    Span(
                        " ".join(child.content.split()), row + content.count("\n", 0, found.start())
                    )
                )
                at = found.end()
        elif child.type in ("link_open", "image"):
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            begin = content.find(target, at)
            line = row + content.count("\n", 0, begin if begin >= 0 else at)
            links.append(Link(target, line))


def _plain(children: object) -> str:
    return "".join(
        child.content
        for child in children  # type: ignore[attr-defined]
        if child.type in ("text", "code_inline")
    )


def _anchors(headings: list[str]) -> Iterator[str]:
    """Give the anchor of each heading as GitHub makes it: lower case, hyphens for spaces, what
    is neither letter, digit, hyphen nor underscore left out; a number for what comes again."""
    seen: dict[str, int] = {}
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        times = seen.get(slug, 0)
        seen[slug] = times + 1
        yield f"{slug}-{times}" if times else slug
