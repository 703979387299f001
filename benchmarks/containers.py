"""Starting what was built: with bytecode, and the same image without."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.builder import Builder
from benchmarks.buildkit import Docker

_DESCRIPTION = Path("deployment/images.toml")


def variants(docker: Docker, builder: Builder) -> tuple[str, str]:
    """Load production as it is, and without bytecode; return two running containers.

    The start is timed inside a running container: the engine's own share of
    `docker run` is the same for both, and many times theirs.
    """
    names = []
    description = builder.tree / _DESCRIPTION
    text = description.read_text(encoding="utf-8")
    for name, changed in (
        ("with", text),
        ("without", text.replace('description = "', 'bytecode = false\ndescription = "')),
    ):
        description.write_text(changed, encoding="utf-8")
        archive = builder.cache.parent / f"{name}.tar"
        builder.invoke("build", "--archive", str(archive))
        _run(docker, "load", "--quiet", "--input", str(archive))
        container = f"accelerapp-benchmark-{name}"
        subprocess.run((*docker, "rm", "--force", container), capture_output=True, check=False)
        _run(docker, "run", "--detach", "--rm", "--name", container, "accelerapp:production")
        names.append(container)
    description.write_text(text, encoding="utf-8")
    return names[0], names[1]


def info(docker: Docker, container: str) -> None:
    """Run `accelerapp info` several times in a container."""
    program = "import subprocess\nfor _ in range(10): subprocess.run(['accelerapp', 'info'])"
    _run(docker, "exec", container, "/usr/bin/python3", "-I", "-S", "-c", program)


def _run(docker: Docker, *arguments: str) -> None:
    done = subprocess.run((*docker, *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {arguments[0]} failed:\n{done.stderr}")
