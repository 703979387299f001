"""What of a model's answer may be shown: a review by rules, sentence by sentence.

A model is not believed. What names a pin, a peripheral or a voltage that the device does
not have is withheld, and so is what could be more than a text: links, code, markup.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from accelerapp.assist.ollama import OllamaError
from accelerapp.device.model import Device, Peripheral

MAX_EXPLANATION = 1500
MAX_NOTE = 400
SHOWN = 200


class WiringNote(NamedTuple):
    peripheral: str
    note: str


class Withheld(NamedTuple):
    """`text` is the beginning of it, harmless to show."""

    text: str
    reason: str


class Reviewed(NamedTuple):
    explanation: str
    wiring: tuple[WiringNote, ...]
    withheld: tuple[Withheld, ...]


def review(device: Device, answer: str) -> Reviewed:
    """What passes, and what does not with the reason. OllamaError if it is no answer at all."""
    explanation, notes = _parts(answer)
    withheld: list[Withheld] = []
    all_pins = _pins(device.peripherals)
    kept = []
    for sentence in _sentences(_plain(explanation)):
        if reason := _objection(sentence, device, all_pins):
            withheld.append(Withheld(sentence[:SHOWN], reason))
        else:
            kept.append(sentence)
    wiring = []
    by_name = {peripheral.name.text.lower(): peripheral for peripheral in device.peripherals}
    by_name |= {peripheral.name.identifier: peripheral for peripheral in device.peripherals}
    for name, note in notes:
        plain = _plain(note)
        peripheral = by_name.pop(name.strip().lower(), None)
        if peripheral is None:
            reason = f"the device has no further peripheral {_plain(name)[:40]!r}"
        else:
            reason = _objection(plain, device, _pins((peripheral,)))
        if not plain or len(plain) > MAX_NOTE:
            reason = reason or f"a note has from 1 to {MAX_NOTE} characters"
        if reason or peripheral is None:
            withheld.append(Withheld(plain[:SHOWN], reason))
        else:
            wiring.append(WiringNote(peripheral.name.text, plain))
    return Reviewed(_within(kept, MAX_EXPLANATION), tuple(wiring), tuple(withheld))


def _parts(answer: str) -> tuple[str, list[tuple[str, str]]]:
    try:
        found = json.loads(answer)
        explanation = found["explanation"]
        notes = [(note["peripheral"], note["note"]) for note in found["wiring"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OllamaError("the model's answer has not the form that it was asked for") from None
    if not all(isinstance(text, str) for text in (explanation, *(t for n in notes for t in n))):
        raise OllamaError("the model's answer has not the form that it was asked for")
    return explanation, notes


def _plain(text: str) -> str:
    """One line without what cannot be seen."""
    kept = "".join(" " if c.isspace() else c for c in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c)[0] != "C").split())


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text) if part]


def _within(sentences: Iterable[str], longest: int) -> str:
    text = ""
    for sentence in sentences:
        if len(text) + 1 + len(sentence) > longest:
            break
        text = f"{text} {sentence}".strip()
    return text


def _pins(peripherals: Iterable[Peripheral]) -> frozenset[str]:
    labels = {pin.label for peripheral in peripherals for _, pin in peripheral.pins}
    for peripheral in peripherals:
        if peripheral.bus is not None:
            labels |= {label for _, label in peripheral.bus.pins}
    return frozenset(labels)


_MARKUP = re.compile(r"[<>`{}\\]|\]\(|\*\*|;\s*$|\b\w+\(\)|\b(?:https?|ftp|www)\b|://", re.I)
_PIN = re.compile(r"\b(?:(?:pins?|gpio|gp|io|d)[\s#:-]*([0-9]{1,2})|(a[0-9]{1,2}))\b", re.I)
_VOLTS = re.compile(r"\b([0-9]+(?:[.,][0-9]+)?)\s*(?:v|volts?)\b", re.I)


def _objection(text: str, device: Device, pins: frozenset[str]) -> str:
    """Why `text` cannot be shown; empty if it can."""
    if _MARKUP.search(text):
        return "it has a link, code or markup"
    for found in _PIN.finditer(text):
        pin = device.board.pin(found[1] or found[2])
        if pin is None or pin.label not in pins:
            return f"it names {found[0]!r}, which is not a pin of it"
    for found in _VOLTS.finditer(text):
        if float(found[1].replace(",", ".")) not in (0.0, 3.3, 5.0):
            return f"it names {found[0]!r}; the board has {device.board.volts:g} V logic"
    return ""
