"""What a release makes of the changelog, and what it does not take for one."""

from __future__ import annotations

import datetime

import pytest

from pipeline.errors import ReleaseRefused
from pipeline.release.changelog import read_changelog
from pipeline.release.version import Version, parse_version

DAY = datetime.date(2026, 11, 29)
TEXT = """\
# Changelog

The format follows Keep a Changelog.

## Unreleased

### Added

- One thing,
  of two lines.

### Fixed

- Another:
  ```
  ## not a heading
  ```

## 1.1.0 - 2026-01-02

Odd spacing stays.
### Changed
- a


- b

## 1.0.0 - 2025-12-31 [YANKED]

### Added
- first
"""


def version(text: str) -> Version:
    return parse_version(text)


def test_a_release_takes_what_is_unreleased() -> None:
    made = read_changelog(TEXT).released(version("1.2.0"), DAY).text()
    head, old = TEXT.split("## Unreleased\n\n")
    assert made == f"{head}## Unreleased\n\n## 1.2.0 - 2026-11-29\n\n{old}"
    again = read_changelog(made)
    assert again.unreleased.is_empty
    section = again.section(version("1.2.0"))
    assert section is not None
    assert section.body == (
        "### Added\n\n- One thing,\n  of two lines.\n\n"
        "### Fixed\n\n- Another:\n  ```\n  ## not a heading\n  ```\n"
    )


def test_what_nobody_changes_is_read_and_written_as_it_was() -> None:
    assert read_changelog(TEXT).text() == TEXT


def test_a_release_has_all_that_its_pre_releases_had() -> None:
    text = (
        "# Changelog\n\n## Unreleased\n\n### Fixed\n\n- c\n\n"
        "## 1.2.0-rc.2 - 2026-02-02\n\n### Fixed\n\n- b\n\n"
        "## 1.2.0-rc.1 - 2026-02-01\n\nSoon.\n\n### Added\n\n- a\n\n"
        "## 1.1.0-rc.1 - 2026-01-01\n\n### Added\n\n- old\n"
    )
    made = read_changelog(text).released(version("1.2.0"), DAY).text()
    assert made == (
        "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-11-29\n\nSoon.\n\n"
        "### Added\n\n- a\n\n### Fixed\n\n- c\n- b\n\n"
        "## 1.1.0-rc.1 - 2026-01-01\n\n### Added\n\n- old\n"
    )
    third = read_changelog(text).released(version("1.2.0-rc.3"), DAY)
    assert [s.version.semver for s in third.sections if s.version] == [
        "1.2.0-rc.3", "1.2.0-rc.2", "1.2.0-rc.1", "1.1.0-rc.1"
    ]  # fmt: skip


def test_a_final_release_needs_no_more_than_its_pre_releases() -> None:
    text = "## Unreleased\n\n## 1.0.0-rc.1 - 2026-01-01\n\n### Added\n\n- a\n"
    made = read_changelog(text).released(version("1.0.0"), DAY)
    assert not made.sections[1].is_empty
    assert made.section(version("1.0.0-rc.1")) is None


def test_a_version_has_one_section() -> None:
    with pytest.raises(ReleaseRefused, match=r"has a section of 1\.1\.0 already"):
        read_changelog(TEXT).released(version("1.1.0"), DAY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with a section '## Unreleased'"),
        ("# Changelog\n", "does not begin with a section '## Unreleased'"),
        ("## 1.0.0 - 2026-01-01\n", "does not begin with a section '## Unreleased'"),
        ("## Unreleased\n## 1.0 - 2026-01-01\n", "X:2: '## 1.0 - 2026-01-01' is no heading"),
        ("## Unreleased\n## 1.0.0\n", "X:2: '## 1.0.0' is no heading"),
        ("## Unreleased\n## 1.0.0 - 2026-02-30\n", "X:2: '## 1.0.0 - 2026-02-30' is no heading"),
        ("## Unreleased\n### Addded\n- a\n", "X:2: 'Addded' is no kind of change; did you mean"),
        ("## Unreleased\n### Added\n- a\n### Added\n", "X:4: 'Added' is there twice"),
        ("## Unreleased\n## Unreleased\n", "X:2: 'Unreleased' is there twice"),
        (
            "## Unreleased\n## 1.0.0 - 2026-01-01\n## 1.1.0 - 2026-01-01\n",
            "X:3: 1.1.0 comes after 1.0.0; the newest version comes first",
        ),
        (
            "## Unreleased\n## 1.0.0 - 2026-01-01\n## 1.0.0 - 2026-01-02\n",
            "X:3: '1.0.0 - 2026-01-02' is there twice",
        ),
    ],
)
def test_what_is_no_changelog(text: str, message: str) -> None:
    with pytest.raises(ReleaseRefused) as refused:
        read_changelog(text, "X")
    assert message in str(refused.value)
