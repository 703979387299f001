from __future__ import annotations

import pytest

from accelerapp.device.description import DescriptionInvalid, load
from accelerapp.device.model import Device

SERVOS = ("2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "A0", "A1")
ESP32_OUTPUTS = (4, 5, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32)


def of(platform: str, *peripherals: str) -> str:
    parts = "".join(f"  - {{{peripheral}}}\n" for peripheral in peripherals)
    return f"name: x\nplatform: {platform}\nperipherals:\n{parts}"


def refused(platform: str, *peripherals: str) -> list[str]:
    with pytest.raises(DescriptionInvalid) as caught:
        load(of(platform, *peripherals))
    return [str(problem) for problem in caught.value.problems]


def warned(platform: str, *peripherals: str) -> list[str]:
    device = load(of(platform, *peripherals))
    assert isinstance(device, Device)
    return [str(warning) for warning in device.warnings]


@pytest.mark.parametrize(
    ("driver", "pin", "dimmed", "spared"),
    [("servo", 6, (9, 10), (3, 11)), ("buzzer", 6, (3, 11), (9, 10))],
)
def test_a_timer_of_the_uno_has_one_use(
    driver: str, pin: int, dimmed: tuple[int, ...], spared: tuple[int, ...]
) -> None:
    user = f"name: user, type: {driver}, pin: {pin}"
    for label in dimmed:
        dimmer = f"type: pwm, pin: {label}"
        # Whoever comes first, it is the dimmer that can move.
        for index, parts in enumerate([(dimmer, user), (user, dimmer)]):
            [line] = refused("arduino", *parts)
            assert line.startswith(f"line {index + 4}, peripherals[{index}].pin: pin {label} of")
            assert f"no PWM beside a {driver} ('user')" in line
    for label in spared:
        assert warned("arduino", user, f"type: pwm, pin: {label}") == []


def test_a_servo_of_the_uno_takes_any_pin_and_the_timer_serves_twelve() -> None:
    parts = [f"type: servo, pin: {label}" for label in SERVOS]
    assert warned("arduino", *parts[:12]) == []
    [line] = refused("arduino", *parts)
    assert line.startswith("line 16, peripherals[12]: Arduino Uno has the time for 12 servos")


def test_select_of_the_uno_is_no_input_beside_spi() -> None:
    converter = "name: inputs, type: mcp3008, pin: 8"
    for echo in ("type: button, pin: 10", "type: dht22, pin: 10"):
        assert warned("arduino", echo) == []
        [line] = refused("arduino", echo, converter)
        assert line.startswith("line 4, peripherals[0].pin: pin 10 of Arduino Uno can be no input")
        assert "'inputs'" in line
    [line] = refused("arduino", converter, "type: ultrasonic, pins: {trigger: 7, echo: 10}")
    assert line.startswith("line 5, peripherals[1].pins.echo: ")
    assert warned("arduino", converter, "type: led, pin: 10") == []
    assert warned("arduino", "type: mcp3008, pin: 10") == []


def test_the_memory_of_the_uno_has_an_end() -> None:
    big, small = "type: ssd1306", "type: ssd1306, options: {height: 32, address: 0x3d}"
    [warning] = warned("arduino", big)
    assert warning == (
        "line 4, peripherals[0]: its picture takes 1024 of the 2048 bytes of memory of Arduino Uno"
    )
    [line] = refused("arduino", big, small)
    assert line.startswith("line 5, peripherals[1]: the 512 bytes that 'ssd1306_2' shows are too")
    [line] = refused("arduino", big, "type: neopixel, pin: 6, options: {count: 30}")
    assert line.endswith("with 1024 taken by others; set options.count to fewer")
    assert len(warned("arduino", big, "type: neopixel, pin: 6")) == 1
    assert len(warned("arduino", "type: neopixel, pin: 6, options: {count: 64}")) == 0
    for platform in ("esp32", "raspberry-pi"):
        assert warned(platform, big, small) == []


def test_a_strip_stops_the_interrupts_of_the_uno() -> None:
    parts = ("name: strip, type: neopixel, pin: 6", "name: arm, type: servo, pin: 7")
    [warning] = warned("arduino", *parts)
    assert warning.startswith("line 4, peripherals[0]: while it is sent a colour")
    assert "'arm' may twitch" in warning
    assert warned("esp32", *(part.replace("pin: 6", "pin: 4").replace("7", "5") for part in parts))


@pytest.mark.parametrize("platform", ["arduino", "esp32"])
def test_arduino_plays_one_tone_at_a_time(platform: str) -> None:
    parts = ("name: low, type: buzzer, pin: 4", "name: high, type: buzzer, pin: 13")
    [line] = [line for line in warned(platform, *parts) if "one tone at a time" in line]
    assert line.startswith("line 5, peripherals[1]: ")
    assert "silence 'low' before 'high'" in line


def test_the_esp32_has_sixteen_channels() -> None:
    parts = [f"type: pwm, pin: {number}" for number in ESP32_OUTPUTS]
    load(of("esp32", *parts[:16]))
    [line] = refused("esp32", *parts)
    assert line.startswith("line 20, peripherals[16]: ESP32 DevKit has 16 channels of PWM")
    parts[3] = "type: servo, pin: 13"
    assert len(refused("esp32", *parts)) == 1
    # All buzzers share one.
    parts[0] = "type: buzzer, pin: 4"
    assert len(refused("esp32", *parts)) == 1
    parts[1] = "type: buzzer, pin: 5"
    load(of("esp32", *parts))


def test_pins_of_the_pico_that_are_sixteen_apart_have_one_output() -> None:
    [line] = refused("raspberry-pi", "name: fan, type: pwm, pin: GP0", "type: pwm, pin: GP16")
    assert line.startswith("line 5, peripherals[1].pin: pin GP16 of Raspberry Pi Pico shares the")
    assert "the output of its PWM with pin GP0 of 'fan'; choose one of GP2, GP3, GP4," in line
    assert warned("raspberry-pi", "type: pwm, pin: GP0", "type: led, pin: GP16") == []


@pytest.mark.parametrize(
    ("first", "second", "alone"),
    [
        ("pwm", "pwm", True),
        ("servo", "servo", True),
        ("pwm", "servo", False),
        ("servo", "pwm", False),
        ("buzzer", "pwm", False),
        ("buzzer", "buzzer", False),
    ],
)
def test_a_slice_of_the_pico_has_one_frequency(first: str, second: str, alone: bool) -> None:
    parts = (f"name: first, type: {first}, pin: GP2", f"type: {second}, pin: GP3")
    if alone:
        assert warned("raspberry-pi", *parts) == []
        return
    [line] = refused("raspberry-pi", *parts)
    assert "pin GP3 of Raspberry Pi Pico shares the frequency of its PWM with pin GP2" in line
    assert "choose one of GP0, GP1, GP4," in line


def test_pins_that_are_offered_instead_can_be_taken() -> None:
    [line] = refused(
        "raspberry-pi",
        "type: pwm, pin: GP2",
        "type: servo, pin: GP3",
        "type: buzzer, pin: GP4",
        "type: led, pin: GP0",
        "type: bme280, bus: i2c1",
    )
    offered = line.rpartition("one of ")[2].split(", ")
    assert offered
    for label in offered:
        load(
            of(
                "raspberry-pi",
                "type: pwm, pin: GP2",
                f"type: servo, pin: {label}",
                "type: buzzer, pin: GP4",
                "type: led, pin: GP0",
                "type: bme280, bus: i2c1",
            )
        )
