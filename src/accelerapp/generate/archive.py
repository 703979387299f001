"""Files as one zip (PKWARE's APPNOTE 6.3), the same bytes for the same files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from accelerapp.generate import File

# The least that the format can say: no time of making goes into an archive.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


def archive(files: Sequence[File], root: str) -> bytes:
    """All of `files` in a folder `root`. Deflate at a fixed level, mode 0644."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for file in files:
            entry = zipfile.ZipInfo(f"{root}/{file.path}", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            entry.external_attr = 0o100644 << 16
            made.writestr(entry, file.content, compresslevel=6)
    return held.getvalue()
