from __future__ import annotations

import pytest

from accelerapp.device.boards import BOARDS
from accelerapp.device.description import load
from accelerapp.device.example import example
from accelerapp.device.peripherals import TYPES


@pytest.mark.parametrize("platform", BOARDS)
def test_it_raises_no_doubt_and_names_all_there_is(platform: str) -> None:
    text = example(platform)
    device = load(text)
    assert device.warnings == ()
    assert device.board.platform == platform
    words = set(text.replace(",", " ").replace(".", " ").split())
    assert words >= set(TYPES) | set(BOARDS)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100


def test_it_is_read_without_its_comments() -> None:
    bare = "\n".join(line.partition("#")[0] for line in example().splitlines())
    assert load(bare).as_dict() == load(example()).as_dict()


def test_an_unknown_platform() -> None:
    with pytest.raises(KeyError):
        example("pc")
