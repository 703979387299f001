"""The page for people on call: one HTML document that needs no other file.

`render` is a pure function of a View: no clock, no network. What comes from
outside reaches the document through `_text` alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from math import ceil, isfinite, isinf, isnan
from typing import Literal
from urllib.parse import quote

from monitoring.checks import WORDS, Check, Status

TITLE = "Accelerapp monitor"
DASH = "\N{EN DASH}"
REFRESH_S = 10.0
LONGEST_TEXT = 300
LONGEST_NAME = 80
LONGEST_CLAUSE = 120
MOST_CLAUSES = 4
# Of the box that a line is drawn in: fine enough for whole numbers, which keep the page small.
LINE_HEIGHT = 200


@dataclass(frozen=True, slots=True)
class Series:
    """Samples at even intervals, oldest first; None where nothing was known."""

    label: str
    unit: Literal["ratio", "s", "cores", "bytes"]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows. `at` is when it was made, in UTC; `revision` may be empty."""

    status: Status
    checks: tuple[Check, ...]
    series: tuple[Series, ...]
    series_interval_s: float
    version: str
    revision: str
    uptime_s: float
    stopping: bool
    at: datetime


STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --ink: #1d2124; --muted: #5d656c; --rule: #e2e4e3; --box: #f3f4f2;
  --pass: #17734a; --pass-soft: #e5f3eb;
  --warn: #8a5600; --warn-soft: #fbf0d9;
  --fail: #b3261e; --fail-soft: #fbe9e7;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #121517; --ink: #e7e9ea; --muted: #9ba4ab; --rule: #2b3135; --box: #191d20;
    --pass: #62cf9a; --pass-soft: #14281f;
    --warn: #ecb64c; --warn-soft: #2c2413;
    --fail: #ff8f85; --fail-soft: #331a18;
  }
}
.pass { --state: var(--pass); --soft: var(--pass-soft); }
.warn { --state: var(--warn); --soft: var(--warn-soft); }
.fail { --state: var(--fail); --soft: var(--fail-soft); }
* { box-sizing: border-box; }
html {
  background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font-size: clamp(100%, .4rem + .5vw, 150%);
}
body {
  margin: 0 auto; max-width: 72rem; padding: clamp(1rem, 4vw, 3.5rem);
  font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1, h2, p, figure { margin: 0; }
.reason, .output, tbody th, figcaption, .facts { overflow-wrap: anywhere; }
a { color: inherit; text-underline-offset: .2em; }
a:focus-visible { outline: 2px solid; outline-offset: .25em; }
#notice:not(:empty) {
  position: sticky; top: .5rem; z-index: 1; margin-bottom: 1rem;
  padding: .75rem 1.25rem; border-radius: .75rem;
  background: var(--ink); color: var(--paper); font-weight: 600;
}
.stale main { filter: grayscale(1); }
.mark { width: 1em; height: 1em; color: var(--state); }
.symbols { display: none; }
.glyph { fill: none; stroke: var(--paper); stroke-width: 2; stroke-linecap: round; }

header {
  display: grid; grid-template-columns: auto 1fr; gap: 0 1.5rem; align-items: center;
  padding: clamp(1.25rem, 4vw, 2.25rem); border-radius: 1rem; background: var(--soft);
}
header .mark { font-size: clamp(2.75rem, 9vw, 4.5rem); }
header p { font-size: .875rem; color: var(--muted); }
h1 { font-size: clamp(1.875rem, 6vw, 2.75rem); line-height: 1.15; letter-spacing: -.02em; }
h1 span {
  display: inline-block; padding: .3em .8em; border: 1px solid; border-radius: 2em;
  font-size: .875rem; line-height: 1; letter-spacing: 0; vertical-align: middle;
}
header .reason {
  grid-column: 2; max-width: 65ch; margin-top: .5rem; font-size: 1.0625rem; color: inherit;
}

h2, caption { padding: 0 0 .75rem; font-size: 1.125rem; font-weight: 600; text-align: left; }
table { width: 100%; margin-top: 3rem; border-collapse: collapse; }
th, td { padding: .75rem 1rem; text-align: left; vertical-align: baseline; font-weight: 400; }
thead th { padding-block: .5rem; font-size: .8125rem; color: var(--muted); }
tbody tr { border-top: 1px solid var(--rule); }
tbody .warn, tbody .fail { background: var(--soft); }
tbody th { min-width: 10rem; font-weight: 600; }
small { display: block; font-size: .8125rem; font-weight: 400; color: var(--muted); }
.state { font-weight: 600; color: var(--state); white-space: nowrap; }
.state .mark { margin-right: .5rem; vertical-align: -.125em; }
.output { width: 100%; min-width: 12rem; }
.value, .age, .took { text-align: right; white-space: nowrap; }
.need, tbody .age, tbody .took { font-size: .875rem; color: var(--muted); }

section { margin-top: 3rem; }
.lines {
  display: grid; gap: 2rem clamp(1.5rem, 4%, 2.5rem);
  grid-template-columns: repeat(auto-fill, minmax(max(min(11rem, 44%), 21%), 1fr));
}
figure { display: flex; flex-direction: column; min-width: 0; }
figcaption { flex: 1; font-size: .875rem; color: var(--muted); }
figcaption b { display: block; font-size: 1.375rem; font-weight: 600; color: var(--ink); }
figure svg { height: 3rem; margin: .5rem 0; overflow: visible; background: var(--box); }
figure p { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem; }
figure p { font-size: .8125rem; color: var(--muted); }
polyline {
  fill: none; stroke: var(--muted); stroke-width: 1.5; stroke-linecap: round;
  stroke-linejoin: round; vector-effect: non-scaling-stroke;
}
.now { stroke: var(--ink); stroke-width: 6; }

.facts, footer { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; font-size: .875rem; }
.facts { margin-top: 3.5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
.facts, footer { color: var(--muted); }
footer { margin-top: .75rem; }

@media screen and (max-width: 54rem) {
  table, thead, tbody, caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { display: flex; flex-wrap: wrap; gap: .125rem 1rem; padding: .875rem 1rem; }
  tbody th, tbody td { padding: 0; }
  tbody th { flex: 1; min-width: 0; }
  small { display: inline; }
  .state { flex: 0 0 4.75rem; }
  .output { order: 1; flex: 0 0 100%; padding-left: 5.75rem; }
  .need, .age, .took { order: 2; }
  .need { margin-left: 5.75rem; }
  td.age::before { content: "age "; }
  td.took::before { content: "took "; }
}
@media screen and (max-width: 32rem) {
  header .reason { grid-column: 1 / -1; margin-top: 1rem; }
  .output { padding-left: 0; }
  .need { margin-left: 0; }
  figure p { flex-direction: column; min-height: 3em; }
}
@media print {
  html { font-size: 11px; }
  body { max-width: none; padding: 0; }
  header { border: 1px solid; }
  tr, figure { break-inside: avoid; }
}
"""

SCRIPT = """
const page = document.documentElement, notice = document.getElementById("notice");
const everyMs = Number(page.dataset.refreshMs);
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, {cache: "no-store", credentials: "same-origin",
      signal: AbortSignal.timeout(everyMs / 2)});
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (fresh.documentElement.dataset.build !== page.dataset.build) return location.reload();
    for (const part of ["main", "link[rel=icon]"])
      document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
    document.title = fresh.title;
    notice.textContent = "";
    page.classList.remove("stale");
  } catch {
    const known = document.querySelector("time").textContent.slice(-12);
    notice.textContent = `No answer since ${known}. This is what was known then.`;
    document.title = "? No answer \\u2013 Accelerapp monitor";
    document.querySelector("link[rel=icon]").href = "data:,";
    page.classList.add("stale");
  }
}
setInterval(refresh, everyMs);
document.addEventListener("visibilitychange", refresh);
"""

# Shapes, so that no state is told by its colour alone: an outline and what it holds, 16 by 16.
_SHAPES: dict[Status, tuple[str, str]] = {
    "pass": ("M8 0a8 8 0 1 1 0 16A8 8 0 0 1 8 0Z", "m4.6 8.3 2.4 2.4 4.4-5.2"),
    "warn": (
        "M6.7.9a1.5 1.5 0 0 1 2.6 0l6.5 12.2a1.5 1.5 0 0 1-1.3 2.2h-13a1.5 1.5 0 0 1-1.3-2.2Z",
        "M8 5.4v4m0 3v0",
    ),
    "fail": ("M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7Z", "m5.2 5.2 5.6 5.6m0-5.6-5.6 5.6"),
}
_TIMES = ((86400, "d", "day"), (3600, "h", "hour"), (60, "min", "minute"), (1, "s", "second"))


def render(view: View, *, refresh_s: float = REFRESH_S) -> str:
    """The document; it asks for itself again every `refresh_s`, with and without JavaScript."""
    word = WORDS[view.status].capitalize()
    build = _text(f"{view.version} {view.revision}")
    return f"""<!DOCTYPE html>
<html lang="en" data-build="{build}" data-refresh-ms="{refresh_s * 1000:.0f}">
<head>
<meta charset="utf-8">
<title>{_TITLES[view.status]}{", stopping" if view.stopping else ""} {DASH} {TITLE}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<noscript><meta http-equiv="refresh" content="{ceil(refresh_s)}"></noscript>
<link rel="icon" href="{_ICONS[view.status]}">
<style>{STYLE}</style>
</head>
<body>
{_SYMBOLS}
<p id="notice" role="status" aria-live="polite"></p>
<main>
<header class="{view.status}">
{_mark(view.status)}
<div><p>{TITLE}</p><h1>{word}{" <span>Stopping</span>" if view.stopping else ""}</h1></div>
<p class="reason">{_reason(view)}</p>
</header>
{_table(view.checks)}
{_lines(view.series, view.series_interval_s)}
{_facts(view)}
</main>
<footer>{_LINKS}</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _reason(view: View) -> str:
    """One sentence: which checks are why the state is not better."""
    clauses = [_clause(check) for check in _worst_first(view.checks) if check.status != "pass"]
    if more := clauses[MOST_CLAUSES:]:
        verb = "is" if len(more) == 1 else "are"
        clauses[MOST_CLAUSES:] = [f"{len(more)} more {verb} not well"]
    if clauses:
        reason = "; ".join(clauses)
    elif view.status != "pass":
        reason = "No check says why"
    elif view.checks:
        count = len(view.checks)
        reason = f"All is well: {_count(count, 'check')} {'passes' if count == 1 else 'pass'}"
    else:
        reason = "Nothing is checked"
    return ("The monitor is stopping. " if view.stopping else "") + reason + "."


def _clause(check: Check) -> str:
    optional = "" if check.required else " (optional)"
    state = "is failing" if check.status == "fail" else "is degraded"
    output = _text(check.output, LONGEST_CLAUSE).rstrip(". ")
    because = f" {DASH} <bdi>{output}</bdi>" if output else ""
    return f"<b>{_text(check.component, LONGEST_NAME)}</b>{optional} {state}{because}"


def _worst_first(checks: Sequence[Check]) -> list[Check]:
    order = ("fail", "warn", "pass")
    return sorted(checks, key=lambda check: (order.index(check.weight), order.index(check.status)))


def _table(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    rows = "\n".join(_row(check) for check in _worst_first(checks))
    return f"""<table>
<caption>Checks</caption>
<thead><tr><th scope="col">State</th><th scope="col">Check</th><th scope="col">Output</th>\
<th scope="col" class="value">Value</th><th scope="col">Needed</th>\
<th scope="col" class="age">Age</th><th scope="col" class="took">Took</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _row(check: Check) -> str:
    measurement = check.name.partition(":")[2]
    component = _text(check.component, LONGEST_NAME)
    detail = _text(f"{measurement} {check.component_id}".strip(), LONGEST_NAME)
    return (
        f'<tr class="{check.status}">'
        f'<td class="state">{_mark(check.status)}{check.status}</td>'
        f'<th scope="row">{component} <small>{detail}</small></th>'
        f'<td class="output">{_text(check.output)}</td>'
        f'<td class="value">{_text(_quantity(check.value, check.unit))}</td>'
        f'<td class="need">{"required" if check.required else "optional"}</td>'
        f'<td class="age">{_age(check.age_s)}</td>'
        f'<td class="took">{_quantity(check.duration_s, "s")}</td></tr>'
    )


def _lines(series: Sequence[Series], interval_s: float) -> str:
    if not series:
        return ""
    # All end at the right edge, now, and share one scale of time.
    longest = max(2, *(len(one.values) for one in series))
    window = _words(interval_s * longest)
    figures = "\n".join(_figure(one, longest, window) for one in series)
    return f"""<section>
<h2>Last {window}</h2>
<div class="lines">
{figures}
</div>
</section>"""


def _figure(series: Series, longest: int, window: str) -> str:
    label = _text(series.label, LONGEST_NAME)
    known = [value for value in series.values if value is not None and isfinite(value)]
    now, spread, said, lines = DASH, "<span>no values</span>", "no values", ""
    if known:
        low, high = _quantity(min(known), series.unit), _quantity(max(known), series.unit)
        spread = f"<span>min {low}</span><span>max {high}</span>"
        said = f"not known now, lowest {low}, highest {high}"
        top = max(*known, 1.0) if series.unit == "ratio" else max(known)
        runs = _runs(series.values, longest - len(series.values), top)
        # A lone point is given twice: it shows as a dot, by its round cap.
        lines = "".join(
            f'<polyline points="{" ".join(run if len(run) > 1 else run * 2)}"/>' for run in runs
        )
        last = series.values[-1]
        if last is not None and isfinite(last):
            now = _quantity(last, series.unit)
            said = f"now {now}, lowest {low}, highest {high}"
            lines += f'<polyline class="now" points="{runs[-1][-1]} {runs[-1][-1]}"/>'
    return (
        f"<figure><figcaption>{label} <b>{now}</b></figcaption>"
        f'<svg role="img" aria-label="{label}, last {window}: {said}"'
        f' viewBox="0 0 {longest - 1} {LINE_HEIGHT}" preserveAspectRatio="none">'
        f"{lines}</svg><p>{spread}</p></figure>"
    )


def _runs(values: Sequence[float | None], left: int, top: float) -> list[list[str]]:
    """The points "x,y" of each run of known values: from `left` on, from 0 up to `top`."""
    runs: list[list[str]] = []
    begins = True
    for x, value in enumerate(values, start=left):
        if value is None or not isfinite(value):
            begins = True
            continue
        if begins:
            runs.append([])
            begins = False
        height = round(LINE_HEIGHT * (value / top)) if value > 0 else 0
        runs[-1].append(f"{x},{LINE_HEIGHT - height}")
    return runs


def _facts(view: View) -> str:
    at = view.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    facts = [f"Version {_text(view.version, LONGEST_NAME)}"]
    if view.revision:
        short = _text(view.revision[:10])
        facts.append(f'Revision <abbr title="{_text(view.revision)}">{short}</abbr>')
    facts.append(f"Up for {_words(view.uptime_s)}")
    facts.append(f'As of <time datetime="{at.replace(" ", "T")}Z">{at} UTC</time>')
    return '<p class="facts">' + "\n".join(f"<span>{fact}</span>" for fact in facts) + "</p>"


def _quantity(value: float | None, unit: str) -> str:
    """Three digits and a unit for people; a dash for what is not a number."""
    if value is None or isnan(value):
        return DASH
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "ratio":
        return f"{_digits(value * 100)}\u00a0%"
    if unit == "s":
        if abs(value) < 1:
            return f"{_digits(value * 1000)}\u00a0ms"
        return f"{_digits(value)}\u00a0s" if value < 120 else _age(value)
    if unit == "bytes":
        power = 0
        while abs(value) >= 1024 and power < len(_BYTES) - 1:
            value /= 1024
            power += 1
        return f"{_digits(value)}\u00a0{_BYTES[power]}"
    return f"{_digits(value)}\u00a0{unit}".rstrip()


def _digits(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if not 0.01 <= size < 1e6:
        return f"{value:.3g}"
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def _age(age_s: float) -> str:
    """Whole units, one kind of them."""
    if not age_s < 1e11:
        return DASH
    size, unit = next((size, unit) for size, unit, _ in _TIMES if age_s >= 2 * size or size == 1)
    return f"{max(age_s, 0) // size:.0f}\u00a0{unit}"


def _words(duration_s: float) -> str:
    """Two units at most: "3 days 4 hours"."""
    if not 0 <= duration_s < 1e11:
        return "an unknown time"
    whole_s = int(duration_s)
    for (size, _, word), (lower, _, lower_word) in pairwise(_TIMES):
        if whole_s >= size:
            count, rest_s = divmod(whole_s, size)
            rest = f" {_count(rest_s // lower, lower_word)}" if rest_s >= lower else ""
            return _count(count, word) + rest
    return _count(whole_s, "second")


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _text(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` as HTML for content and attributes, on one line and of bounded length.

    What cannot be encoded or would reorder or hide its neighbours (surrogates,
    controls, bidirectional marks) becomes U+FFFD.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if not text.isprintable():
        text = "".join(
            character if character.isprintable() else " " if character.isspace() else "\ufffd"
            for character in text
        )
    return escape(text, quote=True)


def _mark(status: Status) -> str:
    return f'<svg class="mark" aria-hidden="true"><use href="#{status}"/></svg>'


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SYMBOLS = "\n".join(
    (
        '<svg class="symbols" aria-hidden="true">',
        *(
            f'<symbol id="{status}" viewBox="0 0 16 16"><path fill="currentColor" d="{outline}"/>'
            f'<path class="glyph" d="{glyph}"/></symbol>'
            for status, (outline, glyph) in _SHAPES.items()
        ),
        "</svg>",
    )
)
# A browser's tab follows neither theme.
_TITLES: dict[Status, str] = {"pass": "● Healthy", "warn": "▲ Degraded", "fail": "■ Unhealthy"}
_ICON_COLOURS: dict[Status, str] = {"pass": "#2a9d63", "warn": "#c98a00", "fail": "#dc4437"}
_ICONS = {
    status: "data:image/svg+xml,"
    + quote(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
        f'<path fill="{colour}" d="{_SHAPES[status][0]}"/></svg>',
        safe="/:=",
    )
    for status, colour in _ICON_COLOURS.items()
}
# Relative, so that a proxy may serve the monitor below a path.
_LINKS = " ".join(f'<a href="{name}">/{name}</a>' for name in ("health", "metrics", "status"))
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_source(SCRIPT)}",
        f"style-src {_source(STYLE)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
