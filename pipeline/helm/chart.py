"""One chart: what its Chart.yaml says, and which files its package holds.

Follows Helm's "Charts" for `apiVersion: v2`, and Helm's own reading of `.helmignore`, which is
not Git's: the first rule that fits decides, and `!` excludes all that does not fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import ChartInvalid
from pipeline.yaml_text import NotYaml, load_marked, plain

CHART = Path("deployment/helm/accelerapp")
"""The chart of this repository, below its root."""
CHART_FILE = "Chart.yaml"
IGNORE_FILE = ".helmignore"
FILE_BYTES = 5 << 20
"""The largest file of a chart that helm reads."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE_RELEASE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_KINDS = ("application", "library")
# What helm's reader of archives takes for a way out of the chart, or for a folder.
_UNREADABLE = re.compile(r"\.\.|[A-Za-z]:/|.*\\", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart on disk, as its Chart.yaml describes it."""

    folder: Path
    name: str
    version: str
    """SemVer 2, such as `0.1.0` or `0.2.0-rc.1+build.5`."""
    app_version: str
    """Empty when Chart.yaml does not say."""
    kube_version: str
    """Which versions of Kubernetes it is for, such as `>=1.28.0-0`; empty for all."""
    metadata: Mapping[str, Any]
    """All of Chart.yaml as dicts, lists and scalars, keys that helm does not know included."""


def read_chart(folder: Path) -> Chart:
    """Return the chart in a folder; raises `ChartInvalid` with the line of what helm, or SemVer,
    refuses."""
    file = _ChartFile.read(folder / CHART_FILE)
    said = file.metadata
    if said.get("apiVersion") != "v2":
        file.refuse("apiVersion", "apiVersion is not v2", "write 'apiVersion: v2'")
    for key, (fits, kind) in _SHAPES.items():
        if said.get(key) is not None and not fits(said[key]):
            file.refuse(key, f"{key} is not {kind}", _HINTS.get(kind, "see Helm's 'Charts'"))
    name, version = said.get("name") or "", said.get("version") or ""
    if not name:
        file.refuse("name", "name is missing", "add one, such as 'name: accelerapp'")
    if not _NAME.fullmatch(name):
        file.refuse(
            "name",
            f"name {name!r} cannot be used",
            "use lower-case letters, digits and '-', with a letter or a digit at both ends",
        )
    if not version:
        file.refuse("version", "version is missing", "add one, such as 'version: 0.1.0'")
    if not _VERSION.fullmatch(version):
        file.refuse("version", f"version {version!r} is not SemVer 2", "write it like 0.1.0")
    if (said.get("type") or _KINDS[0]) not in _KINDS:
        file.refuse("type", f"type {said['type']!r} is not known", f"use {' or '.join(_KINDS)}")
    return Chart(
        folder, name, version, said.get("appVersion") or "", said.get("kubeVersion") or "", said
    )


def chart_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of the packaged chart, relative to its folder, sorted.

    They are those that `helm package` takes: all that .helmignore does not exclude, itself
    included.  Raises `ChartInvalid` for a rule that helm refuses, and for what is no file with
    a name that helm can read: symbolic links, devices, a backslash in a name.
    """
    rules = _read_rules(folder / IGNORE_FILE)
    found = sorted(_walk(folder, "", rules))
    if Path(CHART_FILE) not in found:
        reason = "is excluded by .helmignore" if (folder / CHART_FILE).exists() else "is missing"
        raise ChartInvalid(
            f"{shown(folder)}: {CHART_FILE} {reason}",
            hint="a rule with '!' excludes all that it does not name"
            if (folder / CHART_FILE).exists()
            else "name a chart's folder",
        )
    return tuple(found)


def shown(path: Path) -> str:
    """Return a path for messages: as short as the current folder allows."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


# Chart.yaml.


@dataclass(frozen=True, slots=True)
class _ChartFile:
    """Chart.yaml as data, with the line of each key."""

    title: str
    metadata: Mapping[str, Any]
    lines: Mapping[str, int]
    """Counted from 1."""

    @classmethod
    def read(cls, path: Path) -> _ChartFile:
        """Return the file; raises `ChartInvalid` for what is no YAML mapping."""
        from ruamel.yaml.comments import CommentedMap

        title = shown(path)
        text = _text(path, hint="a chart's folder has one")
        try:
            data = load_marked(text)
        except NotYaml as error:
            raise ChartInvalid(
                f"{error.place(title)}: not YAML: {error.reason}", hint="correct it"
            ) from None
        if not isinstance(data, CommentedMap):
            raise ChartInvalid(f"{title}: no mapping", hint="it begins with 'apiVersion: v2'")
        lines = {str(key): place[0] + 1 for key, place in (data.lc.data or {}).items()}
        return cls(title, plain(data), lines)

    def refuse(self, key: str, problem: str, hint: str) -> NoReturn:
        """Raise `ChartInvalid` about a key, with its line where it is there."""
        place = f":{self.lines[key]}" if key in self.lines else ""
        raise ChartInvalid(f"{self.title}{place}: {problem}", hint=hint)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_maps(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_people(value: Any) -> bool:
    return _is_maps(value) and all(_is_text_map(item) for item in value)


_TEXT, _TEXTS = "a text", "a list of texts"
_HINTS = {_TEXT: "write it in quotes", _TEXTS: "write each in quotes"}
_SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        (
            *("name", "version", "description", "type", "appVersion", "kubeVersion"),
            *("home", "icon", "condition", "tags"),
        ),
        (_is_text, _TEXT),
    ),
    "sources": (_is_texts, _TEXTS),
    "keywords": (_is_texts, _TEXTS),
    "annotations": (_is_text_map, "a mapping to texts"),
    "maintainers": (_is_people, "a list of mappings to texts"),
    "dependencies": (_is_maps, "a list of mappings"),
    "deprecated": (lambda value: isinstance(value, bool), "true or false"),
}


# The files.


def _walk(folder: Path, below: str, rules: tuple[_Rule, ...]) -> Iterator[Path]:
    try:
        found = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except OSError as error:
        reason = (error.strerror or "cannot be listed").lower()
        raise ChartInvalid(
            f"{shown(folder / below)} cannot be read: {reason}", hint="name a chart's folder"
        ) from None
    for entry in found:
        path = f"{below}/{entry.name}".lstrip("/")
        if _is_excluded(path, entry.is_dir(), rules):
            continue
        if entry.is_symlink():
            raise ChartInvalid(
                f"{shown(folder / path)} is a symbolic link",
                hint=f"put the file itself there, or exclude it in {IGNORE_FILE}",
            )
        _check_name(folder, path)
        if entry.is_dir():
            yield from _walk(folder, path, rules)
        elif entry.is_file():
            yield Path(path)
        else:
            raise ChartInvalid(
                f"{shown(folder / path)} is neither a file nor a folder",
                hint=f"remove it, or exclude it in {IGNORE_FILE}",
            )


def _check_name(folder: Path, path: str) -> None:
    # What is not UTF-8 on disk arrives as surrogates, which are not printable either.
    if _UNREADABLE.match(path) or not path.isprintable():
        raise ChartInvalid(
            f"{shown(folder)}: helm cannot read a file called {path!r}",
            hint=f"rename it, or exclude it in {IGNORE_FILE}",
        )


# .helmignore.


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool
    whole_path: bool

    def excludes(self, path: str, is_folder: bool) -> bool:
        subject = path if self.whole_path else path.rpartition("/")[2]
        fits = (is_folder or not self.folders_only) and bool(self.pattern.fullmatch(subject))
        return fits != self.negated


def _is_excluded(path: str, is_folder: bool, rules: tuple[_Rule, ...]) -> bool:
    return any(rule.excludes(path, is_folder) for rule in rules)


def _read_rules(path: Path) -> tuple[_Rule, ...]:
    """Return the rules of a `.helmignore`, those that helm adds included."""
    lines = _text(path).split("\n") if path.exists() else []
    rules = []
    for number, line in enumerate((*lines, "templates/.?*"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            if "**" in text:
                raise ValueError("'**' is not supported")
            rules.append(_rule(text))
        except ValueError as error:
            raise ChartInvalid(
                f"{shown(path)}:{number}: helm cannot use the rule {text!r}: {error}",
                hint="correct it: '*' and '?' stay within a name, '[' needs a ']'",
            ) from None
    return tuple(rules)


def _rule(text: str) -> _Rule:
    negated = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    return _Rule(_pattern(text.removeprefix("/")), negated, folders_only, "/" in text)


def _pattern(text: str) -> re.Pattern[str]:
    """Return what Go's `filepath.Match` takes a pattern for; raises `ValueError`."""
    made, at = "", 0
    while at < len(text):
        char = text[at]
        if char == "[":
            piece, at = _class(text, at + 1)
            made += piece
            continue
        if char == "\\":
            at += 1
            if at == len(text):
                raise ValueError("nothing follows the last backslash")
            made += re.escape(text[at])
        else:
            made += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        at += 1
    return re.compile(made, re.DOTALL)


def _class(text: str, at: int) -> tuple[str, int]:
    """Return the expression for what follows a `[`, and where it ends."""
    negated = text.startswith("^", at)
    at += negated
    begin, ranges = at, ""
    while at == begin or not text.startswith("]", at):
        low, at = _class_char(text, at)
        high = low
        if text.startswith("-", at):
            high, at = _class_char(text, at + 1)
        if low <= high:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
    if not ranges:  # Such as [z-a], which fits nothing.
        return "." if negated else "(?!)", at + 1
    return f"[{'^' if negated else ''}{ranges}]", at + 1


def _class_char(text: str, at: int) -> tuple[str, int]:
    escaped = text.startswith("\\", at)
    at += escaped
    if at >= len(text) - 1 or (text[at] in "-]" and not escaped):
        raise ValueError("a '[' is not closed, or has a '-' or ']' too many")
    return text[at], at + 1


def _text(path: Path, *, hint: str = "") -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise ChartInvalid(f"{shown(path)} cannot be read: {reason}", hint=hint) from None
