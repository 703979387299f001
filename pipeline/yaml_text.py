"""YAML that people write: as data, with lines where they are wanted, or one line about what is
wrong.  Each room says that in an error of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REASON_CHARACTERS = 200


class NotYaml(ValueError):
    """A text that is not YAML. `line` is counted from 1, None where nobody can tell."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line

    def place(self, name: str, first_line: int = 1) -> str:
        """Return `NAME:LINE`, for a text that begins at a line of a file."""
        return name if self.line is None else f"{name}:{self.line + first_line - 1}"


def load_marked(text: str) -> Any:
    """Return the data of a text, as ruamel.yaml's mappings and lists, which know their lines.

    Raises `NotYaml`.
    """
    return _load(text, "rt")


def load_plain(text: str) -> Any:
    """Return the data of a text as dicts, lists and scalars; raises `NotYaml`."""
    return _load(text, "safe")


def _load(text: str, kind: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ=kind, pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(error.problem or error.context or "cannot be read").split())
        raise NotYaml(reason, mark.line + 1 if mark is not None else None) from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(" ".join(str(error).split())[:_REASON_CHARACTERS], None) from error


def line_of(data: Any, path: Sequence[str | int]) -> int:
    """Return the line of a path in what `load_marked` returned, or of as much of it as is there;
    counted from 1."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    node, line = data, 1
    for key in path:
        try:
            if isinstance(node, CommentedMap):
                line = node.lc.key(key)[0] + 1
            elif isinstance(node, CommentedSeq):
                line = node.lc.item(key)[0] + 1
            else:
                break
            node = node[key]
        except (KeyError, IndexError, TypeError):
            break
    return line


def plain(node: Any) -> Any:
    """Return `node` as dicts, lists and scalars, with merge keys (`<<`) written out."""
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [plain(value) for value in node]
    # Scalars that remember how they were written are subclasses of the plain ones.
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
