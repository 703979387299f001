"""`accelerapp new`, `validate` and `generate`: descriptions on this machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import DescriptionInvalid, load
from accelerapp.device.document import MAX_BYTES, DescriptionError, DescriptionUnreadable, Syntax
from accelerapp.device.example import example
from accelerapp.device.model import Device
from accelerapp.generate.output import OutputError

if TYPE_CHECKING:
    from accelerapp.assist import Assist
    from accelerapp.generate import File, Generated

USAGE = 2
UNREADABLE = 4
INVALID = 5


class _Refused(Exception):
    """One line for standard error, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run one of the commands and return its exit code."""
    try:
        if arguments.command == "new":
            return _new(arguments)
        if arguments.command == "validate":
            return _validate(arguments)
        return _generate(arguments, environ)
    except _Refused as refused:
        _say(str(refused))
        return refused.exit_code
    except OutputError as error:
        _say(f"{error}, or give --force" if error.foreign else str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read has enough; the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OutputError.exit_code


def _say(line: str) -> None:
    print(f"accelerapp: {line}", file=sys.stderr)


def _new(arguments: argparse.Namespace) -> int:
    if arguments.platform not in BOARDS:
        known = ", ".join(BOARDS)
        raise _Refused(f"--platform={arguments.platform!r} cannot be used; give {known}", USAGE)
    text = example(arguments.platform)
    if arguments.output is None:
        print(text, end="", flush=True)
        return 0
    _write_file(Path(arguments.output), text.encode(), replace=arguments.force)
    print(f"{arguments.output}: change it, then: accelerapp generate {arguments.output}")
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    device = _device(arguments)
    if device is None:
        return arguments.exit_code  # type: ignore[no-any-return]
    if arguments.json:
        warnings = [warning.as_dict() for warning in device.warnings]
        print(json.dumps({"valid": True, "errors": [], "warnings": warnings}), flush=True)
    else:
        count = len(device.peripherals)
        print(
            f"{arguments.file}: {device.name}, {device.board.title},"
            f" {count} peripheral{'' if count == 1 else 's'}",
            flush=True,
        )
    return 0


def _generate(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from accelerapp.generate import File, generate

    device = _device(arguments)
    if device is None:
        return arguments.exit_code  # type: ignore[no-any-return]
    generated = generate(device)
    assist = _assist(device, environ) if device.assist else None
    files = generated.files
    if assist is not None and assist.status == "pass":
        files = (*files, File("ASSIST.md", assist.as_markdown(device)))
    if arguments.zip is not None:
        where = _zip(files, device, arguments.zip, replace=arguments.force)
    else:
        where = _folder(files, device, arguments, environ)
    # Standard output is the archive's.
    if arguments.zip != "-":
        _report(generated, files, where, assist, as_json=arguments.json)
    return 0


def _report(
    generated: Generated,
    files: tuple[File, ...],
    where: str,
    assist: Assist | None,
    *,
    as_json: bool,
) -> None:
    sizes = [(file.path, len(file.content.encode())) for file in files]
    if as_json:
        answer = {
            "device": {
                "name": generated.device.name.text,
                "platform": generated.device.board.platform,
                "version": generated.device.version,
            },
            "digest": generated.digest,
            "output": where,
            "files": [{"path": path, "size_bytes": size} for path, size in sizes],
            "warnings": [warning.as_dict() for warning in generated.device.warnings],
            "assist": assist.as_dict() if assist else None,
        }
        print(json.dumps(answer), flush=True)
        return
    width = max(len(path) for path, _ in sizes)
    for path, size in sizes:
        print(f"{path:<{width}}  {size:>7}")
    print(f"{where}  {generated.digest}", flush=True)


def _device(arguments: argparse.Namespace) -> Device | None:
    """The device of FILE; None, with everything said, if there is none."""
    try:
        device = load(_read(arguments.file), _syntax(arguments))
    except DescriptionError as error:
        unreadable = isinstance(error, DescriptionUnreadable)
        arguments.exit_code = UNREADABLE if unreadable else INVALID
        if arguments.json:
            errors = [problem.as_dict() for problem in error.problems]
            print(json.dumps({"valid": False, "errors": errors, "warnings": []}), flush=True)
        else:
            for problem in error.problems:
                print(f"{arguments.file}, {problem}", file=sys.stderr)
            if isinstance(error, DescriptionInvalid) and len(error.problems) > 1:
                _say(f"{arguments.file} has {len(error.problems)} problems")
        return None
    if not arguments.json:
        for warning in device.warnings:
            print(f"{arguments.file}, warning: {warning}", file=sys.stderr)
    return device


def _syntax(arguments: argparse.Namespace) -> Syntax:
    if arguments.syntax is not None:
        return arguments.syntax  # type: ignore[no-any-return]
    return "json" if arguments.file.lower().endswith(".json") else "yaml"


def _read(name: str) -> bytes:
    # One byte more than may be, so that the reader says that it is too much.
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(name, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Refused(
            f"{name} cannot be read: {error.strerror}; give a description, or - for standard input",
            UNREADABLE,
        ) from error


def _folder(
    files: tuple[File, ...],
    device: Device,
    arguments: argparse.Namespace,
    environ: Mapping[str, str],
) -> str:
    from accelerapp.generate.output import write

    set_to = environ.get("ACCELERAPP_OUTPUT_DIR", "")
    within = Path(set_to or "output")
    given = arguments.output is not None
    directory = Path(arguments.output) if given else within / device.name.slug
    # Where nobody set a limit, the folder on the command line is the user's own choice.
    limit = within if set_to or not given else None
    write(files, directory, within=limit, replace=arguments.force)
    return str(directory)


def _zip(files: tuple[File, ...], device: Device, name: str, *, replace: bool) -> str:
    from accelerapp.generate.archive import archive

    data = archive(files, device.name.slug)
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write_file(Path(name), data, replace=replace)
    return name


def _write_file(path: Path, data: bytes, *, replace: bool) -> None:
    """All of it or nothing: written beside its place, then moved there."""
    stage = ""
    try:
        handle, stage = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(stage, 0o666 & ~mask)
        if replace:
            os.replace(stage, path)
        else:
            # A link is never made over what is there, which a look beforehand may miss.
            os.link(stage, path)
            os.unlink(stage)
        stage = ""
    except FileExistsError as error:
        raise OutputError(f"{path} is there; give another name, or --force") from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; choose another place"
        ) from error
    finally:
        if stage:
            os.unlink(stage)


def _assist(device: Device, environ: Mapping[str, str]) -> Assist | None:
    from accelerapp.assist import Assistant
    from accelerapp.settings import Settings, SettingsError

    try:
        settings = Settings.load(environ)
    except SettingsError as error:
        raise _Refused(str(error), USAGE) from error
    if settings.ollama_url is None:
        _say("the assist is left out: set OLLAMA_HOST to an Ollama that is reachable")
        return None
    # The reason is said once, below, and not by the log as well.
    logging.getLogger("accelerapp").addHandler(logging.NullHandler())
    assist = Assistant(
        settings.ollama_url, settings.ollama_model, settings.assist_deadline_s, 1
    ).explain(device)
    if assist.status != "pass":
        _say(f"the assist is left out: {assist.reason}")
    return assist
