"""All checks of the monitor: `python3 -m monitoring.health_check` runs each once.

Exit codes: 0 healthy or degraded, 1 unhealthy (with --strict also degraded),
2 an option or a setting that cannot be used.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

from monitoring import targets
from monitoring.cgroup import Cgroup, Cpu
from monitoring.checks import WORDS, Check, Finding, health_document, overall
from monitoring.fetch import fetch
from monitoring.history import Sample
from monitoring.readings import Instruments, judge, read_disk
from monitoring.redis import ping
from monitoring.settings import VARIABLES, Settings, SettingsError
from monitoring.watch import Watch

# The distributions that the monitor runs on, and the oldest of each that will do.
DISTRIBUTIONS = {
    "bottle": "0.13.2",
    "psutil": "7",
    "waitress": "3.0.1",
}
# Beyond the deadlines of the probes themselves, for what has none.
SLACK_S = 0.5
_BEGINNING = Cpu(quota_cores=None, usage_s=None, periods=0, throttled_periods=0, throttled_s=None)


def configured_watches(settings: Settings) -> tuple[Watch, ...]:
    """One watch for each thing that the settings name, none of them started."""
    deadline_s = settings.probe_deadline_s
    looks: list[tuple[str, str, Callable[[], Finding]]] = [
        (
            "accelerapp:responseTime",
            "",
            functools.partial(
                targets.ask_application,
                f"{settings.application_url}/readyz",
                deadline_s=deadline_s,
                fetch=fetch,
            ),
        )
    ]
    if settings.ollama_url is not None:
        look = functools.partial(
            targets.ask_ollama,
            settings.ollama_url,
            models=settings.ollama_models,
            deadline_s=deadline_s,
            fetch=fetch,
        )
        looks.append(("ollama:responseTime", "", look))
    if settings.redis is not None:
        look = functools.partial(
            targets.ask_redis, settings.redis, deadline_s=deadline_s, ping=ping
        )
        looks.append(("redis:responseTime", "", look))
    for path in settings.disk_paths:
        look = functools.partial(
            targets.ask_disk,
            path,
            warn=settings.disk_warn,
            fail=settings.disk_fail,
            read=read_disk,
        )
        looks.append(("disk:free", path, look))
    look = functools.partial(targets.ask_python, DISTRIBUTIONS, installed=_installed)
    looks.append(("python:environment", "", look))
    return tuple(
        Watch(
            name,
            look,
            interval_s=settings.probe_interval_s,
            # One look may be missed and the next may use its whole deadline.
            max_age_s=2 * settings.probe_interval_s + deadline_s,
            slow_s=settings.probe_slow_s,
            component_id=component_id,
        )
        for name, component_id, look in looks
    )


def check_once(settings: Settings) -> tuple[Check, ...]:
    """Look at everything once, all at the same time; what does not end in time fails."""
    instruments = Instruments(configured_watches(settings), Cgroup.find())
    # Since the cgroup began: one run has no last minute.
    instruments.history.add(Sample(time.monotonic(), _BEGINNING, {}))
    threads = [threading.Thread(target=watch.look, daemon=True) for watch in instruments.watches]
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + settings.probe_deadline_s + SLACK_S
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    return tuple(
        check if check.duration_s is not None else _unanswered(check, settings.probe_deadline_s)
        for check in judge(instruments.read(), settings)
    )


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Check, print, and return the exit code; argparse itself exits with 2 on bad usage."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python3 -m monitoring.health_check",
        description="Run every check of the monitor once. Exit code 0: healthy or degraded,"
        " 1: unhealthy, 2: an option or a setting that cannot be used.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print what /health answers")
    parser.add_argument("--strict", action="store_true", help="degraded, too, exits with 1")
    parser.add_argument("--quiet", action="store_true", help="print nothing when healthy")
    options = parser.parse_args(argv)
    try:
        settings = Settings.load(environ)
    except SettingsError as error:
        print(f"health_check: {error}", file=sys.stderr)
        return error.exit_code
    # The table says it all; without a handler, warnings would go to stderr besides.
    logging.getLogger("monitoring").addHandler(logging.NullHandler())
    checks = check_once(settings)
    status = overall(checks)
    if options.json:
        print(json.dumps(health_document(checks, datetime.now(UTC)), indent=2))
    elif status != "pass" or not options.quiet:
        print_table(checks, sys.stdout)
        print(WORDS[status])
    return 1 if status == "fail" or (status == "warn" and options.strict) else 0


def settings_help() -> str:
    """The table of the settings, for --help."""
    width = max(len(variable.name) for variable in VARIABLES)
    lines = (f"  {v.name:{width}}  {v.meaning} ({v.default or 'not set'})" for v in VARIABLES)
    return "environment:\n" + "\n".join(lines)


def print_table(checks: Sequence[Check], out: TextIO) -> None:
    """The checks in columns, worst first."""
    rows = [("check", "status", "", "time", "found")]
    order = ("fail", "warn", "pass")
    for check in sorted(checks, key=lambda check: order.index(check.status)):
        spent = "" if check.duration_s is None else f"{check.duration_s * 1000:.0f} ms"
        needed = "required" if check.required else "optional"
        rows.append((check.component, check.status, needed, spent, check.output))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True))
        print("  ".join(cells).rstrip(), file=out)


def _unanswered(check: Check, deadline_s: float) -> Check:
    output = f"no answer within {deadline_s + SLACK_S:g} s"
    return replace(check, status="fail", output=output)


def _installed(name: str) -> str | None:
    # Not at the top: it takes a tenth of the start, and only a thread asks.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
