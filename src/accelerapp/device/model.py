"""A valid device, as everything that is generated from it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accelerapp.device.boards import Board, Bus, Pin
from accelerapp.device.names import Name
from accelerapp.device.peripherals import PeripheralType, Value


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, or doubtful, and where.

    `field` is a path such as `peripherals[0].pin`, empty for the whole; `line` and
    `column` count from 1 and are None where there is no text to point at.
    """

    message: str
    field: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = [] if self.line is None else [f"line {self.line}"]
        place += [self.field] if self.field else []
        return f"{', '.join(place)}: {self.message}" if place else self.message

    def as_dict(self) -> dict[str, Any]:
        return {
            "message": self.message,
            "field": self.field,
            "line": self.line,
            "column": self.column,
        }


@dataclass(frozen=True, slots=True)
class Peripheral:
    """`pins` has every role of the type, in its order; `options` every option, in order."""

    name: Name
    type: PeripheralType
    pins: tuple[tuple[str, Pin], ...]
    bus: Bus | None
    options: tuple[tuple[str, Value], ...]

    def option(self, name: str) -> Value:
        """KeyError for an option that the type does not have."""
        return dict(self.options)[name]


@dataclass(frozen=True, slots=True)
class Device:
    """`description` is free text: whoever writes it into a file escapes it for that file."""

    name: Name
    board: Board
    version: str
    description: str
    peripherals: tuple[Peripheral, ...]
    assist: bool
    warnings: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The whole description with every default filled in; it is itself a valid description."""
        return {
            "name": self.name.text,
            "platform": self.board.platform,
            "version": self.version,
            "description": self.description,
            "peripherals": [_peripheral_dict(peripheral) for peripheral in self.peripherals],
        }


def _peripheral_dict(peripheral: Peripheral) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": peripheral.name.text, "type": peripheral.type.name}
    if len(peripheral.type.roles) == 1:
        shown["pin"] = peripheral.pins[0][1].label
    elif peripheral.pins:
        shown["pins"] = {role: pin.label for role, pin in peripheral.pins}
    if peripheral.bus is not None:
        shown["bus"] = peripheral.bus.name
    if peripheral.options:
        shown["options"] = dict(peripheral.options)
    return shown
