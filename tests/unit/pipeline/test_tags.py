"""Tags say what an image is, and the moving ones only ever move forward."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pipeline.errors import NameInvalid, OptionInvalid, ToolMissing
from pipeline.tags import (
    Event,
    Kind,
    TagState,
    compute_tags,
    read_release,
    read_state,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LEGAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="git is not here: nothing checks what tags are read from"
)


def state(event: Event = Event.PUSH, **parts: Any) -> TagState:
    return TagState(COMMIT, event, **parts)


def release(tag: str, *others: str) -> TagState:
    return state(Event.TAG, tags=(tag,), all_tags=(tag, *others))


def texts(state: TagState, target: str = "production") -> list[str]:
    return list(compute_tags(state, target).texts())


@dataclass
class History:
    """A project over time: git's tags so far, and what each image tag points at."""

    git_tags: list[str] = field(default_factory=list)
    registry: dict[str, str] = field(default_factory=dict)
    commits: int = 0

    def happens(self, event: str, name: str) -> list[str]:
        """Let something be pushed; return the tags that its image gets, without the commit's."""
        self.commits += 1
        commit = f"{self.commits:07d}" + 33 * "0"
        if event == "release" and name not in self.git_tags:
            self.git_tags.append(name)
        now = {
            "push": TagState(commit, Event.PUSH, branch=name),
            "nightly": TagState(commit, Event.SCHEDULE, branch=name),
            "release": TagState(commit, Event.TAG, tags=(name,)),
            "pull": TagState(commit, Event.PULL_REQUEST, branch="main", pull_request=7),
        }[event]
        plan = compute_tags(replace(now, all_tags=tuple(self.git_tags)), "production")
        for tag in plan.tags:
            self.registry[tag.text] = name
        return [text.removesuffix("-production") for text in plan.texts() if "sha-" not in text]


def test_a_project_s_life() -> None:
    """Each line: what is pushed, and the tags (`…-production`) that its image gets."""
    history = History()
    for event, name, expected in [
        ("push", "main", "main"),
        ("pull", "#7", "pr-7"),
        ("release", "v0.1.0", "v0.1.0 0.1 latest"),
        ("release", "v0.2.0-rc.1", "v0.2.0-rc.1"),
        ("release", "v0.2.0", "v0.2.0 0.2 latest"),
        ("release", "v0.1.1", "v0.1.1 0.1"),
        ("push", "develop", "develop"),
        ("release", "v1.0.0rc1", "v1.0.0rc1"),
        ("release", "v1.0.0", "v1.0.0 1.0 1 latest"),
        ("push", "feature/x", "feature-x"),
        ("pull", "#7", "pr-7"),
        ("release", "v1.2.3", "v1.2.3 1.2 1 latest"),
        ("release", "v1.3.0", "v1.3.0 1.3 1 latest"),
        ("release", "v1.2.3", "v1.2.3 1.2"),  # built again
        ("release", "v1.2.9", "v1.2.9 1.2"),
        ("release", "v1.2.3", "v1.2.3"),  # and again, now that 1.2 has gone on
        ("release", "v1.10.0", "v1.10.0 1.10 1 latest"),  # which is not before 1.3
        ("release", "v1.9.0", "v1.9.0 1.9"),
        ("release", "v2.0.0-beta", "v2.0.0-beta"),
        ("release", "nightly", ""),
        ("release", "v2", ""),
        ("release", "2.0.0+linux.1", "2.0.0_linux.1 2.0 2 latest"),
        ("release", "v1.10.1", "v1.10.1 1.10 1"),
        ("nightly", "main", "main"),
        ("push", "2.0", "branch-2.0-d84bdb34"),
        ("pull", "#7", "pr-7"),
    ]:
        assert history.happens(event, name) == expected.split(), (event, name)
    moved = {tag: name for tag, name in history.registry.items() if "sha-" not in tag}
    assert {tag.removesuffix("-production"): moved[tag] for tag in moved} == {
        "main": "main",
        "develop": "develop",
        "feature-x": "feature/x",
        "branch-2.0-d84bdb34": "2.0",
        "pr-7": "#7",
        "0.1": "v0.1.1",
        "0.2": "v0.2.0",
        "1.0": "v1.0.0",
        "1.2": "v1.2.9",
        "1.3": "v1.3.0",
        "1.9": "v1.9.0",
        "1.10": "v1.10.1",
        "2.0": "2.0.0+linux.1",
        "1": "v1.10.1",
        "2": "2.0.0+linux.1",
        "latest": "2.0.0+linux.1",
        **{tag: tag for tag in history.git_tags if tag.startswith("v") and "." in tag},
        "2.0.0_linux.1": "2.0.0+linux.1",
    }
    assert len([tag for tag in history.registry if tag.startswith("sha-")]) == 23


def test_fixed_tags_come_first_and_latest_last() -> None:
    plan = compute_tags(release("v1.2.3"), "production")
    assert [(tag.text, tag.kind) for tag in plan.tags] == [
        ("v1.2.3-production", Kind.FIXED),
        ("sha-0123456-production", Kind.FIXED),
        ("1.2-production", Kind.MOVING),
        ("1-production", Kind.MOVING),
        ("latest", Kind.MOVING),
    ]
    assert (plan.version, plan.latest) == ("1.2.3", True)


def test_a_branch_moves_its_tag_and_the_commit_keeps_its_own() -> None:
    plan = compute_tags(state(branch="develop"), "development")
    assert [(tag.text, tag.kind) for tag in plan.tags] == [
        ("sha-0123456-development", Kind.FIXED),
        ("develop-development", Kind.MOVING),
    ]
    assert (plan.version, plan.latest) == ("", False)


def test_latest_is_production_alone() -> None:
    assert "latest" in texts(release("v1.2.3"))
    for target in ("base", "development", "monitoring", "production-trixie"):
        assert texts(release("v1.2.3"), target) == [
            f"{name}-{target}" for name in ("v1.2.3", "sha-0123456", "1.2", "1")
        ]


@pytest.mark.parametrize("tag", ["v1.3.0-rc.1", "1.3.0rc1", "v1.3.0.dev2", "1.3.0-1", "v9.0.0-x.y"])
def test_a_pre_release_moves_nothing(tag: str) -> None:
    plan = compute_tags(release(tag), "production")
    assert plan.texts() == (f"{tag}-production", "sha-0123456-production")
    assert {found.kind for found in plan.tags} == {Kind.FIXED}
    assert plan.version == tag.lstrip("v")


def test_a_pre_release_holds_no_release_up() -> None:
    assert texts(release("v1.2.3", "v1.3.0-rc.1", "v2.0.0b1"))[-1] == "latest"


def test_what_stays_is_said() -> None:
    assert compute_tags(release("v1.2.3", "v1.2.9", "v2.0.0"), "production").notes == (
        "1.2-production stays: v1.2.9 is higher than v1.2.3",
        "1-production stays: v1.2.9 is higher than v1.2.3",
        "latest stays: v2.0.0 is higher than v1.2.3",
    )


@pytest.mark.parametrize(
    "tag", ["v1", "v1.2", "1.2.3.4", "latest", "release-1.2.3", "v1.2.x", "1!1.2.3", "", "v1.2.3 "]
)
def test_other_tags_of_git_are_no_versions(tag: str) -> None:
    assert read_release(tag) is None
    assert texts(release(tag)) == ["sha-0123456-production"]


def test_two_spellings_of_one_version_are_equally_high() -> None:
    for tag in ("v1.2.3", "1.2.3", "v1.2.3+rebuilt"):
        assert texts(release(tag, "v1.2.3", "1.2.3", "v1.2.3+rebuilt"))[-1] == "latest"


def test_a_post_release_is_higher_than_its_release() -> None:
    assert "latest" not in texts(release("1.2.3", "1.2.3.post1"))
    assert "latest" in texts(release("1.2.3.post1", "1.2.3"))


def test_a_person_at_a_tagged_commit_gets_all_that_it_is() -> None:
    here = state(
        Event.NONE, branch="main", tags=("v1.0.0", "v1.0.0-rc.2", "v0.9.9"), all_tags=("v1.0.0",)
    )
    plan = compute_tags(here, "production")
    assert plan.texts() == (
        "v1.0.0-production",
        "v1.0.0-rc.2-production",
        "v0.9.9-production",
        "sha-0123456-production",
        "1.0-production",
        "1-production",
        "0.9-production",
        "main-production",
        "latest",
    )
    assert (plan.version, plan.notes) == ("1.0.0", ())


def test_a_pull_request_gets_one_tag_that_nobody_else_has() -> None:
    asked = state(Event.PULL_REQUEST, branch="main", pull_request=7, tags=("v1.0.0",))
    plan = compute_tags(asked, "production")
    assert [(tag.text, tag.kind) for tag in plan.tags] == [("pr-7-production", Kind.MOVING)]


def test_an_event_that_is_of_no_branch_gets_the_commit_s_tag() -> None:
    assert texts(state(Event.OTHER, branch="main")) == ["sha-0123456-production"]


def test_a_detached_head_gets_the_commit_s_tag() -> None:
    assert texts(state(Event.NONE)) == ["sha-0123456-production"]


@pytest.mark.parametrize(
    "changed",
    [
        state(Event.NONE, branch="main", dirty=True, tags=("v1.0.0",), all_tags=("v1.0.0",)),
        state(Event.PUSH, branch="main", dirty=True),
        state(Event.PULL_REQUEST, pull_request=7, dirty=True),
    ],
)
def test_changes_that_are_not_committed_never_get_a_clean_name(changed: TagState) -> None:
    plan = compute_tags(changed, "production")
    assert [(tag.text, tag.kind) for tag in plan.tags] == [
        ("sha-0123456-dirty-production", Kind.MOVING)
    ]
    assert (plan.version, plan.latest) == ("", False)
    assert "differ" in plan.notes[0]


def test_a_release_is_not_built_from_a_changed_work_tree() -> None:
    with pytest.raises(OptionInvalid, match=r"'v1\.2\.3' is checked out, and tracked files differ"):
        compute_tags(replace(release("v1.2.3"), dirty=True), "production")


def test_where_tags_may_be_missing_no_release_is_called_the_highest() -> None:
    shallow = replace(release("v1.2.3"), all_tags_known=False)
    with pytest.raises(OptionInvalid, match=r"highest release is not known.*fetch-tags: true"):
        compute_tags(shallow, "production")
    # Nothing else needs to know.
    assert texts(replace(release("v1.2.3-rc.1"), all_tags_known=False))
    assert texts(state(branch="main", all_tags_known=False))[-1] == "main-production"


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("main", "main"),
        ("feature/x", "feature-x"),
        ("a/b/c_d.e", "a-b-c_d.e"),
        ("Feature", "Feature"),
        ("feature#1", "feature-1-????????"),
        ("feature@1", "feature-1-????????"),
        ("-dash", "dash-????????"),
        (".dot", "dot-????????"),
        ("grün", "gr-n-????????"),
        ("ветка", "branch-????????"),
        ("v1.2.3", "branch-v1.2.3-????????"),
        ("1.2", "branch-1.2-????????"),
        ("2", "branch-2-????????"),
        ("sha-0123456", "branch-sha-0123456-????????"),
        ("sha-0123456-dirty", "branch-sha-0123456-dirty-????????"),
        ("pr/7", "branch-pr-7-????????"),
        ("fix-deadbeef", "fix-deadbeef-????????"),
        ("x" * 117, "x" * 117),
        ("x" * 118, "x" * 108 + "-????????"),
    ],
)
def test_every_branch_has_a_legal_tag_of_its_own(branch: str, expected: str) -> None:
    tag = texts(state(branch=branch))[-1]
    assert re.fullmatch(
        re.escape(f"{expected}-production").replace(r"\?" * 8, "[0-9a-f]{8}"), tag
    ), tag


def test_long_names_that_begin_alike_stay_apart() -> None:
    long = ["x" * 200 + end for end in "ab"]
    assert len({texts(state(branch=branch))[-1] for branch in long}) == 2
    versions = [f"v1.2.3-{'x' * 200}{end}" for end in "ab"]
    tags = {texts(release(version))[0] for version in versions}
    assert {len(tag) for tag in tags} == {128}
    assert len(tags) == 2


def test_a_target_that_fills_a_tag_is_refused() -> None:
    with pytest.raises(NameInvalid):
        compute_tags(state(branch="main"), "t" * 128)


@given(branch=st.text(min_size=1), target=st.from_regex(r"[a-z][a-z0-9-]{0,60}", fullmatch=True))
def test_every_tag_of_every_branch_is_legal(branch: str, target: str) -> None:
    assert all(LEGAL.fullmatch(tag) for tag in texts(state(branch=branch), target))


# Names that a repository holds at once, near to each other and to what is reserved.
_NEAR = st.text("ab/-._#@1ü", min_size=1, max_size=6) | st.sampled_from(
    ["1.2", "v1.2.3", "branch-1.2", "pr-7", "pr/7", "branch-pr-7", "main", "MAIN"]
)


@given(one=_NEAR, other=_NEAR)
def test_two_branches_share_a_tag_only_for_a_slash(one: str, other: str) -> None:
    if texts(state(branch=one))[-1] == texts(state(branch=other))[-1]:
        assert one.replace("/", "-") == other.replace("/", "-")


@given(branch=_NEAR)
def test_no_branch_takes_the_tag_of_a_release_or_pull_request(branch: str) -> None:
    others = {"v1.2.3", "1.2.3", "1.2", "1", "11", "pr-7", "pr-1", "sha-0123456"}
    assert texts(state(branch=branch))[-1].removesuffix("-production") not in others


_VERSIONS = st.builds(
    "{}{}.{}.{}{}".format,
    st.sampled_from(["", "v"]),
    st.integers(0, 2),
    st.integers(0, 11),
    st.integers(0, 3),
    st.sampled_from(["", "", "", "-rc.1", "rc1", "+b.1", ".post1", "-alpha.beta"]),
)


@given(pushed=st.lists(_VERSIONS, min_size=1, max_size=12))
def test_whatever_the_order_each_moving_tag_is_on_the_highest(pushed: list[str]) -> None:
    history = History()
    for tag in pushed:
        history.happens("release", tag)

    def number(tag: str) -> Version:
        return Version(tag.partition("+")[0])

    def final(tag: str) -> bool:
        return "alpha" not in tag and "rc" not in tag

    finals = [tag for tag in pushed if final(tag)]
    expected: dict[str, Version] = {}
    for tag in finals:
        version = number(tag)
        names = [f"{version.major}.{version.minor}-production", "latest"]
        for name in names + ([f"{version.major}-production"] if version.major else []):
            expected[name] = max(version, expected.get(name, version))
    moving = {
        name: number(tag)
        for name, tag in history.registry.items()
        if name == "latest" or re.fullmatch(r"[0-9]+(\.[0-9]+)?-production", name)
    }
    assert moving == expected
    assert all(LEGAL.fullmatch(name) for name in history.registry)


# Real repositories.


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ("git", *arguments), cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's and the user's git settings, and any hook's, out."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "GITHUB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`main` with v1.0.0, v1.1.0 (annotated) and one commit more; v0.9.1 on a branch."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q", "-b", "main")
    (folder / "file").write_text("text")
    run(folder, "add", "file")
    for number, tag in enumerate(("v1.0.0", "v1.1.0", "")):
        run(folder, "commit", "-q", "--allow-empty", "-m", f"commit {number}")
        if tag:
            run(folder, "tag", "-a", "-m", tag, tag)
    run(folder, "checkout", "-q", "-b", "release/0.9", "v1.0.0")
    run(folder, "commit", "-q", "--allow-empty", "-m", "patch")
    run(folder, "tag", "v0.9.1")
    run(folder, "checkout", "-q", "main")
    return folder


def actions(
    folder: Path, event: str, ref: str, payload: object = None, **more: str
) -> dict[str, str]:
    """Return the environment of a workflow's step."""
    path = folder.parent / "event.json"
    path.write_text(json.dumps(payload or {"repository": {"default_branch": "main"}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": event,
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_REF": ref,
        "GITHUB_REF_NAME": ref.split("/", 2)[2],
        "GITHUB_SHA": run(folder, "rev-parse", "HEAD"),
        **more,
    }


@needs_git
def test_a_work_tree_says_what_it_is(repository: Path) -> None:
    found = read_state(repository, {})
    assert found == TagState(
        commit=run(repository, "rev-parse", "HEAD"),
        branch="main",
        all_tags=("v0.9.1", "v1.0.0", "v1.1.0"),
    )
    run(repository, "checkout", "-q", "v1.1.0")
    assert read_state(repository, {}) == replace(
        found, commit=run(repository, "rev-parse", "HEAD"), branch="", tags=("v1.1.0",)
    )


@needs_git
def test_a_branch_with_the_name_of_a_tag_is_still_a_branch(repository: Path) -> None:
    run(repository, "tag", "main")
    assert read_state(repository, {}).branch == "main"


@needs_git
def test_changed_files_are_seen(repository: Path) -> None:
    (repository / "file").write_text("changed")
    assert read_state(repository, {}).dirty


@needs_git
def test_a_clone_knows_its_default_branch(repository: Path, tmp_path: Path) -> None:
    clone(repository, tmp_path / "clone")
    assert read_state(tmp_path / "clone", {}).on_default_branch
    run(tmp_path / "clone", "checkout", "-q", "-b", "other")
    assert not read_state(tmp_path / "clone", {}).on_default_branch


def clone(repository: Path, folder: Path, *options: str) -> Path:
    run(repository, "clone", "-q", *options, f"file://{repository}", str(folder))
    return folder


@needs_git
@pytest.mark.parametrize(
    ("options", "then", "known"),
    [
        ([], [], True),
        (["--depth=1", "--no-tags"], [], False),
        (["--depth=1"], [], False),
        (["--depth=2"], [], False),
        (["--single-branch"], [], False),
        (["--no-tags"], [], False),
        (["--depth=1"], ["fetch", "-q", "--tags", "--depth=1"], True),
        (["--depth=1"], ["fetch", "-q", "--tags", "--unshallow"], True),
        (["--single-branch"], ["fetch", "-q", "--tags"], True),
        (["--depth=2"], ["checkout", "-q", "HEAD~1"], False),
    ],
)
def test_a_clone_knows_whether_it_may_lack_tags(
    repository: Path, tmp_path: Path, options: list[str], then: list[str], known: bool
) -> None:
    run(repository, "tag", "v1.2.0")
    folder = clone(repository, tmp_path / "clone", *options)
    if then:
        run(folder, *then)
    assert read_state(folder, {}).all_tags_known is known


@needs_git
def test_a_shallow_checkout_of_a_release_is_refused_and_other_builds_are_not(
    repository: Path, tmp_path: Path
) -> None:
    run(repository, "tag", "v1.2.0")
    folder = clone(repository, tmp_path / "clone", "--depth=1", "--branch=v1.2.0")
    found = read_state(folder, actions(folder, "push", "refs/tags/v1.2.0"))
    with pytest.raises(OptionInvalid, match="may lack tags; fetch them all"):
        compute_tags(found, "production")
    found = read_state(folder, actions(folder, "push", "refs/heads/main"))
    assert texts(found)[-1] == "main-production"
    run(folder, "fetch", "-q", "--tags", "--unshallow")
    found = read_state(folder, actions(folder, "push", "refs/tags/v1.2.0"))
    assert texts(found)[-1] == "latest"


@needs_git
def test_a_pushed_branch(repository: Path) -> None:
    run(repository, "checkout", "-q", "--detach")  # As the checkout action leaves it.
    run(repository, "tag", "v9.0.0")  # The tag has a run of its own.
    found = read_state(repository, actions(repository, "push", "refs/heads/feature/x"))
    assert (found.event, found.branch, found.tags) == (Event.PUSH, "feature/x", ())
    assert not found.on_default_branch
    assert texts(found)[1:] == ["feature-x-production"]
    for event, expected in (("schedule", Event.SCHEDULE), ("workflow_dispatch", Event.DISPATCH)):
        found = read_state(repository, actions(repository, event, "refs/heads/main"))
        assert (found.event, found.branch, found.on_default_branch) == (expected, "main", True)
        assert texts(found)[1:] == ["main-production"]


@needs_git
def test_a_pushed_tag(repository: Path) -> None:
    run(repository, "checkout", "-q", "v1.1.0")
    run(repository, "tag", "v1.1.0-rc.1")
    environ = actions(repository, "push", "refs/tags/v1.1.0")
    found = read_state(repository, environ)
    assert (found.event, found.branch, found.tags) == (Event.TAG, "", ("v1.1.0",))
    assert texts(found)[-1] == "latest"
    # An annotated tag has a name of its own besides the commit's.
    annotated = {**environ, "GITHUB_SHA": run(repository, "rev-parse", "v1.1.0")}
    assert annotated != environ
    assert read_state(repository, annotated) == found


@needs_git
@pytest.mark.parametrize("event", ["pull_request", "pull_request_target"])
def test_a_pull_request_is_its_number_and_its_own_commit(repository: Path, event: str) -> None:
    ref = "refs/pull/7/merge" if event == "pull_request" else "refs/heads/main"
    payload = {"pull_request": {"number": 7, "head": {"sha": COMMIT}}}
    environ = actions(repository, event, ref, payload, GITHUB_HEAD_REF="topic")
    found = read_state(repository, environ)
    assert (found.event, found.pull_request, found.commit, found.branch) == (
        Event.PULL_REQUEST,
        7,
        COMMIT,
        "topic",
    )
    assert texts(found) == ["pr-7-production"]


@needs_git
def test_a_pull_request_s_number_is_in_its_reference_too(repository: Path) -> None:
    environ = actions(repository, "pull_request", "refs/pull/12/merge")
    del environ["GITHUB_EVENT_PATH"]
    assert read_state(repository, environ).pull_request == 12


@needs_git
def test_a_merge_queue_is_no_branch(repository: Path) -> None:
    environ = actions(repository, "merge_group", "refs/heads/gh-readonly-queue/main/pr-7-abc")
    assert [text[:4] for text in texts(read_state(repository, environ))] == ["sha-"]


@needs_git
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"GITHUB_REF": ""}, "GITHUB_REF is not set"),
        ({"GITHUB_SHA": COMMIT}, r"refs/heads/main is 0123456 \(GITHUB_SHA\), and "),
        ({"GITHUB_EVENT_PATH": "absent.json"}, "GITHUB_EVENT_PATH is 'absent.json'"),
        ({"GITHUB_EVENT_NAME": "pull_request"}, "nothing says which pull request"),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(
    repository: Path, change: dict[str, str], message: str
) -> None:
    environ = {**actions(repository, "push", "refs/heads/main"), **change}
    with pytest.raises(OptionInvalid, match=message):
        read_state(repository, environ)


@needs_git
@pytest.mark.parametrize(
    "content",
    [
        *(b"{", b"\xff", b"[]", b'{"pull_request": 7}'),
        *(b'{"pull_request": {"number": true}}', b'{"pull_request": {"number": -7}}'),
    ],
)
def test_an_event_in_disorder_is_one_line(repository: Path, content: bytes) -> None:
    environ = actions(repository, "pull_request_target", "refs/heads/main")
    Path(environ["GITHUB_EVENT_PATH"]).write_bytes(content)
    with pytest.raises(OptionInvalid):
        read_state(repository, environ)


@needs_git
def test_without_a_commit_there_is_nothing_to_name(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="has no commit to name an image after"):
        read_state(tmp_path, {})


def test_without_git_that_is_what_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="'git' is not installed"):
        read_state(tmp_path, {})
