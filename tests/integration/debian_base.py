"""A Debian image for Docker builds where no registry is: mmdebstrap, packed by hand.

Like the official slim image as far as a Dockerfile can tell: the essential packages and
apt, its sources in `debian.sources`, nothing set but PATH.  `docker import --platform`
ignores the platform on Engine 20.10, hence an archive with documents of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.build_secrets import apt_sources
from pipeline.oci.archive import write_archive
from pipeline.oci.image import Configuration, Format, ImageLayer, image_documents
from pipeline.oci.layer import write_tar
from pipeline.oci.layout import NamedImage
from pipeline.platforms import Platform
from pipeline.sources.debian.archive import find_mirrors

if TYPE_CHECKING:
    import docker

REPOSITORY = "accelerapp-debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_S = 900
_CHUNK_BYTES = 1 << 20
_APT = Path("/etc/apt")


def load_debian(engine: docker.DockerClient, suite: str, platform: Platform) -> str:
    """Return the tag of a Debian image in the engine; made unless it is there.

    Needs mmdebstrap, and for another platform than this machine's emulation and arch-test.
    """
    # What made it is in its name: an image that another version of this file made stays out.
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    tag = f"{REPOSITORY}:{suite}-{platform.architecture}-{recipe}"
    if not any(tag in image.tags for image in engine.images.list(REPOSITORY)):
        with tempfile.TemporaryDirectory() as folder:
            tree = make_root(suite, platform, Path(folder))
            archive = pack(tree, tag, platform, Path(folder))
            with archive.open("rb") as file:
                api: Any = engine.api
                for _ in api.load_image(file):
                    pass
    return tag


def make_root(suite: str, platform: Platform, folder: Path, *, include: Sequence[str] = ()) -> Path:
    """Return a tar of Debian's essential packages, apt and `include`."""
    tree = folder / "root.tar"
    mirrors = find_mirrors(environ=os.environ, apt_root=_APT)
    sources = folder / "debian.sources"
    sources.write_text(apt_sources(suite, mirrors), encoding="utf-8")
    # Without sources of its own the machine's are not Debian's: mmdebstrap knows the public ones.
    given = [str(sources)] if sources.stat().st_size else []
    hooks = [
        'rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        f"upload {sources} /etc/apt/sources.list.d/debian.sources",
    ]
    subprocess.run(
        (
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--architectures={platform.debian}",
            *(f"--include={package}" for package in include),
            *(f"--customize-hook={hook}" for hook in hooks if given),
            suite,
            str(tree),
            *given,
        ),
        check=True,
        timeout=TIMEOUT_S,
    )
    return tree


def pack(tree: Path, tag: str, platform: Platform, folder: Path) -> Path:
    """Return an archive for `docker load` of one layer, the tar `tree`."""
    blob = folder / "layer.tar.gz"
    with tree.open("rb") as source, blob.open("wb") as out:

        def chunks() -> Iterator[bytes]:
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk

        layer = write_tar(chunks(), out)
    documents = image_documents(
        platform,
        Configuration(environment={"PATH": PATH}, command=("bash",)),
        [ImageLayer(layer.digest, layer.diff_id, layer.size_bytes, "mmdebstrap")],
        created_s=0,
        format=Format.OCI,
        annotations={},
    )
    repository, _, name = tag.partition(":")
    named = NamedImage(repository, name, (documents,), Format.OCI, {})
    archive = folder / "base.tar"
    write_archive(archive, [named], lambda _: blob, preferred=platform)
    return archive
