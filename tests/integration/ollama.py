"""An image that speaks Ollama's HTTP API, beside those of the stack."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.platforms import Platform
from tests.integration.building import Checkout

if TYPE_CHECKING:
    import docker

STAND_IN = Path(__file__).parents[1] / "standins" / "ollama.py"
IMAGES = "production,monitoring,redis"


@contextmanager
def ollama_stand_in(
    repository: Checkout, docker_engine: docker.DockerClient, folder: Path
) -> Iterator[str]:
    """Build and load what the stack runs; yield the name of the stand-in's image."""
    argv = ("--target", IMAGES, "--platform", str(Platform.host()))
    repository.build(*argv, "--output", folder / "layouts", "--archive", folder / "stack.tar")
    with (folder / "stack.tar").open("rb") as archive:
        docker_engine.images.load(archive)
    context = folder / "ollama"
    context.mkdir()
    shutil.copy(STAND_IN, context / "ollama")
    (context / "ollama").chmod(0o755)
    (context / "Dockerfile").write_text(
        "FROM accelerapp:production\n"
        "COPY ollama /usr/bin/ollama\n"
        'ENTRYPOINT ["/usr/bin/ollama"]\nCMD ["serve"]\n'
    )
    name = f"ollama-stand-in:{uuid.uuid4().hex[:8]}"
    # Without `rm` the builder's own containers stay, and keep images that hang on ours.
    docker_engine.images.build(path=str(context), tag=name, rm=True, forcerm=True)
    try:
        yield name
    finally:
        docker_engine.images.remove(name, force=True)
