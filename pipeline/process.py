"""The one door to child processes: argv tuples only, never a shell string."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.errors import ToolMissing

_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a finished command left behind; text is decoded as UTF-8."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.returncode == 0

    @property
    def reason(self) -> str:
        """The last line that it printed, on stderr if there is any, or else its exit code."""
        lines = [line.strip() for line in (self.stderr.strip() or self.stdout).splitlines()]
        return next((line for line in reversed(lines) if line), f"exit code {self.returncode}")


class OutputTooLong(Exception):
    """A command prints more than anybody wants to keep."""


class Runner(Protocol):
    """Runs commands; tests pass one that only remembers them."""

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        timeout_s: float | None = None,
        limit_bytes: int | None = None,
    ) -> Completed:
        """Run `argv` to its end. `env` is added to this process's own."""
        ...


class Feeder(Protocol):
    """Runs commands that read more than fits into memory."""

    def __call__(self, argv: tuple[str, ...], chunks: Iterable[bytes]) -> Completed:
        """Run `argv` to its end, with `chunks` as its input."""
        ...


def run(
    argv: tuple[str, ...],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_s: float | None = None,
    limit_bytes: int | None = None,
) -> Completed:
    """Run `argv` and capture what it prints; a non-zero exit is the caller's to judge.

    Raises `ToolMissing` when the program does not exist, and `TimeoutError` when it is not
    done, or somebody still holds its output, after `timeout_s`: it and all that it started
    are killed then; `OutputTooLong`, likewise, when it prints more than `limit_bytes`, which
    needs a deadline, too.  A command with a deadline runs in a session of its own, away from the
    terminal.
    """
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=timeout_s is not None,
        )
    except (FileNotFoundError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise _unusable(argv, error) from None
    with process:
        try:
            if timeout_s is not None and limit_bytes is not None:
                stdout, stderr = _communicate(process, stdin or b"", timeout_s, limit_bytes)
            else:
                stdout, stderr = process.communicate(stdin, timeout_s)
        except BaseException as error:
            if timeout_s is None:
                process.kill()
            else:
                # The group has the number of its leader, even when that one has ended.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"'{argv[0]}' was not done after {timeout_s} s") from None
            raise
    return Completed(
        argv,
        process.returncode,
        stdout.decode("utf-8", "replace"),
        stderr.decode("utf-8", "replace"),
    )


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes, timeout_s: float, limit_bytes: int
) -> tuple[bytes, bytes]:
    """Return what a command prints, like `Popen.communicate`, but never more than a limit."""
    deadline_s = time.monotonic() + timeout_s
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
    printed = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, err = printed.values()
    with selectors.DefaultSelector() as selector:
        for number in printed:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            for key, _ in selector.select(left_s):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                printed[key.fd] += data
            if len(out) + len(err) > limit_bytes:
                raise OutputTooLong(f"more than {limit_bytes} bytes")
    process.wait(max(deadline_s - time.monotonic(), 0.1))
    return bytes(out), bytes(err)


def feed(argv: tuple[str, ...], chunks: Iterable[bytes]) -> Completed:
    """Run `argv` with `chunks` as its input, one at a time; otherwise like `run`.

    A command that ends before it has read all of them is no error here: its exit code and
    what it printed say why.  When `chunks` fails, the command is killed, so that half an
    input is never taken for a whole one.
    """
    # Into files: nobody reads pipes while this process writes.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
        except (FileNotFoundError, PermissionError) as error:
            raise _unusable(argv, error) from None
        assert process.stdin is not None
        with process:
            try:
                with contextlib.suppress(BrokenPipeError):
                    for chunk in chunks:
                        process.stdin.write(chunk)
            except BaseException:
                process.kill()
                raise
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Completed(argv, process.returncode, *texts)


def _unusable(argv: tuple[str, ...], error: OSError) -> ToolMissing:
    wrong = "is not installed" if isinstance(error, FileNotFoundError) else "cannot be run"
    return ToolMissing(f"'{argv[0]}' {wrong}", hint="install it, or put it on PATH")


class Streamer(Protocol):
    """Runs commands that take their time; tests pass one that plays a record."""

    def __call__(
        self,
        argv: tuple[str, ...],
        on_line: Callable[[str], None],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Run `argv` to its end, calling `on_line` meanwhile; return its exit code."""
        ...


def stream(
    argv: tuple[str, ...],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `argv`, call `on_line` for each line that it prints, and return its exit code.

    `env` is added to this process's own.  The command is in a process group of its own: when
    `on_line` raises, or Ctrl-C is pressed, it is interrupted once and has ended before this
    returns.  Raises `ToolMissing` when the program does not exist.
    """
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
    except (FileNotFoundError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise _not_run(argv, error) from None
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            return process.wait()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command that still runs, more firmly each time, with all that it started."""
    for way in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)


def _not_run(argv: tuple[str, ...], error: OSError) -> ToolMissing:
    wrong = "is not installed" if isinstance(error, FileNotFoundError) else "cannot be run"
    return ToolMissing(f"'{argv[0]}' {wrong}", hint="install it, or put it on PATH")
