"""What firmware, SDK and panel say to each other over the serial line.

115200 baud, ASCII, one line each way, ended by a line feed; carriage returns are ignored.

    info                    ok info SLUG VERSION PLATFORM DIGEST
    list                    ok list COUNT, then COUNT lines NAME.CHANNEL KIND ACCESS
    get NAME.CHANNEL        ok NAME.CHANNEL VALUE
    set NAME.CHANNEL VALUE  ok NAME.CHANNEL VALUE

or `error CODE DETAIL`, with CODE one of `unknown-command`, `unknown-channel`, `bad-value`,
`read-only`, `write-only`, `no-sensor` (it does not answer) and `too-long`.  A value is `0`
or `1`, a decimal number, or a text in which every byte but letters, digits and `-._` is
`%` and two hex digits; an empty text is `%`.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from accelerapp.device.model import Device, Peripheral
from accelerapp.device.peripherals import Channel

BAUD = 115200
ERRORS = (
    "unknown-command",
    "unknown-channel",
    "bad-value",
    "read-only",
    "write-only",
    "no-sensor",
    "too-long",
)


class Address(NamedTuple):
    """A channel of one peripheral, and what the line calls it."""

    peripheral: Peripheral
    channel: Channel
    text: str


def channels(device: Device) -> tuple[Address, ...]:
    return tuple(
        Address(peripheral, channel, f"{peripheral.name.identifier}.{channel.name}")
        for peripheral in device.peripherals
        for channel in peripheral.type.channels
    )


def longest_line(device: Device) -> int:
    """Bytes of the longest request without its end; a text may be `%xx` throughout."""
    return max(
        len(f"set {text} ") + max(24, 3 * channel.longest) for _, channel, text in channels(device)
    )


def identity(device: Device) -> str:
    """`SLUG VERSION PLATFORM DIGEST`: eight hex digits tell one description from another."""
    described = json.dumps(device.as_dict(), sort_keys=True).encode()
    digest = hashlib.sha256(described).hexdigest()[:8]
    return f"{device.name.slug} {device.version} {device.board.platform} {digest}"
