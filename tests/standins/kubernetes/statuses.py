"""The parts that objects' statuses and references are made of."""

from __future__ import annotations

import math
from typing import Any

from tests.standins.kubernetes.api import now
from tests.standins.kubernetes.resources import Object


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    found = {"type": kind, "status": status}
    said = {"reason": reason, "message": message}
    return found | {name: text for name, text in said.items() if text}


def conditions_of(obj: Object) -> list[Object]:
    return (obj.get("status") or {}).get("conditions") or []


def timed(obj: Object, found: list[Object]) -> list[Object]:
    """Give conditions their times: those that `obj` has, where nothing has changed."""
    before = {one["type"]: one for one in conditions_of(obj)}
    with_times = []
    for one in found:
        old = before.get(one["type"], {})
        times = {name: old[name] for name in _TIMES if name in old}
        if {**times, **one} != old:
            changed = old.get("status") != one["status"]
            times = {"lastTransitionTime": now() if changed else times["lastTransitionTime"]}
            if obj["kind"] == "Deployment":
                times["lastUpdateTime"] = now()
        with_times.append({**times, **one})
    return with_times


_TIMES = ("lastTransitionTime", "lastUpdateTime")


def counts(**found: int) -> Object:
    """Return those that are not zero, as a server leaves zeros out."""
    return {name: count for name, count in found.items() if count}


def owner(obj: Object) -> Object:
    """Return a reference with which `obj` owns another."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def share(value: Any, whole: int, *, up: bool) -> int:
    """Return a number, or a share such as "25%" of the whole."""
    if isinstance(value, str):
        part = int(value.removesuffix("%")) * whole / 100
        return math.ceil(part) if up else math.floor(part)
    return int(value)
