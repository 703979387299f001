from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.compose.document import (
    Use,
    environment_file,
    interpolated,
    merged,
    read_file,
    uses,
)

SET = {"SET": "yes", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "yes"),
        ("${SET}", "yes"),
        ("$NONE-", "-"),
        ("${NONE:-else}", "else"),
        ("${EMPTY:-else}", "else"),
        ("${EMPTY-else}", ""),
        ("${NONE-else}", "else"),
        ("${SET:+there}", "there"),
        ("${EMPTY:+there}", ""),
        ("${EMPTY+there}", "there"),
        ("${NONE:-${SET}}", "yes"),
        ("${SET:+${SET-}-}x", "yes-x"),
        ("${NONE:+${NONE-}-}x", "x"),
        ("a$$b", "a$b"),
        ("${SET:?needed}", "yes"),
        ("${NONE:-a:b@c}", "a:b@c"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    assert interpolated(text, SET) == expected


@pytest.mark.parametrize("text", ["$", "a $ b", "${", "${1}", "${A", "${A!b}", "${A:-${B}", "${}"])
def test_what_compose_refuses(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        interpolated(text, SET)


@pytest.mark.parametrize("operator", [":?", "?"])
def test_what_has_to_be_set(operator: str) -> None:
    with pytest.raises(ValueError, match="NONE has to be set: why"):
        interpolated(f"${{NONE{operator}why}}", SET)


def test_uses_are_found_inside_of_others() -> None:
    assert uses("${A:-${B-x}}$C") == [
        Use("A", ":-", "${B-x}"),
        Use("B", "-", "x"),
        Use("C", "", ""),
    ]


def test_files_are_merged_as_compose_merges_them(tmp_path: Path) -> None:
    base, over = tmp_path / "a.yml", tmp_path / "b.yml"
    base.write_text(
        "x-all: &all\n  user: '1'\nservices:\n  s:\n    <<: *all\n    image: a:${V:-1}\n"
        "    ports: ['1:1']\n    command: [a, b]\n    environment: {A: 1, B: 2}\n"
    )
    over.write_text(
        "services:\n  s:\n    ports: ['2:2', '1:1']\n    command: [c]\n    environment: {B: 3}\n"
    )
    project = merged([read_file(base, tmp_path), read_file(over, tmp_path)], {"V": "9"})
    assert project.services["s"] == {
        "user": "1",
        "image": "a:9",
        "ports": ["1:1", "2:2"],
        "command": ["c"],
        "environment": {"A": 1, "B": 3},
    }
    assert project.origin(("services", "s", "environment", "B")) == "b.yml:5"
    assert project.origin(("services", "s", "image")) == "a.yml:6"
    assert project.origin(("services", "s", "nothing")) == "b.yml:2"


def test_environment_files(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# words\nA=1\n#B=2\n\nC='x y'\nnot one\n")
    assert environment_file(file) == {"A": "1", "B": None, "C": "x y"}
