"""`invoke release.test-package`: what is published, installed as its users will, and used.

Wheel and sdist each go into a fresh environment with the locked requirements, by hash, and
nothing of this work tree.  Both have to do the same: the command, a generation, the service.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline import commands
from pipeline.atomic import file_sha256
from pipeline.errors import ReleaseRefused
from pipeline.process import Completed, Runner, run
from pipeline.release.package import PYTHON, sums_path
from pipeline.release.places import read_version
from pipeline.release.sums import read_sums
from pipeline.release.version import Version
from pipeline.report import Progress
from pipeline.sources.requirements import index_environment, uv_program

_REQUIREMENTS = Path("requirements/production.txt")
_BACK_END = Path("requirements/build.txt")
_START_S = 30.0
_STOP_S = 30.0
_COMMAND_S = 120.0
_LISTENING = re.compile(r" listening on http://127\.0\.0\.1:(\d+)")
# What of this process's environment would change what is tried.
_LEFT_OUT = re.compile(r"(?:PYTHON|ACCELERAPP_|VIRTUAL_ENV|CONDA_|UV_PYTHON|PIP_)")


@dataclass(frozen=True, slots=True)
class Tried:
    """A distribution that was installed and used."""

    file: str
    kind: str
    sha256: str
    outputs: Mapping[str, str]
    """SHA-256 of what it generated, by name: each file of the command's, the service's archive."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "file": self.file,
            "kind": self.kind,
            "sha256": self.sha256,
            "outputs": dict(self.outputs),
            "seconds": round(self.seconds, 3),
        }


def try_packages(
    progress: Progress,
    *,
    dist: Path = PYTHON,
    root: Path | None = None,
    runner: Runner = run,
) -> tuple[Tried, ...]:
    """Install and use the wheel and the sdist of a folder.

    Raises `ReleaseRefused` where one is missing, is not the one that was built, or does not do
    what it is for.
    """
    root = root or commands.ROOT
    version = read_version(root)
    found = distributions(dist, version)
    tried = tuple(_try(path, kind, root, version, progress, runner) for kind, path in found.items())
    wheel, sdist = tried
    if wheel.outputs != sdist.outputs:
        names = wheel.outputs.keys() | sdist.outputs.keys()
        other = sorted(n for n in names if wheel.outputs.get(n) != sdist.outputs.get(n))
        raise ReleaseRefused(
            f"{wheel.file} and {sdist.file} generate different files: {', '.join(other[:3])}",
            hint="see what the sdist lacks",
        )
    return tried


def distributions(dist: Path, version: Version) -> dict[str, Path]:
    """Return wheel and sdist of a folder.

    Raises `ReleaseRefused` for one that is missing, for anything else that is there, and for one
    that is not what the digests beside the folder say, where these came along.
    """
    hint = "build them: invoke release.package"
    names = {
        "wheel": f"accelerapp-{version.python}-py3-none-any.whl",
        "sdist": f"accelerapp-{version.python}.tar.gz",
    }
    for name in names.values():
        if not (dist / name).is_file():
            raise ReleaseRefused(f"there is no {dist / name}", hint=hint)
    others = [p for p in sorted(dist.iterdir()) if p.name not in names.values()]
    if others:
        raise ReleaseRefused(
            f"{others[0]} is there, too, and whoever publishes {dist} would publish it",
            hint="move it away",
        )
    sums = sums_path(dist)
    known = read_sums(sums.read_bytes()) or {} if sums.is_file() else None
    for name in names.values():
        if known is not None and known.get(name) != file_sha256(dist / name):
            raise ReleaseRefused(f"{dist / name} is not what {sums} says", hint=hint)
    return {kind: dist / name for kind, name in names.items()}


def _try(
    path: Path, kind: str, root: Path, version: Version, progress: Progress, runner: Runner
) -> Tried:
    begin = time.monotonic()
    with (
        progress.step(f"{kind}: install and use") as step,
        tempfile.TemporaryDirectory(prefix="release-") as name,
    ):
        there = Path(name).resolve()
        session = _Session(path, there, runner)
        session.install(root)
        outputs = session.use(version)
        step.note(f"{len(outputs)} outputs")
    seconds = time.monotonic() - begin
    return Tried(path.name, kind, file_sha256(path), outputs, seconds)


@dataclass(frozen=True, slots=True)
class _Session:
    """One distribution in an environment of its own, away from the work tree."""

    path: Path
    folder: Path
    runner: Runner

    @property
    def _python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def install(self, root: Path) -> None:
        """Make the environment; nothing gets into it whose hash nobody locked."""
        into = ("pip", "install", "--quiet", "--python", str(self._python))
        locked = (*into, "--no-deps", "--require-hashes", "--requirement")
        own = (*into, "--no-deps", "--no-index", "--no-cache", "--no-build-isolation")
        steps: tuple[tuple[str, ...], ...] = (
            ("venv", "--quiet", "--python", sys.executable, str(self.folder / "venv")),
            (*locked, str(root / _REQUIREMENTS)),
            # An sdist is built with the locked back end, which its users' installers fetch.
            *([(*locked, str(root / _BACK_END))] if self.path.suffix == ".gz" else []),
            (*own, str(self.path.resolve())),
        )
        environment = index_environment(self.runner)
        for step in steps:
            done = self.runner((uv_program(), *step), cwd=self.folder, env=environment)
            if not done.ok:
                self._fail(f"cannot be installed: {done.reason}")

    def use(self, version: Version) -> dict[str, str]:
        """Use all that the package is for; return digests of what it generated."""
        said = self._accelerapp("--version").stdout
        if said != f"accelerapp {version.python}\n":
            self._fail(f"'accelerapp --version' says {said.strip()!r}, not {version.python}")
        where = self._run(
            str(self._python), "-c", "import accelerapp; print(accelerapp.__file__)"
        ).stdout.strip()
        if not Path(where).is_relative_to(self.folder / "venv"):
            self._fail(f"what runs is {where}, not what was installed")
        self._accelerapp("new", "--output", "device.yaml")
        self._accelerapp("validate", "device.yaml")
        self._accelerapp("generate", "device.yaml", "--output", "out")
        out = self.folder / "out"
        outputs = {
            path.relative_to(out).as_posix(): file_sha256(path)
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }
        if not outputs:
            self._fail("'accelerapp generate' makes no files")
        self._accelerapp("generate", "device.yaml", "--zip", "device.zip")
        archive = (self.folder / "device.zip").read_bytes()
        served = self._serve((self.folder / "device.yaml").read_bytes())
        if served != archive:
            self._fail("the service generates other files than the command")
        return {**outputs, "device.zip": file_sha256(self.folder / "device.zip")}

    def _accelerapp(self, *arguments: str) -> Completed:
        return self._run(str(self._python.parent / "accelerapp"), *arguments)

    def _run(self, *argv: str) -> Completed:
        command = " ".join((Path(argv[0]).name, *argv[1:]))
        try:
            done = self.runner(
                (*self._clean(), *argv), cwd=self.folder, env=self._own(), timeout_s=_COMMAND_S
            )
        except TimeoutError:
            self._fail(f"'{command}' is not done after {_COMMAND_S:.0f} s")
        if not done.ok:
            self._fail(f"'{command}' failed: {done.reason}")
        return done

    def _clean(self) -> tuple[str, ...]:
        """Return the start of a command that does not see what this process was told."""
        names = sorted(name for name in os.environ if _LEFT_OUT.match(name))
        return ("env", *(part for name in names for part in ("-u", name)))

    def _own(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def _serve(self, description: bytes) -> bytes:
        """Return what the service generates of a description; it ends with this."""
        log = self.folder / "serve.log"
        program = str(self._python.parent / "accelerapp")
        with log.open("wb") as file:
            process = subprocess.Popen(
                (*self._clean(), program, "serve", "--host", "127.0.0.1", "--port", "0"),
                cwd=self.folder,
                env={**os.environ, **self._own()},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            port = self._port(process, log)
            self._ask(port, "GET", "/readyz", None)
            answer = self._ask(port, "POST", "/v1/generate", description)
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._fail(f"'accelerapp serve' does not stop within {_STOP_S:.0f} s")
            if code != 0:
                self._fail(f"'accelerapp serve' ended with {code}: {_last(log)}")
            return answer
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _port(self, process: subprocess.Popen[bytes], log: Path) -> int:
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s:
            found = _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
            if found:
                return int(found[1])
            if process.poll() is not None:
                self._fail(f"'accelerapp serve' ended with {process.returncode}: {_last(log)}")
            time.sleep(0.05)
        self._fail(f"'accelerapp serve' does not listen after {_START_S:.0f} s: {_last(log)}")

    def _ask(self, port: int, method: str, path: str, body: bytes | None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
        headers = {"Content-Type": "application/yaml", "Accept": "application/zip"} if body else {}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._fail(f"{method} {path} got no answer: {error}")
        finally:
            connection.close()
        if response.status != 200:
            said = " ".join(answer.decode("utf-8", "replace").split())[:200]
            self._fail(f"{method} {path} is answered with {response.status}: {said}")
        return answer

    def _fail(self, problem: str) -> NoReturn:
        raise ReleaseRefused(f"{self.path.name}: {problem}", hint="nobody should install this")


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
