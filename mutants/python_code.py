"""Where a Python module can be spoiled: comparisons, numbers, conditions, returns and calls.

Left alone, each for a reason:

- docstrings and comments, annotations and `if TYPE_CHECKING`: nothing runs them;
- `@dataclass(frozen=True, slots=True)`: what they forbid, mypy refuses;
- what is said in a log: the arguments of a call of `_log`, `logging` or a logger;
- `zip(…, strict=True)`: that two lists of the module's own are of one length;
- a `return` of nothing or None, which gives None already.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mutants.mutant import Edit

_FLIPPED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}


def edits(text: str) -> Iterator[Edit]:
    """Yield every edit of a module."""
    return _Spoiler(text).edits(ast.parse(text))


def meaning(text: str) -> str:
    """Return what Python reads of a module."""
    try:
        return ast.dump(ast.parse(text))
    except SyntaxError as error:
        raise ValueError(str(error)) from None


class _Spoiler:
    """Walks a module, and finds the places of what can be spoiled in its text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begins = [0]
        self._lines = text.splitlines(keepends=True)
        for line in self._lines:
            self._begins.append(self._begins[-1] + len(line))

    def _index(self, line: int, column: int) -> int:
        # Python counts columns in bytes.
        before = (
            self._lines[line - 1].encode()[:column].decode() if line <= len(self._lines) else ""
        )
        return self._begins[line - 1] + len(before)

    def _place(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._index(node.lineno, node.col_offset),
            self._index(node.end_lineno, node.end_col_offset),
        )

    def edits(self, node: ast.AST) -> Iterator[Edit]:
        """Yield every edit of a node and what is below it."""
        if isinstance(node, ast.If) and _named(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        yield from self._of(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params"):
                continue
            parts = value if isinstance(value, list) else [value]
            if name == "decorator_list":
                parts = [part for part in parts if _named(part) != "dataclass"]
            if isinstance(node, ast.Call) and _logs(node):
                continue
            if name == "keywords" and _named(node) == "zip":
                continue
            for part in parts:
                if isinstance(part, ast.AST):
                    yield from self.edits(part)

    def _of(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                yield from self._of_comparison(node)
            case ast.BoolOp():
                yield from self._of_boolean(node)
            case ast.Constant():
                yield from self._of_constant(node)
            case ast.Return(value=ast.expr() as value):
                if not (isinstance(value, ast.Constant) and value.value is None):
                    yield (*self._place(value), "None", "returns nothing")
            case ast.Expr(value=ast.Call() | ast.Await()):
                yield (*self._place(node), "pass", "not called")
            case ast.If() | ast.While() | ast.IfExp():
                yield self._negated(node.test)
            case ast.comprehension():
                for condition in node.ifs:
                    yield self._negated(condition)

    def _negated(self, condition: ast.expr) -> Edit:
        begin, end = self._place(condition)
        return begin, end, f"(not ({self._text[begin:end]}))", "turned round"

    def _of_comparison(self, node: ast.Compare) -> Iterator[Edit]:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            begin, end = self._place(left)[1], self._place(right)[0]
            word, other = _FLIPPED[type(operator)]
            between = self._text[begin:end]
            if word in between:
                at = begin + between.index(word)
                yield at, at + len(word), other, f"{word} is {other}"
            left = right

    def _of_boolean(self, node: ast.BoolOp) -> Iterator[Edit]:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            begin, end = self._place(left)[1], self._place(right)[0]
            at = begin + self._text[begin:end].index(word)
            yield at, at + len(word), other, f"{word} is {other}"

    def _of_constant(self, node: ast.Constant) -> Iterator[Edit]:
        value = node.value
        if isinstance(value, bool):
            yield (*self._place(node), str(not value), f"{value} is {not value}")
        elif isinstance(value, int | float):
            yield (*self._place(node), repr(value + 1), f"{value} is {value + 1}")


def _named(node: ast.AST) -> str:
    """Return the last name of what is called or named."""
    if isinstance(node, ast.Call):
        return _named(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _logs(call: ast.Call) -> bool:
    function = call.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return False
    return function.value.id in ("_log", "log", "logging", "logger")
