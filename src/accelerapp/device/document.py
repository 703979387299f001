"""Texts that strangers send, as trees whose every value knows its line.

YAML is read from libyaml's events and not through a loader: no tags, no anchors, no
aliases and no merge keys, so that nothing grows beyond what was sent, and plain scalars
by the core schema of YAML 1.2.2 (chapter 10.3), where `no` is a text.  JSON (RFC 8259)
is read as JSON.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Literal, NoReturn

import yaml

try:
    from yaml import CSafeLoader
except ImportError:
    raise ImportError(
        "PyYAML is here without libyaml, and pure Python is too slow for what strangers send;"
        " install its wheel (pip install --only-binary=:all: pyyaml)"
    ) from None
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from accelerapp.device.model import Problem

Syntax = Literal["yaml", "json"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_NODES = 4000


class DescriptionError(Exception):
    """A description that cannot be used; `problems` has at least one."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class DescriptionUnreadable(DescriptionError):
    """Neither YAML nor JSON, or more than anybody writes by hand."""


@dataclass(slots=True)
class Node:
    """`value` is None, bool, int, float, str, a list of nodes, or a dict of names to nodes.

    `keys` has, for a dict, the place of each name; places count from 1.
    """

    value: Any
    line: int
    column: int
    keys: dict[str, tuple[int, int]] | None = None


def read(text: str | bytes, syntax: Syntax = "yaml", *, max_bytes: int = MAX_BYTES) -> Node:
    """The tree of one document. Raises DescriptionUnreadable, with the place where it can."""
    decoded = _decode(text, max_bytes)
    return _read_json(decoded) if syntax == "json" else _read_yaml(decoded)


def _unreadable(message: str, line: int | None = None, column: int | None = None) -> NoReturn:
    raise DescriptionUnreadable(Problem(message, "", line, column))


def _decode(text: str | bytes, max_bytes: int) -> str:
    if isinstance(text, str):
        try:
            data = text.encode()
        except UnicodeEncodeError:
            _unreadable("the text has half a surrogate pair; write it in UTF-8")
    else:
        data = text
    if len(data) > max_bytes:
        _unreadable(f"the description has more than {max_bytes} bytes; describe one device")
    try:
        decoded = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _unreadable("a byte here is not UTF-8; save the file in UTF-8", line)
    # U+0085, U+2028 and U+2029 end a line for libyaml, and for hardly any editor.
    if found := re.search(
        r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", decoded
    ):
        line, column = _place(decoded, found.start())
        _unreadable(f"the character U+{ord(found[0]):04X} cannot be read; remove it", line, column)
    return decoded


def _place(text: str, index: int) -> tuple[int, int]:
    start = text.rfind("\n", 0, index) + 1
    return text.count("\n", 0, start) + 1, index - start + 1


# YAML.


def _read_yaml(text: str) -> Node:
    root: Node | None = None
    # Containers that are open, and of a mapping the key that waits for its value.
    open_nodes: list[Node] = []
    waiting: list[tuple[str, int, int] | None] = []
    count = 0
    for event in _events(text):
        kind = type(event)
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            open_nodes.pop()
            waiting.pop()
            continue
        if kind is DocumentStartEvent and root is not None:
            _unreadable("a second document begins; give one", *_mark(event))
        if kind is AliasEvent:
            _unreadable("aliases are not read; write the value out", *_mark(event))
        if kind not in (ScalarEvent, MappingStartEvent, SequenceStartEvent):
            continue
        line, column = _mark(event)
        if event.anchor is not None:
            _unreadable("anchors are not read; write each value where it belongs", line, column)
        if event.tag is not None:
            _unreadable(f"tags such as {event.tag!r:.60} are not read; leave it out", line, column)
        count += 1
        if count > MAX_NODES:
            _unreadable(f"more than {MAX_NODES} values; describe one device", line, column)
        parent = open_nodes[-1] if open_nodes else None
        if parent is not None and parent.keys is not None and waiting[-1] is None:
            if kind is not ScalarEvent:
                _unreadable("a list or mapping cannot be a name; write `name: value`", line, column)
            _check_key(event.value, parent.keys, line, column)
            parent.keys[event.value] = (line, column)
            waiting[-1] = (event.value, line, column)
            continue
        if kind is ScalarEvent:
            plain = event.style is None or event.style == ""
            value = _scalar(event.value, line, column) if plain else event.value
            node = Node(value, line, column)
        elif kind is MappingStartEvent:
            node = Node({}, line, column, {})
        else:
            node = Node([], line, column)
        if parent is None:
            root = node
        elif parent.keys is None:
            parent.value.append(node)
        else:
            key = waiting[-1]
            assert key is not None
            parent.value[key[0]] = node
            waiting[-1] = None
        if kind is not ScalarEvent:
            if len(open_nodes) == MAX_DEPTH:
                _unreadable(f"nested more than {MAX_DEPTH} deep; a device needs 4", line, column)
            open_nodes.append(node)
            waiting.append(None)
    if root is None:
        _unreadable("there is no description; `accelerapp new` shows one")
    return root


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = _before_end(text, mark.line + 1, mark.column + 1) if mark else ()
        reason = " ".join(part for part in (error.context, error.problem) if part)
        _unreadable(f"not YAML: {reason or 'cannot be read'}", *place)
    except yaml.YAMLError as error:
        _unreadable(f"not YAML: {' '.join(str(error).split())[:200]}")


def _before_end(text: str, line: int, column: int) -> tuple[int, int]:
    """A place that an editor can show: libyaml puts the end on a line of its own."""
    lines = re.split(r"\r\n|\r|\n", text)
    if not lines[-1]:
        lines.pop()
    return (line, column) if line <= len(lines) else (len(lines), len(lines[-1]) + 1)


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _check_key(key: str, keys: dict[str, tuple[int, int]], line: int, column: int) -> None:
    if key == "<<":
        _unreadable("merge keys are not read; write the values out", line, column)
    if key in keys:
        _unreadable(f"{key!r:.60} is given twice, first in line {keys[key][0]}", line, column)


_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {
    spelling: word == "true"
    for word in ("true", "false")
    for spelling in (word, word.capitalize(), word.upper())
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _scalar(text: str, line: int, column: int) -> Any:
    """The value of a plain scalar. YAML 1.2.2, table 10.2 ("core schema")."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] in "0123456789+-.":
        if len(text) > 40 and _FLOAT.fullmatch(text):
            _unreadable(f"a number of {len(text)} characters; at most 40", line, column)
        if re.fullmatch(r"[-+]?[0-9]+", text):
            return int(text)
        if found := re.fullmatch(r"0o([0-7]{1,20})|0x([0-9a-fA-F]{1,16})", text):
            return int(found[1], 8) if found[1] else int(found[2], 16)
        if _FLOAT.fullmatch(text):
            return _finite(float(text), line, column)
        if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
            _unreadable(f"{text} is no number that a device has", line, column)
    return text


def _finite(number: float, line: int, column: int) -> float:
    if number in (float("inf"), float("-inf")):
        _unreadable("a number too large", line, column)
    return number


# JSON.  The json module says no lines, so a scanner of our own finds them; its string
# and number rules are the module's.

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = (("true", True), ("false", False), ("null", None))


def _read_json(text: str) -> Node:
    scanner = _Json(text)
    node = scanner.value(0)
    if scanner.at < len(text):
        scanner.fail("something follows the description; give one JSON value")
    return node


class _Json:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.count = 0
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self.skip()

    def skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def place(self) -> tuple[int, int]:
        line = bisect_right(self.lines, self.at)
        return line, self.at - self.lines[line - 1] + 1

    def fail(self, message: str) -> NoReturn:
        _unreadable(message, *self.place())

    def expected(self, what: str) -> NoReturn:
        found = repr(self.text[self.at]) if self.at < len(self.text) else "the end"
        self.fail(f"not JSON: expected {what}, found {found}")

    def value(self, depth: int) -> Node:
        line, column = self.place()
        self.count += 1
        if self.count > MAX_NODES:
            self.fail(f"more than {MAX_NODES} values; describe one device")
        first = self.text[self.at : self.at + 1]
        node = Node(None, line, column)
        if first in ("{", "["):
            if depth == MAX_DEPTH:
                self.fail(f"nested more than {MAX_DEPTH} deep; a device needs 4")
            if first == "{":
                node.value, node.keys = {}, {}
                self._object(node, node.keys, depth)
            else:
                node.value = []
                self._array(node, depth)
        elif first == '"':
            node.value = self._string()
        elif found := _NUMBER.match(self.text, self.at):
            if found.end() - self.at > 40:
                self.fail(f"a number of {found.end() - self.at} characters; at most 40")
            whole = not (found[2] or found[3])
            node.value = int(found[0]) if whole else _finite(float(found[0]), line, column)
            self.at = found.end()
        else:
            for word, meaning in _WORDS:
                if self.text.startswith(word, self.at):
                    node.value = meaning
                    self.at += len(word)
                    break
            else:
                self.expected("a value")
        self.skip()
        return node

    def _string(self) -> str:
        try:
            text, self.at = scanstring(self.text, self.at + 1, True)
        except JSONDecodeError as error:
            self.at = error.pos
            self.fail(f"not JSON: {error.msg}")
        if re.search("[\ud800-\udfff]", text):
            self.fail("the text has half a surrogate pair; write it in UTF-8")
        return str(text)

    def _object(self, node: Node, keys: dict[str, tuple[int, int]], depth: int) -> None:
        self._take("{")
        while not self._ends("}", empty=not keys):
            if self.text[self.at : self.at + 1] != '"':
                self.expected("a name in quotes")
            line, column = self.place()
            key = self._string()
            _check_key(key, keys, line, column)
            keys[key] = (line, column)
            self.skip()
            self._take(":")
            node.value[key] = self.value(depth + 1)

    def _array(self, node: Node, depth: int) -> None:
        self._take("[")
        while not self._ends("]", empty=not node.value):
            node.value.append(self.value(depth + 1))

    def _ends(self, end: str, *, empty: bool) -> bool:
        """Whether the container ends here; takes the comma before a further value."""
        if self.text[self.at : self.at + 1] == end:
            self.at += 1
            return True
        if not empty:
            self._take(",", f"',' or {end!r}")
        return False

    def _take(self, mark: str, what: str = "") -> None:
        if self.text[self.at : self.at + 1] != mark:
            self.expected(what or repr(mark))
        self.at += 1
        self.skip()
