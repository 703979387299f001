"""Flags of `push`, `manifest` and `pull` become one call; its answer is what is printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import commands, shipping
from pipeline import manifest as joining
from pipeline.errors import ChartInvalid, ImageMissing, OptionInvalid, VersionTaken
from pipeline.helm.push import ChartCargo, ChartReport
from pipeline.manifest import ManifestRequest
from pipeline.push import Fate, TagMove
from pipeline.report import Silent
from pipeline.shipping import PullRequest, PushRequest
from pipeline.tasks.command import INTERRUPTED
from tests.unit.pipeline.helm.chart_factory import make_chart
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry, then
from tests.unit.pipeline.shipments import build
from tests.unit.pipeline.tasks.test_namespace import run

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("ACCELERAPP_REGISTRY", "GITHUB_ACTIONS", "REGISTRY_USERNAME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the tasks asked for; nothing is done."""
    seen: list[Any] = []

    def refuse(request: object, *_progress: object, **flags: object) -> None:
        seen.extend([request, flags])
        raise OptionInvalid("enough")

    for name in ("push", "chart", "pull"):
        monkeypatch.setattr(shipping, name, refuse)
    monkeypatch.setattr(joining, "manifest", refuse)
    return seen


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyRegistry]:
    """A registry, and an image to push there."""
    build(Path("dist/images/production"))
    with FaultyRegistry() as registry:
        monkeypatch.setenv("ACCELERAPP_REGISTRY", f"{registry.host}/owner")
        yield registry


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The chart of the repository, for once a small one."""
    folder = make_chart(tmp_path / "chart")
    monkeypatch.setattr(shipping, "CHART", folder)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    return folder


def test_without_flags_the_defaults_are_asked_for(asked: list[Any]) -> None:
    assert run("push") == OptionInvalid.exit_code
    assert run("manifest") == OptionInvalid.exit_code
    assert run("pull", "python:3.11") == OptionInvalid.exit_code
    for request in asked[::2]:
        assert not request.plain_http
        assert list(request.platforms) == []
    assert asked[0].registry is asked[0].images is asked[2].registry is asked[4].output is None
    assert asked[1] == asked[3] == {"dry_run": False}
    assert asked[4].reference == "python:3.11"


def test_every_flag_arrives(asked: list[Any]) -> None:
    common = "--platform=arm64 --platform amd64 --plain-http --json"
    more = "--target=base,production --target development --registry r.example --tag=a --tag b,c"
    places = "--images x --from-repository=y --from-repository z --by-digest=h"
    run("push", *f"{common} {more} {places}".split())
    run("manifest", *f"{common} {more} --digest=d --digest e,f --dry-run --by-digest=g".split())
    run("pull", *f"{common} --output o ghcr.io/x/y@z".split())
    shared: dict[str, Any] = {"platforms": ["arm64", "amd64"], "plain_http": True}
    named: dict[str, Any] = {
        "targets": ["base,production", "development"],
        "registry": "r.example",
        "tags": ["a", "b,c"],
    }
    assert asked == [
        PushRequest(**shared, **named, images=Path("x"), sources=["y", "z"], by_digest=Path("h")),
        {"dry_run": False},
        ManifestRequest(**shared, **named, digests=["d", "e,f"], by_digest=Path("g")),
        {"dry_run": True},
        PullRequest("ghcr.io/x/y@z", **shared, output=Path("o")),
        {},
    ]


def test_a_push_shows_digests_sizes_and_tags(
    remote: FaultyRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "--tag=v1,latest") == 0
    out, err = capsys.readouterr()
    digest = remote.content["owner/accelerapp"].tags["v1"]
    assert f"{remote.host}/owner/accelerapp@{digest}\n" in out
    assert f"{remote.host}/owner/accelerapp:latest  new\n" in out
    assert "linux/amd64" in out
    assert "linux/arm64" in out
    assert "kB sent, done in" in out
    assert err.startswith("push production amd64,arm64: ")
    build(Path("dist/images/production"), text="two")
    assert run("push", "--tag=v1") == 0
    assert f":v1  was {digest}\n" in capsys.readouterr().out
    assert run("push", "--tag=v1") == 0
    out, err = capsys.readouterr()
    assert ":v1  unchanged\n" in out
    assert "0.0 kB sent" in out
    assert err == ""


def test_a_dry_run_shows_each_blob_and_sends_nothing(
    remote: FaultyRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "--tag=v1", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("would send\n") == 5 + 3
    assert ":v1  new → sha256:" in out
    assert "nothing was sent; " in out
    assert set(remote.methods()) == {"HEAD"}
    run("push", "--tag=v1")
    capsys.readouterr()
    run("push", "--tag=v1", "--dry-run")
    assert capsys.readouterr().out.count("exists\n") == 5 + 3


def test_results_can_be_read_by_programs(
    remote: FaultyRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    run("push", "--tag=v1", "--dry-run", "--json")
    planned = json.loads(capsys.readouterr().out)
    assert planned["dry_run"] is True
    assert planned["images"][0]["blobs"] == {"would send": 5}
    run("push", "--tag=v1", "--json")
    (pushed,) = json.loads(capsys.readouterr().out)["images"]
    assert pushed["digest"] == planned["images"][0]["digest"]
    assert pushed["blobs"] == {"sent": 5}
    assert pushed["bytes_sent"] == planned["images"][0]["bytes_to_send"] > 0
    assert pushed["tags"] == [{"tag": "v1", "before": None, "after": pushed["digest"]}]
    assert [part["platform"] for part in pushed["platforms"]] == ["linux/amd64", "linux/arm64"]
    for architecture in ("amd64", "arm64"):
        run("push", "--tag=v2", f"--platform={architecture}")
    capsys.readouterr()
    run("manifest", "--tag=v2", "--json")
    (joined,) = json.loads(capsys.readouterr().out)["images"]
    assert joined["digest"] == pushed["digest"]
    run("pull", pushed["reference"], "--json")
    pulled = json.loads(capsys.readouterr().out)
    assert pulled["digest"] == pulled["registry_digest"] == pushed["digest"]
    assert pulled["left_out"] == []


def test_manifest_and_pull_say_what_they_did(
    remote: FaultyRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    for architecture in ("amd64", "arm64"):
        run("push", "--tag=v1", f"--platform={architecture}")
    capsys.readouterr()
    assert run("manifest", "--tag=v1", "--dry-run") == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert "v1" not in remote.content["owner/accelerapp"].tags
    assert run("manifest", "--tag=v1") == 0
    digest = remote.content["owner/accelerapp"].tags["v1"]
    assert f"@{digest}\n" in capsys.readouterr().out
    name = f"{remote.host}/owner/accelerapp:v1"
    assert run("pull", name, "--platform=amd64") == 0
    out = capsys.readouterr().out
    assert "dist/images/accelerapp-v1  sha256:" in out
    assert "left out: linux/arm64\n" in out
    assert f"is {digest}\n" in out
    assert run("pull", name) == 0
    assert "2 of 3 layers were there" in capsys.readouterr().out


def test_an_image_that_is_not_built_is_one_line(
    remote: FaultyRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "--target=base", "--tag=v1") == ImageMissing.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("error: there is no image in dist/images/base; build it first: invoke build\n")


@pytest.mark.parametrize("task", ["push", "pull"])
def test_ctrl_c_ends_it_while_the_registry_is_silent(
    remote: FaultyRegistry, tmp_path: Path, task: str
) -> None:
    run("push", "--tag=old")
    build(Path("dist/images/production"), text="new")
    arrived, released = threading.Event(), threading.Event()

    def silence() -> None:
        arrived.set()
        released.wait(30)

    remote.fault("PATCH", always=then(silence))
    remote.fault("GET", always=then(silence), path="/blobs/")
    flags = {"push": ["--tag=old"], "pull": [f"{remote.host}/owner/accelerapp:old"]}[task]
    (tmp_path / "tasks.py").write_text("from tasks_of_the_project import namespace\n")
    (tmp_path / "tasks_of_the_project.py").write_text((REPOSITORY / "tasks.py").read_text())
    running = subprocess.Popen(
        [sys.executable, "-m", "invoke", task, *flags],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert arrived.wait(30)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=15)
    finally:
        released.set()
        running.kill()
        running.communicate()
    assert running.returncode == INTERRUPTED
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err
    assert [path.name for path in Path("dist/images").iterdir() if "partial" in path.name] == []


# The chart.


CHART_NAME = "owner/charts/demo"


def test_flags_of_a_chart_arrive_where_charts_are_pushed(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "push", None)
    run("push", *["--chart", "--registry", "r.example", "--plain-http", "--dry-run", "--json"])
    run("push", "--chart", "--tag=x", "--no-attach")
    assert asked == [
        PushRequest(registry="r.example", plain_http=True),
        {"dry_run": True},
        PushRequest(tags=["x"], attach=False),
        {"dry_run": False},
    ]


def test_a_pushed_chart_is_shown_with_how_to_install_it(
    remote: FaultyRegistry, chart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "--chart") == 0
    out, err = capsys.readouterr()
    digest = remote.content[CHART_NAME].tags["0.1.0"]
    lines = out.splitlines()
    assert lines[0].split() == ["chart", "demo", "0.1.0", "digest", "size"]
    for part, name in zip(lines[1:4], ("archive", "metadata", "manifest"), strict=True):
        assert part.startswith(f"{name} ")
        assert part.endswith("  sent")
    place = f"{remote.host}/{CHART_NAME}"
    assert lines[5:8] == [
        f"{place}@{digest}",
        f"  {place}:0.1.0  new",
        f"helm install demo oci://{place} --version 0.1.0 --plain-http",
    ]
    assert " kB sent, done in " in lines[8]
    assert err.startswith("push chart demo 0.1.0: ")
    assert set(remote.content) == {CHART_NAME}
    assert run("push", "--chart") == 0
    out, err = capsys.readouterr()
    assert f"{place}:0.1.0  unchanged\n" in out
    assert out.count("  exists\n") == 3
    assert "0.0 kB sent" in out
    assert err == ""


def test_a_dry_run_of_a_chart_sends_nothing(
    remote: FaultyRegistry, chart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", "--chart", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("  would send\n") == 3
    assert ":0.1.0  new → sha256:" in out
    assert "nothing was sent; " in out
    assert set(remote.methods()) == {"HEAD"}


def test_what_became_of_a_chart_can_be_read_by_programs(
    remote: FaultyRegistry, chart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("push", "--chart", "--dry-run", "--json")
    planned = json.loads(capsys.readouterr().out)
    run("push", "--chart", "--json")
    pushed = json.loads(capsys.readouterr().out)
    assert (planned["dry_run"], pushed["dry_run"]) == (True, False)
    digest = remote.content[CHART_NAME].tags["0.1.0"]
    assert planned["chart"]["digest"] == pushed["chart"]["digest"] == digest
    assert planned["chart"]["bytes_to_send"] == pushed["chart"]["bytes_sent"] > 0
    assert pushed["chart"]["install"][-1] == "--plain-http"


def test_a_chart_whose_version_is_taken_is_one_line(
    remote: FaultyRegistry, chart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("push", "--chart")
    capsys.readouterr()
    (chart / "values.yaml").write_text("a: 2\n")
    for flags in ([], ["--dry-run"]):
        assert run("push", "--chart", *flags) == VersionTaken.exit_code == 102
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"error: {remote.host}/{CHART_NAME}:0.1.0 is in the registry with ")
        assert err.count("\n") == 1


def test_a_chart_that_is_none_is_one_line_before_anything_is_asked(
    remote: FaultyRegistry, chart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: demo\nversion: '1'\n")
    assert run("push", "--chart") == ChartInvalid.exit_code
    assert capsys.readouterr().err == (
        "error: chart/Chart.yaml:3: version '1' is not SemVer 2; write it like 0.1.0\n"
    )
    assert remote.requests == []


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--target=base", "--target"),
        ("--platform=amd64", "--platform"),
        ("--tag=v1", "--tag"),
        ("--images=x", "--images"),
        ("--from-repository=y", "--from-repository"),
        ("--no-attach", "--no-attach"),
        ("--no-attach --tag=v1 --target=base", "--target, --tag, --no-attach"),
    ],
)
def test_flags_that_are_for_images_are_refused_with_a_chart(
    remote: FaultyRegistry,
    chart: Path,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    named: str,
) -> None:
    assert run("push", "--chart", *flags.split()) == OptionInvalid.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: {named}: not with --chart, which pushes no image; leave out --chart, or the "
        "rest; the chart's tag is its version\n"
    )
    assert remote.requests == []


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", "no registry is given"),
        ("ghcr.io", "ghcr.io keeps images below an owner"),
        ("owner", "registry 'owner' names no host"),
        ("docker.io/owner", "Docker Hub has no room for docker.io/owner/charts/demo"),
    ],
)
def test_a_chart_needs_a_place_that_can_have_it(
    chart: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    expected: str,
) -> None:
    monkeypatch.setenv("ACCELERAPP_REGISTRY", place)
    assert run("push", "--chart") == OptionInvalid.exit_code
    assert capsys.readouterr().err.startswith(f"error: {expected}")


def test_helm_is_told_of_http_where_it_is_spoken_alone(
    monkeypatch: pytest.MonkeyPatch, chart: Path
) -> None:
    def survey(cargo: ChartCargo, _registry: object) -> ChartReport:
        name, digest = cargo.chart.name, cargo.manifest.descriptor.digest
        tag = TagMove(cargo.tag, None, digest)
        place = cargo.repository
        return ChartReport(name, "0.1.0", place, digest, Fate.WOULD_SEND, tag, ())

    monkeypatch.setattr(shipping, "survey_chart", survey)
    for request, told in (
        (PushRequest(registry="r.example/a"), False),
        (PushRequest(registry="r.example/a", plain_http=True), True),
        (PushRequest(registry="localhost:5000"), True),
        (PushRequest(registry="[::1]:5000/a"), True),
    ):
        report = shipping.chart(request, Silent(), dry_run=True, environ={})
        assert report.repository.name.endswith("charts/demo")
        assert ("--plain-http" in report.install) is told


def test_the_chart_is_that_of_the_repository(
    remote: FaultyRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    make_chart(tmp_path / "deployment" / "helm" / "accelerapp")
    assert run("push", "--chart") == 0
    assert set(remote.content) == {CHART_NAME}
