"""From a text to a valid device, or to every reason why it is none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from functools import cached_property

from accelerapp.device.boards import BOARDS, Ability, Board, Bus, Pin
from accelerapp.device.conflicts import conflicts
from accelerapp.device.document import (
    MAX_BYTES,
    DescriptionError,
    DescriptionUnreadable,
    Node,
    Syntax,
    read,
)
from accelerapp.device.model import Device, Peripheral, Problem
from accelerapp.device.names import Name, parse_name
from accelerapp.device.peripherals import TYPES, Option, PeripheralType, Value

__all__ = ["DescriptionError", "DescriptionInvalid", "DescriptionUnreadable", "load"]

MAX_PERIPHERALS = 32
MAX_DESCRIPTION = 500
MAX_PROBLEMS = 50
LONGEST_PIN = 8
VERSION = r"(0|[1-9][0-9]{0,4})(\.(0|[1-9][0-9]{0,4})){2}"
# Controls but the line feed, ends of lines that only some know, what turns the direction of
# a text so that it does not look like what it is, and what is no character: a class for
# Python and ECMAScript alike.
UNPRINTABLE = r"\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff"

_DEVICE_KEYS = ("name", "platform", "version", "description", "peripherals", "assist")
_PERIPHERAL_KEYS = ("name", "type", "pin", "pins", "bus", "options")


class DescriptionInvalid(DescriptionError):
    """A text that can be read and describes no device; `problems` has all that is wrong."""


def load(text: str | bytes, syntax: Syntax = "yaml", *, max_bytes: int = MAX_BYTES) -> Device:
    """The device that `text` describes. Raises DescriptionUnreadable or DescriptionInvalid."""
    return _Reading().device(read(text, syntax, max_bytes=max_bytes))


class _Reading:
    """One validation: it goes on after a problem, so that all are found at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def wrong(self, message: str, field: str, node: Node) -> None:
        self.problems.append(Problem(message, field, node.line, node.column))

    def warn(self, message: str, field: str, node: Node) -> None:
        self.warnings.append(Problem(message, field, node.line, node.column))

    def device(self, root: Node) -> Device:
        if not isinstance(root.value, dict):
            message = f"expected a mapping with name, platform and peripherals, found {_kind(root)}"
            raise DescriptionInvalid(Problem(message, "", root.line, root.column))
        self.keys(root, "", _DEVICE_KEYS, required=("name", "platform", "peripherals"))
        parts = root.value
        name = self.name(parts.get("name"), "name")
        board = self.board(parts.get("platform"))
        version = self.version(parts.get("version"))
        description = self.text(parts.get("description"), "description", "")
        if description is not None:
            self.description(description, parts.get("description"))
        assist = self.boolean(parts.get("assist"), "assist", False)
        peripherals: tuple[Peripheral, ...] = ()
        if "peripherals" in parts:
            peripherals = self.peripherals(parts["peripherals"], board)
        if self.problems:
            self.problems.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
            shown = self.problems
            if len(shown) > MAX_PROBLEMS:
                rest = len(shown) - MAX_PROBLEMS + 1
                shown = [*shown[: MAX_PROBLEMS - 1], Problem(f"and {rest} more problems")]
            raise DescriptionInvalid(*shown)
        assert name is not None
        assert board is not None
        assert version is not None
        assert description is not None
        return Device(
            name, board, version, description, peripherals, bool(assist), tuple(self.warnings)
        )

    def version(self, node: Node | None) -> str | None:
        if node is None:
            return "0.1.0"
        if isinstance(node.value, str) and re.fullmatch(VERSION, node.value):
            return node.value
        # `1.0` is a number: quotes alone would not make it right.
        message = f"expected three numbers such as 1.2.0, found {_kind(node)}"
        self.wrong(message, "version", node)
        return None

    def description(self, text: str, node: Node | None) -> None:
        if node is None:
            return
        if len(text) > MAX_DESCRIPTION:
            self.wrong(
                f"{len(text)} characters; at most {MAX_DESCRIPTION} are kept", "description", node
            )
        if found := re.search(f"[{UNPRINTABLE}]", text):
            self.wrong(
                f"the invisible character U+{ord(found[0]):04X} cannot be kept; remove it",
                "description",
                node,
            )

    # Values of each kind; None where there was a problem.

    def keys(self, node: Node, field: str, known: tuple[str, ...], required: Iterable[str]) -> None:
        prefix = f"{field}." if field else ""
        assert node.keys is not None
        for key, (line, column) in node.keys.items():
            if key not in known:
                message = f"{key!r:.60} is not known here{_nearest(key, known)}"
                shown = key if re.fullmatch(r"[\w-]{1,60}", key) else f"{key!r:.60}"
                self.problems.append(Problem(message, f"{prefix}{shown}", line, column))
        for key in required:
            if key not in node.value:
                self.wrong(f"{key!r} is missing; {_MISSING.get(key, 'add it')}", field, node)

    def text(self, node: Node | None, field: str, default: str | None = None) -> str | None:
        if node is None:
            return default
        if isinstance(node.value, str):
            return node.value
        hint = "; put it in quotes" if isinstance(node.value, bool | int | float) else ""
        self.wrong(f"expected text, found {_kind(node)}{hint}", field, node)
        return None

    def boolean(self, node: Node | None, field: str, default: bool) -> bool | None:
        if node is None:
            return default
        if isinstance(node.value, bool):
            return node.value
        self.wrong(f"expected true or false, found {_kind(node)}", field, node)
        return None

    def name(self, node: Node | None, field: str) -> Name | None:
        text = self.text(node, field)
        if node is None or text is None:
            return None
        try:
            return parse_name(text)
        except ValueError as error:
            self.wrong(str(error), field, node)
            return None

    def board(self, node: Node | None) -> Board | None:
        text = self.text(node, "platform")
        if node is None or text is None:
            return None
        if text not in BOARDS:
            self.wrong(f"{text!r:.60} is no platform{_nearest(text, BOARDS)}", "platform", node)
        return BOARDS.get(text)

    # Peripherals.

    def peripherals(self, node: Node, board: Board | None) -> tuple[Peripheral, ...]:
        if not isinstance(node.value, list):
            self.wrong(f"expected a list, found {_kind(node)}", "peripherals", node)
            return ()
        if not node.value:
            self.wrong("a device has at least one peripheral", "peripherals", node)
        if len(node.value) > MAX_PERIPHERALS:
            self.wrong(
                f"{len(node.value)} peripherals; at most {MAX_PERIPHERALS} are read",
                "peripherals",
                node.value[MAX_PERIPHERALS],
            )
        wiring = _Wiring(self, board, node.value[:MAX_PERIPHERALS])
        names = _Names(self, node.value[:MAX_PERIPHERALS])
        found = []
        places = {}
        for index, part in enumerate(node.value[:MAX_PERIPHERALS]):
            field = f"peripherals[{index}]"
            if not isinstance(part.value, dict):
                message = f"expected a mapping with type and pin, found {_kind(part)}"
                self.wrong(message, field, part)
            elif peripheral := self.peripheral(part, field, board, names, wiring):
                found.append(peripheral)
                places[peripheral.name.identifier] = (field, part)
        wiring.finish(found, places)
        return tuple(found)

    def peripheral(
        self, node: Node, field: str, board: Board | None, names: _Names, wiring: _Wiring
    ) -> Peripheral | None:
        self.keys(node, field, _PERIPHERAL_KEYS, required=("type",))
        kind = self.type(node.value.get("type"), f"{field}.type")
        name = names.take(node, field, kind)
        if kind is None:
            return None
        options = self.options(node, f"{field}.options", kind)
        if board is None:
            return None
        shown = name.text if name else kind.name
        bus = wiring.bus(node, field, kind, shown, options)
        pins = wiring.pins(node, field, kind, shown, options)
        if name is None:
            return None
        return Peripheral(name, kind, pins, bus, tuple(options.items()))

    def type(self, node: Node | None, field: str) -> PeripheralType | None:
        text = self.text(node, field)
        if node is None or text is None:
            return None
        if text not in TYPES:
            self.wrong(f"{text!r:.60} is no peripheral{_nearest(text, TYPES)}", field, node)
        return TYPES.get(text)

    def options(self, node: Node, field: str, kind: PeripheralType) -> dict[str, Value]:
        values = {option.name: option.default for option in kind.options}
        given = node.value.get("options")
        if given is None:
            return values
        if not isinstance(given.value, dict):
            self.wrong(f"expected a mapping, found {_kind(given)}", field, given)
            return values
        if given.value and not kind.options:
            self.wrong(f"{kind.name} has no options; leave them out", field, given)
            return values
        self.keys(given, field, tuple(values), required=())
        for option in kind.options:
            if option.name in given.value:
                part = given.value[option.name]
                value = self.option(part, f"{field}.{option.name}", option)
                if value is not None:
                    values[option.name] = value
        return values

    def option(self, node: Node, field: str, option: Option) -> Value | None:
        value = node.value
        if option.name == "address" and isinstance(value, str):
            # JSON has no 0x76, and the data sheets have nothing else.
            value = int(value, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,2}", value) else value
        if option.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        fits = {"bool": bool, "int": int, "float": float, "text": str}[option.kind]
        right = isinstance(value, fits) and (fits is bool or not isinstance(value, bool))
        if right and option.choices:
            right = value in option.choices
        elif right and option.minimum is not None and option.maximum is not None:
            right = option.minimum <= value <= option.maximum
        if right:
            return value  # type: ignore[no-any-return]
        self.wrong(f"expected {_allowed(option)}, found {_kind(node)}", field, node)
        return None


class _Names:
    """Names of peripherals: given, or made from the type; no two alike."""

    def __init__(self, reading: _Reading, parts: list[Node]) -> None:
        self._reading = reading
        self._taken: dict[str, int] = {}
        # Made names give way to given ones, also to those further down.
        self._given = set()
        for part in parts:
            node = part.value.get("name") if isinstance(part.value, dict) else None
            if node is not None and isinstance(node.value, str):
                try:
                    self._given.add(parse_name(node.value).identifier)
                except ValueError:
                    continue

    def take(self, node: Node, field: str, kind: PeripheralType | None) -> Name | None:
        given = node.value.get("name")
        if given is not None:
            name = self._reading.name(given, f"{field}.name")
            if name is not None and name.identifier in self._taken:
                line = self._taken[name.identifier]
                self._reading.wrong(
                    f"{name.text!r} is the name of another peripheral, in line {line};"
                    " choose another",
                    f"{field}.name",
                    given,
                )
                return None
        elif kind is None:
            return None
        else:
            name = self._made(kind)
        if name is not None:
            self._taken[name.identifier] = (given or node).line
        return name

    def _made(self, kind: PeripheralType) -> Name:
        name, number = parse_name(kind.name), 1
        while name.identifier in self._taken or name.identifier in self._given:
            number += 1
            name = parse_name(f"{kind.name}_{number}")
        return name


class _Wiring:
    """Which pin is whose. A bus takes its pins once, for all that are on it."""

    def __init__(self, reading: _Reading, board: Board | None, parts: list[Node]) -> None:
        self._reading = reading
        self._board = board
        self._parts = parts
        self._users: dict[str, tuple[str, str, Node]] = {}
        self._buses: dict[str, tuple[Bus, str, Node]] = {}
        self._addresses: dict[tuple[str, Value], tuple[str, int]] = {}

    @property
    def board(self) -> Board:
        assert self._board is not None
        return self._board

    def bus(
        self, node: Node, field: str, kind: PeripheralType, name: str, options: dict[str, Value]
    ) -> Bus | None:
        given, field = node.value.get("bus"), f"{field}.bus"
        wrong = self._reading.wrong
        if not kind.bus:
            if given is not None:
                wrong(f"{kind.name} is on no bus; give its pin instead", field, given)
            return None
        buses = self.board.buses_of(kind.bus)
        bus = buses[0]
        if given is not None:
            text = self._reading.text(given, field)
            if text is None:
                return None
            named = self.board.bus(text)
            if named is None or named.kind != kind.bus:
                known = " or ".join(bus.name for bus in buses)
                wrong(
                    f"{text!r:.60} is no {kind.bus} bus of {self.board.title}; choose {known}",
                    field,
                    given,
                )
                return None
            bus = named
        self._buses.setdefault(bus.name, (bus, name, given or node))
        if "address" in options:
            self._address(bus, name, options["address"], field, given or node)
        return bus

    def _address(self, bus: Bus, name: str, address: Value, field: str, node: Node) -> None:
        other = self._addresses.setdefault((bus.name, address), (name, node.line))
        if other != (name, node.line):
            self._reading.wrong(
                f"{name!r} has address 0x{address:02x} on {bus.name}, and so has {other[0]!r} in"
                f" line {other[1]}; set options.address, or another bus",
                field,
                node,
            )

    def pins(
        self, node: Node, field: str, kind: PeripheralType, name: str, options: dict[str, Value]
    ) -> tuple[tuple[str, Pin], ...]:
        wrong = self._reading.wrong
        one, several = node.value.get("pin"), node.value.get("pins")
        roles = [role.name for role in kind.roles]
        if not roles:
            for key, given in (("pin", one), ("pins", several)):
                if given is not None:
                    wrong(
                        f"{kind.name} is on a bus, whose pins are the board's; leave it out",
                        f"{field}.{key}",
                        given,
                    )
            return ()
        if len(roles) == 1:
            if several is not None:
                given = several.value.values() if isinstance(several.value, dict) else ()
                meant = [pin.label for pin in map(self._spelled, given) if pin is not None]
                wrong(
                    f"{kind.name} has one pin; write pin: {[*meant, self._example(kind)][0]}",
                    f"{field}.pins",
                    several,
                )
                return ()
            if one is None:
                wrong(f"{kind.name} needs a pin, such as {self._example(kind)}", field, node)
                return ()
            places = {roles[0]: (one, f"{field}.pin")}
        else:
            shape = "pins: {" + ", ".join(f"{role}: …" for role in roles) + "}"
            if one is not None:
                wrong(f"{kind.name} has {len(roles)} pins; write {shape}", f"{field}.pin", one)
                return ()
            if several is None or not isinstance(several.value, dict):
                wrong(f"{kind.name} needs {shape}", field, several or node)
                return ()
            self._reading.keys(several, f"{field}.pins", tuple(roles), required=roles)
            places = {
                role: (several.value[role], f"{field}.pins.{role}")
                for role in roles
                if role in several.value
            }
        found = []
        for role in kind.roles:
            if role.name in places:
                place, where = places[role.name]
                needs = role.needs
                if options.get("pull") == "up":
                    needs |= {Ability.PULL_UP}
                if pin := self._pin(place, where, kind, needs, name):
                    found.append((role.name, pin))
        return tuple(found)

    def _pin(
        self, node: Node, field: str, kind: PeripheralType, needs: frozenset[Ability], name: str
    ) -> Pin | None:
        wrong = self._reading.wrong
        if isinstance(node.value, bool) or not isinstance(node.value, int | str):
            wrong(f"expected a pin such as {self._example(kind)}, found {_kind(node)}", field, node)
            return None
        pin = self._spelled(node)
        if pin is None:
            wrong(
                f"{self.board.title} has no pin {str(node.value)!r:.40};"
                f" it has {_range(self.board.pins)}",
                field,
                node,
            )
            return None
        if pin.reserved:
            wrong(
                f"pin {pin.label} of {self.board.title} cannot be used: {pin.reserved};"
                f" choose one of {self._fitting(needs)}",
                field,
                node,
            )
            return None
        if lacking := sorted(needs - pin.abilities):
            wrong(
                f"pin {pin.label} of {self.board.title} has no {' and no '.join(lacking)}, which"
                f" {kind.name} needs; choose one of {self._fitting(needs)}",
                field,
                node,
            )
            return None
        other = self._users.get(pin.label)
        if other is not None:
            wrong(
                f"pin {pin.label} is that of {other[0]!r} in line {other[2].line}, and of"
                f" {name!r}; choose another",
                field,
                node,
            )
            return None
        self._users[pin.label] = (name, field, node)
        if pin.note:
            self._reading.warn(f"pin {pin.label}: {pin.note}", field, node)
        return pin

    def finish(self, peripherals: list[Peripheral], places: dict[str, tuple[str, Node]]) -> None:
        """What can be said only when all are there: pins of buses, timers, memory."""
        for bus, user, _ in self._buses.values():
            for line, label in bus.pins:
                pin = self.board.pin(label)
                assert pin is not None
                if pin.label in self._users:
                    name, field, node = self._users[pin.label]
                    self._reading.wrong(
                        f"pin {pin.label} is {line.upper()} of the bus {bus.name}, which"
                        f" {user!r} is on; choose another for {name!r}",
                        field,
                        node,
                    )
        if self._board is None:
            return
        for conflict in conflicts(self._board, peripherals):
            say = self._reading.wrong if conflict.refused else self._reading.warn
            if conflict.role:
                _, field, node = self._users[dict(conflict.peripheral.pins)[conflict.role].label]
            else:
                field, node = places[conflict.peripheral.name.identifier]
            say(conflict.message, field, node)

    def _example(self, kind: PeripheralType) -> str:
        fitting = self._fitting(kind.roles[0].needs)
        return fitting.partition(",")[0]

    def _fitting(self, needs: frozenset[Ability]) -> str:
        """Pins that could be taken instead, the best ones first.

        Nobody else has or wants them; those of buses and those with a note come last.
        """
        buses = {label for bus in self.board.buses for _, label in bus.pins}
        fitting = [
            pin
            for pin in self.board.pins
            if needs <= pin.abilities and not pin.reserved and pin.label not in self._wanted
        ]
        fitting.sort(key=lambda pin: (pin.label in buses, bool(pin.note)))
        return ", ".join(pin.label for pin in fitting[:6]) or "none: all that could are taken"

    @cached_property
    def _wanted(self) -> set[str]:
        """The labels of all pins that are named anywhere."""
        named = []
        for part in self._parts:
            if isinstance(part.value, dict):
                named += [part.value[key] for key in ("pin", "pins") if key in part.value]
        named += [
            node for each in named if isinstance(each.value, dict) for node in each.value.values()
        ]
        pins = [self._spelled(node) for node in named]
        return {pin.label for pin in pins if pin is not None}

    def _spelled(self, node: Node) -> Pin | None:
        """The pin that a value is; what is longer than any label is none, spaces or not."""
        if isinstance(node.value, bool) or not isinstance(node.value, int | str):
            return None
        text = str(node.value)
        return self.board.pin(text) if len(text) <= LONGEST_PIN else None


def _kind(node: Node) -> str:
    """A value for people: what it is, and its beginning."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text {value!r:.60}"
    if isinstance(value, int | float):
        return f"{value}"
    return "a list" if isinstance(value, list) else "a mapping"


_MISSING = {
    "name": "say what the device is called",
    "platform": f"give {', '.join(BOARDS)}",
    "peripherals": "list at least one",
    "type": "give one, such as led",
}
_WORDS: dict[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
}


def _allowed(option: Option) -> str:
    if option.choices:
        shown: Callable[[Value], str] = hex if option.name == "address" else str  # type: ignore[assignment]
        return " or ".join(map(shown, option.choices))
    if option.minimum is None:
        return _WORDS[option.kind]
    return f"{_WORDS[option.kind]} from {option.minimum} to {option.maximum}"


def _nearest(word: str, known: Iterable[str]) -> str:
    words = list(known)
    near = difflib.get_close_matches(word[:60].lower(), words, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{meant} known: {', '.join(words)}"


def _range(pins: tuple[Pin, ...]) -> str:
    """`0 to 13, A0 to A5`: labels in runs."""
    runs: list[list[Pin]] = []
    for pin in pins:
        last = runs[-1][-1] if runs else None
        prefix = pin.label.rstrip("0123456789")
        if (
            last
            and last.number + 1 == pin.number
            and last.label.startswith(prefix or last.label[0])
        ):
            runs[-1].append(pin)
        else:
            runs.append([pin])
    return ", ".join(
        run[0].label if len(run) == 1 else f"{run[0].label} to {run[-1].label}" for run in runs
    )
