"""Results as tables for people or JSON for programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import LockStale
from pipeline.report import megabytes, print_json, print_table

if TYPE_CHECKING:
    from pipeline.build import BuildReport
    from pipeline.cache import Cache
    from pipeline.commands import DescribedImage, Prepared
    from pipeline.doctor import Tool
    from pipeline.lock import Lock
    from pipeline.tools import Found


def build(report: BuildReport, *, as_json: bool) -> None:
    """Print what was built."""
    if as_json:
        print_json(report.to_json())
        return
    rows = []
    for image in report.images:
        for part in image.platforms:
            reused = sum(layer.reused for layer in part.layers)
            rows.append(
                [
                    image.target,
                    str(part.platform),
                    megabytes(part.size_bytes),
                    megabytes(part.unpacked_bytes),
                    f"{reused} of {len(part.layers)}",
                    part.manifest_digest[:19],
                ]
            )
    print_table(["target", "platform", "size", "unpacked", "layers reused", "digest"], rows)
    print()
    for image in report.images:
        if image.output:
            print(f"{image.output}  {image.digest}")
    if report.archive:
        print(f"{report.archive}  (docker load -i {report.archive})")
    for damaged in report.damaged:
        print(f"the cache was damaged and is repaired: {damaged}")
    print(f"done in {report.seconds:.1f} s")


def plan(prepared: Prepared, *, as_json: bool) -> None:
    """Print what a build would do."""
    from pipeline.commands import contents_of

    cached = prepared.cached()
    docker = prepared.docker
    commands = docker.commands() if docker is not None else {}
    if as_json:
        print_json(
            {
                "output": str(prepared.output.folder),
                "lock": str(prepared.lock_path),
                "images": [
                    {
                        "target": image.target,
                        "platform": str(image.platform),
                        "layers": [
                            {
                                "kind": recipe.kind,
                                "key": recipe.key,
                                "cached": recipe.key in cached,
                                "summary": recipe.summary,
                                "contents": list(contents_of(recipe)),
                            }
                            for recipe in image.layers
                        ],
                    }
                    for image in prepared.daemonless.images
                ],
                "docker": [
                    {
                        "target": target,
                        "platform": str(platform),
                        "command": list(argv),
                        "dockerfile": docker.dockerfile(target) if docker is not None else None,
                    }
                    for (target, platform), argv in commands.items()
                ],
            }
        )
        return
    for image in prepared.daemonless.images:
        print(f"{image.target} for {image.platform} → {prepared.output.folder}")
        for recipe in image.layers:
            state = "cached" if recipe.key in cached else "to build"
            print(f"  {recipe.kind:<12}  {state:<8}  {recipe.summary}")
            if recipe.key not in cached:
                for line in contents_of(recipe):
                    print(f"      {line}")
        print()
    for (target, platform), argv in commands.items():
        print(f"{target} for {platform}, by Docker → {prepared.output.folder}")
        print(f"  {shlex.join(argv)}\n")
    if docker is not None:
        shown = dict.fromkeys(docker.dockerfile(target) for target, _ in commands)
        for text in shown:
            print(text)
    print(f"nothing was written; the lock is {prepared.lock_path}")


def lock(made: Lock, path: Path) -> None:
    """Print what was locked."""
    rows = []
    for name, suite in made.suites.items():
        for platform, images in suite.images.items():
            for image, contents in images.items():
                rows.append(
                    [
                        name,
                        str(platform),
                        image,
                        str(len(contents.packages)),
                        str(len(contents.wheels)),
                        megabytes(
                            sum(package.size_bytes for package in contents.packages)
                            + sum(wheel.size_bytes for wheel in contents.wheels)
                        ),
                    ]
                )
    print_table(["suite", "platform", "image", "packages", "wheels", "download"], rows)
    print(f"\n{path}  {made.digest}")


def lock_state(stale: Sequence[str]) -> None:
    """Say whether the lock is current; raise `LockStale` when it is not."""
    if stale:
        raise LockStale(
            f"the lock is not current: {', '.join(stale)} changed", hint="run 'invoke lock'"
        )
    print("the lock is current")


def images(found: Sequence[DescribedImage], *, as_json: bool) -> None:
    """Print what is described and what is built."""
    if as_json:
        print_json(
            [
                {
                    "name": item.image.name,
                    "description": item.image.description,
                    "from": item.image.base,
                    "built": {
                        "path": str(item.path),
                        "digest": item.built.digest,
                        "platforms": list(item.built.platforms),
                        "size_bytes": item.built.size_bytes,
                        "created": item.built.created,
                    }
                    if item.built
                    else None,
                }
                for item in found
            ]
        )
        return
    rows = [
        [
            item.image.name,
            item.image.base or "-",
            ", ".join(item.built.platforms) if item.built else "not built",
            megabytes(item.built.size_bytes) if item.built else "-",
            item.built.digest[:19] if item.built else "-",
            item.image.description,
        ]
        for item in found
    ]
    print_table(["image", "from", "built for", "size", "digest", "description"], rows)


def tools(found: Sequence[Found], *, as_json: bool) -> None:
    """Print which programs of others are here."""
    if as_json:
        print_json(
            [
                {
                    "name": one.program.name,
                    "version": one.version or None,
                    "path": one.path or None,
                    "supported": one.is_supported,
                    "for": one.program.enables,
                }
                for one in found
            ]
        )
        return
    rows = []
    for one in found:
        state = one.version or ("of unknown version" if one.path else "not here")
        if one.path and not one.is_supported:
            state += " (not supported)"
        advice = "" if one.is_supported else one.program.advice
        rows.append([one.program.name, state, one.path, one.program.enables, advice])
    print_table(["tool", "version", "path", "for", "to get it"], rows)


def doctor(tools: Sequence[Tool], *, as_json: bool) -> None:
    """Print what this machine has."""
    if as_json:
        print_json(
            [
                {
                    "name": tool.name,
                    "version": tool.version or None,
                    "path": tool.path or None,
                    "needed": tool.needed,
                    "enables": tool.enables,
                }
                for tool in tools
            ]
        )
        return
    rows = [
        [
            tool.name,
            tool.version or ("MISSING" if tool.needed else "not here"),
            tool.enables,
            tool.advice if not tool.version else "",
        ]
        for tool in tools
    ]
    print_table(["what", "version", "for", "to get it"], rows)


def cache(store: Cache, removed: tuple[int, int] | None, *, as_json: bool) -> None:
    """Print what the cache holds, and how many files and bytes were removed from it."""
    usage = store.usage()
    if as_json:
        print_json(
            {
                "folder": str(store.folder),
                "parts": {
                    part.part: {"files": part.files, "size_bytes": part.size_bytes}
                    for part in usage
                },
                "removed": {"files": removed[0], "size_bytes": removed[1]} if removed else None,
            }
        )
        return
    if removed is not None:
        print(f"removed {removed[0]} files, {megabytes(removed[1])}")
    print(store.folder)
    print_table(
        ["part", "files", "size"],
        [[part.part, str(part.files), megabytes(part.size_bytes)] for part in usage],
    )
