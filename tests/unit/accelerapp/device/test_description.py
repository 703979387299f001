from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from accelerapp.device.boards import BOARDS, Board
from accelerapp.device.description import (
    MAX_DESCRIPTION,
    MAX_PERIPHERALS,
    DescriptionError,
    DescriptionInvalid,
    load,
)
from accelerapp.device.example import example
from accelerapp.device.model import Device
from accelerapp.device.peripherals import TYPES, PeripheralType
from accelerapp.device.schema import description_schema
from tests.unit.accelerapp.device.devices import descriptions, one_of

SCHEMA = Draft202012Validator(description_schema())


def problems(text: str) -> list[str]:
    with pytest.raises(DescriptionInvalid) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def of(peripherals: str, platform: str = "esp32") -> str:
    return f"name: x\nplatform: {platform}\nperipherals:\n{peripherals}"


def alike(device: Device) -> Device:
    """Without what depends on how it was written."""
    return replace(device, warnings=(), assist=False)


@pytest.mark.parametrize("platform", BOARDS)
def test_the_example_is_valid_and_has_every_default(platform: str) -> None:
    device = load(example(platform))
    assert device.board is BOARDS[platform]
    assert (device.name.text, device.version, device.assist) == ("greenhouse", "0.1.0", False)
    names = [peripheral.name.identifier for peripheral in device.peripherals]
    assert names == ["lamp", "door", "fan", "soil", "air", "light"]
    assert device.peripherals[1].option("debounce_ms") == 30
    assert device.peripherals[1].option("pull") == "up"
    assert device.peripherals[5].bus is not None
    assert load(example(platform).replace("# assist", "assist")).assist
    SCHEMA.validate(device.as_dict())


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: str(board.platform))
@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: str(kind.name))
def test_every_type_fits_every_board(kind: PeripheralType, board: Board) -> None:
    [peripheral] = load(json.dumps(one_of(kind, board)), "json").peripherals
    assert peripheral.type is kind
    assert [role for role, _ in peripheral.pins] == [role.name for role in kind.roles]
    assert (peripheral.bus is not None) == bool(kind.bus)
    assert dict(peripheral.options) == {option.name: option.default for option in kind.options}


@given(descriptions())
def test_what_was_read_is_itself_a_description(document: dict[str, Any]) -> None:
    device = load(json.dumps(document), "json")
    SCHEMA.validate(document)
    SCHEMA.validate(device.as_dict())
    again = json.dumps(device.as_dict())
    assert alike(load(again, "json")) == alike(device)
    # JSON is YAML, too, but for its escapes of what is beyond 16 bits.
    assert alike(load(json.dumps(device.as_dict(), ensure_ascii=False))) == alike(device)


@pytest.mark.parametrize("spelling", ["4", "'4'", "GPIO4", "gpio4", "GPIO 4", "D4"])
def test_pins_by_all_their_spellings(spelling: str) -> None:
    [peripheral] = load(of(f"  - {{type: led, pin: {spelling}}}")).peripherals
    assert peripheral.pins[0][1].label == "GPIO4"


def test_analog_pins_of_the_uno_have_two_names() -> None:
    for spelling in ("A0", "14", "a0"):
        device = load(of(f"  - {{type: analog, pin: {spelling}}}", "arduino"))
        assert device.peripherals[0].pins[0][1].label == "A0"
    assert load(of("  - {type: led, pin: 4}", "arduino")).peripherals[0].pins[0][1].number == 4


def test_names_are_made_from_types_and_give_way() -> None:
    text = of(
        "  - {type: led, pin: 4}\n  - {type: led, pin: 5}\n  - {name: LED 2, type: led, pin: 13}"
    )
    names = [peripheral.name.identifier for peripheral in load(text).peripherals]
    assert names == ["led", "led_3", "led_2"]


@pytest.mark.parametrize("address", ["0x77", "119", "'0x77'"])
def test_addresses_as_data_sheets_have_them(address: str) -> None:
    device = load(of(f"  - {{type: bme280, options: {{address: {address}}}}}"))
    assert device.peripherals[0].option("address") == 0x77


def test_a_pin_with_a_story_is_a_warning() -> None:
    [warning] = load(of("  - {type: led, pin: 2}")).warnings
    assert (warning.line, warning.field) == (4, "peripherals[0].pin")
    assert "at reset" in warning.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "expected a mapping with name, platform and peripherals, found a list"),
        ("nmae: x\nplatform: esp32\nperipherals: [{type: led, pin: 4}]", "did you mean 'name'?"),
        ("platform: esp32\nperipherals: [{type: led, pin: 4}]", "'name' is missing"),
        (of("  []"), "at least one peripheral"),
        (of("  led: 4"), "peripherals: expected a list, found a mapping"),
        (of("  - led"), "peripherals[0]: expected a mapping with type and pin"),
        (of("  - {type: led, pin: 4}", "esp-32"), "no platform; did you mean 'esp32'?"),
        (of("  - {type: led, pin: 4}").replace("name: x", "name: ../x"), "line 1, name: '../x'"),
        (of("  - {type: led, pin: 4}").replace("name: x", "name: class"), "keyword of C++ and Py"),
        (of("  - {type: led, pin: 4}").replace("name: x", "name: 12"), "put it in quotes"),
        (
            of("  - {type: led, pin: 4}") + "\nversion: 1.0",
            "expected three numbers such as 1.2.0, found 1.0",
        ),
        (of("  - {type: led, pin: 4}") + "\nversion: v1", "such as 1.2.0, found text 'v1'"),
        (of("  - {type: led, pin: 4}") + "\nassist: yes", "expected true or false, found text"),
        (
            of("  - {type: led, pin: 4}") + f"\ndescription: {'x' * (MAX_DESCRIPTION + 1)}",
            "501 characters; at most 500",
        ),
        (of("  - {type: lde, pin: 4}"), "'lde' is no peripheral; did you mean 'led'?"),
        (of("  - {pin: 4}"), "peripherals[0]: 'type' is missing"),
        (of("  - {type: led}"), "led needs a pin, such as GPIO4"),
        (of("  - {type: led, pin: 99}"), "has no pin '99'; it has GPIO0 to GPIO19"),
        (of("  - {type: led, pin: true}"), "expected a pin such as GPIO4, found true"),
        (of("  - {type: led, pin: 4.0}"), "expected a pin such as GPIO4, found 4.0"),
        (of("  - {type: led, pin: -1}"), "has no pin '-1'"),
        (of("  - {type: led, pin: 6}"), "pin GPIO6 of ESP32 DevKit cannot be used: the flash"),
        (of("  - {type: led, pin: 34}"), "pin GPIO34 of ESP32 DevKit has no output, which led"),
        (of("  - {type: button, pin: 34}"), "GPIO34 of ESP32 DevKit has no pull-up"),
        (of("  - {type: led, pins: {signal: 4}}"), "led has one pin; write pin: GPIO4"),
        (of("  - {type: ultrasonic, pin: 4}"), "write pins: {trigger: …, echo: …}"),
        (of("  - {type: ultrasonic, pins: {trigger: 4}}"), "'echo' is missing"),
        (of("  - {type: ultrasonic, pins: {trigger: 4, echo: 4}}"), "that of 'ultrasonic'"),
        (of("  - {type: bme280, pin: 4}"), "whose pins are the board's; leave it out"),
        (of("  - {type: bme280, bus: spi}"), "'spi' is no i2c bus of ESP32 DevKit; choose i2c or"),
        (of("  - {type: led, pin: 4, bus: i2c}"), "led is on no bus"),
        (of("  - {type: led, pin: 4, options: {acitve_low: true}}"), "did you mean 'active_low'"),
        (of("  - {type: led, pin: 4, options: [1]}"), "expected a mapping, found a list"),
        (of("  - {type: dht22, pin: 4, options: {a: 1}}"), "dht22 has no options"),
        (of("  - {type: button, pin: 4, options: {pull: down}}"), "expected up or none, found te"),
        (of("  - {type: servo, pin: 4, options: {initial: 181}}"), "from 0 to 180, found 181"),
        (of("  - {type: servo, pin: 4, options: {initial: true}}"), "whole number from 0"),
        (of("  - {type: bme280, options: {address: 0x10}}"), "expected 0x76 or 0x77, found 16"),
        (
            of("  - {type: servo, pin: 2}\n  - {type: pwm, pin: 9}", "arduino"),
            "pin 9 of Arduino Uno has no PWM beside a servo",
        ),
        (
            of("  - {type: buzzer, pin: 5}\n  - {type: pwm, pin: 3}", "arduino"),
            "no PWM beside a buzzer",
        ),
    ],
)
def test_each_problem_is_said_with_what_to_do(text: str, said: str) -> None:
    text = text.replace("servo, pin: 2", "servo, pin: 6")
    assert any(said in line for line in problems(text)), problems(text)


def test_two_peripherals_on_one_pin_are_both_named() -> None:
    text = of("  - {name: lamp, type: led, pin: 4}\n  - {name: horn, type: relay, pin: GPIO4}")
    [line] = problems(text)
    assert line.startswith("line 5, peripherals[1].pin: pin GPIO4 is that of 'lamp' in line 4")
    assert "'horn'" in line


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_pin_of_a_bus_is_taken_whoever_comes_first(order: tuple[int, int]) -> None:
    parts = ["  - {name: lamp, type: led, pin: 21}", "  - {name: air, type: bme280}"]
    [line] = problems(of("\n".join(parts[index] for index in order)))
    assert "pin GPIO21 is SDA of the bus i2c, which 'air' is on" in line
    assert "for 'lamp'" in line


def test_two_on_one_address_are_both_named_and_another_bus_will_do() -> None:
    [line] = problems(of("  - {name: inner, type: bme280}\n  - {name: out, type: bme280}"))
    assert "'out' has address 0x76 on i2c, and so has 'inner' in line 4" in line
    assert load(of("  - {name: inner, type: bme280}\n  - {name: out, type: bme280, bus: i2c1}"))
    assert load(of("  - {type: bme280}\n  - {type: bme280, options: {address: 0x77}}"))


@pytest.mark.parametrize("other", ["Lamp", "LAMP", "lamp"])
def test_names_that_are_one_in_code_are_refused(other: str) -> None:
    text = of(f"  - {{name: lamp, type: led, pin: 4}}\n  - {{name: {other}, type: led, pin: 5}}")
    [line] = problems(text)
    assert "is the name of another peripheral, in line 4" in line


def test_all_problems_are_said_at_once_in_their_order() -> None:
    lines = problems("name: 1st\nplatform: pc\nperipherals:\n  - {type: lde}\n  - 5\nx: 1\n")
    assert [line.partition(",")[0] for line in lines] == [f"line {n}" for n in (1, 2, 4, 5, 6)]


def test_there_is_an_end_of_problems_and_of_peripherals() -> None:
    many = "\n".join("  - {type: lde}" for _ in range(MAX_PERIPHERALS + 50))
    lines = problems(of(many))
    assert len(lines) <= 51
    assert any("at most 32 are read" in line for line in lines)


def test_a_key_with_a_line_feed_stays_on_one_line() -> None:
    for line in problems(of("  - {type: led, pin: 4}") + '\n"a\\nb": 1\n'):
        assert "\n" not in line


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner:
    st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["name", "platform", "peripherals", "type", "pin", "pins", "bus", "options", "trigger"]),
        inner | st.sampled_from(["esp32", "led", "ultrasonic", "bme280", "i2c", 4]), max_size=6),
    max_leaves=30))  # fmt: skip
def test_any_shape_is_a_device_or_problems(document: object) -> None:
    try:
        found = isinstance(load(json.dumps(document), "json"), Device)
    except DescriptionError as error:
        found = bool(error.problems) and all(problem.message for problem in error.problems)
    assert found
