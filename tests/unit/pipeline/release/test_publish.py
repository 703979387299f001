"""A release at GitHub, with a `gh` that keeps what it is told in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.atomic import file_sha256
from pipeline.errors import ReleaseRefused, ToolMissing
from pipeline.release.publish import Published, PublishRequest, publish
from pipeline.release.sums import sums_text
from tests.unit.pipeline.release.small_project import SmallProject
from tests.unit.pipeline.release.test_prepare import release

_GH = """\
#!/usr/bin/env python3
import json, os, pathlib, shutil, sys

here = pathlib.Path({folder!r})
argv = sys.argv[1:]
with open(here / "asked", "a") as file:
    file.write(json.dumps(argv) + "\\n")
if (here / "broken").exists():
    sys.exit((here / "broken").read_text())
place = here / "releases" / argv[2]
if argv[:2] == ["release", "view"]:
    if not place.exists():
        sys.exit("release not found")
    assets = [{{"name": p.name, "size": p.stat().st_size}} for p in (place / "files").iterdir()]
    said = json.loads((place / "said").read_text())
    print(json.dumps({{**said, "assets": assets, "url": "https://github.example/r"}}))
elif argv[:2] == ["release", "download"]:
    sys.stdout.write((place / "files" / argv[argv.index("--pattern") + 1]).read_text())
elif argv[:2] == ["release", "create"]:
    (place / "files").mkdir(parents=True)
    for name in argv[3:]:
        if name.startswith("/") and argv[argv.index(name) - 1] != "--notes-file":
            shutil.copy(name, place / "files")
    notes = argv[argv.index("--notes-file") + 1]
    text = sys.stdin.read() if notes == "-" else open(notes).read()
    (place / "said").write_text(json.dumps({{"isDraft": "--draft" in argv, "notes": text}}))
    print("https://github.example/r")
elif argv[:2] == ["release", "edit"]:
    said = json.loads((place / "said").read_text())
    (place / "said").write_text(json.dumps({{**said, "isDraft": "--draft=false" not in argv}}))
    print("https://github.example/public")
else:
    sys.exit("unknown command")
"""


class GitHub:
    """A `gh` on PATH, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "gh"
        program.write_text(_GH.format(folder=str(folder)))
        program.chmod(0o755)

    @property
    def asked(self) -> list[list[str]]:
        path = self.folder / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def environ(self) -> Mapping[str, str]:
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}

    def files(self, tag: str) -> dict[str, bytes]:
        return {
            p.name: p.read_bytes() for p in (self.folder / "releases" / tag / "files").iterdir()
        }

    def notes(self, tag: str) -> str:
        return str(self._said(tag)["notes"])

    def is_draft(self, tag: str) -> bool:
        return bool(self._said(tag)["isDraft"])

    def _said(self, tag: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self.folder / "releases" / tag / "said").read_text())
        return said


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    return GitHub(tmp_path / "github")


@pytest.fixture
def released(project: SmallProject) -> SmallProject:
    release(project, part="minor")
    write_assets(project)
    return project


def write_assets(project: SmallProject, version: str = "0.2.0", text: str = "b") -> Path:
    folder = project.root / "dist" / "release"
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"accelerapp-{version}-py3-none-any.whl", "b.json")
    for name in names:
        (folder / name).write_text(text)
    sums = {name: file_sha256(folder / name) for name in names}
    (folder / "SHA256SUMS").write_bytes(sums_text(sums))
    (project.root / "notes.md").write_text("Notes.\n")
    return folder


def run(project: SmallProject, github: GitHub, **flags: Any) -> Published:
    request = PublishRequest(
        **{"assets": project.root / "dist" / "release", "notes": project.root / "notes.md", **flags}
    )
    return publish(request, root=project.root, environ=github.environ)


def test_a_release_is_made(released: SmallProject, github: GitHub) -> None:
    done = run(released, github)
    folder = released.root / "dist" / "release"
    assert (done.is_new, done.url, done.is_draft) == (True, "https://github.example/r", False)
    assert github.asked[-1] == [
        *("release", "create", "v0.2.0", "--verify-tag", "--title", "Accelerapp 0.2.0"),
        *("--notes-file", str(released.root / "notes.md"), "--latest=true"),
        *(str(folder / name) for name in ("SHA256SUMS", *sorted(set(done.files) - {"SHA256SUMS"}))),
    ]
    assert github.files("v0.2.0") == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert github.notes("v0.2.0") == "Notes.\n"


def test_a_run_that_is_repeated_finds_its_release(released: SmallProject, github: GitHub) -> None:
    run(released, github)
    done = run(released, github)
    assert (done.is_new, done.url) == (False, "https://github.example/r")
    assert [argv[1] for argv in github.asked] == ["view", "create", "view", "download"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda files: (files / "b.json").unlink(), "with other assets: b.json is not there"),
        (lambda files: (files / "c").touch(), "with other assets: c is there alone"),
        (lambda files: (files / "b.json").write_text("longer"), "b.json differs"),
        (
            lambda files: (files / "SHA256SUMS").write_bytes(
                (files / "SHA256SUMS").read_bytes().replace(b"a", b"c")
            ),
            "differs",
        ),
    ],
)
def test_a_release_of_something_else_stays(
    released: SmallProject, github: GitHub, spoil: Any, message: str
) -> None:
    run(released, github)
    spoil(github.folder / "releases" / "v0.2.0" / "files")
    before = github.files("v0.2.0")
    with pytest.raises(ReleaseRefused, match=r"the release v0\.2\.0 exists") as refused:
        run(released, github)
    assert message in str(refused.value)
    assert "create" not in [argv[1] for argv in github.asked[2:]]
    assert github.files("v0.2.0") == before


def test_other_content_of_the_same_size_is_noticed(released: SmallProject, github: GitHub) -> None:
    run(released, github)
    write_assets(released, text="c")
    with pytest.raises(ReleaseRefused, match=r"accelerapp-0\.2\.0-py3-none-any\.whl differs"):
        run(released, github)


def test_a_draft_that_is_asked_for_stays_one(released: SmallProject, github: GitHub) -> None:
    done = run(released, github, draft=True)
    assert (done.is_new, done.is_draft) == (True, True)
    assert "--draft" in github.asked[-1]
    done = run(released, github, draft=True)
    assert (done.is_new, done.is_draft) == (False, True)
    assert github.is_draft("v0.2.0")


def test_a_draft_that_was_left_before_the_last_step_is_made_public(
    released: SmallProject, github: GitHub
) -> None:
    run(released, github, draft=True)
    done = run(released, github)
    edit = ["release", "edit", "v0.2.0", "--verify-tag", "--draft=false", "--latest=true"]
    assert github.asked[-1] == edit
    assert done.argv == ("gh", *edit)
    assert (done.is_new, done.is_draft, done.url) == (True, False, "https://github.example/public")
    assert not github.is_draft("v0.2.0")
    assert run(released, github).is_new is False
    assert [argv[1] for argv in github.asked].count("edit") == 1


def test_a_draft_of_a_pre_release_becomes_no_more_than_that(
    project: SmallProject, github: GitHub
) -> None:
    release(project, part="minor", pre="rc")
    write_assets(project, "0.2.0rc1")
    run(project, github, draft=True)
    run(project, github)
    assert github.asked[-1][:3] == ["release", "edit", "v0.2.0-rc.1"]
    assert {"--draft=false", "--prerelease", "--latest=false"} <= set(github.asked[-1])


def test_a_draft_that_gh_does_not_publish_is_no_success(
    released: SmallProject, github: GitHub
) -> None:
    run(released, github, draft=True)
    program = github.folder / "gh"
    program.write_text(program.read_text().replace('"edit"', '"other"'))
    with pytest.raises(ReleaseRefused) as refused:
        run(released, github)
    assert "gh did not publish the draft of the release v0.2.0: unknown command" in str(
        refused.value
    )


def test_a_draft_that_was_left_half_way_can_be_removed(
    released: SmallProject, github: GitHub
) -> None:
    run(released, github, draft=True)
    (github.folder / "releases" / "v0.2.0" / "files" / "b.json").write_text("cut off")
    with pytest.raises(ReleaseRefused, match=r"b\.json differs") as refused:
        run(released, github)
    assert refused.value.hint == "remove it and try again: gh release delete v0.2.0"
    (github.folder / "releases" / "v0.2.0" / "files" / "b.json").unlink()
    with pytest.raises(ReleaseRefused) as refused:
        run(released, github)
    assert "the draft release v0.2.0 exists" in str(refused.value)
    assert refused.value.hint == "remove it and try again: gh release delete v0.2.0"
    assert github.is_draft("v0.2.0")


def test_a_pre_release_says_so_and_is_never_the_latest(
    project: SmallProject, github: GitHub
) -> None:
    release(project, part="minor", pre="rc")
    write_assets(project, "0.2.0rc1")
    run(project, github)
    argv = github.asked[-1]
    assert argv[2] == "v0.2.0-rc.1"
    assert {"--prerelease", "--latest=false"} <= set(argv)


def test_an_older_release_does_not_become_the_latest(
    released: SmallProject, github: GitHub
) -> None:
    released.git("tag", "v1.0.0", "HEAD~1")
    run(released, github)
    assert "--latest=false" in github.asked[-1]


def test_notes_are_the_changelog_s_where_no_file_is_named(
    released: SmallProject, github: GitHub
) -> None:
    toml = Path(__file__).parents[4] / "deployment" / "images.toml"
    released.write("deployment/images.toml", toml.read_text(encoding="utf-8"))
    run(released, github, notes=None)
    assert github.notes("v0.2.0").startswith("### Added\n\n- Something.\n\n### Images\n")


def test_a_dry_run_asks_nobody(released: SmallProject, github: GitHub) -> None:
    done = run(released, github, dry_run=True)
    assert done.argv[:4] == ("gh", "release", "create", "v0.2.0")
    assert not done.is_new
    assert github.asked == []


def test_what_gh_says_when_it_does_not_do_it(released: SmallProject, github: GitHub) -> None:
    (github.folder / "broken").write_text("HTTP 401: Bad credentials")
    with pytest.raises(ReleaseRefused) as refused:
        run(released, github)
    assert "gh does not say whether v0.2.0 is released: HTTP 401: Bad credentials" in str(
        refused.value
    )
    with pytest.raises(ToolMissing, match="gh is not here"):
        publish(
            PublishRequest(released.root / "dist" / "release", released.root / "notes.md"),
            root=released.root,
            environ={"PATH": str(released.root)},
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "SHA256SUMS").unlink(), "there is no SHA256SUMS"),
        (lambda f: (f / "SHA256SUMS").write_text("what\n"), "there is no SHA256SUMS"),
        (lambda f: (f / "b.json").unlink(), "b.json is missing"),
        (lambda f: (f / "c").touch(), "c is not in SHA256SUMS"),
        (lambda f: (f / "b.json").write_text("x"), "b.json is not what SHA256SUMS says"),
    ],
)
def test_assets_that_are_not_whole_are_not_published(
    released: SmallProject, github: GitHub, spoil: Any, message: str
) -> None:
    spoil(released.root / "dist" / "release")
    with pytest.raises(ReleaseRefused) as refused:
        run(released, github)
    assert message in str(refused.value)
    assert github.asked == []


def test_assets_of_another_version_are_not_published(
    released: SmallProject, github: GitHub
) -> None:
    folder = write_assets(released, "0.1.0")
    (folder / "accelerapp-0.2.0-py3-none-any.whl").unlink()
    with pytest.raises(ReleaseRefused, match=r"is not of version 0\.2\.0"):
        run(released, github)
    write_assets(released)
    (folder / "accelerapp-0.1.0-py3-none-any.whl").unlink()
    with pytest.raises(ReleaseRefused, match=r"there is no .*nothing\.md"):
        run(released, github, notes=released.root / "nothing.md")
