"""Generated firmware where it belongs: compiled for the boards, run, and asked by its own SDK.

C++ is compiled for every type against stand-in headers, and for the Uno with Arduino's own core;
that firmware runs on simavr's ATmega328P. MicroPython is the real interpreter, with a stand-in
for the Pico's modules. Only hardware would show timing, electricity, and Espressif's core.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import load
from accelerapp.device.example import example
from accelerapp.device.peripherals import TYPES
from accelerapp.generate import generate
from accelerapp.generate.output import write
from tests.unit.accelerapp.device.devices import described, one_of

HERE = Path(__file__).parent
FIRMWARE = HERE / "firmware"
STAND_INS = HERE.parent / "data" / "arduino-stand-ins"
CORE = Path("/usr/share/arduino/hardware/arduino/avr")
FLASH_BYTES, RAM_BYTES = 32256, 2048

UNO = """\
name: bench
platform: arduino
description: 'Ends in a backslash \\'
peripherals:
  - {name: lamp, type: led, pin: 4}
  - {name: valve, type: relay, pin: 3, options: {active_low: true, initial: true}}
  - {name: door, type: button, pin: 2}
  - {name: fan, type: pwm, pin: 5}
  - {name: horn, type: buzzer, pin: 8}
  - {name: knob, type: potentiometer, pin: A0}
  - {name: lux, type: bh1750}
  - {name: motion, type: mpu6050}
  - {name: range, type: ultrasonic, pins: {trigger: 6, echo: 7}}
  - {name: adc, type: mcp3008, pin: 10}
"""


def tool(name: str) -> str:
    """The program's path. Missing is a failure in CI, which has it, and a skip elsewhere."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed; .ci/host.sh does that")
        pytest.skip(f"{name} is not installed")
    return found


def make(document: str | dict[str, Any], folder: Path) -> Path:
    text = document if isinstance(document, str) else json.dumps(document)
    write(generate(load(text)).files, folder)
    return folder


def run(*argv: str | Path) -> str:
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(map(str, argv[:3]))} …\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("platform", ["arduino", "esp32"])
@pytest.mark.parametrize("kind", [*TYPES, "all"])
def test_cpp_compiles_without_a_warning(kind: str, platform: str, tmp_path: Path) -> None:
    board = BOARDS[platform]
    document = (
        described(board, list(TYPES.values())) if kind == "all" else one_of(TYPES[kind], board)
    )
    for part, name in zip(document["peripherals"], ("F", "min", "SERIAL", "B0"), strict=False):
        part["name"] = name  # macros of the core
    folder = make(document, tmp_path / "out")
    dialect = ("-DSTAND_IN_ESP32", "-std=c++17") if platform == "esp32" else ("-std=c++11",)
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
    source = folder / "firmware" / "src" / "main.cpp"
    run(tool("g++"), *dialect, *warnings, "-fsyntax-only", f"-I{STAND_INS}", source)


@pytest.mark.parametrize("platform", BOARDS)
def test_the_sdk_is_typed(platform: str, tmp_path: Path) -> None:
    folder = make(described(BOARDS[platform], list(TYPES.values())), tmp_path / "out")
    package = folder / "sdk" / "made_up_sdk"
    cache = tmp_path / "cache"
    run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, "--config-file=", package)


class Wire:
    """A process's standard input and output as the serial line."""

    def __init__(self, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def readline(self) -> bytes:
        try:
            return self._lines.get(timeout=0.1)
        except queue.Empty:
            return b""

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


def sdk(folder: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(folder / "sdk"))
    importlib.invalidate_caches()
    return importlib.import_module(package)


@pytest.fixture(scope="module")
def uno(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The generated folder and its ELF, made with Arduino's own core."""
    work = tmp_path_factory.mktemp("uno")
    folder = make(UNO, work / "out")
    cc, cxx = tool("avr-gcc"), tool("avr-g++")
    libraries = CORE / "libraries"
    include = [CORE / "cores/arduino", CORE / "variants/standard", libraries / "Wire/src"]
    include += [libraries / "Wire/src/utility", libraries / "SPI/src"]
    flags = ["-mmcu=atmega328p", "-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_AVR_UNO"]
    # Which this compiler's float.h has for later dialects alone, and the core asks for.
    flags += ["-DDECIMAL_DIG=__DECIMAL_DIG__", "-Os", "-ffunction-sections", "-fdata-sections"]
    flags += [f"-I{path}" for path in include]
    dialect = ["-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics"]
    sources = [*(CORE / "cores/arduino").glob("*"), *(libraries / "Wire/src").rglob("*")]
    sources += (libraries / "SPI/src").glob("*")
    objects = []
    for number, source in enumerate(sorted(sources)):
        compiler = {
            ".c": (cc, "-std=gnu11", "-w"),
            ".cpp": (cxx, *dialect, "-fpermissive", "-w"),
            ".S": (cc, "-x", "assembler-with-cpp"),
        }.get(source.suffix)
        if compiler:
            objects.append(work / f"{number}.o")
            run(*compiler, *flags, "-c", source, "-o", objects[-1])
    sketch = work / "sketch.o"
    main = folder / "firmware" / "src" / "main.cpp"
    run(cxx, *flags, *dialect, "-Wall", "-Wextra", "-Werror", "-c", main, "-o", sketch)
    elf = work / "firmware.elf"
    run(cc, "-Os", "-mmcu=atmega328p", "-Wl,--gc-sections", sketch, *objects, "-o", elf, "-lm")
    return folder, elf


def test_it_fits_into_an_uno(uno: tuple[Path, Path]) -> None:
    text, data, bss, *_ = run(tool("avr-size"), uno[1]).splitlines()[1].split()
    assert int(text) + int(data) < FLASH_BYTES
    # The rest is the stack's.
    assert int(data) + int(bss) < RAM_BYTES - 512


@pytest.fixture
def board(
    uno: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Wire, Any]]:
    tool("simavr")
    simulator = tmp_path / "simulate_uno"
    source = FIRMWARE / "simulate_uno.c"
    run(tool("gcc"), "-Wall", "-Wextra", "-Werror", source, "-lsimavr", "-lelf", "-o", simulator)
    module = sdk(uno[0], "bench_sdk", monkeypatch)
    wire = Wire(simulator, uno[1])
    device = module.Bench(wire, timeout_s=20)
    try:
        yield device, wire, module
    finally:
        device.close()


def test_an_uno_answers_its_sdk(board: tuple[Any, Wire, Any]) -> None:
    device, _, module = board
    assert device.identity() == sys.modules["bench_sdk.client"].IDENTITY
    assert device.info().platform == "arduino"
    assert device.lamp.on is False
    device.lamp.on = True
    assert device.lamp.on is True
    assert device.valve.on is True
    assert device.door.pressed is False
    device.fan.level = 0.25
    assert device.fan.level == pytest.approx(0.25)
    device.horn.frequency = 440
    assert device.horn.frequency == 440
    device.horn.frequency = 0
    assert device.knob.value == pytest.approx(0.5, abs=0.01)
    for read in (lambda: device.lux.illuminance, lambda: device.range.distance):
        with pytest.raises(module.DeviceError) as caught:
            read()
        assert caught.value.code == "no-sensor"
    with pytest.raises(ValueError, match="from 0 to 1"):
        device.fan.level = 1.5


def test_an_uno_survives_noise(board: tuple[Any, Wire, Any]) -> None:
    device, wire, _ = board
    device.identity()
    conversation(wire, "arduino")
    assert device.identity()


def conversation(wire: Wire, platform: str) -> None:
    """Requests that are none, and what every firmware says to them."""
    for request, answer in [
        (b"noise", "error unknown-command noise"),
        (b"get", "error unknown-command get"),
        (b"get lamp", "error unknown-channel lamp"),
        (b"get lamp.on 1", "error unknown-command get"),
        (b"get nobody.on", "error unknown-channel nobody.on"),
        (b"set lamp.on 2", "error bad-value lamp.on"),
        (b"set lamp.on ", "error bad-value lamp.on"),
        (b"set lamp.on 1 1", "error bad-value lamp.on"),
        (b"set fan.level 1.01", "error bad-value fan.level"),
        (b"set fan.level nan", "error bad-value fan.level"),
        (b"set fan.level 0x1", "error bad-value fan.level"),
        (b"set door.pressed 1", "error read-only door.pressed"),
        (b"set horn.frequency 4.5", "error bad-value horn.frequency"),
        (b"set horn.frequency -1", "error bad-value horn.frequency"),
        (b"\x00\xff\x80", "error unknown-command ???"),
        (b"x" * 5000, "error too-long -"),
        (b"\r", ""),
        (b"get lamp.on\r", "ok lamp.on 0"),
    ]:
        wire.write(request + b"\n")
        if answer:
            assert answered(wire) == answer, request[:40]


def answered(wire: Wire) -> str:
    for _ in range(200):
        if line := wire.readline():
            return line.decode().strip()
    raise AssertionError("no answer")


PICO = """\
name: Pico bench
platform: raspberry-pi
peripherals:
  - {name: lamp, type: led, pin: 15}
  - {name: door, type: button, pin: 14}
  - {name: fan, type: pwm, pin: 13}
  - {name: horn, type: buzzer, pin: 2}
  - {name: arm, type: servo, pin: 11}
  - {name: strip, type: neopixel, pin: 10}
  - {name: knob, type: potentiometer, pin: GP26}
  - {name: air, type: dht22, pin: 9}
  - {name: cellar, type: dht11, pin: 8}
  - {name: water, type: ds18b20, pin: 20}
  - {name: range, type: ultrasonic, pins: {trigger: 21, echo: 22}}
  - {name: weather, type: bme280}
  - {name: light, type: bh1750}
  - {name: motion, type: mpu6050}
  - {name: screen, type: ssd1306}
  - {name: other, type: ssd1306, options: {address: 0x3d}}
  - {name: adc, type: mcp3008, pin: 17}
"""


@pytest.fixture
def pico(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Wire, Any]]:
    folder = make(PICO, tmp_path / "out")
    module = sdk(folder, "pico_bench_sdk", monkeypatch)
    wire = Wire(
        tool("micropython"),
        folder / "firmware" / "main.py",
        env={"MICROPYPATH": f"{FIRMWARE / 'pico'}:.frozen"},
    )
    device = module.PicoBench(wire, timeout_s=20)
    try:
        yield device, wire, module
    finally:
        device.close()


def test_a_pico_answers_its_sdk(pico: tuple[Any, Wire, Any]) -> None:
    device, _, module = pico
    assert device.info().platform == "raspberry-pi"
    device.lamp.on = True
    assert device.lamp.on is True
    assert device.door.pressed is False
    device.fan.level = 0.25
    assert device.fan.level == pytest.approx(0.25)
    device.horn.frequency = 440
    assert device.horn.frequency == 440
    device.arm.angle = 180
    assert device.arm.angle == 180
    device.strip.colour = "#0080ff"
    assert device.strip.colour == "#0080ff"
    assert device.knob.value == pytest.approx(0.5, abs=0.01)
    assert (device.air.temperature, device.air.humidity) == (21.5, 48.2)
    # 5831 µs there and back.
    assert device.range.distance == pytest.approx(1.0, abs=0.001)
    # The example of Bosch's data sheet: 25.08 °C, 100653.27 Pa.
    assert device.weather.temperature == pytest.approx(25.08, abs=0.005)
    assert device.weather.pressure == pytest.approx(100653.27, abs=0.1)
    assert 0 <= device.weather.humidity <= 100
    # The example of ROHM's data sheet: 0x8390 is 28067 lx.
    assert device.light.illuminance == pytest.approx(28067, abs=1)
    assert device.motion.acceleration_x == 0
    assert device.motion.acceleration_y == pytest.approx(-9.80665 / 2, abs=0.001)
    assert device.motion.acceleration_z == pytest.approx(9.80665, abs=0.001)
    device.screen.text = "Grüße, 100 % & more"
    assert device.screen.text == "Grüße, 100 % & more"
    device.screen.text = ""
    assert device.screen.text == ""
    assert device.adc.value_0 == 0
    assert device.adc.value_7 == pytest.approx(700 / 1023, abs=0.001)
    for refused in (
        lambda: device.cellar.temperature,
        lambda: setattr(device.other, "text", "nobody there"),
    ):
        with pytest.raises(module.DeviceError) as caught:
            refused()
        assert caught.value.code == "no-sensor"
    with pytest.raises(module.DeviceError) as caught:
        device.strip.colour = "red"
    assert caught.value.code == "bad-value"
    with pytest.raises(ValueError, match="64 bytes"):
        device.screen.text = "x" * 65


def test_a_pico_survives_noise(pico: tuple[Any, Wire, Any]) -> None:
    device, wire, _ = pico
    device.identity()
    conversation(wire, "raspberry-pi")
    assert device.identity()


def test_the_examples_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(example("raspberry-pi"), tmp_path / "out")
    module = sdk(folder, "greenhouse_sdk", monkeypatch)
    env = {"MICROPYPATH": f"{FIRMWARE / 'pico'}:.frozen"}
    wire = Wire(tool("micropython"), folder / "firmware" / "main.py", env=env)
    with module.Greenhouse(wire, timeout_s=20) as device:
        assert device.light.illuminance == pytest.approx(28067, abs=1)
    assert wire.process.returncode == 0
