"""The few messages that clients send as protobuf, as the objects that they would be in JSON.

Helm 4 keeps its releases, and kubectl asks what it may do, with typed clients, which write
protobuf and do not fall back to JSON when a server answers 415. Field numbers are those of
`generated.proto` in k8s.io/api and k8s.io/apimachinery; what is not in the tables is left out
(managedFields, which a server keeps when a client sends none).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

from tests.standins.kubernetes.resources import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
# By message: a field's number, its name in JSON, and what it holds. A "*" means many, a "%" a
# map of strings to it; a name of another message stands for that.
_Fields = dict[int, tuple[str, str]]
_MESSAGES: dict[str, _Fields] = {
    "Unknown": {1: ("typeMeta", "TypeMeta"), 2: ("raw", "raw")},
    "TypeMeta": {1: ("apiVersion", "text"), 2: ("kind", "text")},
    "Time": {1: ("seconds", "int")},
    "ObjectMeta": {
        1: ("name", "text"),
        2: ("generateName", "text"),
        3: ("namespace", "text"),
        5: ("uid", "text"),
        6: ("resourceVersion", "text"),
        7: ("generation", "int"),
        8: ("creationTimestamp", "Time"),
        11: ("labels", "%text"),
        12: ("annotations", "%text"),
        13: ("ownerReferences", "*OwnerReference"),
        14: ("finalizers", "*text"),
    },
    "OwnerReference": {
        1: ("kind", "text"),
        3: ("name", "text"),
        4: ("uid", "text"),
        5: ("apiVersion", "text"),
        6: ("controller", "bool"),
        7: ("blockOwnerDeletion", "bool"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "%bytes"),
        3: ("type", "text"),
        4: ("stringData", "%text"),
        5: ("immutable", "bool"),
    },
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "%text"),
        3: ("binaryData", "%bytes"),
        4: ("immutable", "bool"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "bool"),
        4: ("propagationPolicy", "text"),
        5: ("dryRun", "*text"),
    },
    "Preconditions": {1: ("uid", "text"), 2: ("resourceVersion", "text")},
    "SelfSubjectAccessReview": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "SelfSubjectAccessReviewSpec"),
    },
    "SelfSubjectAccessReviewSpec": {1: ("resourceAttributes", "ResourceAttributes")},
    "SelfSubjectRulesReview": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "SelfSubjectRulesReviewSpec"),
    },
    "SelfSubjectRulesReviewSpec": {1: ("namespace", "text")},
    "ResourceAttributes": {
        1: ("namespace", "text"),
        2: ("verb", "text"),
        3: ("group", "text"),
        4: ("version", "text"),
        5: ("resource", "text"),
        6: ("subresource", "text"),
        7: ("name", "text"),
    },
}


def decode(body: bytes) -> Object:
    """Return the object in a body. Raises ValueError for a kind that is not in the tables."""
    if not body.startswith(_MAGIC):
        raise ValueError("the protobuf of Kubernetes starts with 'k8s' and a zero")
    outer = _message("Unknown", body[len(_MAGIC) :])
    identity = outer["typeMeta"]
    if identity["kind"] not in _MESSAGES:
        raise ValueError(f"protobuf of {identity['kind']} is beyond this stand-in")
    return {**identity, **_message(identity["kind"], outer.get("raw", b""))}


def _message(kind: str, data: bytes) -> Object:
    known = _MESSAGES[kind]
    found: Object = {}
    for number, value in _fields(data):
        if number not in known:
            continue
        name, holds = known[number]
        if holds.startswith("*"):
            found.setdefault(name, []).append(_value(holds[1:], value))
        elif holds.startswith("%"):
            pair = dict(_fields(value))
            key = _value("text", pair.get(1, b""))
            found.setdefault(name, {})[key] = _value(holds[1:], pair.get(2, b""))
        else:
            found[name] = _value(holds, value)
    # Go writes what is empty, too; in JSON such a field would not be there.
    return {name: value for name, value in found.items() if value not in ("", None, {})}


def _value(holds: str, value: Any) -> Any:
    match holds:
        case "text":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "raw" | "int":
            return value
        case "bool":
            return bool(value)
        case "Time":
            seconds = _message("Time", value).get("seconds", 0)
            if seconds <= 0:
                return None
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return _message(holds, value)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value: Any
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("the protobuf ends in the middle of a field")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} is in none of these messages")
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("the protobuf ends in the middle of a number")
        number |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return number, at
        shift += 7
