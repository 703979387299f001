"""The interface under /v1: from a description in a request to files in an answer."""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from accelerapp import __version__
from accelerapp.assist import Assist, Assistant
from accelerapp.device.boards import BOARDS, Board
from accelerapp.device.description import DescriptionInvalid, load
from accelerapp.device.document import DescriptionUnreadable, Syntax
from accelerapp.device.model import Device, Problem
from accelerapp.device.peripherals import TYPES, PeripheralType
from accelerapp.events import Publisher
from accelerapp.generate import File, Generated, generate
from accelerapp.generate.archive import archive
from accelerapp.generate.output import OutputError, write
from accelerapp.metrics import Metrics
from accelerapp.settings import Settings

_log = logging.getLogger("accelerapp")

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
JSON_TYPES = ("application/json",)
ANSWER_TYPES = ("application/json", "application/zip")
WAIT_S = 2.0


class Refusal(Exception):
    """An answer that is no success: RFC 9457's `status`, `detail` and our `errors`."""

    def __init__(
        self,
        status: int,
        detail: str,
        problems: tuple[Problem, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = problems
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    content_type: str
    headers: dict[str, str]


class Generator:
    """POST /v1/generate, without HTTP: at most `concurrency` generations at once."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        assistant: Assistant | None,
        publisher: Publisher | None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._assistant = assistant
        self._publisher = publisher
        self._slots = threading.BoundedSemaphore(settings.concurrency)

    def answer(self, body: bytes, syntax: Syntax, content_type: str, *, save: bool) -> Answer:
        """The files of the description in `body`, as `content_type`. Raises Refusal."""
        with self._slot():
            device = self._load(body, syntax)
            generated = generate(device)
        # Outside of the slot: a model takes seconds, and others want to generate.
        assist = self._assist(device) if device.assist else None
        files = generated.files
        if assist is not None and assist.status == "pass":
            files = (*files, File("ASSIST.md", assist.as_markdown(device)))
        if save:
            self._save(files, device)
        answer = self._answer(generated, files, assist, content_type, saved=save)
        self._metrics.generations.labels(device.board.platform, "generated").inc()
        self._metrics.generated_bytes.inc(generated.size_bytes)
        self._publish(generated)
        return answer

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=WAIT_S):
            self._metrics.generations.labels("", "busy").inc()
            raise Refusal(
                503,
                f"{self._settings.concurrency} descriptions are being worked on; try again",
                headers={"Retry-After": "1"},
            )
        try:
            yield
        finally:
            self._slots.release()

    def _load(self, body: bytes, syntax: Syntax) -> Device:
        try:
            return load(body, syntax, max_bytes=self._settings.max_body_bytes)
        except DescriptionUnreadable as error:
            self._metrics.generations.labels("", "unreadable").inc()
            raise Refusal(400, "the description cannot be read", error.problems) from None
        except DescriptionInvalid as error:
            self._metrics.generations.labels("", "invalid").inc()
            count = len(error.problems)
            detail = f"the description has {count} problem{'' if count == 1 else 's'}"
            raise Refusal(422, detail, error.problems) from None

    def _assist(self, device: Device) -> Assist:
        if self._assistant is None:
            return Assist(
                "degraded",
                self._settings.ollama_model,
                reason="this service has no model; set OLLAMA_HOST for it",
            )
        assist = self._assistant.explain(device)
        self._metrics.assists.labels(assist.status).inc()
        self._metrics.assist_seconds.labels(assist.status).observe(assist.duration_s)
        return assist

    def _save(self, files: tuple[File, ...], device: Device) -> None:
        folder = self._settings.output_dir
        try:
            write(files, folder / device.name.slug, within=folder)
        except OutputError as error:
            self._metrics.generations.labels(device.board.platform, "unsaved").inc()
            _log.warning("%s", error)
            if error.full:
                raise Refusal(507, "the disk for outputs is full; nothing was saved") from None
            if error.foreign:
                raise Refusal(
                    409, f"{device.name.slug} is there and was not generated; choose another name"
                ) from None
            raise Refusal(
                503, "outputs cannot be written; nothing was saved", headers={"Retry-After": "60"}
            ) from None

    def _answer(
        self,
        generated: Generated,
        files: tuple[File, ...],
        assist: Assist | None,
        content_type: str,
        *,
        saved: bool,
    ) -> Answer:
        device = generated.device
        headers = {"Accelerapp-Digest": generated.digest}
        if assist is not None:
            headers["Accelerapp-Assist"] = assist.status
        if content_type == "application/zip":
            headers["Content-Disposition"] = f'attachment; filename="{device.name.slug}.zip"'
            return Answer(archive(files, device.name.slug), content_type, headers)
        shown = {
            "device": {
                "name": device.name.text,
                "platform": device.board.platform,
                "version": device.version,
            },
            "digest": generated.digest,
            "files": [
                {
                    "path": file.path,
                    "size_bytes": len(file.content.encode()),
                    "content": file.content,
                }
                for file in files
            ],
            "warnings": [warning.as_dict() for warning in device.warnings],
            "assist": assist.as_dict() if assist is not None else None,
            "saved": device.name.slug if saved else None,
        }
        return Answer(json.dumps(shown, ensure_ascii=False).encode() + b"\n", content_type, headers)

    def _publish(self, generated: Generated) -> None:
        if self._publisher is not None:
            now = datetime.fromtimestamp(time.time(), UTC)
            self._publisher.publish(
                {
                    "device": generated.device.name.text,
                    "platform": generated.device.board.platform,
                    "digest": generated.digest,
                    "files": str(len(generated.files)),
                    "size_bytes": str(generated.size_bytes),
                    "at": now.isoformat(timespec="milliseconds"),
                    "version": __version__,
                }
            )


@functools.cache
def platforms() -> bytes:
    """GET /v1/platforms: boards with pins and buses, and all that can be connected."""
    shown = {
        "platforms": [_board(board) for board in BOARDS.values()],
        "peripherals": [_type(kind) for kind in TYPES.values()],
    }
    return json.dumps(shown, ensure_ascii=False).encode() + b"\n"


def _board(board: Board) -> dict[str, Any]:
    return {
        "platform": board.platform,
        "title": board.title,
        "language": board.language,
        "volts": board.volts,
        "pins": [
            {
                "label": pin.label,
                "number": pin.number,
                "abilities": sorted(pin.abilities),
                "reserved": pin.reserved,
                "note": pin.note,
            }
            for pin in board.pins
        ],
        "buses": [
            {"name": bus.name, "kind": bus.kind, "pins": dict(bus.pins)} for bus in board.buses
        ],
    }


def _type(kind: PeripheralType) -> dict[str, Any]:
    return {
        "type": kind.name,
        "title": kind.title,
        "bus": kind.bus,
        "pins": [{"role": role.name, "needs": sorted(role.needs)} for role in kind.roles],
        "options": [
            {
                "name": option.name,
                "kind": option.kind,
                "default": option.default,
                "meaning": option.meaning,
                "minimum": option.minimum,
                "maximum": option.maximum,
                "choices": list(option.choices),
            }
            for option in kind.options
        ],
        "channels": [
            {
                "name": channel.name,
                "kind": channel.kind,
                "access": channel.access,
                "meaning": channel.meaning,
                "unit": channel.unit,
                "minimum": channel.minimum,
                "maximum": channel.maximum,
            }
            for channel in kind.channels
        ],
        "wiring": kind.wiring,
    }
