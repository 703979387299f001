"""Packages, wheels and a whole miniature world to build images from; everything is made here."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.build import BuildReport, Output, build
from pipeline.cache import Cache
from pipeline.lock import Contents, Lock, LockedPackage, LockedSuite, description_inputs
from pipeline.oci.image import Format
from pipeline.plan import Plan, make_plan
from pipeline.platforms import Platform
from pipeline.process import Completed
from pipeline.report import Silent
from pipeline.revision import Revision
from pipeline.settings import Settings, parse_settings
from pipeline.sources.project import ProjectWheel
from pipeline.sources.requirements import LockedWheel
from pipeline.sources.wheels import read_metadata
from tests.unit.pipeline.sources.elf_factory import EXEC, elf_file

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The suite's Python is the one that runs the tests, so that bytecode needs nothing else."""
EPOCH_S = 1_700_000_000
BOTH = (Platform.AMD64, Platform.ARM64)

TarMember = tuple[tarfile.TarInfo, bytes]


# Debian packages


def regular(
    path: str, content: bytes | str = b"", mode: int = 0o644, uid: int = 0, gid: int = 0
) -> TarMember:
    """Return a file of a package; `path` starts with `./`, as dpkg-deb writes it."""
    data = content.encode() if isinstance(content, str) else content
    info = tarfile.TarInfo(f"./{path}")
    info.size, info.mode, info.uid, info.gid, info.mtime = len(data), mode, uid, gid, 1_600_000_000
    return info, data


def folder(path: str, mode: int = 0o755) -> TarMember:
    """Return a directory of a package."""
    info = tarfile.TarInfo(f"./{path}/")
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def soft_link(path: str, target: str) -> TarMember:
    """Return a symbolic link of a package."""
    info = tarfile.TarInfo(f"./{path}")
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info, b""


def hard_link(path: str, target: str) -> TarMember:
    """Return a hard link of a package; `target` is a path of the same package."""
    info = tarfile.TarInfo(f"./{path}")
    info.type, info.linkname = tarfile.LNKTYPE, f"./{target}"
    return info, b""


def special(path: str, kind: bytes) -> TarMember:
    """Return a member that is neither file, directory nor link."""
    info = tarfile.TarInfo(f"./{path}")
    info.type = kind
    return info, b""


def ar(members: Mapping[str, bytes]) -> bytes:
    """Return an ar archive as dpkg-deb writes it."""
    data = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        data += header.encode() + content + b"\n" * (len(content) % 2)
    return data


def tar(members: Sequence[TarMember], compression: str = "xz") -> bytes:
    """Return a tar, compressed with `xz`, `gz`, `bz2` or not at all."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"preset": 0} if compression == "xz" else {}
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}", **options) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@dataclass(frozen=True)
class Deb:
    """A binary package."""

    name: str
    version: str
    architecture: str
    data: bytes

    @property
    def locked(self) -> LockedPackage:
        """How a lock names it."""
        return LockedPackage(
            name=self.name,
            version=self.version,
            architecture=self.architecture,
            archive="debian",
            path=f"pool/main/{self.name}_{self.version}_{self.architecture}.deb",
            sha256=hashlib.sha256(self.data).hexdigest(),
            size_bytes=len(self.data),
        )


def deb(
    name: str,
    members: Sequence[TarMember],
    *,
    version: str = "1.0-1",
    architecture: str = "amd64",
    postinst: bool = False,
    md5sums: bool = True,
    compression: str = "xz",
) -> Deb:
    """Return a binary package with a control archive like Debian's."""
    control = [
        regular(
            "control",
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
            "Maintainer: Nobody <nobody@mirror.example>\nDescription: tiny\n a package for tests\n",
        )
    ]
    if md5sums:
        lines = [
            f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {info.name[2:]}\n"
            for info, data in members
            if info.isreg()
        ]
        control.append(regular("md5sums", "".join(lines)))
    if postinst:
        control.append(regular("postinst", "#!/bin/sh\nexit 1\n", 0o755))
    suffix = f".{compression}" if compression else ""
    data = ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{suffix}": tar(control, compression),
            f"data.tar{suffix}": tar([folder("."), *members], compression),
        }
    )
    return Deb(name, version, architecture, data)


# Wheels


@dataclass(frozen=True)
class Wheel:
    """A wheel under its own name."""

    filename: str
    data: bytes

    @property
    def locked(self) -> LockedWheel:
        """How a lock names it."""
        name, version, *_ = self.filename.split("-")
        sha256 = hashlib.sha256(self.data).hexdigest()
        return LockedWheel(name, version, self.filename, sha256, len(self.data))

    def in_cache(self, cache: Cache) -> ProjectWheel:
        """Store it and return it as the project's own."""
        sha256 = cache.store(self.data)
        return ProjectWheel(
            self.filename, sha256, read_metadata(cache.blob_path(sha256), self.filename)
        )


def record_hash(data: bytes) -> str:
    """Return a digest as RECORD writes it (PEP 376)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def wheel(
    name: str,
    files: Mapping[str, bytes | str],
    *,
    version: str = "1.0",
    tag: str = "py3-none-any",
    requires: Sequence[str] = (),
    requires_python: str = "",
    entry_points: str = "",
    executable: Sequence[str] = (),
    unlisted: Sequence[str] = (),
) -> Wheel:
    """Return a wheel; `{data}` in a path is its data folder, `unlisted` are not in RECORD."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {text}\n" for text in requires]
    if requires_python:
        metadata.append(f"Requires-Python: {requires_python}\n")
    contents = {path.replace("{data}", f"{name}-{version}.data"): c for path, c in files.items()}
    contents[f"{info}/METADATA"] = "".join(metadata)
    contents[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    )
    if entry_points:
        contents[f"{info}/entry_points.txt"] = textwrap.dedent(entry_points)
    binary = {path: c.encode() if isinstance(c, str) else c for path, c in contents.items()}
    rows = [
        f'"{path}",sha256={record_hash(data)},{len(data)}'
        for path, data in binary.items()
        if path not in unlisted
    ]
    binary[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in binary.items():
            member = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            member.external_attr = (0o100755 if path in executable else 0o100644) << 16
            archive.writestr(member, data)
    return Wheel(f"{name}-{version}-{tag}.whl", buffer.getvalue())


# Child processes


@dataclass
class Recorder:
    """A runner that remembers its commands and answers from a script.

    `answers` holds `(returncode, stdout, stderr)`; the last one is given for ever.
    """

    answers: list[tuple[int, str, str]] = field(default_factory=lambda: [(0, "", "")])
    argvs: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    inputs: list[bytes | None] = field(default_factory=list)

    def __call__(
        self,
        argv: tuple[str, ...],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
    ) -> Completed:
        self.argvs.append(argv)
        self.environments.append(dict(env or {}))
        self.inputs.append(stdin)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Completed(argv, *answer)


# A project that builds without a package index: its back end is part of it (PEP 517).

BACK_END = """
import os, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-1.0-{tag}.whl"
    print("building", name)
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as archive:
        info = "{name}-1.0.dist-info"
        members = {{
            f"{{info}}/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n"
            + "{metadata}",
            f"{{info}}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n",
            f"{{info}}/entry_points.txt": "[console_scripts]\\n{name} = {name}.cli:main\\n",
        }}
        for folder, _, files in sorted(os.walk("{name}")):
            for file in sorted(files):
                path = os.path.join(folder, file)
                with open(path, encoding="utf-8") as source:
                    members[path] = source.read()
        listing = "".join(f"{{path}},,\\n" for path in members)
        members[f"{{info}}/RECORD"] = listing + f"{{info}}/RECORD,,\\n"
        for path, text in members.items():
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), text)
    return name
"""


def write_project(
    root: Path, name: str = "mini", *, tag: str = "py3-none-any", metadata: str = ""
) -> Path:
    """Write a source tree with a back end of its own; `metadata` are more lines of METADATA."""
    package = root / name
    package.mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "back_end"\nbackend-path = ["."]\n\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n'
    )
    (root / "back_end.py").write_text(
        BACK_END.format(name=name, tag=tag, metadata=metadata.replace("\n", "\\n"))
    )
    (package / "__init__.py").write_text('"""Mini."""\n')
    (package / "cli.py").write_text("def main():\n    return 0\n")
    return root


# The miniature world

DESCRIPTION = """
schema = 1
name = "mini"
default-suite = "tiny"
platforms = ["linux/amd64", "linux/arm64"]

[labels]
"org.opencontainers.image.title" = "Mini"

[suites.tiny]
python = "PYTHON"
glibc = "2.36"

[images.base]
packages = ["base-passwd", "ca-certificates", "libc6", "python{python}-minimal"]
exclude = ["usr/lib/python{python}/idlelib/**"]

[images.base.links]
"/usr/bin/python3" = "python{python}"

[images.base.environment]
PATH = "/usr/local/bin:/usr/bin"

[images.production]
description = "What is deployed"
from = "base"
requirements = "requirements/production.txt"
project = true
files = [
    { source = "conf", path = "/app/conf", owned = true },
    { source = "conf/run.sh", path = "/usr/local/bin/run", mode = "0750" },
]
user = { name = "app", uid = 1000, gid = 1000, home = "/app" }
workdir = "/app"
ports = ["8000"]
volumes = ["/app/data"]
entrypoint = ["/usr/local/bin/mini"]
command = ["serve"]
stop-signal = "SIGTERM"

[images.production.healthcheck]
test = ["CMD", "/usr/bin/python3", "/usr/lib/python{python}/os.py"]
interval_s = 2.5
"""


def libc(platform: Platform, *, versions: Sequence[str] = ("GLIBC_2.34", "GLIBC_2.36")) -> Deb:
    """Return the C library and the dynamic linker, laid out as before the merged /usr."""
    triplet, machine = platform.gnu_triplet, platform.elf_machine
    linker = platform.dynamic_linker.rpartition("/")[2]
    library = elf_file(machine=machine, soname="libc.so.6", needed=(linker,), provides=versions)
    members = [
        folder("lib"),
        folder(f"lib/{triplet}"),
        regular(f"lib/{triplet}/{linker}", elf_file(machine=machine, soname=linker), 0o755),
        regular(f"lib/{triplet}/libc.so.6", library, 0o755),
        regular("usr/share/doc/libc6/copyright", "LGPL\n"),
        regular("usr/share/doc/libc6/changelog.Debian.gz", "long"),
    ]
    place = platform.dynamic_linker.lstrip("/")
    members.append(soft_link(place, f"/lib/{triplet}/{linker}"))
    return deb("libc6", members, architecture=platform.debian, postinst=True)


def interpreter(platform: Platform) -> Deb:
    """Return something with the looks of a python package."""
    program = elf_file(
        machine=platform.elf_machine,
        type=EXEC,
        interpreter=platform.dynamic_linker,
        needed=("libc.so.6",),
        requires={"libc.so.6": ["GLIBC_2.34"]},
    )
    library = f"usr/lib/python{PYTHON}"
    return deb(
        f"python{PYTHON}-minimal",
        [
            regular(f"usr/bin/python{PYTHON}", program, 0o755),
            regular(f"{library}/os.py", "def name():\n    return __file__\n"),
            regular(f"{library}/template.py", "this is {{ not }} python\n"),
            regular(f"{library}/idlelib/big.py", "x = 1\n"),
            regular("usr/bin/su", b"elevated", 0o4755, gid=42),
            regular("usr/share/man/man1/python.1.gz", "manual"),
        ],
        architecture=platform.debian,
        postinst=True,
    )


def base_passwd() -> Deb:
    """Return the accounts."""
    return deb(
        "base-passwd",
        [
            regular("usr/share/base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n"),
            regular("usr/share/base-passwd/group.master", "root:*:0:\n"),
        ],
        architecture="all",
        postinst=True,
    )


def certificates() -> Deb:
    """Return two certificates, one without its last newline."""
    return deb(
        "ca-certificates",
        [
            regular("usr/share/ca-certificates/mozilla/B.crt", "second\n"),
            regular("usr/share/ca-certificates/mozilla/A.crt", "first"),
        ],
        architecture="all",
        postinst=True,
    )


def application(*, greeting: str = "hello", requires: Sequence[str] = ("dep>=1",)) -> Wheel:
    """Return the project's own wheel."""
    return wheel(
        "mini",
        {
            "mini/__init__.py": f'GREETING = "{greeting}"\n',
            "mini/cli.py": "def main():\n    return 0\n",
        },
        requires=requires,
        entry_points="""
            [console_scripts]
            mini = mini.cli:main
        """,
    )


class World:
    """Packages, wheels, a description and a cache below one folder; change it, then build."""

    def __init__(self, where: Path, *, root: Path | None = None) -> None:
        self.root = root or where / "repository"
        self.mirror = where / "mirror"
        self.output = where / "images"
        self.cache = Cache(where / "cache")
        self.description = DESCRIPTION.replace("PYTHON", PYTHON)
        self.debs = {
            platform: [base_passwd(), certificates(), libc(platform), interpreter(platform)]
            for platform in BOTH
        }
        self.wheels = [wheel("dep", {"dep/__init__.py": "VERSION = 1\n"})]
        self.project = application()
        if root is None:
            write_repository(self.root)

    def fill_cache(self) -> None:
        """Store every blob, so that no network is needed."""
        for debs in self.debs.values():
            for package in debs:
                self.cache.store(package.data)
        for item in self.wheels:
            self.cache.store(item.data)

    def publish(self) -> None:
        """Put every package into the mirror."""
        for debs in self.debs.values():
            for package in debs:
                path = self.mirror / package.locked.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(package.data)

    def settings(self) -> Settings:
        return parse_settings(self.description, root=self.root, path=Path("images.toml"))

    def lock(self) -> Lock:
        contents = {
            platform: {
                "base": Contents(packages=tuple(package.locked for package in debs)),
                "production": Contents(wheels=tuple(item.locked for item in self.wheels)),
            }
            for platform, debs in self.debs.items()
        }
        suite = LockedSuite(EPOCH_S, "20231114T221320Z", {}, {}, contents)
        return Lock(inputs=description_inputs(self.settings(), ()), suites={"tiny": suite})

    def plan(
        self,
        *,
        targets: Sequence[str] = ("production",),
        platforms: Sequence[Platform] = BOTH,
        revision: Revision | None = None,
        source_date_epoch_s: int | None = None,
    ) -> Plan:
        settings = self.settings()
        return make_plan(
            settings,
            self.lock(),
            targets=targets,
            platforms=platforms,
            suite=settings.suite(),
            project=self.project.in_cache(self.cache),
            revision=revision or Revision(),
            source_date_epoch_s=source_date_epoch_s,
            host=None,
        )

    def build(
        self,
        *,
        archive: Path | None = None,
        format: Format = Format.OCI,
        mirrors: Mapping[str, tuple[str, ...]] | None = None,
        **options: Any,
    ) -> BuildReport:
        """Build into `output`, from the cache and then the mirror."""
        output = Output(self.output, archive, format, Platform.AMD64)
        self.cache.damaged.clear()
        return build(
            self.plan(**options),
            self.cache,
            output,
            mirrors={"debian": (str(self.mirror),)} if mirrors is None else mirrors,
            host=None,
            progress=Silent(),
        )


def write_repository(root: Path) -> None:
    """Write the files that the description names."""
    files = {
        "conf/settings.ini": "[app]\n",
        "conf/more/deep.ini": "[deep]\n",
        "conf/run.sh": "#!/bin/sh\n",
        "conf/__pycache__/settings.pyc": "stale",
        "requirements/production.txt": "dep==1.0\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "conf/run.sh").chmod(0o755)


# What came out, read with nothing but tarfile and json


@dataclass(frozen=True)
class Found:
    """A member of an image's root file system."""

    info: tarfile.TarInfo
    data: bytes

    @property
    def mode(self) -> int:
        return self.info.mode

    @property
    def owner(self) -> tuple[int, int]:
        return (self.info.uid, self.info.gid)


@dataclass(frozen=True)
class ReadImage:
    """One platform of a layout."""

    config: dict[str, Any]
    manifest: dict[str, Any]
    layers: tuple[dict[str, Found], ...]

    @property
    def files(self) -> dict[str, Found]:
        return {path: found for layer in self.layers for path, found in layer.items()}


def read_image(layout: Path, platform: Platform) -> ReadImage:
    """Read one platform, checking every digest on the way."""
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    document = json.loads(_blob(layout, top["digest"]))
    for entry in document.get("manifests", ()):
        if entry["platform"]["architecture"] == platform.architecture:
            document = json.loads(_blob(layout, entry["digest"]))
    config = json.loads(_blob(layout, document["config"]["digest"]))
    layers = []
    for descriptor, diff_id in zip(document["layers"], config["rootfs"]["diff_ids"], strict=True):
        unpacked = gzip.decompress(_blob(layout, descriptor["digest"]))
        assert diff_id == f"sha256:{hashlib.sha256(unpacked).hexdigest()}"
        found = {}
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
            for info in archive:
                assert info.name not in found
                content = archive.extractfile(info) if info.isreg() else None
                found[info.name] = Found(info, content.read() if content else b"")
        layers.append(found)
    return ReadImage(config, document, tuple(layers))


def _blob(layout: Path, digest: str) -> bytes:
    data = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data


def snapshot_of(where: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, to see whether any changed."""
    return {
        str(path.relative_to(where)): path.read_bytes()
        for path in sorted(where.rglob("*"))
        if path.is_file()
    }
