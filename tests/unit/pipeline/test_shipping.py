"""Flags become names, images and tags, all checked before a registry is asked anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import pipeline.shipping
import pipeline.tags
from pipeline import commands
from pipeline.attestations import PROVENANCE_TYPE
from pipeline.errors import (
    ImageInvalid,
    ImageMissing,
    NameInvalid,
    NotInRegistry,
    OptionInvalid,
    PipelineError,
    UnknownTarget,
    UnsupportedPlatform,
)
from pipeline.manifest import ManifestRequest, manifest
from pipeline.oci.layout import open_layout
from pipeline.oci.registry.reference import Repository
from pipeline.oci.registry.referrers import fetch, list_referrers
from pipeline.platforms import Platform
from pipeline.provenance import provenance_path
from pipeline.push import Fate, PushReport
from pipeline.report import Silent
from pipeline.revision import Revision
from pipeline.settings import read_settings
from pipeline.shipping import PullRequest, PushRequest, destination, pull, push
from pipeline.tags import Event, TagState
from tests.unit.pipeline.oci.registry.faulty_registry import FaultyRegistry
from tests.unit.pipeline.shipments import COMMIT, build, client

NAME = "owner/accelerapp"
HOME = {"HOME": "/nonexistent"}


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyRegistry]:
    """A registry, in a folder with images of two targets, of a commit on `main`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    state = TagState(commit=COMMIT, event=Event.PUSH, branch="main")
    monkeypatch.setattr(pipeline.tags, "read_state", lambda _root, _environ: state)
    monkeypatch.setattr(pipeline.shipping, "read_revision", lambda _root: Revision(COMMIT))
    for target in ("production", "base"):
        build(tmp_path / "dist/images" / target, text=target, tag=target)
    with FaultyRegistry() as registry:
        yield registry


def ship(
    remote: FaultyRegistry,
    *,
    dry_run: bool = False,
    environ: Mapping[str, str] = HOME,
    **flags: Any,
) -> tuple[PushReport, ...]:
    request = PushRequest(**{"registry": f"{remote.host}/owner", **flags})
    return push(request, Silent(), dry_run=dry_run, environ=environ)


def tags(remote: FaultyRegistry) -> set[str]:
    """Return the tags of images: a registry without referrers lists them under others."""
    return {tag for tag in remote.content[NAME].tags if not tag.startswith("sha256-")}


# Where to.


def settled(asked: str | None, **environ: str) -> str:
    return str(destination(read_settings(commands.ROOT), asked, environ))


@pytest.mark.parametrize(
    ("asked", "environ", "repository"),
    [
        ("ghcr.io/owner", {}, "ghcr.io/owner/accelerapp"),
        ("ghcr.io/owner/", {}, "ghcr.io/owner/accelerapp"),
        ("localhost:5000", {}, "localhost:5000/accelerapp"),
        ("docker.io/owner", {}, "docker.io/owner/accelerapp"),
        (None, {"ACCELERAPP_REGISTRY": "r.example/a/b"}, "r.example/a/b/accelerapp"),
        ("ghcr.io/flag", {"ACCELERAPP_REGISTRY": "r.example"}, "ghcr.io/flag/accelerapp"),
        (
            None,
            {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY_OWNER": "The-Owner"},
            "ghcr.io/the-owner/accelerapp",
        ),
        (
            None,
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_REPOSITORY_OWNER": "owner",
                "ACCELERAPP_REGISTRY": "r.example",
            },
            "r.example/accelerapp",
        ),
        (
            None,
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_REPOSITORY_OWNER": "The-Owner",
                "ACCELERAPP_REGISTRY": "r.example:5000/The-Owner",
            },
            "r.example:5000/the-owner/accelerapp",
        ),
    ],
)
def test_images_go_where_the_flag_or_the_environment_says(
    asked: str | None, environ: dict[str, str], repository: str
) -> None:
    assert settled(asked, **environ) == repository


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        (None, OptionInvalid, "no registry is given; use --registry"),
        ("owner", OptionInvalid, "names no host; write it like ghcr.io/owner; Docker Hub is"),
        ("", OptionInvalid, "names no host"),
        ("ghcr.io", OptionInvalid, "below an owner"),
        ("ghcr.io/Owner", NameInvalid, "write 'ghcr.io/owner/accelerapp'"),
        ("GHCR.io/owner", NameInvalid, "write 'ghcr.io/owner/accelerapp'"),
        ("https://ghcr.io/owner", NameInvalid, "is a URL"),
        ("ghcr.io/owner:tag", NameInvalid, "not the name of a repository"),
        ("ghcr.io/" + 250 * "a", NameInvalid, "at most 255"),
    ],
)
def test_a_wrong_registry_is_refused_with_what_would_be_right(
    asked: str | None, error: type[PipelineError], says: str
) -> None:
    with pytest.raises(error) as refused:
        settled(asked)
    assert says in str(refused.value)


# What, and under which tags.


def test_production_is_pushed_under_the_computed_tags(remote: FaultyRegistry) -> None:
    (report,) = ship(remote)
    assert report.target == "production"
    assert tags(remote) == {"sha-0123456-production", "main-production"}
    assert remote.methods()[-1] == "PUT"
    assert str(remote.requests[-1]).endswith("/main-production")


def test_a_given_tag_is_used_as_it_is_for_one_target(remote: FaultyRegistry) -> None:
    ship(remote, tags=["v1,latest", "v1"])
    assert tags(remote) == {"v1", "latest"}


def test_several_targets_have_tags_of_their_own(remote: FaultyRegistry) -> None:
    reports = ship(remote, targets=["base,production"], tags=["v1"])
    assert [report.target for report in reports] == ["base", "production"]
    assert tags(remote) == {"v1-base", "v1-production"}
    # The layer that both have was sent once, and not asked for again.
    shared = open_layout(Path("dist/images/base")).images[0].layers[0].digest
    assert len([line for line in remote.said() if "digest=" in line and shared[7:] in line]) == 1
    tagged = next(i for i, line in enumerate(remote.said()) if line.endswith("/v1-base"))
    second = [i for i, line in enumerate(remote.said()) if line.endswith("/v1-base")][-1]
    assert tagged < second
    assert not [line for line in remote.said()[second:] if shared in line]


def test_all_means_every_target_that_is_built(remote: FaultyRegistry) -> None:
    reports = ship(remote, targets=["all"], tags=["v1"])
    assert {report.target for report in reports} == {"base", "production"}


def test_nothing_built_is_nothing_to_push(remote: FaultyRegistry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for targets, line in ((["all"], "there is no image in"), ([], "there is no image in")):
        with pytest.raises(ImageMissing, match=line):
            ship(remote, targets=targets, images=tmp_path / "empty", tags=["v1"])
    with pytest.raises(ImageMissing, match="development"):
        ship(remote, targets=["all,development"], tags=["v1"])
    assert remote.requests == []


def test_platforms_go_up_as_parts_and_leave_plain_tags_alone(remote: FaultyRegistry) -> None:
    reports = ship(remote, platforms=["arm64"], tags=["v1", "latest"])
    assert tags(remote) == {"v1-arm64", "latest-arm64"}
    assert [part.platform for report in reports for part in report.parts] == [Platform.ARM64]
    ship(remote, platforms=["all"], targets=["production", "base"], tags=["v1"])
    assert tags(remote) >= {
        f"v1-{target}-{architecture}"
        for target in ("production", "base")
        for architecture in ("amd64", "arm64")
    }


def test_one_layout_is_pushed_as_the_target_that_it_is(remote: FaultyRegistry) -> None:
    (report,) = ship(remote, images=Path("dist/images/base"))
    assert report.target == "base"
    assert tags(remote) == {"sha-0123456-base", "main-base"}


def test_a_layout_of_something_else_needs_a_tag(remote: FaultyRegistry, tmp_path: Path) -> None:
    build(tmp_path / "pulled", tag="3.11-slim")
    with pytest.raises(OptionInvalid, match=r"'3.11-slim', which is no target"):
        ship(remote, images=tmp_path / "pulled")
    assert remote.requests == []
    ship(remote, images=tmp_path / "pulled", tags=["3.11-slim"])
    assert tags(remote) == {"3.11-slim"}
    with pytest.raises(OptionInvalid, match="is one image, and there are several targets"):
        ship(remote, images=tmp_path / "pulled", targets=["base,production"])


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({"tags": ["feature/x"]}, NameInvalid),
        ({"tags": ["x" * 129]}, NameInvalid),
        ({"tags": ["x" * 125], "platforms": ["arm64"]}, NameInvalid),
        ({"tags": ["x" * 120], "targets": ["base,production"]}, NameInvalid),
        ({"tags": [","]}, OptionInvalid),
        ({"targets": ["prodution"]}, UnknownTarget),
        ({"targets": ["development"]}, ImageMissing),
        ({"platforms": ["arm65"]}, UnsupportedPlatform),
        ({"sources": ["ghcr.io/other/base"]}, OptionInvalid),
        ({"sources": ["Owner/base"]}, NameInvalid),
        ({"registry": "ghcr.io/Owner"}, NameInvalid),
    ],
)
def test_a_wrong_flag_is_refused_before_the_registry_is_asked(
    remote: FaultyRegistry, flags: dict[str, Any], error: type[PipelineError]
) -> None:
    with pytest.raises(error):
        ship(remote, **flags)
    assert remote.requests == []


def test_layers_are_mounted_from_the_repository_that_is_named(remote: FaultyRegistry) -> None:
    ship(remote, registry=f"{remote.host}/other", tags=["v1"])
    for source in ("other/accelerapp", f"{remote.host}/other/accelerapp"):
        remote.content.pop(NAME, None)
        (report,) = ship(remote, tags=["v1"], sources=[source])
        assert sum(blob.sent_bytes for blob in report.blobs) == 0


@pytest.mark.parametrize(
    ("revision", "stated", "refused"),
    [
        (Revision(COMMIT), COMMIT, False),
        (Revision(COMMIT, dirty=True), COMMIT, False),
        (Revision(COMMIT, dirty=True), f"{COMMIT}-dirty", False),
        (Revision(COMMIT), f"{COMMIT}-dirty", True),
        (Revision(40 * "f"), COMMIT, True),
        (Revision(COMMIT), "", False),
    ],
)
def test_an_image_of_another_commit_does_not_get_this_one_s_tags(
    remote: FaultyRegistry,
    monkeypatch: pytest.MonkeyPatch,
    revision: Revision,
    stated: str,
    refused: bool,
) -> None:
    monkeypatch.setattr(pipeline.shipping, "read_revision", lambda _root: revision)
    said = {"org.opencontainers.image.revision": stated}
    build(Path("dist/images/production"), annotations=said)
    if not refused:
        ship(remote)
        return
    with pytest.raises(OptionInvalid, match="was built from 0123456789ab"):
        ship(remote)
    assert remote.requests == []
    ship(remote, tags=["whatever"])


def test_a_dry_run_counts_what_two_targets_share_once(remote: FaultyRegistry) -> None:
    base, production = ship(remote, targets=["base,production"], tags=["v1"], dry_run=True)
    assert set(remote.methods()) == {"HEAD"}
    shared = {blob.digest for blob in base.blobs} & {blob.digest for blob in production.blobs}
    assert len(shared) == 1
    assert {b.fate.value for b in production.blobs if b.digest in shared} == {"exists"}


# Joining, and back.


def join(remote: FaultyRegistry, **flags: Any) -> tuple[PushReport, ...]:
    request = ManifestRequest(**{"registry": f"{remote.host}/owner", **flags})
    return manifest(request, environ=HOME)


def test_parts_are_joined_to_what_one_push_brings(remote: FaultyRegistry) -> None:
    whole = open_layout(Path("dist/images/production")).top.descriptor.digest
    for platform in ("amd64", "arm64"):
        ship(remote, platforms=[platform])
    assert "main-production" not in tags(remote)
    (report,) = join(remote)
    assert report.digest == whole
    held = remote.content[NAME].tags
    assert held["sha-0123456-production"] == held["main-production"] == whole


def test_parts_of_several_targets_are_joined(remote: FaultyRegistry) -> None:
    for platform in ("amd64", "arm64"):
        ship(remote, platforms=[platform], targets=["base,production"], tags=["v1"])
    reports = join(remote, targets=["base,production"], tags=["v1"])
    for report in reports:
        image = open_layout(Path("dist/images") / report.target)
        assert remote.content[NAME].tags[f"v1-{report.target}"] == image.top.descriptor.digest


def test_a_part_that_was_not_pushed_is_missed(remote: FaultyRegistry) -> None:
    ship(remote, platforms=["amd64"], tags=["v1"])
    with pytest.raises(NotInRegistry, match="v1-arm64: the part for linux/arm64 is missing"):
        join(remote, tags=["v1"])
    assert tags(remote) == {"v1-amd64"}
    (report,) = join(remote, tags=["v1"], platforms=["amd64"])
    assert remote.content[NAME].tags["v1"] == report.digest == report.parts[0].digest


def test_tags_that_leave_no_room_for_the_parts_are_refused_at_once(
    remote: FaultyRegistry,
) -> None:
    with pytest.raises(NameInvalid):
        join(remote, tags=["v1", "x" * 125])
    assert remote.requests == []


def test_parts_by_digest_are_of_one_target(remote: FaultyRegistry) -> None:
    (report,) = ship(remote, tags=["v1"])
    digests = ",".join(part.digest for part in report.parts)
    (joined,) = join(remote, tags=["v2"], digests=[digests])
    assert joined.digest == report.digest
    with pytest.raises(OptionInvalid, match="several targets"):
        join(remote, targets=["base,production"], tags=["v2"], digests=[digests])
    with pytest.raises(NameInvalid):
        join(remote, tags=["v2"], digests=["sha256:short"])


def test_parts_of_two_commits_are_not_joined(remote: FaultyRegistry) -> None:
    ship(remote, platforms=["amd64"], tags=["v1"])
    build(
        Path("dist/images/production"), annotations={"org.opencontainers.image.revision": 40 * "f"}
    )
    ship(remote, platforms=["arm64"], tags=["v1"])
    with pytest.raises(ImageInvalid, match="not of one commit"):
        join(remote, tags=["v1"])
    assert "v1" not in tags(remote)


def test_an_image_is_pulled_to_a_folder_of_its_name(remote: FaultyRegistry) -> None:
    (pushed,) = ship(remote, tags=["v1"])
    for reference, folder in (
        (f"{remote.host}/{NAME}:v1", "accelerapp-v1"),
        (pushed.reference, f"accelerapp-{pushed.digest[7:19]}"),
    ):
        report = pull(PullRequest(reference), Silent(), environ=HOME)
        assert report.output == Path("dist/images") / folder
        assert open_layout(report.output).top.descriptor.digest == pushed.digest
    one = PullRequest(pushed.reference, platforms=["arm64"], output=Path("elsewhere"))
    assert pull(one, Silent(), environ=HOME).digest == pushed.parts[1].digest
    assert open_layout(Path("elsewhere")).images[0].platform is Platform.ARM64


@pytest.mark.parametrize(
    ("registry", "welcome"), [("{host}/any", True), ("r.example", False), ("", False)]
)
def test_credentials_of_the_environment_are_for_the_registry_of_pushes(
    remote: FaultyRegistry, registry: str, welcome: bool
) -> None:
    with FaultyRegistry(users={"me": "secret"}) as guarded:
        environ = {"REGISTRY_USERNAME": "me", "REGISTRY_PASSWORD": "secret", **HOME}
        ship(guarded, tags=["v1"], environ=environ)
        environ["ACCELERAPP_REGISTRY"] = registry.format(host=guarded.host)
        request = PullRequest(f"{guarded.host}/{NAME}:v1")
        if welcome:
            pull(request, Silent(), environ=environ)
            return
        with pytest.raises(PipelineError) as refused:
            pull(request, Silent(), environ=environ)
        assert refused.value.exit_code in (70, 71)
        assert "secret" not in str(refused.value)


# What goes along.


def statement_of(layout: Path, *digests: str) -> Path:
    """Put a statement about these digests beside a layout."""
    path = provenance_path(layout)
    subject = [{"digest": {"sha256": digest.removeprefix("sha256:")}} for digest in digests]
    path.write_text(json.dumps({"subject": subject}))
    return path


def digests_of(layout: Path) -> list[str]:
    image = open_layout(layout)
    parts = [part.manifest.descriptor.digest for part in image.images]
    return [image.top.descriptor.digest, *parts]


def said_of(remote: FaultyRegistry, digest: str) -> dict[str, bytes]:
    """Return what is attached to a manifest, by type."""
    place = Repository(remote.host, NAME)
    with client(remote) as registry:
        found = list_referrers(registry, place, digest)
        return {one.type: fetch(registry, place, digest, one) for one in found}


def test_sboms_and_provenance_go_along(remote: FaultyRegistry) -> None:
    layout = Path("dist/images/production")
    top, *parts = digests_of(layout)
    written = statement_of(layout, top, *parts)
    (report,) = ship(remote, tags=["v9.9.9"])
    assert said_of(remote, top) == {PROVENANCE_TYPE: written.read_bytes()}
    for digest in parts:
        (data,) = said_of(remote, digest).values()
        assert json.loads(data)["metadata"]["component"]["version"] == digest
    names = ["SBOM linux/amd64", "SBOM linux/arm64", "provenance"]
    assert [one.name for one in report.attached] == names
    assert {one.fate for one in report.attached} == {Fate.SENT}
    assert [one["subject"] for one in report.to_json()["attached"]] == [*parts, top]


def test_what_is_attached_is_not_sent_again(remote: FaultyRegistry) -> None:
    layout = Path("dist/images/production")
    statement_of(layout, *digests_of(layout))
    ship(remote, tags=["v9.9.9"])
    before = len([seen for seen in remote.requests if seen.method not in ("GET", "HEAD")])
    (report,) = ship(remote, tags=["v9.9.9"])
    after = len([seen for seen in remote.requests if seen.method not in ("GET", "HEAD")])
    assert {one.fate for one in report.attached} == {Fate.EXISTS}
    assert after == before


def test_no_tag_moves_before_all_is_attached(remote: FaultyRegistry) -> None:
    layout = Path("dist/images/production")
    statement_of(layout, *digests_of(layout))
    ship(remote, tags=["v9.9.9"])
    put = [seen.path for seen in remote.seen("PUT") if "/manifests/" in seen.path]
    assert put[-1].endswith("/v9.9.9")


def test_a_dry_run_attaches_nothing(remote: FaultyRegistry) -> None:
    layout = Path("dist/images/production")
    statement_of(layout, *digests_of(layout))
    (report,) = ship(remote, tags=["v9.9.9"], dry_run=True)
    assert {one.fate for one in report.attached} == {Fate.WOULD_SEND}
    assert not [seen for seen in remote.requests if seen.method not in ("GET", "HEAD")]


def test_nothing_is_attached_where_that_is_asked_for(remote: FaultyRegistry) -> None:
    (report,) = ship(remote, tags=["v9.9.9"], attach=False)
    assert report.attached == ()
    assert set(remote.content[NAME].tags) == {"v9.9.9"}


def test_an_image_without_provenance_says_so(remote: FaultyRegistry) -> None:
    (report,) = ship(remote, tags=["v9.9.9"])
    assert any("no provenance" in note for note in report.notes)


def test_the_provenance_of_another_image_is_refused_before_anything_is_sent(
    remote: FaultyRegistry,
) -> None:
    statement_of(Path("dist/images/production"), *digests_of(Path("dist/images/base")))
    with pytest.raises(ImageInvalid, match="is not the provenance of the image"):
        ship(remote, tags=["v9.9.9"])
    assert not remote.requests


@pytest.mark.parametrize("text", ["", "[]", '{"subject": 3}', '{"subject": [{}]}'])
def test_what_is_no_provenance_is_refused(remote: FaultyRegistry, text: str) -> None:
    provenance_path(Path("dist/images/production")).write_text(text)
    with pytest.raises(ImageInvalid, match="is no provenance"):
        ship(remote, tags=["v9.9.9"])
