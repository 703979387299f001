"""What packages declare, in SPDX's terms: nothing concluded, nothing invented."""

from __future__ import annotations

from email.message import Message

import pytest

from pipeline.sbom.licences import joined, known_expression, of_debian_copyright, of_wheel

FORMAT = "Format: 1.0\n\n"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("GPL-2", ("GPL-2.0-only",)),
        ("GPL-2+", ("GPL-2.0-or-later",)),
        ("LGPL-2.1+", ("LGPL-2.1-or-later",)),
        ("AGPL-3", ("AGPL-3.0-only",)),
        ("GFDL-1.3+", ("GFDL-1.3-or-later",)),
        ("GFDL-NIV-1.3+", ("GFDL-1.3-no-invariants-or-later",)),
        ("Expat", ("MIT",)),
        ("BSD-3-clause", ("BSD-3-Clause",)),
        ("isc", ("ISC",)),
        ("GPL-2+ or Artistic", ("Artistic-1.0-Perl OR GPL-2.0-or-later",)),
        ("GPL-2 and Expat", ("GPL-2.0-only", "MIT")),
        ("GPL-2, Expat and Zlib", ("GPL-2.0-only", "MIT", "Zlib")),
        ("GPL-3+ with Bison exception", ("LicenseRef-GPL-3-with-Bison-exception",)),
        ("public-domain", ("LicenseRef-public-domain",)),
        ("BSD~unclear/x", ("LicenseRef-BSD-unclear-x",)),
        ("???", ("LicenseRef-unnamed",)),
    ],
)
def test_debian_short_names(field: str, expected: tuple[str, ...]) -> None:
    assert of_debian_copyright(f"{FORMAT}Files: *\nLicense: {field}\n text\n") == expected


def test_every_paragraph_of_a_machine_readable_file_counts_once() -> None:
    text = f"{FORMAT}License: Expat\n\nFiles: a\nLicense:  GPL-2+\n\nFiles: b\nLicense: Expat\n"
    assert of_debian_copyright(text) == ("GPL-2.0-or-later", "MIT")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see /usr/share/common-licenses/GPL-2.", ("GPL-2.0-only",)),
        (
            "version 2, or (at your option) any\nlater version; /usr/share/common-licenses/GPL-2'",
            ("GPL-2.0-or-later",),
        ),
        ("`/usr/share/common-licenses/Apache-2.0'", ("Apache-2.0",)),
        ("License: MIT is not read from prose", ()),
        ("all in /usr/share/common-licenses/ .", ()),
        ("", ()),
    ],
)
def test_other_copyright_files_name_common_licences(text: str, expected: tuple[str, ...]) -> None:
    assert of_debian_copyright(text) == expected


def metadata(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "mit or apache-2.0")], ("MIT OR Apache-2.0",)),
        ([("License-Expression", "MIT"), ("License", "BSD-3-Clause")], ("MIT",)),
        ([("License", "Apache 2.0")], ("Apache-2.0",)),
        ([("License", "BSD-3-Clause")], ("BSD-3-Clause",)),
        ([("Classifier", "License :: OSI Approved :: MIT License")], ("MIT",)),
        ([("License", "Copyright me\n, all rights")], ()),
        ([("Classifier", "License :: OSI Approved :: BSD License")], ()),
        ([("Classifier", "Topic :: MIT License")], ()),
        ([("License", "free as in beer")], ()),
        ([], ()),
    ],
)
def test_what_wheels_declare(fields: list[tuple[str, str]], expected: tuple[str, ...]) -> None:
    assert of_wheel(metadata(*fields)) == expected


def test_joined_expressions_are_expressions() -> None:
    assert joined([]) == ""
    assert joined(["A OR B"]) == "A OR B"
    text = joined(["Apache-2.0 OR MIT", "Zlib"])
    assert text == "(Apache-2.0 OR MIT) AND Zlib"
    assert known_expression(text) == text
