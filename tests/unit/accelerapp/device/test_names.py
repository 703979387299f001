from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerapp.device.names import CPP_KEYWORDS, LONGEST, parse_name


def test_a_name_in_all_its_forms() -> None:
    name = parse_name("Front  Lamp_2")
    assert name.text == str(name) == "Front  Lamp_2"
    assert name.identifier == "front_lamp_2"
    assert name.slug == "front-lamp-2"
    assert name.class_name == "FrontLamp2"


@pytest.mark.parametrize(
    "text",
    [
        *("", "1st", "_a", "-a", " a", "a ", "a-", "a_", "../x", "a/b", "a\\b", "a.b", "a\x00"),
        *("\u00e4", "a\nb", "~root", "$(x)", "{{x}}", "a" * (LONGEST + 1)),
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="name") as caught:
        parse_name(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", sorted(CPP_KEYWORDS) + [w.lower() for w in keyword.kwlist])
def test_keywords_are_refused_with_another_name(text: str) -> None:
    with pytest.raises(ValueError, match="is a keyword of") as caught:
        parse_name(text.upper())
    assert f"my_{text}" in str(caught.value)


@pytest.mark.parametrize("text", ["con", "NUL", "Com1", "lpt9"])
def test_windows_devices_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="device on Windows"):
        parse_name(text)


@given(st.text(max_size=50))
def test_every_name_is_harmless_everywhere(text: str) -> None:
    try:
        name = parse_name(text)
    except ValueError:
        return
    assert name.identifier.isidentifier()
    assert not keyword.iskeyword(name.identifier)
    assert name.identifier not in CPP_KEYWORDS
    assert name.identifier.isascii()
    assert set(name.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
