"""From a device to its files: firmware, SDK, panel.

The same device gives the same bytes: nothing here reads a clock, the environment or the
disk, templates aside, and nothing is in the order of a set.  What the parts say to each
other is in `protocol`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from accelerapp import __version__
from accelerapp.device.model import Device
from accelerapp.generate import protocol
from accelerapp.generate.templates import render

__all__ = ["File", "Generated", "generate", "warm_up"]


@dataclass(frozen=True, slots=True)
class File:
    """`path` is relative, with `/`, and never leaves the folder that it is put in."""

    path: str
    content: str


@dataclass(frozen=True)
class Generated:
    """What a device became; files by path, in order."""

    device: Device
    files: tuple[File, ...]

    @cached_property
    def digest(self) -> str:
        """`sha256:` and 64 hex digits over every path, size and content."""
        found = hashlib.sha256()
        for file in self.files:
            content = file.content.encode()
            found.update(f"{file.path}\0{len(content)}\0".encode() + content)
        return f"sha256:{found.hexdigest()}"

    @cached_property
    def size_bytes(self) -> int:
        return sum(len(file.content.encode()) for file in self.files)


def generate(device: Device) -> Generated:
    """Firmware for the device's board, an SDK in Python, a panel, and how to use them."""
    manifest = {"accelerapp": __version__, **device.as_dict()}
    described = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    package = f"{device.name.identifier}_sdk"
    firmware = {
        "C++": {
            "firmware/platformio.ini": "platformio.ini",
            "firmware/src/main.cpp": "main.cpp",
        },
        "MicroPython": {"firmware/main.py": "main.py"},
    }[device.board.language]
    templates = {
        "README.md": "README.md",
        **firmware,
        f"sdk/{package}/__init__.py": "sdk_init.py",
        f"sdk/{package}/client.py": "sdk_client.py",
        "sdk/pyproject.toml": "sdk_pyproject.toml",
        "ui/index.html": "index.html",
    }
    context = _context(device, package)
    rendered = {path: render(template, context) for path, template in templates.items()}
    rendered["device.json"] = described
    rendered[f"sdk/{package}/py.typed"] = ""
    return Generated(device, tuple(File(path, rendered[path]) for path in sorted(rendered)))


def warm_up() -> None:
    """Compile every template, so that the first request is not the one that pays for it."""
    from accelerapp.device.description import load
    from accelerapp.device.example import example

    for platform in ("arduino", "raspberry-pi"):
        generate(load(example(platform)))


def _context(device: Device, package: str) -> dict[str, Any]:
    drivers = sorted({peripheral.type.driver for peripheral in device.peripherals})
    types = {peripheral.type.name: peripheral.type for peripheral in device.peripherals}
    buses = {
        peripheral.bus.name: peripheral.bus for peripheral in device.peripherals if peripheral.bus
    }
    channels = protocol.channels(device)
    return {
        "accelerapp": __version__,
        "device": device,
        "board": device.board,
        "package": package,
        "drivers": drivers,
        "types": [types[name] for name in sorted(types)],
        "buses": [buses[name] for name in sorted(buses)],
        "channels": channels,
        "longest_line": protocol.longest_line(device),
        "identity": protocol.identity(device),
        "device_class": _device_class(device),
        "attributes": {
            peripheral.name.identifier: _attribute(peripheral.name.identifier)
            for peripheral in device.peripherals
        },
        "type_classes": {name: type_class(name) for name in types},
        "panel": {
            "name": device.name.text,
            "identity": protocol.identity(device),
            "baud": protocol.BAUD,
            "peripherals": [
                {
                    "name": peripheral.name.text,
                    "title": peripheral.type.title,
                    "channels": [
                        {
                            "address": f"{peripheral.name.identifier}.{channel.name}",
                            "name": channel.name.replace("_", " "),
                            "kind": channel.kind,
                            "access": channel.access,
                            "meaning": channel.meaning,
                            "unit": channel.unit,
                            "minimum": channel.minimum,
                            "maximum": channel.maximum,
                            "longest": channel.longest,
                        }
                        for channel in peripheral.type.channels
                    ],
                }
                for peripheral in device.peripherals
            ],
        },
    }


# What the SDK's device class has itself; a peripheral of that name gets `_` at its end.
_MEMBERS = frozenset(("close", "connect", "identity", "info"))


def _attribute(identifier: str) -> str:
    return f"{identifier}_" if identifier in _MEMBERS else identifier


def type_class(name: str) -> str:
    """`SoilMoisture` for `soil-moisture`: the SDK's class of a type."""
    return "".join(word.capitalize() for word in name.split("-"))


def _device_class(device: Device) -> str:
    from accelerapp.device.peripherals import TYPES

    name = device.name.class_name
    taken = {type_class(kind) for kind in TYPES}
    taken |= {"DeviceError", "Transport", "Serial", "Info", "Protocol", "Any", "Self", "Type"}
    return f"{name}Device" if name in taken or name in ("None", "True", "False") else name
