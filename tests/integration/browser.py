"""A real browser: Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Browser:
    """A headless Chromium; commands and events as NUL-terminated JSON over two pipes.

    A pipe needs no port and no WebSocket, and Chromium ends when ours is closed.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        # The child wants descriptors 3 and 4: ours are high, so that they do not collide.
        ends = (*os.pipe(), *os.pipe())
        theirs_in, self._to, self._from, theirs_out = (
            fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends
        )
        for end in ends:
            os.close(end)
        # As root, and in a container, its own sandbox and a large /dev/shm are not to be had.
        flags = (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-component-update"),
            *("--disable-background-networking", "--disable-sync", "--hide-scrollbars"),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *("--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"),
        )
        self._log = (folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            (
                *("/bin/sh", "-c", f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}', "sh"),
                *(str(program), *flags, "about:blank"),
            ),
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._received = bytearray()
        self._last_id = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Send a command, return its result; events on the way go to `events`."""
        self._send(method, session, params)
        deadline_s = time.monotonic() + DEADLINE_S
        while (message := self._receive(deadline_s)).get("id") != self._last_id:
            self.events.append(message)
        assert "error" not in message, f"{method}: {message['error']}"
        result: dict[str, Any] = message["result"]
        return result

    def _send(self, method: str, session: str, params: dict[str, Any]) -> None:
        self._last_id += 1
        command = {"id": self._last_id, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        os.write(self._to, json.dumps(command).encode() + b"\0")

    def _receive(self, deadline_s: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            readable, _, _ = select.select([self._from], [], [], deadline_s - time.monotonic())
            chunk = os.read(self._from, 1 << 16) if readable else b""
            assert chunk, f"Chromium said nothing; its log is {self._log.name}"
            self._received += chunk
        text, _, rest = self._received.partition(b"\0")
        self._received = rest
        message: dict[str, Any] = json.loads(text)
        return message

    def close(self) -> None:
        """End it, and all of its processes."""
        try:
            # Its answer may come, or the end of the pipe.
            self._send("Browser.close", "", {})
            self._process.wait(DEADLINE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for end in (self._to, self._from):
                os.close(end)
            self._log.close()


@dataclass
class Tab:
    """A tab with a storage of its own, and what it complained of."""

    browser: Browser
    session: str

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **params)

    def evaluate(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_until(self, expression: str) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not self.evaluate(expression):
            assert time.monotonic() < deadline_s, f"never became true: {expression}"
            time.sleep(0.05)

    def open(self, url: str) -> None:
        assert "errorText" not in (answer := self.call("Page.navigate", url=url)), answer
        self.wait_until(f"document.readyState === 'complete' && location.href === '{url}'")

    def resize(self, width: int, height: int = 800) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        print(path)

    def complaints(self) -> list[dict[str, Any]]:
        """Return what a console or the panel of issues would show, and failed requests."""
        bad = {"Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"}
        bad |= {"Runtime.consoleAPICalled", "Audits.issueAdded"}
        return [event for event in self.events() if event["method"] in bad]

    def requests(self) -> set[str]:
        return {
            event["params"]["request"]["url"]
            for event in self.events()
            if event["method"] == "Network.requestWillBeSent"
        }

    def events(self) -> list[dict[str, Any]]:
        return [event for event in self.browser.events if event.get("sessionId") == self.session]
