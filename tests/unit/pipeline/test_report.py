"""Progress is for stderr, results are for stdout, and both can be read by programs."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable

import pytest

from pipeline.report import (
    Bars,
    Lines,
    Silent,
    bytes_done,
    megabytes,
    print_json,
    print_table,
    progress,
)


def test_a_step_is_a_line_with_its_time_and_note() -> None:
    out = io.StringIO()
    with Lines(out).step("layers", total_bytes=10) as step:
        step.advance(10)
        step.note("3 built")
        assert out.getvalue() == ""
    assert re.fullmatch(r"layers: \d+\.\d s, 3 built\n", out.getvalue())


def test_a_step_without_a_note_is_just_its_time() -> None:
    out = io.StringIO()
    with Lines(out).step("layers"):
        pass
    assert re.fullmatch(r"layers: \d+\.\d s\n", out.getvalue())


def test_a_step_with_a_total_says_how_many_bytes_went() -> None:
    out = io.StringIO()
    with Lines(out).step("push", total_bytes=24_500_000) as step:
        step.advance(30_000_000)
        step.advance(-5_500_000)  # A transfer that started over.
    assert re.fullmatch(r"push: \d+\.\d s, 24\.5 MB\n", out.getvalue())


def fail_in(step: Callable[[], None]) -> None:
    with pytest.raises(ZeroDivisionError):
        step()


def test_a_step_that_fails_is_not_reported_as_done() -> None:
    out = io.StringIO()

    def step() -> None:
        with Lines(out).step("layers"):
            raise ZeroDivisionError

    fail_in(step)
    assert out.getvalue() == ""


def test_lines_of_several_threads_do_not_mix() -> None:
    out = io.StringIO()
    lines = Lines(out)

    def say(character: str) -> None:
        for _ in range(50):
            lines.say(character * 50)

    threads = [threading.Thread(target=say, args=(character,)) for character in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(set(line)) for line in out.getvalue().splitlines()} == {1}
    assert len(out.getvalue().splitlines()) == 200


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    with silent.step("x", total_bytes=1) as step:
        step.advance(1)
        step.note("y")
    silent.say("z")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; in the test itself, as pytest sets its own for each phase."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return stream


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with progress() as shown:
        assert isinstance(shown, Bars)
        with shown.step("layers", total_bytes=100) as step:
            step.advance(50)
            step.note("3 built")
        shown.say("by the way")
    for text in ("layers", "3 built", "by the way"):
        assert text in stream.getvalue()


def test_a_terminal_shows_bytes_while_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with progress() as shown:
        with shown.step("push", total_bytes=45_600_000) as step:
            step.advance(4_000_000)
            step.advance(8_300_000)
            assert isinstance(shown, Bars)
            shown._bars.refresh()
        with shown.step("wheels"):
            shown._bars.refresh()
    written = stream.getvalue()
    assert "12.3 / 45.6 MB" in written
    assert re.search(r"12\.3 / 45\.6 MB  \d+\.\d MB/s", written)
    # A step without a total counts something else, or nothing.
    assert not [line for line in written.splitlines() if "wheels" in line and " MB" in line]


@pytest.mark.parametrize(
    ("total", "done", "rate", "text"),
    [
        (None, 5, 5, ""),
        (2_000_000, 0, None, "0.0 / 2.0 MB"),
        (2_000_000, 500_000, 250_000, "0.5 / 2.0 MB  250.0 kB/s"),
        (9_000, 4_500, None, "4.5 / 9.0 kB"),
    ],
)
def test_done_and_total_are_in_one_unit(
    total: int | None, done: float, rate: float | None, text: str
) -> None:
    assert bytes_done(total, done, rate) == text


def test_brackets_in_names_are_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with progress() as shown:
        with shown.step("archive /tmp/[red]/[/x]/a.tar") as step:
            step.note("note [1] of [/2]")
        shown.say("said [3] of [/4]")
    for text in ("[red]/[/x]/a.tar", "note [1] of [/2]", "said [3] of [/4]"):
        assert text in stream.getvalue()


def test_a_bar_ends_when_its_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)

    def step() -> None:
        with progress() as shown, shown.step("layers"):
            raise ZeroDivisionError

    fail_in(step)
    assert "layers" in stream.getvalue()


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_a_terminal_that_is_none_gets_lines(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    with progress() as shown, shown.step("layers"):
        pass
    assert re.fullmatch(r"layers: \d+\.\d s\n", stream.getvalue())


def test_a_pipe_gets_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as shown:
        assert isinstance(shown, Lines)
        shown.say("said")
    assert capsys.readouterr() == ("", "said\n")


def test_json_goes_to_stdout_unescaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ä": [1, None]})
    out = capsys.readouterr().out
    assert "ä" in out
    assert json.loads(out) == {"ä": [1, None]}


def test_a_table_is_aligned_and_has_no_trailing_space(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["what", "n"], [["a", "1"], ["longer", ""]])
    assert capsys.readouterr().out == "what    n\na       1\nlonger\n"


def test_a_table_without_rows_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["what"], [])
    assert capsys.readouterr().out == ""


def test_heads_are_bold_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    print_table(["what"], [["a"]])
    assert stream.getvalue() == "\033[1mwhat\033[0m\na\n"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.0 kB"),
        (1, "0.0 kB"),
        (1500, "1.5 kB"),
        (999_949, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (24_540_000, "24.5 MB"),
        (3_000_000_000, "3000.0 MB"),
    ],
)
def test_sizes_are_in_decimal_units(size_bytes: int, text: str) -> None:
    assert megabytes(size_bytes) == text
