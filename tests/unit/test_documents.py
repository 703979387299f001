"""The guides say what is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.settings import parse_settings
from pipeline.tasks.command import INTERRUPTED

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / name for name in ("README.md", "DEPLOYMENT.md", "CHANGELOG.md")]
OWN_FILES = [
    path
    for folder in ("pipeline", "monitoring", "src", "benchmarks", "requirements", "deployment")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in {".py", ".toml", ".md", ".in", ".txt", ".lock"}
] + [*GUIDES, ROOT / "pyproject.toml", ROOT / "noxfile.py"]


def every_error(base: type[PipelineError] = PipelineError) -> Iterator[type[PipelineError]]:
    for error in base.__subclasses__():
        yield error
        yield from every_error(error)


def test_readme_lists_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## When something is wrong")[2].partition("\n## ")[0]
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert listed == {error.exit_code for error in every_error()} | {INTERRUPTED}


def test_readme_s_commands_are_the_ones_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (\S.*)$", text.partition("```console")[2].partition("```")[0], re.M)
    assert len(commands) == 2
    assert commands[0].startswith("python3 -m venv .venv && ")
    assert commands[0].endswith("invoke build --platform arm64")
    assert commands[1] == ".venv/bin/nox -s tests"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_in_guides_lead_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", guide.read_text(encoding="utf-8")):
        assert (guide.parent / target).exists() or target.startswith("https://"), target


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


def test_guides_name_the_ports_and_volumes_of_the_image() -> None:
    description = ROOT / "deployment" / "images.toml"
    text = description.read_text(encoding="utf-8")
    image = parse_settings(text, root=ROOT, path=description).merged("production")
    guide = (ROOT / "DEPLOYMENT.md").read_text(encoding="utf-8")
    for port in image.ports:
        assert f"port | {port.partition('/')[0]}," in guide
    for volume in image.volumes:
        assert f"`{volume}`" in guide
    assert image.user is not None
    assert f"uid and gid {image.user.uid}" in guide


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_names_a_package_registry(path: Path) -> None:
    # The public archive of Debian's past is the exception: it is nobody's mirror.
    text = path.read_text(encoding="utf-8").replace("snapshot.debian.org", "")
    assert not re.search(r"(debian|pythonhosted|pypi|npmjs)\.(org|com)", text)
