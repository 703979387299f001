"""Guides that say what is not so; each case is a repository of one guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.guides.check import Checked, Ours, check, guides_of
from pipeline.guides.facts import Facts


def wrong(words: Sequence[str]) -> str:
    """As a vocabulary of `invoke build --platform`, `invoke diff A B` and `nox -s tests`."""
    if words[0] == "python3":
        return "" if words[2] == "monitoring.health_check" else f"there is no module {words[2]}"
    if words[0] == "invoke":
        if words[1] not in ("build", "diff"):
            return f"there is no task {words[1]}"
        if words[1] == "diff":
            given = len([word for word in words[2:] if word != "$REST"])
            may_be = given == 2 or (given < 2 and "$REST" in words)
            return "" if may_be else "invoke diff takes BEFORE and AFTER"
        bad = [word for word in words[2:] if word.startswith("--") and word != "--platform"]
        return f"invoke {words[1]} has no flag {bad[0]}" if bad or words[1] != "build" else ""
    return "" if tuple(words) == ("nox", "-s", "tests") else f"no session {words[-1]}"


OURS = Ours(wrong, frozenset(("--platform", "--json")))


def look(facts: Facts, tmp_path: Path, *, write: bool = False, **guides: str) -> Checked:
    for name, text in guides.items():
        (tmp_path / f"{name}.md").write_text(text)
    (tmp_path / "deployment").mkdir(exist_ok=True)
    (tmp_path / "deployment" / "images.toml").touch()
    renders = {"table": lambda: "| `invoke build` |"}
    return check(replace(facts, root=tmp_path), OURS, renders, write=write)


def found(checked: Checked) -> list[str]:
    return [str(finding) for finding in checked.findings]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("invoke --help build", ""),
        ("invoke --help bild", "there is no task bild"),
        ("invoke diff BEFORE", "invoke diff takes BEFORE and AFTER"),
        ("python3 -m monitoring.health_check", ""),
        ("python3 -m monitoring.healthcheck", "there is no module monitoring.healthcheck"),
    ],
)
def test_commands_in_blocks(facts: Facts, tmp_path: Path, command: str, said: str) -> None:
    checked = look(facts, tmp_path, A=f"```console\n$ {command}\n```\n")
    assert found(checked) == ([f"A.md:2: command: {said}"] if said else [])


def test_a_flag_that_a_task_does_not_have(facts: Facts, tmp_path: Path) -> None:
    text = "# A\n\n```console\n$ .venv/bin/invoke build --platfrom all\n```\n"
    checked = look(facts, tmp_path, A=text)
    assert found(checked) == ["A.md:4: command: invoke build has no flag --platfrom"]
    assert checked.commands == 1


@pytest.mark.parametrize(
    "span",
    [
        "`invoke build`",
        "`invoke build [--platform P]`",
        "`invoke build … --platform WHERE`",
        "`invoke diff`",
        "`invoke diff BEFORE AFTER`",
        "`nox -s tests`",
        "`nox`",
        "`deployment/images.toml`",
        "`docker compose exec redis redis-cli`",
        "`docker`'s",
        "`--platform`",
        "`--platform=all`, `--json`",
        "`-p`",
    ],
)
def test_inline_code_that_is_right(facts: Facts, tmp_path: Path, span: str) -> None:
    assert found(look(facts, tmp_path, A=f"# A\n\nSee {span}.\n")) == []


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("`invoke bild`", "command: there is no task bild"),
        ("`--platfrom`", "flag: no command of ours has --platfrom; did you mean '--platform'?"),
        ("`--platfrom all`", "flag: no command of ours has --platfrom; did you mean "
         "'--platform'?"),
        ("`--xyz`", "flag: no command of ours has --xyz; name its program beside it"),
        ("`invoke build [--sparse]`", "command: invoke build has no flag --sparse"),
        ("`invoke build --platform all --x`", "command: invoke build has no flag --x"),
        ("`invoke diff BEFORE AFTER MORE`", "command: invoke diff takes BEFORE and AFTER"),
        ("`nox -s test`", "command: no session test"),
        ("`deployment/gone.toml`", "path: there is no deployment/gone.toml in this repository"),
        ("`docker compose logs web`", "command: the stack has no service web; it has "
         "accelerapp, ollama, redis, monitoring"),
        ("`invoke build 'x`", "unreadable: `invoke build 'x`: a ' that nothing closes"),
    ],
)  # fmt: skip
def test_inline_code_that_is_wrong(facts: Facts, tmp_path: Path, span: str, said: str) -> None:
    assert found(look(facts, tmp_path, A=f"# A\n\n| {span} |\n|---|\n")) == [f"A.md:3: {said}"]


def test_a_box_of_a_diagram_is_a_command_that_has_to_be_there(facts: Facts, tmp_path: Path) -> None:
    text = '```mermaid\nflowchart LR\n  a["invoke bild"]\n```\n'
    assert found(look(facts, tmp_path, A=text)) == ["A.md:3: command: there is no task bild"]


def test_links(facts: Facts, tmp_path: Path) -> None:
    text = """# A

[ok](B.md) [ok](B.md#there) [ok](#a) [ok](https://example.org/x#y) [ok](deployment)
[gone](C.md)
[no such](B.md#here)
[none](deployment/images.toml#x)
[out](../../x)
[ftp](ftp://x)
![picture](gone.png)
"""
    checked = look(facts, tmp_path, A=text, B="# There\n")
    assert found(checked) == [
        "A.md:4: link: there is no C.md here",
        "A.md:5: link: B.md has no heading #here",
        "A.md:6: link: deployment/images.toml is no guide that has headings",
        "A.md:7: link: there is no ../../x here",
        "A.md:8: link: ftp://x is neither https:// nor a file here",
        "A.md:9: link: there is no gone.png here",
    ]
    assert checked.links == 11


STALE = "# A\n\n<!-- begin: table -->\nold\n<!-- end: table -->\n"


def test_a_table_that_is_not_current_is_said_and_not_written(facts: Facts, tmp_path: Path) -> None:
    checked = look(facts, tmp_path, A=STALE)
    assert (checked.stale, checked.written) == (("A.md",), ())
    assert (tmp_path / "A.md").read_text() == STALE


def test_tables_are_written_and_current_afterwards(facts: Facts, tmp_path: Path) -> None:
    checked = look(facts, tmp_path, A=STALE, write=True)
    assert (checked.stale, checked.written, checked.sections) == ((), ("A.md",), 1)
    assert "| `invoke build` |" in (tmp_path / "A.md").read_text()
    again = check(replace(facts, root=tmp_path), OURS, {"table": lambda: "| `invoke build` |"})
    assert (again.stale, again.findings) == ((), ())


def test_a_guide_with_wrong_marks_is_never_written(facts: Facts, tmp_path: Path) -> None:
    text = f"{STALE}\n<!-- begin: table -->\n"
    checked = look(facts, tmp_path, A=text, write=True)
    assert found(checked) == ["A.md:7: section: 'table' has no end; write <!-- end: table -->"]
    assert (tmp_path / "A.md").read_text() == text


def test_ports_are_forwarded_within_a_block_alone(facts: Facts, tmp_path: Path) -> None:
    block = "```console\n{}\n```\n"
    forward, ask = "$ kubectl port-forward service/accelerapp 9:8000", "$ curl http://localhost:99/"
    forward = forward.replace("9:", "99:")
    assert found(look(facts, tmp_path, A=block.format(f"{forward}\n{ask}"))) == []
    apart = found(look(facts, tmp_path, A=block.format(forward) + "\n" + block.format(ask)))
    assert apart == ["A.md:6: command: nothing listens on port 99; service and monitor do on "
                     "8000 and 8080"]  # fmt: skip


def test_the_guides_of_this_repository_are_found(facts: Facts) -> None:
    assert {
        "README.md", "DEPLOYMENT.md", "CHANGELOG.md", "monitoring/README.md",
        "deployment/README.md", "deployment/helm/accelerapp/README.md",
        "deployment/keyrings/README.md",
    } <= set(guides_of(facts.root))  # fmt: skip


def test_the_result_for_programs(facts: Facts, tmp_path: Path) -> None:
    shown = look(facts, tmp_path, A="# A\n\n`invoke bild` [x](y.md)\n").to_json()
    assert shown == {
        "guides": ["A.md"],
        "commands": 0,
        "links": 1,
        "sections": 0,
        "stale": [],
        "written": [],
        "findings": [
            {"place": "A.md:3", "rule": "command", "message": "there is no task bild"},
            {"place": "A.md:3", "rule": "link", "message": "there is no y.md here"},
        ],
    }
