"""The HTTP interface described by itself: OpenAPI 3.1."""

from __future__ import annotations

import json
from typing import Any

from accelerapp import __version__
from accelerapp.api import ANSWER_TYPES, JSON_TYPES, YAML_TYPES
from accelerapp.device.example import example
from accelerapp.device.schema import description_schema
from accelerapp.settings import Settings

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}


SUMMARIES = {
    "POST /v1/generate": "Firmware, SDK and panel of a device",
    "GET /v1/platforms": "Boards, and what can be connected",
    "GET /openapi.json": "This document",
    "GET /info": "What runs, and since when",
    "GET /livez": "Whether the process answers",
    "GET /readyz": "Whether it can be sent requests",
    "GET /metrics": "Metrics for Prometheus",
    "GET /": "A page to try it",
}
"""Of every address; DEPLOYMENT.md's table has them, too."""


def document(settings: Settings) -> bytes:
    """The document as JSON, for these limits."""
    return json.dumps(_document(settings), ensure_ascii=False).encode() + b"\n"


def _document(settings: Settings) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Accelerapp",
            "version": __version__,
            "description": "From a device description to firmware, SDK and panel.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/generate": {"post": _generate(settings)},
            "/v1/platforms": {
                "get": _get("listPlatforms", SUMMARIES["GET /v1/platforms"], "Platforms")
            },
            "/openapi.json": {
                "get": {
                    "operationId": "describe",
                    "summary": SUMMARIES["GET /openapi.json"],
                    "responses": {
                        "200": _content("The document", "application/json", {"type": "object"})
                    },
                }
            },
            "/info": {"get": _get("info", SUMMARIES["GET /info"], "Info")},
            "/livez": {
                "get": {
                    "operationId": "livez",
                    "summary": SUMMARIES["GET /livez"],
                    "responses": {"200": _content("It does", "text/plain", _STRING)},
                }
            },
            "/readyz": {
                "get": {
                    "operationId": "readyz",
                    "summary": SUMMARIES["GET /readyz"],
                    "parameters": [
                        {
                            "name": "verbose",
                            "in": "query",
                            "description": "also say what each check found",
                            "schema": _STRING,
                            "allowEmptyValue": True,
                        }
                    ],
                    "responses": {
                        "200": _content("It can", "application/health+json", _ref("Health")),
                        "503": _content("Not now", "application/health+json", _ref("Health")),
                    },
                }
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": SUMMARIES["GET /metrics"],
                    "responses": {
                        "200": {
                            "description": "The metrics",
                            "content": {
                                "text/plain": {"schema": _STRING},
                                "application/openmetrics-text": {"schema": _STRING},
                            },
                        }
                    },
                }
            },
            "/": {
                "get": {
                    "operationId": "page",
                    "summary": SUMMARIES["GET /"],
                    "responses": {"200": _content("The page", "text/html", _STRING)},
                }
            },
        },
        "components": {"schemas": _schemas()},
    }


def _generate(settings: Settings) -> dict[str, Any]:
    described = {"schema": _ref("Device"), "example": _example()}
    text = {"schema": {"type": "string"}, "example": example()}
    assist = {
        "Accelerapp-Assist": {
            "description": "where assist was asked for",
            "schema": {"enum": ["pass", "degraded"]},
        },
        "Accelerapp-Digest": {
            "description": "over all files, assist left out",
            "schema": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
        },
    }
    return {
        "operationId": "generate",
        "summary": SUMMARIES["POST /v1/generate"],
        "description": "The body is the description, in JSON or in YAML (UTF-8, at most"
        f" {settings.max_body_bytes} bytes; no anchors, aliases or tags).",
        "parameters": [
            {
                "name": "save",
                "in": "query",
                "description": "also write the files below the service's output directory",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                **dict.fromkeys(JSON_TYPES, described),
                **dict.fromkeys(YAML_TYPES, text),
            },
        },
        "responses": {
            "200": {
                "description": "The files",
                "headers": assist,
                "content": {
                    ANSWER_TYPES[0]: {"schema": _ref("Generated")},
                    ANSWER_TYPES[1]: {"schema": {}},
                },
            },
            "400": _problem("Neither YAML nor JSON, or a query that is not known"),
            "403": _problem("The request comes from another site's page"),
            "406": _problem("No media type of the answer is accepted"),
            "409": _problem("With save: something else is in the folder of that name"),
            "413": _problem("The body is too large"),
            "415": _problem("The body is of another media type, or encoded"),
            "422": _problem("The description is not valid; errors has line and field of each"),
            "503": {
                **_problem("Too much at once, or outputs cannot be written"),
                "headers": {"Retry-After": {"description": "seconds", "schema": _INTEGER}},
            },
            "507": _problem("With save: the disk is full"),
        },
    }


def _example() -> dict[str, Any]:
    return {
        "name": "lamp",
        "platform": "esp32",
        "peripherals": [{"name": "light", "type": "led", "pin": "GPIO4"}],
    }


def _get(operation: str, summary: str, schema: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _content(summary, "application/json", _ref(schema))},
    }


def _content(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _problem(description: str) -> dict[str, Any]:
    return _content(description, "application/problem+json", _ref("Problem"))


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    """An object that has all of them and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _schemas() -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    status = {"enum": ["pass", "warn", "fail"]}
    nullable_integer = {"type": ["integer", "null"], "minimum": 1}
    info = _object(
        name=_STRING,
        version=_STRING,
        revision=_STRING,
        python=_STRING,
        machine=_STRING,
        started_at={"type": "string", "format": "date-time"},
        uptime_s={"type": "number", "minimum": 0},
    )
    info["required"].remove("revision")
    health = _object(
        status=status,
        checks={
            "type": "object",
            "additionalProperties": _list(_object(status=status, output=_STRING)),
        },
    )
    health["required"].remove("checks")
    pin = _object(
        label=_STRING, number=_INTEGER, abilities=_list(_STRING), reserved=_STRING, note=_STRING
    )
    bus = _object(
        name=_STRING, kind=_STRING, pins={"type": "object", "additionalProperties": _STRING}
    )
    option = _object(
        name=_STRING,
        kind=_STRING,
        default={},
        meaning=_STRING,
        minimum=number,
        maximum=number,
        choices=_list({}),
    )
    channel = _object(
        name=_STRING,
        kind=_STRING,
        access={"enum": ["r", "w", "rw"]},
        meaning=_STRING,
        unit=_STRING,
        minimum=number,
        maximum=number,
    )
    error = _object(message=_STRING, field=_STRING, line=nullable_integer, column=nullable_integer)
    return {
        "Device": description_schema(),
        "Generated": _object(
            device=_object(name=_STRING, platform=_STRING, version=_STRING),
            digest={"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            files=_list(_object(path=_STRING, size_bytes=_INTEGER, content=_STRING)),
            warnings=_list(error),
            assist={"oneOf": [{"type": "null"}, _ref("Assist")]},
            saved={"type": ["string", "null"]},
        ),
        "Assist": _object(
            status={"enum": ["pass", "degraded"]},
            model=_STRING,
            explanation=_STRING,
            wiring=_list(_object(peripheral=_STRING, note=_STRING)),
            withheld=_list(_object(text=_STRING, reason=_STRING)),
            reason=_STRING,
            duration_s={"type": "number", "minimum": 0},
        ),
        "Platforms": _object(
            platforms=_list(
                _object(
                    platform=_STRING,
                    title=_STRING,
                    language=_STRING,
                    volts={"type": "number"},
                    pins=_list(pin),
                    buses=_list(bus),
                )
            ),
            peripherals=_list(
                _object(
                    type=_STRING,
                    title=_STRING,
                    bus=_STRING,
                    pins=_list(_object(role=_STRING, needs=_list(_STRING))),
                    options=_list(option),
                    channels=_list(channel),
                    wiring=_STRING,
                )
            ),
        ),
        "Info": info,
        "Health": health,
        "Problem": _object(
            type=_STRING, title=_STRING, status=_INTEGER, detail=_STRING, errors=_list(error)
        ),
    }
