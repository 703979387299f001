"""Names in every form that generated files need, and what cannot be a name.

One name becomes a folder, a C++ variable, a Python attribute, a class and a heading,
so it has to be harmless in all of them.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

LONGEST = 40

# ISO/IEC 14882:2020, tables 4 and 5, and what C++ keeps as alternative tokens.
CPP_KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq
    """.split()  # noqa: SIM905
)
PYTHON_KEYWORDS = frozenset(word.lower() for word in keyword.kwlist)
# Files that Windows takes for devices, whatever their suffix.
WINDOWS_DEVICES = frozenset(
    ["aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)


@dataclass(frozen=True, slots=True)
class Name:
    """`text` as it was given; `identifier` is `front_lamp`, for C++ and Python.

    Two names are one when their identifiers are.
    """

    text: str
    identifier: str

    @property
    def slug(self) -> str:
        """`front-lamp`: for folders, files and package names."""
        return self.identifier.replace("_", "-")

    @property
    def class_name(self) -> str:
        """`FrontLamp`."""
        return "".join(word.capitalize() for word in self.identifier.split("_"))

    def __str__(self) -> str:
        return self.text


def parse_name(text: str) -> Name:
    """The name that `text` is; ValueError, whose text says what is wrong and what would do.

    ASCII letters, digits, spaces, `-` and `_`; a letter first, a letter or digit last.
    """
    if not text:
        raise ValueError("a name cannot be empty; give letters, digits, spaces, - or _")
    if len(text) > LONGEST:
        raise ValueError(f"a name has at most {LONGEST} characters, this one has {len(text)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]*", text):
        raise ValueError(
            f"{text!r} cannot be a name; begin with a letter, go on with letters,"
            " digits, spaces, - or _"
        )
    if text[-1] in " _-":
        raise ValueError(f"{text!r} cannot be a name; end with a letter or a digit")
    identifier = re.sub(r"[ _-]+", "_", text).lower()
    taken = [
        language
        for language, words in (("C++", CPP_KEYWORDS), ("Python", PYTHON_KEYWORDS))
        if identifier in words
    ]
    if taken:
        raise ValueError(
            f"{text!r} is a keyword of {' and '.join(taken)};"
            f" choose another name, such as {'my_' + identifier!r}"
        )
    if identifier in WINDOWS_DEVICES:
        raise ValueError(
            f"{text!r} is a device on Windows, where no folder may have its name;"
            f" choose another, such as {'my_' + identifier!r}"
        )
    return Name(text, identifier)
