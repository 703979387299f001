"""Tables that are read from code without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import GuidesInvalid
from pipeline.guides import source

CODE = '''
import nothing_that_is_there

ROWS = (Row("a", "one" " and more", ("x",), function), other.Row("b"))
NAMES: dict[str, str] = {"k": "v"}
PLAIN = {"p": "q"}

@nox.session(python=["3"])
def tests(session):
    """Unit tests.

    More of it.
    """

@nox.session
def lint(session):
    """Lint."""

def helper():
    """No session."""
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text(CODE)
    return path


def test_calls(path: Path) -> None:
    assert source.calls(path, "Row") == (
        ("Row", ("a", "one and more", ("x",), None)),
        ("Row", ("b",)),
    )


def test_mappings(path: Path) -> None:
    assert source.mapping(path, "NAMES") == {"k": "v"}
    assert source.mapping(path, "PLAIN") == {"p": "q"}


def test_decorated_functions(path: Path) -> None:
    assert source.decorated(path, "nox.session") == (("tests", "Unit tests."), ("lint", "Lint."))


def test_a_table_that_has_moved_is_said(path: Path) -> None:
    with pytest.raises(GuidesInvalid, match=r"code\.py has no Column; the table .* has moved"):
        source.calls(path, "Column")
    with pytest.raises(GuidesInvalid, match=r"code\.py has no GONE"):
        source.mapping(path, "GONE")


def test_code_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def (")
    for name in ("bad.py", "gone.py"):
        with pytest.raises(GuidesInvalid, match="cannot be read"):
            source.calls(tmp_path / name, "Row")
