"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch.

Every function returns a new object and leaves its arguments as they are. A patch that does
not fit raises ValueError.
"""

from __future__ import annotations

import copy
from typing import Any

from tests.standins.kubernetes.schema import Trail, merge_keys

_ORDER = "$setElementOrder/"
_FROM_PRIMITIVES = "$deleteFromPrimitiveList/"


def merge_patch(live: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_patch(kind: str, live: Any, patch: dict[str, Any], trail: Trail = ()) -> Any:
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    merged = copy.deepcopy(live) if isinstance(live, dict) else {}
    if "$retainKeys" in patch:
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith(_FROM_PRIMITIVES):
            at = name.removeprefix(_FROM_PRIMITIVES)
            merged[at] = [item for item in merged.get(at, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = strategic_patch(kind, merged.get(name), value, (*trail, name))
        elif isinstance(value, list):
            merged[name] = _strategic_list(kind, merged.get(name), value, (*trail, name))
        else:
            merged[name] = value
    for name, order in patch.items():
        if name.startswith(_ORDER):
            at = name.removeprefix(_ORDER)
            _put_in_order(kind, merged.get(at), order, (*trail, at))
    return merged


def _strategic_list(kind: str, live: Any, patch: list[Any], trail: Trail) -> list[Any]:
    keys = merge_keys(kind, trail)
    if keys is None:
        return copy.deepcopy(patch)
    # A strategic merge knows one key a list, where server-side apply may know two.
    key = keys[0]
    for item in patch:
        if isinstance(item, dict) and item.get("$patch") == "replace":
            return [copy.deepcopy(other) for other in patch if "$patch" not in other]
    merged: list[Any] = list(live or [])
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise ValueError(f"map: {item!r} does not contain declared merge key: {key}")
        places = [at for at, other in enumerate(merged) if other.get(key) == item[key]]
        if item.get("$patch") == "delete":
            merged = [other for at, other in enumerate(merged) if at not in places]
        elif places:
            merged[places[0]] = strategic_patch(kind, merged[places[0]], item, trail)
        else:
            merged.append(strategic_patch(kind, {}, item, trail))
    return merged


def _put_in_order(kind: str, items: Any, order: list[Any], trail: Trail) -> None:
    keys = merge_keys(kind, trail)
    if keys is None or not isinstance(items, list):
        return
    places = {item.get(keys[0]): at for at, item in enumerate(order)}
    items.sort(key=lambda item: places.get(item.get(keys[0]), len(places)))


def json_patch(live: Any, steps: list[dict[str, Any]]) -> Any:
    root: dict[str, Any] = {"": copy.deepcopy(live)}
    for step in steps:
        verb = step.get("op")
        if verb in ("move", "copy"):
            parent, last = _parent(root, step["from"])
            value = copy.deepcopy(_read(parent, last))
            if verb == "move":
                _remove(parent, last)
        else:
            value = copy.deepcopy(step.get("value"))
        parent, last = _parent(root, step["path"])
        match verb:
            case "add" | "move" | "copy":
                _add(parent, last, value)
            case "replace":
                _read(parent, last)
                parent[_place(parent, last)] = value
            case "remove":
                _remove(parent, last)
            case "test":
                if _read(parent, last) != value:
                    raise ValueError(f"testing value {step['path']} failed: test failed")
            case _:
                raise ValueError(f"Unexpected kind: {verb}")
    return root[""]


def _parent(root: dict[str, Any], pointer: str) -> tuple[Any, str]:
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    if parts[0] != "":
        raise ValueError(f"no JSON pointer: {pointer!r}")
    node: Any = root
    for part in parts[:-1]:
        node = _read(node, part)
    return node, parts[-1]


def _place(node: Any, part: str) -> Any:
    if isinstance(node, list):
        if not part.isdecimal() or int(part) > len(node):
            raise ValueError(f"Unable to access invalid index: {part}")
        return int(part)
    return part


def _read(node: Any, part: str) -> Any:
    try:
        return node[_place(node, part)]
    except (KeyError, IndexError, TypeError):
        raise ValueError(f"the path {part!r} does not exist: missing value") from None


def _add(node: Any, part: str, value: Any) -> None:
    if isinstance(node, list):
        node.insert(len(node) if part == "-" else _place(node, part), value)
    else:
        node[part] = value


def _remove(node: Any, part: str) -> None:
    _read(node, part)
    del node[_place(node, part)]
