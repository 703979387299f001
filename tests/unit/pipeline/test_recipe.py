"""A layer described in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.lock import LockedPackage
from pipeline.platforms import Platform
from pipeline.recipe import Recipe
from pipeline.settings import File, Suite
from pipeline.sources.project import ProjectWheel
from pipeline.sources.requirements import LockedWheel
from pipeline.sources.wheels import Metadata

EMPTY = Recipe(
    kind="application",
    image="production",
    platform=Platform.AMD64,
    suite=Suite("bookworm", "3.11", (2, 36)),
    epoch_s=0,
    key="",
    below=(),
)
PACKAGE = LockedPackage("libc6", "2.36", "amd64", "debian", "pool/c.deb", "0" * 64, 1)


def wheels(count: int) -> tuple[LockedWheel, ...]:
    return tuple(LockedWheel(f"w{i}", "1.0", f"w{i}.whl", "0" * 64, 1) for i in range(count))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, "links"),
        ({"packages": (PACKAGE,) * 3}, "3 Debian packages"),
        ({"wheels": wheels(2)}, "w0 1.0, w1 1.0"),
        ({"wheels": wheels(6)}, "w0 1.0, w1 1.0, w2 1.0, w3 1.0, w4 1.0, w5 1.0"),
        (
            {"wheels": wheels(9)},
            "w0 1.0, w1 1.0, w2 1.0, w3 1.0, w4 1.0, w5 1.0 and 3 more wheels",
        ),
        (
            {
                "project": ProjectWheel("m.whl", "0" * 64, Metadata("mini", "2.0", (), "", ())),
                "files": (File("a", "/a"),),
                "directories": ("/app/x", "/app/y"),
            },
            "mini 2.0; 1 files or folders of the repository; /app/x /app/y",
        ),
    ],
)
def test_history_says_what_a_layer_holds(parts: dict[str, Any], expected: str) -> None:
    assert replace(EMPTY, **parts).summary == expected


def test_nobody_is_added_unless_asked() -> None:
    assert (EMPTY.user.uid, EMPTY.new_user) == (0, False)
