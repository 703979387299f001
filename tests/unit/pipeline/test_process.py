"""Commands get what they are given, as it is, and give back what they print."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ToolMissing
from pipeline.process import Completed, feed, run, stream

REPOSITORY = Path(__file__).parents[3]
ECHO = "import sys; print(sys.argv[1:], end='')"
VARIABLES = "import os; print(os.environ.get('ADDED'), os.environ.get('KEPT'), end='')"


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *arguments)


def test_output_errors_and_exit_code_are_kept_apart() -> None:
    argv = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    done = run(argv)
    assert (done.argv, done.returncode, done.stdout, done.stderr) == (argv, 3, "out\n", "err\n")
    assert not done.ok
    assert run(python("")).ok


@pytest.mark.parametrize(
    ("stdout", "stderr", "reason"),
    [
        ("out\n", "first\nlast \n\n", "last"),
        ("out\nmore\n", " \n", "more"),
        ("", "", "exit code 3"),
    ],
)
def test_the_reason_is_the_last_line(stdout: str, stderr: str, reason: str) -> None:
    assert Completed(("x",), 3, stdout, stderr).reason == reason


def test_no_shell_sees_the_arguments() -> None:
    arguments = ["$HOME", "a b", "; rm -rf x", "`id`", "*", "", "'\"", "ü"]
    assert run(python(ECHO, *arguments)).stdout == str(arguments)


def test_the_environment_is_added_to_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    assert run(python(VARIABLES), env={"ADDED": "added"}).stdout == "added kept"
    assert run(python(VARIABLES), env={"KEPT": "changed"}).stdout == "None changed"
    assert run(python(VARIABLES)).stdout == "None kept"


def test_input_is_given_as_it_is() -> None:
    code = "import sys; print(repr(sys.stdin.read()), end='')"
    assert run(python(code), stdin=b"secret\n").stdout == "'secret\\n'"
    assert run(python(code), stdin=b"").stdout == "''"


def test_a_command_does_not_read_what_people_type() -> None:
    code = """
import sys
from pipeline.process import run, stream
print(repr(run((sys.executable, "-c", "import sys; print(sys.stdin.read(), end='')")).stdout))
"""
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=REPOSITORY, input=b"typed", stdout=subprocess.PIPE
    )
    assert done.stdout == b"''\n"


def test_a_command_runs_in_its_folder(tmp_path: Path) -> None:
    done = run(python("import os; print(os.getcwd(), end='')"), cwd=tmp_path)
    assert Path(done.stdout) == tmp_path.resolve()


def test_output_that_is_not_utf_8_is_still_text() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'caf\xe9 \xc3\xa9')"
    assert run(python(code)).stdout == "caf\ufffd é"


def test_a_command_that_is_done_in_time_is_not_disturbed() -> None:
    code = "import sys; print(sys.stdin.read(), end=''); sys.exit(3)"
    done = run(python(code), stdin=b"in", timeout_s=60)
    assert (done.returncode, done.stdout) == (3, "in")


def test_a_command_that_is_not_done_in_time_is_ended_with_its_children() -> None:
    """The children of one that has ended already, too: they hold its output."""
    for rest in ("wait", "exit 0"):
        reader, writer = os.pipe()
        argv = ("sh", "-c", f"sleep 600 & {rest}")
        with os.fdopen(reader, "rb") as kept, inherited(writer):
            with pytest.raises(TimeoutError, match=r"^'sh' was not done after 0\.5 s$"):
                run(argv, timeout_s=0.5)
            os.close(writer)
            # The end of the file is there as soon as nobody holds the other end any more.
            assert select.select([kept], [], [], 20)[0]


@contextlib.contextmanager
def inherited(descriptor: int) -> Iterator[None]:
    """Let every child have a descriptor."""
    popen = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", functools.partial(popen, pass_fds=(descriptor,)))
        yield


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolMissing) as caught:
        run(("no-such-program", "--version"))
    assert str(caught.value) == (
        "'no-such-program' is not installed; install it, or put it on PATH"
    )
    with pytest.raises(ToolMissing, match="'no-such-program' is not installed"):
        feed(("no-such-program",), [b""])


def test_a_command_is_fed_piece_by_piece() -> None:
    asked = []

    def chunks() -> Iterator[bytes]:
        for number in range(50):
            asked.append(number)
            yield bytes([number]) * 100_000

    code = "import sys; print(len(sys.stdin.buffer.read()), end=''); sys.exit(3)"
    done = feed(python(code), chunks())
    assert (done.stdout, done.returncode, asked) == ("5000000", 3, list(range(50)))


def test_a_command_may_end_before_it_has_read_everything() -> None:
    chunks = (b"x" * 1_000_000 for _ in range(100))
    done = feed(python("import sys; print('full', file=sys.stderr); sys.exit(4)"), chunks)
    assert (done.returncode, done.stderr) == (4, "full\n")


def test_half_an_input_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    proof = tmp_path / "whole"
    code = f"import sys; sys.stdin.read(); open({str(proof)!r}, 'w').close()"
    with pytest.raises(OSError, match="the disk is gone"):
        feed(python(code), chunks())
    assert not proof.exists()


def test_a_command_that_is_fed_says_as_much_as_it_likes() -> None:
    code = "import sys; sys.stderr.write('e' * 500_000); sys.stdout.write(sys.stdin.read())"
    done = feed(python(code), (b"x" * 100_000 for _ in range(5)))
    assert (len(done.stdout), len(done.stderr)) == (500_000, 500_000)


# Commands that are watched


def test_lines_arrive_while_the_command_runs(tmp_path: Path) -> None:
    code = """
import pathlib, sys, time
print("out", flush=True)
print("err", file=sys.stderr, flush=True)
for _ in range(600):
    if pathlib.Path("seen").exists():
        sys.exit(0)
    time.sleep(0.05)
sys.exit(9)
"""
    lines: list[str] = []

    def watch(line: str) -> None:
        lines.append(line)
        if line == "err":
            (tmp_path / "seen").touch()

    assert stream(python(code), watch, cwd=tmp_path) == 0
    assert lines == ["out", "err"]


def test_a_watched_command_gets_its_environment_and_gives_its_exit_code(tmp_path: Path) -> None:
    lines: list[str] = []
    code = f"{VARIABLES}; import sys; print(); sys.exit(7)"
    assert stream(python(code), lines.append, env={"ADDED": "added"}, cwd=tmp_path) == 7
    assert lines == ["added None"]


def test_output_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    lines: list[str] = []
    stream(python(r"import sys; sys.stdout.buffer.write(b'caf\xe9\n')"), lines.append)
    assert lines == ["caf\ufffd"]


def test_who_stops_watching_ends_the_command_and_what_it_started() -> None:
    code = """
import subprocess, sys
child = subprocess.Popen((sys.executable, "-c", "import time; time.sleep(600)"))
print(child.pid, flush=True)
child.wait()
"""
    started: list[int] = []

    def stop(line: str) -> None:
        started.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream(python(code), stop)
    (pid,) = started
    assert not is_alive(pid)


def test_a_command_that_ignores_an_interrupt_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.process._STOP_TIMEOUT_S", 0.2)
    code = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
    started: list[int] = []

    def stop(line: str) -> None:
        started.append(int(line))
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        stream(python(code), stop)
    assert not is_alive(started[0])


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_missing_program_to_watch_is_named() -> None:
    with pytest.raises(ToolMissing, match="'no-such-program' is not installed"):
        stream(("no-such-program",), print)
