"""Where YAML and JSON can be spoiled: every key, item and scalar, at its place in the text.

A `words` of a caller names paths that are for people alone, as the name of a workflow's step:
what they say is left alone; that they are gone is left alone, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from mutants.mutant import Edit
from mutants.words import digests, numbers

Route = tuple[str, ...]
"""Keys from the top down to a value; `*` for any item of a list."""
_TURNED = (("==", "!="), ("!=", "=="), ("&&", "||"), ("||", "&&"))


def meaning(text: str) -> list[Any]:
    """Return the documents of a text."""
    try:
        # As text: 1, true and 1.0 are equal otherwise.
        return [repr(document) for document in yaml.load_all(text, _Loader)]
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without dates, and where `on` is a word: as YAML 1.2 has it."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern if not tag.endswith(":bool") else re.compile(r"^(?:true|false)$"))
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def edits(text: str, words: Callable[[Route], bool] = lambda route: False) -> Iterator[Edit]:
    """Yield every edit of a file; several documents are one file's."""
    seen: set[int] = set()
    for document in yaml.compose_all(text, _Loader):
        yield from _of_node(text, document, (), words, seen)


def _of_node(
    text: str, node: Any, route: Route, words: Callable[[Route], bool], seen: set[int]
) -> Iterator[Edit]:
    # An anchor's node is met again wherever it is used.
    if id(node) in seen or words(route):
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        yield from _of_scalar(text, node)
        return
    inside = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.MappingNode):
        parts = [(key, value, key.value) for key, value in node.value]
    else:
        parts = [(value, value, "*") for value in node.value]
    kept = [part for part in parts if inside[0] <= part[0].start_mark.index < inside[1]]
    for number, (first, value, name) in enumerate(kept):
        below = (*route, name)
        if not words(below):
            following = kept[number + 1][0] if number + 1 < len(kept) else None
            before = kept[number - 1][1] if number else None
            yield _without(text, node, first, following, before, value)
        yield from _of_node(text, value, below, words, seen)


def _without(text: str, parent: Any, first: Any, following: Any, before: Any, value: Any) -> Edit:
    """The edit that takes a pair or an item out of what it is in."""
    begin = first.start_mark.index
    block_item = isinstance(parent, yaml.SequenceNode) and not parent.flow_style
    if block_item:
        begin = text.rindex("-", 0, begin + 1) if text[begin] != "-" else begin
    if following is not None:
        end = following.start_mark.index
        if block_item:
            end = text.rindex("-", begin + 1, end)
        return begin, end, "", "gone"
    if parent.flow_style:
        if before is None:
            return begin, value.end_mark.index, "", "gone"
        return before.end_mark.index, value.end_mark.index, "", "gone"
    # The last of a block: with its line, unless something else begins there.
    end = text.rfind("\n", 0, parent.end_mark.index) + 1
    if end <= begin:
        end = len(text)
    line = text.rfind("\n", 0, begin) + 1
    if text[line:begin].strip():
        return begin, end, "{}\n", "gone"
    return line, end, "", "gone"


def _of_scalar(text: str, node: Any) -> Iterator[Edit]:
    begin, end = node.start_mark.index, node.end_mark.index
    said = text[begin:end]
    if node.style in ("|", ">"):
        yield from _of_block(text, begin, end)
        return
    kind = node.tag.rpartition(":")[2]
    if kind == "bool":
        other = "false" if said == "true" else "true"
        yield begin, end, other, f"{said} is {other}"
        return
    if kind in ("int", "float"):
        other = str(int(said) + 1) if kind == "int" else str(float(said) + 1)
        yield begin, end, other, f"{said} is {other}"
        return
    if kind == "null":
        return
    found = digests(said) or numbers(said)[:1]
    for start, stop, other in found:
        title = f"{said[start:stop][-12:]} is {other[-12:]}"
        yield begin + start, begin + stop, other, title
    for one, other in _TURNED:
        if f" {one} " in said:
            start = begin + said.index(f" {one} ") + 1
            yield start, start + len(one), other, f"{one} is {other}"
    if not found:
        # Inside of the quotes, if there are any.
        last = end - (1 if node.style in ('"', "'") else 0)
        yield last, last, "x", "another word"


def _of_block(text: str, begin: int, end: int) -> Iterator[Edit]:
    at = text.index("\n", begin) + 1
    for line in text[at:end].splitlines(keepends=True):
        if line.strip() and not line.strip().startswith("#"):
            yield at, at + len(line), "", "line gone"
        at += len(line)
