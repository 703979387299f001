"""`deployment/images.lock`: every package and wheel of every image, by digest.

A JSON document that `invoke lock` writes and a build believes: names, versions, pool
paths, sizes and SHA-256 digests, no hosts.  It records the digests of what it was made
from, so that a change of the description is noticed, and one of itself, so that a change
of the lock is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.atomic import write_atomically
from pipeline.bases import LockedBase, full_reference
from pipeline.cache import key_of
from pipeline.errors import LockMissing, LockStale, LockTampered
from pipeline.platforms import Platform
from pipeline.settings import Image, Settings, Suite, fill_in
from pipeline.sources.requirements import LockedWheel

SCHEMA = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One Debian package for one platform."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What one image adds to its base on one platform."""

    packages: tuple[LockedPackage, ...] = ()
    wheels: tuple[LockedWheel, ...] = ()


@dataclass(frozen=True, slots=True)
class LockedSuite:
    """One suite: its archives as they were, and what its images hold."""

    epoch_s: int
    """The newest date of its archives: the time of every file in a layer."""
    snapshot: str
    """The same as the snapshot archive writes it: `20260711T101637Z`."""
    archives: Mapping[str, str]
    """`debian/bookworm`: the SHA-256 of the verified InRelease."""
    interpreter: Mapping[Platform, tuple[LockedPackage, ...]]
    """The packages that a runnable python consists of."""
    images: Mapping[Platform, Mapping[str, Contents]]
    docker: Mapping[Platform, tuple[LockedPackage, ...]] = field(default_factory=dict)
    """The packages that Dockerfiles build with, by themselves: apt finds what they need."""
    bases: Mapping[Platform, Mapping[str, LockedBase]] = field(default_factory=dict)
    """Images from registries, by their full references."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The whole lock. `inputs` maps each thing it was made from to its SHA-256."""

    inputs: Mapping[str, str]
    suites: Mapping[str, LockedSuite]
    build_requirements: tuple[str, ...] = ()
    """Lines with hashes: what the project's build back end needs."""
    digest: str = field(default="", compare=False)

    def suite(self, name: str) -> LockedSuite:
        """Return a suite; raises `LockStale` when the lock has none of that name."""
        if name not in self.suites:
            raise LockStale(f"the lock does not hold the suite '{name}'", hint="run 'invoke lock'")
        return self.suites[name]

    def contents(self, suite: str, platform: Platform, image: str) -> Contents:
        """Return what `image` adds on `platform`; raises `LockStale` when it is not locked."""
        images = self.suite(suite).images.get(platform)
        if images is None or image not in images:
            raise LockStale(
                f"the lock does not hold '{image}' for {platform}", hint="run 'invoke lock'"
            )
        return images[image]

    def base(self, suite: str, platform: Platform, reference: str) -> LockedBase:
        """Return the base image that `reference` names; raises `LockStale` without one."""
        base = self.suite(suite).bases.get(platform, {}).get(full_reference(reference))
        if base is None:
            raise LockStale(
                f"the lock does not hold the base '{reference}' for {platform}",
                hint="run 'invoke lock'",
            )
        return base


def description_inputs(settings: Settings, build_requires: Sequence[str]) -> Mapping[str, str]:
    """Return the SHA-256 of each part of the description that the lock depends on.

    A missing requirements file raises `LockStale` with its name.
    """
    inputs = {"platforms": key_of([str(p) for p in settings.platforms])}
    for suite in settings.suites.values():
        inputs[f"suites.{suite.name}"] = key_of(_suite_input(suite))
    for name in settings.images:
        inputs[f"images.{name}"] = key_of(_image_input(settings.images[name]))
        for suite in settings.suites.values():
            if requirements := fill_in(settings.images[name].requirements or "", suite):
                path = settings.root / requirements
                inputs[requirements] = _requirements_digest(path, requirements)
    if build_requires:
        inputs["pyproject.toml build-system.requires"] = key_of(list(build_requires))
    if settings.docker.build_packages:
        inputs["docker.build-packages"] = key_of(list(settings.docker.build_packages))
    return inputs


def _suite_input(suite: Suite) -> Any:
    return [suite.python, list(suite.glibc)]


def _image_input(image: Image) -> Any:
    return [image.base, list(image.packages), list(image.omit), image.requirements]


def _requirements_digest(path: Path, name: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise LockStale(
            f"{name}, which images.toml names, does not exist", hint="run 'invoke lock'"
        ) from None


def read_lock(path: Path, shown: Path) -> Lock:
    """Read the lock; raises `LockMissing` or `LockTampered`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise LockMissing(f"{shown} does not exist", hint="run 'invoke lock'") from None
    except OSError as error:
        reason = (error.strerror or "cannot read").lower()
        raise LockMissing(
            f"{shown} cannot be read: {reason}", hint="make it a file that you may read"
        ) from None
    return parse_lock(data, shown)


def parse_lock(data: bytes, shown: Path) -> Lock:
    """Parse the bytes of a lock; raises `LockTampered` for anything `format_lock` did not write."""
    try:
        document = json.loads(data)
        digest = document.pop("digest")
        if document["schema"] != SCHEMA:
            raise LockTampered(
                f"{shown} has schema {document['schema']}, this version reads {SCHEMA}",
                hint="run 'invoke lock'",
            )
        if digest != f"sha256:{key_of(document)}":
            raise LockTampered(
                f"{shown} was changed after it was written: its content does not have the digest "
                "that it names",
                hint="restore it from version control, or run 'invoke lock' and review the change",
            )
        return Lock(
            inputs=document["inputs"],
            suites={name: _read_suite(part) for name, part in document["suites"].items()},
            build_requirements=tuple(document["build-requirements"]),
            digest=digest,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LockTampered(
            f"{shown} is not a lock ({type(error).__name__}: {error})", hint="run 'invoke lock'"
        ) from None


def _read_suite(part: Mapping[str, Any]) -> LockedSuite:
    images: dict[Platform, dict[str, Contents]] = {}
    interpreter: dict[Platform, tuple[LockedPackage, ...]] = {}
    docker: dict[Platform, tuple[LockedPackage, ...]] = {}
    bases: dict[Platform, dict[str, LockedBase]] = {}
    for spelling, platform_part in part["platforms"].items():
        platform = Platform.parse(spelling)
        packages = {
            name: LockedPackage(name=name, **values)
            for name, values in platform_part["packages"].items()
        }
        wheels = {
            name: LockedWheel(filename=name, **values)
            for name, values in platform_part["wheels"].items()
        }
        digests = [package.sha256 for package in packages.values()]
        for sha256 in (*digests, *(wheel.sha256 for wheel in wheels.values())):
            if not _SHA256.fullmatch(sha256):
                raise ValueError(f"'{sha256}' is not a SHA-256")
        interpreter[platform] = tuple(packages[name] for name in platform_part["interpreter"])
        docker[platform] = tuple(packages[name] for name in platform_part.get("docker", ()))
        if "bases" in platform_part:
            bases[platform] = {
                reference: LockedBase.from_json(reference, values)
                for reference, values in platform_part["bases"].items()
            }
        images[platform] = {
            image: Contents(
                tuple(packages[name] for name in listed["packages"]),
                tuple(wheels[name] for name in listed["wheels"]),
            )
            for image, listed in platform_part["images"].items()
        }
    return LockedSuite(
        epoch_s=int(part["epoch"]),
        snapshot=str(part["snapshot"]),
        archives=part["archives"],
        interpreter=interpreter,
        images=images,
        docker=docker,
        bases=bases,
    )


def format_lock(lock: Lock) -> bytes:
    """Return the lock as bytes: JSON with a line a package, in a fixed order."""
    document = {
        "schema": SCHEMA,
        "inputs": dict(lock.inputs),
        "build-requirements": list(lock.build_requirements),
        "suites": {name: _suite_document(suite) for name, suite in lock.suites.items()},
    }
    document["digest"] = f"sha256:{key_of(document)}"
    return _lines(document).encode() + b"\n"


def write_lock(path: Path, lock: Lock) -> None:
    """Write the lock, atomically."""
    write_atomically(path, format_lock(lock))


def _suite_document(suite: LockedSuite) -> dict[str, Any]:
    platforms = {}
    for platform, images in suite.images.items():
        docker = suite.docker.get(platform, ())
        # Where an image pins a package to another version, the image's is what counts.
        packages = {package.name: package for package in docker}
        wheels: dict[str, LockedWheel] = {}
        for contents in images.values():
            packages.update({package.name: package for package in contents.packages})
            wheels.update({wheel.filename: wheel for wheel in contents.wheels})
        interpreter = suite.interpreter.get(platform, ())
        bases = suite.bases.get(platform, {})
        packages.update({package.name: package for package in interpreter})
        platforms[str(platform)] = {
            "interpreter": [package.name for package in interpreter],
            **({"docker": [package.name for package in docker]} if docker else {}),
            **({"bases": {name: base.to_json() for name, base in bases.items()}} if bases else {}),
            "images": {
                name: {
                    "packages": [package.name for package in contents.packages],
                    "wheels": [wheel.filename for wheel in contents.wheels],
                }
                for name, contents in images.items()
            },
            "packages": {name: _without(packages[name], "name") for name in sorted(packages)},
            "wheels": {name: _without(wheels[name], "filename") for name in sorted(wheels)},
        }
    return {
        "epoch": suite.epoch_s,
        "snapshot": suite.snapshot,
        "archives": dict(suite.archives),
        "platforms": platforms,
    }


def _without(value: LockedPackage | LockedWheel, key: str) -> dict[str, Any]:
    return {name: part for name, part in asdict(value).items() if name != key}


def _lines(value: Any, depth: int = 0) -> str:
    """Return JSON that puts each leaf table and list on a line of its own."""
    if isinstance(value, dict) and any(isinstance(part, dict | list) for part in value.values()):
        indent = " " * depth
        rows = (
            f"{indent} {json.dumps(key)}: {_lines(part, depth + 1)}" for key, part in value.items()
        )
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    return json.dumps(value, ensure_ascii=False)


def check_current(lock: Lock, inputs: Mapping[str, str], shown: Path) -> None:
    """Raise `LockStale`, naming what changed, unless the lock was made from `inputs`.

    `inputs` are those of images; what else the lock was made from does not concern a build.
    """
    changed = sorted(name for name in changes(lock, inputs) if not name.endswith(".in"))
    if changed:
        raise LockStale(
            f"{shown} does not match the description: {', '.join(changed)} changed",
            hint="run 'invoke lock'",
        )


def changes(lock: Lock, inputs: Mapping[str, str]) -> Iterable[str]:
    """Return the names of the inputs that are not what the lock was made from."""
    names = set(lock.inputs) | set(inputs)
    return {name for name in names if lock.inputs.get(name) != inputs.get(name)}
