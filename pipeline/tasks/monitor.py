"""The monitor on this machine, as its image runs it."""

from __future__ import annotations

from invoke.context import Context
from invoke.exceptions import Exit

from pipeline.tasks.command import task


@task(
    help={
        "host": "address to listen on (default: MONITOR_HOST, else 127.0.0.1)",
        "port": "port to listen on, 0 for any free one (default: MONITOR_PORT, else 8080)",
        "check": "run every check once instead, print what they find, and exit with 1 if unhealthy",
        "json": "with --check: print as JSON",
    },
)
def monitor(
    c: Context, host: str = "", port: str = "", check: bool = False, json: bool = False
) -> None:
    """Serve /health, /metrics and a page about them until Ctrl-C; settings as in monitoring/."""
    from pipeline import monitor as local

    code = local.run(host=host, port=port, check=check, as_json=json)
    if code:
        raise Exit(code=code)
