"""The command `accelerapp`.

Exit codes: 0 done or stopped when asked, 1 the server failed, 2 a flag or a
setting that cannot be used, 3 the address cannot be listened on, 4 a description
that cannot be read, 5 one that describes no device, 6 an output that cannot be
written, 128 + signal when a second signal cut the stop short.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from accelerapp import __version__

# For events that are on their way to Redis when the server has stopped.
PUBLISH_GRACE_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse itself exits with 2 on bad usage."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "info":
        return _info(as_json=arguments.json)
    if arguments.command == "serve":
        return _serve(host=arguments.host, port=arguments.port)

    from accelerapp import commands

    return commands.run(arguments, os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="accelerapp", description="From a device description to firmware, SDK and panel."
    )
    parser.add_argument("--version", action="version", version=f"accelerapp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer HTTP requests until SIGTERM or SIGINT")
    # Left as text: the settings check flags and variables alike, in the same words.
    serve.add_argument("--host", help="address to listen on (default: ACCELERAPP_HOST, 127.0.0.1)")
    serve.add_argument("--port", help="port, 0 for any free one (default: ACCELERAPP_PORT, 8000)")
    new = commands.add_parser("new", help="show a first description, with comments")
    new.add_argument("--platform", default="esp32", help="arduino, esp32 (default), raspberry-pi")
    new.add_argument("-o", "--output", metavar="FILE", help="write it there instead of showing it")
    new.add_argument("--force", action="store_true", help="also over a file that is there")
    validate = commands.add_parser("validate", help="say all that is wrong with a description")
    generate = commands.add_parser("generate", help="make firmware, SDK and panel of a description")
    for command in (validate, generate):
        command.add_argument(
            "file", metavar="FILE", help="the description, or - for standard input"
        )
        command.add_argument(
            "--syntax", choices=("yaml", "json"), help="default: by the file's suffix, else yaml"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")
    place = generate.add_mutually_exclusive_group()
    place.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder for the files (default: the device's name in ACCELERAPP_OUTPUT_DIR, output);"
        " inside of ACCELERAPP_OUTPUT_DIR where that is set",
    )
    place.add_argument("--zip", metavar="FILE", help="one archive instead, - for standard output")
    generate.add_argument(
        "--force", action="store_true", help="also over what accelerapp did not generate"
    )
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
    from accelerapp.assist import Assistant
    from accelerapp.events import Publisher
    from accelerapp.generate import warm_up

    logs.configure(settings.log_format)
    assistant = publisher = None
    if settings.ollama_url is not None:
        assistant = Assistant(
            settings.ollama_url,
            settings.ollama_model,
            settings.assist_deadline_s,
            settings.assist_concurrency,
        )
    if settings.redis_url is not None:
        publisher = Publisher(settings.redis_url, settings.redis_stream, settings.redis_maxlen)
        publisher.start()
    app = web.create_app(settings, lifecycle, assistant=assistant, publisher=publisher)
    warm_up()
    try:
        return server.serve(app, settings, lifecycle)
    except server.ListenError as error:
        print(f"accelerapp: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        if publisher is not None:
            publisher.close(PUBLISH_GRACE_S)
