"""The table of values in a chart's README, from the comments in values.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ChartInvalid, RenderedStale
from pipeline.helm.docs import BEGIN, END, Value, read_values, values_table, write_readme

VALUES = """\
# About this file; no value's.

# -- Pods of it.
replicas: 2
image:
  # -- Where it is,
  # and in which
  #
  # registry.
  repository: a/b
  # -- A tag | a digest.
  tag: ""
  # Said before.
  # -- Its digest.
  digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
# -- Labels of it: all one value.
labels:
  a: b
  c: {d: "x|y"}
# -- None.
empty: {}
nested:
  deeper:
    # -- Deep.
    list: [1, "é"]
# -- Not set.
none:
# -- When.
date: 2026-01-31
# -- A share.
ratio: 0.05
"""
TABLE = """\
| value | default | meaning |
|---|---|---|
| `replicas` | `2` | Pods of it. |
| `image.repository` | `"a/b"` | Where it is, and in which  registry. |
| `image.tag` |  | A tag \\| a digest. |
| `image.digest` | `"sha256:0123456789ab…"` | Its digest. |
| `labels` | `{"a": "b", "c": {"d": "x\\|y"}}` | Labels of it: all one value. |
| `empty` | `{}` | None. |
| `nested.deeper.list` | `[1, "é"]` | Deep. |
| `none` | `null` | Not set. |
| `date` | `"2026-01-31"` | When. |
| `ratio` | `0.05` | A share. |"""
README = f"# A chart\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter {END}.\n"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "values.yaml").write_text(VALUES, encoding="utf-8")
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


def test_every_value_is_a_row_with_its_default_and_meaning(chart: Path) -> None:
    assert values_table(read_values(chart)) == TABLE


def test_values_are_in_their_order_as_set_takes_them(chart: Path) -> None:
    first, *_, last = read_values(chart)
    assert first == Value("replicas", 2, "Pods of it.")
    assert (last.path, last.default, last.description) == ("ratio", 0.05, "A share.")


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("a: 1\n", 1, "a"),
        ("# -- A.\na: 1\nb: 2\n", 3, "b"),
        ("# A comment alone.\na: 1\n", 2, "a"),
        ("# -- A.\n\na: 1\n", 3, "a"),
        ("b:\n  # -- C.\n  c: 1\n  d: 1\n", 4, "b.d"),
        ("b:\n  c: {}\n", 2, "b.c"),
    ],
)
def test_a_value_that_nothing_describes_is_refused_with_its_line(
    chart: Path, text: str, line: int, name: str
) -> None:
    (chart / "values.yaml").write_text(text)
    with pytest.raises(ChartInvalid) as caught:
        read_values(chart)
    assert str(caught.value) == (
        f"{chart / 'values.yaml'}:{line}: nothing says what {name} is for; "
        "put a comment above it that begins with '# -- '"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", ":1: not YAML: expected the node content"),
        (b"\xff", " cannot be read: not utf-8"),
        (None, " cannot be read: no such file"),
        (b"- 1\n", " has no values; it has to be a mapping"),
        (b"", " has no values"),
    ],
)
def test_values_that_cannot_be_read_are_one_line(
    chart: Path, content: bytes | None, said: str
) -> None:
    (chart / "values.yaml").unlink()
    if content is not None:
        (chart / "values.yaml").write_bytes(content)
    with pytest.raises(ChartInvalid) as caught:
        read_values(chart)
    assert str(caught.value).startswith(f"{chart / 'values.yaml'}{said}")
    assert "\n" not in str(caught.value)


def test_the_table_is_put_into_its_place_and_nothing_else_changes(chart: Path) -> None:
    assert write_readme(chart, check=False) is False
    text = (chart / "README.md").read_text(encoding="utf-8")
    assert text == README.replace("\nold\n", f"\n{TABLE}\n", 1)


def test_writing_it_again_changes_nothing(chart: Path) -> None:
    write_readme(chart, check=False)
    path = chart / "README.md"
    before = (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
    assert write_readme(chart, check=False) is True
    assert write_readme(chart, check=True) is True
    assert (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_a_check_writes_nothing(chart: Path) -> None:
    with pytest.raises(RenderedStale) as caught:
        write_readme(chart, check=True)
    assert str(caught.value) == (
        f"{chart / 'README.md'} is not what values.yaml says; run 'invoke helm.docs' and commit it"
    )
    assert caught.value.exit_code == 23
    assert (chart / "README.md").read_text(encoding="utf-8") == README


def test_a_changed_value_is_noticed(chart: Path) -> None:
    write_readme(chart, check=False)
    (chart / "values.yaml").write_text(VALUES.replace("replicas: 2", "replicas: 3"))
    with pytest.raises(RenderedStale):
        write_readme(chart, check=True)


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_a_readme_without_a_place_for_it_is_refused(chart: Path, text: str) -> None:
    (chart / "README.md").write_text(text)
    with pytest.raises(ChartInvalid) as caught:
        write_readme(chart, check=False)
    assert "has no place for the table of values; add" in str(caught.value)
    assert (chart / "README.md").read_text() == text


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_readme_that_cannot_be_read_is_refused(chart: Path, content: bytes | None) -> None:
    (chart / "README.md").unlink()
    if content is not None:
        (chart / "README.md").write_bytes(content)
    with pytest.raises(ChartInvalid, match=r"README\.md cannot be read; write one"):
        write_readme(chart, check=True)
