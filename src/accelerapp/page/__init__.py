"""The page at `/`: paste a description, see the files, take the zip. One document, no requests
but to this service, no script or style that its policy does not name by hash."""

from __future__ import annotations

import functools
from importlib.resources import files

from accelerapp import __version__
from accelerapp.device.boards import BOARDS
from accelerapp.device.example import example
from accelerapp.generate.templates import data_block, source_hash


@functools.cache
def _parts() -> tuple[str, str, str]:
    folder = files("accelerapp.page")
    html, style, script = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    return html, style, script


@functools.cache
def html() -> bytes:
    """The document, in UTF-8."""
    document, style, script = _parts()
    examples = [
        {"platform": board.platform, "title": board.title, "text": example(board.platform)}
        for board in BOARDS.values()
    ]
    for mark, text in (
        ("{{ style }}", style),
        ("{{ script }}", script),
        ("{{ examples }}", str(data_block(examples))),
        ("{{ version }}", __version__),
    ):
        document = document.replace(mark, text)
    return document.encode()


@functools.cache
def policy() -> str:
    """The Content-Security-Policy to send with it (CSP level 3)."""
    _, style, script = _parts()
    return (
        f"default-src 'none'; style-src '{source_hash(style)}'; script-src '{source_hash(script)}';"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
