"""The monitor: `python3 -m monitoring.monitor` serves until SIGTERM or SIGINT.

Exit codes: 0 stopped when asked, 1 the server failed, 2 an option or a setting
that cannot be used, 3 the address cannot be listened on, 128 + signal when a
second signal cut the stop short.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from monitoring.lifecycle import Lifecycle

if TYPE_CHECKING:
    from monitoring.page import Series
    from monitoring.readings import Instruments


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve and return the exit code; argparse itself exits with 2 on bad usage."""
    # Before the slow imports: until a handler is installed, the kernel drops
    # SIGTERM for PID 1, and the container would hang until it is killed.
    lifecycle = Lifecycle()
    lifecycle.handle_signals()

    import functools

    from monitoring import __version__, metrics, server
    from monitoring.cgroup import Cgroup
    from monitoring.health_check import configured_watches
    from monitoring.readings import Instruments
    from monitoring.settings import Settings, SettingsError
    from monitoring.web import Monitor, create_app

    _parse(argv)
    try:
        settings = Settings.load(environ)
    except SettingsError as error:
        print(f"monitor: {error}", file=sys.stderr)
        return error.exit_code

    _configure_logging()
    instruments = Instruments(configured_watches(settings), Cgroup.find())
    traffic = metrics.Traffic()
    started_at_s = lifecycle.started_at.timestamp()
    serving = server.Server(lifecycle, traffic)
    app = create_app(
        Monitor(
            settings=settings,
            lifecycle=lifecycle,
            about=metrics.About(__version__, settings.revision, started_at_s),
            traffic=traffic,
            read=instruments.read,
            series=functools.partial(_series, instruments),
            connections=lambda: serving.connections,
        )
    )
    instruments.start()
    try:
        return serving.serve(app, settings.host, settings.port)
    except server.ListenError as error:
        print(f"monitor: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        instruments.stop()


def _series(instruments: Instruments) -> tuple[Series, ...]:
    """The curves of the page."""
    from monitoring.page import Series

    history = instruments.history
    times = (
        Series(watch.name.partition(":")[0], "s", history.values(watch.name))
        for watch in instruments.watches
        if watch.name.endswith(":responseTime")
    )
    return (
        *times,
        Series("memory", "bytes", history.values("memory")),
        Series("cpu", "cores", history.cores()),
    )


def _parse(argv: Sequence[str] | None) -> None:
    import argparse

    from monitoring.health_check import settings_help

    parser = argparse.ArgumentParser(
        prog="python3 -m monitoring.monitor",
        description="Watch Accelerapp and what it needs;"
        " serve /, /livez, /readyz, /health, /status and /metrics.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)


def _configure_logging() -> None:
    import logging
    import time

    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter(
        "%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ"
    )
    plain.converter = time.gmtime
    handler.setFormatter(plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


if __name__ == "__main__":
    sys.exit(main())
