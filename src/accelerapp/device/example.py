"""A first description for each platform, with what there is to know beside it."""

from __future__ import annotations

import textwrap

from accelerapp.device.boards import BOARDS
from accelerapp.device.peripherals import TYPES

_PERIPHERALS = {
    "arduino": ("8", "2", "9", "A0", "7"),
    "esp32": ("GPIO4", "GPIO13", "GPIO16", "GPIO34", "GPIO17"),
    "raspberry-pi": ("GP15", "GP14", "GP16", "GP26", "GP17"),
}


def example(platform: str = "esp32") -> str:
    """A description in YAML, with comments; KeyError for a platform that does not exist."""
    board = BOARDS[platform]
    lamp, button, fan, soil, air = _PERIPHERALS[platform]
    bus = board.buses_of("i2c")[0]
    lines = ", ".join(f"{line.upper()} {label}" for line, label in bus.pins)
    known = f"There are {', '.join(TYPES)}."
    types = textwrap.fill(
        known, 96, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    others = ", ".join(name for name in BOARDS if name != platform)
    return f"""\
# A device, as `accelerapp generate` and POST /v1/generate take it.
name: greenhouse            # a letter first, then letters, digits, spaces, - or _
platform: {platform:<17} # {board.title}; or {others}
version: 0.1.0
description: Keeps an eye on the tomatoes.

# Each has a type, and a name of your choice; types without a name are called by their type.
{types}
peripherals:
  - name: lamp
    type: led
    pin: {lamp}

  - name: door
    type: button
    pin: {button}
    options:
      debounce_ms: 30       # steady for so long

  - name: fan
    type: pwm
    pin: {fan}

  - name: soil
    type: soil-moisture
    pin: {soil}

  - name: air
    type: dht22
    pin: {air}

  - name: light
    type: bh1750
    bus: {bus.name:<20} # {lines}
    options:
      address: 0x23

# A local model explains the wiring, where the service has one (OLLAMA_HOST).
# assist: true
"""
