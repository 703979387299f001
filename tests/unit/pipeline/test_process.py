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
from pipeline.process import feed, run

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
from pipeline.process import run
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
