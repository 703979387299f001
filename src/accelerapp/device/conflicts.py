"""What a board can do, but not all at once: timers, channels, memory.

Whether each pin can do what it is for is looked at elsewhere; here it is the device as a
whole.  The facts: ATmega328P data sheet, chapters 15 to 19 (timers, SS of the SPI), and
the libraries that the firmware takes on it (Servo has timer 1, tone() timer 2);
ESP32 technical reference manual, chapter LED PWM; RP2040 data sheet, chapter 4.5.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from accelerapp.device.boards import Ability, Board, Pin
from accelerapp.device.model import Peripheral


@dataclass(frozen=True, slots=True)
class Conflict:
    """`peripheral` is the one to change, of those that are in each other's way.

    `role` is that of its pin, empty where it is not about one. With `refused` no firmware
    could do it; else it is something to know.
    """

    peripheral: Peripheral
    role: str
    message: str
    refused: bool = True


def conflicts(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    """All of them. Pins that a peripheral lacks are the trouble of others."""
    for rule in _RULES[board.platform]:
        yield from rule(board, peripherals)


def _driven_by(peripherals: Iterable[Peripheral], *drivers: str) -> list[Peripheral]:
    return [peripheral for peripheral in peripherals if peripheral.type.driver in drivers]


def _pin(peripheral: Peripheral) -> Pin | None:
    return dict(peripheral.pins).get("signal")


def _uno_timers(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    for driver, labels in (("servo", ("9", "10")), ("buzzer", ("3", "11"))):
        users = _driven_by(peripherals, driver)
        for dimmer in _driven_by(peripherals, "pwm"):
            pin = _pin(dimmer)
            if users and pin is not None and pin.label in labels:
                yield Conflict(
                    dimmer,
                    "signal",
                    f"pin {pin.label} of {board.title} has no PWM beside a {driver}"
                    f" ({users[0].name.text!r}), which takes its timer; choose another",
                )


# What the library attaches beyond them to the one timer, it ignores.
_UNO_SERVOS = 12


def _uno_servos(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    for servo in _driven_by(peripherals, "servo")[_UNO_SERVOS:]:
        yield Conflict(
            servo, "", f"{board.title} has the time for {_UNO_SERVOS} servos; leave this one out"
        )


def _uno_select(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    """While SS is an input that is low, the chip takes itself for the slave on the bus."""
    users = [p for p in peripherals if p.bus is not None and p.bus.kind == "spi"]
    for peripheral in peripherals if users else ():
        for role, pin in peripheral.pins:
            [needs] = [each.needs for each in peripheral.type.roles if each.name == role]
            if pin.label == "10" and Ability.INPUT in needs:
                yield Conflict(
                    peripheral,
                    role,
                    f"pin 10 of {board.title} can be no input beside the bus spi, which"
                    f" {users[0].name.text!r} is on; choose another",
                )


# Of 2048 bytes, what is left for pictures beside serial line, buses, values and stack.
_UNO_BYTES = 1100


def _uno_memory(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    taken = 0
    for peripheral in _driven_by(peripherals, "ssd1306", "neopixel"):
        if peripheral.type.driver == "ssd1306":
            size = 128 * int(peripheral.option("height")) // 8
            less = "set options.height to 32" if size == 1024 else "leave one out"
        else:
            size = 3 * int(peripheral.option("count"))
            less = "set options.count to fewer"
        taken += size
        if taken > _UNO_BYTES:
            yield Conflict(
                peripheral,
                "",
                f"the {size} bytes that {peripheral.name.text!r} shows are too many for the memory"
                f" of {board.title}, with {taken - size} taken by others; {less}",
            )
        elif size >= 512:
            yield Conflict(
                peripheral,
                "",
                f"its picture takes {size} of the 2048 bytes of memory of {board.title}",
                refused=False,
            )


def _uno_interrupts(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    for strip in _driven_by(peripherals, "neopixel"):
        for servo in _driven_by(peripherals, "servo")[:1]:
            yield Conflict(
                strip,
                "",
                f"while it is sent a colour, interrupts wait: {servo.name.text!r} may twitch",
                refused=False,
            )


def _one_tone(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    buzzers = _driven_by(peripherals, "buzzer")
    for buzzer in buzzers[1:]:
        yield Conflict(
            buzzer,
            "",
            f"{board.title} plays one tone at a time: silence {buzzers[0].name.text!r} before"
            f" {buzzer.name.text!r} plays",
            refused=False,
        )


_ESP32_CHANNELS = 16


def _esp32_channels(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    users = _driven_by(peripherals, "pwm", "servo")
    # tone() has one, for all buzzers.
    left = _ESP32_CHANNELS - bool(_driven_by(peripherals, "buzzer"))
    for user in users[left:]:
        yield Conflict(
            user,
            "",
            f"{board.title} has {_ESP32_CHANNELS} channels of PWM, and all are taken;"
            " leave this one out",
        )


def _pico_slices(board: Board, peripherals: Sequence[Peripheral]) -> Iterator[Conflict]:
    """A slice has one frequency and two outputs, and pins that are 16 apart have the same one."""
    users = [
        (peripheral, pin)
        for peripheral in _driven_by(peripherals, "pwm", "servo", "buzzer")
        if (pin := _pin(peripheral)) is not None
    ]
    slices: dict[int, list[tuple[Peripheral, Pin]]] = {_slice(pin): [] for _, pin in users}
    for peripheral, pin in users:
        beside = slices[_slice(pin)]
        for other, taken in beside:
            driver = peripheral.type.driver
            same = taken.number % 2 == pin.number % 2
            # A buzzer changes it with every tone.
            if same or driver != other.type.driver or driver == "buzzer":
                what = "the output" if same else "the frequency"
                choose = _free(board, peripherals, lambda pin: _slice(pin) not in slices)
                yield Conflict(
                    peripheral,
                    "signal",
                    f"pin {pin.label} of {board.title} shares {what} of its PWM with pin"
                    f" {taken.label} of {other.name.text!r}; choose {choose}",
                )
                break
        else:
            beside.append((peripheral, pin))


def _slice(pin: Pin) -> int:
    return pin.number // 2 % 8


def _free(board: Board, peripherals: Sequence[Peripheral], fits: Callable[[Pin], bool]) -> str:
    taken = {pin.label for peripheral in peripherals for _, pin in peripheral.pins}
    taken |= {label for p in peripherals if p.bus is not None for _, label in p.bus.pins}
    found = [
        pin.label
        for pin in board.pins
        if pin.label not in taken and not pin.reserved and not pin.note and fits(pin)
    ]
    return f"one of {', '.join(found[:6])}" if found else "fewer of them: none is free"


_Rule = Callable[[Board, Sequence[Peripheral]], Iterator[Conflict]]
_RULES: dict[str, tuple[_Rule, ...]] = {
    "arduino": (_uno_timers, _uno_servos, _uno_select, _uno_memory, _uno_interrupts, _one_tone),
    "esp32": (_esp32_channels, _one_tone),
    "raspberry-pi": (_pico_slices,),
}
