"""What is said of paired runs: the arithmetic, the marks, the Markdown."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from benchmarks.summary import (
    LIMIT,
    Comparison,
    Machine,
    Missing,
    Report,
    code,
    limited,
    markdown,
)

BASE, CHANGE = "a" * 40, "b" * 40
LACKS = Missing("No idea what 'matrix' is!", lacking=True)
FAILS = Missing("error: no wheel for `x`; | @everybody <b>", lacking=False)


def times(base: object, head: object, unit: str = "seconds") -> Comparison:
    return Comparison("invoke --list", unit, base, head)  # type: ignore[arg-type]


def report(*comparisons: Comparison, **changes: object) -> Report:
    one = Report(
        base=BASE,
        head=CHANGE,
        reference="main",
        runs=3,
        machine=Machine(cores=4, python="3.13.1", system="Linux x86_64"),
        comparisons=comparisons,
        base_sizes={"linux/amd64: image": 21_870_957, "gone": 1},
        head_sizes={"linux/amd64: image": 21_871_000, "new": 2},
    )
    return dataclasses.replace(one, **changes)  # type: ignore[arg-type]


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_ratio_is_that_of_pairs_not_of_medians() -> None:
    """A machine that got slower half-way through has slowed both."""
    one = times((1.0, 1.0, 4.0, 4.0, 8.0), (1.1, 1.1, 4.4, 4.4, 8.8))
    assert one.ratios == pytest.approx((1.1,) * 5)
    assert one.row() == ("invoke --list", "4.00 s", "4.40 s", "1.10 slower", "1.10-1.10")
    # Medians would say 2.0 / 1.0.
    assert times((1.0, 1.0, 4.0), (1.0, 2.0, 4.0)).row()[3:] == ("1.00", "1.00-2.00")


@pytest.mark.parametrize(
    ("ratios", "unit", "verdict"),
    [
        ((1.2, 1.06, 1.3, 1.1, 1.2), "seconds", "slower"),
        ((0.9, 0.8, 0.94, 0.9, 0.8), "seconds", "faster"),
        ((1.2, 1.06, 1.3, 1.1, 1.2), "bytes", "more"),
        ((0.9, 0.8, 0.94, 0.9, 0.8), "bytes", "less"),
        # On one side, and not by much.
        ((1.01, 1.05, 1.3, 1.02, 1.06), "seconds", ""),
        ((0.99, 0.95, 0.8, 0.98, 0.9), "seconds", ""),
        # By much, and one pair says otherwise, or says nothing.
        ((0.99, 1.5, 1.6, 1.5, 1.5), "seconds", ""),
        ((1.0, 1.5, 1.6, 1.5, 1.5), "seconds", ""),
        ((1.01, 0.5, 0.6, 0.5, 0.5), "seconds", ""),
        ((1.0, 0.5, 0.6, 0.5, 0.5), "seconds", ""),
        # Too few to say.
        ((1.5,) * 4, "seconds", ""),
        ((0.5,), "bytes", ""),
    ],
)
def test_only_what_is_beyond_the_noise_is_marked(
    ratios: tuple[float, ...], unit: str, verdict: str
) -> None:
    one = times(tuple(1.0 for _ in ratios), ratios, unit)
    assert one.verdict == verdict
    ratio = cells(markdown(report(one)), "invoke --list")[3]
    assert ratio.startswith("**") is bool(verdict)
    assert verdict in ratio


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.00123, "1.23 ms"), (0.0123, "12 ms"), (0.8644, "864 ms"), (1.0, "1.00 s"), (75, "75.00 s")],
)
def test_seconds_are_for_people(seconds: float, shown: str) -> None:
    assert times((seconds,), (seconds,)).row()[1:3] == (shown, shown)


def test_memory_is_in_mebibytes() -> None:
    assert times((3 << 20,), (6 << 20,), "bytes").row()[1:4] == ("3.0 MiB", "6.0 MiB", "2.00")


def test_what_the_base_lacks_is_a_line_and_no_failure() -> None:
    one = report(times(LACKS, (1.0, 3.0, 2.0)), base_sizes=LACKS)
    text = markdown(one)
    assert cells(text, "invoke --list") == ["invoke --list", "not in the base", "2.00 s", "", ""]
    assert cells(text, "new") == ["new", "not in the base", "2", ""]
    assert one.problems == ()
    assert "failed" not in text


def test_what_fails_is_said_with_its_reason_which_formats_nothing() -> None:
    one = report(times((1.0,) * 3, FAILS), head_sizes=FAILS)
    assert [problem[:2] for problem in one.problems] == [
        ("this change", "invoke --list"),
        ("this change", "sizes"),
    ]
    text = markdown(one)
    assert cells(text, "invoke --list")[1:] == ["1.00 s", "failed in this change", "", ""]
    assert "- sizes failed in this change: `error: no wheel for 'x'; ¦ @everybody <b>`\n" in text
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "@" not in outside
    assert "<" not in outside


def test_sizes_have_their_exact_difference() -> None:
    text = markdown(report())
    assert cells(text, "linux/amd64: image")[1:] == ["21,870,957", "21,871,000", "+43"]
    assert cells(text, "gone")[1:] == ["1", "not in this change", ""]
    assert cells(text, "new")[1:] == ["not in the base", "2", ""]
    same = report(base_sizes={"x": 5, "y": 5000}, head_sizes={"x": 5, "y": 3999})
    assert cells(markdown(same), "x")[3] == "none"
    assert cells(markdown(same), "y")[3] == "-1,001"


def test_the_markdown_says_what_was_measured_on_what() -> None:
    text = markdown(report(times((1.0,) * 3, (1.0,) * 3)))
    assert text.startswith("## ")
    assert f"`{CHANGE[:12]}`, its base `{BASE[:12]}` (`main`)" in text
    assert "4 cores, Python 3.13.1, Linux x86_64" in text
    assert "pairs of runs: 3" in text
    assert "ratio of paired runs" in text
    assert "same commit" not in text
    tables = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert tables == [6] * 3 + [5] * 5


@pytest.mark.parametrize(
    ("counts", "said"), [((3, 3), "3,"), ((3, 9, 5), "3 to 9,"), ((), "none,")]
)
def test_the_number_of_pairs_is_that_which_was_measured(counts: tuple[int, ...], said: str) -> None:
    comparisons = [times((1.0,) * count, (1.0,) * count) for count in counts]
    assert f"pairs of runs: {said}" in markdown(report(*comparisons, times(LACKS, (1.0,) * 7)))


def test_a_commit_beside_itself_is_said_to_be_noise() -> None:
    assert "same commit: every ratio here is this machine's noise" in markdown(report(head=BASE))


@pytest.mark.parametrize(
    "reference", ["a|b", "x`<img src=x>`", "[a](https://example.org)", "@team\n# big\u202e"]
)
def test_a_branch_s_name_formats_nothing(reference: str) -> None:
    text = markdown(report(times((1.0,), (1.0,)), reference=reference))
    (line,) = [line for line in text.splitlines() if line.startswith("This change is")]
    spans = re.fullmatch(r"This change is `\w+`, its base `\w+` \(`([^`|]+)`\)\.", line)
    assert spans
    assert spans[1].isprintable()
    assert "\n# big" not in text


def test_a_commit_s_own_name_is_not_said_twice() -> None:
    assert "(`" not in markdown(report(reference=BASE))
    assert "(`" not in markdown(report(reference=BASE[:7]))


def test_long_text_is_shortened() -> None:
    assert code("x" * 5000) == f"`{'x' * 199}…`"
    assert code("") == "` `"


def test_the_markdown_is_no_longer_than_a_comment_may_be() -> None:
    many = tuple(
        Comparison(f"measurement {number}", "seconds", (1.0,), (1.0,)) for number in range(5000)
    )
    text = markdown(report(*many))
    assert LIMIT - 300 < len(text) <= LIMIT
    *rows, _, end = text.rstrip("\n").split("\n")
    assert "longer than a comment may be" in end
    assert all(row.count("|") == 6 for row in rows if row.startswith("| measurement "))
    short = "x\n" * (LIMIT // 2)
    assert limited(short) == short
    assert len(limited("x" * (LIMIT * 2))) <= LIMIT


def test_the_document_has_every_run() -> None:
    one = report(times((1.0, 2.0, 4.0), (2.0, 4.0, 4.0)), times(LACKS, (1.0,)), base_sizes=FAILS)
    document = json.loads(json.dumps(one.document()))
    assert document["measurements"] == [
        {
            "name": "invoke --list",
            "unit": "seconds",
            "base": [1.0, 2.0, 4.0],
            "head": [2.0, 4.0, 4.0],
            "ratio": 2.0,
            "range": [1.0, 2.0],
            "verdict": None,
        },
        {
            "name": "invoke --list",
            "unit": "seconds",
            "base": {"lacking": True, "reason": LACKS.reason},
            "head": [1.0],
            "ratio": None,
            "range": None,
            "verdict": None,
        },
    ]
    assert document["sizes"]["base"] == {"lacking": False, "reason": FAILS.reason}
    assert document["sizes"]["head"]["new"] == 2
    assert (document["base"], document["head"], document["runs"]) == (BASE, CHANGE, 3)
    assert document["machine"] == {"cores": 4, "python": "3.13.1", "system": "Linux x86_64"}
