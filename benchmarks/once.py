"""One command, and what it took: seconds, and the most memory that one of its processes had.

`python -I -S once.py COMMAND …` prints one JSON object. It is a process of its own, and a small
one: the kernel counts the memory of whoever starts a program as that program's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time


def main() -> None:
    """Run the arguments; print seconds, peak_bytes, exit_code, stdout and stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began_s = time.monotonic()
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began_s
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    json.dump(
        {
            "seconds": seconds,
            "peak_bytes": usage.ru_maxrss * 1024,
            "exit_code": os.waitstatus_to_exitcode(status),
            "stdout": texts[0],
            "stderr": texts[1],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
