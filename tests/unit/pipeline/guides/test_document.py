"""Guides as CommonMark: commands with their lines, inline code, links, anchors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import GuidesInvalid
from pipeline.guides.document import Span, parse_guide, read_guide

GUIDE = """\
# A guide: `code`, *and* more!

Text with `invoke build` and [a
link](other.md#there) and `code that
goes on`, then `invoke lock`.

```console
$ invoke build --platform all   # a comment
built
$ invoke push \\
    --tag v1 && docker load -i a.tar
```

| a | b |
|---|---|
| `in a table` | [x](y.md) |

## Twice

## Twice

```python
$ invoke nothing
```

- item

  ```console
  $ nox -s tests
  ```
"""


def test_commands_are_found_with_their_lines() -> None:
    guide = parse_guide("G.md", GUIDE)
    assert [(each.line, " ".join(each.command.words)) for each in guide.commands] == [
        (8, "invoke build --platform all"),
        (10, "invoke push --tag v1"),
        (11, "docker load -i a.tar"),
        (29, "nox -s tests"),
    ]
    assert guide.commands[1].script == "invoke push \\\n    --tag v1 && docker load -i a.tar"
    blocks = [each.block for each in guide.commands]
    assert blocks[0] == blocks[1] == blocks[2] != blocks[3]


def test_inline_code_is_found_with_its_lines() -> None:
    assert parse_guide("G.md", GUIDE).spans == (
        Span("code", 1),
        Span("invoke build", 3),
        Span("code that goes on", 4),
        Span("invoke lock", 5),
        Span("in a table", 16),
    )


def test_labels_of_diagrams_are_inline_code() -> None:
    text = '```mermaid\nflowchart LR\n    a["invoke lock"] --> b["invoke build"]\n```\n'
    assert parse_guide("G.md", text).spans == (Span("invoke lock", 3), Span("invoke build", 3))


def test_links_are_found_with_their_lines() -> None:
    links = parse_guide("G.md", GUIDE).links
    assert [(link.line, link.target) for link in links] == [(4, "other.md#there"), (16, "y.md")]


def test_anchors_are_github_s() -> None:
    headings = ("CI/CD", "/readyz answers 503", "A `code`, it's: 1.0!", "Twice", "Twice", "Ü_ b")
    text = "".join(f"# {heading}\n\n" for heading in headings)
    assert parse_guide("G.md", text).anchors == {
        "cicd", "readyz-answers-503", "a-code-its-10", "twice", "twice-1", "ü_-b",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["sh", "bash", "shell"])
def test_a_block_whose_commands_nobody_would_find_is_said(language: str) -> None:
    found = parse_guide("G.md", f"Text\n\n```{language}\ninvoke build\n```\n").unreadable
    assert [(one.place, one.rule) for one in found] == [("G.md:3", "not-console")]


def test_a_command_that_no_shell_takes_is_said_with_its_line() -> None:
    found = parse_guide("G.md", "```console\n$ invoke a\n$ invoke 'b\n```\n").unreadable
    assert [str(one) for one in found] == ["G.md:3: unreadable: a ' that nothing closes"]


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_guide_that_is_no_text(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "G.md").write_bytes(content)
    with pytest.raises(GuidesInvalid, match=r"G\.md cannot be read: (no such file|not utf-8)"):
        read_guide(tmp_path, "G.md")
