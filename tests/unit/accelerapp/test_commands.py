"""`accelerapp new`, `validate` and `generate`, as a shell sees them."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from accelerapp.cli import main
from accelerapp.device.boards import BOARDS
from accelerapp.device.example import example
from tests.standins.ollama import StandIn

LAMP = "name: lamp\nplatform: esp32\nperipherals: [{type: led, pin: 4}]\n"
BAD = LAMP.replace("led", "lde")


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    for name in ("ACCELERAPP_OUTPUT_DIR", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capfd, monkeypatch)


class Shell:
    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd = capfd
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Ran:
        for name, value in environ.items():
            self._monkeypatch.setenv(name, value)
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self._capfd.readouterr()
        code = main(arguments)
        captured = self._capfd.readouterr()
        return Ran(code, captured.out, captured.err)


def test_the_first_three_commands(shell: Shell) -> None:
    assert shell("new", "-o", "device.yaml").code == 0
    validated = shell("validate", "device.yaml")
    assert (validated.code, validated.err) == (0, "")
    assert validated.out == "device.yaml: greenhouse, ESP32 DevKit, 6 peripherals\n"
    made = shell("generate", "device.yaml", "-o", "out/")
    assert made.code == 0
    assert Path("out/firmware/src/main.cpp").is_file()
    assert "firmware/src/main.cpp" in made.out
    assert made.out.splitlines()[-1].startswith("out  sha256:")


@pytest.mark.parametrize("platform", BOARDS)
def test_new_shows_the_example_of_a_platform(shell: Shell, platform: str) -> None:
    assert shell("new", "--platform", platform).out == example(platform)


def test_new_never_overwrites_unless_told(shell: Shell) -> None:
    Path("d.yaml").write_text("mine")
    refused = shell("new", "-o", "d.yaml")
    assert (refused.code, Path("d.yaml").read_text()) == (6, "mine")
    assert refused.err == "accelerapp: d.yaml is there; give another name, or --force\n"
    assert shell("new", "-o", "d.yaml", "--force").code == 0
    assert Path("d.yaml").read_text() == example()
    assert os.listdir() == ["d.yaml"]


def test_an_unknown_platform_is_a_bad_flag(shell: Shell) -> None:
    ran = shell("new", "--platform", "pc")
    assert ran.code == 2
    assert ran.err == (
        "accelerapp: --platform='pc' cannot be used; give arduino, esp32, raspberry-pi\n"
    )


@pytest.mark.parametrize("command", ["validate", "generate"])
def test_problems_are_lines_with_file_line_and_field(shell: Shell, command: str) -> None:
    Path("d.yaml").write_text(BAD + "extra: 1\n")
    ran = shell(command, "d.yaml")
    assert (ran.code, ran.out) == (5, "")
    first, second, last = ran.err.splitlines()
    assert first.startswith("d.yaml, line 3, peripherals[0].type: 'lde' is no peripheral;")
    assert second.startswith("d.yaml, line 4, extra: ")
    assert last == "accelerapp: d.yaml has 2 problems"
    assert os.listdir() == ["d.yaml"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.yaml", None, "none.yaml cannot be read: No such file"),
        (".", None, ". cannot be read: Is a directory"),
        ("d.yaml", b"[", "d.yaml, line 1: not YAML"),
        ("d.yaml", b"\xff", "d.yaml, line 1: a byte here is not UTF-8"),
        ("d.json", LAMP.encode(), "d.json, line 1: not JSON"),
        ("d.yaml", b"x" * 70_000, "d.yaml, the description has"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    shell: Shell, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    ran = shell("generate", name)
    assert ran.code == 4
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_description_on_standard_input(shell: Shell) -> None:
    assert shell("validate", "-", stdin=LAMP.encode()).out.startswith("-: lamp, ESP32")
    as_json = json.dumps({"name": "x", "platform": "esp32", "peripherals": [{"type": "bh1750"}]})
    assert shell("validate", "-", "--syntax", "json", stdin=as_json.encode()).code == 0


def test_validate_in_json(shell: Shell) -> None:
    ran = shell("validate", "-", "--json", stdin=LAMP.replace("4", "2").encode())
    found = json.loads(ran.out)
    assert (found["valid"], found["errors"]) == (True, [])
    assert found["warnings"][0]["line"] == 3
    ran = shell("validate", "-", "--json", stdin=BAD.encode())
    assert (ran.code, ran.err) == (5, "")
    found = json.loads(ran.out)
    assert found["valid"] is False
    assert found["errors"][0]["field"] == "peripherals[0].type"


def test_warnings_go_to_standard_error(shell: Shell) -> None:
    ran = shell("validate", "-", stdin=LAMP.replace("4", "2").encode())
    assert ran.code == 0
    assert ran.err.startswith("-, warning: line 3, peripherals[0].pin: pin GPIO2: ")


def test_by_default_files_go_below_output(shell: Shell) -> None:
    assert shell("generate", "-", stdin=LAMP.encode()).code == 0
    assert Path("output/lamp/device.json").is_file()


def test_a_folder_of_outputs_is_a_limit(shell: Shell) -> None:
    arguments = ("generate", "-", "-o")
    refused = shell(*arguments, "elsewhere", stdin=LAMP.encode(), ACCELERAPP_OUTPUT_DIR="allowed")
    assert refused.code == 6
    assert refused.err == (
        "accelerapp: elsewhere is outside of allowed; choose a folder inside of it\n"
    )
    assert not Path("elsewhere").exists()
    assert shell(*arguments, "allowed/x", stdin=LAMP.encode()).code == 0
    assert Path("allowed/x/device.json").is_file()
    assert shell("generate", "-", stdin=LAMP.encode()).code == 0
    assert Path("allowed/lamp/device.json").is_file()


def test_what_is_not_ours_needs_force(shell: Shell) -> None:
    Path("out").mkdir()
    Path("out/letter").touch()
    refused = shell("generate", "-", "-o", "out", stdin=LAMP.encode())
    assert refused.code == 6
    assert refused.err.rstrip().endswith("choose another folder, or give --force")
    assert os.listdir("out") == ["letter"]
    assert shell("generate", "-", "-o", "out", "--force", stdin=LAMP.encode()).code == 0
    assert "letter" not in os.listdir("out")


def test_a_zip_instead(shell: Shell) -> None:
    ran = shell("generate", "-", "--zip", "lamp.zip", stdin=LAMP.encode())
    assert ran.code == 0
    with zipfile.ZipFile("lamp.zip") as archive:
        assert "lamp/device.json" in archive.namelist()
    assert shell("generate", "-", "--zip", "lamp.zip", stdin=LAMP.encode()).code == 6
    assert not Path("output").exists()


def test_a_zip_on_standard_output_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LAMP.encode())))
    assert main(["generate", "-", "--zip", "-"]) == 0
    with zipfile.ZipFile(io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert archive.testzip() is None
    assert os.listdir() == []


def test_generate_in_json(shell: Shell) -> None:
    ran = shell("generate", "-", "--json", "-o", "out", stdin=LAMP.encode())
    made = json.loads(ran.out)
    assert made["device"] == {"name": "lamp", "platform": "esp32", "version": "0.1.0"}
    assert made["output"] == "out"
    written = {
        str(p.relative_to("out")): p.stat().st_size for p in Path("out").rglob("*") if p.is_file()
    }
    assert {file["path"]: file["size_bytes"] for file in made["files"]} == written


def test_without_a_model_the_assist_is_left_out(shell: Shell) -> None:
    ran = shell("generate", "-", stdin=(LAMP + "assist: true\n").encode())
    assert ran.code == 0
    assert ran.err == (
        "accelerapp: the assist is left out: set OLLAMA_HOST to an Ollama that is reachable\n"
    )


@pytest.mark.parametrize("fault", ["", "status"])
def test_with_a_model_there_are_notes_or_a_reason(shell: Shell, fault: str) -> None:
    server = StandIn(("127.0.0.1", 0), ["llama3.2:1b"], fault)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        text = (LAMP + "assist: true\n").encode()
        ran = shell("generate", "-", "-o", "out", stdin=text, OLLAMA_HOST=server.url)
    finally:
        server.shutdown()
        server.server_close()
    assert ran.code == 0
    assert Path("out/ASSIST.md").exists() == (not fault)
    assert ("answered 500" in ran.err) == bool(fault)
    assert ran.err.count("\n") == bool(fault)


def test_a_bad_setting_is_named(shell: Shell) -> None:
    ran = shell("generate", "-", stdin=(LAMP + "assist: true\n").encode(), OLLAMA_HOST="ftp://x")
    assert ran.code == 2
    assert ran.err.startswith("accelerapp: OLLAMA_HOST='ftp://x' cannot be used;")
