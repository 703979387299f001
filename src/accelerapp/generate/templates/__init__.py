"""The templates, and how a text is written into each kind of file.

A description is free text: every place where one is put goes through the rules of that
file, and a variable that is not there is an error.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from accelerapp.device.boards import Board

_HTML = ".html"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("accelerapp.generate", "templates"),
        autoescape=lambda name: bool(name and name.removesuffix(".j2").endswith(_HTML)),  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters |= {
        "c_number": c_number,
        "comment_lines": comment_lines,
        "data_block": data_block,
        "markdown": markdown,
        "pin_number": pin_number,
        "quoted": quoted,
    }
    environment.filters["sha256"] = source_hash
    return environment


def render(name: str, context: Mapping[str, Any]) -> str:
    return _environment().get_template(f"{name}.j2").render(context)


def visible(text: str) -> str:
    """`text` with characters that hide or reorder others spelled out: `<U+202E>`."""
    return "".join(
        f"<U+{ord(character):04X}>" if unicodedata.category(character) == "Cf" else character
        for character in text
    )


def comment_lines(text: str) -> list[str]:
    """Lines that are comments after `//` or `#`, whatever they hold.

    In C++ a backslash at the end, also as the trigraph `??/`, would join the next line.
    """
    lines = []
    for line in visible(text).splitlines():
        line = line.replace("??", "? ?").rstrip()
        lines.append(f"{line} ." if line.endswith("\\") else line)
    return lines


def quoted(text: str) -> str:
    """A string for Python and TOML, which both read JSON's escapes."""
    return json.dumps(text)


def markdown(text: str) -> str:
    """A line of CommonMark that shows `text` as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|&~:])", r"\\\1", " ".join(visible(text).split()))


def data_block(value: object) -> str:
    """JSON that no HTML parser sees the end of; for a script element that is data."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return Markup(text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}))  # noqa: S704


def source_hash(text: str) -> str:
    """The source expression of CSP for an inline element: `sha256-…`."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def c_number(value: float) -> str:
    return f"{float(value)!r}f"


def pin_number(label: str, board: Board) -> int:
    """What firmware calls the pin with this label."""
    pin = board.pin(label)
    assert pin is not None, label
    return pin.number
