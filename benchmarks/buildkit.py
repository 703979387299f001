"""The same image by BuildKit: a Dockerfile over the same packages and wheels."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.builder import Builder
from pipeline.lock import LockedPackage, read_lock
from pipeline.platforms import Platform
from pipeline.settings import LOCK
from tests.integration.debian_base import make_root, pack

_BASE = "accelerapp-benchmark"
# Packages are there already, as ours are: what is timed is installing them.
_DOCKERFILE = """
FROM {base}
RUN --mount=type=bind,source=debs,target=/debs dpkg --force-depends --install /debs/*.deb
RUN --mount=type=bind,source=wheels,target=/wheels \\
    for wheel in /wheels/*.whl; do \\
        python3.11 -m zipfile -e $wheel /usr/local/lib/python3.11/dist-packages; \\
    done && python3.11 -m compileall -q /usr/local/lib/python3.11/dist-packages
RUN useradd --uid 1000 --home-dir /app --create-home accelerapp
USER 1000
CMD ["python3.11", "-m", "accelerapp", "serve"]
"""

Docker = tuple[str, ...]


@contextlib.contextmanager
def docker() -> Iterator[Docker | None]:
    """Yield the command of a client whose engine answers, or None."""
    program = shutil.which("docker")
    if program and _runs((program, "version")):
        yield (program,)
    else:
        yield None


def _runs(argv: tuple[str, ...]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def prepare(docker: Docker, builder: Builder, platform: Platform) -> Path | None:
    """Load a Debian base for `platform`, and return a build context; None without mmdebstrap."""
    if not shutil.which("mmdebstrap"):
        return None
    context = builder.cache.parent / f"context-{platform.architecture}"
    for name in ("debs", "wheels"):
        (context / name).mkdir(parents=True)
    base = f"{_BASE}:{platform.architecture}"
    (context / "Dockerfile").write_text(_DOCKERFILE.format(base=base), encoding="utf-8")
    locked = read_lock(builder.tree / LOCK, LOCK)
    for image in ("base", "production"):
        contents = locked.contents("bookworm", platform, image)
        for package in contents.packages:
            _link(builder, package.sha256, context / "debs" / _deb_name(package))
        for wheel in contents.wheels:
            _link(builder, wheel.sha256, context / "wheels" / wheel.filename)
    subprocess.run(
        (
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(context / "wheels"),
            str(builder.tree),
        ),
        check=True,
    )
    _load_base(docker, base, platform, builder.cache.parent)
    return context


def _deb_name(package: LockedPackage) -> str:
    return f"{package.name}_{package.architecture}.deb"


def _link(builder: Builder, sha256: str, path: Path) -> None:
    os.link(builder.cache / "blobs" / "sha256" / sha256[:2] / sha256, path)


def _load_base(docker: Docker, name: str, platform: Platform, folder: Path) -> None:
    """Make a minimal Debian with mmdebstrap and load it under its real platform."""
    work = folder / f"base-{platform.architecture}"
    work.mkdir()
    # What our image does without, and dpkg does not.
    include = ("libnsl2", "libtirpc3", "openssl")
    tree = make_root("bookworm", platform, work, include=include)
    archive = pack(tree, name, platform, work)
    subprocess.run((*docker, "load", "--quiet", "--input", str(archive)), check=True)


def build(docker: Docker, context: Path, platform: Platform) -> None:
    """Build the context without BuildKit's cache."""
    argv = (*docker, "build", "--quiet", "--no-cache", "--network=none")
    done = subprocess.run(
        (*argv, "--platform", str(platform), "--tag", f"{_BASE}:result", str(context)),
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"docker build failed:\n{done.stderr}")
