"""A project without a description: which suite, which program, which lock."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipeline.derive
import pipeline.sources.project
from pipeline.derive import TARGET, Derived, choose_entrypoint, choose_suite, derive
from pipeline.errors import EntryPointMissing, OptionInvalid, PipelineError, SettingsInvalid
from pipeline.lock import format_lock, parse_lock
from pipeline.platforms import Platform
from pipeline.report import Silent
from pipeline.settings import Settings, parse_settings
from pipeline.sources.project import Project
from pipeline.sources.requirements import LockedWheel
from pipeline.sources.wheels import Metadata
from tests.unit.pipeline.factories import BOTH, World, write_project

TWO_SUITES = """
schema = 1
name = "own"
default-suite = "bookworm"
platforms = ["all"]
[suites.trixie]
python = "3.13"
glibc = "2.41"
[suites.bookworm]
python = "3.11"
glibc = "2.36"
[images.base]
packages = ["python{python}"]
"""


@pytest.fixture
def own() -> Settings:
    text = TWO_SUITES.replace('platforms = ["all"]', 'platforms = ["amd64", "arm64"]')
    return parse_settings(text, root=Path("/nowhere"), path=Path("images.toml"))


def metadata(
    name: str = "tool", *, requires_python: str = "", scripts: Sequence[str] = ()
) -> Metadata:
    return Metadata(name, "1.0", (), requires_python, tuple(scripts))


# The suite


@pytest.mark.parametrize(
    ("requires_python", "expected"),
    [
        ("", "bookworm"),
        (">=3.8", "bookworm"),
        (">=3.11.4", "trixie"),
        (">=3.11,<3.12", "bookworm"),
        ("==3.11.*", "bookworm"),
        ("<3.11.5", "bookworm"),
        (">=3.12", "trixie"),
        ("~=3.13.0", "trixie"),
        (">=3.9,!=3.11.*", "trixie"),
    ],
)
def test_the_first_suite_that_the_project_accepts_is_taken(
    own: Settings, requires_python: str, expected: str
) -> None:
    assert choose_suite(metadata(requires_python=requires_python), own, None).name == expected


@pytest.mark.parametrize("default", ["bookworm", "trixie"])
def test_the_default_suite_goes_first(own: Settings, default: str) -> None:
    assert choose_suite(metadata(), replace(own, default_suite=default), None).name == default


def test_a_suite_that_was_asked_for_is_taken(own: Settings) -> None:
    assert choose_suite(metadata(requires_python=">=3.8"), own, "trixie").name == "trixie"


@pytest.mark.parametrize(
    ("requires_python", "asked", "words"),
    [
        (">=3.14", None, "tool requires Python >=3.14: bookworm has 3.11, trixie has 3.13"),
        ("<3.12", "trixie", "tool requires Python <3.12: trixie has 3.13"),
        ("", "buster", "suite 'buster' is not described"),
    ],
)
def test_without_a_suite_that_fits_both_versions_are_named(
    own: Settings, requires_python: str, asked: str | None, words: str
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        choose_suite(metadata(requires_python=requires_python), own, asked)
    assert words in caught.value.message
    assert caught.value.hint


# The program


@pytest.mark.parametrize(
    ("name", "scripts", "asked", "expected"),
    [
        ("tool", ["serve"], None, ["/usr/local/bin/serve"]),
        ("tool", ["admin", "tool"], None, ["/usr/local/bin/tool"]),
        ("My.Tool", ["admin", "my-tool"], None, ["/usr/local/bin/my-tool"]),
        ("tool", ["admin", "tool"], "admin --all", ["/usr/local/bin/admin", "--all"]),
        ("tool", [], "python3 -m tool", ["python3", "-m", "tool"]),
        ("tool", [], "/opt/run 'a b'", ["/opt/run", "a b"]),
    ],
)
def test_the_container_runs(
    name: str, scripts: list[str], asked: str | None, expected: list[str]
) -> None:
    assert choose_entrypoint(metadata(name, scripts=scripts), asked) == tuple(expected)


@pytest.mark.parametrize(
    ("scripts", "asked", "expected", "words"),
    [
        ([], None, EntryPointMissing, ["has no console script", "--entrypoint 'python3 -m tool'"]),
        (["one", "two"], None, EntryPointMissing, ["one, two", "--entrypoint"]),
        (["serve", "admin"], "serv", EntryPointMissing, ["'serv'", "did you mean 'serve'?"]),
        ([], "serve", EntryPointMissing, ["'serve'", "it has none"]),
        (["serve"], "serve 'unclosed", OptionInvalid, ["unclosed", "quot"]),
        (["serve"], "  ", OptionInvalid, ["--entrypoint"]),
    ],
)
def test_without_a_program_the_choice_is_named(
    scripts: list[str], asked: str | None, expected: type[PipelineError], words: list[str]
) -> None:
    with pytest.raises(expected) as caught:
        choose_entrypoint(metadata(scripts=scripts), asked)
    for word in words:
        assert word in str(caught.value)


# All of it


class Resolver:
    """Stands in for uv: every requirement has one pure wheel."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Platform]] = []

    def __call__(
        self, requirements: str, suite: object, platform: Platform, **_: object
    ) -> tuple[LockedWheel, ...]:
        self.asked.append((requirements, platform))
        return (LockedWheel("dep", "1.0", "dep-1.0-py3-none-any.whl", "d" * 64, 7),)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(pipeline.derive, "resolve_wheels", resolver)
    monkeypatch.setattr(
        pipeline.sources.project, "_environment", lambda _lines, _cache: Path(sys.executable)
    )
    return resolver


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def derived(world: World, source: Path, **options: Any) -> Derived:
    given: dict[str, Any] = {"platforms": BOTH, "suite": None, "entrypoint": None, **options}
    own_lock = parse_lock(format_lock(world.lock()), Path("images.lock"))
    project = Project.read(source)
    return derive(project, world.settings(), own_lock, world.cache, Silent(), **given)


def test_a_project_gets_this_repository_s_base_and_a_user(
    world: World, resolver: Resolver, tmp_path: Path
) -> None:
    source = write_project(tmp_path / "src", "Other_Tool", metadata="Requires-Dist: dep>=1\n")
    found = derived(world, source)
    settings = found.settings
    assert settings.name == "other-tool"
    assert settings.root == source
    assert found.suite.name == "tiny"
    image = settings.merged(TARGET)
    assert image.entrypoint == ("/usr/local/bin/Other_Tool",)
    assert image.user is not None
    assert (image.user.uid, image.workdir, image.stop_signal) == (1000, "/app", "SIGTERM")
    assert image.environment == {"PATH": "/usr/local/bin:/usr/bin"}
    assert settings.labels == {"org.opencontainers.image.title": "Other_Tool"}
    for platform in BOTH:
        own = world.lock().contents("tiny", platform, "base")
        assert found.lock.contents("tiny", platform, "base") == own
        (wheel,) = found.lock.contents("tiny", platform, TARGET).wheels
        assert wheel.name == "dep"
    assert resolver.asked == [("dep>=1", platform) for platform in BOTH]


def test_dependencies_are_resolved_once(world: World, resolver: Resolver, tmp_path: Path) -> None:
    source = write_project(tmp_path / "src", metadata="Requires-Dist: dep>=1\n")
    first = derived(world, source)
    (source / "mini/cli.py").write_text("def main():\n    return 1\n")
    again = derived(world, source)
    assert len(resolver.asked) == 2
    assert again.lock == first.lock
    assert again.lock_path == first.lock_path
    assert again.wheel != first.wheel


@pytest.mark.parametrize(
    "change", ["requirements", "platforms", "base"], ids=lambda change: f"other {change}"
)
def test_what_decides_the_dependencies_makes_another_lock(
    world: World, resolver: Resolver, tmp_path: Path, change: str
) -> None:
    first = derived(world, write_project(tmp_path / "a", metadata="Requires-Dist: dep>=1\n"))
    platforms, version = BOTH, "1"
    if change == "requirements":
        version = "2"
    elif change == "platforms":
        platforms = BOTH[:1]
    else:
        world.debs[Platform.ARM64].pop()
    source = write_project(tmp_path / "b", metadata=f"Requires-Dist: dep>={version}\n")
    again = derived(world, source, platforms=platforms)
    assert again.lock_path != first.lock_path
    assert len(resolver.asked) == 2 + len(platforms)


def test_optional_dependencies_are_left_out(
    world: World, resolver: Resolver, tmp_path: Path
) -> None:
    lines = 'Requires-Dist: dep\nRequires-Dist: docs; extra == \\"docs\\"\n'
    derived(world, write_project(tmp_path / "src", metadata=lines))
    assert {asked for asked, _ in resolver.asked} == {"dep"}


def test_a_project_without_dependencies_asks_nobody(
    world: World, resolver: Resolver, tmp_path: Path
) -> None:
    found = derived(world, write_project(tmp_path / "src"))
    assert resolver.asked == []
    assert found.lock.contents("tiny", Platform.ARM64, TARGET).wheels == ()
