"""How a Kubernetes API server says no: Status objects, worded like its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.standins.kubernetes.resources import Resource


@dataclass(frozen=True)
class Cause:
    """One field that is wrong. `message` starts with what is wrong: Required value, …"""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refusal(Exception):
    """A request that the server refuses; `document` is what the client gets."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details

    @property
    def document(self) -> dict[str, Any]:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }
        return status | ({"details": self.details} if self.details else {})


def _details(resource: Resource, name: str, causes: list[Cause] | None = None) -> dict[str, Any]:
    details: dict[str, Any] = {"kind": resource.plural}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    if causes:
        details["causes"] = [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}
            for cause in causes
        ]
    return details


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(resource: Resource, name: str, why: str) -> Refusal:
    named = f'{resource.qualified} "{name}"' if name else resource.qualified
    return Refusal(403, "Forbidden", f"{named} is forbidden: {why}", _details(resource, name))


def not_found(resource: Resource, name: str) -> Refusal:
    message = f'{resource.qualified} "{name}" not found'
    return Refusal(404, "NotFound", message, _details(resource, name))


def not_allowed() -> Refusal:
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message)


def already_exists(resource: Resource, name: str) -> Refusal:
    message = f'{resource.qualified} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, _details(resource, name))


def stale(resource: Resource, name: str) -> Refusal:
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been '
        "modified; please apply your changes to the latest version and try again"
    )
    return Refusal(409, "Conflict", message, _details(resource, name))


def apply_conflict(causes: list[Cause], message: str) -> Refusal:
    details = {
        "causes": [
            {"reason": "FieldManagerConflict", "message": cause.message, "field": cause.field}
            for cause in causes
        ]
    }
    return Refusal(409, "Conflict", message, details)


def expired() -> Refusal:
    return Refusal(410, "Expired", "too old resource version")


def unsupported(content_type: str, accepted: str) -> Refusal:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        f"{accepted}; it was {content_type!r}"
    )
    return Refusal(415, "UnsupportedMediaType", message)


def invalid(resource: Resource, name: str, causes: list[Cause]) -> Refusal:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    told = str(causes[0]) if len(causes) == 1 else f"[{', '.join(map(str, causes))}]"
    details = _details(resource, name, causes) | {"kind": resource.kind}
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {told}', details)


def unavailable(message: str) -> Refusal:
    return Refusal(503, "ServiceUnavailable", message)
