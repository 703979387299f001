"""Commands get what they are given, as it is, and give back what they print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ToolMissing
from pipeline.process import run

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


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolMissing) as caught:
        run(("no-such-program", "--version"))
    assert str(caught.value) == (
        "'no-such-program' is not installed; install it, or put it on PATH"
    )
