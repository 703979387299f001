"""Tables in code, read without importing what they are in: not every environment could."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from pipeline.errors import GuidesInvalid


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise GuidesInvalid(f"{path} cannot be read: {error}", hint="correct it") from error


def calls(path: Path, *callees: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Return each call of one of these names, in the order of the source: the name, and its
    positional arguments, None for one that is no literal. Raises `GuidesInvalid` if there is none.
    """
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in callees:
                arguments = tuple(_literal(argument) for argument in node.args)
                found.append((node.lineno, name, arguments))
    if not found:
        raise GuidesInvalid(
            f"{path} has no {' and no '.join(callees)}", hint="the table that is read has moved"
        )
    return tuple((name, arguments) for _, name, arguments in sorted(found, key=lambda one: one[0]))


def mapping(path: Path, name: str) -> dict[str, str]:
    """Return the dictionary of texts that a module gives a name; raises `GuidesInvalid`."""
    for node in _tree(path).body:
        targets = (
            node.targets if isinstance(node, ast.Assign)
            else [node.target] if isinstance(node, ast.AnnAssign) else []
        )  # fmt: skip
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = _literal(node.value)  # type: ignore[attr-defined]
            if isinstance(value, dict):
                return value
    raise GuidesInvalid(f"{path} has no {name}", hint="the table that is read has moved")


def decorated(path: Path, decorator: str) -> tuple[tuple[str, str], ...]:
    """Return each function with that decorator (`nox.session`, called or not): name, and the
    first sentence of its docstring."""
    found = []
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef):
            names = {
                ast.unparse(each.func if isinstance(each, ast.Call) else each)
                for each in node.decorator_list
            }
            if decorator in names:
                found.append((node.name, (ast.get_docstring(node) or "").split("\n\n")[0]))
    return tuple(found)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
