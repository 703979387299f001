"""Log lines on stderr, for people or for a log collector."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime

from accelerapp.settings import LogFormat


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(log_format: LogFormat) -> None:
    """Send every logger's records from INFO up to stderr, in place of any handler there is."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        plain = logging.Formatter(
            "%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"
        )
        plain.converter = time.gmtime
        handler.setFormatter(plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # waitress warns here once for each request that waits for a thread: under
    # load that is a line a request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
