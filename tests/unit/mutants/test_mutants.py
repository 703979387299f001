"""Every mutant is another text that can be read, says where it is, and spoils one thing."""

from __future__ import annotations

import ast
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mutants import dockerfiles, lines, python_code, templates, yaml_nodes
from mutants.judge import ROOT
from mutants.kinds import KINDS, Kind
from mutants.mutant import spoiled

PATH = Path("file")


def changes(operators: Any, text: str) -> dict[str, str]:
    """Return what each mutant of a text is, by its line and title."""
    found = {}
    for edit in operators.edits(text):
        if mutant := spoiled(PATH, text, edit, operators.meaning):
            found[f"{mutant.line} {mutant.title.partition(': ')[0]}"] = mutant.text
    return found


# Dockerfiles.

DOCKERFILE = """\
# A comment with USER root and 42.
FROM debian@sha256:{digest} AS base
FROM base AS build
RUN --mount=type=cache,target=/c,sharing=locked \\
    apt-get install --yes \\
    && true
FROM build AS last
USER 1000
EXPOSE 8000/tcp
"""
DIGEST = "a" * 64


def test_instructions_go_and_so_do_their_lines() -> None:
    text = DOCKERFILE.format(digest=DIGEST)
    found = changes(dockerfiles, text)
    assert "USER" not in found["8 gone"].replace("USER root", "")
    assert "    && true" not in found["5 last line gone"]
    assert found["5 last line gone"].splitlines()[4] == "    apt-get install --yes"
    assert found["6 goes on after a failure"].splitlines()[5] == "    ; true"
    assert found["8 as root"].splitlines()[7] == "USER root"
    assert found["8 1000 is 1001"].splitlines()[7] == "USER 1001"
    assert found["9 8000 is 8001"].splitlines()[8] == "EXPOSE 8001/tcp"
    assert found["5 without --yes"].splitlines()[4].split() == ["apt-get", "install", "\\"]
    assert found["7 starts from base"].splitlines()[6] == "FROM base AS last"
    (digest,) = [text for title, text in found.items() if title.startswith("2 aaaa")]
    assert "a" * 63 + "0" in digest


def test_a_comment_of_a_dockerfile_is_left_alone() -> None:
    text = DOCKERFILE.format(digest=DIGEST)
    found = changes(dockerfiles, text)
    assert found
    for changed in found.values():
        assert changed.startswith("# A comment with USER root and 42.\n")


# Lines.


def test_settings_of_a_line_each_go_and_change() -> None:
    found = changes(lines, "# 1\n\nport 6379\nsave no\n#NAME=1\n!src\n")
    assert found == {
        "3 gone": "# 1\n\nsave no\n#NAME=1\n!src\n",
        "3 6379 is 6380": "# 1\n\nport 6380\nsave no\n#NAME=1\n!src\n",
        "4 gone": "# 1\n\nport 6379\n#NAME=1\n!src\n",
        "4 no is yes": "# 1\n\nport 6379\nsave yes\n#NAME=1\n!src\n",
        "5 gone": "# 1\n\nport 6379\nsave no\n!src\n",
        "5 1 is 2": "# 1\n\nport 6379\nsave no\n#NAME=2\n!src\n",
        "6 gone": "# 1\n\nport 6379\nsave no\n#NAME=1\n",
        "6 kept out instead of in": "# 1\n\nport 6379\nsave no\n#NAME=1\nsrc\n",
    }


# YAML.


@pytest.mark.parametrize(
    ("text", "change", "data"),
    [
        ("a: 1\nb: 2\n", "1 gone", {"b": 2}),
        ("a: 1\nb: 2\n", "2 gone", {"a": 1}),
        ("a: 1\nb: 2\n", "1 1 is 2", {"a": 2, "b": 2}),
        ("a: true\n", "1 true is false", {"a": False}),
        ("a: word\n", "1 another word", {"a": "wordx"}),
        ('a: "word"\n', "1 another word", {"a": "wordx"}),
        ("a: v1.2 b\n", "1 1 is 2", {"a": "v2.2 b"}),
        ("a: {b: 1, c: 2}\n", "1 gone", {"a": {"b": 1}}),
        ("a: [x, y]\nb: 0\n", "2 gone", {"a": ["x", "y"]}),
        ("a:\n  - x\n  - y\nb: 0\n", "2 gone", {"a": ["y"], "b": 0}),
        ("a:\n  - x\n  - y\nb: 0\n", "3 gone", {"a": ["x"], "b": 0}),
        ("a:\n  - n: 1\n    m: 2\n  - n: 3\n", "3 gone", {"a": [{"n": 1}, {"n": 3}]}),
        ("a:\n  b: 1\nc: 2\n", "1 gone", {"c": 2}),
        ("a: if x == 'b' && c\n", "1 == is !=", {"a": "if x != 'b' && c"}),
        ("a: if x == 'b' && c\n", "1 && is ||", {"a": "if x == 'b' || c"}),
        ("a: |\n  one\n  two\nb: 0\n", "2 line gone", {"a": "two\n", "b": 0}),
        (f"a: x@{DIGEST}\n", "1 aaaaaaaaaaaa is aaaaaaaaaaa0", {"a": f"x@{DIGEST[:-1]}0"}),
        ("on: x\n", "1 another word", {"on": "xx"}),
    ],
)
def test_keys_items_and_values_of_yaml(text: str, change: str, data: object) -> None:
    found = changes(yaml_nodes, text)
    loaded = yaml.load(found[change], yaml.BaseLoader)
    assert loaded == yaml.load(json.dumps(data), yaml.BaseLoader)


def test_an_anchor_is_spoiled_once_and_what_cannot_be_read_is_left_out() -> None:
    text = "x: &a {n: 1}\ny: {<<: *a, m: 2}\n"
    found = changes(yaml_nodes, text)
    assert "1 1 is 2" in found
    for changed in found.values():
        assert yaml.safe_load(changed) != yaml.safe_load(text)
    # Without the anchor there would be no such alias.
    assert "x:" in found["2 gone"]
    assert "1 gone" not in found or "&a" in found["1 gone"]


def test_words_for_people_are_left_alone() -> None:
    text = "name: n\njobs:\n  a: {name: b, run: c}\n"
    without_names = SimpleNamespace(
        edits=partial(yaml_nodes.edits, words=lambda route: route[-1:] == ("name",)),
        meaning=yaml_nodes.meaning,
    )
    found = changes(without_names, text)
    assert all(yaml.safe_load(changed)["name"] == "n" for changed in found.values())
    assert any("cx" in changed for changed in found.values())


# Python.

MODULE = '''"""Docstring with 1 == 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

_log = None


@dataclass(frozen=True, slots=True)
class A:
    x: int = 7


def f(a: "1" = 2, b: int = 3) -> "4":
    """Returns 5."""
    _log.info("6 %s", a < b)
    if a < b and not a == 1:
        g(a)
        return a
    while True:
        pass
    return None
'''


def test_python_changes_in_each_way() -> None:
    found = changes(python_code, MODULE)
    assert found["19 < is <="].splitlines()[18].strip() == "if a <= b and not a == 1:"
    assert found["19 == is !="].splitlines()[18].strip() == "if a < b and not a != 1:"
    assert found["19 and is or"].splitlines()[18].strip() == "if a < b or not a == 1:"
    assert found["19 turned round"].splitlines()[18].strip() == ("if (not (a < b and not a == 1)):")
    assert found["19 1 is 2"].splitlines()[18].strip() == "if a < b and not a == 2:"
    assert found["20 not called"].splitlines()[19].strip() == "pass"
    assert found["21 returns nothing"].splitlines()[20].strip() == "return None"
    assert found["22 True is False"].splitlines()[21].strip() == "while False:"
    assert found["13 7 is 8"].splitlines()[12].strip() == "x: int = 8"
    assert found["16 2 is 3"].splitlines()[15] == 'def f(a: "1" = 3, b: int = 3) -> "4":'


def test_what_nothing_runs_is_left_alone() -> None:
    spoiled_lines = {int(title.split()[0]) for title in changes(python_code, MODULE)}
    # Docstrings, what is for types, the decorator, the end that returns nothing anyway.
    assert not spoiled_lines & {1, 5, 6, 11, 17, 24}
    # A message is wording; that there is none is not.
    logged = [title for title in changes(python_code, MODULE) if title.startswith("18 ")]
    assert logged == ["18 not called"]


def test_lengths_that_a_module_promises_are_left_alone() -> None:
    assert list(changes(python_code, "x = zip(a, b, strict=True)\ny = f(strict=True)\n")) == [
        "2 True is False"
    ]


def test_columns_are_counted_in_characters() -> None:
    found = changes(python_code, 'x = "äöü€" == 1\n')
    assert found["1 == is !="] == 'x = "äöü€" != 1\n'


# Templates.


def test_a_template_loses_lines_and_conditions() -> None:
    found = changes(templates, "{{- if .a }}\nb: 1\n{{- end }}\n")
    assert found["1 turned round"].startswith("{{- if not (.a) }}")
    assert found["2 gone"] == "{{- if .a }}\n{{- end }}\n"
    assert found["2 1 is 2"] == "{{- if .a }}\nb: 2\n{{- end }}\n"


# The files of this repository.


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_files_and_forty_mutants_that_can_be_read(kind: Kind) -> None:
    assert kind.files(ROOT)
    found = kind.mutants(ROOT, size=40, seed=1)
    assert len(found) == 40
    assert len({(mutant.path, mutant.text) for mutant in found}) == 40
    for mutant in found:
        before = (ROOT / mutant.path).read_text(encoding="utf-8")
        assert mutant.text != before, mutant
        assert bool(mutant.line) == bool(mutant.text)
        assert mutant.line <= before.count("\n") + 1
        if mutant.path.suffix == ".py":
            ast.parse(mutant.text)
        elif mutant.path.suffix == ".json" and mutant.text:
            json.loads(mutant.text)
        elif mutant.path.suffix in (".yml", ".yaml") and "templates" not in mutant.path.parts:
            yaml_nodes.meaning(mutant.text)


def test_a_seed_gives_the_same_sample_and_another_another() -> None:
    kind = next(kind for kind in KINDS if kind.name == "docker")
    found = kind.mutants(ROOT, size=20, seed=1)
    assert kind.mutants(ROOT, size=20, seed=1) == found
    assert kind.mutants(ROOT, size=20, seed=2) != found
    ignore = kind.mutants(ROOT, only=(".dockerignore",))
    assert len(ignore) > 10
    assert {str(mutant.path) for mutant in ignore} == {".dockerignore"}
    assert ignore == kind.mutants(ROOT, size=10_000, only=(".dockerignore",))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_file_is_judged_by_tests_that_are_there(kind: Kind) -> None:
    for path in kind.files(ROOT):
        judges = [name for stage in kind.judges(path) for name in stage]
        assert judges
        for name in judges:
            file, _, test = name.partition("::")
            assert (ROOT / file).exists() or file == "tests/unit/pipeline/workflows", name
            if test:
                text = (ROOT / file).read_text(encoding="utf-8")
                assert f"class {test}" in text or f"def {test}" in text
