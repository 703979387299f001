"""What this installation is, for people and for `/info`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from accelerapp import __version__


def describe(environ: Mapping[str, str]) -> dict[str, str]:
    """Name, version, revision (only where ACCELERAPP_REVISION is set), Python and machine.

    Reads nothing that can be invalid and imports nothing slow: it has to answer
    when the settings are wrong.
    """
    about = {"name": "accelerapp", "version": __version__}
    revision = environ.get("ACCELERAPP_REVISION", "")
    if revision:
        about["revision"] = revision
    about["python"] = ".".join(str(part) for part in sys.version_info[:3])
    about["machine"] = os.uname().machine
    return about
