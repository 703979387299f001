"""The chart's README: its table of values is made of values.yaml's own comments.

A value's description is the comment above it that begins with `# -- `, and the lines of it that
follow.  Every value has one: a leaf without a description is an error, so that the table is
whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import write_atomically
from pipeline.errors import ChartInvalid, RenderedStale
from pipeline.yaml_text import NotYaml, load_marked

BEGIN = "<!-- values: written by 'invoke helm.docs' -->"
END = "<!-- end of values -->"
README = "README.md"
VALUES = "values.yaml"


@dataclass(frozen=True, slots=True)
class Value:
    """A leaf of values.yaml. `path` is as `helm --set` takes it."""

    path: str
    default: Any
    description: str


def read_values(chart: Path) -> tuple[Value, ...]:
    """Return every value of a chart, in their order; raises `ChartInvalid` with the line of one
    that nothing describes."""
    path = chart / VALUES
    try:
        text = path.read_text(encoding="utf-8")
        data = load_marked(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise ChartInvalid(f"{path} cannot be read: {reason}") from error
    except NotYaml as error:
        raise ChartInvalid(
            f"{error.place(str(path))}: not YAML: {error.reason}", hint="correct it"
        ) from error
    if not isinstance(data, Mapping):
        raise ChartInvalid(f"{path} has no values", hint="it has to be a mapping")
    lines = text.splitlines()
    return tuple(_leaves(data, "", lines, path))


def _leaves(node: Any, prefix: str, lines: list[str], path: Path) -> Iterator[Value]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        line = node.lc.key(key)[0]
        described = _comment(lines, line)
        # A mapping that is described is one value, such as labels; else its keys are.
        if isinstance(value, Mapping) and value and not described:
            yield from _leaves(value, f"{name}.", lines, path)
        elif not described:
            raise ChartInvalid(
                f"{path}:{line + 1}: nothing says what {name} is for",
                hint="put a comment above it that begins with '# -- '",
            )
        else:
            yield Value(name, value, described)


def _comment(lines: list[str], line: int) -> str:
    """Return the description above a line, empty where there is none."""
    found: list[str] = []
    for text in reversed(lines[:line]):
        comment = re.match(r"\s*# ?(.*)", text)
        if comment is None:
            return ""
        found.insert(0, comment[1].removeprefix("-- "))
        if comment[1].startswith("-- "):
            return " ".join(found)
    return ""


def values_table(values: tuple[Value, ...]) -> str:
    """Return the table in Markdown."""
    rows = [
        f"| `{value.path}` | {_shown(value.default)} | {_cell(value.description)} |"
        for value in values
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def _shown(default: Any) -> str:
    text = json.dumps(default, ensure_ascii=False, default=str)
    if len(text) > 30 and re.fullmatch(r'"sha256:[0-9a-f]{64}"', text):
        text = f'{text[:20]}…"'
    return "" if default == "" else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def rendered_readme(chart: Path) -> str:
    """Return the README with the table as it should be; raises `ChartInvalid`."""
    path = chart / README
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChartInvalid(f"{path} cannot be read", hint="write one") from error
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ChartInvalid(
            f"{path} has no place for the table of values", hint=f"add '{BEGIN}' and '{END}'"
        )
    return f"{before}{BEGIN}\n{values_table(read_values(chart))}\n{END}{after}"


def write_readme(chart: Path, *, check: bool) -> bool:
    """Write the README's table, or with `check` look whether it is current; return whether it was.

    Raises `RenderedStale` for one that is not, with `check`; `ChartInvalid`.
    """
    path = chart / README
    wanted = rendered_readme(chart)
    if path.read_text(encoding="utf-8") == wanted:
        return True
    if check:
        raise RenderedStale(
            f"{path} is not what values.yaml says", hint="run 'invoke helm.docs' and commit it"
        )
    write_atomically(path, wanted.encode())
    return False
