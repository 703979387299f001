"""What the platforms are: their boards, pins and buses.

The facts are the makers' own: the Arduino Uno R3 and ATmega328P data sheets, Espressif's
ESP32 data sheet and its guide to GPIO, the Raspberry Pi Pico data sheet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class Ability(StrEnum):
    """What a pin can do."""

    INPUT = "input"
    PULL_UP = "pull-up"
    OUTPUT = "output"
    PWM = "PWM"
    ANALOG = "analog input"


@dataclass(frozen=True, slots=True)
class Pin:
    """One pin. `label` is what the board prints, `number` what firmware says.

    `reserved` is why nothing may be connected to it; `note` is what to know before.
    """

    label: str
    number: int
    abilities: frozenset[Ability]
    reserved: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bus:
    """`kind` is `i2c` or `spi`; `pins` has each line and its pin's label."""

    name: str
    kind: str
    number: int
    pins: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Board:
    """A platform of the description."""

    platform: str
    title: str
    language: str
    volts: float
    prefix: str
    example_pin: str
    pins: tuple[Pin, ...]
    buses: tuple[Bus, ...]

    @cached_property
    def _by_spelling(self) -> dict[str, Pin]:
        spellings: dict[str, Pin] = {}
        for pin in self.pins:
            spellings[pin.label.upper()] = pin
        for pin in self.pins:
            # `A0` is no digital pin of that number: 14 is its second name.
            for spelling in (str(pin.number), f"{self.prefix}{pin.number}", f"D{pin.number}"):
                spellings.setdefault(spelling, pin)
        return spellings

    def pin(self, spelling: str | int) -> Pin | None:
        """The pin spelled `13`, `"D13"`, `"A0"`, `"GPIO4"` or `"GP4"`; None if there is none."""
        return self._by_spelling.get(re.sub(r"[\s_]", "", str(spelling)).upper())

    def bus(self, name: str) -> Bus | None:
        return next((bus for bus in self.buses if bus.name == name), None)

    def buses_of(self, kind: str) -> tuple[Bus, ...]:
        """Those of a kind, the one to take by default first."""
        return tuple(bus for bus in self.buses if bus.kind == kind)


_IN = frozenset({Ability.INPUT})
_DIGITAL = frozenset({Ability.INPUT, Ability.PULL_UP, Ability.OUTPUT})


def _arduino_pins() -> tuple[Pin, ...]:
    pins = []
    for number in range(14):
        pwm = {Ability.PWM} if number in (3, 5, 6, 9, 10, 11) else set()
        pins.append(
            Pin(
                str(number),
                number,
                _DIGITAL | pwm,
                reserved="it is the serial line to the computer" if number < 2 else "",
                note="the LED of the board is on it" if number == 13 else "",
            )
        )
    pins += [Pin(f"A{n}", 14 + n, _DIGITAL | {Ability.ANALOG}) for n in range(6)]
    return tuple(pins)


def _esp32_pins() -> tuple[Pin, ...]:
    reserved = {
        **dict.fromkeys((1, 3), "it is the serial line to the computer"),
        **dict.fromkeys(range(6, 12), "the flash memory is on it"),
    }
    notes = {
        0: "it decides at reset whether the chip boots; keep it high then",
        2: "it decides at reset whether the chip can be flashed; keep it low then",
        5: "it is read at reset; keep it high then",
        12: "it sets the voltage of the flash memory at reset; keep it low then",
        15: "it silences the boot log when low at reset",
    }
    pins = []
    # GPIO20, 24 and 28 to 31 do not exist, 37 and 38 are on no header.
    for number in (*range(20), 21, 22, 23, 25, 26, 27, *range(32, 37), 39):
        abilities = set(_IN if number >= 34 else _DIGITAL | {Ability.PWM})
        if number in (0, 2, 4, *range(12, 16), *range(25, 28), *range(32, 40)):
            abilities.add(Ability.ANALOG)
        pins.append(
            Pin(
                f"GPIO{number}",
                number,
                frozenset(abilities),
                reserved=reserved.get(number, ""),
                note=notes.get(number, ""),
            )
        )
    return tuple(pins)


def _pico_pins() -> tuple[Pin, ...]:
    pins = []
    for number in (*range(23), 25, 26, 27, 28):
        abilities = _DIGITAL | {Ability.PWM}
        if number >= 26:
            abilities |= {Ability.ANALOG}
        note = "the LED of the board is on it, and no header" if number == 25 else ""
        pins.append(Pin(f"GP{number}", number, abilities, note=note))
    return tuple(pins)


ARDUINO = Board(
    platform="arduino",
    title="Arduino Uno",
    language="C++",
    volts=5.0,
    prefix="D",
    example_pin="13",
    pins=_arduino_pins(),
    buses=(
        Bus("i2c", "i2c", 0, (("sda", "A4"), ("scl", "A5"))),
        Bus("spi", "spi", 0, (("mosi", "11"), ("miso", "12"), ("sck", "13"))),
    ),
)
ESP32 = Board(
    platform="esp32",
    title="ESP32 DevKit",
    language="C++",
    volts=3.3,
    prefix="GPIO",
    example_pin="GPIO4",
    pins=_esp32_pins(),
    buses=(
        Bus("i2c", "i2c", 0, (("sda", "GPIO21"), ("scl", "GPIO22"))),
        Bus("i2c1", "i2c", 1, (("sda", "GPIO25"), ("scl", "GPIO26"))),
        Bus("spi", "spi", 0, (("mosi", "GPIO23"), ("miso", "GPIO19"), ("sck", "GPIO18"))),
    ),
)
RASPBERRY_PI = Board(
    platform="raspberry-pi",
    title="Raspberry Pi Pico",
    language="MicroPython",
    volts=3.3,
    prefix="GP",
    example_pin="GP15",
    pins=_pico_pins(),
    buses=(
        Bus("i2c", "i2c", 0, (("sda", "GP4"), ("scl", "GP5"))),
        Bus("i2c1", "i2c", 1, (("sda", "GP6"), ("scl", "GP7"))),
        Bus("spi", "spi", 0, (("mosi", "GP19"), ("miso", "GP16"), ("sck", "GP18"))),
    ),
)

BOARDS = {board.platform: board for board in (ARDUINO, ESP32, RASPBERRY_PI)}
