"""What changed between two images, as tables for people or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.compare import Change, Comparison, Direction, FileChange, Report
from pipeline.oci.image import ImageLayer
from pipeline.oci.tree import Node, NodeKind
from pipeline.report import megabytes, print_json, print_table

_FILE_LIMIT = 20
_FOLDER_LIMIT = 20
_DEPTH_LIMIT = 8
_NANOSECONDS = 1_000_000_000


def report(found: Report, *, every_file: bool, as_json: bool) -> None:
    """Print how two images differ; more than a few files as sums by folder."""
    if as_json:
        print_json(found.to_json())
        return
    for platform in found.removed_platforms:
        print(f"{platform}: removed")
    for platform in found.added_platforms:
        print(f"{platform}: added")
    for number, comparison in enumerate(found.comparisons):
        if number or found.removed_platforms or found.added_platforms:
            print()
        _comparison(comparison, every_file)


def _comparison(comparison: Comparison, every_file: bool) -> None:
    digests = [digest[:19] for digest in comparison.digests]
    if comparison.identical:
        print(f"{comparison.platform}: identical, {digests[0]}")
        return
    verdict = "different" if comparison.differs else "the same contents in another image"
    print(f"{comparison.platform}: {verdict}")
    print_table(
        ["", "before", "after"],
        [
            ["digest", *digests],
            ["download", *map(megabytes, comparison.download_bytes)],
            ["unpacked", *map(megabytes, comparison.size_bytes)],
        ],
    )
    _changes("configuration", comparison.configuration)
    _layers(comparison)
    _changes("Debian package", comparison.packages)
    _changes("Python package", comparison.python_packages)
    _files(comparison.files, every_file)


def _changes(title: str, changes: Sequence[Change]) -> None:
    if not changes:
        return
    print()
    print_table(
        [title, "", "before", "after"],
        [
            [
                _printable(change.name),
                change.direction.value,
                _value(change.name, change.before),
                _value(change.name, change.after),
            ]
            for change in changes
        ],
    )


def _value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("Healthcheck Interval", "Healthcheck Timeout", "Healthcheck StartPeriod"):
        return f"{value / _NANOSECONDS:g} s"
    if isinstance(value, str):
        return _printable(value)
    return _printable(json.dumps(value, ensure_ascii=False))


def _layers(comparison: Comparison) -> None:
    def rows(state: str, layers: Sequence[ImageLayer]) -> list[list[str]]:
        return [
            [
                layer.diff_id.removeprefix("sha256:")[:12],
                state,
                megabytes(layer.size_bytes),
                _short(_printable(layer.created_by)),
            ]
            for layer in layers
        ]

    print()
    print_table(
        ["layer", "", "size", "created by"],
        [
            *rows("shared", comparison.shared_layers),
            *rows("removed", comparison.removed_layers),
            *rows("added", comparison.added_layers),
        ],
    )


def _files(changes: Sequence[FileChange], every_file: bool) -> None:
    if not changes:
        return
    counts = _counts(changes)
    print()
    if every_file or len(changes) <= _FILE_LIMIT:
        print_table(
            ["file", "", "what", "size"],
            [
                [
                    "/" + _printable(change.path),
                    change.direction.value,
                    _what(change),
                    _sizes(change),
                ]
                for change in changes
            ],
        )
        return
    folders = _by_folder(changes)
    print_table(
        ["folder", "added", "removed", "changed", "size"],
        [["/" + _printable(folder), *_counts(found)] for folder, found in folders.items()],
    )
    added, removed, changed, size = counts
    print(
        f"{len(changes)} files and folders: {added} added, {removed} removed, {changed} changed, "
        f"{size}; --all lists them"
    )


def _counts(changes: Sequence[FileChange]) -> list[str]:
    return [
        *(
            str(sum(change.direction is direction for change in changes))
            for direction in (Direction.ADDED, Direction.REMOVED, Direction.CHANGED)
        ),
        _growth(sum(change.grown_bytes for change in changes)),
    ]


def _by_folder(changes: Sequence[FileChange]) -> dict[str, list[FileChange]]:
    """Return the changes by the folder that they are in, cut where that gives too many."""
    for depth in range(_DEPTH_LIMIT, 0, -1):
        found: dict[str, list[FileChange]] = {}
        for change in changes:
            folder = "/".join(change.path.split("/")[:-1][:depth])
            found.setdefault(folder, []).append(change)
        if len(found) <= _FOLDER_LIMIT:
            break
    return found


def _what(change: FileChange) -> str:
    one, other = change.before, change.after
    if one is None or other is None:
        return _described(other or one)
    parts = {
        "type": f"{one.kind.value} → {other.kind.value}",
        "content": "content",
        "target": f"{_printable(one.target)} → {_printable(other.target)}",
        "mode": f"{one.mode:04o} → {other.mode:04o}",
        "owner": f"{one.uid}:{one.gid} → {other.uid}:{other.gid}",
    }
    return ", ".join(parts[name] for name in change.what)


def _described(node: Node | None) -> str:
    assert node is not None
    if node.kind is NodeKind.LINK:
        return f"link → {_printable(node.target)}"
    return f"{node.kind.value} {node.mode:04o} {node.uid}:{node.gid}"


def _sizes(change: FileChange) -> str:
    sizes = [
        _size(node.size_bytes) if node is not None and node.kind is NodeKind.FILE else "-"
        for node in (change.before, change.after)
    ]
    if change.before is None or change.after is None or sizes[0] == sizes[1]:
        return sizes[change.after is not None]
    return " → ".join(sizes)


def _growth(size_bytes: int) -> str:
    return f"{'-' if size_bytes < 0 else '+'}{_size(abs(size_bytes))}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes} B" if size_bytes < 1000 else megabytes(size_bytes)


def _printable(text: str) -> str:
    """Return what an image says fit for a terminal: nothing in it commands one."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def _short(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:69]}…"
