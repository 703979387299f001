from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Family:
    help: str
    kind: str = ""
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse(text: str) -> dict[str, Family]:
    """The exposition format 0.0.4, from its description and stricter: HELP, TYPE, samples."""
    assert text.endswith("\n")
    assert "\r" not in text
    families: dict[str, Family] = {}
    current = ""
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            assert found[1] not in families, f"{found[1]} comes twice"
            current = found[1]
            families[current] = Family(found[2])
        elif found := re.fullmatch(r"# TYPE (\S+) (gauge|counter|histogram)", line):
            assert found[1] == current
            assert not families[current].kind
            assert not families[current].samples
            families[current].kind = found[2]
        else:
            found = SAMPLE.fullmatch(line)
            assert found, f"not a sample: {line!r}"
            name = re.sub(r"_(bucket|sum|count)$", "", found[1])
            if families[current].kind == "histogram" and name == current:
                continue
            assert found[1] == current, f"{found[1]} under {current}"
            assert families[current].kind
            raw = found[2] or ""
            pairs = list(LABEL.finditer(raw))
            assert "".join(pair[0] for pair in pairs) == raw, f"not labels: {raw!r}"
            labels = tuple(
                (pair[1], re.sub(r"\\.", lambda m: UNESCAPED[m[0]], pair[2])) for pair in pairs
            )
            assert labels not in families[current].samples
            families[current].samples[labels] = float(found[3])
    assert all(family.kind for family in families.values())
    return families


@pytest.fixture
def parse_metrics() -> Callable[[str], dict[str, Family]]:
    return parse
