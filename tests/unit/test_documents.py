"""The guides, where `invoke docs` does not look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.guides.check import guides_of

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / name for name in guides_of(ROOT)]
OWN_FILES = [
    path
    for folder in ("pipeline", "monitoring", "src", "benchmarks", "requirements", "deployment")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in {".py", ".toml", ".md", ".in", ".txt", ".lock"}
] + [*GUIDES, ROOT / "pyproject.toml", ROOT / "noxfile.py"]


def test_readme_s_commands_are_the_ones_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (\S.*)$", text.partition("```console")[2].partition("```")[0], re.M)
    assert len(commands) == 2
    assert commands[0].startswith("python3 -m venv .venv && ")
    assert commands[0].endswith("invoke build --platform arm64")
    assert commands[1] == ".venv/bin/nox -s tests"


def test_readme_is_a_way_in_and_the_rest_is_elsewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") < 250
    assert "```mermaid\n" in text
    assert "(DEPLOYMENT.md#exit-codes)" in text


def test_figures_say_how_they_are_measured() -> None:
    from benchmarks.__main__ import BENCHMARKS, OTHERS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (.*) \|$", text.partition("## What is different")[2], re.M)
    names = {name for row in rows for name in re.findall(r"`nox -s bench -- (\w+)`", row)}
    assert len(names) >= 5
    assert names <= {*BENCHMARKS, *OTHERS}


def test_the_project_and_its_image_require_the_same() -> None:
    import tomllib

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (ROOT / "requirements" / "production.in").read_text(encoding="utf-8").splitlines()
    required = {line.partition("#")[0].strip() for line in lines} - {""}
    assert required == set(pyproject["project"]["dependencies"])


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["audit", "kubernetes"])
def test_what_is_installed_beside_the_tasks_fits_them(name: str) -> None:
    """`pip install -r requirements/dev.txt -r …`: two versions of one package would not go."""
    tasks, more = locked("dev"), locked(name)
    assert more
    assert {one: more[one] for one in more if one in tasks} == {
        one: tasks[one] for one in more if one in tasks
    }


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_names_a_package_registry(path: Path) -> None:
    # The public archive of Debian's past is the exception: it is nobody's mirror.
    text = path.read_text(encoding="utf-8").replace("snapshot.debian.org", "")
    assert not re.search(r"(debian|pythonhosted|pypi|npmjs)\.(org|com)", text)
