"""GitHub's expression language: text as a tree, or the place where it is wrong.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions.  Names and
functions are not looked up here: `references.py` does that, `evaluate.py` computes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

# GitHub's own limits.
LENGTH_LIMIT = 21_000
_DEPTH_LIMIT = 50

# Each function with the fewest and the most arguments; None for any number.
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "always": (0, 0),
    "cancelled": (0, 0),
    "case": (3, None),
    "contains": (2, 2),
    "endswith": (2, 2),
    "failure": (0, 0),
    "format": (1, None),
    "fromjson": (1, 1),
    "hashfiles": (1, 255),
    "join": (1, 2),
    "startswith": (2, 2),
    "success": (0, 0),
    "tojson": (1, 1),
}
STATUS_FUNCTIONS = frozenset(("always", "cancelled", "failure", "success"))


class ExpressionInvalid(ValueError):
    """A text that is no expression. `at` is where, counted from 0."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at


@dataclass(frozen=True, slots=True)
class Literal:
    """`null`, `true`, a number or a text."""

    value: bool | float | str | None


@dataclass(frozen=True, slots=True)
class Name:
    """A context, such as `github`, in lower case."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Property:
    """`of.name`."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """`of[key]`."""

    of: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Star:
    """`of.*` or `of[*]`: everything in it."""

    of: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function, in lower case, with its arguments."""

    name: str
    arguments: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    """`!of`."""

    of: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: Node
    right: Node


Node = Literal | Name | Property | Index | Star | Call | Not | Binary


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


_TOKENS = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<number>[-+]?(?:0x[0-9A-Fa-f]+|0o[0-7]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]+)?)(?![A-Za-z0-9_.]))"
    r"|(?P<infinity>-Infinity(?![A-Za-z0-9_-]))"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)"
    r"|(?P<operator>&&|\|\||==|!=|<=|>=|[!<>()\[\],.*])"
)
# Of binary operators, the loosest first.
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))
_WORDS: dict[str, bool | float | None] = {
    "null": None,
    "true": True,
    "false": False,
    "NaN": float("nan"),
    "Infinity": float("inf"),
}


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Node:
    """Return the tree of what stands between `${{` and `}}`. Raises `ExpressionInvalid`.

    The same few are read for every event: trees never change, and are kept.
    """
    if len(text) > LENGTH_LIMIT:
        raise ExpressionInvalid(f"longer than {LENGTH_LIMIT} characters", LENGTH_LIMIT)
    parser = _Parser(_tokens(text), len(text))
    if parser.token.kind == "end":
        raise ExpressionInvalid("there is no expression", 0)
    tree = parser.expression()
    if parser.token.kind != "end":
        raise parser.error()
    return tree


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        # After a dot there are names and stars, and no number begins with one.
        match = _TOKENS.match(text, at)
        if match and match.lastgroup == "number" and text[at] == "." and _follows_value(found):
            match = None
        if match is None:
            if text[at] == "." and _follows_value(found):
                found.append(_Token("operator", ".", at))
                at += 1
                continue
            raise ExpressionInvalid(_what_is_wrong(text, at), at)
        if match.lastgroup != "space":
            found.append(_Token(str(match.lastgroup), match[0], at))
        at = match.end()
    return found


def _follows_value(found: list[_Token]) -> bool:
    return bool(found) and (found[-1].kind == "name" or found[-1].text in (")", "]", "*"))


def _what_is_wrong(text: str, at: int) -> str:
    here = text[at]
    if here == "'":
        return "a ' that nothing closes"
    if here == '"':
        return "texts are between ' and ', not in double quotes"
    if here in "&|=":
        return f"'{here}' is no operator; there are && || == !="
    return f"'{here}' means nothing here"


class _Parser:
    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = [*tokens, _Token("end", "", end)]
        self._next = 0
        self._depth = 0

    @property
    def token(self) -> _Token:
        return self._tokens[self._next]

    def error(self) -> ExpressionInvalid:
        token = self.token
        what = "it ends too early" if token.kind == "end" else f"'{token.text}' is not expected"
        return ExpressionInvalid(what, token.at)

    def _take(self, *texts: str) -> _Token | None:
        token = self.token
        if token.kind == "operator" and token.text in texts:
            self._next += 1
            return token
        return None

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            raise self.error()

    def expression(self, level: int = 0) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self.expression(level + 1)
        while token := self._take(*_LEVELS[level]):
            left = Binary(token.text, left, self.expression(level + 1))
        return left

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise ExpressionInvalid(f"nested more than {_DEPTH_LIMIT} deep", self.token.at)
        node: Node = Not(self._unary()) if self._take("!") else self._postfix(self._primary())
        self._depth -= 1
        return node

    def _primary(self) -> Node:
        token = self.token
        if self._take("("):
            inner = self.expression()
            self._expect(")")
            return inner
        if token.kind not in ("text", "number", "infinity", "name"):
            raise self.error()
        self._next += 1
        if token.kind == "text":
            return Literal(token.text[1:-1].replace("''", "'"))
        if token.kind == "infinity":
            return Literal(float("-inf"))
        if token.kind == "number":
            return Literal(_number(token.text))
        if self._take("("):
            return self._call(token)
        if token.text in _WORDS:
            return Literal(_WORDS[token.text])
        return Name(token.text.lower(), token.at)

    def _call(self, token: _Token) -> Node:
        arguments: list[Node] = []
        if not self._take(")"):
            arguments.append(self.expression())
            while self._take(","):
                arguments.append(self.expression())
            self._expect(")")
        return Call(token.text.lower(), tuple(arguments), token.at)

    def _postfix(self, node: Node) -> Node:
        for _ in range(LENGTH_LIMIT):
            if isinstance(node, Literal) and self.token.text in (".", "["):
                raise self.error()
            if self._take("."):
                token = self.token
                if self._take("*"):
                    node = Star(node)
                    continue
                if token.kind != "name":
                    raise self.error()
                self._next += 1
                node = Property(node, token.text)
            elif self._take("["):
                node = Star(node) if self._take("*") else Index(node, self.expression())
                self._expect("]")
            else:
                break
            self._shallow(node)
        return node

    def _shallow(self, node: Node) -> None:
        """Raise for a chain that nobody could walk through."""
        depth = 0
        while isinstance(node, (Property, Index, Star)):
            node, depth = node.of, depth + 1
        if depth > _DEPTH_LIMIT:
            raise ExpressionInvalid(f"nested more than {_DEPTH_LIMIT} deep", self.token.at)


def _number(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8)):
        if digits.startswith(prefix):
            # Beyond what a number of JavaScript's can be there is only infinity.
            value = int(digits[2:], base)
            return sign * (float(value) if value.bit_length() <= 1023 else float("inf"))
    return sign * float(digits)


def walk(node: Node) -> Iterator[Node]:
    """Yield a tree's nodes, each before what it is made of."""
    yield node
    match node:
        case Property(of) | Star(of) | Not(of):
            yield from walk(of)
        case Index(of, key):
            yield from walk(of)
            yield from walk(key)
        case Call(_, arguments):
            for argument in arguments:
                yield from walk(argument)
        case Binary(_, left, right):
            yield from walk(left)
            yield from walk(right)


def uses_status(node: Node) -> bool:
    """Return whether a condition asks how things went so far; else `success() &&` is implied."""
    return any(isinstance(part, Call) and part.name in STATUS_FUNCTIONS for part in walk(node))


def path_of(node: Node) -> tuple[str | None, ...]:
    """Return what a chain names: `("needs", "plan", "outputs", "tags")`, `*` for everything.

    None stands for an index that is computed; the tuple is empty where the chain begins with
    something else than a context.
    """
    parts: list[str | None] = []
    while True:
        match node:
            case Property(of, name):
                parts.append(name)
            case Star(of):
                parts.append("*")
            case Index(of, Literal(value)) if isinstance(value, str):
                parts.append(value)
            case Index(of, _):
                parts.append(None)
            case Name(name):
                return (name, *reversed(parts))
            case _:
                return ()
        node = of


def chains(node: Node) -> Iterator[tuple[Node, tuple[str | None, ...]]]:
    """Yield each longest chain that begins with a context, and what it names."""
    match node:
        case Property() | Index() | Star() | Name():
            if path := path_of(node):
                yield node, path
            inner: Node = node
            while isinstance(inner, (Property, Index, Star)):
                if isinstance(inner, Index):
                    yield from chains(inner.key)
                inner = inner.of
            if not isinstance(inner, Name):
                yield from chains(inner)
        case Not(of):
            yield from chains(of)
        case Call(_, arguments):
            for argument in arguments:
                yield from chains(argument)
        case Binary(_, left, right):
            yield from chains(left)
            yield from chains(right)


# Texts with expressions in them.


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text: words as they are, or what stands between `${{` and `}}`."""

    text: str
    at: int
    """Where it begins in the text, the `${{` not counted."""
    is_expression: bool


def pieces(text: str) -> Iterator[Piece]:
    """Yield the parts of a text. Raises `ExpressionInvalid` for a `${{` without its end."""
    at = 0
    while (opened := text.find("${{", at)) >= 0:
        if opened > at:
            yield Piece(text[at:opened], at, False)
        begin = end = opened + 3
        quoted = False
        while quoted or not text.startswith("}}", end):
            if end >= len(text):
                raise ExpressionInvalid("a '${{' without its '}}'", opened)
            quoted ^= text[end] == "'"
            end += 1
        yield Piece(text[begin:end], begin, True)
        at = end + 2
    if at < len(text):
        yield Piece(text[at:], at, False)


def condition(text: str) -> str:
    """Return the expression of an `if:`, which needs no `${{ }}` around it.

    Raises `ExpressionInvalid` for a mixture of both: GitHub takes that for a text, and a text
    that is not empty is true.
    """
    found = list(pieces(text.strip()))
    expressions = [piece for piece in found if piece.is_expression]
    if not expressions:
        return text
    if len(found) > 1:
        raise ExpressionInvalid(
            "always true: there is something beside the ${{ }}, so that it is a text", 0
        )
    return expressions[0].text
