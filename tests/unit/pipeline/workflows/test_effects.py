"""What single tasks do to a machine and to a registry, in the eyes of the simulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.workflows.effects import Doing, Pushed, Shore
from pipeline.workflows.evaluate import UNKNOWN
from pipeline.workflows.events import Event, push
from pipeline.workflows.machine import Machine
from tests.unit.pipeline.workflows.repository import VOCABULARY, world

ROOT = Path("/nonexistent")
HIGHEST = push("refs/tags/v1.2.3")
IMAGES = "ghcr.io/acme/accelerapp"


def done(command: str, *files: str, event: Event = HIGHEST) -> tuple[Doing, list[str]]:
    """Do a command in a job `here`; return what it did, and the complaints."""
    said: list[str] = []
    machine = Machine(ROOT)
    for file in files:
        machine.write(file)
    shore = Shore([Pushed(f"{IMAGES}:v1-redis", "before"), Pushed(f"{IMAGES}:late", "beside")])
    doing = Doing(
        world(ROOT), event, "here", frozenset(("before", "here")), machine, shore, {}, {},
        said.append,
    )  # fmt: skip
    words = ("invoke", *command.split())
    assert VOCABULARY.wrong(words) == ""
    for task in VOCABULARY.invocations(words):
        doing.do(task)
    return doing, said


LAYOUT = "dist/images/production/index.json"


@pytest.mark.parametrize(
    ("command", "files", "said"),
    [
        ("load", (), "reads dist/images/production"),
        ("load", (LAYOUT,), ""),
        ("load --target redis,production", (LAYOUT,), "reads dist/images/redis"),
        ("load --target all", (), "reads the images in dist/images"),
        ("load --target all", (LAYOUT,), ""),
        ("load --images other", (LAYOUT,), "reads other/production"),
        ("load --target $X", (), ""),
        ("scan", (), ""),
        ("scan --only images", (), "reads the images in dist/images"),
        ("scan --only repository --target redis", (), ""),
        ("scan --target production", (LAYOUT,), ""),
        ("verify dist/images/production", (), "reads dist/images/production"),
        ("verify dist/images/production/", (LAYOUT,), ""),
        ("verify python:3.11-slim", (), ""),
        ("verify $X", (), ""),
        (f"verify {IMAGES}:v1-redis", (), ""),
        (f"verify {IMAGES}:v1-redis,{IMAGES}:v2-redis", (), f"reads {IMAGES}:v2-redis"),
        (f"pull {IMAGES}:late", (), "which 'beside' pushes and 'here' does not wait for"),
        (f"pull {IMAGES}:none", (), f"there are {IMAGES}:late, {IMAGES}:v1-redis"),
        ("push", (), "reads dist/images/production"),
        ("manifest --by-digest d --target redis", ("d/production-amd64.json",),
         "d has no file of it"),
        ("manifest --by-digest d", ("d/x/production-amd64.json",), "finds nothing in d"),
        ("push --registry nowhere", (LAYOUT,), "registry 'nowhere' names no host"),
    ],
)  # fmt: skip
def test_what_is_read_has_to_be_there(command: str, files: tuple[str, ...], said: str) -> None:
    _, complaints = done(command, *files)
    if said:
        (complaint,) = complaints
        assert said in complaint
    else:
        assert complaints == []


def test_builds_and_pulls_write_layouts() -> None:
    doing, _ = done("build --target redis --output out --archive x.tar pull alpine:3")
    assert doing.machine.files == {
        "out/redis/index.json", "x.tar", "dist/images/alpine-3/index.json"
    }  # fmt: skip
    assert done("build --dry-run")[0].machine.files == set()
    assert done("scan --output x.sarif")[0].machine.files == {"x.sarif"}
    assert done("build --target $X")[0].machine.is_open


def test_tags_tells_later_steps_what_there_will_be() -> None:
    doing, said = done("tags --github --target redis,production")
    assert said == []
    assert doing.outputs["version"] == "1.2.3"
    assert doing.outputs["latest"] == "true"
    assert doing.outputs["json"] is UNKNOWN
    assert f"{IMAGES}:1.2-redis" in doing.outputs["tags"].splitlines()
    assert done("tags")[0].outputs == {}
    lower, _ = done("tags --github", event=push("refs/tags/v1.2.2", tags=("v1.2.3",)))
    assert lower.outputs["latest"] == "false"
    assert not done("tags --github --target $X")[0].is_closed


def test_a_matrix_of_what_is_not_known_is_not_known() -> None:
    assert not done("matrix --github --runners $X")[0].is_closed
    assert '"redis"' in done("matrix --github")[0].outputs["matrix"]


def test_parts_are_pushed_under_names_of_their_own() -> None:
    doing, said = done("push --platform arm64 --tag x", LAYOUT)
    assert said == []
    assert doing.shore.pushed[-1] == Pushed(f"{IMAGES}:x-arm64", "here")
    doing, said = done("push --platform amd64,arm64 --tag x manifest --tag x", LAYOUT)
    assert said == []
    assert doing.shore.pushed[-1] == Pushed(f"{IMAGES}:x", "here")
    _, said = done("push --platform arm64 --tag x manifest --tag x", LAYOUT)
    (complaint,) = said
    assert f"reads {IMAGES}:x-amd64" in complaint


def test_a_dry_run_and_untagged_parts_give_no_tag() -> None:
    assert len(done("push --dry-run", LAYOUT)[0].shore.pushed) == 2
    doing, _ = done("manifest --by-digest d --untagged --github", "d/redis-amd64.json")
    assert doing.shore.pushed[-1].reference.startswith(f"{IMAGES}@sha256:")
    assert doing.outputs["tags"] == ""
    assert doing.outputs["references"] == doing.shore.pushed[-1].reference
