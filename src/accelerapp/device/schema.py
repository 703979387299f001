"""The description as a JSON Schema (draft 2020-12), made from the same tables as the checks.

It says what a field may be. What depends on other fields it cannot say: that pins fit
their use and are used once, that names are no keywords and differ, that addresses differ.
"""

from __future__ import annotations

import functools
from typing import Any

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import (
    LONGEST_PIN,
    MAX_DESCRIPTION,
    MAX_PERIPHERALS,
    UNPRINTABLE,
    VERSION,
)
from accelerapp.device.names import LONGEST
from accelerapp.device.peripherals import TYPES, Option, PeripheralType

_NAME = {
    "type": "string",
    "maxLength": LONGEST,
    "pattern": r"^[A-Za-z]([A-Za-z0-9 _-]*[A-Za-z0-9])?$",
}
_PIN = {
    "type": ["string", "integer"],
    "description": "as the board prints it, or its number: GPIO4, D13, A0, GP15, 4",
    "minimum": 0,
    "maximum": 99,
    "minLength": 1,
    "maxLength": LONGEST_PIN,
}
_KINDS = {"bool": "boolean", "int": "integer", "float": "number", "text": "string"}


@functools.cache
def description_schema() -> dict[str, Any]:
    """The schema of a whole description. Do not change what it returns."""
    return {
        "type": "object",
        "title": "Device",
        "additionalProperties": False,
        "required": ["name", "platform", "peripherals"],
        "properties": {
            "name": {**_NAME, "description": "what the device is called"},
            "platform": {"enum": list(BOARDS), "description": "the board"},
            "version": {
                "type": "string",
                "pattern": f"^{VERSION}$",
                "default": "0.1.0",
                "description": "version of the firmware and the SDK",
            },
            "description": {
                "type": "string",
                "maxLength": MAX_DESCRIPTION,
                "pattern": f"^[^{UNPRINTABLE}]*$",
                "default": "",
            },
            "assist": {
                "type": "boolean",
                "default": False,
                "description": "have the local model explain the device",
            },
            "peripherals": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_PERIPHERALS,
                "items": {"oneOf": [_peripheral(kind) for kind in TYPES.values()]},
            },
        },
    }


def _peripheral(kind: PeripheralType) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": {**_NAME, "description": "default: the type"},
        "type": {"const": kind.name},
    }
    required = ["type"]
    if len(kind.roles) == 1:
        properties["pin"] = _PIN
        required.append("pin")
    elif kind.roles:
        roles = [role.name for role in kind.roles]
        properties["pins"] = {
            "type": "object",
            "additionalProperties": False,
            "required": roles,
            "properties": dict.fromkeys(roles, _PIN),
        }
        required.append("pins")
    if kind.bus:
        names = {bus.name for board in BOARDS.values() for bus in board.buses_of(kind.bus)}
        properties["bus"] = {"enum": sorted(names), "default": kind.bus}
    if kind.options:
        properties["options"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {option.name: _option(option) for option in kind.options},
        }
    return {
        "type": "object",
        "title": kind.title,
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


def _option(option: Option) -> dict[str, Any]:
    shown: dict[str, Any] = {"description": option.meaning, "default": option.default}
    if option.name == "address":
        spelled = [f"0x{choice:02x}" for choice in option.choices]
        spelled += [f"0x{choice:02X}" for choice in option.choices]
        return {**shown, "enum": [*option.choices, *dict.fromkeys(spelled)]}
    if option.choices:
        return {**shown, "enum": list(option.choices)}
    shown["type"] = _KINDS[option.kind]
    if option.minimum is not None:
        shown |= {"minimum": option.minimum, "maximum": option.maximum}
    return shown
