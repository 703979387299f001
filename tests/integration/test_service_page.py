"""The service's page and a generated panel in Chromium, as a person uses them."""

from __future__ import annotations

import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import load
from accelerapp.device.example import example
from accelerapp.device.peripherals import TYPES
from accelerapp.generate import generate
from tests.integration.browser import Tab
from tests.integration.service import serving
from tests.standins.ollama import StandIn
from tests.unit.accelerapp.device.devices import described


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = StandIn(("127.0.0.1", 0), ["llama3.2:1b"])
    thread = threading.Thread(target=model.serve_forever, args=(0.05,))
    thread.start()
    output = str(tmp_path_factory.mktemp("output"))
    try:
        with serving(ACCELERAPP_OUTPUT_DIR=output, OLLAMA_HOST=model.url) as address:
            yield address
    finally:
        model.shutdown()
        thread.join()
        model.server_close()


@pytest.fixture
def page(tab: Tab, url: str) -> Tab:
    tab.open(f"{url}/")
    return tab


def click(tab: Tab, name: str) -> None:
    """Click on the button that is called so, where a person would."""
    place = tab.evaluate(
        "(() => { const button = [...document.querySelectorAll('button, label')]"
        f".find((b) => b.textContent.trim() === {json.dumps(name)});"
        " button.scrollIntoView({block: 'center'});"
        " const box = button.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=place[0],
            y=place[1],
            button="left",
            clickCount=1,
        )


def paste(tab: Tab, text: str) -> None:
    tab.evaluate(
        "(() => { const a = document.getElementById('description'); a.focus(); a.select(); })()"
    )
    tab.call("Input.insertText", text=text)


def text_of(tab: Tab, id: str) -> str:
    return str(tab.evaluate(f"document.getElementById('{id}').textContent"))


def state(tab: Tab, ending: str) -> None:
    tab.wait_until(f"document.getElementById('state').textContent.endsWith({json.dumps(ending)})")


@pytest.mark.parametrize("platform", BOARDS)
def test_a_person_pastes_a_description_and_sees_the_files(page: Tab, platform: str) -> None:
    paste(page, example(platform))
    click(page, "Generate")
    state(page, "files for greenhouse.")
    device = load(example(platform))
    files = {file.path: file.content for file in generate(device).files}
    shown = page.evaluate(
        "[...document.querySelectorAll('#files button')].map((b) => b.textContent)"
    )
    assert shown == list(files)
    # The firmware is what one wants to see first; any other is one click away.
    assert text_of(page, "path").startswith("firmware/")
    for path in ("README.md", "device.json", "ui/index.html"):
        click(page, path)
        assert text_of(page, "path") == path
        assert text_of(page, "content") == files[path]
        assert len(text_of(page, "lines").split("\n")) == files[path].count("\n")
    assert page.complaints() == []


def test_a_person_downloads_the_zip(page: Tab, tmp_path: Path) -> None:
    page.browser.call(
        "Browser.setDownloadBehavior",
        behavior="allow",
        downloadPath=str(tmp_path),
        browserContextId=page.call("Target.getTargetInfo")["targetInfo"]["browserContextId"],
    )
    click(page, "Raspberry Pi Pico")
    click(page, "Download zip")
    state(page, "greenhouse.zip is downloaded.")
    deadline_s = time.monotonic() + 30
    while not (tmp_path / "greenhouse.zip").exists():
        assert time.monotonic() < deadline_s, list(tmp_path.iterdir())
        time.sleep(0.05)
    with zipfile.ZipFile(tmp_path / "greenhouse.zip") as archive:
        assert archive.testzip() is None
        assert "greenhouse/firmware/main.py" in archive.namelist()


def test_problems_lead_to_their_lines(page: Tab) -> None:
    paste(page, example().replace("type: led", "type: lde"))
    click(page, "Generate")
    state(page, "the description has 1 problem")
    [problem] = page.evaluate(
        "[...document.querySelectorAll('#problems button')].map((b) => b.textContent)"
    )
    assert "did you mean 'led'" in problem
    click(page, problem.strip())
    start = page.evaluate("document.getElementById('description').selectionStart")
    assert example().replace("type: led", "type: lde")[start:].startswith("lde")
    assert page.evaluate("document.activeElement.id") == "description"


def test_what_a_person_writes_is_never_markup(page: Tab) -> None:
    paste(page, "name: <img src=x onerror=alert(1)>\nplatform: esp32\nperipherals: []\n")
    click(page, "Generate")
    state(page, "problems")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    hostile = example().replace("Keeps an eye", "<script>alert(1)</script>")
    paste(page, hostile)
    click(page, "Generate")
    state(page, "files for greenhouse.")
    click(page, "README.md")
    assert page.evaluate("document.querySelectorAll('#view script').length") == 0


def test_the_model_s_notes_are_shown(page: Tab) -> None:
    paste(page, example())
    click(page, "ask the model")
    click(page, "Generate")
    state(page, "files for greenhouse.")
    assert "Written by llama3.2:1b" in text_of(page, "notes-hint")
    assert "Connect LED to GPIO4." in text_of(page, "wiring")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_fits_and_looks(page: Tab, scheme: str, width: int, tmp_path: Path) -> None:
    page.resize(width, 900)
    page.prefer(scheme)
    click(page, "Arduino Uno")
    click(page, "Generate")
    state(page, "files for greenhouse.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(folder / f"service-{scheme}-{width}.png")
    assert page.complaints() == []


def test_a_generated_panel_simulates_its_device(tab: Tab, tmp_path: Path) -> None:
    document = described(BOARDS["raspberry-pi"], list(TYPES.values()))
    document["name"] = "Wall & <Panel>".replace("& <", "and ").replace(">", "")
    document["description"] = "It has <b>everything</b> & more."
    files = {file.path: file for file in generate(load(json.dumps(document), "json")).files}
    panel = tmp_path / "index.html"
    panel.write_text(files["ui/index.html"].content)
    tab.open(panel.as_uri())
    assert text_of(tab, "state")
    click(tab, "Simulate")
    state(tab, "no device is connected.")
    shown = "[...document.querySelectorAll('output')]"
    tab.wait_until(f"!{shown}.some((o) => o.textContent === '\\u2013')")
    assert tab.evaluate("document.querySelectorAll('p b').length") == 0
    tab.evaluate(
        "(() => { const box = document.querySelector('input[type=checkbox]'); box.click(); })()"
    )
    tab.wait_until("document.querySelector('.channel output').textContent === 'on'")
    click(tab, "Disconnect")
    state(tab, "Disconnected.")
    tab.resize(375, 900)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 375
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    tab.screenshot(folder / "panel.png")
    assert tab.complaints() == []
