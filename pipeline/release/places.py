"""Where the version is written: in one file; everywhere else it is copied, by a release.

A place is a pattern in a file whose group `version` is the version in one of its spellings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ReleaseRefused
from pipeline.helm.chart import CHART
from pipeline.helm.manifest import MANIFEST
from pipeline.release.version import Version

SOURCE = Path("src/accelerapp/__init__.py")
"""The one place."""
_VERSION = r"(?P<version>[0-9][0-9A-Za-z.-]*[0-9])"


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file that name the version, in Python's spelling or in SemVer's."""

    file: Path
    pattern: re.Pattern[str]
    is_python: bool = False
    is_example: bool = False
    """Whether it may name any version, or none: only the one that was current is replaced."""

    def spell(self, version: Version) -> str:
        """Return the version as this place spells it."""
        return version.python if self.is_python else version.semver

    def named(self, text: str) -> list[str]:
        """Return what the file's text says here, once for each time."""
        return [found["version"] for found in self.pattern.finditer(text)]

    def replaced(self, text: str, old: Version, version: Version) -> str:
        """Return the file's text with another version than `old`."""

        def change(found: re.Match[str]) -> str:
            if self.is_example and found["version"] != self.spell(old):
                return found[0]
            whole, at = found[0], found.start()
            start, end = found.start("version") - at, found.end("version") - at
            return f"{whole[:start]}{self.spell(version)}{whole[end:]}"

        return self.pattern.sub(change, text)


_PYTHON = re.compile(rf'^__version__ = "{_VERSION}"$', re.MULTILINE)
_INSTALL = re.compile(rf"helm (?:install|upgrade)\b.* --version {_VERSION}(?=\s)")
PLACES = (
    Place(SOURCE, _PYTHON, is_python=True),
    # An image of its own, which imports nothing of the application.
    Place(Path("monitoring/__init__.py"), _PYTHON, is_python=True),
    Place(CHART / "Chart.yaml", re.compile(rf"^version: {_VERSION}$", re.MULTILINE)),
    Place(CHART / "Chart.yaml", re.compile(rf'^appVersion: "{_VERSION}"$', re.MULTILINE)),
    Place(CHART / "README.md", _INSTALL),
    *(
        Place(Path(guide), pattern, is_example=True)
        for guide in ("README.md", "DEPLOYMENT.md")
        for pattern in (_INSTALL, re.compile(rf"/accelerapp:v{_VERSION}-[a-z]+\b"))
    ),
)
IN_MANIFEST = (
    Place(MANIFEST, re.compile(rf"\A# accelerapp {_VERSION} on Kubernetes")),
    Place(MANIFEST, re.compile(rf"^ +image: \S*/accelerapp:v{_VERSION}-[a-z]+$", re.MULTILINE)),
)
"""Of what `invoke k8s.render` makes of the chart."""


def read_version(root: Path) -> Version:
    """Return the version in the one place; raises `ReleaseRefused`."""
    text = _text(root, SOURCE)
    named = PLACES[0].named(text)
    version = Version.parse(named[0]) if len(named) == 1 else None
    if version is None or version.python != named[0]:
        raise ReleaseRefused(
            f"{SOURCE} names no version", hint='write one line: __version__ = "1.2.3"'
        )
    return version


def written(root: Path, version: Version) -> Mapping[Path, str]:
    """Return the files that a version is copied to, with it, by path; raises `ReleaseRefused` for
    one that has no place for it."""
    old = read_version(root)
    texts: dict[Path, str] = {}
    for place in PLACES:
        if place.is_example and not (root / place.file).exists():
            continue
        text = texts.get(place.file) or _text(root, place.file)
        if not place.is_example and len(place.named(text)) != 1:
            raise ReleaseRefused(
                f"{place.file} has no one line for the version",
                hint=f"it has to match {place.pattern.pattern}",
            )
        texts[place.file] = place.replaced(text, old, version)
    return texts


def disagreements(root: Path, version: Version) -> tuple[str, ...]:
    """Return what names another version than this one, or none where one is needed."""
    wrong = []
    for place in (*(place for place in PLACES if not place.is_example), *IN_MANIFEST):
        named = place.named(_text(root, place.file))
        if not named:
            wrong.append(f"{place.file} names no version")
        wrong += [f"{place.file} names {one}" for one in named if one != place.spell(version)]
    return tuple(dict.fromkeys(wrong))


def _text(root: Path, path: Path) -> str:
    try:
        return (root / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not UTF-8").lower()
        raise ReleaseRefused(f"{path} cannot be read: {reason}") from None
