"""What is generated, read as a compiler, an interpreter, a browser and a person would."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from configparser import ConfigParser
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import load
from accelerapp.device.example import example
from accelerapp.device.model import Device
from accelerapp.device.peripherals import TYPES
from accelerapp.generate import Generated, generate, protocol
from accelerapp.generate.archive import archive
from accelerapp.generate.templates import comment_lines, data_block, markdown, source_hash
from tests.unit.accelerapp.device.devices import described, descriptions, one_of

# Everything that ends a comment, a string, a script or a line somewhere.
NASTY = "*/ \"\"\" ''' </script><b>&amp; {{ x }} ${x} `x` [a](b) ??/ \u2028 \u202e \\"


def of(platform: str, **changes: Any) -> Generated:
    document = described(BOARDS[platform], list(TYPES.values()))
    return generate(load(json.dumps({**document, **changes}), "json"))


def files(generated: Generated) -> dict[str, str]:
    return {file.path: file.content for file in generated.files}


@pytest.mark.parametrize("platform", BOARDS)
def test_the_files_of_a_platform(platform: str) -> None:
    generated = generate(load(example(platform)))
    firmware = {
        "arduino": ["firmware/platformio.ini", "firmware/src/main.cpp"],
        "esp32": ["firmware/platformio.ini", "firmware/src/main.cpp"],
        "raspberry-pi": ["firmware/main.py"],
    }[platform]
    sdk = ["__init__.py", "client.py", "py.typed"]
    assert [file.path for file in generated.files] == [
        *("README.md", "device.json"),
        *firmware,
        *(f"sdk/greenhouse_sdk/{name}" for name in sdk),
        *("sdk/pyproject.toml", "ui/index.html"),
    ]
    assert all(file.content.endswith("\n") for file in generated.files if file.content)


@given(descriptions())
def test_the_same_device_gives_the_same_bytes(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    first, second = generate(load(text, "json")), generate(load(text, "json"))
    assert first.files == second.files
    assert first.digest == second.digest
    assert archive(first.files, "x") == archive(second.files, "x")


def test_the_digest_is_over_paths_and_contents() -> None:
    generated = generate(load(example()))
    digest = hashlib.sha256()
    for file in generated.files:
        content = file.content.encode()
        digest.update(file.path.encode() + b"\0" + str(len(content)).encode() + b"\0" + content)
    assert generated.digest == f"sha256:{digest.hexdigest()}"
    assert generated.digest != generate(load(example("arduino"))).digest


@given(descriptions())
def test_every_file_can_be_read_by_what_reads_it(document: dict[str, Any]) -> None:
    document["description"] = NASTY.replace("\u2028", "").replace("\u202e", "")
    device = load(json.dumps(document), "json")
    check_files(generate(device), device)


@pytest.mark.parametrize("platform", BOARDS)
def test_a_hostile_description_is_only_a_text(platform: str) -> None:
    # More hostile than what is read from anybody.
    generated = generate(replace(of(platform).device, description=NASTY))
    check_files(generated, generated.device)
    for path, content in files(generated).items():
        if not path.endswith((".json", ".html")):
            assert "\u202e" not in content, path
            assert "\u2028" not in content, path


def check_files(generated: Generated, device: Device) -> None:
    for path, content in files(generated).items():
        if path.endswith(".py"):
            ast.parse(content)
        elif path.endswith(".toml"):
            assert tomllib.loads(content)["project"]["name"] == f"{device.name.slug}-sdk"
        elif path.endswith(".ini"):
            parser = ConfigParser(interpolation=None)
            parser.read_string(content)
            assert len(parser.sections()) == 1
        elif path.endswith(".json"):
            assert json.loads(content)["description"] == device.description
        elif path.endswith(".html"):
            Page(content).check(device)
        elif path.endswith(".cpp"):
            check_cpp(content)


def check_cpp(text: str) -> None:
    """Comments end where their line ends, and braces and quotes are in pairs."""
    assert "??/" not in text
    code = []
    for line in text.splitlines():
        assert not line.endswith("\\"), line
        code.append(re.sub(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)\'', "0", line).partition("//")[0])
    joined = "\n".join(code)
    assert joined.count("{") == joined.count("}")
    assert joined.count("(") == joined.count(")")
    assert '"' not in joined


class Page(HTMLParser):
    """The panel: no element is left open, nothing comes from elsewhere, hashes are right."""

    VOID = frozenset(("meta", "input", "link", "br"))

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data
            if self.open[-1] == "script":
                self.scripts.append(data)

    def check(self, device: Device) -> None:
        assert self.open == []
        tags = [tag for tag, _ in self.elements]
        assert tags[:3] == ["html", "head", "meta"]
        assert tags.count("script") == 2
        assert "b" not in tags
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in self.elements:
            assert not {"src", "href", "onclick", "style"} & set(attributes)
        assert self.texts["h1"] == self.texts["title"] == device.name.text
        panel = json.loads(self.scripts[0])
        addresses = [c["address"] for p in panel["peripherals"] for c in p["channels"]]
        assert addresses == [address.text for address in protocol.channels(device)]
        [policy] = [a["content"] for t, a in self.elements if t == "meta" and "http-equiv" in a]
        assert policy is not None
        assert f"'{source_hash(self.scripts[1])}'" in policy
        assert f"'{source_hash(self.texts['style'])}'" in policy


@pytest.mark.parametrize("platform", BOARDS)
def test_every_channel_is_in_firmware_sdk_panel_and_readme(platform: str) -> None:
    generated = of(platform)
    held = files(generated)
    firmware = held.get("firmware/main.py") or held["firmware/src/main.cpp"]
    sdk = held["sdk/made_up_sdk/client.py"]
    for address in protocol.channels(generated.device):
        assert f'"{address.text}"' in firmware
        assert f"`{address.text}`" in held["README.md"]
        assert f"def {address.channel.name}(self)" in sdk
        setter = f"@{address.channel.name}.setter"
        assert not address.channel.writable or setter in sdk
    for peripheral in generated.device.peripherals:
        for _, pin in peripheral.pins:
            assert f"| {pin.label} |" in held["README.md"]


@pytest.mark.parametrize("platform", ["arduino", "esp32"])
def test_libraries_are_those_that_are_included(platform: str) -> None:
    held = files(of(platform))
    included = set(re.findall(r"#include <(\w+)\.h>", held["firmware/src/main.cpp"]))
    libraries = held["firmware/platformio.ini"]
    for header, library in {
        "DHT": "DHT sensor library",
        "DallasTemperature": "DallasTemperature",
        "OneWire": "OneWire",
        "ESP32Servo": "ESP32Servo",
        "Servo": "arduino-libraries/Servo",
        "Adafruit_NeoPixel": "Adafruit NeoPixel",
        "Adafruit_BME280": "Adafruit BME280",
        "Adafruit_SSD1306": "Adafruit SSD1306",
    }.items():
        assert (header in included) == (library in libraries), header
    led = files(generate(load(json.dumps(one_of(TYPES["led"], BOARDS[platform])), "json")))
    assert "lib_deps" not in led["firmware/platformio.ini"]


NAMES = ["abs", "min", "F", "EOF", "PI", "Serial", "setup", "loop", "B0", "a0", "SERIAL", "DISPLAY"]
NAMES += ["close", "info", "connect", "identity", "self", "machine", "print", "device", "main"]
NAMES += ["string", "typing", "serial", "Led", "Transport", "DeviceError", "type", "match", "list"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("platform", BOARDS)
def test_no_name_of_a_language_or_library_gets_in_the_way(platform: str, name: str) -> None:
    document = one_of(TYPES["led"], BOARDS[platform])
    document["name"] = name
    document["peripherals"][0]["name"] = name
    generated = generate(load(json.dumps(document), "json"))
    check_files(generated, generated.device)
    package = f"{name.lower()}_sdk"
    client = files(generated)[f"sdk/{package}/client.py"]
    tree = ast.parse(client)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(set(classes))
    members = [
        node.name
        for part in tree.body
        if isinstance(part, ast.ClassDef) and part.name == classes[-1]
        for node in part.body
        if isinstance(node, ast.FunctionDef)
    ]
    assigned = set(re.findall(r"^        self\.(\w+) = Led", client, re.M))
    assert len(assigned) == 1
    assert not assigned & set(members)


def test_longest_line_holds_every_request() -> None:
    for platform in BOARDS:
        device = of(platform).device
        longest = protocol.longest_line(device)
        for address in protocol.channels(device):
            value = "%ff" * address.channel.longest or "-12345.678900"
            assert len(f"set {address.text} {value}") <= longest


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb", ["a", "b"]),
        ("ends in \\", ["ends in \\ ."]),
        ("??/", ["? ?/"]),
        ("a\u2028b\x85c", ["a", "b", "c"]),
        ("\u202eabc", ["<U+202E>abc"]),
    ],
)
def test_comments_stay_comments(text: str, lines: list[str]) -> None:
    assert comment_lines(text) == lines


def test_markdown_shows_what_was_written() -> None:
    assert markdown("a*b_<i>|`x`\n# y") == "a\\*b\\_\\<i\\>\\|\\`x\\` \\# y"


def test_a_data_block_cannot_be_left() -> None:
    block = data_block({"x": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(block)
    assert json.loads(block) == {"x": "</script><!--&\u2028"}
