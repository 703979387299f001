"""A version, in both of its spellings: Python's (PEP 440) and that of charts and tags (SemVer 2).

`1.3.0rc1` and `1.3.0-rc.1` are one version.  Releases have three numbers; pre-releases are
alphas, betas and release candidates, which both specifications put in that order.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import OptionInvalid, nearest

_KINDS = (("alpha", "a"), ("beta", "b"), ("rc", "rc"))
"""SemVer's word and PEP 440's, the earliest first."""
PRE_RELEASES = tuple(word for word, _ in _KINDS)
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_TEXT = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-(alpha|beta|rc)\.{_NUMBER}|(a|b|rc){_NUMBER})?"
)


class Part(enum.Enum):
    """The number of a version that a release raises."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A release, or a pre-release of one. Ordered as both specifications order them."""

    numbers: tuple[int, int, int]
    stage: tuple[int, int] = (len(_KINDS), 0)
    """The place among alpha, beta, rc, and its number; what is final comes after all of them."""

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """Return the version that `text` spells, either way; None where it spells none."""
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        numbers = (int(found[1]), int(found[2]), int(found[3]))
        word, number = found[4] or found[6], found[5] or found[7]
        if word is None:
            return cls(numbers)
        place = next(i for i, spellings in enumerate(_KINDS) if word in spellings)
        return cls(numbers, (place, int(number)))

    @property
    def is_pre_release(self) -> bool:
        """Whether it is not final."""
        return self.stage[0] < len(_KINDS)

    @property
    def final(self) -> Version:
        """The release that a pre-release is one of; a release itself."""
        return Version(self.numbers)

    @property
    def python(self) -> str:
        """PEP 440's spelling: `1.3.0rc1`."""
        return self._base + (f"{self._kind[1]}{self.stage[1]}" if self.is_pre_release else "")

    @property
    def semver(self) -> str:
        """SemVer's spelling: `1.3.0-rc.1`."""
        return self._base + (f"-{self._kind[0]}.{self.stage[1]}" if self.is_pre_release else "")

    @property
    def tag(self) -> str:
        """The tag in git: `v1.3.0-rc.1`."""
        return f"v{self.semver}"

    def __str__(self) -> str:
        return self.semver

    def bumped(self, part: Part) -> Version:
        """Return the next final version with `part` raised.

        A pre-release that announces just that becomes final: 1.3.0-rc.1 and MINOR give 1.3.0,
        and so does PATCH.
        """
        major, minor, patch = self.numbers
        announced = self.is_pre_release
        if part is Part.MAJOR:
            is_announced = announced and minor == patch == 0
            return Version((major, 0, 0) if is_announced else (major + 1, 0, 0))
        if part is Part.MINOR:
            is_announced = announced and patch == 0
            return Version((major, minor, 0) if is_announced else (major, minor + 1, 0))
        return Version(self.numbers if announced else (major, minor, patch + 1))

    def pre_released(self, kind: str, base: Version) -> Version:
        """Return the next pre-release of `base`, a final version: the first one of its kind, or,
        where this already is one, the one after it."""
        place = PRE_RELEASES.index(kind)
        if self.is_pre_release and self.final == base and self.stage[0] == place:
            return Version(base.numbers, (place, self.stage[1] + 1))
        return Version(base.numbers, (place, 1))

    @property
    def _base(self) -> str:
        return ".".join(map(str, self.numbers))

    @property
    def _kind(self) -> tuple[str, str]:
        return _KINDS[self.stage[0]]


def parse_version(text: str) -> Version:
    """Return the version of a flag; raises `OptionInvalid`."""
    version = Version.parse(text.removeprefix("v"))
    if version is None:
        raise OptionInvalid(
            f"version '{text}' is not one that can be released",
            hint="write it like 1.2.3, or 1.3.0-rc.1 (alpha, beta or rc)",
        )
    return version


def next_version(current: Version, *, part: str, version: str, pre: str) -> Version:
    """Return what the flags ask for, each empty where it is not given.

    Raises `OptionInvalid` for flags that say nothing, too much, or something that is not known.
    """
    if pre:
        pre = _known("pre", pre, PRE_RELEASES)
    if version:
        if part or pre:
            raise OptionInvalid(
                f"--version is given, and {'--part' if part else '--pre'}, too",
                hint="leave one of them out",
            )
        return parse_version(version)
    if part:
        base = current.bumped(Part(_known("part", part, [known.value for known in Part])))
        return current.pre_released(pre, base) if pre else base
    if not pre:
        raise OptionInvalid(
            "nothing says which version to release",
            hint="give --part major, minor or patch, or --version X.Y.Z",
        )
    if not current.is_pre_release:
        raise OptionInvalid(
            f"--pre {pre} of what? {current} is no pre-release",
            hint="say what it is the next one of: --part minor",
        )
    return current.pre_released(pre, current.final)


def _known(flag: str, text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise OptionInvalid(
            f"--{flag} '{text}' is not known",
            hint=f"{nearest(text, known)} choose {', '.join(known)}".strip(),
        )
    return text
