"""Images as engines export them, made here."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPOCH_S = 1_700_000_000
Member = tuple[tarfile.TarInfo, bytes]


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **attributes: Any
) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(content), EPOCH_S + 5
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, content


def tar(members: Sequence[Member], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONFIG: dict[str, Any] = {
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "created": "2030-01-01T00:00:00Z",
    "config": {
        "User": "1000:1000",
        "Env": ["PATH=/usr/bin", "EQUATION=a=b"],
        "Entrypoint": ["/bin/app"],
        "Cmd": ["serve"],
        "WorkingDir": "/app",
        "ExposedPorts": {"9000/tcp": {}, "8000/tcp": {}},
        "Volumes": {"/b": {}, "/a": {}},
        "Labels": {"z": "1", "a": "2"},
        "StopSignal": "SIGTERM",
        "Healthcheck": {
            "Test": ["CMD", "probe"],
            "Interval": 30_000_000_000,
            "Timeout": 1_500_000_000,
            "StartPeriod": 5_000_000_000,
            "Retries": 3,
        },
        "OnBuild": None,
    },
}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(*layers: bytes, **changes: Any) -> bytes:
    history = [{"created_by": f"RUN {number} # buildkit"} for number in range(len(layers))]
    history.insert(1, {"created_by": "ENV x", "empty_layer": True})
    return json.dumps(
        {
            **CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            "history": history,
            **changes,
        }
    ).encode()


def docker_archive(
    path: Path, layers: Sequence[bytes], settings: bytes, *, repeated: bool = False
) -> Path:
    """Write what `docker save` of Engine 20.10 writes."""
    members = [member("abc/layer.tar", layers[0]), member("cfg.json", settings)]
    if repeated:
        members.append(member("def/layer.tar", kind=tarfile.SYMTYPE, linkname="../abc/layer.tar"))
    else:
        members.append(member("def/layer.tar", layers[-1]))
    manifest = [{"Config": "cfg.json", "Layers": ["abc/layer.tar", "def/layer.tar"]}]
    members.append(member("manifest.json", json.dumps(manifest).encode()))
    path.write_bytes(tar(members))
    return path


def oci_archive(path: Path, layers: Sequence[bytes], settings: bytes) -> Path:
    """Write what BuildKit's OCI exporter writes: compressed layers, an attestation."""
    packed = [gzip.compress(layer, mtime=0) for layer in layers]
    manifest = json.dumps(
        {
            "config": {"digest": digest(settings)},
            "layers": [{"digest": digest(layer)} for layer in packed],
        }
    ).encode()
    nested = json.dumps(
        {
            "manifests": [
                {
                    "digest": digest(manifest),
                    "platform": {
                        "os": "linux",
                        "architecture": json.loads(settings)["architecture"],
                    },
                },
                {
                    "digest": digest(b"{}"),
                    "platform": {"os": "unknown", "architecture": "unknown"},
                },
            ]
        }
    ).encode()
    top = json.dumps({"manifests": [{"digest": digest(nested)}]}).encode()
    blobs = [settings, manifest, nested, *packed]
    members = [member(f"blobs/{digest(data).replace(':', '/')}", data) for data in blobs]
    path.write_bytes(tar([*members, member("index.json", top)]))
    return path
