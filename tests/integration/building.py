"""`invoke` as a user runs it, and a reader of layouts that shares no code with the writer."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import posixpath
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.platforms import Platform
from pipeline.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: Settings = read_settings(ROOT)
TARGETS = tuple(SETTINGS.images)
# What is built on the image with Python; Redis's has none.
PYTHON_TARGETS = tuple(
    name for name in TARGETS if any(image.name == "base" for image in SETTINGS.chain(name))
)
PLATFORMS = SETTINGS.platforms
BUILD_TIMEOUT_S = 900

# Of what a step printed when it was done: `base linux/amd64: base: 3.7 s, 18.2 MB`.
_PROGRESS = re.compile(r"\S.*: \d+\.\d s(, .+)?")
_GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "A Tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_AUTHOR_DATE": "2024-02-29T12:00:00+00:00",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
_GIT_IDENTITY.update(
    {key.replace("AUTHOR", "COMMITTER"): value for key, value in _GIT_IDENTITY.items()}
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of the repository, a cache, and how to run `invoke` there."""

    folder: Path
    cache: Path
    python: str = sys.executable
    prefix: tuple[str, ...] = ()
    """What goes before the command: `setpriv …`, `taskset …`."""
    environment: Mapping[str, str | None] | None = None
    """Variables to set, or with None to leave out."""

    def argv(self, *arguments: str | Path) -> tuple[str, ...]:
        """Return the command line."""
        return (*self.prefix, self.python, "-m", "invoke", *map(str, arguments))

    def variables(self) -> dict[str, str]:
        """Return the environment of the command."""
        changes = {"SOURCE_DATE_EPOCH": None, **(self.environment or {})}
        merged = {**os.environ, **changes, "ACCELERAPP_BUILD_CACHE": str(self.cache)}
        return {name: value for name, value in merged.items() if value is not None}

    def invoke(
        self, *arguments: str | Path, timeout_s: float = BUILD_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `invoke` to its end; the exit code is the caller's to judge."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `invoke` in a process group of its own."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore SIGINT, and what they start inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def build(self, *arguments: str | Path) -> Any:
        """Run `invoke build --json`, which must succeed, and return its report."""
        done = self.invoke("build", "--json", *arguments)
        assert done.returncode == 0, f"{done.args} failed:\n{done.stderr}{done.stdout}"
        return json.loads(done.stdout)


def digests(report: Any) -> dict[str, str]:
    """Return the digest of each target of a build's report."""
    return {image["target"]: image["digest"] for image in report["images"]}


def assert_refused(
    done: subprocess.CompletedProcess[str], exit_code: int, *expected: str, output: Path | None
) -> None:
    """Check a refusal: its code, one line that has all of `expected`, nothing in `output`."""
    lines = done.stderr.splitlines()
    assert done.returncode == exit_code, f"exit code {done.returncode}:\n{done.stderr}"
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in lines if line.startswith("error: ")]
    others = [line for line in lines if line not in errors and not _PROGRESS.fullmatch(line)]
    assert len(errors) == 1, done.stderr
    assert not others, f"more than the error and the progress: {others}"
    for part in expected:
        assert part in errors[0]
    if output is not None:
        left = [str(path) for path in output.rglob("*")] if output.exists() else []
        assert not left, f"a refused build wrote {left}"


def copy_repository(destination: Path) -> Path:
    """Copy what version control has, and what is new and not ignored, without its history."""
    names = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in names:
        source = ROOT / name
        if name and source.is_file():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return destination


def commit_all(folder: Path) -> Path:
    """Make `folder` a git repository of one commit that always has the same name."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Everything")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    done = subprocess.run(
        ("git", "-c", "safe.directory=*", *arguments),
        cwd=folder,
        env={**os.environ, **_GIT_IDENTITY},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def seed_cache(source: Path, destination: Path, *, copy: bool = False) -> Path:
    """Give a new cache the downloads of another and none of its records: all is made again.

    Blobs are hard links unless `copy`: a test that damages them must not share them.
    """
    link = shutil.copy2 if copy else os.link
    shutil.copytree(source / "blobs", destination / "blobs", copy_function=link)
    return destination


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """One platform of a layout, read from its view `linux-<architecture>`."""

    target: str
    platform: Platform
    view: Path
    manifest: Any
    config: Any

    @property
    def layers(self) -> tuple[Path, ...]:
        """The blobs of its layers, the lowest first."""
        return tuple(blob(self.view, layer["digest"]) for layer in self.manifest["layers"])

    def tree(self) -> Mapping[str, tarfile.TarInfo]:
        """Return the members of the root file system by path; upper layers win."""
        found: dict[str, tarfile.TarInfo] = {}
        for layer in self.layers:
            with tarfile.open(layer) as tar:
                found.update({member.name: member for member in tar})
        return found

    def files(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """Yield each regular file of each layer with its content."""
        for layer in self.layers:
            # Not "r|gz", which stops after the first member of a gzip file.
            with gzip.open(layer) as data, tarfile.open(fileobj=data, mode="r|") as tar:
                for member in tar:
                    if member.isreg() and (file := tar.extractfile(member)) is not None:
                        yield member, file.read()


def read_image(folder: Path, platform: Platform) -> BuiltImage:
    """Read one platform of the layout at `folder`, which is called like its target."""
    view = folder / str(platform).replace("/", "-")
    (descriptor,) = json.loads((view / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob(view, descriptor["digest"]).read_bytes())
    config = json.loads(blob(view, manifest["config"]["digest"]).read_bytes())
    return BuiltImage(folder.name, platform, view, manifest, config)


def blob(layout: Path, digest: str) -> Path:
    """Return the path of a blob of a layout."""
    return layout / "blobs" / digest.replace(":", "/")


def resolve(tree: Mapping[str, tarfile.TarInfo], path: str) -> str | None:
    """Return where an absolute path of the image leads, or None where it leads nowhere."""
    parts = [part for part in path.split("/") if part]
    done: list[str] = []
    hops = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        here = "/".join([*done, part])
        member = tree.get(here)
        if part == "." or member is None:
            if part == ".":
                continue
            return None
        if member.issym():
            hops += 1
            if hops > 40:
                return None
            target = member.linkname
            done = [] if target.startswith("/") else done
            parts = [piece for piece in target.split("/") if piece] + parts
        else:
            done.append(part)
    return posixpath.join(*done) if done else ""


def whole_layout(folder: Path) -> str | None:
    """Return the digest that a layout names, None when there is no layout.

    Fails unless every blob that it names is there with the right bytes.
    """
    index = folder / "index.json"
    if not index.exists():
        return None
    (top,) = json.loads(index.read_bytes())["manifests"]
    pending: list[Mapping[str, Any]] = [top]
    while pending:
        descriptor = pending.pop()
        data = blob(folder, descriptor["digest"]).read_bytes()
        assert descriptor["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert descriptor["size"] == len(data)
        if descriptor["mediaType"].endswith("+json"):
            document = json.loads(data)
            pending += document.get("manifests", [])
            pending += document.get("layers", [])
            pending += [document["config"]] if "layers" in document else []
    return str(top["digest"])


def run(argv: Sequence[str | Path], timeout_s: float = 300) -> str:
    """Run another tool, which must succeed, and return what it prints."""
    done = subprocess.run(
        [str(part) for part in argv],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{done.args} failed:\n{done.stderr}{done.stdout}"
    return done.stdout
