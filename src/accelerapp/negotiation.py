"""Which media type to answer with (RFC 9110, 12.5.1), and which one came (8.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANGE = re.compile(r"\s*([\w!#$&^.+-]+|\*)/([\w!#$&^.+-]+|\*)\s*((?:;[^;]*)*)", re.ASCII)
_QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.I)


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The one of `offered` that `accept` likes best, the first of equals; None for none.

    An empty header accepts everything; a range that cannot be read accepts nothing.
    """
    if not accept.strip():
        return offered[0]
    ranges = []
    for part in accept.split(",")[:100]:
        if found := _RANGE.fullmatch(part):
            quality = _QUALITY.search(found[3])
            if "q=" in found[3].replace(" ", "").lower() and quality is None:
                continue
            weight = float(quality[1]) if quality else 1.0
            ranges.append((found[1].lower(), found[2].lower(), weight))
    best, most = None, 0.0
    for media_type in offered:
        kind, _, form = media_type.partition("/")
        # The most specific range decides, also when it says no.
        fitting = [
            ((r_kind != "*") + (r_form != "*"), weight)
            for r_kind, r_form, weight in ranges
            if r_kind in ("*", kind) and r_form in ("*", form)
        ]
        weight = max(fitting)[1] if fitting else 0.0
        if weight > most:
            best, most = media_type, weight
    return best


def media_type(header: str) -> tuple[str, str]:
    """Type in lower case and charset, empty where there is none: `("text/yaml", "utf-8")`."""
    kind, *parameters = header.split(";")
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset
