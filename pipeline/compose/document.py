"""Compose files as data, with the line of everything in them.

https://github.com/compose-spec/compose-spec/blob/main/spec.md, chapters 12 (interpolation)
and 13 (merge), as far as the files of this project go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from pipeline.errors import ComposeUnreadable
from pipeline.yaml_text import NotYaml, line_of, load_marked, plain

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class ComposeFile:
    """One file. `data` is what it says before interpolation and merging."""

    name: str
    data: CommentedMap

    def line(self, path: Path_) -> int:
        """The line of `path`, or of as much of it as is there; counted from 1."""
        return line_of(self.data, path)


def read_file(path: Path, root: Path) -> ComposeFile:
    """One Compose file. Raises ComposeUnreadable, with the line, for what is no YAML mapping."""
    name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ComposeUnreadable(f"{name} cannot be read: {reason}") from error
    try:
        data = load_marked(text)
    except NotYaml as error:
        raise ComposeUnreadable(
            f"{error.place(name)}: not YAML: {error.reason}", hint="correct it"
        ) from error
    if not isinstance(data, CommentedMap):
        raise ComposeUnreadable(f"{name}: no mapping", hint="a Compose file begins with services:")
    return ComposeFile(name, data)


# Interpolation.


@dataclass(frozen=True, slots=True)
class Use:
    """One `${NAME…}`. `operator` is `:-`, `-`, `:+`, `+`, `:?`, `?` or empty."""

    name: str
    operator: str
    argument: str


class _Malformed(ValueError):
    """A `$` that Compose refuses."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-+?]")


def uses(text: str) -> list[Use]:
    """Every variable in `text`, those inside of others included. ValueError if malformed."""
    found: list[Use] = []
    for part in _parts(text):
        if isinstance(part, Use):
            found += [part, *uses(part.argument)]
    return found


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables filled in. ValueError if malformed, or for an unmet `?`."""
    return "".join(
        part if isinstance(part, str) else _value(part, environ) for part in _parts(text)
    )


def _value(use: Use, environ: Mapping[str, str]) -> str:
    value = environ.get(use.name)
    there = value is not None and (value != "" or not use.operator.startswith(":"))
    match use.operator[-1:]:
        case "-":
            return str(value) if there else interpolated(use.argument, environ)
        case "+":
            return interpolated(use.argument, environ) if there else ""
        case "?":
            if not there:
                raise _Malformed(f"{use.name} has to be set: {use.argument}")
    return value or ""


def _parts(text: str) -> Iterator[str | Use]:
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        yield text[at:dollar]
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            yield "$"
            at = dollar + 2
        elif following == "{":
            end = _closing(text, dollar + 2)
            yield _use(text[dollar + 2 : end])
            at = end + 1
        elif found := _NAME.match(text, dollar + 1):
            yield Use(found[0], "", "")
            at = found.end()
        else:
            raise _Malformed(f"a lone $ in {text!r}; write $$ for a dollar sign")
    yield text[at:]


def _closing(text: str, at: int) -> int:
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise _Malformed(f"a brace is not closed in {text!r}")


def _use(body: str) -> Use:
    found = _NAME.match(body)
    if not found:
        raise _Malformed(f"${{{body}}} names no variable")
    rest = body[found.end() :]
    operator = _OPERATOR.match(rest)
    if rest and not operator:
        raise _Malformed(f"${{{body}}} cannot be read")
    return Use(
        found[0], operator[0] if operator else "", rest[len(operator[0]) :] if operator else ""
    )


def strings(node: Any, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Every string value in `node`, with its path. Keys are not interpolated."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from strings(value, (*path, key))
    elif isinstance(node, str):
        yield path, node
    elif isinstance(node, Sequence):
        for index, value in enumerate(node):
            yield from strings(value, (*path, index))


def filled(node: Any, environ: Mapping[str, str]) -> Any:
    """`node` with every string interpolated. ValueError as `interpolated`."""
    if isinstance(node, dict):
        return {key: filled(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, environ) for value in node]
    return interpolated(node, environ) if isinstance(node, str) else node


# Merging.


@dataclass(frozen=True)
class Project:
    """Base and overlays as one document, interpolated; `origin` finds the line of a path."""

    files: tuple[ComposeFile, ...]
    data: dict[str, Any]
    overlays: tuple[str, ...] = field(default=())

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        services = self.data.get("services")
        found = services.items() if isinstance(services, dict) else ()
        return {name: service for name, service in found if isinstance(service, dict)}

    def origin(self, path: Path_) -> str:
        """`FILE:LINE` of the last file that says something about `path`."""
        for size in range(len(path), 0, -1):
            for file in reversed(self.files):
                if _has(file.data, path[:size]):
                    return f"{file.name}:{file.line(path[:size])}"
        return f"{self.files[0].name}:1"


def _has(node: Any, path: Path_) -> bool:
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


# What a later file replaces as a whole.
_WHOLE = frozenset(("command", "entrypoint", "test"))


def merged(files: Sequence[ComposeFile], environ: Mapping[str, str]) -> Project:
    """The files as one, as Compose merges them: mappings by key, lists one after the other."""
    data: Any = {}
    for file in files:
        data = _merge(data, filled(plain(file.data), environ))
    return Project(tuple(files), data, tuple(file.name for file in files[1:]))


def _merge(base: Any, over: Any, key: str = "") -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        joined = dict(base)
        for name, value in over.items():
            joined[name] = _merge(base[name], value, name) if name in base else value
        return joined
    if isinstance(base, list) and isinstance(over, list) and key not in _WHOLE:
        return [*base, *(value for value in over if value not in base)]
    return over


def environment_file(path: Path) -> dict[str, str | None]:
    """Names in a file such as .env.example, with their values; None where commented out.

    Raises ComposeUnreadable.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ComposeUnreadable(f"{path.name} cannot be read: {reason}") from error
    found: dict[str, str | None] = {}
    for line in lines:
        if match := re.fullmatch(r"(#?)([A-Za-z_][A-Za-z0-9_]*)=(.*)", line.strip()):
            found[match[2]] = None if match[1] else match[3].strip().strip("\"'")
    return found
