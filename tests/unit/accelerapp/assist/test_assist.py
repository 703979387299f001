"""The assist against a server that speaks Ollama's HTTP API, well and badly."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerapp.assist import Assist, Assistant, WiringNote, Withheld
from accelerapp.assist import ollama as client
from accelerapp.assist.ollama import OllamaError
from accelerapp.assist.prompt import messages
from accelerapp.assist.review import review
from accelerapp.device.description import load
from accelerapp.device.example import example
from tests.standins.ollama import FAULTS, StandIn

DEVICE = load(example())
MODEL = "llama3.2:1b"
Serve = Callable[[str], StandIn]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[StandIn] = []

    def start(fault: str = "") -> StandIn:
        server = StandIn(("127.0.0.1", 0), [MODEL, "other:latest"], fault)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def explain(server: StandIn, *, model: str = MODEL, deadline_s: float = 10.0) -> Assist:
    return Assistant(server.url, model, deadline_s, 1).explain(DEVICE)


def test_what_a_model_says_well_is_kept(serve: Serve) -> None:
    server = serve("")
    assist = explain(server)
    assert (assist.status, assist.model, assist.reason) == ("pass", MODEL, "")
    assert assist.explanation == ("greenhouse runs on ESP32 DevKit. Its logic is safe to touch.")
    assert assist.wiring[0] == WiringNote("lamp", "Connect LED to GPIO4.")
    assert [note.peripheral for note in assist.wiring] == [
        peripheral.name.text for peripheral in DEVICE.peripherals
    ]
    assert assist.withheld == ()
    [asked] = server.asked
    assert asked["stream"] is True
    assert asked["format"]["required"] == ["explanation", "wiring"]
    assert asked["options"]["temperature"] == 0
    assert asked["messages"] == list(messages(DEVICE))


def test_what_is_not_of_the_device_is_withheld_with_the_reason(serve: Serve) -> None:
    assist = explain(serve("wrong"))
    assert assist.status == "pass"
    reasons = {withheld.text: withheld.reason for withheld in assist.withheld}
    assert "pin 99" in reasons["Connect it to pin 99, at 230 V."]
    assert "link" in reasons["See http://example.org for more."]
    assert "GPIO39" in reasons["Use GPIO39 for it."]
    assert "teapot" in reasons["Fill it."]
    assert "lamp" not in [note.peripheral for note in assist.wiring]
    shown = assist.as_markdown(DEVICE)
    assert "example" not in shown
    assert "4 statements left out" in shown


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("drop", "before the model was done"),
        ("error", "the model failed: an unknown error"),
        ("garbage", "not what Ollama sends"),
        ("html", "not what Ollama sends"),
        ("redirect", "redirects; set OLLAMA_HOST"),
        ("shape", "not the form"),
        ("status", "answered 500: llama runner process has terminated"),
        ("drip", "was not done after 0.4 s"),
        ("hang", "was not done after 0.4 s"),
        ("slow", "was not done after 0.4 s"),
        ("endless", "was not done after 0.4 s"),
    ],
)
def test_every_fault_degrades_with_a_reason(serve: Serve, fault: str, reason: str) -> None:
    late = "0.4 s" in reason
    begin_s = time.monotonic()
    assist = explain(serve(fault), deadline_s=0.4 if late else 10.0)
    assert assist.status == "degraded"
    assert reason in assist.reason
    assert "\n" not in assist.reason
    assert (assist.explanation, assist.wiring) == ("", ())
    if late:
        # The deadline is over the whole, not from byte to byte.
        assert time.monotonic() - begin_s < 5


def test_every_fault_of_the_stand_in_is_tried() -> None:
    [marks] = [
        mark
        for mark in test_every_fault_degrades_with_a_reason.pytestmark  # type: ignore[attr-defined]
        if mark.name == "parametrize"
    ]
    assert {case[0] for case in marks.args[1]} | {"wrong"} == set(FAULTS)


def test_an_answer_without_an_end_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 64)
    assert "more than 64" in explain(serve("endless")).reason


def test_a_model_that_is_not_there_says_how_to_get_it(serve: Serve) -> None:
    assist = explain(serve(""), model="qwen:7b")
    assert assist.reason == (
        "model 'qwen:7b' is not there (model 'qwen:7b' not found); run: ollama pull qwen:7b"
    )


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assist = Assistant(url, MODEL, 5, 1).explain(DEVICE)
    assert "cannot be reached (Connection refused); start Ollama" in assist.reason


def test_one_more_than_may_be_is_turned_away_at_once(serve: Serve) -> None:
    server = serve("hang")
    assistant = Assistant(server.url, MODEL, 5, 1)
    first = threading.Thread(target=assistant.explain, args=(DEVICE,))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    second = assistant.explain(DEVICE)
    assert second.reason == "busy: 1 are asked already; try again later"
    server.stopping.set()
    first.join(10)
    assert not first.is_alive()


@pytest.mark.parametrize(
    ("fault", "model", "status", "output"),
    [
        ("", MODEL, "pass", f"{MODEL} is there"),
        ("", "other", "pass", "other is there"),
        ("", "qwen:7b", "warn", "ollama pull qwen:7b"),
        ("html", MODEL, "warn", "something else than Ollama"),
        ("status", MODEL, "warn", "answered 500"),
    ],
)
def test_the_check_answers_at_once_and_knows_soon(
    serve: Serve, fault: str, model: str, status: str, output: str
) -> None:
    assistant = Assistant(serve(fault).url, model, 5, 1)
    assert assistant.check() == ("pass", "not asked yet")
    deadline_s = time.monotonic() + 10
    while assistant.check()[1] == "not asked yet" and time.monotonic() < deadline_s:
        time.sleep(0.01)
    found = assistant.check()
    assert found[0] == status
    assert output in found[1]


def answer(explanation: str, *notes: tuple[str, str]) -> str:
    wiring = [{"peripheral": name, "note": note} for name, note in notes]
    return json.dumps({"explanation": explanation, "wiring": wiring})


@pytest.mark.parametrize(
    "sentence",
    [
        "Use <b>care</b>.",
        "Run `rm -rf`.",
        "See www.example.org.",
        "Go to https://example.org/x.",
        "Call begin() first.",
        "Set {x}.",
        "A [link](x).",
        "Use **all**.",
        "Use GPIO12.",
        "Use pin 12.",
        "Put it on D12.",
        "It needs 12 V.",
        "It needs 1.8V here.",
    ],
)
def test_sentences_that_cannot_be_shown(sentence: str) -> None:
    reviewed = review(DEVICE, answer(f"It is fine. {sentence} That is all."))
    assert "It is fine." in reviewed.explanation
    assert sentence not in reviewed.explanation
    assert reviewed.withheld
    assert reviewed.withheld[0].reason


@pytest.mark.parametrize("sentence", ["GPIO4 has 3.3 V.", "A 5 V supply.", "Wait 12 ms.", "Pin 4."])
def test_sentences_that_can(sentence: str) -> None:
    assert review(DEVICE, answer(sentence)).explanation == sentence


def test_a_note_may_name_the_pins_of_its_own_peripheral_alone() -> None:
    text = answer("", ("lamp", "To GPIO4."), ("door", "To GPIO4."), ("light", "SDA on GPIO21."))
    reviewed = review(DEVICE, text)
    assert [note.peripheral for note in reviewed.wiring] == ["lamp", "light"]
    assert reviewed.withheld == (
        Withheld("To GPIO4.", "it names 'GPIO4', which is not a pin of it"),
    )


def test_one_note_for_each_and_none_too_long() -> None:
    text = answer("", ("lamp", "A."), ("lamp", "B."), ("door", "x" * 401), ("fan", ""))
    reviewed = review(DEVICE, text)
    assert reviewed.wiring == (WiringNote("lamp", "A."),)
    assert len(reviewed.withheld) == 3


def test_what_cannot_be_seen_is_gone() -> None:
    reviewed = review(DEVICE, answer("A\u202elamp\x07 \u200bis\non."))
    assert reviewed.explanation == "Alamp is on."


@given(st.one_of(st.text(max_size=80), st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["explanation", "wiring", "peripheral", "note"]), inner),
).map(json.dumps)))  # fmt: skip
def test_any_answer_is_reviewed_or_refused(text: str) -> None:
    try:
        reviewed = review(DEVICE, text)
    except OllamaError:
        return
    assert not set("<>`{}") & set(reviewed.explanation)


def test_markdown_is_escaped() -> None:
    assist = Assist("pass", "m", "A_lamp_.", (WiringNote("lamp", "one*two*"),))
    shown = assist.as_markdown(DEVICE)
    assert "A\\_lamp\\_\\." in shown
    assert "one\\*two\\*" in shown
