"""A registry on loopback for the benchmarks: Debian's `docker-registry`, empty at first."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_START_TIMEOUT_S = 20


@contextlib.contextmanager
def registry() -> Iterator[str | None]:
    """Yield `host:port` of an empty registry, None where the program is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        configuration = Path(name) / "registry.json"  # JSON is YAML, too.
        configuration.write_text(
            json.dumps(
                {
                    "version": "0.1",
                    "log": {"level": "error", "accesslog": {"disabled": True}},
                    "storage": {"filesystem": {"rootdirectory": f"{name}/data"}},
                    "http": {"addr": address},
                }
            )
        )
        with subprocess.Popen(
            (program, "serve", str(configuration)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait(f"http://{address}/v2/", process)
                yield address
            finally:
                process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit("error: docker-registry does not start") from None
            time.sleep(0.05)


def large_layout(folder: Path, size_bytes: int) -> Path:
    """Write a layout of one image whose only layer has `size_bytes` of noise."""
    import hashlib

    from pipeline.oci.image import Configuration, Format, ImageLayer, image_documents
    from pipeline.oci.layout import NamedImage, write_layout
    from pipeline.platforms import Platform

    source = folder / "layer"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(size_bytes >> 20):
            noise = os.urandom(1 << 20)
            digest.update(noise)
            file.write(noise)
    name = f"sha256:{digest.hexdigest()}"
    image = image_documents(
        Platform.host(),
        Configuration(),
        # Nobody unpacks it, so its diff_id may be any.
        [ImageLayer(name, name, source.stat().st_size, "noise", "")],
        created_s=0,
        format=Format.OCI,
        annotations={},
    )
    named = NamedImage("noise", "production", (image,), Format.OCI, {})
    write_layout(folder / "production", named, lambda _: source)
    return folder / "production"
