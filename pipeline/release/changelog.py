"""CHANGELOG.md, as Keep a Changelog 1.1 has it: what is read of it, and what a release makes of it.

Its first section is `## Unreleased`; each other one is `## 1.2.3 - 2026-11-29`, the newest first,
with entries under `### Added`, `Changed`, `Deprecated`, `Removed`, `Fixed` or `Security`.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import ReleaseRefused, nearest
from pipeline.release.version import Version

CHANGELOG = "CHANGELOG.md"
UNRELEASED = "Unreleased"
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
_HEADING = re.compile(r"## (?P<name>\S+)(?: - (?P<date>\d{4}-\d{2}-\d{2})(?: \[YANKED\])?)?")
_FENCE = re.compile(r" {0,3}(```|~~~)")


@dataclass(frozen=True, slots=True)
class Section:
    """What changed with one version: entries by kind, as Markdown without the headings."""

    version: Version | None
    """None for what is not released."""
    heading: str
    line: int
    """Of the heading, counted from 1."""
    preface: str
    """What stands before the first kind."""
    entries: Mapping[str, str]
    raw: str = ""
    """The section as it is in the file; empty for one that is made here."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has changed."""
        return not any(self.entries.values())

    @property
    def body(self) -> str:
        """The section without its heading, as Markdown that ends with a newline."""
        parts = [self.preface] if self.preface else []
        parts += [f"### {kind}\n\n{text}" for kind, text in self.entries.items() if text]
        return "\n\n".join(parts) + "\n" if parts else ""


@dataclass(frozen=True, slots=True)
class Changelog:
    """A whole changelog: what stands above, and its sections from the top."""

    head: str
    sections: tuple[Section, ...]

    @property
    def unreleased(self) -> Section:
        """What the next release will be of."""
        return self.sections[0]

    def section(self, version: Version) -> Section | None:
        """Return the section of a version, None where it has none."""
        return next((one for one in self.sections if one.version == version), None)

    def released(self, version: Version, day: datetime.date) -> Changelog:
        """Return the changelog once what is unreleased is a version.

        The sections of a release's own pre-releases become part of its: who comes from the last
        release wants to read all that is new.  Raises `ReleaseRefused` for a version that has a
        section.
        """
        if self.section(version) is not None:
            raise ReleaseRefused(
                f"{CHANGELOG} has a section of {version} already", hint="release another version"
            )
        mine = [self.unreleased]
        if not version.is_pre_release:
            mine += [s for s in self.sections if s.version is not None and s.version < version
                     and s.version.final == version]  # fmt: skip
        entries = {
            kind: "\n".join(text for one in mine if (text := one.entries.get(kind)))
            for kind in KINDS
        }
        preface = "\n\n".join(one.preface for one in mine if one.preface)
        heading = f"## {version.semver} - {day.isoformat()}"
        released = Section(version, heading, 0, preface, {k: v for k, v in entries.items() if v})
        fresh = Section(None, f"## {UNRELEASED}", 0, "", {})
        rest = [one for one in self.sections if one not in mine]
        return Changelog(self.head, (fresh, released, *rest))

    def text(self) -> str:
        """Return the file."""
        made = (one.raw or f"{one.heading}\n\n{one.body}" for one in self.sections)
        # What nobody changes stays as somebody wrote it.
        return "\n\n".join(part.strip("\n") for part in (self.head, *made)) + "\n"


def read_changelog(text: str, name: str = CHANGELOG) -> Changelog:
    """Return a changelog; `name` is for messages.

    Raises `ReleaseRefused`, with the line, for what is no section or kind of Keep a Changelog's.
    """
    blocks: list[tuple[int, list[str]]] = [(0, [])]
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        fenced ^= bool(_FENCE.match(line))
        if line.startswith("## ") and not fenced:
            blocks.append((number, []))
        blocks[-1][1].append(line)
    sections = tuple(_section(number, lines, name) for number, lines in blocks[1:])
    if not sections or sections[0].version is not None:
        raise ReleaseRefused(
            f"{name} does not begin with a section '## {UNRELEASED}'",
            hint="put one above the newest version, with what changed since",
        )
    seen: dict[Version | None, Section] = {}
    for before, one in zip((None, *sections), sections, strict=False):
        if one.version in seen:
            raise _wrong(name, one.line, f"'{one.heading[3:]}' is there twice", "join the two")
        seen[one.version] = one
        if before and before.version and one.version and before.version < one.version:
            hint = "the newest version comes first"
            raise _wrong(name, one.line, f"{one.version} comes after {before.version}", hint)
    return Changelog("\n".join(blocks[0][1]), sections)


def _section(number: int, lines: list[str], name: str) -> Section:
    heading = lines[0].rstrip()
    version = None
    if heading != f"## {UNRELEASED}":
        found = _HEADING.fullmatch(heading)
        version = Version.parse(found["name"]) if found else None
        if found is None or version is None or not _is_day(found["date"]):
            raise _wrong(
                name,
                number,
                f"'{heading}' is no heading of a version",
                f"write '## {UNRELEASED}' or '## 1.2.3 - 2026-11-29'",
            )
    parts: dict[str, list[str]] = {"": []}
    kind = ""
    fenced = False
    for at, line in enumerate(lines[1:], number + 1):
        fenced ^= bool(_FENCE.match(line))
        if line.startswith("### ") and not fenced:
            kind = line[4:].strip()
            if kind not in KINDS:
                hint = f"{nearest(kind, KINDS)} choose {', '.join(KINDS)}".strip()
                raise _wrong(name, at, f"'{kind}' is no kind of change", hint)
            if kind in parts:
                raise _wrong(name, at, f"'{kind}' is there twice in one section", "join the two")
            parts[kind] = []
        else:
            parts[kind].append(line.rstrip())
    texts = {kind: "\n".join(found).strip("\n") for kind, found in parts.items()}
    preface = texts.pop("")
    return Section(version, heading, number, preface, texts, "\n".join(lines))


def _is_day(text: str | None) -> bool:
    try:
        datetime.date.fromisoformat(text or "")
    except ValueError:
        return False
    return True


def _wrong(name: str, line: int, problem: str, hint: str) -> ReleaseRefused:
    return ReleaseRefused(f"{name}:{line}: {problem}", hint=hint)
