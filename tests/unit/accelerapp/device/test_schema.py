"""The schema against the checks: never stricter, and as strict as it can be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from accelerapp.device.boards import BOARDS, Board
from accelerapp.device.description import DescriptionError, load
from accelerapp.device.example import example
from accelerapp.device.peripherals import TYPES, PeripheralType
from accelerapp.device.schema import description_schema
from tests.unit.accelerapp.device.devices import descriptions, one_of

SCHEMA = Draft202012Validator(description_schema())


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(description_schema())
    json.dumps(description_schema(), allow_nan=False)


@pytest.mark.parametrize("platform", BOARDS)
def test_the_examples_fit(platform: str) -> None:
    SCHEMA.validate(yaml.safe_load(example(platform)))


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: str(board.platform))
@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: str(kind.name))
def test_every_type_fits_with_all_its_options(kind: PeripheralType, board: Board) -> None:
    document = one_of(kind, board)
    document["peripherals"][0]["options"] = {o.name: o.default for o in kind.options}
    if not kind.options:
        del document["peripherals"][0]["options"]
    load(json.dumps(document), "json")
    SCHEMA.validate(document)


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets what `path` says, such as `peripherals.0.pin`; `...` takes it away."""

    def apply(document: dict[str, Any]) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        part: Any = document
        for step in way:
            part = part[step]
        if value is ...:
            del part[last]
        else:
            part[last] = value

    return apply


LAMP = {
    "name": "lamp",
    "platform": "esp32",
    "peripherals": [
        {"type": "servo", "pin": "GPIO4", "options": {"initial": 9}},
        {"type": "ultrasonic", "pins": {"trigger": 5, "echo": 34}},
        {"type": "bme280", "bus": "i2c", "options": {"address": "0x77"}},
    ],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ...),
        ("name", "1st"),
        ("name", "ends-"),
        ("name", "a" * 41),
        ("name", 5),
        ("platform", ...),
        ("platform", "pc"),
        ("version", "1.0"),
        ("version", "01.0.0"),
        ("version", 1.0),
        ("description", "x" * 501),
        ("description", "a\x1b[2J"),
        ("description", "a\u202eb"),
        ("assist", "yes"),
        ("extra", 1),
        ("peripherals", ...),
        ("peripherals", []),
        ("peripherals", {"led": 4}),
        ("peripherals.0", None),
        ("peripherals.0.type", ...),
        ("peripherals.0.type", "lde"),
        ("peripherals.0.pin", ...),
        ("peripherals.0.pin", 4.5),
        ("peripherals.0.pin", True),
        ("peripherals.0.pin", -1),
        ("peripherals.0.pin", "G P I O 0 4"),
        ("peripherals.0.pins", {"signal": 4}),
        ("peripherals.0.bus", "i2c"),
        ("peripherals.0.extra", 1),
        ("peripherals.0.options.initial", 181),
        ("peripherals.0.options.initial", "9"),
        ("peripherals.0.options.angle", 9),
        ("peripherals.1.pin", 4),
        ("peripherals.1.pins.echo", ...),
        ("peripherals.1.pins.extra", 4),
        ("peripherals.1.options", {"a": 1}),
        ("peripherals.2.pin", 21),
        ("peripherals.2.bus", "spi"),
        ("peripherals.2.options.address", 16),
        ("peripherals.2.options.address", "77"),
    ],
)
def test_what_it_refuses_is_refused_and_told(path: str, value: Any) -> None:
    SCHEMA.validate(LAMP)
    load(json.dumps(LAMP), "json")
    document = copy.deepcopy(LAMP)
    change(path, value)(document)
    assert not SCHEMA.is_valid(document)
    with pytest.raises(DescriptionError):
        load(json.dumps(document), "json")


VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, 4, 4.0, 13, 119, -1, 99, 100, 0.5, "", " ", "x", "4", "GPIO4"),
        *("gpio 4", "g p i o 4", "D4", "A0", "GP4", "+4", "04", "0x76", "0X76", "0x7", "0x5c"),
        *("i2c", "i2c1", "spi", "up", "none", "led", "bme280", "arduino", "raspberry-pi"),
        *("1.2.3", "1.2", "a\nb", "a\tb", "a\n", "a ", "\u2028", "\u200f", "\uffff", "a" * 41),
        *([], {}, [1], {"signal": 4}, {"trigger": 4, "echo": 5}, {"select": 5}),
    ]
)
PATHS = st.sampled_from(
    [
        *("name", "platform", "version", "description", "assist"),
        *(f"peripherals.0.{key}" for key in ("name", "type", "pin", "pins", "bus", "options")),
        *(
            f"peripherals.0.options.{option}"
            for option in sorted({o.name for kind in TYPES.values() for o in kind.options})
        ),
    ]
)


@given(descriptions(), st.lists(st.tuples(PATHS, VALUES), max_size=3))
def test_whatever_is_read_fits(document: dict[str, Any], changes: list[tuple[str, Any]]) -> None:
    for path, value in changes:
        if path.startswith("peripherals.0.options."):
            options = document["peripherals"][0].setdefault("options", {})
            if not isinstance(options, dict):
                continue
        change(path, value)(document)
    try:
        device = load(json.dumps(document), "json")
    except DescriptionError:
        return
    SCHEMA.validate(document)
    SCHEMA.validate(device.as_dict())


@given(st.sampled_from([*TYPES.values()]), st.sampled_from([*BOARDS.values()]), VALUES)
def test_whatever_is_read_as_an_option_fits(kind: PeripheralType, board: Board, value: Any) -> None:
    for option in kind.options:
        document = one_of(kind, board)
        document["peripherals"][0]["options"] = {option.name: value}
        try:
            load(json.dumps(document), "json")
        except DescriptionError:
            continue
        SCHEMA.validate(document)
