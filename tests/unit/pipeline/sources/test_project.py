"""A project's own wheel: built on a copy, kept for the same source, refused when not pure."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline.sources.project
from pipeline.cache import Cache
from pipeline.errors import (
    NetworkUnavailable,
    NotAPythonProject,
    ProjectBuildFailed,
    ProjectNotPure,
    ResolutionFailed,
)
from pipeline.sources.project import (
    Project,
    ProjectWheel,
    _environment,
    build_wheel,
    lock_build_requirements,
)
from tests.unit.pipeline.factories import Recorder, write_project


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let back ends run in this Python instead of an environment from a package index."""
    monkeypatch.setattr(
        pipeline.sources.project, "_environment", lambda _lines, _cache: Path(sys.executable)
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_project(tmp_path / "source")


def build(source: Path, cache: Cache) -> ProjectWheel:
    return build_wheel(Project.read(source), ("tool==1 --hash=sha256:0",), cache)


# What a project is


def test_a_project_says_how_it_is_built(source: Path) -> None:
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["flit_core>=3.12,<4"]\n'
        'build-backend = "flit_core.buildapi"\n[project]\nrequires-python = ">=3.11"\n'
    )
    project = Project.read(source)
    assert project.build_requires == ("flit_core>=3.12,<4",)
    assert project.back_end == "flit_core.buildapi"
    assert project.back_end_path is None
    assert project.requires_python == ">=3.11"


@pytest.mark.parametrize("file", ["setup.py", "pyproject.toml"])
def test_a_project_that_says_nothing_is_built_with_setuptools(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    project = Project.read(tmp_path)
    assert project.build_requires == ("setuptools >= 40.8.0",)
    assert project.back_end == "setuptools.build_meta:__legacy__"
    assert project.requires_python == ""


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    with pytest.raises(NotAPythonProject, match=r"neither pyproject\.toml nor setup\.py"):
        Project.read(tmp_path)
    with pytest.raises(NotAPythonProject, match="is not a folder"):
        Project.read(tmp_path / "nowhere")
    with pytest.raises(NotAPythonProject, match="is not a folder"):
        Project.read(tmp_path / "main.py")


@pytest.mark.parametrize("data", [b"[build-system\n", b"\xff\xfe"])
def test_a_pyproject_that_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pyproject.toml").write_bytes(data)
    with pytest.raises(NotAPythonProject, match="is not TOML") as caught:
        Project.read(tmp_path)
    assert "\n" not in str(caught.value)


# Which files are source


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ("git", "-c", "user.name=N", "-c", "user.email=n@mirror.example", *arguments),
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_git_s_files_are_the_source_ignored_ones_are_not(source: Path) -> None:
    git(source, "init", "-q")
    (source / ".gitignore").write_text("*.log\n")
    (source / "debug.log").touch()
    (source / "new.py").touch()
    git(source, "add", "mini")
    (source / "mini" / "__init__.py").unlink()
    assert Project.read(source).files == (
        ".gitignore", "back_end.py", "mini/cli.py", "new.py", "pyproject.toml",
    )  # fmt: skip


def test_without_git_what_is_never_source_is_left_out(source: Path) -> None:
    for path in (
        "dist/old.whl", ".venv/bin/python", "mini/__pycache__/cli.pyc", "build/lib/x.py",
        "mini.egg-info/PKG-INFO", "mini/stale.pyc", "node_modules/x.js", ".tox/x",
    ):  # fmt: skip
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()
    assert Project.read(source).files == (
        "back_end.py", "mini/__init__.py", "mini/cli.py", "pyproject.toml",
    )  # fmt: skip


def edit(root: Path) -> None:
    (root / "mini/cli.py").write_text("def main():\n    return 1\n")


def rename(root: Path) -> None:
    (root / "mini/cli.py").rename(root / "mini/main.py")


def make_executable(root: Path) -> None:
    (root / "mini/cli.py").chmod(0o755)


@pytest.mark.parametrize("change", [edit, rename, make_executable])
def test_every_change_that_a_back_end_could_see_is_another_tree(
    source: Path, change: Callable[[Path], None]
) -> None:
    before = Project.read(source).tree_key
    change(source)
    assert Project.read(source).tree_key != before


def test_times_and_places_make_no_other_tree(source: Path, tmp_path: Path) -> None:
    before = Project.read(source).tree_key
    os.utime(source / "mini/cli.py", (1, 1))
    (source / "mini/cli.py").chmod(0o600)
    moved = source.rename(tmp_path / "elsewhere")
    assert Project.read(moved).tree_key == before


def test_a_tag_is_another_tree_where_the_version_comes_from_it(source: Path) -> None:
    pyproject = source / "pyproject.toml"
    dynamic = pyproject.read_text().replace('version = "1.0"', 'dynamic = ["version"]')
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "Begin")
    fixed = Project.read(source).tree_key
    git(source, "tag", "-a", "-m", "One", "v1")
    assert Project.read(source).tree_key == fixed
    pyproject.write_text(dynamic)
    one = Project.read(source).tree_key
    git(source, "tag", "-d", "v1")
    git(source, "tag", "-a", "-m", "Two", "v2")
    assert Project.read(source).tree_key != one


# Building


def test_the_wheel_is_built_from_the_source(source: Path, cache: Cache) -> None:
    wheel = build(source, cache)
    assert wheel.filename == "mini-1.0-py3-none-any.whl"
    assert wheel.metadata.name == "mini"
    assert wheel.metadata.console_scripts == ("mini",)
    with zipfile.ZipFile(cache.blob_path(wheel.sha256)) as archive:
        assert b"return 0" in archive.read("mini/cli.py")
    assert not list(cache.temporary_folder().iterdir())


def test_the_source_folder_is_left_as_it_was(source: Path, cache: Cache) -> None:
    back_end = source / "back_end.py"
    back_end.write_text(back_end.read_text() + "\nopen('generated.txt', 'w').close()\n")
    before = sorted(source.rglob("*"))
    build(source, cache)
    assert sorted(source.rglob("*")) == before


def test_the_same_source_is_built_once(
    source: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(source, cache)
    monkeypatch.setattr(pipeline.sources.project, "_call", None)
    assert build(source, cache) == first


def test_a_changed_source_is_built_again(source: Path, cache: Cache) -> None:
    first = build(source, cache)
    edit(source)
    again = build(source, cache)
    assert again.sha256 != first.sha256
    with zipfile.ZipFile(cache.blob_path(again.sha256)) as archive:
        assert b"return 1" in archive.read("mini/cli.py")


def test_a_damaged_wheel_is_built_again(source: Path, cache: Cache) -> None:
    first = build(source, cache)
    cache.blob_path(first.sha256).write_bytes(b"damaged")
    assert build(source, cache) == first
    assert cache.damaged == [f"blob {first.sha256[:12]}"]


LOOKS_AROUND = """
    import sys
    seen = sorted(name for name in os.environ if name.startswith("PYTHON"))
    with open("mini/seen.py", "w") as file:
        print([os.environ[n] for n in ("TZ", "LC_ALL", "SOURCE_DATE_EPOCH")], seen, file=file)
        print(os.path.getmtime("mini/cli.py"), oct(os.stat("mini/cli.py").st_mode), file=file)
        open("mini/new.py", "w").close()
        print(oct(os.stat("mini/new.py").st_mode), file=file)
        print(os.environ["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable), file=file)
"""


def test_a_back_end_sees_nothing_of_this_machine(
    source: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_end = source / "back_end.py"
    head, define, rest = back_end.read_text().partition("metadata_directory=None):")
    back_end.write_text(head + define + LOOKS_AROUND + rest)
    (source / "mini/cli.py").chmod(0o640)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    mask = os.umask(0o077)
    try:
        wheel = build(source, cache)
    finally:
        os.umask(mask)
    with zipfile.ZipFile(cache.blob_path(wheel.sha256)) as archive:
        seen = archive.read("mini/seen.py").decode().splitlines()
    assert seen == [
        "['UTC', 'C.UTF-8', '315532800'] ['PYTHONHASHSEED']",
        "315532800.0 0o100644",
        "0o100644",
        "True",
    ]


def test_a_back_end_finds_the_history(source: Path, cache: Cache) -> None:
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "Begin")
    back_end = source / "back_end.py"
    look = (
        "\n    import subprocess"
        '\n    log = subprocess.check_output(["git", "log", "--format=%s"], text=True)'
        '\n    open("mini/history.py", "w").write(f"# {log}")\n'
    )
    head, define, rest = back_end.read_text().partition("metadata_directory=None):")
    back_end.write_text(head + define + look + rest)
    wheel = build(source, cache)
    with zipfile.ZipFile(cache.blob_path(wheel.sha256)) as archive:
        assert archive.read("mini/history.py") == b"# Begin\n"


@pytest.mark.parametrize(
    "tag",
    ["cp311-cp311-linux_x86_64", "py3-none-manylinux_2_17_aarch64", "cp39-abi3-macosx_11_0_arm64"],
)
def test_a_wheel_for_one_machine_is_refused(tmp_path: Path, cache: Cache, tag: str) -> None:
    source = write_project(tmp_path / "native", "native", tag=tag)
    with pytest.raises(ProjectNotPure, match=rf"native-1\.0-{tag}\.whl"):
        build(source, cache)
    with pytest.raises(ProjectNotPure):
        build(source, cache)


def test_a_back_end_that_fails_gives_its_last_line_and_a_log(source: Path, cache: Cache) -> None:
    (source / "back_end.py").write_text(
        "def build_wheel(*args, **kwargs):\n"
        "    print('compiling this')\n"
        "    print('compiling that')\n"
        "    raise RuntimeError('the version is missing')\n"
    )
    with pytest.raises(ProjectBuildFailed) as caught:
        build(source, cache)
    assert caught.value.message == (
        f"the build back end 'back_end' failed on {source}: RuntimeError: the version is missing"
    )
    log = cache.folder / "logs" / "build-source.log"
    assert str(log) in caught.value.hint
    text = log.read_text()
    assert text.startswith("compiling this\ncompiling that\n")
    assert "Traceback" in text
    assert not list(cache.temporary_folder().iterdir())


@pytest.mark.parametrize(
    ("back_end", "path"),
    [("not_there", "."), ("back_end:not_there", "."), ("back_end", "..")],
    ids=["module", "object", "path"],
)
def test_a_back_end_that_is_not_there_is_named(
    source: Path, cache: Cache, back_end: str, path: str
) -> None:
    (source / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "{back_end}"\nbackend-path = ["{path}"]\n'
    )
    with pytest.raises(ProjectBuildFailed, match=f"back end '{back_end}' failed") as caught:
        build(source, cache)
    assert "\n" not in str(caught.value)
    assert not caught.value.message.endswith(": ")


# Build requirements


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.sources.project, "uv_program", lambda: "/bin/uv")


COMPILED = "flit-core==3.12.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n\n"
COMPILE = (
    "/bin/uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header",
    "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--universal",
    "--python-version", "3.11", "-",
)  # fmt: skip


def require(source: Path, *names: str) -> None:
    pyproject = source / "pyproject.toml"
    listed = str(list(names)).replace("'", '"')
    pyproject.write_text(pyproject.read_text().replace("requires = []", f"requires = {listed}"))


@pytest.mark.usefixtures("uv")
def test_build_requirements_are_locked_with_hashes(source: Path, cache: Cache) -> None:
    require(source, "flit_core>=3.12,<4", "other")
    runner = Recorder([(0, "", ""), (0, COMPILED, "")])
    lines = lock_build_requirements(Project.read(source), cache, runner=runner)
    assert lines == ("flit-core==3.12.0 --hash=sha256:aa --hash=sha256:bb",)
    assert runner.argvs[1:] == [COMPILE]
    assert runner.inputs[1] == b"flit_core>=3.12,<4\nother"


@pytest.mark.usefixtures("uv")
def test_what_a_back_end_asks_for_is_locked_too(source: Path, cache: Cache) -> None:
    require(source, "tool")
    back_end = source / "back_end.py"
    back_end.write_text(
        back_end.read_text()
        + "\ndef get_requires_for_build_wheel(config_settings=None):\n    return ['more>=2']\n"
    )
    both = COMPILED + "more==2.0 \\\n    --hash=sha256:cc\n"
    runner = Recorder([(0, "", ""), (0, COMPILED, ""), (0, "", ""), (0, both, "")])
    lines = lock_build_requirements(Project.read(source), cache, runner=runner)
    assert lines[1] == "more==2.0 --hash=sha256:cc"
    assert runner.inputs[3] == b"tool\nmore>=2"


def test_a_project_that_needs_nothing_locks_nothing(source: Path, cache: Cache) -> None:
    runner = Recorder()
    assert lock_build_requirements(Project.read(source), cache, runner=runner) == ()
    assert runner.argvs == []


@pytest.mark.usefixtures("uv")
def test_a_build_requirement_that_nobody_has_is_named(source: Path, cache: Cache) -> None:
    require(source, "this-is-nothing")
    stderr = "cause: Because this-is-nothing was not found in the package registry and you"
    runner = Recorder([(0, "", ""), (1, "", stderr)])
    with pytest.raises(ResolutionFailed, match=r"build-system\.requires.*'this-is-nothing'"):
        lock_build_requirements(Project.read(source), cache, runner=runner)


@pytest.mark.usefixtures("uv")
def test_an_environment_holds_just_the_locked_requirements(cache: Cache) -> None:
    runner = Recorder()
    python = _environment(("a==1 --hash=sha256:aa", "b==2 --hash=sha256:bb"), cache, runner=runner)
    folder = python.parent.parent
    assert folder.parent == cache.folder / "environments"
    assert runner.argvs[1:] == [
        ("/bin/uv", "venv", "--quiet", "--python", sys.executable, str(folder)),
        (
            "/bin/uv", "pip", "install", "--quiet", "--python", str(python),
            "--no-deps", "--require-hashes", "--requirement", "-",
        ),
    ]  # fmt: skip
    assert runner.inputs[2] == b"a==1 --hash=sha256:aa\nb==2 --hash=sha256:bb"


@pytest.mark.usefixtures("uv")
def test_an_environment_is_made_once(cache: Cache) -> None:
    python = _environment((), cache, runner=Recorder())
    python.parent.mkdir()
    python.touch()
    again = Recorder()
    assert _environment((), cache, runner=again) == python
    assert again.argvs == []
    assert _environment(("a==1",), cache, runner=Recorder()) != python


@pytest.mark.usefixtures("uv")
def test_an_environment_that_was_not_finished_is_made_again(cache: Cache) -> None:
    unreachable = Recorder([(0, "", ""), (1, "", "Failed to fetch: https://index.example/a")])
    with pytest.raises(NetworkUnavailable, match="build environment"):
        _environment(("a==1",), cache, runner=unreachable)
    runner = Recorder()
    _environment(("a==1",), cache, runner=runner)
    assert len(runner.argvs) == 3


def test_a_version_that_a_variable_names_is_not_kept_for_the_next(
    source: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    back_end = pipeline.sources.project._run_back_end
    monkeypatch.setattr(
        pipeline.sources.project,
        "_run_back_end",
        lambda *arguments: (calls.append(1), back_end(*arguments))[1],
    )
    build(source, cache)
    monkeypatch.setenv("SETUPTOOLS_SCM_PRETEND_VERSION", "9.9")
    build(source, cache)
    monkeypatch.delenv("SETUPTOOLS_SCM_PRETEND_VERSION")
    build(source, cache)
    assert len(calls) == 2


def test_a_damaged_environment_is_made_again(
    source: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("tool==1 --hash=sha256:0",)
    folder = pipeline.sources.project._environment_folder(lines, cache)
    folder.mkdir(parents=True)
    (folder / "complete").touch()
    made = []

    def environment(_lines: object, _cache: object, *, anew: bool = False) -> Path:
        made.append(anew)
        return Path(sys.executable if anew else "/nowhere/python")

    monkeypatch.setattr(pipeline.sources.project, "_environment", environment)
    assert build(source, cache).filename.endswith(".whl")
    assert made == [False, True]


def test_files_behind_a_link_to_a_folder_are_source(tmp_path: Path) -> None:
    root = write_project(tmp_path / "linked")
    (root / "data").mkdir()
    (root / "data" / "table.txt").write_text("1")
    subprocess.run(("git", "init", "-q"), cwd=root, check=True)
    (root / "mini" / "data").symlink_to("../data")
    assert "mini/data/table.txt" in Project.read(root).files


@pytest.mark.parametrize(
    "text",
    ["build-system = 3", "project = []", '[build-system]\nrequires = "hatchling"'],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(NotAPythonProject, match="not what it has to be"):
        Project.read(tmp_path)
