"""What can be connected to a board: the one table that everything else is made from.

Validation, the JSON schema, firmware, SDK, panel and the answer of /v1/platforms read
it.  A type that is added here needs a driver in each of the two firmware templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from accelerapp.device.boards import Ability

Value = bool | int | float | str
Kind = Literal["bool", "int", "float", "text"]


@dataclass(frozen=True, slots=True)
class Role:
    """A line of a peripheral and what its pin has to be able to do."""

    name: str
    needs: frozenset[Ability]


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a peripheral. `choices` is empty where any value in the range will do."""

    name: str
    kind: Kind
    default: Value
    meaning: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    """A value that is read (`r`), written (`w`) or both (`rw`) while the device runs.

    `unit` is a symbol of the SI, or empty; a ratio is from 0 to 1.
    """

    name: str
    kind: Kind
    access: Literal["r", "w", "rw"]
    meaning: str
    unit: str = ""
    minimum: int | float | None = None
    maximum: int | float | None = None
    longest: int = 0

    @property
    def readable(self) -> bool:
        return "r" in self.access

    @property
    def writable(self) -> bool:
        return "w" in self.access


@dataclass(frozen=True, slots=True)
class PeripheralType:
    """`driver` is the code that serves it: types that differ in name alone share one.

    `roles` is `signal` alone where one pin is enough; `bus` is the kind of bus, or empty.
    On a bus of kind i2c, the option `address` is the peripheral's own.
    """

    name: str
    title: str
    driver: str
    channels: tuple[Channel, ...]
    roles: tuple[Role, ...] = ()
    bus: Literal["", "i2c", "spi"] = ""
    options: tuple[Option, ...] = ()
    wiring: str = ""

    def option(self, name: str) -> Option | None:
        return next((option for option in self.options if option.name == name), None)


def _signal(*needs: Ability) -> tuple[Role, ...]:
    return (Role("signal", frozenset(needs)),)


_ACTIVE_LOW = Option("active_low", "bool", False, "on when the pin is low")
_SAMPLES = Option("samples", "int", 4, "readings to take the mean of", 1, 64)
_RATIO = Channel("value", "float", "r", "share of the highest voltage", "", 0, 1)


def _switch(name: str, title: str, wiring: str) -> PeripheralType:
    return PeripheralType(
        name,
        title,
        "switch",
        (Channel("on", "bool", "rw", "whether it is on"),),
        _signal(Ability.OUTPUT),
        options=(_ACTIVE_LOW, Option("initial", "bool", False, "whether it is on at the start")),
        wiring=wiring,
    )


def _contact(name: str, title: str, channel: str, meaning: str, wiring: str) -> PeripheralType:
    return PeripheralType(
        name,
        title,
        "contact",
        (Channel(channel, "bool", "r", meaning),),
        _signal(Ability.INPUT),
        options=(
            Option("active_low", "bool", name == "button", "true when the pin is low"),
            Option(
                "pull",
                "text",
                "up" if name == "button" else "none",
                "resistor inside the chip",
                choices=("up", "none"),
            ),
            Option(
                "debounce_ms", "int", 20 if name == "button" else 0, "steady for so long", 0, 1000
            ),
        ),
        wiring=wiring,
    )


def _analog(name: str, title: str, wiring: str) -> PeripheralType:
    return PeripheralType(
        name,
        title,
        "analog",
        (_RATIO,),
        _signal(Ability.ANALOG),
        options=(_SAMPLES,),
        wiring=wiring,
    )


def _dht(name: str, title: str) -> PeripheralType:
    return PeripheralType(
        name,
        title,
        "dht",
        (
            Channel("temperature", "float", "r", "temperature of the air", "°C"),
            Channel("humidity", "float", "r", "relative humidity", "%", 0, 100),
        ),
        _signal(Ability.INPUT, Ability.OUTPUT),
        wiring="data with 10 kΩ to the supply",
    )


def _address(default: int, *others: int) -> Option:
    return Option("address", "int", default, "address on the bus", choices=(default, *others))


TYPES: Mapping[str, PeripheralType] = {
    kind.name: kind
    for kind in (
        _switch("led", "LED", "anode through 330 Ω to the pin, cathode to ground"),
        _switch("relay", "Relay", "input of the module to the pin; not a bare coil"),
        PeripheralType(
            "pwm",
            "PWM output",
            "pwm",
            (Channel("level", "float", "rw", "share of the time that it is on", "", 0, 1),),
            _signal(Ability.PWM),
            wiring="gate of a transistor, or an LED through 330 Ω",
        ),
        PeripheralType(
            "buzzer",
            "Buzzer",
            "buzzer",
            (Channel("frequency", "int", "rw", "tone, 0 for silence", "Hz", 0, 10000),),
            _signal(Ability.OUTPUT),
            wiring="a passive one, between the pin and ground",
        ),
        PeripheralType(
            "servo",
            "Servo",
            "servo",
            (Channel("angle", "int", "rw", "position", "°", 0, 180),),
            _signal(Ability.OUTPUT),
            options=(
                Option("minimum_us", "int", 544, "pulse at 0°, in microseconds", 400, 1400),
                Option("maximum_us", "int", 2400, "pulse at 180°, in microseconds", 1600, 2700),
                Option("initial", "int", 90, "angle at the start", 0, 180),
            ),
            wiring="signal to the pin; its supply is not the board's",
        ),
        PeripheralType(
            "neopixel",
            "NeoPixel strip",
            "neopixel",
            (Channel("colour", "text", "rw", "all of them, as #rrggbb", longest=7),),
            _signal(Ability.OUTPUT),
            options=(Option("count", "int", 8, "LEDs on the strip", 1, 64),),
            wiring="data through 330 Ω; a supply of its own above 8 LEDs",
        ),
        _contact(
            "button", "Button", "pressed", "whether it is pressed", "between the pin and ground"
        ),
        _contact(
            "motion",
            "Motion sensor",
            "motion",
            "whether something moves",
            "output of the PIR module",
        ),
        _contact(
            "reed",
            "Reed contact",
            "closed",
            "whether a magnet is near",
            "between the pin and the supply",
        ),
        _analog("analog", "Analog input", "never above the board's voltage"),
        _analog(
            "potentiometer", "Potentiometer", "the wiper to the pin, the ends to supply and ground"
        ),
        _analog(
            "photoresistor", "Photoresistor", "to the supply, and 10 kΩ from the pin to ground"
        ),
        _analog("soil-moisture", "Soil moisture sensor", "analog output to the pin"),
        _dht("dht11", "DHT11"),
        _dht("dht22", "DHT22"),
        PeripheralType(
            "ds18b20",
            "DS18B20",
            "ds18b20",
            (Channel("temperature", "float", "r", "temperature", "°C", -55, 125),),
            _signal(Ability.INPUT, Ability.OUTPUT),
            wiring="data with 4.7 kΩ to the supply",
        ),
        PeripheralType(
            "ultrasonic",
            "Ultrasonic distance sensor (HC-SR04)",
            "ultrasonic",
            (Channel("distance", "float", "r", "distance to what is in front", "m", 0, 4),),
            (
                Role("trigger", frozenset({Ability.OUTPUT})),
                Role("echo", frozenset({Ability.INPUT})),
            ),
            wiring="echo gives 5 V: a divider where the board has 3.3 V",
        ),
        PeripheralType(
            "bme280",
            "BME280",
            "bme280",
            (
                Channel("temperature", "float", "r", "temperature of the air", "°C", -40, 85),
                Channel("humidity", "float", "r", "relative humidity", "%", 0, 100),
                Channel("pressure", "float", "r", "pressure of the air", "Pa", 30000, 110000),
            ),
            bus="i2c",
            options=(_address(0x76, 0x77),),
        ),
        PeripheralType(
            "bh1750",
            "BH1750",
            "bh1750",
            (Channel("illuminance", "float", "r", "light", "lx", 0, 54612.5),),
            bus="i2c",
            options=(_address(0x23, 0x5C),),
        ),
        PeripheralType(
            "mpu6050",
            "MPU-6050",
            "mpu6050",
            tuple(
                Channel(f"acceleration_{axis}", "float", "r", f"along {axis}", "m/s²", -20, 20)
                for axis in "xyz"
            ),
            bus="i2c",
            options=(_address(0x68, 0x69),),
        ),
        PeripheralType(
            "ssd1306",
            "OLED display (SSD1306)",
            "ssd1306",
            (Channel("text", "text", "rw", "what it shows", longest=64),),
            bus="i2c",
            options=(
                _address(0x3C, 0x3D),
                Option("height", "int", 64, "rows of pixels; it has 128 columns", choices=(64, 32)),
            ),
        ),
        PeripheralType(
            "mcp3008",
            "MCP3008",
            "mcp3008",
            tuple(
                Channel(f"value_{n}", "float", "r", f"input {n}, share of its reference", "", 0, 1)
                for n in range(8)
            ),
            (Role("select", frozenset({Ability.OUTPUT})),),
            bus="spi",
        ),
    )
}
