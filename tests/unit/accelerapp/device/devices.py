"""Descriptions made from the tables: every one of them is valid."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from accelerapp.device.boards import BOARDS, Ability, Board, Pin
from accelerapp.device.peripherals import TYPES, Option, PeripheralType

PWM = ("pwm", "servo", "buzzer")


def free_pins(board: Board) -> list[Pin]:
    """Pins that nothing keeps from being used, those of buses left out."""
    buses = {label for bus in board.buses for _, label in bus.pins}
    # Beside a servo or a buzzer the Uno's timers are taken.
    timers = {"3", "9", "10", "11"} if board.platform == "arduino" else set()
    return [p for p in board.pins if not p.reserved and p.label not in buses | timers]


def described(board: Board, kinds: list[PeripheralType]) -> dict[str, Any]:
    """A device with one of each kind; those that find no pin any more are left out."""
    left = free_pins(board)
    slices: set[int] = set()
    peripherals: list[dict[str, Any]] = []
    taken: set[tuple[str, object]] = set()
    for kind in kinds:
        chosen: dict[str, Pin] = {}
        for role in kind.roles:
            needs = role.needs | ({Ability.PULL_UP} if kind.name == "button" else set())
            # The least able pin that will do: the able ones are few.
            fitting = [p for p in left if needs <= p.abilities and p not in chosen.values()]
            shared = board.platform == "raspberry-pi" and kind.driver in PWM
            if shared:
                # Two pins, and those 16 further on, have one PWM.
                fitting = [p for p in fitting if p.number // 2 % 8 not in slices]
            if fitting:
                chosen[role.name] = min(fitting, key=lambda pin: len(pin.abilities))
            if shared and fitting:
                slices.add(chosen[role.name].number // 2 % 8)
        address = kind.option("address")
        if len(chosen) < len(kind.roles) or (address and (kind.bus, address.default) in taken):
            continue
        # Of the Uno's memory a display leaves enough for one strip.
        if board.platform == "arduino" and any(
            p["type"] == kind.name == "neopixel" for p in peripherals
        ):
            continue
        left = [pin for pin in left if pin not in chosen.values()]
        if address:
            taken.add((kind.bus, address.default))
        part: dict[str, Any] = {"type": kind.name}
        labels = {role: pin.label for role, pin in chosen.items()}
        if len(labels) == 1:
            part["pin"] = next(iter(labels.values()))
        elif labels:
            part["pins"] = labels
        peripherals.append(part)
    return {"name": "made up", "platform": board.platform, "peripherals": peripherals}


def one_of(kind: PeripheralType, board: Board) -> dict[str, Any]:
    return described(board, [kind])


def _value(option: Option, board: Board) -> st.SearchStrategy[Any]:
    if option.name == "count" and board.platform == "arduino":
        return st.integers(1, 16)
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind == "bool":
        return st.booleans()
    if option.kind == "int":
        return st.integers(int(option.minimum or 0), int(option.maximum or 0))
    return st.floats(option.minimum, option.maximum)


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    board = draw(st.sampled_from(list(BOARDS.values())))
    kinds = draw(st.lists(st.sampled_from(list(TYPES.values())), min_size=1, max_size=8))
    document = described(board, kinds)
    if not document["peripherals"]:
        document = described(board, [TYPES["led"]])
    for index, part in enumerate(document["peripherals"]):
        if draw(st.booleans()):
            part["name"] = f"{draw(st.sampled_from(['my thing', 'A', 'x-y']))} {index}"
        options = {
            option.name: draw(_value(option, board))
            for option in TYPES[part["type"]].options
            # Addresses and pulls depend on what else is there.
            if option.name not in ("address", "pull") and draw(st.booleans())
        }
        if options:
            part["options"] = options
    if draw(st.booleans()):
        text = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp", "Co"])
        document["description"] = draw(st.text(text, max_size=60)).replace("\ufeff", "")
    if draw(st.booleans()):
        document["version"] = draw(st.sampled_from(["1.0.0", "0.0.1", "12.34.56"]))
    return document
