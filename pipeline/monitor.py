"""The monitor in this process: what `python3 -m monitoring.monitor` does in its image."""

from __future__ import annotations

import os

from pipeline.errors import OptionInvalid, ToolMissing


def run(*, host: str = "", port: str = "", check: bool = False, as_json: bool = False) -> int:
    """Serve until SIGINT or SIGTERM, or check once; return the monitor's exit code.

    Flags go before the environment. Raises OptionInvalid for flags that do not go
    together, ToolMissing without the monitor's requirements.
    """
    if check and (host or port):
        raise OptionInvalid(
            f"--check takes no {'--host' if host else '--port'}", hint="it does not listen"
        )
    if as_json and not check:
        raise OptionInvalid("--json goes with --check", hint="/health and /status are JSON anyway")
    environ = dict(os.environ)
    environ |= {"MONITOR_HOST": host} if host else {}
    environ |= {"MONITOR_PORT": port} if port else {}
    try:
        from monitoring import health_check, monitor
    except ModuleNotFoundError as error:
        raise ToolMissing(
            f"{error.name} is not installed, which the monitor needs",
            hint="pip install -r requirements/dev.txt",
        ) from error
    if check:
        return health_check.main(["--json"] if as_json else [], environ)
    return monitor.main([], environ)
