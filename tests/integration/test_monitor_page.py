"""The monitor's page in a real browser: Chromium, driven by its DevTools protocol.

The pages are served over loopback with the policy that the monitor sends, and by
nothing else of the monitor.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monitoring.checks import Check, Status
from monitoring.page import CONTENT_SECURITY_POLICY, Series, View, render
from tests.integration.browser import DEADLINE_S, Tab

WIDTHS = (320, 375, 768, 880, 1440)
WORDS: dict[Status, str] = {"pass": "Healthy", "warn": "Degraded", "fail": "Unhealthy"}


@dataclass
class Site:
    """What is served at `url` now, and the paths that were asked for."""

    view: View
    refresh_s: float = 3600.0
    status: int = 200
    # No answer while this is cleared.
    answers: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.answers.wait(DEADLINE_S)
                body = render(site.view, refresh_s=site.refresh_s).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(site.status)
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
                    self.send_header("X-Content-Type-Options", "nosniff")
                    # The page is to ask for news even where something lets it be kept.
                    self.send_header("Cache-Control", "max-age=3600")
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    @contextlib.contextmanager
    def serving(self, port: int = 0) -> Iterator[Site]:
        """Serve until the end of the block; then the port refuses connections."""
        self.answers.set()
        server = ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.answers.set()
            server.shutdown()
            thread.join()
            server.server_close()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])


AT = datetime(2026, 1, 2, 12, 3, 10, tzinfo=UTC)
HEALTHY = View(
    status="pass",
    checks=(
        Check("accelerapp:responseTime", "pass", "answered 200", 0.0123, "s", True, 3.2, 0.0123),
        Check("ollama:responseTime", "pass", "0.5.1, 3 models", 0.0041, "s", False, 3.1, 0.0041),
        Check("redis:responseTime", "pass", "PONG", 0.0008, "s", False, 2.9, 0.0008),
        Check("disk:free", "pass", "/: enough free", 2.5e10, "bytes", True, 4.0, 0.0001, "/"),
        Check("memory:utilization", "pass", "41.2% of the limit in use", 0.412, "ratio", True),
        Check("cpu:throttled", "pass", "quota of 2 cores; not used yet", None, "ratio", False),
        Check("python:environment", "pass", "all modules are there", None, "", True),
    ),
    series=(
        Series("accelerapp", "s", tuple(0.012 + 0.003 * math.sin(i / 3) for i in range(120))),
        Series("memory", "ratio", tuple(0.4 + 0.05 * math.cos(i / 9) for i in range(120))),
        Series("cpu", "cores", tuple(0.6 + 0.4 * math.sin(i / 5) ** 3 for i in range(120))),
        Series("redis", "s", (0.0008, None, 0.0009, 0.0009, *[None] * 116)),
    ),
    series_interval_s=10.0,
    version="1.0.0",
    revision="0123456789abcdef0123456789abcdef01234567",
    uptime_s=273_617.0,
    stopping=False,
    at=AT,
)
REDIS_FAILS = Check("redis:responseTime", "fail", "Connection refused", None, "s", False, 6.0, 0.1)
DISK_IS_LOW = Check("disk:free", "warn", "/: less than 1GiB free", 8e8, "bytes", True, 4.0, 0.1)
APPLICATION_FAILS = Check(
    "accelerapp:responseTime", "fail", "no answer within 2 s", 2.001, "s", True, 6.0, 2.001
)
DEGRADED = replace(HEALTHY, status="warn", checks=(*HEALTHY.checks[:2], REDIS_FAILS, DISK_IS_LOW))
UNHEALTHY = replace(DEGRADED, status="fail", checks=(APPLICATION_FAILS, *DEGRADED.checks[1:]))
# A tag, quotes, a bidirectional override, a lone surrogate, no place to break a line.
HOSTILE = "<script>alert('\"')</script>\u202e\ud800" + "x" * 5000
OVERFULL = replace(
    UNHEALTHY,
    stopping=True,
    checks=tuple(replace(check, name=HOSTILE, output=HOSTILE) for check in UNHEALTHY.checks),
    series=tuple(replace(series, label=HOSTILE) for series in UNHEALTHY.series),
    version=HOSTILE,
    revision=HOSTILE,
)
STATES = {"healthy": HEALTHY, "degraded": DEGRADED, "unhealthy": UNHEALTHY, "overfull": OVERFULL}


@pytest.mark.parametrize("state", STATES)
def test_page_is_clean_and_fits_in_both_schemes(tab: Tab, tmp_path: Path, state: str) -> None:
    backgrounds = set()
    with Site(STATES[state]).serving() as site:
        for scheme in ("light", "dark"):
            tab.prefer(scheme)
            tab.resize(WIDTHS[0])
            tab.open(site.url)
            for width in WIDTHS:
                tab.resize(width)
                overflow = "document.documentElement.scrollWidth - innerWidth"
                assert tab.evaluate(overflow) <= 0, f"{width} px wide"
                top = "document.querySelector('header').getBoundingClientRect().top"
                assert tab.evaluate(top) <= 60, f"{width} px wide"
                tab.screenshot(tmp_path / f"{state}-{scheme}-{width}.png")
            assert tab.evaluate(VISIBLE.format("h1")) == WORDS[site.view.status] + (
                " Stopping" if site.view.stopping else ""
            )
            backgrounds.add(tab.evaluate("getComputedStyle(document.documentElement).background"))
    assert len(backgrounds) == 2
    assert tab.complaints() == []
    assert {url for url in tab.requests() if not url.startswith("data:")} == {site.url}
    assert set(site.asked) == {"/"}


# The text of an element that is in sight, or nothing.
VISIBLE = """(() => {{
  const element = document.querySelector("{}"), box = element.getBoundingClientRect();
  return element.checkVisibility({{opacityProperty: true, visibilityProperty: true}}) &&
    box.width > 20 && box.height > 10 && element.innerText;
}})()"""


@pytest.mark.parametrize(
    ("directive", "trespass"),
    [
        ("img-src", "document.body.append(Object.assign(new Image(), {src: '/other'}))"),
        ("style-src-attr", "document.body.setAttribute('style', 'color: red')"),
        ("script-src-attr", "document.body.setAttribute('onclick', 'alert()')"),
    ],
)
def test_policy_is_in_force_and_trespass_is_noticed(
    tab: Tab, directive: str, trespass: str
) -> None:
    with Site(HEALTHY).serving() as site:
        tab.open(site.url)
        violated = f"""new Promise(done => {{
            addEventListener("securitypolicyviolation", event => done(event.effectiveDirective));
            {trespass};
        }})"""
        assert tab.evaluate(violated) == directive
    assert site.asked == ["/"]
    assert "Content Security Policy" in json.dumps(tab.complaints())


@pytest.mark.parametrize("width", WIDTHS)
def test_table_is_a_table_to_assistive_technology(tab: Tab, width: int) -> None:
    with Site(DEGRADED).serving() as site:
        tab.resize(width)
        tab.open(site.url)
        tab.call("Accessibility.enable")
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    assert ("table", "Checks") in named
    assert [name for role, name in named if role == "rowheader"] == [
        "redis responseTime",
        "disk free",
        "accelerapp responseTime",
        "ollama responseTime",
    ]
    columns = ["State", "Check", "Output", "Value", "Needed", "Age", "Took"]
    assert [name for role, name in named if role == "columnheader"] == columns
    images = [name for role, name in named if role == "image"]
    assert len(images) == len(DEGRADED.series)
    redis = "redis, last 20 minutes: not known now, lowest 0.80 ms, highest 0.90 ms"
    assert images[3].replace("\u00a0", " ") == redis


def test_page_says_all_and_renews_itself_without_javascript(tab: Tab) -> None:
    with Site(DEGRADED, refresh_s=1).serving() as site:
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.call("Page.navigate", url=site.url)
        deadline_s = time.monotonic() + DEADLINE_S
        while len(site.asked) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert site.asked[:2] == ["/", "/"]
        site.refresh_s = 3600
        text = ""
        while "refused" not in text and time.monotonic() < deadline_s:
            text = " ".join(tab.evaluate("document.body?.innerText ?? ''").split())
    for part in (
        "Degraded",
        "Connection refused",
        "763 MiB",
        "memory",
        "Up for 3 days 4 hours",
    ):
        assert part in text
    assert "No answer" not in text
    assert tab.complaints() == []


ICON = "document.querySelector('link[rel=icon]').href"
NOTICE = "document.querySelector('#notice').innerText"
TITLE = "\N{EN DASH} Accelerapp monitor"


def test_page_renews_itself_in_place(tab: Tab) -> None:
    with Site(HEALTHY, refresh_s=2).serving() as site:
        tab.open(site.url)
        tab.evaluate("document.mark = 'the same document'")
        healthy = tab.evaluate(ICON)
        site.view = replace(UNHEALTHY, at=AT + timedelta(seconds=10))
        tab.wait_until("document.querySelector('h1').innerText === 'Unhealthy'")
        assert tab.evaluate("document.title") == f"■ Unhealthy {TITLE}"
        assert tab.evaluate(ICON) != healthy
        assert "12:03:20 UTC" in tab.evaluate("document.querySelector('main').innerText")
        assert tab.evaluate("document.querySelectorAll('main, #notice, footer, use').length") == 8
        assert tab.evaluate("document.mark") == "the same document"
        assert tab.evaluate(NOTICE) == ""

        site.view = replace(HEALTHY, version="1.0.1")
        tab.wait_until("document.mark === undefined && document.readyState === 'complete'")
        assert "Version 1.0.1" in tab.evaluate("document.body.innerText")
    assert tab.complaints() == []


@pytest.mark.parametrize("failure", ["is gone", "hangs", "answers 500"])
def test_page_says_that_the_monitor_does_not_answer(tab: Tab, tmp_path: Path, failure: str) -> None:
    site = Site(HEALTHY, refresh_s=1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.serving())
        tab.open(site.url)
        healthy = tab.evaluate(ICON)
        if failure == "is gone":
            stack.close()
        elif failure == "hangs":
            site.answers.clear()
        else:
            site.status = 500
        tab.wait_until(f"{NOTICE} !== ''")
        notice = tab.evaluate(VISIBLE.format("#notice"))
        assert notice == "No answer since 12:03:10 UTC. This is what was known then."
        assert tab.evaluate("document.title") == f"? No answer {TITLE}"
        assert tab.evaluate(ICON) != healthy
        assert "grayscale" in tab.evaluate(
            "getComputedStyle(document.querySelector('main')).filter"
        )
        for scheme in ("light", "dark"):
            tab.prefer(scheme)
            tab.resize(WIDTHS[-1])
            tab.screenshot(tmp_path / f"no-answer-{scheme}.png")

        if failure == "is gone":
            stack.enter_context(site.serving(site.port))
        site.answers.set()
        site.status = 200
        site.view = UNHEALTHY
        tab.wait_until(f"document.title === '■ Unhealthy {TITLE}' && {NOTICE} === ''")
        assert tab.evaluate("document.querySelector('h1').innerText") == "Unhealthy"
        assert tab.evaluate("getComputedStyle(document.querySelector('main')).filter") == "none"


def test_page_that_nobody_sees_asks_nothing(tab: Tab) -> None:
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    with Site(HEALTHY, refresh_s=0.1).serving() as site:
        tab.open(site.url)
        tab.evaluate(hide % "true")
        tab.evaluate("new Promise(done => setTimeout(done, 500))")
        asked = len(site.asked)
        tab.evaluate("new Promise(done => setTimeout(done, 500))")
        assert len(site.asked) == asked
        site.view = UNHEALTHY
        tab.evaluate(hide % "false")
        tab.wait_until("document.querySelector('h1').innerText === 'Unhealthy'")


def test_page_asks_at_once_when_it_is_seen_again(tab: Tab) -> None:
    with Site(HEALTHY).serving() as site:
        tab.open(site.url)
        site.view = UNHEALTHY
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait_until("document.querySelector('h1').innerText === 'Unhealthy'")
