"""What a local model adds: an explanation and wiring notes, reviewed before anybody sees them.

Its absence degrades and never breaks: whatever goes wrong is a reason in the answer.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from accelerapp.assist.ollama import Ollama, OllamaError
from accelerapp.assist.prompt import ANSWER_SCHEMA, messages
from accelerapp.assist.review import Reviewed, WiringNote, Withheld, review
from accelerapp.device.model import Device

__all__ = ["Assist", "Assistant", "WiringNote", "Withheld"]

_log = logging.getLogger("accelerapp")

CHECK_PERIOD_S = 10.0
CHECK_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Assist:
    """What came of asking. With `pass` there is an explanation; with `degraded`, a reason."""

    status: Literal["pass", "degraded"]
    model: str
    explanation: str = ""
    wiring: tuple[WiringNote, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    reason: str = ""
    duration_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "model": self.model,
            "explanation": self.explanation,
            "wiring": [{"peripheral": n.peripheral, "note": n.note} for n in self.wiring],
            "withheld": [{"text": w.text, "reason": w.reason} for w in self.withheld],
            "reason": self.reason,
            "duration_s": round(self.duration_s, 3),
        }

    def as_markdown(self, device: Device) -> str:
        """ASSIST.md: what the model wrote, and how far to trust it."""
        from accelerapp.generate.templates import markdown

        lines = [
            f"# {markdown(device.name.text)}: notes of a model",
            "",
            f"Written by {markdown(self.model)}, not by a person. Accelerapp checked that notes",
            "name peripherals, pins and voltages of this device; whether the rest is true, it",
            "cannot tell. What did not pass was left out.",
            "",
            *([markdown(self.explanation), ""] if self.explanation else []),
        ]
        lines += [f"- **{markdown(n.peripheral)}**: {markdown(n.note)}" for n in self.wiring]
        if self.withheld:
            count = len(self.withheld)
            lines += ["", f"{count} statement{'' if count == 1 else 's'} left out."]
        return "\n".join(lines).rstrip() + "\n"


@dataclass
class _Health:
    status: Literal["pass", "warn"] = "pass"
    output: str = "not asked yet"
    asked_s: float = field(default=float("-inf"))
    asking: bool = False


class Assistant:
    """Asks one model at one Ollama, at most `concurrency` times at once. Thread-safe."""

    def __init__(self, url: str, model: str, deadline_s: float, concurrency: int) -> None:
        self._ollama = Ollama(url)
        self._model = model
        self._deadline_s = deadline_s
        self._slots = threading.BoundedSemaphore(concurrency)
        self._concurrency = concurrency
        self._health = _Health()
        self._lock = threading.Lock()

    def explain(self, device: Device) -> Assist:
        """Ask, review, answer; never raises for what Ollama does."""
        if not self._slots.acquire(blocking=False):
            return Assist(
                "degraded",
                self._model,
                reason=f"busy: {self._concurrency} are asked already; try again later",
            )
        start_s = time.monotonic()
        try:
            answer = self._ollama.chat(
                self._model, messages(device), ANSWER_SCHEMA, self._deadline_s
            )
            reviewed = review(device, answer)
        except OllamaError as error:
            _log.warning("assist degraded: %s", error)
            return Assist(
                "degraded",
                self._model,
                reason=str(error),
                duration_s=time.monotonic() - start_s,
            )
        finally:
            self._slots.release()
        return self._assist(reviewed, time.monotonic() - start_s)

    def _assist(self, reviewed: Reviewed, duration_s: float) -> Assist:
        empty = not reviewed.explanation and not reviewed.wiring
        return Assist(
            "degraded" if empty else "pass",
            self._model,
            reviewed.explanation,
            reviewed.wiring,
            reviewed.withheld,
            "nothing that the model wrote passed the review" if empty else "",
            duration_s,
        )

    def check(self) -> tuple[Literal["pass", "warn"], str]:
        """What is known of Ollama and the model, at once; asks in the background when it is old."""
        with self._lock:
            health = self._health
            stale = time.monotonic() - health.asked_s > CHECK_PERIOD_S
            if stale and not health.asking:
                health.asking = True
                threading.Thread(target=self._refresh, name="ollama-check", daemon=True).start()
            return health.status, health.output

    def _refresh(self) -> None:
        status: Literal["pass", "warn"] = "warn"
        try:
            models = self._ollama.models(CHECK_DEADLINE_S)
            wanted = self._model if ":" in self._model else f"{self._model}:latest"
            if wanted in models:
                status, output = "pass", f"{self._model} is there"
            else:
                output = f"model {self._model!r} is not there; run: ollama pull {self._model}"
        except OllamaError as error:
            output = str(error)
        with self._lock:
            self._health = _Health(status, output, time.monotonic())
