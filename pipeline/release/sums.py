"""SHA256SUMS, as `sha256sum --check` reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


def sums_text(files: Mapping[str, str]) -> bytes:
    """Return the file for SHA-256 digests by name, sorted by name."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items())).encode()


def read_sums(data: bytes) -> dict[str, str] | None:
    """Return the digests by name, None for what is no such file."""
    lines = data.decode("utf-8", "replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    return {one[2]: one[1] for one in found if one} if lines and all(found) else None
