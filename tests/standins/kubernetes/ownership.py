"""Who owns which field: managedFields, and the merge of server-side apply.

After Kubernetes' "Server-Side Apply" reference and sigs.k8s.io/structured-merge-diff: an
applied object is merged into the live one, what the same manager applied before and no longer
does is removed unless another owns it too, and another manager's field that would get another
value is a conflict. Ownership lives in `metadata.managedFields` alone, as FieldsV1, so that a
client that moves it (as Helm and kubectl do for objects of older versions) is understood.

A path is a tuple of FieldsV1's own keys: `f:NAME`, `k:{KEYS}` of an item, `v:VALUE` of a set.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.standins.kubernetes.resources import Object
from tests.standins.kubernetes.schema import Trail, is_set, is_whole, key_of, merge_keys
from tests.standins.kubernetes.status import Cause, apply_conflict

Path = tuple[str, ...]
Fields = frozenset[Path]

_MISSING = object()
_NOBODYS = {
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
            *("generateName", "generation", "managedFields", "name", "namespace"),
            *("resourceVersion", "selfLink", "uid"),
        )
    ),
}


@dataclass(frozen=True)
class Manager:
    """Who changes an object, and how: `operation` is Apply or Update."""

    name: str
    operation: str = "Update"
    subresource: str = ""


@dataclass
class _Entry:
    fields: Fields
    api_version: str
    time: str


def apply(live: Object, applied: Object, manager: Manager, *, force: bool, time: str) -> Object:
    """Return `live` with what is applied, and who owns what. Raises Refusal on conflicts."""
    kind = applied["kind"]
    live = copy.deepcopy(live)
    entries = _read(live)
    wanted = _fields_of(kind, applied)
    merged: Object = _merge(kind, live, applied, ())
    changed = {
        path
        for path in wanted
        if not path[-1].startswith("k:") and _value(live, path) != _value(merged, path)
    }
    rivals = {
        rival: sorted(entry.fields & changed)
        for rival, entry in entries.items()
        if rival != manager and entry.fields & changed
    }
    if rivals and not force:
        raise _conflict(rivals, entries)
    for rival, paths in rivals.items():
        entries[rival].fields -= frozenset(paths)
    kept = wanted.union(*(entry.fields for other, entry in entries.items() if other != manager))
    before = entries[manager].fields if manager in entries else frozenset()
    # Items go before their fields, without which nobody would know them.
    for path in sorted(before - kept, key=len):
        if not any(other[: len(path)] == path for other in kept):
            _remove(merged, path, kept)
    _enter(entries, manager, wanted, applied["apiVersion"], time)
    _write(merged, entries)
    return merged


def track(live: Object | None, new: Object, manager: Manager, *, time: str) -> None:
    """Write into `new` who owns what after a create or an update by `manager`."""
    kind = new["kind"]
    entries = _read(new if (new["metadata"].get("managedFields")) else live or new)
    status = manager.subresource == "status"
    before = _fields_of(kind, live, status=status) if live else frozenset()
    after = _fields_of(kind, new, status=status)
    changed = {
        path
        for path in after
        if path not in before
        or (not path[-1].startswith("k:") and _value(live, path) != _value(new, path))
    }
    gone = before - after
    for other, entry in entries.items():
        if other != manager:
            entry.fields -= gone | (changed & before)
    if changed or (manager in entries and entries[manager].fields & gone):
        own = entries[manager].fields if manager in entries else frozenset()
        _enter(entries, manager, (own | changed) - gone, new["apiVersion"], time)
    _write(new, entries)


def _enter(
    entries: dict[Manager, _Entry], manager: Manager, fields: Fields, version: str, time: str
) -> None:
    if manager not in entries or entries[manager].fields != fields:
        entries[manager] = _Entry(fields, version, time)


def _conflict(rivals: dict[Manager, list[Path]], entries: dict[Manager, _Entry]) -> Exception:
    causes = []
    told = []
    for rival, paths in rivals.items():
        who = f'conflict with "{rival.name}"'
        if rival.subresource:
            who += f' with subresource "{rival.subresource}"'
        if rival.operation == "Update":
            who += f" using {entries[rival].api_version}"
        causes += [Cause(_spell(path), who) for path in paths]
        if len(paths) == 1:
            told.append(f"{who}: {_spell(paths[0])}")
        else:
            listed = "\n".join(f"- {_spell(path)}" for path in paths)
            told.append(f"{who.replace('conflict', 'conflicts', 1)}:\n{listed}")
    count = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
    return apply_conflict(causes, f"Apply failed with {count}: " + "\n".join(told))


def _spell(path: Path) -> str:
    """Spell a path as the server does: `.spec.containers[name="a"].image`."""
    spelt = ""
    for part in path:
        sign, _, rest = part.partition(":")
        if sign == "f":
            spelt += f".{rest}"
        elif sign == "k":
            keys = json.loads(rest)
            spelt += f"[{','.join(f'{key}={json.dumps(keys[key])}' for key in sorted(keys))}]"
        else:
            spelt += f"[={rest}]"
    return spelt


def _fields_of(kind: str, obj: Any, *, status: bool = False) -> Fields:
    """Return the paths of what an object sets: its leaves, and the items of merged lists."""

    def walk(value: Any, path: Path, trail: Trail) -> Iterator[Path]:
        keys = merge_keys(kind, trail)
        if path in _NOBODYS or (path[:1] == ("f:status",)) != (status and bool(path)):
            return
        if isinstance(value, dict) and value and not is_whole(trail):
            for name, inner in value.items():
                yield from walk(inner, (*path, f"f:{name}"), (*trail, name))
        elif isinstance(value, list) and value and keys:
            for item in value:
                at = (*path, _item(item, keys))
                yield at
                for name, inner in item.items():
                    yield from walk(inner, (*at, f"f:{name}"), (*trail, name))
        elif isinstance(value, list) and is_set(trail):
            yield from ((*path, f"v:{json.dumps(item)}") for item in value)
        else:
            yield path

    return frozenset(path for path in walk(obj, (), ()) if path)


def _item(item: Any, keys: tuple[str, ...]) -> str:
    return "k:" + json.dumps(key_of(item, keys), sort_keys=True, separators=(",", ":"))


def _merge(kind: str, live: Any, applied: Any, trail: Trail) -> Any:
    keys = merge_keys(kind, trail)
    if isinstance(applied, dict) and isinstance(live, dict) and not is_whole(trail):
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = _merge(kind, live.get(name, _MISSING), value, (*trail, name))
        return merged
    if isinstance(applied, list) and isinstance(live, list) and keys:
        return _merge_items(kind, live, applied, trail, keys)
    if isinstance(applied, list) and isinstance(live, list) and is_set(trail):
        return live + [item for item in applied if item not in live]
    return copy.deepcopy(applied)


def _merge_items(
    kind: str, live: list[Any], applied: list[Any], trail: Trail, keys: tuple[str, ...]
) -> list[Any]:
    """Merge in the order of what is applied; items that only live has stay where they were."""
    old = {_item(item, keys): item for item in live}
    new = {_item(item, keys): item for item in applied}
    waiting = list(new)
    merged = []
    for key, item in old.items():
        if key not in new:
            merged.append(item)
        while key in waiting:
            first = waiting.pop(0)
            merged.append(_merge(kind, old.get(first, {}), new[first], trail))
    merged += [_merge(kind, old.get(key, {}), new[key], trail) for key in waiting]
    return merged


def _value(node: Any, path: Path) -> Any:
    for part in path:
        node = _step(node, part)
        if node is _MISSING:
            return _MISSING
    return node


def _step(node: Any, part: str) -> Any:
    sign, _, rest = part.partition(":")
    if sign == "f":
        return node.get(rest, _MISSING) if isinstance(node, dict) else _MISSING
    if not isinstance(node, list):
        return _MISSING
    if sign == "v":
        return json.loads(rest) if json.loads(rest) in node else _MISSING
    keys = json.loads(rest)
    for item in node:
        if isinstance(item, dict) and key_of(item, tuple(keys)) == keys:
            return item
    return _MISSING


def _remove(obj: Any, path: Path, kept: Fields) -> None:
    """Take what a path names out of an object, with what it leaves empty and nobody keeps."""
    parents = [obj]
    for part in path[:-1]:
        inner = _step(parents[-1], part)
        if inner is _MISSING:
            return
        parents.append(inner)
    for depth in range(len(path) - 1, -1, -1):
        parent, part = parents[depth], path[depth]
        found = _step(parent, part)
        if found is _MISSING:
            return
        if isinstance(parent, dict):
            del parent[part.removeprefix("f:")]
        else:
            parent[:] = [item for item in parent if item != found]
        if parent or path[:depth] in kept:
            return


def _read(obj: Object) -> dict[Manager, _Entry]:
    entries = {}
    for entry in obj["metadata"].get("managedFields") or []:
        if not entry:
            continue
        manager = Manager(entry["manager"], entry["operation"], entry.get("subresource", ""))
        fields = frozenset(_paths(entry.get("fieldsV1") or {}, ()))
        entries[manager] = _Entry(fields, entry["apiVersion"], entry.get("time", ""))
    return entries


def _paths(node: Object, path: Path) -> Iterator[Path]:
    for part, inner in node.items():
        if part == ".":
            yield path
        elif inner:
            yield from _paths(inner, (*path, part))
        else:
            yield (*path, part)


def _write(obj: Object, entries: dict[Manager, _Entry]) -> None:
    managed = []
    for manager, entry in entries.items():
        if not entry.fields:
            continue
        tree: Object = {}
        for path in sorted(entry.fields):
            node = tree
            for part in path:
                node = node.setdefault(part, {})
        for path in entry.fields:
            node = tree
            for part in path:
                node = node[part]
            if node:
                node["."] = {}
        managed.append(
            {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": entry.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": tree,
            }
            | ({"subresource": manager.subresource} if manager.subresource else {})
        )
    obj["metadata"]["managedFields"] = managed
