"""Which way to BuildKit there is, the command line for it, and what its progress tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.buildkit import (
    Builder,
    BuildOrder,
    Failure,
    PlainProgress,
    Redactor,
    Way,
    build_argv,
    check_platform,
    find_builder,
    secrets_of,
)
from pipeline.errors import EngineUnavailable, EngineUnsuitable, ToolMissing
from pipeline.platforms import Platform
from pipeline.process import Completed

OLD_CLIENT = "Docker version 20.10.24+dfsg1, build 297e128\n"
NEW_CLIENT = "Docker version 28.2.2, build e6534b4\n"
BUILDX = "github.com/docker/buildx 0.13.1+ds1 0.13.1+ds1-3\n"
DEFAULT = """Name:   default
Driver: docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.8+unknown
Platforms:        linux/amd64, linux/arm64, linux/386
"""
REMOTE = """Name:          farm
Driver:        kubernetes
Last Activity: 2024-01-01 00:00:00 +0000 UTC

Nodes:
Name:      farm0
Platforms: linux/amd64*, linux/386
Name:      farm1
Platforms: linux/arm64/v8*
"""
SILENT = "Name:   default\nDriver: \nError:  Cannot connect to the Docker daemon\n"


class Docker:
    """A docker that answers from a table; an answer is (exit code, output)."""

    def __init__(self, answers: Mapping[str, tuple[int, str]]) -> None:
        self.answers = answers

    def __call__(self, argv: tuple[str, ...], **_: object) -> Completed:
        assert argv[0] == "docker"
        code, text = self.answers.get(" ".join(argv[1:]), (1, f"unknown: {argv}\n"))
        return Completed(argv, code, text if code == 0 else "", text if code else "")


def client(version: str, inspected: str = "", buildx: str = BUILDX, name: str = "") -> Docker:
    answers = {"--version": (0, version)}
    if inspected:
        answers["buildx version"] = (0, buildx)
        answers[f"buildx inspect {name}".strip()] = (0, inspected)
    return Docker(answers)


# Which way


def test_the_engine_s_own_buildkit_is_used_through_buildx() -> None:
    found = find_builder(None, client(OLD_CLIENT, DEFAULT))
    assert found.way is Way.LOAD
    assert found.platforms == ("linux/amd64", "linux/arm64", "linux/386")
    assert found.attestations


def test_a_builder_of_its_own_exports_and_tells_its_platforms() -> None:
    found = find_builder("farm", client(NEW_CLIENT, REMOTE, name="farm"))
    assert (found.way, found.name) == (Way.EXPORT, "farm")
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64/v8")
    check_platform(found, Platform.ARM64)
    check_platform(found, Platform.AMD64)


def test_the_current_builder_may_be_one_of_its_own() -> None:
    found = find_builder(None, client(NEW_CLIENT, REMOTE))
    assert (found.way, found.name) == (Way.EXPORT, "")


def test_an_engine_that_does_not_answer_is_left_to_whoever_needs_it() -> None:
    assert find_builder(None, client(NEW_CLIENT, SILENT)).way is Way.LOAD


def test_an_old_client_does_without_buildx() -> None:
    found = find_builder(None, client(OLD_CLIENT))
    assert found == Builder(Way.CLASSIC)
    assert found.environment == {"DOCKER_BUILDKIT": "1"}
    assert Builder(Way.LOAD).environment == {}


@pytest.mark.parametrize(
    ("name", "docker", "error", "words"),
    [
        (None, client(NEW_CLIENT), ToolMissing, "buildx, is not installed"),
        ("farm", client(OLD_CLIENT), ToolMissing, "'--builder farm' needs buildx"),
        (
            "farn",
            Docker(
                {
                    "--version": (0, NEW_CLIENT),
                    "buildx version": (0, BUILDX),
                    "buildx inspect farn": (1, 'ERROR: no builder "farn" found\n'),
                }
            ),
            EngineUnavailable,
            "builder 'farn': no builder \"farn\" found; see 'docker buildx ls'",
        ),
    ],
)
def test_what_is_missing_is_named(
    name: str | None, docker: Docker, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        find_builder(name, docker)
    assert words in str(caught.value)


def test_without_docker_the_other_engine_is_offered() -> None:
    def missing(argv: tuple[str, ...], **_: object) -> Completed:
        raise ToolMissing("'docker' is not installed")

    with pytest.raises(EngineUnavailable, match="--engine daemonless"):
        find_builder(None, missing)


def test_a_builder_that_lacks_the_platform_is_refused_before_it_tries() -> None:
    builder = Builder(Way.EXPORT, "farm", platforms=("linux/amd64", "linux/386"))
    check_platform(builder, Platform.AMD64)
    with pytest.raises(EngineUnsuitable, match=r"'farm' cannot build for linux/arm64"):
        check_platform(builder, Platform.ARM64)


def test_a_builder_that_does_not_tell_may_try() -> None:
    check_platform(Builder(Way.EXPORT), Platform.ARM64)


# Command lines

ORDER = BuildOrder(
    dockerfile=Path("/t/Dockerfile"),
    context=Path("/repository"),
    target="production",
    platform=Platform.ARM64,
    labels={"a.b": "c d"},
    build_args={"SOURCE_DATE_EPOCH": "7", "HTTPS_PROXY": None},
    secrets={"pip": Path("/t/pip.conf")},
)
COMMON = (
    "--progress", "plain", "--platform", "linux/arm64", "--file", "/t/Dockerfile",
    "--target", "production", "--label", "a.b=c d", "--build-arg", "SOURCE_DATE_EPOCH=7",
    "--build-arg", "HTTPS_PROXY", "--secret", "id=pip,src=/t/pip.conf",
)  # fmt: skip


def test_an_own_builder_writes_an_oci_archive() -> None:
    builder = Builder(Way.EXPORT, "farm", attestations=True)
    assert build_argv(builder, ORDER, "/t/image.tar") == (
        *("docker", "buildx", "build", "--builder", "farm"),
        *("--provenance=false", "--sbom=false"),
        *COMMON,
        *("--output", "type=oci,dest=/t/image.tar,compression=gzip,force-compression=true"),
        "/repository",
    )


def test_the_engine_s_buildkit_loads_under_a_tag() -> None:
    assert build_argv(Builder(Way.LOAD), ORDER, "x:1") == (
        *("docker", "buildx", "build"),
        *COMMON,
        *("--load", "--tag", "x:1"),
        "/repository",
    )


def test_the_old_client_is_asked_for_no_more_than_it_knows() -> None:
    assert build_argv(Builder(Way.CLASSIC), ORDER, "x:1") == (
        *("docker", "build"),
        *COMMON,
        *("--tag", "x:1"),
        "/repository",
    )


def test_nothing_that_is_not_asked_for_is_in_the_command() -> None:
    bare = replace(ORDER, labels={}, build_args={}, secrets={})
    argv = build_argv(Builder(Way.CLASSIC), bare, "x:1")
    assert not {"--label", "--build-arg", "--secret"} & set(argv)


# Secrets


def test_passwords_and_tokens_of_urls_are_hidden() -> None:
    urls = [
        "https://__token__:s%40crit@index.example/simple",
        "http://t0ken@mirror.example/debian",
        "proxy.example:3128",
        "user:pa55@proxy.example:3128",
        "https://plain.example/simple",
    ]
    redact = Redactor(secrets_of(urls))
    text = redact("s%40crit s@crit t0ken pa55 __token__ plain proxy.example:3128")
    assert text == "*** *** *** *** __token__ plain proxy.example:3128"
    assert "t0ken" not in repr(redact)


def test_a_secret_inside_another_does_not_uncover_it() -> None:
    assert Redactor(["ab", "abcd", ""])("abcd ab") == "*** ***"


# Progress


class Watched:
    """A progress that remembers titles and notes of the steps that ended, in order."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []
        self.open: list[str] = []

    @contextlib.contextmanager
    def step(self, title: str, *, total_bytes: int | None = None) -> Iterator[WatchedStep]:
        step = WatchedStep()
        self.open.append(title)
        yield step
        self.open.remove(title)
        self.ended.append((title, step.text))

    def say(self, text: str) -> None:
        raise AssertionError(text)


class WatchedStep:
    text = ""

    def advance(self, amount: float) -> None:
        pass

    def note(self, text: str) -> None:
        self.text = text


PLAIN = """
#1 [internal] load build definition from Dockerfile
#1 sha256:96c1
#1 transferring dockerfile: 31B done
#1 DONE 0.0s

#5 [base 1/2] FROM docker.io/library/debian
#5 CACHED

#6 [build 2/3] RUN make SECRET
#6 0.412 compiling
#7 [production 1/2] RUN adduser app
#6 1.733 \x1b[31mmake: *** [all] Error 2: SECRET\x1b[0m
#6 1.800
#7 DONE 0.2s
"""


def played(text: str) -> tuple[PlainProgress, Watched]:
    watched = Watched()
    with PlainProgress(watched, "app linux/arm64", Redactor(["SECRET"])) as plain:
        for line in text.splitlines():
            plain.line(line)
    return plain, watched


def test_steps_are_shown_as_they_end_and_internal_ones_are_not() -> None:
    _, watched = played(PLAIN)
    assert watched.ended == [
        ("app linux/arm64: [base 1/2] FROM docker.io/library/debian", "cached"),
        ("app linux/arm64: [production 1/2] RUN adduser app", ""),
        ("app linux/arm64: [build 2/3] RUN make ***", ""),
    ]
    assert watched.open == []


def test_a_step_is_shown_while_it_runs() -> None:
    watched = Watched()
    with PlainProgress(watched, "app", Redactor()) as plain:
        plain.line("#6 [build 2/3] RUN make")
        assert watched.open == ["app: [build 2/3] RUN make"]
        plain.line("#6 DONE 1.0s")
        assert watched.open == []


def test_a_long_instruction_is_cut() -> None:
    _, watched = played(f"#6 [build 2/3] RUN {'x' * 500}\n#6 DONE 1.0s")
    ((title, _),) = watched.ended
    assert len(title) == 76
    assert title.endswith("…")


@pytest.mark.parametrize(
    "error",
    [
        "executor failed running [/bin/sh -c make]: exit code: 2",
        'process "/bin/sh -c make" did not complete successfully: exit code: 2',
    ],
)
def test_a_failure_names_instruction_code_and_last_line(error: str) -> None:
    text = f"{PLAIN}#6 ERROR: {error}\n------\n > [build 2/3] RUN make SECRET:\n------\n{error}\n"
    plain, _ = played(text)
    assert plain.failure() == Failure("[build 2/3] RUN make ***", 2, "make: *** [all] Error 2: ***")


def test_a_failure_without_a_process_says_what_the_builder_says() -> None:
    plain, _ = played(
        "#3 [internal] load metadata for docker.io/library/nosuch:1\n#3 ERROR: not found: SECRET\n"
    )
    expected = "[internal] load metadata for docker.io/library/nosuch:1"
    assert plain.failure() == Failure(expected, None, "not found: ***")


def test_a_failure_before_any_step_is_the_last_line() -> None:
    plain, _ = played("ERROR: failed to dial SECRET\n\n------\n")
    assert plain.failure() == Failure("", None, "ERROR: failed to dial ***")
