"""A release in a real git repository: all of it, or nothing, and every reason why not."""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import (
    FindingsAboveGate,
    LockStale,
    OptionInvalid,
    OutputUnwritable,
    PipelineError,
    ReleaseRefused,
)
from pipeline.release import prepare, repository
from pipeline.release.checks import Answer, Question, raise_for
from pipeline.release.prepare import (
    Examined,
    ReleaseRequest,
    carry_out,
    changes,
    examine,
    push_command,
)
from pipeline.release.questions import Doors, run_sessions
from pipeline.report import Progress, Silent
from tests.unit.pipeline.release.small_project import (
    CHANGELOG,
    CHART,
    MANIFEST,
    Runs,
    SmallProject,
    nothing_more,
)

NOW = datetime.datetime(2026, 11, 29, 23, 59, tzinfo=datetime.UTC)


def look(
    project: SmallProject, runs: Runs | None = None, questions: Any = nothing_more, **flags: Any
) -> Examined:
    return examine(
        ReleaseRequest(**flags),
        Silent(),
        root=project.root,
        doors=Doors(run=runs or Runs()),
        questions=questions,
        now=NOW,
    )


def release(project: SmallProject, runs: Runs | None = None, **flags: Any) -> str:
    doors = Doors(run=runs or Runs())
    found = look(project, **flags)
    raise_for(found.checked)
    return carry_out(
        found, changes(found, root=project.root, doors=doors), root=project.root, doors=doors
    )


def refusals(found: Examined) -> dict[str, str]:
    return {c.name: c.detail for c in found.checked if c.answer is Answer.REFUSED}


# A release.


def test_a_release_is_one_commit_and_its_tag(project: SmallProject) -> None:
    before = project.git("rev-parse", "HEAD")
    commit = release(project, part="minor")
    assert project.git("rev-parse", "HEAD", "HEAD~1").split() == [commit, before]
    assert project.git("log", "-1", "--format=%B%an %cn") == "Release 0.2.0\nA C"
    assert project.git("cat-file", "-t", "v0.2.0") == "tag"
    assert project.git("rev-parse", "v0.2.0^{commit}") == commit
    assert project.git("tag", "--list", "-n9") == "v0.2.0          Release 0.2.0"
    assert project.git("status", "--porcelain") == ""
    assert project.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert project.git("diff", "--name-only", "HEAD~1").split() == [
        "CHANGELOG.md", "README.md", f"{CHART}/Chart.yaml", f"{CHART}/README.md", MANIFEST,
        "monitoring/__init__.py", "src/accelerapp/__init__.py",
    ]  # fmt: skip


def test_everything_names_the_new_version(project: SmallProject) -> None:
    release(project, part="minor", pre="rc")
    assert project.read("src/accelerapp/__init__.py").endswith('__version__ = "0.2.0rc1"\n')
    assert project.read("monitoring/__init__.py") == '__version__ = "0.2.0rc1"\n'
    chart = 'name: accelerapp\nversion: 0.2.0-rc.1\nappVersion: "0.2.0-rc.1"\n'
    assert chart in project.read(f"{CHART}/Chart.yaml")
    assert "--version 0.2.0-rc.1 \\\n" in project.read(f"{CHART}/README.md")
    manifest = project.read(MANIFEST)
    assert manifest.startswith("# accelerapp 0.2.0-rc.1 on Kubernetes without Helm")
    assert f"\n# {CHART} with deployment/kubernetes/values.yaml. " in manifest
    assert "accelerapp:v0.2.0-rc.1-production\n" in manifest
    head = "# Changelog\n\n## Unreleased\n\n## 0.2.0-rc.1 - 2026-11-29\n\n### Added\n"
    assert project.read("CHANGELOG.md").startswith(head)
    # The example of the current version follows; the one of another is somebody's example.
    assert project.read("README.md").split()[-4:] == [
        "ghcr.io/o/accelerapp:v0.2.0-rc.1-production",
        *("docker", "run", "ghcr.io/o/accelerapp:v9.9.9-production"),
    ]


def test_the_first_release_is_of_the_version_that_is_there(project: SmallProject) -> None:
    release(project, version="0.1.0")
    assert project.git("diff", "--name-only", "HEAD~1") == "CHANGELOG.md"
    assert project.git("describe", "--exact-match") == "v0.1.0"


def test_releases_follow_each_other(project: SmallProject) -> None:
    for flags, expected in [
        ({"part": "major", "pre": "beta"}, "v1.0.0-beta.1"),
        ({"pre": "rc"}, "v1.0.0-rc.1"),
        ({"pre": "rc"}, "v1.0.0-rc.2"),
        ({"part": "major"}, "v1.0.0"),
        ({"part": "patch"}, "v1.0.1"),
    ]:
        release(project, **flags)
        assert project.git("describe", "--exact-match") == expected
        text = project.read("CHANGELOG.md")
        project.write(
            "CHANGELOG.md", text.replace("## Unreleased\n", "## Unreleased\n\n### Fixed\n\n- X.\n")
        )
        project.commit("Another change")
    headings = [line for line in project.read("CHANGELOG.md").splitlines() if "## " in line[:3]]
    assert headings[1:] == ["## 1.0.1 - 2026-11-29", "## 1.0.0 - 2026-11-29"]


def test_what_is_pushed_next(project: SmallProject) -> None:
    found = look(project, part="patch")
    words = ("git", "push", "--atomic", "origin", "main", "v0.1.1")
    assert push_command(found, root=project.root) == words
    project.git("config", "branch.main.remote", "upstream")
    assert push_command(found, root=project.root)[3] == "upstream"


def test_files_keep_their_modes(project: SmallProject) -> None:
    (project.root / "CHANGELOG.md").chmod(0o755)
    project.commit("Executable")
    release(project, part="patch")
    assert (project.root / "CHANGELOG.md").stat().st_mode & 0o777 == 0o755
    assert project.git("ls-files", "--stage", "CHANGELOG.md").startswith("100755 ")
    assert project.git("status", "--porcelain") == ""


def test_looking_changes_nothing(project: SmallProject) -> None:
    before = project.state()
    found = look(project, part="minor", dry_run=True)
    files = changes(found, root=project.root, doors=Doors(run=Runs()))
    assert project.state() == before
    diff = next(f.diff() for f in files if f.path.name == "Chart.yaml")
    assert diff.splitlines()[:2] == [f"--- a/{CHART}/Chart.yaml", f"+++ b/{CHART}/Chart.yaml"]
    assert "-version: 0.1.0\n" in diff
    assert "+version: 0.2.0\n" in diff


# All or nothing.


@pytest.mark.parametrize("late", [False, True], ids=["instead", "after"])
@pytest.mark.parametrize("error", ["no", KeyboardInterrupt()], ids=["fails", "interrupted"])
@pytest.mark.parametrize(
    "step",
    ["hash-object", "read-tree", "write-tree", "commit-tree", "init", "tag", "update-index"],
)
def test_what_fails_or_is_interrupted_leaves_everything_as_it_was(
    project: SmallProject, step: str, error: BaseException | str, late: bool
) -> None:
    before = project.state()
    runs = Runs(failing={("git", step): error}, late=late)
    with pytest.raises((ReleaseRefused, KeyboardInterrupt)) as failed:
        release(project, runs, part="minor")
    assert ("git", step) in [argv[:2] for argv in runs.argvs]
    assert project.state() == before
    if isinstance(error, str):
        assert str(failed.value) == f"git {step} failed: no"
    release(project, part="minor")
    assert project.git("describe", "--exact-match") == "v0.2.0"


@pytest.mark.parametrize("error", ["no", KeyboardInterrupt()], ids=["fails", "interrupted"])
def test_without_the_tag_there_is_no_commit(
    project: SmallProject, error: BaseException | str
) -> None:
    before = project.state()
    runs = Runs(failing={("git", "update-ref"): error})
    with pytest.raises((ReleaseRefused, KeyboardInterrupt)):
        release(project, runs, part="minor")
    assert project.state() == before


def test_an_interruption_that_comes_too_late_says_so(project: SmallProject) -> None:
    runs = Runs(failing={("git", "update-ref"): KeyboardInterrupt()}, late=True)
    with pytest.raises(KeyboardInterrupt, match=r"v0\.2\.0 is committed and tagged"):
        release(project, runs, part="minor")
    assert project.git("describe", "--exact-match") == "v0.2.0"
    assert project.git("status", "--porcelain") == ""


def test_a_tag_that_appears_meanwhile_stays_and_there_is_no_commit(project: SmallProject) -> None:
    found = look(project, part="minor")
    files = changes(found, root=project.root, doors=Doors(run=Runs()))
    project.git("tag", "v0.2.0")
    before = project.state()
    with pytest.raises(ReleaseRefused, match="update-ref failed"):
        carry_out(found, files, root=project.root, doors=Doors(run=Runs()))
    assert project.state() == before


def test_a_file_that_cannot_be_written_leaves_the_others(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project.state()
    written = []

    def full(path: Path, data: bytes, *, mode: int) -> None:
        written.append(path)
        if len(written) == 3:
            raise OutputUnwritable(f"{path} cannot be written: no space left")
        path.write_bytes(data)

    monkeypatch.setattr(repository, "write_atomically", full)
    with pytest.raises(OutputUnwritable):
        release(project, part="minor")
    assert len(written) > 3
    assert project.state() == before


def test_a_work_tree_that_changes_while_it_is_looked_at_is_not_released(
    project: SmallProject,
) -> None:
    for spoil in (
        lambda: project.write("LICENSE", "Do not.\n"),
        lambda: project.write("new.py", ""),
        lambda: project.commit("More"),
    ):
        found = look(project, part="minor")
        spoil()
        with pytest.raises(ReleaseRefused, match="has changed while it was looked at"):
            carry_out(found, (), root=project.root, doors=Doors(run=Runs()))
        project.git("reset", "--quiet", "--hard")
        project.git("clean", "--quiet", "--force")


def test_a_branch_that_is_switched_meanwhile_is_not_released(project: SmallProject) -> None:
    for switch, now in ((("--create", "work"), "'work'"), (("--detach",), "none")):
        found = look(project, part="minor")
        files = changes(found, root=project.root, doors=Doors(run=Runs()))
        project.git("switch", "--quiet", *switch)
        before = project.git("for-each-ref")
        with pytest.raises(ReleaseRefused) as refused:
            carry_out(found, files, root=project.root, doors=Doors(run=Runs()))
        assert str(refused.value) == (
            f"branch 'main' was looked at, and {now} is checked out now; "
            "git switch main, and do it again"
        )
        assert project.git("for-each-ref") == before
        assert project.git("status", "--porcelain") == ""
        project.git("switch", "--quiet", "main")


def test_a_signature_that_is_configured_is_made(project: SmallProject, tmp_path: Path) -> None:
    signer = tmp_path / "signer"
    signer.write_text(
        "#!/bin/sh\ncat > /dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\n"
        "echo '-----BEGIN PGP SIGNATURE-----'\necho '-----END PGP SIGNATURE-----'\n"
    )
    signer.chmod(0o755)
    project.git("config", "gpg.program", str(signer))
    project.git("config", "commit.gpgSign", "true")
    project.git("config", "tag.gpgSign", "true")
    project.git("config", "user.signingKey", "A")
    release(project, part="minor")
    assert "gpgsig -----BEGIN PGP" in project.git("cat-file", "-p", "HEAD")
    assert "-----BEGIN PGP" in project.git("cat-file", "-p", "v0.2.0")
    project.write("CHANGELOG.md", CHANGELOG)
    project.commit("Again")
    signer.write_text("#!/bin/sh\nexit 1\n")
    before = project.state()
    with pytest.raises(ReleaseRefused, match="git commit-tree failed"):
        release(project, version="0.3.0")
    assert project.state() == before


# Reasons why not.


def test_every_reason_is_in_one_line(project: SmallProject) -> None:
    project.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")
    project.write("new.py", "")
    project.git("tag", "v0.2.0")
    project.git("switch", "--quiet", "--create", "work")
    with pytest.raises(ReleaseRefused) as refused:
        release(project, part="minor")
    line = str(refused.value)
    assert "\n" not in line
    for reason in (
        "tracked files: tracked files differ from the commit: CHANGELOG.md; commit or stash",
        "untracked files: files that nobody committed would be in the release: new.py",
        "branch: branch 'work' is checked out, and 'main' is released from; git switch main",
        "version: 0.2.0 is not higher than 0.2.0, which is released",
        "changelog: CHANGELOG.md:3: nothing is unreleased; say what changed",
        "tag: the tag v0.2.0 exists",
    ):
        assert reason in line


def test_a_folder_that_is_no_work_tree(tmp_path: Path, project: SmallProject) -> None:
    (tmp_path / "plain").mkdir()
    inside = project.root / "inside"
    inside.mkdir()
    empty = tmp_path / "empty"
    subprocess.run(("git", "init", "--quiet", str(empty)), check=True)
    for folder, message in [
        (tmp_path / "plain", "is no git work tree"),
        (inside, "is inside of another git work tree"),
        (empty, "has no commit"),
    ]:
        with pytest.raises(ReleaseRefused, match=message):
            examine(ReleaseRequest(part="minor"), Silent(), root=folder, questions=nothing_more)


def test_no_branch_is_no_place_to_release_from(project: SmallProject) -> None:
    project.git("switch", "--quiet", "--detach")
    assert "HEAD is detached" in refusals(look(project, part="minor"))["branch"]


def test_the_default_branch_is_the_remote_s(project: SmallProject) -> None:
    project.git("update-ref", "refs/remotes/origin/trunk", "HEAD")
    project.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    assert "'trunk' is released from" in refusals(look(project, part="minor"))["branch"]
    project.git("switch", "--quiet", "--create", "trunk")
    assert refusals(look(project, part="minor")) == {}


def test_a_branch_that_lacks_commits_is_not_released(project: SmallProject) -> None:
    project.commit("Newer")
    project.git("update-ref", "refs/remotes/origin/main", "HEAD")
    project.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    project.git("config", "branch.main.remote", "origin")
    project.git("config", "branch.main.merge", "refs/heads/main")
    assert refusals(look(project, part="minor")) == {}
    project.git("reset", "--quiet", "--hard", "HEAD~1")
    found = refusals(look(project, part="minor"))
    assert found == {"upstream": "origin/main is 1 commit ahead; git pull --ff-only"}


def test_nobody_releases_nothing(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")) or name == "EMAIL":
            monkeypatch.delenv(name)
    found = refusals(look(project, part="minor"))
    assert found == {"identity": (
        "git does not know who you are; git config user.name NAME; git config user.email ADDRESS"
    )}  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "flags", "reason"),
    [
        (["v1.0.0"], {"part": "minor"}, "0.2.0 is not higher than 1.0.0"),
        (["1.0.0"], {"version": "1.0.0"}, "1.0.0 is not higher than 1.0.0"),
        (["v0.2.0-rc.1", "not-a-version", "v7"], {"part": "minor"}, ""),
        (["v0.2.0rc2"], {"version": "0.2.0-rc.1"}, "0.2.0-rc.1 is not higher than 0.2.0-rc.2"),
        (["v0.3.0-nightly.7"], {"part": "minor"}, "0.2.0 is not higher than 0.3.0"),
        (["v0.1.0+build.5"], {"part": "minor"}, ""),
    ],
)
def test_a_version_is_higher_than_every_other(
    project: SmallProject, tags: list[str], flags: dict[str, str], reason: str
) -> None:
    for tag in tags:
        project.git("tag", tag)
    found = refusals(look(project, **flags)).get("version", "")
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_version_is_not_lower_than_the_one_in_the_files(project: SmallProject) -> None:
    for lower in ("0.0.1", "0.1.0-rc.1"):
        reason = f"{lower} is lower than 0.1.0, which the files name; raise the version"
        assert refusals(look(project, version=lower))["version"].startswith(reason)
    project.git("tag", "v0.0.1")
    assert refusals(look(project, version="0.0.2")).keys() == {"version"}
    for allowed in ("0.1.0", "0.1.1-alpha.1"):
        assert refusals(look(project, version=allowed)) == {}


def test_a_clone_that_may_lack_tags_does_not_know(project: SmallProject, tmp_path: Path) -> None:
    project.commit("Second")
    shallow = tmp_path / "shallow"
    source = f"file://{project.root}"
    project.git("clone", "--quiet", "--depth=1", "--no-tags", source, str(shallow))
    found = examine(
        ReleaseRequest(part="minor"), Silent(), root=shallow, questions=nothing_more, now=NOW
    )
    assert "this clone may lack tags" in refusals(found)["version"]


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("monitoring/__init__.py", "0.1.0", "0.0.9", "monitoring/__init__.py names 0.0.9"),
        (f"{CHART}/Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.0.9", "Chart.yaml names 0.0.9"),
        (f"{CHART}/README.md", "--version 0.1.0", "", "README.md names no version"),
        (MANIFEST, "v0.1.0-prod", "v0.0.9-prod", f"{MANIFEST} names 0.0.9"),
        (MANIFEST, "accelerapp 0.1.0", "accelerapp 0.0.9", f"{MANIFEST} names 0.0.9"),
    ],
)
def test_files_that_name_different_versions(
    project: SmallProject, file: str, old: str, new: str, reason: str
) -> None:
    project.write(file, project.read(file).replace(old, new))
    project.commit("Odd")
    assert reason in refusals(look(project, part="minor"))["same version everywhere"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("src/accelerapp/__init__.py", "", "names no version; write one line: __version__"),
        ("src/accelerapp/__init__.py", '__version__ = "1.0.0-rc.1"\n', "names no version"),
        ("src/accelerapp/__init__.py", None, "cannot be read: no such file"),
    ],
)
def test_a_project_without_a_version(
    project: SmallProject, file: str, text: str | None, message: str
) -> None:
    if text is None:
        (project.root / file).unlink()
    else:
        project.write(file, text)
    project.commit("Without")
    with pytest.raises(ReleaseRefused, match=message):
        look(project, part="minor")


def test_a_project_without_a_changelog(project: SmallProject) -> None:
    (project.root / "CHANGELOG.md").unlink()
    project.commit("Without")
    found = refusals(look(project, part="minor"))
    assert found["changelog"].startswith("CHANGELOG.md cannot be read: no such file")


def test_a_place_that_is_gone_is_missed_before_anything_is_written(project: SmallProject) -> None:
    project.write(f"{CHART}/Chart.yaml", project.read(f"{CHART}/Chart.yaml").replace('"', ""))
    project.commit("Unquoted")
    found = look(project, part="minor")
    assert "Chart.yaml names no version" in refusals(found)["same version everywhere"]
    with pytest.raises(ReleaseRefused, match=r"Chart\.yaml has no one line for the version"):
        changes(found, root=project.root, doors=Doors(run=Runs()))


def test_flags_are_read_before_anything_is_asked(project: SmallProject) -> None:
    with pytest.raises(OptionInvalid):
        look(project, part="minor", version="1.0.0")


# Questions that take minutes.


class Asked:
    """Questions of the project, quick and long, and which of them were asked."""

    def __init__(self, *errors: PipelineError) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []

    def __call__(self, root: Path, scratch: Path, doors: Doors) -> Sequence[Question]:
        def long(name: str) -> Question:
            def ask(_: Progress) -> str:
                assert scratch.is_dir()
                self.asked.append(name)
                if self.errors:
                    raise self.errors.pop(0)
                return "good"

            return Question(name, ask, f"runs {name}", keeps_code=name == "scan")

        return long("tests"), long("scan")


def test_long_questions_are_asked_last_and_once(project: SmallProject) -> None:
    asked = Asked()
    found = look(project, questions=asked, part="minor")
    assert asked.asked == ["tests", "scan"]
    assert [(c.name, c.answer, c.detail) for c in found.checked[-2:]] == [
        ("tests", Answer.GOOD, "good"),
        ("scan", Answer.GOOD, "good"),
    ]


def test_a_dry_run_says_what_it_would_ask(project: SmallProject) -> None:
    asked = Asked()
    found = look(project, questions=asked, part="minor", dry_run=True)
    assert asked.asked == []
    assert found.checked[-1].to_json() == {
        "check": "scan", "answer": "would run", "detail": "runs scan", "seconds": 0.0,
    }  # fmt: skip
    raise_for(found.checked)


def test_nobody_waits_for_what_is_refused_anyway(project: SmallProject) -> None:
    asked = Asked()
    project.write("new.py", "")
    found = look(project, questions=asked, part="minor")
    assert asked.asked == []
    assert [c.answer for c in found.checked[-2:]] == [Answer.NOT_ASKED] * 2


def test_a_scan_alone_keeps_its_code_and_with_others_it_is_one_reason(
    project: SmallProject,
) -> None:
    gate = FindingsAboveGate("1 finding")

    def scan_fails(root: Path, scratch: Path, doors: Doors) -> Sequence[Question]:
        tests, _ = Asked()(root, scratch, doors)
        (_, scan) = Asked(gate)(root, scratch, doors)
        return tests, scan

    with pytest.raises(FindingsAboveGate):
        raise_for(look(project, questions=scan_fails, part="minor").checked)
    stale = look(project, questions=Asked(LockStale("the lock is stale")), part="minor")
    with pytest.raises(ReleaseRefused, match=r"^tests: the lock is stale$"):
        raise_for(stale.checked)
    both = Asked(ReleaseRefused("nox failed"), gate)
    with pytest.raises(ReleaseRefused, match=r"^tests: nox failed; scan: 1 finding$"):
        raise_for(look(project, questions=both, part="minor").checked)


def test_nox_runs_tests_lint_and_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path / "cache"))
    seen: list[Any] = []

    def stream(argv: tuple[str, ...], on_line: Any, *, cwd: Any = None, env: Any = None) -> int:
        seen.append((argv[1:], cwd))
        on_line("nox > Running session tests")
        on_line("FAILED tests/unit/test_a.py::test_b - AssertionError")
        on_line("nox > Session tests was successful.")
        return len(seen) - 1

    assert run_sessions(tmp_path, stream, Silent()) == "tests, lint, types passed"
    assert seen == [(("-m", "nox", "--sessions", "tests", "lint", "types"), tmp_path)]
    with pytest.raises(ReleaseRefused) as refused:
        run_sessions(tmp_path, stream, Silent())
    assert "nox failed: FAILED tests/unit/test_a.py::test_b" in str(refused.value)
    log = tmp_path / "cache" / "logs" / "release-tests.log"
    assert str(log) in refused.value.hint
    assert len(log.read_text().splitlines()) == 3


def test_what_is_foreseen_of_a_refused_release(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare.commands, "ROOT", project.root)
    project.write("CHANGELOG.md", "nothing\n")
    project.commit("Spoiled")
    assert prepare.foreseen(look(project, part="minor", dry_run=True)) == ()
