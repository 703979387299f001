"""Shell scripts as the simple commands in them: what a step of a workflow, or a guide, runs.

The grammar is that of the POSIX shell (IEEE Std 1003.1, chapter 2 of the volume Shell &
Utilities), with what people write of bash besides: `[[ … ]]`, `(( … ))`, arrays, `<(…)`.  Nothing
is run, and nothing is expanded but the variables that are given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[[^\]]*\])?\+?=")
_FUNCTION = re.compile(r"[ \t]*\([ \t]*\)")
_REDIRECTION = re.compile(r"(?:[0-9]*|\{[A-Za-z_][A-Za-z0-9_]*\})(<<-|<<<|<<|<>|<&|>>|>\||>&|<|>)")
_BOTH = re.compile(r"&>>?")
_PROCESS = re.compile(r"[<>]\(")
_ESAC = re.compile(r"esac(?![^\s;&|)])")
_BRANCH_END = re.compile(r";;&?|;&")
_BLANK = " \t"
_ENDS_WORD = " \t\n;&|()<>"
# What only introduces or ends other commands.
_AROUND = frozenset(
    ("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "esac", "{", "}", "!")
)
# The deepest that parentheses and quotes may be nested; nobody reads that, and Python stops later.
_DEPTH_LIMIT = 60


class ScriptUnreadable(ValueError):
    """A script that no shell takes. `line` is counted from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its words without quotes, redirections and leading `NAME=value`.

    What cannot be known is left as it is written: `$NAME`, `${NAME:-x}`, `$(…)`.
    """

    words: tuple[str, ...]
    line: int
    """Of its first word in the script, from 1."""

    def program(self) -> str:
        """Return the program without its folder: `invoke` for `.venv/bin/invoke`."""
        return self.words[0].rpartition("/")[2]


def commands_in(script: str, variables: Mapping[str, str] = {}) -> tuple[Command, ...]:
    """Return every simple command of a script, those in `$(…)` before the one that they are in.

    `variables` are expanded, and split into words where they stand without quotes, unless the
    script gives them other values.  Raises `ScriptUnreadable`.
    """
    reader = _Reader(script, dict(variables))
    reader.read()
    return tuple(reader.found)


@dataclass
class _Reader:
    text: str
    variables: dict[str, str]
    first_line: int = 1
    depth: int = 0
    at: int = 0
    found: list[Command] = field(default_factory=list)
    documents: list[tuple[str, bool, bool]] = field(default_factory=list)
    """Here-documents whose text begins at the next line: delimiter, `<<-`, quoted."""

    def read(self) -> None:
        self._list(end="")

    # Commands.

    def _list(self, end: str) -> None:
        """Read commands up to `end`, a closing parenthesis, or to the end of the text."""
        opened = self.at
        self._deeper()
        while self.at < len(self.text):
            here = self.text[self.at]
            if here in " \t;&|":
                if here == "&" and _BOTH.match(self.text, self.at):
                    self._simple()
                else:
                    self.at += 1
            elif here == "\n":
                self._newline()
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif here == "#":
                self._comment()
            elif here == ")":
                if not end:
                    raise self._error("a ')' that nothing opens")
                self.at += 1
                self.depth -= 1
                return
            elif self.text.startswith("((", self.at):
                self._arithmetic(self.at + 2)
            elif here == "(":
                self.at += 1
                self._list(end=")")
            else:
                self._simple()
        if end:
            raise self._error("a '(' that nothing closes", opened - 1)
        self.depth -= 1

    def _simple(self) -> None:
        words: list[str] = []
        line = 0
        while True:
            self._blanks()
            here = self.text[self.at : self.at + 1]
            if self._redirection():
                continue
            if not here or here in "\n;&|)":
                break
            if here == "#":
                self._comment()
                break
            if here == "(":
                raise self._error("a '(' in the middle of a command")
            begin = self.at
            fields = self._word()
            raw = self.text[begin : self.at]
            if not words:
                if assigned := _ASSIGNMENT.match(raw):
                    self._assigned(assigned[1], is_array=raw == assigned[0])
                    continue
                if _FUNCTION.match(self.text, self.at) and _NAME.fullmatch(raw.replace("-", "_")):
                    self.at = self._end_of(_FUNCTION)
                    return
                if raw in _AROUND:
                    return
                if raw in ("for", "select", "case", "function", "[["):
                    self._compound(raw)
                    return
                line = self._line(begin)
            words += fields
        if words:
            if words[0] in ("read", "export", "local", "declare", "readonly", "unset"):
                for word in words[1:]:
                    if name := _NAME.match(word):
                        self.variables.pop(name[0], None)
            self.found.append(Command(tuple(words), line))

    def _compound(self, raw: str) -> None:
        """Read what follows a word that begins a command of several."""
        if raw == "[[":
            self._test()
        elif raw == "case":
            self._blanks()
            self._word()
            self._case()
        else:
            self._blanks()
            begin = self.at
            self._word()
            self.variables.pop(self.text[begin : self.at], None)
            if raw == "function":
                if _FUNCTION.match(self.text, self.at):
                    self.at = self._end_of(_FUNCTION)
                return
            while True:
                self._blanks()
                if self.text[self.at : self.at + 1] in ("", "\n", ";"):
                    return
                if not self._parenthesised():
                    self._word_or_error()

    def _parenthesised(self) -> bool:
        """Read `((…))`, as in bash's other `for`."""
        if not self.text.startswith("((", self.at):
            return False
        self._arithmetic(self.at + 2)
        return True

    def _test(self) -> None:
        opened = self.at
        while self.at < len(self.text):
            if self.text[self.at] in _ENDS_WORD:
                self.at += 1
                continue
            begin = self.at
            self._word_or_error()
            if self.text[begin : self.at] == "]]":
                return
        raise self._error("a '[[' that nothing closes", opened)

    def _case(self) -> None:
        """Read `in`, and patterns each with its commands, up to `esac`."""
        opened = self.at
        self._deeper()
        self._space()
        self._word_or_error()
        while True:
            self._space()
            if self.at >= len(self.text):
                raise self._error("a 'case' without its 'esac'", opened)
            if _ESAC.match(self.text, self.at):
                self.at += len("esac")
                self.depth -= 1
                return
            while self.at < len(self.text) and self.text[self.at] != ")":
                if self.text[self.at] in _ENDS_WORD:
                    self.at += 1
                else:
                    self._word_or_error()
            self.at += 1
            self._branch()

    def _branch(self) -> None:
        """Read the commands of one pattern of a `case`, with the `;;` that ends them."""
        while self.at < len(self.text):
            if found := _BRANCH_END.match(self.text, self.at):
                self.at = found.end()
                return
            here = self.text[self.at]
            if here in " \t;&|":
                self.at += 1
            elif here == "\n":
                self._newline()
            elif here == "#":
                self._comment()
            elif _ESAC.match(self.text, self.at):
                return
            elif here == "(":
                self.at += 1
                self._list(end=")")
            elif here == ")":
                raise self._error("a ')' that nothing opens")
            else:
                self._simple()

    # Words.

    def _word_or_error(self) -> None:
        begin = self.at
        self._word()
        if self.at == begin:
            raise self._error(f"'{self.text[begin : begin + 1]}' where a word should be")

    def _word(self) -> list[str]:
        """Read one word; return what it is for the command: none, one or several."""
        fields: list[str] = []
        current: str | None = None
        while self.at < len(self.text):
            here = self.text[self.at]
            if here in "<>" and self.text.startswith("(", self.at + 1) and current is None:
                current = self._raw(self.at + 2)
                continue
            if here in _ENDS_WORD:
                break
            if here == "\\":
                if not self.text.startswith("\n", self.at + 1):
                    current = (current or "") + self.text[self.at + 1 : self.at + 2]
                self.at += 2
            elif here == "'":
                current = (current or "") + self._single()
            elif here == '"':
                current = (current or "") + self._double()
            elif here == "`":
                current = (current or "") + self._backticks()
            elif here == "$":
                text, is_value = self._dollar()
                if not is_value:
                    current = (current or "") + text
                    continue
                parts = text.split()
                if text[:1].isspace() and current is not None:
                    fields.append(current)
                    current = None
                for index, part in enumerate(parts):
                    if index:
                        fields.append(current or "")
                        current = None
                    current = (current or "") + part
                if text[-1:].isspace() and current is not None:
                    fields.append(current)
                    current = None
            else:
                current = (current or "") + here
                self.at += 1
        if current is not None:
            fields.append(current)
        return fields

    def _single(self) -> str:
        close = self.text.find("'", self.at + 1)
        if close < 0:
            raise self._error("a ' that nothing closes")
        value = self.text[self.at + 1 : close]
        self.at = close + 1
        return value

    def _double(self) -> str:
        opened = self.at
        self.at += 1
        value = self._until('"')
        if self.at >= len(self.text):
            raise self._error('a " that nothing closes', opened)
        self.at += 1
        return value

    def _until(self, close: str) -> str:
        """Read what double quotes hold, up to `close`, or to the end where there is none."""
        value = ""
        while self.at < len(self.text) and self.text[self.at] != close:
            here = self.text[self.at]
            if here == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                if following != "\n":
                    value += following if following in ('"', "\\", "$", "`") else here + following
                self.at += 2
            elif here == "`":
                value += self._backticks()
            elif here == "$":
                value += self._dollar()[0]
            else:
                value += here
                self.at += 1
        return value

    def _dollar(self) -> tuple[str, bool]:
        """Read what begins with `$`; return it, and whether it is the value of a variable."""
        begin = self.at
        if self.text.startswith("$((", begin):
            self._arithmetic(begin + 3)
        elif self.text.startswith("$(", begin):
            return self._raw(begin + 2), False
        elif self.text.startswith("${", begin):
            self._braces(begin)
            name = self.text[begin + 2 : self.at - 1]
            if name in self.variables:
                return self.variables[name], True
        elif self.text.startswith("$'", begin):
            return self._escaped(begin + 2), False
        elif self.text.startswith('$"', begin):
            self.at += 1
            return self._double(), False
        elif name_match := _NAME.match(self.text, begin + 1):
            self.at = name_match.end()
            if name_match[0] in self.variables:
                return self.variables[name_match[0]], True
        else:
            # `$1`, `$@`, or a dollar sign by itself.
            following = self.text[begin + 1 : begin + 2]
            self.at += 2 if following and following in "0123456789@*#?$!-" else 1
        return self.text[begin : self.at], False

    def _raw(self, inside: int) -> str:
        """Read `$(…)` or `<(…)`, whose commands begin at `inside`; return it as it is written."""
        begin, self.at = self.at, inside
        # What it assigns is gone after it.
        kept = dict(self.variables)
        self._list(end=")")
        self.variables = kept
        return self.text[begin : self.at]

    def _braces(self, begin: int) -> None:
        self._deeper()
        self.at = begin + 2
        nested = 0
        while self.at < len(self.text):
            here = self.text[self.at]
            if here == "}" and nested == 0:
                self.at += 1
                self.depth -= 1
                return
            if here in "{}":
                nested += 1 if here == "{" else -1
                self.at += 1
            elif here == "'":
                self._single()
            elif here == '"':
                self._double()
            elif here == "`":
                self._backticks()
            elif here == "$" and self.text.startswith("${", self.at):
                self._braces(self.at)
            elif here == "$" and self.text.startswith("$(", self.at):
                self._dollar()
            else:
                self.at += 2 if here == "\\" else 1
        raise self._error("a '${' that nothing closes", begin)

    def _escaped(self, inside: int) -> str:
        """Read `$'…'`, in which a backslash may stand before the quote."""
        opened, at = self.at, inside
        while at < len(self.text) and self.text[at] != "'":
            at += 2 if self.text[at] == "\\" else 1
        if at >= len(self.text):
            raise self._error("a ' that nothing closes", opened)
        self.at = at + 1
        escapes = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(
            r"\\(.)",
            lambda found: escapes.get(found[1], found[1]),
            self.text[inside:at],
            flags=re.S,
        )

    def _backticks(self) -> str:
        begin = at = self.at
        at += 1
        while at < len(self.text) and self.text[at] != "`":
            at += 2 if self.text[at] == "\\" else 1
        if at >= len(self.text):
            raise self._error("a ` that nothing closes", begin)
        inside = re.sub(r"\\([`$\\])", r"\1", self.text[begin + 1 : at])
        inner = _Reader(inside, dict(self.variables), self._line(begin), self.depth)
        inner._deeper()
        inner.read()
        self.found += inner.found
        self.at = at + 1
        return self.text[begin : self.at]

    def _arithmetic(self, inside: int) -> None:
        """Read up to the `))` that closes what begins at `inside`."""
        opened, depth, at = self.at, 2, inside
        while at < len(self.text) and depth:
            depth += {"(": 1, ")": -1}.get(self.text[at], 0)
            at += 1
        if depth:
            raise self._error("a '((' that nothing closes", opened)
        self.at = at

    # What is no word.

    def _redirection(self) -> bool:
        """Read a redirection, if there is one here."""
        found = _BOTH.match(self.text, self.at) or _REDIRECTION.match(self.text, self.at)
        if found is None or _PROCESS.match(self.text, self.at):
            return False
        self.at = found.end()
        self._blanks()
        begin = self.at
        fields = self._word()
        raw = self.text[begin : self.at]
        if self.at == begin:
            raise self._error(f"'{found[0]}' says no file", found.start())
        if found.lastindex and found[1] in ("<<", "<<-"):
            quoted = any(quote in raw for quote in "'\"\\")
            # A delimiter is never expanded.
            delimiter = raw if not quoted else "".join(fields)
            self.documents.append((delimiter, found[1] == "<<-", quoted))
        return True

    def _assigned(self, name: str, *, is_array: bool) -> None:
        self.variables.pop(name, None)
        if is_array and self.text.startswith("(", self.at):
            opened = self.at
            self.at += 1
            while True:
                self._space()
                if self.at >= len(self.text):
                    raise self._error("a '(' that nothing closes", opened)
                if self.text[self.at] == ")":
                    self.at += 1
                    return
                self._word_or_error()

    def _newline(self) -> None:
        self.at += 1
        waiting, self.documents = self.documents, []
        for delimiter, strips_tabs, quoted in waiting:
            begin = self.at
            while True:
                if self.at >= len(self.text):
                    raise self._error(f"a here-document without its end '{delimiter}'", begin - 1)
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                here, self.at = self.at, min(end + 1, len(self.text))
                if (line.lstrip("\t") if strips_tabs else line) == delimiter:
                    break
            if not quoted:
                inner = _Reader(
                    self.text[begin:here], dict(self.variables), self._line(begin), self.depth
                )
                inner._until("")
                self.found += inner.found

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _blanks(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in _BLANK:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                return

    def _space(self) -> None:
        """Read blanks, line ends and comments."""
        while True:
            self._blanks()
            if self.text.startswith("\n", self.at):
                self._newline()
            elif self.text.startswith("#", self.at):
                self._comment()
            else:
                return

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        return found.end() if found else self.at

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEPTH_LIMIT:
            raise self._error(f"nested more than {_DEPTH_LIMIT} deep")

    def _line(self, at: int) -> int:
        return self.first_line + self.text.count("\n", 0, at)

    def _error(self, reason: str, at: int | None = None) -> ScriptUnreadable:
        return ScriptUnreadable(reason, self._line(self.at if at is None else at))
