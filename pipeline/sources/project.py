"""A Python project's own wheel, from any PEP 517 back end or a bare setup.py.

The back end runs on this machine, in an environment of its own that holds exactly
the locked build requirements, on a copy of the source; what it makes must be pure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.atomic import file_sha256, write_atomically, writing
from pipeline.cache import Cache, key_of
from pipeline.errors import NotAPythonProject, ProjectBuildFailed, ProjectNotPure
from pipeline.process import Runner, run
from pipeline.revision import git
from pipeline.sources.requirements import index_environment, resolution_error, uv_program
from pipeline.sources.wheels import Metadata, read_metadata

# What is never source, in a folder that git does not know.
_NOT_SOURCE = {
    ".eggs", ".git", ".hg", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache", ".svn",
    ".tox", ".venv", "__pycache__", "build", "dist", "node_modules", "venv",
}  # fmt: skip

# What a back end sees of this process's environment; the rest could get into a wheel.
_PASSED = {
    "HOME", "TMPDIR", "USER", "LOGNAME",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
}  # fmt: skip
_VERSIONS = (
    "SETUPTOOLS_SCM_",
    "PDM_BUILD_SCM_",
    "HATCH_",
    "PBR_VERSION",
    "POETRY_",
    "VERSIONINGIT_",
)

# 1980-01-01, the first moment that a zip can hold.  Layers have a time of their own.
_EPOCH_S = 315_532_800


@dataclass(frozen=True)
class Project:
    """A source folder. `pyproject` is its parsed pyproject.toml, empty without one."""

    root: Path
    pyproject: Mapping[str, Any]

    @classmethod
    def read(cls, root: Path) -> Project:
        """Read the project at `root`; raises `NotAPythonProject`."""
        pyproject = root / "pyproject.toml"
        if not root.is_dir():
            raise NotAPythonProject(f"{root} is not a folder", hint="name a project's folder")
        if pyproject.exists():
            try:
                project = cls(root, tomllib.loads(pyproject.read_text(encoding="utf-8")))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise NotAPythonProject(
                    f"{pyproject} is not TOML: {error}", hint="correct the file at that place"
                ) from None
            project._check(pyproject)
            return project
        if (root / "setup.py").exists():
            return cls(root, {})
        raise NotAPythonProject(
            f"{root} has neither pyproject.toml nor setup.py",
            hint="name the folder that has one of them",
        )

    def _check(self, shown: Path) -> None:
        """Raise `NotAPythonProject` unless build-system and project are what PEP 518, 621 say."""
        requires = self._build_system.get("requires", ()) if self._has_tables() else None
        if not isinstance(requires, list | tuple) or any(not isinstance(r, str) for r in requires):
            raise NotAPythonProject(
                f"{shown}: build-system or project is not what it has to be",
                hint="build-system.requires is a list of strings, both are tables",
            )

    def _has_tables(self) -> bool:
        tables = (self.pyproject.get(name, {}) for name in ("build-system", "project"))
        return all(isinstance(table, dict) for table in tables)

    @property
    def _build_system(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.pyproject.get("build-system", {})
        return found

    @property
    def build_requires(self) -> tuple[str, ...]:
        """`build-system.requires`, or what PEP 518 says of a project that names none."""
        return tuple(self._build_system.get("requires", ("setuptools >= 40.8.0",)))

    @property
    def back_end(self) -> str:
        """`build-system.build-backend`, setuptools' legacy one where there is none."""
        return str(self._build_system.get("build-backend", "setuptools.build_meta:__legacy__"))

    @property
    def back_end_path(self) -> Sequence[str] | None:
        """`build-system.backend-path`."""
        found: Sequence[str] | None = self._build_system.get("backend-path")
        return found

    @property
    def requires_python(self) -> str:
        """`project.requires-python` as written, or an empty string."""
        return str(self.pyproject.get("project", {}).get("requires-python", ""))

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The source files, relative and sorted: git's where git knows them."""
        tracked = git(self.root, "ls-files", "-z", "--cached", "--recurse-submodules")
        others = git(self.root, "ls-files", "-z", "--others", "--exclude-standard")
        listed = (tracked + others).split("\0")
        found: set[str] = set()
        for name in listed if tracked or others else _walk(self.root):
            path = self.root / name
            if name and path.is_file():
                found.add(name)
            elif name and path.is_symlink() and path.is_dir():
                # A link to a folder: a back end would follow it, so its files are source.
                inside = (child for child in path.rglob("*") if child.is_file())
                found.update(f"{name}/{child.relative_to(path).as_posix()}" for child in inside)
        return tuple(sorted(found))

    @property
    def setup_key(self) -> str:
        """The SHA-256 of the files that may say what building needs."""
        digest = hashlib.sha256()
        for name in ("pyproject.toml", "setup.py", "setup.cfg"):
            if (self.root / name).is_file():
                digest.update(f"{name}\0{file_sha256(self.root / name)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def tree_key(self) -> str:
        """The SHA-256 of everything that a back end could see."""
        digest = hashlib.sha256()
        for name in self.files:
            path = self.root / name
            executable = bool(path.stat().st_mode & stat.S_IXUSR)
            digest.update(os.fsencode(f"{name}\0{executable:d}\0{file_sha256(path)}\n"))
        table = self.pyproject.get("project")
        if table is None or "version" in table.get("dynamic", ()):
            # A back end may take the version from the last tag.
            digest.update(git(self.root, "describe", "--tags", "--always", "--long").encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ProjectWheel:
    """The project's wheel, a blob of the cache."""

    filename: str
    sha256: str
    metadata: Metadata


def build_wheel(project: Project, requirements: Sequence[str], cache: Cache) -> ProjectWheel:
    """Return the project's wheel, built unless the cache has it for the same source.

    `requirements` are lines of a requirements file with hashes, complete.  Raises
    `ProjectBuildFailed`, and `ProjectNotPure` for a wheel with compiled code.
    """
    key = key_of(
        [
            project.tree_key,
            list(requirements),
            project.back_end,
            sys.version_info[:2],
            _version_variables(),
        ]
    )
    found = cache.record("project-wheels", key)
    if found is not None:
        path = cache.verified(found["sha256"])
        if path is not None:
            return ProjectWheel(
                found["filename"], found["sha256"], read_metadata(path, found["filename"])
            )
    made = build_distribution(project, requirements, cache, "wheel")
    sha256 = cache.store(made.data)
    metadata = read_metadata(cache.blob_path(sha256), made.filename)
    cache.write_record("project-wheels", key, {"filename": made.filename, "sha256": sha256})
    return ProjectWheel(made.filename, sha256, metadata)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a back end made: a wheel or an sdist."""

    filename: str
    data: bytes


def build_distribution(
    project: Project,
    requirements: Sequence[str],
    cache: Cache,
    kind: Literal["wheel", "sdist"],
    *,
    epoch_s: int = _EPOCH_S,
) -> Distribution:
    """Return what the back end makes of the project, built now.

    `requirements` are as for `build_wheel`; every file in it gets the time `epoch_s`, as far as
    the back end follows SOURCE_DATE_EPOCH.  Raises as `build_wheel` does.
    """
    reused = (_environment_folder(requirements, cache) / "complete").exists()
    python = _environment(tuple(requirements), cache)
    try:
        return _run_back_end(project, python, cache, kind, epoch_s)
    except ProjectBuildFailed:
        if not reused:
            raise
        # The environment may have been damaged since it was made: once more, in a new one.
        python = _environment(tuple(requirements), cache, anew=True)
        return _run_back_end(project, python, cache, kind, epoch_s)


def _run_back_end(
    project: Project, python: Path, cache: Cache, kind: str, epoch_s: int
) -> Distribution:
    """Return what the back end makes."""
    with tempfile.TemporaryDirectory(dir=cache.temporary_folder()) as folder:
        work, out = Path(folder) / "source", Path(folder) / "out"
        out.mkdir()
        _copy_source(project, work, epoch_s)
        hook = f"build_{kind}"
        filename = str(_call(project, work, python, cache, hook, str(out), epoch_s=epoch_s))
        if kind == "wheel" and not filename.endswith("-none-any.whl"):
            raise ProjectNotPure(
                f"the project's own wheel, {filename}, holds code compiled for one machine",
                hint="move the extension to a package of its own, publish its wheels for every "
                "platform, and require it",
            )
        return Distribution(filename, (out / filename).read_bytes())


def lock_build_requirements(
    project: Project, cache: Cache, *, runner: Runner = run
) -> tuple[str, ...]:
    """Return the build requirements as lines with hashes, dynamic ones included (PEP 517)."""
    static = _compile_for_host(project.build_requires, runner)
    environment = _environment(static, cache)
    with tempfile.TemporaryDirectory(dir=cache.temporary_folder()) as folder:
        work = Path(folder) / "source"
        _copy_source(project, work)
        dynamic = _call(project, work, environment, cache, "get_requires_for_build_wheel")
    if not dynamic:
        return static
    return _compile_for_host((*project.build_requires, *dynamic), runner)


def _compile_for_host(requires: Sequence[str], runner: Runner) -> tuple[str, ...]:
    if not requires:
        return ()
    argv = (
        uv_program(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header",
        "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--universal",
        "--python-version", "3.11", "-",
    )  # fmt: skip
    done = runner(argv, env=index_environment(runner), stdin="\n".join(requires).encode())
    if not done.ok:
        raise resolution_error(done, "the project's build-system.requires", "")
    joined = done.stdout.replace("\\\n", " ")
    return tuple(" ".join(line.split()) for line in joined.splitlines() if line.strip())


def _environment(
    requirements: Sequence[str], cache: Cache, *, anew: bool = False, runner: Runner = run
) -> Path:
    """Return the python of an environment that holds just `requirements`, made if need be."""
    folder = _environment_folder(requirements, cache)
    python = folder / "bin" / "python"
    complete = folder / "complete"
    with cache.alone(f"environment-{folder.name}"):
        if complete.exists() and python.exists() and not anew:
            os.utime(folder)
            return python
        shutil.rmtree(folder, ignore_errors=True)
        listing = "\n".join(requirements).encode()
        create = (uv_program(), "venv", "--quiet", "--python", sys.executable, str(folder))
        install = (
            uv_program(), "pip", "install", "--quiet", "--python", str(python),
            "--no-deps", "--require-hashes", "--requirement", "-",
        )  # fmt: skip
        steps: list[tuple[tuple[str, ...], bytes]] = [(create, b"")]
        if requirements:
            steps.append((install, listing))
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        environment = index_environment(runner)
        for argv, stdin in steps:
            done = runner(argv, env=environment, stdin=stdin)
            if not done.ok:
                raise resolution_error(done, _environment_name(requirements), "")
        write_atomically(complete, listing)
    return python


def _environment_folder(requirements: Sequence[str], cache: Cache) -> Path:
    key = key_of([list(requirements), sys.version, sys.platform])
    return cache.folder / "environments" / key[:16]


def _environment_name(requirements: Sequence[str]) -> str:
    names = ", ".join(line.split()[0] for line in requirements)
    return f"the build environment of the project ({names})"


def _call(
    project: Project,
    work: Path,
    python: Path,
    cache: Cache,
    hook: str,
    *args: str,
    epoch_s: int = _EPOCH_S,
) -> Any:
    from pyproject_hooks import BuildBackendHookCaller

    output: list[bytes] = []

    def call(
        cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None
    ) -> None:
        done = subprocess.run(
            cmd,
            cwd=cwd,
            env={**_back_end_environment(python, epoch_s), **(extra_environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=0o022,
            check=False,
        )
        output.append(done.stdout)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, cmd)

    try:
        caller = BuildBackendHookCaller(
            str(work), project.back_end, project.back_end_path, call, str(python)
        )
        return getattr(caller, hook)(*args)
    except Exception as error:
        log = cache.folder / "logs" / f"build-{project.root.name}.log"
        said = b"".join(output).decode("utf-8", "replace").strip()
        # A back end that is not there says nothing; then the error starts with the reason.
        text = said or str(error) or type(error).__name__
        write_atomically(log, f"{text}\n".encode())
        reason = text.splitlines()[-1 if said else 0].strip()
        raise ProjectBuildFailed(
            f"the build back end '{project.back_end}' failed on {project.root}: {reason}",
            hint=f"all that it said is in {log}",
        ) from error


def _back_end_environment(python: Path, epoch_s: int) -> dict[str, str]:
    """Return this process's environment without what would get into a wheel."""
    kept = {k: v for k, v in os.environ.items() if k in _PASSED or k.lower().endswith("_proxy")}
    return {
        **kept,
        **_version_variables(),
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(epoch_s),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _version_variables() -> dict[str, str]:
    """Return the variables by which back ends let a release name its version."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(_VERSIONS)}


def _copy_source(project: Project, work: Path, epoch_s: int = _EPOCH_S) -> None:
    for name in project.files:
        source, destination = project.root / name, work / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        executable = source.stat().st_mode & stat.S_IXUSR
        destination.chmod(0o755 if executable else 0o644)
        os.utime(destination, (epoch_s, epoch_s))
    git_folder = git(project.root, "rev-parse", "--absolute-git-dir").strip()
    if git_folder and git(project.root, "rev-parse", "--show-prefix").strip() == "":
        # Back ends that take the version from a tag find the history; they do not write it.
        (work / ".git").write_text(f"gitdir: {git_folder}\n", encoding="utf-8")


def _walk(root: Path) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        names[:] = [
            name for name in names if name not in _NOT_SOURCE and not name.endswith(".egg-info")
        ]
        base = Path(folder)
        for name in files:
            if not name.endswith(".pyc"):
                yield (base / name).relative_to(root).as_posix()
