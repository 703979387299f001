"""The command `accelerapp`.

Exit codes: 0 done or stopped when asked, 1 the server failed, 2 a flag or a
setting that cannot be used, 3 the address cannot be listened on, 128 + signal
when a second signal cut the stop short.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from accelerapp import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse itself exits with 2 on bad usage."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "info":
        return _info(as_json=arguments.json)
    return _serve(host=arguments.host, port=arguments.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="accelerapp", description="The Accelerapp service.")
    parser.add_argument("--version", action="version", version=f"accelerapp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer HTTP requests until SIGTERM or SIGINT")
    # Left as text: the settings check flags and variables alike, in the same words.
    serve.add_argument("--host", help="address to listen on (default: ACCELERAPP_HOST, 127.0.0.1)")
    serve.add_argument("--port", help="port, 0 for any free one (default: ACCELERAPP_PORT, 8000)")
    info = commands.add_parser("info", help="show the version and what it runs on")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _info(*, as_json: bool) -> int:
    from accelerapp.about import describe

    about = describe(os.environ)
    if as_json:
        import json

        print(json.dumps(about))
    else:
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
    return 0


def _serve(*, host: str | None, port: str | None) -> int:
    from accelerapp.lifecycle import Lifecycle

    # Before the slow imports: until a handler is installed, the kernel drops
    # SIGTERM for PID 1, and the container would hang until it is killed.
    lifecycle = Lifecycle()
    lifecycle.handle_signals()

    from accelerapp.settings import Settings, SettingsError

    try:
        settings = Settings.load(os.environ, host=host, port=port)
    except SettingsError as error:
        print(f"accelerapp: {error}", file=sys.stderr)
        return error.exit_code

    from accelerapp import logs, server, web

    logs.configure(settings.log_format)
    app = web.create_app(settings, lifecycle)
    try:
        return server.serve(app, settings, lifecycle)
    except server.ListenError as error:
        print(f"accelerapp: {error}", file=sys.stderr)
        return error.exit_code
