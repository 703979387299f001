"""Licences as Debian packages and wheels declare them, in SPDX's terms.

Nothing here concludes what a licence means: names that SPDX does not list become
`LicenseRef-…`, and where nothing is declared there is nothing (SPDX 2.3, annex D).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.message import Message

_FIELD = re.compile(r"^License:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_MACHINE_READABLE = re.compile(r"\A\s*Format(?:-Specification)?:", re.IGNORECASE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9]+(?:\.[0-9]+)*)?)")
_LATER = re.compile(r"any\s+later\s+version", re.IGNORECASE)
_GNU = re.compile(
    r"(?P<name>AGPL|LGPL|GPL|GFDL)-(?:NIV-)?(?P<version>[0-9](?:\.[0-9])?)(?P<later>\+?)"
)
_NO_INVARIANTS = "NIV-"
# Names of Debian's copyright format 1.0, and those that its packages use besides.
_DEBIAN = {
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "cc0-1": "CC0-1.0",
    "expat": "MIT",
    "mit-expat": "MIT",
    "mpl-2": "MPL-2.0",
    "openssl": "OpenSSL",
    "psf-2": "PSF-2.0",
    "unicode": "Unicode-DFS-2016",
    "zlib/libpng": "Zlib",
}
# Classifiers that name several licences, or no version, declare none.
_CLASSIFIERS = {
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
_SHORT_NAMES = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "mit license": "MIT",
    "psf": "PSF-2.0",
    "zpl 2.1": "ZPL-2.1",
}


def of_debian_copyright(text: str) -> tuple[str, ...]:
    """Return what a `copyright` file declares: SPDX expressions, sorted, each once.

    Of a file in Debian's machine-readable format the `License` fields count, of others the
    texts in /usr/share/common-licenses that they point at.
    """
    if _MACHINE_READABLE.match(text):
        names: Iterable[str] = (e for found in _FIELD.findall(text) for e in _expressions(found))
    else:
        later = "+" if _LATER.search(text) else ""
        names = (
            _identifier(name + later if _GNU.fullmatch(name) else name)
            for name in _COMMON.findall(text)
        )
    return tuple(sorted(set(names)))


def _expressions(field: str) -> tuple[str, ...]:
    """Return the expressions of one field; alternatives stay together, the rest is taken apart."""
    parts = re.split(r"\s*,\s*(?:and\s+|or\s+)?|\s+(and|or)\s+", field.strip(), flags=re.IGNORECASE)
    names = [part for part in parts[::2] if part]
    words = {(word or ",").lower() for word in parts[1::2]}
    if words == {"or"}:
        return (" OR ".join(sorted({_identifier(name) for name in names})),)
    return tuple(_identifier(name) for name in names)


def _identifier(name: str) -> str:
    """Return the SPDX identifier of a Debian short name, or a `LicenseRef-` for it."""
    if found := _GNU.fullmatch(name):
        family, version = found["name"], found["version"]
        version = version if "." in version else f"{version}.0"
        if family == "GFDL" and _NO_INVARIANTS in name:
            version += "-no-invariants"
        suffix = "or-later" if found["later"] else "only"
        if known := known_expression(f"{family}-{version}-{suffix}"):
            return known
    known = _DEBIAN.get(name.lower()) or known_expression(name)
    return known or "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "unnamed")


def of_wheel(metadata: Message) -> tuple[str, ...]:
    """Return what a wheel's METADATA declares: its expression (PEP 639), or else what its
    `License` field and its classifiers name without doubt."""
    if expression := known_expression(metadata.get("License-Expression", "")):
        return (expression,)
    declared = str(metadata.get("License") or "").strip()
    if len(declared) <= 64 and "\n" not in declared:
        name = _SHORT_NAMES.get(declared.lower()) or known_expression(declared)
        if name:
            return (name,)
    found = {
        _CLASSIFIERS.get(classifier.rpartition(" :: ")[2], "")
        for classifier in metadata.get_all("Classifier", [])
        if classifier.startswith("License :: ")
    }
    return tuple(sorted(found - {""}))


def known_expression(text: str) -> str:
    """Return an SPDX expression in its canonical spelling, or "" for what is none."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text)) if text else ""
    except InvalidLicenseExpression:
        return ""


def joined(expressions: Iterable[str]) -> str:
    """Return one expression for all of them, "" for none."""
    several = list(expressions)
    if len(several) == 1:
        return several[0]
    return " AND ".join(f"({e})" if " OR " in e else e for e in several)
