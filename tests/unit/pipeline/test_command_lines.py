"""Scripts as simple commands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.command_lines import Command, ScriptUnreadable, commands_in


def words(script: str, **variables: str) -> list[str]:
    return [" ".join(command.words) for command in commands_in(script, variables)]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("", []),
        ("invoke build", ["invoke build"]),
        ("a 1; b 2 && c 3 || d | e & f\ng", ["a 1", "b 2", "c 3", "d", "e", "f", "g"]),
        ("a \\\n  --flag \\\n  value\nb", ["a --flag value", "b"]),
        ("a '1 2' \"3 4\" 5\\ 6 7'8'\"9\"", ["a 1 2 3 4 5 6 789"]),
        ("a # a comment; b\n# another $( \nc '#no' d#e", ["a", "c #no d#e"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("for x in 1 2 $(three); do a \"$x\"; done", ["three", "a $x"]),
        ("for x\ndo a; done", ["a"]),
        ("for ((i = 0; i < 3; i++)); do a; done", ["a"]),
        ("while ! a; do b; done; until c; do d; done", ["a", "b", "c", "d"]),
        ("{ a; b; }; (c; (d))", ["a", "b", "c", "d"]),
        ("f() { a; }\nf\nfunction g { b; }", ["a", "f", "b"]),
        ("case $x in\n  a|b) one;;\n  (c) two; three ;;\n  *)\n  four\nesac\nfive",
         ["one", "two", "three", "four", "five"]),
        ("a $(b $(c)) `d \\`e\\``", ["c", "b $(c)", "e", "d `e`", "a $(b $(c)) `d \\`e\\``"]),
        ('a "$(b "x y")" "`c`"', ["b x y", "c", 'a $(b "x y") `c`']),
        ("A=1 B='2 3' a; C=$(b); D=(1 $(c)\n 2) d", ["a", "b", "c", "d"]),
        ("a > file 2>&1 < in >> out b &> all; >only", ["a b"]),
        ("a 2 3>file", ["a 2"]),
        ("cat <<EOF\n$(a) it's \"\nEOF\nb", ["cat", "a", "b"]),
        ("cat <<'EOF'\n$(a)\nEOF\nb", ["cat", "b"]),
        ("cat <<-EOF | c\n\tx\n\tEOF\nb", ["cat", "c", "b"]),
        ("a <<< word; b", ["a", "b"]),
        ("[[ $x == a && ( -n y ) || $(b) > 3 ]] && c", ["b", "c"]),
        ("(( i += 1 )) && a $(( (1 + 2) * 3 ))", ["a $(( (1 + 2) * 3 ))"]),
        ("a <(b) ${x:-$(c)} ${y:-'}'} ${#z} $1 $@ $", ["b", "c", "a <(b) ${x:-$(c)} "
         "${y:-'}'} ${#z} $1 $@ $"]),
        ("a $'1\\'2' $\"3\"", ["a 1'2 3"]),
        ("a ${{ github.sha }} b", ["a ${{ github.sha }} b"]),
        ("a \"$X\"", ["a $X"]),
    ],
)  # fmt: skip
def test_every_simple_command_is_found(script: str, found: list[str]) -> None:
    assert words(script) == found


def test_a_quoted_word_is_one_word() -> None:
    assert commands_in("a 'b c' \"\" d''") == (Command(("a", "b c", "", "d"), 1),)


def test_lines_are_those_of_first_words() -> None:
    script = "# one\nA=1 \\\n  a x\n\nb $(c\n d) \\\n  y; e\ncat <<EOF\n$(f)\nEOF\ng"
    assert [(c.words[0], c.line) for c in commands_in(script)] == [
        ("a", 3), ("c", 5), ("d", 6), ("b", 5), ("e", 7), ("cat", 8), ("f", 9), ("g", 11)
    ]  # fmt: skip


def test_the_program_is_without_its_folder() -> None:
    (command,) = commands_in(".venv/bin/invoke build")
    assert command.program() == "invoke"
    assert Command(("nox", "-s"), 1).program() == "nox"


def test_variables_that_are_given_are_expanded_and_split_without_quotes() -> None:
    (command,) = commands_in('a $X "$X" \'$X\' ${X} p$X$Y $E "$E" $Z', {"X": "1 2", "E": ""})
    assert command.words == (
        "a", "1", "2", "1 2", "$X", "1", "2", "p1", "2$Y", "", "$Z"
    )  # fmt: skip


def test_surrounding_space_in_a_value_ends_words() -> None:
    (command,) = commands_in("a b${X}c", {"X": " 1 "})
    assert command.words == ("a", "b", "1", "c")


@pytest.mark.parametrize(
    "script", ["X=2; a $X", "read X; a $X", "for X in 1 2; do a $X; done", "export X=3; a $X"]
)
def test_what_the_script_assigns_is_not_known(script: str) -> None:
    assert words(script, X="1")[-1] == "a $X"


def test_what_a_substitution_assigns_is_gone_after_it() -> None:
    assert words("a $(X=2; b $X) $X", X="1") == ["b $X", "a $(X=2; b $X) 1"]


@pytest.mark.parametrize(
    ("script", "line", "reason"),
    [
        ("a\nb 'c\nd", 2, "a ' that"),
        ('a\nb "c\nd', 2, 'a " that'),
        ("a `b", 1, "a ` that"),
        ("a\n$(b", 2, "a '(' that"),
        ("a\nb)", 2, "a ')' that"),
        ("\n\n(a", 3, "a '(' that"),
        ("a ${b", 1, "a '${' that"),
        ("a $((1 + 2)", 1, "a '((' that"),
        ("\ncat <<EOF\na\nb", 2, "a here-document without its end 'EOF'"),
        ("case x in\na) b;;", 1, "a 'case' without"),
        ("[[ a", 1, "a '[[' that"),
        ("a >", 1, "'>' says no file"),
        ("x=(1 2", 1, "a '(' that"),
        ("a b (c)", 1, "a '(' in the middle"),
        ("$(" * 200 + ")" * 200, 1, "nested more than"),
        ("case x in a) " * 200, 1, "nested more than"),
        ("${x:-" * 200 + "}" * 200, 1, "nested more than"),
    ],
)
def test_what_no_shell_takes_is_refused_with_its_line(script: str, line: int, reason: str) -> None:
    with pytest.raises(ScriptUnreadable) as refused:
        commands_in(script)
    assert refused.value.line == line
    assert reason in str(refused.value)


@given(st.text(alphabet="ab $(){}[]'\"`\\\n;|&<>=#-c", max_size=60))
def test_no_text_does_worse_than_be_refused(script: str) -> None:
    lines = range(1, script.count("\n") + 2)
    try:
        found = commands_in(script, {"a": "1"})
    except ScriptUnreadable as error:
        refused = error.line
    else:
        refused = 1
        assert all(command.line in lines and command.words for command in found)
    assert refused in lines
