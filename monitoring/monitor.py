"""The monitor: `python3 -m monitoring.monitor` serves until SIGTERM or SIGINT.

Exit codes: 0 stopped when asked, 1 the server failed, 2 an option or a setting
that cannot be used, 3 the address cannot be listened on, 128 + signal when a
second signal cut the stop short.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from monitoring.lifecycle import Lifecycle


def main(argv: Sequence[str] | None = None) -> int:
    """Serve and return the exit code; argparse itself exits with 2 on bad usage."""
    # Before the slow imports: until a handler is installed, the kernel drops
    # SIGTERM for PID 1, and the container would hang until it is killed.
    lifecycle = Lifecycle()
    lifecycle.handle_signals()

    from monitoring.settings import Settings, SettingsError

    _parse(argv)
    try:
        settings = Settings.load(os.environ)
    except SettingsError as error:
        print(f"monitor: {error}", file=sys.stderr)
        return error.exit_code

    import functools
    import time

    from monitoring import server
    from monitoring.fetch import fetch
    from monitoring.checks import probe_ready
    from monitoring.readings import take_readings
    from monitoring.watch import Watch
    from monitoring.web import create_app

    _configure_logging()
    application = Watch(
        "accelerapp",
        functools.partial(
            probe_ready,
            f"{settings.application_url}/readyz",
            deadline_s=settings.probe_deadline_s,
            fetch=fetch,
            clock=time.monotonic,
        ),
        interval_s=settings.probe_interval_s,
        # One probe may be missed and the next may use its whole deadline.
        max_age_s=2 * settings.probe_interval_s + settings.probe_deadline_s,
        clock=time.monotonic,
    )
    app = create_app(
        functools.partial(take_readings, (application,), settings.disk_path),
        disk_warn_bytes=settings.disk_warn_bytes,
        disk_fail_bytes=settings.disk_fail_bytes,
    )
    application.start()
    try:
        return server.serve(app, lifecycle, host=settings.host, port=settings.port)
    except server.ListenError as error:
        print(f"monitor: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        application.stop()


def _parse(argv: Sequence[str] | None) -> None:
    import argparse

    from monitoring.settings import VARIABLES

    width = max(len(variable.name) for variable in VARIABLES)
    parser = argparse.ArgumentParser(
        prog="python3 -m monitoring.monitor",
        description="Watch Accelerapp; serve /livez, /health and /metrics.",
        epilog="environment:\n"
        + "\n".join(f"  {v.name:{width}}  {v.meaning} ({v.default})" for v in VARIABLES),
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
    # waitress warns here once for each request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
