"""Images that were pushed by digest, in parts or whole, are joined, attested and then tagged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pipeline.manifest
import pipeline.shipping
from pipeline import commands
from pipeline.errors import ImageInvalid, ImageMissing, OptionInvalid, PipelineError, UnknownTarget
from pipeline.manifest import ManifestRequest, manifest
from pipeline.oci.layout import open_layout
from pipeline.platforms import Platform
from pipeline.provenance import provenance_path
from pipeline.push import PushReport
from pipeline.pushed import read_pushed
from pipeline.revision import Revision
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.shipments import COMMIT, build
from tests.unit.pipeline.tasks.test_namespace import run
from tests.unit.pipeline.tasks.test_tags_task import outputs
from tests.unit.pipeline.test_shipping import HOME, NAME, remote, said_of, ship, tags

__all__ = ["remote"]

FOLDER = Path("dist/digests")


@pytest.fixture(autouse=True)
def _commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.manifest, "read_revision", lambda _root: Revision(COMMIT))


def join(remote: FaultyRegistry, *, dry_run: bool = False, **flags: Any) -> tuple[PushReport, ...]:
    request = ManifestRequest(**{"registry": f"{remote.host}/owner", "by_digest": FOLDER, **flags})
    return manifest(request, dry_run=dry_run, environ=HOME)


def full_statement(name: str, *platforms: Platform, **digests: str) -> str:
    """Return a statement of the shape that a build writes; `top` and architectures are digests."""
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
                for digest in digests.values()
            ],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "t",
                    "externalParameters": {"platforms": [str(p) for p in platforms]},
                    "internalParameters": {},
                    "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": COMMIT}}],
                },
                "runDetails": {},
            },
        }
    )


def push_parts(remote: FaultyRegistry, *, stated: bool = True) -> str:
    """Push each platform of production from a layout of its own; return the digest of both."""
    layout = Path("dist/images/production")
    whole = open_layout(layout).top.descriptor.digest
    for platform in Platform:
        if platform not in (Platform.AMD64, Platform.ARM64):
            continue
        image = build(layout, text="production", platforms=(platform,))
        digest = image.top.descriptor.digest
        if stated:
            text = full_statement("accelerapp:production", platform, top=digest)
            provenance_path(layout).write_text(text)
        ship(remote, by_digest=FOLDER)
    return whole


def test_a_push_by_digest_sets_no_tag_and_says_what_it_pushed(remote: FaultyRegistry) -> None:
    (report,) = ship(remote, by_digest=FOLDER)
    assert tags(remote) == set()
    assert report.digest in remote.content[NAME].manifests
    (pushed,) = read_pushed(FOLDER)
    assert (pushed.target, pushed.digest, pushed.revision) == ("production", report.digest, COMMIT)
    assert dict(pushed.platforms) == {part.platform: part.digest for part in report.parts}
    assert [path.name for path in FOLDER.iterdir()] == ["production-amd64-arm64.json"]


def test_a_dry_run_writes_and_sends_nothing(remote: FaultyRegistry) -> None:
    ship(remote, by_digest=FOLDER, dry_run=True)
    assert not FOLDER.exists()
    ship(remote, by_digest=FOLDER)
    before = len(remote.requests)
    (report,) = join(remote, dry_run=True)
    assert tags(remote) == set()
    assert all(seen.method in ("GET", "HEAD") for seen in remote.requests[before:])
    assert [move.tag for move in report.tags] == ["sha-0123456-production", "main-production"]


def test_what_was_pushed_whole_gets_its_tags(remote: FaultyRegistry) -> None:
    ship(remote, by_digest=FOLDER, targets=["base,production"])
    reports = join(remote)
    assert [report.target for report in reports] == ["base", "production"]
    for report in reports:
        whole = open_layout(Path("dist/images") / report.target).top.descriptor.digest
        assert report.digest == whole == remote.content[NAME].tags[f"main-{report.target}"]


def test_parts_become_the_whole_with_a_statement_on_it(remote: FaultyRegistry) -> None:
    whole = push_parts(remote)
    (report,) = join(remote)
    assert report.digest == whole == remote.content[NAME].tags["main-production"]
    (statement,) = said_of(remote, whole).values()
    document = json.loads(statement)
    assert [one["name"] for one in document["subject"]] == [
        "accelerapp:production",
        "accelerapp:production linux/amd64",
        "accelerapp:production linux/arm64",
    ]
    assert [one.name for one in report.attached] == ["provenance"]
    put = [seen.path for seen in remote.seen("PUT") if "/manifests/" in seen.path]
    assert put[-1].endswith("/main-production"), "tags move when all is there"


def test_parts_without_a_statement_are_joined_and_that_is_said(remote: FaultyRegistry) -> None:
    whole = push_parts(remote, stated=False)
    (report,) = join(remote)
    assert report.digest == whole
    assert report.attached == ()
    assert report.notes == ("no provenance: the part for linux/amd64, linux/arm64 has none",)


def test_a_platform_that_nobody_pushed_stops_every_tag(remote: FaultyRegistry) -> None:
    ship(remote, by_digest=FOLDER, targets=["base"])
    ship(remote, by_digest=FOLDER, platforms=["arm64"])
    with pytest.raises(PipelineError, match="none of the digests is an image for linux/amd64"):
        join(remote)
    assert tags(remote) == set()


def test_targets_are_those_of_the_files_or_of_the_flag(remote: FaultyRegistry) -> None:
    ship(remote, by_digest=FOLDER, targets=["base,production"])
    assert [report.target for report in join(remote, targets=["production"])] == ["production"]
    assert tags(remote) == {"sha-0123456-production", "main-production"}
    assert len(join(remote, targets=["all"])) == 2
    with pytest.raises(ImageMissing, match="no file in dist/digests is of 'redis'; push it"):
        join(remote, targets=["redis"])


def test_what_goes_elsewhere_or_is_of_another_commit_gets_no_tag(
    remote: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(remote, by_digest=FOLDER)
    with pytest.raises(OptionInvalid, match=r"was pushed to .*/owner/accelerapp, and tags would"):
        join(remote, registry=f"{remote.host}/another")
    monkeypatch.setattr(pipeline.manifest, "read_revision", lambda _root: Revision(40 * "f"))
    with pytest.raises(OptionInvalid, match="built from 0123456789ab, and ffffffffffff is checked"):
        join(remote)
    assert tags(remote) == set()
    join(remote, tags=["mine"])
    assert tags(remote) == {"mine"}


def test_an_image_can_be_signed_before_it_has_a_name(remote: FaultyRegistry) -> None:
    whole = push_parts(remote)
    (report,) = join(remote, untagged=True)
    assert report.digest == whole in remote.content[NAME].manifests
    assert said_of(remote, whole)
    assert tags(remote) == set()
    (report,) = join(remote)
    assert remote.content[NAME].tags["main-production"] == whole == report.digest
    with pytest.raises(OptionInvalid, match="--untagged and --tag"):
        join(remote, untagged=True, tags=["v1"])
    with pytest.raises(OptionInvalid, match="only --by-digest finds it again"):
        join(remote, untagged=True, by_digest=None)


@pytest.mark.parametrize(
    ("revision", "says"),
    [(f"{COMMIT}-dirty", "built from 0123456789ab with changes"), ("", "from no known commit")],
)
def test_what_nobody_can_check_out_gets_no_tag_of_a_commit(
    remote: FaultyRegistry, revision: str, says: str
) -> None:
    ship(remote, by_digest=FOLDER)
    (path,) = FOLDER.iterdir()
    path.write_text(changed(revision=revision))
    with pytest.raises(OptionInvalid, match=says):
        join(remote)
    assert tags(remote) == set()
    join(remote, tags=["mine"])


def test_flags_that_say_two_things_are_refused(remote: FaultyRegistry) -> None:
    with pytest.raises(OptionInvalid, match="--by-digest gives no tag"):
        ship(remote, by_digest=FOLDER, tags=["v1"])
    ship(remote, by_digest=FOLDER)
    with pytest.raises(OptionInvalid, match="--digest and --by-digest"):
        join(remote, digests=["sha256:" + 64 * "0"])
    with pytest.raises(OptionInvalid, match="--by-digest: not with --chart"):
        pipeline.shipping.chart(
            pipeline.shipping.PushRequest(registry="r.example", by_digest=FOLDER),
            pipeline.shipping.Progress,  # type: ignore[arg-type]
        )


def changed(**changes: Any) -> str:
    document = json.loads(next(FOLDER.iterdir()).read_text())
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 2}, "its schema is 2"),
        ({"digest": "sha256:short"}, "short"),
        ({"digest": None}, "'digest' is NoneType"),
        ({"repository": "Not A Name"}, "upper-case"),
        ({"platforms": {}}, "it names no platform"),
        ({"platforms": {"linux/vax": "sha256:" + 64 * "0"}}, "vax"),
        ({"platforms": []}, "items"),
        ({"revision": "--upload-pack=x"}, "is no commit"),
        ({"revision": "-dirty"}, "is no commit"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    remote: FaultyRegistry, changes: dict[str, Any], says: str
) -> None:
    ship(remote, by_digest=FOLDER)
    (path,) = FOLDER.iterdir()
    path.write_text(changed(**changes))
    with pytest.raises(ImageInvalid, match=f"{path} says nothing of an image.*{says}"):
        join(remote)


def test_files_that_are_none_and_folders_without_any_are_refused(remote: FaultyRegistry) -> None:
    with pytest.raises(ImageMissing, match="no image in dist/digests; push one first"):
        join(remote)
    FOLDER.mkdir(parents=True)
    (FOLDER / "x.json").write_text("{")
    with pytest.raises(ImageInvalid, match=r"x\.json says nothing"):
        join(remote)


def test_a_target_that_is_not_described_is_refused(remote: FaultyRegistry) -> None:
    ship(remote, by_digest=FOLDER)
    (path,) = FOLDER.iterdir()
    path.write_text(changed(target="surprise"))
    with pytest.raises(UnknownTarget):
        join(remote)


def test_a_workflow_gets_references_and_checksums(
    remote: FaultyRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "ROOT", commands.ROOT)
    monkeypatch.setenv("ACCELERAPP_REGISTRY", f"{remote.host}/owner")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    assert run("push", "--target=base,production", "--by-digest=dist/digests") == 0
    assert run("manifest", "--by-digest=dist/digests", "--github", "--checksums=sums") == 0
    digests = {
        target: open_layout(Path("dist/images") / target).top.descriptor.digest
        for target in ("base", "production")
    }
    found = outputs((tmp_path / "output").read_text())
    assert found["references"] == ",".join(
        f"{remote.host}/{NAME}@{digest}" for digest in digests.values()
    )
    assert f"{remote.host}/{NAME}:main-production" in found["tags"].splitlines()
    assert [one["digest"] for one in json.loads(found["json"])] == list(digests.values())
    assert Path("sums").read_text() == "".join(
        f"{digest.removeprefix('sha256:')}  {remote.host}/{NAME}/{target}\n"
        for target, digest in digests.items()
    )
    assert digests["production"] in (tmp_path / "summary").read_text()
