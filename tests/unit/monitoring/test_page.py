from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import page
from monitoring.checks import WORDS, Check, Status
from monitoring.page import CONTENT_SECURITY_POLICY, STYLE, Series, View, render

VOID = {"meta", "link"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Every element below with this tag and these attributes, in the document's order."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            element
            for element in self._below()
            if tag in ("", element.tag) and wanted.items() <= element.attributes.items()
        ]

    def one(self, tag: str = "", **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    def _below(self) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child._below()

    @property
    def raw(self) -> str:
        return "".join(c if isinstance(c, str) else c.raw for c in self.children)

    @property
    def text(self) -> str:
        """What a reader sees, with ordinary spaces."""
        return " ".join(self.raw.split())


class Document(HTMLParser):
    """The tree of a document; AssertionError for what a browser would have to mend."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.at = self.root
        self.declared = ""
        self.feed(page)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is not closed"
        ids = [
            element.attributes["id"] for element in self.root.all() if "id" in element.attributes
        ]
        assert len(set(ids)) == len(ids)

    def handle_decl(self, decl: str) -> None:
        self.declared = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            child = self.at.children[-1]
            assert isinstance(child, Element)
            self.at = child

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}>: {attrs}"
        attributes = {name: value or "" for name, value in attrs}
        self.at.children.append(Element(tag, attributes, self.at))

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> in <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def tree(view: View) -> Element:
    return Document(render(view)).root


def check(name: str, status: Status = "pass", output: str = "well", **changes: object) -> Check:
    plain = Check(name, status, output, None, "", True, 3.9, 0.0123)
    return replace(plain, **changes)  # type: ignore[arg-type]


def view(status: Status = "pass", *checks: Check, **changes: object) -> View:
    plain = View(
        status=status,
        checks=checks,
        series=(),
        series_interval_s=10.0,
        version="1.2.3",
        revision="0123456789abcdef",
        uptime_s=0.0,
        stopping=False,
        at=datetime(2026, 1, 2, 12, 3, 10, tzinfo=UTC),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


REDIS = check("redis:responseTime", "fail", "Connection refused", required=False)
DISK = check("disk:free", "warn", "/: less than 1GiB free.", value=850e6, unit="bytes")
APPLICATION = check("accelerapp:responseTime", "fail", "no answer within 2 s", value=2, unit="s")
MEMORY = check("memory:utilization", value=0.4125, unit="ratio", age_s=0.0, duration_s=None)
FULL = view(
    "fail",
    *(MEMORY, REDIS, DISK, APPLICATION, *(check(f"check{i}:value") for i in range(6))),
    series=tuple(
        Series(f"series {i}", "s", tuple((i + j * 7 % 100) / 1000 for j in range(120)))
        for i in range(8)
    ),
)


def test_document_is_whole() -> None:
    document = Document(render(FULL))
    assert document.declared == "DOCTYPE html"
    html = document.root.one("html")
    assert html.attributes["lang"] == "en"
    head = html.one("head")
    assert head.all()[0].attributes == {"charset": "utf-8"}
    assert "width=device-width" in head.one("meta", name="viewport").attributes["content"]
    assert [element.tag for element in html.all() if element.tag in ("h1", "main", "script")] == [
        "main",
        "h1",
        "script",
    ]
    assert html.one("p", id="notice").attributes["aria-live"] == "polite"
    assert html.one("p", id="notice").raw == ""


def test_page_needs_no_other_file() -> None:
    page = render(FULL)
    references = re.findall(r"(?:https?:)?//[^\s\"'%]+", page)
    assert references == ["http://www.w3.org/2000/svg"]
    assert "url(" not in page
    assert "@import" not in page
    for element in Document(page).root.all():
        for name, value in element.attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in ("href", "src"):
                assert value.startswith(("data:", "#")) or value in ("health", "metrics", "status")


def test_policy_allows_the_script_and_the_style_and_nothing_else_inline() -> None:
    root = tree(FULL)
    allowed = {}
    for name in ("script", "style"):
        digest = hashlib.sha256(root.one(name).raw.encode()).digest()
        allowed[f"{name}-src"] = [f"'sha256-{base64.b64encode(digest).decode()}'"]
    directives = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert {name: value.split(" ") for name, value in directives.items()} == {
        **allowed,
        "default-src": ["'none'"],
        "connect-src": ["'self'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert tree(view()).one("script").raw == root.one("script").raw


@pytest.mark.parametrize(
    ("status", "title"),
    [("pass", "● Healthy"), ("warn", "▲ Degraded"), ("fail", "■ Unhealthy")],
)
def test_state_is_a_word_a_shape_and_a_title(status: Status, title: str) -> None:
    root = tree(view(status))
    header = root.one("header")
    assert header.attributes["class"] == status
    assert header.one("h1").text == WORDS[status].capitalize()
    shape = header.one("use").attributes["href"].removeprefix("#")
    assert shape == status
    assert root.one("title").text == f"{title} \N{EN DASH} Accelerapp monitor"


def test_states_differ_in_shape_and_icon() -> None:
    outlines = {symbol.all("path")[0].attributes["d"] for symbol in tree(view()).all("symbol")}
    icons = {tree(view(status)).one("link", rel="icon").attributes["href"] for status in WORDS}
    assert len(outlines) == len(icons) == len(WORDS) == 3


def test_the_tab_has_the_shape_of_the_page() -> None:
    # The outline, filled: of the glyph alone a tab would show a speck.
    symbols = {symbol.attributes["id"]: symbol for symbol in tree(view()).all("symbol")}
    for status in get_args(Status):
        icon = tree(view(status)).one("link", rel="icon").attributes["href"]
        drawn = Document(unquote(icon.removeprefix("data:image/svg+xml,"))).root.one("path")
        outline, glyph = symbols[status].all("path")
        assert drawn.attributes["d"] == outline.attributes["d"] != glyph.attributes["d"]


def test_stopping_is_said() -> None:
    root = tree(view("pass", MEMORY, stopping=True))
    assert root.one("h1").text == "Healthy Stopping"
    assert root.one("title").text.startswith("● Healthy, stopping ")
    reason = root.one("p", class_="reason").text
    assert reason == "The monitor is stopping. All is well: 1 check passes."
    assert "topping" not in tree(view("pass", MEMORY)).one("body").text


@pytest.mark.parametrize(
    ("status", "checks", "reason"),
    [
        ("pass", [], "Nothing is checked."),
        ("pass", [MEMORY], "All is well: 1 check passes."),
        ("pass", [MEMORY, MEMORY], "All is well: 2 checks pass."),
        ("warn", [DISK, MEMORY], "disk is degraded - /: less than 1GiB free."),
        ("fail", [check("a:b", "fail", "")], "a is failing."),
        ("fail", [MEMORY], "No check says why."),
        (
            "fail",
            [MEMORY, DISK, REDIS, APPLICATION],
            "accelerapp is failing - no answer within 2 s; "
            "redis (optional) is failing - Connection refused; "
            "disk is degraded - /: less than 1GiB free.",
        ),
        (
            "fail",
            [check(f"c{i}:x", "fail", "") for i in range(7)],
            "c0 is failing; c1 is failing; c2 is failing; c3 is failing; 3 more are not well.",
        ),
        (
            "fail",
            [check(f"c{i}:x", "fail", "") for i in range(5)],
            "c0 is failing; c1 is failing; c2 is failing; c3 is failing; 1 more is not well.",
        ),
    ],
)
def test_one_sentence_says_why(status: Status, checks: list[Check], reason: str) -> None:
    text = tree(view(status, *checks)).one("p", class_="reason").text
    assert text.replace("\N{EN DASH}", "-") == reason


def test_table_has_the_checks_with_the_worst_first() -> None:
    disk = replace(DISK, component_id="/data", age_s=200.0)
    table = tree(view("fail", MEMORY, disk, REDIS, APPLICATION)).one("table")
    assert table.one("caption").text == "Checks"
    columns = table.one("thead").all("th")
    assert {column.attributes["scope"] for column in columns} == {"col"}
    assert [column.text for column in columns] == (
        ["State", "Check", "Output", "Value", "Needed", "Age", "Took"]
    )
    rows = table.one("tbody").all("tr")
    assert [[cell.text for cell in row.all() if cell.tag in ("td", "th")] for row in rows] == [
        [
            *("fail", "accelerapp responseTime", "no answer within 2 s", "2.00 s"),
            *("required", "3 s", "12.3 ms"),
        ],
        [
            *("fail", "redis responseTime", "Connection refused", "\N{EN DASH}"),
            *("optional", "3 s", "12.3 ms"),
        ],
        [
            *("warn", "disk free /data", "/: less than 1GiB free.", "811 MiB"),
            *("required", "3 min", "12.3 ms"),
        ],
        ["pass", "memory utilization", "well", "41.2 %", "required", "0 s", "\N{EN DASH}"],
    ]
    for row in rows:
        assert row.one("th").attributes["scope"] == "row"
        assert row.one("th").all("small")
        assert row.one("use").attributes["href"] == f"#{row.attributes['class']}"
        assert row.one("td", class_="state").text == row.attributes["class"]


def test_equals_keep_their_order() -> None:
    statuses: list[Status] = ["pass", "warn"]
    checks = [check(f"c{i}:x", status) for i, status in enumerate(statuses * 4)]
    rows = tree(view("warn", *checks)).one("tbody").all("th")
    assert [row.text[:2] for row in rows] == ["c1", "c3", "c5", "c7", "c0", "c2", "c4", "c6"]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "bytes", "0 B"),
        (1023, "bytes", "1023 B"),
        (1024, "bytes", "1.00 KiB"),
        (1536, "bytes", "1.50 KiB"),
        (25 * 2**30, "bytes", "25.0 GiB"),
        (2.0**70, "bytes", "1.05e+06 PiB"),
        (-2048, "bytes", "-2.00 KiB"),
        (0.0, "s", "0 ms"),
        (-0.0, "s", "0 ms"),
        (0.0000012, "s", "0.0012 ms"),
        (0.0123, "s", "12.3 ms"),
        (0.5, "s", "500 ms"),
        (1, "s", "1.00 s"),
        (119, "s", "119 s"),
        (120, "s", "2 min"),
        (600, "s", "10 min"),
        (1e300, "s", "\N{EN DASH}"),
        (0.4125, "ratio", "41.2 %"),
        (1, "ratio", "100 %"),
        (0.25, "cores", "0.25 cores"),
        (3, "", "3.00"),
        (9.99, "", "9.99"),
        (10, "", "10.0"),
        (999_999, "", "999999"),
        (1e6, "", "1e+06"),
        (3, "<b>", "3.00 <b>"),
        (float("nan"), "s", "\N{EN DASH}"),
        (float("inf"), "bytes", "∞"),
        (float("-inf"), "ratio", "-∞"),
        (1.7e308, "ratio", "inf %"),
        (None, "s", "\N{EN DASH}"),
    ],
)
def test_values_for_people(value: float | None, unit: str, shown: str) -> None:
    table = tree(view("pass", check("a:b", value=value, unit=unit))).one("tbody")
    assert table.one("td", class_="value").text == shown


@pytest.mark.parametrize(
    ("age_s", "shown"),
    [
        (-0.001, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
        (float("nan"), "\N{EN DASH}"),
        (float("inf"), "\N{EN DASH}"),
    ],
)
def test_ages_for_people(age_s: float, shown: str) -> None:
    table = tree(view("pass", check("a:b", age_s=age_s))).one("tbody")
    assert table.one("td", class_="age").text == shown


@pytest.mark.parametrize(
    ("uptime_s", "words"),
    [
        (0, "0 seconds"),
        (1.9, "1 second"),
        (61, "1 minute 1 second"),
        (3600, "1 hour"),
        (3 * 86400 + 4 * 3600 + 59, "3 days 4 hours"),
        (86400 + 59, "1 day"),
        (-1, "an unknown time"),
        (float("nan"), "an unknown time"),
        (float("inf"), "an unknown time"),
    ],
)
def test_foot(uptime_s: float, words: str) -> None:
    root = tree(view(uptime_s=uptime_s))
    assert root.one("p", class_="facts").text == (
        f"Version 1.2.3 Revision 0123456789 Up for {words} As of 2026-01-02 12:03:10 UTC"
    )
    assert root.one("time").attributes["datetime"] == "2026-01-02T12:03:10Z"
    assert root.one("abbr").attributes["title"] == "0123456789abcdef"
    links = {link.text: link.attributes["href"] for link in root.one("footer").all("a")}
    assert links == {"/health": "health", "/metrics": "metrics", "/status": "status"}
    assert "Revision" not in tree(view(revision="")).one("body").text


def test_time_is_shown_in_utc() -> None:
    abroad = datetime(2026, 1, 2, 1, 3, 10, tzinfo=timezone(timedelta(hours=2)))
    time = tree(view(at=abroad)).one("time")
    assert time.text == "2026-01-01 23:03:10 UTC"
    assert time.attributes["datetime"] == "2026-01-01T23:03:10Z"


def figures(*series: Series) -> list[Element]:
    return tree(view(series=series)).all("figure")


def points(figure: Element) -> list[str]:
    lines = figure.one("svg").all("polyline")
    return [line.attributes["points"] for line in lines if "class" not in line.attributes]


def test_line_runs_from_zero_at_the_bottom_to_the_most_at_the_top() -> None:
    (figure,) = figures(Series("redis", "s", (0.0, 0.001, 0.004, 0.002)))
    assert figure.one("svg").attributes["viewbox"] == "0 0 3 200"
    assert points(figure) == ["0,200 1,150 2,0 3,100"]
    assert figure.one("polyline", class_="now").attributes["points"] == "3,100 3,100"
    assert figure.one("figcaption").text == "redis 2.00 ms"
    assert [span.text for span in figure.all("span")] == ["min 0 ms", "max 4.00 ms"]
    assert figure.one("svg").attributes["role"] == "img"
    said = figure.one("svg").attributes["aria-label"].replace("\u00a0", " ")
    assert said == "redis, last 40 seconds: now 2.00 ms, lowest 0 ms, highest 4.00 ms"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.5, 0.25), ["0,100 1,150"]),
        ((0.0, 0.0), ["0,200 1,200"]),
        ((1.0, 1.0), ["0,0 1,0"]),
        ((2.0, 1.0), ["0,0 1,100"]),
        ((-1.0, 0.5), ["0,200 1,100"]),
    ],
)
def test_ratio_is_drawn_on_a_scale_to_one_or_more(
    values: tuple[float, ...], expected: list[str]
) -> None:
    (figure,) = figures(Series("memory", "ratio", values))
    assert points(figure) == expected


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf"), float("-inf")])
def test_gap_breaks_the_line(unknown: float | None) -> None:
    (figure,) = figures(Series("cpu", "cores", (unknown, 1, 2, unknown, 2, unknown, unknown)))
    assert points(figure) == ["1,100 2,0", "4,0 4,0"]
    assert figure.all("polyline", class_="now") == []
    assert figure.one("figcaption").text == "cpu \N{EN DASH}"
    assert ": not known now, lowest 1.00" in figure.one("svg").attributes["aria-label"]


def test_flat_single_and_absent_values() -> None:
    flat, zero, single, absent, unknown = figures(
        Series("flat", "bytes", (3, 3)),
        Series("zero", "bytes", (0, 0)),
        Series("single", "ratio", (0.5,)),
        Series("absent", "s", ()),
        Series("unknown", "s", (None, None)),
    )
    assert points(flat) == ["0,0 1,0"]
    assert points(zero) == ["0,200 1,200"]
    assert points(single) == ["1,100 1,100"]
    for figure in (absent, unknown):
        assert points(figure) == []
        assert figure.one("p").text == "no values"
        label = f"{figure.one('figcaption').text[:-2]}, last 20 seconds: no values"
        assert figure.one("svg").attributes["aria-label"] == label


def test_lines_share_the_window_and_end_now() -> None:
    series = (Series("old", "s", (1.0,) * 120), Series("young", "s", (1.0, 0.5)))
    root = tree(view(series=series))
    assert root.one("h2").text == "Last 20 minutes"
    old, young = root.all("figure")
    assert young.one("svg").attributes["viewbox"] == old.one("svg").attributes["viewbox"]
    assert old.one("svg").attributes["viewbox"] == "0 0 119 200"
    assert points(young) == ["118,0 119,100"]
    assert points(old)[0].endswith(" 119,0")


def test_nothing_to_show_is_not_shown() -> None:
    root = tree(view())
    assert root.all("table") == root.all("section") == []


HOSTILE = [
    "<script>alert(1)</script>",
    "</main><img src=x onerror=alert(1)>",
    "\"' onmouseover='x' \"",
    "&lt;&amp;&#60;",
    "<!-- ",
    "]]>",
    "{0} %s ${x}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text(text: str) -> None:
    plain = everywhere("x")
    hostile = everywhere(text)
    assert [(element.tag, *element.attributes) for element in hostile.all()] == [
        (element.tag, *element.attributes) for element in plain.all()
    ]
    shown = " ".join(text.split())
    (cell,) = hostile.all("td", class_="output")
    assert cell.text == shown
    assert shown in hostile.one("p", class_="reason").text
    assert shown in hostile.one("svg", role="img").attributes["aria-label"]
    assert shown in hostile.one("p", class_="facts").text


def everywhere(text: str) -> Element:
    return tree(
        view(
            "fail",
            check(text, "fail", text, value=1.0, unit=text, component_id=text),
            series=(Series(text, "s", (1.0,)),),
            version=text,
            revision=text,
        )
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\u2028d", "a b c d"),
        ("a\x00b\x1bc\x7fd", "a\ufffdb\ufffdc\ufffdd"),
        ("a\u202eb\u2066c\u200fd", "a\ufffdb\ufffdc\ufffdd"),
        ("a\ud800b", "a\ufffdb"),
        ("ü 日本 🙂", "ü 日本 🙂"),
        ("x" * 300, "x" * 300),
        ("x" * 10_000, "x" * 299 + "…"),
    ],
)
def test_text_is_one_bounded_line_that_can_be_encoded(text: str, shown: str) -> None:
    page = render(view("warn", check("a:b", "warn", text)))
    assert page.encode().decode() == page
    assert Document(page).root.one("td", class_="output").text == shown


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", by WCAG 2."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def themes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert STYLE.index("(prefers-color-scheme: dark)") < STYLE.index(dark)
    colours = re.compile(r"--([a-z-]+): (#[0-9a-f]{6});")
    return {"light": dict(colours.findall(light)), "dark": dict(colours.findall(dark))}


def test_contrast_arithmetic() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("texts", "backgrounds"),
    [
        ("ink muted", "paper pass-soft warn-soft fail-soft"),
        ("pass", "paper pass-soft"),
        ("warn", "paper warn-soft"),
        ("fail", "paper fail-soft"),
        ("paper", "ink pass warn fail"),
        ("muted ink", "box"),
    ],
)
def test_contrast_is_enough(theme: str, texts: str, backgrounds: str) -> None:
    colours = themes()[theme]
    for text in texts.split():
        for background in backgrounds.split():
            ratio = contrast(colours[text], colours[background])
            assert ratio >= 4.5, f"{text} on {background}: {ratio:.2f}"


def test_themes_have_the_same_colours_and_every_one_is_defined() -> None:
    light, dark = themes().values()
    assert light.keys() == dark.keys()
    assert light.keys().isdisjoint(name for name in light if light[name] == dark[name])
    used = set(re.findall(r"var\(--([a-z-]+)\)", STYLE))
    assert used == light.keys() | {"state", "soft"}
    # The rules themselves name no colour: a theme would miss it.
    assert len(re.findall(r"#[0-9a-fA-F]{3,8}\b", STYLE)) == len(light) + len(dark)


def test_same_view_same_page_and_small() -> None:
    page = render(FULL)
    assert render(replace(FULL)) == page
    assert len(FULL.checks) == 10
    assert len(page.encode()) < 25_000


def test_refresh_is_the_same_with_and_without_javascript() -> None:
    for refresh_s, attribute, content in ((10.0, "10000", "10"), (0.25, "250", "1")):
        root = Document(render(view(), refresh_s=refresh_s)).root
        assert root.one("html").attributes["data-refresh-ms"] == attribute
        (meta,) = root.one("noscript").all("meta")
        assert meta.attributes == {"http-equiv": "refresh", "content": content}
    assert render(view()) == render(view(), refresh_s=10.0)


def test_a_new_build_shows_in_the_root_element() -> None:
    # The script loads the whole page anew for it, as its style may be another.
    builds = [
        tree(view(version=version, revision=revision)).one("html").attributes["data-build"]
        for version, revision in (("1", ""), ("1", "a"), ("2", "a"))
    ]
    assert len(set(builds)) == 3


def test_script_puts_no_text_into_markup() -> None:
    script = tree(view()).one("script").raw
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|\.src", script)
    assert "</" not in script


# Surrogates, too, which st.text() leaves out by itself.
anything = st.text(st.characters(exclude_categories=())) | st.sampled_from(HOSTILE)
numbers = st.floats() | st.integers(-(10**20), 10**20)
any_check = st.builds(
    Check,
    name=anything,
    status=st.sampled_from(get_args(Status)),
    output=anything,
    value=st.none() | numbers,
    unit=st.sampled_from(["s", "bytes", "ratio", ""]) | anything,
    required=st.booleans(),
    age_s=st.floats(),
    duration_s=st.none() | st.floats(),
    component_id=anything,
)
any_series = st.builds(
    Series,
    label=anything,
    unit=st.sampled_from(["ratio", "s", "cores", "bytes"]),
    values=st.lists(st.none() | numbers, max_size=9).map(tuple),
)
any_view = st.builds(
    View,
    status=st.sampled_from(get_args(Status)),
    checks=st.lists(any_check, max_size=6).map(tuple),
    series=st.lists(any_series, max_size=3).map(tuple),
    series_interval_s=st.floats(),
    version=anything,
    revision=anything,
    uptime_s=st.floats(),
    stopping=st.booleans(),
    at=st.datetimes(timezones=st.just(UTC)),
)


@given(any_view)
def test_any_view_becomes_a_document(shown: View) -> None:
    page = render(shown)
    root = Document(page.encode().decode()).root
    assert len(root.all("tbody")) == bool(shown.checks)
    assert len(root.all("th", scope="row")) == len(shown.checks)
    assert len(root.all("figure")) == len(shown.series)
    assert root.one("main").one("time").attributes["datetime"].endswith("Z")
    assert [element.tag for element in root.all() if element.tag in ("script", "style")] == [
        "style",
        "script",
    ]
    for line in root.all("polyline"):
        assert re.fullmatch(r"\d,\d+( \d,\d+)+", line.attributes["points"])
        for point in line.attributes["points"].split():
            assert 0 <= int(point.partition(",")[2]) <= 200


def test_a_page_without_checks_says_nothing_of_them() -> None:
    root = tree(view())
    assert root.all("table") == []
    assert "None" not in render(view()).partition("<script")[0]


@pytest.mark.parametrize("seconds", [1e11, float("inf"), float("nan")])
def test_times_that_no_clock_gives_are_unknown(seconds: float) -> None:
    assert page._age(seconds) == page.DASH
    assert page._words(seconds) == "an unknown time"


def test_times_have_units() -> None:
    assert page._age(99_999_999_999.0).endswith("\u00a0d")
    assert page._words(99_999_999_999.0).startswith("1157407 days")
    assert page._words(-1) == "an unknown time"
    assert page._words(0) == "0 seconds"
    assert page._words(1) == "1 second"
    assert page._words(3 * 86400 + 4 * 3600 + 5) == "3 days 4 hours"
    assert page._words(86400) == "1 day"
